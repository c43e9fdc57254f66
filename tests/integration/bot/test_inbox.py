"""The inbox delivers each update once, bundles bursts, keeps albums together, and survives Redis outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from saveany.bot import inbox as module
from saveany.bot.inbox import MAX_GROUP, Inbox, MessageGroup
from saveany.embedded import EmbeddedRedis
from saveany.errors import StoreUnavailable
from saveany.store import Store, connect
from saveany.telegram.bot_client import BotClient
from saveany.telegram.update_types import Attachment, CallbackQuery, ChatMessage, TelegramUser, Update
from saveany.telegram.updates import Batch, Position
from tests.fixtures.waiting import until

ANNA = TelegramUser(id=7)

Handled = list[tuple[str, Update | MessageGroup]]


class UpdateFeed:
    """Updates that a test sends in place of Telegram."""

    def __init__(self) -> None:
        self.comes: asyncio.Queue[list[Update]] = asyncio.Queue()
        self.begun: list[Position | None] = []
        self.pts = 0

    async def updates(self, position: Position | None) -> AsyncGenerator[Batch, None]:
        """As `BotClient` does it."""
        self.begun.append(position)
        while True:
            letters = await self.comes.get()
            self.pts += len(letters)
            yield letters, Position(self.pts, 0, 0)

    def deliver(self, *letters: Update) -> None:
        """Send updates in one batch."""
        self.comes.put_nowait(list(letters))


def file(number: int, album: int = 0, sender: TelegramUser = ANNA) -> ChatMessage:
    sent = Attachment(kind="document", size=1)
    return ChatMessage(chat=7, id=number, sender=sender, date_ms=0, file=sent, album=album)


def text_message(number: int) -> ChatMessage:
    return ChatMessage(chat=7, id=number, sender=ANNA, date_ms=0, text="word")


def callback_query(query: int) -> CallbackQuery:
    return CallbackQuery(query=query, chat=7, message=1, sender=ANNA, data="to:x")


def sizes(handled: Handled) -> list[int]:
    """Sizes of the bundles; 0 is a single update."""
    return [len(letter.messages) if isinstance(letter, MessageGroup) else 0 for _, letter in handled]


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.05)


@asynccontextmanager
async def listening(
    store: Store, line: UpdateFeed, handled: Handled, handle: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[None]:
    """A running inbox; `handle` may fail before an update counts as handled."""

    async def note(key: str, letter: Update | MessageGroup) -> None:
        if handle:
            await handle()
        handled.append((key, letter))

    inbox = Inbox(
        store.bot,
        cast(BotClient, line),
        lambda message: message.file is not None,
        lambda message: False,
        note,
    )
    running = asyncio.create_task(inbox.run())
    yield
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await inbox.close()


def were_handled(handled: Handled, count: int) -> Callable[[], Awaitable[bool]]:
    """Whether that many updates were handled; each message of a bundle counts."""

    async def look() -> bool:
        return sum(size or 1 for size in sizes(handled)) == count

    return look


def is_empty(store: Store) -> Callable[[], Awaitable[bool]]:
    """Whether the inbox has deleted every handled update."""

    async def look() -> bool:
        return not await store.bot.inbox()

    return look


async def test_a_burst_of_files_is_one_bundle_and_texts_separate_bundles(store: Store) -> None:
    line, handled = UpdateFeed(), Handled()
    async with listening(store, line, handled):
        line.deliver(file(1), file(2))
        line.deliver(file(3), text_message(4), file(5))
        await until(were_handled(handled, 5))
        await until(is_empty(store))
    assert sizes(handled) == [3, 0, 1]
    assert not await store.bot.inbox()


async def test_callback_queries_do_not_wait_for_messages(store: Store) -> None:
    line, handled = UpdateFeed(), Handled()
    async with listening(store, line, handled):
        line.deliver(file(1), callback_query(2), callback_query(3))
        await until(were_handled(handled, 3))
    assert [key for key, _ in handled] == ["press/2", "press/3", "bundle/7/1"]


async def test_an_album_at_the_end_of_a_full_bundle_is_not_split(store: Store) -> None:
    line, handled = UpdateFeed(), Handled()
    async with listening(store, line, handled):
        line.deliver(*(file(n, album=9 if n > MAX_GROUP - 2 else 0) for n in range(1, MAX_GROUP + 1)))
        line.deliver(file(MAX_GROUP + 1, album=9), file(MAX_GROUP + 2, album=9))
        await until(were_handled(handled, MAX_GROUP + 2))
    assert sizes(handled) == [MAX_GROUP - 2, 4]


async def test_a_full_bundle_may_end_with_an_album(store: Store) -> None:
    line, handled = UpdateFeed(), Handled()
    async with listening(store, line, handled):
        line.deliver(*(file(n, album=n // 10 + 1) for n in range(MAX_GROUP)), file(MAX_GROUP, album=99))
        await until(were_handled(handled, MAX_GROUP + 1))
    assert sizes(handled) == [MAX_GROUP, 1]


async def test_an_endless_burst_is_split_between_albums(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_GROUP_SECONDS", 0.1)
    line, handled = UpdateFeed(), Handled()
    async with listening(store, line, handled):
        for number in range(40):
            line.deliver(file(number, album=number // 4 + 1))
            await asyncio.sleep(0.02)
        await until(were_handled(handled, 40))
    assert len(handled) > 1
    assert all(size % 4 == 0 for size in sizes(handled))


async def test_messages_of_two_users_in_a_group_are_separate_bundles(store: Store) -> None:
    line, handled = UpdateFeed(), Handled()
    async with listening(store, line, handled):
        line.deliver(file(1), file(2), file(3, sender=TelegramUser(id=8)))
        await until(were_handled(handled, 3))
    assert sizes(handled) == [2, 1]


async def test_unhandled_updates_are_delivered_again(store: Store) -> None:
    line, handled = UpdateFeed(), Handled()

    async def never() -> None:
        await asyncio.Event().wait()

    async with listening(store, line, handled, never):
        line.deliver(file(1), file(2))
        line.deliver(text_message(3))

        async def is_kept() -> bool:
            return "bundle/7/1" in await store.bot.inbox()

        await until(is_kept)
    assert not handled
    again = UpdateFeed()
    async with listening(store, again, handled):
        again.deliver(file(4))
        await until(were_handled(handled, 4))
        assert again.begun == [Position(3, 0, 0)]
    assert sizes(handled) == [2, 0, 1]
    assert handled[0][0] == "bundle/7/1"


async def test_updates_survive_an_outage_of_redis(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    store = Store(connect(server.start()))
    line, handled = UpdateFeed(), Handled()

    async def needs_redis() -> None:
        await store.preferences.get(7)

    try:
        async with listening(store, line, handled, needs_redis):
            line.deliver(text_message(1))
            await until(were_handled(handled, 1))
            server.stop()
            line.deliver(callback_query(5))  # does not come again: it must be kept until Redis is back
            line.deliver(text_message(2))
            await asyncio.sleep(0)  # the inbox tries to
            with pytest.raises(StoreUnavailable):  # the inbox has given up before
                await store.preferences.get(7)
            server.start()
            await until(were_handled(handled, 3))
            await until(is_empty(store))
        assert {key for key, _ in handled} == {"7/1", "press/5", "7/2"}
        assert len(line.begun) == 1
        assert not await store.bot.inbox()
    finally:
        await store.db.close()
        server.stop()


#: What a letter that is kept may have become, and where the reader was.
SPOILT = (
    b"",
    b"\xff\x00",
    b"{",
    b"7",
    b"[]",
    b"null",
    b'{"v":9}',
    b'{"type":"Hologram"}',
    b'{"type":"Bundle","messages":[]}',
    b'{"type":"Bundle","messages":[{"chat":7}]}',
    b'{"type":"_One","message":{"chat":"x","id":1}}',
    b'{"type":"_Press","press":{}}',
)


@pytest.mark.parametrize("spoilt", SPOILT)
async def test_an_unreadable_update_or_position_does_not_block_others(store: Store, spoilt: bytes) -> None:
    line = UpdateFeed()
    handled: Handled = []
    async with listening(store, line, handled):
        line.deliver(text_message(1))
        await until(were_handled(handled, 1))
    (kept,) = await _kept_of(store, text_message(2))
    await store.bot.receive({"7/0": spoilt, "7/2": kept, "press/x": spoilt}, spoilt)
    handled.clear()
    async with listening(store, line, handled):
        await until(were_handled(handled, 1))
        line.deliver(text_message(3))
        await until(were_handled(handled, 2))
    assert [key for key, _ in handled] == ["7/2", "7/3"]
    assert line.begun == [None, None], "it begins to read where a new bot would"


async def _kept_of(store: Store, message: ChatMessage) -> list[bytes]:
    """The stored form of an unhandled update."""
    line, wait = UpdateFeed(), asyncio.Event()

    async def never() -> None:
        await wait.wait()

    async with listening(store, line, [], never):
        line.deliver(message)
        kept: dict[str, bytes] = {}

        async def is_kept() -> bool:
            kept.update(await store.bot.inbox())
            return bool(kept)

        await until(is_kept)
    return list(kept.values())


async def test_an_unexpected_error_ends_neither_the_inbox_nor_a_chat(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with an update or its storage, the next one is handled."""

    class Stumbles(UpdateFeed):
        async def updates(self, position: Position | None) -> AsyncGenerator[Batch, None]:
            if not self.begun:
                self.begun.append(position)
                raise KeyError("a mistake")
            async for batch in super().updates(position):
                yield batch

    keep = store.bot.group
    failed: list[tuple[Any, ...]] = []

    async def group(*args: Any) -> None:
        if not failed:
            failed.append(args)
            raise KeyError("a mistake")
        await keep(*args)

    monkeypatch.setattr(store.bot, "group", group)
    line, handled = Stumbles(), Handled()
    async with listening(store, line, handled):
        line.deliver(file(1))
        line.deliver(text_message(2))
        await until(were_handled(handled, 1))
    assert failed
    assert [key for key, _ in handled] == ["7/2"]
