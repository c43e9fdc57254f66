"""Endless replies of broken or malicious servers are neither read nor kept."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

from saveany.errors import StorageError
from storages.alist.options import AlistOptions
from storages.alist.storage import AlistStorage
from storages.base import Entry, Services, Storage
from storages.ftp.options import FtpOptions
from storages.ftp.storage import FtpStorage
from storages.memory import MemoryOptions, MemoryStorage
from storages.openload.options import OpenloadOptions
from storages.openload.storage import OpenloadStorage
from storages.s3.options import S3Options
from storages.s3.storage import S3Storage
from storages.sftp.options import SftpOptions
from storages.sftp.storage import SftpStorage
from storages.webdav.options import WebdavOptions
from storages.webdav.storage import WebdavStorage
from tests.fixtures import ftp, sftp
from tests.fixtures.tcp import tcp_server

Answer = Callable[[asyncio.StreamWriter], Any]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """The URL of a server that sends this reply to every request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            await answer(writer)

    async with tcp_server(serve) as server:
        yield server.url()


def without_end(status: bytes = b"200 OK", first: bytes = b'{"code":200,"status":200,"data":"') -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n\r\n" + first)
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    return answer


def pages_for_ever(entry: str) -> Answer:
    """Pages of S3, each followed by another one."""
    count = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        body = (
            "<ListBucketResult><IsTruncated>true</IsTruncated>"
            f"<NextContinuationToken>{count}</NextContinuationToken>{entry}</ListBucketResult>"
        ).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
        await writer.drain()

    return answer


FILE = (
    f"<Contents><Key>{escape('a')}</Key><Size>1</Size>"
    "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
)


def bucket(url: str) -> S3Storage:
    fields = {"endpoint": url, "bucket_name": "b", "access_key_id": "a", "secret_access_key": "b"}
    return S3Storage(S3Options.model_validate({"name": "box", "type": "s3", **fields}))


@pytest.mark.parametrize("entry", [FILE, ""], ids=["files", "nothing"])
async def test_the_number_of_pages_of_a_bucket_is_limited(
    entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storages.s3.bucket.MAX_ENTRIES", 5)
    async with serving(pages_for_ever(entry)) as url:
        storage = bucket(url)
        with pytest.raises(StorageError, match="does not end"):
            await asyncio.wait_for(storage.list(""), 60)
        with pytest.raises(StorageError, match="does not end"):
            async for _ in storage.walk(""):
                pass
        await storage.close()


async def test_repeated_pages_of_parts_are_refused() -> None:
    """The same page is sent repeatedly and always announces another one."""
    body = b"<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>0</NextPartNumberMarker>"
    body += b"</ListPartsResult>"

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async with serving(answer) as url:
        storage = bucket(url)
        with pytest.raises(StorageError, match="does not end"):
            await asyncio.wait_for(storage.bucket.parts("a", "upload"), 60)
        await storage.close()


def alist(url: str) -> Storage:
    return AlistStorage(
        AlistOptions.model_validate(
            {"name": "box", "type": "alist", "url": url, "token": "t", "base_path": ""}
        )
    )


def openload(url: str) -> Storage:
    fields = {"name": "box", "type": "openload", "login": "a", "key": "b", "base_url": url, "base_path": "a"}
    return OpenloadStorage(OpenloadOptions.model_validate(fields))


@pytest.mark.parametrize("make", [alist, openload])
async def test_the_size_of_an_api_reply_is_limited(
    make: Callable[[str], Storage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storages.http_client._MAX_TEXT", 1 << 20)
    async with serving(without_end()) as url:
        storage = make(url)
        with pytest.raises(StorageError, match="does not end"):
            await asyncio.wait_for(storage.list(""), 60)
        await storage.close()


async def test_the_size_of_a_webdav_reply_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storages.http_client._MAX_TEXT", 1 << 20)
    endless = without_end(b"201 Created", b"")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"MKCOL"):
                await endless(writer)
            size = int((re.search(rb"content-length: (\d+)", head, re.IGNORECASE) or [0, 0])[1])
            await reader.readexactly(size)
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

    async with tcp_server(serve) as server:
        options = {"name": "box", "type": "webdav", "url": server.url()}
        storage = WebdavStorage(WebdavOptions.model_validate(options))
        with pytest.raises(StorageError, match="does not end"):
            await asyncio.wait_for(storage.mkdir("a"), 60)
        await storage.close()


async def test_the_number_of_listed_files_over_sftp_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storages.sftp.storage.MAX_ENTRIES", 5)
    with sftp.asyncssh(tmp_path) as server:
        fields = {"name": "box", "type": "sftp", "host": "127.0.0.1", "port": server.port, "base_path": "a"}
        options = SftpOptions.model_validate(fields | dict(server.login))
        storage = SftpStorage(options, Services(scratch=tmp_path / "scratch"))
        await lists_five_and_not_six(storage)


async def test_the_number_of_listed_files_over_ftp_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storages.ftp.storage.MAX_ENTRIES", 7)  # with "." and ".."
    with ftp.pyftpdlib(tmp_path) as server:
        fields = {"name": "box", "type": "ftp", "host": "127.0.0.1", "port": server.port, "base_path": "a"}
        login = {"username": ftp.USER, "password": ftp.PASSWORD, "tls": "none"}
        await lists_five_and_not_six(FtpStorage(FtpOptions.model_validate(fields | login)))


async def lists_five_and_not_six(storage: Storage) -> None:
    for n in range(3):
        await storage.mkdir(f"{n}")
    assert len(await storage.list("")) == 3
    for n in range(20):
        await storage.mkdir(f"{n}")
    with pytest.raises(StorageError, match="does not end"):
        await storage.list("")
    await storage.close()


class Deep(MemoryStorage):
    """A storage in which every folder contains a folder."""

    async def list(self, path: str, *, after: str = "", limit: int | None = None) -> list[Entry]:
        return [Entry("d", f"{path}/d" if path else "d", 0, True, 0)]


async def test_the_depth_of_folders_is_limited() -> None:
    storage = Deep(MemoryOptions(name="box", type="memory"))
    with pytest.raises(StorageError, match="does not end"):
        async for _ in Storage.walk(storage, ""):
            pass
