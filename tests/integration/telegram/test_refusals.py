"""An account without access never blocks another one that has access."""

from __future__ import annotations

import pytest

from saveany.errors import NeedsLogin, Offline, Permanent, Retryable
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.world import SandboxAccount
from saveany.telegram.accounts import Accounts
from saveany.telegram.links import MessageLink, parse
from saveany.telegram.media import Media
from tests.integration.telegram.conftest import Sink, Start, fetch

PUBLIC = parse("https://t.me/channel/123")
LARGE = parse("https://t.me/protected/5")

#: Refusals that are about the account, not about the link.
REFUSALS = [
    "420:FROZEN_METHOD_INVALID",
    "400:FROZEN_PARTICIPANT_MISSING",
    "400:CHANNEL_BANNED",
    "400:CHAT_RESTRICTED",
    "400:USER_BANNED_IN_CHANNEL",
    "400:USER_NOT_PARTICIPANT",
    "401:USER_DEACTIVATED_BAN",
    "403:PREMIUM_ACCOUNT_REQUIRED",
    "403:USER_RESTRICTED",
    "406:SOMETHING_NEW",
]


@pytest.mark.parametrize("method", ["contacts.resolveUsername", "channels.getMessages"])
@pytest.mark.parametrize("refusal", REFUSALS)
async def test_the_next_account_is_tried_when_one_has_no_access(
    sandbox: Sandbox, start: Start, refusal: str, method: str
) -> None:
    accounts = await start(bot=True, user=True)
    sandbox.faults.add(f"error={refusal},method={method},account={samples.BOT.id}")
    [media] = await accounts.resolve(PUBLIC)
    assert media.account == "me"
    assert (await accounts.find(media.source())).account == "me"
    await fetch(accounts, media)


@pytest.mark.parametrize("frozen", [samples.BOT.id, samples.USER.id])
async def test_a_frozen_account_blocks_no_other(sandbox: Sandbox, start: Start, frozen: int) -> None:
    accounts = await start(bot=True, user=True)
    sandbox.faults.add(f"frozen,account={frozen}")
    [media] = await accounts.resolve(PUBLIC)
    assert media.account == ("me" if frozen == samples.BOT.id else "bot")
    await fetch(accounts, media)


async def test_an_outage_of_telegram_is_offline_for_every_account(sandbox: Sandbox, start: Start) -> None:
    accounts = await start(bot=True, user=True)
    await sandbox.centers[2].unplug()
    with pytest.raises(Offline, match=r"bot: .*\. me: "):
        await accounts.resolve(PUBLIC)


async def test_a_flood_wait_of_one_account_is_not_offline(sandbox: Sandbox, start: Start) -> None:
    accounts = await start(bot=True, user=True)
    sandbox.faults.add(f"flood_wait=33,method=contacts.resolveUsername,account={samples.USER.id}")
    sandbox.faults.add(f"drop,method=contacts.resolveUsername,account={samples.BOT.id}")
    with pytest.raises(Retryable) as caught:
        await accounts.resolve(PUBLIC)
    assert type(caught.value) is Retryable


async def test_a_message_that_one_account_cannot_see_waits_for_the_other(
    sandbox: Sandbox, start: Start
) -> None:
    accounts = await start(bot=True, user=True)
    sandbox.faults.add(f"flood_wait=33,method=channels.getMessages,account={samples.USER.id}")
    with pytest.raises(Retryable, match="bot: Message 199 does not exist"):
        await accounts.resolve(parse("https://t.me/channel/199"))


