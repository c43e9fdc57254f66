"""Signs requests as RFC 9421 describes it, without the library that the API uses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx


def digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def mac(secret: bytes, base: str) -> str:
    return base64.b64encode(hmac.new(secret, base.encode(), hashlib.sha256).digest()).decode()


def signature_base(components: Mapping[str, str], parameters: str) -> str:
    lines = [f'"{name}": {value}' for name, value in components.items()]
    return "\n".join([*lines, f'"@signature-params": {parameters}'])


class Signer:
    """The owner of a key."""

    def __init__(self, key_id: str, secret: str) -> None:
        self.key_id, self.secret = key_id, secret

    def headers(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        *,
        covered: Iterable[str] | None = None,
        fields: Mapping[str, str] = {},
        **changed: str | None,
    ) -> dict[str, str]:
        """The headers of a signed request. `changed` are parameters of the signature as they are written;
        None leaves one out."""
        parts = urlsplit(url)
        own = {} if body is None else {"content-digest": digest(body)}
        own |= fields
        values = {
            "@method": method,
            "@path": parts.path,
            "@query": f"?{parts.query}",
            "@target-uri": url,
            "@authority": parts.netloc,
            **own,
        }
        names = ["@method", "@path", "@query", *own] if covered is None else list(covered)
        parameters: dict[str, str | None] = {
            "created": str(int(time.time())),
            "keyid": f'"{self.key_id}"',
            "nonce": f'"{uuid4().hex}"',
            **changed,
        }
        listed = " ".join(f'"{name}"' for name in names)
        written = "".join(f";{name}={value}" for name, value in parameters.items() if value is not None)
        base = signature_base({name: values[name] for name in names}, f"({listed}){written}")
        return {
            **own,
            "signature-input": f"sig=({listed}){written}",
            "signature": f"sig=:{mac(self.secret.encode(), base)}:",
        }

    async def send(
        self, client: httpx.AsyncClient, method: str, path: str, body: bytes | None = None, **options: Any
    ) -> httpx.Response:
        """The reply to a signed request."""
        headers = self.headers(method, f"{str(client.base_url).rstrip('/')}{path}", body, **options)
        kind = {} if body is None else {"content-type": "application/json"}
        return await client.request(method, path, content=body, headers={**kind, **headers})
