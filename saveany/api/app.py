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
    delivery,
    errors,
    events,
    files,
    health,
    history,
    info,
    internal,
    links,
    metrics,
    queue,
    resolve,
    storages,
    task_types,
    tasks,
    tus,
    uploads,
    webhooks,
    workers,
)
from saveany.api.auth import Authentication, public, requirement_of
from saveany.api.hub import Hub
from saveany.api.limits import BodyLimit
from saveany.api.same_origin import SameOrigin
from saveany.api.services import ApiServices
from saveany.api.sse import encode
from saveany.config import Config
from saveany.service import FileService, QueueService, TaskReader, TaskService, WebhookService
from saveany.store import Store

if TYPE_CHECKING:
    from saveany.catalogue.catalogue import Catalogue

#: The most requested ones come first.
ROUTERS: tuple[APIRouter, ...] = tuple(
    module.router
    for module in (
        tasks,
        resolve,
        events,
        history,
        files,
        uploads,
        tus,
        links,
        delivery,
        info,
        internal,
        queue,
        webhooks,
        storages,
        task_types,
        workers,
        health,
        metrics,
    )
)

_DESCRIPTION = """Saves files from Telegram into your storages.

All errors have the same format: `error` (the kind), `code` (the HTTP status), `message` (what is wrong and
what to do), and for a bad request `details`. Times are RFC 3339 in UTC, sizes are in bytes. Unknown fields
and unknown query parameters are refused."""


def create_app(config: Config, store: Store, catalogue: Catalogue) -> FastAPI:
    """The API as an ASGI application. Event streams need its lifespan to be running.

    A server must call `app.state.services.hub.close()`, which ends the event streams, before it waits for its
    connections to close.
    """
    from saveany.delivery.delivery import LinkDelivery  # only the process that serves needs it
    from saveany.service.links import LinkService
    from saveany.service.uploads import UploadService

    tasks_, reader = TaskService(config, store, catalogue), TaskReader(store, catalogue)
    services = ApiServices(
        config,
        store,
        catalogue,
        tasks_,
        reader,
        QueueService(config, store),
        WebhookService(store),
        FileService(catalogue),
        Hub(store.events, encode, config.api.max_event_streams),
        LinkDelivery.of(config, store, catalogue),
        LinkService(catalogue, store, config),
        UploadService(config, tasks_, reader),
    )
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
    for router in routers:
        app.include_router(router)
    errors.install(app)
    # The middleware that is added last receives a request first.
    token = config.api.token.get_secret_value()
    app.add_middleware(Authentication, token=token, routes=app.state.routes)
    app.add_middleware(SameOrigin, only_loopback=not token)
    app.add_middleware(BodyLimit)
    app.add_middleware(errors.CrashHandler)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: ApiServices = app.state.services
    async with (
        services.hub.running(),
        services.catalogue.running(),
        services.delivery.running(),
        services.uploads.running(),
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


def _describe_security(schema: dict[str, Any], routes: Sequence[APIRoute]) -> None:
    description = "The `api.token` of the configuration."
    schema["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": description}
    }
    schema["security"] = [{"token": []}]
    for route in routes:
        if route.include_in_schema and requirement_of(route) is None:
            for method in route.methods or ():
                operation = schema["paths"][route.path][method.lower()]
                operation["security"] = []
                del operation["responses"]["401"]


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
