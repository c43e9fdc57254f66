"""Dates and waits in HTTP headers."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.net.http import date_ms, retry_after_s


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", 0),
        ("7", 7),
        (" 7 ", 7),
        ("99999999999999999999", 86_400),
        ("-5", 0),
        ("1.5", 0),
        ("²", 0),
        (formatdate(1_000_090, usegmt=True), 90),
        (formatdate(999_000, usegmt=True), 0),
        (formatdate(9_000_000, usegmt=True), 86_400),
        ("soon", 0),
        ("Mon, 99 Foo 2024 99:99:99 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_at_most_a_day(value: str, seconds: float) -> None:
    assert retry_after_s(value, 1_000_000_000) == seconds


@given(st.text())
def test_any_retry_after_is_parsed_or_ignored(value: str) -> None:
    assert 0 <= retry_after_s(value, 1_000_000_000) <= 86_400


@pytest.mark.parametrize(
    ("value", "ms"), [("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777_000), ("yesterday", None), ("", None)]
)
def test_a_date_is_milliseconds_since_the_epoch(value: str, ms: int | None) -> None:
    assert date_ms(value) == ms
