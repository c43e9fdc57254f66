"""A call of the API: what every handler gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from saveany.compat.streamapi.errors import FOREIGN, NO_USER, UNKNOWN, StreamApiError
from saveany.compat.streamapi.live import LiveChats
from saveany.service import Principal

if TYPE_CHECKING:
    from saveany.catalogue.keys import ApiKey
    from saveany.config import Config
    from saveany.service.keys import KeyService
    from saveany.service.links import LinkService
    from saveany.store.stream_sessions import StreamSession, StreamSessions

#: The scope that a key needs.
SCOPE: Final = "compat"
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class StreamApiServices:
    """The parts of SaveAny that the API needs."""

    config: Config
    keys: KeyService
    sessions: StreamSessions
    links: LinkService
    live: LiveChats


@dataclass(frozen=True, slots=True)
class StreamCall:
    """A call by the user of a key."""

    services: StreamApiServices
    parameters: Mapping[str, str]
    key: ApiKey
    site: str  # SaveAny's address, without a slash at the end

    @property
    def principal(self) -> Principal:
        """The user."""
        return Principal(self.key.user_id)

    def text(self, name: str) -> str:
        """A parameter; "" if it is left out."""
        return self.parameters.get(name, "")

    def number(self, name: str, default: int) -> int:
        """A parameter that is a number. Raises `StreamApiError` if it is none."""
        text = self.text(name)
        if text and not _NUMBER.fullmatch(text):
            raise StreamApiError(UNKNOWN, f"{name} must be a number of at most 18 digits")
        return int(text) if text else default

    async def session(self, *, foreign: int = NO_USER) -> StreamSession:
        """The session that the request names by its public id, or by its private one. `foreign` is the code
        if it belongs to another key."""
        sessions = self.services.sessions
        if public_id := self.text("public_hostid"):
            found = await sessions.with_public_id(public_id)
        else:
            found = await sessions.with_private_id(self.text("private_hostid"))
        if found is None:
            raise StreamApiError(NO_USER, "there is no session with this id")
        if found.key_id != self.key.id:
            message = "this session was created with another key" if foreign == FOREIGN else ""
            raise StreamApiError(foreign, message or "there is no session with this id")
        return found
