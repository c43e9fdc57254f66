"""Making, finding and changing links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from saveany.catalogue import SavedFile
from saveany.catalogue.link_models import Link, LinkPage, LinkTarget
from saveany.config import Config
from saveany.errors import InvalidInput, NotFound, TooMany
from saveany.password_hash import hash_password
from saveany.service.principal import Principal
from saveany.store import Store
from saveany.webhooks.builder import DeliveryBuilder

if TYPE_CHECKING:
    from saveany.catalogue.catalogue import Catalogue

_DAY_MS: Final = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """How a link may be used."""

    ttl: int | None = None  # seconds; None: as configured, 0: without end
    max_downloads: int | None = None
    password: str = ""
    inline: bool = False
    redirect: bool = False


class LinkService:
    """The operations on links. A user sees and changes only links of their own; those of others do not exist
    for them (`NotFound`)."""

    def __init__(self, catalogue: Catalogue, store: Store, config: Config) -> None:
        self._catalogue = catalogue
        self._store = store
        self._config = config.links
        self._deliveries = DeliveryBuilder.of(config, store.db.time_ms)

    async def make(
        self, principal: Principal, user_id: int, target: LinkTarget, options: LinkOptions = LinkOptions()
    ) -> Link:
        """Make a link for a user. Raises `NotFound` if the target does not exist, or is not theirs, and
        `TooMany` if they have made as many as they may in a day."""
        self.check(principal, user_id)
        name = await self._name_of(principal, user_id, target)
        if not principal.is_operator:
            await self._count(user_id)
        link = await self._catalogue.links.make(
            user_id,
            target,
            name,
            expires_at=await self._expiry(options.ttl),
            max_downloads=options.max_downloads,
            password=await hash_password(options.password) if options.password else "",
            inline=options.inline,
            redirect=options.redirect,
        )
        await self._announce(link)
        return link

    async def share(self, principal: Principal, user_id: int, target: LinkTarget) -> Link:
        """A link that anybody may use: one that the user has, if it works for at least half as long as a new
        one, else a new one. Raises as `make`."""
        self.check(principal, user_id)
        await self._name_of(principal, user_id, target)
        days, until = self._config.ttl_days, None
        if days:
            until = await self._store.db.time_ms() + days * _DAY_MS // 2
        if (link := await self._catalogue.links.find(user_id, target, until)) is None:
            return await self.make(principal, user_id, target)
        if link.made_at > await self._store.db.time_ms() - _DAY_MS:
            await self._announce(link)  # whoever made it may have died before
        return link

    async def files_of(self, principal: Principal, task_id: str, start: int, limit: int) -> list[SavedFile]:
        """At most `limit` files that a task has saved, by item, from item `start` on; only those that the
        principal may see."""
        found = await self._catalogue.files.of_task(task_id, start, limit)
        return [file for file in found if principal.may_access(file.user_id)]

    def check(self, principal: Principal, user_id: int) -> None:
        """Raise `NotFound` for a user for whom the principal may not act."""
        if not principal.may_access(user_id):
            raise NotFound("there is no user {id}", id=str(user_id))

    async def get(self, principal: Principal, token: str) -> Link:
        """A link, in whatever state. Raises `NotFound`."""
        link = await self._catalogue.links.get(token)
        if link is None or not principal.may_access(link.user_id):
            raise _unknown()
        return link

    async def page(
        self, principal: Principal, user_id: int | None = None, limit: int = 50, cursor: str = ""
    ) -> LinkPage:
        """At most `limit` links after `cursor`, newest first: those of a user, or all that the principal may
        see. Raises `InvalidInput` for an invalid cursor, and `NotFound` for another user."""
        return await self._catalogue.links.page(principal.visible_user(user_id), limit, cursor)

    async def cursor_after(self, token: str) -> str:
        """The cursor of the page that begins after this link; "", the first page, if it was removed."""
        link = await self._catalogue.links.get(token)
        return self._catalogue.links.cursor_after(link) if link else ""

    async def change(self, principal: Principal, token: str, changes: LinkChanges) -> Link:
        """Change how a link may be used; a new `ttl` counts from now. Raises `NotFound`."""
        await self.get(principal, token)
        columns: dict[str, Any] = {}
        if changes.ttl is not None:
            columns["expires_at"] = await self._expiry(changes.ttl)
        if changes.max_downloads is not None:
            columns["max_downloads"] = changes.max_downloads or None
        if changes.password is not None:
            columns["password"] = await hash_password(changes.password) if changes.password else ""
        if changes.inline is not None:
            columns["inline"] = changes.inline
        if changes.redirect is not None:
            columns["redirect"] = changes.redirect
        if changes.revoked is not None:
            columns["revoked_at"] = await self._store.db.time_ms() if changes.revoked else None
        links = self._catalogue.links
        changed = await (links.change(token, columns) if columns else links.get(token))
        if changed is None:
            raise _unknown()
        return changed

    async def remove(self, principal: Principal, token: str) -> None:
        """Remove a link: it does not work any more, and is not listed. Raises `NotFound`."""
        await self.get(principal, token)
        await self._catalogue.links.remove(token)

    async def _count(self, user_id: int) -> None:
        if not (maximum := self._config.per_day):
            return
        made, seconds = await self._store.openings.count_made(user_id)
        if made > maximum:
            raise TooMany(
                "you have made {number} links today, which is the limit; try again later",
                maximum,
                after=seconds,
                number=maximum,
            )

    async def _announce(self, link: Link) -> None:
        """Send the webhook of a file that enters the system by its link. Those of saved files come with the
        file. A repeated call sends no second one."""
        if link.media is not None:
            deliveries = await self._deliveries.for_link(link.token, link.user_id, link.name)
            await self._store.outbox.add(deliveries)

    async def _name_of(self, principal: Principal, user_id: int, target: LinkTarget) -> str:
        if target.file_id is not None:
            await self._catalogue.recorder.catch_up()
            file = await self._catalogue.links.file_of(target.file_id)
            if file is None or not (file.user_id == user_id or principal.is_operator):
                raise NotFound("there is no file {id}", id=target.file_id)
            return file.name
        if target.folder_id is not None:
            name = await self._catalogue.links.folder_name(target.folder_id, user_id)
            if name is None:
                raise NotFound("there is no folder {id}", id=str(target.folder_id))
            return name
        if target.media is None:
            raise InvalidInput("a link needs a file, a folder or a message")
        return target.media.name or "file"

    async def _expiry(self, ttl: int | None) -> int | None:
        seconds_ms = self._config.ttl_days * _DAY_MS if ttl is None else ttl * 1000
        return await self._store.db.time_ms() + seconds_ms if seconds_ms else None


@dataclass(frozen=True, slots=True)
class LinkChanges:
    """What to change; None leaves it as it is."""

    ttl: int | None = None  # seconds from now; 0: without end
    max_downloads: int | None = None  # 0: without a limit
    password: str | None = None  # "" removes it
    inline: bool | None = None
    redirect: bool | None = None
    revoked: bool | None = None


class LinkUrls:
    """The addresses of a link."""

    def __init__(self, base: str, link: Link) -> None:
        """`base` is the URL of the API."""
        self._base = base.rstrip("/")
        self._token = link.token
        self._path = f"{link.token}/{quote(link.name, safe='')}"

    @property
    def download(self) -> str:
        """Where the file is downloaded."""
        return f"{self._base}/dl/{self._path}"

    @property
    def short(self) -> str:
        """The same, without the name of the file."""
        return f"{self._base}/dl/{self._token}"

    @property
    def stream(self) -> str:
        """Where the file is shown or played."""
        return f"{self._base}/stream/{self._path}"

    @property
    def thumbnail(self) -> str:
        """A small picture of the file."""
        return f"{self._base}/thumb/{self._token}"

    @property
    def page(self) -> str:
        """The page of the link."""
        return f"{self._base}/s/{self._token}"


def _unknown() -> NotFound:
    return NotFound("there is no such link; it may have been removed")
