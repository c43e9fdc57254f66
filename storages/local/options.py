"""Options of a `local` storage."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from storages.base import (
    StorageOptions,
)


class LocalOptions(StorageOptions):
    """Options of a `local` storage."""

    base_path: Path = Field(
        description="Folder for the files; made if it is missing. Nothing outside it is ever touched. "
        "It must not contain the configuration, data_dir or the program."
    )

    def folders_here(self) -> list[Path]:
        """The one folder."""
        return [self.base_path.expanduser().absolute()]
