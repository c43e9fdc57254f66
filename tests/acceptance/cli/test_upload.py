"""`saveany upload` with a running SaveAny."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.acceptance.cli.test_tasks import fails, run
from tests.acceptance.docs.test_reverse_proxy import nginx
from tests.contract.disk import mounted
from tests.fixtures.stack import STORAGE, USER_ID, Stack
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with Stack(tmp_path_factory.mktemp("stack"), tables={"api": {"max_event_streams": 1}}) as stack:
        yield stack


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a file in it and one below it."""
    folder = tmp_path / "photos"
    (folder / "2026").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"a" * 1000)
    (folder / "2026" / "b.jpg").write_bytes(b"b" * 3_000_000)
    return folder


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


async def uploaded(stack: Stack, *words: str, code: int = 0) -> dict[str, dict[str, Any]]:
    """What the command reports, by the name of the file."""
    result = await stack.saveany("upload", "--json", *words)
    assert result.code == code, result.out + result.err
    return {Path(one["path"]).name: one for one in map(json.loads, result.out.splitlines())}


def stored(stack: Stack, folder: str) -> dict[str, bytes]:
    root = stack.storage_dir / folder
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


async def test_a_folder_is_stored_with_its_folders(stack: Stack, source: Path) -> None:
    out = await run(stack, "upload", str(source), "--to", f"{STORAGE}:tree")
    assert sorted(out.splitlines()) == [
        f"{source}/2026/b.jpg -> {STORAGE}:/tree/photos/2026/b.jpg",
        f"{source}/a.jpg -> {STORAGE}:/tree/photos/a.jpg",
    ]
    assert stored(stack, "tree") == {"photos/a.jpg": b"a" * 1000, "photos/2026/b.jpg": b"b" * 3_000_000}
    found = await uploaded(stack, f"{source}/", "--to", f"{STORAGE}:contents", "--include", "*.jpg")
    assert set(stored(stack, "contents")) == {"a.jpg", "2026/b.jpg"}
    task = await stack.task(found["a.jpg"]["task_id"])
    assert (task["type"], task["status"]) == ("upload", "completed")
    await run(stack, "upload", f"{source}/.", "--to", f"{STORAGE}:some", "--exclude", "2026")
    assert set(stored(stack, "some")) == {"a.jpg"}


async def test_names_are_kept_whatever_bytes_they_have(stack: Stack, tmp_path: Path) -> None:
    for name in (b"caf\xe9.txt", "语 言.txt".encode(), b"a\\b.txt", b"new\nline.txt", b"empty"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"" if name == b"empty" else name)
    options = ("--exclude", "state", "--exclude", "stack")
    await run(stack, "upload", f"{tmp_path}/", "--to", f"{STORAGE}:names", *options)
    assert stored(stack, "names") == {
        "café.txt": b"caf\xe9.txt",
        "语 言.txt": "语 言.txt".encode(),
        "a_b.txt": b"a\\b.txt",
        "new line.txt": b"new\nline.txt",
        "empty": b"",
    }


async def test_only_files_are_read_and_links_stay_in_the_folder(stack: Stack, source: Path) -> None:
    os.mkfifo(source / "pipe")
    (source / "passwd").symlink_to("/etc/passwd")
    (source / "etc").symlink_to("/etc")
    (source / "inside.jpg").symlink_to("a.jpg")
    (source / "2026" / "circle").symlink_to(source)
    unreadable = source / "secret"
    unreadable.write_bytes(b"x")
    unreadable.chmod(0)
    result = await stack.saveany("upload", str(source), "/dev/null", "--to", f"{STORAGE}:links")
    assert result.code == 1
    assert f"warning: {source}/pipe: not a file: a pipe, a socket or a device; left out\n" in result.err
    assert "error: /dev/null: not a file: a pipe, a socket or a device; left out\n" in result.err
    for name in ("passwd", "etc", "inside.jpg", "circle"):
        assert f"{name}: a symbolic link; left out\n" in result.err
    if os.geteuid():
        assert "secret: Permission denied; left out\n" in result.err
    readable = set() if os.geteuid() else {"photos/secret"}
    assert set(stored(stack, "links")) == {"photos/a.jpg", "photos/2026/b.jpg"} | readable
    result = await stack.saveany("upload", f"{source}/", "--follow-links", "--to", f"{STORAGE}:followed")
    for name in ("passwd", "etc"):
        assert f"{name}: a symbolic link that leads out of its folder; left out\n" in result.err
    assert {"a.jpg", "inside.jpg", "2026/b.jpg"} <= set(stored(stack, "followed"))
    (source.parent / "link").symlink_to("/etc")
    assert "a symbolic link" in await fails(stack, "upload", f"{source.parent}/link", "--to", STORAGE)


