"""Sources without a worker: the tools a worker provides, and a web site to download from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import pytest

from saveany.config import Config
from saveany.models import Item, TaskSpec
from saveany.net.guard import AddressGuard
from saveany.planning.plan import plan
from storages.base import Range, Storage
from tests.fixtures.site import Site, serve
from tests.fixtures.waiting import until
from workers.sources.base import Source, Tools
from workers.sources.directlinks import DirectLinksSource


def leftovers(folder: Path) -> list[str]:
    """Programs whose working directory is in a folder."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if str(each.readlink()).startswith(str(folder)):
                found.append((each.parent / "cmdline").read_text())
    return found


async def all_gone(folder: Path, seconds: float = 60) -> None:
    """Wait until no program runs in a folder: a killed one may take a moment to end."""
    await until(lambda: not leftovers(folder), within=seconds, what=f"the end of every program in {folder}")


async def unlimited(user: int, size: int) -> None:
    """A speed limit that never waits."""


class Gate:
    """A speed limit that lets the given number of bytes pass until it is opened."""

    def __init__(self, least: int) -> None:
        self.taken = 0
        self.shut = asyncio.Event()  # somebody waits before it
        self.open = asyncio.Event()
        self._least = least

    async def take(self, user: int, size: int) -> None:
        assert user == 1
        self.taken += size
        if self.taken > self._least:
            self.shut.set()
            await self.open.wait()


class Sink:
    """Collects the bytes that a source writes, by offset."""

    def __init__(self) -> None:
        self.parts: dict[int, bytes] = {}

    async def write(self, offset: int, data: bytes | memoryview) -> None:
        assert offset not in self.parts, "written twice"
        self.parts[offset] = bytes(data)

    @property
    def data(self) -> bytes:
        return b"".join(self.parts[offset] for offset in sorted(self.parts))


class SourceHarness:
    """A source, with shorter forms of the operations of its tests."""

    def __init__(self, source: Source) -> None:
        self.source = source

    async def items(self, *links: str, **params: Any) -> list[Item]:
        self.spec = TaskSpec(id="t", type="x", links=links, user_id=1, storage="s", params=params)
        return plan(self.spec, await self.source.resolve(self.spec))

    async def prepared(self, item: Item) -> Item:
        return await self.source.prepare(item, self.spec, lambda done, total: None)

    async def fetched(self, item: Item, have: Sequence[Range] = ()) -> bytes:
        sink = Sink()
        await self.source.fetch(item, sink.write, have)
        return sink.data

    async def get(self, *links: str, **params: Any) -> tuple[Item, bytes]:
        (item,) = await self.items(*links, **params)
        item = await self.prepared(item)
        return item, await self.fetched(item)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve() as site:
        yield site


@pytest.fixture
def storages() -> dict[str, Storage]:
    return {}


@pytest.fixture
def tools(tmp_path: Path, storages: dict[str, Storage]) -> Tools:
    return Tools(
        config=Config(),
        scratch=tmp_path / "scratch",
        guard=AddressGuard([ip_network("127.0.0.1/32")]),
        accounts=cast(Any, None),
        storage=storages.__getitem__,
        on_wait=lambda seconds: None,
        take=unlimited,
        rate=lambda user, among: 0.0,
    )


@pytest.fixture
async def harness(tools: Tools) -> AsyncIterator[SourceHarness]:
    """The source of direct links."""
    source = DirectLinksSource(tools)
    yield SourceHarness(source)
    await source.close()
