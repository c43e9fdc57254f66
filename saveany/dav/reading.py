"""Delivers the files of the drive, through the one path that links use."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Never

from starlette.requests import Request
from starlette.types import Receive, Send

from saveany.delivery.content import etag_of
from saveany.delivery.response import ContentResponse
from saveany.errors import Unavailable
from saveany.net.addresses import network_of

if TYPE_CHECKING:
    from saveany.catalogue.keys import ApiKey
    from saveany.catalogue.link_models import Link
    from saveany.dav.tree import Tree
    from saveany.delivery.delivery import LinkDelivery
    from saveany.service.keys import KeyService

#: Seconds between two checks whether the key of a running download still works.
_CHECK_SECONDS: Final = 2.0
#: Seconds for which a name leads to the same file without another look into the catalogue: players send a
#: request for every few megabytes. Number of names that are remembered.
_FRESH_SECONDS, _REMEMBERED = 2.0, 1_000


class FileReader:
    """Finds and sends files."""

    def __init__(self, delivery: LinkDelivery, keys: KeyService) -> None:
        self._delivery = delivery
        self._keys = keys
        self._found: dict[tuple[str, ...], tuple[float, Link]] = {}  # by user and names; when, monotonic

    async def find(self, tree: Tree, names: list[str]) -> Link | None:
        """The file that names lead to, as if it had a link; None for a folder. Raises `FileNotFound`."""
        place = str(tree.user_id), *names
        at, link = self._found.get(place, (-math.inf, None))
        if time.monotonic() - at < _FRESH_SECONDS:
            return link
        self._found.pop(place, None)
        node = await tree.find(names)
        if node.file is None:
            return None
        link = await self._delivery.saved(node.file.id)
        self._found[place] = time.monotonic(), link
        while len(self._found) > _REMEMBERED:
            del self._found[next(iter(self._found))]
        return link

    async def send(
        self,
        request: Request,
        key: ApiKey,
        link: Link,
        headers: Mapping[str, str],
        receive: Receive,
        send: Send,
    ) -> None:
        """Respond to GET or HEAD. Raises the errors of `DeliveryLimits` and `ContentOpener`."""
        delivery, limits = self._delivery, self._delivery.limits
        address = network_of(request.client.host if request.client else "")
        with ExitStack() as stack:
            if request.method == "GET":
                stack.enter_context(limits.connection(f"user:{key.user_id}", address))
                await limits.check_traffic()
            content = await delivery.look(link)
            if link.file and link.file.sha256 and content.etag == etag_of(link.file.sha256):
                content.modified = link.file.added_at // 1000  # as in listings
            response = ContentResponse(
                content,
                inline=True,
                headers=headers,
                report=lambda size: delivery.sent("", address, size, content.size),
                stop=lambda: self._until_revoked(key.id),
            )
            await response(request.scope, receive, send)

    async def _until_revoked(self, key_id: str) -> Never:
        """Wait until the key does not work any more; raises `Forbidden` then."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                await self._keys.working_key(key_id)
            except Unavailable:
                continue
