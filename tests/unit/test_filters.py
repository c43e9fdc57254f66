"""Which files match a filter."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from saveany.filters import Filter, checked_pattern, search


@dataclass
class Sample:
    name: str | None = "Film.2024.mkv"
    caption: str = "A film about the sea"
    kind: str = "video"
    size: int = 1000
    date_ms: int = 1704067200_000  # 2024-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        ({}, True),
        ({"name": r"\.MKV$"}, True),
        ({"name": "about the (sea|sky)"}, True),
        ({"name": "^about"}, False),
        ({"kinds": ["video", "photo"]}, True),
        ({"kinds": ["photo"]}, False),
        ({"min_size": 1000, "max_size": 1000}, True),
        ({"min_size": 1001}, False),
        ({"max_size": 999}, False),
        ({"max_size": 0}, False),
        ({"after": "2024-01-01"}, True),
        ({"after": "2024-01-01T00:00:00.001+00:00"}, False),
        ({"after": "2024-01-01T01:00:00+01:00"}, True),
        ({"before": "2024-01-01"}, False),
        ({"before": "2024-01-01T00:00:01"}, True),
        ({"name": "mkv", "kinds": ["photo"]}, False),
        ({"text": "SEA"}, True),
        ({"text": "mkv"}, False),
        ({"text": "sea", "name": "mkv"}, True),
        ({"text": "sea", "name": "avi"}, False),
    ],
)
def test_all_conditions_must_match(fields: dict[str, Any], accepted: bool) -> None:
    assert Filter.model_validate(fields).accepts(Sample()) is accepted


def test_a_file_without_a_name_is_matched_by_its_caption() -> None:
    assert Filter(name="sea").accepts(Sample(name=None))
    assert not Filter(name="mkv").accepts(Sample(name=None))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "("}, "syntax of RE2"),
        ({"name": r"(a)\1"}, "syntax of RE2"),
        ({"name": "x" * 501}, "500"),
        ({"kinds": ["film"]}, "video_note"),
        ({"min_size": -1}, "greater"),
        ({"after": "yesterday"}, "datetime"),
        ({"sizes": 1}, "Extra"),
    ],
)
def test_invalid_filters_are_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Filter.model_validate(fields)


@given(st.text(max_size=50))
def test_any_text_is_a_pattern_or_is_refused_with_a_reason(text: str) -> None:
    with suppress(ValueError):
        assert isinstance(search(checked_pattern(text), "some text"), bool)


def test_every_pattern_matches_quickly() -> None:
    """Python's own engine would need exponential time."""
    assert not search("(a*)*b(a|aa)+$", "a" * 8000 + "c")


@given(st.builds(Filter, name=st.sampled_from(["", "x$"]), min_size=st.integers(0), kinds=st.just(["photo"])))
def test_a_filter_is_stored_as_plain_data(wanted: Filter) -> None:
    assert Filter.model_validate(wanted.model_dump(mode="json", exclude_defaults=True)) == wanted
