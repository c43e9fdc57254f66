"""The sandbox's sample chats, and the correct result of downloading each link.

The hashes are constants, so that tests compare downloads with this file and not with the code that generates
the contents; a test recomputes them.
"""

from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from telethon.tl import types as tl

from saveany.sandbox.content import MIB, ContentStream, FileContent, LiteralContent
from saveany.sandbox.documents import jpeg, pdf
from saveany.sandbox.faults import Faults
from saveany.sandbox.world import EPOCH, Chat, Picture, SandboxAccount, StoredFile, StoredMessage, World

BOT = SandboxAccount(
    id=7000000001,
    name="Sandbox Bot",
    username="sandbox_bot",
    token="7000000001:SANDBOX-token-works-on-loopback-onl",  # noqa: S106 - public: it opens only sandboxes
)
USER = SandboxAccount(id=123456789, name="Sandbox User", username="sandbox_user", phone="+9996621234")
#: A person who writes to the bot; not an account for a configuration.
PERSON = SandboxAccount(id=234567890, name="Sandbox Person", username="sandbox_person", phone="+9996624321")

SLOW_RATE = 8_000_000  # bytes per second, all connections together


@dataclass(frozen=True)
class SampleFile:
    """A file that a link leads to."""

    name: str  # the name that it must be saved with
    size: int
    sha256: str
    telegram_name: str | None  # the name at Telegram; None if the file has none


@dataclass(frozen=True)
class Sample:
    """A link and the files it leads to; empty if there is nothing to download."""

    link: str
    note: str
    files: tuple[SampleFile, ...] = ()


CHANNEL, PRIVATE, FORUM, DISCUSSION, PROTECTED = range(1500000001, 1500000006)
_TOPIC = 10
_ALBUM = 13800000000000001
_LONG_NAME = "long-" + "x" * 291 + ".bin"  # 300 characters
_HOSTILE = (
    "../../x",
    _LONG_NAME,
    "report\u202efdp.exe",
    "\U0001f389 party \U0001f469\u200d\U0001f4bb.bin",
    "dot.",
)

#: SHA-256 of the files, by id. 1006 has the content of 1005, served slowly.
SHA256 = {
    1001: "3b5a0050b42cb009e324ad2b8e9a4ebcc4f1676663a11676585dfb204861963e",
    1002: "3973e022e93220f9212c18d0d0c543ae7c309e46640da93a4a0314de999f5112",
    1003: "feb79ea87d3a9d2755f35eff634911b0315ef08a357cb812ec39c92f813302d0",
    1004: "5db614b41759c1cf8f17ac35989fbb597fa20f2fcff33f14dd08ffc8eb224c96",
    1005: "95aa1cad74f30bfec0ef708040263bb89fc5332c3c786f92a50647626638103e",
    1006: "95aa1cad74f30bfec0ef708040263bb89fc5332c3c786f92a50647626638103e",
    1007: "c05b4c60b02d3de0b3a1857ba112ed723503c3ce1211060db43125e16d3b3cf9",
    1008: "50159be7a31fa09a336ef20148ba5a1ac3428d3f0ecbbd6b34fe1138430feb86",
    1009: "28b4eea42f8e5eab9b85a69c0afeac49ccad050d00baf326416cc87ba0cfa286",
    1010: "305dc8b6120065fc9a0f3628a6f4b48006760ebd1531ce6638c78ca83d8ee4d2",
    1011: "0b97e57ecf5e712fa3d16feb3f37d7685782a899de1a1e75b99932d3db07efcf",
    1012: "f11d6be1ea1b629bc0751b021994afb02ed698195153cfd2034286059396eb06",
    1013: "69190a262339e44ccff6b1025ca4ab1403caa1e375c07d2d33c6a4e1f28f1f92",
    1014: "caa7c63f6d885500e4846fac00325b4bd43750e5163800eb708a58928d3afb92",
    1015: "9caff62734ccf541bdb7dc3141785cff2ada24ca76a93c0d568a553fb624a4ef",
    1016: "f2b781d2b529ba9398140307be1a54672d845f1d4f46ff9e4b25fac21ebe4bcf",
    1017: "71576b6f8498b574c753de1b0f15676d19efaeea098359626d94c5f2c882a8a1",
    1018: "108bedf54d49c9ac26e7e6cc90f59547c639ae7ae71cae57cd62995b3e2c250d",
    1019: "2a555520c145424bba589927a12b3c1e264e8cc8894c90a1e58a62a68b59c473",
    1020: "53ca909f3256b233700b9d9b6ee2ba5923fc164ef6f88544a211cd4907b114a9",
    1021: "10e4fae71d5c938965ca67b9c384dc94c3489a3640ac85ea43b78b3a8327ef25",
    1022: "c9a2495efe73f6de9d0b8ad7a3c1f542086d0d81cf3006fd1e273ce9414c4322",
    1023: "4bc7813c0df50450742b87608de2f8c692d21bbb6b9691bb5fb7d0a934535147",
    1024: "70175a8e29a88104016e47237ff49e64022a0d64821208bb79b5ebdf561c19df",
    1025: "a3b7486b1ca4ddf08ea882a50dfd930317381a5c021496dda62724e5bcfa71d0",
    1026: "6203d445fea54099920450361ae787a9d80e1b43a84a41b1cb36afd802e70070",
}

