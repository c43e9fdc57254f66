"""A hundred large uploads at once, of two users: all arrive, and the API needs little memory for them."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.compat.conftest import OTHER_USER, Api, add_key, envelope
from tests.fixtures.stack import USER_ID, Stack

UPLOADS, MIB = 100, 1 << 20
SIZE = 20 * MIB
MAX_MB = 250
BOUNDARY = "the-boundary-of-a-form"


def block(number: int) -> bytes:
    """A MiB of the upload with this number; each has its own content."""
    return hashlib.sha256(str(number).encode()).digest() * (MIB // 32)


async def form(number: int, size: int = SIZE) -> AsyncIterator[bytes]:
    """The body of an upload, piece by piece: the test has little memory, too."""
    head = f'Content-Disposition: form-data; name="file1"; filename="{number}.bin"'
    yield f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode()
    for _ in range(size // MIB):
        yield block(number)
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


async def upload(http: httpx.AsyncClient, api: Api, number: int) -> dict[str, Any]:
    expected = hashlib.sha256()
    for _ in range(SIZE // MIB):
        expected.update(block(number))
    url = (await api.call("file/ul", sha256=expected.hexdigest()))["url"]
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    reply = envelope(await http.post(url, content=form(number), headers=headers))
    assert reply["status"] == 200, reply
    result: dict[str, Any] = reply["result"]
    return result


def most_memory(pid: int) -> int:
    """The largest resident memory that a process has had, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024 // 1_000_000


@pytest.mark.timeout(900)
async def test_a_hundred_uploads_of_20_mib(tmp_path: Path) -> None:
    tables = {"compat": {"openload": {"enable": True}}, "users": [{"id": USER_ID}, {"id": OTHER_USER}]}
    async with Stack(tmp_path, workers=2, tables=tables, forked=False) as stack:
        apis = [Api(stack, await add_key(stack, user)) for user in (USER_ID, OTHER_USER)]
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(trust_env=False, timeout=600, limits=limits) as http:
            sent = await asyncio.gather(*(upload(http, apis[n % 2], n) for n in range(UPLOADS)))
        assert stack.api
        assert most_memory(stack.api.pid) <= MAX_MB
        assert {each["size"] for each in sent} == {str(SIZE)}
        for user in range(2):
            listed = (await apis[user].call("file/listfolder"))["files"]
            assert sorted(file["name"] for file in listed) == sorted(
                f"{n}.bin" for n in range(user, UPLOADS, 2)
            )
        for n in (0, 99):
            assert await apis[n % 2].read(sent[n]["id"]) == block(n) * (SIZE // MIB)


@pytest.mark.timeout(900)
async def test_two_gib_need_no_more_memory_than_two_mib(tmp_path: Path) -> None:
    async with Stack(tmp_path, tables={"compat": {"openload": {"enable": True}}}, forked=False) as stack:
        api = Api(stack, await add_key(stack))
        await api.upload(block(0) * 2)
        assert stack.api
        before = most_memory(stack.api.pid)
        url, size = (await api.call("file/ul"))["url"], 2 << 30
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        async with httpx.AsyncClient(trust_env=False, timeout=600) as http:
            reply = envelope(await http.post(url, content=form(1, size), headers=headers))
        assert reply["result"]["size"] == str(size)
        assert most_memory(stack.api.pid) - before <= 64
