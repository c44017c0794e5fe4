"""Links of the pages as the site has them: what is in docs/, what is not, and what is code."""

from types import SimpleNamespace

import pytest

from tools.links import slug
from tools.site import ELSEWHERE, examples, on_config, on_page_markdown, target


@pytest.mark.parametrize(
    ("link", "origin", "there", "expected"),
    [
        ("docs/data.md", "README.md", "index.md", "data.md"),
        ("docs/data.md#what-is-unknown", "README.md", "index.md", "data.md#what-is-unknown"),
        ("docs/loop.jpg", "README.md", "index.md", "loop.jpg"),
        ("examples", "README.md", "index.md", "examples.md"),
        ("examples/own_scorer.py", "README.md", "index.md", "examples.md#own_scorerpy"),
        ("../SECURITY.md", "docs/security.md", "security.md", "reporting.md"),
        ("../../README.md", "docs/howto/correct.md", "howto/correct.md", "../index.md"),
        ("../unknown.md", "docs/howto/correct.md", "howto/correct.md", "../unknown.md"),
        ("index.md", "docs/api/data.md", "api/data.md", "index.md"),
        ("#segments", "docs/scorers.md", "scorers.md", "#segments"),
        ("https://host/a.md", "README.md", "index.md", "https://host/a.md"),
    ],
)
def test_a_link(link, origin, there, expected):
    assert target(link, origin, there) == expected


def test_links_in_code_stay():
    text = "[a](docs/data.md)\n\n```python\nx = [a](docs/data.md)\n```\n[b](CHANGELOG.md)\n"
    page = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))
    assert on_page_markdown(text, page) == text.replace("(docs/data.md)\n\n", "(data.md)\n\n").replace(
        "CHANGELOG.md", "changelog.md"
    )


def test_anchors_are_those_of_github():
    config = on_config(SimpleNamespace(mdx_configs={"toc": {"permalink": True}}))
    assert (
        config.mdx_configs["toc"]["slugify"]("What is `unknown`?", "-")
        == slug("What is `unknown`?")
        == "what-is-unknown"
    )
    assert config.mdx_configs["toc"]["permalink"] is True


def test_every_example_is_a_section():
    text = examples()
    assert text.count("\n## ") == text.count("```python\n") >= 4 and "## own_scorer.py\n\nCompare" in text


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<script src="https://unpkg.com/x.js"></script>', True),
        ("<img alt=x src=//host/x.png>", True),
        ('<link href="assets/x.css" rel="stylesheet">', False),
        ('<a href="https://www.ray.io">Ray</a>', False),
    ],
)
def test_what_a_page_would_load_from_elsewhere_is_found(html, found):
    assert bool(ELSEWHERE.search(html)) is found
