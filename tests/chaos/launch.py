"""`python -m tests.chaos.launch PATCHES …`: saveany, with a constant or two changed.

PATCHES are names with commas between them, or a dash for none.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable
from functools import partial

from saveany.store import claims

SHORT_LEASE = "short-lease"
SHORT_PATIENCE = "short-patience"
NO_RESERVE = "no-reserve"

#: Seconds of a lease under `SHORT_LEASE`.
SHORT_LEASE_SECONDS = 4.0


def _short_lease() -> None:
    """A dead worker is missed sooner. Renewal keeps its third of the lease."""
    lease = round(SHORT_LEASE_SECONDS * 1000)
    vars(claims).update(LEASE_MS=lease, RENEW_MS=lease // 3)


def _short_patience() -> None:
    """A part that does not come is asked for again after 3 s, a dead account tended every 2 s."""
    import workers.main
    from saveany.telegram import account_set, accounts, pool

    vars(account_set).update(_MAINTENANCE_SECONDS=2.0)
    vars(workers.main).update(Accounts=partial(accounts.Accounts, limits=pool.PoolLimits(part=3.0)))


def _no_reserve() -> None:
    """As on a disk that cannot reserve room nor tell how much is free: it is full in the middle of a file."""
    from storages.local.upload import LocalUpload

    def nothing(upload: LocalUpload, size: int) -> None:
        pass

    type.__setattr__(LocalUpload, "_reserve", nothing)


def _talkative() -> None:
    """A worker that ends by a mistake of ours shows the whole of it: its log is all that is left."""
    import workers.main

    real = workers.main.Worker.run

    async def run(worker: workers.main.Worker, *events: asyncio.Event) -> None:
        try:
            await real(worker, *events)
        except Exception:
            traceback.print_exc()
            raise

    type.__setattr__(workers.main.Worker, "run", run)


#: In this order: a lease must be short before those are loaded that read it.
PATCHES: dict[str, Callable[[], None]] = {
    SHORT_LEASE: _short_lease,
    SHORT_PATIENCE: _short_patience,
    NO_RESERVE: _no_reserve,
}

if __name__ == "__main__":
    wanted = sys.argv.pop(1).split(",")
    for name, patch in PATCHES.items():
        if name in wanted:
            patch()
    _talkative()
    from saveany.cli import main

    main()
