"""Links in the catalogue, on both engines."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, update

from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.link_models import Link, LinkTarget, State, TelegramMedia
from saveany.catalogue.tables import files
from saveany.errors import InvalidInput
from saveany.ids import TOKEN_LENGTH, new_token
from saveany.store import Store
from tests.integration.catalogue.test_recording import item, planned


@pytest.fixture
async def file_id(store: Store, any_catalogue: Catalogue) -> str:
    """A file that was saved."""
    claimed = await planned(store, item(0))
    await claimed.item(item(0))
    await any_catalogue.recorder.catch_up()
    async with any_catalogue._database.read() as connection:
        return str(await connection.scalar(select(files.c.id)))


async def make(catalogue: Catalogue, target: LinkTarget, user_id: int = 1, **options: Any) -> Link:
    return await catalogue.links.make(user_id, target, "film.mp4", **options)


async def state(catalogue: Catalogue, token: str) -> State:
    link = await catalogue.links.get(token)
    assert link is not None
    return link.state


async def test_a_link_leads_to_its_file(any_catalogue: Catalogue, file_id: str) -> None:
    made = await make(any_catalogue, LinkTarget(file_id=file_id), inline=True)
    found = await any_catalogue.links.get(made.token)
    assert found == made
    assert made.file is not None
    assert (made.file.id, made.file.name, made.file.size) == (file_id, "file0.mp4", 7)
    assert (made.state, made.inline, made.downloads) == (State.ACTIVE, True, 0)
    assert len(made.token) == TOKEN_LENGTH


async def test_a_link_to_a_message_keeps_what_finds_it(any_catalogue: Catalogue) -> None:
    media = TelegramMedia({"chat": -100, "message": 5, "only": ["me"]}, 7, "video/mp4")
    made = await make(any_catalogue, LinkTarget(media=media))
    assert made.media == media
    assert made.file is None


@pytest.mark.parametrize(
    "token", ["", "x", "a" * TOKEN_LENGTH, "é" * TOKEN_LENGTH, "\0" * TOKEN_LENGTH, "x" * 10_000]
)
async def test_an_unknown_token_leads_nowhere(any_catalogue: Catalogue, token: str) -> None:
    assert await any_catalogue.links.get(token) is None


def test_tokens_are_random() -> None:
    """SB10."""
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert len(set("".join(tokens))) == 62


async def test_why_a_link_does_not_work(store: Store, any_catalogue: Catalogue, file_id: str) -> None:
    now, target = await store.db.time_ms(), LinkTarget(file_id=file_id)
    links = any_catalogue.links
    expired = (await make(any_catalogue, target, expires_at=now - 1)).token
    later = (await make(any_catalogue, target, expires_at=now + 60_000)).token
    revoked = (await make(any_catalogue, target)).token
    await links.change(revoked, {"revoked_at": now})
    used = (await make(any_catalogue, target, max_downloads=1)).token
    assert await links.count_download(used)
    states = [await state(any_catalogue, token) for token in (expired, later, revoked, used)]
    assert states == [State.EXPIRED, State.ACTIVE, State.REVOKED, State.USED_UP]
    await links.change(revoked, {"revoked_at": None})
    assert await state(any_catalogue, revoked) is State.ACTIVE
    async with any_catalogue._database.write() as connection:
        await connection.execute(update(files).values(deleted_at=now))
    assert await state(any_catalogue, later) is State.GONE


async def test_a_link_is_downloaded_exactly_as_often_as_it_may_be(
    any_catalogue: Catalogue, file_id: str
) -> None:
    token = (await make(any_catalogue, LinkTarget(file_id=file_id), max_downloads=5)).token
    counted = await asyncio.gather(*(any_catalogue.links.count_download(token) for _ in range(12)))
    assert sorted(counted) == [False] * 7 + [True] * 5
    link = await any_catalogue.links.get(token)
    assert link is not None
    assert link.downloads == 5
    assert link.used_at is not None


async def test_bytes_are_counted_for_the_link_and_its_file(any_catalogue: Catalogue, file_id: str) -> None:
    one, two = [(await make(any_catalogue, LinkTarget(file_id=file_id))).token for _ in range(2)]
    await any_catalogue.links.count_bytes({one: 5, two: 7, "unknown": 1})
    await any_catalogue.links.count_bytes({one: 1 << 40})
    found = await any_catalogue.links.get_many([one, two])
    assert [link.bytes_sent for link in found] == [5 + (1 << 40), 7]
    async with any_catalogue._database.read() as connection:
        assert await connection.scalar(select(files.c.bytes_sent)) == 12 + (1 << 40)


async def test_pages_of_links(any_catalogue: Catalogue, file_id: str) -> None:
    target = LinkTarget(file_id=file_id)
    made = [await make(any_catalogue, target, user_id=n % 2) for n in range(7)]
    seen: list[Link] = []
    cursor = ""
    while True:
        page = await any_catalogue.links.page(1, 2, cursor)
        seen += page.links
        if not (cursor := page.cursor):
            break
    assert {link.token for link in seen} == {link.token for link in made if link.user_id == 1}
    assert [link.made_at for link in seen] == sorted((link.made_at for link in seen), reverse=True)
    assert len((await any_catalogue.links.page(None, 100)).links) == 7
    with pytest.raises(InvalidInput):
        await any_catalogue.links.page(cursor="nonsense")


async def test_a_removed_link_is_unknown(any_catalogue: Catalogue, file_id: str) -> None:
    token = (await make(any_catalogue, LinkTarget(file_id=file_id))).token
    assert await any_catalogue.links.remove(token)
    assert not await any_catalogue.links.remove(token)
    assert await any_catalogue.links.get(token) is None
    assert not await any_catalogue.links.count_download(token)


async def test_a_link_that_can_be_given_again_is_found(
    store: Store, any_catalogue: Catalogue, file_id: str
) -> None:
    now, links = await store.db.time_ms(), any_catalogue.links
    target, media = LinkTarget(file_id=file_id), TelegramMedia({"chat": 5, "message": 6}, 7, "video/mp4")
    await make(any_catalogue, target, password="hash")
    await make(any_catalogue, target, max_downloads=1)
    await make(any_catalogue, target, user_id=2)
    await make(any_catalogue, target, expires_at=now + 1000)
    revoked = await make(any_catalogue, target)
    await links.change(revoked.token, {"revoked_at": now})
    assert await links.find(1, target, now + 2000) is None
    assert await links.find(1, target, None) is None
    lasting = await make(any_catalogue, target, expires_at=now + 3000)
    assert await links.find(1, target, now + 2000) == lasting
    assert await links.find(1, target, None) is None
    assert await links.find(1, LinkTarget(media=media), None) is None
    unsaved = await make(any_catalogue, LinkTarget(media=media))
    assert await links.find(1, LinkTarget(media=media), now + 2000) == unsaved
    assert await links.find(1, LinkTarget(folder_id=1), None) is None


async def test_a_page_begins_after_a_link(any_catalogue: Catalogue, file_id: str) -> None:
    made = [await make(any_catalogue, LinkTarget(file_id=file_id)) for _ in range(3)]
    newest = [link.token for link in (await any_catalogue.links.page(1)).links]
    assert sorted(newest) == sorted(link.token for link in made)
    second = await any_catalogue.links.get(newest[1])
    assert second is not None
    page = await any_catalogue.links.page(1, 10, any_catalogue.links.cursor_after(second))
    assert [link.token for link in page.links] == newest[2:]


async def test_files_of_a_task_are_listed_by_item(store: Store, any_catalogue: Catalogue) -> None:
    claimed = await planned(store, *(item(n) for n in range(4)))
    for n in (3, 0, 2):
        await claimed.item(item(n))
    found = await any_catalogue.files.of_task(claimed.task.id, 1, 10)
    assert [(file.item, file.name) for file in found] == [(2, "file2.mp4"), (3, "file3.mp4")]
    assert [file.item for file in await any_catalogue.files.of_task(claimed.task.id, 0, 1)] == [0]
