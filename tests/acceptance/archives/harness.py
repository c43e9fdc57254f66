"""A SaveAny that archives chats of the sandbox, used through its REST interface and its command line."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

from saveany.sandbox import samples
from saveany.sandbox.content import LiteralContent
from saveany.sandbox.world import EPOCH, Chat, StoredFile, StoredMessage
from tests.fixtures.stack import STORAGE, USER_ID, Stack
from tests.fixtures.waiting import until

Json = dict[str, Any]

_numbers = itertools.count(1)


class ArchiveHarness:
    """Shorter forms of the operations of the tests."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.world = stack.sandbox.world
        self.counters = stack.sandbox.counters
        self.faults = stack.sandbox.faults

    # Telegram.

    def channel(self, title: str = "Chat", **fields: Any) -> Chat:
        """A public channel that the user account is a member of. It begins with a service message. Accounts
        find it by its name, because they read their lists of private chats once a minute only."""
        number = 1_800_000_000 + next(_numbers)
        named = {"username": f"chat_{number}", "members": {samples.USER.id}}
        return self.world.add_chat(Chat(id=number, title=title, **{**named, **fields}))

    def file(self, size: int = 9, name: str = "") -> StoredFile:
        number = next(_numbers)
        content = LiteralContent(f"{number:08}".encode() + b"x" * (size - 8))
        return self.world.add_file(
            StoredFile(id=200_000 + number, content=content, name=name or f"{number}.bin")
        )

    def post(self, chat: Chat, *, text: str = "", size: int = 9, name: str = "", **fields: Any) -> int:
        """Post a message with a file; returns its id."""
        file = fields.pop("file", None) or self.file(size, name)
        return self.world.send(chat, StoredMessage(id=0, text=text, file=file, **fields)).id

    def say(self, chat: Chat, count: int = 1, **fields: Any) -> int:
        """Post messages without files; returns the id of the last one."""
        for _ in range(count):
            last = self.world.send(chat, StoredMessage(id=0, text="words", **fields)).id
        return last

    def requests(self, method: str) -> int:
        return self.counters.requests(method=method)

    # SaveAny.

    async def archive(self, chat: Chat | str, **fields: Any) -> str:
        """Create an archive; returns its id."""
        name = chat if isinstance(chat, str) else f"@{chat.username}"
        body = {"chat": name, "user_id": USER_ID, "storage": STORAGE, **fields}
        reply = await self.stack.client.post("/api/v1/archives", json=body)
        assert reply.status_code == 201, reply.text
        return str(reply.json()["id"])

    async def show(self, archive_id: str) -> Json:
        reply = await self.stack.client.get(f"/api/v1/archives/{archive_id}")
        assert reply.status_code == 200, reply.text
        found: Json = reply.json()
        return found

    async def counts(self, archive_id: str) -> dict[str, int]:
        """The counts of the receipt that are not 0."""
        return {name: count for name, count in (await self.show(archive_id))["counts"].items() if count}

    async def reaches(self, archive_id: str, state: str = "complete", within: float = 90.0) -> Json:
        """Wait until an archive has a state; returns it."""
        found: Json = {}

        async def has_state() -> bool:
            nonlocal found
            found = await self.show(archive_id)
            return bool(found["state"] == state)

        await until(has_state, within=within, what=lambda: f"{state}: {found}")
        return found

    async def messages(self, archive_id: str, outcome: str = "") -> list[Json]:
        """The messages of the receipt."""
        found: list[Json] = []
        params: dict[str, str | int] = {"limit": 1000, **({"outcome": outcome} if outcome else {})}
        while True:
            reply = await self.stack.client.get(f"/api/v1/archives/{archive_id}/messages", params=params)
            assert reply.status_code == 200, reply.text
            found += reply.json()["messages"]
            if not (cursor := reply.json()["next_cursor"]):
                return found
            params["cursor"] = cursor

    async def act(self, archive_id: str, action: str, body: Json | None = None) -> Json:
        reply = await self.stack.client.post(f"/api/v1/archives/{archive_id}/{action}", json=body)
        assert reply.status_code == 200, reply.text
        found: Json = reply.json()
        return found

    async def change_user(self, **fields: Any) -> None:
        """Change what the user may use."""
        reply = await self.stack.client.patch(f"/api/v1/users/{USER_ID}", json=fields)
        assert reply.status_code == 200, reply.text

    def files(self, folder: str) -> list[str]:
        """The names of the files in a folder of the storage."""
        return [
            each.removeprefix(f"{folder}/") for each in self.stack.files() if each.startswith(f"{folder}/")
        ]


def day(number: int) -> datetime:
    """The date of a message."""
    return EPOCH + timedelta(days=number)
