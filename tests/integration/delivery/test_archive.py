"""A folder as a zip file."""

from __future__ import annotations

import asyncio
import io
import subprocess
import zipfile
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from saveany.delivery.archive import Member, ZipContent
from saveany.delivery.content import Content, Piece
from saveany.delivery.errors import FileNotFound
from saveany.errors import (
    Permanent,
    RequestError,
    SaveAnyError,
    StorageError,
    StorageUnavailable,
    Unavailable,
    WrongState,
)
from tests.fixtures.contents import BytesContent, Zeros
from tests.fixtures.servers import program

FILES = {"a.txt": b"one", "folder/b.bin": bytes(range(256)) * 3000, "empty": b"", "文件/ü 🎬.mp4": b"x" * 99}


def member(path: str, content: Content, size: int | None = None) -> Member:
    async def open_content() -> Content:
        return content

    return Member(path, content.size if size is None else size, open_content)


async def whole(content: Content) -> bytes:
    async with aclosing(content.read(0, content.size)) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_a_folder_is_a_zip_of_known_length(tmp_path: Path) -> None:
    contents = {path: BytesContent(data) for path, data in FILES.items()}
    made = ZipContent("folder.zip", [member(path, content) for path, content in contents.items()])
    data = await whole(made)
    assert len(data) == made.size
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
    assert [content.closed for content in contents.values()] == [1] * len(FILES)
    (tmp_path / "folder.zip").write_bytes(data)
    for name, option in (("unzip", "-tq"), ("7z", "t")):
        command = [program(name), option, str(tmp_path / "folder.zip")]
        subprocess.run(command, check=True, capture_output=True)


async def test_a_folder_without_files_is_an_empty_zip() -> None:
    made = ZipContent("folder.zip", [])
    data = await whole(made)
    assert len(data) == made.size
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == []


async def test_a_zip_may_be_larger_than_4_gib(tmp_path: Path) -> None:
    """DL15."""
    large = Zeros((4 << 30) + 5)
    made = ZipContent("folder.zip", [member("large", large), member("small", BytesContent(b"end"))])
    with (tmp_path / "folder.zip").open("wb") as file:
        async with aclosing(made.read(0, made.size)) as pieces:
            async for piece in pieces:
                if bytes(piece).strip(b"\0"):
                    file.write(piece)
                else:
                    file.seek(len(piece), 1)  # a hole, which needs no space
        assert file.tell() == made.size
    with zipfile.ZipFile(tmp_path / "folder.zip") as archive:
        assert [each.file_size for each in archive.infolist()] == [large.size, 3]
        assert archive.read("small") == b"end"
    path = str(tmp_path / "folder.zip")
    for command in (["unzip", "-p", path, "small"], ["7z", "e", "-so", path, "small"]):
        done = subprocess.run([program(command[0]), *command[1:]], check=True, capture_output=True)
        assert done.stdout == b"end"


async def test_a_file_that_has_changed_ends_the_zip_with_an_error() -> None:
    made = ZipContent("folder.zip", [member("a", BytesContent(b"one")), member("b", BytesContent(b"two"), 2)])
    with pytest.raises(StorageError, match="'b' has changed"):
        await whole(made)


class Endless(BytesContent):
    """Sends one piece, and then nothing."""

    def __init__(self) -> None:
        super().__init__(b"x" * 1_000_000)
        self.waits = asyncio.Event()

    async def read(self, start: int, end: int) -> AsyncGenerator[Piece, None]:
        yield self.data[:300_000]
        self.waits.set()
        await asyncio.Event().wait()


async def test_a_reader_that_leaves_closes_the_file() -> None:
    content = Endless()
    made = ZipContent("folder.zip", [member("a", content)])
    async with aclosing(made.read(0, made.size)) as pieces:
        await anext(pieces)
        reading = asyncio.ensure_future(anext(pieces))
        await content.waits.wait()
        reading.cancel()
        await asyncio.wait([reading])
    assert content.closed == 1


def test_the_tag_follows_the_files() -> None:
    one = member("a", BytesContent(b"1"))
    others = [replace(one, path="b"), replace(one, size=2), replace(one, tag="of other bytes")]
    tags = {ZipContent("x.zip", members).etag for members in ([], [one], *([each] for each in others))}
    assert len(tags) == 5


async def test_a_zip_needs_no_thread_that_others_wait_for() -> None:
    """Storages, the name resolver and others need threads to reply."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    class InThread(BytesContent):
        async def read(self, start: int, end: int) -> AsyncGenerator[Piece, None]:
            yield await asyncio.to_thread(lambda: self.data[start:end])

    made = ZipContent("x.zip", [member("a", InThread(b"1"))])
    async with asyncio.timeout(20):
        assert len(await whole(made)) == made.size


@pytest.mark.parametrize(
    ("error", "expected"), [(FileNotFound(), Permanent), (Unavailable("later"), StorageUnavailable)]
)
async def test_a_file_that_cannot_be_opened_ends_the_zip_with_an_error(
    error: RequestError, expected: type[SaveAnyError]
) -> None:
    """An error of a request could not follow a response that has begun."""

    async def fail() -> Content:
        raise error

    made = ZipContent("x.zip", [member("a", BytesContent(b"1")), Member("b", 1, fail)])
    with pytest.raises(expected):
        await whole(made)


def test_a_path_may_be_too_long_for_a_zip() -> None:
    ZipContent("x.zip", [member("x" * 65_535, BytesContent(b"1"))])
    with pytest.raises(WrongState):
        ZipContent("x.zip", [member("x" * 65_536, BytesContent(b"1"))])
