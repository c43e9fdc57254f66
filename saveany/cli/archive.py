"""`saveany archive`: whole chats, with a receipt for every message."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from saveany.cli import usage
from saveany.cli.adopt import adopt
from saveany.cli.client import (
    ApiClient,
    Json,
    JsonOption,
    TokenOption,
    UrlOption,
    UserOption,
    call,
    connect,
    printable,
)
from saveany.errors import SaveAnyError

app = typer.Typer(
    cls=usage.CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    help="Archive whole chats, and prove that they are complete.",
)

ArchiveArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the archive.")]

#: Number of messages that one request verifies, and with their contents.
_VERIFIED_AT_ONCE, _HASHED_AT_ONCE = 200, 10
#: Outcome -> what it means, in the order of the receipt.
_LINES = {
    "without_media": "without files",
    "saved": "saved",
    "duplicate": "saved before (the same file)",
    "filtered": "excluded by the filter",
    "gone": "deleted before they were read",
    "locked": "paid, not bought",
    "expired": "expired",
    "protected": "may not be copied",
    "failed": "failed",
    "pending": "waiting",
}
_REPAIRED = ("not_in_catalogue", "missing", "changed")
_PROBLEMS = {
    "not_in_catalogue": "deleted from the catalogue",
    "missing": "missing in the storage",
    "changed": "has changed in the storage",
    "unverifiable": "could not be verified",
    "deleted": "deleted in Telegram since",
}


@app.command()
def add(
    ctx: typer.Context,
    chat: Annotated[str, typer.Argument(metavar="CHAT", help="@name, a link into the chat, or its id.")],
    storage: Annotated[str, typer.Option(help="Storage. Default: that of the user.")] = "",
    path: Annotated[str, typer.Option(help="Folder in the storage.")] = "",
    start: Annotated[
        str, typer.Option(help="The first message: first, now, the number of a message, or a date.")
    ] = "first",
    until: Annotated[str, typer.Option(help="A date: messages from then on are left out.")] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Save new messages, too, from then on.")] = False,
    filter_: Annotated[
        str, typer.Option("--filter", help='Filter as JSON, such as {"kinds": ["video"]}.')
    ] = "",
    comments: Annotated[
        bool, typer.Option("--comments", help="Save the files in comments, too; each post has a folder.")
    ] = False,
    stories: Annotated[
        bool, typer.Option("--stories", help="Save the current and pinned stories of a channel, too.")
    ] = False,
    profile_photos: Annotated[
        bool, typer.Option("--profile-photos", help="Save current and earlier profile photos, too.")
    ] = False,
    takeout: Annotated[
        bool, typer.Option("--takeout", help="Read it as an export, which Telegram limits less.")
    ] = False,
    extras: Annotated[
        list[str] | None,
        typer.Option(
            "--extra", help="Also save: preview (of links), cover (of videos), live_video, instant_view."
        ),
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Write the texts of all messages to the folder, too.")
    ] = False,
    copy: Annotated[
        str, typer.Option(help="How files get into a chat of Telegram: auto, reference or bytes.")
    ] = "auto",
    on_edit: Annotated[
        str, typer.Option(help="When a file is replaced later: ignore, or add the new one.")
    ] = "ignore",
    account: Annotated[
        str, typer.Option(help="User account that reads the chat; needed for private chats and `me`.")
    ] = "",
    user: Annotated[int | None, typer.Option(min=1, help="Telegram user id of the owner.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Also if the space seems too small.")] = False,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Archive a chat: save all of its files, oldest first.

    First it prints what the whole chat contains, and refuses if the storage has
    not enough space for it. It goes on after any interruption. `saveany archive show` prints the receipt.
    --json prints the fields of `POST /api/v1/archives`.
    """
    body: Json = {"chat": chat, "storage": storage, "dir_path": path, "start": start, "until": until}
    body |= {
        "follow": follow,
        "account": account,
        "comments": comments,
        "copy": copy,
        "text": text,
        "takeout": takeout,
        "stories": stories,
        "profile_photos": profile_photos,
        "on_edit": on_edit,
        "extras": extras or [],
    }
    if filter_:
        body["filter"] = _parsed_filter(filter_)
    if user is not None:
        body["user_id"] = user
    contents = call(connect(ctx, url, token), lambda api: api.post("archives/estimate", body))
    show_estimate(contents)
    if contents["free_bytes"] is not None and contents["bytes"] > contents["free_bytes"] and not yes:
        raise SaveAnyError("the storage has not enough space; choose another one, or repeat this with --yes")
    made = call(connect(ctx, url, token), lambda api: api.post("archives", body))
    if as_json:
        typer.echo(json.dumps(made))
    else:
        typer.echo(f"{made['id']} {printable(made['title'])}")


