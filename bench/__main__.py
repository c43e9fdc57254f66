"""`python -m bench [NAME …]`: measure, print a table, write bench/results.jsonl."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from bench import (
    api,
    archives,
    drive,
    footprint,
    history,
    links,
    memory,
    page,
    ranges,
    recording,
    recovery,
    results,
    saved_files,
    small,
    stores,
    tasks,
    transfer,
    uploads,
)
from bench.results import Measurement

Run = Callable[[], Awaitable[list[Measurement]]]

#: Names of measurements -> the function that makes them; the names of one row are measured together.
RUNS: Mapping[tuple[str, ...], Run] = {
    ("loopback_cpu", "loopback_wall"): transfer.loopback,
    ("rtt50",): transfer.rtt50,
    ("rtt50_cap6", "rtt50_cap6_of_cap"): transfer.rtt50_cap6,
    ("small_range",): small.small_range,
    ("small_range_rtt50",): small.small_range_rtt50,
    ("small_links_rtt50",): small.small_links_rtt50,
    ("small_tasks", "small_task_cpu_ms"): small.small_tasks,
    ("small_tasks_live",): small.small_tasks_live,
    ("small_tasks_rtt50",): small.small_tasks_rtt50,
    ("small_s3_rtt50",): small.small_s3_rtt50,
    ("pickup_p95_ms",): tasks.pickup,
    ("mem_4gib_mb",): memory.one_large,
    ("mem_8_files_mb",): memory.eight_at_once,
    ("start_to_saved",): footprint.start_to_saved,
    ("cli_start",): footprint.cli_start,
    ("run_idle_pss_mb", "run_idle_cpu"): footprint.idle,
    ("run_peak_pss_mb",): footprint.peak,
    ("refetched_after_kill_mb", "restart_to_resumed_s"): recovery.crash,
    ("end_lag_ms",): recovery.end_lag,
    ("range_first_byte_rtt",): ranges.first_byte,
    ("dl_cpu",): links.telegram_cpu,
    ("dl_rtt50", "dl_first_byte_rtt", "dl_warm_rtt", "dl_seek_p95_ms"): links.telegram_rtt50,
    ("dl_local_cpu",): links.local_cpu,
    ("dav_propfind_100k_ms", "dav_propfind_100k_mb"): drive.propfind_100k,
    ("dav_read",): drive.read,
    ("dl_100_readers_mb", "api_under_streams"): links.many_readers,
    ("api_post",): api.api_post,
    tuple(name for name in results.TARGETS if name.startswith("history_1m")): history.history_1m,
    tuple(name for name in results.TARGETS if name.startswith("files_1m")): saved_files.files_1m,
    ("record_lag_p95_ms",): recording.record_lag,
    ("redis_per_ended_task",): recording.redis_per_ended_task,
    (
        *("page_100k_rows", "page_100k_end_s", "page_100k_heap_mb", "page_100k_jump_s"),
        *("page_50_tasks_cpu", "page_50_tasks_heap_mb", "page_wake_s", "page_outage_s"),
    ): page.page,
    ("archive_read",): archives.archive_read,
    ("archive_redis_1m",): archives.archive_redis,
    ("archive_again_requests",): archives.archive_again,
    ("archive_follow_p95_ms",): archives.archive_follow,
    ("copy_by_reference_bytes",): archives.copy_by_reference,
    ("upload_local_to_s3",): uploads.upload_local_to_s3,
    **stores.runs(),
}

_FILE = Path(__file__).parent / "results.jsonl"
_PACKAGES = ("telethon", "cryptg", "arq", "redis", "fastapi", "uvicorn", "uvloop")


def main(names: Sequence[str]) -> int:
    """Run the measurements; returns the exit code: 1 if one could not be made. A missed target is no
    failure."""
    known = [name for row in RUNS for name in row]
    if unknown := set(names) - set(known) - {_group(name) for name in known}:
        print(f"there is no measurement {', '.join(sorted(unknown))}; known measurements: {', '.join(known)}")
        return 2
    print(environment(), flush=True)
    measured: list[Measurement] = []
    for row, run in RUNS.items():
        if not names or {*row, *map(_group, row)} & set(names):
            measured += asyncio.run(measure(row, run))
            results.write(_FILE, measured)
    print(f"\n{results.table(measured)}\n\nwritten to {os.path.relpath(_FILE)}")
    return int(any(each.value is None for each in measured))


def _group(name: str) -> str:
    """The first word of a name, which selects all measurements that begin with it."""
    return name.partition("_")[0]


async def measure(row: Sequence[str], run: Run) -> list[Measurement]:
    """The measurements of a row. If they fail, each has the reason in its note."""
    began = time.monotonic()
    try:
        measured = await run()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        print(reason, file=sys.stderr)
        measured = [results.failed(name, reason) for name in row]
    print(f"{', '.join(row)}: {time.monotonic() - began:.0f} s", flush=True)
    return measured


def environment() -> str:
    """The machine and the versions of the packages, needed to interpret the figures."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return (
        f"{platform.machine()} {_cpu()}, {len(os.sched_getaffinity(0))} cores, load {load}, "
        f"{platform.system()} {platform.release()}\nPython {platform.python_version()}, {packages}\n"
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "CPU"


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
