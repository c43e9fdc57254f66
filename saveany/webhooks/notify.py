"""Notifications by Apprise, about the same events as webhooks, and delivered like them.

A delivery goes to that URL of `[notify] urls` whose digest its address has. So the URL is nowhere but in the
configuration, and the delivery stays its own if the list is changed in between. Apprise runs in a process of
its own, which ends afterwards: it would cost each worker 40 MB.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from saveany.logs import redact
from saveany.texts import Text

#: The scheme of the addresses of notifications.
SCHEME = "notify:"
#: Seconds that a notification may take.
TIMEOUT_S = 25.0

_MAX_ERROR = 300
#: The service in a URL, and the length of digests.
_SERVICE, _DIGEST = re.compile(r"([a-z0-9]{1,20})://"), 16
#: Characters between the parts of a URL, and the length of the shortest part that may be a secret.
_SEPARATORS, _MIN_PART = re.compile(r"[/?&=@:#,]"), 4
_TITLE = re.compile(r"\[[^\]]*\]\((.*)->.*?\)", re.DOTALL)
_TITLES = {
    "task.completed": Text("Saved: {name}"),
    "task.failed": Text("Failed: {name}"),
    "task.canceled": Text("Canceled: {name}"),
    "archive_complete": Text("Archived: {name}"),
    "archive_problem": Text("The archive of {name} does not continue"),
    "test": Text("SaveAny can notify you"),
}


def address_of(url: str) -> str:
    """The address of the notifications to a URL of Apprise: its service and a digest."""
    service = _SERVICE.match(url.lower())
    digest = hashlib.sha256(url.encode()).hexdigest()[:_DIGEST]
    return f"{SCHEME}{service[1] if service else ''}-{digest}"


def message_of(body: Mapping[str, Any]) -> tuple[Text, Text]:
    """Title and text of a notification, made from the body of a webhook."""
    event = str(body["event"])
    title = str(body.get("title") or "")
    found = _TITLE.fullmatch(title)
    name = (found[1] if found else title) or str(body.get("task_id", ""))
    return Text(_TITLES[event].template, {"name": name}), _text(event, body)


def _text(event: str, body: Mapping[str, Any]) -> Text:
    if body.get("error"):
        return Text("{text}", {"text": str(body["error"])})
    if event == "archive_complete":
        counts = body["counts"]
        saved = counts["saved"] + counts["duplicate"]
        return Text(
            "{saved} files are saved, {failed} have failed.", {"saved": saved, "failed": counts["failed"]}
        )
    if event == "test":
        return Text("This is a test.")
    return Text(
        "{count} files, storage {storage}",
        {"count": int(body.get("items_total", 0)), "storage": str(body.get("storage", ""))},
    )


def _without_parts(text: str, url: str) -> str:
    """A text without a URL of Apprise and its parts, which Apprise may quote: any of them may be secret."""
    parts = {part for part in _SEPARATORS.split(url.partition("://")[2]) if len(part) >= _MIN_PART}
    parts |= {unquote(part) for part in parts} | {url}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "…")
    return text


async def notify(url: str, body: Mapping[str, Any], language: str = "") -> str:
    """Send a notification about an event. Returns why that failed; "" if it was sent."""
    title, text = message_of(body)
    texts = [(each.template, each.fields) for each in (title, text)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "saveany.apprise_process"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    request = json.dumps({"url": url, "texts": texts, "language": language}).encode()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, errors = await process.communicate(request)
    except TimeoutError:
        return f"not sent within {TIMEOUT_S:.0f} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return ""
    reason = redact(_without_parts(errors.decode("utf-8", "replace"), url)).strip()
    return reason[-_MAX_ERROR:] or f"Apprise ended with {process.returncode}"
