"""Two machines with one Redis: a file is saved on the machine with its storage, and a user login is used on
one machine only."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from saveany.errors import StorageUnavailable
from saveany.storage_set import check_identity
from saveany.store import Store
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from tests.acceptance.promises.site import ONE_MIB, PDF, SLOW, Role, Site, sha256
from tests.chaos.launch import SHORT_LEASE, SHORT_TIMEOUTS
from tests.fixtures.catalogue import Postgres
from tests.fixtures.servers import quiet_port
from tests.fixtures.stack import USER_ID
from tests.fixtures.waiting import until

MARK = ".saveany-storage"
#: Seconds after the right folder is back: until the next check, and until a worker with the disk has claimed
#: a task.
BACK = 15
NO_TELEGRAM = {"token": "", "accounts": []}


@dataclass(frozen=True)
class Machine:
    """A simulated machine: a folder with a separate configuration, data and storages."""

    folder: Path

    def storage(self, name: str) -> Path:
        return self.folder / name

    def files(self, name: str) -> list[str]:
        """The paths of all files in a storage, including markers and unfinished files."""
        base = self.storage(name)
        return sorted(str(path.relative_to(base)) for path in base.rglob("*") if not path.is_dir())


class TwoMachines(Site):
    """Machine `a` has the disk of storage `nas`, machine `b` that of `disk`. For the other storage, each
    machine has an empty folder."""

    async def __aenter__(self) -> TwoMachines:
        await super().__aenter__()
        self.a, self.b = Machine(self.folder / "a"), Machine(self.folder / "b")
        for machine in (self.a, self.b):
            for name in ("nas", "disk"):
                machine.storage(name).mkdir(parents=True)
            self.set_up(machine, "nas", "disk")
        self.set_up(Machine(self.folder), "nas", "disk", telegram=NO_TELEGRAM)
        return self

    def set_up(self, machine: Machine, *storages: str, **tables: Any) -> None:
        """Write the configuration of a machine, with these storages."""
        rows = [{"name": n, "type": "local", "base_path": str(machine.storage(n))} for n in storages]
        with self._at(machine):
            self.write_config(redis={"url": self.redis.start()}, storages=rows, **tables)

    async def work(self, machine: Machine, *patches: str) -> Role:
        """Start a worker on a machine."""
        with self._at(machine):
            return await self.spawn("worker", via=("-m", "tests.chaos.launch", ",".join(patches) or "-"))

    async def role(self, machine: Machine, name: str) -> Role:
        """Start another role on a machine."""
        with self._at(machine):
            return await self.spawn(name)

    async def mark(self) -> Store:
        """Write the markers of both disks, as if the storages had been used before."""
        store = await self.store()
        for machine, name in ((self.a, "nas"), (self.b, "disk")):
            (machine.storage(name) / MARK).write_text(f"mark-of-{name}\n")
            await store.workers.establish_storage(name, f"mark-of-{name}")
        return store

    @contextmanager
    def _at(self, machine: Machine) -> Iterator[None]:
        home, self.config_file = self.config_file, machine.folder / "config.toml"
        yield
        self.config_file = home

    # What the API reports.

    async def listed_are(self, workers: int) -> None:
        """Wait until `workers` workers are listed, ready or not."""

        async def there() -> bool:
            with suppress(httpx.TransportError):
                return len(await self.listed_workers()) == workers
            return False

        await until(there, what=f"{workers} workers")

    async def problem(self, name: str) -> str:
        """The problem of a storage; "" if it is ready."""
        listed = (await self.client.get("/api/v1/storages")).json()["storages"]
        (found,) = [each for each in listed if each["name"] == name]
        problem = str(found.get("error", ""))
        assert found["ready"] == (not problem)
        return problem

    async def missing(self, name: str, words: str) -> None:
        """Wait until the API reports `words` about a storage, and assert that `/readyz` repeats them."""

        async def told() -> bool:
            return words in await self.problem(name)

        await until(told, within=BACK, what=f"word that {name} is missing")
        ready = await self.client.get("/readyz")
        assert ready.status_code == 503
        assert words in ready.json()["message"]

    async def storage_is_ready(self, name: str) -> None:
        """Wait until no worker reports a problem of a storage. Each worker checks it separately."""

        async def told() -> bool:
            return await self.problem(name) == ""

        await until(told, within=BACK, what=f"word that {name} is ready")

    async def untouched(self, task_id: str) -> None:
        """Assert that no worker has started the task."""
        task = await self.task(task_id)
        assert (task["status"], task["attempts"]) == ("queued", 0)


@pytest.fixture
async def machines(tmp_path: Path) -> AsyncIterator[TwoMachines]:
    async with TwoMachines(tmp_path) as machines:
        yield machines
        machines.print_logs()  # shown if the test failed


async def test_each_file_is_saved_on_the_machine_of_its_storage(machines: TwoMachines) -> None:
    """The API's machine has no storage and no login."""
    api = await machines.spawn("api")
    machines.set_up(machines.a, "nas")
    machines.set_up(machines.b, "disk")
    first = [await machines.work(machines.a), await machines.work(machines.b)]
    await machines.wait_until_ready(2)
    for role in first:
        role.signal(signal.SIGTERM)
        await role.ended(10)
    assert machines.a.files("nas") == machines.b.files("disk") == [MARK]
    machines.set_up(machines.a, "nas", "disk")
    machines.set_up(machines.b, "nas", "disk")
    workers = [await machines.work(machines.a), await machines.work(machines.b)]
    await machines.wait_until_ready(2)

    tasks = [await machines.post(PDF, str(n), storage_name=("nas", "disk")[n % 2]) for n in range(10)]
    for task_id in tasks:
        task = await machines.ended(task_id)
        assert (task["status"], task["error"], task["attempts"]) == ("completed", "", 1)
    name = machines.sample(PDF).files[0].name
    assert machines.a.files("nas") == [MARK, *(f"{n}/{name}" for n in range(0, 10, 2))]
    assert machines.b.files("disk") == [MARK, *(f"{n}/{name}" for n in range(1, 10, 2))]
    for n in range(10):
        there = (machines.a.storage("nas"), machines.b.storage("disk"))[n % 2]
        assert sha256(there / str(n) / name) == machines.sample(PDF).files[0].sha256
    assert machines.a.files("disk") == machines.b.files("nas") == []
    for role, absent in zip(workers, ("disk", "nas"), strict=True):
        assert f"'{absent}' is not on this machine" in role.log.read_text()
    assert [await machines.problem(each) for each in ("nas", "disk")] == ["", ""]
    assert api.process.returncode is None
    assert not (machines.folder / "nas").exists()
    assert not (machines.folder / "disk").exists()
    assert not (machines.data_dir / "sessions").exists()


