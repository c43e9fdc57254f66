"""Real download managers and players fetch, resume, play and seek what links deliver.

All files come from Telegram: what is read there in parts must look like a file on any web server.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from saveany.programs import die_with_parent
from saveany.sandbox import Sandbox
from saveany.sandbox.content import ContentStream, LiteralContent
from saveany.sandbox.samples import BOT, USER
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from saveany.telegram.file import PART
from tests.fixtures.media import FORMATS, SECONDS, make_media
from tests.fixtures.servers import program
from tests.fixtures.tcp import tcp_server
from tests.integration.delivery.conftest import link

SIZE = 24 * PART + 4321
CONTENT = ContentStream(2100, SIZE)
#: Positions in seconds to which players jump, forward and back.
JUMPS = (15, 3, 9)


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return make_media(tmp_path_factory.mktemp("media"))


@pytest.fixture
def chat(sandbox: Sandbox) -> Chat:
    members = {USER.id, BOT.id}
    return sandbox.world.add_chat(Chat(id=1600000000, title="files", username="files", members=members))


async def url_of(live: httpx.AsyncClient, sandbox: Sandbox, chat: Chat, name: str, content: Any) -> str:
    """A link to a file, which is posted to a chat."""
    mime = {"mkv": "video/x-matroska", "mp3": "audio/mpeg", "flac": "audio/flac", "webm": "video/webm"}
    kind = mime.get(name.rpartition(".")[2], "video/mp4" if name.endswith("mp4") else "")
    file = StoredFile(
        id=2100,
        content=content,
        name=name,
        mime=kind or "application/octet-stream",
        dc=sandbox.dc_id,
    )
    sandbox.world.post(chat, StoredMessage(id=5, file=sandbox.world.add_file(file)))
    return str((await link(live, "https://t.me/files/5"))["stream_url"])


async def run(name: str, *options: str | Path, user: str | None = None, folder: Path | None = None) -> str:
    """Run a program; returns what it prints. It must succeed."""
    process = await asyncio.create_subprocess_exec(
        program(name),
        *map(str, options),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        user=user,
        cwd=folder,
        env={**os.environ, "no_proxy": "*", "HOME": str(folder or "/tmp")},
        preexec_fn=die_with_parent(9),
    )
    async with asyncio.timeout(90):
        output, _ = await process.communicate()
    text = output.decode(errors="replace")
    assert process.returncode == 0, f"{name}: {text[-2000:]}"
    return text


@pytest.fixture
async def url(live: httpx.AsyncClient, sandbox: Sandbox, chat: Chat) -> str:
    """A link to a large file."""
    return await url_of(live, sandbox, chat, "large.bin", CONTENT)


async def test_curl_resumes(url: str, tmp_path: Path) -> None:
    """SB6."""
    whole = CONTENT.read(0, SIZE)
    target = tmp_path / "large.bin"
    target.write_bytes(whole[: 5 * PART + 17])
    await run("curl", "-sSf", "-C", "-", "-o", target, url)
    assert target.read_bytes() == whole


async def test_curl_does_not_continue_another_version(url: str, sandbox: Sandbox, tmp_path: Path) -> None:
    """The ETag of the part is not that of the file any more: the whole file is sent (DL7)."""
    async with httpx.AsyncClient() as client:
        etag = (await client.head(url)).headers["etag"]
    target = tmp_path / "large.bin"
    await run("curl", "-sSf", "-r", "100-199", "-H", f"If-Range: {etag}", "-o", target, url)
    assert target.read_bytes() == CONTENT.read(100, 100)
    await run("curl", "-sSf", "-r", "100-199", "-H", 'If-Range: "other"', "-o", target, url)
    assert target.read_bytes() == CONTENT.read(0, SIZE)


async def test_wget_resumes(url: str, tmp_path: Path) -> None:
    """DL8."""
    whole = CONTENT.read(0, SIZE)
    target = tmp_path / "large.bin"
    target.write_bytes(whole[: 5 * PART + 17])
    await run("wget", "-q", "-c", "-O", target, url)
    assert target.read_bytes() == whole


async def test_aria2_uses_sixteen_connections(
    url: str, sandbox: Sandbox, live: httpx.AsyncClient, tmp_path: Path
) -> None:
    """They count as one download (SB6, DL8)."""
    options = ("--quiet", "-x16", "-s16", "-k1M", "--dir", tmp_path, "--out", "large.bin")
    await run("aria2c", "--no-conf", *options, url)
    assert (tmp_path / "large.bin").read_bytes() == CONTENT.read(0, SIZE)
    [shown] = (await live.get("/api/v1/links")).json()["links"]
    assert shown["downloads"] == 1


@pytest.fixture(params=list(FORMATS))
async def played(
    request: pytest.FixtureRequest,
    live: httpx.AsyncClient,
    sandbox: Sandbox,
    chat: Chat,
    media: dict[str, bytes],
) -> str:
    """A link to a video or music."""
    name: str = request.param
    return await url_of(live, sandbox, chat, name, LiteralContent(media[name]))


async def test_ffprobe(played: str) -> None:
    """DL13."""
    shown = await run("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", played)
    assert float(shown) == pytest.approx(SECONDS, abs=0.3)
    for second in JUMPS:
        options = ("-show_entries", "packet=pts_time", "-of", "csv=p=0", "-read_intervals", f"{second}%+#1")
        first = await run("ffprobe", "-v", "error", *options, played)
        assert float(first.split()[0].strip(",")) == pytest.approx(second, abs=1.5)


async def test_mpv(played: str, tmp_path: Path) -> None:
    """DL13."""
    script = tmp_path / "seek.lua"
    script.write_text(MPV_SCRIPT.replace("JUMPS", ", ".join(map(str, JUMPS))))
    # Paused: it could reach the end between two jumps.
    options = ("--no-config", "--pause", "--vo=null", "--ao=null", "--cache=no")
    shown = await run("mpv", *options, "--no-ytdl", "--idle=no", f"--script={script}", played)
    positions = [float(line.split("at=")[1]) for line in shown.splitlines() if "at=" in line]
    assert positions == pytest.approx(JUMPS, abs=1.5)


MPV_SCRIPT = """
local jumps, next = {JUMPS}, 0
local function jump()
  next = next + 1
  if next > #jumps then mp.command("quit 0") else mp.commandv("seek", jumps[next], "absolute", "exact") end
