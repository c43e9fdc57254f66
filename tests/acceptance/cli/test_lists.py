"""Lists of links become tasks: from a file, from the standard input, and over HTTP."""

from __future__ import annotations

import gzip
import json
import re
from asyncio import StreamReader, StreamWriter
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.stack import STORAGE, Stack
from tests.fixtures.tcp import tcp_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOVING_IN = Path(__file__).parents[2] / "data/moving_in"
LIST = """\ufeff# the start
https://t.me/channel/123

t.me/channel/124   # a comment
https://t.me/Channel/123
tg://openmessage?user_id=5&message_id=7
https://t.me/channel
nothing
https://t.me/c/1500000099/5
"""


async def saved(stack: Stack, content: bytes, **params: Any) -> dict[str, Any]:
    """The reply to a list that is accepted."""
    reply = await stack.client.post("/api/v1/tasks/list", content=content, params=params)
    assert reply.status_code == 201, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def paths(stack: Stack, task_id: str) -> list[str]:
    return [item["path"] for item in (await stack.ended(task_id))["items"]]


async def test_a_list_becomes_one_task_and_wrong_lines_are_named(running: Stack, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(LIST.encode().replace(b"\n", b"\r\n"))
    options = ["--dir", "listed", "--storage", STORAGE, "--priority", "3", "--on-conflict", "skip"]
    result = await running.saveany("add", "-f", str(file), *options)
    assert result.code == 1
    problems = re.findall(r"error: line (\d+): (.*)", result.err)
    assert [int(number) for number, _ in problems] == [6, 7, 8]
    assert "another user's private chat" in problems[0][1]
    assert "names a chat but no message" in problems[1][1]
    assert "not supported" in problems[2][1]
    assert "3 links in 1 task, 1 that occur again, 3 left out" in result.err
    [task_id] = result.out.split()
    task = await running.ended(task_id)
    assert [item["path"] for item in task["items"] if item["status"] == "completed"] == [
        "listed/file.pdf",
        "listed/one-byte.bin",
    ]
    [failed] = [item for item in task["items"] if item["status"] == "failed"]
    assert "not a member of the chat" in failed["error"]


async def test_standard_input_and_what_is_printed(running: Stack) -> None:
    file = "link,note\nhttps://t.me/channel/123,a\nhttps://t.me/channel/123,b\n,c\n"
    result = await running.saveany(
        "add", "-f", "-", "--json", "--dir", "csv", "--name", "one.pdf", stdin=file.encode()
    )
    assert result.code == 1, result
    printed = json.loads(result.out)
    assert (printed["format"], printed["links"], printed["duplicates"], printed["refused"]) == (
        "csv",
        1,
        1,
        1,
    )
    assert [(each["line"], each["reason"]) for each in printed["problems"]] == [(4, "there is no link")]
    assert await paths(running, printed["tasks"][0]["task_id"]) == ["csv/one.pdf"]
    followed = await running.saveany("add", "-f", "-", "--follow", "--dir", "x", stdin=b"t.me/channel/124\n")
    assert followed.code == 0, followed
    assert json.loads(followed.out.splitlines()[-1])["status"] == "completed"


async def test_a_pipe_is_a_list(running: Stack) -> None:
    process = await running.popen("add", "-f", "-", "--dir", "piped")
    out, err = await process.communicate(b"t.me/channel/124\n" * 20_000)
    assert "1 link in 1 task, 19,999 that occur again" in err.decode()
    assert await paths(running, out.decode().strip()) == ["piped/one-byte.bin"]


async def test_an_export_whose_connection_breaks_goes_on(running: Stack, tmp_path: Path) -> None:
    """After the last message that is complete. It gives up once nothing more comes."""
    asked: list[int] = []
    lines = [f'{{"message": {n}}}\n'.encode() for n in range(1, 5)]

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.findall(rb"(?i)content-length: (\d+)", head)[0])
        asked.append(json.loads(await reader.readexactly(length))["after_message"])
        text = b"".join(lines[asked[-1] : asked[-1] + 2])[: 25 if len(asked) == 1 else 99]
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%b\r\n" % (len(text), text) if text else b"")
        await writer.drain()

    file = tmp_path / "list.jsonl"
    async with tcp_server(serve) as server:
        words = ["export", "@x", "-o", str(file), "--url", f"http://127.0.0.1:{server.port}"]
        result = await running.saveany(*words)
    assert (asked, result.code) == ([0, 1, 3, 4], 1), result
    assert file.read_bytes() == b"".join(lines)
    assert "--resume continues the file" in result.err


