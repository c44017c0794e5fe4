"""The images that names stand for, what each is called, and what is said to be left out."""

import pytest

from owseg.data.search import search_images
from owseg.errors import OwsegError


@pytest.fixture
def tree(tmp_path):
    for name in ("a/1.png", "a/2.JPG", "a/notes.txt", "a/.hidden.png", "a/in/1.png", "a/in/deep/4.tif", "a/.git/5.png",
                 "a/out/6.png", "b/3.webp", "b/x.gif", "b/y.GIF", "b/in/z.heic", "4.gif"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def found(tree, *names, **options):
    """The paths below ``tree`` and the names of what is found, and the notes."""
    given = search_images([str(tree / name) for name in names], **options)
    paths = [path.relative_to(tree).as_posix() for path in given.paths]
    return dict(zip(paths, given.names, strict=True)), [note.replace(f"{tree}/", "") for note in given.notes]


def test_names_stand_for_files_folders_and_patterns(tree, monkeypatch):
    assert list(found(tree, "a")[0]) == list(found(tree, "a/*")[0]) == ["a/1.png", "a/2.JPG"]
    assert list(found(tree, "b", "a/2.JPG", "a")[0]) == ["a/1.png", "a/2.JPG", "b/3.webp"]  # sorted, each once
    assert list(found(tree, "4.gif")[0]) == ["4.gif"]  # a file that is named is opened, whatever it is called
    monkeypatch.setenv("HOME", str(tree))
    assert search_images(["~/b"]).paths == (tree / "b" / "3.webp",)
    for names, wrong in (
        (["c"], "c does not exist; name an"),
        (["*.gif"], r"no image matches"),
        (["a", "c"], "c does not"),
    ):
        with pytest.raises(OwsegError, match=wrong):
            found(tree, *names)
    (tree / "empty").mkdir()
    with pytest.raises(OwsegError, match=r"empty holds no image \([^)]*\); give a folder that does\.$"):
        found(tree, "empty")


def test_two_stars_are_any_folder(tree):
    every = {"a/1.png": "1", "a/in/1.png": "in/1", "a/out/6.png": "out/6"}
    assert found(tree, "a/**/*.png")[0] == every
    assert found(tree, "*/**/1.png")[0] == {"a/1.png": "a/1", "a/in/1.png": "a/in/1"}
    assert found(tree, "**/*.t[i]f")[0] == {"a/in/deep/4.tif": "a/in/deep/4"}


def test_subfolders_are_taken_if_asked_for_but_no_hidden_ones_and_not_the_results(tree):
    below = {"a/1.png": "1", "a/2.JPG": "2", "a/in/1.png": "in/1", "a/in/deep/4.tif": "in/deep/4"}
    assert found(tree, "a", recursive=True) == ({**below, "a/out/6.png": "out/6"}, [])
    assert found(tree, "a", recursive=True, apart=tree / "b" / ".." / "a" / "out") == (below, [])


def test_a_name_depends_on_its_image_alone(tree):
    alone, together = (found(tree, *names, recursive=True)[0] for names in (("a/in",), ("a/in", "b", "a", "a/1.png")))
    assert alone == {"a/in/1.png": "1", "a/in/deep/4.tif": "deep/4"}
    assert {path: together[path] for path in alone} == alone and together["a/1.png"] == "1"
    assert found(tree, "a/in/1.png")[0] == {"a/in/1.png": "1"}


def test_names_below_the_folder_that_one_is_in(tree, monkeypatch):
    monkeypatch.chdir(tree / "a")
    for name in (".", "*.*", "1.png"):
        given = search_images([name])
        assert dict(zip(map(str, given.paths), given.names, strict=True))["1.png"] == "1"


def test_what_is_left_out_is_said(tree):
    assert found(tree, "a")[1] == ["3 more images in subfolders of a; --recursive takes them, too."]
    assert found(tree, "a", apart=tree / "a" / "in")[1] == [
        "1 more image in subfolders of a; --recursive takes them, too."
    ]
    one = "2 files left out of b (.gif); convert to PNG or JPEG what is to be read."
    both = "3 files left out of b (.gif, .heic); convert to PNG or JPEG what is to be read."
    assert found(tree, "b")[1] == [one] and found(tree, "b", recursive=True)[1] == [both]
    (tree / "b" / "y.GIF").unlink()
    assert found(tree, "b")[1][0].startswith("1 file left out of b (.gif);")
    with pytest.raises(
        OwsegError, match=r"no image that can be read, but 5 in its subfolders; --recursive takes them\.$"
    ):
        search_images([str(tree)], apart=tree / "a" / "out")
    (tree / "b" / "3.webp").unlink()
    with pytest.raises(OwsegError, match=r"b holds .*, but 1 file of another format \(\.gif\); convert"):
        search_images([str(tree / "b")])
    (tree / "clip.MP4").touch()
    with pytest.raises(OwsegError, match=r"clip.MP4 is a video; owseg video labels it, or save its frames"):
        search_images([str(tree / "clip.MP4")])


@pytest.mark.parametrize("address", ["https://example.org/a.png", "HTTP://example.org/*.png", "s3://bucket/a.png"])
def test_addresses_are_refused(address):
    with pytest.raises(OwsegError, match=r"is an address, and nothing is downloaded; save the image"):
        search_images([address])
