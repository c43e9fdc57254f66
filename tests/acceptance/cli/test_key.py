"""`saveany key` with a running SaveAny."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.cli.test_tasks import PDF, fails, run
from tests.fixtures.stack import USER_ID, Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_key_is_added_used_and_revoked(running: Stack) -> None:
    result = await running.saveany("key", "add", "my script", "--user", str(USER_ID), "--scope", "tasks")
    assert result.code == 0
    secret = result.out.removesuffix("\n")
    assert secret.startswith("sa_")
    [key] = json.loads(await run(running, "key", "--json"))["keys"]
    assert f"key revoke {key['key_id']}" in result.err
    assert (key["name"], key["scopes"], key["state"]) == ("my script", ["tasks"], "active")
    task_id = (await run(running, "add", PDF, SAVEANY_TOKEN=secret)).removesuffix("\n")
    await running.ended(task_id)
    assert "only the operator" in await fails(running, "queue", "pause", SAVEANY_TOKEN=secret)
    assert "lacks the scope" in await fails(running, "files", SAVEANY_TOKEN=secret)
    listed = await run(running, "key", "list", "--user", str(USER_ID))
    assert key["key_id"] in listed
    assert secret not in listed
    assert await run(running, "key", "revoke", key["key_id"]) == f"{key['key_id']} revoked\n"
    assert "token required" in await fails(running, "ls", SAVEANY_TOKEN=secret)
    assert "revoked" in await run(running, "key")
    signing = await running.saveany("key", "add", "cron", "--user", str(USER_ID), "--readable")
    key = json.loads(await run(running, "key", "--json"))["keys"][-1]
    assert key["readable"]
    assert f"keyid {key['key_id']}" in signing.err
    assert signing.out.startswith("sa_")


async def test_wrong_keys_are_refused(running: Stack) -> None:
    assert "there is no scope 'all'" in await fails(
        running, "key", "add", "x", "--user", "1", "--scope", "all", code=2
    )
    assert "user 1 is not configured" in await fails(running, "key", "add", "x", "--user", "1")
    assert "there is no key nothing" in await fails(running, "key", "revoke", "nothing")
