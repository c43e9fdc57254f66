"""The files and folders of one user as a tree in which every name leads to one thing.

In the catalogue, files in a folder may have the same name, or that of a folder in it. On the drive a folder
has its name, and so has the first of such files; the name of each other one contains its id.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from saveany.catalogue.models import ListedFile
from saveany.dav.properties import DavResource
from saveany.delivery.content import etag_of, mime_of
from saveany.delivery.errors import FileNotFound
from saveany.delivery.headers import content_type
from saveany.errors import NotFound
from saveany.planning.names import split_extension
from saveany.service import FileService, Principal

if TYPE_CHECKING:
    from saveany.catalogue.models import Folder

#: Number of folders or files that are read from the catalogue, and sent, at a time.
_PAGE: Final = 500
#: The end of a stem with an id, as `_with_id` makes it.
_ID: Final = re.compile(r"(.*) \[([0-9a-v]{20})\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Node:
    """A file, or a folder; the top is a folder without an id."""

    names: tuple[str, ...]  # that lead to it
    file: ListedFile | None = None
    folder: Folder | None = None

    @property
    def resource(self) -> DavResource:
        """What its properties are made of."""
        name = self.names[-1] if self.names else "SaveAny"
        file = self.file
        if file is None:
            return DavResource(name, is_folder=True)
        return DavResource(
            name,
            is_folder=False,
            size=file.size,
            mime=content_type(file.mime or mime_of(file.name)),
            etag=etag_of(file.sha256) if file.sha256 else "",
            added_at=file.added_at,
        )


class Tree:
    """The files and folders of a user."""

    def __init__(self, files: FileService, user_id: int) -> None:
        self._files = files
        self._principal = Principal(user_id)
        self.user_id = user_id

    async def find(self, names: Sequence[str]) -> Node:
        """The file or folder that these names lead to. Raises `FileNotFound`.

        Names in the catalogue are in Unicode's form NFC, those of files that were adopted maybe in NFD;
        macOS sends either."""
        forms = [tuple(unicodedata.normalize(form, name) for name in names) for form in ("NFC", "NFD")]
        for form in dict.fromkeys((tuple(names), *forms)):
            if node := await self._find(form):
                return node
        raise FileNotFound

    async def children(self, parent: Node) -> AsyncIterator[list[Node]]:
        """What is in a folder, in pages: its folders first, each kind by name."""
        folder_id, cursor, more = parent.folder.id if parent.folder else 0, "", True
        while more:
            folders = await self._files.folders(self._principal, folder_id, None, _PAGE, cursor)
            yield [Node((*parent.names, each.name), folder=each) for each in folders.folders]
            cursor = folders.cursor
            more = bool(cursor)
        start, more = ("", ""), True
        while more:
            files = await self._files.listed(self._principal, self.user_id, folder_id, start, _PAGE)
            names = list(dict.fromkeys(file.name for file in files))
            taken = await self._files.folder_names(self._principal, self.user_id, folder_id, names)
            page: list[Node] = []
            for file in files:
                is_taken = file.name == start[0] or file.name in taken
                start = file.name, file.id
                page.append(Node((*parent.names, _with_id(file) if is_taken else file.name), file=file))
            yield page
            more = len(files) == _PAGE

    async def _find(self, names: tuple[str, ...]) -> Node | None:
        along = await self._files.folders_along(self._principal, self.user_id, names)
        folder = along[-1] if along else None
        if len(along) == len(names):
            return Node(names, folder=folder)
        if len(along) < len(names) - 1:
            return None
        file = await self._file(folder.id if folder else 0, names[-1])
        return Node(names, file=file) if file else None

    async def _file(self, folder_id: int, name: str) -> ListedFile | None:
        """The file with this name on the drive in a folder, which has no folder of this name."""
        files = await self._files.listed(self._principal, self.user_id, folder_id, (name, ""), 1)
        if files and files[0].name == name:
            return files[0]
        stem, extension = split_extension(name)
        if not (match := _ID.fullmatch(stem)):
            return None
        try:
            file = await self._files.get(self._principal, match[2])
        except NotFound:
            return None
        if (file.folder_id, file.name) != (folder_id, f"{match[1]}{extension}"):
            return None
        return ListedFile(**{name: getattr(file, name) for name in ListedFile.__struct_fields__})


def _with_id(file: ListedFile) -> str:
    """The name of a file with its id, before the extension."""
    stem, extension = split_extension(file.name)
    return f"{stem} [{file.id}]{extension}"
