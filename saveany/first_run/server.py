"""The web UI in setup mode: a server that can do one thing, which is to write a first configuration."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import Field, SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config as ServerConfig
from uvicorn.server import Server

from saveany.api import errors, web
from saveany.api.bodies import Strict
from saveany.api.connections import Connections, HttpConnection, connection_limit
from saveany.api.limits import BodyLimit
from saveany.api.models import Reply
from saveany.api.same_origin import SameOrigin
from saveany.api.server import bind
from saveany.config import load, values, write
from saveany.config.values import is_loopback, local_address
from saveany.errors import ConfigError, Forbidden, InvalidInput, Unavailable, WrongState
from saveany.first_run import HOST, without_host
from saveany.first_run.code import SetupCode
from saveany.logs import setup as set_up_log
from saveany.net.addresses import network_of

_EVERY_NETWORK: Final = "0.0.0.0"  # noqa: S104  those who are not in the local network are refused
_SETUP: Final = "/api/v1/setup"
#: The user of an installation without Telegram; every request needs a user.
_LOCAL_USER: Final = 1
_MAX_CONNECTIONS: Final = 400
_MIN_TOKEN: Final = 12
#: Headers in which proxies list the addresses that they pass a request on for.
_PROXY_HEADERS: Final = (
    b"x-forwarded-for",
    b"x-real-ip",
    b"x-client-ip",
    b"true-client-ip",
    b"cf-connecting-ip",
)
#: The address in an element of the header Forwarded (RFC 7239).
_FORWARDED_FOR: Final = re.compile(r"\bfor\s*=\s*(\"[^\"]*\"|[^;,\s]*)", re.IGNORECASE)
_COMMENT: Final = (
    "SaveAny, set up in the browser. All keys: config.example.toml and docs/reference/config.md. This file "
    "contains secrets: keep it private."
)


class NewSetup(Strict):
    """The first settings."""

    code: str = Field(max_length=64, description="The one-time code in the log.")
    token: str = Field(
        default="", max_length=256, description="The token of the API. Empty: a new random one."
    )
    network: bool = Field(
        default=False, description="Whether other machines of the network may use the API, with the token."
    )


class SetupState(Reply):
    """What the page has to know before it asks."""

    is_local: bool = Field(description="Whether this request comes from the machine of SaveAny itself.")
    chooses_network: bool = Field(description="Whether the setup decides who can connect.")


class SetupDone(Reply):
    """SaveAny is set up, and restarts."""

    token: str = Field(description="The token of the API: what the operator logs in with.")


class RequiresSetup(Unavailable):
    """SaveAny is not set up yet: open its address in a browser."""

    error = "Setup required"


def serve(file: Path) -> None:
    """Serve the setup until `file` is written. A signal ends the program."""
    set_up_log()
    config = load(None, without_host(os.environ))
    host = os.environ.get(HOST) or _EVERY_NETWORK
    with bind(host, config.api.port) as sock:
        port = sock.getsockname()[1]
        show = f"http://{local_address(host)}:{port}"
        app = create_app(file, SetupCode(lambda code: _announce(show, code)))
        server = SetupServer(app, config.api.trusted_proxies)
        app.state.finish = partial(setattr, server, "should_exit", True)
        asyncio.run(server.serve(sockets=[sock]))


def _announce(address: str, code: str) -> None:
    print(
        f"\nSaveAny is not set up yet. Open {address} in a browser, or the address of this machine in your "
        f"network.\nThe page asks for this code, which works once, within 15 minutes:\n\n    {code}\n",
        file=sys.stderr,
        flush=True,
    )


class SetupServer(Server):
    """uvicorn with the limits of the API for connections: those that others leave open do not keep anybody
    out."""

    def __init__(self, app: FastAPI, proxies: Sequence[str] = ()) -> None:
        super().__init__(_server_config(app, proxies))
        self.server_state: Connections = Connections(connection_limit(_MAX_CONNECTIONS), lambda: None)

    async def on_tick(self, counter: int) -> bool:
        """Close connections that are too slow, ten times a second."""
        self.server_state.sweep()
        return await super().on_tick(counter)


def _server_config(app: FastAPI, proxies: Sequence[str]) -> ServerConfig:
    return ServerConfig(
        app,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        http=HttpConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=9,
        timeout_graceful_shutdown=3,
    )


def create_app(file: Path, code: SetupCode) -> FastAPI:
    """The application, which writes `file`. `app.state.finish` is called after that."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.file, app.state.code, app.state.finish = file, code, lambda: None
    app.state.writing = asyncio.Lock()
    app.router.routes.extend([*_router.routes, *web.router.routes])
    errors.install(app)
    app.add_middleware(_OnlySetup)
    app.add_middleware(SameOrigin, only_loopback=False)
    app.add_middleware(BodyLimit)
    app.add_middleware(errors.CrashHandler)
    app.add_middleware(errors.RequestedLanguage)
    return app


