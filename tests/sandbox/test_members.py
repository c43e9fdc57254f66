"""Members of channels and groups, and invite links, as bots see them."""

from __future__ import annotations

import pytest
from telethon import errors as tg
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import Sandbox, samples
from saveany.sandbox.world import Chat
from tests.sandbox.clients import bot, person

BOT, USER = samples.BOT.id, samples.USER.id
CHANNEL = tl.InputChannel(1600000100, 0)


@pytest.fixture
def chat(sandbox: Sandbox) -> Chat:
    made = Chat(id=CHANNEL.channel_id, title="Club", members={BOT, USER}, admins={BOT})
    return sandbox.world.add_chat(made)


async def participant(sandbox: Sandbox, user: int = USER) -> object:
    async with person(sandbox, user) as one:
        await one.send("sandbox_bot", "/start")
    async with bot(sandbox) as client:
        reply = await client(fn.channels.GetParticipantRequest(CHANNEL, tl.InputPeerUser(user, 0)))
        return reply.participant


async def test_an_administrator_sees_members(sandbox: Sandbox, chat: Chat) -> None:
    assert isinstance(await participant(sandbox), tl.ChannelParticipant)
    chat.restricted = {USER}
    assert isinstance(await participant(sandbox), tl.ChannelParticipantBanned)
    chat.members = {BOT}
    with pytest.raises(tg.UserNotParticipantError):
        await participant(sandbox)


async def test_others_see_only_members_of_groups(sandbox: Sandbox, chat: Chat) -> None:
    chat.admins = set()
    with pytest.raises(tg.ChatAdminRequiredError):
        await participant(sandbox)
    chat.broadcast = False
    assert isinstance(await participant(sandbox), tl.ChannelParticipant)


async def test_administrators_make_invite_links(sandbox: Sandbox, chat: Chat) -> None:
    async with bot(sandbox) as client:
        full = await client(fn.channels.GetFullChannelRequest(CHANNEL))
        assert full.full_chat.exported_invite is None
        peer = tl.InputPeerChannel(CHANNEL.channel_id, 0)
        made = await client(fn.messages.ExportChatInviteRequest(peer))
        full = await client(fn.channels.GetFullChannelRequest(CHANNEL))
        assert full.full_chat.exported_invite.link == made.link
        chat.admins = set()
        with pytest.raises(tg.ChatAdminRequiredError):
            await client(fn.messages.ExportChatInviteRequest(peer))
