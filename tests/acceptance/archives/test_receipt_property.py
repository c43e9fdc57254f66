"""Whatever a chat consists of and whatever fails: its receipt adds up, each file is saved exactly once, and
`verify` finds exactly what was tampered with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from telethon.tl import types as tl

from saveany.sandbox.content import LiteralContent
from saveany.sandbox.documents import jpeg
from saveany.sandbox.model import Chat, Picture, StoredFile, StoredMessage, Wrapping
from tests.acceptance.archives.harness import ArchiveHarness
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

_VIDEO = tl.DocumentAttributeVideo(duration=1, w=320, h=240)
#: Kind of a file -> its MIME type and attributes.
_KINDS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "document": ("application/octet-stream", ()),
    "video": ("video/mp4", (_VIDEO,)),
    "audio": ("audio/mpeg", (tl.DocumentAttributeAudio(duration=1),)),
    "voice": ("audio/ogg", (tl.DocumentAttributeAudio(duration=1, voice=True),)),
    "photo": ("image/jpeg", ()),
}
#: Bytes of the largest file that the filter accepts.
_LIMIT = 4000

#: What becomes of a message with a file after it was listed and before it is downloaded.
_FATES = ("kept", "kept", "kept", "deleted", "edited", "broken", "expiring", "flood", "dropped")
_FAULTS = {
    "broken": "error=400:LOCATION_NOT_AVAILABLE",
    "expiring": "expire,count=1",
    "flood": "flood_wait=1,count=1",
    "dropped": "drop,count=1",
}
_TAMPERING = ("untouched", "untouched", "missing", "changed", "not_in_catalogue")


@dataclass(frozen=True)
class Part:
    """A part of a generated chat."""

    what: str  # words, service, gap, hole, file, same, album, several, locked, expired, large
    kind: str = "document"
    count: int = 1
    fates: tuple[str, ...] = ("kept",)


_kinds, _fates = st.sampled_from(list(_KINDS)), st.sampled_from(_FATES)
_parts = st.one_of(
    st.builds(Part, st.just("file"), _kinds, fates=st.tuples(_fates)),
    st.integers(2, 10).flatmap(
        lambda count: st.builds(Part, st.just("album"), _kinds, st.just(count), st.tuples(*[_fates] * count))
    ),
    st.builds(Part, st.sampled_from(["words", "gap", "hole"]), count=st.sampled_from([1, 3, 40, 100])),
    st.builds(Part, st.sampled_from(["service", "same", "several", "locked", "expired", "large"])),
)
#: A chat with a part of each kind; the album lies across the end of a page.
_EVERYTHING = (
    *(Part("file", kind) for kind in _KINDS),
    Part("words", count=40),
    Part("words", count=40),
    Part("several"),
    Part(
        "album",
        "photo",
        10,
        ("kept", "kept", "kept", "kept", "kept", "deleted", "edited", "broken", "kept", "kept"),
    ),
    Part("gap", count=100),
    *(Part("file", fates=(fate,)) for fate in dict.fromkeys(_FATES)),
    *(Part(what) for what in ("hole", "same", "several", "locked", "expired", "large", "service", "same")),
)


@dataclass
class GeneratedChat:
    """A chat in the sandbox, and what its archive is expected to contain."""

    harness: ArchiveHarness
    chat: Chat
    expected: dict[int, str] = field(default_factory=dict)  # message -> outcome
    contents: dict[int, list[bytes]] = field(default_factory=dict)  # saved message -> its files
    fates: list[tuple[int, str]] = field(default_factory=list)
    faults: list[Any] = field(default_factory=list)
    same: dict[int, list[int]] = field(default_factory=dict)  # message -> all messages with its file

    def add(self, part: Part) -> None:
        """Add a part at the end."""
        getattr(self, f"_add_{part.what}")(part)

    def _add_words(self, part: Part) -> None:
        self.harness.say(self.chat, part.count)

    def _add_service(self, part: Part) -> None:
        self.harness.say(self.chat, service=True)

    def _add_gap(self, part: Part) -> None:
        self.chat.box.last_id += 50 * part.count

    def _add_hole(self, part: Part) -> None:
        """Messages that are deleted before anybody reads them."""
        self.harness.world.delete(self.chat, *(self.harness.post(self.chat) for _ in range(part.count)))

    def _add_file(self, part: Part) -> None:
        self._post(_file(self.harness, part.kind), part.fates[0])

    def _add_same(self, part: Part) -> None:
        """The first file once more."""
        fates = {message for message, _ in self.fates}
        kept = [each for each in self.contents if each not in fates and self.chat.messages[each].file]
        if kept:
            again = self.harness.post(self.chat, file=self.chat.messages[kept[0]].file)
            self.expected[again] = "duplicate"
            self.same.setdefault(kept[0], [kept[0]]).append(again)

    def _add_album(self, part: Part) -> None:
        album = 10**15 + self.chat.id * 1000 + len(self.expected)
        for fate in part.fates:
            self._post(_file(self.harness, part.kind), fate, album=album)

    def _add_several(self, part: Part) -> None:
        files = tuple(_file(self.harness, kind) for kind in ("photo", "document"))
        message = self._send(wrapped=Wrapping(how="rich text", files=files))
        self.expected[message], self.contents[message] = "saved", [_bytes(each) for each in files]

    def _add_locked(self, part: Part) -> None:
        paid = Wrapping(how="paid", files=(_file(self.harness, "video"),), buyers=frozenset())
        self.expected[self._send(wrapped=paid)] = "locked"

    def _add_expired(self, part: Part) -> None:
        self.expected[self._send(expired=True)] = "expired"

    def _add_large(self, part: Part) -> None:
        self.expected[self.harness.post(self.chat, size=_LIMIT + 1)] = "filtered"

    def _post(self, file: StoredFile, fate: str, **fields: Any) -> int:
        message = self.harness.post(self.chat, file=file, **fields)
        self.expected[message], self.contents[message] = "saved", [_bytes(file)]
        if fate != "kept":
            self.fates.append((message, fate))
        return message

    def _send(self, **fields: Any) -> int:
        return self.harness.world.send(self.chat, StoredMessage(id=0, **fields)).id

    def let_fates_happen(self) -> None:
        """What happens between listing and download."""
        for message, fate in self.fates:
            file = self.chat.messages[message].file
            assert file is not None
            if fate == "deleted":
                self.harness.world.delete(self.chat, message)
                self.expected[message] = "gone"
                del self.contents[message]
            elif fate == "edited":
                new = _file(self.harness, "document")
                self.harness.world.edit(self.chat, message, file=new)
                self.contents[message] = [_bytes(new)]
            else:
                self.faults.append(self.harness.faults.add(f"{_FAULTS[fate]},file={file.id}"))
                if fate == "broken":
                    self.expected[message] = "failed"

    def repair(self) -> None:
        """End all faults; files that could not be read can be."""
        for fault in self.faults:
            self.harness.faults.remove(fault)
        self.expected = {
            message: "saved" if outcome == "failed" else outcome for message, outcome in self.expected.items()
        }

    def canonical(self, outcomes: dict[int, str]) -> dict[int, str]:
        """Of messages with the same file, any may be the one that is saved; here it is the first."""
        for messages in self.same.values():
            if sorted(outcomes[each] for each in messages) == sorted(
                self.expected[each] for each in messages
            ):
                outcomes |= {each: self.expected[each] for each in messages}
        return outcomes

    @property
    def saved(self) -> list[int]:
        """The messages whose files must be in the storage."""
        return [message for message in self.contents if self.expected[message] in ("saved", "duplicate")]


def _file(harness: ArchiveHarness, kind: str) -> StoredFile:
    """A new file with a content of its own."""
    file = harness.file(20)
    file.content = LiteralContent(_bytes(file) + b"y" * (file.id * 37 % 3000))
    mime, attributes = _KINDS[kind]
    file.mime, file.attributes = mime, attributes
    if kind == "photo":
        file.content = LiteralContent(jpeg(8, 8, 10) + _bytes(file))
        file.name, file.pictures = None, (Picture("x", 8, 8, file.content),)
    return file


def _bytes(file: StoredFile) -> bytes:
    return file.content.read(0, file.content.size)


@settings(
    max_examples=3,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example takes seconds: no shrinking
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(parts=_EVERYTHING, tampering=_TAMPERING * 2)
@given(
    parts=st.lists(_parts, min_size=4, max_size=12),
    tampering=st.lists(st.sampled_from(_TAMPERING), min_size=10, max_size=10),
)
async def test_receipts_of_generated_chats_are_complete_and_true(
    harness: ArchiveHarness, parts: Sequence[Part], tampering: Sequence[str]
) -> None:
    made = GeneratedChat(harness, harness.channel("Generated"))
    folder = made.chat.username
    for part in parts:
        made.add(part)
    harness.say(made.chat)  # an album at the end of a chat might still grow
    await harness.stack.request("POST", "/queue/pause")
    archive = await harness.archive(made.chat, dir_path=folder, filter={"max_size": _LIMIT})

    async def is_listed() -> bool:
        found = await harness.show(archive)
        return bool(found["position"] == made.chat.box.last_id and not found["unaccounted"])

    await until(is_listed)
    total = len(made.chat.messages)
    made.let_fates_happen()
    await harness.stack.request("POST", "/queue/resume")
    await _check(made, archive, total)
    made.repair()
    await harness.act(archive, "retry")
    await _check(made, archive, total)
    tampered = await _tamper(made, archive, tampering)
    assert await _verify(harness, archive) == tampered
    await harness.act(archive, "verify", {"repair": True, "limit": 1000})
    await harness.reaches(archive)
    assert await _verify(harness, archive) == {}
    # What somebody has changed is not overwritten, and what somebody has deleted here is in the trash.
    left = [
        made.contents[message][0] + (b"!" if what == "changed" else b"")
        for message, what in tampered.items()
        if what != "missing" and message in made.contents
    ]
    # Of several files only the one that was tampered with is saved again.
    made.expected |= {each: "duplicate" for each in tampered if len(made.contents.get(each, "")) > 1}
    await _check(made, archive, total, left)


async def _check(made: GeneratedChat, archive: str, total: int, left: Sequence[bytes] = ()) -> None:
    """Check the receipt and the files of an archive that is complete."""
    found = await made.harness.reaches(archive)
    rows = await made.harness.messages(archive)
    assert made.canonical({each["message"]: each["outcome"] for each in rows}) == made.expected
    wanted = Counter(made.expected.values())
    wanted.update(telegram_total=total, without_media=total - len(made.expected))
    assert {name: count for name, count in found["counts"].items() if count} == dict(+wanted)
    assert found["unaccounted"] == 0
    saved = [each["file_id"] for each in rows if each["outcome"] == "saved"]
    assert len(set(saved)) == len(saved)
    contents = Counter(path.read_bytes() for path in _folder(made).rglob("*") if path.is_file())
    assert contents == Counter([each for message in made.saved for each in made.contents[message]] + [*left])


async def _tamper(made: GeneratedChat, archive: str, how: Sequence[str]) -> dict[int, str]:
    """Change files behind SaveAny's back. Returns what `verify` must report: message -> problem."""
    harness, reported = made.harness, dict[int, str]()
    paths = {path.read_bytes(): path for path in _folder(made).rglob("*") if path.is_file()}
    files = {each["message"]: each["file_id"] for each in await harness.messages(archive)}
    for message, what in zip(made.saved, how, strict=False):
        path, same = paths[made.contents[message][0]], made.same.get(message, [message])
        if what == "missing":
            path.unlink()
        elif what == "changed":
            path.write_bytes(path.read_bytes() + b"!")
        elif what == "not_in_catalogue" and len(made.contents[message]) == len(same) == 1:
            await harness.stack.request("DELETE", f"/files/{files[message]}")
        else:
            continue
        reported |= dict.fromkeys(same, what)
    return reported


async def _verify(harness: ArchiveHarness, archive: str) -> dict[int, str]:
    found = await harness.act(archive, "verify", {"limit": 1000})
    assert found["next_cursor"] is None
    return {each["message"]: each["problem"] for each in found["discrepancies"]}


def _folder(made: GeneratedChat) -> Path:
    return made.harness.stack.storage_dir / made.chat.username
