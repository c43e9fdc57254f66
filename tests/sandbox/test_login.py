"""Every transport and every form of login, with unmodified clients."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from telethon import connection, errors
from telethon.password import compute_check
from telethon.sessions import StringSession
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import Sandbox, samples
from saveany.sandbox.world import Chat, SandboxAccount
from tests.sandbox.clients import bot, telethon, user

TRANSPORTS = [
    connection.ConnectionTcpFull,
    connection.ConnectionTcpIntermediate,
    connection.ConnectionTcpAbridged,
    connection.ConnectionTcpObfuscated,
]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_bot_logs_in_and_downloads_over(transport: Any, sandbox: Sandbox) -> None:
    async with bot(sandbox, connection=transport) as client:
        me = await client.get_me()
        assert (me.bot, me.username) == (True, "sandbox_bot")
        message = await client.get_messages("protected", ids=5)
        data = await client.download_media(message, bytes)  # several parts
        assert data == sandbox.world.files[1026].content.read(0, 1 << 21)


async def test_user_logs_in_with_the_code(sandbox: Sandbox) -> None:
    async with telethon(sandbox) as client:
        assert not await client.is_user_authorized()
        await client.send_code_request(sandbox.phone)
        with pytest.raises(errors.PhoneCodeInvalidError):
            await client.sign_in(sandbox.phone, "11111")
        me = await client.sign_in(sandbox.phone, sandbox.login_code)
        assert (me.bot, me.phone) == (False, sandbox.phone.lstrip("+"))


async def test_session_string_is_logged_in(sandbox: Sandbox) -> None:
    async with user(sandbox) as client:
        assert (await client.get_me()).username == "sandbox_user"


async def test_a_new_account_gets_a_usable_session(sandbox: Sandbox) -> None:
    other = sandbox.world.add_account(SandboxAccount(id=42, name="Other", phone="+9996620042"))
    sandbox.world.add_chat(Chat(id=1800000001, title="Theirs", members={other.id}))
    async with telethon(sandbox, sandbox.session(other.id)) as client:
        assert (await client.get_me()).id == 42
        assert [dialog.title for dialog in await client.get_dialogs()] == ["Theirs"]


async def test_a_saved_session_is_usable_again(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        saved = StringSession.save(client.session)
    async with telethon(sandbox, saved) as again:
        assert (await again.get_me()).bot


async def test_logged_out_key_is_refused(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        await client(fn.auth.LogOutRequest())
        with pytest.raises(errors.AuthKeyUnregisteredError):
            await client(fn.users.GetUsersRequest([tl.InputUserSelf()]))


@pytest.mark.parametrize("token", ["", "123:no-such-bot", "7000000001:wrong"])
async def test_unknown_token_is_refused(token: str, sandbox: Sandbox) -> None:
    async with telethon(sandbox) as client:
        with pytest.raises(errors.AccessTokenInvalidError):
            await client(fn.auth.ImportBotAuthorizationRequest(0, 1, "hash", token))


async def test_unknown_phone_and_foreign_code_hash_are_refused(sandbox: Sandbox) -> None:
    async with telethon(sandbox) as client:
        with pytest.raises(errors.PhoneNumberInvalidError):
            await client.send_code_request("+9996620000")
        with pytest.raises(errors.PhoneCodeExpiredError):
            await client(fn.auth.SignInRequest(sandbox.phone, "not the hash", sandbox.login_code))
        code = await client.send_code_request(sandbox.phone)
        with pytest.raises(errors.PhoneCodeEmptyError):
            await client(fn.auth.SignInRequest(sandbox.phone, code.phone_code_hash, ""))


@pytest.mark.parametrize("how", ["bot", "user"])
async def test_login_at_the_wrong_data_center_is_migrated(how: str, sandbox: Sandbox) -> None:
    async with telethon(sandbox, dc=4) as client:
        if how == "bot":
            await client.sign_in(bot_token=sandbox.bot_token)
        else:
            await client.send_code_request(sandbox.phone)
            await client.sign_in(sandbox.phone, sandbox.login_code)
        assert client.session.dc_id == sandbox.dc_id
        assert await client.is_user_authorized()


async def test_an_exported_authorization_is_valid_for_one_account_and_data_center(sandbox: Sandbox) -> None:
    async with user(sandbox) as client:
        with pytest.raises(errors.DcIdInvalidError):
            await client(fn.auth.ExportAuthorizationRequest(sandbox.dc_id))
        ticket = await client(fn.auth.ExportAuthorizationRequest(4))
        async with telethon(sandbox, dc=4) as away:
            for wrong in ((ticket.id, b"guessed"), (7000000001, ticket.bytes), (5, ticket.bytes)):
                with pytest.raises(errors.AuthBytesInvalidError):
                    await away(fn.auth.ImportAuthorizationRequest(*wrong))
            result = await away(fn.auth.ImportAuthorizationRequest(ticket.id, ticket.bytes))
            assert result.user.username == "sandbox_user"


def test_public_key_file_contains_the_public_key(sandbox: Sandbox) -> None:
    assert sandbox.public_key_file.read_text() == sandbox.public_key


async def test_a_password_is_required_with_two_step_verification(sandbox: Sandbox) -> None:
    sandbox.world.accounts[samples.USER.id].password = "correct horse"
    async with telethon(sandbox) as client:
        await client.send_code_request(sandbox.phone)
        with pytest.raises(errors.SessionPasswordNeededError):
            await client.sign_in(sandbox.phone, sandbox.login_code)
        assert not await client.is_user_authorized()
        with pytest.raises(errors.PasswordHashInvalidError):
            await client.sign_in(password="wrong horse")
        me = await client.sign_in(password="correct horse")
        assert (me.username, await client.is_user_authorized()) == ("sandbox_user", True)


async def test_a_password_proof_is_valid_once(sandbox: Sandbox) -> None:
    sandbox.world.accounts[samples.USER.id].password = "correct horse"
    async with user(sandbox) as client:
        question = await client(fn.account.GetPasswordRequest())
        proof = compute_check(question, "correct horse")
        await client(fn.account.GetPasswordRequest())  # which makes it old
        with pytest.raises(errors.SrpIdInvalidError):
            await client(fn.auth.CheckPasswordRequest(proof))
        with pytest.raises(errors.PasswordHashInvalidError):
            await client(fn.auth.CheckPasswordRequest(tl.InputCheckPasswordEmpty()))
        question = await client(fn.account.GetPasswordRequest())
        zero = tl.InputCheckPasswordSRP(question.srp_id, bytes(256), bytes(32))
        with pytest.raises(errors.PasswordHashInvalidError):
            await client(fn.auth.CheckPasswordRequest(zero))
    async with telethon(sandbox, sandbox.person_session) as client:
        assert not (await client(fn.account.GetPasswordRequest())).has_password
    async with telethon(sandbox) as client:
        with pytest.raises(errors.AuthKeyUnregisteredError):
            await client(fn.account.GetPasswordRequest())


@asynccontextmanager
async def scanning(sandbox: Sandbox, qr: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """Show the QR code, which the user's other client scans."""
    waiting = asyncio.create_task(qr.wait())
    async with user(sandbox) as phone:
        token = base64.urlsafe_b64decode(qr.url.partition("=")[2] + "==")
        accepted = await phone(fn.auth.AcceptLoginTokenRequest(token))
        assert isinstance(accepted, tl.Authorization)
        with pytest.raises(errors.AuthTokenAlreadyAcceptedError):
            await phone(fn.auth.AcceptLoginTokenRequest(token))
        yield waiting


