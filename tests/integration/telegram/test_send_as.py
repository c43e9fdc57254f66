"""Photos, music and recordings are sent to a chat as such, where Telegram allows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from telethon.tl import types as tl

from saveany.catalogue.link_models import LinkedFile
from saveany.catalogue.rows import file_row
from saveany.config import Config
from saveany.delivery.opener import ContentOpener
from saveany.delivery.peers import Peers
from saveany.delivery.telegram import TelegramFiles
from saveany.foreground import Foreground
from saveany.models import Status, TaskSpec
from saveany.planning.plan import ResolvedFile
from saveany.sandbox import Sandbox
from saveany.sandbox.documents import jpeg
from saveany.sandbox.world import Chat, StoredMessage
from saveany.storage_set import StorageSet
from saveany.store import Store
from saveany.telegram.accounts import Accounts
from tests.fixtures.videos import make_audio, make_video
from tests.integration.telegram.chat_harness import ChatHarness
from tests.integration.telegram.conftest import table
from tests.integration.telegram.uploads import Open, content, key, save, sent
from tests.integration.worker.conftest import FilesSource

PHOTO = jpeg(320, 200, 17)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A file of each kind."""
    folder = tmp_path_factory.mktemp("media")
    return {
        "a.jpg": PHOTO,
        "b.mp3": make_audio(folder / "b.mp3", "-metadata", "title=Ode"),
        "c.txt": b"text",
        "d.mp4": make_video(folder / "d.mp4"),
        "e.ogg": make_audio(folder / "e.ogg", "-c:a", "libopus"),
        "f.png": make_video(folder / "f.png", "-frames:v", "1", size="200x100"),
        "g.flac": make_audio(folder / "g.flac"),
    }


def kind(message: StoredMessage) -> str:
    """As what Telegram shows the file of a message."""
    assert message.file
    if message.file.pictures:
        return "photo"
    for each in message.file.attributes:
        if isinstance(each, tl.DocumentAttributeVideo):
            return "video"
        if isinstance(each, tl.DocumentAttributeAudio):
            return "voice" if each.voice else "music"
    return "file"


def names(messages: list[StoredMessage]) -> list[str]:
    return [message.text.partition("\n")[0] for message in messages]


@dataclass
class PostedTogether(FilesSource):
    """Files of one album."""

    async def resolve(self, spec: TaskSpec) -> list[ResolvedFile]:
        return [
            ResolvedFile(name, len(data), {"name": name}, album="-100/1", caption=name)
            for name, data in self.files.items()
        ]


Make = Callable[[FilesSource], ChatHarness]


@pytest.fixture
def make(store: Store, tmp_path: Path, accounts: Accounts, inbox: Chat) -> Make:
    return lambda source: ChatHarness(store, tmp_path / "files", accounts, inbox, source)


async def test_an_album_of_mixed_kinds_is_sent_as_telegram_allows(
    make: Make, files: dict[str, bytes]
) -> None:
    harness = make(PostedTogether(dict(files)))
    await harness.worker(send_as="media")
    task_id = await harness.post()
    await harness.run()
    shown = [(text, kind(message)) for text, message in zip(names(harness.sent), harness.sent, strict=True)]
    assert shown == [
        ("a.jpg", "photo"),
        ("d.mp4", "video"),
        ("f.png", "photo"),
        ("b.mp3", "music"),
        ("g.flac", "music"),
        ("c.txt", "file"),
        ("e.ogg", "voice"),
    ]
    albums = [message.album for message in harness.sent]
    assert [albums[0], albums[3]] == [albums[1], albums[4]]
    assert albums[0] == albums[2] != albums[3]
    assert albums[5:] == [None, None]
    assert all(
        content(m) == files[name]
        for name, m in zip(names(harness.sent), harness.sent, strict=True)
        if kind(m) != "photo"
    )
    items = {item.name: item for item in await harness.store.tasks.all_items(task_id)}
    assert all(bool(item.sha256) == (name not in ("a.jpg", "f.png")) for name, item in items.items())
    assert all(item.url and item.note is None for item in items.values())
    assert (await harness.task(task_id)).status is Status.COMPLETED


