"""Preferences of users, in a real Valkey."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from saveany.models import Rule
from saveany.preferences import Preferences, Shortcut
from saveany.store import Store

ALL = Preferences(
    language="zh-Hans",
    silent=True,
    storage="nas",
    folder="a/b",
    on_conflict="ask",
    template="{{ name }}",
    rules_on=False,
    rules=(Rule(name="x", kinds=("video",), max_size=0, album=False, storage="nas", folder="F"), Rule()),
    shortcuts=(Shortcut("nas", "Films"),),
)


async def test_a_user_without_preferences_has_the_defaults(store: Store) -> None:
    assert await store.preferences.get(1) == Preferences()


async def test_preferences_are_stored_per_user(store: Store) -> None:
    assert await store.preferences.change(1, lambda prefs: ALL) == ALL
    assert await store.preferences.get(1) == ALL
    assert await store.preferences.get(2) == Preferences()


async def test_simultaneous_changes_are_all_kept(store: Store) -> None:
    async def one(n: int) -> None:
        await store.preferences.change(
            1, lambda prefs: replace(prefs, rules=(*prefs.rules, Rule(name=str(n))))
        )

    await asyncio.gather(*map(one, range(30)))
    assert sorted(int(rule.name) for rule in (await store.preferences.get(1)).rules) == list(range(30))


async def test_a_change_that_fails_changes_nothing(store: Store) -> None:
    def refuse(prefs: Preferences) -> Preferences:
        raise ValueError("no")

    await store.preferences.change(1, lambda prefs: ALL)
    with pytest.raises(ValueError, match="no"):
        await store.preferences.change(1, refuse)
    assert await store.preferences.get(1) == ALL


async def test_a_change_with_an_id_is_made_once(store: Store) -> None:
    def toggled(prefs: Preferences) -> Preferences:
        return replace(prefs, silent=not prefs.silent)

    assert not await store.preferences.changed("7/1")
    assert (await store.preferences.change(1, toggled, once="7/1")).silent
    assert await store.preferences.changed("7/1")
    assert (await store.preferences.change(1, toggled, once="7/1")).silent
    assert not (await store.preferences.change(1, toggled, once="7/2")).silent
