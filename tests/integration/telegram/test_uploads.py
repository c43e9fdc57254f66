"""A Telegram chat as a storage: each file is sent once, completely, and can be downloaded again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest
from telethon.tl import types as tl

from saveany.errors import StorageError, StorageUnavailable, UnsafePath
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.world import Chat
from saveany.telegram.accounts import Accounts
from saveany.telegram.links import parse
from saveany.telegram.uploads import Uploader
from storages.base import Services
from storages.message_sender import PART, Target
from storages.telegram.options import TelegramStorageOptions
from storages.telegram.storage import FloodWait, TelegramStorage
from tests.fixtures.videos import make_video
from tests.fixtures.waiting import until
from tests.integration.telegram.conftest import fetch
from tests.integration.telegram.uploads import BIG, LIMITS, MIB, SMALL, Open, content, key, save, sent
from tests.sandbox.clients import named, user


@pytest.mark.parametrize("account", ["", "me"])
@pytest.mark.parametrize("data", [b"x", SMALL, BIG], ids=["byte", "small", "big"])
async def test_an_uploaded_file_can_be_downloaded_by_its_link(
    opened: Open, inbox: Chat, accounts: Accounts, data: bytes, account: str
) -> None:
    await save(opened(account=account), "a/b/föö.mp4", data)
    (message,) = sent(inbox)
    assert message.file
    assert (message.file.name, message.file.mime, message.text) == ("föö.mp4", "video/mp4", "föö.mp4\na/b")
    [media] = await accounts.resolve(parse(f"https://t.me/inbox/{message.id}"))
    assert bytes((await fetch(accounts, media)).data) == data


async def test_telethon_reads_our_uploads(opened: Open, sandbox: Sandbox) -> None:
    """With unmodified Telethon, in a client that is a separate process for Telegram."""
    await save(opened(), "a/film.mkv", BIG)
    async with user(sandbox) as client:
        (message,) = await client.get_messages("inbox", limit=1)
        assert (message.file.name, message.file.size, message.message) == (
            "film.mkv",
            len(BIG),
            "film.mkv\na",
        )
        assert await client.download_media(message, bytes) == BIG


async def test_we_read_uploads_of_telethon(opened: Open, sandbox: Sandbox, accounts: Accounts) -> None:
    async with user(sandbox) as client:
        message = await client.send_file("inbox", named(BIG, "film.mkv"), force_document=True)
    (media,) = await accounts.resolve(parse(f"https://t.me/inbox/{message.id}"))
    assert (media.name, bytes((await fetch(accounts, media)).data)) == ("film.mkv", BIG)


@pytest.mark.parametrize("chat", [-1001600000005, "-1001600000005", "inbox", "@INBOX"])
async def test_every_spelling_of_a_chat_is_accepted(opened: Open, inbox: Chat, chat: str | int) -> None:
    await opened(chat).probe()
    await save(opened(chat), "a.bin", SMALL)
    assert len(sent(inbox)) == 1


@pytest.mark.parametrize(
    ("chat", "link"),
    [(-1001600000005, "c/1600000005/"), ("inbox", "inbox/"), ("@inbox", "inbox/"), ("me", "")],
)
async def test_the_page_of_a_file_is_its_message(
    opened: Open, inbox: Chat, chat: str | int, link: str
) -> None:
    storage = opened(chat)
    receipt = await save(storage, "d/a.bin", SMALL)
    assert (receipt.path, receipt.size) == ("d/a.bin", len(SMALL))
    assert receipt.page == (f"https://t.me/{link}{sent(inbox)[0].id}" if link else "")
    if link:
        (source,) = receipt.reference["files"]
        assert source["message"] == sent(inbox)[0].id
    again = await opened(chat).finished(key(2), "d/a.bin", "d/a.bin", len(SMALL))
    assert again is not None
    assert again.page == "", "another process sent it"


async def test_files_are_sent_to_saved_messages(opened: Open, sandbox: Sandbox) -> None:
    await save(opened("me"), "a.bin", SMALL)
    (message,) = sent(sandbox.world.saved(samples.USER))
    assert content(message) == SMALL
    with pytest.raises(StorageError, match="A bot has no Saved Messages"):
        await save(opened("me", account="bot"), "a.bin", SMALL)


async def test_files_are_sent_to_a_topic(opened: Open, sandbox: Sandbox) -> None:
    await save(opened("sandboxforum", topic=10), "a.bin", SMALL)
    message = sandbox.world.chats[samples.FORUM].newest_first()[0]
    assert (message.thread, message.topic) == (10, True)


async def test_the_general_topic_is_not_named(opened: Open, sandbox: Sandbox) -> None:
    await save(opened("sandboxforum", topic=1), "a.bin", SMALL)
    message = sandbox.world.chats[samples.FORUM].newest_first()[0]
    assert (message.text, message.thread, message.reply_to) == ("a.bin", None, None)


async def test_a_repeated_commit_sends_nothing_twice(opened: Open, inbox: Chat) -> None:
    """After a crash, after a lost reply, and after a takeover by another worker."""
    await save(opened(), "a.bin", SMALL)
    await save(opened(), "a.bin", SMALL)
    await save(opened(), "a.bin", SMALL, key(2))
    assert [content(message) for message in sent(inbox)] == [SMALL]
    await save(opened(), "a.bin", SMALL, key(1, item=1))
    assert len(sent(inbox)) == 2


@pytest.mark.parametrize("data", [SMALL, BIG], ids=["small", "big"])
async def test_a_sealed_upload_can_be_finished_by_another_worker(
    opened: Open, inbox: Chat, data: bytes
) -> None:
    crashed = await opened().begin(key(1), "a.bin", len(data))
    await crashed.write(0, data)
    await crashed.seal(len(data))
    assert await opened().finished(key(2), "a.bin", "a.bin", len(data))
    assert [content(message) for message in sent(inbox)] == [data]
    await crashed.commit("a.bin", len(data), replace=False)  # it wakes up
    assert len(sent(inbox)) == 1


@pytest.mark.parametrize("epoch", [2, 5])
async def test_a_sealed_upload_can_be_finished_after_several_crashes(
    opened: Open, inbox: Chat, epoch: int
) -> None:
    crashed = await opened().begin(key(1), "a.bin", len(SMALL))
    await crashed.write(0, SMALL)
    await crashed.seal(len(SMALL))
    assert not await opened().finished(key(epoch), "a.bin", "a.bin", len(SMALL) - 1)
    assert not await opened().finished(key(epoch, item=1), "a.bin", "a.bin", len(SMALL))
    assert sent(inbox) == []
    for claim in (epoch, epoch + 1):
        assert await opened().finished(key(claim), "a.bin", "a.bin", len(SMALL))
    assert [content(message) for message in sent(inbox)] == [SMALL]


async def test_a_canceled_file_is_not_kept(opened: Open, inbox: Chat) -> None:
    """Before and after it was sent: the transfer checks that first, and then deletes it."""
    storage = opened()
    crashed = await storage.begin(key(1), "d/a.bin", len(SMALL))
    await crashed.write(0, SMALL)
    await crashed.seal(len(SMALL))
    receipt = await storage.finished(key(1), "d/a.bin", "d/a.bin", len(SMALL))
    assert receipt
    await save(storage, "d/a.bin", BIG, key(item=1))  # at the same path, which messages do not have
    await storage.remove(receipt)
    assert [content(message) for message in sent(inbox)] == [BIG]
    await storage.remove(receipt)  # nothing is left of it
    await save(opened("me"), "a.bin", SMALL, key(item=2))


async def test_a_message_that_has_another_file_now_stays(opened: Open, inbox: Chat, sandbox: Sandbox) -> None:
    receipt = await save(opened(), "a.bin", SMALL)
    (message,) = sent(inbox)
    sandbox.world.edit(inbox, message.id, file=next(iter(sandbox.world.files.values())))
    await opened().remove(receipt)
    assert len(sent(inbox)) == 1


async def test_files_in_saved_messages_are_deleted_too(opened: Open, sandbox: Sandbox) -> None:
    storage = opened("me", split_size_mb=8)
    receipt = await save(storage, "a.bin", BIG)
    saved = sandbox.world.saved(samples.USER)
    assert len(sent(saved)) == 3
    await opened("me").remove(receipt)  # by another process
    assert sent(saved) == []


async def test_an_upload_without_a_seal_is_not_finished(opened: Open, inbox: Chat) -> None:
    async with await opened().begin(key(1), "a.bin", len(BIG)) as crashed:
        await crashed.write(0, BIG[: 3 * MIB])
    assert not await opened().finished(key(2), "a.bin", "a.bin", len(BIG))
    assert sent(inbox) == []


async def test_nothing_is_visible_before_the_commit(opened: Open, inbox: Chat) -> None:
    async with await opened().begin(key(), "a.bin", len(SMALL)) as upload:
        await upload.write(0, SMALL)
        await upload.seal(len(SMALL))
        assert sent(inbox) == []
        await upload.abort()
    assert sent(inbox) == []


async def test_parts_lost_by_telegram_are_reported(opened: Open, inbox: Chat, sandbox: Sandbox) -> None:
    async with await opened().begin(key(), "a.bin", len(BIG)) as upload:
        await upload.write(0, BIG)
        await upload.seal(len(BIG))
        sandbox.world.uploads.clear()
        with pytest.raises(StorageError, match="lost parts"):
            await upload.commit("a.bin", len(BIG), replace=False)
    assert sent(inbox) == []


async def test_large_files_are_split_into_an_album_of_volumes(opened: Open, inbox: Chat) -> None:
    await save(opened(split_size_mb=6), "d/film.mkv", BIG)
    messages = sent(inbox)
    volumes = [f"film.mkv.{n:03}" for n in (1, 2, 3, 4)]
    assert [message.file and message.file.name for message in messages] == volumes
    assert [message.text for message in messages] == [f"{name}\nd" for name in volumes]
    assert b"".join(map(content, messages)) == BIG
    assert len({message.album for message in messages}) == 1
    assert messages[0].album
    await save(opened(split_size_mb=6), "d/film.mkv", BIG)  # again, after a crash
    assert len(sent(inbox)) == 4


async def test_more_volumes_than_fit_into_an_album_are_sent(opened: Open, inbox: Chat) -> None:
    data = BIG[: 11 * MIB + 5]
    await save(opened(split_size_mb=1), "a.bin", data)
    messages = sent(inbox)
    assert b"".join(map(content, messages)) == data
    assert sorted(Counter(message.album for message in messages).values()) == [2, 10]


async def test_volumes_that_were_sealed_are_finished(opened: Open, inbox: Chat) -> None:
    crashed = await opened(split_size_mb=8).begin(key(1), "a.bin", len(BIG))
    await crashed.write(0, BIG)
    await crashed.seal(len(BIG))
    assert await opened(split_size_mb=8).finished(key(2), "a.bin", "a.bin", len(BIG))
    assert b"".join(map(content, sent(inbox))) == BIG


async def test_a_changed_split_size_loses_nothing(opened: Open, inbox: Chat) -> None:
    """The limits of the account changed after the first half was sent: other volumes do not count as sent."""
    await save(opened(split_size_mb=8), "a.bin", BIG)
    await save(opened(split_size_mb=16), "a.bin", BIG, key(2))
    assert b"".join(map(content, sent(inbox)[3:])) == BIG


async def test_large_files_can_be_refused(opened: Open, inbox: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saveany.telegram.uploads._MAX_PARTS", 4)
    with pytest.raises(StorageError, match="skip_large forbids splitting it"):
        await save(opened(skip_large=True), "a.bin", BIG[: 2 * MIB + 1])
    assert sent(inbox) == []
    await save(opened(), "a.bin", BIG[: 2 * MIB + 1])
    assert [message.file and message.file.content.size for message in sent(inbox)] == [2 * MIB, 1]


@pytest.fixture
def premium(sandbox: Sandbox) -> None:
    """The user has Premium, before the accounts start."""
    sandbox.world.accounts[samples.USER.id].premium = True


async def test_premium_sends_files_that_are_twice_as_large(
    premium: None, opened: Open, inbox: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    for account, gigabytes in (("bot", 2.097), ("me", 4.194)):
        largest = await opened().message_sender.largest(Target(account, "@inbox"))
        assert largest / 1e9 == pytest.approx(gigabytes, abs=0.001)
    monkeypatch.setattr("saveany.telegram.uploads._MAX_PARTS", 4)
    monkeypatch.setattr("saveany.telegram.uploads._MAX_PREMIUM_PARTS", 8)
    for item, account in enumerate(("bot", "me")):
        await save(opened(account=account), f"{account}.bin", BIG[: 3 * MIB], key(item=item))
    sizes = [message.file and message.file.content.size for message in sent(inbox)]
    assert sizes == [2 * MIB, MIB, 3 * MIB]


@pytest.mark.parametrize(
    "fault",
    [
        "flood_wait=1,method=upload.saveBigFilePart,count=2",
        "drop,method=upload.saveBigFilePart,every=7,count=2",
        "timeout,method=upload.saveBigFilePart,count=2",
        "flood_wait=1,method=messages.sendMedia,count=1",
        "drop,method=messages.sendMedia,count=1",
    ],
)
async def test_temporary_faults_are_overcome(opened: Open, inbox: Chat, sandbox: Sandbox, fault: str) -> None:
    made = sandbox.faults.add(fault)
    await save(opened(), "a.bin", BIG)
    assert made.fired
    assert [content(message) for message in sent(inbox)] == [BIG]


async def test_a_long_flood_wait_is_raised(opened: Open, inbox: Chat, sandbox: Sandbox) -> None:
    sandbox.faults.add("flood_wait=300,method=upload.saveBigFilePart")
    with pytest.raises(FloodWait, match="asks to wait") as caught:
        await save(opened(), "a.bin", BIG)
    assert 290 < caught.value.after <= 300


async def test_a_delayed_message_is_sent_later_without_uploading_again(
    opened: Open, inbox: Chat, sandbox: Sandbox
) -> None:
    fault = sandbox.faults.add("flood_wait=300,method=messages.sendMedia")
    with pytest.raises(FloodWait, match="asks to wait 300 s") as caught:
        await save(opened(), "a.bin", BIG)
    assert caught.value.after == 300
    sandbox.faults.remove(fault)
    again = sandbox.faults.add("error=400:FILE_PART_INVALID,method=upload.saveBigFilePart")
    assert await opened().finished(key(2), "a.bin", "a.bin", len(BIG))
    assert [content(message) for message in sent(inbox)] == [BIG]
    assert not again.fired


async def test_each_flood_wait_is_reported_once(accounts: Accounts, inbox: Chat, sandbox: Sandbox) -> None:
    waits: list[float] = []
    sandbox.faults.add("flood_wait=1,method=upload.saveBigFilePart,count=1")
    sandbox.faults.add("flood_wait=20,method=messages.sendMedia,count=1")
    table = {"name": "tg", "type": "telegram", "chat_id": "@inbox", "rate_limit": 0}
    message_sender = Uploader(accounts, LIMITS, waits.append)
    with pytest.raises(FloodWait, match="asks to wait 20 s"):
        await save(
            TelegramStorage(
                TelegramStorageOptions.model_validate(table), Services(message_sender=message_sender)
            ),
            "a.bin",
            BIG,
        )
    assert [round(wait) for wait in waits] == [1]


async def test_flood_waits_of_messages_do_not_delay_downloads(
    opened: Open, accounts: Accounts, sandbox: Sandbox
) -> None:
    sandbox.faults.add("flood_wait=300,method=messages.sendMedia")
    with pytest.raises(FloodWait):
        await save(opened(account="bot"), "a.bin", SMALL)
    [media] = await accounts.resolve(parse("https://t.me/channel/126"))
    await fetch(accounts, media)
    assert accounts.pool("bot").flood_clock.remaining == 0


async def test_a_file_of_64_mib_is_uploaded_and_downloaded(
    opened: Open, inbox: Chat, accounts: Accounts
) -> None:
    data = random.Random(3).randbytes(64 * MIB)
    await save(opened(), "a.bin", data)
    [media] = await accounts.resolve(parse(f"https://t.me/c/{inbox.id}/{sent(inbox)[0].id}"))
    assert bytes((await fetch(accounts, media)).data) == data


# How it looks.


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_video(tmp_path_factory.mktemp("film") / "a.mp4")


@pytest.mark.parametrize("force_file", [False, True])
async def test_a_video_is_sent_as_a_video(
    opened: Open, inbox: Chat, sandbox: Sandbox, video: bytes, tmp_path: Path, force_file: bool
) -> None:
    await save(opened(force_file=force_file), "d/a.mp4", video)
    (message,) = sent(inbox)
    assert content(message) == video
    assert message.file
    shapes = [each for each in message.file.attributes if isinstance(each, tl.DocumentAttributeVideo)]
    pictures = [parts[0][:3] for parts in sandbox.world.uploads.values()]
    if force_file:
        assert (shapes, pictures) == ([], [])
    else:
        assert [(each.duration, each.w, each.h) for each in shapes] == [(2.0, 320, 180)]
        assert pictures == [b"\xff\xd8\xff"]
    assert list((tmp_path / "scratch").iterdir() if not force_file else []) == []


# What goes wrong.


async def test_lengths_are_checked(opened: Open, inbox: Chat) -> None:
    storage = opened()
    for size in (None, 0):
        with pytest.raises(StorageError, match=r"size|empty"):
            await storage.begin(key(), "a.bin", size)
    for path in ("../x", "/x", "a//b", ""):
        with pytest.raises(UnsafePath):
            await storage.begin(key(), path, 1)
    async with await storage.begin(key(), "a.bin", 3) as upload:
        with pytest.raises(StorageError, match="in order"):
            await upload.write(1, b"x")
        await upload.write(0, b"xy")
        with pytest.raises(StorageError, match="must have 3 bytes"):
            await upload.seal(3)
        with pytest.raises(StorageError, match="longer"):
            await upload.write(2, b"xy")
        await upload.abort()
        with pytest.raises(StorageError, match="is over"):
            await upload.write(2, b"x")
    assert sent(inbox) == []


async def test_the_number_of_buffered_parts_is_limited(opened: Open, sandbox: Sandbox) -> None:
    """When Telegram does not reply, the writer waits."""
    sandbox.faults.add("silent,method=upload.saveBigFilePart")
    async with await opened().begin(key(), "a.bin", 100 * MIB) as upload:
        written = 0

        async def fill() -> None:
            nonlocal written
            while written < 100 * MIB:
                await upload.write(written, bytes(MIB))
                written += MIB

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(fill(), 2)
        assert written <= 16 * PART + MIB


async def test_messages_are_sent_at_a_limited_rate(opened: Open, inbox: Chat) -> None:
    storage = opened(rate_limit=0.3, rate_burst=2)
    began = asyncio.get_running_loop().time()
    for item in range(4):
        await save(storage, f"{item}.bin", b"x", key(item=item))
    assert asyncio.get_running_loop().time() - began >= 0.55
    assert len(sent(inbox)) == 4


async def test_the_storage_is_unavailable_while_telegram_is(opened: Open, sandbox: Sandbox) -> None:
    """No upload is needed to notice the outage or its end."""
    storage = opened()
    await storage.reach()
    center = sandbox.centers[sandbox.dc_id]
    port = int(sandbox.address.rpartition(":")[2])
    await center.unplug()

    async def works() -> bool:
        try:
            await storage.reach()
        except StorageUnavailable:
            return False
        return True

    async def is_away() -> bool:
        return not await works()

    await until(is_away)
    await center.start(port)
    await until(works, within=60)
    await save(storage, "a.bin", SMALL)