async def test_the_catalogue_has_the_photo_that_telegram_keeps(
    make: Make, sandbox: Sandbox, tmp_path: Path
) -> None:
    """It can be read again; it is not the file that was saved."""
    harness = make(FilesSource({"a.png": make_video(tmp_path / "a.png", "-frames:v", "1")}))
    await harness.worker(send_as="media")
    task_id = await harness.post()
    await harness.run()
    [item], [message] = await harness.store.tasks.all_items(task_id), harness.sent
    compressed = content(message)
    assert (item.size, item.sha256, compressed != harness.source.files["a.png"]) == (
        len(compressed),
        "",
        True,
    )
    row = file_row(await harness.task(task_id), item, 0)
    assert (row["mime"], row["size"]) == ("image/jpeg", len(compressed))
    config = Config.model_validate(
        {
            "api": {"token": "a" * 20},
            "data_dir": str(tmp_path),
            "telegram": table(sandbox, user=True).model_dump(),
        }
    )
    storages = StorageSet([])
    telegram = TelegramFiles(config, harness.store, Foreground())
    opener = ContentOpener(storages, telegram, Peers(harness.store, storages, ""))
    try:
        file = LinkedFile(
            "1", "a.png", row["size"], row["mime"], "", "chat", "a.png", 1, 0, reference=item.reference
        )
        opened = await opener.open_file(file)
        assert b"".join([bytes(piece) async for piece in opened.read(0, opened.size)]) == compressed
    finally:
        await opener.close()


@pytest.mark.parametrize(
    "reason",
    [
        "PHOTO_INVALID_DIMENSIONS",
        "PHOTO_EXT_INVALID",
        "IMAGE_PROCESS_FAILED",
        "PHOTO_SAVE_FILE_INVALID",
        "MEDIA_INVALID",
    ],
)
async def test_a_refused_photo_is_sent_as_a_file(make: Make, sandbox: Sandbox, reason: str) -> None:
    """The task says so, and has the bytes of the file."""
    harness = make(FilesSource({"a.jpg": PHOTO}))
    await harness.worker(send_as="media")
    fault = sandbox.faults.add(f"error=400:{reason},method=messages.sendMedia,count=1")
    task_id = await harness.post()
    await harness.run()
    [item], [message] = await harness.store.tasks.all_items(task_id), harness.sent
    assert (fault.fired, kind(message), content(message)) == (1, "file", PHOTO)
    assert (item.size, bool(item.sha256)) == (len(PHOTO), True)
    assert reason in str(item.note)


async def test_a_photo_refused_in_an_album_leaves_it(make: Make, sandbox: Sandbox) -> None:
    photos = {f"{n}.jpg": jpeg(320, 200, 20 + n) for n in range(3)}
    harness = make(PostedTogether(photos))
    await harness.worker(send_as="media")
    sandbox.faults.add("error=400:PHOTO_EXT_INVALID,method=messages.uploadMedia,count=1")
    task_id = await harness.post()
    await harness.run()
    assert sorted(map(kind, harness.sent)) == ["file", "photo", "photo"]
    assert sorted(names(harness.sent)) == sorted(photos)
    assert len({message.album for message in harness.sent}) == 2
    items = await harness.store.tasks.all_items(task_id)
    assert sum(item.note is not None for item in items) == 1


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jpg", jpeg(9000, 1001, 17)),
        ("a.jpg", jpeg(2100, 100, 17)),
        ("a.jpg", PHOTO + bytes(11 << 20)),
        ("a.jpg", b"no picture"),
        ("a.webp", PHOTO),
    ],
    ids=["large", "long", "bytes", "broken", "webp"],
)
async def test_what_cannot_be_a_photo_is_sent_as_a_file(
    opened: Open, inbox: Chat, name: str, data: bytes
) -> None:
    receipt = await save(opened(send_as="media"), name, data)
    [message] = sent(inbox)
    assert (kind(message), content(message)) == ("file", data)
    assert (receipt.size, receipt.altered, receipt.note) == (len(data), False, None)


async def test_documents_are_the_default(opened: Open, inbox: Chat, files: dict[str, bytes]) -> None:
    for item, name in enumerate(("a.jpg", "b.mp3", "e.ogg")):
        await save(opened(), name, files[name], key(item=item))
    assert [(kind(message), content(message)) for message in sent(inbox)] == [
        ("file", files[name]) for name in ("a.jpg", "b.mp3", "e.ogg")
    ]