async def test_a_link_delivers_a_file_on_the_disk_of_another_machine(
    machines: TwoMachines, postgres_server: Postgres
) -> None:
    """Each machine has its own data_dir; they share Redis and the database. The API that is asked has neither
    the disk nor a login."""
    catalogue = {"url": postgres_server.url("postgres")}
    other = quiet_port()
    address = {"port": other, "internal_url": f"http://127.0.0.1:{other}"}
    machines.set_up(Machine(machines.folder), "disk", telegram=NO_TELEGRAM, catalogue=catalogue)
    machines.set_up(machines.b, "disk", catalogue=catalogue, api=address)
    await machines.mark()
    await machines.spawn("api")
    await machines.work(machines.b)
    await machines.wait_until_ready(1)
    task_id = await machines.post(PDF, storage_name="disk")
    assert (await machines.ended(task_id))["status"] == "completed"
    [file] = (await machines.client.get("/api/v1/files")).json()["files"]
    body = {"file_id": file["file_id"], "user_id": USER_ID}
    made = (await machines.client.post("/api/v1/links", json=body)).json()

    refused = await machines.client.get(made["url"])
    assert refused.status_code == 503
    assert "storage 'disk' is on the machine" in refused.json()["message"]

    await machines.role(machines.b, "api")

    async def delivered() -> bool:
        return (await machines.client.get(made["url"])).status_code == 200

    await until(delivered, within=30, what="delivery from the other machine")
    content = (await machines.client.get(made["url"])).content
    assert hashlib.sha256(content).hexdigest() == machines.sample(PDF).files[0].sha256
    part = await machines.client.get(made["url"], headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, content[10:20])