async def test_login_by_qr_code(sandbox: Sandbox) -> None:
    async with telethon(sandbox, receive_updates=True) as client:
        qr = await client.qr_login()
        async with scanning(sandbox, qr) as waiting:
            assert (await waiting).username == "sandbox_user"
        assert await client.is_user_authorized()
    assert sandbox.world.tokens == {}


async def test_login_by_qr_code_at_another_data_center(sandbox: Sandbox) -> None:
    async with telethon(sandbox, dc=4, receive_updates=True) as client:
        qr = await client.qr_login()
        async with scanning(sandbox, qr) as waiting:
            assert (await waiting).username == "sandbox_user"
        assert client.session.dc_id == sandbox.dc_id


async def test_login_by_qr_code_and_password(sandbox: Sandbox) -> None:
    sandbox.world.accounts[samples.USER.id].password = "correct horse"
    async with telethon(sandbox, receive_updates=True) as client:
        qr = await client.qr_login()
        async with scanning(sandbox, qr) as waiting:
            with pytest.raises(errors.SessionPasswordNeededError):
                await waiting
        assert (await client.sign_in(password="correct horse")).username == "sandbox_user"


async def test_qr_codes_expire_and_unknown_codes_are_refused(sandbox: Sandbox) -> None:
    sandbox.world.token_lifetime = 0
    async with telethon(sandbox) as client, user(sandbox) as phone:
        token = (await client(fn.auth.ExportLoginTokenRequest(1, "hash", []))).token
        with pytest.raises(errors.AuthTokenExpiredError):
            await phone(fn.auth.AcceptLoginTokenRequest(token))
        fresh = (await client(fn.auth.ExportLoginTokenRequest(1, "hash", []))).token
        for wrong in (b"guessed", token):
            with pytest.raises(errors.AuthTokenInvalidError):
                await phone(fn.auth.AcceptLoginTokenRequest(wrong))
        with pytest.raises(errors.AuthTokenInvalidError):
            await client(fn.auth.ImportLoginTokenRequest(fresh))
