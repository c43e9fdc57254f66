"""`saveany add`: save links."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import typer

from saveany import advice
from saveany.cli import FAILED, INTERRUPTED, load_config
from saveany.cli.archive import show_estimate
from saveany.cli.client import (
    ApiClient,
    Json,
    JsonOption,
    RequestRefused,
    TokenOption,
    UrlOption,
    call,
    connect,
    printable,
)
from saveany.cli.follow import follow_tasks
from saveany.cli.waiting import first_tasks, with_reasons
from saveany.errors import ConfigError
from saveany.models import OnConflict, OnDuplicate
from saveany.telegram.links import is_whole_chat

LinksArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="LINK",
        help="Links to Telegram messages, such as https://t.me/channel/123, or other URLs. Each becomes a "
        "task.",
    ),
]
ForUserOption = Annotated[
    int | None, typer.Option("--user", min=1, help="Telegram user id. Default: the first of `users`.")
]
StorageOption = Annotated[
    str, typer.Option("--storage", help="Storage to save to. Default: the user's default storage.")
]
FolderOption = Annotated[str, typer.Option("--dir", help="Folder inside the storage.")]
NameOption = Annotated[str, typer.Option("--name", help="File name. Default: the name of the source.")]
TypeOption = Annotated[
    str, typer.Option("--type", help="Task type, such as directlinks. Default: chosen by the link.")
]
OnConflictOption = Annotated[
    OnConflict | None,
    typer.Option("--on-conflict", help="What to do if the name is taken. Default: the user's setting."),
]
OnDuplicateOption = Annotated[
    OnDuplicate | None,
    typer.Option("--on-duplicate", help="What to do if it was saved before. Default: the user's setting."),
]
PriorityOption = Annotated[
    int,
    typer.Option(
        "--priority", min=-100, max=100, help="Tasks with a higher number start before your other tasks."
    ),
]
WebhookOption = Annotated[
    str, typer.Option("--webhook-url", help="URL that receives a webhook when the task ends.")
]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        dir_okay=False,
        allow_dash=True,
        help="A list of links: one per line, CSV, JSON Lines, or an export of Telegram Desktop or tdl; - is "
        "the standard input.",
    ),
]
ColumnOption = Annotated[
    str, typer.Option("--column", help="The column of a CSV list with the links. Default: link or url.")
]
FollowOption = Annotated[
    bool, typer.Option("--follow", "-F", help="Show the progress until all tasks have ended.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Archive large chats without asking.")]

_STANDARD_INPUT = Path("/dev/stdin")
#: Estimated bytes of a chat above which the user is asked before it is archived.
_ASK_ABOVE = 10**9


def add(
    ctx: typer.Context,
    links: LinksArgument = None,
    file: FileOption = None,
    column: ColumnOption = "",
    user: ForUserOption = None,
    storage: StorageOption = "",
    folder: FolderOption = "",
    name: NameOption = "",
    type_: TypeOption = "",
    on_conflict: OnConflictOption = None,
    on_duplicate: OnDuplicateOption = None,
    priority: PriorityOption = 0,
    webhook_url: WebhookOption = "",
    follow: FollowOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Save links, and print the id of the task for each.

    A link to a whole chat, such as https://t.me/channel or an invite to a chat
    that an account is in, becomes an archive (see `saveany archive`): its contents
    are shown first, and you are asked if they have more than 1 GB.

    -f FILE saves a list of up to 1,000,000 links, as few tasks: links one per line
    (# begins a comment), CSV with a column of links, what `saveany export` writes,
    result.json of Telegram Desktop, or the JSON of `tdl chat export`. The other
    options apply to all of them. Wrong lines are reported by their number, and the
    others are saved; links that occur again are taken once. With --json the fields
    of `POST /api/v1/tasks/list` are printed.

    --follow shows progress bars on a terminal. Otherwise, and with --json, it
    prints one JSON object per line for each event:

    {"event": "task.progress", "task_id": "…", "status": "running",
    "stage": "downloading", "progress": {…}, "at": "…"}

    `event` is created (with `link`), snapshot, task.queued, task.running,
    task.updated, task.progress, task.completed, task.failed, task.canceled or
    waiting. A `waiting` event follows each change of the reason why a task does
    not start or makes no progress; its field `waiting` is that reason. The last
    event of each task has its final `status`.
    Without --follow, --json prints {"task_id": "…", "link": "…"} per link.

    Exit codes: 0 all links accepted, with --follow all tasks completed; 1 a link
    was refused, or a task failed or was canceled; 2 wrong usage; 130
    interrupted (the tasks continue).
    """
    links = links or []
    if bool(links) == bool(file):
        if links:
            raise ConfigError("give either links or -f FILE, not both (--follow has the short form -F)")
        raise ConfigError("LINK or -f FILE is missing; see `{help}`", help=advice.command("add --help"))
    if column and file is None:
        raise ConfigError("--column is for a list (-f FILE)")
    if name and len(links) > 1:
        raise ConfigError("--name can only be used with a single link")
    request = {
        "user_id": user or first_user(ctx),
        "storage_name": storage,
        "dir_path": folder,
        "filename": name,
        "type": type_,
        "on_conflict": on_conflict and on_conflict.value,
        "on_duplicate": on_duplicate and on_duplicate.value,
        "priority": priority,
        "webhook_url": webhook_url,
    }
    given = {key: value for key, value in request.items() if value}
    if file is not None:
        _add_list(connect(ctx, url, token), file, {**given, "column": column}, follow=follow, as_json=as_json)
        return
    chats = [each for each in links if is_whole_chat(each)]
    for chat in chats:
        _archive(connect(ctx, url, token), chat, given, yes=yes, as_json=as_json)
    if chats and not (links := [each for each in links if each not in chats]):
        return
    _run(_add(connect(ctx, url, token), links, given, follow=follow, as_json=as_json))


