"""Which sources and storages can be used now, according to the running workers."""

from __future__ import annotations

from collections.abc import Sequence

from saveany import advice
from saveany.config import Config
from saveany.models import WorkerInfo
from saveany.planning.source_choice import how_to_enable, is_enabled
from saveany.sources import SourceSpec
from saveany.texts import StoredText, Text, loaded


def source_problem(config: Config, source: SourceSpec, workers: Sequence[WorkerInfo]) -> Text | None:
    """Why no running worker can use `source`, and what to do; None if one can."""
    if not is_enabled(config, source):
        return Text("disabled; {advice}", {"advice": how_to_enable(source)})
    reported = [worker.sources[source.type] for worker in workers if source.type in worker.sources]
    if not reported:
        command = advice.command("worker")
        return Text("no running worker has this source; start one: {command}", {"command": command})
    return _shared_problem(reported)


def storage_problem(name: str, workers: Sequence[WorkerInfo]) -> Text | None:
    """Why no running worker can use the storage `name`; None if one can."""
    if not workers:
        return Text("no worker is running; start one: {command}", {"command": advice.command("worker")})
    reported = [worker.storages[name] for worker in workers if name in worker.storages]
    return _shared_problem(reported) if reported else Text("no running worker has this storage")


def machine_problem(machine: str, workers: Sequence[WorkerInfo]) -> Text | None:
    """Why no worker of this machine ("": any) can run a task; None if one can."""
    if not machine or any(worker.machine == machine for worker in workers):
        return None
    return Text("no worker is running on the machine that has this file")


def _shared_problem(reported: Sequence[StoredText]) -> Text | None:
    """None if one worker reports no problem, which is "", else the problem of one of them."""
    return loaded(min(reported, key=str))
