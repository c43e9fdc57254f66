"""A worker and `saveany check` behind a proxy that refuses connections."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.cli.test_check import lines
from tests.fixtures.proxies import BAD, Running, Socks5, proxy
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until


@pytest.mark.parametrize("name", ["socks5 reply 2", "socks5 hangs up at once", "http 407", "http garbage"])
async def test_check_names_the_proxy(tmp_path: Path, name: str) -> None:
    async with proxy(BAD[name][0]) as bad, Stack(tmp_path, roles=False, tables={"proxy": bad.url()}) as stack:
        result = await stack.saveany("check")
        assert result.code == 5
        status, detail = lines(result)["telegram bot"]
        assert (status, "Telegram cannot be reached: the proxy" in detail) == ("failed", True)
        assert lines(result)["storage local1"][0] == "ok"


async def test_check_rejects_an_mtproto_proxy(tmp_path: Path) -> None:
    async with Stack(tmp_path, roles=False, tables={"proxy": "tg://proxy?server=x&port=1&secret=s"}) as stack:
        result = await stack.saveany("check")
        assert result.code == 2
        assert "proxy: is an MTProto proxy" in result.out


async def test_workers_survive_an_outage_of_the_proxy_and_tasks_wait(tmp_path: Path) -> None:
    """The proxy fails during a download while another worker starts; the file is saved in the end."""
    bad, good = BAD["socks5 reply 2"][0], Socks5(login="me:p@ss: wörd".encode())
    async with proxy(good) as way:
        url = way.url("me:p%40ss%3A%20w%C3%B6rd")
        async with Stack(tmp_path, tables={"proxy": url}) as stack:
            stack.sandbox.faults.add("total_rate=300000,file=1006")
            task_id = (await stack.add("https://t.me/channel/128"))["task_id"]
            await stack.wait(task_id, lambda task: task["status"] == "running")
            way.behavior = bad
            way.drop()
            await stack.start_worker()
            await stack.wait(task_id, lambda task: task["status"] == "queued", 120)
            before = way.connections
            await until(lambda: _more(way, before), within=60)  # they go on trying
            stack.sandbox.faults.clear()
            way.behavior = good
            assert (await stack.ended(task_id, 120))["status"] == "completed"
            assert [worker.returncode for worker in stack.workers] == [None, None]


async def _more(way: Running, than: int) -> bool:
    return way.connections > than
