"""Thumbnails: Telegram's own, a frame by ffmpeg, or none."""

from __future__ import annotations

import asyncio
import os
import struct
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from saveany.catalogue.link_models import Link, LinkedFile, State
from saveany.config import Config
from saveany.delivery.content import Content
from saveany.delivery.errors import NotNow
from saveany.delivery.frames import FrameMaker, _LoopbackServer
from saveany.delivery.thumbnails import ThumbnailFolder, Thumbnails
from saveany.sandbox import Sandbox
from saveany.sandbox.documents import jpeg
from saveany.store import Store
from tests.fixtures.contents import BytesContent
from tests.fixtures.tcp import tcp_server
from tests.fixtures.videos import make_video
from tests.fixtures.waiting import until
from tests.integration.api.conftest import check_error
from tests.integration.delivery.conftest import link, link_to, save

VIDEO, PHOTO, PDF = "https://t.me/channel/142", "https://t.me/channel/130", "https://t.me/channel/123"


def url_of(live: httpx.AsyncClient, made: dict[str, Any]) -> str:
    return f"{live.base_url}/thumb/{made['token']}"


def size_of(picture: bytes) -> tuple[int, int]:
    """Width and height of a JPEG."""
    assert picture.startswith(b"\xff\xd8")
    at = 2
    while picture[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + struct.unpack(">H", picture[at + 2 : at + 4])[0]
    height, width = struct.unpack(">HH", picture[at + 5 : at + 9])
    return width, height


@pytest.mark.parametrize(("message", "expected"), [(VIDEO, (320, 176)), (PHOTO, (320, 240))])
async def test_telegrams_own_thumbnail(
    live: httpx.AsyncClient,
    public: httpx.AsyncClient,
    sandbox: Sandbox,
    message: str,
    expected: tuple[int, int],
) -> None:
    made = await link(live, message)
    sandbox.counters.clear()
    replies = await asyncio.gather(*(public.get(url_of(live, made)) for _ in range(5)))
    assert {(reply.status_code, reply.headers["content-type"]) for reply in replies} == {(200, "image/jpeg")}
    assert {size_of(reply.content) for reply in replies} == {expected}
    assert sandbox.counters.requests(method="upload.getFile") == 1
    assert (await live.get(f"/api/v1/links/{made['token']}")).json()["downloads"] == 0


async def test_the_thumbnail_is_not_mixed_with_the_file(
    live: httpx.AsyncClient, public: httpx.AsyncClient
) -> None:
    made = await link(live, VIDEO)
    head = (await public.get(made["url"], headers={"Range": "bytes=0-999"})).content
    assert (await public.get(url_of(live, made))).content == jpeg(320, 176, 40)
    assert (await public.get(made["url"], headers={"Range": "bytes=0-999"})).content == head


async def test_an_expired_reference_is_renewed(
    live: httpx.AsyncClient, public: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    made = await link(live, VIDEO)
    fault = sandbox.faults.add("expire,file=1020,count=1")
    assert (await public.get(url_of(live, made))).content == jpeg(320, 176, 40)
    assert fault.fired


async def test_a_thumbnail_that_cannot_be_read_now_is_read_later(
    live: httpx.AsyncClient, public: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    made = await link(live, VIDEO)
    flood = sandbox.faults.add("flood_wait=1000,method=upload.getFile,count=2")
    check_error(await public.get(url_of(live, made)), 503)
    assert flood.fired


async def test_a_file_without_a_picture_has_none(live: httpx.AsyncClient, public: httpx.AsyncClient) -> None:
    made = await link(live, PDF)
    for token in (made["token"], "unknown"):
        assert (await public.get(f"{live.base_url}/thumb/{token}")).json() == {
            "error": "File not found",
            "code": 404,
            "message": "The requested file could not be found",
        }


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.webm"])
async def test_a_frame_of_a_saved_video(
    live: httpx.AsyncClient, public: httpx.AsyncClient, store: Store, tmp_path: Path, name: str
) -> None:
    data = make_video(tmp_path / name, size="640x480", seconds=1)
    ids = await save(live, store, tmp_path / "files", {f"downloads/{name}": data})
    made = await link_to(live, file_id=ids[name])
    reply = await public.get(url_of(live, made))
    assert (reply.status_code, size_of(reply.content)) == (200, (320, 240))
    (tmp_path / "files/downloads" / name).unlink()
    assert (await public.get(url_of(live, made))).content == reply.content


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("broken.mp4", bytes(100_000)),
        ("empty.mp4", b""),
        ("list.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{server}\n#EXT-X-ENDLIST\n"),
        ("concat.mp4", b"ffconcat version 1.0\nfile {server}\n"),
        ("local.mp4", b"ffconcat version 1.0\nfile /etc/hostname\n"),
    ],
)
async def test_hostile_videos(
    live: httpx.AsyncClient, public: httpx.AsyncClient, store: Store, tmp_path: Path, name: str, data: bytes
) -> None:
    """ffmpeg requests nothing that a file names."""
    asked = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())

    async with tcp_server(note) as server:
        data = data.replace(b"{server}", server.url("/a.ts").encode())
        ids = await save(live, store, tmp_path / "files", {f"downloads/{name}": data})
        made = await link_to(live, file_id=ids[name])
        check_error(await public.get(url_of(live, made)), 404)
    assert asked == []


