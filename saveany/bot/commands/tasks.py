"""/task, /history, /cancel, /stop, /retry, /stats and /usage: tasks and the state of the service."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import msgspec

from saveany.bot.commands import login
from saveany.bot.context import Context, rows
from saveany.bot.registry import Command
from saveany.bot.render import clip, reason, size
from saveany.bot.texts import CommandError, escape
from saveany.catalogue import HistoryFilter
from saveany.config.schema import PRIVATE_CHATS
from saveany.errors import SaveAnyError, WrongState
from saveany.models import ENDED, Status, Task
from saveany.telegram.update_types import Button, CallbackQuery, Keyboard
from saveany.texts import Text, gettext_noop, loaded

#: Maximum number of tasks in one message.
PAGE = 10
#: Maximum lengths of a name, a reason and a problem in a list, in characters.
_MAX_NAME, _MAX_REASON, _MAX_PROBLEM = 60, 120, 400
#: Maximum length of a task id, in characters.
_MAX_ID = 40
#: A short number is a position in the list shown last, not the id of a task.
_NUMBER = re.compile(r"[0-9]{1,3}")
#: The status filters of the history, as encoded in the data of a button.
_STATUS = {"c": Status.COMPLETED, "f": Status.FAILED, "x": Status.CANCELED, "-": None}
_LETTERS = {status: letter for letter, status in _STATUS.items()}


async def task(ctx: Context, args: str) -> None:
    """List the tasks that have not ended, or show the progress of one task."""
    if args and args != "all":
        await _show_progress(ctx, await _find(ctx, args))
        return
    everyone = args == "all" and ctx.is_admin
    live = await ctx.services.tasks.list(ctx.principal, None if everyone else ctx.user.id)
    if not live:
        await ctx.reply(ctx.t("No tasks are running or waiting."))
        return
    shown = live[:PAGE]
    lines = await _numbered_lines(ctx, shown)
    if len(live) > PAGE:
        lines.append(ctx.t("… and {n} more", n=len(live) - PAGE))
    cancel = [Button(f"✖ {n}", f"cancel:{each.id}") for n, each in enumerate(shown, 1)]
    await ctx.reply("\n".join(lines), rows(cancel, 5))


async def history(ctx: Context, args: str) -> None:
    """List the tasks that have ended, the newest first; optionally only those with one status."""
    status = next((each for each in ENDED if each == args.lower()), None)
    if args and status is None:
        raise CommandError("Send /history alone, or with completed, failed or canceled.")
    await ctx.reply(*await _history_page(ctx, status, ""))


async def show_history_page(ctx: Context, args: str) -> None:
    """Show another page of the history."""
    letter, _, cursor = args.partition(":")
    await ctx.edit(*await _history_page(ctx, _STATUS.get(letter), cursor))


async def _history_page(ctx: Context, status: Status | None, cursor: str) -> tuple[str, Keyboard]:
    wanted = HistoryFilter(status=status or "", user_id=ctx.user.id)
    page = await ctx.services.tasks.history.page(ctx.principal, wanted, PAGE, cursor)
    while page.cursor and not page.tasks:  # a page covers a limited number of tasks of all users
        page = await ctx.services.tasks.history.page(ctx.principal, wanted, PAGE, page.cursor)
    if not page.tasks:
        return ctx.t("No tasks have ended yet."), ()
    older = Button(ctx.t("Older »"), f"hist:{_LETTERS[status]}:{page.cursor}")
    text = "\n".join(_line(ctx, each) for each in page.tasks)
    return text, ((older,),) if page.cursor else ()


async def cancel(ctx: Context, args: str) -> None:
    """Cancel one task, all tasks of the user, or the login in this chat."""
    if not args:
        canceled = await login.cancel_login(ctx)
        await (ctx.reply(ctx.t("The login was canceled.")) if canceled else task(ctx, ""))
        return
    if args == "all":
        await _cancel_all(ctx)
        return
    found = await _find(ctx, args)
    await ctx.services.tasks.cancel(ctx.principal, found.id)
    await ctx.reply(ctx.t("Canceled."))


async def stop(ctx: Context, args: str) -> None:
    """End a task with the files that are saved."""
    if not args:
        await task(ctx, "")
        return
    found = await _find(ctx, args)
    await ctx.services.tasks.stop(ctx.principal, found.id)
    await ctx.reply(ctx.t("Stopped."))


async def _cancel_all(ctx: Context) -> None:
    count = 0
    for each in await ctx.services.tasks.list(ctx.principal, ctx.user.id):
        with suppress(WrongState):  # it has ended meanwhile
            await ctx.services.tasks.cancel(ctx.principal, each.id)
            count += 1
    text = ctx.t.plural("{n} task was canceled.", "{n} tasks were canceled.", count)
    await ctx.reply(text if count else ctx.t("No tasks were canceled."))


async def retry(ctx: Context, args: str) -> None:
    """Retry one task, or list the user's newest failed tasks with buttons that retry them."""
    if args:
        found = await _find(ctx, args)
        await ctx.services.tasks.retry(ctx.principal, found.id)
        await _show_progress(ctx, found)
        return
    wanted = HistoryFilter(status=Status.FAILED, user_id=ctx.user.id)
    failed = (await ctx.services.tasks.history.page(ctx.principal, wanted, PAGE)).tasks
    if not failed:
        await ctx.reply(ctx.t("No tasks have failed."))
        return
    lines = await _numbered_lines(ctx, failed)
    buttons = [Button(f"↻ {n}", f"retry:{each.id}") for n, each in enumerate(failed, 1)]
    await ctx.reply("\n".join(lines), rows(buttons, 5))