class _OnlySetup:
    """Middleware: answers requests from this machine and its network, and only those that the setup needs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if not all(map(_is_near, _addresses(scope))):
            problem = Forbidden("SaveAny can be set up only from its own machine or network")
            await errors.error_response(problem)(scope, receive, send)
        elif scope["path"].startswith("/api/") and scope["path"] != _SETUP:
            await errors.error_response(RequiresSetup())(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _addresses(scope: Scope) -> Iterator[str]:
    """The addresses that a request comes from, with those that proxies claim, whether they are trusted or
    not: more addresses only refuse it."""
    yield _peer(scope)
    for name, value in scope["headers"]:
        text = value.decode("latin-1")
        if name == b"forwarded":
            yield from (found[1].strip('"') for found in _FORWARDED_FOR.finditer(text))
        elif name in _PROXY_HEADERS:
            yield from (each.strip() for each in text.split(","))


def _peer(scope: Scope) -> str:
    """The address of the client, which a trusted proxy names."""
    return (scope.get("client") or ("",))[0]


def _is_near(address: str) -> bool:
    """Whether an address, with or without a port, is in a private network, or this machine's."""
    try:
        found = ipaddress.ip_address(_without_port(address))
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_private


def _without_port(address: str) -> str:
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


_router = APIRouter()


@_router.get("/health")
async def health() -> dict[str, str]:
    """The process is running."""
    return {"status": "setup"}


@_router.get(_SETUP)
async def get_setup(request: Request, response: Response) -> SetupState:
    """What the page has to know. If the code has expired, there is a new one in the log."""
    request.app.state.code.renew_expired()
    response.headers["Cache-Control"] = "no-store"
    return SetupState(is_local=_is_local(request), chooses_network=_chooses_network())


@_router.post(_SETUP, status_code=201)
async def complete_setup(request: Request, response: Response, body: NewSetup) -> SetupDone:
    """Write the configuration, once. SaveAny then starts with it."""
    state = request.app.state
    token = body.token or secrets.token_urlsafe(24)
    if len(token) < _MIN_TOKEN:
        raise InvalidInput("must have at least {n} characters", "token", n=_MIN_TOKEN)
    try:
        values.token(SecretStr(token))
    except ValueError as error:
        raise InvalidInput(str(error), "token") from error
    async with state.writing:
        state.code.check(body.code, network_of(_peer(request.scope)))
        try:
            await asyncio.to_thread(write.create, state.file, _tables(token, body.network), comment=_COMMENT)
        except ConfigError as error:
            state.code.restore()
            raise WrongState(error.text) from error
        except BaseException:
            state.code.restore()
            raise
    response.headers["Cache-Control"] = "no-store"
    state.finish()
    return SetupDone(token=token)


def _tables(token: str, network: bool) -> dict[str, object]:
    api: dict[str, object] = {"token": token}
    if _chooses_network():
        api["host"] = _EVERY_NETWORK if network else "127.0.0.1"
    return {"api": api, "users": [{"id": _LOCAL_USER}]}


def _chooses_network() -> bool:
    return not os.environ.get(HOST)


def _is_local(request: Request) -> bool:
    return all(is_loopback(_without_port(each)) for each in _addresses(request.scope))
