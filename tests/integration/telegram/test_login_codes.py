"""Login codes: where Telegram sends them, and accounts that receive none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from saveany.errors import Permanent, TaskError
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.handlers.auth import login_code
from saveany.sandbox.world import SandboxAccount
from saveany.telegram import login
from saveany.telegram.codes import CodeSent, DeliveryMethod, NoCode
from saveany.telegram.login import Question
from tests.integration.telegram.conftest import Start, table
from tests.integration.telegram.test_login import answers

SENT = {
    "app": (DeliveryMethod.APP, "other devices"),
    "sms": (DeliveryMethod.SMS, "by SMS"),
    "word": (DeliveryMethod.SMS_WORD, "a word by SMS"),
    "phrase": (DeliveryMethod.SMS_PHRASE, "a few words by SMS"),
    "call": (DeliveryMethod.CALL, "call your phone and read out"),
    "flash call": (DeliveryMethod.FLASH_CALL, "+4430*****"),
    "missed call": (
        DeliveryMethod.MISSED_CALL,
        "last 5 digits of the caller's number, which begins with +4430",
    ),
    "fragment": (DeliveryMethod.FRAGMENT, "https://fragment.com/number/99966"),
    "firebase": (DeliveryMethod.FIREBASE, "log in by QR code"),
    "email": (DeliveryMethod.EMAIL, "by e-mail to s***y@example.org"),
}


@pytest.fixture
def account(sandbox: Sandbox) -> Iterator[SandboxAccount]:
    account = sandbox.world.accounts[samples.USER.id]
    yield account
    account.code_by = "app"


@pytest.mark.parametrize("how", SENT)
async def test_the_user_learns_where_the_code_was_sent(
    sandbox: Sandbox, start: Start, tmp_path: Path, account: SandboxAccount, how: str
) -> None:
    account.code_by = how
    told: list[CodeSent] = []

    async def tell(sent: CodeSent) -> None:
        told.append(sent)

    ask, asked = answers(sandbox.phone, ["11111", login_code(account)])
    assert await login.login_phone(table(sandbox), tmp_path, "alice", ask, tell) == "Sandbox User"
    assert asked == [Question.PHONE, Question.CODE, Question.CODE_AGAIN]
    [sent] = told
    assert sent.method is SENT[how][0]
    assert SENT[how][1] in sent.text
    assert "{" not in sent.text
    assert (await start()).ready == ["alice"]


@pytest.mark.parametrize("how", ["email setup", "payment"])
async def test_an_account_that_gets_no_code_is_told_to_use_a_qr_code(
    sandbox: Sandbox, tmp_path: Path, account: SandboxAccount, how: str
) -> None:
    account.code_by = how
    ask, asked = answers(sandbox.phone, [])
    with pytest.raises(NoCode, match="Use a QR code"):
        await login.login_phone(table(sandbox), tmp_path, "alice", ask)
    assert asked == [Question.PHONE]


@pytest.mark.parametrize("method", ["auth.sendCode", "auth.signIn"])
@pytest.mark.parametrize(
    "refusal", ["400:PASSKEY_REQUIRED", "406:UPDATE_APP_TO_LOGIN", "406:SEND_CODE_UNAVAILABLE"]
)
async def test_a_qr_code_is_suggested_when_telegram_refuses_the_phone_login(
    sandbox: Sandbox, tmp_path: Path, refusal: str, method: str
) -> None:
    sandbox.faults.add(f"error={refusal},method={method}")
    ask, _ = answers(sandbox.phone, [sandbox.login_code])
    with pytest.raises(NoCode, match="Use a QR code"):
        await login.login_phone(table(sandbox), tmp_path, "alice", ask)


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ("400:PHONE_NUMBER_BANNED", "banned by Telegram"),
        ("400:API_ID_INVALID", "https://my.telegram.org"),
        ("420:FLOOD_WAIT_33", "wait 33 s"),
    ],
)
async def test_a_qr_code_is_not_suggested_when_it_cannot_help(
    sandbox: Sandbox, tmp_path: Path, refusal: str, reason: str
) -> None:
    sandbox.faults.add(f"error={refusal},method=auth.sendCode")
    ask, _ = answers(sandbox.phone, [])
    with pytest.raises(TaskError, match=reason) as caught:
        await login.login_phone(table(sandbox), tmp_path, "alice", ask)
    assert not isinstance(caught.value, NoCode)


async def test_a_wrong_number_is_asked_for_again(sandbox: Sandbox, tmp_path: Path) -> None:
    numbers, asked = iter(["+49 123", "", sandbox.phone]), list[Question]()

    async def ask(question: Question) -> str:
        asked.append(question)
        return sandbox.login_code if question is Question.CODE else next(numbers)

    assert await login.login_phone(table(sandbox), tmp_path, "alice", ask) == "Sandbox User"
    assert asked == [Question.PHONE, Question.PHONE_AGAIN, Question.PHONE_AGAIN, Question.CODE]


async def test_three_wrong_numbers_end_the_login(sandbox: Sandbox, tmp_path: Path) -> None:
    asked: list[Question] = []

    async def ask(question: Question) -> str:
        asked.append(question)
        return "+49 123"

    with pytest.raises(Permanent, match="not a phone number Telegram knows"):
        await login.login_phone(table(sandbox), tmp_path, "alice", ask)
    assert len(asked) == 3
