"""Downloads behind a proxy that refuses connections: tasks wait, show why, and are saved when it works."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.proxies import BAD, Http, Socks5, proxy
from tests.fixtures.servers import program
from tests.fixtures.site import Page, serve
from tests.fixtures.stack import STORAGE, Stack

DATA = b"saved at last" * 9999
HTML = {"Content-Type": "text/html"}


@pytest.mark.parametrize("name", ["socks5 reply 2", "http 407"])
async def test_tasks_of_every_source_wait(tmp_path: Path, name: str) -> None:
    for each in ("yt-dlp", "gallery-dl", "aria2c"):
        program(each)
    bad, _ = BAD[name]
    good = Socks5() if bad.scheme == "socks5" else Http()
    async with serve() as site, proxy(bad) as way:
        ends = ("bin", "mp4", "iso", "jpg", "png")
        site.pages |= {f"/{number}/a.{end}": Page(DATA) for number, end in enumerate(ends)}
        site.pages["/page"] = Page(b'<img src="/3/a.jpg">', headers=HTML)
        params: dict[str, dict[str, object]] = {
            "directlinks": {"urls": [site.url("/0/a.bin")]},
            "ytdlp": {"urls": [site.url("/1/a.mp4")]},
            "aria2": {"urls": [site.url("/2/a.iso"), site.url("/4/a.png")]},
            "parseditem": {"url": site.url("/3/a.jpg")},
            "tphpics": {"telegraph_url": site.url("/page")},
        }
        tables = {"proxy": way.url(), "workers": 8, "aria2": {"enable": True, "dht": False}}
        async with Stack(tmp_path, tables=tables, workers=0) as stack:
            await stack.start_worker()
            ids = [await _added(stack, type_, params[type_]) for type_ in params]
            waits = await asyncio.gather(*(stack.wait(each, _waits, 120) for each in ids))
            assert all("the proxy refuses" in task["waiting"] for task in waits), waits
            way.behavior = good
            ended = await asyncio.gather(*(stack.ended(each, 180) for each in ids))
            assert [(task["status"], task["error"]) for task in ended] == [("completed", "")] * len(ids)
            assert stack.workers[0].returncode is None
            assert len(stack.files()) == 6 + 1  # and the mark of the storage


async def _added(stack: Stack, type_: str, params: dict[str, object]) -> str:
    body = {"type": type_, "storage": STORAGE, "path": type_, "params": params}
    reply = await stack.client.post("/api/v1/tasks", json=body)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["task_id"])


def _waits(task: dict[str, Any]) -> bool:
    assert task["status"] in ("queued", "running"), task
    return task["status"] == "queued" and "proxy" in task.get("waiting", "")
