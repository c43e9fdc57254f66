"""Renders links as messages. All functions are pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from saveany.bot.render import clip, is_button_url, size
from saveany.bot.texts import HtmlTranslator, escape
from saveany.catalogue.link_models import Link, State
from saveany.service.links import LinkUrls
from saveany.telegram.update_types import Button, Keyboard

#: Maximum lengths of a name, also in a list, and of a URL that contains the name, in characters.
_MAX_NAME, _MAX_LISTED, _MAX_URL = 120, 60, 300

_ICONS: Final = {
    State.ACTIVE: "🔗",
    State.EXPIRED: "⌛",
    State.REVOKED: "🚫",
    State.USED_UP: "⏹",
    State.GONE: "🗑",
}


def link_view(t: HtmlTranslator, link: Link, base: str, *, is_public: bool) -> tuple[str, Keyboard]:
    """One link with its buttons. `base` is the URL of the API; `is_public` says that others reach it."""
    urls = LinkUrls(base, link)
    url = urls.download if len(urls.download) <= _MAX_URL else urls.short
    lines = [f"{_ICONS[link.state]} <b>{escape(clip(link.name, _MAX_NAME))}</b>"]
    if (count := _size(link)) is not None:
        lines.append(size(count))
    lines.append(escape(url) if link.state is State.ACTIVE else f"<s>{escape(urls.short)}</s>")
    lines += [_state(t, link), *_use(t, link)]
    if not is_public:
        lines.append(_hint(t))
    page = [Button(t("Open page"), url=urls.page)]
    first = page if link.state is State.ACTIVE and is_button_url(urls.page) else []
    rows = [first, _changes(t, link), [Button(t("My links"), "ln:p:me:")]]
    return "\n".join(lines), tuple(tuple(row) for row in rows if row)


def new_links(
    t: HtmlTranslator, links: Sequence[Link], base: str, *, is_public: bool
) -> tuple[str, Keyboard]:
    """Several links that were just made, with their URLs."""
    lines = []
    for n, link in enumerate(links, 1):
        count = _size(link)
        shown = f" ({size(count)})" if count is not None else ""
        lines.append(f"{n}. {escape(clip(link.name, _MAX_LISTED))}{shown}")
        lines.append(escape(LinkUrls(base, link).short))
    lines.append(_state(t, min(links, key=lambda link: link.expires_at or math.inf)))
    if not is_public:
        lines.append(_hint(t))
    return "\n".join(lines), number_buttons(links)


def link_line(t: HtmlTranslator, link: Link, n: int) -> str:
    """A link in a numbered list."""
    parts = [f"{n}. {_ICONS[link.state]} {escape(clip(link.name, _MAX_LISTED))}", _state(t, link)]
    parts += _use(t, link)
    return " · ".join(parts)


def number_buttons(links: Sequence[Link]) -> Keyboard:
    """Buttons that show each link of a list."""
    buttons = [Button(f"🔗 {n}", f"ln:v:{link.token}") for n, link in enumerate(links, 1)]
    return tuple(tuple(buttons[start : start + 5]) for start in range(0, len(buttons), 5))


def _changes(t: HtmlTranslator, link: Link) -> list[Button]:
    """What can be done with a link, by its state."""
    extend = Button(t("Extend"), f"ln:e:{link.token}")
    revive = Button(t("Reactivate"), f"ln:a:{link.token}")
    delete = Button(t("Delete"), f"ln:d:{link.token}")
    active = [Button(t("Revoke"), f"ln:r:{link.token}")]
    if link.expires_at is not None:
        active.append(extend)
    buttons = {
        State.ACTIVE: active,
        State.EXPIRED: [extend],
        State.REVOKED: [revive],
        State.USED_UP: [revive],
        State.GONE: [],
    }
    return [*buttons[link.state], delete]


def _state(t: HtmlTranslator, link: Link) -> str:
    if link.state is State.ACTIVE:
        if link.expires_at is None:
            return t("works without end")
        return t("works until {time}", time=_time(link.expires_at))
    states = {
        State.EXPIRED: t("has expired"),
        State.REVOKED: t("revoked"),
        State.USED_UP: t("used up"),
        State.GONE: t("the file was deleted"),
    }
    return states[link.state]


def _use(t: HtmlTranslator, link: Link) -> list[str]:
    if link.max_downloads is not None:
        return [t("{n} of {maximum} downloads", n=link.downloads, maximum=link.max_downloads)]
    if not link.downloads:
        return []
    return [t.plural("{n} download", "{n} downloads", link.downloads)]


def _size(link: Link) -> int | None:
    """The size of the file; None for a folder."""
    found = link.file or link.media
    return found.size if found else None


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _hint(t: HtmlTranslator) -> str:
    return "💡 " + t("Perhaps only my network reaches this address. The operator can set api.public_url.")