end
mp.register_event("file-loaded", function()
  mp.register_event("playback-restart", function()
    if next > 0 then print("at=" .. mp.get_property_number("time-pos")) end
    jump()
  end)
end)
mp.register_event("end-file", function(event) if event.reason == "error" then mp.command("quit 5") end end)
"""


@pytest.fixture
def folder_of_vlc() -> Iterator[tuple[Path, str | None]]:
    """A folder for VLC, which does not run as root, and its user, whom the folders of root are closed to."""
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="sa-vlc-") as name:
        if user:
            os.chown(name, pwd.getpwnam(user).pw_uid, -1)
        yield Path(name), user


async def test_vlc(played: str, folder_of_vlc: tuple[Path, str | None]) -> None:
    """DL13."""
    with_output, user = folder_of_vlc
    mux = "ogg" if played.endswith(".flac") else "ts"
    # A transport stream cannot hold what is in a WebM file.
    convert = "transcode{vcodec=mp2v,acodec=mpga}:" if played.endswith(".webm") else ""
    for second in JUMPS:
        target = with_output / str(second)
        output = f"#{convert}std{{access=file,mux={mux},dst={target}}}"
        times = (f"--start-time={second}", f"--stop-time={second + 2}", "--sout", output)
        options = ("-I", "dummy", "--no-sout-all", "--no-media-library", *times)
        await run("cvlc", *options, played, "vlc://quit", user=user, folder=with_output)
        probe = ("-v", "fatal", "-show_entries", "format=duration", "-of", "csv=p=0", target)
        assert float(await run("ffprobe", *probe)) == pytest.approx(2, abs=1.5)


async def test_gstreamer(played: str, tmp_path: Path) -> None:
    """DL13."""
    sinks = ("--videosink=fakesink sync=false", "--audiosink=fakesink sync=false")
    for second in JUMPS:
        await run(
            "gst-play-1.0", "--no-interactive", *sinks, f"--start-position={second}", played, folder=tmp_path
        )


async def test_chromium(played: str, tmp_path: Path) -> None:
    """A page of another site plays the file (DL13)."""
    if played.endswith(".mkv"):
        pytest.skip("browsers do not play Matroska; the page of a link offers players that do")
    async with page_of_player(played) as (page, result):
        browser = await asyncio.create_subprocess_exec(
            program("chromium-headless-shell"),
            *("--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"),
            *("--no-proxy-server", f"--user-data-dir={tmp_path}", "--remote-debugging-port=0", page),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
            preexec_fn=die_with_parent(9),
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(90):
                shown = await result
        finally:
            os.killpg(browser.pid, signal.SIGKILL)  # what was started is a script, which starts the browser
            await browser.wait()
    assert [float(each) for each in shown.split(",")] == pytest.approx([*JUMPS, SECONDS], abs=0.5)


@asynccontextmanager
async def page_of_player(url: str) -> AsyncIterator[tuple[str, asyncio.Future[str]]]:
    """The address of a page that plays and jumps, and what it reports: the positions and the duration."""
    result: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    text = PAGE.replace("URL", url).replace("JUMPS", str(list(JUMPS))).encode()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).split()[1].decode()
        while (await reader.readline()).strip():
            pass
        if path.startswith("/report/") and not result.done():
            result.set_result(path.removeprefix("/report/"))
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(text)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + text)
        await writer.drain()
        writer.close()

    async with tcp_server(respond) as server:
        yield server.url("/"), result


PAGE = """<!doctype html><video id="v" muted crossorigin src="URL"></video><script>
const v = document.getElementById("v"), at = [];
const once = (name) => new Promise((resolve, reject) => {
  v.addEventListener(name, resolve, {once: true});
  v.addEventListener("error", () => reject(v.error.message), {once: true});
});
(async () => {
  if (v.readyState < 1) await once("loadedmetadata");
  for (const second of JUMPS) {
    v.currentTime = second;
    await once("seeked");
    at.push(v.currentTime);
    await v.play();
    await once("timeupdate");
    v.pause();
  }
  location = "/report/" + [...at, v.duration].join(",");
})().catch((error) => { location = "/report/" + encodeURIComponent(error); });
</script>"""
