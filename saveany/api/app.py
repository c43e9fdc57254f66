"""Assembles the application: middleware, error handlers, and one router per noun."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.responses import Response

from saveany import __version__
from saveany.api import (
    accounts,
    adoption,
    archives,
    backups,
    chats,
    compat,
    configuration,
    delivery,
    errors,
    events,
    file_contents,
    files,
    health,
    history,
    info,
    internal,
    keys,
    links,
    lists,
    live,
    logs,
    metrics,
    notifications,
    preferences,
    queue,
    resolve,
    session,
    storage_config,
    storages,
    task_types,
    tasks,
    tus,
    uploads,
    users,
    web,
    webhooks,
    workers,
)
from saveany.api.auth import COOKIE, CSRF_HEADER, Authentication, Authenticator, public, requirement_of
from saveany.api.hub import Hub
from saveany.api.limits import BodyLimit
from saveany.api.same_origin import SameOrigin
from saveany.api.services import ApiServices
from saveany.api.sse import encode
from saveany.archives.role import ArchiveRole
from saveany.config import Config
from saveany.foreground import Foreground
from saveany.service import FileService, QueueService, TaskReader, TaskService, WebhookService
from saveany.store import Store

if TYPE_CHECKING:
    from saveany.api.signatures import SignedRequests
    from saveany.catalogue.catalogue import Catalogue

#: The most requested ones come first.
ROUTERS: tuple[APIRouter, ...] = tuple(
    module.router
    for module in (
        tasks,
        lists,
        resolve,
        events,
        history,
        files,
        archives,
        adoption,
        chats,
        live,
        file_contents,
        uploads,
        tus,
        links,
        delivery,
        keys,
        session,
        users,
        info,
        internal,
        queue,
        webhooks,
        notifications,
        preferences,
        storages,
        storage_config,
        accounts,
        configuration,
        backups,
        task_types,
        workers,
        health,
        logs,
        metrics,
        web,
        compat,
    )
)

_DESCRIPTION = """Saves files from Telegram into your storages.

All errors have the same format: `error` (the kind), `code` (the HTTP status), `message` (what is wrong and
what to do), and for a bad request `details`. Times are RFC 3339 in UTC, sizes are in bytes. Unknown fields
and unknown query parameters are refused. Messages are in the language of the header `Accept-Language` (en,
zh-Hans), else in English; the kinds and codes do not depend on it."""


def assemble_services(config: Config, store: Store, catalogue: Catalogue) -> ApiServices:
    """The parts of the application that the API needs."""
    from saveany.delivery.delivery import LinkDelivery  # only the process that serves needs it
    from saveany.delivery.telegram import TelegramFiles
    from saveany.service.accounts import AccountService
    from saveany.service.adoption import AdoptionService
    from saveany.service.archives import ArchiveService
    from saveany.service.backups import BackupService
    from saveany.service.chats import ChatService
    from saveany.service.configuration import ConfigurationService
    from saveany.service.conversions import ConversionService
    from saveany.service.keys import KeyService
    from saveany.service.links import LinkService
    from saveany.service.lists import ListService
    from saveany.service.live import LiveService
    from saveany.service.preferences import PreferencesService
    from saveany.service.storages import StorageService
    from saveany.service.uploads import UploadService
    from saveany.service.users import UserService
    from saveany.service.verification import ArchiveVerifier

    tasks_, reader = TaskService(config, store, catalogue), TaskReader(store, catalogue)
    key_service = KeyService(config, store, catalogue)
    token = config.api.token.get_secret_value()
    authenticator = Authenticator(token, key_service.working, store.sessions)
    foreground = Foreground()
    conversions = ConversionService(config, store, catalogue, tasks_, FileService(catalogue))
    if conversions.is_enabled:
        catalogue.recorder.on_saved = conversions.note_saved
    telegram = TelegramFiles(config, store, foreground)
    archives = ArchiveService(config, store, catalogue, tasks_, telegram.accounts)
    changes = ConfigurationService(config)
    return ApiServices(
        config=config,
        store=store,
        catalogue=catalogue,
        tasks=tasks_,
        reader=reader,
        queue=QueueService(config, store),
        webhooks=WebhookService(config, store, reader),
        files=FileService(catalogue),
        hub=Hub(store.events, encode, config.api.max_event_streams),
        delivery=LinkDelivery.of(config, store, catalogue, telegram),
        links=LinkService(catalogue, store, config),
        uploads=UploadService(config, tasks_, reader),
        keys=key_service,
        archives=archives,
        archive_verifier=ArchiveVerifier(archives, config, store, catalogue, telegram.accounts),
        adoption=AdoptionService(config, store, catalogue, archives),
        archive_role=ArchiveRole(config, store, catalogue, tasks_, telegram.accounts, stands_by=True),
        authenticator=authenticator,
        foreground=foreground,
        conversions=conversions,
        configuration=changes,
        storages=StorageService(config, store, changes, telegram.accounts),
        users=UserService(config, changes),
        accounts=AccountService(config, store),
        preferences=PreferencesService(config, store),
        chats=ChatService(config, telegram.accounts),
        backups=BackupService(config, store),
        live=LiveService(config, store, catalogue, tasks_, telegram.accounts),
        lists=ListService(config, tasks_),
    )


def create_app(config: Config, store: Store, catalogue: Catalogue) -> FastAPI:
    """The API as an ASGI application. Event streams need its lifespan to be running.

    A server must call `app.state.services.hub.close()`, which ends the event streams, before it waits for its
    connections to close.
    """
    services = assemble_services(config, store, catalogue)
    app = _App(
        title="SaveAny",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url=None,  # below
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        strict_content_type=False,  # `JsonRoute` checks it, with a better message
    )
    app.state.services = services
    app.state.started_at = time.monotonic()
    app.state.readiness = health.CachedCheck()
    routers = [*ROUTERS, _description]
    app.state.routes = [route for router in routers for route in router.routes]
    # `include_router` would make a copy of each, with all validators: 5 MB, which processes cannot share.
    app.router.routes.extend(app.state.routes)
    errors.install(app)
    # The middleware that is added last receives a request first.
    app.add_middleware(
        Authentication,
        authenticator=services.authenticator,
        routes=app.state.routes,
        signed=_signed_requests(services),
    )
    app.add_middleware(SameOrigin, only_loopback=bool(services.authenticator.default))
    app.add_middleware(BodyLimit)
    if facades := compat.enabled_facades(services):
        app.add_middleware(compat.Facades, facades=facades, foreground=services.foreground)
    app.add_middleware(errors.CrashHandler)
    app.add_middleware(errors.RequestedLanguage)
    return app


def _signed_requests(services: ApiServices) -> SignedRequests | None:
    """What verifies signed requests, if they are enabled."""
    if not services.config.api.signed:
        return None
    from saveany.api.signatures import SignedRequests  # most processes need no library for it

    return SignedRequests(services.keys, services.store.nonces, services.config.api.public_url)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: ApiServices = app.state.services
    async with (
        services.hub.running(),
        services.authenticator.running(),
        services.catalogue.running(),
        services.delivery.running(),
        services.uploads.running(),
        services.archive_role.running(),
        services.configuration.following(services.delivery.storages_changed),
        services.accounts.running(),
    ):
        yield


_description = APIRouter()


@_description.api_route(
    "/openapi.json", methods=["GET", "HEAD"], include_in_schema=False, dependencies=[Depends(public)]
)
async def _describe(request: Request) -> Response:
    app: _App = request.app
    return Response(app.description_bytes, media_type="application/json")


class _App(FastAPI):
    @cached_property
    def description_bytes(self) -> bytes:
        """openapi.json as bytes, encoded once."""
        return json.dumps(self.openapi(), ensure_ascii=False, separators=(",", ":")).encode()

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI description, generated once."""
        if not self.openapi_schema:
            schema = get_openapi(
                title=self.title, version=self.version, description=self.description, routes=self.routes
            )
            _describe_security(schema, self.state.routes)
            _describe_errors(schema)
            _describe_parameters(schema)
            self.openapi_schema = schema
        return self.openapi_schema


