"""Archives that follow their chat: new posts become tasks at once, and polling finds what was not pushed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.archives.harness import ArchiveHarness
from tests.fixtures.stack import STORAGE, USER_ID, Stack
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_new_posts_are_read_when_telegram_pushes_them(harness: ArchiveHarness) -> None:
    """Well before the next poll, of which there is one every ten seconds."""
    chat = harness.channel("Pushed")
    harness.post(chat)
    archive = await harness.archive(chat, dir_path="pushed", follow=True)
    await harness.reaches(archive, "following")
    polls = harness.requests("messages.getPeerDialogs")
    for number in range(2, 12):
        harness.post(chat)

        async def is_saved(number: int = number) -> bool:
            return (await harness.counts(archive)).get("saved") == number

        await until(is_saved)
    for _ in range(3):
        harness.post(chat, album=5)
    await until(lambda: len(harness.files("pushed")) == 14)
    assert harness.requests("messages.getPeerDialogs") - polls <= 5  # it would be 11 without pushes


async def test_posts_that_were_not_pushed_are_found_by_polling(harness: ArchiveHarness) -> None:
    """Pushes are lost, and of chats that an account has not joined there are none."""
    chats = {"lost": harness.channel("Lost"), "open": harness.channel("Open", members=set())}
    for folder, chat in chats.items():
        archive = await harness.archive(chat, dir_path=folder, follow=True)
        await harness.reaches(archive, "following")
    harness.faults.add("lose,method=updates")
    for chat in chats.values():
        harness.post(chat)
    await until(lambda: all(len(harness.files(folder)) == 1 for folder in chats))


async def test_posts_are_pushed_again_after_the_connection_was_lost(harness: ArchiveHarness) -> None:
    chat = harness.channel("Dropped")
    archive = await harness.archive(chat, dir_path="dropped", follow=True)
    await harness.reaches(archive, "following")
    harness.faults.add("drop,method=messages.getPeerDialogs,count=1")
    await harness.act(archive, "resume")  # polls now
    harness.post(chat)
    await until(lambda: len(harness.files("dropped")) == 1)
    polls = harness.requests("messages.getPeerDialogs")
    harness.post(chat)
    await until(lambda: len(harness.files("dropped")) == 2)
    assert harness.requests("messages.getPeerDialogs") <= polls + 1


async def test_posts_during_a_restart_are_saved_once(tmp_path: Path) -> None:
    async with Stack(tmp_path) as stack:
        harness = ArchiveHarness(stack)
        chat = harness.channel("Restarted")
        archive = await harness.archive(chat, dir_path="restarted", follow=True)
        await harness.reaches(archive, "following")
        assert stack.api is not None
        await stack.terminate(stack.api)
        for _ in range(3):
            harness.post(chat)
        await stack.start_api()
        harness.post(chat)
        await stack.ready()

        async def are_saved() -> bool:
            return (await harness.counts(archive)).get("saved") == 4

        await until(are_saved, within=60)
        assert len(harness.files("restarted")) == 4


async def test_case_13_edited_files_are_saved_beside_the_old_ones_if_wanted(harness: ArchiveHarness) -> None:
    chat = harness.channel("Edited")
    edited, reworded, waiting = (harness.post(chat) for _ in range(3))
    both = await harness.archive(chat, dir_path="both", follow=True, on_edit="add", on_duplicate="save")
    first = await harness.archive(chat, dir_path="first", follow=True, on_duplicate="save")
    for archive in (both, first):
        await harness.reaches(archive, "following")
    before = harness.files("both")
    harness.world.edit(chat, reworded, text="other words")
    harness.world.edit(chat, edited, file=harness.file(name="second.bin"))
    await until(lambda: "second.bin" in harness.files("both"))
    assert set(harness.files("both")) == {*before, "second.bin"}
    await harness.act(both, "pause")
    harness.world.edit(chat, edited, file=harness.file(name="third.bin"))
    await harness.act(both, "resume")  # edits that were not seen at the time are found, too
    await until(lambda: "third.bin" in harness.files("both"))
    await harness.reaches(both, "following")
    rows = {each["message"]: each for each in await harness.messages(both)}
    assert {each["outcome"] for each in rows.values()} == {"saved"}
    assert rows[edited]["edited_at"]
    assert not rows[waiting]["edited_at"]
    assert len(harness.files("both")) == 5
    assert harness.files("first") == before


async def test_each_saved_version_is_verified(harness: ArchiveHarness) -> None:
    chat = harness.channel("Versions")
    post = harness.post(chat, name="1.bin")
    archive = await harness.archive(chat, dir_path="versions", follow=True, on_edit="add")
    await harness.reaches(archive, "following")
    for name in ("2.bin", "3.bin"):
        harness.world.edit(chat, post, file=harness.file(name=name))
        await until(lambda name=name: name in harness.files("versions"))  # type: ignore[misc]
        await harness.reaches(archive, "following")
    assert (await harness.act(archive, "verify", {"hash": True}))["discrepancies"] == []
    folder = harness.stack.storage_dir / "versions"
    (folder / "1.bin").write_bytes(b"tampered!")  # of the same size
    (folder / "2.bin").unlink()
    found = await harness.act(archive, "verify", {"hash": True})
    assert found["checked"] == 1
    problems = [(each["path"], each["problem"], each["replaced"]) for each in found["discrepancies"]]
    assert sorted(problems) == [("versions/1.bin", "changed", True), ("versions/2.bin", "missing", True)]
    (folder / "3.bin").unlink()
    result = await harness.stack.saveany("archive", "verify", archive, "--repair")
    assert (result.code, "2 differ, 1 are saved again" in result.out) == (1, True), result
    assert f"message {post}, replaced by an edit: missing in the storage" in result.out
    await until(lambda: "3.bin" in harness.files("versions"))
    assert "2.bin" not in harness.files("versions")


async def test_a_file_that_is_replaced_before_its_download_is_saved_once(harness: ArchiveHarness) -> None:
    chat = harness.channel("Replaced")
    harness.say(chat)
    archive = await harness.archive(chat, dir_path="replaced", follow=True, on_edit="add")
    await harness.reaches(archive, "following")
    await harness.stack.request("POST", "/queue/pause")
    post = harness.post(chat)

    async def is_listed() -> bool:
        return (await harness.counts(archive)).get("pending") == 1

    await until(is_listed)
    harness.world.edit(chat, post, file=harness.file(name="new.bin"))
    await harness.stack.request("POST", "/queue/resume")
    await harness.reaches(archive, "following")
    await harness.act(archive, "resume")  # look for edits now
    await harness.reaches(archive, "following")
    assert harness.files("replaced") == ["new.bin"]


async def test_edits_of_private_chats_cannot_be_followed(harness: ArchiveHarness) -> None:
    body = {"chat": "me", "account": "user", "storage": STORAGE, "user_id": USER_ID, "on_edit": "add"}
    reply = await harness.stack.client.post("/api/v1/archives", json=body)
    assert reply.status_code == 400, reply.text
    assert "channels and supergroups" in reply.text
