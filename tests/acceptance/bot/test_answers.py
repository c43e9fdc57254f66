"""What cannot be done is answered once, with words that help."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from saveany.sandbox import samples
from tests.acceptance.bot.conftest import BOT
from tests.fixtures.stack import Stack
from tests.sandbox.clients import Person, person

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Person]:
    """Somebody who talks with one bot in all tests of this file."""
    folder = tmp_path_factory.mktemp("talk")
    storages = [
        {"name": name, "type": "local", "base_path": str(folder / name)} for name in ("local1", "local2")
    ]
    tables = {"users": [{"id": samples.PERSON.id}], "storages": storages}
    async with Stack(folder, tables=tables) as stack:
        await stack.start_bot()
        async with person(stack.sandbox) as one:
            yield one


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ("/sav", "/save?"),
        ("/nonsense", "/help"),
        ("hello there", "/help"),
        ("x" * 4096, "/help"),
        ("/save", "links"),
        ("/save @channel 100-50000", "10,000"),
        ("/rule add name=( -> local1:x", "regular expression"),
        ("/rule add name=x -> nowhere:x", "nowhere"),
        ("/rule del 7", "no rule"),
        ("/rule frobnicate", "say /rule"),
        ("/fnametmpl {{ unknown }}", "unknown"),
        ("/fnametmpl {% for x in name %}{% endfor %}", "line 1"),
        ("/storage nowhere:x", "local1, local2"),
        ("/storage local1:../x", "folder"),
        ("/dir del 3", "no folder"),
        ("/dl not-a-url", "URL"),
        ("/ytdlp --exec evil https://example.com/", "--exec"),
        ("/transfer local9:x", "local9"),
        ("/task 00000000000000000000", "no task"),
        ("/cancel nothing", "no task"),
        ("/history sometimes", "completed"),
        ("/silent perhaps", "/silent on"),
    ],
)
async def test_one_answer_that_helps(talk: Person, sent: str, answer: str) -> None:
    talk.heard.clear()
    await talk.send(BOT, sent)
    heard = await talk.hears(lambda message: True)
    assert answer in heard.text
    assert "Traceback" not in heard.text
    assert len(talk.heard) == 1
