"""Watched chats: every post becomes a task, once and in order, despite failures."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from saveany.archives.role import ArchiveRole
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config, User
from saveany.errors import NeedsLogin, Permanent
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.world import Chat, StoredMessage
from saveany.service import OPERATOR
from saveany.store import Store
from saveany.telegram.accounts import Accounts
from saveany.telegram.links import parse
from storages.local.options import LocalOptions
from tests.fixtures.waiting import until
from tests.integration.telegram.conftest import Start, table
from tests.integration.telegram.watcher_harness import CHAT, MARKED, OWNER, WatcherHarness
from workers.sources.telegram import TelegramSource


@pytest.fixture
def config(tmp_path: Path) -> Config:
    disks = [LocalOptions(name=name, type="local", base_path=tmp_path / name) for name in ("nas", "usb")]
    return Config(storages=disks, users=[User(id=OWNER), User(id=7, storages=["usb"])])


@pytest.fixture
def chat(sandbox: Sandbox) -> Chat:
    """A private channel that the user is a member of."""
    world = sandbox.world
    chat = world.add_chat(Chat(id=CHAT, title="News", members={samples.USER.id}))
    for _ in range(4):
        world.send(chat, StoredMessage(id=0, text="old"))
    return chat


@pytest.fixture
async def harness(
    sandbox: Sandbox, chat: Chat, store: Store, catalogue: Catalogue, config: Config, start: Start
) -> WatcherHarness:
    return WatcherHarness(sandbox, store, config, await start(user=True, bot=True), catalogue)


async def test_posts_missed_while_stopped_are_saved_once_and_in_order(
    harness: WatcherHarness, chat: Chat
) -> None:
    harness.post(chat)  # before it is watched
    await harness.watch(filter={"name": r"\.mkv$|holiday"}, storage="usb", folder="Films/new")
    harness.post_text(chat)
    film = harness.post(chat, name="film.mkv")
    harness.post(chat, name="readme.txt")
    album = [harness.post(chat, text, album=77) for text in ("our holiday", "", "")]
    harness.post_text(chat)
    last = [harness.post(chat, name=name) for name in ("b.MKV", "c.zip", "d.mkv")]
    harness.post_text(chat)
    await harness.check_watches(1)
    assert await harness.links() == [str(film), f"{album[0]}-{album[-1]}", str(last[0]), str(last[2])]
    spec = (await harness.tasks())[0].spec
    assert (spec.type, spec.user_id, spec.storage, spec.path) == ("tgfiles", OWNER, "usb", "Films/new")
    assert (await harness.stored_watch()).seen == last[-1] + 1
    harness.restart_watcher()
    await harness.check_watches()
    assert len(await harness.tasks()) == 4


async def test_files_of_an_album_excluded_by_a_filter_are_not_linked(
    harness: WatcherHarness, chat: Chat
) -> None:
    await harness.watch(filter={"min_size": 5})
    sizes = (9, 1, 9, 9, 1, 9)
    first, *_ = [harness.post(chat, size=size, album=78) for size in sizes]
    await harness.check_watches()
    assert await harness.links() == [f"{first}?single {first + 2}-{first + 3} {first + 5}?single"]


async def test_an_album_is_saved_when_it_is_complete(harness: WatcherHarness, chat: Chat) -> None:
    await harness.watch()
    one = harness.post(chat)
    first = harness.post(chat, album=79)
    await harness.check_watches(1)
    assert await harness.links() == [str(one)]
    assert (await harness.stored_watch()).seen == one
    last = harness.post(chat, album=79)
    await harness.check_watches(1)
    assert await harness.links() == [str(one)]
    await harness.check_watches(1)
    assert await harness.links() == [str(one), f"{first}-{last}"]
    assert (await harness.stored_watch()).seen == last


async def test_hundreds_of_posts_with_an_album_across_pages_are_saved(
    harness: WatcherHarness, chat: Chat
) -> None:
    start = (await harness.watch()).seen
    for number in range(1, 301):
        harness.post(chat, album=81 if 97 <= number <= 105 else None)
    before = harness.counters.requests(method="messages.getHistory")
    await harness.check_watches(1)
    assert harness.counters.requests(method="messages.getHistory") - before <= 5
    links = await harness.links()
    expected = [str(start + number) for number in range(1, 301) if not 98 <= number <= 105]
    expected[96] = f"{start + 97}-{start + 105}"
    assert links == expected
    before = harness.counters.requests(method="messages.getHistory")
    await harness.check_watches()
    assert harness.counters.requests(method="messages.getHistory") == before


async def test_an_album_at_the_end_of_a_full_page_is_saved_once(harness: WatcherHarness, chat: Chat) -> None:
    start = (await harness.watch()).seen
    for number in range(100):
        harness.post(chat, album=82 if number > 95 else None)
    await harness.check_watches(1)
    assert (await harness.stored_watch()).seen == start + 96
    await harness.check_watches(1)
    assert (await harness.links())[96:] == [f"{start + 97}-{start + 100}"]


@pytest.mark.parametrize("step", ["submit", "add_task", "advance"])
async def test_a_crash_loses_and_repeats_nothing(
    harness: WatcherHarness, chat: Chat, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.watch()
    posted = [harness.post(chat) for _ in range(4)]
    calls = itertools.count(1)
    whose = harness.service if step == "submit" else harness.store.archives
    real = getattr(whose, step)

    async def dies(*args: Any, **options: Any) -> Any:
        call = next(calls)
        if call == 3:
            raise RuntimeError("killed")
        return await real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(whose, step, dies)
        await harness.check_watches(1)
    assert (await harness.stored_watch()).seen < posted[-1]
    harness.restart_watcher()
    await harness.check_watches(1)
    assert await harness.links() == [str(id_) for id_ in posted]
    assert list(await harness.store.archives.unnotified_tasks()) == [
        task.id for task in await harness.tasks()
    ]


async def test_two_users_can_watch_one_chat(harness: WatcherHarness, chat: Chat) -> None:
    await harness.watch("all", notify="none")
    await harness.watch("big", user_id=7, filter={"min_size": 100})
    small, big = harness.post(chat), harness.post(chat, size=200)
    await harness.check_watches(1)
    found = sorted(
        (task.spec.user_id, task.spec.links[0].rpartition("/")[2]) for task in await harness.tasks()
    )
    assert found == [(7, str(big)), (OWNER, str(small)), (OWNER, str(big))]
    assert list((await harness.store.archives.unnotified_tasks()).values()) == ["big"]
    await harness.store.archives.remove("all")
    harness.post(chat, size=200)
    await harness.check_watches(1)
    assert [each.id for each in await harness.store.archives.of_user(OWNER)] == []
    assert len(await harness.tasks()) == 4


async def test_a_public_chat_can_be_watched_without_joining(harness: WatcherHarness, start: Start) -> None:
    chat = harness.world.add_chat(Chat(id=CHAT + 1, title="Open", username="open_news"))
    watch = await harness.watch(chat="@open_news")
    assert (watch.name, watch.title, watch.seen) == ("@open_news", "Open", 1)
    harness.post(chat)
    await harness.check_watches(1)
    (first,) = await harness.tasks()
    assert first.spec.links == (f"https://t.me/c/{chat.id}/2",)
    chat.username = "other_name"
    harness.world.add_chat(Chat(id=CHAT + 2, title="Squatter", username="open_news"))
    harness.post(chat)
    await harness.check_watches(1)
    assert (await harness.tasks())[-1].spec.links == (f"https://t.me/c/{chat.id}/3",)
    assert (await harness.stored_watch()).username == "other_name"
    (wanted,) = harness.world.chats[chat.id].messages[2].files
    harness.post(harness.world.chats[CHAT + 2])  # number 2, too
    link = parse(first.spec.links[0])
    [media] = await (await start(user=True)).resolve(link, username="open_news")
    assert media.document_id == wanted.id
    with pytest.raises(Permanent):  # it has not met the chat, and the name leads to another one
        await (await start(bot=True)).resolve(link, username="open_news")


async def test_an_account_that_does_not_know_the_chat_finds_it_by_username(
    harness: WatcherHarness, sandbox: Sandbox, start: Start
) -> None:
    chat = harness.world.add_chat(Chat(id=CHAT + 1, title="Open", username="open_news"))
    await harness.watch(chat="@open_news")
    harness.post(chat)
    await harness.check_watches(1)
    (task,) = await harness.tasks()
    stranger = await start(table(sandbox, accounts=[{"name": "you", "session": sandbox.person_session}]))
    tools = SimpleNamespace(config=harness.config, accounts=stranger, on_wait=None)
    (found,) = await TelegramSource(cast(Any, tools)).resolve(task.spec)
    assert found.source["chat"] == -(10**12) - chat.id
    assert not sandbox.counters.requests(method="messages.getDialogs", account=samples.PERSON.id)


async def test_a_username_that_moved_to_another_chat_is_reported(
    harness: WatcherHarness, start: Start
) -> None:
    chat = harness.world.add_chat(Chat(id=CHAT + 1, title="Open", username="open_news"))
    await harness.watch(chat="@open_news")
    chat.username = ""
    other = harness.world.add_chat(Chat(id=CHAT + 2, title="Squatter", username="open_news"))
    for _ in range(3):
        harness.post(other)
    for key in await harness.store.db.do("KEYS", "sa:telegram:*"):
        await harness.store.db.do("DEL", key)
    harness.accounts = await start(user=True)  # which does not know the chat by its id
    harness.restart_watcher()
    await harness.check_watches(1)
    assert await harness.tasks() == []
    assert "@open_news belongs to another chat now" in str((await harness.stored_watch()).problem)


async def test_preferences_of_the_user_apply(harness: WatcherHarness, chat: Chat) -> None:
    await harness.store.preferences.change(
        OWNER, lambda prefs: replace(prefs, storage="usb", folder="Inbox", template="{{ msgid }}")
    )
    await harness.watch()
    harness.post(chat)
    await harness.check_watches(1)
    spec = (await harness.tasks())[0].spec
    assert (spec.storage, spec.path, spec.template) == ("usb", "Inbox", "{{ msgid }}")


async def test_a_watch_can_start_from_the_first_post(harness: WatcherHarness, chat: Chat) -> None:
    ids = [harness.post(chat) for _ in range(3)]
    await harness.watch(seen=0)
    await harness.check_watches(1)
    assert await harness.links() == [str(id_) for id_ in ids]


# What goes wrong.


async def test_lost_access_is_reported_and_does_not_affect_other_watches(
    harness: WatcherHarness, chat: Chat
) -> None:
    other = harness.world.add_chat(Chat(id=CHAT + 1, title="Other", members={samples.USER.id}))
    await harness.watch("lost")
    await harness.watch("fine", chat=str(MARKED - 1))
    chat.members.clear()
    for each in (chat, other):
        harness.post(each)
    await harness.check_watches(1)
    assert [task.spec.links for task in await harness.tasks()] == [(f"https://t.me/c/{other.id}/2",)]
    problem = str((await harness.stored_watch("lost")).problem)
    assert "me: the chat is private and this account is not a member" in problem
    assert "Log in a user who is a member" in problem
    assert (await harness.stored_watch("fine")).problem == ""
    before = harness.counters.requests(method="messages.getHistory")
    await harness.check_watches(1)  # it rests
    assert harness.counters.requests(method="messages.getHistory") == before
    chat.members.add(samples.USER.id)
    harness.restart_watcher()
    await harness.check_watches(1)
    assert await harness.links() != []
    assert (await harness.stored_watch("lost")).problem == ""
    assert len(await harness.tasks()) == 2


async def test_another_account_continues_a_watch(
    sandbox: Sandbox, harness: WatcherHarness, chat: Chat, start: Start
) -> None:
    logins = [("me", sandbox.user_session), ("you", sandbox.session(samples.PERSON.id))]
    fields = [{"name": name, "session": session} for name, session in logins]
    harness.accounts = await start(table(sandbox, accounts=fields))
    harness.restart_watcher()
    chat.members.add(samples.PERSON.id)
    assert (await harness.watch()).account == "me"
    chat.members.discard(samples.USER.id)
    ids = [harness.post(chat) for _ in range(2)]
    await harness.check_watches(1)
    assert await harness.links() == [str(id_) for id_ in ids]
    assert (await harness.stored_watch()).account == "you"
    ids.append(harness.post(chat))
    await harness.check_watches(1)
    assert await harness.links() == [str(id_) for id_ in ids]


async def test_without_a_user_account_watching_is_refused(harness: WatcherHarness, start: Start) -> None:
    await harness.watch()
    harness.accounts = await start(bot=True)
    with pytest.raises(NeedsLogin, match="A bot cannot watch chats"):
        await harness.accounts.history.chat_state("@channel")
    harness.restart_watcher()
    await harness.check_watches(1)
    assert "saveany login --phone" in str((await harness.stored_watch()).problem)


async def test_a_watch_with_a_removed_storage_is_reported(harness: WatcherHarness, chat: Chat) -> None:
    await harness.watch("gone", storage="cloud")
    await harness.watch("fine")
    post = harness.post(chat)
    await harness.check_watches(1)
    assert await harness.links() == [str(post)]
    gone = await harness.stored_watch("gone")
    assert gone.seen < post
    assert "there is no storage 'cloud'" in str(gone.problem)
    await harness.store.archives.change("gone", lambda watch: replace(watch, storage="usb"))
    harness.restart_watcher()
    await harness.check_watches(1)
    assert (await harness.tasks())[-1].spec.storage == "usb"
    assert (await harness.stored_watch("gone")).problem == ""


@pytest.mark.parametrize("method", ["messages.getPeerDialogs", "messages.getHistory"])
async def test_flood_waits_are_respected(
    sandbox: Sandbox, harness: WatcherHarness, chat: Chat, method: str
) -> None:
    await harness.watch()
    post = harness.post(chat)
    sandbox.faults.add(f"flood_wait=100,method={method},count=1")
    before = harness.counters.requests(method=method)
    await harness.check_watches(3)
    assert harness.counters.requests(method=method) == before + 1
    assert await harness.links() == []
    harness.restart_watcher()
    await harness.check_watches(1)
    assert await harness.links() == [str(post)]
    assert (await harness.stored_watch()).problem == ""


async def test_more_chats_than_one_request_can_name_are_watched(harness: WatcherHarness) -> None:
    chats = [
        harness.world.add_chat(Chat(id=CHAT + n, title=f"{n}", members={samples.USER.id}))
        for n in range(1, 131)
    ]
    for n, each in enumerate(chats):
        await harness.watch(f"w{n}", chat=str(MARKED - 1 - n))
        harness.post(each)
    chats[64].members.clear()
    before = harness.counters.requests(method="messages.getPeerDialogs")
    await harness.check_watches(1)
    assert len(await harness.tasks()) == 129
    assert harness.counters.requests(method="messages.getPeerDialogs") - before <= 2 + 2 * 7
    harness.restart_watcher()
    before = harness.counters.requests(method="messages.getHistory")
    await harness.check_watches(1)  # only the one that cannot be seen is looked at closer
    assert harness.counters.requests(method="messages.getHistory") - before == 1


async def test_a_full_queue_pauses_watching(
    harness: WatcherHarness, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.archives.reader._MAX_QUEUED", 100)
    await harness.watch()
    for _ in range(250):
        harness.post(chat)
    await harness.check_watches()
    assert len(await harness.tasks()) == 100
    for task in await harness.tasks():
        await harness.service.cancel(OPERATOR, task.id)
    await harness.check_watches(1)
    assert (await harness.stored_watch()).seen == 205


@pytest.mark.parametrize("error", [ConnectionRefusedError("away"), AttributeError("a bug")])
async def test_watching_continues_after_unexpected_errors(
    harness: WatcherHarness, chat: Chat, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.watch()
    harness.post(chat)
    real, failures = harness.store.archives.all, [error]

    async def all_() -> Any:
        if failures:
            raise failures.pop()
        return await real()

    monkeypatch.setattr(harness.store.archives, "all", all_)

    async def accounts() -> Accounts:
        return harness.accounts

    role = ArchiveRole(
        harness.config, harness.store, harness.catalogue, harness.service, accounts, check_seconds=0.01
    )
    watching = asyncio.create_task(role.run())
    await until(harness.tasks)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


async def test_invalid_chats_are_refused(harness: WatcherHarness) -> None:
    for chat in ("@nobody_there", "-1001699999999", "@sandbox_person"):
        with pytest.raises(Permanent):
            await harness.accounts.history.chat_state(chat)
