"""/links, and the buttons that make and change links."""

from __future__ import annotations

from saveany.bot import cards, sharing
from saveany.bot.addresses import api_url
from saveany.bot.context import Context
from saveany.bot.link_view import link_line, link_view, number_buttons
from saveany.bot.registry import Command
from saveany.bot.texts import CommandError
from saveany.catalogue.link_models import Link
from saveany.service.links import LinkChanges
from saveany.telegram.update_types import Button, Keyboard
from saveany.texts import gettext_noop

#: Maximum number of links in a list.
PAGE = 10
_DAY_SECONDS = 24 * 3600


async def links(ctx: Context, args: str) -> None:
    """List the links of the user, newest first; for an admin also those of all users."""
    await ctx.reply(*await _page(ctx, everyone=args == "all" and ctx.is_admin))


async def press_link(ctx: Context, args: str) -> None:
    """Make links to the files of a task: `TASK` or `TASK:FIRST`."""
    if await sharing.may_link(ctx, f"link:{args}"):
        await _link_task(ctx, args, ctx.reply)


async def press_share(ctx: Context, args: str) -> None:
    """Make links to the messages of a card."""
    if await sharing.may_link(ctx, f"share:{args}"):
        await cards.share(ctx, args, ctx.reply)


async def press_joined(ctx: Context, args: str) -> None:
    """Try again what needed a membership; the links take the place of the request to join."""
    if not await sharing.may_link(ctx, f"joined:{args}"):
        return
    action, _, rest = args.partition(":")
    await (_link_task if action == "link" else cards.share)(ctx, rest, ctx.edit)


async def _link_task(ctx: Context, args: str, show: sharing.Show) -> None:
    task_id, _, start = args.partition(":")
    task = await ctx.services.tasks.get(ctx.principal, task_id)
    first = int(start) if start.isdecimal() and len(start) < 10 else 0  # the data of a button may be forged
    await sharing.link_files(ctx, task.id, first, show)


async def press_change(ctx: Context, args: str) -> None:
    """Show, change or delete a link: `OPERATION:TOKEN`; or show a page: `p:SCOPE:TOKEN`."""
    operation, _, token = args.partition(":")
    if operation == "p":
        if ctx.chat != ctx.user.id:
            raise CommandError("Send /links to me in our private chat.")
        scope, _, after = token.partition(":")
        await ctx.edit(*await _page(ctx, everyone=scope == "all" and ctx.is_admin, after=after))
    elif operation == "d":
        await ctx.services.links.remove(ctx.principal, token)
        await ctx.edit(ctx.t("The link was deleted."), ((Button(ctx.t("My links"), "ln:p:me:"),),))
    else:
        link = await ctx.services.links.get(ctx.principal, token)
        if (changes := await _changes(ctx, operation, link)) is not None:
            link = await ctx.services.links.change(ctx.principal, token, changes)
        api = ctx.services.config.api
        await ctx.edit(*link_view(ctx.t, link, api_url(api), is_public=bool(api.public_url)))


async def _changes(ctx: Context, operation: str, link: Link) -> LinkChanges | None:
    """What a button changes; None if it only shows the link."""
    if operation == "r":
        return LinkChanges(revoked=True)
    if operation == "e":
        return LinkChanges(ttl=await _ttl(ctx, link))
    if operation != "a":
        return None
    expired = link.expires_at is not None and link.expires_at <= await ctx.services.store.db.time_ms()
    used_up = link.max_downloads is not None and link.downloads >= link.max_downloads
    return LinkChanges(
        revoked=False,
        ttl=await _ttl(ctx, link) if expired else None,
        max_downloads=link.downloads + (link.max_downloads or 0) if used_up else None,
    )


async def _ttl(ctx: Context, link: Link) -> int:
    """The seconds for which an extended link works: as long as a new one, but never shorter than before."""
    seconds = ctx.services.config.links.ttl_days * _DAY_SECONDS
    if not seconds or link.expires_at is None:
        return 0
    left = link.expires_at - await ctx.services.store.db.time_ms()
    return max(seconds, left // 1000)


async def _page(ctx: Context, *, everyone: bool, after: str = "") -> tuple[str, Keyboard]:
    """A page of links, from the one after the token `after` on."""
    service, t = ctx.services.links, ctx.t
    cursor = await service.cursor_after(after) if after else ""
    page = await service.page(ctx.principal, None if everyone else ctx.user.id, PAGE, cursor)
    if not page.links:
        text = (
            t("There are no more links.") if after else t("You have no links yet. Press Link below a file.")
        )
        return text, ()
    lines = [link_line(t, link, n) for n, link in enumerate(page.links, 1)]
    scope = "all" if everyone else "me"
    older = Button(t("Older »"), f"ln:p:{scope}:{page.links[-1].token}")
    return "\n".join(lines), (*number_buttons(page.links), *(((older,),) if page.cursor else ()))


COMMANDS = (Command("links", links, gettext_noop("Your links"), usage=("", "all"), private=True),)
BUTTONS = {"link": press_link, "share": press_share, "joined": press_joined, "ln": press_change}
