"""What happens to an archive when its chat, its account, Redis or the catalogue fails or changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config, User
from saveany.errors import CatalogueUnavailable, Unavailable
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.model import Group
from saveany.sandbox.world import Chat, StoredMessage
from saveany.store import Store
from saveany.store.archives import Archive
from storages.local.options import LocalOptions
from tests.integration.telegram.conftest import Start
from tests.integration.telegram.watcher_harness import CHAT, OWNER, WatcherHarness


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(
        storages=[LocalOptions(name="nas", type="local", base_path=tmp_path)], users=[User(id=OWNER)]
    )


@pytest.fixture
def chat(sandbox: Sandbox) -> Chat:
    """A private channel that the user is a member of."""
    return sandbox.world.add_chat(Chat(id=CHAT, title="News", members={samples.USER.id}))


@pytest.fixture
async def harness(
    sandbox: Sandbox, chat: Chat, store: Store, catalogue: Catalogue, config: Config, start: Start
) -> WatcherHarness:
    return WatcherHarness(sandbox, store, config, await start(user=True, bot=True), catalogue)


async def archive(harness: WatcherHarness, id_: str = "a", **changes: Any) -> Archive:
    """Archive the whole chat."""
    return await harness.watch(id_, **{"seen": 0, "start": "first", "notify": "none", **changes})


async def counts(harness: WatcherHarness, id_: str = "a") -> dict[str, int]:
    """The counts of the receipt that are not 0."""
    receipt = await harness.catalogue.receipts.get(id_)
    return {name: count for name, count in receipt.counts().items() if count}


async def test_two_archives_of_one_chat_have_their_own_filters_and_receipts(
    harness: WatcherHarness, chat: Chat
) -> None:
    for size in (10, 200, 10):
        harness.post(chat, size=size)
    await archive(harness, "small", filter={"max_size": 100}, folder="small")
    await archive(harness, "large", filter={"min_size": 100}, folder="large")
    await harness.check_watches(1)
    assert await counts(harness, "small") == {
        "telegram_total": 4,
        "without_media": 1,
        "pending": 2,
        "filtered": 1,
    }
    assert await counts(harness, "large") == {
        "telegram_total": 4,
        "without_media": 1,
        "pending": 1,
        "filtered": 2,
    }
    tasks = {task.spec.links[0]: task.spec.path for task in await harness.tasks()}
    assert sorted(tasks.values()) == ["large", "small", "small"]


async def test_an_archive_that_is_removed_while_it_is_read_leaves_nothing(
    harness: WatcherHarness, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(900):
        harness.post(chat)
    await archive(harness)
    real = harness.catalogue.receipts.write
    pages = 0

    async def write(*args: Any) -> None:
        nonlocal pages
        await real(*args)
        pages += 1
        if pages == 2:
            await harness.store.archives.remove("a")
            await real(*args)  # the reader was a moment later

    monkeypatch.setattr(harness.catalogue.receipts, "write", write)
    await harness.check_watches()
    assert pages == 2
    assert await counts(harness) == {}
    assert not await harness.store.archives.exist()
    assert (await harness.catalogue.receipts.messages("a")).messages == []
    assert len(await harness.tasks()) < 900  # what was queued is still saved


async def test_a_receipt_is_deleted_although_the_catalogue_was_away_when_the_archive_was_removed(
    harness: WatcherHarness, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.post(chat)
    await archive(harness)
    await archive(harness, "b", folder="other")
    await harness.check_watches(1)
    await harness.store.archives.remove("a")

    async def fail(_: str) -> None:
        raise CatalogueUnavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(harness.catalogue.receipts, "remove", fail)
        with pytest.raises(Unavailable):
            await harness.check_watches(1)
    assert await counts(harness) != {}
    await harness.check_watches(1)
    assert await counts(harness) == {}
    assert await counts(harness, "b") != {}


async def test_the_reader_waits_while_the_catalogue_is_away(
    harness: WatcherHarness, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And tasks that were created stay queued."""
    first = harness.post(chat)
    await archive(harness)
    await harness.check_watches(1)
    later = harness.post(chat)

    async def away(*args: Any) -> None:
        raise CatalogueUnavailable("the catalogue cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(harness.catalogue.receipts, "write", away)
        with pytest.raises((Unavailable, ExceptionGroup)):
            await harness.watcher.check()
    assert (await harness.stored_watch("a")).seen < later
    assert await harness.links() == [str(first)]
    await harness.check_watches(1)
    assert await harness.links() == [str(first), str(later)]
    assert (await harness.stored_watch("a")).problem == ""


async def test_a_full_redis_interrupts_reading_without_a_gap(harness: WatcherHarness, chat: Chat) -> None:
    posted = [harness.post(chat) for _ in range(5)]
    await archive(harness)
    await harness.store.db.do("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises((Unavailable, ExceptionGroup)):
            await harness.watcher.check()
    finally:
        await harness.store.db.do("CONFIG", "SET", "maxmemory", 0)
    await harness.check_watches(1)
    assert await harness.links() == [str(each) for each in posted]
    assert (await counts(harness))["pending"] == 5


async def test_a_flood_wait_on_page_60_repeats_only_this_page(
    sandbox: Sandbox, harness: WatcherHarness, chat: Chat
) -> None:
    sandbox.world.fill(chat, 7_000, lambda id_: StoredMessage(id=id_, text="words"))
    await archive(harness)
    sandbox.faults.add("flood_wait=30,method=messages.getHistory,every=60,count=1")
    before = harness.counters.requests(method="messages.getHistory")
    await harness.check_watches(3)
    assert 60 <= harness.counters.requests(method="messages.getHistory") - before <= 60 + 18  # it reads ahead
    stored = await harness.stored_watch("a")
    assert "30" in str(stored.problem)
    assert stored.seen == 5_900
    harness.restart_watcher()
    before = harness.counters.requests(method="messages.getHistory")
    await harness.check_watches(3)
    assert harness.counters.requests(method="messages.getHistory") - before <= 11 + 1
    stored = await harness.stored_watch("a")
    assert (stored.seen, stored.problem, stored.is_read) == (7_000, "", True)
    assert await counts(harness) == {"telegram_total": 7_000, "without_media": 7_000}


@pytest.mark.parametrize("fault", ["removed", "frozen", "logged out", "deleted"])
async def test_what_the_account_cannot_read_is_reported_and_resumed(
    sandbox: Sandbox, harness: WatcherHarness, chat: Chat, fault: str
) -> None:
    first = harness.post(chat)
    await archive(harness)
    await harness.check_watches(1)
    later = harness.post(chat)
    added = None
    if fault == "removed":
        chat.members.clear()
    elif fault == "deleted":
        del sandbox.world.chats[chat.id]
    elif fault == "frozen":
        added = sandbox.faults.add(f"frozen,account={samples.USER.id}")
    else:
        added = sandbox.faults.add(f"revoke,account={samples.USER.id}")
    await harness.check_watches(1)
    stored = await harness.stored_watch("a")
    assert str(stored.problem), fault
    assert stored.seen < later
    assert await harness.links() == [str(first)]  # it is still saved
    if fault in ("deleted", "logged out"):  # nothing brings these back
        return
    chat.members.add(samples.USER.id)
    if added:
        sandbox.faults.remove(added)
    harness.restart_watcher()
    await harness.check_watches(1)
    assert await harness.links() == [str(first), str(later)]
    assert (await harness.stored_watch("a")).problem == ""


async def test_a_group_that_becomes_a_supergroup_is_followed_there(
    sandbox: Sandbox, harness: WatcherHarness
) -> None:
    world = sandbox.world
    group = world.private_chats.add_group(Group(id=900_000_011, title="Club", members={samples.USER.id}))
    side = world.private_chats.side(world.accounts[samples.USER.id], group)
    harness.post(side)
    await harness.store.archives.add(
        Archive(
            id="a",
            user_id=OWNER,
            chat=-group.id,
            title="Club",
            account="me",
            start="first",
            notify="none",
            created_at=1,
        )
    )
    await harness.check_watches(1)
    assert (await counts(harness))["pending"] == 1
    harness.post(side)  # not read before the group changes
    supergroup = Chat(
        id=CHAT + 7, title="Club", broadcast=False, members={samples.USER.id}, username="club_7"
    )
    world.migrate(group, supergroup)
    harness.post(supergroup)
    await harness.check_watches(3)
    stored = await harness.stored_watch("a")
    assert (stored.chat, stored.older_chat) == (-(10**12) - supergroup.id, 0)
    assert (await counts(harness))["pending"] == 3
    harness.post(supergroup)
    await harness.check_watches(1)
    assert (await counts(harness))["pending"] == 4


async def test_a_forum_that_becomes_a_plain_group_is_still_read(harness: WatcherHarness, chat: Chat) -> None:
    chat.broadcast, chat.forum = False, True
    opened = harness.world.send(chat, StoredMessage(id=0, service=True, opens_topic="Films")).id
    harness.post(chat, thread=opened, topic=True)
    await archive(harness, by_topic=True)
    await harness.check_watches(1)
    chat.forum = False
    harness.post(chat)
    await harness.check_watches(1)
    assert (await harness.stored_watch("a")).problem == ""
    assert [task.spec.path for task in await harness.tasks()] == ["Films", "General"]
    chat.forum = True
    harness.post(chat, thread=opened, topic=True)
    await harness.check_watches(1)
    assert [task.spec.path for task in await harness.tasks()] == ["Films", "General", "Films"]


async def test_a_chat_with_a_new_title_and_name_is_the_same_archive(
    harness: WatcherHarness, chat: Chat
) -> None:
    harness.post(chat)
    await archive(harness, folder="news")
    await harness.check_watches(1)
    chat.title, chat.username = "Other", "other_news"
    harness.post(chat)
    await harness.check_watches(1)
    assert [task.spec.path for task in await harness.tasks()] == ["news", "news"]
    assert (await harness.stored_watch("a")).username == "other_news"


async def test_a_page_that_was_noted_before_a_crash_gets_its_tasks_once(
    harness: WatcherHarness, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader dies after it has noted a page, and again before each of its tasks."""
    posted = [harness.post(chat) for _ in range(3)]
    await archive(harness)
    for _ in posted:
        reader = harness.restart_watcher()
        real, created = harness.service.submit, 0

        async def submit(*args: Any, real: Any = real) -> Any:
            nonlocal created
            if created:
                raise RuntimeError("killed")
            created += 1
            return await real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(harness.service, "submit", submit)
            await reader.check()
    harness.restart_watcher()
    await harness.check_watches(1)
    assert await harness.links() == [str(each) for each in posted]
    assert await counts(harness) == {"telegram_total": 4, "without_media": 1, "pending": 3}
