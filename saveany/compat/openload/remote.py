"""Remote uploads: tasks, for any link that a task may have."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError

from saveany.compat.openload import dialects
from saveany.compat.openload.call import OpenloadCall
from saveany.compat.openload.parameters import number_of
from saveany.errors import InvalidInput
from saveany.planning.names import clean_name
from saveany.planning.requests import TaskRequest
from saveany.planning.source_choice import source_for
from saveany.service.remote_uploads import RemoteTask
from saveany.sources import DirectLinksParams

#: Maximum number of remote uploads that one call lists.
MAX_LISTED: Final = 100


async def add(call: OpenloadCall) -> dict[str, Any]:
    """Have a task save what is at a URL, or in a Telegram message."""
    url = call.parameters.required("url")
    request = TaskRequest(
        links=[url],
        folder_id=call.parameters.folder(),
        filename=clean_name(call.parameters.text("name")),
        params=_headers(call, url),
    )
    number = await call.services.remote_uploads.add(call.principal, request)
    added = await call.services.remote_uploads.get(call.principal, number)
    return dialects.render(dialects.REMOTE_ADDED, call.dialect, added)


def _headers(call: OpenloadCall, url: str) -> dict[str, Any]:
    """The headers for a plain URL; for other links they mean nothing."""
    pairs = (line.partition(":") for line in call.parameters.lines("headers"))
    headers = {name.strip(): value.strip() for name, colon, value in pairs if colon}
    if not headers or source_for(call.services.config, url).params is not DirectLinksParams:
        return {}
    try:
        return DirectLinksParams(urls=[url], headers=headers).extras()
    except ValidationError as error:
        raise InvalidInput("a header has a character that is not allowed", "headers") from error


async def status(call: OpenloadCall) -> dict[str, Any]:
    """One remote upload, or the newest ones, by id."""
    remote_uploads = call.services.remote_uploads
    if id_ := call.parameters.text("id"):
        found = [await remote_uploads.get(call.principal, number_of(id_, "remote upload"))]
    else:
        limit = call.parameters.limit(call.dialect.listed, MAX_LISTED)
        found = await remote_uploads.newest(call.principal, limit)
    return {str(each.number): await _shown(call, each) for each in found}


async def _shown(call: OpenloadCall, upload: RemoteTask) -> dict[str, Any]:
    page = (await call.view(upload.file)).page if upload.file else ""
    return dialects.render(dialects.REMOTE, call.dialect, dialects.ShownRemote(upload, page))


async def remove(call: OpenloadCall) -> bool:
    """Cancel a remote upload and forget it, or `all` of them. Files that were saved stay."""
    id_ = call.parameters.required("id")
    if id_ == "all":
        await call.services.remote_uploads.remove_all(call.principal)
    else:
        await call.services.remote_uploads.remove(call.principal, number_of(id_, "remote upload"))
    return True
