"""QR codes as text for a terminal and as a PNG picture."""

from __future__ import annotations

import io

import segno

_BORDER = 2  # light modules around the code; enough for phones, and terminals have few lines
_SCALE = 10  # pixels per module


def lines(text: str) -> list[str]:
    """The code drawn with half blocks, two rows of modules per line. The blocks are the light modules, so
    print them in a light color on a dark background."""
    out = io.StringIO()
    _code(text).terminal(out, border=_BORDER, compact=True)
    return out.getvalue().splitlines()


def png(text: str) -> bytes:
    """The code as a PNG, about 400 pixels wide."""
    out = io.BytesIO()
    _code(text).save(out, kind="png", scale=_SCALE)
    return out.getvalue()


def _code(text: str) -> segno.QRCode:
    return segno.make_qr(text, error="l")
