"""Links to whole chats."""

from __future__ import annotations

import pytest

from saveany.telegram.links import invite_of, is_whole_chat, parse, part_of


@pytest.mark.parametrize(
    "text",
    [
        "https://t.me/channel",
        "t.me/channel/",
        "https://t.me/c/1234567890",
        "http://www.telegram.me/channel?before=5",
        "https://t.me/+AbCdEf12345",
        "https://t.me/joinchat/AbCdEf12345",
        "tg://join?invite=AbCdEf12345",
        "https://t.me/s/channel",
    ],
)
def test_whole_chats(text: str) -> None:
    assert is_whole_chat(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://t.me/channel/5",
        "https://t.me/c/1234567890/5",
        "https://t.me/channel/5/6",
        "https://t.me/channel/s/5",
        "https://t.me/channel/s",
        "https://t.me/addstickers/Name",
        "https://example.com/channel",
        "@channel",
        "",
        "https://t.me/",
    ],
)
def test_other_texts(text: str) -> None:
    assert not is_whole_chat(text)


def test_invites_and_parts() -> None:
    assert invite_of(" https://t.me/+AbCdEf12345 ") == "+AbCdEf12345"
    assert invite_of("https://t.me/channel") == ""
    assert part_of("https://t.me/channel/5") == 5
    assert part_of("https://t.me/c/1234567890/5/6") == 5
    assert part_of("https://t.me/channel") == 0


@pytest.mark.parametrize(
    "text",
    ["https://t.me/channel/s/12", "https://channel.t.me/s/12", "tg://resolve?domain=channel&story=12"],
)
def test_stories(text: str) -> None:
    link = parse(text)
    assert (link.chat, link.message, link.story) == ("channel", 12, True)
    assert link.url == "https://t.me/channel/s/12"
    assert parse(link.url) == link
