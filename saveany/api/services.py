"""The services that every route receives as its parameter `services: InjectedServices`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from saveany.api.auth import Authenticator
from saveany.api.hub import Hub
from saveany.config import Config
from saveany.foreground import Foreground
from saveany.service import FileService, QueueService, TaskReader, TaskService, WebhookService
from saveany.store import Store

if TYPE_CHECKING:
    from saveany.archives.role import ArchiveRole
    from saveany.catalogue.catalogue import Catalogue
    from saveany.delivery.delivery import LinkDelivery
    from saveany.service.accounts import AccountService
    from saveany.service.adoption import AdoptionService
    from saveany.service.archives import ArchiveService
    from saveany.service.backups import BackupService
    from saveany.service.chats import ChatService
    from saveany.service.configuration import ConfigurationService
    from saveany.service.conversions import ConversionService
    from saveany.service.keys import KeyService
    from saveany.service.links import LinkService
    from saveany.service.lists import ListService
    from saveany.service.live import LiveService
    from saveany.service.preferences import PreferencesService
    from saveany.service.storages import StorageService
    from saveany.service.uploads import UploadService
    from saveany.service.users import UserService
    from saveany.service.verification import ArchiveVerifier


@dataclass(frozen=True, slots=True)
class ApiServices:
    """The parts of the application that the API needs."""

    config: Config
    store: Store
    catalogue: Catalogue
    tasks: TaskService
    reader: TaskReader
    queue: QueueService
    webhooks: WebhookService
    files: FileService
    hub: Hub
    delivery: LinkDelivery
    links: LinkService
    uploads: UploadService
    keys: KeyService
    archives: ArchiveService
    archive_verifier: ArchiveVerifier
    adoption: AdoptionService
    archive_role: ArchiveRole
    authenticator: Authenticator
    foreground: Foreground
    conversions: ConversionService
    configuration: ConfigurationService
    storages: StorageService
    users: UserService
    accounts: AccountService
    preferences: PreferencesService
    chats: ChatService
    backups: BackupService
    live: LiveService
    lists: ListService


async def _services(request: Request) -> ApiServices:
    services: ApiServices = request.app.state.services
    return services


InjectedServices = Annotated[ApiServices, Depends(_services)]
