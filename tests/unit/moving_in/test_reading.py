"""Readers of files of other programs: real files, and damaged, foreign and hostile ones."""

from __future__ import annotations

import base64
import json
import os
import re
import sqlite3
import struct
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from saveany.moving_in.found import Finds
from saveany.moving_in.recognise import recognise, recognise_text
from tests.fixtures.moving_in import PERSON, moving_in

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return moving_in(tmp_path)


def read(*paths: Path) -> Finds:
    finds = Finds()
    recognise(paths, finds)
    return finds


def reason(path: Path) -> str:
    """Why nothing of this file is taken over."""
    finds = read(path)
    assert [*finds.logins, *finds.users, *finds.configs] == []
    (left_out,) = finds.left_out
    assert left_out.name == str(path)
    return str(left_out.reason)


def change(file: Path, *queries: str) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        for query in queries:
            database.execute(query)


# Logins.


@pytest.mark.parametrize(
    ("path", "program"),
    [
        ("saveany-bot/data/session.db", "SaveAny-Bot (gotgproto)"),
        ("saveany-bot/data/usersession.db", "SaveAny-Bot (gotgproto)"),
        ("tdl/backup.tdl", "tdl"),
        ("tdl/data/default", "tdl"),
        ("telethon/account.session", "Telethon"),
        ("pyrogram/account.session", "Pyrogram"),
    ],
)
def test_a_login_is_recognised_by_its_content(files: Path, path: str, program: str) -> None:
    file = (files / path).rename(files / "some name.txt")
    (login,) = read(file).logins
    assert (login.program, login.dc_id, len(login.key)) == (program, 2, 256)
    assert login.key not in repr(login).encode()


def test_all_formats_contain_the_same_login(files: Path) -> None:
    logins = read(files / "tdl", files / "telethon/account.session", files / "pyrogram").logins
    assert {each.program for each in logins} == {"tdl", "Telethon", "Pyrogram"}
    assert len({each.fingerprint for each in logins}) == 1
    assert {each.user_id for each in logins if each.program == "Pyrogram"} == {PERSON}


@pytest.mark.parametrize("program", ["telethon", "pyrogram"])
def test_session_strings_are_found_in_any_text(files: Path, program: str) -> None:
    strings = json.loads((files / program / "strings.json").read_text())
    for each in strings.values():
        finds = Finds()
        recognise_text(f"SESSION={each}\n", "stdin", finds)
        (login,) = finds.logins
        assert login.program.lower() == program
    assert len(read(files / program / "strings.json").logins) == len(strings)


def test_a_string_names_the_test_servers_and_bots(files: Path) -> None:
    text = json.loads((files / "pyrogram/strings.json").read_text())["current"]
    data = bytearray(base64.urlsafe_b64decode(text + "=="))
    data[5] = data[-1] = 1
    finds = Finds()
    recognise_text(base64.urlsafe_b64encode(data).decode().rstrip("="), "stdin", finds)
    assert (finds.logins[0].is_test, finds.logins[0].is_bot) == (True, True)


def test_gotd_json_is_read_by_itself(files: Path) -> None:
    (files / "session.json").write_bytes(gotd_session(files))
    (login,) = read(files / "session.json").logins
    assert (login.program, login.of_test_server) == ("gotd", True)


def gotd_session(files: Path) -> bytes:
    spaces = json.loads(zstd.decompress((files / "tdl/backup.tdl").read_bytes()))
    return base64.b64decode(spaces["default"]["session"])


def test_text_without_a_login_is_named() -> None:
    finds = Finds()
    for text in ("", "hello", "1" + "A" * 400, "B" * 353, "A" * 362):
        recognise_text(text, "stdin", finds)
    assert not finds.logins
    assert {each.name for each in finds.left_out} == {"stdin"}


# Hostile and damaged logins.


def test_a_compressed_bomb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(zstd.compress(bytes((64 << 20) + 1)))
    assert "too large" in reason(tmp_path / "bomb")


