"""An impossible request gets one helpful reply."""

from __future__ import annotations

import pytest

from tests.acceptance.bot.conftest import BOT
from tests.sandbox.clients import Person


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        ("/sav", "/save?"),
        ("/nonsense", "/help"),
        ("hello there", "/help"),
        ("x" * 4096, "/help"),
        ("/save", "links"),
        ("/save @channel 100-50000", "10,000"),
        ("/rule add name=( -> local1:x", "regular expression"),
        ("/rule add name=x -> nowhere:x", "nowhere"),
        ("/rule del 7", "There is no rule"),
        ("/rule frobnicate", "Send /rule"),
        ("/fnametmpl {{ unknown }}", "unknown"),
        ("/fnametmpl {% for x in name %}{% endfor %}", "line 1"),
        ("/storage nowhere:x", "local1, local2"),
        ("/storage local1:../x", "folder"),
        ("/dir del 3", "no folder"),
        ("/dl not-a-url", "URL"),
        ("/aria2dl magnet:?xt=urn:btih:abc", "config set aria2.enable true"),
        ("magnet:?xt=urn:btih:abc", "config set aria2.enable true"),
        ("https://example.com/films.torrent", "config set aria2.enable true"),
        ("/ytdlp --exec evil https://example.com/", "--exec"),
        ("/transfer local9:x", "local9"),
        ("/task 00000000000000000000", "no task"),
        ("/cancel nothing", "no task"),
        ("/history sometimes", "completed"),
        ("/silent perhaps", "/silent on"),
    ],
)
async def test_an_impossible_request_gets_one_helpful_reply(anna: Person, sent: str, reply: str) -> None:
    await anna.send(BOT, sent)
    heard = await anna.receives(lambda message: True)
    assert reply in heard.text
    assert "Traceback" not in heard.text
    assert len(anna.received) == 1


async def test_help_lists_the_available_commands(anna: Person) -> None:
    await anna.send(BOT, "/help")
    text = (await anna.receives(lambda message: True)).text
    assert "✅ files in Telegram messages" in text
    assert "❌ torrents and magnet links, with aria2: disabled; set enable = true in [aria2]" in text
    assert "/dl:" in text
    assert "/aria2dl:" not in text
