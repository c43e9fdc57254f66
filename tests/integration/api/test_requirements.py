"""Every route of the API declares what it requires of its caller."""

from __future__ import annotations

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from saveany.api.auth import requirement_of
from tests.integration.api.conftest import check_error

#: Routes that everybody may use. All others need the token, a key or a session.
PUBLIC = {
    *(("GET", path) for path in ("/", "/docs", "/health", "/readyz", "/openapi.json")),
    ("POST", "/api/v1/session"),
}
#: Links, requests of API processes, which they sign, the web UI, and where the drive and the APIs of
#: other hosts may be.
PUBLIC_PREFIXES = ("/dl/", "/stream/", "/s/", "/internal/", "/thumb/", "/assets/", "/compat/", "/dav")


def routes_of(app: FastAPI) -> list[APIRoute]:
    routes: list[APIRoute] = app.state.routes
    return routes


def path_of(route: APIRoute, **values: object) -> str:
    """The address of a route, with these values or "1" for its parameters."""
    return route.path.format(**dict.fromkeys(route.param_convertors, "1") | values)


def check_refusal(reply: httpx.Response, status: int, message: str = "") -> None:
    """Check the form of an error; a reply to HEAD has no body."""
    if reply.request.method == "HEAD":
        assert reply.status_code == status
    else:
        assert message in check_error(reply, status)["message"]


def test_every_route_declares_what_it_requires(app: FastAPI) -> None:
    for route in routes_of(app):
        is_public = requirement_of(route) is None
        for method in route.methods or ():
            wanted = (method.replace("HEAD", "GET"), route.path) in PUBLIC or route.path.startswith(
                PUBLIC_PREFIXES
            )
            assert is_public == wanted, f"{method} {route.path}"


def test_the_application_has_no_other_routes(app: FastAPI) -> None:
    assert app.routes == routes_of(app)


def test_a_route_without_a_requirement_is_noticed() -> None:
    router = APIRouter()
    router.add_api_route("/forgotten", lambda: None)
    [route] = router.routes
    assert isinstance(route, APIRoute)
    with pytest.raises(LookupError, match="/forgotten"):
        requirement_of(route)


def test_reading_is_enough_for_get_routes_only(app: FastAPI) -> None:
    for route in routes_of(app):
        requirement = requirement_of(route)
        for method in route.methods or ():
            if requirement and requirement.scopes and "read" not in requirement.scopes:
                assert ("read" in requirement.sufficient(method)) == (method in ("GET", "HEAD"))


async def test_without_the_token_only_public_routes_can_be_used(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    for route in routes_of(app):
        if requirement_of(route):
            for method in route.methods or ():
                reply = await client.request(
                    method, path_of(route), content=b"{", headers={"Authorization": ""}
                )
                check_refusal(reply, 401, "Valid authentication token required")
