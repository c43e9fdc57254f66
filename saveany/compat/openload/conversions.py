"""Calls about conversions, which are tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from saveany.compat.openload import dialects
from saveany.compat.openload.call import OpenloadCall
from saveany.models import Status
from saveany.service.conversions import Conversion

#: Number of conversions that are listed if the client does not say how many, and at most.
_LISTED, _MAX_LISTED = 5, 100
_STATES: Final = {Status.QUEUED: "new", Status.RUNNING: "pending"}


async def start(call: OpenloadCall) -> bool:
    """Convert a file to MP4, if this SaveAny converts files."""
    await call.services.conversions.start(call.principal, call.parameters.required("file"))
    return True


async def all_(call: OpenloadCall) -> list[dict[str, Any]]:
    """Conversions that have not ended, and failed ones; those of one file if it is given."""
    conversions = call.services.conversions
    found = [*await conversions.live(call.principal), *await conversions.failed(call.principal)]
    if file := call.parameters.text("file") or call.parameters.text("id"):
        found = [each for each in found if each.file.id == file]
    return await _shown(call, found[: call.parameters.limit(_LISTED, _MAX_LISTED)])


async def running(call: OpenloadCall) -> list[dict[str, Any]]:
    """Conversions that have not ended; those in a folder if it is given."""
    found = await call.services.conversions.live(call.principal)
    if folder := call.parameters.folder():
        found = [each for each in found if each.file.folder_id == folder]
    return await _shown(call, found)


async def failed(call: OpenloadCall) -> list[dict[str, Any]]:
    """Conversions that have failed."""
    return await _shown(call, await call.services.conversions.failed(call.principal))


async def _shown(call: OpenloadCall, found: Sequence[Conversion]) -> list[dict[str, Any]]:
    return [
        dialects.render(
            dialects.CONVERSION,
            call.dialect,
            dialects.ShownConversion(
                await call.view(each.file),
                each.task.id,
                _STATES.get(each.task.status, "failed"),
                each.task.progress.percent / 100,
                max(0, each.task.attempts - 1),
                each.task.updated_at / 1000,
            ),
        )
        for each in found
    ]
