"""An unexpected error ends no process: it is logged, and the step is repeated."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from saveany import checks
from saveany.bot import app
from saveany.config import Config
from saveany.embedded import EmbeddedRedis
from saveany.errors import ConfigError
from saveany.loops import run_for_each, until_done
from saveany.models import Status
from saveany.storage_set import StorageHandle, StorageSet
from saveany.store import Db, Store
from saveany.supervisor import Program, Supervisor
from saveany.telegram.accounts import Accounts
from saveany.webhooks.deliver import DeliveryQueue, DeliverySender, deliver_forever
from storages.base import UploadKey
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from tests.fixtures.waiting import until
from tests.integration.worker.conftest import JobHarness, within
from workers.janitor import Janitor


class UnexpectedError(Exception):
    """An error that no code handles explicitly."""


class FailsFirst:
    """A call that fails `times` times before it succeeds."""

    def __init__(self, work: Callable[..., Awaitable[Any]], times: int = 1) -> None:
        self._work = work
        self.left = times

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.left:
            self.left -= 1
            raise UnexpectedError("a mistake")
        return await self._work(*args, **kwargs)

    async def is_over(self) -> bool:
        """Whether it has failed `times` times."""
        return not self.left


async def test_each_runs_a_step_for_all_even_if_it_fails_for_some_of_them() -> None:
    done: list[int] = []

    async def step(number: int) -> None:
        if number % 2:
            raise UnexpectedError(str(number))
        done.append(number)

    with pytest.raises(ExceptionGroup, match="UnexpectedError: 1"):
        await run_for_each(range(5), step)
    assert done == [0, 2, 4]


async def test_until_done_raises_only_config_errors() -> None:
    async def setting() -> None:
        raise ExceptionGroup("", [UnexpectedError(), ExceptionGroup("", [ConfigError("no such thing")])])

    with pytest.raises(ConfigError, match="no such thing"):
        await within(until_done("x", setting, 0))

    async def works() -> str:
        return "at last"

    assert await within(until_done("x", FailsFirst(works, 3), 0)) == "at last"


class BrokenStorage(LocalStorage):
    """A storage with a bug."""

    async def discard(self, key: UploadKey, path: str) -> None:
        raise UnexpectedError


async def test_a_storage_with_a_bug_does_not_stop_the_cleanup_of_others(
    harness: JobHarness, tmp_path: Path
) -> None:
    """Leftovers of a dead worker are removed from one storage, and remain in the broken one."""
    broken = BrokenStorage(LocalOptions(name="broken", type="local", base_path=tmp_path / "broken"))
    storages = StorageSet([StorageHandle(harness.store, broken), harness.handle])
    janitor = Janitor.__new__(Janitor)
    janitor._store, janitor._storages = harness.store, storages
    for name in storages:
        await storages[name].probe()
        task_id = await harness.accept(storage=name)
        claim = await harness.store.claims.claim("dead", [f"tgfiles/{name}"])
        assert claim is not None
        harness.others["broken"] = storages["broken"]
        job = harness.job_of(claim)
        stuck = asyncio.Event()

        async def hold(_: str, offset: int, stuck: asyncio.Event = stuck) -> None:
            if offset:
                stuck.set()
                await asyncio.Event().wait()

        harness.source.step = hold
        running = asyncio.create_task(job.run())
        await within(stuck.wait())
        await harness.expire_lease(task_id)
        await harness.store.tasks.cancel(task_id, [])
        running.cancel()
        await asyncio.wait([running])
    assert len(harness.files()) == 2  # a part, and the marker
    with pytest.raises(ExceptionGroup, match="UnexpectedError"):
        await janitor.clean_storages()
    assert list(harness.files()) == [".saveany-storage"]
    assert await harness.store.workers.leftovers("local1") == []
    assert len(await harness.store.workers.leftovers("broken")) == 1


async def test_a_lease_is_renewed_after_an_unexpected_error(
    harness: JobHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise another worker would claim the running task."""
    monkeypatch.setattr("workers.lease._PUBLISH_SECONDS", 0.01)
    monkeypatch.setattr("workers.lease.RENEW_MS", 10)
    task_id = await harness.accept()
    claim = await harness.claim()
    renewed = asyncio.Event()
    fails = FailsFirst(claim.renew)

    async def renew() -> None:
        await fails()
        renewed.set()

    monkeypatch.setattr(type(claim), "renew", lambda _: renew())

    async def wait(_: str, offset: int) -> None:
        await within(renewed.wait())

    harness.source.step = wait
    await within(harness.job_of(claim).run())
    assert (await harness.task(task_id)).status is Status.COMPLETED