#: The ways to say who sends a request.
_SECURITY = ("token", "signature", "session")


def _describe_security(schema: dict[str, Any], routes: Sequence[APIRoute]) -> None:
    """Name the scopes of which a key needs one: OpenAPI 3.1 permits such roles for every kind of security."""
    schema["components"]["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "The `api.token` of the configuration, which may do everything, or the secret of "
            "a key. The names in `security` are scopes: a key needs one of them. Without a name, only the "
            "operator may use the address.",
        },
        "signature": {
            "type": "apiKey",
            "in": "header",
            "name": "Signature",
            "description": "If `api.signed` is set: a signature by RFC 9421 with `hmac-sha256` and the "
            "secret of a readable key, with the header `Signature-Input`. It covers `@method`, `@path`, "
            "`@query` if there is a query (or `@target-uri` in place of both) and, if there is a body, "
            "`content-digest` (RFC 9530, `sha-256`), and has the parameters `keyid`, `created` and `nonce`. "
            "The time may differ by 300 seconds, and each nonce is accepted once. The names in `security` "
            "are scopes.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": COOKIE,
            "description": "The cookie of a session, which `POST /api/v1/session` sets. Requests that change "
            f"something need its `csrf_token` in the header `{CSRF_HEADER}`.",
        },
    }
    for route in (each for each in routes if each.include_in_schema):
        requirement = requirement_of(route)
        for method in route.methods or ():
            scopes = sorted(requirement.sufficient(method)) if requirement else []
            security = [{name: scopes} for name in _SECURITY] if requirement else []
            schema["paths"][route.path][method.lower()]["security"] = security


def _describe_parameters(schema: dict[str, Any]) -> None:
    """Remove null from optional parameters: an omitted one is None in Python, but cannot be sent as null."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                choices = parameter["schema"].pop("anyOf", [])
                parameter["schema"].update(next((c for c in choices if c["type"] != "null"), {}))


def _describe_errors(schema: dict[str, Any]) -> None:
    """Replace the errors that FastAPI describes with ours, which `errors.install` returns."""
    schemas = schema["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas.update(errors.schemas())
    for operations in schema["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
