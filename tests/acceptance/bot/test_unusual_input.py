"""Unusual names, captions, albums, groups and preferences."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from telethon.tl import types as tl

from saveany.preferences import Preferences, Shortcut
from saveany.sandbox import samples
from saveany.sandbox.content import LiteralContent
from saveany.sandbox.world import Chat, Group, StoredFile, StoredMessage
from saveany.store.preferences import PreferencesStore
from tests.acceptance.bot.conftest import BOT, contains, database, has_button
from tests.fixtures.stack import Stack
from tests.sandbox.clients import Person, named

DATA = b"all of it" * 100


async def prefer(stack: Stack, prefs: Preferences) -> None:
    """Set preferences for which a user would need many commands."""
    async with database(stack) as db:
        await PreferencesStore(db).change(samples.PERSON.id, lambda old: prefs)


def saved(folder: Path) -> list[str]:
    """Names of all saved files, without the storage's own."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if not path.name.startswith("."))


@pytest.mark.parametrize(
    ("name", "shown", "kept"),
    [
        ("<b>bold</b> & &amp;.txt", "<b>bold</b> & &amp;.txt", "_b_bold__b_ & &amp;.txt"),
        (
            "\U0001f389 \U0001f469\u200d\U0001f4bb.txt",
            "\U0001f389",
            "\U0001f389 \U0001f469\u200d\U0001f4bb.txt",
        ),
        ("evil\u202etxt.exe", "evil", "eviltxt.exe"),
        ("x" * 251 + ".txt", "xxx…xxxxxxxx.txt", "x" * 236 + ".txt"),
        ("/start", "/start", "_start"),
    ],
)
async def test_unusual_names_are_saved(stack: Stack, anna: Person, name: str, shown: str, kept: str) -> None:
    named_so = [tl.DocumentAttributeFilename(name)]
    caption = "/start & <i>a caption</i> " + "y" * 990
    await anna.client.send_file(BOT, DATA, attributes=named_so, caption=caption, force_document=True)
    card = await anna.receives(has_button("local1"))
    assert shown in card.raw_text
    await anna.press(card, "local1")
    done = await anna.receives(contains("Saved"))
    assert done.id == card.id
    assert saved(stack.storage_dir) == [kept]


async def test_albums_are_never_split(stack: Stack, anna: Person) -> None:
    sizes = [2 + n * 7 % 9 for n in range(25)]
    chat = stack.sandbox.world.add_chat(
        Chat(id=1600000088, title="Albums", username="many_albums", members={samples.PERSON.id})
    )
    number = 1
    forwards: list[list[int]] = [[]]
    for album, size in enumerate(sizes):
        if len(forwards[-1]) + size > 100:
            forwards.append([])
        for n in range(size):
            number += 1
            file = StoredFile(
                id=2_100_000 + number, content=LiteralContent(b"%d" % number), name=f"{album}-{n}.txt"
            )
            stack.sandbox.world.add_file(file)
            text = f"Album {album}" if n == 0 else ""
            stack.sandbox.world.post(
                chat, StoredMessage(id=number, text=text, file=file, album=5_000 + album)
            )
            forwards[-1].append(number)
    await anna.send(BOT, "/rule add album=yes -> local1:Albums/{{ album }}")
    await anna.receives(contains("1."))
    await anna.send(BOT, "/silent on")
    await anna.receives(contains("Silent mode is on"))
    for ids in forwards:
        await anna.client.forward_messages(BOT, ids, "many_albums")
    albums: defaultdict[str, set[str]] = defaultdict(set)

    def all_saved(message: object) -> bool:
        albums.clear()
        for path in saved(stack.storage_dir):
            _, folder, name = path.split("/")
            albums[folder].add(name)
        return sum(map(len, albums.values())) == sum(sizes)

    await anna.receives(all_saved, 60)
    assert sorted(len(names) for names in albums.values()) == sorted(sizes)
    assert all(len({name.partition("-")[0] for name in names}) == 1 for names in albums.values())


async def test_the_bot_works_in_a_small_group(stack: Stack, anna: Person) -> None:
    group = tl.InputPeerChat(4001)
    members = {samples.BOT.id, samples.PERSON.id}
    stack.sandbox.world.private_chats.add_group(Group(id=group.chat_id, title="Few", members=members))
    await anna.send(group, named(DATA, "not for you.txt"))
    await anna.send(group, named(DATA, "mention.txt"), caption="@sandbox_bot please")
    card = await anna.receives(has_button("local1"))
    assert "mention.txt" in card.text
    await anna.press(card, "local1")
    done = await anna.receives(contains("Saved"))
    await anna.send(group, named(DATA, "reply.txt"), reply_to=done.id)
    card = await anna.receives(lambda message: has_button("local1")(message) and "reply.txt" in message.text)
    await anna.press(card, "local1")
    await anna.receives(lambda message: message.id == card.id and "Saved" in message.text)
    assert saved(stack.storage_dir) == ["mention.txt", "reply.txt"]


