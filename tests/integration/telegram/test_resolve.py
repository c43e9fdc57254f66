"""Links are resolved to files and downloaded, by a bot and by a user."""

from __future__ import annotations

import asyncio

import pytest

from saveany.errors import NeedsLogin, Permanent, Retryable
from saveany.sandbox import Sandbox
from saveany.sandbox.samples import DISCUSSION
from saveany.sandbox.world import Chat, StoredMessage
from saveany.telegram.links import parse
from tests.integration.telegram.conftest import Start, fetch, table

GIB = 1 << 30
FIRST = "https://t.me/channel/123"
USER_ID, BOT_ID = 123456789, 7000000001


@pytest.mark.parametrize("which", ["bot", "user"])
async def test_every_sample_is_found_and_downloaded(sandbox: Sandbox, start: Start, which: str) -> None:
    accounts = await start(**{which: True})
    for sample in sandbox.samples:
        if not sample.files:
            continue
        found = await accounts.resolve(parse(sample.link))
        assert [m.size for m in found] == [f.size for f in sample.files], sample.note
        for media, expected in zip(found, sample.files, strict=True):
            if media.size < GIB and "slow" not in sample.note:  # its bytes are another sample's
                assert (await fetch(accounts, media)).sha256 == expected.sha256, sample.note


async def test_files_have_their_kinds_dates_and_captions(start: Start) -> None:
    accounts = await start(bot=True)
    kinds = {}
    for number in (123, 130, 141, 142, 143):
        [media] = await accounts.resolve(parse(f"https://t.me/channel/{number}"))
        kinds[number] = (media.kind, media.mime_type)
    assert kinds == {
        123: ("document", "application/pdf"),
        130: ("photo", "image/jpeg"),
        141: ("voice", "audio/ogg"),
        142: ("video", "video/mp4"),
        143: ("sticker", "image/webp"),
    }
    album = await accounts.resolve(parse("https://t.me/channel/133"))
    assert [m.message_id for m in album] == [131, 132, 133, 134]
    assert album[0].caption == "Four views of the harbour"
    assert len({m.grouped_id for m in album}) == 1
    assert album[0].date_ms == 1704164645000 + 131 * 60_000
    assert album[0].chat_id == -1001500000001
    assert album[0].chat_username == "channel"


async def test_a_forwarded_file_is_read_from_its_own_message(start: Start) -> None:
    accounts = await start(bot=True)
    [media] = await accounts.resolve(parse(f"https://t.me/c/{DISCUSSION}/2"))
    assert (media.chat_username, media.origin_id) == ("", -1001500000001)
    assert media.origin_username == "channel"


async def test_single_takes_one_file_of_an_album(start: Start) -> None:
    accounts = await start(bot=True)
    [media] = await accounts.resolve(parse("https://t.me/channel/133?single"))
    assert media.message_id == 133


async def test_a_username_is_resolved_once(sandbox: Sandbox, start: Start) -> None:
    for _ in range(2):
        accounts = await start(bot=True)
        for number in (123, 124):
            await accounts.resolve(parse(f"https://t.me/channel/{number}"))
        await accounts.close()
    assert sandbox.counters.requests(method="contacts.resolveUsername") == 1


async def test_private_links_work_after_a_restart(sandbox: Sandbox, start: Start) -> None:
    link = parse("https://t.me/c/1500000002/5")
    first = await start(user=True)
    await first.resolve(link)
    await first.close()
    assert sandbox.counters.requests(method="messages.getDialogs") == 1
    second = await start(user=True)
    [media] = await second.resolve(link)
    assert media.name == "private.bin"
    assert sandbox.counters.requests(method="messages.getDialogs") == 1


async def test_dialogs_are_read_once_for_many_unknown_chats(sandbox: Sandbox, start: Start) -> None:
    accounts = await start(user=True)
    unknown = [parse(f"https://t.me/c/{1600000000 + n}/5") for n in range(5)]
    answers = await asyncio.gather(*(accounts.resolve(link) for link in unknown), return_exceptions=True)
    assert all(isinstance(answer, Permanent) for answer in answers)
    assert sandbox.counters.requests(method="messages.getDialogs") == 1


