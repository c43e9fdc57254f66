"""The route for metrics in the format of Prometheus.

The format is version 0.0.4 of Prometheus's text exposition
(https://prometheus.io/docs/instrumenting/exposition_formats/). The values are in Redis and not in
this process, so the text is generated here instead of by a client library.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends
from starlette.responses import PlainTextResponse

from saveany.api.auth import operator
from saveany.api.errors import responses
from saveany.api.routes import JsonRoute
from saveany.api.services import ApiServices, InjectedServices
from saveany.errors import CatalogueUnavailable
from saveany.store import counters
from saveany.store.counters import (
    BUCKETS,
    OUTCOMES,
    PART_SECONDS,
    PART_SECONDS_SUM,
    UNREADABLE,
    WEBHOOK_ATTEMPTS,
)

if TYPE_CHECKING:
    from saveany.catalogue.catalogue import Catalogue

router = APIRouter(tags=["service"], route_class=JsonRoute, dependencies=[Depends(operator)])

#: Suffix of the name, labels as text, value.
Sample = tuple[str, str, float]


class Exposition(PlainTextResponse):
    """The text format of Prometheus."""

    media_type = "text/plain; version=0.0.4"


@dataclass(frozen=True, slots=True)
class Metric:
    """A family of samples. Without samples only its help and type are shown."""

    name: str
    type: str
    help: str
    samples: Sequence[Sample] = field(default=())

    def lines(self) -> Iterator[str]:
        """The family in the text format."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {self.type}"
        for suffix, labels, value in self.samples:
            yield f"{self.name}{suffix}{labels} {value:.17g}"


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Metrics for Prometheus",
    response_class=Exposition,
    responses=responses(),
)
async def metrics(services: InjectedServices) -> Exposition:
    """All metrics. Gauges are current; counters of workers are up to five seconds old."""
    await services.store.counters.flush()  # records that this process could not read
    families = [*await _gauges(services), *_counted(await services.store.counters.read())]
    return Exposition("".join(f"{line}\n" for family in families for line in family.lines()))


async def _gauges(services: ApiServices) -> list[Metric]:
    store = services.store
    tasks = await store.tasks.counts() | await _ended(services.catalogue)
    waiting = await store.recording.waiting()
    since = await store.tasks.queued_since()
    age = (await store.db.time_ms() - since) / 1000 if since is not None else 0.0
    return [
        Metric(
            "saveany_tasks",
            "gauge",
            "Tasks by state; ended tasks while the history keeps them.",
            [("", f'{{state="{state}"}}', count) for state, count in tasks.items()],
        ),
        _plain(
            "saveany_oldest_queued_seconds",
            "gauge",
            "Age of the oldest queued task, or 0.",
            age,
        ),
        _plain(
            "saveany_queue_paused",
            "gauge",
            "1 while the queue is paused, else 0.",
            await store.settings.paused(),
        ),
        _plain(
            "saveany_records_waiting",
            "gauge",
            "Changes that the catalogue does not contain yet.",
            waiting.count,
        ),
        _plain("saveany_workers", "gauge", "Running worker processes.", len(await store.workers.living())),
    ]


async def _ended(catalogue: Catalogue) -> dict[str, int]:
    """Numbers of ended tasks by status; none during an outage of the catalogue."""
    try:
        return {status.value: count for status, count in (await catalogue.history.counts()).items()}
    except CatalogueUnavailable:
        return {}


def _counted(sums: Mapping[str, float]) -> list[Metric]:
    attempts = [
        ("", f'{{outcome="{outcome}"}}', sums.get(WEBHOOK_ATTEMPTS + outcome, 0.0)) for outcome in OUTCOMES
    ]
    return [
        _plain(
            "saveany_downloaded_bytes_total",
            "counter",
            "Bytes downloaded from sources, including repeated ones.",
            sums.get(counters.DOWNLOADED_BYTES, 0.0),
        ),
        Metric(
            "saveany_part_seconds",
            "histogram",
            "Time to download a part of a file, including failed attempts and waits.",
            _histogram(sums),
        ),
        _plain(
            "saveany_flood_wait_seconds_total",
            "counter",
            "Seconds that sources asked tasks to wait.",
            sums.get(counters.FLOOD_WAIT_SECONDS, 0.0),
        ),
        _plain(
            "saveany_lost_leases_total",
            "counter",
            "Tasks taken back from workers that died or stopped responding.",
            sums.get(counters.LOST_LEASES, 0.0),
        ),
        Metric(
            "saveany_unreadable_records_total",
            "counter",
            "Records skipped because they are damaged or of a newer version; each counted once an hour.",
            [
                ("", f'{{kind="{name.removeprefix(UNREADABLE)}"}}', amount)
                for name, amount in sorted(sums.items())
                if name.startswith(UNREADABLE)
            ],
        ),
        Metric(
            "saveany_webhook_attempts_total",
            "counter",
            "Attempts to deliver a webhook, by outcome.",
            attempts,
        ),
    ]


def _plain(name: str, type_: str, text: str, value: float) -> Metric:
    return Metric(name, type_, text, [("", "", value)])


def _histogram(sums: Mapping[str, float]) -> list[Sample]:
    counts = list(accumulate(sums.get(f"{PART_SECONDS}{bound}", 0.0) for bound in BUCKETS))
    names = ["+Inf" if math.isinf(bound) else f"{bound:g}" for bound in BUCKETS]
    buckets = [("_bucket", f'{{le="{name}"}}', count) for name, count in zip(names, counts, strict=True)]
    return [*buckets, ("_sum", "", sums.get(PART_SECONDS_SUM, 0.0)), ("_count", "", counts[-1])]
