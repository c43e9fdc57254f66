"""A call of the API: what every handler gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from saveany.compat.openload.dialects import Dialect, ShownFile
from saveany.compat.openload.parameters import Parameters
from saveany.service import FileService, Principal, TaskReader

if TYPE_CHECKING:
    from saveany.catalogue.keys import ApiKey
    from saveany.catalogue.models import SavedFile
    from saveany.config import Config
    from saveany.delivery.delivery import LinkDelivery
    from saveany.service.conversions import ConversionService
    from saveany.service.keys import KeyService
    from saveany.service.links import LinkService
    from saveany.service.remote_uploads import RemoteUploadService
    from saveany.service.tickets import TicketService
    from saveany.service.uploads import UploadService

#: The scope that a key needs.
SCOPE: Final = "compat"


@dataclass(frozen=True, slots=True)
class OpenloadServices:
    """The parts of SaveAny that the API needs."""

    config: Config
    keys: KeyService
    tickets: TicketService
    reader: TaskReader
    files: FileService
    links: LinkService
    uploads: UploadService
    remote_uploads: RemoteUploadService
    delivery: LinkDelivery
    conversions: ConversionService


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses in replies: those of this API in a dialect, and those of SaveAny."""

    api: str  # without a slash at the end
    site: str

    def upload(self, ticket: str) -> str:
        """Where a file is uploaded."""
        return f"{self.api}/ul/{ticket}"

    def view(self, file: SavedFile, signature: str) -> ShownFile:
        """A file with its page and its player, which redirect to a link."""
        name = quote(file.name, safe="")
        return ShownFile(
            file,
            f"{self.api}/v/{file.id}/{name}?s={signature}",
            f"{self.api}/e/{file.id}/{name}?s={signature}",
        )


@dataclass(frozen=True, slots=True)
class OpenloadCall:
    """A call by the user of a key."""

    services: OpenloadServices
    dialect: Dialect
    parameters: Parameters
    key: ApiKey
    addresses: Addresses

    @property
    def principal(self) -> Principal:
        """The user."""
        return Principal(self.key.user_id)

    async def view(self, file: SavedFile) -> ShownFile:
        """A file with its addresses."""
        return self.addresses.view(file, await self.services.tickets.signature(file.id))
