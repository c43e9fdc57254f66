"""Files that another program has saved are adopted; only the rest is fetched."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from saveany.client import AsyncClient
from saveany.client.archives_requests import adopt_folder
from saveany.sandbox import samples
from saveany.sandbox.model import Group
from saveany.sandbox.world import Chat
from tests.acceptance.archives.harness import ArchiveHarness
from tests.fixtures.stack import STORAGE, USER_ID

pytestmark = pytest.mark.asyncio(loop_scope="module")

_PLACEHOLDER = "(File not included. Change data exporting settings to download.)"


def _content(chat: Chat, message: int) -> bytes:
    content = chat.messages[message].files[0].content
    return content.read(0, content.size)


def _save(harness: ArchiveHarness, path: str, content: bytes) -> None:
    file: Path = harness.stack.storage_dir / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


async def test_case_24_an_export_of_telegram_desktop_is_adopted(
    harness: ArchiveHarness, tmp_path: Path
) -> None:
    world = harness.world
    group = world.private_chats.add_group(Group(id=900_000_077, title="Old", members={samples.USER.id}))
    older = world.private_chats.side(world.accounts[samples.USER.id], group)
    old = harness.post(older, size=500)
    chat = harness.channel("Exported", broadcast=False)
    world.migrate(group, chat)
    there = [harness.post(chat, size=1000 + n) for n in range(3)]
    absent = harness.post(chat, size=2000)
    other_size = harness.post(chat, size=3000)
    hostile = harness.post(chat, size=4000)
    unnamed = harness.post(chat, size=5000)
    wrong = harness.post(chat, size=6000)
    _save(harness, "export/files/old.bin", _content(older, old))
    for each in there:
        _save(harness, f"export/files/{each}.bin", _content(chat, each))
    _save(harness, "export/files/other.bin", b"x" * 2999)
    _save(harness, "hostile.bin", _content(chat, hostile))
    _save(harness, "export/files/renamed.bin", _content(chat, unnamed))
    _save(harness, "export/files/6000.bin", b"y" * 6000)
    messages = [
        {"id": old - 1_000_000_000, "file": "files/old.bin", "text": "VT:\x00"},
        *({"id": each, "file": f"files/{each}.bin"} for each in there),
        {"id": absent, "file": _PLACEHOLDER},
        {"id": other_size, "file": "files/other.bin"},
        {"id": hostile, "file": "../hostile.bin"},
        {"id": 9999, "file": "files/never-there.bin"},
    ]
    export = tmp_path / "result.json"
    text = json.dumps({"name": "Exported", "id": chat.id, "messages": messages})
    export.write_text(text.replace("\\u0000", "\\x0b"))
    before = harness.counters.bytes()
    command = ["archive", "adopt", f"@{chat.username}", "export", "--from", str(export), "--account", "user"]
    tried = await harness.stack.saveany(*command, "--trial")
    assert tried.code == 0, tried
    assert f"export/files/{there[0]}.bin: message {there[0]}" in tried.out
    assert "export/files/renamed.bin: unknown message" in tried.out
    assert chat.title not in (await harness.stack.saveany("archive", "list")).out
    result = await harness.stack.saveany(*command)
    assert result.code == 0, result
    assert "7 files found, 5 belong to known messages" in result.err
    archive = result.out.split()[0]
    found = await harness.reaches(archive)
    fetched = [absent, other_size, hostile, wrong]
    assert harness.counters.bytes() - before == 2000 + 3000 + 4000 + 6000
    assert (found["counts"]["saved"], found["unaccounted"]) == (9, 0)
    saved = {(each["chat"], each["message"]): each for each in await harness.messages(archive, "saved")}
    adopted = {message for (_, message), each in saved.items() if not each["task_id"]}
    assert adopted == {old, *there, unnamed}
    assert {message for (_, message), each in saved.items() if each["task_id"]} == set(fetched)
    assert (await harness.stack.saveany("archive", "verify", archive)).code == 0
    # The contents of adopted files are known from the first verification on.
    assert (await harness.stack.saveany("archive", "verify", archive, "--hash")).code == 0
    _save(harness, "export/files/renamed.bin", b"z" * 5000)
    result = await harness.stack.saveany("archive", "verify", archive, "--hash")
    assert f"message {unnamed}: has changed in the storage" in result.out
    assert result.out.count("has changed") == 1


async def test_the_size_of_an_export_is_no_matter_of_memory(harness: ArchiveHarness, tmp_path: Path) -> None:
    """200 MB here. One of 3 GB, with 1,500,000 messages, took as much memory, and 32 s of CPU time."""
    chat = harness.channel("Long")
    first, last = (harness.post(chat, size=1000) for _ in range(2))
    _save(harness, "long/first.bin", _content(chat, first))
    _save(harness, "long/last.bin", _content(chat, last))
    small, large = tmp_path / "small.json", tmp_path / "large.json"
    _export(small, chat.id, {first: "first.bin"}, 0)
    _export(large, chat.id, {first: "first.bin", last: "last.bin"}, 200_000_000)
    peaks = []
    for export in (small, large):
        assert harness.stack.api
        process = Path(f"/proc/{harness.stack.api.pid}")
        (process / "clear_refs").write_text("5")  # the peak begins anew
        told = await harness.stack.saveany(
            "archive", "adopt", f"@{chat.username}", "long", "--from", str(export), "--trial"
        )
        assert told.code == 0, told
        [peak] = re.findall(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
        peaks.append(int(peak))
    assert "2 files found, 2 belong to known messages" in told.err
    assert "large.json is incomplete; the messages before its end are used" in told.err
    assert peaks[1] - peaks[0] < 32 << 10


def _export(path: Path, chat: int, files: dict[int, str], size: int) -> None:
    """Write an export of at least `size` bytes that ends in the middle. Its other files are not in the
    storage."""
    text = "words " * 320
    with path.open("w") as file:
        file.write(f'{{"name": "Long", "type": "public_channel", "id": {chat}, "messages": [')
        known = ",".join(json.dumps({"id": id_, "file": name}) for id_, name in files.items())
        for number in range(1000, 1000 + size // 2000):
            media = f"files/a file with a rather long name {number}.bin"
            file.write(f'{{"id": {number}, "type": "message", "file": "{media}", "text": "{text}"}},')
        file.write(f'{known}, {{"id": 5, "file": "fi')


async def test_files_named_by_other_downloaders_are_adopted(harness: ArchiveHarness) -> None:
    chat = harness.channel("Downloaded")
    first, second, third = (harness.post(chat, size=100, name=f"{n}.bin") for n in range(3))
    _save(harness, f"tdl/{chat.id}_{first}_0.bin", _content(chat, first))
    _save(harness, f"tdl/{second} - 1.bin", _content(chat, second))
    _save(harness, f"tdl/{chat.id + 1}_{third}_2.bin", b"x" * 100)
    before = harness.counters.bytes()
    result = await harness.stack.saveany("archive", "adopt", f"@{chat.username}", "tdl")
    assert "3 files found, 2 belong to known messages" in result.err, result
    found = await harness.reaches(result.out.split()[0])
    assert found["counts"]["saved"] == 3
    assert harness.counters.bytes() - before == 100


async def test_an_export_of_another_chat_is_refused(harness: ArchiveHarness, tmp_path: Path) -> None:
    chat = harness.channel("Mistaken")
    _save(harness, "mistaken/a.bin", b"a")
    export = tmp_path / "result.json"
    export.write_text(json.dumps({"id": chat.id + 1, "messages": [{"id": 1, "file": "a.bin"}]}))
    result = await harness.stack.saveany(
        "archive", "adopt", f"@{chat.username}", "mistaken", "--from", str(export)
    )
    assert result.code != 0
    assert "is the export of another chat" in result.err
    assert chat.title not in (await harness.stack.saveany("archive", "list")).out


async def test_over_http_a_trial_changes_nothing_and_a_repetition_neither(harness: ArchiveHarness) -> None:
    chat = harness.channel("Adopted twice")
    first, second = (harness.post(chat, size=500) for _ in range(2))
    _save(harness, "twice/deep/first.bin", _content(chat, first))
    _save(harness, "twice/a.partial", b"unfinished")
    export = json.dumps({"id": chat.id, "messages": [{"id": first, "file": "deep/first.bin"}]}).encode()
    client, url = harness.stack.client, "/api/v1/archives/adopt"
    params: dict[str, str | int] = {"chat": f"@{chat.username}", "dir_path": "/twice", "user_id": USER_ID}
    tried = await client.post(url, params={**params, "trial": True}, content=export)
    assert tried.status_code == 200, tried.text
    assert tried.json() == {
        "archive": None,
        "chat_id": -1_000_000_000_000 - chat.id,
        "title": chat.title,
        "storage": STORAGE,
        "dir_path": "twice",
        "files": 1,
        "bytes": 500,
        "known": 1,
        "truncated": False,
        "examples": [{"path": "twice/deep/first.bin", "size": 500, "message": first}],
    }
    async with AsyncClient(harness.stack.url, harness.stack.token) as typed:
        name, user = f"@{chat.username}", USER_ID
        same = await typed.send(
            adopt_folder(export, chat=name, dir_path="twice", user_id=user, trial=True, storage=STORAGE)
        )
        assert same == tried.json()
        whole = await typed.send(adopt_folder(b"", chat=name, dir_path="/", user_id=user, trial=True))
    assert whole["dir_path"] == "/"
    assert "twice/deep/first.bin" in {each["path"] for each in whole["examples"]}
    assert await _archives(harness, chat) == []
    for wrong, field in (
        ({"dir_path": "nowhere"}, ""),
        ({"dir_path": "../x"}, "dir_path"),
        ({"storage": "nope"}, ""),
        ({"chat": "@nosuchchatatall"}, ""),
    ):
        reply = await client.post(url, params={**params, **wrong}, content=export)
        assert reply.status_code in (400, 404), reply.text
        assert [each["field"] for each in reply.json().get("details", [])] == ([field] if field else [])
    reply = await client.post("/api/v1/archives", json={"chat": f"@{chat.username}", "dir_path": "../x"})
    assert [each["field"] for each in reply.json()["details"]] == ["dir_path"]
    for content in (b"PK\x03\x04 a picture", b"", b" ", b'{"id": 1}'):
        reply = await client.post(url, params={**params, "trial": True}, content=content)
        assert reply.status_code == (400 if content else 200), reply.text
    assert await _archives(harness, chat) == []
    done = await client.post(url, params=params, content=export)
    assert done.status_code == 200, done.text
    again = await client.post(url, params=params, content=export)
    assert again.status_code == 409, again.text
    archive = done.json()["archive"]["id"]
    assert archive in again.json()["message"]
    found = await harness.reaches(archive)
    assert (found["counts"]["saved"], found["unaccounted"]) == (2, 0)
    saved = {each["message"]: bool(each["task_id"]) for each in await harness.messages(archive, "saved")}
    assert saved == {first: False, second: True}
    fetched = chat.messages[second].files[0].name
    assert set(harness.files("twice")) == {"a.partial", "deep/first.bin", fetched}


async def _archives(harness: ArchiveHarness, chat: Chat) -> list[str]:
    found = (await harness.stack.client.get("/api/v1/archives")).json()["archives"]
    return [each["id"] for each in found if each["title"] == chat.title]
