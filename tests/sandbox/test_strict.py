"""The sandbox refuses what Telegram refuses, with the same errors."""

from collections.abc import Callable
from typing import Any

import pytest
from telethon import errors
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import Sandbox, access, samples
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.files import check_range
from saveany.sandbox.world import Chat
from tests.sandbox.clients import bot, location, part, telethon, user

MIB = 1 << 20


@pytest.mark.parametrize(
    ("offset", "limit", "precise", "problem"),
    [
        (0, MIB, False, ""),
        (MIB, MIB, False, ""),
        (0, 4096, False, ""),
        (4096, 4096, False, ""),
        (512 * 1024, 512 * 1024, False, ""),
        (1, 4096, False, "OFFSET_INVALID"),
        (1024, 4096, False, "OFFSET_INVALID"),
        (-4096, 4096, False, "OFFSET_INVALID"),
        (0, 0, False, "LIMIT_INVALID"),
        (0, -4096, False, "LIMIT_INVALID"),
        (0, 1000, False, "LIMIT_INVALID"),
        (0, 1024, False, "LIMIT_INVALID"),
        (0, 3 * 4096, False, "LIMIT_INVALID"),
        (0, 2 * MIB, False, "LIMIT_INVALID"),
        (4096, MIB, False, "LIMIT_INVALID"),
        (MIB - 4096, 8192, False, "LIMIT_INVALID"),
        (1024, 1024, True, ""),
        (0, 3 * 1024, True, ""),
        (0, MIB, True, ""),
        (512, 1024, True, "OFFSET_INVALID"),
        (0, 512, True, "LIMIT_INVALID"),
        (MIB - 1024, 2048, True, "LIMIT_INVALID"),
        (0, MIB + 1024, True, "LIMIT_INVALID"),
    ],
)
def test_invalid_ranges_are_refused(offset: int, limit: int, precise: bool, problem: str) -> None:
    try:
        check_range(offset, limit, precise)
        found = ""
    except RpcFailure as failure:
        found = failure.text
    assert found == problem