async def test_wrong_options(stack: Stack, source: Path) -> None:
    assert "STORAGE:FOLDER" in await fails(stack, "upload", str(source), "--to", ":x", code=2)
    assert "--no-wait" in await fails(
        stack, "upload", str(source), "--to", STORAGE, "--move", "--no-wait", code=2
    )
    assert "'nowhere'" in await fails(stack, "upload", str(source), "--to", "nowhere:")
    assert "No such file" in await fails(stack, "upload", str(source / "gone"), "--to", f"{STORAGE}:")
    assert '".."' in await fails(stack, "upload", str(source / "a.jpg"), "--to", f"{STORAGE}:../up")


async def test_moved_files_are_deleted_once_they_are_stored(stack: Stack, source: Path) -> None:
    found = await uploaded(stack, str(source), "--to", f"{STORAGE}:moved", "--move")
    assert {name: one["removed"] for name, one in found.items()} == {"a.jpg": True, "b.jpg": True}
    assert [path for path in source.rglob("*") if path.is_file()] == []
    assert len(stored(stack, "moved")) == 2
    (source / "a.jpg").write_bytes(b"another")
    kept = await uploaded(stack, str(source), "--to", f"{STORAGE}:moved", "--move", "--on-conflict", "skip")
    assert (kept["a.jpg"]["status"], kept["a.jpg"]["removed"]) == ("skipped", False)
    assert (source / "a.jpg").exists()


async def test_a_file_that_changes_after_it_was_sent_is_kept(stack: Stack, source: Path) -> None:
    await stack.kill(stack.workers[0])
    file = source / "a.jpg"
    words = ("upload", "--json", str(file), "--to", f"{STORAGE}:changed", "--move", "--url", stack.url)
    process = await stack.popen(*words)

    async def is_queued() -> bool:
        return bool((await stack.client.get("/api/v1/tasks")).json()["tasks"])

    await until(is_queued)
    info = file.stat()
    file.write_bytes(b"A" * 1000)
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))  # only the content tells
    await stack.start_worker()
    out, _ = await process.communicate()
    assert process.returncode == 0
    one = json.loads(out)
    assert (one["status"], one["removed"]) == ("completed", False)
    assert "has changed" in one["error"]
    assert file.read_bytes() == b"A" * 1000
    assert stored(stack, "changed") == {"a.jpg": b"a" * 1000}


async def test_a_file_on_the_disk_of_saveany_is_not_copied_first(stack: Stack, source: Path) -> None:
    """It stays the user's file, and what is stored is another one."""
    await stack.kill(stack.workers[0])
    file = source / "a.jpg"
    words = ("upload", "--json", str(file), "--to", f"{STORAGE}:linked")
    process = await stack.popen(*words)
    uploads = stack.data_dir / "uploads"

    def waiting() -> list[Path]:
        return [path for path in uploads.iterdir() if not path.name.startswith(".") and path.samefile(file)]

    async def is_queued() -> bool:
        return bool((await stack.client.get("/api/v1/tasks")).json()["tasks"])

    await until(is_queued)
    assert len(waiting()) == 1
    assert not list(uploads.glob(".saveany-*.part"))
    file.write_bytes(b"another")
    await stack.start_worker()
    out, _ = await process.communicate()
    assert (process.returncode, json.loads(out)["status"]) == (1, "failed")
    assert "changed" in json.loads(out)["error"]
    again = await uploaded(stack, str(file), "--to", f"{STORAGE}:linked")
    assert again["a.jpg"]["status"] == "completed"
    assert stored(stack, "linked") == {"a.jpg": b"another"}
    file.write_bytes(b"changed later")
    assert stored(stack, "linked") == {"a.jpg": b"another"}


@pytest.mark.parametrize("change", ["grows", "shrinks"])
async def test_a_file_that_changes_while_it_is_sent_is_not_stored(
    stack: Stack, tmp_path: Path, change: str
) -> None:
    file = tmp_path / "log.txt"
    size = 600_000_000
    with file.open("wb") as sparse:
        sparse.truncate(size)
    process = await stack.popen("upload", str(file), "--to", f"{STORAGE}:{change}", "--url", stack.url)
    parts = stack.data_dir / "uploads"

    def is_arriving() -> bool:
        return any(path.stat().st_size for path in parts.glob(".saveany-*.part"))

    await until(is_arriving)
    os.truncate(file, size + 5 if change == "grows" else 5)
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert "log.txt: it has changed while it was sent" in errors.decode()
    assert stored(stack, change) == {}
    await until(lambda: not list(parts.glob(".saveany-*.part")))


