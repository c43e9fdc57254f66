"""A worker saves every form of Telegram media completely, also when Telegram announces a wrong size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, get_args

import pytest
import pytest_asyncio

from saveany.sandbox import samples
from saveany.sandbox.content import MIB, ContentStream, LiteralContent, sha256
from saveany.sandbox.documents import jpeg
from saveany.sandbox.model import Wrapper
from saveany.sandbox.world import Chat, Picture, StoredFile, StoredMessage, Wrapping
from tests.fixtures.stack import Stack

CHAT = 1600000005
SERVICE = ("chat photo", "suggested photo", "wallpaper")
_JPEG = jpeg(320, 240, 7)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("media")
    stack = Stack(folder, tables={"retry": 1})
    members = {samples.BOT.id, samples.USER.id}
    stack.sandbox.world.add_chat(Chat(id=CHAT, title="In", username="inbox", members=members))
    async with stack:
        yield stack


def photo(stack: Stack, content: bytes = _JPEG, declared: int | None = None) -> StoredFile:
    world = stack.sandbox.world
    small = Picture("s", 80, 60, LiteralContent(jpeg(80, 60, 3)))
    large = Picture("x", 320, 240, LiteralContent(content), declared)
    return world.add_file(
        StoredFile(id=world.new_id(), content=large.content, mime="image/jpeg", pictures=(small, large))
    )


def post(stack: Stack, **fields: Any) -> str:
    """Post a message; returns its link."""
    world = stack.sandbox.world
    return f"https://t.me/inbox/{world.send(world.chats[CHAT], StoredMessage(id=0, **fields)).id}"


def wrapped(stack: Stack, how: Wrapper, *files: StoredFile, **more: Any) -> str:
    return post(stack, service=how in SERVICE, wrapped=Wrapping(how=how, files=files, **more))


async def save(stack: Stack, link: str) -> dict[str, Any]:
    task: dict[str, Any] = await stack.ended((await stack.add(link))["task_id"])
    return task


async def is_saved(stack: Stack, link: str, *files: StoredFile) -> None:
    task = await save(stack, link)
    assert (task["status"], task["error"]) == ("completed", "")
    for item, file in zip(task["items"], files, strict=True):
        data = (stack.storage_dir / item["path"]).read_bytes()
        assert (data, item["size"]) == (file.content.read(0, file.content.size), len(data))
        assert item["sha256"] == sha256(file.content)


@pytest.mark.parametrize("how", get_args(Wrapper))
async def test_every_form_of_media_is_saved(stack: Stack, how: Wrapper) -> None:
    file = photo(stack)
    if how == "wallpaper":
        world = stack.sandbox.world
        file = world.add_file(
            StoredFile(id=world.new_id(), content=ContentStream(1, 70_001), mime="image/png")
        )
    await is_saved(stack, wrapped(stack, how, file), file)


async def test_paid_media_are_saved(stack: Stack) -> None:
    files = [photo(stack, jpeg(320, 240, shade)) for shade in (11, 12, 13)]
    link = wrapped(stack, "paid", *files, buyers=frozenset({samples.USER.id}))
    await is_saved(stack, link, *files)


async def test_unpaid_media_are_reported_as_locked(stack: Stack) -> None:
    task = await save(stack, wrapped(stack, "paid", photo(stack), buyers=frozenset()))
    assert task["status"] == "failed"
    assert "costs 50 Stars and has not been bought. Buy it in Telegram" in task["error"]


#: A JPEG of two mebibytes and a bit: what stands between start and end is a comment.
_LONG = _JPEG[:2] + (b"\xff\xfe\xff\xff" + b"." * 65_533) * 33 + _JPEG[2:]


@pytest.mark.parametrize("how", ["", "chat photo", "preview"])
@pytest.mark.parametrize(
    ("content", "declared"),
    [
        (_JPEG, len(_JPEG) + 1),
        (_JPEG, len(_JPEG) - 1),
        (_JPEG, 3 * MIB),
        (_JPEG + bytes(9), len(_JPEG)),
        (_LONG, 100),
        (_LONG, 8 * MIB),
    ],
)
async def test_a_complete_photo_is_saved_despite_a_wrong_size(
    stack: Stack, how: Any, content: bytes, declared: int
) -> None:
    file = photo(stack, content, declared)
    await is_saved(stack, wrapped(stack, how, file) if how else post(stack, file=file), file)


@pytest.mark.parametrize("declared", [len(_JPEG), len(_JPEG) + 5])
async def test_a_truncated_photo_is_not_saved(stack: Stack, declared: int) -> None:
    task = await save(stack, post(stack, file=photo(stack, _JPEG[:-9], declared)))
    assert task["status"] == "failed"
    assert "were expected" in task["error"]


async def test_a_document_must_have_its_announced_size(stack: Stack) -> None:
    """Unlike a photo, it has no end marker."""
    world = stack.sandbox.world
    file = world.add_file(StoredFile(id=world.new_id(), content=LiteralContent(_JPEG), name="a.jpg"))
    stack.sandbox.faults.add(f"short=9,file={file.id}")
    task = await save(stack, post(stack, file=file))
    assert (task["status"], "were expected" in task["error"]) == ("failed", True)