@pytest.mark.parametrize(
    ("fault", "link", "kind", "after", "bot"),
    [
        (
            "error=400:CHANNEL_PRIVATE,method=channels.getMessages",
            PUBLIC,
            Permanent,
            0,
            "the chat is private and this account is not a member",
        ),
        (
            "flood_wait=33,method=contacts.resolveUsername",
            PUBLIC,
            Retryable,
            33,
            "Telegram asks to wait 33 s",
        ),
        # Telegram answers a bot nothing where it may not see a message.
        ("", parse("https://t.me/channel/199"), Permanent, 0, "Message 199 does not exist"),
    ],
    ids=["refused", "has to wait", "sees nothing"],
)
async def test_the_error_names_each_account_and_its_reason(
    sandbox: Sandbox,
    start: Start,
    fault: str,
    link: MessageLink,
    kind: type[Permanent | Retryable],
    after: float,
    bot: str,
) -> None:
    accounts = await start(bot=True, user=True)
    if fault:
        sandbox.faults.add(f"{fault},account={samples.BOT.id}")
    sandbox.faults.add(f"frozen,account={samples.USER.id}")
    with pytest.raises(kind) as caught:
        await accounts.resolve(link)
    assert getattr(caught.value, "after", 0) == after
    assert f"bot: {bot}" in caught.value.message
    assert "me: the account is frozen by Telegram" in caught.value.message


async def test_a_banned_account_is_not_advised_to_log_in_again(sandbox: Sandbox, start: Start) -> None:
    sandbox.faults.add(f"error=401:USER_DEACTIVATED_BAN,account={samples.USER.id}")
    accounts = await start(user=True)
    assert "the account was banned by Telegram" in str(accounts.problems["me"])
    assert "Log in another account" in str(accounts.problems["me"])
    with pytest.raises(NeedsLogin):
        await accounts.resolve(PUBLIC)


async def test_watching_continues_with_an_account_that_has_access(sandbox: Sandbox, start: Start) -> None:
    other = sandbox.world.add_account(SandboxAccount(id=42, name="Other", phone="+9996620042"))
    for chat in sandbox.world.chats.values():
        if chat.username == "channel":
            chat.members.add(other.id)
    sessions = [
        {"name": "frozen", "session": sandbox.user_session},
        {"name": "fine", "session": sandbox.session(other.id)},
    ]
    accounts = await start(user=True, accounts=sessions)
    sandbox.faults.add(f"frozen,account={samples.USER.id}")
    now = await accounts.history.chat_state("@channel")
    assert now.account == "fine"
    page = await accounts.history.messages_after(now.id, now.top - 3, username="channel", prefer="frozen")
    assert page.account == "fine"


@pytest.fixture
async def held(start: Start) -> tuple[Accounts, Media]:
    """A file that the bot has found."""
    accounts = await start(bot=True, user=True)
    [media] = await accounts.resolve(LARGE)
    assert media.account == "bot"
    return accounts, media


@pytest.mark.parametrize("refusal", ["420:FROZEN_METHOD_INVALID", "403:PREMIUM_ACCOUNT_REQUIRED"])
async def test_another_account_continues_a_refused_download(
    sandbox: Sandbox, held: tuple[Accounts, Media], refusal: str
) -> None:
    accounts, media = held
    sandbox.faults.add(f"error={refusal},method=upload.getFile,account={samples.BOT.id}")
    sink = await fetch(accounts, media)
    assert bytes(sink.data) == sandbox.world.files[media.document_id].content.read(0, media.size)
    assert sandbox.counters.requests(method="upload.getFile", account=samples.USER.id) > 0


async def test_a_download_refused_to_all_accounts_names_each_reason(
    sandbox: Sandbox, held: tuple[Accounts, Media]
) -> None:
    accounts, media = held
    sandbox.faults.add(f"error=420:FROZEN_METHOD_INVALID,method=upload.getFile,account={samples.BOT.id}")
    sandbox.faults.add(f"error=403:USER_RESTRICTED,method=upload.getFile,account={samples.USER.id}")
    with pytest.raises(Permanent) as caught:
        await accounts.download(media, Sink(media.size).write)
    assert "Telegram account bot: the account is frozen" in caught.value.message
    assert "Telegram account me: the account is restricted" in caught.value.message
