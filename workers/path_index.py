"""The paths of a task's files: which are taken, and by which files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import count

from saveany.models import Item
from saveany.planning.names import numbered, split_extension
from saveany.planning.paths import sibling

_NUMBER = re.compile(r"_(\d{1,9})$")

_Key = tuple[str, str]  # storage, and path without regard to case


class PathIndex:
    """The recorded path of each item, and the path that was chosen for it and is not recorded yet."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._takers: defaultdict[_Key, set[int]] = defaultdict(set)
        self._recorded: dict[int, _Key] = {}
        self._chosen: dict[int, _Key] = {}
        self._next_number: dict[_Key, int] = {}  # so that equal names do not each count up from 1
        for item in items:
            self.record(item)

    def record(self, item: Item) -> None:
        """The path of an item is recorded."""
        key = _key(item, item.path)
        if self._recorded.get(item.index) != key or item.index in self._chosen:
            self._replace(item.index, recorded=key, chosen=None)

    def is_taken(self, item: Item, path: str) -> bool:
        """Whether another item goes to `path` in the storage of this one."""
        takers = self._takers.get(_key(item, path), set())
        return len(takers) > (item.index in takers)

    def choose(self, item: Item) -> str:
        """The path of an item, with a number in its name if another item goes there."""
        path = next(each for each in self._candidates(item) if not self.is_taken(item, each))
        self._replace(item.index, recorded=self._recorded.get(item.index), chosen=_key(item, path))
        return path

    def _candidates(self, item: Item) -> Iterator[str]:
        """The path itself, the one with the number that the item has already, and those with new numbers."""
        folder_and_name, name = item.path, item.path.rpartition("/")[2]
        yield folder_and_name
        for own in filter(None, (self._recorded.get(item.index), self._chosen.get(item.index))):
            found = _NUMBER.search(split_extension(own[1])[0])
            path = sibling(item.path, numbered(name, int(found[1]))) if found else ""
            if _key(item, path) == own:
                yield path
        key = _key(item, item.path)
        for number in count(self._next_number.get(key, 1)):
            self._next_number[key] = number + 1
            yield sibling(item.path, numbered(name, number))

    def _replace(self, index: int, *, recorded: _Key | None, chosen: _Key | None) -> None:
        for paths, key in ((self._recorded, recorded), (self._chosen, chosen)):
            if before := paths.pop(index, None):
                self._takers[before].discard(index)
            if key:
                paths[index] = key
        for key in filter(None, (recorded, chosen)):
            self._takers[key].add(index)


def _key(item: Item, path: str) -> _Key:
    return item.storage, path.casefold()
