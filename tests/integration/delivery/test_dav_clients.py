"""Programs that read the drive: rclone, cadaver, VLC and the tests of litmus that change nothing."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from saveany.api.app import create_app
from saveany.api.server import ApiServer
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.store import Store
from tests.fixtures.media import make_media
from tests.integration.api.conftest import url_of
from tests.integration.delivery.test_clients import folder_of_vlc, run  # noqa: F401  a fixture
from tests.integration.delivery.test_dav import KEYS, MOVIE, NAMES, config, save  # noqa: F401  a fixture

KEY = str(KEYS["reader"]["secret"])
#: What litmus creates before its tests, which are to find it.
LITMUS = "litmus"
#: Those of its tests that need nothing else.
READING = {
    "basic": {"options"},
    "props": {"propfind_invalid", "propfind_invalid2", "propfind_d0", "propextended", "propwformed"},
    "http": {"expect100"},
}


class PretendsToMakeFolders:
    """Middleware: tells litmus that its folder was created, without which it begins no test."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_its = scope["type"] == "http" and scope["path"].startswith(f"/dav/{LITMUS}/")
        if is_its and scope["method"] in ("MKCOL", "DELETE"):
            await Response(status_code=201)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


@pytest.fixture
def app(config: Config, store: Store, catalogue: Catalogue) -> FastAPI:  # noqa: F811
    app = create_app(config, store, catalogue)
    app.add_middleware(PretendsToMakeFolders)
    return app


@pytest.fixture
async def saved(live: httpx.AsyncClient, store: Store, tmp_path: Path) -> dict[str, bytes]:
    """The files on the drive, by path."""
    files = {f"films/{name}": name.encode() for name in NAMES} | {"movie.mp4": MOVIE, f"{LITMUS}/res": b"x"}
    await save(live, store, tmp_path, {f"local1/{path}": data for path, data in files.items()})
    return files


async def test_rclone(server: ApiServer, saved: dict[str, bytes], tmp_path: Path) -> None:
    """It copies everything, finds nothing to copy the second time, and reads ranges."""
    password = (await run("rclone", "obscure", KEY)).strip()
    remote = f":webdav,vendor=other,url='{url_of(server)}/dav',user=x,pass={password}:"
    options = ("--config", "/dev/null")
    copied = tmp_path / "copied"
    await run("rclone", *options, "copy", remote, copied)
    found = {str(file.relative_to(copied)): file.read_bytes() for file in copied.rglob("*") if file.is_file()}
    assert found == saved
    again = await run("rclone", *options, "-v", "copy", remote, copied)
    assert "There was nothing to transfer" in again
    part = await run("rclone", *options, "cat", "--offset", "97", "--count", "9", f"{remote}movie.mp4")
    assert part == MOVIE[97:106].decode()


async def test_cadaver(server: ApiServer, saved: dict[str, bytes], tmp_path: Path) -> None:
    host = url_of(server).removeprefix("http://").partition(":")[0]
    (tmp_path / ".netrc").write_text(f"machine {host}\nlogin x\npassword {KEY}\n")
    (tmp_path / ".netrc").chmod(0o600)
    commands = tmp_path / "commands"
    commands.write_text(f'ls\ncd films\nls\nget "{NAMES[0]}" copy\nput commands\nquit\n')
    shown = await run("sh", "-c", f"cadaver {url_of(server)}/dav/ < {commands}", folder=tmp_path)
    assert "succeeded" in shown
    assert "403 Forbidden" in shown  # for the upload
    assert all(name in shown for name in NAMES)
    assert (tmp_path / "copy").read_bytes() == saved[f"films/{NAMES[0]}"]


async def test_vlc_plays_from_the_middle(
    live: httpx.AsyncClient,
    server: ApiServer,
    store: Store,
    tmp_path: Path,
    folder_of_vlc: tuple[Path, str | None],  # noqa: F811
) -> None:
    name = "index-last.mp4"  # whose index is read first
    video = make_media(tmp_path, name)[name]
    await save(live, store, tmp_path, {f"local1/{name}": video})
    with_output, user = folder_of_vlc
    target = with_output / "part.ts"
    times = ("--start-time=9", "--stop-time=11", "--sout", f"#std{{access=file,mux=ts,dst={target}}}")
    options = ("-I", "dummy", "--no-sout-all", "--no-media-library", *times)
    address = f"{url_of(server).replace('://', f'://x:{KEY}@')}/dav/{name}"
    await run("cvlc", *options, address, "vlc://quit", user=user, folder=with_output)
    shown = await run("ffprobe", "-v", "fatal", "-show_entries", "format=duration", "-of", "csv=p=0", target)
    assert float(shown) == pytest.approx(2, abs=1.5)


@pytest.mark.usefixtures("saved")
async def test_litmus(server: ApiServer, tmp_path: Path) -> None:
    passed: dict[str, set[str]] = {}
    shown = await run("sh", "-c", f"litmus -k {url_of(server)}/dav/ x {KEY} || true", folder=tmp_path)
    for suite, text in re.findall(r"-> running `(\w+)':(.*?)<- summary", shown, re.DOTALL):
        passed[suite] = set(re.findall(r"(\w+)\.+ (?:WARNING: .*\s+\.+ )?pass", text))
    assert {suite: tests & passed[suite] for suite, tests in READING.items()} == READING
