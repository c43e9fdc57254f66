"""kill -9 of the process that reads a chat, of workers and of Valkey, while the chat is archived."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import suppress
from typing import Any

import httpx

from saveany.sandbox import samples
from saveany.sandbox.content import LiteralContent
from saveany.sandbox.model import Chat, StoredFile, StoredMessage
from tests.acceptance.promises.site import Role
from tests.chaos.halts import READER_STEPS, Halts
from tests.chaos.installation import ChaosInstallation, Plan
from tests.chaos.launch import HALTS, SHORT_TURN
from tests.chaos.result import ScenarioResult
from tests.fixtures.stack import STORAGE, USER_ID
from tests.fixtures.waiting import until

_FOLDER = "archive"
_SHORT_STEPS = ["after-note", "after-archive-task", "before-advance"]


class ArchiveInstallation(ChaosInstallation):
    """An installation whose API halts while it reads archives."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.halts = Halts(plan.folder / "halts")
        self.env = self.halts.env

    async def start_api_role(self) -> Role:
        """Start an API that halts."""
        return await self.spawn("api", via=self.patched)

    async def archive(self, chat: Chat) -> str:
        """Archive a chat. Returns the id of the archive."""
        body = {"chat": chat.username, "user_id": USER_ID, "storage": STORAGE, "dir_path": _FOLDER}
        reply = await self.client.post("/api/v1/archives", json=body)
        assert reply.status_code == httpx.codes.CREATED, reply.text
        return str(reply.json()["id"])

    async def shown(self, archive: str) -> dict[str, Any]:
        """The receipt of an archive; empty while there is no API."""
        with suppress(httpx.TransportError):
            reply = await self.client.get(f"/api/v1/archives/{archive}")
            if reply.is_success:
                found: dict[str, Any] = reply.json()
                return found
        return {}

    async def kill_reader(self, result: ScenarioResult, step: str) -> None:
        """Kill the API when it has reached a step of reading, and start another one."""
        await self.halts.reached(step, within=120)  # an API has to start before
        await self.api_role.kill()
        result.injected["reader kills"] += 1
        self.halts.release(step)
        self.api_role = await self.start_api_role()

    async def kill_worker(self, result: ScenarioResult) -> None:
        """Kill a worker, and start another one."""
        victim = self.plan.random.choice(self.roles)
        self.roles.remove(victim)
        await victim.kill()
        if self.plan.random.random() < 0.5:
            await self.state.claims.expire_leases(victim.worker_id)
        await self.add_worker()
        result.injected["worker kills"] += 1

    async def kill_redis(self, result: ScenarioResult) -> None:
        """Kill Valkey, which is started again."""
        os.kill(self.redis_pid(), signal.SIGKILL)
        result.injected["Redis kills"] += 1


async def run(plan: Plan) -> ScenarioResult:
    """Each kill of the reader happens at a step between reading a page and its end, and with it a worker is
    killed. Afterwards the receipt accounts for each message, and each file is there exactly once."""
    result = ScenarioResult("archive")
    async with ArchiveInstallation(plan) as installation:
        await installation.launch(2, HALTS, SHORT_TURN)
        chat, expected = _chat(installation, plan.pick(1_200, 12_345), plan.pick(200, 2_000))
        # Reading lasts longer than the kills, and pages are handled one by one.
        delay = "1" if plan.long else "0.3"
        installation.sandbox.faults.add(f"delay={delay},method=messages.getHistory")
        steps = [list(READER_STEPS)[n % len(READER_STEPS)] for n in range(20)] if plan.long else _SHORT_STEPS
        installation.halts.arm(steps[0])
        archive = await installation.archive(chat)
        for step, following in zip(steps, [*steps[1:], ""], strict=True):
            await installation.kill_reader(result, step)
            await installation.kill_worker(result)
            if step == "after-note":
                await installation.kill_redis(result)
            if following:
                installation.halts.arm(following)
        found: dict[str, Any] = {}

        async def is_complete() -> bool:
            nonlocal found
            found = await installation.shown(archive)
            return found.get("state") == "complete"

        await until(is_complete, within=plan.pick(120, 900), what=lambda: f"the end of the archive: {found}")
        _audit(installation, result, found, expected)
        reply = await installation.client.post(f"/api/v1/archives/{archive}/verify", json={"limit": 1000})
        result.check(not reply.json()["discrepancies"], f"verify has found {reply.text[:500]}")
    return result


def _chat(installation: ArchiveInstallation, messages: int, files: int) -> tuple[Chat, Counter[bytes]]:
    """A chat with files of several sizes at equal distances, some of them in albums; and their contents."""
    world, expected = installation.sandbox.world, Counter[bytes]()
    chat = world.add_chat(
        Chat(id=1600000003, title="Archive", username="chaos_archive", members={samples.USER.id})
    )
    for number in range(1, messages):
        if number * files // messages == (number + 1) * files // messages:
            world.send(chat, StoredMessage(id=0, text="words"))
            continue
        size = installation.plan.random.choice([9, 2_000, 70_000])
        content = LiteralContent(f"{number:08}".encode() + b"x" * size)
        file = StoredFile(
            id=3_000_000 + number, content=content, name="file.bin", dc=installation.sandbox.dc_id
        )
        world.send(chat, StoredMessage(id=0, file=world.add_file(file)))
        expected[content.data] += 1
    return chat, expected


def _audit(
    installation: ArchiveInstallation,
    result: ScenarioResult,
    found: dict[str, Any],
    expected: Counter[bytes],
) -> None:
    """Compare the receipt and the files in the storage with the chat."""
    counts = {name: count for name, count in found["counts"].items() if count}
    wanted = {"saved": expected.total(), "telegram_total": counts.get("telegram_total", 0)}
    wanted["without_media"] = wanted["telegram_total"] - wanted["saved"]
    result.check(counts == wanted and not found["unaccounted"], f"the receipt is {found}")
    paths = [path for path in (installation.storage_dir / _FOLDER).rglob("*") if path.is_file()]
    result.leftovers += [str(path) for path in paths if path.name.endswith(".partial")]
    saved = Counter(path.read_bytes() for path in paths if not path.name.endswith(".partial"))
    result.lost += [f"the file of message {each[:8].decode()}" for each in expected - saved]
    twice = {each: saved[each] for each in saved - expected}
    result.duplicated += [f"{each[:8]!r}: {count} times" for each, count in twice.items()]
    result.done += len(expected) - len(expected - saved)
    served = installation.sandbox.counters.bytes_by("file").values()
    total = sum(len(each) for each in expected)
    result.notes.append(f"{total / 1e6:.1f} MB, {(sum(served) - total) / 1e6:.1f} MB downloaded again")
