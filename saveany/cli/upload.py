"""`saveany upload`: save files of this machine."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saveany.cli import FAILED
from saveany.cli.add import OnConflictOption, OnDuplicateOption
from saveany.cli.address import own_data_dir
from saveany.cli.client import ApiClient, JsonOption, TokenOption, UrlOption, connect, printable
from saveany.cli.upload_records import UploadRecords
from saveany.cli.uploading import FileUpload, Uploading, UploadOutcome, UploadTarget
from saveany.errors import ConfigError
from saveany.local_files import LeftOut, LocalFile, Patterns, Version, decoded, find, link, special
from saveany.planning.names import safe_name
from saveany.uploads.folder import UploadsFolder

if TYPE_CHECKING:
    from rich.progress import Progress

PathsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH",
        help="Files and folders. A folder keeps its name; of one with a slash at the end, only the contents "
        "are uploaded.",
    ),
]
ToOption = Annotated[
    str,
    typer.Option("--to", metavar="STORAGE:FOLDER", help="Where to save, such as nas:photos/2026, or nas:."),
]
IncludeOption = Annotated[
    list[str],
    typer.Option(
        "--include",
        metavar="PATTERN",
        help="Only files whose name, or path in the folder, matches, such as *.mkv. Can be repeated.",
    ),
]
ExcludeOption = Annotated[
    list[str],
    typer.Option("--exclude", metavar="PATTERN", help="No such files and folders. Can be repeated."),
]
MoveOption = Annotated[
    bool,
    typer.Option("--move", help="Delete each local file once its content is verified to be stored."),
]
FollowLinksOption = Annotated[
    bool,
    typer.Option("--follow-links", help="Upload what symbolic links lead to, if that is in the same folder."),
]
NoWaitOption = Annotated[
    bool,
    typer.Option("--no-wait", help="End when everything is sent, and print the ids of the tasks."),
]
UploadUserOption = Annotated[
    int | None,
    typer.Option("--user", min=1, help="Telegram user id of the owner. Default: that of the token."),
]


def upload(
    ctx: typer.Context,
    paths: PathsArgument,
    to: ToOption,
    include: IncludeOption = [],  # noqa: B006  # typer needs it
    exclude: ExcludeOption = [],  # noqa: B006
    move: MoveOption = False,
    follow_links: FollowLinksOption = False,
    on_conflict: OnConflictOption = None,
    on_duplicate: OnDuplicateOption = None,
    user: UploadUserOption = None,
    no_wait: NoWaitOption = False,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Save files of this machine, and wait until they are stored.

    SaveAny may run on another machine. Each file becomes a task, and keeps its
    name. Files that are already stored, or partly sent, are not sent again
    when an interrupted command is repeated. If SaveAny runs on this machine,
    files on its disk are not copied first, unless --url names its address.

    Without a terminal, or with --json, there is a line for each file. JSON:

    {"path": "…", "status": "completed", "task_id": "…",
    "stored_as": "nas:/photos/a.jpg", "error": "", "removed": false}

    `status` is completed, skipped (the name is taken, or the same file was saved
    before), queued (with --no-wait), failed or canceled. `removed` says whether
    --move has deleted the local file.

    Exit codes: 0 all files are stored or skipped; 1 a file could not be read,
    sent or stored; 2 wrong usage; 130 interrupted (repeat the command to
    continue).
    """
    storage, _, folder = to.partition(":")
    if not storage:
        raise ConfigError("--to must look like STORAGE:FOLDER, such as nas:photos")
    if move and no_wait:
        raise ConfigError("--move waits until the files are stored; leave out --no-wait")
    jobs, left_out = _jobs(paths, Patterns(include, exclude), follow_links=follow_links)
    for each in left_out:
        kind = "error" if each.is_error else "warning"
        typer.echo(f"{kind}: {_shown(each.path)}: {each.reason}; left out", err=True)
    is_readable = not any(each.is_error for each in left_out)
    target = UploadTarget(storage, folder, user, on_conflict or "", on_duplicate or "")
    api = connect(ctx, url, token)
    # A file that is only linked must not change until it is saved, which nobody sees without waiting.
    own = None if url or no_wait else _own_folder(ctx)
    options = _Options(follow_links, move, not no_wait, as_json, own, repeats_anew=is_readable)
    if not asyncio.run(_run(api, target, jobs, options)) or not is_readable:
        raise typer.Exit(FAILED)


@dataclass(frozen=True, slots=True)
class _Options:
    follow_links: bool
    move: bool
    wait: bool
    as_json: bool
    folder: UploadsFolder | None
    repeats_anew: bool  # whether the same command, if it is repeated after success, uploads all again


