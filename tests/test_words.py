"""The project says things in the words of its field: none of its own that a newcomer would have to learn is left.

A place that has to keep one, such as the name of a key on disk, is in ``ALLOWED`` with the reason.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.pages import ROOT

SUFFIXES = {".py", ".md", ".toml", ".js", ".css", ".j2", ".yml", ".cff"}
TOPS = (".github", "src", "docs", "examples", "recipes", "benchmarks", "tools", "tests")
LEFT_OUT = ("tests/test_words.py", "tests/golden/", "CHANGELOG.md")
"""This list, stored files of the old format, and what was said of old versions."""

COINED = {
    r"(?i)pictur": "image",
    r"\bLook\b(?! [a-z])|\blook(?= = |: |\)|\()": "forward",
    r"(?i)witness": "component",
    r"(?i)\b(committees?|opinions?)\b": "ensemble, members",
    r"(?i)\bclaim(s|ed|ing)?\b|_claim|claim_": "predict_mask",
    r"(?i)relabel": "update_labels",
    r"(?i)\brivals?\b|_rivals?\b": "competitors",
    r"\.elsewhere\b": "negatives",
    r"(?i)\bwiser\b": "updated",
    r"(?i)\bverdicts?\b": "best score",
    r"\b[A-Z]?[a-z]*Figures\b": "metrics",
    r"(?i)\btall(y|ies)\b": "evaluator",
    r"\bunknown_found\b|\bknown_lost\b|\.called\b": "unknown_recall, known_fpr, predicted_unknown",
    r"(?i)\bone lens\b": "same augmentation",
    r"\b(class Found|Found\(|Sheet|_Thing|Thing\()": "RegionProposals, ImageMasks, SceneObject",
    r"\b(ALIKE|SAME|ROOM)\b": "MERGE_COSINE, DUPLICATE_COSINE, MAX_PAIRWISE",
    r"(?i)\bdesks?\b": "review state",
    r"(?i)lessons?\b": "learning session",
    r"(?i)bapti[sz]": "name",
    r"(?i)teachable|\bteaching\b": "learn",
    r"(?i)\bthe (whole )?circle\b|circle\.jpg": "the open-world loop",
    r"\bStreams?\b|\bstreams?(?=[\[(.]| = )|--stream\b|\bstream_|_stream\b": "sequence",
    r"\brecipes[./]drives\b": "held-out sequence",
    r"\b(BESIDE|_strangers|_told)\b": "IMAGE_SCORERS, published_only_rows, _with_key",
    r"\b(with_threshold|with_fitted|with_baselines|shots_at|shots_in|shots_from|learn_stream)\b": "the new names",
    r"(?i)\bhow strange\b|\bstranger\b": "anomalous, anomaly score",
    r"(?i)\bfared?\b": "performed",
}
"""What is found nowhere in the project, and what is said instead."""

EVERYDAY = {
    r"(?i)\b(a|one|each|every|its|more) looks?\b(?! like)|\blooks? alike\b": "forward pass, similar",
    r"(?i)\b(heard|shouts?|doubts?)\b": "weighted sum, scale, expected entropy",
    r"\bremember(s|ed)?\b": "cached",
    r"(?i)\bjudge[sd]?\b|\bjudging\b": "validate",
    r"\bfigures\b(?! =)": "metrics",
    r"\bstreets\b": "inlier images, scenes",
    r"(?i)(?<!un)\bseen\b": "observed",
    r"\bworth\b": "priority, or what it is good for",
    r"(?i)\bteach(es|er)?\b|\btaught\b": "learn, train, annotate",
    r"(?i)\b(story|stories)\b": "report",
    r"(?i)\bstreams?\b": "sequence",
    r"(?i)\b(the|without|of|no|its|and|with|their|true) truths?\b": "ground truth",
    r"(?i)\bstrange(r|rs|st)?\b": "anomalous, unexpected",
    r"(?i)\btold\b(?! apart)": "reported, given",
    r"\btravels?\b": "transfers",
    r"(?i)\bnowhere\b": "has no folder",
}
"""Words of everyday speech that had a meaning of their own here: not found in the package and its pages."""

WORDS = {**COINED, **EVERYDAY}
READ_BY_USERS = ("src/", "docs/", "examples/", "README.md", "CONTRIBUTING.md", "SECURITY.md", "recipes/README.md",
                 "pyproject.toml", "CITATION.cff", ".github/")  # fmt: skip

ALLOWED: dict[tuple[str, str], str] = {
    ("src/owseg/increments/prototype.py", "rivals"): "the name that format 2 has for competitors",
    ("src/owseg/discovery/old_layout.py", "pictur"): "the name that the folder of an old queue's images has",
    ("tests/support/old_queues.py", "pictur"): "writes it",
    ("src/owseg/serve/images.py", "stream"): "part of the name that the web has for bytes of any type",
    ("tests/discovery/test_old_layout.py", "pictur"): "reads it",
    ("src/owseg/discovery/old_layout.py", "worth"): "the name that old queues have for priority",
    ("src/owseg/evaluation/maps.py", "pictur"): "the name that format 2 has for images",
    ("tests/evaluation/test_maps.py", "pictur"): "reads it",
    ("src/owseg/data/frames.py", "streams"): "what PyAV calls the videos of a file",
    ("src/owseg/data/video_writer.py", "_stream"): "what PyAV calls adding one",
    ("tests/support/videos.py", "streams"): "reads it",
    ("tests/support/videos.py", "_stream"): "calls it",
}
"""Places that keep a word: (file or pattern, the text that is found there) -> why."""


@cache
def texts() -> dict[str, str]:
    """Return every page and source file of the project by its path."""
    paths = [path for top in TOPS for path in (ROOT / top).rglob("*")] + list(ROOT.glob("*"))
    names = {path.relative_to(ROOT).as_posix(): path for path in paths if path.suffix in SUFFIXES and path.is_file()}
    return {name: path.read_text() for name, path in sorted(names.items()) if not name.startswith(LEFT_OUT)}


def allowed(name: str, text: str) -> bool:
    return any(Path(name).match(pattern) and text.lower() == word for pattern, word in ALLOWED)


def found(word: str) -> list[str]:
    """Return each place of a word, as FILE:LINE: what is found; a file's own name is at line 0."""
    return [
        f"{name}:{number}: {match[0]}"
        for name, text in texts().items()
        if word in COINED or name.startswith(READ_BY_USERS)
        for number, line in enumerate([name, *text.splitlines()])
        for match in re.finditer(word, line)
        if not allowed(name, match[0])
    ]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_that_only_this_project_used_is_gone(word):
    places = found(word)
    assert places == [], f"say: {WORDS[word]}"


def test_what_is_allowed_is_there():
    """An exception that nothing needs any more goes."""
    for pattern, word in ALLOWED:
        there = [text for name, text in texts().items() if Path(name).match(pattern)]
        assert any(word in text.lower() for text in there), (pattern, word)


def test_the_files_are_read():
    assert (
        len(texts()) > 300
        and {"README.md", "pyproject.toml", "CITATION.cff"} < texts().keys()
        and "src/owseg/review/static/editor.js" in texts()
    )


@pytest.mark.parametrize(
    ("text", "hit"),
    [("a picture", True), ("StreetHazards", False), ("ground truth", False), ("the truth", True), ("lookup", False)],
)
def test_the_patterns_find_what_they_say(text, hit):
    assert any(re.search(word, text) for word in WORDS) is hit
