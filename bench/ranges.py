"""Measures the time to the first byte of a range, and checks that ranges contain the right bytes."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.installation import telegram, write_config
from bench.process import child
from bench.results import Measurement

_RTT = 0.05


async def first_byte() -> list[Measurement]:
    """New connections, with a round trip of 50 ms."""
    with TemporaryDirectory(prefix="saveany-bench-") as name:
        folder = Path(name)
        async with telegram(folder, f"delay={_RTT}") as sandbox:
            config = write_config(folder, sandbox, port=0)
            async with child(folder / "reader.log", "bench.reader", str(config)) as reader:
                report = await reader.read_json()
    if report["wrong"]:
        raise RuntimeError(f"{report['wrong']} of {report['ranges']} ranges had wrong bytes")
    note = f"{report['ranges']} random ranges were correct"
    return [Measurement("range_first_byte_rtt", median(report["first"]) / _RTT, "RTT", note=note)]
