"""Files that are neither the photo nor the document of a message."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from telethon.tl import types as tl

from saveany.errors import Permanent, Retryable
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.content import ContentStream, LiteralContent
from saveany.sandbox.documents import jpeg
from saveany.sandbox.model import Wrapper
from saveany.sandbox.view import WorldView
from saveany.sandbox.world import Chat, Picture, StoredFile, StoredMessage, Wrapping
from saveany.telegram.accounts import Accounts
from saveany.telegram.links import MessageLink, parse
from saveany.telegram.media import Media, files_in
from saveany.telegram.messages import _reason_for_no_file
from tests.integration.telegram.conftest import Start, fetch

CHAT = 1600000005
LINK = f"https://t.me/c/{CHAT}/5"
USER, BOT = samples.USER.id, samples.BOT.id
SERVICE = ("chat photo", "suggested photo", "wallpaper")


def photo(id_: int, declared: int | None = None) -> StoredFile:
    content = LiteralContent(jpeg(320, 240, id_ % 200))
    small = Picture("s", 80, 60, LiteralContent(jpeg(80, 60, 3)))
    large = Picture("x", 320, 240, content, declared)
    return StoredFile(id=id_, content=content, mime="image/jpeg", pictures=(small, large))


def video(id_: int) -> StoredFile:
    return StoredFile(id=id_, content=ContentStream(id_, 70_001), name=f"{id_}.mp4", mime="video/mp4")


def post(sandbox: Sandbox, how: Wrapper, *files: StoredFile, **more: Any) -> StoredMessage:
    """Post a message with files in that form, as number 5 of the chat."""
    for each in files:
        sandbox.world.add_file(each)
    wrapped = Wrapping(how=how, files=files, **more)
    message = StoredMessage(
        id=5, text="" if how in SERVICE else "Look", service=how in SERVICE, wrapped=wrapped
    )
    return sandbox.world.post(sandbox.world.chats[CHAT], message)


async def contents(accounts: Accounts, link: str = LINK) -> list[tuple[int, str]]:
    """Documents and hashes of the files of a link, each read by its message again, as after a restart."""
    found = []
    for media in await accounts.resolve(parse(link)):
        again = await accounts.find(media.source())
        found.append((media.document_id, (await fetch(accounts, again)).sha256))
    return found


def expected(*files: StoredFile) -> list[tuple[int, str]]:
    return [(each.id, hashlib.sha256(each.content.read(0, each.content.size)).hexdigest()) for each in files]


OF_TELEGRAM = [how for how in get_args(Wrapper) if how != "product"]
FORMS = [
    *((how, photo) for how in OF_TELEGRAM if how != "wallpaper"),
    *((how, video) for how in OF_TELEGRAM if how not in ("chat photo", "suggested photo")),
]


@pytest.mark.parametrize(("how", "make"), FORMS)
async def test_every_form_of_media_is_saved(
    sandbox: Sandbox, accounts: Accounts, how: Wrapper, make: Any
) -> None:
    file = make(3001)
    post(sandbox, how, file)
    assert await contents(accounts) == expected(file)


@pytest.mark.parametrize("how", ["paid", "poll", "rich text", "long rich text"])
async def test_several_files_of_one_message_form_an_album(
    sandbox: Sandbox, accounts: Accounts, how: Any
) -> None:
    files = (photo(3001), photo(3002), video(3003))
    post(sandbox, how, *files)
    assert await contents(accounts) == expected(*files)
    found = await accounts.resolve(parse(LINK))
    assert [media.grouped_id for media in found] == [5, 5, 5]
    assert [media.caption for media in found] == ["Look", "", ""]


@pytest.mark.parametrize("how", ["preview", "game"])
async def test_the_file_is_saved_and_not_its_cover(sandbox: Sandbox, accounts: Accounts, how: Any) -> None:
    picture, file = photo(3001), video(3002)
    post(sandbox, how, picture, file)
    assert await contents(accounts) == expected(file)


@pytest.mark.parametrize("how", ["paid", "invoice"])
async def test_unpaid_media_are_reported_as_locked(sandbox: Sandbox, accounts: Accounts, how: Any) -> None:
    post(sandbox, how, photo(3001), buyers=frozenset())
    with pytest.raises(Permanent, match=r"message 5 costs .* and has not been bought\. Buy it in Telegram"):
        await accounts.resolve(parse(LINK))


@pytest.mark.parametrize("how", ["paid", "invoice"])
async def test_an_account_that_paid_reads_the_media(sandbox: Sandbox, accounts: Accounts, how: Any) -> None:
    file = photo(3001)
    post(sandbox, how, file, buyers=frozenset({USER}))
    [media] = await accounts.resolve(parse(LINK))
    assert media.account == "me"
    assert await contents(accounts) == expected(file)


async def test_in_a_range_the_files_an_account_may_read_are_saved(
    sandbox: Sandbox, accounts: Accounts
) -> None:
    world, chat = sandbox.world, sandbox.world.chats[CHAT]
    bought = photo(3001)
    post(sandbox, "paid", bought, buyers=frozenset({USER}))
    plain, locked = world.add_file(video(3002)), photo(3003)
    world.post(chat, StoredMessage(id=6, file=plain))
    nobody = Wrapping(how="paid", files=(world.add_file(locked),), buyers=frozenset())
    world.post(chat, StoredMessage(id=7, wrapped=nobody))
    preview = Wrapping(how="preview", files=(world.add_file(photo(3004)),))
    world.post(chat, StoredMessage(id=8, text="https://example.com", wrapped=preview))
    assert await contents(accounts, f"https://t.me/c/{CHAT}/5-8") == expected(bought, plain)
    with pytest.raises(Permanent, match="not been bought"):
        await accounts.resolve(parse(f"https://t.me/c/{CHAT}/7-8"))


async def test_a_range_waits_for_the_account_that_can_read_more(sandbox: Sandbox, accounts: Accounts) -> None:
    post(sandbox, "paid", photo(3001), buyers=frozenset({USER}))
    plain = sandbox.world.add_file(video(3002))
    sandbox.world.post(sandbox.world.chats[CHAT], StoredMessage(id=6, file=plain))
    sandbox.faults.add(f"flood_wait=33,method=channels.getMessages,account={USER}")
    with pytest.raises(Retryable, match="Telegram asks to wait 33 s"):
        await accounts.resolve(parse(f"https://t.me/c/{CHAT}/5-6"))


@pytest.mark.parametrize("owner", [samples.PERSON.id, samples.CHANNEL])
async def test_a_story_is_requested(sandbox: Sandbox, accounts: Accounts, owner: int) -> None:
    file = video(3001)
    sandbox.world.stories[owner, 9] = sandbox.world.add_file(file)
    post(sandbox, "story", story=(owner, 9))
    assert await contents(accounts) == expected(file)
    assert sandbox.counters.requests(method="stories.getStoriesByID")


async def test_a_story_of_a_known_channel_is_read(sandbox: Sandbox, accounts: Accounts) -> None:
    await accounts.resolve(parse("https://t.me/channel/126"))
    file = video(3001)
    sandbox.world.stories[samples.CHANNEL, 9] = sandbox.world.add_file(file)
    post(sandbox, "story", story=(samples.CHANNEL, 9))
    assert await contents(accounts) == expected(file)


@pytest.mark.parametrize("error", ["400:STORIES_NEVER_CREATED", "400:PEER_ID_INVALID", "403:PRIVACY"])
async def test_a_refused_story_does_not_fail_a_range(
    sandbox: Sandbox, start: Start, inbox: Chat, error: str
) -> None:
    accounts = await start(user=True)
    sandbox.faults.add(f"error={error},method=stories.getStoriesByID")
    post(sandbox, "story", story=(samples.PERSON.id, 9))
    plain = sandbox.world.add_file(video(3002))
    sandbox.world.post(inbox, StoredMessage(id=6, file=plain))
    assert await contents(accounts, f"https://t.me/c/{CHAT}/5-6") == expected(plain)
    page = await accounts.history.messages_after(-(10**12) - CHAT, 4)
    assert [media.document_id for media in page.media] == [3002]
    with pytest.raises(Permanent, match="cannot see the story"):
        await accounts.resolve(parse(LINK))


async def test_an_expired_story_is_reported(sandbox: Sandbox, accounts: Accounts) -> None:
    post(sandbox, "story", story=(samples.PERSON.id, 9))
    with pytest.raises(Permanent, match="story that the message quotes has expired"):
        await accounts.resolve(parse(LINK))


async def test_without_a_user_account_a_story_names_what_it_needs(
    sandbox: Sandbox, start: Start, inbox: Chat
) -> None:
    bot = await start(bot=True)
    sandbox.world.stories[samples.PERSON.id, 9] = sandbox.world.add_file(video(3001))
    post(sandbox, "story", story=(samples.PERSON.id, 9))
    with pytest.raises(Permanent, match="saveany login --phone"):
        await bot.resolve(parse(LINK))


@pytest.mark.parametrize("make", [photo, video])
async def test_the_picture_of_a_product_is_read_from_the_web(
    sandbox: Sandbox, accounts: Accounts, make: Any
) -> None:
    file = make(3001)
    post(sandbox, "product", file)
    [(_, digest)] = await contents(accounts)
    assert digest == expected(file)[0][1]
    [media] = await accounts.resolve(parse(LINK))
    assert (media.account, media.mime_type, media.caption) == ("me", file.mime, "Look")
    assert sandbox.counters.requests(method="upload.getWebFile")
    assert not sandbox.counters.requests(method="upload.getFile")


async def test_without_a_user_account_a_product_picture_names_what_it_needs(
    sandbox: Sandbox, start: Start, inbox: Chat
) -> None:
    bot = await start(bot=True)
    post(sandbox, "product", photo(3001))
    with pytest.raises(Permanent, match=r"invoice with a picture .* no bot can read"):
        await bot.resolve(parse(LINK))
    plain = sandbox.world.add_file(video(3002))
    sandbox.world.post(inbox, StoredMessage(id=6, file=plain))
    assert await contents(bot, f"https://t.me/c/{CHAT}/5-6") == expected(plain)


@pytest.mark.parametrize("how", ["story", "product"])
async def test_media_forwarded_to_the_bot_are_read_by_their_original_link(
    sandbox: Sandbox, accounts: Accounts, how: Wrapper
) -> None:
    """Only the bot sees the forwarded message, and it may not download the file."""
    world, anna = sandbox.world, samples.PERSON
    side = world.private_chats.side(world.accounts[anna.id], world.accounts[BOT])
    story = (anna.id, 9) if how == "story" else None
    files = (world.add_file(photo(3001)),) if how == "product" else ()
    world.send(side, StoredMessage(id=0, sender=anna.id, wrapped=Wrapping(how=how, files=files, story=story)))
    heard = world.private_chats.side(world.accounts[BOT], world.accounts[anna.id]).newest_first()[0]
    with pytest.raises(Permanent, match="Then send the link of the original message"):
        await accounts.resolve(MessageLink(anna.id, heard.id, bot_chat="user"))


def test_a_picture_outside_of_telegram_is_reported() -> None:
    picture = tl.WebDocumentNoProxy("https://shop.example/a.jpg", 5, "image/jpeg", [])
    invoice = tl.MessageMediaInvoice("Title", "About it", "EUR", 500, "start", photo=picture)
    message = tl.Message(
        id=5, peer_id=tl.PeerChannel(CHAT), date=datetime.now(UTC), message="", media=invoice
    )
    assert files_in(message, "me") == []
    assert "https://shop.example/a.jpg" in str(_reason_for_no_file(message))


async def test_references_of_such_files_are_renewed(sandbox: Sandbox, accounts: Accounts) -> None:
    file = photo(3001)
    post(sandbox, "chat photo", file)
    [media] = await accounts.resolve(parse(LINK))
    sandbox.world.expire(file)
    assert (await fetch(accounts, media)).sha256 == expected(file)[0][1]


SIZES = {
    "plain": [
        tl.PhotoSize("s", 80, 60, 9000),
        tl.PhotoSize("y", 1280, 960, 500),
        tl.PhotoSize("m", 320, 240, 700),
    ],
    "progressive": [tl.PhotoSize("x", 80, 60, 9000), tl.PhotoSizeProgressive("y", 1280, 960, [100, 500])],
    "cached": [tl.PhotoSize("s", 8, 6, 9000), tl.PhotoCachedSize("y", 80, 60, b"x" * 500)],
    "no file": [tl.PhotoStrippedSize("i", b"x" * 9000), tl.PhotoSize("y", 8, 6, 500)],
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("order", [1, -1])
def test_the_largest_size_of_a_photo_has_the_most_pixels(sizes: list[Any], order: int) -> None:
    shown = tl.Photo(1, 2, b"reference", datetime.now(UTC), sizes[::order], 2)
    message = tl.Message(
        id=5,
        peer_id=tl.PeerChannel(CHAT),
        date=datetime.now(UTC),
        message="",
        media=tl.MessageMediaPhoto(photo=shown),
    )
    [media] = files_in(message, "me")
    assert (media.location.thumb, media.size) == ("y", 500)


async def test_live_photos_and_alternative_versions_count_once(sandbox: Sandbox) -> None:
    view = WorldView(sandbox.world, sandbox.world.accounts[USER])
    still, moving, main, other = photo(1), video(2), video(3), video(4)
    live = tl.MessageMediaPhoto(photo=view.file(still), video=view.file(moving), live_photo=True)
    several = tl.MessageMediaDocument(document=view.file(main), alt_documents=[view.file(other)])
    for media, id_ in ((live, 1), (several, 3)):
        message = tl.Message(
            id=5, peer_id=tl.PeerChannel(CHAT), date=datetime.now(UTC), message="", media=media
        )
        found: list[Media] = files_in(message, "me")
        assert [each.document_id for each in found] == [id_]
