"""Watched chats: everything that is posted becomes a task, once and in order, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from saveany.config import Config, User
from saveany.errors import NeedsLogin, Permanent
from saveany.models import Task
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.content import LiteralContent
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from saveany.service import OPERATOR, TaskService
from saveany.store import Store
from saveany.store.watched_chats import WatchedChat
from saveany.telegram.accounts import Accounts
from saveany.telegram.links import parse
from saveany.watching import ChatWatcher
from storages.local.options import LocalOptions
from tests.fixtures.waiting import until
from tests.integration.telegram.conftest import Start, table
from workers.sources.telegram import TelegramSource

OWNER = 42
CHAT = 1600000001
MARKED = -(10**12) - CHAT

_numbers = itertools.count(1)


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


class Bench:
    """A watcher, and short words for what a test does with it."""

    def __init__(self, sandbox: Sandbox, store: Store, config: Config, accounts: Accounts) -> None:
        self.world = sandbox.world
        self.counters = sandbox.counters
        self.store = store
        self.config = config
        self.accounts = accounts
        self.service = TaskService(config, store)
        self.watcher = self.again()

    def again(self) -> ChatWatcher:
        """A watcher that knows only what is kept."""
        self.watcher = ChatWatcher(self.accounts, self.store, self.service, self.config)
        return self.watcher

    def post(self, chat: Chat, text: str = "", *, name: str = "a.bin", size: int = 9, **fields: Any) -> int:
        """A message with a file; its id."""
        file = StoredFile(id=90_000 + next(_numbers), content=LiteralContent(b"x" * size), name=name)
        return self.world.send(
            chat, StoredMessage(id=0, text=text, file=self.world.add_file(file), **fields)
        ).id

    def say(self, chat: Chat) -> int:
        """A message without a file."""
        return self.world.send(chat, StoredMessage(id=0, text="words")).id

    async def watch(self, id_: str = "w1", chat: str = str(MARKED), **changes: Any) -> WatchedChat:
        now = await self.accounts.history.chat_state(chat)
        fields = {
            "user_id": OWNER,
            "chat": now.id,
            "title": now.title,
            "username": now.username,
            "account": now.account,
            "seen": now.top,
            "created_at": 1,
        }
        watch = WatchedChat(id=id_, **{**fields, **changes})
        await self.store.watched_chats.add(watch)
        return watch

    async def kept(self, id_: str = "w1") -> WatchedChat:
        watch = await self.store.watched_chats.get(id_)
        assert watch is not None
        return watch

    async def rounds(self, times: int = 2) -> None:
        """Two: an album at the end of a chat is taken in the second one."""
        for _ in range(times):
            await self.watcher.check()

    async def tasks(self) -> list[Task]:
        return await self.store.tasks.live()

    async def links(self) -> list[str]:
        """What became tasks, in order, without what all links have in common."""
        tasks = await self.tasks()
        return [
            " ".join(link.removeprefix(f"https://t.me/c/{CHAT}/") for link in task.spec.links)
            for task in tasks
        ]


@pytest.fixture
async def bench(sandbox: Sandbox, chat: Chat, store: Store, config: Config, start: Start) -> Bench:
    return Bench(sandbox, store, config, await start(user=True, bot=True))


async def test_posts_missed_while_stopped_are_saved_once_and_in_order(bench: Bench, chat: Chat) -> None:
    bench.post(chat)  # before it is watched
    await bench.watch(filter={"name": r"\.mkv$|holiday"}, storage="usb", folder="Films/new")
    bench.say(chat)
    film = bench.post(chat, name="film.mkv")
    bench.post(chat, name="readme.txt")
    album = [bench.post(chat, text, album=77) for text in ("our holiday", "", "")]
    bench.say(chat)
    last = [bench.post(chat, name=name) for name in ("b.MKV", "c.zip", "d.mkv")]
    bench.say(chat)
    await bench.rounds(1)
    assert await bench.links() == [str(film), f"{album[0]}-{album[-1]}", str(last[0]), str(last[2])]
    spec = (await bench.tasks())[0].spec
    assert (spec.type, spec.user_id, spec.storage, spec.path) == ("tgfiles", OWNER, "usb", "Films/new")
    assert (await bench.kept()).seen == last[-1] + 1
    bench.again()
    await bench.rounds()
    assert len(await bench.tasks()) == 4


async def test_files_of_an_album_excluded_by_a_filter_are_not_linked(bench: Bench, chat: Chat) -> None:
    await bench.watch(filter={"min_size": 5})
    sizes = (9, 1, 9, 9, 1, 9)
    first, *_ = [bench.post(chat, size=size, album=78) for size in sizes]
    await bench.rounds()
    assert await bench.links() == [f"{first}?single {first + 2}-{first + 3} {first + 5}?single"]


async def test_an_album_is_saved_when_it_is_complete(bench: Bench, chat: Chat) -> None:
    await bench.watch()
    one = bench.post(chat)
    first = bench.post(chat, album=79)
    await bench.rounds(1)
    assert await bench.links() == [str(one)]
    assert (await bench.kept()).seen == one
    last = bench.post(chat, album=79)
    await bench.rounds(1)
    assert await bench.links() == [str(one)]
    await bench.rounds(1)
    assert await bench.links() == [str(one), f"{first}-{last}"]
    assert (await bench.kept()).seen == last


async def test_hundreds_of_posts_with_an_album_across_pages_are_saved(bench: Bench, chat: Chat) -> None:
    start = (await bench.watch()).seen
    for number in range(1, 301):
        bench.post(chat, album=81 if 97 <= number <= 105 else None)
    before = bench.counters.requests(method="messages.getHistory")
    await bench.rounds(1)
    assert bench.counters.requests(method="messages.getHistory") - before <= 5
    links = await bench.links()
    expected = [str(start + number) for number in range(1, 301) if not 98 <= number <= 105]
    expected[96] = f"{start + 97}-{start + 105}"
    assert links == expected
    before = bench.counters.requests(method="messages.getHistory")
    await bench.rounds()
    assert bench.counters.requests(method="messages.getHistory") == before


async def test_an_album_at_the_end_of_a_full_page_is_saved_once(bench: Bench, chat: Chat) -> None:
    start = (await bench.watch()).seen
    for number in range(100):
        bench.post(chat, album=82 if number > 95 else None)
    await bench.rounds(1)
    assert (await bench.kept()).seen == start + 96
    await bench.rounds(1)
    assert (await bench.links())[96:] == [f"{start + 97}-{start + 100}"]


@pytest.mark.parametrize("step", ["submit", "add_task", "advance"])
async def test_a_crash_loses_and_repeats_nothing(
    bench: Bench, chat: Chat, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.watch()
    posted = [bench.post(chat) for _ in range(4)]
    calls = itertools.count(1)
    whose = bench.service if step == "submit" else bench.store.watched_chats
    real = getattr(whose, step)

    async def dies(*args: Any, **options: Any) -> Any:
        call = next(calls)
        if call == 3:
            raise RuntimeError("killed")
        return await real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(whose, step, dies)
        await bench.rounds(1)
    assert (await bench.kept()).seen < posted[-1]
    bench.again()
    await bench.rounds(1)
    assert await bench.links() == [str(id_) for id_ in posted]
    assert list(await bench.store.watched_chats.unnotified_tasks()) == [
        task.id for task in await bench.tasks()
    ]


async def test_two_users_can_watch_one_chat(bench: Bench, chat: Chat) -> None:
    await bench.watch("all", notify="none")
    await bench.watch("big", user_id=7, filter={"min_size": 100})
    small, big = bench.post(chat), bench.post(chat, size=200)
    await bench.rounds(1)
    found = sorted((task.spec.user_id, task.spec.links[0].rpartition("/")[2]) for task in await bench.tasks())
    assert found == [(7, str(big)), (OWNER, str(small)), (OWNER, str(big))]
    assert list((await bench.store.watched_chats.unnotified_tasks()).values()) == ["big"]
    await bench.store.watched_chats.remove("all")
    bench.post(chat, size=200)
    await bench.rounds(1)
    assert [each.id for each in await bench.store.watched_chats.of_user(OWNER)] == []
    assert len(await bench.tasks()) == 4


async def test_a_public_chat_can_be_watched_without_joining(bench: Bench, start: Start) -> None:
    chat = bench.world.add_chat(Chat(id=CHAT + 1, title="Open", username="open_news"))
    watch = await bench.watch(chat="@open_news")
    assert (watch.name, watch.title, watch.seen) == ("@open_news", "Open", 1)
    bench.post(chat)
    await bench.rounds(1)
    (first,) = await bench.tasks()
    assert first.spec.links == (f"https://t.me/c/{chat.id}/2",)
    chat.username = "other_name"
    bench.world.add_chat(Chat(id=CHAT + 2, title="Squatter", username="open_news"))
    bench.post(chat)
    await bench.rounds(1)
    assert (await bench.tasks())[-1].spec.links == (f"https://t.me/c/{chat.id}/3",)
    assert (await bench.kept()).username == "other_name"
    (wanted,) = bench.world.chats[chat.id].messages[2].files
    bench.post(bench.world.chats[CHAT + 2])  # number 2, too
    link = parse(first.spec.links[0])
    [media] = await (await start(user=True)).resolve(link, username="open_news")
    assert media.document_id == wanted.id
    with pytest.raises(Permanent):  # it has not met the chat, and the name leads to another one
        await (await start(bot=True)).resolve(link, username="open_news")


async def test_an_account_that_does_not_know_the_chat_finds_it_by_username(
    bench: Bench, sandbox: Sandbox, start: Start
) -> None:
    chat = bench.world.add_chat(Chat(id=CHAT + 1, title="Open", username="open_news"))
    await bench.watch(chat="@open_news")
    bench.post(chat)
    await bench.rounds(1)
    (task,) = await bench.tasks()
    stranger = await start(table(sandbox, accounts=[{"name": "you", "session": sandbox.person_session}]))
    tools = SimpleNamespace(config=bench.config, accounts=stranger, on_wait=None)
    (found,) = await TelegramSource(cast(Any, tools)).resolve(task.spec)
    assert found.source["chat"] == -(10**12) - chat.id
    assert not sandbox.counters.requests(method="messages.getDialogs", account=samples.PERSON.id)


async def test_a_username_that_moved_to_another_chat_is_reported(bench: Bench, start: Start) -> None:
    chat = bench.world.add_chat(Chat(id=CHAT + 1, title="Open", username="open_news"))
    await bench.watch(chat="@open_news")
    chat.username = ""
    other = bench.world.add_chat(Chat(id=CHAT + 2, title="Squatter", username="open_news"))
    for _ in range(3):
        bench.post(other)
    for key in await bench.store.db.do("KEYS", "sa:telegram:*"):
        await bench.store.db.do("DEL", key)
    bench.accounts = await start(user=True)  # which does not know the chat by its id
    bench.again()
    await bench.rounds(1)
    assert await bench.tasks() == []
    assert "@open_news belongs to another chat now" in (await bench.kept()).problem


async def test_preferences_of_the_user_apply(bench: Bench, chat: Chat) -> None:
    await bench.store.preferences.change(
        OWNER, lambda prefs: replace(prefs, storage="usb", folder="Inbox", template="{{ msgid }}")
    )
    await bench.watch()
    bench.post(chat)
    await bench.rounds(1)
    spec = (await bench.tasks())[0].spec
    assert (spec.storage, spec.path, spec.template) == ("usb", "Inbox", "{{ msgid }}")


async def test_a_watch_can_start_from_the_first_post(bench: Bench, chat: Chat) -> None:
    ids = [bench.post(chat) for _ in range(3)]
    await bench.watch(seen=0)
    await bench.rounds(1)
    assert await bench.links() == [str(id_) for id_ in ids]


# What goes wrong.


async def test_lost_access_is_reported_and_does_not_affect_other_watches(bench: Bench, chat: Chat) -> None:
    other = bench.world.add_chat(Chat(id=CHAT + 1, title="Other", members={samples.USER.id}))
    await bench.watch("lost")
    await bench.watch("fine", chat=str(MARKED - 1))
    chat.members.clear()
    for each in (chat, other):
        bench.post(each)
    await bench.rounds(1)
    assert [task.spec.links for task in await bench.tasks()] == [(f"https://t.me/c/{other.id}/2",)]
    problem = (await bench.kept("lost")).problem
    assert "me: the chat is private and this account is not a member" in problem
    assert "Log in a user who is a member" in problem
    assert (await bench.kept("fine")).problem == ""
    before = bench.counters.requests(method="messages.getHistory")
    await bench.rounds(1)  # it rests
    assert bench.counters.requests(method="messages.getHistory") == before
    chat.members.add(samples.USER.id)
    bench.again()
    await bench.rounds(1)
    assert await bench.links() != []
    assert (await bench.kept("lost")).problem == ""
    assert len(await bench.tasks()) == 2


async def test_another_account_continues_a_watch(
    sandbox: Sandbox, bench: Bench, chat: Chat, start: Start
) -> None:
    logins = [("me", sandbox.user_session), ("you", sandbox.session(samples.PERSON.id))]
    fields = [{"name": name, "session": session} for name, session in logins]
    bench.accounts = await start(table(sandbox, accounts=fields))
    bench.again()
    chat.members.add(samples.PERSON.id)
    assert (await bench.watch()).account == "me"
    chat.members.discard(samples.USER.id)
    ids = [bench.post(chat) for _ in range(2)]
    await bench.rounds(1)
    assert await bench.links() == [str(id_) for id_ in ids]
    assert (await bench.kept()).account == "you"
    ids.append(bench.post(chat))
    await bench.rounds(1)
    assert await bench.links() == [str(id_) for id_ in ids]


async def test_without_a_user_account_watching_is_refused(bench: Bench, start: Start) -> None:
    await bench.watch()
    bench.accounts = await start(bot=True)
    with pytest.raises(NeedsLogin, match="A bot cannot watch chats"):
        await bench.accounts.history.chat_state("@channel")
    bench.again()
    await bench.rounds(1)
    assert "saveany login --phone" in (await bench.kept()).problem


async def test_a_watch_with_a_removed_storage_is_reported(bench: Bench, chat: Chat) -> None:
    await bench.watch("gone", storage="cloud")
    await bench.watch("fine")
    post = bench.post(chat)
    await bench.rounds(1)
    assert await bench.links() == [str(post)]
    gone = await bench.kept("gone")
    assert gone.seen < post
    assert "there is no storage 'cloud'" in gone.problem
    await bench.store.watched_chats.change("gone", lambda watch: replace(watch, storage="usb"))
    bench.again()
    await bench.rounds(1)
    assert (await bench.tasks())[-1].spec.storage == "usb"
    assert (await bench.kept("gone")).problem == ""


@pytest.mark.parametrize("method", ["messages.getPeerDialogs", "messages.getHistory"])
async def test_flood_waits_are_respected(sandbox: Sandbox, bench: Bench, chat: Chat, method: str) -> None:
    await bench.watch()
    post = bench.post(chat)
    sandbox.faults.add(f"flood_wait=100,method={method},count=1")
    before = bench.counters.requests(method=method)
    await bench.rounds(3)
    assert bench.counters.requests(method=method) == before + 1
    assert await bench.links() == []
    bench.again()
    await bench.rounds(1)
    assert await bench.links() == [str(post)]
    assert (await bench.kept()).problem == ""


async def test_more_chats_than_one_request_can_name_are_watched(bench: Bench) -> None:
    chats = [
        bench.world.add_chat(Chat(id=CHAT + n, title=f"{n}", members={samples.USER.id}))
        for n in range(1, 131)
    ]
    for n, each in enumerate(chats):
        await bench.watch(f"w{n}", chat=str(MARKED - 1 - n))
        bench.post(each)
    chats[64].members.clear()
    before = bench.counters.requests(method="messages.getPeerDialogs")
    await bench.rounds(1)
    assert len(await bench.tasks()) == 129
    assert bench.counters.requests(method="messages.getPeerDialogs") - before <= 2 + 2 * 7
    bench.again()
    before = bench.counters.requests(method="messages.getHistory")
    await bench.rounds(1)  # only the one that cannot be seen is looked at closer
    assert bench.counters.requests(method="messages.getHistory") - before == 1


async def test_a_full_queue_pauses_watching(
    bench: Bench, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.watching._MAX_QUEUED", 100)
    await bench.watch()
    for _ in range(250):
        bench.post(chat)
    await bench.rounds()
    assert len(await bench.tasks()) == 100
    for task in await bench.tasks():
        await bench.service.cancel(OPERATOR, task.id)
    await bench.rounds(1)
    assert (await bench.kept()).seen == 205


@pytest.mark.parametrize("error", [ConnectionRefusedError("away"), AttributeError("a bug")])
async def test_watching_continues_after_unexpected_errors(
    bench: Bench, chat: Chat, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.watch()
    bench.post(chat)
    real, failures = bench.store.watched_chats.all, [error]

    async def all_() -> Any:
        if failures:
            raise failures.pop()
        return await real()

    monkeypatch.setattr(bench.store.watched_chats, "all", all_)
    watching = asyncio.create_task(
        ChatWatcher(bench.accounts, bench.store, bench.service, bench.config, check_seconds=0.01).run()
    )
    await until(bench.tasks)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


async def test_invalid_chats_are_refused(bench: Bench) -> None:
    for chat in ("@nobody_there", "-1001699999999", "@sandbox_person"):
        with pytest.raises(Permanent):
            await bench.accounts.history.chat_state(chat)
