"""Sequences whose items are made when they are asked for."""

import pytest

from owseg.data.lazy import Lazy, joined


def made_of(keys, **options):
    made = []

    def make(key):
        made.append(key)
        return key * 10

    return Lazy(keys, make, **options), made


def test_an_item_is_made_when_it_is_asked_for():
    lazy, made = made_of([3, 1, 2])
    assert len(lazy) == 3 and not made
    assert lazy[1] == 10 and lazy[-1] == 20 and made == [1, 2]
    assert list(lazy[1:]) == [10, 20] and list(lazy) == [30, 10, 20] and 30 in lazy
    with pytest.raises(IndexError):
        lazy[3]


def test_the_last_stay():
    lazy, made = made_of([0, 1, 2], keep=2)
    assert [lazy[i] for i in (0, 1, 1, 0, 2, 1)] == [0, 10, 10, 0, 20, 10] and made == [0, 1, 2, 1]


def test_an_error_is_no_end():
    def fail(key):
        raise IndexError(key)

    with pytest.raises(IndexError):
        list(Lazy([0, 1], fail))


def test_two_are_joined():
    first, made = made_of([1, 2])
    assert list(joined(first, [5])) == [10, 20, 5] and len(joined(first, first)) == 4
    assert joined([1], first)[1] == 10 and made == [1, 2, 1]
