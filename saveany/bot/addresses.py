"""Where the API is reached, as far as the bot knows."""

from __future__ import annotations

import socket

from saveany.config.schema import ApiConfig

#: An address for documentation (RFC 5737). Nothing is sent to it.
_ANYWHERE = ("192.0.2.1", 9)


def api_url(api: ApiConfig) -> str:
    """`api.public_url`; without it, the address of this machine in its network."""
    if api.public_url:
        return api.public_url.rstrip("/")
    host = _own_address() if api.host in ("0.0.0.0", "::") else api.host  # noqa: S104  compared, not bound
    return f"http://[{host}]:{api.port}" if ":" in host else f"http://{host}:{api.port}"


def _own_address() -> str:
    """The address with which this machine reaches others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(_ANYWHERE)
        except OSError:  # there is no network
            return "127.0.0.1"
        return str(sock.getsockname()[0])
