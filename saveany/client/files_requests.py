"""Requests of the API: files. `make docs` has written this from openapi.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from saveany.client.request import ApiRequest, quoted

if TYPE_CHECKING:
    from saveany.client.models import (
        Created,
        FileChange,
        FilePageView,
        FileStatsView,
        FolderChange,
        FolderPageView,
        FolderView,
        MessageReply,
        NewFolder,
        Removed,
        SavedFileView,
    )


def list_saved_files(
    *,
    folder: int | None = None,
    q: str | None = None,
    type_: Literal["video", "audio", "image", "text", "other"] | None = None,
    storage: str | None = None,
    user_id: int | None = None,
    sort: Literal["added", "-added", "name", "-name", "size", "-size"] | None = None,
    start: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    offset: int | None = None,
) -> ApiRequest[FilePageView]:
    """Saved files.

    The files that tasks have saved, newest first unless `sort` says otherwise.

    folder: Only files directly in this folder.

    q: Part of name or caption, ignoring case.

    type_: Kind of file.

    storage: Only files in this storage.

    user_id: Only tasks of this user.

    sort: Order; `-` is descending.

    start: With `sort=name`: begin with the first name from this text on.

    cursor: `next_cursor` of the previous page.

    offset: Leave out as many files, to begin anywhere in the list; the reply has the `total`. Not with
    `q` or `cursor`.
    """
    return ApiRequest(
        "GET",
        "/api/v1/files",
        params={
            "folder": folder,
            "q": q,
            "type": type_,
            "storage": storage,
            "user_id": user_id,
            "sort": sort,
            "start": start,
            "limit": limit,
            "cursor": cursor,
            "offset": offset,
        },
    )


def upload_file(
    content: bytes,
    *,
    name: str | None = None,
    folder: str | None = None,
    storage_name: str | None = None,
    user_id: int | None = None,
    on_conflict: Literal["rename", "overwrite", "skip"] | None = None,
    on_duplicate: Literal["save", "skip", "link"] | None = None,
    idempotency_key: str | None = None,
) -> ApiRequest[Created]:
    """Upload a file.

    Upload a file. A task moves it to its storage; the reply names the task.

    Large files are better uploaded in parts that can be resumed: `/api/v1/uploads` speaks tus 1.0.

    name: Name for the file. A form has one: that of its file is the default.

    folder: Folder inside the storage; `/` is its root. Default: chosen by the user's rules or default.

    storage_name: Default: chosen by the user's rules or default, else the user's first storage.

    user_id: Default: the caller, else the first configured user.

    on_conflict: What to do if a file with this name exists. Default: the user's setting.

    on_duplicate: What to do if the user has saved the same file. Default: the user's setting.

    idempotency_key: Any text. For 24 hours a request with the same key and body gets the same reply and
    creates no second task; with a different body it is refused (422).
    """
    return ApiRequest(
        "POST",
        "/api/v1/files",
        content=content,
        params={
            "name": name,
            "folder": folder,
            "storage_name": storage_name,
            "user_id": user_id,
            "on_conflict": on_conflict,
            "on_duplicate": on_duplicate,
        },
        headers={"Idempotency-Key": idempotency_key},
    )


def get_saved_file(file_id: str) -> ApiRequest[SavedFileView]:
    """One saved file.

    A saved file: where its copy is, and where it comes from.

    file_id: Id of the file.
    """
    return ApiRequest("GET", f"/api/v1/files/{quoted(file_id)}")


def change_saved_file(file_id: str, body: FileChange) -> ApiRequest[SavedFileView]:
    """Change a saved file.

    Rename a file, move it to another folder, or change its caption. The copy in its storage keeps its
    path.

    file_id: Id of the file.
    """
    return ApiRequest("PATCH", f"/api/v1/files/{quoted(file_id)}", body=body)


def delete_saved_file(file_id: str, *, now: bool | None = None) -> ApiRequest[MessageReply]:
    """Delete a saved file.

    Move a file to the trash. Its links stop working at once; a restored file's links work again. Its copy
    is removed when it leaves the trash, unless another saved file has the same copy.

    file_id: Id of the file.

    now: Do not keep it in the trash: it cannot be restored, and its copy is removed.
    """
    return ApiRequest("DELETE", f"/api/v1/files/{quoted(file_id)}", params={"now": now})


def restore_saved_file(file_id: str) -> ApiRequest[SavedFileView]:
    """Restore a deleted file.

    Take a file out of the trash. Its links work again.

    file_id: Id of the file.
    """
    return ApiRequest("POST", f"/api/v1/files/{quoted(file_id)}/restore")


def list_trash(
    *, user_id: int | None = None, limit: int | None = None, cursor: str | None = None
) -> ApiRequest[FilePageView]:
    """Deleted files.

    The files in the trash, those deleted last first. They leave it after `catalogue.trash_days`.

    user_id: Only tasks of this user.

    cursor: `next_cursor` of the previous page.
    """
    return ApiRequest("GET", "/api/v1/trash", params={"user_id": user_id, "limit": limit, "cursor": cursor})


def empty_trash(*, user_id: int | None = None) -> ApiRequest[Removed]:
    """Empty the trash.

    Have the copies of all files in the trash removed. The operator empties that of all users unless
    `user_id` names one. This cannot be undone.

    user_id: Only tasks of this user.
    """
    return ApiRequest("DELETE", "/api/v1/trash", params={"user_id": user_id})


def list_folders(
    *,
    parent: int | None = None,
    user_id: int | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> ApiRequest[FolderPageView]:
    """Folders.

    The folders in a folder, by name. The `dir_path` of a task becomes a folder when its first file is
    saved.

    parent: Id of the folder to list; 0 is the top.

    user_id: Only tasks of this user.

    cursor: `next_cursor` of the previous page.
    """
    return ApiRequest(
        "GET",
        "/api/v1/folders",
        params={"parent": parent, "user_id": user_id, "limit": limit, "cursor": cursor},
    )


def create_folder(body: NewFolder) -> ApiRequest[FolderView]:
    """Create a folder.

    Create an empty folder. It exists only here: in the storages nothing changes.
    """
    return ApiRequest("POST", "/api/v1/folders", body=body)


def get_folder(folder_id: int) -> ApiRequest[FolderView]:
    """One folder.

    A folder: its path, and the folder that contains it.

    folder_id: Id of the folder.
    """
    return ApiRequest("GET", f"/api/v1/folders/{quoted(folder_id)}")


def change_folder(folder_id: int, body: FolderChange) -> ApiRequest[FolderView]:
    """Change a folder.

    Rename a folder, or move it into another one, with all that it contains. In the storages nothing
    changes.

    folder_id: Id of the folder.
    """
    return ApiRequest("PATCH", f"/api/v1/folders/{quoted(folder_id)}", body=body)


def delete_folder(folder_id: int, *, recursive: bool | None = None) -> ApiRequest[MessageReply]:
    """Delete a folder.

    Delete a folder, and the links to it. A file that is restored later is in a folder of the same path.

    folder_id: Id of the folder.

    recursive: Also if it is not empty: all files in it are moved to the trash.
    """
    return ApiRequest("DELETE", f"/api/v1/folders/{quoted(folder_id)}", params={"recursive": recursive})


def file_stats(*, user_id: int | None = None) -> ApiRequest[FileStatsView]:
    """Sums of saved files.

    Number and size of the saved files, together and by kind, storage, user and day (UTC).

    user_id: Only tasks of this user.
    """
    return ApiRequest("GET", "/api/v1/stats", params={"user_id": user_id})


def read_saved_file(file_id: str, *, inline: bool | None = None) -> ApiRequest[bytes]:
    """Download a saved file.

    The bytes of a saved file, or a range of them. It is not counted as a download.

    file_id: Id of the file.

    inline: To be shown or played in a browser.
    """
    return ApiRequest(
        "GET", f"/api/v1/files/{quoted(file_id)}/content", params={"inline": inline}, reply="bytes"
    )


def read_thumbnail(file_id: str) -> ApiRequest[bytes]:
    """Thumbnail of a saved file.

    A small picture of a saved file; 404 if it has none.

    file_id: Id of the file.
    """
    return ApiRequest("GET", f"/api/v1/files/{quoted(file_id)}/thumbnail", reply="bytes")
