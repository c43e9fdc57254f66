"""Titles of tasks and their subjects."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from saveany.models import subject_of, title

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)


@given(subject=NAMES, storage=st.from_regex(r"[a-z][a-z0-9_-]*", fullmatch=True), path=st.text())
@example(subject="a->b.bin", storage="local1", path="films/a->b.bin")
@example(subject="https://t.me/channel/123", storage="local1", path="")
@example(subject="a](b", storage="local1", path="x](y->z:/")
def test_the_subject_is_taken_from_the_title(subject: str, storage: str, path: str) -> None:
    assert subject_of(title("tgfiles", subject, storage, path)) == subject


def test_a_title_of_another_form_is_its_own_subject() -> None:
    assert subject_of("planned") == "planned"
