"""Components of the sandbox: contents, documents, frames, envelopes, pages."""

import asyncio
import re
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telethon.tl import functions as fn

from saveany.sandbox import Sandbox, samples, transport
from saveany.sandbox.calls import method_name
from saveany.sandbox.content import (
    MIB,
    ContentStore,
    ContentStream,
    LiteralContent,
    UploadedContent,
    UploadedParts,
)
from saveany.sandbox.documents import jpeg, pdf
from saveany.sandbox.errors import ProtocolError, RpcFailure
from saveany.sandbox.handlers.messages import page
from saveany.sandbox.world import EPOCH, Chat, StoredFile, StoredMessage, World
from tests.sandbox.clients import user

WHOLE = ContentStream(7, 100_003).read(0, 200_000)


@given(st.integers(0, 101_000), st.integers(0, 101_000))
def test_any_slice_of_a_stream_equals_the_slice_of_its_bytes(offset: int, length: int) -> None:
    assert ContentStream(7, 100_003).read(offset, length) == WHOLE[offset : offset + length]


@given(st.integers(0, 8), st.integers(0, 8))
def test_literals_and_streams_treat_ends_alike(offset: int, length: int) -> None:
    assert LiteralContent(WHOLE[:5]).read(offset, length) == ContentStream(7, 5).read(offset, length)


@given(st.integers(1, 40), st.binary(max_size=200), st.integers(0, 210), st.integers(0, 210))
def test_any_slice_of_an_uploaded_file_is_correct(each: int, data: bytes, offset: int, length: int) -> None:
    store = ContentStore()
    parts = UploadedParts(store)
    for number, start in enumerate(range(0, len(data) or 1, each)):
        parts.keep(number, b"an older form")
        parts.keep(number, data[start : start + each])
    content = UploadedContent(parts)
    assert (content.size, content.read(offset, length)) == (len(data), data[offset : offset + length])
    assert b"".join(parts.values()) == data
    store.close()


def test_streams_differ_and_can_be_read_at_length() -> None:
    assert len(WHOLE) == 100_003
    assert ContentStream(7, 64).read(0, 64) != ContentStream(8, 64).read(0, 64)
    long = ContentStream(7, 5 * MIB).read(3, 4 * MIB)
    assert (len(long), long[: 100_003 - 3]) == (4 * MIB, WHOLE[3:])


def test_pdf_table_points_at_its_objects() -> None:
    data = pdf("Hello")
    start = int(re.search(rb"startxref\n(\d+)\n%%EOF\n$", data)[1])  # type: ignore[index]
    assert data[start:].startswith(b"xref\n0 6\n")
    entries = re.findall(rb"(\d{10}) 00000 n \n", data[start:])
    for number, entry in enumerate(entries, 1):
        assert data[int(entry) :].startswith(b"%d 0 obj\n" % number)
    length = int(re.search(rb"/Length (\d+)", data)[1])  # type: ignore[index]
    assert len(data.split(b"stream\n")[1].removesuffix(b"\nend")) == length
    assert b"(Hello) Tj" in data


def test_the_jpeg_contains_the_expected_gradient() -> None:
    data = jpeg(37, 20, 100)
    assert (data[:2], data[-2:]) == (b"\xff\xd8", b"\xff\xd9")
    frame = data.index(b"\xff\xc0")
    assert struct.unpack(">HH", data[frame + 5 : frame + 9]) == (20, 37)
    scan = data[data.index(b"\xff\xda") + 10 : -2].replace(b"\xff\x00", b"\xff")
    assert dc_levels(scan, 15) == [100 + 2 * (x + y) - 128 for y in range(3) for x in range(5)]


def dc_levels(scan: bytes, blocks: int) -> list[int]:
    """Decode blocks that have a 4-bit size, a DC difference and an end-of-block bit."""
    bits, at, level, levels = "".join(f"{byte:08b}" for byte in scan), 0, 0, []
    for _ in range(blocks):
        size = int(bits[at : at + 4], 2)
        value = int(bits[at + 4 : at + 4 + size] or "0", 2)
        if size and value < 1 << (size - 1):
            value -= (1 << size) - 1
        assert bits[at + 4 + size] == "0"
        at, level = at + 5 + size, level + value
        levels.append(level)
    return levels


def reader(data: bytes) -> asyncio.StreamReader:
    made = asyncio.StreamReader(limit=1 << 22)
    made.feed_data(data)
    made.feed_eof()
    return made


