"""`saveany backup` and `saveany restore`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from saveany.cli import config_path, load_config
from saveany.cli.role import prepare, redis_server, run_async
from saveany.cli.tables import short_size
from saveany.config import Config, files
from saveany.errors import SaveAnyError
from saveany.store import connect


def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The tar archive to write.")],
    logins: Annotated[
        bool, typer.Option("--logins", help="Include the logins of the Telegram accounts.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")] = False,
) -> None:
    """Back up the catalogue, Redis and the configuration into one file.

    SaveAny may be running. The file contains passwords and tokens of the
    configuration, so only you can read it. Saved files are not part of it: they
    are in your storages. A FILE that exists is complete.
    """
    config = load_config(ctx)
    prepare(config)
    run_async(_backup(config, file, logins=logins, overwrite=overwrite))
    typer.echo(f"{file}: {short_size(file.stat().st_size)}")


async def _backup(config: Config, file: Path, *, logins: bool, overwrite: bool) -> None:
    from saveany.backup.make import make_backup  # imports the database library
    from saveany.store import Store

    with redis_server(config) as (url, _):
        db = connect(url)
        try:
            await make_backup(config, Store(db), file, logins=logins, overwrite=overwrite)
        finally:
            await db.close()


def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `backup` has written.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what this installation contains.")
    ] = False,
) -> None:
    """Restore a backup.

    Stop SaveAny on all machines first. The catalogue and Redis must be empty, or
    --overwrite replaces what is in them. The configuration file of the backup is
    written if there is none here; an existing one is used as it is.
    """
    from saveany.backup.restore import configuration, restore_backup

    target = files.find(config_path(ctx), os.environ) or files.DEFAULT_FILES[0]
    if not target.exists() and (text := configuration(file)) is not None:
        _write(target, text)
        typer.echo(f"Wrote {target}. Check its paths and addresses.")
    config = load_config(ctx)
    prepare(config)
    manifest = run_async(restore_backup(config, file, overwrite=overwrite))
    typer.echo(f"Restored the backup of {manifest.made_at}.")


def _write(file: Path, text: str) -> None:
    try:
        handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        raise SaveAnyError(
            "cannot write {file}: {reason}", file=str(file), reason=error.strerror or ""
        ) from error
