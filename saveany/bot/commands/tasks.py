"""/task, /history, /cancel, /retry, /stats and /usage: what is going on, and buttons for it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import msgspec

from saveany.bot.commands import login
from saveany.bot.context import Context, rows
from saveany.bot.registry import Command
from saveany.bot.render import clip, reason, size
from saveany.bot.texts import CommandError, plain, said
from saveany.config.schema import PRIVATE_CHATS
from saveany.errors import NotFound, SaveAnyError, WrongState
from saveany.models import ENDED, Status, Task
from saveany.store.history import HistoryFilter
from saveany.telegram.update_types import Button, CallbackQuery, Keyboard

#: Tasks in one message.
PAGE = 10
#: Such a word is no id of a task, but a place in a list.
_NUMBER = re.compile(r"[0-9]{1,3}")
_STATUS = {"c": Status.COMPLETED, "f": Status.FAILED, "x": Status.CANCELED, "-": None}
_LETTERS = {status: letter for letter, status in _STATUS.items()}


async def task(ctx: Context, words: str) -> None:
    """The tasks that have not ended, or one of them."""
    if words and words != "all":
        await _follow(ctx, await _own(ctx, words))
        return
    everybody = words == "all" and ctx.is_admin
    live = await ctx.services.tasks.list(ctx.principal, None if everybody else ctx.user.id)
    if not live:
        await ctx.say(ctx.t("Nothing is running or waiting."))
        return
    shown = live[:PAGE]
    lines = await _numbered(ctx, shown)
    if len(live) > PAGE:
        lines.append(ctx.t("… and {n} more", n=len(live) - PAGE))
    cancel = [Button(f"✖ {n}", f"cancel:{each.id}") for n, each in enumerate(shown, 1)]
    await ctx.say("\n".join(lines), rows(cancel, 5))


async def history(ctx: Context, words: str) -> None:
    """What has ended, newest first; a status leaves only those."""
    status = next((each for each in ENDED if each == words.lower()), None)
    if words and status is None:
        raise CommandError(said("say completed, failed or canceled, or nothing"))
    await ctx.say(*await _page(ctx, status, ""))


async def turn(ctx: Context, words: str) -> None:
    """Another page of the history."""
    letter, _, cursor = words.partition(":")
    await ctx.show(*await _page(ctx, _STATUS.get(letter), cursor))


async def _page(ctx: Context, status: Status | None, cursor: str) -> tuple[str, Keyboard]:
    wanted = HistoryFilter(status=status or "", user_id=ctx.user.id)
    page = await ctx.services.tasks.history(ctx.principal, wanted, PAGE, cursor)
    while page.cursor and not page.tasks:  # a page looks only at so many tasks, and others have tasks, too
        page = await ctx.services.tasks.history(ctx.principal, wanted, PAGE, page.cursor)
    if not page.tasks:
        return ctx.t("Nothing has ended yet."), ()
    older = Button(ctx.t("Older »"), f"hist:{_LETTERS[status]}:{page.cursor}")
    text = "\n".join(_line(ctx, each) for each in page.tasks)
    return text, ((older,),) if page.cursor else ()


async def cancel(ctx: Context, words: str) -> None:
    """Cancel one task, or all of one's own; or the login that is going on here."""
    if not words:
        given_up = await login.give_up(ctx)
        await (ctx.say(ctx.t("The login was given up.")) if given_up else task(ctx, ""))
        return
    if words == "all":
        live = await ctx.services.tasks.list(ctx.principal, ctx.user.id)
        for each in live:
            with suppress(WrongState):  # it has ended meanwhile
                await ctx.services.tasks.cancel(ctx.principal, each.id)
        await ctx.say(ctx.t.n("{n} task is canceled.", "{n} tasks are canceled.", len(live)))
        return
    found = await _own(ctx, words)
    await ctx.services.tasks.cancel(ctx.principal, found.id)
    await ctx.say(ctx.t("Canceled."))


async def retry(ctx: Context, words: str) -> None:
    """Try what failed again, one task or all of one's own that are in the history's first page."""
    if words:
        await _again(ctx, await _own(ctx, words))
        return
    wanted = HistoryFilter(status=Status.FAILED, user_id=ctx.user.id)
    failed = (await ctx.services.tasks.history(ctx.principal, wanted, PAGE)).tasks
    if not failed:
        await ctx.say(ctx.t("Nothing has failed."))
        return
    lines = await _numbered(ctx, failed)
    again = [Button(f"↻ {n}", f"retry:{each.id}") for n, each in enumerate(failed, 1)]
    await ctx.say("\n".join(lines), rows(again, 5))


async def press_cancel(ctx: Context, words: str) -> None:
    """The Cancel button below a task."""
    found = await _own(ctx, words)
    if found.status.ended:
        await ctx.answer(ctx.t("It has ended already."), alert=True)
        return
    await ctx.services.tasks.cancel(ctx.principal, found.id)
    await ctx.answer(ctx.t("Canceled."))


async def press_retry(ctx: Context, words: str) -> None:
    """The Retry button below a task: its message shows how it goes on."""
    found = await _own(ctx, words)
    if found.status in (Status.FAILED, Status.CANCELED):
        await ctx.services.tasks.retry(ctx.principal, found.id)
        await ctx.answer(ctx.t("Trying again."))
    else:
        await ctx.answer(ctx.t("It was tried again already."), alert=True)
    if isinstance(ctx.letter, CallbackQuery):
        await ctx.follow(ctx.letter.message, found.id)


