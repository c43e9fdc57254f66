"""Conditional requests (RFC 9110, section 13)."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.delivery.conditions import Verdict, evaluate, range_applies

ETAG = '"one"'
#: Sun, 06 Nov 1994 08:49:37 GMT
MODIFIED = 784111777
DATE, EARLIER, LATER = (f"Sun, 06 Nov 1994 08:49:{second} GMT" for second in (37, 36, 38))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Verdict.SEND),
        ({"if-none-match": ETAG}, Verdict.NOT_MODIFIED),
        ({"if-none-match": 'W/"one"'}, Verdict.NOT_MODIFIED),
        ({"if-none-match": '"two" , W/"three",,"one"'}, Verdict.NOT_MODIFIED),
        ({"if-none-match": '"a,b","one"'}, Verdict.NOT_MODIFIED),
        ({"if-none-match": "*"}, Verdict.NOT_MODIFIED),
        ({"if-none-match": '"two"'}, Verdict.SEND),
        ({"if-none-match": "one"}, Verdict.SEND),
        ({"if-none-match": '"two"', "if-modified-since": LATER}, Verdict.SEND),
        ({"if-modified-since": DATE}, Verdict.NOT_MODIFIED),
        ({"if-modified-since": LATER}, Verdict.NOT_MODIFIED),
        ({"if-modified-since": EARLIER}, Verdict.SEND),
        ({"if-modified-since": "Sunday, 06-Nov-94 08:49:37 GMT"}, Verdict.NOT_MODIFIED),
        ({"if-modified-since": "Sun Nov  6 08:49:37 1994"}, Verdict.NOT_MODIFIED),
        ({"if-modified-since": "yesterday"}, Verdict.SEND),
        ({"if-match": ETAG}, Verdict.SEND),
        ({"if-match": "*"}, Verdict.SEND),
        ({"if-match": 'W/"one"'}, Verdict.FAILED),
        ({"if-match": '"two"'}, Verdict.FAILED),
        ({"if-match": ETAG, "if-unmodified-since": EARLIER}, Verdict.SEND),
        ({"if-unmodified-since": EARLIER}, Verdict.FAILED),
        ({"if-unmodified-since": DATE}, Verdict.SEND),
        ({"if-match": ETAG, "if-none-match": ETAG}, Verdict.NOT_MODIFIED),
    ],
)
def test_conditions(headers: dict[str, str], expected: Verdict) -> None:
    assert evaluate(headers, ETAG, MODIFIED) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (ETAG, True),
        (f" {ETAG} ", True),
        ('W/"one"', False),
        ('"two"', False),
        (DATE, True),
        (LATER, False),
        (EARLIER, False),
        ("", False),
    ],
)
def test_a_range_applies_only_to_the_same_version(value: str, expected: bool) -> None:
    assert range_applies({"if-range": value}, ETAG, MODIFIED) is expected


def test_without_if_range_a_range_applies() -> None:
    assert range_applies({}, ETAG, MODIFIED)


def test_a_file_without_a_time_has_no_date_to_compare_with() -> None:
    assert not range_applies({"if-range": "Thu, 01 Jan 1970 00:00:00 GMT"}, ETAG, 0)
    assert evaluate({"if-modified-since": LATER}, ETAG, 0) is Verdict.SEND


@pytest.mark.parametrize("text", [", ", " ", ",", "\t,", '"', '""', '"a" ', 'W/"', 'W/"a" x', "\\"])
def test_long_lists_keep_nobody_waiting(text: str) -> None:
    """They are evaluated in the event loop. In a process, because an expression cannot be interrupted."""
    call = f"evaluate({{'if-none-match': {text!r} * 30_000}}, 'x', 0)"
    code = f"from saveany.delivery.conditions import evaluate; {call}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


NAMES = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range")


@given(st.dictionaries(st.sampled_from(NAMES), st.text(st.characters(codec="latin-1"), max_size=80)))
def test_any_text_is_accepted(headers: dict[str, str]) -> None:
    """DL2."""
    assert evaluate(headers, ETAG, MODIFIED) in Verdict
    assert range_applies(headers, ETAG, MODIFIED) in (True, False)
