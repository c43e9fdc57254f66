"""Keys of the API in the catalogue, on both engines."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select, update

from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.keys import ApiKey, hash_of, is_secret
from saveany.catalogue.tables import keys
from saveany.models import KeyScope


async def make(
    catalogue: Catalogue, user_id: int = 1, *scopes: KeyScope, readable: bool = False
) -> tuple[ApiKey, str]:
    return await catalogue.keys.make(user_id, "script", scopes or ("tasks",), readable=readable)


async def found(catalogue: Catalogue, secret: str) -> ApiKey | None:
    return await catalogue.keys.with_secret(hash_of(secret.encode()))


async def test_a_key_is_found_by_its_secret(any_catalogue: Catalogue) -> None:
    key, secret = await make(any_catalogue, 7, "links", "files")
    assert is_secret(secret.encode())
    assert await found(any_catalogue, secret) == await any_catalogue.keys.get(key.id) == key
    assert (key.user_id, key.name, set(key.scopes)) == (7, "script", {"files", "links"})
    assert (key.is_readable, key.used_at, key.revoked_at) == (False, None, None)
    other = "b" if secret[-1] == "a" else "a"
    assert await found(any_catalogue, secret[:-1] + other) is None


async def test_a_secret_is_not_stored(any_catalogue: Catalogue) -> None:
    key, secret = await make(any_catalogue)
    assert await kept(any_catalogue, key) == ""
    async with any_catalogue._database.read() as connection:
        [row] = await connection.execute(select(keys))
    assert secret not in str(row)


async def test_a_secret_that_must_be_readable_is_forgotten_with_its_key(any_catalogue: Catalogue) -> None:
    key, secret = await make(any_catalogue, readable=True)
    assert key.is_readable
    assert await kept(any_catalogue, key) == secret
    assert secret not in repr(key)
    await any_catalogue.keys.revoke(key.id)
    assert await kept(any_catalogue, key) == ""


async def kept(catalogue: Catalogue, key: ApiKey) -> str:
    """The secret that the catalogue has of a key."""
    current = await catalogue.keys.get(key.id)
    assert current is not None
    return current.secret.get_secret_value()


async def test_secrets_differ(any_catalogue: Catalogue) -> None:
    made = await asyncio.gather(*(make(any_catalogue) for _ in range(20)))
    assert len({secret for _, secret in made}) == len({key.id for key, _ in made}) == 20


async def test_a_revoked_key_is_listed_and_never_works_again(any_catalogue: Catalogue) -> None:
    key, secret = await make(any_catalogue)
    await any_catalogue.keys.revoke(key.id)
    assert await found(any_catalogue, secret) is None
    [listed] = await any_catalogue.keys.all()
    assert listed.revoked_at is not None
    await any_catalogue.keys.revoke(key.id)
    assert await any_catalogue.keys.all() == [listed]


async def test_keys_are_listed_by_user(any_catalogue: Catalogue) -> None:
    made = [(await make(any_catalogue, user))[0].id for user in (1, 2, 1)]
    assert [key.id for key in await any_catalogue.keys.all()] == made
    assert [key.id for key in await any_catalogue.keys.all(1)] == [made[0], made[2]]
    assert await any_catalogue.keys.all(3) == []


@pytest.mark.parametrize("key_id", ["", "x", "config:x", "é", "\0", "x" * 1000])
async def test_an_unknown_id_is_no_key(any_catalogue: Catalogue, key_id: str) -> None:
    assert await any_catalogue.keys.get(key_id) is None
    await any_catalogue.keys.revoke(key_id.replace("\0", ""))


async def test_the_last_use_is_written_once_a_minute(any_catalogue: Catalogue) -> None:
    key, _ = await make(any_catalogue)
    first = await used_at(any_catalogue, key)
    assert first
    assert await used_at(any_catalogue, key) == first  # by another process, which has read the key before
    async with any_catalogue._database.write() as connection:
        await connection.execute(update(keys).values(used_at=first - 60_000))
    assert await used_at(any_catalogue, key) >= first


async def used_at(catalogue: Catalogue, key: ApiKey) -> int:
    """The last use that is noted after another one."""
    catalogue.keys.note_use(key)
    await catalogue.keys.close()
    current = await catalogue.keys.get(key.id)
    assert current is not None
    return current.used_at or 0


async def test_a_scope_of_a_newer_version_is_ignored(any_catalogue: Catalogue) -> None:
    key, secret = await make(any_catalogue)
    async with any_catalogue._database.write() as connection:
        await connection.execute(update(keys).values(scopes="files teleport"))
    current = await found(any_catalogue, secret)
    assert current is not None
    assert current.scopes == {"files"}
    assert current.id == key.id