async def test_the_bot_works_in_a_supergroup(stack: Stack, anna: Person) -> None:
    members = {samples.BOT.id, samples.PERSON.id}
    stack.sandbox.world.add_chat(
        Chat(id=18, title="Many", username="thesupergroup", broadcast=False, members=members)
    )
    await anna.send("thesupergroup", named(DATA, "not for you.txt"))
    sent = await anna.client.send_file(
        "thesupergroup",
        [named(DATA, f"{n}.txt") for n in range(3)],
        caption=["@sandbox_bot our trip", "", ""],
        force_document=True,
    )
    card = await anna.receives(has_button("local1"))
    assert card.reply_to_msg_id == sent[0].id
    assert "3 files" in card.text
    await anna.press(card, "local1")
    await anna.press(await anna.receives(has_button("our trip")), "our trip")
    done = await anna.receives(contains("3 of 3"))
    await anna.send("thesupergroup", named(DATA, "reply.txt"), reply_to=done.id)
    card = await anna.receives(lambda message: has_button("local1")(message) and "reply.txt" in message.text)
    await anna.press(card, "local1")
    await anna.receives(lambda message: message.id == card.id and "Saved" in message.text)
    assert [name.rpartition("/")[2] for name in saved(stack.storage_dir)] == [
        "0.txt",
        "1.txt",
        "2.txt",
        "reply.txt",
    ]


async def test_files_of_a_protected_chat_are_saved(stack: Stack, anna: Person) -> None:
    await anna.send(BOT, "https://t.me/protected/5")
    await anna.press(await anna.receives(has_button("local1")), "local1")
    await anna.receives(contains("Saved"))
    assert saved(stack.storage_dir) == ["protected.bin"]


async def test_a_hundred_folders_can_be_chosen_from(stack: Stack, anna: Person) -> None:
    folders = tuple(
        Shortcut("local2", f"some <b>long</b> folder & more/{n:03} {'x' * 60}") for n in range(100)
    )
    await prefer(stack, Preferences(shortcuts=folders))
    await anna.send(BOT, "/dir")
    assert "some <b>long</b> folder & more/000" in (await anna.receives(contains("local2:/"))).raw_text
    await anna.send(BOT, named(DATA, "notes.txt"))
    await anna.press(await anna.receives(has_button("local2")), "local2")
    card = await anna.receives(has_button("/"))
    await prefer(stack, Preferences(shortcuts=folders[5:]))
    answer = await anna.press(card, "more/003")
    assert "no longer exists" in answer.message
    await anna.press(card, "more/007")
    await anna.receives(contains("Saved"))
    assert saved(stack.folder / "more") == [f"{folders[7].folder}/notes.txt"]
    await anna.send(BOT, "/storage")
    await anna.press(await anna.receives(contains("Choose another storage")), "local2")
    await anna.press(await anna.receives(contains("Which folder")), "more/008")
    await anna.receives(contains("local2:/some"))


async def test_preferences_for_removed_storages_are_ignored(stack: Stack, anna: Person) -> None:
    await prefer(
        stack, Preferences(storage="nas", folder="films", silent=True, shortcuts=(Shortcut("nas", "x"),))
    )
    await anna.send(BOT, "/config")
    assert "local1:/\n" in (await anna.receives(contains("Default storage"))).raw_text
    await anna.send(BOT, named(DATA, "notes.txt"))
    await anna.receives(contains("Saved"))
    assert saved(stack.storage_dir) == ["notes.txt"]


async def test_long_lists_of_tasks_are_truncated(stack: Stack, anna: Person) -> None:
    await stack.client.post("/api/v1/queue/pause")
    for n in range(12):
        await stack.add(f"https://t.me/channel/{123 + n}", user_id=samples.PERSON.id)
    await anna.send(BOT, "/task")
    listed = await anna.receives(has_button("✖ 10"))
    assert "… and 2 more" in listed.text
    await anna.send(BOT, "/cancel all")
    await anna.receives(contains("12 tasks were canceled."))
    await stack.client.post("/api/v1/queue/resume")


@pytest.mark.parametrize("spoilt", [b"\xff", b"{", b"[7]", b"{}", b'{"v":9}', b'{"token":7}'])
async def test_an_unreadable_card_or_list_counts_as_expired(
    stack: Stack, anna: Person, spoilt: bytes
) -> None:
    await anna.client.send_message(BOT, "https://t.me/channel/124")
    card = await anna.receives(has_button("local1"))
    async with database(stack) as db:
        for key in await db.do("KEYS", "sa:bot:card:*"):
            await db.do("SET", key, spoilt)
        person = samples.PERSON.id
        await db.do("SET", f"sa:bot:card:list:{person}:{person}", spoilt)
    assert "Send it again" in str((await anna.press(card, "local1")).message)
    await anna.client.send_message(BOT, "/cancel 1")
    await anna.receives(contains("has no number 1"))
