"""Routes for saved files and folders."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from saveany.api.auth import FilesPrincipal
from saveany.api.bodies import FileChange, FolderChange, NewFolder
from saveany.api.errors import responses
from saveany.api.models import (
    EXAMPLE_ID,
    FilePageView,
    FileStatsView,
    FileSum,
    FolderPageView,
    FolderView,
    MessageReply,
    OriginView,
    Removed,
    SavedFileView,
)
from saveany.api.routes import JsonRoute
from saveany.api.services import ApiServices, InjectedServices
from saveany.api.tasks import UserId
from saveany.catalogue import FileFilter, FileKind, FileOrder, FileStats, Folder, SavedFile
from saveany.errors import InvalidInput
from saveany.timefmt import rfc3339

router = APIRouter(prefix="/api/v1", tags=["files"], route_class=JsonRoute)

FileId = Annotated[str, Path(description="Id of the file.", examples=[EXAMPLE_ID])]
PathFolderId = Annotated[int, Path(ge=1, lt=2**53, description="Id of the folder.", examples=[7])]
FolderId = Annotated[int | None, Query(ge=0, lt=2**53, description="Only files directly in this folder.")]


@router.get("/files", operation_id="listSavedFiles", summary="Saved files", responses=responses(404))
async def list_files(
    services: InjectedServices,
    principal: FilesPrincipal,
    folder: FolderId = None,
    q: Annotated[str, Query(max_length=200, description="Part of name or caption, ignoring case.")] = "",
    type_: Annotated[
        Literal["video", "audio", "image", "text", "other"] | None,
        Query(alias="type", description="Kind of file."),
    ] = None,
    storage: Annotated[str, Query(max_length=255, description="Only files in this storage.")] = "",
    user_id: UserId = None,
    sort: Annotated[
        Literal["added", "-added", "name", "-name", "size", "-size"],
        Query(description="Order; `-` is descending."),
    ] = "-added",
    start: Annotated[
        str,
        Query(max_length=255, description="With `sort=name`: begin with the first name from this text on."),
    ] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str, Query(max_length=2000, description="`next_cursor` of the previous page.")] = "",
    offset: Annotated[
        int | None,
        Query(
            ge=0,
            lt=2**31,
            description="Leave out as many files, to begin anywhere in the list; the reply has the `total`. "
            "Not with `q` or `cursor`.",
        ),
    ] = None,
) -> FilePageView:
    """The files that tasks have saved, newest first unless `sort` says otherwise."""
    if start and sort != "name":
        raise InvalidInput("start is only for sort=name", "start")
    if offset is not None and (q or cursor):
        raise InvalidInput("offset is not for searches, and not together with a cursor", "offset")
    wanted = FileFilter(
        user_id=user_id,
        folder_id=folder,
        kind=FileKind(type_) if type_ else None,
        storage=storage,
        q=q,
        order=FileOrder(sort),
        start=start,
    )
    page = await services.files.page(principal, wanted, limit, cursor, offset)
    files = await _views(services, page.files)
    return FilePageView(files=files, next_cursor=page.cursor or None, total=page.total)


@router.get(
    "/files/{file_id}", operation_id="getSavedFile", summary="One saved file", responses=responses(404)
)
async def get_file(services: InjectedServices, principal: FilesPrincipal, file_id: FileId) -> SavedFileView:
    """A saved file: where its copy is, and where it comes from."""
    (view,) = await _views(services, [await services.files.get(principal, file_id)])
    return view


@router.patch(
    "/files/{file_id}",
    operation_id="changeSavedFile",
    summary="Change a saved file",
    responses=responses(404, 409, 413, 415),
)
async def change_file(
    services: InjectedServices, principal: FilesPrincipal, file_id: FileId, body: FileChange
) -> SavedFileView:
    """Rename a file, move it to another folder, or change its caption. The copy in its storage keeps its
    path."""
    changed = await services.files.change(principal, file_id, **body.model_dump())
    (view,) = await _views(services, [changed])
    return view


@router.delete(
    "/files/{file_id}",
    operation_id="deleteSavedFile",
    summary="Delete a saved file",
    responses=responses(404),
)
async def delete_file(
    services: InjectedServices,
    principal: FilesPrincipal,
    file_id: FileId,
    now: Annotated[
        bool,
        Query(description="Do not keep it in the trash: it cannot be restored, and its copy is removed."),
    ] = False,
) -> MessageReply:
    """Move a file to the trash. Its links stop working at once; a restored file's links work again. Its copy
    is removed when it leaves the trash, unless another saved file has the same copy."""
    await services.files.delete(principal, file_id, now=now)
    services.delivery.forget(file_id)
    return MessageReply(message="file deleted" if now else "file moved to the trash")


@router.post(
    "/files/{file_id}/restore",
    operation_id="restoreSavedFile",
    summary="Restore a deleted file",
    responses=responses(404),
)
async def restore_file(
    services: InjectedServices, principal: FilesPrincipal, file_id: FileId
) -> SavedFileView:
    """Take a file out of the trash. Its links work again."""
    (view,) = await _views(services, [await services.files.restore(principal, file_id)])
    services.delivery.forget(file_id)
    return view


@router.get("/trash", operation_id="listTrash", summary="Deleted files", responses=responses(404))
async def list_trash(
    services: InjectedServices,
    principal: FilesPrincipal,
    user_id: UserId = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str, Query(max_length=2000, description="`next_cursor` of the previous page.")] = "",
) -> FilePageView:
    """The files in the trash, those deleted last first. They leave it after `catalogue.trash_days`."""
    page = await services.files.trash(principal, user_id, limit, cursor)
    return FilePageView(files=await _views(services, page.files), next_cursor=page.cursor or None)


@router.delete("/trash", operation_id="emptyTrash", summary="Empty the trash", responses=responses())
async def empty_trash(
    services: InjectedServices, principal: FilesPrincipal, user_id: UserId = None
) -> Removed:
    """Have the copies of all files in the trash removed. The operator empties that of all users unless
    `user_id` names one. This cannot be undone."""
    count = await services.files.empty_trash(principal, user_id)
    return Removed(message=f"{count} files deleted", removed=count)


@router.get("/folders", operation_id="listFolders", summary="Folders", responses=responses(404))
async def list_folders(
    services: InjectedServices,
    principal: FilesPrincipal,
    parent: Annotated[int, Query(ge=0, lt=2**53, description="Id of the folder to list; 0 is the top.")] = 0,
    user_id: UserId = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str, Query(max_length=2000, description="`next_cursor` of the previous page.")] = "",
) -> FolderPageView:
    """The folders in a folder, by name. The `dir_path` of a task becomes a folder when its first file is
    saved."""
    page = await services.files.folders(principal, parent, user_id, limit, cursor)
    return FolderPageView(
        folders=await _folder_views(services, page.folders), next_cursor=page.cursor or None
    )


@router.post(
    "/folders",
    status_code=201,
    operation_id="createFolder",
    summary="Create a folder",
    responses=responses(404, 409, 413, 415),
)
async def create_folder(services: InjectedServices, principal: FilesPrincipal, body: NewFolder) -> FolderView:
    """Create an empty folder. It exists only here: in the storages nothing changes."""
    made = await services.files.make_folder(principal, body.name, body.parent_id, body.user_id)
    (view,) = await _folder_views(services, [made])
    return view


@router.get("/folders/{folder_id}", operation_id="getFolder", summary="One folder", responses=responses(404))
async def get_folder(
    services: InjectedServices, principal: FilesPrincipal, folder_id: PathFolderId
) -> FolderView:
    """A folder: its path, and the folder that contains it."""
    (view,) = await _folder_views(services, [await services.files.folder(principal, folder_id)])
    return view


@router.patch(
    "/folders/{folder_id}",
    operation_id="changeFolder",
    summary="Change a folder",
    responses=responses(404, 409, 413, 415),
)
async def change_folder(
    services: InjectedServices, principal: FilesPrincipal, folder_id: PathFolderId, body: FolderChange
) -> FolderView:
    """Rename a folder, or move it into another one, with all that it contains. In the storages nothing
    changes."""
    changed = await services.files.change_folder(principal, folder_id, **body.model_dump())
    (view,) = await _folder_views(services, [changed])
    return view


@router.delete(
    "/folders/{folder_id}",
    operation_id="deleteFolder",
    summary="Delete a folder",
    responses=responses(404, 409),
)
async def delete_folder(
    services: InjectedServices,
    principal: FilesPrincipal,
    folder_id: PathFolderId,
    recursive: Annotated[
        bool, Query(description="Also if it is not empty: all files in it are moved to the trash.")
    ] = False,
) -> MessageReply:
    """Delete a folder, and the links to it. A file that is restored later is in a folder of the same path."""
    await services.files.remove_folder(principal, folder_id, with_files=recursive)
    services.delivery.forget_all()
    return MessageReply(message="folder deleted")


@router.get("/stats", operation_id="fileStats", summary="Sums of saved files", responses=responses(404))
async def stats(
    services: InjectedServices, principal: FilesPrincipal, user_id: UserId = None
) -> FileStatsView:
    """Number and size of the saved files, together and by kind, storage, user and day (UTC)."""
    found = await services.files.stats(principal, user_id)
    by_kind = found["type"].values()
    return FileStatsView(
        files=sum(each.files for each in by_kind),
        bytes=sum(each.bytes for each in by_kind),
        by_type=_sums(found["type"]),
        by_storage=_sums(found["storage"]),
        by_user=_sums(found["user"]),
        by_day=_sums(found["day"]),
    )


def _sums(found: dict[str, FileStats]) -> dict[str, FileSum]:
    return {name: FileSum(files=each.files, bytes=each.bytes) for name, each in sorted(found.items())}


async def _folder_views(services: ApiServices, folders: list[Folder]) -> list[FolderView]:
    paths = await services.files.paths([folder.id for folder in folders])
    return [
        FolderView(
            folder_id=folder.id,
            name=folder.name,
            path=paths[folder.id],
            parent_id=folder.parent_id,
            user_id=folder.user_id,
        )
        for folder in folders
    ]


async def _views(services: ApiServices, files: list[SavedFile]) -> list[SavedFileView]:
    paths = await services.files.paths({file.folder_id for file in files})
    return [_view(file, file.old_folder or paths[file.folder_id]) for file in files]


def _view(file: SavedFile, folder: str) -> SavedFileView:
    origin = OriginView(chat_id=file.chat, message_id=file.message, document_id=file.document, url=file.url)
    return SavedFileView(
        file_id=file.id,
        name=file.name,
        caption=file.caption,
        size=file.size,
        mime_type=file.mime,
        type=FileKind(file.kind).value,
        sha256=file.sha256,
        user_id=file.user_id,
        folder_id=file.folder_id,
        folder=folder,
        storage=file.storage,
        path=file.path,
        page=file.page,
        origin=origin,
        task_id=file.task_id,
        added_at=rfc3339(file.added_at),
        downloads=file.downloads,
        bytes_sent=file.bytes_sent,
        missing_since=rfc3339(file.missing_at) if file.missing_at is not None else None,
        deleted_at=rfc3339(file.deleted_at) if file.deleted_at is not None else None,
    )
