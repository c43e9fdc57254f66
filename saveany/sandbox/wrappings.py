"""Media that carry files in another way than as a message's own photo or document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from telethon.tl import types as tl

from saveany.sandbox.model import EPOCH, StoredFile, Wrapping

if TYPE_CHECKING:
    from saveany.sandbox.view import AccountView

#: What the service messages say.
_ACTIONS = ("chat photo", "suggested photo", "wallpaper")
_PRICE = 50


def media(view: AccountView, wrapping: Wrapping) -> Any:
    """The media of a message that carries files so; None if they are not its media."""
    show = _MEDIA.get(wrapping.how)
    return show(view, wrapping) if show else None


def action(view: AccountView, wrapping: Wrapping) -> Any:
    """What a service message that carries files says has happened."""
    file = view.file(wrapping.files[0])
    if wrapping.how == "chat photo":
        return tl.MessageActionChatEditPhoto(file)
    if wrapping.how == "suggested photo":
        return tl.MessageActionSuggestProfilePhoto(file)
    return tl.MessageActionSetChatWallPaper(tl.WallPaper(1, 1, "paper", file))


def rich_text(view: AccountView, wrapping: Wrapping) -> Any:
    """The text of a message that has pictures and files within it."""
    if wrapping.how != "rich text":
        return None
    shown = _shown(view, wrapping)
    return tl.RichMessage([], shown["photo"], shown["document"])


def story(view: AccountView, number: int, file: Any) -> Any:
    """A `storyItem`."""
    return tl.StoryItem(number, EPOCH, EPOCH, view.media(file))


def _extended(view: AccountView, wrapping: Wrapping) -> list[Any]:
    """What has to be paid for: as such to those who have."""
    if wrapping.buyers is None or view.account.id in wrapping.buyers:
        return [tl.MessageExtendedMedia(view.media(file)) for file in wrapping.files]
    return [tl.MessageExtendedMediaPreview(640, 480) for _ in wrapping.files]


def _paid(view: AccountView, wrapping: Wrapping) -> Any:
    return tl.MessageMediaPaidMedia(_PRICE, _extended(view, wrapping))


def _invoice(view: AccountView, wrapping: Wrapping) -> Any:
    (extended,) = _extended(view, wrapping)
    return tl.MessageMediaInvoice("Title", "About it", "EUR", 500, "start", extended_media=extended)


def _product(view: AccountView, wrapping: Wrapping) -> Any:
    """An invoice with a picture of what it is for, which lies in the web."""
    (file,) = wrapping.files
    access_hash = view.world.access_hash(view.account, file.id)
    shown = tl.WebDocument(web_url(file), access_hash, file.content.size, file.mime, list(file.attributes))
    return tl.MessageMediaInvoice("Title", "About it", "EUR", 500, "start", photo=shown)


def web_url(file: StoredFile) -> str:
    """Where a file lies in the web."""
    return f"https://shop.example/{file.id}"


def _shown(view: AccountView, wrapping: Wrapping) -> dict[str, list[Any]]:
    """Its photos and its documents."""
    found: dict[str, list[Any]] = {"photo": [], "document": []}
    for file in wrapping.files:
        found["photo" if file.pictures else "document"].append(view.file(file))
    return found


def _one_each(view: AccountView, wrapping: Wrapping) -> dict[str, Any]:
    return {kind: (files or [None])[0] for kind, files in _shown(view, wrapping).items()}


def _preview(view: AccountView, wrapping: Wrapping) -> Any:
    page = tl.WebPage(1, "https://example.com/", "example.com", 0, **_one_each(view, wrapping))
    return tl.MessageMediaWebPage(page)


def _game(view: AccountView, wrapping: Wrapping) -> Any:
    shown = _one_each(view, wrapping)
    photo = shown["photo"] or tl.PhotoEmpty(0)
    return tl.MessageMediaGame(tl.Game(1, 1, "game", "A game", "About it", photo, shown["document"]))


def _story(view: AccountView, wrapping: Wrapping) -> Any:
    """As the service sends it mostly: without what it shows, which has to be asked for."""
    owner, number = wrapping.story or (0, 0)
    peer = tl.PeerUser(owner) if owner in view.world.accounts else tl.PeerChannel(owner)
    shown = story(view, number, wrapping.files[0]) if wrapping.files else None
    return tl.MessageMediaStory(peer, number, story=shown)


def _poll(view: AccountView, wrapping: Wrapping) -> Any:
    attached, *others = map(view.media, wrapping.files)
    texts = (tl.TextWithEntities(f"Answer {number}", []) for number in range(1, 100))
    answers = [
        tl.PollAnswer(text, b"%d" % number, media=each)
        for number, (text, each) in enumerate(zip(texts, [*others, None], strict=False))
    ]
    poll = tl.Poll(1, tl.TextWithEntities("Which?", []), answers, 0)
    return tl.MessageMediaPoll(poll, tl.PollResults(), attached_media=attached)


_MEDIA: Mapping[str, Callable[[AccountView, Wrapping], Any]] = {
    "paid": _paid,
    "invoice": _invoice,
    "product": _product,
    "preview": _preview,
    "game": _game,
    "story": _story,
    "poll": _poll,
}
