"""Reading and changing saved files and folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from saveany.errors import InvalidInput, NotFound
from saveany.service.principal import Principal

if TYPE_CHECKING:
    from saveany.catalogue import FileFilter, FilePage, FileStats, Folder, FolderPage, ListedFile, SavedFile
    from saveany.catalogue.catalogue import Catalogue


class FileService:
    """The operations on saved files and folders.

    All of them raise `Forbidden` for a user for whom the principal may not act, `NotFound` for a file or
    folder that does not exist or belongs to another user, and `CatalogueUnavailable` during an outage.
    Changes raise `WrongState` if a name is taken, and `InvalidInput` for a name that is not allowed.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def page(
        self,
        principal: Principal,
        wanted: FileFilter,
        limit: int = 50,
        cursor: str = "",
        skip: int | None = None,
    ) -> FilePage:
        """At most `limit` files after `cursor`, or after the first `skip` ones; then they are also counted.
        Raises `InvalidInput` for a bad cursor."""
        visible = replace(wanted, user_id=principal.visible_user(wanted.user_id))
        if wanted.folder_id:
            await self.folder(principal, wanted.folder_id)
        return await self._catalogue.files.page(visible, limit, cursor, skip)

    async def listed(
        self, principal: Principal, user_id: int, folder_id: int, start: tuple[str, str], limit: int
    ) -> list[ListedFile]:
        """At most `limit` files of a user in a folder, by name and id, after those of `start`."""
        principal.visible_user(user_id)
        return await self._catalogue.files.listed(user_id, folder_id, start, limit)

    async def get(self, principal: Principal, file_id: str) -> SavedFile:
        """The file with this id."""
        file = await self._catalogue.files.get(file_id)
        if file is None or not principal.may_access(file.user_id):
            raise NotFound("there is no file {file}", file=file_id)
        return file

    async def folder(self, principal: Principal, folder_id: int) -> Folder:
        """The folder with this id."""
        folder = await self._catalogue.folders.get(folder_id)
        if folder is None or not principal.may_access(folder.user_id):
            raise NotFound("there is no folder {folder}", folder=folder_id)
        return folder

    async def folders(
        self,
        principal: Principal,
        parent_id: int,
        user_id: int | None = None,
        limit: int = 50,
        cursor: str = "",
    ) -> FolderPage:
        """At most `limit` of the folders in a folder (0: those in no other folder) after `cursor`, by name.
        Raises `InvalidInput` for a bad cursor."""
        if parent_id:
            await self.folder(principal, parent_id)
        visible = principal.visible_user(user_id)
        return await self._catalogue.folders.children(parent_id, visible, limit, cursor)

    async def folders_along(self, principal: Principal, user_id: int, names: Sequence[str]) -> list[Folder]:
        """The folders of a user that these names lead through, from the top, up to the first that does not
        exist."""
        principal.visible_user(user_id)
        return await self._catalogue.folders.along(user_id, names)

    async def folder_names(
        self, principal: Principal, user_id: int, parent_id: int, names: Sequence[str]
    ) -> set[str]:
        """Those of the names that folders of a user in a folder have."""
        principal.visible_user(user_id)
        return await self._catalogue.folders.named(parent_id, user_id, names)

    async def paths(self, folder_ids: Iterable[int]) -> dict[int, str]:
        """The paths of folders by id, such as `/films/2024`."""
        return await self._catalogue.folders.paths(folder_ids)

    async def change(
        self,
        principal: Principal,
        file_id: str,
        *,
        name: str | None = None,
        folder_id: int | None = None,
        caption: str | None = None,
        same_name: bool = False,
    ) -> SavedFile:
        """Rename a file, move it to another folder of its user or change its caption. With `same_name`
        another file in the folder may have the name."""
        await self.get(principal, file_id)
        return await self._catalogue.files.change(
            file_id, name=name, folder_id=folder_id, caption=caption, same_name=same_name
        )

    async def make_folder(
        self, principal: Principal, name: str, parent_id: int = 0, user_id: int | None = None
    ) -> Folder:
        """Make a folder in another one, or at the top: that of a user, by default of the owner of the parent
        or of the principal."""
        owner = user_id if user_id is not None else principal.user_id
        if parent_id:
            parent = await self.folder(principal, parent_id)
            owner = parent.user_id if owner is None else owner
        if owner is None:
            raise InvalidInput("say whose folder it is", "user_id")
        principal.visible_user(owner)
        return await self._catalogue.folders.make(owner, parent_id, name)

    async def change_folder(
        self, principal: Principal, folder_id: int, *, name: str | None = None, parent_id: int | None = None
    ) -> Folder:
        """Rename a folder, or move it into another one of its user. Raises `WrongState` for one that it
        contains."""
        await self.folder(principal, folder_id)
        return await self._catalogue.folders.change(folder_id, name=name, parent_id=parent_id)

    async def remove_folder(self, principal: Principal, folder_id: int, *, with_files: bool = False) -> None:
        """Remove a folder, and `with_files` move all files in it to the trash. Otherwise raises `WrongState`
        if it is not empty."""
        await self.folder(principal, folder_id)
        await self._catalogue.folders.remove(folder_id, with_files=with_files)

    async def delete(self, principal: Principal, file_id: str, *, now: bool = False) -> None:
        """Move a file to the trash: its links stop working. With `now` its copy is removed as soon as a
        worker can, also if the file is in the trash already."""
        if not now or await self._catalogue.trash.get(file_id) is None:
            await self.get(principal, file_id)
        else:
            await self._deleted(principal, file_id)
        await self._catalogue.trash.put(file_id, now=now)

    async def restore(self, principal: Principal, file_id: str) -> SavedFile:
        """Take a file out of the trash: its links work again."""
        await self._deleted(principal, file_id)
        await self._catalogue.trash.restore(file_id)
        return await self.get(principal, file_id)

    async def trash(
        self, principal: Principal, user_id: int | None = None, limit: int = 50, cursor: str = ""
    ) -> FilePage:
        """At most `limit` files in the trash after `cursor`. Raises `InvalidInput` for a bad cursor."""
        return await self._catalogue.trash.page(principal.visible_user(user_id), limit, cursor)

    async def empty_trash(self, principal: Principal, user_id: int | None = None) -> int:
        """Have the copies of all files in the trash removed, which cannot be undone; returns how many."""
        return await self._catalogue.trash.empty(principal.visible_user(user_id))

    async def _deleted(self, principal: Principal, file_id: str) -> SavedFile:
        """The file with this id in the trash."""
        file = await self._catalogue.trash.get(file_id)
        if file is None or not principal.may_access(file.user_id):
            raise NotFound("there is no file {file} in the trash", file=file_id)
        return file

    async def stats(
        self, principal: Principal, user_id: int | None = None
    ) -> dict[str, dict[str, FileStats]]:
        """Number and bytes of files by type, storage, user and day (YYYY-MM-DD)."""
        return await self._catalogue.files.stats(principal.visible_user(user_id))
