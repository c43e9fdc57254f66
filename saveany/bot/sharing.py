"""Makes links for messages and saved files, and shows them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace

from saveany.bot.addresses import api_url
from saveany.bot.context import Context, retry_flood_waits
from saveany.bot.link_view import link_view, new_links
from saveany.bot.render import clip
from saveany.bot.texts import CommandError, escape
from saveany.catalogue.link_models import Link, LinkTarget, media_of
from saveany.errors import RequestError, TaskError, TooMany, Unavailable
from saveany.planning.requests import check_private_chats
from saveany.telegram.accounts import file_of_message
from saveany.telegram.links import MessageLink, parse
from saveany.telegram.update_types import Button, Keyboard
from saveany.texts import Text

#: Maximum number of links in one message.
PAGE: Final = 10
#: Maximum length of the name of a chat on a button, in characters.
_MAX_LABEL = 40

#: Shows a text and its buttons: `Context.reply` or `Context.edit`.
Show = Callable[[str, Keyboard], Awaitable[int]]


async def may_link(ctx: Context, again: str) -> bool:
    """Whether the user may have a link; if not, they are asked to join a chat first. `again` is the data of
    the button that they have pressed."""
    config = ctx.services.config
    if not config.api.enable:
        raise CommandError("Links do not work because the API is off: see api.enable in config.toml.")
    if ctx.is_admin or not config.links.must_join:
        return True
    missing = await retry_flood_waits(lambda: ctx.services.membership.missing(ctx.user.id))
    if not missing:
        return True
    t = ctx.t
    titles = ", ".join(each.title for each in missing)
    if again.startswith("joined:"):
        problem = Text("You are not a member of {chats} yet.", {"chats": titles})
        await ctx.answer_callback(t.text(problem), alert=True)
        return False
    labels = [(each, Text("Join {chat}", {"chat": clip(each.title, _MAX_LABEL)})) for each in missing]
    join = [(Button(t.text(label), url=each.url),) for each, label in labels if each.url]
    text = t("To get links, join {chats} first.", chats=titles)
    await ctx.reply(text, (*join, (Button(t("I have joined"), f"joined:{again}"),)))
    return False


async def link_messages(ctx: Context, urls: Sequence[str], name: str, show: Show) -> None:
    """Show links to the files of messages, which are not saved. `name` is for the only one; "": its own."""
    await _show(ctx, [partial(_link_message, ctx, url, name) for url in urls], show)


async def link_files(ctx: Context, task_id: str, start: int, show: Show) -> None:
    """Show links to the files that a task has saved, from item `start` on."""
    found = await ctx.services.links.files_of(ctx.principal, task_id, start, PAGE + 1)
    if not found:
        raise CommandError("These files are not there any more.")
    more = ((Button(ctx.t("More links »"), f"link:{task_id}:{found[PAGE].item}"),),) if found[PAGE:] else ()
    makes = [partial(_share, ctx, LinkTarget(file.id)) for file in found[:PAGE]]
    await _show(ctx, makes, show, more)


async def _show(
    ctx: Context, makes: Sequence[Callable[[], Awaitable[Link]]], show: Show, more: Keyboard = ()
) -> None:
    """Make the links and show those that could be made; if none could, raise the reason."""
    links: list[Link] = []
    problem: RequestError | TaskError | None = None
    for make in makes:
        try:
            links.append(await make())
        except Unavailable:
            raise
        except (RequestError, TaskError) as error:
            problem = error
            if isinstance(error, TooMany):
                break
    if problem is not None and not links:
        raise problem
    api = ctx.services.config.api
    base, is_public = api_url(api), bool(api.public_url)
    if len(makes) == 1 and not more:
        text, keyboard = link_view(ctx.t, links[0], base, is_public=is_public)
    else:
        text, keyboard = new_links(ctx.t, links, base, is_public=is_public)
    if problem is not None:
        text += f"\n⚠ {escape(ctx.t.sentence(problem.text))}"
    await show(text, (*keyboard, *more))


async def _link_message(ctx: Context, url: str, name: str) -> Link:
    link = parse(url)
    check_private_chats([link.url], ctx.user, ctx.principal.chat)
    copied = await _copy(ctx, link) if ctx.services.config.links.channel else ""
    only = () if copied else ctx.user.accounts
    accounts = ctx.services.accounts
    found = await retry_flood_waits(lambda: file_of_message(accounts, copied or link.url, only))
    media = media_of(found)
    return await _share(ctx, LinkTarget(media=replace(media, name=name) if name else media))


async def _share(ctx: Context, target: LinkTarget) -> Link:
    return await ctx.services.links.share(ctx.principal, ctx.user.id, target)


async def _copy(ctx: Context, link: MessageLink) -> str:
    """Copy a message of this chat to `links.channel`, once in a week; returns the link to the copy. "" for a
    message elsewhere, which stays there."""
    if _chat_of(link) != ctx.chat:
        return ""
    memory, key = ctx.services.store.bot, f"copy:{ctx.chat}:{link.message}"
    if known := await memory.card(key):
        return known.decode(errors="replace")
    channel, chats = ctx.services.config.links.channel, ctx.services.membership.chats
    # "" means that a process which has died made the copy. Its id is needed.
    copied = ""
    for attempt in range(2):
        name = f"{ctx.key}:copy:{link.message}:{attempt}"
        copied = copied or await retry_flood_waits(partial(chats.copy, ctx.chat, link.message, channel, name))
    await memory.keep_card(key, copied.encode())
    return copied


def _chat_of(link: MessageLink) -> int:
    """The marked id of the chat of a link; 0 if the link names it by its username."""
    if link.bot_chat_id or isinstance(link.chat, str):
        return link.bot_chat_id
    return -(10**12 + link.chat)
