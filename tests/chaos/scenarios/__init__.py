"""The scenarios by name. Each injects failures as planned and returns its result."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from tests.chaos.installation import Plan
from tests.chaos.result import ScenarioResult
from tests.chaos.scenarios import (
    archive,
    catalogue,
    clock,
    crowd,
    disk,
    faults,
    freeze,
    inbox,
    kills,
    live,
    redis,
    restarts,
    small,
    storages,
)

SCENARIOS: dict[str, Callable[[Plan], Coroutine[Any, Any, ScenarioResult]]] = {
    "kills": kills.run,
    "small": small.run,
    "storages": storages.run,
    "redis": redis.run,
    "restarts": restarts.run,
    "freeze": freeze.run,
    "faults": faults.run,
    "crowd": crowd.run,
    "disk": disk.run,
    "clock": clock.run,
    "catalogue": catalogue.run,
    "archive": archive.run,
    "live": live.run,
    "inbox": inbox.run,
}
