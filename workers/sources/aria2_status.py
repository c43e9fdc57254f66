"""Interprets the statuses that aria2 reports: the files of a download, and the reason of a failure."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from saveany.errors import NoSpace, Offline, Permanent, Retryable, SaveAnyError
from saveany.excerpt import excerpt
from saveany.net import trust
from saveany.net.proxy import GuardedProxy
from saveany.texts import Text
from workers.sources.process import without_proxy

#: Keys of a status for the progress of a download, and those for its files.
PROGRESS_KEYS = ["gid", "status", "totalLength", "completedLength", "verifiedLength", "seeder"]
PROGRESS_KEYS += ["errorCode", "errorMessage"]
FILE_KEYS = [*PROGRESS_KEYS, "files", "bittorrent", "followedBy", "following"]

#: A file of the web may turn out to be a torrent or metalink until it is complete, unless it has more bytes.
_MAX_DESCRIPTION_BYTES = 16 << 20

#: Exit statuses, see https://aria2.github.io/manual/en/html/aria2c.html#exit-status.
NO_RANGES = 8
_DISK_FULL = 9
_PERMANENT = {
    3: Text("aria2: the file does not exist on the server"),
    4: Text("aria2: the file does not exist on the server"),
    22: Text("aria2: the server refuses the download"),
    24: Text("aria2: the server requires a login"),
    26: Text("aria2: the torrent cannot be read"),
    27: Text("aria2: the metalink cannot be read"),
    28: Text("aria2: an option is invalid"),
    32: Text("aria2: the checksum is wrong"),
}
#: Exit statuses that are caused by the data of a server, and not by the network.
_CAUSED_BY_CONTENT = (3, 4, 26, 27, 28, 32)
#: HTTP statuses of a server that may change.
_TEMPORARY = re.compile(r"status=(408|425|429|5\d\d)\b")


class DownloadedFile(NamedTuple):
    """A file of a download."""

    gid: str
    path: Path
    size: int


def failure_of(status: dict[str, Any], link: str, proxy: GuardedProxy) -> SaveAnyError | None:
    """Why a download of a link has failed, None if it has not."""
    if status["status"] not in ("error", "removed"):
        return None
    code, message = int(status.get("errorCode") or 1), str(status.get("errorMessage") or "")
    host = urlsplit(link).hostname or ""
    refused = [refusal for refusal in proxy.refusals if host and host in str(refusal)] or proxy.refusals
    if refused and ("403" in message or message.startswith("Proxy connection failed")):
        return Permanent(refused[-1])
    message = excerpt(without_proxy(message, proxy.url), 200)
    details = trust.with_advice(message)
    if code == _DISK_FULL:
        return NoSpace("aria2 has no space left on its disk; free some")
    if proxy.problem and code not in _CAUSED_BY_CONTENT:
        return Offline("aria2: {reason}", reason=proxy.problem)
    if code in _PERMANENT and not _TEMPORARY.search(message):
        if message:
            return Permanent("{reason} ({details})", reason=_PERMANENT[code], details=details)
        return Permanent(_PERMANENT[code])
    if message:
        return Retryable("aria2: {reason}", reason=details)
    return Retryable("aria2: error {code}", code=code)


def listed_files(status: dict[str, Any], folder: Path) -> list[DownloadedFile]:
    """The selected files of a download into `folder`; empty if they are not known yet."""
    if "bittorrent" in status and "info" not in status["bittorrent"]:
        return []  # a magnet link whose torrent was not found yet
    if _is_description(status):
        return []  # the downloads that it describes follow at once
    files = [file for file in status["files"] if file["selected"] == "true" and file["path"]]
    return [
        DownloadedFile(status["gid"], _checked(Path(file["path"]), folder), int(file["length"]))
        for file in files
    ]


def is_final(status: dict[str, Any]) -> bool:
    """Whether the files of a download are certainly not a torrent or metalink that leads to others."""
    known = "bittorrent" in status or "following" in status or status["status"] in ("complete", "error")
    return known or max(int(status["totalLength"]), int(status["completedLength"])) > _MAX_DESCRIPTION_BYTES


def _is_description(status: dict[str, Any]) -> bool:
    """Whether the download is a torrent or metalink file, which describes the files to download."""
    name = str(status["files"][0]["path"]).lower()
    return "bittorrent" not in status and name.endswith((".torrent", ".metalink", ".meta4"))


def chosen_file(files: list[DownloadedFile], folder: Path, path: str) -> DownloadedFile:
    """The file at `path`, relative to `folder`. An empty path, for a link whose files were unknown when the
    task was planned, is the only file of the link."""
    if not path and len(files) > 1:
        raise Permanent(
            "the link leads to {count} files, which was not known when the task began; create a new task",
            count=len(files),
        )
    for file in files:
        if not path or file.path == folder / path:
            return file
    raise Permanent("the link does not lead to this file any more")


def stat_inside(path: Path, folder: Path) -> os.stat_result:
    """The size and times of a downloaded file, which must lie in `folder`."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise Permanent("a file of this download lies outside its folder")
    try:
        return path.stat()
    except FileNotFoundError:
        raise Permanent(
            "aria2 has the file, but it is not at {path} on this machine; aria2 must have data_dir under the "
            "same path",
            path=str(path),
        ) from None


def _checked(path: Path, folder: Path) -> Path:
    """A path below `folder`. The author of a torrent chooses its file names, so they may point elsewhere."""
    if not path.is_relative_to(folder) or ".." in path.parts:
        raise Permanent("a file of this torrent would lie outside its folder")
    return path
