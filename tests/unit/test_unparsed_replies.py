"""Replies of which only the newest message is looked at before they are parsed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telethon.tl import TLObject, types

from saveany.telegram.unparsed import UnparsedReply, newest_message

_DATE = datetime(2026, 1, 1, tzinfo=UTC)
_PEER = types.PeerChannel(1)
_ids = st.integers(1, 2**31 - 1)
_flags = st.none() | st.just(True)


def _message(number: int, flag: bool | None) -> TLObject:
    sender = _PEER if flag else None
    return types.Message(number, _PEER, _DATE, message="text", out=flag, from_id=sender, offline=flag)


def _service(number: int, flag: bool | None) -> TLObject:
    return types.MessageService(number, _PEER, _DATE, action=types.MessageActionPinMessage(), silent=flag)


def _empty(number: int, flag: bool | None) -> TLObject:
    return types.MessageEmpty(number, _PEER if flag else None)


_messages = st.builds(
    lambda make, *args: make(*args), st.sampled_from([_message, _service, _empty]), _ids, _flags
)
_lists = st.lists(_messages, max_size=3)
_numbers = st.none() | _ids


def _whole(messages: list[Any]) -> TLObject:
    return types.messages.Messages(messages, [], [], [])


def _slice(messages: list[Any], rate: int | None, offset: int | None, flag: bool | None) -> TLObject:
    return types.messages.MessagesSlice(
        9, messages, [], [], [], inexact=flag, next_rate=rate, offset_id_offset=offset
    )


def _of_channel(messages: list[Any], offset: int | None, flag: bool | None) -> TLObject:
    return types.messages.ChannelMessages(7, 9, messages, [], [], [], inexact=flag, offset_id_offset=offset)


@given(
    st.builds(_whole, _lists)
    | st.builds(_slice, _lists, _numbers, _numbers, _flags)
    | st.builds(_of_channel, _lists, _numbers, _flags)
)
def test_the_newest_message_is_found_in_every_form_of_a_reply(reply: Any) -> None:
    """As Telethon serialises it: fails when an update of Telethon brings another form."""
    parsed: list[Any] = []
    unparsed = UnparsedReply(bytes(reply), parsed.append)
    assert unparsed.newest_message == (reply.messages[0].id if reply.messages else 0)
    found = unparsed.parsed()
    assert [each.id for each in found.messages] == [each.id for each in reply.messages]
    assert parsed == [found]


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        bytes(types.messages.MessagesNotModified(3)),
        bytes(
            types.messages.MessagesSlice(
                9, [_message(5, None)], [], [], [], search_flood=types.SearchPostsFlood(1, 1, 1)
            )
        ),
        bytes(_whole([_message(5, None)]))[:20],
    ],
)
def test_an_unknown_form_has_no_newest_message(reply: bytes) -> None:
    assert newest_message(reply) == 0


@given(st.binary(max_size=64))
def test_nonsense_has_no_newest_message_or_one(reply: bytes) -> None:
    assert isinstance(newest_message(reply), int)
