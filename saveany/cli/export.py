"""`saveany export`: the list of the files in a chat."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from saveany.cli.client import ApiClient, Json, TokenOption, UrlOption, call, connect
from saveany.errors import ConfigError, Unavailable

_FORMATS = ("jsonl", "csv")


def export(
    ctx: typer.Context,
    chat: Annotated[str, typer.Argument(metavar="CHAT", help="@name, a link into the chat, or its id.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", dir_okay=False, help="File to write. Default: the standard output."),
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="jsonl or csv. Default: by the name of the file, else jsonl.")
    ] = "",
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help="Only such files: document, photo, video, voice, audio, sticker, animation, video_note. Can "
            "be repeated.",
        ),
    ] = None,
    name: Annotated[
        str, typer.Option(help="Regular expression that occurs in the file's name or the message's text.")
    ] = "",
    after: Annotated[str, typer.Option(help="Posted at or after this date or time (UTC).")] = "",
    before: Annotated[str, typer.Option(help="Posted before this date or time (UTC).")] = "",
    after_message: Annotated[
        int, typer.Option("--after-message", min=0, help="Only messages with higher numbers.")
    ] = 0,
    last_message: Annotated[
        int, typer.Option("--last-message", min=0, help="No messages with higher numbers.")
    ] = 0,
    account: Annotated[
        str, typer.Option(help="User account that reads the chat; needed for private chats and `me`.")
    ] = "",
    user: Annotated[int | None, typer.Option(min=1, help="Telegram user id whose accounts read it.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the file, after the last message in it.")
    ] = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Write the list of the files in a chat.

    Nothing is downloaded, and the oldest come first. Each line has message, name,
    kind, size, posted_at, text and link; `saveany add -f FILE` saves them. An
    export with -o that was interrupted is continued with --resume, which also
    adds what was posted since.
    """
    if resume and output is None:
        raise ConfigError("--resume needs the file (-o FILE)")
    if output and output.exists() and not resume:
        raise ConfigError("{file} exists; continue it with --resume, or remove it", file=str(output))
    format_ = format_ or ("csv" if output and output.suffix.lower() == ".csv" else "jsonl")
    if format_ not in _FORMATS:
        raise ConfigError("there is no format {format}; write jsonl or csv", format=format_)
    wanted = {"kinds": kinds or [], "name": name, "after": after, "before": before}
    body = {
        "chat": chat,
        "account": account,
        "user_id": user,
        "filter": {key: value for key, value in wanted.items() if value},
        "format": format_,
        "after_message": after_message,
        "last_message": last_message,
    }
    api = connect(ctx, url, token)
    if output is None:
        call(api, lambda api: api.download("chats/export", body, sys.stdout.buffer.write))
        sys.stdout.buffer.flush()
    else:
        typer.echo(f"{output}: {_export_to(output, api, body):,} files", err=True)


def _export_to(path: Path, api: ApiClient, body: Json) -> int:
    """Write an export to a file, and continue it when the connection breaks. Returns how many files the file
    lists."""
    with _removed_if_empty(path), path.open("r+b" if path.exists() else "x+b") as file:
        while True:
            _, last = _continued(file, body["format"])
            seen = max(last, body["after_message"])
            try:
                write = (
                    file.write if not file.tell() or body["format"] != "csv" else _without_line(file.write)
                )
                call(api, partial(_download, body | {"after_message": seen}, write))
            except Unavailable as error:
                if _continued(file, body["format"])[1] > seen:
                    continue
                raise Unavailable("{reason}; --resume continues the file", reason=error.text) from None
            return _continued(file, body["format"])[0]


@contextmanager
def _removed_if_empty(path: Path) -> Iterator[None]:
    """After an error, the file is removed if nothing has been written."""
    try:
        yield
    except BaseException:
        if path.exists() and not path.stat().st_size:
            path.unlink()
        raise


async def _download(body: Json, write: Callable[[bytes], object], api: ApiClient) -> None:
    await api.download("chats/export", body, write)


def _continued(file: BinaryIO, format_: str) -> tuple[int, int]:
    """Go to the end of what is complete in an export, and remove the rest. Returns how many files it lists,
    and the number of the last message."""
    file.seek(0)
    records = _csv_records(file) if format_ == "csv" else (line for line in file if line.endswith(b"\n"))
    count, end, last = 0, 0, b""
    for record in records:
        count, end, last = count + 1, end + len(record), record
    message = _message(last, format_) if count else 0
    file.seek(end)
    file.truncate()
    return count - (format_ == "csv" and count > 0), message


def _message(record: bytes, format_: str) -> int:
    """The number of the message in the last line of an export. Raises `ConfigError`."""
    try:
        if format_ != "csv":
            return int(json.loads(record)["message"])
        first = next(csv.reader([record.decode()]))[0]
        return 0 if first == "message" else int(first)
    except (ValueError, KeyError, TypeError, IndexError, StopIteration):
        raise ConfigError("the file is no export that can be continued in this format") from None


def _csv_records(file: BinaryIO) -> Iterator[bytes]:
    """The complete rows of a table, in which a quoted text may have several lines."""
    record = b""
    for line in file:
        record += line
        if record.endswith(b"\n") and record.count(b'"') % 2 == 0:
            yield record
            record = b""


def _without_line(write: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """As `write`, without the first line, which has the names of the columns."""
    is_begun = False

    def write_rest(piece: bytes) -> None:
        nonlocal is_begun
        if is_begun:
            write(piece)
        elif b"\n" in piece:
            is_begun = True
            write(piece.partition(b"\n")[2])

    return write_rest
