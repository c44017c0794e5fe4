import pytest

from tests.support.queues import IDS, make


@pytest.fixture
def queue(tmp_path):
    return make(tmp_path)


@pytest.fixture
def ids():
    return IDS
