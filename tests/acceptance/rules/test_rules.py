"""Tasks of a user with defaults, a name template and rules, saved in two storages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from saveany.planning.rules import parse_rule
from saveany.planning.templates import validate_template
from saveany.preferences import Preferences
from saveany.store import Store, connect
from tests.fixtures import site
from tests.fixtures.site import Page, Site
from tests.fixtures.stack import STORAGE, USER_ID, Stack

PDF, SMALL, ALBUM, VIDEO = (f"https://t.me/channel/{number}" for number in (123, 124, 131, 142))
RULES = (
    "name=\\.pdf$ -> nas:Papers/{{ year }}",
    "album=yes text=harbour -> :{{ folder }}/{{ album }}",
    "type=video chat=@channel size>1MB -> nas:Films",
)


@pytest.fixture
async def web() -> AsyncIterator[Site]:
    async with site.serve() as web:
        yield web


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    storages = [
        {"name": STORAGE, "type": "local", "base_path": str(tmp_path / "files")},
        {"name": "nas", "type": "local", "base_path": str(tmp_path / "nas")},
    ]
    async with Stack(tmp_path, tables={"storages": storages, "users": [{"id": USER_ID}, {"id": 7}]}) as stack:
        store = Store(connect(stack.redis_url))
        prefs = Preferences(
            folder="mine",
            template=validate_template("{{ msgid }} {{ name }}"),
            rules=tuple(map(parse_rule, RULES)),
        )
        await store.preferences.change(USER_ID, lambda _: prefs)
        await store.db.close()
        yield stack


async def saved(stack: Stack, link: str, **fields: Any) -> list[str]:
    """Destinations of the files of a task without storage and folder, unless `fields` have them."""
    body = {"url": link, "user_id": USER_ID, **fields}
    reply = await stack.client.post("/api/v1/tasks", json=body)
    assert reply.status_code == 201, reply.text
    task = await stack.ended(reply.json()["task_id"])
    assert (task["status"], task["error"]) == ("completed", "")
    for item in task["items"]:
        root = stack.folder / ("nas" if item.get("storage", task["storage"]) == "nas" else "files")
        assert (root / item["path"]).stat().st_size == item["size"]
    return [f"{item.get('storage', '')}:{item['path']}" for item in task["items"]]


async def test_rules_and_template_apply_to_missing_fields(stack: Stack) -> None:
    assert await saved(stack, PDF) == ["nas:Papers/2024/123 file.pdf"]
    assert await saved(stack, SMALL) == [":mine/124 one-byte.bin"]
    assert await saved(stack, VIDEO) == ["nas:Films/142 video_2024-01-02_05-26-05_142.mp4"]
    assert await saved(stack, SMALL, user_id=7) == [":one-byte.bin"], "others have their own"


async def test_an_album_is_saved_in_its_own_folder(stack: Stack) -> None:
    folder = ":mine/Four views of the harbour"
    assert await saved(stack, ALBUM) == [
        f"{folder}/131 Four views of the harbour.jpg",
        f"{folder}/132 photo_2024-01-02_05-16-05_132.jpg",
        f"{folder}/133 photo_2024-01-02_05-17-05_133.jpg",
        f"{folder}/134 video_2024-01-02_05-18-05_134.mp4",
    ]


async def test_fields_of_the_request_take_precedence(stack: Stack) -> None:
    assert await saved(stack, PDF, storage_name=STORAGE) == [":Papers/2024/123 file.pdf"]
    assert await saved(stack, PDF, dir_path="/") == ["nas:123 file.pdf"]
    assert await saved(stack, PDF, dir_path="x", storage_name=STORAGE) == [":x/123 file.pdf"]
    assert await saved(stack, PDF, filename="a.pdf") == ["nas:Papers/2024/a.pdf"]
    typed = {"type": "tgfiles", "path": "y", "params": {"message_links": [SMALL, VIDEO]}}
    reply = await stack.client.post("/api/v1/tasks", json=typed)
    task = await stack.ended(reply.json()["task_id"])
    assert [item["path"] for item in task["items"]] == [
        "y/124 one-byte.bin",
        "y/142 video_2024-01-02_05-26-05_142.mp4",
    ]


async def test_a_web_file_is_placed_by_the_name_given_by_its_server(stack: Stack, web: Site) -> None:
    web.pages["/x"] = Page(b"%PDF", headers={"Content-Disposition": 'attachment; filename="paper.pdf"'})
    (place,) = await saved(stack, web.url("/x"))
    assert place.startswith("nas:Papers/2")
    assert place.endswith("/paper.pdf")