def _own_folder(ctx: typer.Context) -> UploadsFolder | None:
    """The folder in which SaveAny receives files, if its configuration is on this machine."""
    try:
        return UploadsFolder(own_data_dir(ctx))
    except ConfigError:
        return None


def _jobs(
    paths: Sequence[str], patterns: Patterns, *, follow_links: bool
) -> tuple[list[FileUpload], list[LeftOut]]:
    jobs: dict[tuple[str, str], FileUpload] = {}  # a file that several arguments contain is uploaded once
    left_out: list[LeftOut] = []
    for path in dict.fromkeys(paths):
        for found, folder in _files(path, patterns, follow_links=follow_links):
            if isinstance(found, LocalFile):
                jobs.setdefault((found.place, folder), FileUpload(found, folder))
            else:
                left_out.append(found)
    return list(jobs.values()), left_out


def _files(path: str, patterns: Patterns, *, follow_links: bool) -> Iterator[tuple[LocalFile | LeftOut, str]]:
    """The files of one argument, each with its folder in the target folder."""
    file = Path(path)
    try:
        if file.is_symlink() and not follow_links:
            yield replace(link(file), is_error=True), ""
        elif file.is_dir():
            top = "" if path.endswith(("/", "/.")) else file.absolute().name
            for found in find(file, patterns, follow_links=follow_links):
                below = found.below.rpartition("/")[0] if isinstance(found, LocalFile) else ""
                yield found, _safe_folder(f"{top}/{below}")
        elif not file.is_file():
            file.stat()
            yield replace(special(file), is_error=True), ""
        elif patterns.accepts(file.name):
            yield LocalFile(file, file.name, Version.of(file.stat())), ""
    except OSError as error:
        yield LeftOut.because(file, error), ""


def _safe_folder(path: str) -> str:
    return "/".join(safe_name(decoded(part)) for part in path.split("/") if part)


async def _run(api: ApiClient, target: UploadTarget, jobs: Sequence[FileUpload], options: _Options) -> bool:
    screen = _Screen(jobs, as_json=options.as_json)
    async with api:
        with closing(UploadRecords()) as records, screen.shown():
            uploading = Uploading(
                api,
                target,
                records,
                follow_links=options.follow_links,
                move=options.move,
                wait=options.wait,
                folder=options.folder,
                sent=screen.sent,
                note=partial(typer.echo, err=True),
            )
            is_complete = await uploading.run(jobs, screen.show)
            if is_complete and options.repeats_anew:
                uploading.forget(jobs)
    screen.sum_up()
    return is_complete


class _Screen:
    """A bar on a terminal, otherwise a line for each file. Errors are on stderr."""

    def __init__(self, jobs: Sequence[FileUpload], *, as_json: bool) -> None:
        self._as_json = as_json
        self._total = sum(job.file.version.size for job in jobs)
        self._count, self._stored = len(jobs), 0
        self._progress: Progress | None = None
        if not as_json and sys.stdout.isatty():
            # imports rich
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

            columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TextColumn("{task.description}"))
            self._progress = Progress(*columns, console=Console(), transient=True)
            self._bar = self._progress.add_task(self._stored_files, total=self._total)

    @contextmanager
    def shown(self) -> Iterator[None]:
        with self._progress or nullcontext():
            yield

    def sent(self, size: int) -> None:
        if self._progress:
            self._progress.advance(self._bar, size)

    def show(self, outcome: UploadOutcome) -> None:
        path = _shown(outcome.job.file.path)
        if outcome.status in ("completed", "skipped", "queued"):
            self._stored += 1
        if self._as_json:
            fields = {
                "path": path,
                "status": outcome.status,
                "task_id": outcome.task_id,
                "stored_as": outcome.stored_as,
                "error": outcome.error,
                "removed": outcome.is_removed,
            }
            typer.echo(json.dumps(fields))
            return
        if self._progress:
            self._progress.update(self._bar, description=self._stored_files)
        elif outcome.status == "queued":
            typer.echo(outcome.task_id)
        elif outcome.status in ("completed", "skipped"):
            skipped = " (skipped)" if outcome.status == "skipped" else ""
            typer.echo(f"{path} -> {printable(outcome.stored_as)}{skipped}")
        if outcome.error or outcome.status in ("failed", "canceled"):
            typer.echo(f"error: {path}: {printable(outcome.error or outcome.status)}", err=True)

    @property
    def _stored_files(self) -> str:
        return f"{self._stored} of {self._count} files stored"

    def sum_up(self) -> None:
        if self._progress:
            from rich import filesize

            typer.echo(f"{self._stored_files} ({filesize.decimal(self._total)})")


def _shown(path: Path) -> str:
    return printable(decoded(str(path)))
