"""Reads files of bbolt, an embedded key/value store for Go, in which tdl keeps its data.

A file consists of pages. The first two describe the newest and the previous state; of those whose checksum is
right, the newer applies. From its root, branches lead to leaves. A leaf contains keys with values, or with
buckets, which are trees of their own or, if they are small, a leaf within the value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from saveany.moving_in.found import UnreadableSource

_MAGIC, _VERSION = 0xED0CDAED, 2
_PAGE = struct.Struct("<QHHI")  # number, kind, number of elements, number of further pages
_META = struct.Struct("<IIIIQQQQQQ")
_LEAF = struct.Struct("<IIII")  # kind, position, length of the key, of the value
_BRANCH = struct.Struct("<IIQ")  # position, length of the key, page
_BUCKET = struct.Struct("<QQ")  # page of the root, sequence
_IS_BRANCH, _IS_LEAF = 1, 2
_IS_BUCKET = 1
_MAX_DEPTH = 32
_FNV_OFFSET, _FNV_PRIME, _64_BITS = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1


class _Meta(NamedTuple):
    page_size: int
    root: int
    transaction: int


def is_bbolt(head: bytes) -> bool:
    """Whether a file begins as such files do."""
    return head[_PAGE.size : _PAGE.size + 4] == struct.pack("<I", _MAGIC)


def buckets(data: bytes) -> Iterator[tuple[str, dict[bytes, bytes]]]:
    """The buckets in a file, by name, with the values in them, without buckets within buckets. Raises
    `UnreadableSource` for a damaged file."""
    try:
        yield from _Tree(data).buckets()
    except struct.error as error:
        raise UnreadableSource("the store is damaged") from error


class _Tree:
    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._meta = self._newest()
        self._visited = set[int]()  # numbers of pages
        self._read = 0  # bytes of elements

    def buckets(self) -> Iterator[tuple[str, dict[bytes, bytes]]]:
        for kind, name, value in self._walk(self._meta.root):
            if not kind & _IS_BUCKET:
                continue
            root, _ = _BUCKET.unpack_from(value)
            inline = memoryview(value)[_BUCKET.size :]
            elements = self._walk(root) if root else self._elements(inline)
            found = {key: each for kind, key, each in elements if not kind & _IS_BUCKET}
            yield name.decode(errors="replace"), found

    def _newest(self) -> _Meta:
        found = [meta for offset in self._offsets() if (meta := self._meta_at(offset)) is not None]
        if not found:
            raise UnreadableSource("the store is damaged")
        return max(found, key=lambda meta: meta.transaction)

    def _offsets(self) -> list[int]:
        """Where the two descriptions may be: the first page is always at 0; its size, which the first states,
        tells where the second is."""
        (size,) = struct.unpack_from("<I", self._data, _PAGE.size + 8)
        return [0, size if size >= _PAGE.size + _META.size else 4096]

    def _meta_at(self, offset: int) -> _Meta | None:
        start = offset + _PAGE.size
        if start + _META.size > len(self._data):
            return None
        magic, version, page_size, _, root, _, _, _, transaction, checksum = _META.unpack_from(
            self._data, start
        )
        if (magic, version) != (_MAGIC, _VERSION) or page_size < _PAGE.size:
            return None
        if _fnv(self._data[start : start + _META.size - 8]) != checksum:
            return None
        return _Meta(page_size, root, transaction)

    def _walk(self, page: int, depth: int = 0) -> Iterator[tuple[int, bytes, bytes]]:
        """The elements of all leaves below a page."""
        if depth > _MAX_DEPTH or page in self._visited:
            raise UnreadableSource("the store is damaged")
        self._visited.add(page)
        data = self._page(page)
        _, kind, count, _ = _PAGE.unpack_from(data)
        if kind & _IS_LEAF:
            yield from self._elements(data)
        elif kind & _IS_BRANCH:
            for number in range(count):
                _, _, child = _BRANCH.unpack_from(data, _PAGE.size + number * _BRANCH.size)
                yield from self._walk(child, depth + 1)
        else:
            raise UnreadableSource("the store is damaged")

    def _page(self, number: int) -> memoryview:
        start = number * self._meta.page_size
        if number < 2 or start + self._meta.page_size > len(self._data):
            raise UnreadableSource("the store is damaged")
        _, _, _, further = _PAGE.unpack_from(self._data, start)
        return self._data[start : start + (1 + further) * self._meta.page_size]

    def _elements(self, page: memoryview) -> Iterator[tuple[int, bytes, bytes]]:
        _, _, count, _ = _PAGE.unpack_from(page)
        for number in range(count):
            at = _PAGE.size + number * _LEAF.size
            kind, position, key_length, value_length = _LEAF.unpack_from(page, at)
            start, end = at + position, at + position + key_length + value_length
            # No byte belongs to two elements, but those of a bucket within a value.
            self._read += _LEAF.size + key_length + value_length
            if end > len(page) or self._read > 2 * len(self._data):
                raise UnreadableSource("the store is damaged")
            yield kind, bytes(page[start : start + key_length]), bytes(page[start + key_length : end])


def _fnv(data: memoryview) -> int:
    """The checksum of bbolt: FNV-1a with 64 bits."""
    found = _FNV_OFFSET
    for byte in data:
        found = (found ^ byte) * _FNV_PRIME & _64_BITS
    return found
