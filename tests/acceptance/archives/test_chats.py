"""What is in chats is looked at before it is saved: the chats of an account, their files, and a trial of
rules."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from saveany.sandbox import samples
from tests.acceptance.archives.harness import ArchiveHarness
from tests.fixtures.stack import STORAGE, USER_ID
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def post(harness: ArchiveHarness, path: str, **body: Any) -> Any:
    reply = await harness.stack.client.post(f"/api/v1/{path}", json={"user_id": USER_ID, **body})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_the_chats_of_an_account_are_listed(harness: ArchiveHarness) -> None:
    chat = harness.channel("Listed")
    harness.post(chat)
    accounts = (await harness.stack.client.get("/api/v1/accounts")).json()["accounts"]
    [name] = [each["name"] for each in accounts if not each["is_bot"]]
    reply = await harness.stack.client.get("/api/v1/chats", params={"account": name})
    assert reply.status_code == 200, reply.text
    found = {each["chat"]: each for each in reply.json()["chats"]}
    listed = found[f"@{chat.username}"]
    assert (listed["title"], listed["kind"]) == ("Listed", "channel")
    dates = [each["last_at"] or "" for each in reply.json()["chats"]]
    assert dates == sorted(dates, reverse=True)
    refused = await harness.stack.client.get("/api/v1/chats", params={"account": "nobody"})
    assert refused.status_code in (404, 409), refused.text


async def test_files_of_a_chat_are_filtered_and_saved_by_their_links(harness: ArchiveHarness) -> None:
    chat = harness.channel("Picked", username="", members={samples.USER.id})
    harness.post(chat, name="old.mkv", size=2000)
    harness.say(chat, 150)
    harness.post(chat, name="small.mkv", size=20)
    harness.post(chat, name="wanted.mkv", size=3000, text="the film")
    named = f"-100{chat.id}"
    found = await post(harness, "chats/files", chat=named, filter={"name": "film|mkv$", "min_size": 1000})
    assert [each["name"] for each in found["files"]] == ["wanted.mkv"]
    assert found["files"][0]["text"] == "the film"
    older = await post(
        harness, "chats/files", chat=named, filter={"min_size": 1000}, before=found["next_before"]
    )
    assert [each["name"] for each in older["files"]] == ["old.mkv"]
    assert older["next_before"] is None
    body = {
        "type": "tgfiles",
        "storage": STORAGE,
        "path": "picked",
        "user_id": USER_ID,
        "params": {"message_links": [found["files"][0]["link"]]},
    }
    reply = await harness.stack.client.post("/api/v1/tasks", json=body)
    assert reply.status_code == 201, reply.text
    await until(lambda: harness.files("picked") == ["wanted.mkv"], within=60)


async def test_rules_are_tried_on_the_newest_messages(harness: ArchiveHarness) -> None:
    chat = harness.channel("Sorted")
    harness.post(chat, name="too old.mkv")
    harness.say(chat, 49)
    harness.post(chat, name="film.mkv")
    rules = [rf"name=\.mkv$ -> {STORAGE}:Films/{{{{ chat }}}}"]
    tried = await post(harness, "rules/test-chat", chat=f"@{chat.username}", rules=rules)
    [film] = tried["files"]
    assert (film["name"], film["storage"], film["rule"]) == ("film.mkv", STORAGE, rules[0])
    assert film["path"] == f"Films/{chat.username}/film.mkv"
    tried = await post(harness, "rules/test-chat", chat=f"@{chat.username}", rules=[])
    assert [each["rule"] for each in tried["files"]] == [""]
    reply = await harness.stack.client.post(
        "/api/v1/rules/test-chat", json={"chat": "@x", "rules": ["size>"], "user_id": USER_ID}
    )
    assert (reply.status_code, reply.json()["details"][0]["field"]) == (400, "rules[0]")


async def test_rules_of_a_user_without_storages_are_refused(harness: ArchiveHarness) -> None:
    chat = harness.channel("Unsaved")
    await harness.change_user(storages=[STORAGE], blacklist=True)
    body = {"chat": f"@{chat.username}", "rules": [], "user_id": USER_ID}
    reply = await harness.stack.client.post("/api/v1/rules/test-chat", json=body)
    await harness.change_user(storages=None, blacklist=None)
    assert reply.status_code == 403, reply.text
    assert "may use no storage" in reply.json()["message"]


async def test_files_before_any_date_are_listed(harness: ArchiveHarness) -> None:
    chat = harness.channel("Any date")
    harness.post(chat, name="a.mkv")
    for date, names in (("0001-01-01T00:00:00+14:00", []), ("9999-12-31T23:59:59-14:00", ["a.mkv"])):
        found = await post(harness, "chats/files", chat=f"@{chat.username}", filter={"before": date})
        assert [each["name"] for each in found["files"]] == names


async def test_chats_are_listed_in_the_terminal(harness: ArchiveHarness) -> None:
    chat = harness.channel("Of the terminal")
    harness.post(chat)
    found = await harness.stack.saveany("chats", "terminal", "--kind", "channel")
    assert found.code == 0, found
    assert [line.split()[:2] for line in found.out.splitlines()] == [
        ["CHAT", "KIND"],
        [f"@{chat.username}", "channel"],
    ]
    printed = await harness.stack.saveany("chats", "OF THE", "--json", "--account", "user")
    assert [each["title"] for each in json.loads(printed.out)["chats"]] == ["Of the terminal"]
    assert "no chat matches" in (await harness.stack.saveany("chats", "terminal", "--kind", "bot")).err
    assert "there is no kind bots" in (await harness.stack.saveany("chats", "--kind", "bots")).err


async def test_an_export_is_a_list_that_can_be_saved(harness: ArchiveHarness, tmp_path: Path) -> None:
    """Oldest first, an album as a whole although a page ends in it; it is continued where it broke off."""
    chat = harness.channel("To export")
    first = harness.post(chat, name='a "quoted"\nname.mkv', text="one,\ntwo")
    harness.say(chat, 97)
    album = [harness.post(chat, name=f"{n}.jpg", album=7, text="both" * (n == 1)) for n in range(2)]
    last = harness.post(chat, name="last.mkv")
    named = f"@{chat.username}"

    async def exported(*words: str) -> list[dict[str, Any]]:
        result = await harness.stack.saveany("export", named, *words)
        assert result.code == 0, result
        return [json.loads(line) for line in result.out.splitlines()]

    assert [each["message"] for each in await exported()] == [first, *album, last]
    assert [each["message"] for each in await exported("--name", "both")] == album
    assert [
        each["message"]
        for each in await exported("--after-message", f"{first}", "--last-message", f"{album[1]}")
    ] == album
    assert await exported("--kind", "voice") == []
    assert await exported("--before", "2001-01-01") == []
    assert len(await exported("--after", "2001-01-01", "--before", "2100-01-01")) == 4
    for file, broken in ((tmp_path / "list.jsonl", 30), (tmp_path / "list.csv", 30)):
        words = ["export", named, "-o", str(file)]
        result = await harness.stack.saveany(*words)
        assert "list" in result.err, result
        assert ": 4 files" in result.err
        whole = file.read_bytes()
        file.write_bytes(whole[:-broken])
        assert "--resume" in (await harness.stack.saveany(*words)).err
        assert ": 4 files" in (await harness.stack.saveany(*words, "--resume")).err
        assert file.read_bytes() == whole
        saved = await harness.stack.saveany("add", "-f", str(file), "--dir", file.suffix[1:])
        assert (saved.code, "4 links in 1 task" in saved.err) == (0, True), saved
        assert len((await harness.stack.ended(saved.out.strip()))["items"]) == 4
    rows = list(csv.DictReader(io.StringIO(whole.decode())))
    assert (rows[0]["text"], rows[0]["message"]) == ("one,\ntwo", f"{first}")


async def test_a_table_has_no_formulas(harness: ArchiveHarness) -> None:
    chat = harness.channel("Hostile")
    names = ['=HYPERLINK("http://x")', "+1.bin", "-1.bin", "@SUM(A1).bin", "a;=1.bin", "a-b;c=d @e.bin"]
    for name in names:
        harness.post(chat, name=name, text=f"{name}\n=2\t=3\r\n+4")
    body = {"chat": f"@{chat.username}", "user_id": USER_ID, "format": "csv"}
    reply = await harness.stack.client.post("/api/v1/chats/export", json=body)
    for delimiter in ",;\t":
        cells = [
            cell
            for row in csv.reader(io.StringIO(reply.text, newline=""), delimiter=delimiter)
            for cell in row
        ]
        assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r"))]
    found = [row["name"] for row in csv.DictReader(io.StringIO(reply.text, newline=""))]
    assert (len(found), found[-1]) == (len(names), "a-b;c=d @e.bin")


async def test_one_user_cannot_export_everything_at_once(harness: ArchiveHarness) -> None:
    chat = harness.channel("In demand")
    harness.post(chat)
    body = {"chat": f"@{chat.username}", "user_id": USER_ID}

    async def exported() -> httpx.Response:
        return await harness.stack.client.post("/api/v1/chats/export", json=body)

    async def broken_off() -> None:
        with pytest.raises(httpx.TimeoutException):
            await harness.stack.client.post("/api/v1/chats/export", json=body, timeout=0.3)

    slow = harness.faults.add("delay=1,method=messages.getHistory")
    replies = await asyncio.gather(exported(), exported(), exported())
    await asyncio.gather(broken_off(), broken_off())
    harness.faults.remove(slow)
    assert sorted(each.status_code for each in replies) == [200, 200, 429]
    [refused] = [each for each in replies if each.status_code == 429]
    assert "2 chats are being exported" in refused.json()["message"]
    assert int(refused.headers["retry-after"]) > 0

    async def has_room() -> bool:
        replies = await asyncio.gather(exported(), exported())
        return [each.status_code for each in replies] == [200, 200]

    await until(has_room)


async def test_an_export_that_is_refused(harness: ArchiveHarness, tmp_path: Path) -> None:
    file = tmp_path / "none.jsonl"
    result = await harness.stack.saveany("export", "@no_such_chat", "-o", str(file))
    assert (result.code, file.exists()) == (1, False), result
    assert "nobody has this username" in result.err
    file.write_text("not an export\n")
    result = await harness.stack.saveany("export", "@no_such_chat", "-o", str(file), "--resume")
    assert (result.code, file.read_text()) == (2, "not an export\n")
    for words, reason in (
        (["--name", "["], "RE2"),
        (["--kind", "film"], "filter.kinds"),
        (["--after", "x"], "after"),
        (["--format", "xml"], "jsonl or csv"),
    ):
        result = await harness.stack.saveany("export", "@channel", *words)
        assert (result.code > 0, "Traceback" in result.err) == (True, False)
        assert reason in result.err
