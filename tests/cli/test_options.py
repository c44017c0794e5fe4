import pytest

from owseg.cli._options import data_spec, parse_names, parse_scales, parse_settings, parse_sides, parse_size
from owseg.cli._training import epochs_unless_given
from owseg.errors import OwsegError
from owseg.training.config import TrainConfig
from owseg.training.epochs import enough_epochs


def test_names_sizes_and_settings():
    assert parse_names(" car, big dog,,") == ("car", "big dog") and parse_names("") == ()
    assert parse_size("256x352") == parse_size("256X352") == (256, 352)
    assert (
        parse_settings(["radius=4", " a = b=c ", "url="]) == {"radius": "4", "a": "b=c", "url": ""}
        and parse_settings(None) == {}
    )


@pytest.mark.parametrize("text", ["x", "256", "256x", "a x b", "1x2x3", ""])
def test_what_is_not_a_size_is_refused(text):
    with pytest.raises(OwsegError, match=r"is not a size; write height x width"):
        parse_size(text)


def test_factors():
    assert parse_scales("1, 0.5") == (1.0, 0.5) and parse_scales("2") == (2.0,)


@pytest.mark.parametrize("text", ["", "x", "1,x", "0", "-1", "11", "nan", "inf"])
def test_what_is_no_list_of_factors_is_refused(text):
    with pytest.raises(OwsegError, match="is no list of factors"):
        parse_scales(text)


def test_sides():
    assert parse_sides("300, 375") == (300, 375) and parse_sides("") == ()


@pytest.mark.parametrize("text", ["x", "300,x", "31", "300,0", "1.5"])
def test_what_is_no_list_of_sides_is_refused(text):
    with pytest.raises(OwsegError, match="is no list of sides from 32 pixels"):
        parse_sides(text)


@pytest.mark.parametrize("text", ["radius", "=4", ""])
def test_what_is_not_a_setting_is_refused(text):
    with pytest.raises(OwsegError, match="sets nothing"):
        parse_settings([text])


def test_a_directory_of_images_is_a_data_set(tmp_path, monkeypatch):
    (tmp_path / "whole" / "images").mkdir(parents=True)
    (tmp_path / "splits" / "train" / "images").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "synthetic" / "images").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for place in ("whole", "splits", str(tmp_path / "whole")):
        assert data_spec(place) == f"folder:{place}"
    for text in ("other", "none", "synthetic", "camvid:whole", "folder:whole", "", None):
        assert data_spec(text) == text


def test_a_number_of_epochs_that_is_given_stays_whatever_the_images():
    config = TrainConfig()
    more = enough_epochs(config, 9)
    assert more.epochs > config.epochs and epochs_unless_given(config, 9, None, ["lr=0.1"]) == more
    for epochs, settings in ((20, None), (None, ["lr=0.1", "epochs=20"])):
        assert epochs_unless_given(config, 9, epochs, settings) is config
