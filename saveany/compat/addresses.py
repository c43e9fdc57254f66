"""What the APIs of other hosts share: paths, SaveAny's own address, and connections that may stay."""

from __future__ import annotations

from starlette.requests import Request

from saveany.config import Config


def path_parts(path: str) -> list[str]:
    """The parts of a path, without empty ones."""
    return [part for part in path.split("/") if part]


def site_of(config: Config, request: Request) -> str:
    """SaveAny's own address, without a slash at the end: as configured, else as in the request."""
    return config.api.public_url.rstrip("/") or str(request.base_url.replace(path="")).rstrip("/")


def trust(request: Request, *more: str) -> None:
    """Let the connection of a client with a key or a ticket stay."""
    state = request.scope.get("state", {})
    for name in ("trust", *more):
        if name in state:
            state[name]()