async def test_of_machines_that_start_simultaneously_one_gets_the_storage(machines: TwoMachines) -> None:
    """The storage has no marker yet, and each machine sees an empty folder: only one of them writes a
    marker."""
    store = await machines.store()
    for name in (f"storage-{n}" for n in range(10)):
        bases = [machines.folder / where / name for where in "abc"]
        storages = [LocalStorage(LocalOptions(name=name, type="local", base_path=each)) for each in bases]
        looks = await asyncio.gather(
            *(check_identity(store, each) for each in storages), return_exceptions=True
        )
        for each in storages:
            await each.close()
        (winner,) = [base for base, error in zip(bases, looks, strict=True) if error is None]
        assert sum(isinstance(error, StorageUnavailable) for error in looks) == 2
        assert [base for base in bases if base.exists()] == [winner]


async def test_a_disk_unmounted_while_the_worker_runs_is_noticed(machines: TwoMachines) -> None:
    await machines.mark()
    await machines.spawn("api")
    worker = await machines.work(machines.a)
    await machines.work(machines.b)
    await machines.wait_until_ready(2)
    done = await machines.post(ONE_MIB, "before", storage_name="nas")
    assert (await machines.ended(done))["status"] == "completed"

    mount, disk = machines.a.storage("nas"), machines.a.folder / "unmounted"
    mount.rename(disk)
    mount.mkdir()
    at_once = await machines.post(ONE_MIB, "at-once", storage_name="nas")
    await machines.missing("nas", "its folder has no marker; is the disk mounted?")
    later = await machines.post(ONE_MIB, "later", storage_name="nas")
    other = await machines.post(ONE_MIB, "other", storage_name="disk")
    assert (await machines.ended(other))["status"] == "completed", "the rest goes on"
    await machines.untouched(at_once)
    await machines.untouched(later)
    assert list(mount.iterdir()) == []

    mount.rmdir()
    disk.rename(mount)
    for task_id in (at_once, later):
        task = await machines.ended(task_id, BACK)
        assert (task["status"], task["attempts"]) == ("completed", 1)
    assert machines.a.files("nas") == [MARK, *(f"{n}/1MiB.bin" for n in ("at-once", "before", "later"))]
    await machines.storage_is_ready("nas")
    assert worker.process.returncode is None


@pytest.mark.parametrize("instead", ["empty", "nothing", "another"])
async def test_a_disk_mounted_after_the_worker_started_is_noticed(
    machines: TwoMachines, instead: str
) -> None:
    await machines.mark()
    mount, disk = machines.a.storage("nas"), machines.a.folder / "unmounted"
    mount.rename(disk)
    if instead != "nothing":
        mount.mkdir()
    if instead == "another":
        (mount / MARK).write_text("mark-of-another\n")
    before = machines.a.files("nas")
    await machines.spawn("api")
    await machines.work(machines.a)

    await machines.listed_are(1)
    words = "the marker of another storage" if instead == "another" else "no marker"
    task_id = await machines.post(ONE_MIB, storage_name="nas")
    await machines.missing(
        "nas", f"'nas' is not on this machine: its folder has {words}; is the disk mounted?"
    )
    await machines.untouched(task_id)
    assert machines.a.files("nas") == before
    assert mount.exists() == (instead != "nothing")

    if mount.exists():
        mount.rename(machines.a.folder / "mount point")
    disk.rename(mount)
    assert (await machines.ended(task_id, BACK))["status"] == "completed"
    assert machines.a.files("nas") == [MARK, "in/1MiB.bin"]


