"""`saveany import`: everything that SaveAny-Bot, tdl, Telethon and Pyrogram leave behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from telethon.sessions import StringSession

from saveany.sandbox.content import LiteralContent
from saveany.sandbox.world import StoredFile, StoredMessage
from tests.acceptance.cli.terminal import Terminal
from tests.fixtures.moving_in import PERSON, USER, moving_in
from tests.fixtures.stack import Result, Stack
from tests.fixtures.waiting import until
from tests.sandbox.clients import telethon

OTHER_USER = {"id": 77}
_TABLES: dict[str, Any] = {"telegram": {"accounts": []}, "users": [OTHER_USER]}


def new_stack(folder: Path, *, roles: bool = False) -> Stack:
    """A SaveAny that knows a bot only, with the sandbox to which the logins belong."""
    state = moving_in(folder) / "sandbox-state"
    return Stack(folder, tables=_TABLES, roles=roles, state=state)


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with new_stack(tmp_path) as stack:
        yield stack


@pytest.fixture
def files(stack: Stack) -> Path:
    return stack.folder / "moving-in"


async def imported(stack: Stack, *words: str | Path, code: int = 0) -> dict[str, Any]:
    """What `saveany import WORDS --json` prints."""
    result = await stack.saveany("import", *map(str, words), "--json")
    assert result.code == code, result.err
    printed: dict[str, Any] = json.loads(result.out)
    return printed


def reasons(printed: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["reason"] for each in printed["left_out"]}


def logins(stack: Stack) -> list[str]:
    return sorted(each.stem for each in (stack.data_dir / "sessions").glob("me*.session"))


async def test_moving_in_while_saveany_runs(tmp_path: Path) -> None:
    """The whole way: the plan, which changes nothing; the import; and everything acts as it did before."""
    async with new_stack(tmp_path, roles=True) as stack:
        files = stack.folder / "moving-in"
        before = stack.config_file.read_bytes()
        plan = await imported(stack, files)
        kinds = {each["kind"] for each in plan["steps"]}
        assert kinds == {"configuration", "preferences", "rules", "watch", "login"}
        assert any("Stop the program" in each for each in plan["warnings"])
        assert (stack.config_file.read_bytes(), logins(stack)) == (before, [])

        done = await imported(stack, files, "--yes")
        assert all(each["done"] for each in done["steps"])
        await _settings_are_here(stack)
        await _accounts_are_ready(stack, {"me": PERSON, "me2": USER})
        await _posts_are_saved(stack, files / "saveany-bot/downloads")

        config = stack.config_file.read_bytes()
        again = await imported(stack, files, "--yes")
        assert (again["steps"], stack.config_file.read_bytes()) == ([], config)
        await _settings_are_here(stack)
        assert {name for name in reasons(done) if name.startswith("user")} == {
            f"user {USER}: default storage second",
            f"user {USER}: silent mode",
            f"user {USER}: watched chat -1001500000001",
        }


async def _settings_are_here(stack: Stack) -> None:
    async def get(route: str) -> Any:
        return (await stack.client.get(f"/api/v1/{route}", params={"user_id": PERSON})).json()

    async def knows_user() -> bool:
        return bool((await get("preferences")).get("user_id") == PERSON)

    await until(knows_user)  # within seconds the processes that run follow the configuration
    preferences = await get("preferences")
    wanted = {
        "silent": False,
        "storage": "nas",
        "folder": "Films",
        "on_conflict": "rename",
        "template": "{{.msgdate}}_{{.origname}}",
        "shortcuts": [{"storage": "nas", "folder": "Films"}, {"storage": "second", "folder": "Music"}],
    }
    assert {name: preferences[name] for name in wanted} == wanted
    rules = await get("rules")
    assert (rules["is_on"], rules["rules"]) == (
        True,
        [
            r"name=(?-i:S\d+E\d+) -> :Series",
            "album=yes -> nas:{{ folder }}/{{ album }}",
            "text=(?-i:#keep) -> nas:Keep",
            r"name=\.(mp3|flac)$ -> second:Music",
            r"name=\.(mp4|mkv|ts|avi)$ -> nas:Videos",
        ],
    )
    archives = (await get("archives"))["archives"]
    assert sorted(each["chat_id"] for each in archives) == [-1001500000002, -1001500000001]


async def _accounts_are_ready(stack: Stack, wanted: dict[str, int]) -> None:
    async def ready() -> bool:
        found = (await stack.client.get("/api/v1/accounts")).json()["accounts"]
        users = [each for each in found if each["ready"] and not each["is_bot"]]
        return {each["name"]: each["user_id"] for each in users} == wanted

    await until(ready, within=30)


async def _posts_are_saved(stack: Stack, folder: Path) -> None:
    """Posts in a channel that only the imported login can read go where the imported rules send them."""
    posts = {"a.txt": "season 1 #keep", "b.txt": "#keep", "S01E01.mkv": "Season 2", "c.txt": "season 3"}
    world = stack.sandbox.world
    for number, (name, text) in enumerate(posts.items()):
        content = LiteralContent(name.encode())
        file = world.add_file(StoredFile(id=95_000 + number, content=content, name=name))
        world.send(world.chats[1500000002], StoredMessage(id=0, text=text, file=file))

    def saved() -> bool:
        found = [str(each.relative_to(folder)) for each in folder.glob("*/*") if each.is_file()]
        names = sorted(re.sub("/.*_", "/", each) for each in found)
        return names == ["Films/c.txt", "Keep/a.txt", "Series/S01E01.mkv"]

    await until(saved, within=30)


async def test_without_a_configuration_that_of_saveany_bot_is_taken(stack: Stack, files: Path) -> None:
    """Its relative paths lead where they led before."""
    folder = stack.folder / "new"
    folder.mkdir()
    plan = await in_folder(stack, folder, files / "saveany-bot", "--json")
    assert json.loads(plan.out)["steps"]
    assert list(folder.iterdir()) == []
    result = await in_folder(stack, folder, files / "saveany-bot", "--yes")
    assert result.code == 0, result.err
    file = folder / "config.toml"
    found = tomllib.loads(file.read_text())
    assert [each["base_path"] for each in found["storages"]] == [
        str(files / "saveany-bot/downloads"),
        str(files / "saveany-bot/second"),
    ]
    assert [each["id"] for each in found["users"]] == [PERSON, USER]
    assert file.stat().st_mode & 0o077 == 0
    assert "login account me: Sandbox User" in result.out
    again = await in_folder(stack, folder, files / "saveany-bot", "--yes")
    assert again.out.startswith("Nothing to do.")


async def in_folder(stack: Stack, folder: Path, *words: str | Path) -> Result:
    """`saveany import WORDS` in a folder, without a configuration that is named."""
    sandbox = {
        "SAVEANY_TELEGRAM_DC_ADDRESS": stack.sandbox.address,
        "SAVEANY_TELEGRAM_DC_PUBLIC_KEY": str(stack.sandbox.public_key_file),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "saveany", "import", *map(str, words)),
        cwd=folder,
        env={**os.environ, **sandbox},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Result(process.returncode or 0, out.decode(), err.decode())


async def test_logins_that_do_not_move(stack: Stack, files: Path) -> None:
    """Each is named with the reason, and stored nowhere: one that is used elsewhere, a dead one, a bot."""
    for fault, path, expected in (
        ("revoke=AUTH_KEY_DUPLICATED,count=1", "tdl/backup.tdl", "AUTH_KEY_DUPLICATED"),
        ("revoke,count=1", "saveany-bot/data/usersession.db", "AUTH_KEY_UNREGISTERED"),
    ):
        stack.sandbox.faults.add(fault)
        done = await imported(stack, files / path, "--yes", code=1)
        assert expected in done["steps"][0]["problem"]
    done = await imported(stack, files / "saveany-bot/data/session.db", "--yes", code=1)
    assert "login of a bot" in done["steps"][0]["problem"]
    assert logins(stack) == []


async def test_an_account_that_is_logged_in_already(stack: Stack, files: Path) -> None:
    """The same login is taken once, from whatever files. Another login of the account changes nothing."""
    everything = [files / "telethon", files / "tdl/backup.tdl", files / "tdl/data", files / "pyrogram"]
    done = await imported(stack, *everything, "--yes")
    assert sorted(each["note"] for each in done["steps"]) == [
        f"Sandbox Person, user {PERSON}",
        f"Sandbox User, user {USER}",
    ]
    async with telethon(stack.sandbox) as client:
        phone, code = stack.sandbox.phone, stack.sandbox.login_code
        sent = await client.send_code_request(phone)
        await client.sign_in(phone, code, phone_code_hash=sent.phone_code_hash)
        (files / "other").write_text(StringSession.save(client.session))
    done = await imported(stack, files / "other", "--yes", code=1)
    assert "logged in already" in done["steps"][0]["problem"]
    assert logins(stack) == ["me", "me2"]
    again = await imported(stack, *everything, "--yes")
    assert again["steps"] == []
    assert {each for each in reasons(again).values() if "here already" not in each} == set()


async def test_the_question_shows_the_plan_first(stack: Stack, files: Path) -> None:
    """A no changes nothing. Without a terminal it says what to do. stdin may hold a session string."""
    string = json.loads((files / "telethon/strings.json").read_text())["person"]
    result = await stack.saveany("import", "-", stdin=string.encode())
    assert result.code == 2
    assert "add --yes" in result.err
    assert "Telethon: stdin" in result.out
    assert string not in result.out + result.err
    for reply, code in (("n", 130), ("y", 0)):
        async with Terminal(stack.argv("import", str(files / "tdl"))) as terminal:
            await terminal.expect("Do this?")
            assert "account me" in terminal.shown
            assert logins(stack) == []
            terminal.type(f"{reply}\n")
            assert await terminal.end() == code
    assert logins(stack) == ["me"]
