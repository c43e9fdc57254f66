"""The links that `file_uploaded` webhooks name: their tokens come from the worker, with the saved file."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select

from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.link_models import State
from saveany.catalogue.tables import links
from saveany.ids import TOKEN_LENGTH, new_token
from saveany.models import ItemStatus, Status
from saveany.store import Store
from tests.integration.catalogue.test_recording import item, planned

DAY_MS = 24 * 3600 * 1000


async def count(catalogue: Catalogue) -> int:
    async with catalogue._database.read() as connection:
        return int(await connection.scalar(select(func.count()).select_from(links)) or 0)


async def record_again(store: Store, catalogue: Catalogue, task_id: str) -> None:
    await store.db.do("XADD", "sa:record", "*", "task", task_id, "items", "*")
    await catalogue.recorder.catch_up()


async def test_a_link_works_as_soon_as_its_file_is_saved(store: Store, any_catalogue: Catalogue) -> None:
    token = new_token()
    claimed = await planned(store, item(0), item(1))
    await claimed.item(item(0, link=token))
    link = await any_catalogue.links.get(token)  # nobody has recorded anything before
    assert link is not None
    assert link.file is not None
    assert (link.name, link.file.name, link.user_id) == ("file0.mp4", "file0.mp4", 1)
    assert (link.state, link.expires_at) == (State.ACTIVE, None)


async def test_it_works_as_long_as_other_links(store: Store, tmp_path: Path, patient: None) -> None:
    token = new_token()
    catalogue = Catalogue("", tmp_path, store, link_days=3)
    claimed = await planned(store, item(0))
    await claimed.finish(Status.COMPLETED, items=[item(0, link=token)])
    link = await catalogue.links.get(token)
    await catalogue.close()
    assert link is not None
    assert link.expires_at == link.made_at + 3 * DAY_MS


async def test_recording_again_makes_no_second_link(store: Store, any_catalogue: Catalogue) -> None:
    token = new_token()
    claimed = await planned(store, item(0))
    await claimed.finish(Status.COMPLETED, items=[item(0, link=token)])
    for _ in range(3):
        await record_again(store, any_catalogue, claimed.task.id)
    assert await count(any_catalogue) == 1


async def test_a_link_that_was_removed_does_not_return(store: Store, any_catalogue: Catalogue) -> None:
    token = new_token()
    claimed = await planned(store, item(0))
    await claimed.finish(Status.COMPLETED, items=[item(0, link=token)])
    assert await any_catalogue.links.get(token)
    assert await any_catalogue.links.remove(token)
    await record_again(store, any_catalogue, claimed.task.id)
    assert await any_catalogue.links.get(token) is None


async def test_a_file_that_is_saved_again_has_its_link_again(store: Store, any_catalogue: Catalogue) -> None:
    token = new_token()
    claimed = await planned(store, item(0), item(1))
    await claimed.item(item(0, link=token))
    assert await any_catalogue.links.get(token)
    await claimed.item(item(0, ItemStatus.QUEUED, link=token, undone=1))
    await any_catalogue.recorder.catch_up()
    assert await any_catalogue.links.get(token) is None
    await claimed.item(item(0, link=token, undone=1))
    assert await any_catalogue.links.get(token)
    assert await count(any_catalogue) == 1


@pytest.mark.parametrize("token", ["", "x" * 21, "x" * TOKEN_LENGTH])
async def test_no_other_token_leads_anywhere(store: Store, any_catalogue: Catalogue, token: str) -> None:
    claimed = await planned(store, item(0))
    await claimed.finish(Status.COMPLETED, items=[item(0)])
    assert await any_catalogue.links.get(token) is None
    assert await count(any_catalogue) == 0
