"""Calls about folders. Folders exist only in the catalogue."""

from __future__ import annotations

from typing import Any, Final

from saveany.catalogue.models import FileFilter, FileOrder, Folder, SavedFile
from saveany.compat.openload import dialects
from saveany.compat.openload.call import OpenloadCall
from saveany.compat.openload.files import name_of
from saveany.compat.openload.parameters import number_of
from saveany.errors import WrongState

#: Number of files or folders that are read at once.
_PAGE: Final = 500


async def contents(call: OpenloadCall) -> dict[str, Any]:
    """The folders and files in a folder."""
    folder = call.parameters.folder()
    inside = await _folders(call, folder)
    folders = [dialects.render(dialects.LISTED_FOLDER, call.dialect, each) for each in inside]
    files = {file.id: await _listed(call, file) for file in await _files(call, folder)}
    return {"folders": folders, "files": files if call.dialect.files_by_id else list(files.values())}


async def _folders(call: OpenloadCall, parent: int) -> list[Folder]:
    page = await call.services.files.folders(call.principal, parent, limit=_PAGE)
    found = page.folders
    while page.cursor != "":
        page = await call.services.files.folders(call.principal, parent, limit=_PAGE, cursor=page.cursor)
        found += page.folders
    return found


async def _files(call: OpenloadCall, folder: int) -> list[SavedFile]:
    wanted = FileFilter(folder_id=folder, order=FileOrder.NAME)
    page = await call.services.files.page(call.principal, wanted, _PAGE)
    found = page.files
    while page.cursor != "":
        page = await call.services.files.page(call.principal, wanted, _PAGE, page.cursor)
        found += page.files
    return found


async def _listed(call: OpenloadCall, file: SavedFile) -> dict[str, Any]:
    return dialects.render(dialects.LISTED_FILE, call.dialect, await call.view(file))


async def create(call: OpenloadCall) -> dict[str, Any]:
    """Create a folder, in another one or at the top. One that exists is returned."""
    name, parent = name_of(call), call.parameters.folder("pid")
    try:
        made = await call.services.files.make_folder(call.principal, name, parent)
    except WrongState:
        same = await _named(call, parent, name)
        if same is None:  # a file has the name
            raise
        made = same
    return dialects.render(dialects.NEW_FOLDER, call.dialect, made)


async def _named(call: OpenloadCall, parent: int, name: str) -> Folder | None:
    return next((folder for folder in await _folders(call, parent) if folder.name == name), None)


async def rename(call: OpenloadCall) -> bool:
    """Rename a folder."""
    folder, name = _required(call), name_of(call)
    await call.services.files.change_folder(call.principal, folder, name=name)
    return True


async def delete(call: OpenloadCall) -> bool:
    """Delete a folder, with all that it contains. Its files go to the trash."""
    await call.services.files.remove_folder(call.principal, _required(call), with_files=True)
    call.services.delivery.forget_all()
    return True


def _required(call: OpenloadCall) -> int:
    """The id of a folder that is not the root."""
    return number_of(call.parameters.required("folder"), "folder")
