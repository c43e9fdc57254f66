"""Adding, changing and removing users of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from saveany.config import Config, User
from saveany.errors import NotFound, WrongState
from saveany.logs import get_logger
from saveany.service.configuration import ConfigurationService
from saveany.service.principal import Principal

if TYPE_CHECKING:
    from saveany.config import write

_TABLE = "users"

log = get_logger("saveany.configuration")


class UserService:
    """Changes of users. They need the operator (`Forbidden`), and take effect within seconds."""

    def __init__(self, config: Config, configuration: ConfigurationService) -> None:
        self._config = config
        self._configuration = configuration

    def get(self, principal: Principal, user_id: int) -> User:
        """A user that the principal may see. Raises `NotFound`."""
        user = self._config.user(user_id) if principal.may_access(user_id) else None
        if user is None:
            raise NotFound("there is no user {user}", user=user_id)
        return user

    async def add(self, principal: Principal, user_id: int, values: Mapping[str, Any]) -> User:
        """Add a user. Raises `WrongState` and `InvalidInput`."""
        from saveany.config import write  # loads tomlkit

        principal.require_operator()
        if self._config.user(user_id) is not None:
            raise WrongState("there is a user {user} already", user=user_id)
        await self._write(principal, write.adding_block(_TABLE, {"id": user_id, **values}))
        log.info("user_added", user=user_id)
        return self.get(principal, user_id)

    async def change(self, principal: Principal, user_id: int, values: Mapping[str, Any]) -> User:
        """Change a user; None restores a default. Raises `NotFound`, `WrongState` and `InvalidInput`."""
        from saveany.config import write  # loads tomlkit

        principal.require_operator()
        self.get(principal, user_id)
        await self._write(principal, write.changing_block(_TABLE, "id", user_id, values))
        log.info("user_changed", user=user_id)
        return self.get(principal, user_id)

    async def remove(self, principal: Principal, user_id: int) -> None:
        """Remove a user, with the keys that act as that user; the files stay. Raises as `change`."""
        from saveany.config import write  # loads tomlkit

        principal.require_operator()
        self.get(principal, user_id)
        await self._write(principal, write.removing_block(_TABLE, "id", user_id))
        log.info("user_removed", user=user_id)

    async def _write(self, principal: Principal, change: write.Change) -> None:
        self._configuration.require_in_file(_TABLE)
        await self._configuration.save(principal, change)
