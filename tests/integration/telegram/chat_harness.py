"""Jobs that send files to a chat of the sandbox, and stop at chosen steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saveany.models import ItemStatus, Rule
from saveany.sandbox.world import Chat, StoredMessage
from saveany.storage_set import StorageHandle
from saveany.store import Store
from saveany.telegram.accounts import Accounts
from saveany.telegram.uploads import Uploader
from storages.base import Services
from storages.telegram.options import TelegramStorageOptions
from storages.telegram.storage import TelegramStorage
from tests.integration.telegram.conftest import LIMITS
from tests.integration.worker.conftest import FilesSource, JobHarness, within


class Gate:
    """Stops the first caller until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def hold(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            await self.opened.wait()

    def on(
        self, patch: pytest.MonkeyPatch, owner: type, name: str, when: Callable[[Any], bool], at: str
    ) -> None:
        """Stop a call of the method with such an argument, "before" or "after" it."""
        real = getattr(owner, name)

        async def patched(this: Any, *args: Any, **more: Any) -> Any:
            if at == "before" and when(args):
                await self.hold()
            result = await real(this, *args, **more)
            if at == "after" and when(args):
                await self.hold()
            return result

        patch.setattr(owner, name, patched)


class ChatHarness(JobHarness):
    """A job harness whose tasks send the files of a source to the chat."""

    def __init__(
        self, store: Store, folder: Path, accounts: Accounts, inbox: Chat, source: FilesSource
    ) -> None:
        super().__init__(store, folder)
        self.accounts = accounts
        self.inbox = inbox
        self.source = source

    async def worker(self, **options: Any) -> None:
        """Run later jobs as another process."""
        fields = {"name": "chat", "type": "telegram", "chat_id": "@inbox", "rate_limit": 0, **options}
        services = Services(scratch=self.scratch, message_sender=Uploader(self.accounts, LIMITS))
        self.others["chat"] = StorageHandle(
            self.store, TelegramStorage(TelegramStorageOptions.model_validate(fields), services)
        )
        await self.others["chat"].check()
        await self.handle.check()

    async def post(self) -> str:
        return await self.accept(rules=(Rule(storage="chat", folder="in"),), path="in")

    async def run(self) -> None:
        await within((await self.job()).run())

    @property
    def sent(self) -> list[StoredMessage]:
        return [message for message in reversed(self.inbox.newest_first()) if not message.service]

    @property
    def sent_names(self) -> list[str]:
        """The names of the files in the messages, whose bytes are compared."""
        return [name for _, name in self.sent_albums[0]]

    @property
    def sent_albums(self) -> tuple[list[tuple[str, str]], int]:
        """Texts and names of the messages, and the number of albums."""
        texts = []
        for message in self.sent:
            assert message.file
            assert message.file.name
            texts.append((message.text, message.file.name))
            size = message.file.content.size
            assert message.file.content.read(0, size) == self.source.files[message.file.name]
        return texts, len({message.album for message in self.sent if message.album})

    async def statuses(self, task_id: str) -> list[ItemStatus]:
        return [item.status for item in await self.store.tasks.all_items(task_id)]