async def press_cancel(ctx: Context, args: str) -> None:
    """Cancel the task with this id."""
    found = await _find(ctx, args)
    if found.status.ended:
        await ctx.answer_callback(ctx.t("The task has already ended."), alert=True)
        return
    await ctx.services.tasks.cancel(ctx.principal, found.id)
    await ctx.answer_callback(ctx.t("Canceled."))


async def press_stop(ctx: Context, args: str) -> None:
    """End the task with this id with the files that are saved."""
    found = await _find(ctx, args)
    if found.status.ended:
        await ctx.answer_callback(ctx.t("The task has already ended."), alert=True)
        return
    await ctx.services.tasks.stop(ctx.principal, found.id)
    await ctx.answer_callback(ctx.t("Stopped."))


async def press_retry(ctx: Context, args: str) -> None:
    """Retry the task with this id, and show its progress in the message with the button."""
    found = await _find(ctx, args)
    if found.status in (Status.FAILED, Status.CANCELED):
        await ctx.services.tasks.retry(ctx.principal, found.id)
        await ctx.answer_callback(ctx.t("Trying again."))
    else:
        await ctx.answer_callback(ctx.t("The task was already retried."), alert=True)
    if isinstance(ctx.update, CallbackQuery):
        await ctx.show_progress(ctx.update.message, found.id)


async def stats(ctx: Context, args: str) -> None:
    """Show the numbers of tasks and workers, and to admins what is wrong."""
    await ctx.reply("\n".join([line async for line in _stats(ctx)]))


async def usage(ctx: Context, args: str) -> None:
    """Show how much space of each storage is used and free."""
    lines = [await _usage(ctx, name) for name in ctx.storages]
    await ctx.reply("\n".join(lines) or ctx.t("You have no storage."))


async def _stats(ctx: Context) -> AsyncIterator[str]:
    t, store = ctx.t, ctx.services.store
    counts = await store.tasks.counts()
    yield t("Running {running}, waiting {queued}, paused {paused}", **counts)
    ended = await ctx.services.catalogue.history.counts()
    yield t(
        "Completed {completed}, failed {failed}, canceled {canceled}",
        **{status.value: count for status, count in ended.items()},
    )
    workers = await store.workers.living()
    yield t.plural("{n} worker", "{n} workers", len(workers))
    if not ctx.is_admin:
        return
    problems = {
        name: problem
        for worker in workers
        for group in (worker.accounts, worker.storages)
        for name, stored in group.items()
        if (problem := loaded(stored))
    }
    for name, problem in problems.items():
        shown = t("private chats with me") if name == PRIVATE_CHATS else escape(name)
        yield f"⚠ {shown}: {escape(reason(t, problem, _MAX_PROBLEM))}"


