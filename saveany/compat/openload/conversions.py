"""Calls about conversions."""

from __future__ import annotations

from typing import Any

from saveany.compat.openload.call import Call
from saveany.errors import InvalidInput


async def start(call: Call) -> bool:
    """Convert a file to MP4."""
    await call.services.files.get(call.principal, call.parameters.required("file"))
    raise InvalidInput("this SaveAny converts no files")


async def all_(call: Call) -> list[dict[str, Any]]:
    """Conversions that have not ended, and failed ones."""
    return []


async def running(call: Call) -> list[dict[str, Any]]:
    """Conversions that have not ended."""
    return []


async def failed(call: Call) -> list[dict[str, Any]]:
    """Conversions that have failed."""
    return []
