"""The page of a full report, as text and parsed."""

import pytest

from owseg.report.page import render
from tests.support.reports import Page, full


@pytest.fixture(scope="session")
def html() -> str:
    return render(full())


@pytest.fixture(scope="session")
def page(html: str) -> Page:
    return Page(html)
