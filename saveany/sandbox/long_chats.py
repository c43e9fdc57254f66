"""Chats with so many messages that they are made only when somebody reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from heapq import merge

from saveany.sandbox.model import StoredMessage


class LongMessages(MutableMapping[int, StoredMessage]):
    """The messages 1 to `count`, each made by `make` whenever it is read, and others that were added."""

    def __init__(self, count: int, make: Callable[[int], StoredMessage]) -> None:
        self._count = count
        self._make = make
        self._stored: dict[int, StoredMessage] = {}  # added or changed
        self._deleted: set[int] = set()

    def __getitem__(self, id_: int) -> StoredMessage:
        if id_ in self._stored:
            return self._stored[id_]
        if id_ not in self:
            raise KeyError(id_)
        return self._make(id_)

    def __contains__(self, id_: object) -> bool:
        made = isinstance(id_, int) and 1 <= id_ <= self._count and id_ not in self._deleted
        return made or id_ in self._stored

    def __setitem__(self, id_: int, message: StoredMessage) -> None:
        self._stored[id_] = message
        self._deleted.discard(id_)

    def __delitem__(self, id_: int) -> None:
        if id_ not in self:
            raise KeyError(id_)
        self._stored.pop(id_, None)
        if id_ <= self._count:
            self._deleted.add(id_)

    def __iter__(self) -> Iterator[int]:
        made = (id_ for id_ in range(1, self._count + 1) if id_ not in self._deleted)
        return merge(made, sorted(id_ for id_ in self._stored if id_ > self._count))

    def __len__(self) -> int:
        return self._count - len(self._deleted) + sum(id_ > self._count for id_ in self._stored)
