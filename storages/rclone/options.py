"""Options of an `rclone` storage, and which flags of rclone they may contain."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from pydantic import Field, field_validator

from saveany.texts import WrongValue
from storages.base import StorageOptions
from storages.rclone.targets import folders

#: Flags of rclone that a configuration may contain, without those of its backends.
_GENERAL_FLAGS: Final = (
    *("bwlimit", "buffer-size", "ca-cert", "checkers", "contimeout", "disable-http2", "fast-list"),
    *("low-level-retries", "multi-thread-cutoff", "multi-thread-streams", "no-check-certificate"),
    *("retries", "timeout", "tpslimit", "tpslimit-burst", "transfers", "use-mmap", "user-agent"),
)
_BACKEND_FLAGS: Final = re.compile(
    """--(azureblob|azurefiles|b2|box|cache|chunker|cloudinary|combine|compress|crypt|drime|drive|dropbox|
    fichier|filefabric|filelu|filen|filescom|ftp|gcs|gofile|gphotos|hasher|hdfs|hidrive|http|huaweidrive|
    iclouddrive|imagekit|internetarchive|internxt|jottacloud|koofr|linkbox|local|mailru|mega|netstorage|
    onedrive|oos|opendrive|pcloud|pikpak|pixeldrain|premiumizeme|protondrive|putio|qingstor|quatrix|s3|
    seafile|sftp|shade|sharefile|sia|smb|storj|sugarsync|swift|ulozto|union|webdav|yandex|zoho)-""",
    re.VERBOSE,
)
#: Flags for the output of rclone, which SaveAny does not read: they are dropped.
_OUTPUT_FLAGS: Final = re.compile(r"-[Pvq]+|--(progress|verbose|quiet|stats)\b.*")


class RcloneOptions(StorageOptions):
    """Options of an `rclone` storage. Needs rclone 1.60 or newer on the machine."""

    remote: str = Field(
        min_length=1,
        repr=False,  # a remote with inline options may contain a password
        description="A remote of rclone.conf, with a path if wanted, as in gdrive: or box:dir.",
        examples=["gdrive:"],
    )
    base_path: str = Field(default="", description="Folder below the remote.", examples=["telegram"])
    config_path: Path | None = Field(
        default=None,
        description="rclone.conf to use. Left out: the user's own.",
        examples=["/home/me/.config/rclone/rclone.conf"],
    )
    flags: tuple[str, ...] = Field(
        default=(),
        description="More options of rclone, such as --drive-chunk-size=64M.",
        examples=[["--tpslimit=5"]],
    )

    def folders_here(self) -> list[Path]:
        """The local folders that the remote leads to."""
        remote = self.remote if ":" in self.remote else f"{self.remote}:"
        return folders(remote, self.base_path, self.config_path)

    @field_validator("flags")
    @classmethod
    def _harmless(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        """One string per flag, as in `--checkers=8`; `"--checkers", "8"` is accepted, too."""
        flags: list[str] = []
        for word in words:
            if not word.startswith("-") and flags and "=" not in flags[-1]:
                flags[-1] += f"={word}"
            else:
                flags.append(word)
        flags = [flag for flag in flags if not _OUTPUT_FLAGS.fullmatch(flag)]
        for flag in flags:
            if flag.partition("=")[0][2:] not in _GENERAL_FLAGS and not _BACKEND_FLAGS.match(flag):
                raise WrongValue(
                    "{flag} is not allowed; allowed: {known}, and flags of backends, such as "
                    "--drive-chunk-size=64M",
                    flag=flag,
                    known=", ".join(f"--{each}" for each in _GENERAL_FLAGS),
                )
        return tuple(flags)
