"""How soon the first byte of a range is there, and whether ranges are the right bytes."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.process import child
from bench.results import Measurement
from bench.site import telegram, write_config

_RTT = 0.05


async def first_byte() -> list[Measurement]:
    """Cold connections, 50 ms away."""
    with TemporaryDirectory(prefix="saveany-bench-") as name:
        folder = Path(name)
        async with telegram(folder, f"delay={_RTT}") as sandbox:
            config = write_config(folder, sandbox, port=0, slots=1)
            async with child(folder / "reader.log", "bench.reader", str(config)) as reader:
                said = await reader.said()
    if said["wrong"]:
        raise RuntimeError(f"{said['wrong']} of {said['ranges']} ranges were not the bytes of the file")
    note = f"{said['ranges']} random ranges were exact"
    return [Measurement("range_first_byte_rtt", median(said["first"]) / _RTT, "RTT", note=note)]