async def test_without_ffmpeg_there_is_none(tmp_path: Path) -> None:
    for program in ("", "no-such-program"):
        frames = FrameMaker(program)
        assert frames.path is None
        assert await frames.make(_Unreadable()) == b""


class _Unreadable(Content):
    def __init__(self) -> None:
        super().__init__("a.mp4", 1, "video/mp4", '"a"')

    def read(self, start: int, end: int) -> Any:
        raise AssertionError("nothing is read")


def test_the_folder_of_thumbnails_has_a_limit(tmp_path: Path) -> None:
    kept = ThumbnailFolder(tmp_path / "thumbnails", max_bytes=100_000)
    for number in range(40):
        kept.write(str(number), bytes(5000))
        os.utime(max((tmp_path / "thumbnails").iterdir(), key=os.path.getmtime), (number, number))
    assert sum(file.stat().st_size for file in (tmp_path / "thumbnails").iterdir()) <= 100_000
    assert kept.read("0") is None
    assert kept.read("39") == bytes(5000)
    assert kept.read("never") is None
    assert (tmp_path / "thumbnails").stat().st_mode & 0o777 == 0o700


def test_it_is_remembered_for_a_day_that_there_is_none(tmp_path: Path) -> None:
    kept = ThumbnailFolder(tmp_path)
    kept.write("a", b"")
    assert kept.read("a") == b""
    [file] = tmp_path.iterdir()
    os.utime(file, (0, 0))
    assert kept.read("a") is None


class TestWithoutFfmpeg:
    """ffmpeg is not wanted."""

    @pytest.fixture
    def config(self, config: Config) -> Config:
        return config.model_copy(update={"links": config.links.model_copy(update={"ffmpeg": ""})})

    async def test_a_saved_video_has_no_thumbnail(
        self, live: httpx.AsyncClient, public: httpx.AsyncClient, store: Store, tmp_path: Path
    ) -> None:
        ids = await save(live, store, tmp_path / "files", {"downloads/a.mp4": b"abc"})
        made = await link_to(live, file_id=ids["a.mp4"])
        check_error(await public.get(url_of(live, made)), 404)


async def test_pictures_at_the_same_time_share_a_server() -> None:
    server = _LoopbackServer()
    assert len(set(await asyncio.gather(*(server.start() for _ in range(5))))) == 1
    await server.close()


async def test_files_are_opened_when_their_turn_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests for thousands of thumbnails take neither all descriptors nor all memory."""
    opened, most, go = 0, 0, asyncio.Event()

    class Opener:
        async def open(self, link: Link) -> Content:
            nonlocal opened, most
            opened += 1
            most = max(most, opened)
            return Counted(b"1", mime="video/mp4")

    class Counted(BytesContent):
        async def close(self) -> None:
            nonlocal opened
            opened -= 1

    class Frames:
        path = "ffmpeg"

        async def make(self, content: Content) -> bytes:
            await go.wait()
            return b"picture"

    thumbnails = Thumbnails(tmp_path, cast(Any, None), cast(Any, Opener()), cast(Any, Frames()))
    monkeypatch.setattr("saveany.delivery.thumbnails._MAX_WAITING", 10)
    asked = [asyncio.create_task(thumbnails.get(video(number))) for number in range(30)]
    await until(lambda: sum(each.done() for each in asked) == 20)
    assert {type(each.exception()) for each in asked if each.done()} == {NotNow}
    go.set()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert found.count(b"picture") == 10
    assert (opened, most) == (0, 2)


def video(number: int) -> Link:
    """A link to a saved video."""
    file = LinkedFile(
        str(number), "a.mp4", 1, "video/mp4", sha256="", storage="a", path="a.mp4", user_id=1, added_at=0
    )
    return Link(token="x", user_id=1, name="a.mp4", made_at=0, state=State.ACTIVE, file=file)
