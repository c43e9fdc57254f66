"""`python -m tests.chaos.launch PATCHES …`: the `saveany` command with patches.

PATCHES are names in `PATCHES`, separated by commas, or `-` for none.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable
from functools import partial

from saveany.store import claims

SHORT_LEASE = "short-lease"
SHORT_TIMEOUTS = "short-timeouts"
NO_RESERVE = "no-reserve"
HALTS = "halts"
SHORT_HISTORY = "short-history"
SHORT_TURN = "short-turn"

#: Seconds of a lease under `SHORT_LEASE`.
SHORT_LEASE_SECONDS = 4.0


def _short_lease() -> None:
    """The lease of a dead worker ends sooner. It is still renewed after a third of its length."""
    lease = round(SHORT_LEASE_SECONDS * 1000)
    for name, value in (("LEASE_MS", lease), ("RENEW_MS", lease // 3)):
        usual = vars(claims)[name]
        # A process that was forked has imported the modules that use it.
        for module in list(sys.modules.values()):
            if getattr(module, "__dict__", {}).get(name) is usual:
                setattr(module, name, value)


def _short_timeouts() -> None:
    """A part that does not arrive is requested again after 3 s, and accounts are checked every 2 s."""
    import workers.main
    from saveany.telegram import account_set, accounts, pool

    vars(account_set).update(_MAINTENANCE_SECONDS=2.0)
    vars(workers.main).update(Accounts=partial(accounts.Accounts, limits=pool.PoolLimits(part_seconds=3.0)))


def _no_reserve() -> None:
    """As on a disk that can neither reserve space nor report its free space: it is full in the middle of a
    file."""
    from storages.local.upload import LocalUpload

    def nothing(upload: LocalUpload, size: int) -> None:
        pass

    type.__setattr__(LocalUpload, "_reserve", nothing)


def _halts() -> None:
    from tests.chaos import halts

    halts.install()


def _short_history() -> None:
    """Ended tasks leave Redis a second after they were recorded, and a locked database is waited for for as
    long."""
    from saveany.catalogue import database, recorder
    from saveany.store import recording

    vars(recording).update(_KEPT_MS=1000)
    vars(recorder).update(_EXPIRE_SECONDS=0.5, _UNASKED_SECONDS=0.5)
    vars(database).update(_LOCKED_SECONDS=1)


def _short_turn() -> None:
    """Another process reads the archives two seconds after the one that did has died."""
    from saveany.archives import role

    vars(role).update(_TURN_MS=2000, _POLL_SECONDS=0.5, _RENEW_SECONDS=0.5)


def _print_tracebacks() -> None:
    """Print the traceback of an error that ends a worker, so that it is in the log of the worker."""
    import workers.main

    real = workers.main.Worker.run

    async def run(worker: workers.main.Worker, *events: asyncio.Event) -> None:
        try:
            await real(worker, *events)
        except Exception:
            traceback.print_exc()
            raise

    type.__setattr__(workers.main.Worker, "run", run)


#: In this order: the lease must be changed before more modules import it.
PATCHES: dict[str, Callable[[], None]] = {
    SHORT_LEASE: _short_lease,
    SHORT_TIMEOUTS: _short_timeouts,
    NO_RESERVE: _no_reserve,
    HALTS: _halts,
    SHORT_HISTORY: _short_history,
    SHORT_TURN: _short_turn,
}

if __name__ == "__main__":
    wanted = sys.argv.pop(1).split(",")
    for name, patch in PATCHES.items():
        if name in wanted:
            patch()
    _print_tracebacks()
    from saveany.cli import main

    main()
