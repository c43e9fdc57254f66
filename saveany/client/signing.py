"""Signing requests with the secret of a key (RFC 9421), so that the secret is not sent."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms

_DIGEST: Final = "Content-Digest"
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The id and the secret of a key that was made with `readable`."""

    key_id: str
    secret: str = field(repr=False)


class SigningAuth(httpx.Auth):
    """Signs each request, with a nonce of its own. A body that is streamed needs its Content-Digest."""

    def __init__(self, key: SigningKey) -> None:
        self._key_id = key.key_id
        keys = {key.key_id: key.secret.encode()}
        resolver = MappingKeyResolver(public_keys={}, private_keys=keys)
        self._signer = HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=resolver)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """The request with its signature."""
        if _DIGEST not in request.headers and request.content:
            request.headers[_DIGEST] = _written(hashlib.sha256(request.content))
        has_body = _DIGEST in request.headers
        self._signer.sign(
            request,
            key_id=self._key_id,
            nonce=uuid4().hex,
            label="sig",
            covered_component_ids=("@method", "@path", "@query", *((_DIGEST.lower(),) if has_body else ())),
            use_existing_digest=has_body,
        )
        yield request


def content_digest(file: Path) -> dict[str, str]:
    """The header with the digest of a file."""
    hasher = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            hasher.update(chunk)
    return {_DIGEST: _written(hasher)}


def _written(hasher: hashlib._Hash) -> str:
    return f"sha-256=:{base64.b64encode(hasher.digest()).decode()}:"
