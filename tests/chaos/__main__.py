"""`python -m tests.chaos [--short|--long] [--seed N] [SCENARIO …]`: inject failures, then check all files."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.chaos.installation import Plan
from tests.chaos.result import ScenarioResult, total_line
from tests.chaos.scenarios import SCENARIOS


def main() -> int:
    """Run the scenarios. Returns the exit code: 1 if any guarantee was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--short", action="store_true", help="the form for CI, about two minutes")
    form.add_argument("--long", action="store_true", help="everything, about 50 minutes (default)")
    parser.add_argument(
        "--seed",
        type=int,
        default=random.randrange(10**6),
        help="repeat the random choices of an earlier run",
    )
    parser.add_argument("scenario", nargs="*", help=f"some of: {', '.join(SCENARIOS)}")
    options = parser.parse_args()
    if unknown := set(options.scenario) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    print(f"--seed {options.seed}", flush=True)
    results = [
        run_scenario(name, not options.short, options.seed)
        for name in SCENARIOS
        if name in options.scenario or not options.scenario
    ]
    print(total_line(results))
    return int(not all(result.passed for result in results))


def run_scenario(name: str, long: bool, seed: int) -> ScenarioResult:
    """Run a scenario and print its result. An exception counts as a violation."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="saveany-chaos-") as folder:
        try:
            result = asyncio.run(SCENARIOS[name](Plan(long, seed, Path(folder))))
        except Exception as error:
            traceback.print_exc()
            result = ScenarioResult(name, violations=[f"{type(error).__name__}: {error}"])
    print(f"{result} ({time.monotonic() - began:.0f} s)", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
