"""All views of the web UI, as its router lists them: a new one is in all tests of every view."""

from __future__ import annotations

import re
from pathlib import Path

import saveany.web
from tests.fixtures.browser import Page

_APP = Path(saveany.web.__file__).parent / "app.js"
#: Views that only those see who are not logged in; `test_first_run` and `test_every_view` check them.
_WITHOUT_SESSION = frozenset({"claim", "login"})
#: What else is looked at: parts of views that an address opens. All settings at once take long.
_MORE = {
    "setup": ("setup/telegram", "setup/account", "setup/storage", "setup/done"),
    "chats": ("chats", "chats?add", "chats?adopt", "chats?live"),
    "configuration": ("configuration?q=links",),
}
_READY = "!document.querySelector('main .loading') && document.querySelector('main')?.children.length"


def addresses() -> list[str]:
    """The addresses of all views."""
    names = re.findall(r'^  (\w+): \(\) => import\("\./views/\1\.js"\)', _APP.read_text(), re.MULTILINE)
    assert len(names) > 15
    assert set(names) >= _WITHOUT_SESSION | set(_MORE)
    return [address for name in names if name not in _WITHOUT_SESSION for address in _MORE.get(name, (name,))]


async def show(page: Page, address: str) -> None:
    """Open a view, and wait until it is there."""
    await page.run("address => { location.hash = '#/' + address }", address)
    await page.wait(_READY)
    await page.run("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    await page.wait(_READY)
