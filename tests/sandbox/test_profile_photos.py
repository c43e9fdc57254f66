"""photos.getUserPhotos, and the current photos of people and channels."""

from __future__ import annotations

from typing import Any

import pytest
from telethon import errors
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import Sandbox, samples
from saveany.sandbox.world import StoredMessage, Wrapping
from tests.fixtures.photos import profile_photo
from tests.sandbox.clients import user

_NEWEST = 5_000_000_000_000_000_009


def ids(reply: Any) -> list[int]:
    return [each.id for each in reply.photos]


async def test_profile_photos_are_paged_and_each_can_be_requested_alone(sandbox: Sandbox) -> None:
    me = sandbox.world.accounts[samples.USER.id]
    photos = [profile_photo(sandbox.world, _NEWEST - age) for age in range(5)]
    me.photos = photos[::-1]
    newest_first = [each.id for each in photos]
    async with user(sandbox) as client:

        async def page(offset: int, max_id: int, limit: int) -> Any:
            return await client(fn.photos.GetUserPhotosRequest(tl.InputUserSelf(), offset, max_id, limit))

        whole = await page(0, 0, 100)
        assert isinstance(whole, tl.photos.Photos)
        assert ids(whole) == newest_first
        part = await page(1, 0, 2)
        assert (ids(part), part.count) == (newest_first[1:3], 5)
        assert ids(await page(0, newest_first[2], 100)) == newest_first[3:]
        assert ids(await page(-1, newest_first[2], 1)) == [newest_first[2]]
        assert ids(await page(5, 0, 100)) == []
        photo = whole.photos[0]
        where = tl.InputPhotoFileLocation(photo.id, photo.access_hash, photo.file_reference, "y")
        part = await client(fn.upload.GetFileRequest(where, 0, 4096))
        assert part.bytes == photos[0].content.read(0, 4096)
        assert (await client.get_me()).photo.photo_id == photo.id
        with pytest.raises(errors.UserIdInvalidError):
            await client(fn.photos.GetUserPhotosRequest(tl.InputUser(samples.PERSON.id, 1), 0, 0, 1))


async def test_a_channel_has_a_current_photo_and_messages_about_photos(sandbox: Sandbox) -> None:
    chat = sandbox.world.chats[samples.CHANNEL]
    chat.photo = profile_photo(sandbox.world, _NEWEST)
    wrapped = Wrapping(how="chat photo", files=(chat.photo,))
    notice = sandbox.world.send(chat, StoredMessage(id=0, service=True, wrapped=wrapped))
    async with user(sandbox) as client:
        full = await client(fn.channels.GetFullChannelRequest("channel"))
        assert full.full_chat.chat_photo.id == full.chats[0].photo.photo_id == _NEWEST
        found = await client.get_messages("channel", filter=tl.InputMessagesFilterChatPhotos, limit=10)
        assert [each.id for each in found] == [notice.id]
