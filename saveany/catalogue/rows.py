"""Rows of the tables, made from the records of tasks in Redis."""

from __future__ import annotations

import mimetypes
import posixpath
from typing import Any

import msgspec

from saveany.catalogue.search import fold
from saveany.catalogue.tables import clean
from saveany.config.schema import PRIVATE_CHATS
from saveany.ids import new_id
from saveany.models import Item, ItemStatus, Task

Row = dict[str, Any]

_TYPES = mimetypes.MimeTypes()
#: Types that Python does not know, or that mean something else on the web.
_MORE_TYPES = {
    ".apk": "application/vnd.android.package-archive",
    ".avif": "image/avif",
    ".flac": "audio/flac",
    ".heic": "image/heic",
    ".m2ts": "video/mp2t",
    ".mka": "audio/x-matroska",
    ".mkv": "video/x-matroska",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/ogg",
    ".rar": "application/vnd.rar",
    ".ts": "video/mp2t",
    ".webp": "image/webp",
}
for _extension, _type in _MORE_TYPES.items():
    _TYPES.add_type(_type, _extension)
#: The largest number of a column.
_MAX = 2**63 - 1
_KINDS = ("video", "audio", "image", "text")

encode_record = msgspec.msgpack.encode
decode_record = msgspec.msgpack.Decoder(dict[bytes, bytes]).decode


def task_row(task: Task) -> Row:
    """The row of an ended task."""
    return {
        "id": task.id,
        "user_id": number(task.spec.user_id),
        "type": task.spec.type,
        "storage": task.spec.storage,
        "status": task.status.value,
        "title": task.title,
        "error": task.error,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "ended_at": task.finished_at or task.updated_at,
        "bytes": number(task.progress.downloaded_bytes),
        "run": task.run,
        "search": fold(task.title, task.error),
    }


def is_saved(item: Item) -> bool:
    """Whether the item is a file that its task has saved."""
    return item.status is ItemStatus.COMPLETED


def stored_files(item: Item) -> list[Item]:
    """The files that a storage has made of a saved item: itself, unless it was cut into parts, which are
    files of their own. All but the first get numbers that no item has."""
    parts = item.reference.get("parts")
    if not parts:
        return [item]
    shared = {name: value for name, value in item.reference.items() if name not in ("parts", "files")}
    folder = posixpath.dirname(item.final or item.path)
    return [
        msgspec.structs.replace(
            item,
            index=item.index + number * FURTHER_PART,
            final=posixpath.join(folder, part["name"]),
            size=part["size"],
            sha256="",
            source={},
            url=part["page"],
            reference={**shared, "files": [file]},
            link="" if number else item.link,
        )
        for number, (part, file) in enumerate(zip(parts, item.reference["files"], strict=True))
    ]


def file_row(task: Task, item: Item, folder_id: int) -> Row:
    """The row of a saved file. A row that exists keeps its id, name, folder and time."""
    path = item.path if item.duplicate else item.final or item.path
    name, source = clean(posixpath.basename(path) or item.name), item.source
    mime = item.reference.get("mime") or source.get("mime") or guess_mime(name)
    return {
        "id": new_id(),
        "user_id": number(task.spec.user_id),
        "folder_id": folder_id,
        "name": name,
        "caption": item.text or item.caption,
        "size": number(item.size or 0),
        "mime": str(mime),
        "kind": kind_of(str(mime)),
        "sha256": item.sha256,
        "sha1": str(source.get("sha1") or ""),
        "storage": item.copy_storage or task.spec.storage,
        "path": item.copy_path,
        "reference": _json(item.reference),
        "chat": _number_in(source, "chat"),
        "message": _number_in(source, "message"),
        "document": _number_in(source, "document"),
        "dc": _number_in(source, "dc"),
        "origin": _origin(source),
        "url": str(source.get("url") or ""),
        "page": item.url,
        "thumbnail": "",
        "task_id": task.id,
        "item": item.index,
        "added_at": task.updated_at,
        "deleted_at": None,
        "downloads": 0,
        "bytes_sent": 0,
        "search": fold(name, item.text or item.caption),
    }


def link_row(token: str, file: Row, ttl_ms: int) -> Row:
    """The row of the link to a file that a webhook has named. It works for `ttl_ms`; 0 is for ever."""
    return {
        "id": token,
        "user_id": file["user_id"],
        "file_id": file["id"],
        "name": file["name"],
        "inline": False,
        "made_at": file["added_at"],
        "expires_at": file["added_at"] + ttl_ms if ttl_ms else None,
        "password": "",
        "downloads": 0,
        "bytes_sent": 0,
    }


#: Each further part of an item adds this to its number. Tasks have fewer items.
FURTHER_PART = 1 << 40

#: The columns of a file that its task may change later. The others belong to the user.
COPY_COLUMNS = ("size", "sha256", "storage", "path", "reference", "page")


def folder_below(task: Task, item: Item) -> tuple[int, str]:
    """The folder of a saved file: the id of a folder, 0 for the root, and the path below it."""
    path = folder_path(task, item)
    if task.spec.folder_id and f"{path}/".startswith(f"{task.spec.path}/"):
        return task.spec.folder_id, path[len(task.spec.path) + 1 :]
    return 0, path


def folder_path(task: Task, item: Item) -> str:
    """The folder of a saved file, without leading or trailing slash; "" is the root."""
    path = clean(posixpath.dirname(item.final or item.path)).strip("/")
    # In private chats with the bot, the first folder is the id of the user.
    return path.partition("/")[2] if (item.storage or task.spec.storage) == PRIVATE_CHATS else path


def guess_mime(name: str) -> str:
    """The MIME type for a file name."""
    return _TYPES.guess_type(f"x{name}")[0] or "application/octet-stream"


def kind_of(mime: str) -> str:
    """The kind of a MIME type: video, audio, image, text or other."""
    main = mime.partition("/")[0]
    return main if main in _KINDS else "other"


def number(value: int) -> int:
    """A number that a column can hold."""
    return max(-_MAX, min(value, _MAX))


def _origin(source: dict[str, Any]) -> bytes | None:
    """What finds the file in Telegram again; None if it is not from there, or damaged."""
    try:
        return encode_record(source) if "chat" in source else None
    except OverflowError:  # a number that no id has
        return None


def _json(reference: dict[str, Any]) -> str:
    return msgspec.json.encode(reference, order="deterministic").decode() if reference else ""


def _number_in(source: dict[str, Any], name: str) -> int | None:
    value = source.get(name)
    return number(value) if isinstance(value, int) and not isinstance(value, bool) else None
