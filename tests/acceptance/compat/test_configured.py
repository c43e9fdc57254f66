"""The API of openload as it is configured: its limits, its host name, and its silence about secrets."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.compat.conftest import Api, Login, add_key, envelope
from tests.fixtures.site import Page, serve
from tests.fixtures.stack import USER_ID, Stack

PATHS = ("/compat/openload/account/info", "/compat/openload/1/file/ul", "/compat/openload", "/compat/x")


async def test_it_is_off_by_default(tmp_path: Path) -> None:
    async with Stack(tmp_path, workers=0) as stack:
        login = await stack.saveany("key", "add", "x", "--user", str(USER_ID), "--compat")
        assert f"base URL: {stack.url}/compat/openload\n" in login.out
        assert "is off" in login.err
        assert "config set compat.openload.enable true" in login.err
        async with httpx.AsyncClient(base_url=stack.url, trust_env=False) as http:
            for path in PATHS:
                assert (await http.get(path)).status_code == 404, path
                assert (await http.post(path)).status_code == 404, path


async def test_path_and_host_name_can_be_chosen(tmp_path: Path) -> None:
    facade = {"enable": True, "path": "/tape", "host": "api.tape.test"}
    async with Stack(tmp_path, tables={"compat": {"openload": facade}}) as stack:
        login = await add_key(stack)
        assert login.base_url == f"{stack.url}/tape"
        file = (await Api(stack, login).upload(b"by path"))["id"]
        async with httpx.AsyncClient(base_url=stack.url, trust_env=False) as http:
            assert (await http.get(PATHS[0])).status_code == 404
            headers = {"Host": f"API.tape.test:{stack.port}"}
            for prefix in ("", "/1", "/v1"):
                reply = await http.get(f"{prefix}/file/ul", params=login.query, headers=headers)
                url = httpx.URL(envelope(reply)["result"]["url"])
                assert str(url).startswith(f"http://api.tape.test:{stack.port}{prefix}/ul/")
                form = {"file": ("at host.txt", b"at host")}
                sent = envelope(await http.post(url.raw_path.decode(), files=form, headers=headers))
                assert sent["status"] == 200
            ticket = await http.get("/file/dlticket", params={**login.query, "file": file}, headers=headers)
            query = {"file": file, "ticket": envelope(ticket)["result"]["ticket"]}
            link = envelope(await http.get("/file/dl", params=query, headers=headers))["result"]["url"]
            got = await http.get(httpx.URL(link).raw_path.decode(), headers=headers)
            assert got.content == b"by path"
            # What is no API of this host is at the other addresses only.
            assert envelope(await http.get("/api/v1/tasks", headers=headers))["status"] == 404
            assert (await http.get("/health")).status_code == 200


async def test_limits_of_links_have_the_status_of_the_host(tmp_path: Path) -> None:
    tables = {"compat": {"openload": {"enable": True}}, "links": {"per_day": 1}}
    async with Stack(tmp_path, tables=tables) as stack:
        login = await add_key(stack)
        apis = {509: [Api(stack, login), Api(stack, login, "/1")], 503: [Api(stack, login, "/v1")]}
        file = (await apis[509][0].upload(b"x"))["id"]
        ticket = (await apis[509][0].call("file/dlticket", file=file))["ticket"]
        assert (await apis[509][0].call("file/dl", file=file, ticket=ticket))["size"] == 1
        for status, found in apis.items():
            for api in found:
                assert await api.status("file/dl", file=file, ticket=ticket) == status


async def test_the_traffic_of_a_month_has_its_status_too(tmp_path: Path) -> None:
    tables = {"compat": {"openload": {"enable": True}}, "links": {"monthly_gb": 1}}
    async with Stack(tmp_path, tables=tables) as stack:
        api = Api(stack, await add_key(stack))
        file = (await api.upload(b"x"))["id"]
        ticket = (await api.call("file/dlticket", file=file))["ticket"]
        assert (await api.call("file/dl", file=file, ticket=ticket))["size"] == 1
        await use_up_traffic(stack)
        assert await api.status("file/dl", file=file, ticket=ticket) == 509


async def use_up_traffic(stack: Stack) -> None:
    from saveany.store import Store, connect

    store = Store(connect(stack.redis_url))
    await store.traffic.add(10**9)
    await store.db.close()


async def test_no_secret_is_logged(tmp_path: Path) -> None:
    tables = {"compat": {"openload": {"enable": True}}, "log": {"level": "debug"}}
    async with Stack(tmp_path, tables=tables) as stack:
        login = await add_key(stack)
        secrets = await use_everything(stack, login)
        await stack.stop()
        logged = "".join(log.read_text() for log in stack.logs.glob("*.log"))
        assert "api_started" in logged
        for secret in secrets:
            assert secret not in logged, secret


async def use_everything(stack: Stack, login: Login) -> list[str]:
    """Make calls of each kind, also ones that fail; returns what must not be logged."""
    secrets = [login.login, login.key]
    async with serve() as web:
        web.pages["/film.mp4"] = Page(b"film")
        for prefix in ("", "/1", "/v1"):
            api = Api(stack, login, prefix)
            url = (await api.call("file/ul"))["url"]
            file = (await api.send(url, b"x"))["result"]["id"]
            ticket = (await api.call("file/dlticket", file=file))["ticket"]
            link = await api.call("file/dl", file=file, ticket=ticket)
            secrets += [url.rpartition("/")[2], ticket, httpx.URL(link["url"]).path.split("/")[2]]
            page = (await api.call("file/listfolder"))["files"]
            secrets.append(httpx.URL(next(iter(values(page)))["link"]).params["s"])
            await api.send(url, b"again")
            await api.status("file/info")
            await api.status("nothing", ticket=ticket)
            await Api(stack, Login(login.login, "wrong", login.base_url)).status("account/info")
            header = f"secret-{os.urandom(8).hex()}"
            secrets.append(header)
            await api.call("remotedl/add", url=web.url("/film.mp4"), headers=f"Cookie: a={header}")
    await crash(stack, login)
    return secrets


def values(files: Any) -> Any:
    return files.values() if isinstance(files, dict) else files


async def crash(stack: Stack, login: Login) -> None:
    """Send requests that the server itself refuses or cannot finish."""
    query = f"login={login.login}&key={login.key}"
    for head in (
        f"GET /compat/openload/account/info?{query} HTTP/1.1\r\nHost: x\r\nX: {'y' * 70_000}\r\n\r\n",
        f"GET /compat/openload/account/info?{query} NONSENSE\r\n\r\n",
        f"POST /compat/openload/account/info?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
    ):
        process = await asyncio.create_subprocess_exec(
            "python3",
            "-c",
            "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
            "s.sendall(sys.stdin.buffer.read()); s.shutdown(1); s.recv(100)",
            str(stack.port),
            stdin=asyncio.subprocess.PIPE,
        )
        await process.communicate(head.encode())


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_many_uploads_at_once_arrive(tmp_path: Path, prefix: str) -> None:
    tables = {"compat": {"openload": {"enable": True}}}
    async with Stack(tmp_path, tables=tables, workers=2) as stack:
        api = Api(stack, await add_key(stack), prefix)
        sent = await asyncio.gather(*(api.upload(f"{n}".encode() * 1000, "same name") for n in range(30)))
        assert len({each["id"] for each in sent}) == 30
        assert {each["name"] for each in sent} == {"same name"}
        for n in (0, 29):
            assert await api.read(sent[n]["id"]) == f"{n}".encode() * 1000
