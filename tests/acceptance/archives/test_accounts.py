"""Archives with two accounts: any may read a channel; messages of other chats have ids per account."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from saveany.sandbox import samples
from saveany.sandbox.model import Group
from saveany.sandbox.world import Chat, StoredMessage, Wrapping
from tests.acceptance.archives.harness import ArchiveHarness
from tests.fixtures.photos import profile_photo
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until
from tests.unit.webhooks.receiver import Receiver, receiving

pytestmark = pytest.mark.asyncio(loop_scope="module")

_CLOSED, _INVITE = 1_790_000_001, "+Closed0000001"
#: Id of the oldest profile photo.
_PHOTO = 5_000_000_000_000_000_001
USER, PERSON = samples.USER.id, samples.PERSON.id


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> AsyncIterator[Stack]:
    events = ["archive_complete", "archive_problem"]
    tables = {"api": {"webhook_url": receiver.url, "webhook_events": events}}
    async with Stack(tmp_path_factory.mktemp("stack"), tables=tables) as stack:
        assert stack.api is not None
        await stack.terminate(stack.api)
        await stack.terminate(stack.workers[0])
        sandbox = stack.sandbox
        sessions = {"user": sandbox.user_session, "person": sandbox.person_session}
        accounts = [{"name": name, "session": session} for name, session in sessions.items()]
        stack.write_config(telegram={"accounts": accounts})
        # Accounts read their lists of private chats once a minute only.
        world = sandbox.world
        world.add_chat(
            Chat(id=_CLOSED, title="Closed", members={USER, PERSON}, invite=f"https://t.me/{_INVITE}")
        )
        side = world.private_chats.side(world.accounts[USER], world.accounts[PERSON])
        world.send(side, StoredMessage(id=0, text="words", sender=USER))
        await stack.start_api()
        await stack.start_worker()
        await stack.ready()
        yield stack


async def test_a_private_chat_is_archived_by_the_ids_of_each_account(harness: ArchiveHarness) -> None:
    world = harness.world
    user, person = world.accounts[USER], world.accounts[PERSON]
    harness.say(world.saved(person), 40)  # the sequences of ids differ
    side = world.private_chats.side(user, person)
    for _ in range(3):
        harness.post(side, sender=USER)
    own = {id_ for id_, message in side.messages.items() if message.file}
    other = world.private_chats.side(person, user)
    theirs = {id_ for id_, message in other.messages.items() if message.file}
    assert own.isdisjoint(theirs)
    for account, chat, ids in (("user", PERSON, own), ("person", USER, theirs)):
        folder = f"private-{account}"
        archive = await harness.archive(str(chat), account=account, dir_path=folder, on_duplicate="save")
        found = await harness.reaches(archive)
        assert (found["counts"]["saved"], found["unaccounted"]) == (3, 0), found
        assert {each["message"] for each in await harness.messages(archive)} == ids
        assert len(harness.files(folder)) == 3
        result = await harness.stack.saveany("archive", "verify", archive, "--telegram")
        assert "3 messages verified, 0 differ" in result.out, result


async def test_profile_photos_of_a_person_are_saved_each_once_and_new_ones_while_it_follows(
    harness: ArchiveHarness,
) -> None:
    world = harness.world
    person = world.accounts[PERSON]
    person.photos = [profile_photo(world, _PHOTO + number) for number in range(3)]
    side = world.private_chats.side(world.accounts[USER], person)
    with_files = sum(bool(each.file) for each in side.messages.values())
    options = {"account": "user", "dir_path": "faces", "profile_photos": True, "follow": True}
    archive = await harness.archive(str(PERSON), on_duplicate="save", **options)
    found = await harness.reaches(archive, "following")
    assert (found["counts"]["saved"], found["unaccounted"]) == (with_files + 3, 0), found
    ids = [each["message"] for each in await harness.messages(archive)]
    assert ids[:3] == [-_PHOTO - number for number in (2, 1, 0)]
    person.photos.append(profile_photo(world, _PHOTO + 3))

    async def has_new_one() -> bool:
        return (await harness.counts(archive))["saved"] == with_files + 4

    await until(has_new_one, within=60)
    pictures = [each for each in harness.files("faces") if each.endswith(".jpg")]
    assert len(pictures) == 4
    assert (await harness.show(archive))["unaccounted"] == 0
    result = await harness.stack.saveany("archive", "verify", archive, "--telegram")
    assert f"{with_files + 4} messages verified, 0 differ" in result.out, result
    for photo in person.photos:
        world.expire(photo)
    (harness.stack.storage_dir / "faces" / pictures[0]).unlink()
    result = await harness.stack.saveany("archive", "verify", archive, "--repair")
    assert "1 are saved again" in result.out
    await until(lambda: pictures[0] in harness.files("faces"), within=60)
    person.photos.clear()
    (harness.stack.storage_dir / "faces" / pictures[0]).unlink()
    await harness.stack.saveany("archive", "verify", archive, "--repair")

    async def is_gone() -> bool:
        return (await harness.counts(archive)).get("gone") == 1

    await until(is_gone, within=60)


async def test_a_photo_of_a_channel_that_no_message_shows_is_saved(harness: ArchiveHarness) -> None:
    world = harness.world
    for name, is_deleted in (("kept", False), ("deleted", True)):
        chat = harness.channel(name)
        chat.photo = profile_photo(world, _PHOTO + 10 + is_deleted)
        wrapped = Wrapping(how="chat photo", files=(chat.photo,))
        notice = world.send(chat, StoredMessage(id=0, service=True, wrapped=wrapped)).id
        harness.say(chat)
        if is_deleted:
            world.delete(chat, notice)
        archive = await harness.archive(chat, dir_path=name, profile_photos=True, on_duplicate="save")
        found = await harness.reaches(archive)
        assert (found["counts"]["saved"], found["unaccounted"]) == (1, 0), found
        shown_as = -chat.photo.id if is_deleted else notice
        assert [each["message"] for each in await harness.messages(archive)] == [shown_as]
        assert len(harness.files(name)) == 1


async def test_the_older_history_of_a_group_is_read_by_the_account_that_was_in_it(
    harness: ArchiveHarness,
) -> None:
    world = harness.world
    group = world.private_chats.add_group(Group(id=900_000_501, title="Older", members={PERSON}))
    older = world.private_chats.side(world.accounts[PERSON], group)
    old = [harness.post(older) for _ in range(3)]
    chat = harness.channel("Older", broadcast=False, members={USER, PERSON})
    world.migrate(group, chat)
    new = [harness.post(chat) for _ in range(2)]
    archive = await harness.archive(chat, dir_path="older")
    found = await harness.reaches(archive)
    assert found["notice"] == ""
    assert (found["counts"]["saved"], found["unaccounted"]) == (5, 0)
    assert [each["message"] for each in await harness.messages(archive)] == [*new, *old]


async def test_another_account_goes_on_when_one_has_lost_its_access(harness: ArchiveHarness) -> None:
    chat = harness.world.chats[_CLOSED]
    harness.post(chat)
    archive = await harness.archive(f"https://t.me/{_INVITE}", dir_path="left", follow=True)
    await harness.reaches(archive, "following")
    chat.members.discard(USER)
    harness.post(chat)

    async def is_saved() -> bool:
        return (await harness.counts(archive)).get("saved") == 2

    await until(is_saved, within=60)
    assert (await harness.show(archive))["problem"] == ""


async def test_an_account_that_is_taken_from_the_user_is_read_no_more(harness: ArchiveHarness) -> None:
    world = harness.world
    saved = world.saved(world.accounts[PERSON])
    world.send(saved, StoredMessage(id=0, text="", file=harness.file(name="mine.bin")))
    archive = await harness.archive("me", account="person", dir_path="own", on_duplicate="save", paused=True)
    await harness.change_user(accounts=["user"])
    await harness.act(archive, "resume")
    found = await harness.reaches(archive, "blocked")
    await harness.change_user(accounts=None)
    assert found["problem"] == "you may not use the account person"
    assert harness.files("own") == []
    assert not await harness.messages(archive)


async def test_verify_finds_messages_that_were_deleted_since(harness: ArchiveHarness) -> None:
    chat = harness.channel("Since")
    kept, deleted = harness.post(chat), harness.post(chat)
    archive = await harness.archive(chat, dir_path="since")
    await harness.reaches(archive)
    harness.world.delete(chat, deleted)
    result = await harness.stack.saveany("archive", "verify", archive, "--telegram")
    assert result.code == 0
    assert result.out.splitlines()[0] == f"message {deleted}: deleted in Telegram since"
    assert str(kept) not in result.out.splitlines()[0]
    assert (await harness.stack.saveany("archive", "verify", archive)).out.startswith(
        "2 messages verified, 0"
    )


async def test_case_05_again_fetches_what_was_deleted_from_the_storage(harness: ArchiveHarness) -> None:
    chat = harness.channel("Again")
    harness.post(chat, name="a.bin")
    archive = await harness.archive(chat, dir_path="again", on_duplicate="save")
    await harness.reaches(archive)
    (harness.stack.storage_dir / "again/a.bin").unlink()
    assert (await harness.stack.saveany("archive", "retry", archive)).out.startswith("0 ")
    assert harness.files("again") == []
    result = await harness.stack.saveany("archive", "retry", archive, "--again")
    assert result.out == "1 messages are saved again\n"
    await until(lambda: harness.files("again") == ["a.bin"])


async def test_webhooks_of_archives_have_the_receipt(harness: ArchiveHarness, receiver: Receiver) -> None:
    chat = harness.channel("Hooked")
    file = chat.messages[harness.post(chat)].files[0]
    broken = chat.messages[harness.post(chat)].files[0]
    fault = harness.faults.add(f"error=400:LOCATION_NOT_AVAILABLE,file={broken.id}")
    archive = await harness.archive(chat, dir_path="hooked")

    def bodies() -> list[dict[str, object]]:
        found = (json.loads(each.body) for each in receiver.requests)
        return [each for each in found if each.get("archive_id") == archive]

    await until(lambda: len(bodies()) == 1, within=60)
    (first,) = bodies()
    assert (first["event"], first["title"], first["chat"]) == (
        "archive_complete",
        "Hooked",
        f"@{chat.username}",
    )
    assert {name: n for name, n in first["counts"].items() if n} == {  # type: ignore[attr-defined]
        "telegram_total": 3,
        "without_media": 1,
        "saved": 1,
        "failed": 1,
    }
    harness.faults.remove(fault)
    await harness.act(archive, "retry")
    await until(lambda: len(bodies()) == 2, within=60)
    assert bodies()[1]["counts"]["saved"] == 2  # type: ignore[index]
    ids = {each.headers["webhook-id"] for each in receiver.requests if archive in each.body}
    assert len(ids) == 2
    assert file.id != broken.id
