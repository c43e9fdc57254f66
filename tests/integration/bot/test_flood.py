"""A flood wait on the bot's edits delays nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from saveany.bot.progress import ProgressUpdater
from saveany.catalogue.catalogue import Catalogue
from saveany.sandbox import samples
from saveany.service import TaskReader
from saveany.store import Store, connect
from saveany.store.progress_messages import ProgressMessage
from saveany.telegram.bot_client import BotClient
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until
from tests.integration.telegram.conftest import table
from tests.sandbox.clients import Person, person

FLOOD = 30
BOT, ANNA = "sandbox_bot", samples.PERSON.id


@asynccontextmanager
async def talking(stack: Stack, store: Store) -> AsyncIterator[tuple[BotClient, Person]]:
    talk = BotClient(table(stack.sandbox, bot=True), stack.folder / "bot", store.telegram)
    async with person(stack.sandbox) as anna:
        await talk.open()
        await anna.send(BOT, "hello")
        yield talk, anna
        await talk.close()


@asynccontextmanager
async def running(live: ProgressUpdater) -> AsyncIterator[None]:
    task = asyncio.create_task(live.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_flood_wait_on_edits_delays_no_download(tmp_path: Path) -> None:
    async with Stack(tmp_path) as stack:
        store = Store(connect(stack.redis_url))
        async with (
            talking(stack, store) as (talk, anna),
            running(
                live := ProgressUpdater(
                    store, TaskReader(store, Catalogue("", tmp_path / "data", store)), talk
                )
            ),
        ):
            flood = stack.sandbox.faults.add(f"flood_wait={FLOOD},method=messages.editMessage")
            await stack.client.post("/api/v1/queue/pause")
            task_id = (await stack.add("https://t.me/channel/123"))["task_id"]
            number = await talk.send_text(ANNA, "…")
            await live.follow(
                ProgressMessage(chat=ANNA, message=number, task_id=task_id, user_id=ANNA, language="en")
            )

            async def waits() -> bool:
                return flood.fired == 1

            await until(waits)
            began = time.monotonic()
            await stack.client.post("/api/v1/queue/resume")
            assert (await stack.ended(task_id))["status"] == "completed"
            assert time.monotonic() - began < FLOOD / 2
            assert flood.fired == 1
            assert (await anna.client.get_messages(BOT, ids=number)).text == "…"
            assert len(await store.progress_messages.all()) == 1  # its end will be shown
        await store.db.close()
