"""Where a wish becomes a task: the one place that decides what is accepted, for the API, the bot and the CLI.

Checked here is what can be known at once: the link's syntax, the user, the storage, the names. What needs
Telegram or the network is the worker's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from saveany.config import Config, User
from saveany.config.hints import did_you_mean
from saveany.errors import Forbidden, InvalidInput, NotFound
from saveany.models import OnConflict, TaskSpec
from saveany.net.guard import AddressGuard
from saveany.planning.names import safe_name
from saveany.planning.paths import folder
from saveany.sources import SOURCES, SOURCES_BY_TYPE, SourceSpec
from saveany.store.tasks import new_id
from saveany.telegram import links


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What someone asked for, in their own words; the defaults stand for what they left out."""

    links: Sequence[str]  # at least one
    type: str = ""  # left out: the first source that claims the link
    user_id: int | None = None  # left out: the first configured user
    storage: str = ""  # left out: the first storage of the user
    folder: str = ""
    filename: str = ""
    on_conflict: OnConflict = OnConflict.RENAME
    priority: int = 0
    webhook_url: str = ""


def intake(config: Config, wish: Wish) -> TaskSpec:
    """The task that fulfils `wish`, with a fresh id; nothing is stored yet.

    Raises `InvalidInput` (its `field` is named as in the API: `telegram_url`, `type`, `dir_path`,
    `filename`, `webhook_url`), `Forbidden` for a user or a storage that may not be used, `NotFound` for an
    unknown storage.
    """
    source = _source(wish)
    canonical = _canonical(wish.links)
    user = _user(config, wish.user_id)
    return TaskSpec(
        id=new_id(),
        type=source.type,
        links=canonical,
        user_id=user.id,
        storage=_storage(config, user, wish.storage),
        path=folder(wish.folder),
        filename=_filename(wish),
        on_conflict=wish.on_conflict,
        priority=wish.priority,
        webhook_url=_webhook(config, wish.webhook_url),
    )


def source_of(type_: str) -> SourceSpec:
    """The source of that name. Raises `InvalidInput` if there is none, or none yet."""
    source = SOURCES_BY_TYPE.get(type_)
    usable = ", ".join(spec.type for spec in SOURCES if spec.available)
    if source is None:
        hint = did_you_mean(type_, SOURCES_BY_TYPE) or f"there are: {usable}"
        raise InvalidInput(f"there is no task type {type_!r}; {hint}", "type")
    if not source.available:
        raise InvalidInput(
            f"task type {type_!r} is not available in this version; there are: {usable}", "type"
        )
    return source


def _source(wish: Wish) -> SourceSpec:
    if wish.type:
        return source_of(wish.type)
    link = wish.links[0]
    for source in SOURCES:
        if source.available and source.claims(link):
            return source
    raise InvalidInput(
        "nothing here can take this link; give the link of a Telegram message, such as https://t.me/channel/123",
        "telegram_url",
    )


def _canonical(texts: Sequence[str]) -> tuple[str, ...]:
    """The links in their usual spelling, each once: the same message is not fetched twice for one task."""
    return tuple(dict.fromkeys(_message_link(text, alone=len(texts) == 1) for text in texts))


def _message_link(text: str, *, alone: bool) -> str:
    try:
        return links.parse(text).url
    except InvalidInput as error:
        if alone:
            raise
        raise InvalidInput(f"{text[:200]}: {error}", error.field) from error


def _user(config: Config, user_id: int | None) -> User:
    if user_id is None:
        if not config.users:
            raise Forbidden("no user is configured; add a [[users]] table to config.toml")
        return config.users[0]
    user = config.user(user_id)
    if user is None:
        raise Forbidden(
            f"user {user_id} is not configured; add [[users]] with id = {user_id} to config.toml, or use "
            "the id of a configured user"
        )
    return user


def _storage(config: Config, user: User, name: str) -> str:
    allowed = config.allowed_storages(user)
    if not allowed:
        raise Forbidden(f"user {user.id} may use no storage; see [[storages]] and [[users]] in config.toml")
    if not name:
        return allowed[0]
    if config.storage(name) is None:
        raise NotFound(f"there is no storage {name!r}; user {user.id} may use: {', '.join(allowed)}")
    if name not in allowed:
        raise Forbidden(f"user {user.id} may not use storage {name!r}, but: {', '.join(allowed)}")
    return name


def _filename(wish: Wish) -> str:
    name = wish.filename
    if not name:
        return ""
    if "/" in name or "\\" in name or not name.strip(". "):
        raise InvalidInput(
            "the file name must be one name, without folders; folders go into dir_path", "filename"
        )
    if len(wish.links) > 1:
        raise InvalidInput("one file name does not do for several links; leave it out", "filename")
    return safe_name(name)


def _webhook(config: Config, url: str) -> str:
    if url:
        AddressGuard(config.net.allow).check_url(url)
    return url
