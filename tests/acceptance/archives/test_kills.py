"""An archive survives any number of kills of its reader and its workers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.acceptance.archives.harness import ArchiveHarness
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until

_KILLS = 4


async def test_case_02_kills_neither_lose_nor_repeat_files(tmp_path: Path) -> None:
    async with Stack(tmp_path) as stack:
        harness = ArchiveHarness(stack)
        harness.faults.clear()
        chat = harness.channel("Killed")
        for number in range(1200):
            if number % 10:
                harness.say(chat)
            else:
                harness.post(chat, size=20_000)
        archive = await harness.archive(chat, dir_path="killed")
        for kill in range(_KILLS):
            wanted = (kill + 1) * 100 // _KILLS
            await until(lambda wanted=wanted: len(stack.files()) >= wanted, within=120)  # type: ignore[misc]
            assert stack.api is not None
            await asyncio.gather(stack.kill(stack.api), stack.kill(stack.workers[0]))
            await stack.start_api()
            await stack.start_worker()
            await stack.ready()
        found = await harness.reaches(archive, within=180)
        assert found["counts"]["saved"] == 120
        assert found["unaccounted"] == 0
        names = harness.files("killed")
        assert len(names) == len({name.partition("_")[0] for name in names}) == 120
        contents = {(stack.storage_dir / "killed" / name).read_bytes()[:8] for name in names}
        assert len(contents) == 120
