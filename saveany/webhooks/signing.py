"""Standard Webhooks signatures (specification 1.0.0), with which a receiver checks the origin of a
request."""

from __future__ import annotations

import base64
import binascii
import secrets
from datetime import UTC, datetime

from standardwebhooks import Webhook

from saveany.errors import ConfigError

_PREFIX = "whsec_"


def new_secret() -> str:
    """A new signing secret: `whsec_` and 32 random bytes in base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def is_secret(text: str) -> bool:
    """Whether `text` is a valid signing secret."""
    try:
        _key(text)
    except ConfigError:
        return False
    return True


class Signer:
    """Signs with a secret: `whsec_` and 24 to 64 bytes in base64. Raises `ConfigError` for other texts."""

    def __init__(self, secret: str) -> None:
        self._webhook = Webhook(_key(secret))

    def headers(self, delivery_id: str, body: str, now_ms: int) -> dict[str, str]:
        """The three headers for one attempt. Receivers reject a time that differs by more than five
        minutes."""
        at = datetime.fromtimestamp(now_ms // 1000, UTC)
        return {
            "webhook-id": delivery_id,
            "webhook-timestamp": str(now_ms // 1000),
            "webhook-signature": self._webhook.sign(delivery_id, at, body),
        }


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise ConfigError(
            "api.webhook_secret is not a signing secret: it is whsec_ and 24 to 64 bytes in base64. "
            "Leave it empty, and SaveAny generates one."
        )
    return key
