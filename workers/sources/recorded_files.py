"""The files of a recording: its segments, and what takes their place."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from saveany.errors import NoSpace, Permanent
from saveany.models import Item, TaskSpec
from saveany.planning.facts import Facts
from saveany.planning.names import safe_name
from saveany.planning.plan import ResolvedFile
from workers.sources.base import Tools
from workers.sources.recording import RecordingFolder, Segment, room_needed

#: Keys in `Item.source`: of a segment; of all segments in one file; of the list of segments.
SEGMENT: Final = "segment"
JOINED: Final = "joined"
PLAYLIST: Final = "playlist"


def segment_file(spec: TaskSpec, segment: Segment, suffix: str) -> ResolvedFile:
    """The file of a segment. `suffix` ends its name."""
    source = {SEGMENT: segment.key, "seconds": segment.seconds, "mime": "video/mp4"}
    return _resolved(spec, f"{suffix}.mp4", segment.file, source)


async def joined_file(
    tools: Tools, spec: TaskSpec, saved: Sequence[Item], recording: RecordingFolder
) -> ResolvedFile:
    """One file with all segments, which are saved. Raises `NoSpace`, and as ffmpeg and storages do."""
    for item in saved:
        place = recording.place(item.source[SEGMENT])
        if not await asyncio.to_thread(place.exists):
            await _read_back(tools, spec, item, place)
    if not await recording.has_room_for_all():
        raise NoSpace("this machine's disk has no room for one file with all segments")
    file = await recording.join([item.source[SEGMENT] for item in saved])
    source = {JOINED: True, "seconds": sum(item.source["seconds"] for item in saved)}
    return _resolved(spec, ".mp4", file, source | {"mime": "video/mp4"})


async def _read_back(tools: Tools, spec: TaskSpec, item: Item, place: Path) -> None:
    """Copy a segment here that another worker has recorded."""
    storage = tools.storage(item.storage or spec.storage)
    if not storage.capabilities.reads:
        raise Permanent("storage {storage!r} cannot read its files", storage=storage.name)
    unfinished = place.with_suffix(".unfinished")
    async with await storage.open(item.final) as reader:
        with room_needed(), unfinished.open("wb") as file:
            async with aclosing(reader.read()) as pieces:
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)
    await asyncio.to_thread(unfinished.rename, place)


async def playlist_file(spec: TaskSpec, saved: Sequence[Item], recording: RecordingFolder) -> ResolvedFile:
    """A list of the segments, for players."""
    entries = [((item.final or item.path).rpartition("/")[2], item.source["seconds"]) for item in saved]
    file = await recording.write_playlist(entries)
    return _resolved(spec, ".m3u8", file, {PLAYLIST: True, "mime": "application/vnd.apple.mpegurl"})


def _resolved(spec: TaskSpec, suffix: str, file: Path, source: dict[str, Any]) -> ResolvedFile:
    """A file of a recording, named after the chat and the time at which the stream began."""
    params = spec.params
    started = int(params.get("started", 0))
    began = datetime.fromtimestamp(started / 1000, UTC)
    title = params.get("title") or spec.links[0]
    name = f"{safe_name(title)[:100]} {began:%Y-%m-%d %H-%M-%S}{suffix}"
    chat = spec.links[0]
    facts = Facts(
        kind="video",
        text=title,
        chat=chat.removeprefix("@") if chat.startswith("@") else "",
        chat_id=int(params.get("chat_id", 0)),
        date_ms=started,
    )
    return ResolvedFile(safe_name(name), file.stat().st_size, source | {"file": str(file)}, facts=facts)