#: The names for files whose name at Telegram is missing or not allowed on a disk.
_SAVED_AS = {
    1008: "Sunset over the harbour.jpg",
    1009: "Four views of the harbour.jpg",
    1010: "photo_2024-01-02_05-16-05_132.jpg",
    1011: "photo_2024-01-02_05-17-05_133.jpg",
    1012: "video_2024-01-02_05-18-05_134.mp4",
    1014: "_.._x",
    1015: "long-" + "x" * 231 + ".bin",  # 240 bytes
    1016: "reportfdp.exe",
    1018: "dot",
    1019: "voice_2024-01-02_05-25-05_141.ogg",
    1020: "video_2024-01-02_05-26-05_142.mp4",
    1021: "sticker_2024-01-02_05-27-05_143.webp",
}

_LINKS = (
    ("https://t.me/channel/123", "a PDF", (1001,)),
    ("https://t.me/channel/124", "1 byte", (1002,)),
    ("https://t.me/channel/125", "exactly 1 MiB", (1003,)),
    ("https://t.me/channel/126", "1 MiB and 1 byte", (1004,)),
    ("https://t.me/channel/127", "64 MiB", (1005,)),
    ("https://t.me/channel/128", "slow: the same 64 MiB, served at 8 MB/s in all", (1006,)),
    ("https://t.me/channel/129", "2 GiB", (1007,)),
    ("https://t.me/channel/130", "a photo", (1008,)),
    ("https://t.me/channel/131", "an album of 4", (1009, 1010, 1011, 1012)),
    ("https://t.me/channel/135", "a file on the second data center", (1013,)),
    ("https://t.me/channel/136", "hostile name: a path", (1014,)),
    ("https://t.me/channel/137", "hostile name: 300 characters", (1015,)),
    ("https://t.me/channel/138", "hostile name: right-to-left override", (1016,)),
    ("https://t.me/channel/139", "hostile name: emoji", (1017,)),
    ("https://t.me/channel/140", "hostile name: a trailing dot", (1018,)),
    ("https://t.me/channel/141", "a voice message, no file name", (1019,)),
    ("https://t.me/channel/142", "a video, no file name", (1020,)),
    ("https://t.me/channel/143", "a sticker, no file name", (1021,)),
    ("https://t.me/channel/123?comment=3", "a comment", (1022,)),
    (f"https://t.me/c/{PRIVATE}/5", "a private channel", (1023,)),
    (f"https://t.me/sandboxforum/{_TOPIC}/12", "a topic of a public forum", (1024,)),
    (f"https://t.me/c/{FORUM}/{_TOPIC}/13", "a topic of a forum, by its id", (1025,)),
    ("https://t.me/protected/5", "a protected chat", (1026,)),
    ("https://t.me/channel/144", "a message with text only", ()),
    ("https://t.me/channel/199", "no such message", ()),
)


def fill(world: World, faults: Faults, home: int, second: int) -> list[Sample]:
    """Add the sample accounts, files and chats to a world; returns the links to them."""
    for account in (BOT, USER, PERSON):
        world.add_account(deepcopy(account))
    for file in _files(home, second):
        world.add_file(file)
    faults.add(f"total_rate={SLOW_RATE},file=1006")
    for chat in _chats():
        world.add_chat(chat)
    _write_channel(world)
    _write_others(world)
    return [
        Sample(link, note, tuple(_expected(world.files[id_]) for id_ in ids)) for link, note, ids in _LINKS
    ]


def _expected(file: StoredFile) -> SampleFile:
    saved_as = _SAVED_AS.get(file.id) or file.name or ""
    return SampleFile(saved_as, file.content.size, SHA256[file.id], file.name)


