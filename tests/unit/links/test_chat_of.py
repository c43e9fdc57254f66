"""How users may name a chat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.errors import InvalidInput
from saveany.telegram.links import chat_of


@pytest.mark.parametrize(
    ("text", "chat"),
    [
        ("@channel", "@channel"),
        (" Channel ", "@Channel"),
        ("-1001500000001", "-1001500000001"),
        ("https://t.me/channel", "@channel"),
        ("t.me/channel/", "@channel"),
        ("https://t.me/s/channel", "@channel"),
        ("https://t.me/channel/123?single", "@channel"),
        ("https://t.me/sandboxforum/10/12", "@sandboxforum"),
        ("https://channel.t.me/5", "@channel"),
        ("https://t.me/c/1500000001", "-1001500000001"),
        ("https://t.me/c/1500000001/5", "-1001500000001"),
        ("tg://resolve?domain=channel&post=5", "@channel"),
    ],
)
def test_every_spelling_of_a_chat_is_understood(text: str, chat: str) -> None:
    assert chat_of(text) == chat


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://t.me/+abcdef", "invite"),
        ("https://t.me/addstickers/cats", "sticker set"),
        ("tg://openmessage?user_id=5&message_id=6", "a chat with the bot"),
        ("-5", "not a Telegram link"),
        ("", "not a Telegram link"),
        ("https://example.com/channel", "not a Telegram link"),
    ],
)
def test_other_texts_are_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        chat_of(text)


@given(st.text(max_size=60) | st.from_regex(r"(https://t\.me/|@|-100)[\w/+?=&]{0,30}"))
def test_any_text_gives_a_chat_or_a_reason(text: str) -> None:
    try:
        chat = chat_of(text)
    except InvalidInput:
        return
    assert chat_of(chat) == chat
