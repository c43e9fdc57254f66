"""Questions about storages, which workers answer: the API and the bot open none."""

from __future__ import annotations

from typing import Any

from saveany.config import Config
from saveany.errors import InvalidInput, NotFound, RequestError, Unavailable
from saveany.planning.available import storage_problem
from saveany.store import Store
from saveany.texts import Text

_ERRORS: dict[str, type[RequestError]] = {
    "InvalidInput": InvalidInput,
    "UnsafePath": InvalidInput,
    "NotFound": NotFound,
}


async def require_worker(config: Config, store: Store, name: str) -> None:
    """Raise `NotFound` if there is no storage `name`, and `Unavailable` if no running worker has it."""
    if config.storage(name) is None:
        raise NotFound("there is no storage {name!r}", name=name)
    workers = await store.workers.living()
    if not any(name in worker.storages for worker in workers):
        problem = storage_problem(name, workers) or Text("no worker has it")
        raise Unavailable("storage {name!r}: {problem}", name=name, problem=problem)


async def ask(store: Store, name: str, kind: str, **args: object) -> Any:
    """The answer of a worker that has the storage; the kinds are those of `workers.storage_queries`. Raises
    `RequestError` with the reason if there is none."""
    reply = await store.queries.send(name, kind, args)
    if reply.error:
        raise _ERRORS.get(reply.error, Unavailable)(reply.text)
    return reply.result
