"""What this installation can do now."""

from __future__ import annotations

from collections.abc import Sequence

from saveany import advice
from saveany.config import Config
from saveany.planning.source_choice import how_to_enable, is_enabled
from saveany.sources import SourceSpec
from saveany.store import WorkerInfo


def source_problem(config: Config, source: SourceSpec, workers: Sequence[WorkerInfo]) -> str:
    """Why no living worker can use that source, and what to do; empty if one can."""
    if not is_enabled(config, source):
        return f"switched off; {how_to_enable(source)}"
    told = [worker.sources[source.type] for worker in workers if source.type in worker.sources]
    return min(told, default=f"no worker that can do it is running; start one: {advice.command('worker')}")


def storage_problem(name: str, workers: Sequence[WorkerInfo]) -> str:
    """Why no living worker can use that storage; empty if one can."""
    told = [worker.storages[name] for worker in workers if name in worker.storages]
    if not told:
        return (
            "no running worker has this storage"
            if workers
            else f"no worker is running; start one: {advice.command('worker')}"
        )
    return min(told)  # an empty one comes first: it is ready somewhere
