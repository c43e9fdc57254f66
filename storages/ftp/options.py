"""Options of an `ftp` storage."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from storages.base import StorageOptions


class FtpOptions(StorageOptions):
    """Options of an `ftp` storage."""

    host: str = Field(min_length=1, description="Name or address of the server.", examples=["nas.lan"])
    port: int = Field(default=0, ge=0, le=65535, description="Its port; 0: 21, or 990 if `tls` is implicit.")
    username: str = Field(default="anonymous", min_length=1, description="User name.", examples=["me"])
    password: SecretStr = Field(default=SecretStr(""), description="Password.")
    tls: Literal["none", "explicit", "implicit"] = Field(
        default="explicit",
        description="`explicit` starts unencrypted and switches to TLS before the login; `none` sends "
        "everything unencrypted, including the password.",
    )
    ca_file: Path | None = Field(
        default=None,
        description="File with the only certificate that may have signed the server's. Left out: the "
        "certificates that SaveAny trusts everywhere ([net] ca_file).",
        examples=["/etc/ssl/nas.pem"],
    )
    base_path: str = Field(
        default="",
        description="Folder on the server; a relative one is below the folder of the login.",
        examples=["/srv/films"],
    )
    encoding: str = Field(default="utf-8", description="Encoding of file names on the server.")

    @field_validator("ca_file", mode="before")
    @classmethod
    def _none_if_empty(cls, value: object) -> object:
        return value or None

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        try:
            return codecs.lookup(encoding).name
        except LookupError:
            raise ValueError("must be the name of an encoding, such as utf-8 or latin-1") from None
