"""`file_uploaded`, as seed 000 has it: one webhook for each saved file, with the token of a link."""

from __future__ import annotations

import json
from typing import Any

from saveany.catalogue.catalogue import Catalogue
from saveany.models import Status
from saveany.webhooks.builder import DeliveryBuilder
from tests.integration.worker.conftest import JobHarness, content, within

FILES = {name: content(name) for name in ("a.bin", "b.bin", "c.bin")}


def announce(harness: JobHarness, *events: str, url: str = "http://127.0.0.1:9/hook") -> None:
    harness.announce = DeliveryBuilder(url, events, harness.store.claims.time_ms)


async def bodies(harness: JobHarness, task_id: str) -> list[dict[str, Any]]:
    deliveries = await harness.store.outbox.of_task(task_id)
    found = [json.loads(each.body) for each in deliveries if each.event == "file_uploaded"]
    return sorted(found, key=lambda body: str(body["filename"]))


async def test_each_saved_file_is_announced_with_a_link(harness: JobHarness, catalogue: Catalogue) -> None:
    announce(harness, "file_uploaded")
    harness.source.files = FILES
    task_id = await harness.accept(user_id=77, path="films")
    await within((await harness.job()).run())
    found = await bodies(harness, task_id)
    assert [(body["event"], body["user_id"], body["filename"]) for body in found] == [
        ("file_uploaded", 77, name) for name in FILES
    ]
    for body in found:
        link = await catalogue.links.get(body["file_id"])
        assert link is not None
        assert link.file is not None
        assert (link.user_id, link.file.path) == (77, f"films/{body['filename']}")


async def test_no_link_is_made_if_nobody_is_told(harness: JobHarness, catalogue: Catalogue) -> None:
    announce(harness, "completed")
    task_id = await harness.accept()
    await within((await harness.job()).run())
    assert [item.link for item in await harness.store.tasks.all_items(task_id)] == [""]
    assert (await catalogue.links.page()).links == []


async def test_both_receivers_are_told_the_same_link(harness: JobHarness) -> None:
    announce(harness, "file_uploaded")
    task_id = await harness.accept(webhook_url="http://127.0.0.1:9/other")
    await within((await harness.job()).run())
    one, other = await bodies(harness, task_id)
    assert one == other
    assert one["file_id"]


async def test_a_retry_announces_only_the_files_it_saves(harness: JobHarness, catalogue: Catalogue) -> None:
    announce(harness, "file_uploaded")
    broken = True

    async def fail(name: str, offset: int) -> None:
        if broken and name == "b.bin":
            raise OSError("no")

    harness.source.files, harness.source.step = FILES, fail
    task_id = await harness.accept()
    await within((await harness.job()).run())
    assert (await harness.task(task_id)).status is Status.FAILED
    first = {body["filename"]: body["file_id"] for body in await bodies(harness, task_id)}
    broken = False
    assert await harness.store.tasks.retry(await harness.task(task_id))
    await within((await harness.job()).run())
    both = {body["filename"]: body["file_id"] for body in await bodies(harness, task_id)}
    assert list(both) == list(FILES)
    assert first.items() <= both.items()
    assert len(await bodies(harness, task_id)) == 3
    tokens = {link.token for link in (await catalogue.links.page()).links}
    assert tokens <= set(both.values())
    for token in both.values():
        assert await catalogue.links.get(token)
