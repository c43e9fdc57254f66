"""The operations of SaveAny, with their permissions. The API, the bot and watched chats are adapters.

Every operation takes a `Principal` first and checks its permissions; a task of another user does not exist
for it (`NotFound`). Nothing above this package changes tasks in the store.
"""

from saveany.planning.requests import TaskRequest
from saveany.service.files import FileService
from saveany.service.principal import OPERATOR, Principal
from saveany.service.queue import QueueService
from saveany.service.reading import TaskReader
from saveany.service.tasks import TaskService
from saveany.service.webhooks import WebhookService

__all__ = [
    "OPERATOR",
    "FileService",
    "Principal",
    "QueueService",
    "TaskReader",
    "TaskRequest",
    "TaskService",
    "WebhookService",
]