async def test_get_file_refuses_invalid_ranges(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        message = await client.get_messages("channel", ids=126)
        whole = sandbox.world.files[1004].content.read(0, 2 * MIB)
        assert await part(client, message, MIB, MIB) == whole[MIB:]
        assert await part(client, message, 4 * MIB, MIB) == b""
        with pytest.raises(errors.OffsetInvalidError):
            await part(client, message, 100)
        with pytest.raises(errors.LimitInvalidError):
            await part(client, message, 0, 5000)
        precise = fn.upload.GetFileRequest(location(message), 1024, 3072, precise=True)
        assert (await client(precise)).bytes == whole[1024:4096]


async def test_a_file_of_another_data_center_is_migrated(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        message = await client.get_messages("channel", ids=135)
        assert message.document.dc_id == 4
        with pytest.raises(errors.FileMigrateError) as migrate:
            await part(client, message)
        assert migrate.value.new_dc == 4
        message.document.dc_id = 2  # as if it were unknown: the client must follow the error
        expected = sandbox.world.files[1013].content.read(0, 4 * MIB)
        assert await client.download_media(message, bytes) == expected
        assert sandbox.counters.requests(method="auth.exportAuthorization") == 1


Change = Callable[[Any], dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: {"file_reference": b""}, errors.FileReferenceEmptyError),
        (lambda d: {"file_reference": bytes(len(d.file_reference))}, errors.FileReferenceInvalidError),
        (lambda d: {"file_reference": d.file_reference[:-1] + b"?"}, errors.FileReferenceInvalidError),
        (lambda d: {"access_hash": d.access_hash ^ 1}, errors.LocationInvalidError),
        (lambda d: {"id": 99}, errors.LocationInvalidError),
        (lambda d: {"thumb_size": "m"}, errors.LocationInvalidError),
    ],
)
async def test_invalid_file_locations_are_refused(change: Change, problem: Any, sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        message = await client.get_messages("channel", ids=124)
        wrong = location(message, **change(message.document))
        with pytest.raises(problem):
            await client(fn.upload.GetFileRequest(wrong, 0, 4096))


async def test_references_and_hashes_belong_to_one_account(sandbox: Sandbox) -> None:
    async with bot(sandbox) as one, user(sandbox) as other:
        message = await one.get_messages("channel", ids=124)
        theirs = await other.get_messages("channel", ids=124)
        borrowed = location(theirs, file_reference=message.document.file_reference)
        with pytest.raises(errors.FileReferenceInvalidError):
            await other(fn.upload.GetFileRequest(borrowed, 0, 4096))
        with pytest.raises(errors.LocationInvalidError):
            await other(fn.upload.GetFileRequest(location(message), 0, 4096))
        channel = await one.get_input_entity("channel")
        with pytest.raises(errors.ChannelInvalidError):
            await other(fn.channels.GetMessagesRequest(channel, [tl.InputMessageID(124)]))


async def test_expired_and_invalid_references_get_different_errors(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        message = await client.get_messages("channel", ids=124)
        sandbox.world.expire(sandbox.world.files[1002])
        with pytest.raises(errors.FileReferenceExpiredError):
            await part(client, message)
        assert len(await part(client, await client.get_messages("channel", ids=124))) == 1


async def test_a_bot_may_use_access_hash_zero_for_its_own_chats_only(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client, user(sandbox) as other:
        for chat, ours in ((samples.PRIVATE, True), (samples.CHANNEL, False)):
            request = fn.channels.GetChannelsRequest([tl.InputChannel(chat, 0)])
            if ours:
                assert (await client(request)).chats[0].id == chat
            else:
                with pytest.raises(errors.ChannelInvalidError):
                    await client(request)
            with pytest.raises(errors.ChannelInvalidError):
                await other(request)


async def test_a_private_chat_is_closed_to_users_who_are_not_members(sandbox: Sandbox) -> None:
    secret = sandbox.world.add_chat(Chat(id=1600000001, title="Secret"))
    async with user(sandbox) as client:
        me = sandbox.world.accounts[samples.USER.id]
        known = tl.InputChannel(secret.id, access.access_hash(me, secret.id))
        for request in (
            fn.channels.GetMessagesRequest(known, [tl.InputMessageID(1)]),
            fn.channels.GetChannelsRequest([known]),
            fn.channels.GetFullChannelRequest(known),
        ):
            with pytest.raises(errors.ChannelPrivateError):
                await client(request)
        with pytest.raises(errors.ChannelInvalidError):
            await client(fn.channels.GetChannelsRequest([tl.InputChannel(42, 0)]))


@pytest.mark.parametrize(
    "request_",
    [
        lambda peer: fn.messages.GetHistoryRequest(peer, 0, None, 0, 10, 0, 0, 0),
        lambda peer: fn.messages.GetDialogsRequest(None, 0, tl.InputPeerEmpty(), 10, 0),
        lambda peer: fn.messages.SearchRequest(
            peer, "", tl.InputMessagesFilterEmpty(), None, None, 0, 0, 10, 0, 0, 0
        ),
        lambda peer: fn.messages.GetRepliesRequest(peer, 123, 0, None, 0, 10, 0, 0, 0),
        lambda peer: fn.messages.GetDiscussionMessageRequest(peer, 123),
        lambda peer: fn.messages.GetPeerDialogsRequest([tl.InputDialogPeer(peer)]),
    ],
)
async def test_methods_for_users_only_are_refused_to_bots(
    request_: Callable[[Any], Any], sandbox: Sandbox
) -> None:
    async with bot(sandbox) as client, user(sandbox) as other:
        with pytest.raises(errors.BotMethodInvalidError):
            await client(request_(await client.get_input_entity("channel")))
        assert await other(request_(await other.get_input_entity("channel")))


@pytest.mark.parametrize(
    ("username", "problem"),
    [
        ("nobody_here", errors.UsernameNotOccupiedError),
        ("a", errors.UsernameInvalidError),
        ("1channel", errors.UsernameInvalidError),
        ("chan-nel", errors.UsernameInvalidError),
        ("channel_", errors.UsernameInvalidError),
        ("chan__nel", errors.UsernameInvalidError),
        ("x" * 33, errors.UsernameInvalidError),
    ],
)
async def test_unknown_usernames_are_refused(username: str, problem: Any, sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        with pytest.raises(problem):
            await client(fn.contacts.ResolveUsernameRequest(username))


@pytest.mark.parametrize("username", ["channel", "CHANNEL", "sandbox_bot"])
async def test_usernames_are_case_insensitive(username: str, sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        assert (await client.get_entity(username)).username == username.lower()


async def test_nothing_works_before_login(sandbox: Sandbox) -> None:
    async with telethon(sandbox) as client:
        for request in (fn.contacts.ResolveUsernameRequest("channel"), fn.updates.GetStateRequest()):
            with pytest.raises(errors.AuthKeyUnregisteredError):
                await client(request)
        assert (await client(fn.help.GetConfigRequest())).this_dc == sandbox.dc_id


async def test_missing_messages_are_empty_and_too_few_ids_refused(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        missing, present, zero = await client.get_messages("channel", ids=[199, 123, 0])
        assert (missing, present.id, zero) == (None, 123, None)
        with pytest.raises(errors.MessageIdsEmptyError):
            await client(fn.channels.GetMessagesRequest("channel", []))
        result = await client(fn.messages.GetMessagesRequest([tl.InputMessageID(5)]))
        assert isinstance(result.messages[0], tl.MessageEmpty)


async def test_unknown_method_is_refused_by_name(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        with pytest.raises(errors.RPCError, match="METHOD_NOT_IMPLEMENTED"):
            await client(fn.account.GetThemesRequest("", 0))


async def test_peers_and_locations_of_a_wrong_kind_are_refused(sandbox: Sandbox) -> None:
    async with user(sandbox) as client:
        with pytest.raises(errors.PeerIdInvalidError):
            await client(fn.messages.GetHistoryRequest(tl.InputPeerChat(1), 0, None, 0, 10, 0, 0, 0))
        with pytest.raises(errors.LocationInvalidError):
            await client(fn.upload.GetFileRequest(tl.InputTakeoutFileLocation(), 0, 4096))
        photo = (await client.get_messages("channel", ids=130)).photo
        for kind in ("x", ""):  # a size it does not have, and none
            place = tl.InputPhotoFileLocation(photo.id, photo.access_hash, photo.file_reference, kind)
            with pytest.raises(errors.LocationInvalidError):
                await client(fn.upload.GetFileRequest(place, 0, 4096))
        for number in (999, 124):  # no such post; a post without comments
            with pytest.raises(errors.MsgIdInvalidError):
                await client(fn.messages.GetDiscussionMessageRequest("channel", number))


async def test_access_to_users_needs_the_correct_hash(sandbox: Sandbox) -> None:
    async with user(sandbox) as client:
        found = await client.get_entity("sandbox_bot")
        wrong = tl.InputUser(found.id, found.access_hash ^ 1)
        right = tl.InputUser(found.id, found.access_hash)
        users = await client(fn.users.GetUsersRequest([wrong, right, tl.InputUserSelf()]))
        assert [one.username for one in users] == ["sandbox_bot", "sandbox_user"]
        assert users[0].phone is None
        assert (await client(fn.users.GetFullUserRequest(right))).full_user.id == found.id
        with pytest.raises(errors.UserIdInvalidError):
            await client(fn.users.GetFullUserRequest(wrong))
