"""Problems that are found only while a task runs: the task fails with an error that says what is wrong and
what to do, and nothing outside the storage is touched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from saveany.sandbox.content import ContentStream
from saveany.sandbox.samples import CHANNEL
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from tests.acceptance.promises.site import ONE_MIB, PDF, Site

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOSED = 1500000099


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with Site(tmp_path_factory.mktemp("bad")) as site:
        world = site.sandbox.world
        closed = world.add_chat(Chat(id=CLOSED, title="Of others"))
        world.post(closed, StoredMessage(id=5, file=world.files[1001]))
        await site.start(1)
        yield site


@pytest.mark.parametrize(
    ("link", "says"),
    [
        ("https://t.me/channel/144", "The message has no file: only photos, videos, documents"),
        ("https://t.me/channel/199", "Message 199 does not exist: it was deleted, or the link is wrong"),
        (f"https://t.me/c/{CLOSED}/5", "Add the bot to the chat, or log in a user who is a member"),
        ("https://t.me/c/1500000077/5", "Add the bot to the chat, or log in a user who is a member"),
        ("https://t.me/nobody_has_this_name/5", "@nobody_has_this_name"),
        ("https://t.me/sandbox_user/5", "is a person or a bot, not a channel or group; check the link"),
        ("https://t.me/channel/123?comment=99", "Message 99 does not exist"),
        ("https://t.me/protected/123", "Message 123 does not exist"),
    ],
    ids=[
        "text-only",
        "no-such-message",
        "chat-of-others",
        "no-such-chat",
        "no-such-name",
        "name-of-a-person",
        "no-such-comment",
        "no-such-message-in-a-protected-chat",
    ],
)
async def test_a_dead_link_fails_with_the_reason(site: Site, link: str, says: str) -> None:
    before = site.files()
    task = await site.ended(await site.post(link))
    assert (task["status"], task["attempts"]) == ("failed", 1)
    assert says in task["error"]
    assert "Traceback" not in task["error"]
    assert site.files() == before


def write(site: Site, number: int, file: StoredFile) -> None:
    """Post a message with a file in the sample channel."""
    world = site.sandbox.world
    world.post(world.chats[CHANNEL], StoredMessage(id=number, file=world.add_file(file)))


async def test_a_message_deleted_during_the_transfer_fails_the_task(site: Site) -> None:
    world = site.sandbox.world
    file = world.add_file(
        StoredFile(id=9001, content=ContentStream(9001, 8 << 20), name="gone.bin", dc=site.sandbox.dc_id)
    )
    world.post(world.chats[CHANNEL], StoredMessage(id=901, file=file))
    site.sandbox.faults.add("rate=4000000,file=9001")
    site.sandbox.faults.add(f"delete,file=9001,after={2 << 20},count=1")
    before = site.files()
    task = await site.ended(await site.post("https://t.me/channel/901"))
    assert task["status"] == "failed"
    assert "Message 901 does not exist" in task["error"]
    assert site.files() == before


async def test_a_folder_that_is_a_symbolic_link_is_refused(site: Site, tmp_path: Path) -> None:
    (site.storage_dir / "escape").symlink_to(tmp_path)
    before = site.files()
    for folder in ("escape", "escape/deeper"):
        task = await site.ended(await site.post(PDF, folder))
        assert task["status"] == "failed"
        assert "is a symbolic link; none is followed inside a storage" in task["error"]
    assert list(tmp_path.iterdir()) == []
    assert site.files() == before


@pytest.mark.parametrize("policy", ["rename", "overwrite", "skip"])
async def test_a_name_that_is_a_symbolic_link_is_not_followed(
    site: Site, tmp_path: Path, policy: str
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("not yours")
    folder = site.storage_dir / f"linked-{policy}"
    folder.mkdir()
    (folder / "1MiB.bin").symlink_to(outside)
    task = await site.ended(await site.post(ONE_MIB, folder.name, on_conflict=policy))
    assert task["status"] == "completed"
    assert outside.read_text() == "not yours"
    taken = sorted(name for name in site.files() if name.startswith(folder.name))
    if policy == "rename":
        assert taken == [f"{folder.name}/1MiB.bin", f"{folder.name}/1MiB_1.bin"]
        site.check_content(f"{folder.name}/1MiB_1.bin", ONE_MIB)
    elif policy == "overwrite":
        assert not (folder / "1MiB.bin").is_symlink()
        site.check_content(f"{folder.name}/1MiB.bin", ONE_MIB)
    else:
        assert (folder / "1MiB.bin").is_symlink()
        assert task["items"][0]["status"] == "skipped"


async def test_a_folder_that_is_a_file_is_refused(site: Site) -> None:
    (site.storage_dir / "plain").write_text("a file")
    task = await site.ended(await site.post(PDF, "plain/deeper"))
    assert task["status"] == "failed"
    assert "is a file; a folder is needed there" in task["error"]
    assert (site.storage_dir / "plain").read_text() == "a file"


async def test_a_name_that_is_a_folder_is_refused(site: Site) -> None:
    (site.storage_dir / "dir" / "file.pdf").mkdir(parents=True)
    task = await site.ended(await site.post(PDF, "dir", on_conflict="overwrite"))
    assert task["status"] == "failed"
    assert "a folder" in task["error"]
    assert list((site.storage_dir / "dir").iterdir()) == [site.storage_dir / "dir/file.pdf"]


async def test_a_full_disk_is_reported(site: Site) -> None:
    write(
        site,
        902,
        StoredFile(id=9002, content=ContentStream(9002, 1 << 60), name="huge.bin", dc=site.sandbox.dc_id),
    )
    before = site.files()
    task = await site.ended(await site.post("https://t.me/channel/902"))
    assert task["status"] == "failed"
    assert "are free" in task["error"] or "free some space" in task["error"]
    assert site.files() == before
