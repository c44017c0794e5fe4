import json

import pytest

from owseg.benchmark._kept import digest_of, file_name, json_bytes, read_kept, write_kept


def test_what_was_kept_comes_back_only_for_its_digest(tmp_path):
    path = write_kept(tmp_path / "deep" / "a.json", "d1", {"x": [1, None]})
    assert read_kept(path, "d1") == {"x": [1, None]} and read_kept(path, "d2") is None
    assert read_kept(tmp_path / "none.json", "d1") is None
    for damaged in ("", "{", "[1]", "3", json.dumps({"x": 1}), "[" * 100_000):
        path.write_text(damaged)
        assert read_kept(path, "d1") is None


def test_a_digest_tells_any_change():
    parts = ({"a": (1, 2)}, None, "x", 0.1)
    assert digest_of(*parts) == digest_of(*parts)
    assert len({digest_of(*parts), digest_of(*parts[:3]), digest_of({"a": (2, 1)}, *parts[1:])}) == 3


def test_names_become_file_names_and_nan_is_refused():
    assert file_name("a b/../c") == "a b%2F..%2Fc"
    with pytest.raises(ValueError, match="JSON"):
        json_bytes(float("nan"))
