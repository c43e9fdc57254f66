"""Options of an `sftp` storage."""

from __future__ import annotations

from pathlib import Path

import asyncssh
from pydantic import Field, SecretStr, field_validator

from storages.base import StorageOptions


class SftpOptions(StorageOptions):
    """Options of an `sftp` storage."""

    host: str = Field(min_length=1, description="Name or address of the server.", examples=["nas.lan"])
    port: int = Field(default=22, ge=1, le=65535, description="Its SSH port.")
    username: str = Field(min_length=1, description="User name.", examples=["me"])
    password: SecretStr = Field(default=SecretStr(""), description="Password, if no key is used.")
    private_key: Path | None = Field(
        default=None, description="File of a private key.", examples=["/home/me/.ssh/id_ed25519"]
    )
    passphrase: SecretStr = Field(default=SecretStr(""), description="Passphrase of the private key.")
    host_key: str = Field(
        default="",
        description="The server's public key, as `ssh-keyscan` prints it after the name. Empty: the first "
        "key is stored in data_dir, and any other key is refused.",
        examples=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOSKkQZKL1RPM0faQaNE1HW71MeiHJVF4woRibbImU3J"],
    )
    base_path: str = Field(
        default="",
        description="Folder on the server; a relative one is below the user's home.",
        examples=["/srv/films"],
    )

    @field_validator("host_key")
    @classmethod
    def _a_key(cls, value: str) -> str:
        try:
            return value and asyncssh.import_public_key(value).export_public_key().decode()
        except ValueError:
            raise ValueError(
                "must be one public key as `ssh-keyscan` prints it after the name, such as ssh-ed25519 AAAA…"
            ) from None