def compressed(content: object) -> bytes:
    return zstd.compress(json.dumps(content).encode())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (compressed([1]), "not a backup of tdl"),
        (compressed({"a": {"session": 1}}), "not a backup of tdl"),
        (compressed({"a": {"session": "%"}}), "its session is damaged"),
        (compressed({"a": {"session": "e30="}}), "not one of gotd"),
        (compressed({"a": {"app": "YQ=="}}), "no login"),
        (zstd.compress(b"no JSON"), "not a backup of tdl"),
        (zstd.compress(b"[" * 100_000), "not a backup of tdl"),
        (zstd.compress(b"x" * 100)[:-3], "incomplete"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 100, "damaged"),
    ],
)
def test_a_damaged_backup_is_named(tmp_path: Path, data: bytes, expected: str) -> None:
    (tmp_path / "backup").write_bytes(data)
    assert expected in reason(tmp_path / "backup")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"Version": 2}, "version 2"),
        ({"Data": []}, "not one of gotd"),
        ({"DC": 0}, "impossible number"),
        ({"DC": 10**9}, "impossible number"),
        ({"AuthKey": base64.b64encode(bytes(255)).decode()}, "no login"),
        ({"AuthKey": base64.b64encode(bytes(256)).decode()}, "no login"),
        ({"AuthKey": 5}, "no login"),
        ({"AuthKeyID": "AAAA"}, "no login"),
        ({"Addr": "127.0.0.1:99999"}, "impossible port"),
    ],
)
def test_a_damaged_session_of_gotd_is_named(files: Path, change: dict[str, object], expected: str) -> None:
    session = json.loads(gotd_session(files))
    for name, value in change.items():
        (session if name in session else session["Data"])[name] = value
    (files / "session.json").write_text(json.dumps(session))
    assert expected in reason(files / "session.json")


@pytest.mark.parametrize("program", ["telethon", "pyrogram"])
def test_a_session_without_a_login_is_named(files: Path, program: str) -> None:
    file = files / program / "account.session"
    for key in ("x''", "x'00'", "NULL", "'text'", "zeroblob(256)"):
        change(file, f"UPDATE sessions SET auth_key = {key}")
        assert "no login" in reason(file)


def test_a_session_with_an_impossible_data_center_is_named(files: Path) -> None:
    change(files / "telethon/account.session", "UPDATE sessions SET dc_id = -1")
    assert "impossible number" in reason(files / "telethon/account.session")


def test_older_sessions_of_pyrogram_are_read(files: Path) -> None:
    file = files / "pyrogram/account.session"
    for column in ("server_address", "port", "api_id"):
        change(file, f"ALTER TABLE sessions DROP COLUMN {column}")
        (login,) = read(file).logins
        assert (login.user_id, login.dc_id) == (PERSON, 2)


def test_telegram_desktop_is_named_once(tmp_path: Path) -> None:
    folder = tmp_path / "tdata"
    (folder / "D877F783D5D3EF8C").mkdir(parents=True)
    for name in ("key_datas", "D877F783D5D3EF8C/maps", "settingss"):
        (folder / name).write_bytes(b"TDF$" + struct.pack("<I", 5_000_000) + bytes(100))
    (left_out,) = read(folder).left_out
    assert left_out.name == str(folder)
    assert "login --qr" in str(left_out.reason)


def test_a_damaged_store_of_tdl_is_named(files: Path) -> None:
    """Whichever byte is wrong, it ends with a reason; and if the newest state is damaged, the one before
    applies."""
    file = files / "tdl/data/default"
    whole = bytearray(file.read_bytes())
    for at in (0, 8, 16, 20, 24, 40, 80, 4096, 4112, 8200, 12296, 16400, 20500):
        damaged = bytearray(whole)
        for offset in range(at, at + 8):
            damaged[offset] ^= 0xFF
        file.write_bytes(damaged)
        finds = read(file)
        assert len(finds.logins) + len(finds.left_out) == 1
    for first, expected in ((0, "tdl"), (4096, "it contains no login")):  # the second description is newer
        damaged = bytearray(whole)
        struct.pack_into("<Q", damaged, first + 32, 1 << 40)
        file.write_bytes(damaged)
        finds = read(file)
        found = [each.program for each in finds.logins] + [str(each.reason) for each in finds.left_out]
        assert found == [expected]
    for length in (64, 4096, 8192):
        file.write_bytes(whole[:length])
        assert "damaged" in reason(file)


