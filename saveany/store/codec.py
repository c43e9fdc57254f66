"""How tasks and items lie in Redis: hashes of bytes on one side, frozen models on the other."""

from __future__ import annotations

import msgspec

from saveany.models import Item, Progress, Stage, Status, Task, TaskSpec

_spec = msgspec.json.Decoder(TaskSpec)
_item = msgspec.json.Decoder(Item)
_progress = msgspec.json.Decoder(Progress)

encode = msgspec.json.encode


def pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    """A Lua HGETALL reply as a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def decode_task(record: dict[bytes, bytes]) -> Task:
    """The task of a `task:<id>` hash. One that is paused says so from then on, though its worker may take a
    moment; what does not run has no speed."""
    get = record.get
    status, paused = Status(record[b"status"].decode()), get(b"paused") == b"1"
    progress = _progress.decode(get(b"progress") or b"{}")
    if progress.speed_bps and (paused or status is not Status.RUNNING):
        progress = msgspec.structs.replace(progress, speed_bps=0.0)
    return Task(
        spec=_spec.decode(record[b"spec"]),
        status=status,
        title=record[b"title"].decode(),
        created_at=int(record[b"created_at"]),
        updated_at=int(record[b"updated_at"]),
        stage=Stage.PAUSED if paused else Stage(get(b"stage", b"").decode()),
        error=get(b"error", b"").decode(),
        started_at=int(record[b"started_at"]) if get(b"started_at") else None,
        finished_at=int(record[b"finished_at"]) if get(b"finished_at") else None,
        epoch=int(record[b"epoch"]),
        attempts=int(get(b"attempts", 0)),
        run=int(record[b"run"]),
        worker=get(b"worker", b"").decode(),
        cancel_requested=get(b"cancel") == b"1",
        paused=paused,
        items_total=int(get(b"items_total", 0)),
        progress=progress,
        webhook=msgspec.json.decode(get(b"webhook") or b"{}"),
    )


def decode_items(record: dict[bytes, bytes]) -> list[Item]:
    """The items of an `items:<id>` hash, by index."""
    return sorted((_item.decode(value) for value in record.values()), key=lambda item: item.index)


def decode_item(value: bytes) -> Item:
    """One field of an `items:<id>` hash."""
    return _item.decode(value)


def item_args(items: list[Item]) -> list[str | bytes | int]:
    """Items as the scripts take them: a count, then index and JSON of each."""
    args: list[str | bytes | int] = [len(items)]
    for item in items:
        args += [item.index, encode(item)]
    return args