def _archive(api: ApiClient, chat: str, request: Json, *, yes: bool, as_json: bool) -> None:
    """Archive a chat, after showing what it contains."""
    same = {"user_id": "user_id", "storage_name": "storage", "dir_path": "dir_path"}
    body = {"chat": chat} | {name: request[given] for given, name in same.items() if given in request}
    contents = call(api, lambda api: api.post("archives/estimate", body))
    show_estimate(contents)
    if contents["bytes"] > _ASK_ABOVE and not yes:
        typer.confirm("Archive this chat?", abort=True, err=True)
    made = call(api, lambda api: api.post("archives", body))
    typer.echo(json.dumps({"archive_id": made["id"], "link": chat}) if as_json else f"archive {made['id']}")


def first_user(ctx: typer.Context) -> int:
    """The id of the first configured user. Raises `ConfigError` if there is none."""
    users = load_config(ctx, warn=False).users
    if not users:
        raise ConfigError("the configuration has no [[users]]; add one, or name a user with --user ID")
    return users[0].id


def _run(work: Coroutine[Any, Any, bool]) -> None:
    """Do the work, and end the program with an error unless it succeeds."""
    try:
        succeeded = asyncio.run(work)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; accepted tasks continue (see `{advice.command('ls')}`)", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if not succeeded:
        raise typer.Exit(FAILED)


def _add_list(api: ApiClient, file: Path, options: Json, *, follow: bool, as_json: bool) -> None:
    """Save a list; the exit code is as that of `_run`."""
    content = _STANDARD_INPUT if str(file) == "-" else file
    if not content.exists():
        raise ConfigError("there is no file {file} (--follow has the short form -F)", file=str(file))
    saved = call(api, lambda api: api.post("tasks/list", file=content, patient=True, **options))
    for problem in saved["problems"]:
        typer.echo(f"error: {_place(problem)}: {printable(problem['reason'])}", err=True)
    if saved["truncated"]:
        typer.echo("the export is incomplete; the messages before its end are saved", err=True)
    typer.echo(_summary(saved), err=True)
    ids = [task["task_id"] for task in saved["tasks"]]
    if as_json:
        typer.echo(json.dumps({"event": "created", **saved} if follow else saved))
    else:
        typer.echo("".join(f"{task_id}\n" for task_id in ids), nl=False)
    if follow and ids:
        _run(_follow_list(api, ids, as_json=as_json))
    if saved["refused"]:
        raise typer.Exit(FAILED)


def _place(problem: Json) -> str:
    """Where a list has a problem."""
    if problem["line"] is not None:
        return f"line {problem['line']}"
    more = f" and {problem['count'] - 1:,} others" if problem["count"] > 1 else ""
    return f"message {problem['message']}{more}"


def _summary(saved: Json) -> str:
    counted = [
        f"{_counted(saved['links'], 'link')} in {_counted(len(saved['tasks']), 'task')}",
        f"{saved['duplicates']:,} that occur again" if saved["duplicates"] else "",
        f"{saved['refused']:,} left out" if saved["refused"] else "",
        f"{_counted(saved['without_file'], 'message')} without a file" if saved["without_file"] else "",
    ]
    return ", ".join(filter(None, counted))


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


async def _follow_list(api: ApiClient, ids: Sequence[str], *, as_json: bool) -> bool:
    async with api:
        return await _follow(api, ids, as_json=as_json or not sys.stdout.isatty())


async def _add(api: ApiClient, links: Sequence[str], request: Json, *, follow: bool, as_json: bool) -> bool:
    """Whether all links were accepted and, if they are followed, all tasks completed."""
    as_json = as_json or (follow and not sys.stdout.isatty())
    async with api:
        ids = [await _create(api, link, request, follow=follow, as_json=as_json) for link in links]
        accepted = [task_id for task_id in ids if task_id]
        completed = await _follow(api, accepted, as_json=as_json) if follow else True
    return completed and len(accepted) == len(ids)


async def _create(api: ApiClient, link: str, request: Json, *, follow: bool, as_json: bool) -> str:
    """The id of the new task, which is printed; "" if the link was refused, after printing why."""
    try:
        task_id: str = (await api.add(request | {"url": link}))["task_id"]
    except RequestRefused as error:
        typer.echo(f"error: {link}: {error.message}", err=True)
        return ""
    event = {"event": "created"} if follow else {}
    typer.echo(json.dumps({**event, "task_id": task_id, "link": link}) if as_json else task_id)
    return task_id


async def _follow(api: ApiClient, ids: Sequence[str], *, as_json: bool) -> bool:
    """Show the tasks until all have ended. Returns whether all completed."""
    final: list[str] = []
    from saveany.cli.bars import display  # imports rich

    with display(as_json=as_json) as screen:
        async with aclosing(with_reasons(follow_tasks(api, ids), first_tasks(api))) as events:
            async for event in events:
                screen.show(event)
                if event.ended:
                    final.append(event.data["status"])
    return all(status == "completed" for status in final)
