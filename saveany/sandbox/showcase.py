"""A channel that is worth archiving, for the demo: years of posts, with everything that a receipt accounts
for. It is the same after each restart."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from telethon.tl import types as tl

from saveany.sandbox.content import ContentStream, LiteralContent
from saveany.sandbox.documents import jpeg
from saveany.sandbox.model import Chat, Picture, StoredFile, StoredMessage, Wrapping
from saveany.sandbox.samples import USER
from saveany.sandbox.world import EPOCH, World

USERNAME = "photoclub"
_CHANNEL, _DISCUSSION = 1_500_000_010, 1_500_000_011
_FIRST_FILE = 3000
_LAST = 400
#: Messages that were deleted, and the post that is commented on.
_DELETED, _COMMENTED = range(120, 150), 30
_PLACES = ("harbour", "old town", "lighthouse", "market", "bridge", "dunes", "station", "park")


def add_showcase(world: World) -> Chat:
    """Add the channel and its discussion group. All files are in the first data center."""
    channel = world.add_chat(
        Chat(id=_CHANNEL, title="Photo club", username=USERNAME, members={USER.id}, linked=_DISCUSSION)
    )
    group = world.add_chat(
        Chat(id=_DISCUSSION, title="Photo club talk", broadcast=False, members=set(), linked=_CHANNEL)
    )
    for number in range(2, _LAST + 1):
        if number not in _DELETED:
            world.post(channel, _post(world, number))
    world.post(group, _message(2, forwarded=(_CHANNEL, _COMMENTED)))
    for number in range(3, 9):
        world.post(group, _message(number, "Mine", file=_photo(world, 2000 + number), thread=2))
    return channel


def _post(world: World, number: int) -> StoredMessage:
    place = _PLACES[number % len(_PLACES)]
    if number % 50 == 7:
        files = (_photo(world, number),)
        return _message(number, wrapped=Wrapping(how="paid", files=files, buyers=frozenset()))
    if number % 97 == 5:
        return _message(number, expired=True)
    if number % 40 in (0, 1, 2, 3):
        album = _FIRST_FILE + number - number % 40
        return _message(number, f"The {place}" * (number % 40 == 0), file=_photo(world, number), album=album)
    if number % 11 == 4:
        return _message(number, f"A walk: {place}", file=_video(world, number))
    if number % 13 == 6:
        return _message(number, "The programme", file=_document(world, number))
    if number % 3 == 0:
        return _message(number, place.capitalize(), file=_photo(world, number))
    return _message(number, f"Next Saturday we meet at the {place}.")


def _message(number: int, text: str = "", **fields: Any) -> StoredMessage:
    return StoredMessage(id=number, text=text, date=EPOCH + timedelta(days=2 * number), **fields)


def _photo(world: World, number: int) -> StoredFile:
    picture = LiteralContent(jpeg(640, 480, number * 37 % 256))
    sizes = (Picture("y", 640, 480, picture),)
    return world.add_file(
        StoredFile(id=_FIRST_FILE + number, content=picture, mime="image/jpeg", pictures=sizes)
    )


def _video(world: World, number: int) -> StoredFile:
    return world.add_file(
        StoredFile(
            id=_FIRST_FILE + number,
            content=ContentStream(number, 400_000 + number * 1000),
            name=f"walk-{number}.mp4",
            mime="video/mp4",
            attributes=(tl.DocumentAttributeVideo(20.0, 1280, 720),),
        )
    )


def _document(world: World, number: int) -> StoredFile:
    content = ContentStream(number, 50_000 + number)
    return world.add_file(
        StoredFile(
            id=_FIRST_FILE + number, content=content, name=f"programme-{number}.pdf", mime="application/pdf"
        )
    )