async def test_a_replaced_disk_is_refused_until_it_is_marked(machines: TwoMachines) -> None:
    """The message says what to write into the marker of the new disk, and following it works."""
    await machines.mark()
    (machines.a.storage("nas") / MARK).unlink()
    await machines.spawn("api")
    await machines.work(machines.a)
    await machines.work(machines.b)
    await machines.listed_are(2)
    await machines.missing("nas", "no mark")
    message = await machines.problem("nas")
    mark = message.partition(" write ")[2].partition(" into ")[0]
    (machines.a.storage("nas") / MARK).write_text(mark)
    task_id = await machines.post(ONE_MIB, storage_name="nas")
    assert (await machines.ended(task_id, BACK))["status"] == "completed"
    assert machines.a.files("nas") == [MARK, "in/1MiB.bin"]


async def test_a_machine_without_the_disk_does_not_clean_it_up(machines: TwoMachines) -> None:
    """The unfinished file of a canceled task of a dead worker is removed only by a machine with the disk."""
    store = await machines.mark()
    await machines.spawn("api")
    worker = await machines.work(machines.a, SHORT_LEASE)
    await machines.work(machines.b, SHORT_LEASE)
    await machines.wait_until_ready(2)
    task_id = await machines.post(SLOW, storage_name="nas")
    await machines.wait_for_download(task_id)
    await worker.kill()
    assert (await machines.cancel(task_id)).status_code == 200
    assert (await machines.ended(task_id))["status"] == "canceled"
    assert len(machines.a.files("nas")) == 2, "mark and part"
    # If the worker of b cleaned up wrongly, it would do so within its first two rounds.
    rounds = asyncio.get_running_loop().time() + 5

    async def had_its_rounds() -> bool:
        return asyncio.get_running_loop().time() > rounds

    await until(had_its_rounds, within=10, what="end of two rounds")
    assert await store.workers.leftovers("nas")
    await machines.work(machines.a, SHORT_LEASE)

    async def clean() -> bool:
        return machines.a.files("nas") == [MARK] and not await store.workers.leftovers("nas")

    await until(clean, within=20, what="clean storage")


async def test_a_user_login_is_used_on_one_machine(machines: TwoMachines) -> None:
    """A uses the login first. B refuses to use it, with a reason, until A has stopped and its lease has
    expired."""
    store = await machines.mark()
    for machine in (machines.a, machines.b):
        machines.set_up(machine, "nas", "disk", telegram={"token": ""})
    await machines.spawn("api")
    first = await machines.work(machines.a, SHORT_TIMEOUTS)
    await machines.listed_are(1)
    second = await machines.work(machines.b, SHORT_TIMEOUTS)

    async def accounts(role: Role) -> dict[str, str]:
        found = [each.accounts for each in await store.workers.living() if each.pid == role.pid]
        return {name: str(problem) for name, problem in found[0].items()} if found else {}

    async def refused() -> bool:
        return "in use on another machine" in (await accounts(second)).get("user", "")

    await until(refused, what="word of B that A has the login")
    assert "stop SaveAny there, or give this machine a separate login" in (await accounts(second))["user"]
    waits = await machines.post(ONE_MIB, storage_name="disk")
    for n in range(3):
        done = await machines.post(ONE_MIB, str(n), storage_name="nas")
        assert (await machines.ended(done))["status"] == "completed", "A goes on"
    assert await accounts(first) == {"user": ""}
    await machines.untouched(waits)
    assert machines.b.files("disk") == [MARK]

    first.signal(signal.SIGTERM)
    await first.ended(10)
    (lease,) = await store.db.do("KEYS", "sa:telegram:machine:*")
    assert 0 < await store.db.do("PTTL", lease) <= 90_000
    await store.db.do("PEXPIRE", lease, 1)
    assert (await machines.ended(waits, 30))["status"] == "completed"
    assert await accounts(second) == {"user": ""}
    assert machines.b.files("disk") == [MARK, "in/1MiB.bin"]
