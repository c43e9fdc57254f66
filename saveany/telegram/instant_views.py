"""Telegram's own views of linked pages. With a message it sends a long one in part: only the first files."""

from __future__ import annotations

import time
from typing import Any

from telethon import errors as tg
from telethon.tl import functions, types

from saveany.telegram.client import MtprotoClient
from saveany.telegram.errors import ErrorKind, kind_of

#: Number of views that are kept, at least one for each message of a page of a history, and for how many
#: seconds. So a page that is read again after a flood wait does not request them all again.
_KEPT, _KEPT_SECONDS = 200, 3600.0


class InstantViews:
    """The whole views, as one account sees them. Each takes a request."""

    def __init__(self, client: MtprotoClient) -> None:
        self._client = client
        self._kept: dict[str, tuple[float, types.Page]] = {}  # by URL: until when, and the files

    async def whole(self, page: types.WebPage) -> types.Page:
        """The whole view of a page; its beginning if Telegram does not show the rest."""
        until, view = self._kept.get(page.url, (0.0, page.cached_page))
        if until > time.monotonic():
            return view
        try:
            reply = await self._client.call(functions.messages.GetWebPageRequest(page.url, hash=0))
        except tg.RPCError as error:
            if kind_of(type(error)) is not ErrorKind.FAIL:
                raise
        else:
            view = getattr(reply.webpage, "cached_page", None) or page.cached_page
        view = types.Page(view.url, [], view.photos, view.documents)
        self.forget(page)
        self._kept[page.url] = time.monotonic() + _KEPT_SECONDS, view
        for oldest in list(self._kept)[:-_KEPT]:
            del self._kept[oldest]
        return view

    def forget(self, page: types.WebPage) -> None:
        """Request the view of a page anew the next time: references to its files may have expired."""
        self._kept.pop(page.url, None)


def page_in_part(message: Any) -> types.WebPage | None:
    """The linked page of a message, if only the beginning of its view came with the message."""
    page = getattr(getattr(message, "media", None), "webpage", None)
    view = getattr(page, "cached_page", None)
    return page if view is not None and view.part else None
