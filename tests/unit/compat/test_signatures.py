"""Signatures of StreamAPI, against values that were computed by hand."""

from __future__ import annotations

import pytest

from saveany.compat.streamapi.errors import StreamApiError
from saveany.compat.streamapi.signing import is_signed, parse, signature


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        # md5("AK12345PeterSK5")
        (
            {"username": "Peter", "site_user_id": "12345", "key": "AK", "rid": "5"},
            "dad68cc460591df4b73f8778c72396ff",
        ),
        # md5("9AK123451SK6")
        (
            {"public_hostid": "12345", "start_date": "1", "end_date": "9", "key": "AK", "rid": "6"},
            "bb0a3836655397de00ce76b78c29f560",
        ),
    ],
)
def test_values_are_signed_in_the_order_of_their_names(parameters: dict[str, str], expected: str) -> None:
    assert signature(parameters, "SK") == expected
    assert is_signed({**parameters, "sig": expected}, "SK")
    for wrong in (expected[:-1] + "x", expected.upper(), "", "\udcff"):
        assert not is_signed({**parameters, "sig": wrong}, "SK")


def test_query_and_form_are_one_set_of_parameters() -> None:
    assert parse(b"a=1&b=", b"c=%20+x") == {"a": "1", "b": "", "c": "  x"}
    with pytest.raises(StreamApiError):
        parse(b"a=1", b"a=1")
