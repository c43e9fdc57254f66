"""Conditional requests (RFC 9110, section 13): a client may have the file already."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum

#: A tag in a list. What is in front of it is skipped by searching, not by the expression: with two ways to
#: match a comma or a space, some kilobytes of them would keep the process busy for minutes.
_TAG = re.compile(r'((?:W/)?"[\x21\x23-\x7e\x80-\U0010ffff]*")[ \t]*(?=,|$)')


class Verdict(Enum):
    """The response that the conditions of a request demand."""

    SEND = 200
    NOT_MODIFIED = 304
    FAILED = 412


def evaluate(headers: Mapping[str, str], etag: str, modified: int) -> Verdict:
    """The response to a GET or HEAD request for a file, in the order of section 13.2.2.

    `headers` has lower-case names; `etag` is a strong one, with quotes; `modified` is in seconds since the
    epoch, 0 if it is unknown.
    """
    if (match := headers.get("if-match")) is not None:
        if not _lists(match, etag, weak=False):
            return Verdict.FAILED
    elif (since := seconds_of(headers.get("if-unmodified-since"))) is not None and modified > since:
        return Verdict.FAILED
    if (none := headers.get("if-none-match")) is not None:
        return Verdict.NOT_MODIFIED if _lists(none, etag, weak=True) else Verdict.SEND
    since = seconds_of(headers.get("if-modified-since"))
    if since is not None and modified and modified <= since:
        return Verdict.NOT_MODIFIED
    return Verdict.SEND


def range_applies(headers: Mapping[str, str], etag: str, modified: int) -> bool:
    """Whether the Range header counts: If-Range must name this version of the file (section 13.1.5)."""
    if (named := headers.get("if-range")) is None:
        return True
    named = named.strip()
    if named.endswith('"'):
        return named == etag
    return bool(modified) and seconds_of(named) == modified


def _lists(header: str, etag: str, *, weak: bool) -> bool:
    """Whether the header lists the ETag, or is `*`. A weak comparison ignores `W/`."""
    if header.strip() == "*":
        return True
    tags = _TAG.findall(header)
    return any((tag.removeprefix("W/") if weak else tag) == etag for tag in tags)


def seconds_of(date: str | None) -> int | None:
    """The time of an HTTP date in seconds since the epoch; None if it is invalid, and then ignored."""
    if not date:
        return None
    try:
        found = parsedate_to_datetime(date)
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
