"""The API of StreamAPI on a running SaveAny, used as its reference says, with two API processes."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.stack import USER_ID, Stack, until_healthy
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEED = Path(__file__).parent / "004-streamapi-http-reference.txt"
#: The formula of the reference, which is an expression of Python, too.
(FORMULA,) = re.findall(r"Generated as follows, in pseduo code: (md5_hex\(.*\))", SEED.read_text())


def md5_hex(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def concatenate(values: list[str], *more: str) -> str:
    return "".join([*values, *more])


def sign(secret_key: str, rid: str, **parameters: str) -> dict[str, str]:
    """The parameters of a request with its signature."""
    names = {
        "md5_hex": md5_hex,
        "concatenate": concatenate,
        "request_param_values_in_alphabetical_order_of_param_names": [
            parameters[name] for name in sorted(parameters)
        ],
        "secret_key": secret_key,
        "rid": rid,
    }
    return {**parameters, "rid": rid, "sig": eval(FORMULA, names)}


class TwoProcesses:
    """A SaveAny with two API processes."""

    def __init__(self, stack: Stack, key: str, secret: str, urls: list[str]) -> None:
        self.stack, self.key, self.secret, self.urls = stack, key, secret, urls
        self.ids = itertools.count(int(time.time() * 1000))

    def signed(self, **parameters: str) -> dict[str, str]:
        return sign(self.secret, str(next(self.ids)), key=self.key, **parameters)

    async def send(self, call: str, query: dict[str, str], process: int = 0, method: str = "GET") -> str:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            url = f"{self.urls[process]}/service/{call}"
            part: dict[str, Any] = {"data" if method == "POST" else "params": query}
            reply = await http.request(method, url, **part)
        assert reply.status_code == 200
        return reply.text


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def two(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoProcesses]:
    tables = {"compat": {"streamapi": {"enable": True}}}
    async with Stack(tmp_path_factory.mktemp("stack"), workers=0, tables=tables) as stack:
        made = await stack.saveany("key", "add", "old", "--user", str(USER_ID), "--compat", "--readable")
        assert made.code == 0, made.err
        printed = dict(re.findall(r"^([^:]+): +(.*)$", made.out, re.MULTILINE))
        assert printed["StreamAPI URL"] == f"{stack.url}/service"
        url = await stack.start_another_api()
        yield TwoProcesses(stack, printed["login"], printed["key"], [stack.url, url])


def code(reply: str) -> int:
    (found,) = re.findall(r"<code>(\d+)</code>", reply)
    return int(found)


async def test_the_formula_of_the_reference_signs_requests(two: TwoProcesses) -> None:
    query = two.signed(username="Peter", site_user_id="12345")
    created = await two.send("session/create", query, method="POST")
    assert "<public_hostid>12345</public_hostid>" in created
    (private,) = re.findall(r"<private_hostid>([A-Z0-9]{32})</private_hostid>", created)
    found = await two.send("host/id/public", two.signed(private_hostid=private), process=1)
    assert "<public_hostid>12345</public_hostid>" in found
    for call in ("session/live", "session/live/list", "video/list", "theme/list", "host/id/private"):
        named = {"public_hostid": "12345"} if call in ("session/live", "host/id/private") else {}
        assert code(await two.send(call, two.signed(**named))) == 0, call


async def test_one_id_is_accepted_once_by_all_processes_and_after_a_restart(two: TwoProcesses) -> None:
    same = two.signed()
    sent = (two.send("theme/list", same, process) for process in [0, 1] * 25)
    assert sorted(map(code, await asyncio.gather(*sent))) == [0] + [203] * 49
    api = two.stack.api
    assert api
    await two.stack.kill(api)
    await two.stack.start_api()
    await until_healthy(two.stack.url)
    assert code(await two.send("theme/list", same)) == 203
    assert code(await two.send("theme/list", two.signed())) == 0
    two.stack.redis.stop()
    two.stack.redis_url = two.stack.redis.start()

    async def works() -> bool:
        return code(await two.send("theme/list", two.signed())) == 0

    await until(works, within=60)
    assert code(await two.send("theme/list", same)) == 203


async def test_no_secret_is_logged(two: TwoProcesses) -> None:
    query = two.signed(username="Peter")
    await two.send("session/create", query, method="POST")
    await two.send("session/create", {**query, "username": "Other"}, method="POST")
    logged = "".join(log.read_text() for log in two.stack.logs.glob("*.log"))
    assert "api_started" in logged
    for secret in (two.secret, query["sig"]):
        assert secret not in logged


async def test_it_is_off_by_default(tmp_path: Path) -> None:
    async with Stack(tmp_path, workers=0) as stack:
        assert (await stack.client.get("/service/theme/list")).status_code == 404
