"""Requests of the API: archives. `make docs` has written this from openapi.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from saveany.client.request import ApiRequest, quoted

if TYPE_CHECKING:
    from saveany.client.models import (
        AdoptionView,
        ArchiveEstimateView,
        ArchiveList,
        ArchiveMessagesView,
        ArchiveView,
        ChatExportRequest,
        ChatFilesRequest,
        ChatFilesView,
        ChatList,
        FoundFiles,
        MessageReply,
        NewArchive,
        RetriedView,
        VerificationView,
        VerifyArchive,
    )


def list_archives(*, user_id: int | None = None) -> ApiRequest[ArchiveList]:
    """Archives.

    All archives with their receipts, oldest first. Watched chats are archives that start with `now`.

    user_id: Only tasks of this user.
    """
    return ApiRequest("GET", "/api/v1/archives", params={"user_id": user_id})


def create_archive(body: NewArchive) -> ApiRequest[ArchiveView]:
    """Archive a chat.

    Save all files of a chat, and account for every message. A user account must be able to read the chat.
    """
    return ApiRequest("POST", "/api/v1/archives", body=body)


def estimate_archive(body: NewArchive) -> ApiRequest[ArchiveEstimateView]:
    """See what an archive would contain.

    Numbers of files by kind, and estimates of their sizes, for the whole chat. Nothing is archived.
    """
    return ApiRequest("POST", "/api/v1/archives/estimate", body=body)


def get_archive(archive_id: str) -> ApiRequest[ArchiveView]:
    """One archive.

    An archive with its receipt.

    archive_id: The id of the archive.
    """
    return ApiRequest("GET", f"/api/v1/archives/{quoted(archive_id)}")


def delete_archive(archive_id: str) -> ApiRequest[MessageReply]:
    """Delete an archive.

    End an archive and delete its receipt. Its files stay, and its tasks continue.

    archive_id: The id of the archive.
    """
    return ApiRequest("DELETE", f"/api/v1/archives/{quoted(archive_id)}")


def list_archive_messages(
    archive_id: str,
    *,
    outcome: Literal[
        "pending", "saved", "duplicate", "filtered", "gone", "locked", "expired", "protected", "failed"
    ]
    | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> ApiRequest[ArchiveMessagesView]:
    """Messages of an archive.

    The messages that have files, in order, with what became of them.

    archive_id: The id of the archive.

    outcome: Only messages with this outcome.

    cursor: `next_cursor` of the previous page.
    """
    return ApiRequest(
        "GET",
        f"/api/v1/archives/{quoted(archive_id)}/messages",
        params={"outcome": outcome, "limit": limit, "cursor": cursor},
    )


def pause_archive(archive_id: str) -> ApiRequest[ArchiveView]:
    """Pause.

    Read no further messages. Tasks that exist continue.

    archive_id: The id of the archive.
    """
    return ApiRequest("POST", f"/api/v1/archives/{quoted(archive_id)}/pause")


def resume_archive(archive_id: str) -> ApiRequest[ArchiveView]:
    """Resume.

    Continue a paused archive.

    archive_id: The id of the archive.
    """
    return ApiRequest("POST", f"/api/v1/archives/{quoted(archive_id)}/resume")


def retry_archive(archive_id: str) -> ApiRequest[RetriedView]:
    """Retry.

    Save the messages again that have failed.

    archive_id: The id of the archive.
    """
    return ApiRequest("POST", f"/api/v1/archives/{quoted(archive_id)}/retry")


def adopt_files(archive_id: str, body: FoundFiles) -> ApiRequest[MessageReply]:
    """Adopt files.

    Name files that are in the storage of the archive already, for example because another program has
    saved them. A file that belongs to a message is not fetched: it is listed as saved. Only messages that
    are read after this request adopt files; create the archive with `paused`. Only operators may do this.

    archive_id: The id of the archive.
    """
    return ApiRequest("POST", f"/api/v1/archives/{quoted(archive_id)}/adopt", body=body)


def verify_archive(archive_id: str, body: VerifyArchive) -> ApiRequest[VerificationView]:
    """Verify.

    Compare some of the messages with the catalogue and with the sizes of the copies in their storages. A
    request with `next_cursor` verifies the next ones.

    archive_id: The id of the archive.
    """
    return ApiRequest("POST", f"/api/v1/archives/{quoted(archive_id)}/verify", body=body)


def adopt_folder(
    content: bytes,
    *,
    chat: str,
    dir_path: str,
    storage: str | None = None,
    user_id: int | None = None,
    account: str | None = None,
    follow: bool | None = None,
    trial: bool | None = None,
) -> ApiRequest[AdoptionView]:
    """Archive a chat, and adopt files.

    Archive a chat whose files another program has saved, and fetch only the rest. A file belongs to a
    message if the export in the body says so, or else its name, as tdl and telegram_media_downloader name
    files; and if its size is right. Other files are compared by size and contents. Nothing is moved or
    changed in the folder. A second request of the same kind is refused (409). Only operators may do this.

    chat: As in `POST /api/v1/archives`.

    dir_path: Folder in the storage with the files; what is missing is saved there. `/` is the root of the
    storage.

    storage: Default: the default storage of the user.

    user_id: Telegram user id. Default: the first user.

    account: The user account that reads the chat. Default: any that can.

    follow: Save new messages, too, from then on.

    trial: Only say what would be adopted: make no archive.
    """
    return ApiRequest(
        "POST",
        "/api/v1/archives/adopt",
        content=content,
        params={
            "chat": chat,
            "dir_path": dir_path,
            "storage": storage,
            "user_id": user_id,
            "account": account,
            "follow": follow,
            "trial": trial,
        },
    )


def list_chats(*, account: str | None = None) -> ApiRequest[ChatList]:
    """Chats of an account.

    The chats of a user account, at most 1,000, those with the newest messages first. Users see those of
    accounts that the configuration gives to them, without one an empty list.

    account: The user account. Default: the first of the caller's.
    """
    return ApiRequest("GET", "/api/v1/chats", params={"account": account})


def list_chat_files(body: ChatFilesRequest) -> ApiRequest[ChatFilesView]:
    """Files of a chat.

    The files in the messages of a chat, newest first, so that some can be chosen and saved by their
    links. Each request reads at most 500 messages.
    """
    return ApiRequest("POST", "/api/v1/chats/files", body=body)


def export_chat(body: ChatExportRequest) -> ApiRequest[bytes]:
    """Export the list of files of a chat.

    All files in the messages of a chat, oldest first, without downloading them: the fields of `POST
    /api/v1/chats/files`, sent while the chat is read. `POST /api/v1/tasks/list` saves them. If Telegram
    demands a wait, the rest follows after it; if the chat cannot be read any more, the connection breaks.
    """
    return ApiRequest("POST", "/api/v1/chats/export", body=body, reply="bytes")
