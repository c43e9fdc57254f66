"""Every kind of content is delivered as RFC 9110 demands, by the same code (DL1, DL2, DL3, SB5, SB7)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.catalogue.link_models import LinkedFile, TelegramMedia
from saveany.config import Config
from saveany.delivery.content import Content
from saveany.delivery.opener import ContentOpener
from saveany.delivery.peers import Peers
from saveany.delivery.response import ContentResponse
from saveany.delivery.telegram import TelegramFiles
from saveany.foreground import Foreground
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.content import ContentStream
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from saveany.storage_set import StorageHandle, StorageSet
from saveany.store import Store
from saveany.telegram.accounts import Accounts
from saveany.telegram.uploads import Uploader
from storages.alist.storage import AlistStorage
from storages.base import Services, Storage
from storages.ftp.storage import FtpStorage
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from storages.openload.storage import OpenloadStorage
from storages.rclone.options import RcloneOptions
from storages.rclone.storage import RcloneStorage
from storages.s3.storage import S3Storage
from storages.sftp.storage import SftpStorage
from storages.telegram.options import TelegramStorageOptions
from storages.telegram.storage import TelegramStorage
from storages.testing.helpers import MIB, RELAXED, content, save
from storages.webdav.storage import WebdavStorage
from tests.contract.delivery import SIZE, check_ranges
from tests.fixtures import alist, ftp, openload, s3, sftp, webdav
from tests.fixtures.servers import program
from tests.integration.telegram.conftest import LIMITS, rsa_key, sandbox, table  # noqa: F401  fixtures

LARGE = MIB + 5
KINDS = ["local", "s3", "webdav", "sftp", "ftp", "rclone", "alist", "openload", "stored", "origin"]
#: Copies there cannot be read: their files are read from the messages that they came from.
UNREADABLE = ("openload",)


@dataclass
class World:
    """A storage, or a chat, with the API process that reads it."""

    stack: AsyncExitStack
    folder: Path
    store: Store
    sandbox: Sandbox

    def storage(self, kind: str) -> Storage:
        """A new storage of this kind, on a server of its own."""
        enter = self.stack.enter_context
        match kind:
            case "s3":
                server = enter(s3.moto(self.folder))
                return S3Storage(server.options(server.bucket()))
            case "webdav":
                return WebdavStorage(enter(webdav.wsgidav()).options("base"))
            case "sftp":
                services = Services(scratch=self.folder / "scratch")
                return SftpStorage(enter(sftp.openssh(self.folder)).options("base"), services)
            case "ftp":
                return FtpStorage(enter(ftp.pyftpdlib(self.folder)).options("base"))
            case "rclone":
                program("rclone")
                fields = {"name": "cloud", "type": "rclone", "remote": f":local:{self.folder}"}
                return RcloneStorage(RcloneOptions.model_validate(fields))
            case "alist":
                allowed = Services(allow=[ip_network("127.0.0.0/8")])
                return AlistStorage(enter(alist.alist(self.folder)).options("base"), allowed)
            case "openload":
                return OpenloadStorage(enter(openload.openload(pstream=False)).options("base"))
        return LocalStorage(LocalOptions(name="disk", type="local", base_path=self.folder / "base"))

    async def telegram(self) -> TelegramStorage:
        """A storage whose larger files become several messages."""
        telegram = table(self.sandbox, bot=True)
        accounts = Accounts(telegram, self.folder / "worker", self.store.telegram, limits=LIMITS)
        await accounts.start()
        self.stack.push_async_callback(accounts.close)
        fields = {
            "name": "chat",
            "type": "telegram",
            "chat_id": "@inbox",
            "split_size_mb": 1,
            "rate_limit": 0,
        }
        services = Services(scratch=self.folder, message_sender=Uploader(accounts, LIMITS))
        return TelegramStorage(TelegramStorageOptions.model_validate(fields), services)

    def opener(self, *storages: Storage) -> ContentOpener:
        """What opens files in an API process with these storages."""
        handles = StorageSet(StorageHandle(self.store, each) for each in storages)
        config = Config.model_validate(
            {
                "api": {"token": "a" * 20},
                "data_dir": str(self.folder / "api"),
                "telegram": table(self.sandbox, user=True).model_dump(),
            }
        )
        telegram = TelegramFiles(config, self.store, Foreground())
        opener = ContentOpener(handles, telegram, Peers(self.store, handles, ""))
        self.stack.push_async_callback(opener.close)
        return opener

    def message(self, number: int, size: int) -> tuple[dict[str, Any], bytes]:
        """Post a file; returns what finds it again, and its bytes."""
        world, stream = self.sandbox.world, ContentStream(3000 + number, size)
        made = StoredFile(
            id=3000 + number, content=stream, name="b.mp4", mime="video/mp4", dc=self.sandbox.dc_id
        )
        world.post(world.chats[1600000005], StoredMessage(id=number, file=world.add_file(made)))
        source = {"chat": -1001600000005, "chat_username": "inbox", "message": number, "document": made.id}
        return {**source, "kind": "document", "mime": made.mime, "dc": made.dc}, stream.read(0, size)


#: Opens a file.
Open = Callable[[], Awaitable[Content]]


@dataclass
class Served:
    """An API process that delivers a small file at `/small` and a large one at `/large`."""

    client: httpx.AsyncClient
    small: bytes
    large: bytes
    requests: Callable[[], int]  # number of requests to Telegram for bytes of files


@pytest.fixture(params=KINDS)
async def served(
    request: pytest.FixtureRequest,
    store: Store,
    sandbox: Sandbox,  # noqa: F811
    tmp_path: Path,
) -> AsyncIterator[Served]:
    async with AsyncExitStack() as stack:
        members = {samples.BOT.id, samples.USER.id}
        sandbox.world.add_chat(Chat(id=1600000005, title="In", username="inbox", members=members))
        (small, large) = await _prepare(World(stack, tmp_path, store, sandbox), request.param)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            opened = await (small if scope["path"] == "/small" else large)[0]()
            await ContentResponse(opened)(scope, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://files") as client:
            yield Served(
                client, small[1], large[1], partial(sandbox.counters.requests, method="upload.getFile")
            )


async def _prepare(world: World, kind: str) -> list[tuple[Open, bytes]]:
    """Save a small and a large file; returns what opens each, and its bytes."""
    if kind == "origin":
        opener, made = world.opener(), [world.message(n, size) for n, size in enumerate((SIZE, LARGE), 1)]
        media = [TelegramMedia(source, len(data), "video/mp4") for source, data in made]
        return [(partial(opener.open_media, each, "b.mp4"), made[n][1]) for n, each in enumerate(media)]
    storage = await world.telegram() if kind == "stored" else world.storage(kind)
    opener = world.opener(storage)
    found: list[tuple[Open, bytes]] = []
    for n, size in enumerate((SIZE, LARGE), 1):
        origin, data = world.message(n, size) if kind in UNREADABLE else (None, content(size))
        receipt = await save(storage, f"{n}/b.mp4", data)
        copy: dict[str, Any] = {
            "storage": storage.name,
            "path": receipt.path,
            "reference": dict(receipt.reference) or None,
        }
        file = LinkedFile(
            f"f{n}", "b.mp4", size, "video/mp4", "", user_id=1, added_at=0, origin=origin, **copy
        )
        found.append((partial(opener.open_file, file), data))
    return found


async def test_each_range_is_a_slice(served: Served) -> None:
    await check_ranges(served.client, "/small", served.small)


async def test_head_ignores_ranges_and_reads_nothing(served: Served) -> None:
    before = served.requests()
    head = await served.client.head("/large", headers={"Range": "bytes=0-1"})
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(LARGE))
    assert served.requests() == before


@RELAXED
@given(
    first=st.integers(0, LARGE + 10) | st.sampled_from([MIB - 1, MIB, MIB + 1, LARGE - 1]),
    length=st.integers(1, 300_000) | st.none(),
)
async def test_any_range_is_a_slice(served: Served, first: int, length: int | None) -> None:
    header = f"bytes={first}-{'' if length is None else first + length - 1}"
    reply = await served.client.get("/large", headers={"Range": header})
    if first >= LARGE:
        assert (reply.status_code, reply.content) == (416, b"")
        return
    assert reply.status_code == 206
    assert reply.content == served.large[first : LARGE if length is None else first + length]