async def stats(ctx: Context, words: str) -> None:
    """How the whole thing is."""
    await ctx.say("\n".join([line async for line in _stats(ctx)]))


async def usage(ctx: Context, words: str) -> None:
    """How full the storages are that tell it."""
    lines = [await _usage(ctx, name) for name in ctx.storages]
    await ctx.say("\n".join(lines) or ctx.t("You may use no storage."))


async def _stats(ctx: Context) -> AsyncIterator[str]:
    t, store = ctx.t, ctx.services.store
    counts = await store.tasks.counts()
    yield t("Running {running}, waiting {queued}, paused {paused}", **counts)
    ended = await store.history.counts()
    yield t(
        "Completed {completed}, failed {failed}, canceled {canceled}",
        **{status.value: count for status, count in ended.items()},
    )
    workers = await store.workers.living()
    yield t.n("{n} worker", "{n} workers", len(workers))
    if not ctx.is_admin:
        return
    problems = {
        name: problem
        for worker in workers
        for group in (worker.accounts, worker.storages)
        for name, problem in group.items()
        if problem
    }
    for name, problem in problems.items():
        called = ctx.t("talks with me") if name == PRIVATE_CHATS else plain(name)
        yield f"⚠ {called}: {plain(reason(problem, 400))}"


async def _usage(ctx: Context, name: str) -> str:
    t = ctx.t
    try:
        answer = await ctx.services.store.queries.ask(name, "usage", {})
    except SaveAnyError as error:
        return f"{plain(name)}: {plain(error.message)}"
    if answer.error:
        return f"{plain(name)}: {plain(answer.message)}"
    used, free = answer.result["used"], answer.result["free"]
    known = [t("{size} used", size=size(used))] if used is not None else []
    known += [t("{size} free", size=size(free))] if free is not None else []
    what = ", ".join(known) or t("does not tell")
    return f"{plain(name)}: {what}"


async def _follow(ctx: Context, found: Task) -> None:
    outlook = await ctx.services.tasks.waiting_reasons([found])
    message = await ctx.say(_line(ctx, found, outlook.waiting(found)))
    await ctx.follow(message, found.id)


async def _again(ctx: Context, found: Task) -> None:
    await ctx.services.tasks.retry(ctx.principal, found.id)
    await _follow(ctx, found)


async def _own(ctx: Context, task_id: str) -> Task:
    """The task of that id, if it is the person's; an admin may have any. A number stands for a task of the
    list that was shown here last, however the tasks have changed since."""
    if _NUMBER.fullmatch(task_id):
        task_id = await _listed(ctx, int(task_id))
    try:
        return await ctx.services.tasks.get(ctx.principal, task_id.strip())
    except NotFound:
        raise CommandError(said("there is no task {id}"), id=task_id[:40]) from None


async def _numbered(ctx: Context, tasks: Sequence[Task]) -> list[str]:
    """The lines of a list; what its numbers mean is remembered."""
    ids = msgspec.json.encode([each.id for each in tasks])
    await ctx.services.store.bot.keep_card(_list(ctx), ids)
    outlook = await ctx.services.tasks.waiting_reasons(tasks)
    return [f"{n}. {_line(ctx, each, outlook.waiting(each))}" for n, each in enumerate(tasks, 1)]


async def _listed(ctx: Context, number: int) -> str:
    memory = ctx.services.store.bot
    kept = await memory.card(_list(ctx))
    lists = memory.readable("list", {_list(ctx): kept}, lambda pair: _ids(pair[1])) if kept else []
    ids = lists[0] if lists else []
    if not 0 < number <= len(ids):
        raise CommandError(
            said("the list that I showed you last has no number {n}; /task shows it"), n=number
        )
    return ids[number - 1]


_ids = msgspec.json.Decoder(list[str]).decode


def _list(ctx: Context) -> str:
    return f"list:{ctx.chat}:{ctx.user.id}"


def _line(ctx: Context, task: Task, waiting: str = "") -> str:
    """A task in one line of a list, and why it does not get on or has failed."""
    name = plain(clip(ctx.t.text(task.subject), 60))
    if task.status is Status.RUNNING and not task.paused:
        why = f": {plain(reason(waiting, 120))}" if waiting else ""
        return f"⬇️ {name} {task.progress.percent:.0f} %{why}"
    marks = {
        Status.RUNNING: "⬇️",
        Status.QUEUED: "⏳",
        Status.COMPLETED: "✅",
        Status.FAILED: "❌",
        Status.CANCELED: "🚫",
    }
    mark = "⏸" if task.paused else marks[task.status]
    told = "" if task.paused else task.error or waiting
    why = f": {plain(reason(told, 120))}" if told else ""
    return f"{mark} {name} <code>{task.id}</code>{why}"


COMMANDS = (
    Command("task", task, said("What is running and waiting"), usage=("", "TASK", "1", "all")),
    Command("history", history, said("What has ended"), usage=("", "completed|failed|canceled")),
    Command("cancel", cancel, said("Cancel a task"), usage=("1", "TASK", "all")),
    Command("retry", retry, said("Try a failed task again"), usage=("", "1", "TASK")),
    Command("stats", stats, said("How everything is")),
    Command("usage", usage, said("How full the storages are")),
)
PRESSES = {"cancel": press_cancel, "retry": press_retry, "hist": turn}
