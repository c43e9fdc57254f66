"""Range headers (RFC 9110, section 14)."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from saveany.delivery import ranges
from saveany.delivery.ranges import Unsatisfiable

WHOLE = None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 1000)),
        ("bytes=0-999", (0, 1000)),
        ("bytes=999-", (999, 1000)),
        ("bytes=-500", (500, 1000)),
        ("bytes=-5000", (0, 1000)),
        ("bytes=990-5000", (990, 1000)),
        ("bytes=990-" + "9" * 30, (990, 1000)),
        ("bytes=000000000000000000000000990-991", (990, 992)),
        ("Bytes=1-2", (1, 3)),
        ("bytes = 1-2", (1, 3)),
        ("bytes=, 1-2 ,", (1, 3)),
        ("bytes=0-9,5000-6000", (0, 10)),
        ("bytes=0-9, 10-19", (0, 20)),
        ("bytes=5-9,0-6", (0, 10)),
        ("bytes=0-,1-,2-,3-,4-", (0, 1000)),
        ("bytes=0-1,5-8", WHOLE),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(0, 900, 2)), WHOLE),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(900)), WHOLE),
        ("bytes=5-2", WHOLE),
        ("bytes=0-1,5-2", WHOLE),
        ("items=0-1", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=", WHOLE),
        ("bytes=,", WHOLE),
        ("bytes=5", WHOLE),
        ("bytes=a-b", WHOLE),
        ("bytes=1-2-3", WHOLE),
        ("bytes=-5-2", WHOLE),
        ("bytes=+1-2", WHOLE),
        ("bytes=1 - 2", WHOLE),
        ("bytes=\u0663-\u0665", WHOLE),
        ("abc", WHOLE),
        ("5", WHOLE),
        ("", WHOLE),
        (None, WHOLE),
    ],
)
def test_ranges_of_a_file_of_1000_bytes(header: str | None, expected: tuple[int, int] | None) -> None:
    assert ranges.select(header, 1000) == expected


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("bytes=1000-", 1000),
        ("bytes=-0", 1000),
        ("bytes=5000-6000,1000-1001", 1000),
        ("bytes=" + "9" * 5000 + "-", 1000),
        ("bytes=0-", 0),
        ("bytes=0-0", 0),
        ("bytes=-0", 0),
    ],
)
def test_ranges_without_a_byte_of_the_file(header: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        ranges.select(header, size)


def test_the_last_bytes_of_an_empty_file_are_the_whole_file() -> None:
    assert ranges.select("bytes=-500", 0) is WHOLE


HEADER = st.characters(codec="latin-1")  # of a header's value

positions = st.one_of(st.none(), st.integers(0, 40), st.integers(0, 10**30))


@given(st.lists(st.tuples(positions, positions), min_size=1, max_size=8), st.integers(0, 30))
@example([(None, 5)], 0)
def test_a_range_is_a_slice(asked: list[tuple[int | None, int | None]], size: int) -> None:
    """The bytes are those that slicing selects, or the response is the whole file (DL2)."""
    content = bytes(range(size))
    header = "bytes=" + ",".join(f"{'' if a is None else a}-{'' if b is None else b}" for a, b in asked)
    valid = all((a, b) != (None, None) and (a is None or b is None or a <= b) for a, b in asked)
    wanted: set[int] = set()
    satisfiable = False
    for first, last in asked:
        if first is not None:
            part = content[first : None if last is None else last + 1]
        else:
            part = content[-last:] if last else b""
            satisfiable |= bool(last)
        wanted |= set(part)
        satisfiable |= bool(part)
    try:
        found = ranges.select(header, size)
    except Unsatisfiable:
        assert valid
        assert not satisfiable
        return
    joined = max(wanted) - min(wanted) + 1 == len(wanted) if wanted else False
    if valid and joined:
        assert found is not None
        assert set(content[slice(*found)]) == wanted
    else:
        assert found is None
        assert not valid or satisfiable


@given(
    st.text(HEADER, max_size=60).map(lambda text: f"bytes={text}") | st.text(HEADER), st.integers(0, 2**63)
)
def test_any_text_selects_bytes_within_the_file(header: str, size: int) -> None:
    """DL2."""
    try:
        found = ranges.select(header, size)
    except Unsatisfiable:
        return
    if found is not None:
        start, end = found
        assert 0 <= start < end <= size
