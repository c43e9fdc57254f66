"""A watcher of chats, and its operations, for the tests of watching."""

from __future__ import annotations

import itertools
from typing import Any

from saveany.archives.reader import ArchiveReader
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.models import Task
from saveany.sandbox import Sandbox
from saveany.sandbox.content import LiteralContent
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from saveany.service import TaskService
from saveany.store import Store
from saveany.store.archives import Archive
from saveany.telegram.accounts import Accounts

OWNER = 42
CHAT = 1600000001
MARKED = -(10**12) - CHAT

_numbers = itertools.count(1)


class WatcherHarness:
    """A watcher, with shorter forms of the operations of its tests."""

    def __init__(
        self, sandbox: Sandbox, store: Store, config: Config, accounts: Accounts, catalogue: Catalogue
    ) -> None:
        self.world = sandbox.world
        self.counters = sandbox.counters
        self.store = store
        self.catalogue = catalogue
        self.config = config
        self.accounts = accounts
        self.service = TaskService(config, store, catalogue)
        self.watcher = self.restart_watcher()

    def restart_watcher(self) -> ArchiveReader:
        """A new watcher that knows only stored records."""
        self.watcher = ArchiveReader(self.accounts, self.store, self.catalogue, self.service, self.config)
        return self.watcher

    def post(self, chat: Chat, text: str = "", *, name: str = "a.bin", size: int = 9, **fields: Any) -> int:
        """Post a message with a file; returns its id."""
        file = StoredFile(id=90_000 + next(_numbers), content=LiteralContent(b"x" * size), name=name)
        return self.world.send(
            chat, StoredMessage(id=0, text=text, file=self.world.add_file(file), **fields)
        ).id

    def post_text(self, chat: Chat) -> int:
        """Post a message without a file; returns its id."""
        return self.world.send(chat, StoredMessage(id=0, text="words")).id

    async def watch(self, id_: str = "w1", chat: str = str(MARKED), **changes: Any) -> Archive:
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
        watch = Archive(id=id_, **{**fields, **changes})
        await self.store.archives.add(watch)
        return watch

    async def stored_watch(self, id_: str = "w1") -> Archive:
        watch = await self.store.archives.get(id_)
        assert watch is not None
        return watch

    async def check_watches(self, times: int = 2) -> None:
        """Check all watches; an album at the end of a chat is saved in the second check."""
        for _ in range(times):
            await self.watcher.check()

    async def tasks(self) -> list[Task]:
        return await self.store.tasks.live()

    async def links(self) -> list[str]:
        """The links of the tasks, in order, without their common prefix."""
        tasks = await self.tasks()
        return [
            " ".join(link.removeprefix(f"https://t.me/c/{CHAT}/") for link in task.spec.links)
            for task in tasks
        ]
