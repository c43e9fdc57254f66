"""Where a wish becomes a task: the one place that decides what is accepted, for the API, the bot and the CLI.

Checked here is what can be known at once: the link's syntax, the user, the storage, the names. What needs
Telegram or the network is the worker's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from saveany import advice
from saveany.config import Config, User
from saveany.config.hints import did_you_mean
from saveany.config.schema import PRIVATE_CHATS
from saveany.errors import Forbidden, InvalidInput, NotFound
from saveany.models import OnConflict, Rule, TaskSpec
from saveany.net.guard import AddressGuard
from saveany.planning.names import safe_name
from saveany.planning.paths import folder
from saveany.sources import SourceSpec, sources
from saveany.store.preferences import Preferences
from saveany.store.tasks import new_id
from saveany.telegram import links as telegram

_NO_PREFS = Preferences()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """What someone asked for, in their own words; the defaults stand for what they left out."""

    links: Sequence[str]  # at least one
    type: str = ""  # left out: the first source that claims the link
    user_id: int | None = None  # left out: the first configured user
    # Left out, these are as the user's preferences have them: rules and the template decide only on what
    # nobody has asked for.
    storage: str = ""
    folder: str = ""  # "/" is the root of the storage
    filename: str = ""
    on_conflict: OnConflict | None = None
    priority: int = 0
    webhook_url: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)  # `Params.extras` of the source
    #: Marked id of the group in which the bot was asked: what was said there may be linked to.
    talk: int = 0
    #: Into the user's own talk with the bot, in place of a storage.
    send: bool = False


def plan_request(config: Config, wish: TaskRequest, prefs: Preferences = _NO_PREFS) -> TaskSpec:
    """The task that fulfils `wish` of a user with these preferences, with a fresh id; nothing is stored yet.

    Raises `InvalidInput` (its `field` is named as in the API: `telegram_url`, `type`, `dir_path`,
    `filename`, `webhook_url`), `Forbidden` for a user or a storage that may not be used, `NotFound` for an
    unknown storage.
    """
    source = _source(config, wish)
    canonical = _canonical(config, source, wish.links)
    user = _user(config, wish.user_id)
    storage = PRIVATE_CHATS if wish.send else _target(config, user, wish, prefs)
    _check_talks(canonical, user, wish)
    taken_from = _source_storage(config, user, wish.params)
    mine = prefs if not taken_from else replace(prefs, template="", rules=())  # a tree stays as it is
    return TaskSpec(
        id=new_id(),
        type=source.type,
        links=canonical,
        user_id=user.id,
        storage=storage,
        params=dict(wish.params),
        source_storage=taken_from,
        path=str(user.id) if wish.send else _path(wish, prefs, storage),
        filename=_filename(wish),
        template="" if wish.filename else mine.template,
        rules=_rules(config.allowed_storages(user), wish, mine),
        on_conflict=wish.on_conflict or _policy(prefs),
        priority=wish.priority,
        webhook_url=_webhook(config, wish.webhook_url),
    )


def source_for(config: Config, link: str) -> SourceSpec:
    """The first source that takes the link. Raises `InvalidInput` if there is none."""
    return _source(config, TaskRequest(links=[link]))


def source_of(config: Config, type_: str) -> SourceSpec:
    """The source of that name. Raises `InvalidInput` if there is none, or if it is switched off."""
    known = sources()
    source = known.get(type_)
    if source is None:
        usable = ", ".join(spec.type for spec in known.values() if is_enabled(config, spec))
        hint = did_you_mean(type_, known) or f"there are: {usable}"
        raise InvalidInput(f"there is no task type {type_!r}; {hint}", "type")
    if not is_enabled(config, source):
        raise InvalidInput(f"task type {type_!r} is switched off; {how_to_enable(source)}", "type")
    return source


def how_to_enable(source: SourceSpec) -> str:
    """What to do so that a source can be used that is switched off."""
    command = advice.command(f"config set {source.table}.enable true")
    return f"set enable = true in [{source.table}] of config.toml ({command}), and start SaveAny again"


def is_enabled(config: Config, source: SourceSpec) -> bool:
    """Whether the configuration lets that source be used."""
    return not source.table or bool(getattr(config, source.table).enable)


def _source(config: Config, wish: TaskRequest) -> SourceSpec:
    if wish.type:
        return source_of(config, wish.type)
    link = wish.links[0]
    claiming = [source for source in sources().values() if source.claims(link)]
    if claiming and is_enabled(config, claiming[0]):
        return claiming[0]
    if claiming:
        raise InvalidInput(_switched_off(config, *claiming), "telegram_url")
    raise InvalidInput(
        "nothing here can take this link; give the link of a Telegram message, such as "
        "https://t.me/channel/123, or the URL of a file",
        "telegram_url",
    )


def _switched_off(config: Config, source: SourceSpec, *others: SourceSpec) -> str:
    """A source that is switched off is not replaced by another one without a word: that would save the page
    of a video in place of the video."""
    text = f"this link is for {source.type}, which is switched off; {how_to_enable(source)}"
    other = next((each.type for each in others if is_enabled(config, each)), "")
    return text + (f". Or choose the type {other}, to save what is at the URL itself" if other else "")


def _canonical(config: Config, source: SourceSpec, texts: Sequence[str]) -> tuple[str, ...]:
    """The links in their usual spelling, each once: the same file is not fetched twice for one task."""
    alone = len(texts) == 1
    return tuple(dict.fromkeys(_link(config, source, text, alone=alone) for text in texts))


def _link(config: Config, source: SourceSpec, text: str, *, alone: bool) -> str:
    try:
        return source.canonical(text)
    except InvalidInput as error:
        message = " ".join(filter(None, [error.message, _belongs(config, source, text)]))
        raise InvalidInput(message if alone else f"{text[:200]}: {message}", error.field) from error


def _belongs(config: Config, source: SourceSpec, text: str) -> str:
    """Which other source takes a link that this one refuses, and how; "" if none does."""
    other = next((each for each in sources().values() if each.claims(text)), source)
    if other is source:
        return ""
    if is_enabled(config, other):
        return f"It is a link for {other.type}: give it as url, or choose that type."
    return f"It is a link for {other.type}, which is switched off; {how_to_enable(other)}."


def _target(config: Config, user: User, wish: TaskRequest, prefs: Preferences) -> str:
    """The storage that was asked for, else the user's own choice as long as it may be used."""
    usual = prefs.storage if prefs.storage in config.allowed_storages(user) else ""
    return _storage(config, user, wish.storage or usual)


