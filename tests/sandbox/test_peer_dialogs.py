"""messages.getPeerDialogs: the newest message of some chats at once."""

from typing import Any

import pytest
from telethon import errors
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import Sandbox, samples
from saveany.sandbox.world import Chat, StoredMessage
from tests.sandbox.clients import user


def of(*peers: Any) -> Any:
    return fn.messages.GetPeerDialogsRequest([tl.InputDialogPeer(peer) for peer in peers])


def tops(answer: Any) -> dict[int, int]:
    return {dialog.peer.channel_id: dialog.top_message for dialog in answer.dialogs}


async def test_the_newest_messages_come_with_their_chats_and_users(sandbox: Sandbox) -> None:
    private = sandbox.world.chats[samples.PRIVATE]
    async with user(sandbox) as client:
        await client.get_dialogs()
        peers = [await client.get_input_entity(name) for name in ("channel", tl.PeerChannel(private.id))]
        answer = await client(of(*peers))
        assert tops(answer) == {samples.CHANNEL: 144, samples.PRIVATE: 5}
        assert {chat.title for chat in answer.chats} == {"Sample channel", "Private channel"}
        assert {message.id for message in answer.messages} == {144, 5}
        assert answer.state.pts
        sandbox.world.send(private, StoredMessage(id=0, text="news"))
        sandbox.world.delete(sandbox.world.chats[samples.CHANNEL], 144, 143)
        assert tops(await client(of(*peers))) == {samples.CHANNEL: 142, samples.PRIVATE: 6}


async def test_one_inaccessible_chat_fails_the_whole_request(sandbox: Sandbox) -> None:
    private = sandbox.world.chats[samples.PRIVATE]
    async with user(sandbox) as client:
        await client.get_dialogs()
        known = await client.get_input_entity("channel")
        for hash_, error in ((0, errors.ChannelInvalidError), (None, errors.ChannelPrivateError)):
            hidden = await client.get_input_entity(tl.PeerChannel(private.id))
            private.members.discard(samples.USER.id)
            hidden.access_hash = hidden.access_hash if hash_ is None else hash_
            with pytest.raises(error):
                await client(of(known, hidden))


async def test_one_to_a_hundred_chats_can_be_requested(sandbox: Sandbox) -> None:
    for number in range(101):
        sandbox.world.add_chat(Chat(id=1700000000 + number, title=f"{number}", members={samples.USER.id}))
    async with user(sandbox) as client:
        peers = [dialog.input_entity for dialog in await client.get_dialogs() if dialog.id < -1001700000000]
        assert len(tops(await client(of(*peers[:100])))) == 100
        for wrong in ([], [*peers, await client.get_input_entity("channel")]):
            with pytest.raises(errors.BadRequestError):
                await client(of(*wrong))
