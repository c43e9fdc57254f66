"""A thousand files forwarded at once: each is saved once, with few messages and little memory."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from saveany.sandbox import samples
from saveany.sandbox.content import LiteralContent
from saveany.sandbox.model import MessageEvent, MessageEventKind
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from tests.acceptance.bot.conftest import BOT, contains
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until
from tests.sandbox.clients import Person

CHAT = 1600000077
FILES, AT_ONCE = 1000, 100
#: Messages of the bot: one for each bundle, and one more where a forward was caught in its middle.
MOST_MESSAGES = 2 * FILES // AT_ONCE
MOST_MEMORY = 40 * 2**20


def post_small_files(stack: Stack) -> None:
    """Post that many small files to a channel; each name is used twice."""
    world = stack.sandbox.world
    members = {samples.PERSON.id}
    chat = world.add_chat(Chat(id=CHAT, title="Lots", username="lots_of_files", members=members))
    for n in range(FILES):
        content = LiteralContent(b"file number %d" % n)
        file = world.add_file(StoredFile(id=2_000_000 + n, content=content, name=f"file {n // 2}.txt"))
        world.post(chat, StoredMessage(id=n + 2, file=file))


class ChatObserver:
    """Records the bot's actions in a chat, with their times."""

    def __init__(self, stack: Stack) -> None:
        self.said: list[float] = []
        self.edited: list[float] = []
        stack.sandbox.world.observers.append(self.note)

    def note(self, event: MessageEvent) -> None:
        """Something happened somewhere."""
        if event.chat.owner == samples.PERSON.id and event.chat.id == samples.BOT.id:
            message: Any = event.chat.messages.get(event.ids[0])
            if message and message.sender == samples.BOT.id:
                (self.said if event.kind is MessageEventKind.NEW else self.edited).append(time.monotonic())


def memory(pid: int) -> int:
    """Resident memory of a process, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


async def test_a_thousand_forwarded_files_are_saved_once_each(stack: Stack, anna: Person) -> None:
    post_small_files(stack)
    await anna.send(BOT, "/silent on")
    await anna.receives(contains("Silent mode is on"))
    before, watched = memory(stack.bots[0].pid), ChatObserver(stack)
    for first in range(2, FILES + 2, AT_ONCE):
        await anna.client.forward_messages(BOT, list(range(first, first + AT_ONCE)), "lots_of_files")

    async def all_reported() -> bool:
        newest = {message.id: message.text or "" for message in anna.received}
        done = [text for text in newest.values() if "files saved" in text]
        return sum(int(text.partition(" of ")[0].split()[-1]) for text in done) == FILES

    await until(all_reported, within=120)
    contents = Counter(path.read_bytes() for path in stack.storage_dir.glob("*.txt"))
    assert contents == Counter(b"file number %d" % n for n in range(FILES))
    assert FILES / AT_ONCE <= len(watched.said) <= MOST_MESSAGES
    assert min((later - earlier for earlier, later in pairwise(watched.edited)), default=1) > 0.9
    stack.sandbox.world.observers.remove(watched.note)
    assert memory(stack.bots[0].pid) < before + MOST_MEMORY
