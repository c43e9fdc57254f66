"""Records of the bot in a real Valkey."""

from __future__ import annotations

from saveany.store import Store


async def test_records_of_another_bot_are_deleted(store: Store) -> None:
    memory = store.bot
    await memory.use_for(1)
    await memory.receive({"a": b"letter"}, b"here")
    await memory.use_for(1)
    assert (await memory.position(), await memory.inbox()) == (b"here", {"a": b"letter"})
    await memory.use_for(2)
    assert (await memory.position(), await memory.inbox()) == (b"", {})


async def test_only_one_bot_holds_the_lock(store: Store) -> None:
    memory = store.bot
    assert await memory.acquire_lock("one")
    assert await memory.acquire_lock("one")
    assert not await memory.acquire_lock("two")
    await memory.release_lock("two")  # it is not his
    assert not await memory.acquire_lock("two")


async def test_updates_are_bundled_and_handled(store: Store) -> None:
    memory = store.bot
    await memory.receive({"a": b"1", "b": b"2", "c": b"3"}, b"here")
    await memory.group(["a", "b"], "bundle/a", b"12")
    assert await memory.inbox() == {"c": b"3", "bundle/a": b"12"}
    await memory.handled("bundle/a")
    assert await memory.inbox() == {"c": b"3"}
