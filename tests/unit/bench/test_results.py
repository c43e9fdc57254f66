"""The results of `make bench`: the file for programs, and the table for readers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.__main__ import RUNS, main
from bench.results import TARGETS, Measurement, Target, compared, failed, table, write

CPU = compared("loopback_cpu", 320.0, "MB/CPU-s", 400.0)
WALL = compared("loopback_wall", 140.0, "MB/s", 100.0, "a remark")
SMALL = compared("small_range_rtt50", 300.0, "files/s", 600.0)
MEMORY = Measurement("mem_4gib_mb", 126.3, "MB")
MISSING = failed("rtt50", "TimeoutError: not ready\nand a log")


def test_every_measurement_has_a_target_and_every_target_is_measured() -> None:
    measured = [name for row in RUNS for name in row]
    assert measured == list(TARGETS)


def test_the_file_has_one_object_per_measurement(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    write(file, [MEMORY])
    write(file, [CPU, MEMORY, MISSING])
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        {"name": "loopback_cpu", "value": 320.0, "unit": "MB/CPU-s", "reference": 400.0, "ratio": 0.8},
        {"name": "mem_4gib_mb", "value": 126.3, "unit": "MB", "reference": None, "ratio": None},
        {"name": "rtt50", "value": None, "unit": "", "reference": None, "ratio": None},
    ]


@pytest.mark.parametrize(
    ("target", "measured", "met"),
    [
        (Target("ratio", ">=", 0.8), CPU, True),
        (Target("ratio", ">=", 0.81), CPU, False),
        (Target("ratio", "<=", 0.8), CPU, True),
        (Target("ratio", "<=", 0.79), CPU, False),
        (Target("value", "<=", 126.3), MEMORY, True),
        (Target("value", "<=", 126.2), MEMORY, False),
        (Target("value", ">=", 200), CPU, True),
        (Target("ratio", ">=", 0), MISSING, None),
    ],
)
def test_a_target_is_met_or_missed(target: Target, measured: Measurement, met: bool | None) -> None:
    assert target.met(measured) is met


def test_the_table_shows_figures_targets_and_verdicts() -> None:
    shown = table([CPU, WALL, SMALL, MEMORY, MISSING]).splitlines()
    assert [line.split() for line in shown] == [
        ["measurement", "value", "unit", "reference", "ratio", "target", "note"],
        ["loopback_cpu", "320", "MB/CPU-s", "400", "0.8", ">=", "0.78", "x", "pass"],
        ["loopback_wall", "140", "MB/s", "100", "1.4", ">=", "1.5", "x", "MISS", "a", "remark"],
        ["small_range_rtt50", "300", "files/s", "600", "0.5", ">=", "300,", ">=", "0.6", "x", "MISS"],
        ["mem_4gib_mb", "126", "MB", "-", "-", "<=", "130", "pass"],
        ["rtt50", "-", "-", "-", ">=", "36", "x", "n/a", "TimeoutError:", "not", "ready"],
    ]


def test_the_columns_of_the_table_are_aligned() -> None:
    head, *lines = table([CPU, WALL, MEMORY]).splitlines()
    ends = head.index("ratio") + len("ratio")
    assert [line[:ends].split()[-1] for line in lines] == ["0.8", "1.4", "-"]
    assert [line[head.index("target") :].split()[0] for line in lines] == [">=", ">=", "<="]


def test_an_unknown_name_is_refused_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rtt50", "rtt5"]) == 2
    out = capsys.readouterr().out
    assert out.startswith("there is no measurement rtt5; known measurements: loopback_cpu, ")
