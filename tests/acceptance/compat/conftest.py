"""A SaveAny with the API of openload, a key for it, and the real clients, installed from their registry."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.stack import USER_ID, Stack

OTHER_USER = 42
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Login:
    """What `saveany key add --compat` prints."""

    login: str
    key: str
    base_url: str

    @property
    def query(self) -> dict[str, str]:
        return {"login": self.login, "key": self.key}


async def add_key(stack: Stack, user_id: int = USER_ID) -> Login:
    """A key for clients of old hosts, as a person makes it."""
    result = await stack.saveany("key", "add", "old script", "--user", str(user_id), "--compat")
    assert result.code == 0, result.err
    lines = [line.partition(":") for line in result.out.splitlines()]
    printed = {name.strip(): value.strip() for name, _, value in lines}
    return Login(printed["login"], printed["key"], printed["base URL"])


class Api:
    """The API with a login, without a client in between."""

    def __init__(self, stack: Stack, login: Login, prefix: str = "") -> None:
        self.stack = stack
        self.login = login
        self.base = f"{login.base_url}{prefix}"

    async def reply(self, call: str, /, method: str = "GET", **parameters: Any) -> dict[str, Any]:
        """The envelope of a reply. The HTTP status is always 200."""
        address, query = f"{self.base}/{call}", {**self.login.query, **parameters}
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            if method == "POST":
                got = await http.post(address, data=query)
            else:
                got = await http.get(address, params=query)
        return envelope(got)

    async def call(self, call: str, /, **parameters: Any) -> Any:
        """The result of a call, which must succeed."""
        reply = await self.reply(call, **parameters)
        assert (reply["status"], reply["msg"]) == (200, "OK"), reply
        return reply["result"]

    async def status(self, call: str, /, **parameters: Any) -> int:
        """The status of a call that must fail."""
        reply = await self.reply(call, **parameters)
        assert reply["result"] is None
        assert reply["msg"]
        return int(reply["status"])

    async def send(
        self, url: str, content: bytes, name: str = "a.bin", part: str = "file1"
    ) -> dict[str, Any]:
        """Send a file to the address of an upload; returns the envelope."""
        async with httpx.AsyncClient(trust_env=False, timeout=120) as http:
            return envelope(await http.post(url, files={part: (name, content)}))

    async def upload(self, content: bytes, name: str = "a.bin", **parameters: Any) -> dict[str, Any]:
        """Upload a file, which must succeed; returns its description."""
        url = (await self.call("file/ul", **parameters))["url"]
        reply = await self.send(url, content, name)
        assert reply["status"] == 200, reply
        result: dict[str, Any] = reply["result"]
        return result

    async def read(self, file: str) -> bytes:
        """The bytes of a file, by ticket and link."""
        ticket = (await self.call("file/dlticket", file=file))["ticket"]
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            link = envelope(await http.get(f"{self.base}/file/dl", params={"file": file, "ticket": ticket}))
            reply = await http.get(link["result"]["url"])
        assert reply.status_code == 200, reply.text
        return reply.content


def envelope(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["referrer-policy"] == "no-referrer"
    body: dict[str, Any] = reply.json()
    assert set(body) == {"status", "msg", "result"}
    return body


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """One SaveAny for all tests of a module."""
    tables = {"compat": {"openload": {"enable": True}}, "users": [{"id": USER_ID}, {"id": OTHER_USER}]}
    async with Stack(tmp_path_factory.mktemp("stack"), tables=tables) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def login(running: Stack) -> Login:
    return await add_key(running)


@pytest.fixture(scope="session")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clients, as their authors published them."""
    folder = tmp_path_factory.mktemp("clients")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([*command, "--target", folder, "-r", HERE / "clients.txt"], check=True)
    return folder


class PythonClient:
    """Runs code that uses a client in a process of its own; the last expression is the result."""

    def __init__(self, folder: Path, prelude: str) -> None:
        self._folder = folder
        self._prelude = prelude

    async def __call__(self, code: str) -> Any:
        *statements, last = map(ast.unparse, ast.parse(code.strip()).body)
        show = f"import json; print(json.dumps({last}, default=str))"
        program = "\n".join([self._prelude, *statements, show])
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            env={**os.environ, "PYTHONPATH": str(self._folder), "NO_PROXY": "*"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return json.loads(out)
