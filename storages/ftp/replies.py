"""Replies of FTP servers: entries of folders, and errors."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import aioftp

from saveany.errors import NoSpace, StorageError, StorageUnavailable
from storages.base import Entry
from storages.ftp.client import FtpClient

#: Servers that have too many connections say so with the code for a wrong login.
_BUSY: Final = re.compile("too many|maximum", re.IGNORECASE)


def error_for(where: str, error: aioftp.StatusCodeError) -> StorageError:
    """What the server's refusal means, as an error of the contract."""
    code = error.received_codes[-1]
    said = (error.info[-1] if isinstance(error.info, list) else error.info).strip(" -")[:200]
    if code in ("452", "552") or "no space" in said.lower() or "quota" in said.lower():
        return NoSpace("{where}: the disk or the quota of the server is full; free some space", where=where)
    if code in ("530", "532") and not _BUSY.search(said):
        return StorageError(
            "{where}: the server does not accept this login ({reply}); check username and password",
            where=where,
            reply=said,
        )
    if code.matches("4xx") or code == "530":
        return StorageUnavailable(
            "{where}: the server says {code}: {reply}", where=where, code=code, reply=said
        )
    return StorageError("{where}: the server says {code}: {reply}", where=where, code=code, reply=said)


async def modification_time(client: FtpClient, full: str) -> str:
    """When a file was modified, as the server writes it; "" if it does not tell."""
    try:
        _, said = await client.command(f"MDTM {full}", "213")
    except aioftp.StatusCodeError:
        return ""
    return str(said[-1]).strip()


async def must_exist(path: str, asking: Any) -> None:
    """Do it; `FileNotFoundError` if the server says that there is no such file."""
    try:
        await asking
    except aioftp.StatusCodeError as error:
        if error.received_codes[-1] == "550":
            raise FileNotFoundError(path) from None
        raise


def parse_facts(line: str) -> tuple[str, dict[str, Any]]:
    """Name and facts of a line of MLSD or MLST (RFC 3659): `type=file;size=5;modify=20260131120000; name`."""
    facts, _, name = line.partition(" ")
    pairs = (fact.partition("=") for fact in facts.rstrip(";").split(";"))
    return name, {key.lower(): value for key, _, value in pairs}


def parse_list_line(client: FtpClient, line: str) -> tuple[str, dict[str, Any]]:
    """Of a line of LIST, for which there is no standard but `ls -l`."""
    try:
        name, facts = client.parse_list_line(line.encode(client.encoding))
    except ValueError:
        return "..", {}
    return str(name), dict(facts)


def entry_from(path: str, facts: dict[str, Any]) -> Entry | None:
    """What a listing says of it; nothing of links and devices."""
    kind = str(facts.get("type", "")).lower()
    is_dir = kind in ("dir", "cdir", "pdir")
    if not is_dir and kind != "file":
        return None
    told = str(facts.get("size", "")).strip()
    size = int(told) if told.isdecimal() and not is_dir else 0
    return Entry(path.rpartition("/")[2], path, size, is_dir, _ms(str(facts.get("modify", ""))))


def _ms(text: str) -> int:
    try:
        moment = datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return 0
    return int(moment.timestamp()) * 1000
