"""`python -m tests.chaos [--short|--long] [--seed N] [SCENARIO …]`: break everything, then count."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.chaos.arena import Plan
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.tally import Tally, headline


def main() -> int:
    """The exit code: 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--short", action="store_true", help="what CI runs, about a minute")
    form.add_argument("--long", action="store_true", help="all of it (default)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="repeat a run's chances")
    parser.add_argument("scenario", nargs="*", help=f"some of: {', '.join(SCENARIOS)}")
    options = parser.parse_args()
    if unknown := set(options.scenario) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    print(f"--seed {options.seed}", flush=True)
    tallies = [
        attempt(name, not options.short, options.seed)
        for name in SCENARIOS
        if name in options.scenario or not options.scenario
    ]
    print(headline(tallies))
    return int(not all(tally.good for tally in tallies))


def attempt(name: str, long: bool, seed: int) -> Tally:
    """Run a scenario and print its line; one that cannot go on has broken its promise."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="saveany-chaos-") as folder:
        try:
            tally = asyncio.run(SCENARIOS[name](Plan(long, seed, Path(folder))))
        except Exception as error:
            traceback.print_exc()
            tally = Tally(name, broken=[f"{type(error).__name__}: {error}"])
    print(f"{tally} ({time.monotonic() - began:.0f} s)", flush=True)
    return tally


if __name__ == "__main__":
    sys.exit(main())
