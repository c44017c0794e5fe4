import numpy as np
import pytest

from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN, UNKNOWN, LabelSpace, check_class_names, is_class_name, short_name


def test_lookup_matches_by_name_and_leaves_nothing_else():
    source = LabelSpace.of(["road", "car", "sky"])
    table = LabelSpace.of(["sky", "road"]).lookup(source)
    assert table[:3].tolist() == [1, UNKNOWN, 0]
    assert table[KNOWN] == KNOWN and set(np.delete(table, KNOWN)[3:].tolist()) == {IGNORE}
    assert LabelSpace.of(["sky"]).lookup(source, unknown=IGNORE)[:3].tolist() == [IGNORE, IGNORE, 0]


def test_a_class_taken_out_and_added_again_has_the_last_id():
    space = LabelSpace.of(["road", "car", "sky"])
    again = space.without(["car"]).extend("car", (1, 2, 3))
    assert again.names == ("road", "sky", "car")
    assert again.index("car") == 2
    assert again.colors[2] == (1, 2, 3)


def test_json_round_trip_and_plain_names():
    space = LabelSpace.of(["a", "b"], [(1, 2, 3), (4, 5, 6)])
    assert LabelSpace.from_json(space.to_json()) == space
    assert LabelSpace.from_json(["a", "b"]).names == ("a", "b")


def test_made_up_colours_stay_apart():
    colors = LabelSpace.of([str(i) for i in range(20)]).colors
    assert len(set(colors)) == 20


@pytest.mark.parametrize(
    ("names", "colors"),
    [
        ([], None),
        (["a", "a"], None),
        (["a", " "], None),
        (["a"], [(0, 0, 256)]),
        ([str(i) for i in range(254)], None),
    ],
)
def test_bad_label_spaces_are_refused(names, colors):
    with pytest.raises(OwsegError):
        LabelSpace.of(names, colors)


@pytest.mark.parametrize("classes", [3, {"a": 1}, [{"colour": 1}], [{"name": "a", "color": ["x", 0, 0]}]])
def test_bad_json_is_refused(classes):
    with pytest.raises(OwsegError):
        LabelSpace.from_json(classes)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(OwsegError, match="road, sky"):
        LabelSpace.of(["road", "sky"]).index("car")


def test_as_many_classes_as_there_are_ids():
    assert len(LabelSpace.of(str(i) for i in range(KNOWN))) == KNOWN == 253


@pytest.mark.parametrize("name", ["unknown", "void", " Void ", "UNKNOWN"])
def test_reserved_names_are_no_names_of_classes(name):
    check_class_names(["road", "voids", "known"])
    with pytest.raises(OwsegError, match=r"no class can have the name .* which is reserved"):
        check_class_names(["road", name])


def test_the_palette_has_every_id():
    space = LabelSpace.of(["a", "b"], [(1, 2, 3), (4, 5, 6)])
    palette = space.palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    assert palette[[0, 1, KNOWN, UNKNOWN, IGNORE]].tolist() == [
        [1, 2, 3],
        [4, 5, 6],
        [120, 120, 120],
        [255, 0, 200],
        [0, 0, 0],
    ]


def test_equal_spaces_are_equal_and_print_their_names():
    space = LabelSpace.of(["a", "b"])
    assert space == LabelSpace.of(["a", "b"]) != LabelSpace.of(["b", "a"]) and len({space, LabelSpace.of("ab")}) == 1
    assert repr(space) == "LabelSpace(names=('a', 'b'))" and "a" in space and "c" not in space


ODD_NAMES = ["", "  ", "a\nb", "e\x1b[31m", "x" * 61, "a\u202eb", "bad\udcff", "a\u200bb", "a\x7f", "a\u2028b", 3, None]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_class_name_is_one_printable_line(name):
    for make in (lambda: LabelSpace.of(["road", name]), lambda: LabelSpace.of(["road"]).extend(name)):
        with pytest.raises(OwsegError, match=r"is not a class name; write 1 to 60 characters on one line\.$") as caught:
            make()
        assert str(caught.value).isprintable()
    assert not is_class_name(name)


@pytest.mark.parametrize("name", ["x" * 60, "traffic light, signal", "Straße", "道路", "[b]", "a-b_c/d", "🐄"])
def test_names_of_any_language_are_class_names(name):
    assert is_class_name(name) and LabelSpace.of([name]).names == (name,)
    check_class_names([name])


def test_a_new_class_has_a_name():
    with pytest.raises(OwsegError, match="is not a class name"):
        check_class_names(["e\x1b[31m"])


@pytest.mark.parametrize("name", [" cow", "cow "])
def test_a_new_class_has_no_blanks_around_its_name_but_one_that_was_stored_opens(name):
    with pytest.raises(OwsegError, match=r"begins or ends with a blank; write 'cow'\.$"):
        check_class_names(["road", name])
    assert LabelSpace.from_json(LabelSpace.of(["road", name]).to_json()).names == ("road", name)


def test_a_long_list_of_words_becomes_the_first():
    listed = "television receiver, television, television set, tv, tv set, idiot box, boob tube, telly, goggle box"
    assert short_name(listed) == "television receiver" and short_name("tv, telly") == "tv, telly"
    assert short_name("x" * 99) == "x" * 60 and short_name(f"tv , {listed}") == "tv"
