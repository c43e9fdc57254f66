"""Pausing the whole queue, and changing the limits."""

from __future__ import annotations

from collections.abc import Mapping

from saveany.config import Config
from saveany.service.principal import Principal
from saveany.store import Limits, Store


class QueueService:
    """The operations on the queue as a whole. Changing it needs the operator (`Forbidden`)."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store

    async def counts(self) -> dict[str, int]:
        """The numbers of `queued`, `paused` and `running` tasks; a paused task is not counted as queued."""
        return await self._store.tasks.counts()

    async def is_paused(self) -> bool:
        """Whether the queue is paused."""
        return await self._store.settings.paused()

    async def pause(self, principal: Principal) -> None:
        """Start no more tasks until `resume`; running tasks continue."""
        principal.require_operator()
        await self._store.settings.pause()

    async def resume(self, principal: Principal) -> None:
        """Start tasks again."""
        principal.require_operator()
        await self._store.settings.resume()

    async def limits(self) -> Limits:
        """The limits in force: as configured, unless they were changed."""
        configured = Limits(**self._config.limits.model_dump())
        return configured.with_changes(await self._store.settings.changed())

    async def set_limits(self, principal: Principal, limits: Mapping[str, int | None]) -> None:
        """Change limits, by their names in `Limits`; None restores the configured value."""
        principal.require_operator()
        await self._store.settings.set(limits)