def _files(home: int, second: int) -> list[StoredFile]:
    plain: dict[int, tuple[str, FileContent]] = {
        1002: ("one-byte.bin", ContentStream(1002, 1)),
        1003: ("1MiB.bin", ContentStream(1003, MIB)),
        1004: ("1MiB-and-1.bin", ContentStream(1004, MIB + 1)),
        1005: ("64MiB.bin", ContentStream(1005, 64 * MIB)),
        1006: ("slow-64MiB.bin", ContentStream(1005, 64 * MIB)),
        1007: ("2GiB.bin", ContentStream(1007, 2048 * MIB)),
        **{1014 + n: (name, ContentStream(1014 + n, 1000 + n)) for n, name in enumerate(_HOSTILE)},
        1022: ("comment.bin", ContentStream(1022, 70_001)),
        1023: ("private.bin", ContentStream(1023, 300_007)),
        1024: ("topic.bin", ContentStream(1024, 200_003)),
        1025: ("topic-2.bin", ContentStream(1025, 5_003)),
        1026: ("protected.bin", ContentStream(1026, 150_001)),
    }
    return [
        StoredFile(
            id=1001,
            content=LiteralContent(pdf("Saved by SaveAny.")),
            name="file.pdf",
            mime="application/pdf",
            dc=home,
        ),
        *(StoredFile(id=id_, content=content, name=name, dc=home) for id_, (name, content) in plain.items()),
        *(_photo(id_, dc=home) for id_ in (1008, 1009, 1010, 1011)),
        _nameless(1012, 123_456, "video/mp4", tl.DocumentAttributeVideo(3.0, 640, 360), home),
        StoredFile(id=1013, content=ContentStream(1013, 3 * MIB + 17), name="second-dc.bin", dc=second),
        _nameless(1019, 9_876, "audio/ogg", tl.DocumentAttributeAudio(4, voice=True), home),
        _nameless(1020, 2_345_678, "video/mp4", tl.DocumentAttributeVideo(12.5, 1280, 720), home),
        _nameless(
            1021,
            20_480,
            "image/webp",
            tl.DocumentAttributeSticker("\U0001f600", tl.InputStickerSetEmpty()),
            home,
        ),
    ]


def _nameless(id_: int, size: int, mime: str, attribute: Any, dc: int) -> StoredFile:
    """A file without a name; videos have a thumbnail."""
    thumb = Picture("m", 320, 176, LiteralContent(jpeg(320, 176, 40)))
    return StoredFile(
        id=id_,
        content=ContentStream(id_, size),
        mime=mime,
        attributes=(attribute,),
        thumbs=(thumb,) if mime.startswith("video/") else (),
        dc=dc,
    )


def _photo(id_: int, dc: int) -> StoredFile:
    """A photo in three sizes with different contents; a download must return the largest."""
    sizes = (("s", 80, 60), ("m", 320, 240), ("y", 640, 480))
    pictures = tuple(Picture(t, w, h, LiteralContent(jpeg(w, h, 40 * (id_ - 1007)))) for t, w, h in sizes)
    return StoredFile(id=id_, content=pictures[-1].content, mime="image/jpeg", pictures=pictures, dc=dc)


def _chats() -> list[Chat]:
    both = {BOT.id, USER.id}
    return [
        Chat(id=CHANNEL, title="Sample channel", username="channel", members={USER.id}, linked=DISCUSSION),
        Chat(id=PRIVATE, title="Private channel", members=both),
        Chat(
            id=FORUM, title="Sample forum", username="sandboxforum", broadcast=False, forum=True, members=both
        ),
        Chat(id=DISCUSSION, title="Sample discussion", broadcast=False, members=both, linked=CHANNEL),
        Chat(id=PROTECTED, title="Protected channel", username="protected", protected=True, members=both),
    ]


def _message(id_: int, text: str = "", **fields: Any) -> StoredMessage:
    """A message whose date depends only on its id."""
    return StoredMessage(id=id_, text=text, date=EPOCH + timedelta(minutes=id_), **fields)


def _write_channel(world: World) -> None:
    channel, files = world.chats[CHANNEL], world.files
    for number in range(123, 131):
        world.post(channel, _message(number, file=files[number + 878]))
    world.edit(channel, 130, text="Sunset over the harbour", edited=None)
    for number in range(131, 135):
        caption = "Four views of the harbour" if number == 131 else ""
        world.post(channel, _message(number, caption, file=files[number + 878], album=_ALBUM))
    for number in range(135, 144):
        world.post(channel, _message(number, file=files[number + 878]))
    world.post(channel, _message(144, "Nothing but words here."))


def _write_others(world: World) -> None:
    files, chats = world.files, world.chats
    group = chats[DISCUSSION]
    world.post(group, _message(2, file=files[1001], forwarded=(CHANNEL, 123)))
    world.post(group, _message(3, "Here is mine", file=files[1022], sender=USER.id, thread=2))
    world.post(group, _message(4, "Thanks", sender=USER.id, thread=2, reply_to=3))
    world.post(chats[PRIVATE], _message(5, "Members only", file=files[1023]))
    world.post(chats[PROTECTED], _message(5, "Look, do not pass on", file=files[1026]))
    forum = chats[FORUM]
    world.post(forum, _message(_TOPIC, service=True, opens_topic="Files"))
    world.post(forum, _message(11, "Elsewhere", sender=USER.id))
    for number, file, answered in ((12, 1024, None), (13, 1025, 12)):
        world.post(
            forum,
            _message(number, file=files[file], sender=USER.id, thread=_TOPIC, reply_to=answered, topic=True),
        )