def _path(wish: TaskRequest, prefs: Preferences, storage: str) -> str:
    """The folder that was asked for, else the user's own, which is in the user's own storage."""
    usual = prefs.folder if prefs.storage in (wish.storage, storage) else ""
    return folder(wish.folder or usual)


def _policy(prefs: Preferences) -> OnConflict:
    """Who wants to be asked, and cannot be, keeps both."""
    return OnConflict.RENAME if prefs.on_conflict in ("", "ask") else OnConflict(prefs.on_conflict)


def _rules(allowed: Sequence[str], wish: TaskRequest, prefs: Preferences) -> tuple[Rule, ...]:
    """The user's rules, as far as nobody has asked for something else. None leads into a storage that the
    user may not use any more."""
    if wish.send or not prefs.rules_on or (wish.storage and wish.folder):
        return ()
    storages = set() if wish.storage else set(allowed)
    return tuple(
        replace(
            rule,
            storage=rule.storage if rule.storage in storages else "",
            folder="" if wish.folder else rule.folder,
        )
        for rule in prefs.rules
    )


def _check_talks(canonical: Sequence[str], user: User, wish: TaskRequest) -> None:
    """What somebody has said to the bot is nobody else's, whatever role they have."""
    talks = {
        telegram.parse(link).bot_chat_id for link in canonical if link.startswith(telegram.BOT_CHAT_PREFIX)
    }
    if talks - {user.id, wish.talk}:
        raise Forbidden(
            "this link leads into somebody else's talk with the bot; send the message to the bot yourself"
        )


def _source_storage(config: Config, user: User, params: Mapping[str, Any]) -> str:
    """The storage that files are taken from, where that is what the task does."""
    name = str(params.get("source_storage", ""))
    return _storage(config, user, name) if name else ""


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


def _filename(wish: TaskRequest) -> str:
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
        AddressGuard(config.net.allow, what="webhook URL", field="webhook_url").check_url(url)
    return url