def show_estimate(contents: Json) -> None:
    """Print what a chat contains, on stderr."""
    from saveany.cli.tables import short_size  # imports rich

    kinds = [f"{each['files']:,} {kind}" for kind, each in contents["kinds"].items()]
    free = "" if contents["free_bytes"] is None else f"; {short_size(contents['free_bytes'])} free"
    files = f"{', '.join(kinds) or 'no files'}, about {short_size(contents['bytes'])}"
    typer.echo(f"{contents['messages']:,} messages: {files}{free}", err=True)


app.command()(adopt)


@app.command("list")
def list_(
    ctx: typer.Context,
    user: UserOption = None,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """List archives and watched chats, oldest first.

    --json prints {"archives": […]}, with the fields of `GET /api/v1/archives`.
    """
    found = call(connect(ctx, url, token), lambda api: api.get("archives", user_id=user))
    if as_json:
        typer.echo(json.dumps(found))
    elif found["archives"]:
        from saveany.cli.tables import new_table, print_table, short_size  # imports rich

        table = new_table(
            "ID", "STATE", "CHAT", "SAVED", "FAILED", "SIZE", wide="CHAT", right=("SAVED", "FAILED", "SIZE")
        )
        for each in found["archives"]:
            counts = each["counts"]
            numbers = str(counts["saved"] + counts["duplicate"]), str(counts["failed"])
            table.add_row(
                each["id"], each["state"], printable(each["title"]), *numbers, short_size(each["bytes"])
            )
        print_table(table)
    else:
        typer.echo("There are no archives.", err=True)


@app.command()
def show(
    ctx: typer.Context,
    archive_id: ArchiveArgument,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Print the receipt of an archive, and the messages that have failed.

    --json prints the fields of `GET /api/v1/archives/{archive_id}`.
    """

    async def read(api: ApiClient) -> tuple[Json, list[Json]]:
        found = await api.get(f"archives/{archive_id}")
        failed = await api.get(f"archives/{archive_id}/messages", outcome="failed", limit=20)
        return found, failed["messages"]

    found, failed = call(connect(ctx, url, token), read)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for line in receipt_lines(found):
        typer.echo(line)
    for each in failed:
        typer.echo(f"failed: message {each['message']}: {printable(each['reason'])}")
    if found["counts"]["failed"] > len(failed):
        typer.echo(f"… and {found['counts']['failed'] - len(failed)} more")


def receipt_lines(found: Json) -> list[str]:
    """The receipt of an archive as lines of text."""
    from saveany.cli.tables import short_size  # imports rich

    counts: dict[str, int] = found["counts"]
    lines = [f"{printable(found['title'])} ({printable(found['chat'])}): {found['state']}"]
    if found["problem"]:
        lines.append(f"blocked: {printable(found['problem'])}")
    if found["notice"]:
        lines.append(printable(found["notice"]))
    if found["eta_seconds"] and found["state"] == "reading":
        lines.append(f"about {_duration(found['eta_seconds'])} left")
    rows = [(counts["telegram_total"], "messages, according to Telegram")]
    rows += [
        (counts[name], text) for name, text in _LINES.items() if counts[name] or name in ("saved", "failed")
    ]
    width = len(f"{max(number for number, _ in rows):,}")
    for number, text in rows:
        more = f" ({short_size(found['bytes'])})" if text == "saved" else ""
        lines.append(f"{number:>{width},} {text}{more}")
    return [*lines, _balance(found)]


def _balance(found: Json) -> str:
    """Whether the numbers add up, and if not, why."""
    rest: int = found["unaccounted"]
    if not rest:
        return "Every message is accounted for."
    if rest < 0:
        return f"{-rest:,} of these messages were deleted after they were read."
    if found["state"] in ("reading", "paused", "blocked"):
        return f"{rest:,} messages are not read yet."
    if found["start"] != "first":
        return f"{rest:,} messages are before the start of the archive ({printable(found['start'])})."
    return f"{rest:,} messages are counted by Telegram, but withheld from this account."


def _duration(seconds: int) -> str:
    hours, minutes = divmod(-(-seconds // 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


@app.command()
def pause(
    ctx: typer.Context, archive_id: ArchiveArgument, url: UrlOption = "", token: TokenOption = ""
) -> None:
    """Read no further messages for now. Files that are queued are still saved."""
    _act(ctx, archive_id, "pause", url, token)


@app.command()
def resume(
    ctx: typer.Context, archive_id: ArchiveArgument, url: UrlOption = "", token: TokenOption = ""
) -> None:
    """Continue a paused archive."""
    _act(ctx, archive_id, "resume", url, token)


def _act(ctx: typer.Context, archive_id: str, action: str, url: str, token: str) -> None:
    found = call(connect(ctx, url, token), lambda api: api.post(f"archives/{archive_id}/{action}"))
    typer.echo(f"{found['id']} {found['state']}")


@app.command()
def retry(
    ctx: typer.Context,
    archive_id: ArchiveArgument,
    again: Annotated[
        bool, typer.Option("--again", help="Also save files again that were deleted or changed since.")
    ] = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Save the messages again that have failed."""

    async def run(api: ApiClient) -> int:
        count: int = (await api.post(f"archives/{archive_id}/retry"))["messages"]
        if again:
            _, found = await _verify(api, archive_id, {"repair": True})
            count += sum(map(_can_be_repaired, found))
        return count

    typer.echo(f"{call(connect(ctx, url, token), run)} messages are saved again")


@app.command()
def verify(
    ctx: typer.Context,
    archive_id: ArchiveArgument,
    repair: Annotated[bool, typer.Option("--repair", help="Save again what is missing or changed.")] = False,
    with_hash: Annotated[
        bool, typer.Option("--hash", help="Also read the files, and compare their SHA-256.")
    ] = False,
    telegram: Annotated[
        bool, typer.Option("--telegram", help="Also find messages that were deleted in Telegram since.")
    ] = False,
    as_json: JsonOption = False,
    url: UrlOption = "",
    token: TokenOption = "",
) -> None:
    """Compare the receipt with the catalogue and with the sizes of the files in the storage.

    --hash also compares their contents; a file whose SHA-256 is not known yet, such
    as an adopted one, gets the one that is found.

    Files that edits have replaced since are compared, too, but cannot be saved again.

    The exit code is 1 if there is a difference that is not repaired; messages that
    were deleted in Telegram are none.
    --json prints {"checked": …, "discrepancies": […]}.
    """

    how = {"repair": repair, "hash": with_hash, "telegram": telegram}
    checked, found = call(connect(ctx, url, token), lambda api: _verify(api, archive_id, how))
    if as_json:
        typer.echo(json.dumps({"checked": checked, "discrepancies": found}))
    else:
        for each in found:
            place = f" ({printable(each['storage'])}:/{printable(each['path'])})" if each["path"] else ""
            which = ", replaced by an edit" if each["replaced"] else ""
            typer.echo(f"message {each['message']}{which}: {_PROBLEMS[each['problem']]}{place}")
        again = sum(map(_can_be_repaired, found)) if repair else 0
        typer.echo(f"{checked} messages verified, {len(found)} differ, {again} are saved again")
    if any(each["problem"] != "deleted" and not (repair and _can_be_repaired(each)) for each in found):
        raise typer.Exit(1)


def _can_be_repaired(discrepancy: Json) -> bool:
    """Whether `--repair` saves the file again. Telegram no longer has files that an edit has replaced."""
    return discrepancy["problem"] in _REPAIRED and not discrepancy["replaced"]


async def _verify(api: ApiClient, archive_id: str, how: Json) -> tuple[int, list[Json]]:
    """The number of messages that were verified, and what was found."""
    checked, found, cursor = 0, list[Json](), ""
    limit = _HASHED_AT_ONCE if how.get("hash") else _VERIFIED_AT_ONCE
    while True:
        body = {**how, "limit": limit, "cursor": cursor}
        page = await api.post(f"archives/{archive_id}/verify", body, patient=True)
        checked += page["checked"]
        found += page["discrepancies"]
        if not page["next_cursor"]:
            return checked, found
        cursor = page["next_cursor"]


@app.command()
def remove(
    ctx: typer.Context, archive_id: ArchiveArgument, url: UrlOption = "", token: TokenOption = ""
) -> None:
    """End an archive and delete its receipt. Its files stay."""
    reply = call(connect(ctx, url, token), lambda api: api.delete(f"archives/{archive_id}"))
    typer.echo(reply["message"])


def _parsed_filter(text: str) -> Json:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise typer.BadParameter('a filter is JSON such as {"kinds": ["video"]}', param_hint="--filter")
    return found
