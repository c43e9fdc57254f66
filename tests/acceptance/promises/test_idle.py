"""A worker without tasks waits for events, and does not ask for them again and again."""

from __future__ import annotations

from tests.acceptance.promises.site import Site
from tests.fixtures.waiting import until


async def test_an_idle_worker_sends_few_commands(site: Site) -> None:
    await site.start(1)
    store = await site.store()
    await store.db.do("CONFIG", "RESETSTAT")

    async def calls(command: str) -> int:
        stats = await store.db.info("commandstats")
        return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))

    async def has_beaten_three_times() -> bool:
        return await calls("sadd") >= 3

    await until(has_beaten_three_times, within=60)
    assert await calls("evalsha") <= 25
    assert await calls("blpop") <= 15
    assert await calls("hget") <= 15
