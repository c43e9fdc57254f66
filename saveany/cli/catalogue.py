"""`saveany catalogue`: compare the catalogue with the files in the storages."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from saveany.cli import FAILED, load_config, usage
from saveany.cli.client import JsonOption, printable
from saveany.cli.role import prepare, redis_server, run_async
from saveany.config import Config
from saveany.errors import ConfigError
from saveany.storage_set import check_identity
from saveany.store import Store, connect
from storages import registry

if TYPE_CHECKING:
    from saveany.catalogue.catalogue import Catalogue
    from saveany.service.inventory import Difference, Scanned
    from storages.base import Storage

app = typer.Typer(
    cls=usage.CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    help="Compare the catalogue with the storages.",
)


@app.command()
def scan(
    ctx: typer.Context,
    storage: Annotated[str, typer.Argument(metavar="STORAGE", help="Name of the storage.")],
    path: Annotated[str, typer.Argument(help="Folder inside the storage. Default: its root.")] = "",
    user: Annotated[
        int | None, typer.Option(min=1, help="Id of the user of the files. Default: the first user.")
    ] = None,
    with_hash: Annotated[
        bool, typer.Option("--hash", help="Read the files, and note their SHA-256.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Add files that are already in a storage to the list of saved files.

    Nothing is moved or changed in the storage. Files that are listed already stay
    as they are, so a scan that was interrupted can be repeated. Unfinished files
    are left out. SaveAny may be running.
    """
    config = load_config(ctx)
    prepare(config)
    done = run_async(_scan(config, storage, path.strip("/"), _user(config, user), with_hash=with_hash))
    if as_json:
        typer.echo(json.dumps({"added": done.added, "known": done.known, "hashed": done.hashed}))
    else:
        hashed = f", {done.hashed} read for their SHA-256" if with_hash else ""
        typer.echo(f"{done.added} files added, {done.known} known before{hashed}")


@app.command()
def check(
    ctx: typer.Context,
    storages: Annotated[
        list[str] | None, typer.Argument(metavar="[STORAGE]…", help="Storages. Default: all that can list.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List saved files whose copies are missing, or have another size.

    --json prints a list with storage, path, file_id, size, and found: the size of
    the copy, or null. Exit codes: 0 all copies are there; 1 some are not.
    """
    config = load_config(ctx)
    prepare(config)
    names = storages or [each.name for each in config.storages if registry.capabilities(each.type).lists]
    found = run_async(_check(config, names))
    if as_json:
        rows = [
            {
                "storage": name,
                "path": each.path,
                "file_id": each.file_id,
                "size": each.size,
                "found": each.found,
            }
            for name, each in found
        ]
        typer.echo(json.dumps(rows))
    for name, each in () if as_json else found:
        state = "missing" if each.found is None else f"{each.found} bytes instead of {each.size}"
        typer.echo(f"{printable(name)}: {printable(each.path)}: {state}")
    if found:
        raise typer.Exit(FAILED)


def _user(config: Config, user: int | None) -> int:
    if user is not None:
        return user
    if not config.users:
        raise ConfigError("there are no [[users]]; name the user of the files with --user")
    return config.users[0].id


async def _scan(config: Config, name: str, path: str, user: int, *, with_hash: bool) -> Scanned:
    from saveany.service import inventory

    async with _opened(config) as (store, catalogue), _storage(config, store, name) as storage:
        now = await store.db.time_ms()
        scanning = inventory.scan(catalogue.inventory, storage, path, user, with_hash=with_hash, now_ms=now)
        return [each async for each in scanning][-1]


async def _check(config: Config, names: list[str]) -> list[tuple[str, Difference]]:
    from saveany.service import inventory

    found: list[tuple[str, Difference]] = []
    async with _opened(config) as (store, catalogue):
        for name in names:
            async with _storage(config, store, name) as storage:
                found += [(name, each) async for each in inventory.check(catalogue.inventory, storage)]
    return found


@asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[tuple[Store, Catalogue]]:
    from saveany.catalogue.catalogue import Catalogue

    with redis_server(config) as (url, _):
        store = Store(connect(url))
        catalogue = Catalogue.of(config, store)
        try:
            await store.db.check()
            yield store, catalogue
        finally:
            await catalogue.close()
            await store.db.close()


@asynccontextmanager
async def _storage(config: Config, store: Store, name: str) -> AsyncIterator[Storage]:
    """The storage of that name, whose disk must be there."""
    options = next((each for each in config.storages if each.name == name), None)
    if options is None:
        raise ConfigError("there is no storage {storage!r} in the configuration", storage=name)
    storage = registry.open_storage(options, config.services)
    try:
        await check_identity(store, storage)
        yield storage
    finally:
        await storage.close()