async def _usage(ctx: Context, name: str) -> str:
    t = ctx.t
    try:
        answer = await ctx.services.store.queries.send(name, "usage", {})
    except SaveAnyError as error:
        return f"{escape(name)}: {escape(t.text(error.text))}"
    if answer.error:
        return f"{escape(name)}: {escape(t.text(answer.text))}"
    used, free = answer.result["used"], answer.result["free"]
    known = [t("{size} used", size=size(used))] if used is not None else []
    known += [t("{size} free", size=size(free))] if free is not None else []
    return f"{escape(name)}: {', '.join(known) or t('unknown')}"


async def _show_progress(ctx: Context, found: Task) -> None:
    reasons = await ctx.services.tasks.waiting_reasons([found])
    message = await ctx.reply(_line(ctx, found, reasons.waiting_text(found)))
    await ctx.show_progress(message, found.id)


async def _find(ctx: Context, task_id: str) -> Task:
    """The task with this id, or at this position of the list shown last in this chat. Raises `NotFound` or
    `CommandError`."""
    if _NUMBER.fullmatch(task_id):
        task_id = await _listed_id(ctx, int(task_id))
    return await ctx.services.tasks.get(ctx.principal, task_id.strip()[:_MAX_ID])


async def _numbered_lines(ctx: Context, tasks: Sequence[Task]) -> list[str]:
    """The lines of a list. The ids behind its numbers are stored, so that commands can use the numbers even
    after the tasks have changed."""
    ids = msgspec.json.encode([each.id for each in tasks])
    await ctx.services.store.bot.keep_card(_list_key(ctx), ids)
    reasons = await ctx.services.tasks.waiting_reasons(tasks)
    return [f"{n}. {_line(ctx, each, reasons.waiting_text(each))}" for n, each in enumerate(tasks, 1)]


async def _listed_id(ctx: Context, number: int) -> str:
    memory, key = ctx.services.store.bot, _list_key(ctx)
    stored = await memory.card(key)
    lists = memory.readable("list", {key: stored}, lambda pair: _decode_ids(pair[1])) if stored else []
    ids = lists[0] if lists else []
    if not 0 < number <= len(ids):
        raise CommandError("The list I showed you last has no number {n}. /task shows a new one.", n=number)
    return ids[number - 1]


_decode_ids = msgspec.json.Decoder(list[str]).decode


def _list_key(ctx: Context) -> str:
    return f"list:{ctx.chat}:{ctx.user.id}"


def _line(ctx: Context, task: Task, waiting: Text | None = None) -> str:
    """A task on one line, with the reason why it failed or makes no progress."""
    name = escape(clip(ctx.t.text(task.subject), _MAX_NAME))
    if task.status is Status.RUNNING and not task.paused:
        progress = task.progress
        done = size(progress.downloaded_bytes) if progress.grows else f"{progress.percent:.0f} %"
        return f"⬇️ {name} {done}{_suffix(ctx, waiting)}"
    icons = {
        Status.RUNNING: "⬇️",
        Status.QUEUED: "⏳",
        Status.COMPLETED: "✅",
        Status.FAILED: "❌",
        Status.CANCELED: "🚫",
    }
    icon = "⏸" if task.paused else icons[task.status]
    error = task.error_text or (Text(task.error) if task.error else None)
    return f"{icon} {name} <code>{task.id}</code>{'' if task.paused else _suffix(ctx, error or waiting)}"


def _suffix(ctx: Context, why: Text | None) -> str:
    return f": {escape(reason(ctx.t, why, _MAX_REASON))}" if why else ""


COMMANDS = (
    Command("task", task, gettext_noop("Running and waiting tasks"), usage=("", "TASK", "1", "all")),
    Command(
        "history", history, gettext_noop("Tasks that have ended"), usage=("", "completed|failed|canceled")
    ),
    Command("cancel", cancel, gettext_noop("Cancel a task"), usage=("1", "TASK", "all")),
    Command("stop", stop, gettext_noop("End a task, and keep the files that are saved"), usage=("1", "TASK")),
    Command("retry", retry, gettext_noop("Retry a failed task"), usage=("", "1", "TASK")),
    Command("stats", stats, gettext_noop("State of the service")),
    Command("usage", usage, gettext_noop("Space on the storages")),
)
BUTTONS = {"cancel": press_cancel, "stop": press_stop, "retry": press_retry, "hist": show_history_page}
