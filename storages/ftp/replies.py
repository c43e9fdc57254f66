"""Replies of FTP servers: entries of folders, and errors."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import aioftp

from saveany.errors import NoSpace, StorageError, StorageUnavailable
from saveany.texts import Text
from storages.base import Entry
from storages.ftp.client import FtpClient
from storages.ftp.limit import BUSY


def error_for(where: Text, error: aioftp.StatusCodeError) -> StorageError:
    """The error of the contract for a reply that is not a success."""
    code = error.received_codes[-1]
    text = (error.info[-1] if isinstance(error.info, list) else error.info).strip(" -")[:200]
    if code in ("452", "552") or "no space" in text.lower() or "quota" in text.lower():
        return NoSpace("{where}: the disk or the quota on the server is full; free some space", where=where)
    if code in ("530", "532") and not BUSY.search(text):
        return StorageError(
            "{where}: the server refuses the login ({reply}); check username and password",
            where=where,
            reply=text,
        )
    if code.matches("4xx") or code == "530":
        return StorageUnavailable(
            "{where}: the server replied {code}: {reply}", where=where, code=code, reply=text
        )
    return StorageError("{where}: the server replied {code}: {reply}", where=where, code=code, reply=text)


async def modification_time(client: FtpClient, full: str) -> str:
    """The time of a file's last change, in the server's format; "" if the server does not report it."""
    try:
        _, text = await client.command(f"MDTM {full}", "213")
    except aioftp.StatusCodeError:
        return ""
    return str(text[-1]).strip()


async def must_exist(path: str, command: Any) -> None:
    """Await a command. Raises `FileNotFoundError` if the server replies that there is no such file."""
    try:
        await command
    except aioftp.StatusCodeError as error:
        if error.received_codes[-1] == "550":
            raise FileNotFoundError(path) from None
        raise


def parse_facts(line: str) -> tuple[str, dict[str, Any]]:
    """The name and facts in a line of MLSD or MLST (RFC 3659): `type=file;size=5;modify=20260131120000;
    name`."""
    facts, _, name = line.partition(" ")
    pairs = (fact.partition("=") for fact in facts.rstrip(";").split(";"))
    return name, {key.lower(): value for key, _, value in pairs}


def parse_list_line(client: FtpClient, line: str) -> tuple[str, dict[str, Any]]:
    """The same for a line of LIST, which has no standard format; most servers use that of `ls -l`."""
    try:
        name, facts = client.parse_list_line(line.encode(client.encoding))
    except ValueError:
        return "..", {}
    return str(name), dict(facts)


def entry_from(path: str, facts: dict[str, Any]) -> Entry | None:
    """The entry for a file or folder; None for links and devices."""
    kind = str(facts.get("type", "")).lower()
    is_dir = kind in ("dir", "cdir", "pdir")
    if not is_dir and kind != "file":
        return None
    size_text = str(facts.get("size", "")).strip()
    size = int(size_text) if size_text.isdecimal() and not is_dir else 0
    return Entry(path.rpartition("/")[2], path, size, is_dir, _ms(str(facts.get("modify", ""))))


def _ms(text: str) -> int:
    try:
        moment = datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return 0
    return int(moment.timestamp()) * 1000
