"""Links: to files that were saved, and to files that were only sent to the bot."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from saveany.sandbox import samples
from tests.acceptance.bot.conftest import BOT, OTHER, contains, has_button
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until
from tests.sandbox.clients import Person, named, person

DATA = b"all of it" * 1000
URL = re.compile(r"http://127\.0\.0\.1:\d+(/dl/\S+)")


def paths(message: Any) -> list[str]:
    """The paths of the links in a message."""
    return URL.findall(message.raw_text)


async def get(stack: Stack, path: str) -> httpx.Response:
    """What anybody gets who has the link."""
    async with httpx.AsyncClient(base_url=stack.url, trust_env=False, timeout=60) as anybody:
        return await anybody.get(path)


async def download(stack: Stack, path: str) -> bytes:
    reply = await get(stack, path)
    assert reply.status_code == httpx.codes.OK, reply.text
    return reply.content


async def replies(stack: Stack, path: str, status: int) -> None:
    """Wait until the API replies with this status: it knows a link for two seconds."""

    async def is_so() -> bool:
        return (await get(stack, path)).status_code == status

    await until(is_so, what=f"status {status}")


def is_link(message: Any) -> bool:
    return bool(paths(message))


async def tokens(stack: Stack, user: int) -> list[str]:
    """The tokens of all links of a user."""
    page = await stack.client.get("/api/v1/links", params={"user_id": user, "limit": 200})
    return [link["token"] for link in page.json()["links"]]


async def test_a_file_sent_to_the_bot_gets_a_link_without_being_saved(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, named(DATA, "notes.txt"))
    card = await anna.receives(has_button("local1"))
    await anna.press(card, "Link")
    link = await anna.receives(is_link)
    assert "notes.txt" in link.raw_text
    assert "9.0 kB" in link.raw_text
    assert "works until" in link.raw_text
    assert "api.public_url" in link.raw_text  # nobody else may reach the address
    [path] = paths(link)
    assert path.endswith("/notes.txt")
    assert await download(stack, path) == DATA
    assert [name for name in stack.files() if not name.startswith(".")] == []
    await anna.press(card, "Link")  # again: the same link
    again = await anna.receives(lambda message: is_link(message) and message.id > link.id)
    assert paths(again) == [path]
    await anna.press(card, "local1")  # and it can still be saved
    await anna.receives(contains("Saved"))
    assert (stack.storage_dir / "notes.txt").read_bytes() == DATA


async def test_a_saved_file_has_a_link(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, "https://t.me/channel/123")
    await anna.press(await anna.receives(has_button("local1")), "local1")
    done = await anna.receives(contains("Saved"))
    await anna.press(done, "Link")
    link = await anna.receives(is_link)
    assert await download(stack, paths(link)[0]) == (stack.storage_dir / "file.pdf").read_bytes()


async def test_several_files_have_a_link_each(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, "/save @channel 130-143")
    await anna.press(await anna.receives(has_button("local1")), "local1")
    done = await anna.receives(lambda message: contains("14 of 14")(message) and has_button("Link")(message))
    await anna.press(done, "Link")
    first = await anna.receives(is_link)
    assert len(paths(first)) == 10
    await anna.press(first, "More links")
    rest = await anna.receives(lambda message: is_link(message) and message.id > first.id)
    assert len(paths(rest)) == 4
    saved = [(stack.storage_dir / name).read_bytes() for name in stack.files() if not name.startswith(".")]
    found = [await download(stack, path) for path in paths(first) + paths(rest)]
    assert sorted(found) == sorted(saved)


async def test_an_album_has_a_link_for_each_file_without_being_saved(stack: Stack, anna: Person) -> None:
    messages = await anna.client.get_messages("channel", ids=[131, 132, 133, 134])
    await anna.forward(BOT, messages)
    await anna.press(await anna.receives(has_button("local1")), "Link")
    link = await anna.receives(is_link)
    contents = {await anna.client.download_media(message, bytes) for message in messages}
    assert {await download(stack, path) for path in paths(link)} == contents
    assert len(contents) == 4


async def test_a_link_is_revoked_reactivated_and_deleted(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, named(DATA, "notes.txt"))
    await anna.press(await anna.receives(has_button("local1")), "Link")
    link = await anna.receives(is_link)
    [path] = paths(link)
    await anna.press(link, "Revoke")
    revoked = await anna.receives(has_button("Reactivate"))
    assert revoked.id == link.id
    assert "revoked" in revoked.raw_text
    await replies(stack, path, httpx.codes.GONE)
    seen = len(anna.received)
    await anna.press(revoked, "Reactivate")
    await until(lambda: len(anna.received) > seen)
    active = anna.received[-1]
    assert (active.id, paths(active)) == (link.id, [path])
    await replies(stack, path, httpx.codes.OK)
    assert await download(stack, path) == DATA
    await anna.press(active, "Delete")
    await anna.receives(contains("was deleted"))
    await replies(stack, path, httpx.codes.NOT_FOUND)


async def test_an_expired_link_is_extended(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, named(DATA, "notes.txt"))
    await anna.press(await anna.receives(has_button("local1")), "Link")
    link = await anna.receives(is_link)
    [path] = paths(link)
    token = path.split("/")[2]
    await stack.client.patch(f"/api/v1/links/{token}", json={"ttl": 3600})
    await anna.press(link, "Extend")

    async def days_left() -> int:
        shown = (await stack.client.get(f"/api/v1/links/{token}")).json()
        return (datetime.fromisoformat(shown["expires_at"]) - datetime.now(UTC)).days

    assert await days_left() == 29


async def test_users_list_only_their_own_links(stack: Stack, anna: Person) -> None:
    for token in await tokens(stack, samples.PERSON.id):
        await stack.client.delete(f"/api/v1/links/{token}")
    await anna.send(BOT, "/links")
    await anna.receives(contains("no links yet"))
    for number in range(12):
        target = {"telegram_url": f"https://t.me/channel/{123 + number}", "user_id": samples.PERSON.id}
        assert (await stack.client.post("/api/v1/links", json=target)).status_code == 201
    await anna.send(BOT, "/links")
    listed = await anna.receives(has_button("Older"))
    assert "10. " in listed.raw_text
    await anna.press(listed, "Older")
    older = await anna.receives(contains("file.pdf"))
    assert older.id == listed.id
    assert "2. " in older.raw_text
    assert "3. " not in older.raw_text
    await anna.press(older, "🔗 2")
    link = await anna.receives(is_link)
    token = paths(link)[0].split("/")[2]
    async with person(stack.sandbox, OTHER) as bert:
        await bert.send(BOT, "/links")
        await bert.receives(contains("no links yet"))
    await anna.press(link, "My links")
    await anna.receives(has_button("Older"))
    assert token in await tokens(stack, samples.PERSON.id)


async def test_admins_list_the_links_of_all_users(stack: Stack, anna: Person) -> None:
    target = {"telegram_url": "https://t.me/channel/125", "user_id": OTHER}
    made = (await stack.client.post("/api/v1/links", json=target)).json()
    await anna.send(BOT, "/links all")
    await anna.receives(contains(made["name"]))
    async with person(stack.sandbox, OTHER) as bert:
        await bert.send(BOT, "/links all")
        listed = await bert.receives(contains(made["name"]))
        assert "2. " not in listed.raw_text
    await stack.client.delete(f"/api/v1/links/{made['token']}")


@pytest.mark.parametrize("text", ["/save @channel 123-125", "https://telegra.ph/a-page"])
async def test_only_single_messages_have_links_without_being_saved(
    stack: Stack, anna: Person, text: str
) -> None:
    await anna.send(BOT, text)
    card = await anna.receives(has_button("local1"))
    assert not has_button("Link")(card)