def packets(kind: Any, payloads: list[bytes]) -> bytes:
    """What a client writes: the server's own frames, after the transport's mark."""
    sender = kind(transport.Stream(reader(b"")))
    return b"".join(sender.frame(payload[:4], payload[4:]) for payload in payloads)


@pytest.mark.parametrize(
    ("kind", "mark"),
    [(transport.Abridged, b"\xef"), (transport.Intermediate, b"\xee" * 4), (transport.Full, b"")],
)
async def test_frames_of_all_sizes_survive_a_round_trip(kind: Any, mark: bytes) -> None:
    payloads = [bytes([n % 251]) * (4 * n) for n in (1, 2, 125, 126, 127, 128, 1000, 300_000)]
    accepted = await transport.accept(reader(mark + packets(kind, payloads)))
    assert isinstance(accepted, kind)
    assert [await accepted.read() for _ in payloads] == payloads


@pytest.mark.parametrize("damage", ["sequence", "checksum", "length"])
async def test_the_full_transport_detects_damage(damage: str) -> None:
    good = packets(transport.Full, [b"abcd" * 8])
    body = bytearray(packets(transport.Full, [b"abcd" * 8, b"abcd" * 8])[len(good) :])
    if damage == "checksum":
        body[20] ^= 1
    if damage == "sequence":
        body[4] = 0
        body[-4:] = struct.pack("<I", zlib.crc32(bytes(body[:-4])))
    if damage == "length":
        body[:4] = struct.pack("<I", 1 << 30)
    accepted = await transport.accept(reader(good + bytes(body)))
    await accepted.read()
    with pytest.raises(ProtocolError):
        await accepted.read()


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (fn.upload.GetFileRequest(None, 0, 0), "upload.getFile"),
        (fn.PingRequest(1), "ping"),
        (fn.ReqPqMultiRequest(1), "reqPqMulti"),
    ],
)
def test_method_names(request_: Any, name: str) -> None:
    assert method_name(request_) == name


def test_the_world_finds_messages_by_file_and_records_edits() -> None:
    world = World()
    file = world.add_file(StoredFile(id=1, content=ContentStream(1, 9), name="a"))
    text = world.add_file(StoredFile(id=2, content=LiteralContent(b"words")))
    chat = world.add_chat(Chat(id=5, title="Chat"))
    world.post(chat, StoredMessage(id=2, file=file))
    assert list(world.messages_with(1)) == [(chat, chat.messages[2])]
    edited = world.edit(chat, 2, file=text)
    assert (edited.file, edited.date) == (text, EPOCH)
    assert edited.edited is not None
    world.delete(chat, 2)
    assert list(chat.messages) == [1]
    with pytest.raises(RpcFailure):
        file.part("x")


@given(
    st.sets(st.integers(1, 60), max_size=30),
    st.integers(0, 70),
    st.integers(-10, 10),
    st.integers(1, 20),
)
def test_pages_are_slices_of_the_list(ids: set[int], offset: int, shift: int, limit: int) -> None:
    newest = [StoredMessage(id=id_) for id_ in sorted(ids, reverse=True)]
    request = fn.messages.GetHistoryRequest(None, offset, None, shift, limit, 0, 0, 0)
    found = [message.id for message in page(newest, request)]
    older = [m.id for m in newest if not offset or m.id < offset]
    newer = [m.id for m in newest if m.id not in older]
    window = [None] * 100 + newer + older + [None] * 100
    start = 100 + len(newer) + shift
    assert found == [id_ for id_ in window[start : start + limit] if id_ is not None]


async def test_client_pages_through_a_long_chat(sandbox: Sandbox) -> None:
    chat = sandbox.world.chats[samples.PROTECTED]
    for number in range(10, 310):
        sandbox.world.post(chat, StoredMessage(id=number, text=f"number {number}"))
    async with user(sandbox) as client:
        ids = [m.id async for m in client.iter_messages("protected", min_id=9, wait_time=0)]
        assert ids == list(range(309, 9, -1))
        upwards = client.iter_messages("protected", reverse=True, offset_id=9, wait_time=0)
        assert [m.id async for m in upwards] == ids[::-1]
        found = client.iter_messages("protected", search="number 30", limit=3)
        assert [m.id async for m in found] == [309, 308, 307]


async def test_client_pages_through_many_dialogs(sandbox: Sandbox) -> None:
    for number in range(250):
        sandbox.world.add_chat(Chat(id=1700000000 + number, title=f"{number}", members={samples.USER.id}))
    async with user(sandbox) as client:
        dialogs = await client.get_dialogs()
        assert len({dialog.id for dialog in dialogs}) == len(dialogs) == 255
        assert dialogs.total == 255
