"""Options of an `openload` storage."""

from __future__ import annotations

import re
from typing import Final, Literal

from pydantic import Field, SecretStr, model_validator

from storages.base import StorageOptions

_ADDRESSES: Final = {"streamtape": "https://api.streamtape.com", "pstream": "https://api.pstream.net/v1"}


class OpenloadOptions(StorageOptions):
    """Options of an `openload` storage."""

    flavour: Literal["streamtape", "pstream", "openload"] = Field(
        default="streamtape", description="Which service; openload is any other with this API, at base_url."
    )
    base_url: str = Field(
        default="",
        description="Address of the API, up to /file/ul. Left out: the address of the service.",
        examples=["https://api.example.com/1"],
    )
    login: str = Field(
        min_length=1, description="API login, from the settings of your account.", examples=["a1b2c3"]
    )
    key: SecretStr = Field(description="API key, from the same place.", examples=["f6e5d4"])
    base_path: str = Field(
        min_length=1, description="Folder on the service; made if it is missing.", examples=["telegram"]
    )
    pull: bool = Field(
        default=False,
        description="Let the service fetch files of `directlinks` itself if they need no headers, cookies or "
        "password. Their bytes do not pass through this machine, and they have no sha256.",
    )

    @model_validator(mode="after")
    def _an_address(self) -> OpenloadOptions:
        if not (self.base_url or self.flavour in _ADDRESSES):
            raise ValueError("flavour openload needs base_url")
        if self.base_url and not re.match("https?://[^/@]+(/|$)", self.base_url):
            raise ValueError(
                "base_url must begin with http:// or https://, name a host, and have no password"
            )
        if {"", ".", ".."} & {*self.base_path.strip("/").split("/")}:
            raise ValueError("base_path must be a folder below the root, without . and ..")
        return self

    @property
    def address(self) -> str:
        """The URL of the API."""
        return (self.base_url or _ADDRESSES[self.flavour]).rstrip("/")
