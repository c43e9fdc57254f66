"""Receipts of archives: every message that was read is counted once, whatever is repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as change

from saveany.catalogue.adoption import FoundFile
from saveany.catalogue.archive_models import ArchivedMessage, MessageOutcome, ReadPage
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.errors import InvalidInput
from saveany.models import Duplicate, ItemStatus, Status
from saveany.service import OPERATOR
from saveany.service.adoption import AdoptionService
from saveany.service.archives import ArchiveService
from saveany.store import Store
from saveany.store.archives import Archive
from saveany.telegram.reasons import FILES_LOCKED, MESSAGE_GONE
from saveany.texts import Text
from tests.integration.catalogue.test_recording import item, planned

CHAT = -1001600000001


def page(
    *numbers: int, media: dict[int, MessageOutcome] | None = None, total: int = 0, task: str = "t"
) -> ReadPage:
    """A page with these messages, some of them with files."""
    chosen = media or {}
    with_media = [
        ArchivedMessage(
            CHAT, n, outcome, task_id=f"{task}{n}" if outcome is MessageOutcome.PENDING else "", size=10
        )
        for n, outcome in sorted(chosen.items())
    ]
    plain = [n for n in sorted(numbers) if n not in chosen]
    return ReadPage(CHAT, max(numbers), total or max(numbers), with_media, plain)


async def test_the_numbers_of_a_receipt_add_up(any_catalogue: Catalogue) -> None:
    receipts = any_catalogue.receipts
    await receipts.write(
        "a", page(*range(1, 101), media={5: MessageOutcome.PENDING, 50: MessageOutcome.FILTERED}, total=150)
    )
    await receipts.write("a", page(*range(101, 141), media={101: MessageOutcome.LOCKED}, total=151))
    await receipts.write("b", page(1, 2, 3))
    found = await receipts.get("a")
    assert (found.telegram_total, found.without_media, found.accounted) == (151, 137, 140)
    assert found.outcomes == {MessageOutcome.PENDING: 1, MessageOutcome.FILTERED: 1, MessageOutcome.LOCKED: 1}
    assert found.counts()["saved"] == 0
    await receipts.remove("a")
    assert (await receipts.get("a")).accounted == 0
    assert (await receipts.get("b")).accounted == 3


async def test_a_page_that_is_read_again_changes_nothing(any_catalogue: Catalogue) -> None:
    receipts = any_catalogue.receipts
    first = page(1, 2, 3, media={2: MessageOutcome.PENDING})
    for again in (first, first, page(1, 2, 3, media={2: MessageOutcome.PENDING}, task="other")):
        await receipts.write("a", again)
    assert (await receipts.get("a")).accounted == 3
    known = await receipts.known("a", CHAT, 1, 3)
    assert {n: each.task_id for n, each in known.items()} == {2: "t2"}
    await receipts.write("a", page(2, 3, 4, media={2: MessageOutcome.PENDING}))
    assert (await receipts.get("a")).accounted == 4


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.sets(st.integers(1, 60), min_size=1),
    st.sets(st.integers(1, 60)),
    st.lists(st.integers(1, 9), min_size=1, max_size=30),
)
async def test_runs_hold_exactly_the_messages_without_files(
    catalogue: Catalogue, messages: set[int], with_media: set[int], sizes: list[int]
) -> None:
    receipts, ids = catalogue.receipts, sorted(messages)
    await receipts.remove("p")
    for size in sizes * 60:
        part, ids = ids[:size], ids[size:]
        if not part:
            break
        media = {n: MessageOutcome.FILTERED for n in part if n in with_media}
        await receipts.write("p", page(*part, media=media))
    plain = messages - with_media
    runs = await receipts.runs("p", CHAT)
    assert sum(count for _, _, count in runs) == len(plain)
    for first, last, count in runs:
        assert len([n for n in messages if first <= n <= last]) == count
        assert not any(first <= n <= last for n in with_media & messages)
    assert (await receipts.get("p")).accounted == len(messages)


async def test_the_end_of_a_task_decides_the_outcome(store: Store, any_catalogue: Catalogue) -> None:
    receipts = any_catalogue.receipts
    sources = [{"chat": CHAT, "message": n, "document": n, "kind": "video"} for n in range(6)]
    items = [item(n, source=sources[n]) for n in range(6)]
    claimed = await planned(store, *items, archive_id="a")
    pending = dict.fromkeys(range(1, 8), MessageOutcome.PENDING)
    read = page(*pending, media=pending)
    read = replace(read, with_media=[replace(each, task_id=claimed.task.id) for each in read.with_media])
    await receipts.write("a", read)
    await claimed.item(items[1])
    assert (await receipts.get("a"))[MessageOutcome.SAVED] == 1
    before = Duplicate(file_id="f0", name="a", storage="local1", path="a", size=7)
    locked = Text(FILES_LOCKED, {"message": 5, "price": "5 Stars"})
    ends = [
        change(items[2], status=ItemStatus.COMPLETED, duplicate=before),
        change(items[3], status=ItemStatus.SKIPPED, duplicate=before),
        change(items[4], status=ItemStatus.FAILED, error_text=Text(MESSAGE_GONE, {"message": 4})),
        change(items[5], status=ItemStatus.FAILED, error_text=locked),
    ]
    link = f"https://t.me/c/{-CHAT - 10**12}/6-7"
    failed = change(items[0], status=ItemStatus.FAILED, error_text=Text("broken"), source={"link": link})
    await claimed.finish(Status.FAILED, "some failed", items=[*ends, failed])
    found = {each.message: each for each in (await receipts.messages("a")).messages}
    assert {n: each.outcome.value for n, each in found.items()} == {
        1: "saved",
        2: "duplicate",
        3: "duplicate",
        4: "gone",
        5: "locked",
        6: "failed",
        7: "failed",
    }
    assert found[3].file_id == "f0"
    assert found[5].reason == locked
    assert str(found[6].reason) == "broken"
    assert found[1].file_id == (await any_catalogue.files.of_task(claimed.task.id, 0, 10))[0].id


async def test_messages_without_an_item_are_gone_unless_the_task_has_read_none(
    store: Store, any_catalogue: Catalogue
) -> None:
    for archive, status, outcome, items in (
        ("a", Status.COMPLETED, MessageOutcome.GONE, [item(0)]),
        ("b", Status.FAILED, MessageOutcome.GONE, [item(0)]),
        ("c", Status.FAILED, MessageOutcome.FAILED, []),
    ):
        claimed = await planned(store, *items, archive_id=archive)
        read = page(9, media={9: MessageOutcome.PENDING})
        await any_catalogue.receipts.write(
            archive, replace(read, with_media=[replace(read.with_media[0], task_id=claimed.task.id)])
        )
        await claimed.finish(status, "" if status is Status.COMPLETED else "no access", items=items)
        assert (await any_catalogue.receipts.get(archive))[outcome] == 1


async def test_a_recorded_task_of_an_archive_leaves_redis_at_once(
    store: Store, any_catalogue: Catalogue
) -> None:
    ids = []
    for archive in ("a", ""):
        claimed = await planned(store, item(0), archive_id=archive)
        await claimed.finish(Status.COMPLETED, items=[item(0)])
        ids.append(claimed.task.id)
    await any_catalogue.recorder.catch_up()
    assert [await store.tasks.exists(each) for each in ids] == [False, True]
    assert len(await any_catalogue.history.get_many(ids)) == 2


async def test_messages_are_listed_in_pages_and_saved_again_when_asked(any_catalogue: Catalogue) -> None:
    receipts = any_catalogue.receipts
    media = {n: MessageOutcome.FAILED if n % 2 else MessageOutcome.PENDING for n in range(1, 11)}
    await receipts.write("a", page(*media, media=media))
    failed: list[int] = []
    cursor = ""
    for _ in range(3):
        found = await receipts.messages("a", [MessageOutcome.FAILED], 2, cursor)
        failed += [each.message for each in found.messages]
        cursor = found.cursor
    assert (failed, cursor) == ([1, 3, 5, 7, 9], "")
    with pytest.raises(InvalidInput):
        await receipts.messages("a", cursor="x")
    await receipts.reopen("a", (await receipts.messages("a", [MessageOutcome.FAILED])).messages)
    waiting = await receipts.unassigned("a")
    assert [each.message for each in waiting] == [1, 3, 5, 7, 9]
    assert len(await receipts.assign("a", [replace(each, task_id="new") for each in waiting[:2]])) == 2
    # Another process has found the same ones.
    assert await receipts.assign("a", [replace(each, task_id="again") for each in waiting[:2]]) == []
    assert [each.message for each in await receipts.unassigned("a")] == [5, 7, 9]
    assert sorted(await receipts.pending_tasks("a", CHAT, 6)) == ["new", "t2", "t4", "t6"]
    await receipts.drop_tasks("a", ["t2", "new"])
    assert [each.message for each in await receipts.unassigned("a")] == [1, 2, 3, 5, 7, 9]


async def test_a_retry_ends_even_if_everything_fails_again_at_once(
    store: Store, any_catalogue: Catalogue
) -> None:
    class Failing(ArchiveService):
        async def reopen(self, archive_id: str, messages: Sequence[ArchivedMessage]) -> None:
            """The messages have failed again already."""

    service = Failing(Config(), store, any_catalogue, cast(Any, None), cast(Any, None))
    await store.archives.add(Archive(id="a", user_id=1, chat=CHAT, title="", account="me", created_at=1))
    media = dict.fromkeys(range(1, 451), MessageOutcome.FAILED)
    await any_catalogue.receipts.write("a", page(*media, media=media))
    async with asyncio.timeout(60):
        assert await service.retry(OPERATOR, "a") == 450


async def test_only_paths_inside_the_storage_are_adopted(store: Store, any_catalogue: Catalogue) -> None:
    archives = ArchiveService(Config(), store, any_catalogue, cast(Any, None), cast(Any, None))
    service = AdoptionService(Config(), store, any_catalogue, archives)
    await store.archives.add(Archive(id="a", user_id=1, chat=CHAT, title="", account="me", created_at=1))
    for path in ("/etc/passwd", "../b", "a/../b", "a//b", "a/", "."):
        with pytest.raises(InvalidInput):
            await service.note(OPERATOR, "a", [FoundFile(path, 1, 0)])
    await service.note(OPERATOR, "a", [FoundFile("a/b", 1, 0)])


async def test_two_writers_note_each_message_once(any_catalogue: Catalogue) -> None:
    receipts = any_catalogue.receipts
    media = dict.fromkeys(range(1, 50, 7), MessageOutcome.PENDING)
    await asyncio.gather(
        *(receipts.write("a", page(*range(1, 51), media=media, task=f"w{n}-")) for n in range(4))
    )
    assert (await receipts.get("a")).accounted == 50
