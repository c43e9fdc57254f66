"""Options of an `alist` storage."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator, model_validator

from storages.base import StorageOptions
from storages.http_client import checked_server_url


class AlistOptions(StorageOptions):
    """Options of an `alist` storage."""

    url: str = Field(description="Address of the server.", examples=["https://alist.example.com"])
    username: str = Field(default="", description="User name.")
    password: SecretStr = Field(default=SecretStr(""), description="Password.")
    token: SecretStr = Field(
        default=SecretStr(""),
        description="Token from the server's settings, instead of user name and password.",
        examples=["alist-token-of-the-server"],
    )
    token_exp: int = Field(
        default=3600, ge=1, description="Seconds after which to log in again with user and password."
    )
    base_path: str = Field(description="Folder on the server.", examples=["/drive/telegram"])

    @field_validator("url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        return checked_server_url(url).rstrip("/")

    @model_validator(mode="after")
    def _some_login(self) -> AlistOptions:
        if not (self.token.get_secret_value() or self.username):
            raise ValueError("needs token, or username and password")
        return self