async def test_files_that_vanish_or_are_replaced_meanwhile(stack: Stack, source: Path) -> None:
    """Of a file that is being sent, the whole old version is stored, and --move keeps the new one. The server
    does not run at first."""
    folder = source / "many"
    folder.mkdir()
    files = [folder / f"{number}.bin" for number in range(7)]
    for file in files:
        file.write_bytes(b"old" * 1000)
    assert stack.api is not None
    await stack.kill(stack.api)
    words = ("upload", "--json", f"{folder}/", "--to", f"{STORAGE}:vanished", "--url", stack.url, "--move")
    process = await stack.popen(*words)

    def opened() -> set[Path]:
        found = set()
        for each in Path(f"/proc/{process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                found.add(each.readlink())
        return found & set(files)

    await until(lambda: len(opened()) == 6)
    [unopened] = set(files) - opened()
    replaced, removed, *others = sorted(opened())
    (source / "new").write_bytes(b"new")
    (source / "new").replace(replaced)
    for file in (removed, unopened):
        file.unlink()
    await stack.start_api()
    out, errors = await process.communicate()
    found = {Path(one["path"]): one for one in map(json.loads, out.splitlines())}
    assert (process.returncode, found[unopened]["error"]) == (1, "it does not exist any more"), errors
    assert "has changed since it was sent" in found[replaced]["error"]
    assert {path: one["removed"] for path, one in found.items()} == {
        **dict.fromkeys((replaced, unopened), False),
        **dict.fromkeys((removed, *others), True),
    }
    assert stored(stack, "vanished") == {each.name: b"old" * 1000 for each in (replaced, removed, *others)}
    assert replaced.read_bytes() == b"new"


async def test_an_upload_continues_after_restarts_of_both_sides(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "film.mkv"
    with file.open("wb") as sparse:
        for block in range(10):
            sparse.write(bytes([block]) * 20_000_000)
    words = ("upload", "--json", str(file), "--to", f"{STORAGE}:resumed", "--url", stack.url)
    parts = stack.data_dir / "uploads"

    def arrived() -> int:
        return sum(path.stat().st_size for path in parts.glob(".saveany-*.part"))

    process = await stack.popen(*words)
    await until(lambda: arrived() > 30_000_000)
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    assert arrived() > 30_000_000
    begun = {path.name for path in parts.glob(".saveany-*.part")}
    process = await stack.popen(*words)
    await until(lambda: arrived() > 90_000_000)
    assert stack.api is not None
    await stack.kill(stack.api)
    assert {path.name for path in parts.glob(".saveany-*.part")} == begun
    await stack.start_api()
    out, errors = await process.communicate()
    assert process.returncode == 0, errors
    assert stored(stack, "resumed") == {"film.mkv": file.read_bytes()}
    assert json.loads(out)["status"] == "completed"
    assert "trying again" in errors.decode()


async def test_a_key_that_is_revoked_meanwhile_ends_the_upload(stack: Stack, source: Path) -> None:
    """While a file waits for its task, and while one is sent. Each is reported; another key continues."""
    log, words = source / "log.txt", (f"{source}/", "--to", f"{STORAGE}:revoked", "--url", stack.url)
    with log.open("wb") as sparse:
        sparse.truncate(300_000_000)
    await stack.kill(stack.workers[0])
    key = await new_key(stack)
    process = await stack.popen("upload", "--json", *words, env={"SAVEANY_TOKEN": key["secret"]})

    async def is_at_it() -> bool:
        return len((await stack.client.get("/api/v1/tasks")).json()["tasks"]) >= 2

    await until(is_at_it)
    (await stack.client.delete(f"/api/v1/keys/{key['key_id']}")).raise_for_status()
    out, errors = await process.communicate()
    found = {Path(one["path"]).name: one for one in map(json.loads, out.decode().splitlines())}
    assert (process.returncode, set(found)) == (1, {"a.jpg", "b.jpg", "log.txt"}), errors
    for one in found.values():
        assert (one["status"], "token required" in one["error"]) == ("failed", True), one
    await stack.start_worker()
    again = await uploaded(stack, *words)
    assert {name: one["task_id"] for name, one in again.items() if name != "log.txt"} == {
        name: one["task_id"] for name, one in found.items() if name != "log.txt"
    }, "nothing is sent twice"
    assert len(stored(stack, "revoked")) == 3


async def new_key(stack: Stack) -> dict[str, Any]:
    body = {"name": "uploads", "user_id": USER_ID, "scopes": ["tasks", "files"]}
    found: dict[str, Any] = (await stack.client.post("/api/v1/keys", json=body)).raise_for_status().json()
    return found


async def test_a_repeated_command_sends_only_what_is_missing(stack: Stack, source: Path) -> None:
    words = (str(source), str(source / "gone"), "--to", f"{STORAGE}:again")
    first = await uploaded(stack, *words, code=1)
    (source / "c.jpg").write_bytes(b"c")
    second = await uploaded(stack, *words, code=1)
    assert len(stored(stack, "again")) == 3, "nothing is stored twice"
    assert {name: one["task_id"] for name, one in first.items()}.items() <= {
        name: one["task_id"] for name, one in second.items()
    }.items()
    third = await uploaded(stack, str(source), "--to", f"{STORAGE}:more", "--on-duplicate", "skip")
    assert {one["status"] for one in third.values()} == {"skipped"}
    assert stored(stack, "more") == {}


async def test_without_waiting_the_ids_of_the_tasks_are_printed(stack: Stack, source: Path) -> None:
    out = await run(stack, "upload", str(source), "--to", f"{STORAGE}:queued", "--no-wait")
    for task_id in out.split():
        assert (await stack.ended(task_id))["status"] == "completed"


async def test_a_file_that_is_named_twice_is_uploaded_once(stack: Stack, source: Path) -> None:
    words = [str(source / "a.jpg"), f"{source}/../photos/a.jpg"]
    assert len((await run(stack, "upload", *words, "--to", f"{STORAGE}:twice")).splitlines()) == 1
    assert set(stored(stack, "twice")) == {"a.jpg"}


async def test_a_link_to_a_file_is_a_file_of_its_own(stack: Stack, source: Path) -> None:
    for number in range(10):  # more than are sent at once
        (source / f"{number}.jpg").symlink_to("a.jpg")
    found = await uploaded(stack, f"{source}/", "--to", f"{STORAGE}:each", "--follow-links")
    assert len({one["task_id"] for one in found.values()}) == len(stored(stack, "each")) == 12


async def test_files_wait_while_the_disk_of_the_server_is_full(tmp_path: Path, source: Path) -> None:
    """Only one file at a time has room there. What is on the same disk needs none."""
    for number in range(3):
        (source / f"{number}.bin").write_bytes(bytes([number]) * 20_000_000)
    async with Stack(tmp_path / "small") as stack:
        await stack.kill(stack.workers[0])
        uploads = stack.data_dir / "uploads"
        with mounted(uploads, 32):
            await stack.start_worker()
            words = (str(source), "--include", "*.bin", "--to", f"{STORAGE}:full", "--url", stack.url)
            result = await stack.saveany("upload", *words)
            assert (result.code, "until other files are saved" in result.err) == (0, True), result
            assert {len(data) for data in stored(stack, "full").values()} == {20_000_000}
            (source / "huge.bin").write_bytes(bytes(40_000_000))
            refused = await uploaded(stack, str(source / "huge.bin"), *words[3:], code=1)
            assert "not enough free space" in refused["huge.bin"]["error"]
            own = uploads / "big.bin"
            own.write_bytes(b"x" * 20_000_000)
            linked = await uploaded(stack, str(own), "--to", f"{STORAGE}:own")
            assert linked["big.bin"]["status"] == "completed"


@pytest.mark.parametrize("max_body", ["17m", "1m"])
async def test_a_proxy_that_refuses_large_requests_gets_smaller_ones(
    stack: Stack, tmp_path: Path, max_body: str
) -> None:
    file = tmp_path / "film.mkv"
    file.write_bytes(b"film" * 5_000_000)
    with nginx(tmp_path, stack.port, max_body=max_body) as url:
        words = (str(file), "--to", f"{STORAGE}:{max_body}", "--url", url)
        result = await stack.saveany("upload", *words)
        expected = "a proxy before the server refuses large requests; trying again\n"
        assert (result.code, result.err) == (0, expected)
        assert stored(stack, max_body) == {"film.mkv": file.read_bytes()}


async def test_it_ends_without_events_too(stack: Stack, source: Path) -> None:
    async with stack.client.stream("GET", "/api/v1/events") as taken:  # the only stream
        assert taken.status_code == 200
        found = await uploaded(stack, str(source), "--to", f"{STORAGE}:silent")
    assert {one["status"] for one in found.values()} == {"completed"}
