"""`saveany archive adopt`: an archive of a chat whose files were saved by another program before."""

from __future__ import annotations

import posixpath
import re
from collections.abc import AsyncIterator, Container, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from saveany.cli.client import ApiClient, Json, TokenOption, UrlOption, call, connect, printable
from saveany.cli.exports import Export
from saveany.errors import ConfigError, SaveAnyError

#: Number of entries of a folder in one request, and of files.
_PAGE, _BATCH = 1000, 1000
#: Names of files that contain the id of the message: those of tdl (with the chat), and those of
#: telegram_media_downloader.
_TDL = re.compile(r"(?P<chat>[0-9]{1,13})_(?P<message>[0-9]{1,10})_")
_DOWNLOADER = re.compile(r"(?P<message>[0-9]{1,10}) - ")
_CHANNEL = 10**12


def adopt(
    ctx: typer.Context,
    chat: Annotated[str, typer.Argument(metavar="CHAT", help="@name, a link into the chat, or its id.")],
    path: Annotated[str, typer.Argument(help="Folder in the storage with the files.")],
    export: Annotated[
        Path | None,
        typer.Option(
            "--from",
            exists=True,
            dir_okay=False,
            help="result.json of Telegram Desktop, or the JSON of `tdl chat export`, on this machine.",
        ),
    ] = None,
    storage: Annotated[str, typer.Option(help="Storage. Default: that of the user.")] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Save new messages, too, from then on.")] = False,
    account: Annotated[
        str, typer.Option(help="User account that reads the chat; needed for private chats and `me`.")
    ] = "",
    user: Annotated[int | None, typer.Option(min=1, help="Telegram user id of the owner.")] = None,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Archive a chat whose files another program has saved: fetch only the rest.

    A file belongs to a message if the export says so, or its name (as tdl and
    telegram_media_downloader name files), and its size is right. Other files are
    compared by size and content. Nothing is moved or changed; what is missing is
    saved in the same folder. `saveany archive show` prints the receipt.
    """
    body: Json = {"chat": chat, "storage": storage, "dir_path": path, "follow": follow, "account": account}
    if user is not None:
        body["user_id"] = user

    async def run(api: ApiClient) -> tuple[Json, int, int]:
        made = await api.post("archives", {**body, "paused": True})
        try:
            at = made["storage"] or (await api.post("archives/estimate", body))["storage"]
            found = [each async for each in _listing(api, at, path.strip("/"))]
            files = list(_matched(found, path.strip("/"), made["chat_id"], export))
            for start in range(0, len(files), _BATCH):
                await api.post(f"archives/{made['id']}/adopt", {"files": files[start : start + _BATCH]})
        except SaveAnyError:
            await api.delete(f"archives/{made['id']}")
            raise
        await api.post(f"archives/{made['id']}/resume")
        return made, len(found), sum(bool(each["message"]) for each in files)

    made, found, known = call(connect(ctx, url, token), run)
    typer.echo(f"{found:,} files found, {known:,} belong to known messages", err=True)
    typer.echo(f"{made['id']} {printable(made['title'])}")


async def _listing(api: ApiClient, storage: str, folder: str) -> AsyncIterator[Json]:
    """Path and size of all files below a folder."""
    folders = [folder]
    while folders:
        path, after = folders.pop(), ""
        while True:
            page = await api.get(f"storages/{storage}/files", path=path, after=after, limit=_PAGE)
            for each in page["entries"]:
                if each["is_dir"]:
                    folders.append(each["path"])
                else:
                    yield {"path": each["path"], "size": each["size"]}
            if not page["next"]:
                break
            after = page["next"]


def _matched(found: Sequence[Json], folder: str, chat_id: int, export: Path | None) -> Iterator[Json]:
    """The files with the messages that they belong to; one that belongs to several is repeated."""
    bare = -chat_id - _CHANNEL if chat_id < -_CHANNEL else abs(chat_id)
    names = [_names(file, folder) for file in found]
    messages = _exported(export, bare, set(chain.from_iterable(names))) if export else {}
    for file, (relative, name) in zip(found, names, strict=True):
        known = messages.get(relative) or messages.get(name) or _in_name(name, bare)
        for message in known or [0]:
            yield {**file, "message": message}


def _names(file: Json, folder: str) -> tuple[str, str]:
    """How an export may call a file in a folder: its path, relative to the folder, or its name."""
    relative = posixpath.relpath(f"/{file['path']}", f"/{folder}")
    return relative, posixpath.basename(relative)


def _exported(export: Path, chat: int, names: Container[str]) -> dict[str, list[int]]:
    """Path or name of a file, among those in `names` -> the messages of the chat that have it."""
    found: dict[str, list[int]] = {}
    of_chat = others = 0
    with export.open(encoding="utf-8", errors="replace") as file:
        reader = Export(file)
        for each in reader.files():
            if each.chat not in (0, chat):
                others += 1
                continue
            of_chat += 1
            if (path := posixpath.normpath(each.path)) in names:
                found.setdefault(path, []).append(each.message)
    if others and not of_chat:
        raise ConfigError("{path} is the export of another chat", path=str(export))
    if reader.is_truncated:
        typer.echo(f"{export} is incomplete; the messages before its end are used", err=True)
    return found


def _in_name(name: str, chat: int) -> list[int]:
    """The message that a file name contains; none if it contains none."""
    found = _TDL.match(name)
    if found is None or int(found["chat"]) != chat:
        found = _DOWNLOADER.match(name)
    number = int(found["message"]) if found else 0
    return [number] if 0 < number < 2**31 else []