def test_a_store_of_tdl_whose_elements_share_bytes_is_refused(tmp_path: Path) -> None:
    """Otherwise a file of a few megabytes fills the memory."""

    def description(number: int) -> bytes:
        fields = struct.pack("<IIIIQQQQQ", 0xED0CDAED, 2, 4096, 0, 2, 0, 0, 0, number)
        checksum = 0xCBF29CE484222325
        for byte in fields:
            checksum = (checksum ^ byte) * 0x100000001B3 % (1 << 64)
        head = struct.pack("<QHHI", number, 4, 0, 0)
        return (head + fields + struct.pack("<Q", checksum)).ljust(4096, b"\0")

    root = struct.pack("<QHHIIIII", 2, 2, 1, 0, 1, 16, 1, 16) + b"n" + struct.pack("<QQ", 3, 0)
    count, further = 1000, 256
    leaf = struct.pack("<QHHI", 3, 2, count, further)
    for number in range(count):
        leaf += struct.pack("<IIII", 0, 16 * (count - number) + 4 * number, 4, 900_000)
    leaf += b"".join(struct.pack("<I", number) for number in range(count))
    file = tmp_path / "store"
    file.write_bytes(
        description(0) + description(1) + root.ljust(4096, b"\0") + leaf.ljust(4096 * (further + 1), b"\0")
    )
    tracemalloc.start()
    try:
        assert reason(file) == "the store is damaged"
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_sessions_with_texts_that_are_none_are_named(tmp_path: Path) -> None:
    """Neither a traceback nor what is in the file."""
    file = tmp_path / "found"
    file.write_bytes(
        zstd.compress(json.dumps({"default": {"session": "\u00e9"}}, ensure_ascii=False).encode())
    )
    assert reason(file) == "its session is damaged"
    file.write_text(json.dumps({"Version": 1, "Data": {"DC": 2, "AuthKey": "\u00e9"}}))
    assert "its key is empty or damaged" in reason(file)
    file.unlink()
    change(
        file,
        "CREATE TABLE sessions (dc_id INTEGER, server_address TEXT, port INTEGER, auth_key BLOB)",
        "INSERT INTO sessions VALUES (2, CAST(x'ff80fe' AS TEXT), 443, zeroblob(256))",
    )
    assert "cannot be read" in reason(file)


# The database of SaveAny-Bot.


def test_a_folder_is_searched_and_each_file_read_once(files: Path) -> None:
    folder = files / "saveany-bot"
    finds = read(folder, folder, folder / "config.toml", folder / "data/saveany.db")
    assert [each.id for each in finds.users] == [PERSON, 123456789]
    assert (len(finds.logins), len(finds.configs)) == (2, 1)


def test_the_configuration_names_the_other_files(files: Path) -> None:
    finds = read(files / "saveany-bot/config.toml")
    assert [each.id for each in finds.users] == [PERSON, 123456789]
    assert [each.is_bot for each in finds.logins] == [False, True]


def test_deleted_rows_are_skipped(files: Path) -> None:
    file = files / "saveany-bot/data/saveany.db"
    change(
        file,
        "UPDATE watch_chats SET deleted_at = '2026-11-29' WHERE id = 1",
        "UPDATE dirs SET deleted_at = '2026-11-29' WHERE id = 1",
    )
    finds = read(file)
    user = finds.users[0]
    assert [each.chat for each in user.watches] == [-1001500000002]
    assert (user.folder, user.shortcuts) == (None, (("second", "Music"),))
    assert [each.name for each in finds.left_out] == [f"user {PERSON}: default folder"]


def test_settings_of_a_deleted_user_are_named(files: Path) -> None:
    file = files / "saveany-bot/data/saveany.db"
    change(file, "UPDATE users SET deleted_at = '2026-11-29' WHERE id = 1")
    finds = read(file)
    assert [each.id for each in finds.users] == [123456789]
    assert str(finds.left_out[0].reason) == "the user was deleted there"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("ALTER TABLE users DROP COLUMN conflict_strategy", "older than 0.60 .it has no users.conflict_st"),
        ("DROP TABLE watch_chats", "older than 0.60 .it has no watch_chats.id"),
        ("ALTER TABLE rules ADD COLUMN priority integer", "newer than 0.60 .it has rules.priority"),
    ],
)
def test_a_database_of_another_version_is_named(files: Path, query: str, expected: str) -> None:
    file = files / "saveany-bot/data/saveany.db"
    change(file, query)
    assert re.search(expected, reason(file))


