"""QR codes: for a terminal, and as a picture."""

from __future__ import annotations

import io

import segno

_QUIET = 2  # light modules around it; phones need no more, and a terminal has few lines
_PIXELS = 10


def lines(text: str) -> list[str]:
    """The code in half blocks, two rows to a line; they are its light parts, so show them light on dark."""
    out = io.StringIO()
    _code(text).terminal(out, border=_QUIET, compact=True)
    return out.getvalue().splitlines()


def png(text: str) -> bytes:
    """The code as a PNG of about 400 pixels."""
    out = io.BytesIO()
    _code(text).save(out, kind="png", scale=_PIXELS)
    return out.getvalue()


def _code(text: str) -> segno.QRCode:
    return segno.make_qr(text, error="l")
