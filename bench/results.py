"""Measurements, their targets, and the table and file of results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

MB = 1_000_000
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure. `reference` was measured in the same run and has the same unit."""

    name: str
    value: float | None  # None: it could not be measured; `note` has the reason
    unit: str
    reference: float | None = None
    ratio: float | None = None
    note: str = ""  # shown in the table, not written to the results file


@dataclass(frozen=True, slots=True)
class Target:
    """A lower or upper bound for `ratio` or `value`."""

    of: Literal["ratio", "value"]
    sign: Literal[">=", "<="]
    bound: float

    def met(self, measured: Measurement) -> bool | None:
        """Whether the target is met; None if there is no figure."""
        figure = measured.ratio if self.of == "ratio" else measured.value
        if figure is None:
            return None
        return figure >= self.bound if self.sign == ">=" else figure <= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}{' x' if self.of == 'ratio' else ''}"


#: Types of storages that are measured.
STORES = ("local", "s3", "webdav", "sftp", "ftp", "rclone")


def _ratio(sign: Literal[">=", "<="], bound: float) -> Target:
    return Target("ratio", sign, bound)


def _value(sign: Literal[">=", "<="], bound: float) -> Target:
    return Target("value", sign, bound)


#: Measurement -> its targets, all of which it has to meet.
TARGETS: dict[str, tuple[Target, ...]] = {
    "loopback_cpu": (_ratio(">=", 0.78),),
    "loopback_wall": (_ratio(">=", 1.5),),
    "rtt50": (_ratio(">=", 36),),
    "rtt50_cap6": (_ratio(">=", 16),),
    "rtt50_cap6_of_cap": (_ratio(">=", 0.9),),
    "small_range": (_value(">=", 500),),
    "small_range_rtt50": (_value(">=", 300), _ratio(">=", 0.6)),
    "small_links_rtt50": (_value(">=", 300), _ratio(">=", 0.6)),
    "small_tasks": (_value(">=", 300),),
    "small_task_cpu_ms": (_value("<=", 5),),
    "small_tasks_live": (_ratio(">=", 0.8),),
    "small_tasks_rtt50": (_value(">=", 200),),
    "small_s3_rtt50": (_ratio(">=", 0.3),),
    "pickup_p95_ms": (_value("<=", 20),),
    "mem_4gib_mb": (_value("<=", 130),),
    "mem_8_files_mb": (_value("<=", 130),),
    "start_to_saved": (_ratio("<=", 2),),
    "cli_start": (_ratio("<=", 2),),
    "run_idle_pss_mb": (_value("<=", 170),),
    "run_idle_cpu": (_value("<=", 0.3),),
    "run_peak_pss_mb": (_value("<=", 280),),
    "refetched_after_kill_mb": (_value("<=", 70),),
    "restart_to_resumed_s": (_value("<=", 3),),
    "end_lag_ms": (_value("<=", 100),),
    "range_first_byte_rtt": (_value("<=", 4),),
    "dl_cpu": (_ratio(">=", 0.85),),
    "dl_rtt50": (_ratio(">=", 0.9),),
    "dl_first_byte_rtt": (_value("<=", 4),),
    "dl_warm_rtt": (_value("<=", 2),),
    "dl_seek_p95_ms": (_value("<=", 500),),
    "dl_local_cpu": (_ratio(">=", 0.5),),
    "dav_propfind_100k_ms": (_value("<=", 5000),),
    "dav_propfind_100k_mb": (_value("<=", 64),),
    "dav_read": (_ratio(">=", 0.9),),
    "dl_100_readers_mb": (_value("<=", 250),),
    "api_under_streams": (_ratio("<=", 2),),
    "api_post": (_ratio(">=", 0.5),),
    **{
        f"{what}_1m{engine}{row}": (target,)
        for what in ("history", "files")
        for engine in ("", "_pg")
        for row, target in {"": _ratio("<=", 2), "_search_p95": _value("<=", 100)}.items()
    },
    "files_1m_change_p95": (_value("<=", 20),),
    "files_1m_pg_change_p95": (_value("<=", 20),),
    "record_lag_p95_ms": (_value("<=", 200),),
    "redis_per_ended_task": (_value("<=", 100),),
    "page_100k_rows": (_value("<=", 60),),
    "page_100k_end_s": (_value("<=", 2),),
    "page_100k_heap_mb": (_value("<=", 200),),
    "page_100k_jump_s": (_value("<=", 1),),
    "page_50_tasks_cpu": (_value("<=", 0.05),),
    "page_50_tasks_heap_mb": (_value("<=", 2),),
    "page_wake_s": (_value("<=", 3),),
    "page_outage_s": (_value("<=", 30),),
    "archive_read": (_ratio(">=", 1.0),),
    "archive_redis_1m": (_value("<=", 50),),
    "archive_again_requests": (_value("<=", 2),),
    "archive_follow_p95_ms": (_value("<=", 2000),),
    "copy_by_reference_bytes": (_value("<=", 0),),
    "upload_local_to_s3": (_ratio(">=", 1.0),),
    **{
        f"store_{type_}_{what}": (target,)
        for type_ in STORES
        for what, target in {
            "up": _ratio(">=", 0.8),
            "down": _ratio(">=", 0.8),
            "mem_mb": _value("<=", 200),
        }.items()
    },
}


_HEAD = ("measurement", "value", "unit", "reference", "ratio", "target", "", "note")


def compared(name: str, value: float, unit: str, reference: float, note: str = "") -> Measurement:
    """A measurement with a reference from the same run; the ratio is value / reference."""
    return Measurement(name, value, unit, reference, value / reference, note)


def failed(name: str, reason: str) -> Measurement:
    """A measurement that failed; the table shows the first line of the reason."""
    return Measurement(name, None, "", note=reason.partition("\n")[0])


def write(path: Path, measured: Iterable[Measurement]) -> None:
    """Write one JSON object per line, replacing the results of an earlier run; a missing figure is null."""
    path.write_bytes(b"".join(msgspec.json.encode(_record(each)) + b"\n" for each in measured))


def table(measured: Sequence[Measurement]) -> str:
    """The results as a table for a terminal."""
    rows = [_HEAD, *map(_row, measured)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def _record(measured: Measurement) -> dict[str, object]:
    return {
        "name": measured.name,
        "value": measured.value,
        "unit": measured.unit,
        "reference": measured.reference,
        "ratio": measured.ratio,
    }


def _row(measured: Measurement) -> tuple[str, ...]:
    targets = TARGETS[measured.name]
    met = {target.met(measured) for target in targets}
    verdict = "n/a" if None in met else "MISS" if False in met else "pass"
    figures = (_figure(measured.value), measured.unit, _figure(measured.reference), _figure(measured.ratio))
    return (measured.name, *figures, ", ".join(map(str, targets)), verdict, measured.note)


def _figure(number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    numbers = {1, 3, 4}
    cells = (
        cell.rjust(width) if at in numbers else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(cells).rstrip()
