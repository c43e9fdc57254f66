"""Secrets that are hidden in what is shown, and come back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.config.hidden import HIDDEN, is_hidden, passwords, restored, without_password
from saveany.config.schema import Config

_WORDS = st.text("abc@:%!", min_size=1, max_size=6)


@given(st.text("abc", max_size=3), _WORDS, st.sampled_from(["host", "host:1/x?y=z@w"]))
def test_a_password_in_a_url_does_not_show_and_comes_back(user: str, password: str, host: str) -> None:
    url = f"socks5://{user}:{password}@{host}"
    shown = without_password(url)
    assert shown == f"socks5://{user}:{HIDDEN}@{host}"
    assert passwords(url) == [password]
    assert restored(shown, url) == url
    assert restored(shown.replace(host, "other"), url) == f"socks5://{user}:{password}@other"


@pytest.mark.parametrize(
    ("value", "present", "result"),
    [
        ("plain", "secret", "plain"),
        (HIDDEN, "secret", "secret"),
        ([HIDDEN, "new"], ["old"], ["old", "new"]),
        (["first", HIDDEN], ["a", "b"], ["first", "b"]),
        (["new"], ["a", "b"], ["new"]),
        ("redis://host", "redis://:secret@host", "redis://host"),
    ],
)
def test_what_is_hidden_is_the_present_value(value: Any, present: Any, result: Any) -> None:
    assert restored(value, present) == result


@pytest.mark.parametrize(
    ("value", "present"),
    [
        (HIDDEN, ""),
        (HIDDEN, None),
        ([HIDDEN], ["a", "b"]),
        ([HIDDEN, HIDDEN], ["a"]),
        (f"redis://:{HIDDEN}@host", "redis://host"),
        (f"redis://:{HIDDEN}@host", None),
    ],
)
def test_a_secret_that_nobody_knows_is_refused(value: Any, present: Any) -> None:
    assert is_hidden(value)
    with pytest.raises(ValueError, match="secret"):
        restored(value, present)


def test_the_log_masks_the_passwords_of_urls() -> None:
    config = Config.model_validate(
        {"proxy": "socks5://me:p%40ss@host:1080", "redis": {"url": "redis://:hush@h"}}
    )
    assert {"p%40ss", "p@ss", "hush"} <= set(config.secrets())


def test_secrets_of_tables_are_those_of_the_tables_with_the_same_names() -> None:
    known = [{"name": "a", "secret": "s-a"}, {"name": "b", "secret": "s-b"}]
    sent = [{"name": "b", "secret": HIDDEN}, {"name": "c", "secret": "new"}]
    assert restored(sent, known) == [{"name": "b", "secret": "s-b"}, {"name": "c", "secret": "new"}]
    for row in ({"name": "x", "secret": HIDDEN}, {"secret": HIDDEN}):
        with pytest.raises(ValueError, match="no such secret"):
            restored([row], known)