async def test_the_bot_logs_in_after_an_unexpected_error(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Talk:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        open = FailsFirst(lambda: asyncio.sleep(0), 2)

    monkeypatch.setattr(app, "BotClient", Talk)
    monkeypatch.setattr(app, "_FIRST_PAUSE", 0.0)
    assert isinstance(await within(app._log_in(Config(data_dir=tmp_path), store)), Talk)

    async def wrong(*_: Any) -> None:
        raise ConfigError("telegram.token")

    monkeypatch.setattr(Talk, "open", wrong)
    with pytest.raises(ConfigError):
        await within(app._log_in(Config(data_dir=tmp_path), store))


async def test_the_bot_starts_again_after_an_unexpected_error(
    valkey_url: str, db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def be(*_: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    fails = FailsFirst(be)

    async def in_a_group(*args: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(*args))

    monkeypatch.setattr(app, "_hold_lock_and_run", in_a_group)
    monkeypatch.setattr(app, "_POLL_SECONDS", 0.0)
    serving = asyncio.create_task(app._serve(Config(), valkey_url))
    await within(begun.wait())
    serving.cancel()
    await asyncio.wait([serving])


async def test_check_continues_after_an_unexpected_error(
    db: Db, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any) -> Any:
        raise UnexpectedError

    monkeypatch.setattr(Accounts, "start", fails)
    monkeypatch.setattr(checks, "_redis_offset", fails)
    table = {"name": "a", "type": "local", "base_path": tmp_path / "a"}
    config = Config.model_validate({"data_dir": tmp_path, "storages": [table], "api": {"enable": False}})
    found = {check.name: (check.status, check.detail) async for check in checks.services(config, db)}
    assert found["storage a"][0] == "ok"
    for name in ("telegram", "clock of redis"):
        assert found[name] == ("failed", "this is a bug in SaveAny, please report it: UnexpectedError")


async def test_a_program_that_cannot_be_started_does_not_stop_the_others(tmp_path: Path) -> None:
    trace = tmp_path / "runs"
    script = "import sys, time; open(sys.argv[1], 'w').close(); time.sleep(600)"
    odd = Program("odd", ["/bin/true", "\0"])
    supervisor = Supervisor([odd, Program("good", [sys.executable, "-c", script, str(trace)])])
    running = asyncio.create_task(supervisor.run())

    async def runs() -> bool:
        assert not running.done()
        return trace.exists()

    await until(runs)
    supervisor.stop()
    supervisor.stop()
    assert await within(running) == 0


async def test_the_embedded_server_is_supervised_after_an_unexpected_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.embedded._CHECK_S", 0.01)
    server = EmbeddedRedis(tmp_path)

    calls = 0

    def begin() -> bool:
        nonlocal calls
        calls += 1
        if calls <= 2:
            raise UnexpectedError
        return False

    monkeypatch.setattr(server, "_begin", begin)
    keeping = asyncio.create_task(server.keep())

    async def continues() -> bool:
        assert not keeping.done()
        return calls > 2

    await until(continues)
    keeping.cancel()


async def test_webhooks_are_delivered_after_an_unexpected_error() -> None:
    stop = asyncio.Event()

    class Box:
        async def settle(self, *_: Any) -> None: ...

        async def claim(self, *_: Any) -> list[Any]:
            await claims()
            return [object()]  # that is no delivery

    async def none() -> None:
        stop.set()

    claims = FailsFirst(none)
    await within(deliver_forever(cast(DeliveryQueue, Box()), cast(DeliverySender, None), stop))
    assert await claims.is_over()
