"""Routes for keys of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Response

from saveany.api.auth import InjectedCaller, OperatorPrincipal, UserPrincipal
from saveany.api.bodies import NewKey
from saveany.api.errors import responses
from saveany.api.models import EXAMPLE_ID, KeyList, KeyView, MessageReply, NewKeyView
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.api.tasks import UserId
from saveany.timefmt import rfc3339

if TYPE_CHECKING:
    from saveany.catalogue.keys import ApiKey

router = APIRouter(prefix="/api/v1/keys", tags=["keys"], route_class=JsonRoute)

KeyId = Annotated[str, Path(description="Id of the key.", examples=[EXAMPLE_ID])]


@router.post(
    "", status_code=201, operation_id="createKey", summary="Create a key", responses=responses(413, 415)
)
async def create(
    services: InjectedServices, principal: OperatorPrincipal, response: Response, body: NewKey
) -> NewKeyView:
    """Create a key, which acts as one user. Only this reply contains its secret."""
    key, secret = await services.keys.make(
        principal, body.user_id, body.name, body.scopes, readable=body.readable
    )
    response.headers["Cache-Control"] = "no-store"
    return NewKeyView(**_fields(key), secret=secret)


@router.get("", operation_id="listKeys", summary="Keys", responses=responses(404))
async def list_keys(services: InjectedServices, principal: UserPrincipal, user_id: UserId = None) -> KeyList:
    """Keys, oldest first, including revoked ones: all of them, or those of the caller's user."""
    found = await services.keys.all(principal, user_id)
    return KeyList(keys=[KeyView(**_fields(key)) for key in found])


@router.get("/{key_id}", operation_id="getKey", summary="One key", responses=responses(404))
async def get(services: InjectedServices, principal: UserPrincipal, key_id: KeyId) -> KeyView:
    """A key, without its secret."""
    return KeyView(**_fields(await services.keys.get(principal, key_id)))


@router.delete("/{key_id}", operation_id="revokeKey", summary="Revoke a key", responses=responses(404, 409))
async def revoke(
    services: InjectedServices, principal: UserPrincipal, caller: InjectedCaller, key_id: KeyId
) -> MessageReply:
    """End the use of a key at once, with its sessions and event streams. A key can revoke only itself."""
    await services.keys.revoke(principal, key_id, own=caller.key_id)
    return MessageReply(message="key revoked")


def _fields(key: ApiKey) -> dict[str, Any]:
    times = {"created_at": key.made_at, "used_at": key.used_at, "revoked_at": key.revoked_at}
    return {
        "key_id": key.id,
        "name": key.name,
        "user_id": key.user_id,
        "scopes": sorted(key.scopes),
        "state": "active" if key.revoked_at is None else "revoked",
        "in_configuration": key.is_configured,
        "readable": key.is_readable,
        **{name: None if at is None else rfc3339(at) for name, at in times.items()},
    }
