"""Outages are reported by the API, the list of tasks, and the commands that follow tasks."""

from __future__ import annotations

import asyncio
import json
import shutil
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from saveany.store import open_store
from tests.acceptance.cli.terminal import Terminal
from tests.fixtures import ftp, s3, sftp, webdav
from tests.fixtures.faultproxy import FaultProxy, fault_proxy
from tests.fixtures.stack import STORAGE, Stack
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

PDF = "https://t.me/channel/123"
SLOW = "https://t.me/channel/128"
REMOTE = ("box", "dav", "bucket", "site")


@dataclass
class Installation:
    """A SaveAny whose storages are on servers behind proxies that can be closed."""

    running: Stack
    doors: dict[str, FaultProxy]

    async def problem(self, name: str) -> str:
        """The problem of a storage in the list of storages."""
        found = (await self.running.client.get("/api/v1/storages")).json()["storages"]
        return next(str(each.get("error", "")) for each in found if each["name"] == name)

    async def waiting(self, task_id: str) -> str:
        """Why a task waits according to the list; the task itself has the same reason."""
        listed = (await self.running.client.get("/api/v1/tasks")).json()["tasks"]
        return next((str(each.get("waiting", "")) for each in listed if each["task_id"] == task_id), "")


@asynccontextmanager
async def servers(folder: Path) -> AsyncIterator[tuple[dict[str, FaultProxy], list[dict[str, Any]]]]:
    """Servers of four protocols, each behind a proxy, with our storages."""
    for name in ("ssh", "s3", "ftp"):
        (folder / name).mkdir(parents=True)
    async with AsyncExitStack() as stack:
        ssh = stack.enter_context(sftp.asyncssh(folder / "ssh"))
        dav = stack.enter_context(webdav.wsgidav())
        bucket = stack.enter_context(s3.moto(folder / "s3"))
        site = stack.enter_context(ftp.pyftpdlib(folder / "ftp"))
        ports = {"box": ssh.port, "dav": dav.port, "bucket": bucket.port, "site": site.port}
        doors = {name: await stack.enter_async_context(fault_proxy(port)) for name, port in ports.items()}
        at = {name: {"name": name, "host": "127.0.0.1", "port": door.port} for name, door in doors.items()}
        web = {name: f"http://127.0.0.1:{door.port}" for name, door in doors.items()}
        box = at["box"] | ssh.login | {"type": "sftp", "base_path": "a"}
        login = {"username": ftp.USER, "password": ftp.PASSWORD}
        yield (
            doors,
            [
                box,
                at["site"] | login | {"type": "ftp", "base_path": "a", "tls": "none"},
                {"name": "dav", "type": "webdav", "url": web["dav"], "base_path": "a"}
                | {"username": webdav.USER, "password": webdav.PASSWORD},
                {"name": "bucket", "type": "s3", "endpoint": web["bucket"], "bucket_name": bucket.bucket()}
                | {"access_key_id": s3.KEY, "secret_access_key": s3.SECRET},
            ],
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    folder = tmp_path_factory.mktemp("stack")
    async with servers(folder / "servers") as (doors, remote):
        local = {"name": STORAGE, "type": "local", "base_path": str(folder / "files")}
        async with Stack(folder, tables={"storages": [local, *remote], "workers": 2}) as stack:
            installation = Installation(stack, doors)
            yield installation
            for task in (await stack.client.get("/api/v1/tasks")).json()["tasks"]:
                reply = await stack.client.delete(f"/api/v1/tasks/{task['task_id']}")
                assert reply.is_success or reply.status_code == 409, reply.text  # it may have just ended


async def waiting_reason(process: Process) -> str:
    """The reason in the next `waiting` event of a command."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        async for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "waiting" and event["waiting"]:
                return str(event["waiting"])
    raise AssertionError("it ended without a word")


@pytest.mark.parametrize("name", REMOTE)
async def test_an_unreachable_server_is_named_and_its_tasks_continue_when_it_returns(
    installation: Installation, name: str
) -> None:
    installation.doors[name].close()

    async def away() -> bool:
        return "127.0.0.1" in await installation.problem(name)

    await until(away)  # far sooner than the next test file would be written
    task_id = (await installation.running.add(PDF, storage_name=name))["task_id"]

    async def all_say_the_same() -> bool:
        """Eventually: the next check may describe the problem in other words."""
        waiting_reason = (
            await installation.waiting(task_id),
            (await installation.running.task(task_id)).get("waiting", ""),
        )
        return {*waiting_reason} == {await installation.problem(name)}

    await until(all_say_the_same)
    await installation.doors[name].start()
    assert (await installation.running.ended(task_id))["status"] == "completed"


@pytest.mark.parametrize("name", REMOTE)
async def test_a_hanging_server_is_named_and_its_tasks_continue_when_it_recovers(
    installation: Installation, name: str
) -> None:
    """The server still accepts connections. Any request that waits for it detects this: here, a list of
    files."""
    installation.doors[name].hang()
    listing = asyncio.create_task(installation.running.client.get(f"/api/v1/storages/{name}/files"))
    try:

        async def hangs() -> bool:
            return "does not reply" in await installation.problem(name)

        await until(
            hangs, within=40
        )  # the next test file could be a minute away, and would wait for a minute
        task_id = (await installation.running.add(PDF, storage_name=name))["task_id"]
        assert "does not reply" in await installation.waiting(task_id)
    finally:
        installation.doors[name].flows.set()
        await listing
    assert (await installation.running.ended(task_id))["status"] == "completed"


async def test_a_running_task_shows_that_its_server_hangs(installation: Installation) -> None:
    slow = installation.running.sandbox.faults.add("total_rate=2000000,file=1006")
    following = await installation.running.popen("add", "--follow", "--json", SLOW, "--storage", "dav")
    listed = (await installation.running.client.get("/api/v1/tasks")).json()["tasks"]

    async def runs() -> bool:
        nonlocal listed
        listed = (await installation.running.client.get("/api/v1/tasks")).json()["tasks"]
        return any(each["progress"]["downloaded_bytes"] for each in listed)

    await until(runs, within=60)
    installation.doors["dav"].hang()
    task = await installation.running.wait(
        listed[0]["task_id"], lambda task: "does not reply" in task.get("waiting", "")
    )
    assert task["status"] == "running"
    assert "does not reply" in await waiting_reason(following)
    installation.running.sandbox.faults.remove(slow)
    installation.doors["dav"].flows.set()
    await asyncio.wait_for(following.communicate(), 90)
    assert following.returncode == 0


async def test_a_delayed_task_continues_as_soon_as_its_server_returns(installation: Installation) -> None:
    slow = installation.running.sandbox.faults.add("total_rate=2000000,file=1006")
    task_id = (await installation.running.add(SLOW, storage_name="dav"))["task_id"]
    await installation.running.wait(task_id, lambda task: task["progress"]["downloaded_bytes"] > 0)
    installation.doors["dav"].close()
    await installation.running.wait(task_id, lambda task: "continues in" in task.get("waiting", ""))
    installation.running.sandbox.faults.remove(slow)
    store = await open_store(installation.running.redis_url)
    try:
        # Only the server can be what wakes it: by itself it would wait for an hour.
        later = await store.db.time_ms() + 3_600_000
        await store.db.do("ZADD", "sa:delayed", "XX", later, task_id)
        await store.db.do("HSET", f"sa:task:{task_id}", "wake", later)
    finally:
        await store.db.close()
    await installation.doors["dav"].start()
    assert (await installation.running.ended(task_id))["status"] == "completed"


async def test_a_missing_disk_is_reported_by_commands_that_follow_tasks(installation: Installation) -> None:
    away = installation.running.storage_dir.with_name("away")
    installation.running.storage_dir.rename(away)
    watching = await installation.running.popen("watch", "--json")
    following = await installation.running.popen("add", "--follow", "--json", PDF, "--storage", STORAGE)
    try:
        assert "is the disk mounted?" in await waiting_reason(following)
        assert "is the disk mounted?" in await waiting_reason(watching)
    finally:
        shutil.rmtree(installation.running.storage_dir, ignore_errors=True)
        away.rename(installation.running.storage_dir)
        watching.kill()
    await asyncio.wait_for(following.communicate(), 90)
    await watching.communicate()
    assert following.returncode == 0


async def test_bars_show_that_the_queue_is_paused(installation: Installation) -> None:
    await installation.running.request("POST", "/queue/pause")
    try:
        async with Terminal(
            installation.running.argv("add", "--follow", PDF, "--storage", STORAGE)
        ) as terminal:
            await terminal.expect("waiting: the queue is paused")
            await installation.running.request("POST", "/queue/resume")
            await terminal.expect("completed")
            assert await terminal.end() == 0
    finally:
        await installation.running.request("POST", "/queue/resume")


async def test_a_flood_wait_is_shown_with_its_end(installation: Installation) -> None:
    # Not for a part of a file: that holds all of an account's files up, those of the other tests too.
    flood = installation.running.sandbox.faults.add("flood_wait=3000,method=channels.getMessages")
    task_id = (await installation.running.add(PDF, storage_name=STORAGE))["task_id"]
    try:
        task = await installation.running.wait(
            task_id, lambda task: "continues in" in task.get("waiting", "")
        )
        assert "Telegram asks to wait" in task["waiting"]
    finally:
        installation.running.sandbox.faults.remove(flood)
        await installation.running.request("DELETE", f"/tasks/{task_id}")


async def test_an_unresponsive_api_is_reported_once(installation: Installation) -> None:
    watching = await installation.running.popen("watch", "--json")
    assert watching.stdout
    assert watching.stderr
    await installation.running.request("POST", "/queue/pause")
    following = await installation.running.popen("add", "--follow", "--json", PDF, "--storage", STORAGE)
    await waiting_reason(following)
    assert installation.running.api
    await installation.running.kill(installation.running.api)
    assert following.stderr
    for errors in watching.stderr, following.stderr:  # both have noticed before the API returns
        line = (await asyncio.wait_for(errors.readline(), 60)).decode()
        assert "; trying again" in line
    await installation.running.start_api()
    await installation.running.ready()
    await installation.running.request("POST", "/queue/resume")
    _, err = await asyncio.wait_for(following.communicate(), 90)
    assert following.returncode == 0
    assert err.decode().count("trying again") == 0
    watching.kill()
    await watching.communicate()


async def test_a_missing_worker_is_reported(installation: Installation) -> None:
    for worker in list(installation.running.workers):
        await installation.running.terminate(worker)
    following = await installation.running.popen("add", "--follow", "--json", PDF, "--storage", STORAGE)
    assert "no running worker has this source" in await waiting_reason(following)
    await installation.running.start_worker()
    await asyncio.wait_for(following.communicate(), 90)
    assert following.returncode == 0
