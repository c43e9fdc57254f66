"""The chats of a storage, of which each is used until it is full.

Telegram shows only the last million messages of a channel or group, and says nothing when older ones become
unreadable. The number of a message is never less than the number of messages before it, so it serves as the
measure. Other members may post in the chats, too.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from saveany.errors import NoSpace
from storages.message_sender import MessageSender, Target
from storages.telegram.options import TelegramStorageOptions


class ChatRotation:
    """Chooses the chat for the next messages: the first one with room. Whether one is full is asked once, and
    then follows from the numbers of sent messages."""

    def __init__(self, options: TelegramStorageOptions, sender: Callable[[], MessageSender]) -> None:
        self._name = options.name
        self._limit = options.max_messages
        first, *others = options.chats
        self._targets = [
            Target(options.account, first, options.topic),
            *(Target(options.account, chat) for chat in others),
        ]
        self._sender = sender
        self._newest: dict[Target, int] = {}
        self._estimated: set[Target] = set()  # chats whose newest message has at most that number
        self._sending: Counter[Target] = Counter()
        self._asking = asyncio.Lock()
        self._sent = asyncio.Condition()

    @property
    def first(self) -> Target:
        """The first chat, which stands for all of them: one account sends to all."""
        return self._targets[0]

    @asynccontextmanager
    async def room(self, target: Target, messages: int) -> AsyncIterator[Target]:
        """The chat for a number of messages that are sent inside the block: if `target` is `first`, the first
        one with room for them. Raises `NoSpace` if there is none."""
        chat = await self._with_room(messages) if self._limit and target == self.first else target
        self._sending[chat] += messages
        try:
            yield chat
        finally:
            self._sending[chat] -= messages
            async with self._sent:
                self._sent.notify_all()

    def note(self, target: Target, message: int) -> None:
        """A message was sent, with this number."""
        if target in self._estimated:
            self._estimated.remove(target)
            self._newest[target] = message
        elif target in self._newest:
            self._newest[target] = max(self._newest[target], message)

    async def check(self) -> None:
        """Raise an error if the account may not post in one of the chats, or if all are full."""
        for target in self._targets:
            await self._sender().check(target)
        if self._limit:
            await self._with_room(1)

    async def _with_room(self, messages: int) -> Target:
        """The first chat with room. A message that is being sent may be counted twice, so those are awaited
        before the last chat is called full."""
        async with self._sent:
            while (found := await self._find_room(messages)) is None:
                if not self._sending.total():
                    raise NoSpace(
                        "storage {storage!r}: {chat} is full: it has {limit} messages (max_messages), and "
                        "Telegram shows only the last million. Add another chat to chat_ids.",
                        storage=self._name,
                        chat=self._targets[-1].chat,
                        limit=self._limit,
                    )
                await self._sent.wait()
        return found

    async def _find_room(self, messages: int) -> Target | None:
        for target in self._targets:
            room = self._limit - self._sending[target] - messages
            newest = await self._newest_in(target, room)
            if newest is None or newest <= room:
                return target
        return None

    async def _newest_in(self, target: Target, room: int) -> int | None:
        """The number of the newest message, or, if it is at most `room`, a number between them; None for a
        chat without limit."""
        async with self._asking:
            if target not in self._newest or (target in self._estimated and self._newest[target] > room):
                self._newest[target] = await self._sender().newest(target, room)
                (self._estimated.add if self._newest[target] <= room else self._estimated.discard)(target)
        return self._newest[target] or None
