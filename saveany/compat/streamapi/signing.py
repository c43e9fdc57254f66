"""Parameters of a request, and its signature: the MD5 of their values, the secret and the request id."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from saveany.compat.streamapi.errors import MISSING, StreamApiError

#: Parameters that are not signed: the signature itself, and the id, which follows the secret.
_UNSIGNED: Final = ("sig", "rid")
#: Keeps bytes that are no UTF-8, for they are signed as they were sent.
_BYTES: Final = "surrogateescape"


def parse(query: bytes, form: bytes) -> dict[str, str]:
    """The parameters in a query and a form. Raises `StreamApiError` if one is given twice: its signature
    would not say which value counts."""
    found: dict[str, str] = {}
    for part in (query, form):
        text = part.decode("utf-8", _BYTES)
        for name, value in parse_qsl(text, keep_blank_values=True, errors=_BYTES):
            if name in found:
                raise StreamApiError(MISSING, "a parameter is given twice")
            found[name] = value
    return found


def signature(parameters: Mapping[str, str], secret: str) -> str:
    """The signature that a request with these parameters must have."""
    encoded = {name.encode("utf-8", _BYTES): value for name, value in parameters.items()}
    signed = [
        value for name, value in sorted(encoded.items()) if name.decode("utf-8", _BYTES) not in _UNSIGNED
    ]
    whole = "".join([*signed, secret, parameters["rid"]]).encode("utf-8", _BYTES)
    return hashlib.md5(whole, usedforsecurity=False).hexdigest()


def is_signed(parameters: Mapping[str, str], secret: str) -> bool:
    """Whether the signature of a request is right."""
    given = parameters["sig"].encode("utf-8", _BYTES)
    return hmac.compare_digest(signature(parameters, secret).encode(), given)
