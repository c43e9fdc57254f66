"""Calls about files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from saveany.catalogue.link_models import LinkTarget
from saveany.compat.openload import dialects
from saveany.compat.openload.call import OpenloadCall
from saveany.compat.openload.parameters import library_name
from saveany.errors import InvalidInput, NotFound
from saveany.service.links import LinkOptions, LinkUrls
from saveany.service.tickets import DownloadPermit

#: Maximum number of files that one call describes.
MAX_FILES: Final = 50
#: Seconds for which the link of a download works.
LINK_SECONDS: Final = 4 * 3600
_WITH_PICTURES: Final = ("video", "image", "audio")


async def info(call: OpenloadCall) -> dict[str, Any]:
    """Describe up to 50 files, with ids separated by commas."""
    ids = [part.strip() for part in call.parameters.required("file").split(",")]
    if len(ids) > MAX_FILES:
        raise InvalidInput("at most {limit} files at once", "file", limit=MAX_FILES)
    return {id_: await _info(call, id_) for id_ in ids if id_}


async def _info(call: OpenloadCall, id_: str) -> dict[str, Any]:
    try:
        file = await call.services.files.get(call.principal, id_)
    except NotFound:
        return {"id": id_, **dialects.UNKNOWN_FILE[call.dialect.name]}
    return dialects.render(dialects.INFO, call.dialect, await call.view(file))


async def request_ticket(call: OpenloadCall) -> dict[str, Any]:
    """Prepare a download: the ticket for `file/dl`."""
    file = await call.services.files.get(call.principal, call.parameters.required("file"))
    issued = await call.services.tickets.issue(DownloadPermit(call.key.id, file.id))
    return dialects.render(dialects.TICKET, call.dialect, dialects.ShownTicket(*issued))


async def download(call: OpenloadCall) -> dict[str, Any]:
    """A link to the bytes of a file, for its ticket. This call needs no login."""
    services = call.services
    file = await services.files.get(call.principal, call.parameters.required("file"))
    await services.delivery.limits.check_traffic()
    options = LinkOptions(ttl=LINK_SECONDS)
    link = await services.links.make(call.principal, file.user_id, LinkTarget(file_id=file.id), options)
    url = LinkUrls(call.addresses.site, link).download
    view = replace(await call.view(file), url=url, token=link.token)
    return dialects.render(dialects.DOWNLOAD, call.dialect, view)


async def rename(call: OpenloadCall) -> bool:
    """Rename a file. Other files may have the same name."""
    file, name = call.parameters.required("file"), name_of(call)
    await call.services.files.change(call.principal, file, name=name, same_name=True)
    return True


async def move(call: OpenloadCall) -> bool:
    """Move a file to another folder; 0 is the root."""
    file = call.parameters.required("file")
    if not call.parameters.is_given("folder"):
        raise InvalidInput("the parameter {name} is missing", "folder", name="folder")
    folder = call.parameters.folder()
    await call.services.files.change(call.principal, file, folder_id=folder, same_name=True)
    return True


async def delete(call: OpenloadCall) -> bool:
    """Move a file to the trash."""
    file = call.parameters.required("file")
    await call.services.files.delete(call.principal, file)
    call.services.delivery.forget(file)
    return True


async def thumbnail(call: OpenloadCall) -> str:
    """The address of a picture of a file."""
    services = call.services
    file = await services.files.get(call.principal, call.parameters.required("file"))
    if file.kind not in _WITH_PICTURES and file.chat is None:
        raise NotFound("this file has no picture")
    link = await services.links.share(call.principal, file.user_id, LinkTarget(file_id=file.id))
    await services.delivery.thumbnails.get(link)
    return LinkUrls(call.addresses.site, link).thumbnail


def name_of(call: OpenloadCall) -> str:
    """The parameter `name`, made a name. Raises `InvalidInput` if nothing is left."""
    return library_name(call.parameters.required("name"))
