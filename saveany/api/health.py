"""Whether the process lives, and whether everything it needs is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from saveany import advice
from saveany.api.errors import Detail, error_response, responses
from saveany.api.models import Health, Ready
from saveany.api.routes import JsonRoute
from saveany.api.services import ApiServices, Use
from saveany.config import Config
from saveany.errors import StoreUnavailable, Unavailable
from saveany.planning.available import storage_problem
from saveany.store import WorkerInfo

#: Header of `/health` that tells installations apart: a random id, the same for all machines of one.
INSTANCE = "SaveAny-Instance"

_NOT_READY = "not ready; with the token of the API the answer says what is missing"
_RECENT_SECONDS = 1.0
#: Redis answers in milliseconds, or not at all.
_ANSWER_SECONDS = 4.0

router = APIRouter(tags=["service"], route_class=JsonRoute)


@router.get("/health", operation_id="health", summary="Sign of life", responses=responses())
async def health(request: Request, response: Response) -> Health:
    """Says that this process answers; needs no token and looks at nothing else."""
    if instance := getattr(request.app.state, "instance", ""):
        response.headers[INSTANCE] = instance
    return Health()


@router.get("/readyz", operation_id="ready", summary="Readiness", response_model=Ready, responses=responses())
async def ready(use: Use, request: Request) -> Ready | Response:
    """Whether files can be saved now. 503 names what is missing: Redis, a worker, an account, a storage.
    Without the token it only says yes or no."""
    if not request.scope["state"]["known"]:
        recent: Recent = request.app.state.readiness
        return (
            Ready() if await recent.look(lambda: _is_ready(use)) else error_response(Unavailable(_NOT_READY))
        )
    problems = await _missing(use)
    if not problems:
        return Ready()
    message = "not ready: " + "; ".join(f"{name}: {text}" for name, text in problems)
    return error_response(Unavailable(message), problems)


class Recent:
    """The answer to a question that costs something, asked again at most once a second however many ask."""

    def __init__(self) -> None:
        self._answer: asyncio.Task[bool] | None = None
        self._at = 0.0

    async def look(self, ask: Callable[[], Coroutine[Any, Any, bool]]) -> bool:
        """What `ask` says, or said less than a second ago."""
        now = time.monotonic()
        if self._answer is None or (self._answer.done() and now - self._at > _RECENT_SECONDS):
            self._answer, self._at = asyncio.create_task(ask()), now
        return await asyncio.shield(self._answer)


async def _is_ready(use: ApiServices) -> bool:
    return not await _missing(use)


async def _missing(use: ApiServices) -> list[Detail]:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await use.store.db.check_writable()
            return _problems(use.config, await use.store.workers.living())
    except StoreUnavailable as error:
        return [("redis", error.message)]
    except TimeoutError:
        return [("redis", "the task store (Redis) takes connections but does not answer; does it hang?")]


def _problems(config: Config, workers: Sequence[WorkerInfo]) -> list[Detail]:
    if not workers:
        return [("workers", f"no worker is running; start one: {advice.command('worker')}")]
    problems: list[Detail] = []
    accounts = {name: problem for worker in workers for name, problem in worker.accounts.items()}
    logged_in = any(problem == "" for worker in workers for problem in worker.accounts.values())
    if not logged_in:
        told = "; ".join(f"{name}: {problem}" for name, problem in accounts.items())
        problems.append(
            ("telegram", told or f"no Telegram account is logged in; run `{advice.command('login')}`")
        )
    for storage in config.storages:
        if problem := storage_problem(storage.name, workers):
            problems.append((f"storages.{storage.name}", str(problem)))
    return problems
