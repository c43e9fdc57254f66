"""Accounts that are added to the configuration, changed or removed while everything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from saveany.config import Config
from saveany.sandbox import Sandbox, samples
from saveany.telegram import account_set
from saveany.telegram.links import parse
from tests.fixtures.waiting import until
from tests.integration.telegram.conftest import Start, fetch, table


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_set, "_FOLDER_POLL_SECONDS", 0.02)


async def test_they_are_used_and_given_up_within_seconds(
    sandbox: Sandbox, start: Start, tmp_path: Path
) -> None:
    running = Config(telegram=table(sandbox, bot=True))
    accounts = await start(running.telegram)
    assert accounts.ready == ["bot"]

    assert running.adopt(Config(telegram=table(sandbox, bot=True, user=True)))
    await until(lambda: accounts.ready == ["bot", "me"])
    [media] = await accounts.resolve(parse("https://t.me/c/1500000001/123"), only=["me"])
    await fetch(accounts, media)

    other = [{"name": "me", "session": sandbox.person_session}]
    assert running.adopt(Config(telegram=table(sandbox, bot=True, accounts=other)))
    await until(lambda: "me" in accounts.ready and accounts.client("me").user.id == samples.PERSON.id)

    assert running.adopt(Config(telegram=table(sandbox, bot=True)))
    await until(lambda: accounts.ready == ["bot"])
    assert not running.adopt(Config(telegram=table(sandbox, bot=True)))
