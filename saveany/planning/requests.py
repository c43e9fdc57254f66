"""Turns a request for a task into its specification; every request passes through here.

It checks everything that needs no network: the syntax of the links, the storage, the names. The worker checks
the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from saveany.config import Config, User
from saveany.config.schema import PRIVATE_CHATS
from saveany.errors import Forbidden, InvalidInput, NotFound
from saveany.models import OnConflict, OnDuplicate, Rule, TaskSpec
from saveany.net.guard import AddressGuard
from saveany.planning.names import safe_name
from saveany.planning.paths import folder
from saveany.planning.source_choice import canonical_links, source_for, source_of
from saveany.preferences import Preferences
from saveany.sources import INBOX, LIVE, SourceSpec, sources
from saveany.telegram import links as telegram
from saveany.texts import Text

_NO_PREFERENCES = Preferences()


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """A file that was uploaded to this machine."""

    id: str  # of the upload, and of its task
    storage: str  # that contains it (`saveany.storage_set.uploads_of`), under its id as the name
    name: str
    mime: str = ""
    sha256: str = ""  # "": not known
    sha1: str = ""  # "": not known
    #: Size, and time of its last change in milliseconds, if it has another name outside of the uploads.
    linked: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxFile:
    """A file in a watched folder."""

    machine: str
    path: str  # for people
    params: Mapping[str, Any]  # with which a worker of the machine finds it


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """A request for a task. An empty field is filled in from the user's preferences and rules."""

    links: Sequence[str] = ()  # at least one, unless there is an `upload`
    upload: UploadedFile | None = None
    inbox: InboxFile | None = None  # the same
    live: Mapping[str, Any] | None = None  # the stream to record in the chat that is the only link
    type: str = ""  # "": the first source that claims the first link
    user_id: int | None = None  # whose task it is; None: the caller's own
    storage: str = ""
    folder: str = ""  # inside the storage; "/" is its root
    folder_id: int | None = None  # the user's folder in the catalogue, 0 is the root; replaces `folder`
    subfolder: str = ""  # below that folder; a safe name
    filename: str = ""
    on_conflict: OnConflict | None = None
    on_duplicate: OnDuplicate | None = None
    priority: int = 0
    webhook_url: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)  # `Params.extras` of the source
    id: str = ""  # of the task, if it was chosen before; a task that exists is not created again
    archive_id: str = ""  # of the archive that the task is part of
    account: str = ""  # the user account whose private chat the links lead into; only archives name one
    to_private_chat: bool = False  # send the files to the user's private chat with the bot, not to a storage


def plan_request(
    config: Config,
    user: User,
    request: TaskRequest,
    preferences: Preferences = _NO_PREFERENCES,
    *,
    task_id: str,
    group: int = 0,
) -> TaskSpec:
    """The specification of the task `task_id` for `user`, who has these preferences. Stores nothing.

    `group` is the marked id of the group in which the bot was asked, 0 if it was not asked in a group.
    Raises `InvalidInput` (its `field` is the name of a field of `TaskRequest`), `Forbidden` for a storage or
    a message that `user` may not use, `NotFound` for an unknown storage.
    """
    source, links = _source_and_links(config, request)
    storage = PRIVATE_CHATS if request.to_private_chat else _target(config, user, request, preferences)
    if not request.account and not request.live and not request.inbox:
        check_private_chats(links, user, group)
    source_storage = _source_storage(config, user, request)
    if source_storage and not request.upload:  # files of another storage keep their names and folders
        preferences = replace(preferences, template="", rules=())
    if request.inbox:  # its files keep their names
        preferences = replace(preferences, template="")
    return TaskSpec(
        id=task_id,
        type=source.type,
        links=links,
        user_id=user.id,
        storage=storage,
        params=_params(request),
        source_storage=source_storage,
        machine=request.inbox.machine if request.inbox else "",
        path=str(user.id) if request.to_private_chat else _path(request, preferences, storage),
        filename=_filename(request),
        template="" if request.filename else preferences.template,
        rules=_rules(config.allowed_storages(user), request, preferences),
        on_conflict=request.on_conflict or _conflict_policy(preferences),
        on_duplicate=_duplicate_policy(request, preferences, source_storage),
        priority=request.priority,
        webhook_url=_webhook(config, request.webhook_url),
        folder_id=request.folder_id or 0,
        archive_id=request.archive_id,
        account=request.account,
    )


def destination(
    config: Config, user: User, request: TaskRequest, preferences: Preferences
) -> tuple[str, str]:
    """The storage and the folder of the files of a request, unless a rule chooses others. Raises as
    `plan_request`."""
    storage = _target(config, user, request, preferences)
    return storage, _path(request, preferences, storage)


