"""A sandbox with a state folder continues after a restart; the sandbox as a separate process."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from telethon import errors
from telethon.sessions import StringSession
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import Sandbox
from saveany.sandbox.world import StoredMessage
from tests.fixtures.tcp import hang_up, tcp_server
from tests.sandbox.clients import telethon, user


async def test_a_port_that_another_program_has_taken_since_is_replaced(tmp_path: Path) -> None:
    async with Sandbox(state=tmp_path) as first:
        taken = first.addresses[first.dc_id]
    async with (
        tcp_server(hang_up, *taken),
        Sandbox(state=tmp_path) as second,
        telethon(second, second.user_session) as client,
    ):
        assert second.addresses[second.dc_id] != taken
        assert not (await client.get_me()).bot


async def test_clients_continue_after_a_restart(tmp_path: Path) -> None:
    async with Sandbox(state=tmp_path) as first:
        addresses, session, key = first.addresses, first.user_session, first.public_key
        async with telethon(first) as client:
            await client.sign_in(bot_token=first.bot_token)
            saved = StringSession.save(client.session)
            far = await client._borrow_exported_sender(4)
            far_key = far.auth_key
            await client._return_exported_sender(far)
    async with Sandbox(state=tmp_path) as second:
        assert (second.addresses, second.user_session, second.public_key) == (addresses, session, key)
        async with telethon(second, saved) as again:
            assert (await again.get_me()).bot
        foreign = StringSession()
        foreign.set_dc(4, *second.addresses[4])
        foreign.auth_key = far_key
        async with telethon(second, foreign.save()) as far_again:
            assert (await far_again.get_me()).bot
        assert second.counters.requests(method="reqPqMulti") == 0


async def test_connected_client_survives_a_restart(tmp_path: Path) -> None:
    async with Sandbox(state=tmp_path) as first:
        message_client = user(first, retry_delay=0, connection_retries=None)
        client = await message_client.__aenter__()
        assert await client.get_me()
    try:
        async with Sandbox(state=tmp_path):
            assert (await asyncio.wait_for(client.get_me(), 20)).username == "sandbox_user"
            await message_client.__aexit__(None, None, None)
    finally:
        await client.disconnect()


async def test_message_numbers_continue_after_a_restart(tmp_path: Path) -> None:
    async with Sandbox(state=tmp_path) as first, user(first) as client:
        before = await client.send_message("me", "note")
        state = await client(fn.updates.GetStateRequest())
    async with Sandbox(state=tmp_path) as second, user(second) as client:
        assert (await client.send_message("me", "note")).id > before.id
        missed = await client(fn.updates.GetDifferenceRequest(state.pts, state.date, state.qts))
        assert [message.message for message in missed.new_messages] == ["note"]
        second.world.send(second.world.chats[1500000001], StoredMessage(id=0, text="post"))
        late = fn.updates.GetChannelDifferenceRequest("channel", tl.ChannelMessagesFilterEmpty(), 24, 100)
        assert isinstance(await client(late), tl.updates.ChannelDifferenceTooLong)


async def test_revoked_session_stays_revoked_after_a_restart(tmp_path: Path) -> None:
    async with Sandbox(state=tmp_path) as first, user(first) as client:
        first.faults.add("revoke=SESSION_REVOKED,count=1")
        with pytest.raises(errors.SessionRevokedError):
            await client(fn.users.GetUsersRequest([tl.InputUserSelf()]))
    async with Sandbox(state=tmp_path) as second:
        with pytest.raises(errors.SessionRevokedError):
            async with user(second):
                pass


async def test_without_a_state_folder_nothing_is_kept(sandbox: Sandbox, tmp_path: Path) -> None:
    async with Sandbox() as other:
        folder = other.public_key_file.parent
        assert other.user_session != sandbox.user_session
    assert not folder.exists()


async def test_key_files_are_readable_by_the_owner_only(tmp_path: Path) -> None:
    async with Sandbox(state=tmp_path) as sandbox:
        assert sandbox.user_session
        modes = file_modes(tmp_path)
    assert len(modes) == 6  # RSA key, its public half, the session's key twice, ports, number of runs
    assert all(mode & 0o077 == 0 for mode in modes)


def file_modes(folder: Path) -> list[int]:
    return [path.stat().st_mode for path in folder.rglob("*") if path.is_file()]


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "saveany.sandbox", *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def first_line(running: asyncio.subprocess.Process) -> Any:
    assert running.stdout is not None
    return json.loads(await running.stdout.readline())


async def test_the_process_prints_how_to_log_in_as_a_user() -> None:
    async with process() as running:
        assert running.stdout is not None
        said = (await running.stdout.readuntil(b'"/start")')).decode()
        facts = dict(line.split(maxsplit=1) for line in said.splitlines()[:8])
        example = said[said.index("    from telethon") :]
        for name in ("public_key_file", "person_session"):
            example = example.replace(f"<{name}>", facts[name])
        example += '\n        print((await person.get_messages("sandbox_bot"))[0].text)'
        program = f"import asyncio\n\nasync def main():\n{example}\n\nasyncio.run(main())\n"
        person = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await person.communicate()
        assert out == b"/start\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_process_prints_its_settings_and_ends_cleanly(number: int, tmp_path: Path) -> None:
    async with process("--json", "--state", str(tmp_path), "--fault", "flood_wait=9,file=1003") as running:
        facts = await first_line(running)
        told = facts["telegram"]
        assert set(told) == {
            *("address", "public_key_file", "dc_id", "bot_token", "phone", "login_code"),
            *("user_session", "person_session"),
        }
        assert len(facts["samples"]) >= 20
        assert facts["samples"][0]["files"][0]["name"] == "file.pdf"
        assert told["public_key_file"] == str(tmp_path / "public.pem")
        os.kill(running.pid, number)
        assert await running.wait() == 0


async def test_a_killed_process_restarts_on_the_same_port(tmp_path: Path) -> None:
    async with process("--json", "--state", str(tmp_path)) as running:
        before = (await first_line(running))["telegram"]
        running.kill()
        await running.wait()
    async with process("--json", "--state", str(tmp_path)) as running:
        assert (await first_line(running))["telegram"] == before


async def test_taken_port_is_an_error_that_names_the_flag(sandbox: Sandbox) -> None:
    port = str(sandbox.addresses[2][1])
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "saveany.sandbox", "--port", port, stderr=asyncio.subprocess.PIPE
    )
    _, said = await running.communicate()
    assert running.returncode == 2
    assert b"--port" in said
    assert b"Traceback" not in said
