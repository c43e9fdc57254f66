"""Options of a `webdav` storage."""

from __future__ import annotations

from typing import Literal

import httpx
from pydantic import Field, SecretStr, field_validator

from storages.base import StorageOptions
from storages.http_client import checked_server_url


class WebdavOptions(StorageOptions):
    """Options of a `webdav` storage."""

    url: str = Field(
        description="Address of the WebDAV folder.",
        examples=["https://cloud.example.com/remote.php/dav/files/me"],
    )
    username: str = Field(default="", description="User name. Empty: the server asks for none.")
    password: SecretStr = Field(default=SecretStr(""), description="Password, or app password.")
    base_path: str = Field(default="", description="Folder below the address.", examples=["/telegram"])
    auth: Literal["auto", "basic", "digest"] = Field(
        default="auto", description="How to log in; auto: as the server asks, with Digest rather than Basic."
    )

    @field_validator("url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        checked_server_url(url)
        if "?" in url or "#" in url:  # every path would mean the folder itself
            raise ValueError("must end with the folder, without ? and #")
        try:
            return str(httpx.URL(url)).rstrip("/")
        except httpx.InvalidURL as error:
            raise ValueError(f"is not an address: {error}") from error
