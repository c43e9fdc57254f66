"""`saveany add`, `ls`, `show`, `cancel` and `retry` with a running SaveAny."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from saveany.models import Item, Progress, Status
from saveany.store import Store, connect
from tests.fixtures.servers import free_port
from tests.fixtures.stack import STORAGE, USER_ID, Stack
from tests.fixtures.tcp import tcp_server
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

PDF, SLOW, MISSING = "https://t.me/channel/123", "https://t.me/channel/128", "https://t.me/channel/9999"
ID = re.compile(r"[0-9a-z]{20}")


async def run(stack: Stack, *words: str, **env: str) -> str:
    """The output of a command that succeeds."""
    result = await stack.saveany(*words, env=env)
    assert (result.code, result.err) == (0, "")
    return result.out


async def fails(stack: Stack, *words: str, code: int = 1, **env: str) -> str:
    """The errors of a command that fails; never a traceback."""
    result = await stack.saveany(*words, env=env)
    assert result.code == code, result.out + result.err
    assert "Traceback" not in result.err
    assert "bug" not in result.err
    return result.err


async def ids(stack: Stack, *words: str) -> list[str]:
    out = await run(stack, "ls", "--json", *words)
    return [task["task_id"] for task in json.loads(out)["tasks"]]


async def test_add_prints_an_id_and_the_file_is_saved(running: Stack) -> None:
    out = await run(running, "add", PDF, "--dir", "papers", "--name", "mine.pdf", "--priority", "5")
    task_id = out.removesuffix("\n")
    assert ID.fullmatch(task_id)
    task = await running.ended(task_id)
    assert [item["path"] for item in task["items"]] == ["papers/mine.pdf"]
    assert (running.storage_dir / "papers" / "mine.pdf").exists()


async def test_add_accepts_several_links_and_names_the_refused_ones(running: Stack) -> None:
    result = await running.saveany("add", "--json", PDF, "ftp://example.com/x", "t.me/channel/124")
    assert result.code == 1
    accepted = [json.loads(line) for line in result.out.splitlines()]
    assert [(set(one), one["link"]) for one in accepted] == [
        ({"task_id", "link"}, PDF),
        ({"task_id", "link"}, "t.me/channel/124"),
    ]
    assert result.err.startswith("error: ftp://example.com/x: ")
    assert result.err.count("error:") == 1


async def test_options_reach_the_task(running: Stack) -> None:
    await running.ended((await run(running, "add", PDF, "--name", "twice.pdf")).strip())
    task_id = (await run(running, "add", PDF, "--name", "twice.pdf", "--on-conflict", "skip")).strip()
    task = await running.ended(task_id)
    assert [item["status"] for item in task["items"]] == ["skipped"]
    assert "user 42 is not configured" in await fails(running, "add", PDF, "--user", "42")
    assert "'nope'" in await fails(running, "add", PDF, "--storage", "nope")
    assert "did you mean directlinks?" in await fails(running, "add", PDF, "--type", "directlink")
    assert "config set aria2.enable true" in await fails(running, "add", "magnet:?xt=urn:btih:abc")
    assert "config set aria2.enable true" in await fails(running, "add", "ftp://example.com/a")
    assert "10.0.0.1" in await fails(running, "add", PDF, "--webhook-url", "http://10.0.0.1/")


@pytest.mark.parametrize(
    "words",
    [
        [],
        [PDF, PDF, "--name", "x"],
        [PDF, "--on-conflict", "nope"],
        [PDF, "--priority", "101"],
        [PDF, "--url", "ftp://x"],
        [PDF, "--url", "nonsense"],
    ],
)
async def test_a_wrong_command_line_is_refused(running: Stack, words: list[str]) -> None:
    await fails(running, "add", *words, code=2)


async def test_tasks_are_listed_shown_canceled_and_retried(running: Stack) -> None:
    slow = (await run(running, "add", SLOW)).strip()
    await running.wait(slow, lambda task: task["progress"]["downloaded_bytes"] > 0)
    assert await ids(running) == [slow]
    assert await ids(running, "--status", "running") == [slow]
    assert await ids(running, "--status", "queued") == []
    heading, line = (await run(running, "ls")).splitlines()
    assert heading.split() == ["ID", "STATE", "NAME", "SIZE", "DONE", "SPEED", "AGE"]
    assert re.fullmatch(rf"{slow} running \S+ +\d+M +\d+% +\d+[Mk]?/s +\d+[sm]", line), line
    shown = await run(running, "show", slow)
    assert f"task      {slow}\n" in await run(running, "show", slow[:-1])
    assert "status    running (downloading)\n" in shown
    assert "storage   local1:/\n" in shown

    assert await run(running, "cancel", slow) == f"{slow} canceled\n"
    await running.ended(slow)
    assert await ids(running) == []
    result = await running.saveany("ls")
    assert (result.code, result.out) == (0, "")
    assert result.err.startswith("No task is queued or running.")
    assert slow in await ids(running, "--status", "canceled")
    assert "error: " + slow in await fails(running, "cancel", slow)

    assert await run(running, "retry", slow) == f"{slow} queued again\n"
    assert await run(running, "cancel", slow) == f"{slow} canceled\n"
    await running.ended(slow)


async def test_unique_prefixes_of_ids_are_accepted(running: Stack) -> None:
    first, second = (await run(running, "add", SLOW, PDF)).split()
    assert await run(running, "cancel", first[:-2]) == f"{first} canceled\n"
    await running.ended(second)
    error = await fails(running, "show", first[0])
    assert "tasks have ids that begin with" in error
    assert "type more" in error
    assert "there is no task zzz" in await fails(running, "cancel", "zzz")


async def two_files(stack: Stack, *links: str) -> str:
    """A task with the files of several links."""
    body = {"type": "tgfiles", "params": {"message_links": links}}
    reply = await stack.client.post("/api/v1/tasks", json={**body, "user_id": USER_ID, "storage": STORAGE})
    assert reply.is_success, reply.text
    return str(reply.json()["task_id"])


async def test_tasks_are_stopped_with_what_is_saved(running: Stack) -> None:
    task_id = await two_files(running, PDF, SLOW)
    await running.wait(task_id, lambda task: task["progress"]["done_files"] > 0)
    assert await run(running, "stop", task_id) == f"{task_id} stopped\n"
    ended = await running.ended(task_id)
    assert ended["status"] == "completed"
    assert {item["status"] for item in ended["items"]} == {"completed", "failed"}
    assert "has ended already" in await fails(running, "stop", task_id)
    assert "there is no task zzz" in await fails(running, "stop", "zzz")


async def test_tasks_are_paused_and_resumed(running: Stack) -> None:
    slow = (await run(running, "add", SLOW)).strip()
    await running.wait(slow, lambda task: task["progress"]["downloaded_bytes"] > 0)
    assert await run(running, "pause", slow) == f"{slow} paused\n"
    await running.wait(slow, lambda task: task["stage"] == "paused")
    assert " paused " in (await run(running, "ls")).splitlines()[1]
    assert "paused" in await run(running, "queue")
    assert await run(running, "resume", slow) == f"{slow} resumed\n"
    await running.wait(slow, lambda task: task["status"] == "running")
    assert "there is no task zzz" in await fails(running, "pause", "zzz")
    assert "there is no task zzz" in await fails(running, "resume", "zzz")


async def test_the_queue_is_paused_and_resumed(running: Stack) -> None:
    assert await run(running, "queue", "pause") == "queue paused\n"
    try:
        assert "The queue is paused: no task starts until you run `" in await run(running, "queue")
        assert json.loads(await run(running, "queue", "--json"))["paused"] is True
    finally:
        assert await run(running, "queue", "resume") == "queue resumed\n"
    assert "The queue is paused" not in await run(running, "queue")


async def test_limits_are_changed_one_by_one_and_reset(running: Stack) -> None:
    assert await run(running, "limits") == (
        "Speed of all downloads:         no limit\n"
        "Speed of one user's downloads:  no limit\n"
        "Running tasks per user:         shared fairly\n"
        "Archives per user:              100\n"
    )
    await run(running, "limits", "--speed", "2.5M")
    assert "2.5 MB/s" in await run(running, "limits", "--user-tasks", "3")
    assert json.loads(await run(running, "limits", "--json"))["bytes_per_second"] == 2_500_000
    assert "must look like 500k" in await fails(running, "limits", "--speed", "fast", code=2)
    await run(running, "limits", "--reset")
    assert (await run(running, "limits")).count("no limit") == 2


async def test_history_filters_by_text_status_and_time(running: Stack) -> None:
    done = (await run(running, "add", PDF, "--name", "annual report.pdf")).strip()
    await running.ended(done)
    assert done in await run(running, "history")
    assert done in await run(
        running, "history", "annual rep", "--status", "completed", "--from", "2020-01-01"
    )
    result = await running.saveany("history", "annual rep", "--to", "2020-01-01")
    assert (result.code, result.out, result.err) == (0, "", "No ended task matches the filters.\n")
    found = json.loads(await run(running, "history", "--json"))["tasks"]
    assert found[0]["task_id"] == done
    assert "--from must look like 2026-01-31" in await fails(running, "history", "--from", "monday", code=2)
    assert "have not ended" in await fails(running, "history", "--status", "running", code=2)


async def test_saved_files_and_their_folders_are_listed(running: Stack) -> None:
    added = (await run(running, "add", PDF, "--dir", "reports/2024", "--name", "saved file.pdf")).strip()
    await running.ended(added)
    assert "saved file.pdf" in await run(running, "files", "list", "SAVED FI", "--sort", "name")
    listed = await run(running, "files", "list", "saved file", "--type", "other", "--json")
    found = json.loads(listed)["files"]
    assert [(each["task_id"], each["folder"]) for each in found] == [(added, "/reports/2024")]
    assert "saved file.pdf" in await run(running, "files", "list", "--folder", str(found[0]["folder_id"]))
    result = await running.saveany("files", "list", "nothing like it")
    assert (result.code, result.out, result.err) == (0, "", "No file matches.\n")
    (top,) = [
        each
        for each in json.loads(await run(running, "folders", "list", "--json"))["folders"]
        if each["name"] == "reports"
    ]
    assert "/reports/2024" in await run(running, "folders", "list", str(top["folder_id"]))
    assert "there is no folder 999999" in await fails(running, "folders", "list", "999999")


async def test_storages_are_listed_tested_and_browsed(running: Stack) -> None:
    done = (await run(running, "add", PDF, "--dir", "to browse")).strip()
    await running.ended(done)
    for words in (["storages"], ["storages", "list"]):
        assert re.search(r"^local1 local ready$", await run(running, *words), re.MULTILINE)
    assert "local1 works" in await run(running, "storages", "test", "local1")
    assert "to browse/" in await run(running, "storages", "browse", "local1")
    entries = json.loads(await run(running, "storages", "browse", "local1", "to browse", "--json"))
    assert len(entries) == 1
    assert "there is no storage 'nope'" in await fails(running, "storages", "test", "nope")


async def test_one_refusal_does_not_stop_the_others(running: Stack) -> None:
    failed = (await run(running, "add", MISSING)).strip()
    await running.ended(failed)
    result = await running.saveany("retry", "unknown", failed)
    assert (result.code, result.out) == (1, f"{failed} queued again\n")
    assert result.err == "error: unknown: there is no task unknown\n"
    await running.ended(failed)


async def test_ls_lists_ended_tasks(running: Stack) -> None:
    new = [(await run(running, "add", link)).strip() for link in (PDF, MISSING, PDF)]
    for task_id in new:
        await running.ended(task_id)
    completed = await ids(running, "--status", "completed")
    assert {new[0], new[2]} <= {*completed}
    assert {*new} <= {*await ids(running, "--all", "--limit", "10000")}
    assert await ids(running, "--status", "completed", "--limit", "1") == completed[:1]
    assert new[1] in await ids(running, "--status", "failed")
    assert new[0] not in await ids(running, "--status", "failed")
    assert await ids(running, "--all", "--user", "42") == []
    text = await run(running, "ls", "--status", "failed", "--limit", "1")
    assert "does not exist" in text
    assert len(text.splitlines()) == 2  # one is the heading


async def test_show_as_json_has_every_file(running: Stack) -> None:
    """There are more files than one reply of the API contains."""
    store = Store(connect(running.redis_url))
    try:
        await terminate_worker(running)
        task_id = (await run(running, "add", PDF)).strip()
        claim = await store.claims.claim("test", ["tgfiles/local1"])
        assert claim is not None
        items = [Item(index=n, name=f"{n}.bin", path=f"{n}.bin", size=1) for n in range(230)]
        await claim.plan("many", items, Progress(total_files=len(items)), [])
        shown: dict[str, Any] = json.loads(await run(running, "show", "--json", task_id))
        assert [item["name"] for item in shown["items"]] == [item.name for item in items]
        assert (shown["items_total"], shown["items_cursor"]) == (230, None)
        assert (await run(running, "show", task_id)).count(".bin") == 230
        await run(running, "cancel", task_id)
        await claim.finish(Status.CANCELED)
    finally:
        await store.db.close()
        await running.start_worker()
        await running.ready()


async def terminate_worker(stack: Stack) -> None:
    for worker in list(stack.workers):
        await stack.terminate(worker)


async def test_tokens_and_addresses_are_read_from_options_and_variables(running: Stack) -> None:
    for words in (["ls"], ["add", PDF], ["show", "x"], ["cancel", "x"], ["retry", "x"], ["watch"]):
        error = await fails(running, *words, "--token", "wrong-token-é")
        assert "Valid authentication token required; set it with --token or SAVEANY_TOKEN" in error
    await run(running, "ls", "--json", SAVEANY_TOKEN=running.token, SAVEANY_URL=running.url)
    assert "wrong" not in await fails(running, "ls", SAVEANY_TOKEN="wrong\nheader: x")


async def test_an_unreachable_api_is_reported(running: Stack) -> None:
    nowhere = f"http://user:hunter2@127.0.0.1:{free_port()}"
    for words in (["ls"], ["add", "-F", PDF], ["watch"]):
        error = await fails(running, *words, "--url", nowhere)
        assert f"start SaveAny with `saveany --config {running.config_file} run`" in error
        assert "hunter2" not in error


async def test_another_server_at_the_address_is_reported(running: Stack) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")

    async with tcp_server(answer) as server:
        error = await fails(running, "ls", "--url", server.url())
        assert f"the server at {server.url()} is not SaveAny (it replied with HTTP 200)" in error


async def test_a_closed_pipe_causes_no_error_message(running: Stack) -> None:
    await running.ended((await run(running, "add", PDF)).strip())
    process = await running.popen("ls", "--all")
    assert process.stdout is not None
    process.stdout._transport.close()  # type: ignore[attr-defined]  # the reader of the pipe goes away
    assert process.stderr is not None
    error = await process.stderr.read()
    await process.wait()
    assert error == b""


async def test_without_users_the_user_must_be_named(running: Stack) -> None:
    running.write_config(users=[])
    try:
        assert "--user ID" in await fails(running, "add", PDF, code=2)
    finally:
        running.write_config()

        async def is_restored() -> bool:
            """The API follows its file, and may have read the other one."""
            return bool((await running.client.get("/api/v1/users")).json()["users"])

        await until(is_restored)
