"""Encoded names are decoded to the original."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from storages.names import Encoder

PIECES = st.sampled_from(
    ["%", "2", "5", "25", "0A", "20", "2E", "\n", " ", ".", "a", "é", "EF%BF%BE", "\ufffe"]
)
NAMES = st.lists(PIECES, min_size=1, max_size=8).map("".join)
ENCODERS = [
    Encoder("\n"),
    Encoder("\n\\?", edges=" ."),
    Encoder("\n\ufffe\uffff"),
    Encoder("\\", edges=" "),
    Encoder("\r\n", edges=" \t\v\f"),
]


@pytest.mark.parametrize("encoder", ENCODERS)
@given(name=NAMES | st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])))
def test_every_name_survives_a_round_trip(encoder: Encoder, name: str) -> None:
    assert encoder.decode(encoder.encode(name)) == name


@pytest.mark.parametrize("encoder", ENCODERS)
@given(theirs=NAMES)
def test_only_encoded_names_are_decoded(encoder: Encoder, theirs: str) -> None:
    without = theirs.replace("%", "_")
    assume(encoder.encode(without) == without)  # a backend has no names that it refuses
    assert encoder.decode(theirs) == theirs or encoder.encode(encoder.decode(theirs)) == theirs


@given(name=NAMES)
def test_encoded_names_contain_no_refused_character(name: str) -> None:
    spelled = Encoder("\n?", edges=" .").encode(name)
    assert not set("\n?") & set(spelled)
    assert not {spelled[0], spelled[-1]} & set(" .")


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("a b.bin", "a b.bin"),
        ("100%20.bin", "100%20.bin"),
        ("100%.bin", "100%.bin"),
        ("%2e%2E", "%2e%252E"),
        ("a\nb", "a%0Ab"),
        ("a%0Ab", "a%250Ab"),
        ("a%250Ab", "a%25250Ab"),
        ("a%25b", "a%25b"),
        (" a ", "%20a%20"),
        ("%20a", "%2520a"),
        ("...", "%2E.%2E"),
        (".", "%2E"),
    ],
)
def test_known_names_are_encoded_as_expected(name: str, spelled: str) -> None:
    encoder = Encoder("\n", edges=" .")
    assert encoder.encode(name) == spelled
    assert encoder.decode(spelled) == name