async def test_dialogs_are_paged(sandbox: Sandbox, start: Start) -> None:
    for n in range(230):
        sandbox.world.add_chat(Chat(id=1700000000 + n, title=f"chat {n}", members={USER_ID}))
    accounts = await start(user=True)
    [media] = await accounts.resolve(parse("https://t.me/c/1500000002/5"))
    assert media.name == "private.bin"
    assert sandbox.counters.requests(method="messages.getDialogs") >= 3


async def test_a_user_account_reads_links_that_the_bot_cannot(sandbox: Sandbox, start: Start) -> None:
    chat = sandbox.world.add_chat(Chat(id=1600000001, title="users only", members={USER_ID}))
    sandbox.world.post(chat, StoredMessage(id=7, file=sandbox.world.files[1001]))
    accounts = await start(bot=True, user=True)
    [media] = await accounts.resolve(parse("https://t.me/c/1600000001/7"))
    assert media.account == "me"
    [media] = await accounts.resolve(parse(FIRST))
    assert media.account == "bot"


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("https://t.me/channel/144", "no file"),
        ("https://t.me/c/1500000003/10", "no file"),
        ("https://t.me/channel/199", "does not exist"),
        ("https://t.me/nobodyhere/5", "nobody has this username"),
        ("https://t.me/sandbox_user/5", "a person or a bot"),
        ("https://t.me/protected/5?comment=3", "has no comments"),
        ("https://t.me/c/1699999999/5", "me: .*not a member.*saveany login --phone"),
        ("https://t.me/c/1699999999/5", "bot: the chat does not exist or this account is not a member"),
    ],
)
async def test_dead_links_have_a_reason(start: Start, link: str, reason: str) -> None:
    accounts = await start(bot=True, user=True)
    with pytest.raises(Permanent, match=reason):
        await accounts.resolve(parse(link))


async def test_without_any_account_links_are_refused(start: Start) -> None:
    accounts = await start()
    assert accounts.ready == []
    assert "saveany login" in str(accounts.problems["telegram"])
    with pytest.raises(NeedsLogin, match="saveany login --bot"):
        await accounts.resolve(parse(FIRST))


async def test_find_reads_again_with_any_account(sandbox: Sandbox, start: Start) -> None:
    bot = await start(bot=True)
    [media] = await bot.resolve(parse("https://t.me/channel/130"))
    user = await start(user=True)
    again = await user.find(media.source())
    assert (again.account, again.document_id) == ("me", media.document_id)
    assert again.location != media.location
    assert (await fetch(user, again)).sha256 == sandbox.samples[7].files[0].sha256


async def test_find_notices_an_edit_and_a_deletion(sandbox: Sandbox, start: Start) -> None:
    accounts = await start(bot=True)
    [media] = await accounts.resolve(parse(FIRST))
    channel = sandbox.world.chats[1500000001]
    sandbox.world.edit(channel, 123, file=sandbox.world.files[1002])
    with pytest.raises(Permanent, match="edited"):
        await accounts.find(media.source())
    sandbox.world.delete(channel, 123)
    with pytest.raises(Permanent, match="deleted"):
        await accounts.find(media.source())


async def test_a_long_flood_wait_is_raised(sandbox: Sandbox, start: Start) -> None:
    accounts = await start(bot=True)
    sandbox.faults.add("flood_wait=300,method=channels.getMessages")
    with pytest.raises(Retryable, match="300 s") as caught:
        await accounts.resolve(parse(FIRST))
    assert caught.value.after == pytest.approx(300, abs=1)


async def test_another_account_is_used_during_a_flood_wait(sandbox: Sandbox, start: Start) -> None:
    accounts = await start(bot=True, user=True)
    sandbox.faults.add(f"flood_wait=300,method=channels.getMessages,account={BOT_ID}")
    [media] = await accounts.resolve(parse(FIRST))
    assert media.account == "me"


async def test_session_strings_without_a_name_are_accounts_too(sandbox: Sandbox, start: Start) -> None:
    accounts = await start(table(sandbox, user=True, sessions=[sandbox.user_session]))
    assert accounts.ready == ["me", "session1"]
