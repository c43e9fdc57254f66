"""Conversion between Redis hashes and the models of tasks and items."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from saveany.models import Item, Progress, Stage, Status, Task, TaskSpec
from saveany.store.records import decoder, reason, text
from saveany.texts import Text

_MAX_NUMBER = 253_402_300_799_999  # the last millisecond of the year 9999
_NO_PROGRESS = Progress()

T = TypeVar("T")


class _Webhook(msgspec.Struct):
    state: str
    attempts: int
    last_status: int


_spec = decoder(TaskSpec)
_item = decoder(Item)
_progress = decoder(Progress)
_webhook = decoder(_Webhook)
_text = decoder(Text)

encode = msgspec.json.encode
decode_item = _item


def pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    """A dict from the flat reply of HGETALL in a script."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def decode_task(task_id: str, record: dict[bytes, bytes]) -> Task:
    """The task of a `task:<id>` hash. Raises `ValueError` if its status cannot be read.

    If only the specification cannot be read, the task has the other fields, and `unreadable` says why. A
    paused task has the stage `paused` at once, even if its worker has not stopped yet. A task that is not
    running has no speed.
    """
    get = record.get
    spec, unreadable = _specification(task_id, record)
    status, paused = Status(get(b"status", b"").decode()), get(b"paused") == b"1"
    progress = _read(_progress, get(b"progress"), _NO_PROGRESS)
    if (progress.speed_bps or progress.stalled) and (paused or status is not Status.RUNNING):
        progress = msgspec.structs.replace(progress, speed_bps=0.0, stalled="", stalled_text=None)
    return Task(
        spec=spec,
        unreadable=unreadable,
        status=status,
        title=text(get(b"title", b"")),
        subject=_read(_text, get(b"subject"), Text(text(get(b"title", b"")))),
        created_at=_int(get(b"created_at")),
        updated_at=_int(get(b"updated_at")),
        stage=Stage.PAUSED if paused else _read(_stage, get(b"stage"), Stage.NONE),
        error=text(get(b"error", b"")),
        error_text=_read(_text, get(b"error_text"), None),
        started_at=_int(get(b"started_at")) or None,
        finished_at=_int(get(b"finished_at")) or None,
        epoch=_int(get(b"epoch")),
        attempts=_int(get(b"attempts")),
        run=_int(get(b"run")),
        worker=text(get(b"worker", b"")),
        cancel_requested=get(b"cancel") == b"1",
        stop_requested=get(b"stop") in (b"1", b"2"),  # 2: its worker knows
        wake=_int(get(b"wake")),
        reason=text(get(b"reason", b"")),
        reason_text=_read(_text, get(b"reason_text"), None),
        yields=_int(get(b"yields")),
        paused=paused,
        items_total=_int(get(b"items_total")),
        progress=progress,
        webhook=_read(lambda raw: msgspec.to_builtins(_webhook(raw)), get(b"webhook"), {}),
    )


def _specification(task_id: str, record: dict[bytes, bytes]) -> tuple[TaskSpec, str]:
    """The specification, and the reason if it cannot be read (else "")."""
    try:
        spec = _spec(record[b"spec"])
        if spec.id == task_id:
            return spec, ""
        error: Exception = ValueError("it belongs to another task")
    except (msgspec.MsgspecError, ValueError, KeyError) as e:
        error = e
    type_, storage = (text(record.get(name, b"")) for name in (b"type", b"storage"))
    user_id = _int(record.get(b"user"))
    spec = TaskSpec(id=task_id, type=type_, links=("unknown",), user_id=user_id, storage=storage)
    return spec, reason(error)


def _stage(raw: bytes) -> Stage:
    return Stage(raw.decode())


def _read(decode: Callable[[bytes], T], raw: bytes | None, default: T) -> T:
    """An optional part of a task; `default` if it is missing or damaged."""
    try:
        return decode(raw) if raw else default
    except (msgspec.MsgspecError, ValueError):
        return default


def _int(raw: bytes | None) -> int:
    try:
        return min(max(int(raw or 0), -_MAX_NUMBER), _MAX_NUMBER)
    except ValueError:
        return 0


def text_arg(message: str | Text) -> bytes:
    """The translatable form of a message as the scripts store it; empty if there is none."""
    return encode(message) if isinstance(message, Text) else b""


def item_args(items: list[Item]) -> list[str | bytes | int]:
    """Script arguments for items: their count, then index and JSON of each."""
    args: list[str | bytes | int] = [len(items)]
    for item in items:
        args += [item.index, encode(item)]
    return args
