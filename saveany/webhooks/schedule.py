"""The schedule of retries for a failed delivery, over about three days."""

from __future__ import annotations

import random
from collections.abc import Callable

#: Seconds to wait after the first, second, … failed attempt (the example schedule of Standard Webhooks).
DELAYS_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER = 0.1


def delay_s(failed: int, chance: Callable[[], float] = random.random) -> float | None:
    """Seconds to wait after `failed` (1, 2, …) attempts, varied by 10 %; None to give up.

    `chance` draws from [0, 1), so that deliveries that failed together are not retried together.
    """
    if failed > len(DELAYS_S):
        return None
    return DELAYS_S[failed - 1] * (1 + JITTER * (2 * chance() - 1))
