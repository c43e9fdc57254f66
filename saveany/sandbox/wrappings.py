"""Files in other places than a message's photo or document: paid media, invoices, stories, polls and more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from telethon.tl import types as tl

from saveany.sandbox import access
from saveany.sandbox.model import EPOCH, SandboxAccount, StoredFile, Wrapping
from saveany.sandbox.world import World

_PRICE = 50
#: The linked pages: their addresses contain the ids of their files.
_PAGES = "https://example.com/"


class FileView(Protocol):
    """The part of `view.WorldView` that is needed here."""

    @property
    def world(self) -> World:
        """The state of the sandbox."""

    @property
    def account(self) -> SandboxAccount:
        """The account that looks at it."""

    def file(self, file: StoredFile) -> Any:
        """A `photo` or `document`."""

    def media(self, file: StoredFile) -> Any:
        """A `messageMediaPhoto` or `messageMediaDocument`."""


def media(view: FileView, wrapping: Wrapping) -> Any:
    """The media of a message with these files; None if they are not part of its media."""
    show = _MEDIA.get(wrapping.how)
    return show(view, wrapping) if show else None


def action(view: FileView, wrapping: Wrapping) -> Any:
    """The action of a service message with these files."""
    file = view.file(wrapping.files[0])
    if wrapping.how == "chat photo":
        return tl.MessageActionChatEditPhoto(file)
    if wrapping.how == "suggested photo":
        return tl.MessageActionSuggestProfilePhoto(file)
    return tl.MessageActionSetChatWallPaper(tl.WallPaper(1, 1, "paper", file))


def rich_text(view: FileView, wrapping: Wrapping, *, whole: bool = False) -> Any:
    """The rich text of a message, with embedded pictures and files; None for other kinds. A long one is sent
    with the first file only, unless the `whole` one is requested."""
    if wrapping.how not in ("rich text", "long rich text"):
        return None
    part = wrapping.how == "long rich text" and not whole
    shown = _shown(view, replace(wrapping, files=wrapping.files[:1]) if part else wrapping)
    return tl.RichMessage([], shown["photo"], shown["document"], part=part or None)


def story(view: FileView, number: int, file: Any) -> Any:
    """A `storyItem`."""
    return tl.StoryItem(number, EPOCH, EPOCH, view.media(file))


def _extended(view: FileView, wrapping: Wrapping) -> list[Any]:
    """Paid media: the files for accounts that have paid, placeholders for others."""
    if wrapping.buyers is None or view.account.id in wrapping.buyers:
        return [tl.MessageExtendedMedia(view.media(file)) for file in wrapping.files]
    return [tl.MessageExtendedMediaPreview(640, 480) for _ in wrapping.files]


def _paid(view: FileView, wrapping: Wrapping) -> Any:
    return tl.MessageMediaPaidMedia(_PRICE, _extended(view, wrapping))


def _invoice(view: FileView, wrapping: Wrapping) -> Any:
    (extended,) = _extended(view, wrapping)
    return tl.MessageMediaInvoice("Title", "About it", "EUR", 500, "start", extended_media=extended)


def _product(view: FileView, wrapping: Wrapping) -> Any:
    """An invoice with a picture of the product, which is stored on the web."""
    (file,) = wrapping.files
    access_hash = access.access_hash(view.account, file.id)
    shown = tl.WebDocument(web_url(file), access_hash, file.content.size, file.mime, list(file.attributes))
    return tl.MessageMediaInvoice("Title", "About it", "EUR", 500, "start", photo=shown)


def web_url(file: StoredFile) -> str:
    """The address of a file on the web."""
    return f"https://shop.example/{file.id}"


def _shown(view: FileView, wrapping: Wrapping) -> dict[str, list[Any]]:
    """The files, by kind."""
    found: dict[str, list[Any]] = {"photo": [], "document": []}
    for file in wrapping.files:
        found["photo" if file.pictures else "document"].append(view.file(file))
    return found


def _one_each(view: FileView, wrapping: Wrapping) -> dict[str, Any]:
    return {kind: (files or [None])[0] for kind, files in _shown(view, wrapping).items()}


def _preview(view: FileView, wrapping: Wrapping) -> Any:
    page = tl.WebPage(1, "https://example.com/", "example.com", 0, **_one_each(view, wrapping))
    return tl.MessageMediaWebPage(page)


def web_page(view: FileView, wrapping: Wrapping, *, whole: bool = False) -> Any:
    """A linked page that Telegram shows by itself. The first file is that of the preview, too. A long one is
    sent with this file only, unless the `whole` one is requested."""
    part = wrapping.how == "long instant view" and not whole
    only_first = replace(wrapping, files=wrapping.files[:1])
    shown = _shown(view, only_first if part else wrapping)
    url = f"{_PAGES}{'-'.join(str(each.id) for each in wrapping.files)}"
    page = tl.Page(url, [], shown["photo"], shown["document"], part=part or None)
    first = _one_each(view, only_first)
    return tl.WebPage(1, url, "example.com", 0, cached_page=page, **first)


def files_of_page(world: World, url: str) -> tuple[StoredFile, ...]:
    """The files of the page at this address; none if there is no such page."""
    ids = url.removeprefix(_PAGES).split("-")
    found = [world.files.get(int(each)) for each in ids if each.isdecimal()]
    return tuple(each for each in found if each)


def _instant_view(view: FileView, wrapping: Wrapping) -> Any:
    return tl.MessageMediaWebPage(web_page(view, wrapping))


def _game(view: FileView, wrapping: Wrapping) -> Any:
    shown = _one_each(view, wrapping)
    photo = shown["photo"] or tl.PhotoEmpty(0)
    return tl.MessageMediaGame(tl.Game(1, 1, "game", "A game", "About it", photo, shown["document"]))


def _story(view: FileView, wrapping: Wrapping) -> Any:
    """A quoted story. As the service usually does, it is sent without its contents unless it has files."""
    owner, number = wrapping.story or (0, 0)
    peer = tl.PeerUser(owner) if owner in view.world.accounts else tl.PeerChannel(owner)
    shown = story(view, number, wrapping.files[0]) if wrapping.files else None
    return tl.MessageMediaStory(peer, number, story=shown)


def _poll(view: FileView, wrapping: Wrapping) -> Any:
    attached, *others = map(view.media, wrapping.files)
    texts = (tl.TextWithEntities(f"Answer {number}", []) for number in range(1, 100))
    answers = [
        tl.PollAnswer(text, b"%d" % number, media=each)
        for number, (text, each) in enumerate(zip(texts, [*others, None], strict=False))
    ]
    poll = tl.Poll(1, tl.TextWithEntities("Which?", []), answers, 0)
    return tl.MessageMediaPoll(poll, tl.PollResults(), attached_media=attached)


_MEDIA: Mapping[str, Callable[[FileView, Wrapping], Any]] = {
    "paid": _paid,
    "invoice": _invoice,
    "product": _product,
    "preview": _preview,
    "instant view": _instant_view,
    "long instant view": _instant_view,
    "game": _game,
    "story": _story,
    "poll": _poll,
}
