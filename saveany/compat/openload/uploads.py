"""Uploads: an address that takes one file, and the file. The reply waits until its task has saved it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from saveany.catalogue.models import SavedFile
from saveany.compat.openload import dialects
from saveany.compat.openload.call import OpenloadCall
from saveany.compat.openload.parameters import library_name
from saveany.errors import Unavailable
from saveany.models import OnConflict, OnDuplicate, Status
from saveany.planning.names import safe_name
from saveany.service.tickets import UploadPermit
from saveany.uploads.multipart import boundary_of, first_file
from saveany.uploads.tus import Wanted

#: Seconds that a reply waits for the task.
WAIT_SECONDS: Final = 300.0
#: Seconds until the catalogue has a file that was saved, and between two looks.
_RECORD_SECONDS: Final = 30.0
_RECORD_PAUSE: Final = 0.2
_HASHES: Final = {"sha256": re.compile("[0-9A-Fa-f]{64}"), "sha1": re.compile("[0-9A-Fa-f]{40}")}


async def request_address(call: OpenloadCall) -> dict[str, Any]:
    """An address for one upload, into a folder. A hash that the file must have is checked."""
    folder = call.parameters.folder()
    await call.services.uploads.check(call.principal, _wanted(folder), 0)
    hashes = {name: text for name in _HASHES if (text := _hash(call, name))}
    ticket, expires_at = await call.services.tickets.issue(UploadPermit(call.key.id, folder, **hashes))
    view = dialects.ShownTicket(call.addresses.upload(ticket), expires_at)
    return dialects.render(dialects.UPLOAD_URL, call.dialect, view)


def _hash(call: OpenloadCall, name: str) -> str:
    """A hash in a parameter; "" for texts that are none."""
    text = call.parameters.text(name)
    return text.lower() if _HASHES[name].fullmatch(text) else ""


async def receive(
    call: OpenloadCall, permit: UploadPermit, content_type: str, body: AsyncIterator[bytes]
) -> Any:
    """Save the first file of a form."""
    part = await first_file(body, boundary_of(content_type))
    name = library_name(part.name or "file")
    wanted = _wanted(permit.folder_id, safe_name(name), part.content_type)
    services, principal = call.services, call.principal
    await services.uploads.check(principal, wanted, 0)
    accepted = await services.uploads.receive(
        principal, wanted, part.content, sha256=permit.sha256, sha1=permit.sha1
    )
    file = await _saved(call, accepted.id)
    if file.name != name:  # the storage has another file of this name, or cannot have such names
        file = await services.files.change(principal, file.id, name=name, same_name=True)
    return dialects.render(dialects.UPLOADED, call.dialect, await call.view(file))


def _wanted(folder: int, name: str = "file", mime: str = "") -> Wanted:
    return Wanted(
        name=name,
        is_exact=True,
        mime=mime,
        folder_id=folder,
        on_conflict=OnConflict.RENAME.value,
        on_duplicate=OnDuplicate.SAVE.value,
    )


async def _saved(call: OpenloadCall, task_id: str) -> SavedFile:
    """The file of a task, when it is saved."""
    task = await call.services.reader.ended(call.principal, task_id, WAIT_SECONDS)
    if task.status is not Status.COMPLETED:
        if task.status.ended:
            raise Unavailable("the file could not be saved: {reason}", reason=task.error_text or task.error)
        raise Unavailable("the file has arrived, and will be saved later; do not upload it again")
    until = time.monotonic() + _RECORD_SECONDS
    while time.monotonic() < until:
        for file in await call.services.links.files_of(call.principal, task_id, 0, 1):
            return file
        await asyncio.sleep(_RECORD_PAUSE)  # the recorder is overloaded
    raise Unavailable("the file is saved, but not listed yet; do not upload it again")
