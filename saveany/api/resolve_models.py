"""The reply of the route that tells what links lead to."""

from __future__ import annotations

from pydantic import Field

from saveany.api.archive_models import ArchiveEstimateView
from saveany.api.models import Reply, ResolvedFileView


class ResolvedView(Reply):
    """What a task would save."""

    type: str = Field(description="Type of the task.", examples=["tgfiles"])
    user_id: int = Field(examples=[123456789])
    storage: str = Field(examples=["local1"])
    path: str = Field(description="Folder inside the storage; `/` is its root.", examples=["/downloads"])
    files: list[ResolvedFileView] = Field(description="At most 1,000.")
    total_files: int = Field(description="Number of all files.")
    total_bytes: int = Field(description="Sum of the sizes in this reply that are known.")
    archive: ArchiveEstimateView | None = Field(
        default=None,
        description="For a link to a whole chat (type `archive`, without files): what "
        "`POST /api/v1/archives` would save.",
    )
