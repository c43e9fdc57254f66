"""Files that a task has sent to a chat are delivered from there, and their messages deleted with them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from saveany.catalogue import FileFilter, SavedFile
from saveany.catalogue.catalogue import Catalogue
from saveany.sandbox import Sandbox
from saveany.sandbox.world import Chat
from saveany.store import Store
from saveany.telegram.accounts import Accounts
from storages.base import Storage
from tests.integration.telegram.chat_harness import ChatHarness
from tests.integration.worker.conftest import FilesSource
from workers.removals import remove_copies

FILES = {name: random.Random(name).randbytes(300_001) for name in ("a.bin", "b.bin")}


@pytest.fixture
async def harness(store: Store, tmp_path: Path, accounts: Accounts, inbox: Chat) -> ChatHarness:
    harness = ChatHarness(store, tmp_path / "files", accounts, inbox, FilesSource(dict(FILES)))
    await harness.worker()
    await harness.post()
    await harness.run()
    assert harness.sent_names == list(FILES)
    await harness.worker()  # another one, which has sent nothing
    return harness


def chat_of(harness: ChatHarness) -> Storage:
    return harness.others["chat"].storage


async def file(catalogue: Catalogue, name: str) -> SavedFile:
    (found,) = (await catalogue.files.page(FileFilter(q=name))).files
    return found


async def remove(harness: ChatHarness, catalogue: Catalogue) -> None:
    """What API and worker do about deleted files."""
    await catalogue.trash.sweep()
    await remove_copies(harness.store.removals, chat_of(harness))
    await catalogue.trash.sweep()


async def test_the_messages_of_a_file_that_leaves_the_trash_are_deleted(
    harness: ChatHarness, any_catalogue: Catalogue
) -> None:
    deleted = await file(any_catalogue, "a.bin")
    linked = await any_catalogue.links.file_of(deleted.id)
    assert linked
    assert linked.reference
    assert [each["message"] for each in linked.reference["files"]] == [harness.sent[0].id]
    await any_catalogue.trash.put(deleted.id)
    await remove(harness, any_catalogue)
    assert harness.sent_names == ["a.bin", "b.bin"], "it can still be restored"
    await any_catalogue.trash.put(deleted.id, now=True)
    await remove(harness, any_catalogue)
    assert harness.sent_names == ["b.bin"]
    assert not await any_catalogue.trash.sweep()
    await file(any_catalogue, "b.bin")


async def test_files_of_one_name_have_messages_of_their_own(
    harness: ChatHarness, catalogue: Catalogue
) -> None:
    """Messages have no paths, so a second file at the same path does not keep the message of the first."""
    first = await file(catalogue, "a.bin")
    await harness.post()
    await harness.run()
    assert harness.sent_names == ["a.bin", "b.bin"] * 2
    await catalogue.trash.put(first.id, now=True)
    await remove(harness, catalogue)
    assert harness.sent_names == ["b.bin", "a.bin", "b.bin"]


async def test_a_message_that_telegram_does_not_delete_stays(
    harness: ChatHarness, catalogue: Catalogue, sandbox: Sandbox
) -> None:
    """It is tried once: a right that is missing does not come back by asking every few seconds."""
    fault = sandbox.faults.add("error=403:MESSAGE_DELETE_FORBIDDEN,method=channels.deleteMessages")
    await catalogue.trash.put((await file(catalogue, "a.bin")).id, now=True)
    await remove(harness, catalogue)
    assert fault.fired == 1
    assert harness.sent_names == ["a.bin", "b.bin"]
    assert not await catalogue.trash.sweep()


async def test_an_outage_is_waited_out(
    harness: ChatHarness, catalogue: Catalogue, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.store.removals.LOCK_MS", 1)
    fault = sandbox.faults.add("flood_wait=600,method=channels.deleteMessages,count=1")
    await catalogue.trash.put((await file(catalogue, "a.bin")).id, now=True)
    await remove(harness, catalogue)
    assert fault.fired
    assert harness.sent_names == ["a.bin", "b.bin"]
    await remove(harness, catalogue)
    assert harness.sent_names == ["b.bin"]
