"""Shortening of long texts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from saveany.excerpt import excerpt


def test_a_short_text_becomes_one_line() -> None:
    assert excerpt(" a \n b\t c ", 5) == "a b c"


def test_an_excerpt_ends_with_a_complete_sentence() -> None:
    text = "The server refuses. See 1.2.3 of its manual for the reason. Then try it again."
    assert excerpt(text, 70) == "The server refuses. See 1.2.3 of its manual for the reason."
    assert excerpt(text, 58) == "The server refuses."


def test_an_abbreviation_at_the_beginning_is_not_a_sentence() -> None:
    text = "No. 7 of the disks in the cupboard does not spin up"
    assert excerpt(text, 40) == "No. 7 of the disks in the cupboard does…"


def test_a_sentence_of_another_script_ends_without_a_space() -> None:
    assert excerpt("\u670d\u52a1\u5668\u62d2\u7edd\u3002\u8bf7\u7a0d\u540e\u518d\u8bd5\u4e00\u6b21", 10) == (
        "\u670d\u52a1\u5668\u62d2\u7edd\u3002"
    )


def test_a_sentence_that_is_too_long_is_cut_after_a_word() -> None:
    assert excerpt("the quick brown fox, which jumps over the dog", 21) == "the quick brown fox…"
    assert excerpt("x" * 30, 10) == "x" * 9 + "…"


@given(st.text(max_size=200), st.integers(1, 120))
def test_an_excerpt_is_never_too_long_and_begins_like_the_text(text: str, room: int) -> None:
    short, line = excerpt(text, room), " ".join(text.split())
    assert len(short) <= room
    assert line.startswith(short.removesuffix("…") if short != line else line)
    assert bool(short) == bool(line)
