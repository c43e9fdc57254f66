"""Deliveries of an event: to the operator's URL, to that in the request of a task, and as notifications."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from saveany.models import ENDED, Delivery, Item, Task
from saveany.webhooks.notify import address_of
from saveany.webhooks.payload import archive_payload, link_payload, task_payload

if TYPE_CHECKING:
    from saveany.config import Config
    from saveany.config.schema import NotifyConfig
    from saveany.store.archives import Archive

#: Events that end a task.
_ENDS = frozenset(f"task.{status}" for status in ENDED)


class DeliveryBuilder:
    """Builds deliveries; the store writes them in one step with the change that they report."""

    def __init__(
        self,
        url: str,
        events: Sequence[str],
        clock: Callable[[], Awaitable[int]],
        notify: NotifyConfig | None = None,
    ) -> None:
        self._url = url
        self._events = frozenset(events)
        self._clock = clock
        self._notified = frozenset(notify.events) if notify and notify.urls else frozenset[str]()
        urls = notify.urls if notify else ()
        self._notify = list(dict.fromkeys(address_of(each.get_secret_value()) for each in urls))

    @classmethod
    def of(cls, config: Config, clock: Callable[[], Awaitable[int]]) -> Self:
        """The builder of an installation."""
        return cls(config.api.webhook_url.get_secret_value(), config.api.webhook_events, clock, config.notify)

    def wants(self, task: Task, event: str) -> bool:
        """Whether anybody gets webhooks about this event of the task."""
        word = event.removeprefix("task.")
        return word in self._notified or (word in self._events and bool(self._url or task.spec.webhook_url))

    def _targets(self, word: str, asked: str = "") -> list[tuple[str, str]]:
        """Where an event is delivered: the end of the id of the delivery, and the address."""
        hooks = [("own", self._url), ("asked", asked)] if word in self._events else []
        notified = self._notify if word in self._notified else []
        return [each for each in hooks if each[1]] + [(each.replace(":", ""), each) for each in notified]

    async def __call__(self, task: Task, items: list[Item], event: str) -> list[Delivery]:
        """The deliveries of `event`: `task.completed` …, or `file_uploaded` with its one item.

        Their ids depend only on task, run and event. An event that is repeated after a crash is therefore the
        same delivery; a retry of the task creates a new one.
        """
        if not self.wants(task, event):
            return []
        targets = self._targets(event.removeprefix("task."), task.spec.webhook_url)
        now = await self._clock()
        body = task_payload(task, items, event, now if event in _ENDS else None)
        word = event.removeprefix("task.") + (f"{items[0].index}" if event == "file_uploaded" else "")
        return [
            Delivery(
                id=f"msg_{task.id}_{task.run}_{word}_{end}",
                task_id=task.id,
                event=event,
                url=url,
                body=body,
                trusted=end != "asked",
                created_at=now,
            )
            for end, url in targets
        ]

    async def for_link(self, token: str, user_id: int, name: str) -> list[Delivery]:
        """The delivery of `file_uploaded` for a link to a message that was not saved; its id depends only on
        the link."""
        if not self._url or "file_uploaded" not in self._events:
            return []
        now = await self._clock()
        return [
            Delivery(
                id=f"msg_{token}_file_uploaded_own",
                task_id="",
                event="file_uploaded",
                url=self._url,
                body=link_payload(token, user_id, name, now),
                trusted=True,
                created_at=now,
            )
        ]

    async def for_archive(
        self, archive: Archive, event: str, since: int, counts: Mapping[str, int], problem: str
    ) -> list[Delivery]:
        """The delivery of `archive_complete` or `archive_problem`. Its id depends only on the archive, the
        event and the time `since` of what it reports."""
        targets = self._targets(event)
        now = await self._clock() if targets else 0
        return [
            Delivery(
                id=f"msg_{archive.id}_{event}_{since}{'' if end == 'own' else f'_{end}'}",
                task_id="",
                event=event,
                url=url,
                body=archive_payload(archive, event, counts, problem, now),
                trusted=True,
                created_at=now,
            )
            for end, url in targets
        ]
