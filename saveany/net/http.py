"""Dates and waits in HTTP headers."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

#: A server may ask for a wait of at most this many seconds.
MAX_RETRY_AFTER_S = 24 * 3600.0

_SECONDS = re.compile(r"[0-9]{1,20}")


def date_ms(value: str) -> int | None:
    """An HTTP date in milliseconds since the epoch; None if it is not a date."""
    try:
        return round(parsedate_to_datetime(value).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        return None


def retry_after_s(value: str, now_ms: int) -> float:
    """Seconds that a `Retry-After` header (RFC 9110, 10.2.3) asks to wait: at most 24 hours, 0 if invalid.

    The header holds seconds, or a date, which is compared with `now_ms`.
    """
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), MAX_RETRY_AFTER_S)
    at = date_ms(value)
    return 0.0 if at is None else min(max(0.0, (at - now_ms) / 1000), MAX_RETRY_AFTER_S)
