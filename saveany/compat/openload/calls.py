"""All calls of the API, by path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from saveany.compat.openload import account, conversions, dialects, files, folders, remote, uploads
from saveany.compat.openload.call import OpenloadCall
from saveany.compat.openload.dialects import Fields


@dataclass(frozen=True, slots=True)
class CallSpec:
    """A call: what handles it, and what the reference says about it."""

    handle: Callable[[OpenloadCall], Awaitable[Any]]
    parameters: tuple[str, ...] = ()  # those in brackets may be left out
    fields: Fields[Any] = ()  # of the result, or of each of its parts


CALLS: Final[Mapping[str, CallSpec]] = {
    "account/info": CallSpec(account.info, (), dialects.ACCOUNT),
    "file/dlticket": CallSpec(files.request_ticket, ("file",), dialects.TICKET),
    "file/dl": CallSpec(files.download, ("file", "ticket"), dialects.DOWNLOAD),
    "file/info": CallSpec(files.info, ("file",), dialects.INFO),
    "file/ul": CallSpec(uploads.request_address, ("[folder]", "[sha256]", "[sha1]"), dialects.UPLOAD_URL),
    "remotedl/add": CallSpec(remote.add, ("url", "[folder]", "[headers]", "[name]"), dialects.REMOTE_ADDED),
    "remotedl/status": CallSpec(remote.status, ("[id]", "[limit]"), dialects.REMOTE),
    "remotedl/remove": CallSpec(remote.remove, ("id",)),
    "file/listfolder": CallSpec(folders.contents, ("[folder]",), dialects.LISTED_FILE),
    "file/createfolder": CallSpec(folders.create, ("name", "[pid]"), dialects.NEW_FOLDER),
    "file/renamefolder": CallSpec(folders.rename, ("folder", "name")),
    "file/deletefolder": CallSpec(folders.delete, ("folder",)),
    "file/rename": CallSpec(files.rename, ("file", "name")),
    "file/move": CallSpec(files.move, ("file", "folder")),
    "file/delete": CallSpec(files.delete, ("file",)),
    "file/getsplash": CallSpec(files.thumbnail, ("file",)),
    "file/splash": CallSpec(files.thumbnail, ("file",)),
    "file/convert": CallSpec(conversions.start, ("file",)),
    "file/converts": CallSpec(conversions.all_, ("[file]", "[limit]"), dialects.CONVERSION),
    "file/runningconverts": CallSpec(conversions.running, ("[folder]",), dialects.CONVERSION),
    "file/failedconverts": CallSpec(conversions.failed, (), dialects.CONVERSION),
}
#: Calls that need no login: their ticket names the key.
WITH_TICKET: Final = frozenset({"file/dl"})
