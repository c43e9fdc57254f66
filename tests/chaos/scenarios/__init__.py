"""The scenarios, by name: each takes a plan, does its damage and returns its count."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from tests.chaos.arena import Plan
from tests.chaos.scenarios import clock, crowd, disk, faults, freeze, kills, redis, restarts, storages
from tests.chaos.tally import Tally

SCENARIOS: dict[str, Callable[[Plan], Coroutine[Any, Any, Tally]]] = {
    "kills": kills.run,
    "storages": storages.run,
    "redis": redis.run,
    "restarts": restarts.run,
    "freeze": freeze.run,
    "faults": faults.run,
    "crowd": crowd.run,
    "disk": disk.run,
    "clock": clock.run,
}
