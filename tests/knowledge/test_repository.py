"""Knowledge bases on the hub: what is uploaded, and that it loads from the hub's cache without a network."""

import json
import shutil

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants

from owseg.errors import OwsegError
from owseg.knowledge import upload
from owseg.knowledge.calibration import calibrate
from owseg.knowledge.load import load
from owseg.knowledge.model_card import model_card
from owseg.knowledge.pretrained import check_own, stored_version, writable
from owseg.knowledge.repository import download
from owseg.knowledge.versions import version_numbers
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from tests.support import tiny
from tests.support.shots import red_shot

COMMIT = "0" * 39 + "1"


@pytest.fixture(scope="module")
def kb():
    known = tiny.dataset(4)
    return learn(calibrate(tiny.knowledge_base(), known, 0.05, scorer="msp"), "rock", [red_shot()], method=NPM(9.0))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder of the layout of the hub's cache, and what takes the place of its client."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    calls = []

    class Api:
        def create_repo(self, repository, private, exist_ok):
            calls.append(("create", repository, private, exist_ok))
            return f"https://hub/{repository}"

        def upload_folder(self, repo_id, folder_path, commit_message, delete_patterns):
            calls.append(("upload", repo_id, commit_message, delete_patterns))
            place = tmp_path / "cache" / f"models--{repo_id.replace('/', '--')}"
            shutil.copytree(folder_path, place / "snapshots" / COMMIT, dirs_exist_ok=True)
            (place / "blobs").mkdir(exist_ok=True)
            for i, file in enumerate(f for f in (place / "snapshots" / COMMIT).rglob("*") if f.is_file()):
                file.rename(place / "blobs" / str(i))  # as the hub's client keeps them
                file.symlink_to(place / "blobs" / str(i))
            (place / "refs").mkdir(exist_ok=True)
            (place / "refs" / "main").write_text(COMMIT)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return calls


def test_what_is_uploaded_loads_by_its_name_and_predicts_the_same(kb, hub, tmp_path):
    assert upload.push(kb, "me/rocks", "apache-2.0", slim=False) == "https://hub/me/rocks"
    assert hub == [
        ("create", "me/rocks", True, True),
        ("upload", "me/rocks", kb.history[-1].message, ["CURRENT", "[0-9]*/*"]),
    ]
    for name in ("hub:me/rocks", f"hub:me/rocks@{COMMIT}"):
        loaded = load(name)
        assert loaded.fingerprint(decides=True) == kb.fingerprint(decides=True)
        image = tiny.dataset(1)[0].image
        assert np.array_equal(loaded.predict(image).open_set, kb.predict(image).open_set)
    assert stored_version("hub:me/rocks") == 1 and version_numbers(download("hub:me/rocks")) == [1]
    assert (tmp_path / "cache/models--me--rocks/snapshots" / COMMIT / "README.md").exists()


def test_it_is_private_unless_asked_otherwise(kb, hub):
    upload.push(kb, "me/rocks", private=False)
    assert hub[0] == ("create", "me/rocks", False, True)


@pytest.mark.parametrize("name", ["rocks", "me/rocks/more", "../x", "me/..", "me/a b", "", "/x", "me/"])
def test_a_name_that_is_none_is_refused_before_anyone_is_asked(name, kb, hub):
    for call in (lambda: upload.push(kb, name), lambda: load(f"hub:{name}")):
        with pytest.raises(OwsegError, match="is no repository of the hub; it is OWNER/NAME"):
            call()
    assert hub == []


def test_what_cannot_be_fetched_or_holds_no_knowledge_base_ends_in_a_sentence(hub, tmp_path, monkeypatch):
    with pytest.raises(OwsegError, match=r"me/absent cannot be fetched \(.*\); check the name, the network"):
        load("hub:me/absent")
    place = tmp_path / "cache/models--me--other"
    (place / "snapshots" / COMMIT).mkdir(parents=True)
    (place / "snapshots" / COMMIT / "config.json").write_text("{}")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    with pytest.raises(OwsegError, match="hub:me/other holds no knowledge base of owseg; `hf:me/other` loads"):
        load("hub:me/other")


def test_what_the_hub_refuses_ends_in_a_sentence(kb, hub, monkeypatch):
    def refuse(self, *_, **__):
        raise PermissionError("401 Client Error\nand more")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    with pytest.raises(OwsegError, match=r"me/rocks cannot be uploaded \(401 Client Error\); .*hf auth login"):
        upload.push(kb, "me/rocks")


def test_nothing_is_written_into_the_cache_of_the_hub(kb, hub):
    upload.push(kb, "me/rocks")
    with pytest.raises(OwsegError, match="give --out DIR"):
        writable("hub:me/rocks", None)
    with pytest.raises(OwsegError, match="is on the hub, and is not changed from here"):
        check_own("hub:me/rocks")


def test_the_card_says_what_the_knowledge_base_is(kb):
    card = model_card(kb, "me/rocks", "cc-by-4.0")
    assert card.startswith("---\nlicense: cc-by-4.0\n") and 'owseg.load("hub:me/rocks")' in card
    assert f"| 3 | rock | #{bytes(kb.labels.colors[3]).hex()} | learned |" in card and "4 classes" in card
    assert "`msp` is above" in card and "Asked for were 5.0% of the known pixels" in card
    for event in kb.history:
        assert event.message.replace("_", r"\_") in card
    assert "It is not calibrated" in model_card(tiny.knowledge_base(), "me/x")


def test_a_folder_may_be_looked_at_before(kb, tmp_path):
    upload.write(kb, tmp_path / "look", "me/rocks", "mit")
    assert load(tmp_path / "look").labels == kb.labels and "license: mit" in (tmp_path / "look/README.md").read_text()
    assert json.loads((tmp_path / "look/0001/knowledge.json").read_text())["classes"]
    with pytest.raises(OwsegError, match="holds a knowledge base already"):
        upload.write(kb, tmp_path / "look", "me/rocks")
    with pytest.raises(OwsegError, match="no identifier of a licence"):
        upload.write(kb, tmp_path / "other", "me/rocks", "mit\ntags: x")
    assert not (tmp_path / "other").exists()
