"""Half-open ranges of bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.ranges import RangeSet, contains, missing, parse_content_range, range_header, split

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: (min(pair), max(pair))))


@given(RANGES)
def test_a_set_contains_the_added_bytes_as_disjoint_ascending_ranges(
    ranges: list[tuple[int, int]],
) -> None:
    found = RangeSet(ranges)
    expected = {byte for start, end in ranges for byte in range(start, end)}
    assert {byte for start, end in found for byte in range(start, end)} == expected
    edges = [edge for each in found for edge in each]
    assert edges == sorted(set(edges)), "neither empty, nor overlapping, nor adjacent"
    assert found.is_exactly(len(expected)) == (expected == set(range(len(expected))))


@given(RANGES, st.integers(0, 60))
def test_missing_ranges_are_the_complement(ranges: list[tuple[int, int]], size: int) -> None:
    have = list(RangeSet(ranges))
    there = {byte for start, end in have for byte in range(start, end)}
    gaps = missing(have, size)
    assert {byte for start, end in gaps for byte in range(start, end)} == set(range(size)) - there
    assert all(start < end for start, end in gaps)


def test_ranges_are_split_and_searched() -> None:
    assert list(split([(0, 5), (7, 8)], 2)) == [(0, 2), (2, 4), (4, 5), (7, 8)]
    assert contains([(0, 5), (7, 9)], 7, 9)
    assert not contains([(0, 5), (5, 9)], 4, 6)
    assert str(RangeSet([(0, 5), (7, 9)])) == "0 to 5, 7 to 9"
    assert str(RangeSet()) == "none"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("bytes 0-4/10", ((0, 5), 10)),
        ("bytes=3-3/*", ((3, 4), None)),
        (" 0-0/1 ", ((0, 1), 1)),
        ("bytes */10", None),
        ("bytes 0-/10", None),
        ("", None),
    ],
)
def test_a_content_range_is_parsed(value: str, found: object) -> None:
    assert parse_content_range(value) == found


def test_a_range_header_has_an_inclusive_end() -> None:
    assert range_header(0, 5) == "bytes=0-4"