@pytest.mark.parametrize(
    ("words", "stdin", "reason"),
    [
        ([], "", "LINK or -f FILE is missing"),
        (["-f", "-", "https://t.me/channel/123"], "", "not both"),
        (["-f", "/nonexistent"], "", "no file /nonexistent"),
        (["-f", "-"], "", "the list is empty"),
        (["-f", "-"], "# nothing\n", "no links in this list"),
        (["-f", "-"], "# one\r\n\r\n  # two\r\n", "no links in this list"),
        (["-f", "-"], "PNG\0\1", "not a text file"),
        (["-f", "-"], "t.me/channel/123\n".encode("utf-16-le"), "not a text file in UTF-8"),
        (["-f", "-"], gzip.compress(b"t.me/channel/123\n"), "packed file; unpack it"),
        (["-f", "-"], b"PK\3\4\x14\0\6\0", "export a spreadsheet as CSV"),
        (["-f", "-"], '{"about": "x"}\n', "there is no link"),
        (["-f", "-"], '{\n"about": "x"}\n', "no export of Telegram Desktop or tdl"),
        (["-f", "-"], "n,addr\n1,t.me/channel/123\n", "The columns are: n, addr"),
        (["-f", "-", "--column", "x"], "n,addr\n1,t.me/channel/123\n", "no column is called x"),
        (["-f", "-", "--name", "a"], "t.me/channel/123\nt.me/channel/124\n", "single link"),
        (["-f", "-", "--storage", "nope"], "t.me/channel/123\n", "'nope'"),
        (["-f", "-", "--type", "transfer"], "t.me/channel/123\n", "needs more than a link"),
        (["https://t.me/channel/123", "--column", "x"], "", "is for a list"),
    ],
)
async def test_what_is_wrong_is_said(
    running: Stack, words: list[str], stdin: str | bytes, reason: str
) -> None:
    result = await running.saveany("add", *words, stdin=stdin.encode() if isinstance(stdin, str) else stdin)
    assert (result.code in (1, 2), result.out) == (True, ""), result
    assert reason in result.err
    assert "bug" not in result.err


@pytest.mark.parametrize(
    ("text", "encoding", "format_"),
    [
        ("# from PowerShell\r\nt.me/channel/123\r\nnothing\r\nt.me/channel/124\r\n", "utf-16", "links"),
        ('Name;Link\r\nA;t.me/channel/123\r\n"=1;2";nothing\r\nC;t.me/channel/124\r\n', "utf-8-sig", "csv"),
        ("sep=;\rGr\xf6\xdfe;URL\r5;nothing\r1,5;t.me/channel/123\r2,0;t.me/channel/124", "cp1252", "csv"),
    ],
)
async def test_lists_as_windows_and_excel_write_them(
    running: Stack, text: str, encoding: str, format_: str
) -> None:
    """The wrong line is the third one."""
    found = await saved(running, text.encode(encoding), dir_path="windows")
    assert (found["format"], found["links"]) == (format_, 2)
    assert [(each["line"], each["link"]) for each in found["problems"]] == [(3, "nothing")]


async def test_exports_of_other_programs_are_lists(running: Stack) -> None:
    """As these programs have written them; the messages that have no file in them are left out."""
    desktop = await saved(running, (MOVING_IN / "desktop/result.json").read_bytes(), dir_path="desktop")
    assert (desktop["format"], desktop["refused"]) == ("export", 1)
    assert "before the group became a supergroup" in desktop["problems"][0]["reason"]
    assert desktop["problems"][0]["message"] == -999999990
    assert "desktop/file.pdf" in await paths(running, desktop["tasks"][0]["task_id"])
    export = json.loads((MOVING_IN / "tdl/export.json").read_text())
    export["messages"] = [each for each in export["messages"] if each["id"] in (144, 124, 123)]
    tdl = await saved(running, json.dumps(export).encode(), dir_path="tdl")
    assert (tdl["links"], tdl["without_file"], tdl["refused"]) == (2, 1, 0)
    assert await paths(running, tdl["tasks"][0]["task_id"]) == ["tdl/one-byte.bin", "tdl/file.pdf"]


async def test_exports_that_cannot_be_saved(running: Stack) -> None:
    private = {"type": "personal_chat", "id": 5, "messages": [{"id": n, "file": "x"} for n in range(1, 4)]}
    found = await saved(running, json.dumps(private).encode())
    assert found["tasks"] == []
    assert [(each["message"], each["count"]) for each in found["problems"]] == [(1, 3)]
    assert "archive the chat" in found["problems"][0]["reason"]
    unknown = {"id": 1500000099, "messages": [{"id": n, "file": "x"} for n in range(1, 3001)]}
    cut = json.dumps(unknown).encode()[:-20]
    found = await saved(running, cut)
    assert found["truncated"]
    task = await running.ended(found["tasks"][0]["task_id"])
    assert task["status"] == "failed"
    assert "not a member of the chat" in task["error"]


async def test_a_repeated_request_makes_no_second_task(running: Stack) -> None:
    headers = {"Idempotency-Key": "list-1"}
    address, content = "/api/v1/tasks/list", "link\nt.me/channel/124\n".encode("utf-16")
    first, again = [
        (await running.client.post(address, content=content, headers=headers)).json()["tasks"]
        for _ in range(2)
    ]
    assert first == again
    other = await running.client.post(address, content=b"t.me/channel/123", headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, 422)


async def test_a_list_for_another_user_is_refused(running: Stack) -> None:
    reply = await running.client.post(
        "/api/v1/tasks/list", content=b"t.me/channel/123", params={"user_id": 7}
    )
    assert reply.status_code == 403
