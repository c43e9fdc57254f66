"""Routes for the health of the process and for the readiness of the whole installation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from saveany import advice
from saveany.api.auth import Caller, public
from saveany.api.errors import Detail, error_response, responses
from saveany.api.models import Health, Ready
from saveany.api.routes import JsonRoute
from saveany.api.services import ApiServices, InjectedServices
from saveany.config import Config
from saveany.errors import StoreUnavailable, Unavailable
from saveany.planning.available import storage_problem
from saveany.store import WorkerInfo
from saveany.store.recording import Waiting
from saveany.texts import Field, Text, gettext_noop, joined, loaded
from saveany.timefmt import rfc3339

#: Header of `/health` with the id of the installation, which is the same on all its machines.
INSTANCE = "SaveAny-Instance"

_NOT_READY = gettext_noop("not ready; send the token of the API to learn what is missing")
#: Seconds for which a result is reused.
_CACHE_SECONDS = 1.0
#: Seconds to wait for Redis, which normally replies within milliseconds.
_REDIS_SECONDS = 4.0

#: Seconds after which a change that is not in the catalogue yet is reported.
_RECORDED_SECONDS = 8.0

router = APIRouter(tags=["service"], route_class=JsonRoute, dependencies=[Depends(public)])


@router.get("/health", operation_id="health", summary="Health", responses=responses(public=True))
async def health(request: Request, response: Response) -> Health:
    """Confirms that this process is running. Checks nothing else and needs no token."""
    if instance := getattr(request.app.state, "instance", ""):
        response.headers[INSTANCE] = instance
    return Health()


@router.get(
    "/readyz",
    operation_id="ready",
    summary="Readiness",
    response_model=Ready,
    responses=responses(public=True),
)
async def ready(services: InjectedServices, request: Request) -> Ready | Response:
    """Whether files can be saved now. A 503 names what is missing: Redis, a worker, an account, a storage or
    the catalogue.
    Without the token the reply has no details."""
    caller: Caller | None = request.scope["state"]["caller"]
    if caller is None or not caller.principal.is_operator:
        readiness: CachedCheck = request.app.state.readiness
        return (
            Ready()
            if await readiness.get(lambda: _is_ready(services))
            else error_response(Unavailable(_NOT_READY))
        )
    problems = await _missing(services)
    if not problems:
        return Ready()
    reasons = [Text("{name}: {reason}", {"name": name, "reason": text}) for name, text in problems]
    return error_response(Unavailable("not ready: {reasons}", reasons=joined(reasons, "; ")), problems)


class CachedCheck:
    """A boolean check whose result is reused for a second, however many callers there are."""

    def __init__(self) -> None:
        self._result: asyncio.Task[bool] | None = None
        self._at = 0.0

    async def get(self, check: Callable[[], Coroutine[Any, Any, bool]]) -> bool:
        """The result of `check`, at most a second old."""
        now = time.monotonic()
        if self._result is None or (self._result.done() and now - self._at > _CACHE_SECONDS):
            self._result, self._at = asyncio.create_task(check()), now
        return await asyncio.shield(self._result)


async def _is_ready(services: ApiServices) -> bool:
    return not await _missing(services)


async def _missing(services: ApiServices) -> list[Detail]:
    try:
        async with asyncio.timeout(_REDIS_SECONDS):
            await services.store.db.check_writable()
            workers = await services.store.workers.living()
            waiting = await services.store.recording.waiting()
            now = await services.store.db.time_ms()
    except StoreUnavailable as error:
        return [("redis", error.text)]
    except TimeoutError:
        text = Text("the task store (Redis) accepts connections but does not reply; does it hang?")
        return [("redis", text)]
    return [*_problems(services.config, workers), *_unrecorded(waiting, now)]


def _unrecorded(waiting: Waiting, now: int) -> list[Detail]:
    """A record that waits longer than a recorder needs, which means an outage of the catalogue."""
    if waiting.since is None or now - waiting.since < _RECORDED_SECONDS * 1000:
        return []
    one = gettext_noop("{n} change waits to be recorded since {since}; is its database down?")
    many = gettext_noop("{n} changes wait to be recorded since {since}; is its database down?")
    fields: dict[str, Field] = {"n": waiting.count, "since": rfc3339(waiting.since)}
    return [("catalogue", Text(one if waiting.count == 1 else many, fields))]


def _problems(config: Config, workers: Sequence[WorkerInfo]) -> list[Detail]:
    if not workers:
        command = advice.command("worker")
        return [("workers", Text("no worker is running; start one: {command}", {"command": command}))]
    problems: list[Detail] = []
    accounts = {name: problem for worker in workers for name, problem in worker.accounts.items()}
    logged_in = any(problem == "" for worker in workers for problem in worker.accounts.values())
    if not logged_in:
        reported = [
            Text("{name}: {reason}", {"name": name, "reason": loaded(problem) or ""})
            for name, problem in accounts.items()
        ]
        nobody = Text(
            "no Telegram account is logged in; run `{command}`", {"command": advice.command("login")}
        )
        problems.append(("telegram", joined(reported, "; ") if reported else nobody))
    for storage in config.storages:
        if problem := storage_problem(storage.name, workers):
            problems.append((f"storages.{storage.name}", problem))
    return problems
