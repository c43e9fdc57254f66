"""Did-you-mean."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str], fold: Callable[[str], str] = str.lower) -> str:
    """`did you mean x?` for the `closest` of `known`, "" if there is none."""
    near = closest(word, known, fold)
    return f"did you mean {near}?" if near else ""


def closest(word: str, known: Iterable[str], fold: Callable[[str], str] = str.lower) -> str:
    """The most similar of `known`, "" if none is similar. `fold` converts `word` to the case of `known`."""
    near = get_close_matches(fold(word), list(known), n=1)
    return near[0] if near else ""
