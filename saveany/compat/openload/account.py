"""Calls about the account, which is a key."""

from __future__ import annotations

from typing import Any

from saveany.compat.openload import dialects
from saveany.compat.openload.call import OpenloadCall


async def info(call: OpenloadCall) -> dict[str, Any]:
    """Describe the account."""
    sums = (await call.services.files.stats(call.principal))["type"]
    view = dialects.ShownAccount(call.key, sum(each.bytes for each in sums.values()))
    return dialects.render(dialects.ACCOUNT, call.dialect, view)