def _source_and_links(config: Config, request: TaskRequest) -> tuple[SourceSpec, tuple[str, ...]]:
    if request.upload:
        return sources()["upload"], (request.upload.id,)
    if request.inbox:
        return sources()[INBOX], (request.inbox.path,)
    if request.live:
        return sources()[LIVE], tuple(request.links)
    source = source_of(config, request.type) if request.type else source_for(config, request.links[0])
    return source, canonical_links(config, source, request.links)


def _params(request: TaskRequest) -> dict[str, Any]:
    if request.upload:
        return _upload_params(request.upload)
    return dict(request.inbox.params if request.inbox else request.live or request.params)


def _upload_params(upload: UploadedFile) -> dict[str, Any]:
    found: dict[str, Any] = {"name": safe_name(upload.name), "mime": upload.mime}
    found |= {"sha256": upload.sha256, "sha1": upload.sha1, "linked": upload.linked}
    return {name: value for name, value in found.items() if value}


def _target(config: Config, user: User, request: TaskRequest, preferences: Preferences) -> str:
    """The requested storage, else the user's default storage if it is still allowed."""
    default = preferences.storage if preferences.storage in config.allowed_storages(user) else ""
    return chosen_storage(config, user, request.storage or default)


def _path(request: TaskRequest, preferences: Preferences, storage: str) -> str:
    """The requested folder, else the user's default folder if that is in `storage`."""
    default = preferences.folder if preferences.storage in (request.storage, storage) else ""
    chosen = folder(request.folder or default)
    return folder(f"{chosen}/{request.subfolder}") if request.subfolder else chosen


def _conflict_policy(preferences: Preferences) -> OnConflict:
    """The user's policy. "ask" keeps both files: the bot has asked already where it can."""
    chosen = preferences.on_conflict
    return OnConflict.RENAME if chosen in ("", "ask") else OnConflict(chosen)


def _duplicate_policy(request: TaskRequest, preferences: Preferences, source_storage: str) -> OnDuplicate:
    """The requested policy, else that of the user. A file that is to be in another place as well is always
    saved."""
    is_transfer = source_storage and not request.upload
    if request.to_private_chat or is_transfer or request.live:
        return OnDuplicate.SAVE
    return request.on_duplicate or OnDuplicate(preferences.on_duplicate or OnDuplicate.SAVE)


def _rules(allowed: Sequence[str], request: TaskRequest, preferences: Preferences) -> tuple[Rule, ...]:
    """The user's rules, without the parts that the request decides and without forbidden storages."""
    decided = request.to_private_chat or (request.storage and request.folder)
    if decided or not preferences.rules_on:
        return ()
    storages = set() if request.storage else set(allowed)
    return tuple(
        replace(
            rule,
            storage=rule.storage if rule.storage in storages else "",
            folder="" if request.folder else rule.folder,
        )
        for rule in preferences.rules
    )


def check_private_chats(links: Sequence[str], user: User, group: int = 0) -> None:
    """Raise `Forbidden` for a link to a message that another user has sent to the bot, or that is in another
    group: no role may read it."""
    chats = {telegram.parse(link).bot_chat_id for link in links if link.startswith(telegram.BOT_CHAT_PREFIX)}
    if chats - {user.id, group}:
        raise Forbidden(
            "this link points to another user's private chat with the bot; send the message to the bot "
            "yourself"
        )


def _source_storage(config: Config, user: User, request: TaskRequest) -> str:
    """The storage that the files are read from; "" if the source is not a storage."""
    if request.upload:
        return request.upload.storage
    name = str(request.params.get("source_storage", ""))
    return chosen_storage(config, user, name) if name else ""


def chosen_storage(config: Config, user: User, name: str) -> str:
    """`name`, or the user's first storage if it is "". Raises `Forbidden` or `NotFound`."""
    allowed = config.allowed_storages(user)
    if not allowed:
        raise Forbidden(
            "user {user} may use no storage; see [[storages]] and [[users]] in config.toml", user=user.id
        )
    if not name:
        return allowed[0]
    fields: dict[str, str | int] = {"name": name, "user": user.id, "allowed": ", ".join(allowed)}
    if config.storage(name) is None:
        raise NotFound("there is no storage {name!r}; user {user} may use: {allowed}", **fields)
    if name not in allowed:
        raise Forbidden("user {user} may not use storage {name!r}; allowed: {allowed}", **fields)
    return name


def _filename(request: TaskRequest) -> str:
    name = request.filename
    if not name:
        return ""
    if "/" in name or "\\" in name or not name.strip(". "):
        raise InvalidInput(
            "the file name must be one name without folders; give the folder separately", "filename"
        )
    if len(request.links) > 1:
        raise InvalidInput("a file name can only be used with a single link; leave it out", "filename")
    return safe_name(name)


def _webhook(config: Config, url: str) -> str:
    if url:
        AddressGuard(config.net.allow, name=Text("webhook URL"), field="webhook_url").check_url(url)
    return url
