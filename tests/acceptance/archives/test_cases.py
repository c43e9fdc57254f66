"""The acceptance cases of archives, by their numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from saveany.sandbox import samples
from saveany.sandbox.content import ContentStream
from saveany.sandbox.model import Group, StoredFile, Wrapping
from saveany.sandbox.world import StoredMessage
from saveany.store import connect
from tests.acceptance.archives.harness import ArchiveHarness, day
from tests.fixtures.stack import STORAGE, USER_ID
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_case_03_and_04_a_second_run_reads_only_what_is_new(harness: ArchiveHarness) -> None:
    chat = harness.channel("Followed")
    for _ in range(5):
        harness.post(chat)
    archive = await harness.archive(chat, dir_path="followed", follow=True)
    await harness.reaches(archive, "following")
    before = harness.requests("messages.getHistory"), harness.requests("upload.getFile")
    paused = await harness.act(archive, "pause")
    assert paused["state"] == "paused"
    await harness.act(archive, "resume")
    await harness.reaches(archive, "following")
    assert harness.requests("messages.getHistory") - before[0] <= 2
    assert harness.requests("upload.getFile") == before[1]
    for _ in range(50):
        harness.post(chat)
    await harness.act(archive, "resume")

    async def all_saved() -> bool:
        return (await harness.counts(archive)).get("saved") == 55

    await until(all_saved, within=60)
    assert len(harness.files("followed")) == 55


async def test_case_05_a_file_deleted_from_the_storage_is_fetched_again_only_when_asked(
    harness: ArchiveHarness,
) -> None:
    chat = harness.channel("Deleted")
    for name in ("a.bin", "b.bin", "c.bin"):
        harness.post(chat, name=name)
    archive = await harness.archive(chat, dir_path="deleted", on_duplicate="save")
    await harness.reaches(archive)
    (harness.stack.storage_dir / "deleted/b.bin").unlink()
    (harness.stack.storage_dir / "deleted/c.bin").write_bytes(b"tampered")
    assert (await harness.act(archive, "retry"))["messages"] == 0
    result = await harness.stack.saveany("archive", "verify", archive)
    assert result.code == 1
    assert "missing in the storage (local1:/deleted/b.bin)" in result.out
    assert "has changed in the storage (local1:/deleted/c.bin)" in result.out
    assert "3 messages verified, 2 differ, 0 are saved again" in result.out
    result = await harness.stack.saveany("archive", "verify", archive, "--repair")
    assert (result.code, "2 are saved again" in result.out) == (0, True), result
    await harness.reaches(archive)
    assert "b.bin" in harness.files("deleted")
    assert (await harness.stack.saveany("archive", "verify", archive)).code == 0


async def test_case_06_one_document_in_three_chats_is_downloaded_once(harness: ArchiveHarness) -> None:
    file = harness.file(70_000)
    before = harness.counters.bytes(file=file.id)
    counts = []
    for _ in range(3):
        chat = harness.channel("Same")
        harness.post(chat, file=file)
        archive = await harness.archive(chat, dir_path="same")
        counts.append((await harness.reaches(archive))["counts"])
    assert [each["saved"] for each in counts] == [1, 0, 0]
    assert [each["duplicate"] for each in counts] == [0, 1, 1]
    assert harness.counters.bytes(file=file.id) - before == 70_000
    assert len(harness.files("same")) == 1


async def test_case_07_and_08_gaps_and_short_pages_are_no_end(harness: ArchiveHarness) -> None:
    chat = harness.channel("Gaps")
    for number in range(800):
        if number % 10:
            harness.say(chat)
        else:
            harness.post(chat)
    harness.world.delete(chat, *range(100, 420))
    chat.box.last_id += 5000
    for _ in range(110):
        harness.post(chat)
    chat.withheld.update(sorted(chat.messages)[250:253])
    withheld = len(chat.withheld)
    with_files = sum(bool(m.file) and m.id not in chat.withheld for m in chat.messages.values())
    archive = await harness.archive(chat, dir_path="gaps")
    found = await harness.reaches(archive)
    assert found["counts"]["saved"] == with_files
    assert found["counts"]["telegram_total"] == len(chat.messages)
    assert found["unaccounted"] == withheld
    shown = await harness.stack.saveany("archive", "show", archive)
    assert f"{withheld} messages are counted by Telegram, but withheld" in shown.out


async def test_case_09_a_flood_wait_is_shown_and_repeats_only_its_page(harness: ArchiveHarness) -> None:
    chat = harness.channel("Flood")
    harness.say(chat, 1500)
    harness.post(chat)
    before = harness.requests("messages.getHistory")
    harness.faults.add("flood_wait=12,method=messages.getHistory,every=9,count=1")
    archive = await harness.archive(chat, dir_path="flood")
    found = await harness.reaches(archive, "blocked")
    assert "12" in found["problem"]
    await harness.reaches(archive)
    assert harness.requests("messages.getHistory") - before <= 1 + 17 + 1
    assert (await harness.counts(archive))["saved"] == 1


async def test_case_11_a_file_that_cannot_be_read_is_reported_and_retried_alone(
    harness: ArchiveHarness,
) -> None:
    chat = harness.channel("Broken")
    harness.post(chat)
    broken = harness.post(chat)
    harness.post(chat)
    file = chat.messages[broken].files[0]
    fault = harness.faults.add(f"error=400:LOCATION_NOT_AVAILABLE,file={file.id}")
    archive = await harness.archive(chat, dir_path="broken")
    found = await harness.reaches(archive)
    assert (found["counts"]["saved"], found["counts"]["failed"]) == (2, 1)
    (failed,) = await harness.messages(archive, "failed")
    assert failed["message"] == broken
    assert failed["reason"]
    assert f"failed: message {broken}: " in (await harness.stack.saveany("archive", "show", archive)).out
    harness.faults.remove(fault)
    before = harness.requests("upload.getFile")
    result = await harness.stack.saveany("archive", "retry", archive)
    assert result.out == "1 messages are saved again\n"
    found = await harness.reaches(archive)
    assert (found["counts"]["saved"], found["counts"]["failed"]) == (3, 0)
    assert harness.requests("upload.getFile") - before == 1


async def test_case_12_a_message_deleted_before_its_download_is_gone(harness: ArchiveHarness) -> None:
    chat = harness.channel("Gone")
    kept = harness.post(chat)
    gone = harness.post(chat)
    await harness.stack.client.post("/api/v1/queue/pause")
    archive = await harness.archive(chat, dir_path="gone")

    async def is_listed() -> bool:
        return (await harness.counts(archive)).get("pending") == 2

    await until(is_listed)
    harness.world.delete(chat, gone)
    await harness.stack.client.post("/api/v1/queue/resume")
    found = await harness.reaches(archive)
    assert (found["counts"]["saved"], found["counts"]["gone"], found["counts"]["failed"]) == (1, 1, 0)
    assert [each["message"] for each in await harness.messages(archive, "saved")] == [kept]


async def test_case_14_a_migrated_group_is_one_archive_with_its_older_history_first(
    harness: ArchiveHarness,
) -> None:
    world = harness.world
    group = world.private_chats.add_group(Group(id=900_000_001, title="Club", members={samples.USER.id}))
    older = world.private_chats.side(world.accounts[samples.USER.id], group)
    for number in range(299):
        if number % 30:
            harness.say(older)
        else:
            harness.post(older)
    chat = harness.channel("Club", broadcast=False)
    world.migrate(group, chat)
    for number in range(399):
        if number % 40:
            harness.say(chat)
        else:
            harness.post(chat)
    archive = await harness.archive(chat, dir_path="club")
    found = await harness.reaches(archive)
    assert found["notice"] == ""
    assert (found["counts"]["telegram_total"], found["counts"]["saved"]) == (699, 20)
    assert found["unaccounted"] == 0
    tasks = {each["chat"]: each["task_id"] for each in await harness.messages(archive)}
    assert len(tasks) == 2
    assert tasks[-group.id] < tasks[-(10**12) - chat.id]
    assert len(harness.files("club")) == 20


async def test_case_15_an_account_that_was_never_in_the_older_group_says_so(harness: ArchiveHarness) -> None:
    world = harness.world
    group = world.private_chats.add_group(Group(id=900_000_002, title="Old", members={samples.PERSON.id}))
    chat = harness.channel("New", broadcast=False)
    world.migrate(group, chat)
    harness.post(chat)
    archive = await harness.archive(chat, dir_path="new")
    found = await harness.reaches(archive)
    assert found["counts"]["saved"] == 1
    assert "from before this group became a supergroup are missing" in found["notice"]


async def test_case_16_topics_have_folders_that_a_new_title_does_not_split(harness: ArchiveHarness) -> None:
    chat = harness.channel("Forum", broadcast=False, forum=True)
    topics = []
    for number in range(130):
        title = "Films" if number in (3, 4) else f"Topic {number}"
        opened = StoredMessage(id=0, service=True, opens_topic=title)
        topics.append(harness.world.send(chat, opened).id)
    for topic in topics:
        harness.post(chat, thread=topic, topic=True)
    harness.post(chat)
    archive = await harness.archive(chat, dir_path="forum", follow=True)
    await harness.reaches(archive, "following")
    folders = {each.partition("/")[0] for each in harness.files("forum")}
    assert len(folders) == 131
    assert {"General", "Films", f"Films ({topics[4]})", "Topic 129"} <= folders
    chat.messages[topics[3]] = replace(chat.messages[topics[3]], opens_topic="Cinema")
    harness.post(chat, thread=topics[3], topic=True, name="late.bin")
    await harness.act(archive, "resume")
    await until(lambda: "Films/late.bin" in harness.files("forum"))


async def test_case_19_unbought_and_expired_files_are_counted_by_their_cause(harness: ArchiveHarness) -> None:
    chat = harness.channel("Causes")
    paid = Wrapping(how="paid", files=(harness.file(),), buyers=frozenset())
    locked = harness.world.send(chat, StoredMessage(id=0, wrapped=paid)).id
    expired = harness.world.send(chat, StoredMessage(id=0, expired=True)).id
    harness.post(chat, size=500)
    archive = await harness.archive(chat, dir_path="causes", filter={"max_size": 100})
    found = await harness.reaches(archive)
    assert {name: n for name, n in found["counts"].items() if n} == {
        "telegram_total": 4,
        "without_media": 1,
        "locked": 1,
        "expired": 1,
        "filtered": 1,
    }
    reasons = {each["message"]: each["reason"] for each in await harness.messages(archive)}
    assert "has not been bought" in reasons[locked]
    assert "expired" in reasons[expired]


async def test_case_20_numbers_sizes_and_space_are_known_before_the_start(harness: ArchiveHarness) -> None:
    chat = harness.channel("Estimated")
    harness.say(chat, 20)
    for _ in range(60):
        harness.post(chat, size=1000)
    body = {"chat": chat.username, "user_id": USER_ID, "storage": STORAGE}
    reply = await harness.stack.client.post("/api/v1/archives/estimate", json=body)
    assert reply.status_code == 200, reply.text
    found = reply.json()
    assert (found["messages"], found["bytes"]) == (81, 60_000)
    assert found["kinds"] == {"document": {"files": 60, "bytes": 60_000}}
    assert found["first_at"] == found["last_at"]
    assert found["free_bytes"] > 0
    huge = harness.channel("Huge")
    content = ContentStream(1, 1 << 60)
    file = harness.world.add_file(StoredFile(id=777_777, content=content, name="huge.bin"))
    harness.post(huge, file=file)
    result = await harness.stack.saveany("archive", "add", huge.username, "--storage", STORAGE)
    assert (result.code, "not enough space" in result.err) == (1, True), result
    assert "2 messages: 1 document, about" in result.err


async def test_case_21_a_date_range_of_a_million_messages_reads_only_its_pages(
    harness: ArchiveHarness,
) -> None:
    chat = harness.channel("Dates")
    files = {number: harness.file() for number in range(500_050, 500_500, 100)}

    def make(number: int) -> StoredMessage:
        date = day(0) + timedelta(minutes=number)
        return StoredMessage(id=number, text="words", file=files.get(number), date=date)

    harness.world.fill(chat, 1_000_000, make)
    first, end = make(500_001).date, make(500_391).date
    before = harness.requests("messages.getHistory")
    archive = await harness.archive(
        chat,
        dir_path="dates",
        start=first.isoformat(timespec="seconds"),
        until=end.isoformat(timespec="seconds"),
    )
    found = await harness.reaches(archive)
    assert (found["counts"]["saved"], found["counts"]["without_media"]) == (4, 386)
    assert harness.requests("messages.getHistory") - before <= 4 + 2


async def test_case_22_albums_across_pages_stay_whole(
    harness: ArchiveHarness,
) -> None:
    chat = harness.channel("Albums")
    harness.say(chat, 94)
    for number in range(10):
        harness.post(chat, text="holiday" if number == 6 else "", album=4711)
    harness.post(chat, text="other")
    archive = await harness.archive(chat, dir_path="albums", filter={"name": "holiday"})
    found = await harness.reaches(archive)
    assert (found["counts"]["saved"], found["counts"]["filtered"]) == (10, 1)
    assert len({each["task_id"] for each in await harness.messages(archive, "saved")}) == 1


async def test_saved_messages_and_private_chats_are_archived(harness: ArchiveHarness) -> None:
    world = harness.world
    me, person = world.accounts[samples.USER.id], world.accounts[samples.PERSON.id]
    for side in (world.saved(me), world.private_chats.side(me, person)):
        for _ in range(3):
            harness.post(side)
    for chat, folder in (("me", "own"), (str(person.id), "person")):
        archive = await harness.archive(chat, dir_path=folder, account="user", on_duplicate="save")
        found = await harness.reaches(archive)
        assert (found["counts"]["saved"], found["unaccounted"]) == (3, 0), found
        assert len(harness.files(folder)) == 3


async def test_private_chats_need_an_account_by_name(harness: ArchiveHarness) -> None:
    reply = await harness.stack.client.post("/api/v1/archives", json={"chat": "me", "storage": STORAGE})
    assert reply.status_code == 400, reply.text


async def test_a_removed_archive_keeps_its_files(harness: ArchiveHarness) -> None:
    chat = harness.channel("Removed")
    harness.post(chat)
    archive = await harness.archive(chat, dir_path="removed")
    again = {"chat": chat.username, "storage": STORAGE, "dir_path": "removed"}
    assert (await harness.stack.client.post("/api/v1/archives", json=again)).status_code == 409
    await harness.reaches(archive)
    result = await harness.stack.saveany("archive", "remove", archive)
    assert result.out == "archive deleted; its files stay\n"
    assert (await harness.stack.client.get(f"/api/v1/archives/{archive}")).status_code == 404
    assert len(harness.files("removed")) == 1


async def test_a_user_has_as_many_archives_as_the_limit_permits(harness: ArchiveHarness) -> None:
    api, chat = harness.stack.client, harness.channel("Limited")
    await harness.reaches(await harness.archive(chat, dir_path="complete"))
    await harness.archive(chat, dir_path="following", follow=True)
    another = {"chat": chat.username, "storage": STORAGE, "dir_path": "another"}
    try:
        await api.put("/api/v1/limits", json={"archives_per_user": 1})
        refused = await api.post("/api/v1/archives", json=another)
        assert (refused.status_code, "archives_per_user" in refused.json()["message"]) == (409, True)
        number = len((await api.get("/api/v1/archives")).json()["archives"])
        await api.put("/api/v1/limits", json={"archives_per_user": number})
        assert (await api.post("/api/v1/archives", json=another)).status_code == 201, "one is complete"
    finally:
        await api.put("/api/v1/limits", json={})


async def test_tasks_of_an_archive_leave_redis_when_they_are_recorded(harness: ArchiveHarness) -> None:
    chat = harness.channel("Flat")
    for _ in range(20):
        harness.post(chat)
    archive = await harness.archive(chat, dir_path="flat")
    await harness.reaches(archive)
    (first, *_) = await harness.messages(archive)
    task = await harness.stack.task(first["task_id"])
    assert task["status"] == "completed"

    async def has_left() -> bool:
        return not await _exists(harness, first["task_id"])

    await until(has_left)


async def _exists(harness: ArchiveHarness, task_id: str) -> bool:
    db = connect(harness.stack.redis_url)
    try:
        return bool(await db.do("EXISTS", f"sa:task:{task_id}"))
    finally:
        await db.close()


async def test_a_link_to_a_chat_is_no_task(harness: ArchiveHarness) -> None:
    body = {"telegram_url": "https://t.me/channel", "storage_name": STORAGE, "user_id": USER_ID}
    reply = await harness.stack.client.post("/api/v1/tasks", json=body)
    assert reply.status_code == 400
    assert "POST /api/v1/archives" in reply.text


async def test_the_end_of_an_archive_is_an_event(harness: ArchiveHarness) -> None:
    chat = harness.channel("Events")
    harness.post(chat)
    async with harness.stack.client.stream("GET", "/api/v1/events") as stream:
        archive = await harness.archive(chat, dir_path="events")
        lines = stream.aiter_lines()
        async for line in lines:
            if line == "event: archive_complete":
                data = json.loads((await anext(lines)).removeprefix("data: "))
                if data["archive_id"] == archive:  # those of earlier tests may end only now
                    break
    assert data["title"] == "Events"

    async def is_noted() -> bool:  # after the event
        return bool((await harness.show(archive))["completed_at"])

    await until(is_noted)


async def test_case_10_references_that_expire_while_files_wait_are_renewed(harness: ArchiveHarness) -> None:
    chat = harness.channel("Expiring")
    files = [chat.messages[harness.post(chat)].files[0] for _ in range(500)]
    await harness.stack.client.post("/api/v1/queue/pause")
    archive = await harness.archive(chat, dir_path="expiring")

    async def are_listed() -> bool:
        return (await harness.counts(archive)).get("pending") == 500

    await until(are_listed)
    for file in files:
        harness.world.expire(file)
    await harness.stack.client.post("/api/v1/queue/resume")
    assert (await harness.reaches(archive, within=180))["counts"]["saved"] == 500