def test_a_database_is_read_while_a_program_writes(files: Path) -> None:
    """With a log of changes (WAL), what is committed is read; nothing is written beside or into the file that
    the program would notice."""
    file = files / "saveany-bot/data/saveany.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as program:
        program.execute("PRAGMA journal_mode = WAL")
        program.execute("UPDATE users SET silent = 1 WHERE id = 1")
        program.execute("BEGIN IMMEDIATE")
        program.execute("UPDATE users SET default_storage = 'other' WHERE id = 1")
        user = read(file).users[0]
        assert (user.silent, user.storage) == (True, "nas")
        program.execute("COMMIT")


def test_a_locked_database_is_named(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saveany.moving_in.sqlite._BUSY_SECONDS", 0.1)
    file = files / "saveany-bot/data/saveany.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as program:
        program.execute("BEGIN EXCLUSIVE")
        assert "is writing to the database" in reason(file)


def test_a_change_that_was_interrupted_is_undone_in_a_copy(files: Path) -> None:
    """A program was killed while it wrote: its journal holds what was there before."""
    source, target = files / "saveany-bot/data/saveany.db", files / "killed.db"
    with closing(sqlite3.connect(source, isolation_level=None)) as program:
        program.execute("PRAGMA cache_size = 1")
        program.execute("PRAGMA cache_spill = 1")
        program.execute("BEGIN IMMEDIATE")
        program.execute("UPDATE users SET default_storage = 'other'")
        for _ in range(50):  # so that not all of it fits in memory
            program.execute("INSERT INTO rules (user_id, data) VALUES (1, hex(zeroblob(2000)))")
        for suffix in ("", "-journal"):
            (files / f"killed.db{suffix}").write_bytes(Path(f"{source}{suffix}").read_bytes())
    before = target.read_bytes()
    assert b"other" in before
    assert read(target).users[0].storage == "nas"
    assert target.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_database_in_a_folder_that_nobody_may_write_is_read(files: Path) -> None:
    file = files / "saveany-bot/data/saveany.db"
    change(file, "PRAGMA journal_mode = WAL")
    file.parent.chmod(0o555)
    try:
        assert len(read(file).users) == 2
    finally:
        file.parent.chmod(0o755)


def _truncate(data: bytearray) -> bytearray:
    return data[: len(data) // 2]


def _scramble(data: bytearray) -> bytearray:
    data[4096:] = bytes(255 for _ in data[4096:])
    return data


def _keep_head(data: bytearray) -> bytearray:
    return data[:16]


@pytest.mark.parametrize("damage", [_truncate, _scramble, _keep_head])
def test_a_damaged_database_is_named(files: Path, damage: Callable[[bytearray], bytearray]) -> None:
    for file in (files / "saveany-bot/data/saveany.db", files / "telethon/account.session"):
        file.write_bytes(damage(bytearray(file.read_bytes())))
        assert "damaged" in reason(file) or "cannot be imported" in reason(file)


def test_a_foreign_database_is_named(tmp_path: Path) -> None:
    change(tmp_path / "x.db", "CREATE TABLE sessions (id)", "CREATE VIEW users AS SELECT 1 AS chat_id")
    assert "nothing that can be imported" in reason(tmp_path / "x.db")


def test_things_that_are_no_files_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a file" in reason(tmp_path / "pipe")
    assert "No such file" in reason(tmp_path / "missing")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder/pipe")
    (tmp_path / "folder/link").symlink_to("/etc/passwd")
    (tmp_path / "folder/loop").symlink_to(tmp_path)
    assert "no file in it" in reason(tmp_path / "folder")


def test_exports_of_messages_are_named(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{\n "name": "x\x0b",\n "messages": [')
    assert "list of messages" in reason(tmp_path / "result.json")
