"""A worker that lives keeps its tasks, even if it was started under the name of one that has died."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from saveany.errors import StoreUnavailable
from saveany.ids import new_id
from saveany.models import TaskSpec
from saveany.store import Claim, Store
from workers.life_locks import LifeLock
from workers.main import worker_id
from workers.reconcile import Reconciler

NAME = "host-1"
_VICTIM = """
import pathlib, sys
from workers.life_locks import LifeLock
from workers.main import worker_id
LifeLock(pathlib.Path(sys.argv[1]), worker_id()).acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def name(monkeypatch: pytest.MonkeyPatch) -> None:
    """All workers of this machine are started under one name."""
    monkeypatch.setenv("SAVEANY_WORKER_ID", NAME)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The locks of this machine: one, of a worker that was killed."""
    command = [sys.executable, "-c", _VICTIM, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"held\n"
        victim.kill()
    return tmp_path


async def claim(store: Store, worker: str) -> Claim:
    spec = TaskSpec(id=new_id(), type="tgfiles", links=("https://t.me/c/1",), user_id=1, storage="local1")
    assert await store.tasks.accept(spec, "title")
    claimed = await store.claims.claim(worker, [spec.lane])
    assert claimed is not None
    return claimed


async def ignore(claim: Claim) -> None:
    pass


async def test_a_lock_that_could_not_be_used_at_once(store: Store, folder: Path) -> None:
    living, later = worker_id(), worker_id()
    lock = LifeLock(folder, living)
    lock.acquire()

    async def redis_is_down(worker: str) -> None:
        raise StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        await lock.for_each_dead_worker(redis_is_down)
    claimed = await claim(store, living)
    await LifeLock(folder, later).for_each_dead_worker(Reconciler(store, ignore).recover_worker)
    await claimed.renew()  # it raises `Fenced` if the task was taken


async def test_two_workers_that_start_together(store: Store, folder: Path) -> None:
    """One of them begins to work while the other still recovers the tasks of a dead one."""
    first, second = worker_id(), worker_id()
    locks = [LifeLock(folder, worker) for worker in (first, second)]
    for lock in locks:
        lock.acquire()
    recover, found, go = Reconciler(store, ignore).recover_worker, asyncio.Event(), asyncio.Event()

    async def slowly(worker: str) -> None:
        found.set()
        await go.wait()
        await recover(worker)

    recovering = asyncio.create_task(locks[1].for_each_dead_worker(slowly))
    await asyncio.wait_for(found.wait(), 20)
    await locks[0].for_each_dead_worker(recover)
    claimed = await claim(store, first)
    go.set()
    await recovering
    await claimed.renew()
