"""Routes for the users of this SaveAny."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from saveany.api.auth import OperatorPrincipal, UserPrincipal
from saveany.api.config_models import NewUser, UserFields
from saveany.api.errors import responses
from saveany.api.models import MessageReply, UserList, UserView
from saveany.api.routes import JsonRoute
from saveany.api.services import ApiServices, InjectedServices
from saveany.config.schema import User

router = APIRouter(prefix="/api/v1/users", tags=["keys"], route_class=JsonRoute)

UserIdPath = Annotated[int, Path(ge=1, lt=2**53, description="Telegram id.", examples=[123456789])]


@router.get("", operation_id="listUsers", summary="Users", responses=responses())
async def list_users(services: InjectedServices, principal: UserPrincipal) -> UserList:
    """The configured users that the caller may act for, and where their files are saved by default."""
    users = [user for user in services.config.users if principal.may_access(user.id)]
    return UserList(users=[await _view(services, user) for user in users])


@router.post(
    "",
    status_code=201,
    operation_id="addUser",
    summary="Add a user",
    responses=responses(409, 413, 415),
)
async def add(services: InjectedServices, principal: OperatorPrincipal, body: NewUser) -> UserView:
    """Add a user to the configuration. All processes know the user within seconds."""
    values = body.model_dump(exclude={"user_id"}, exclude_unset=True)
    return await _view(services, await services.users.add(principal, body.user_id, values))


@router.patch(
    "/{user_id}",
    operation_id="changeUser",
    summary="Change a user",
    responses=responses(404, 409, 413, 415),
)
async def change(
    services: InjectedServices, principal: OperatorPrincipal, user_id: UserIdPath, body: UserFields
) -> UserView:
    """Change what a user may use."""
    values = body.model_dump(exclude_unset=True)
    return await _view(services, await services.users.change(principal, user_id, values))


@router.delete(
    "/{user_id}", operation_id="removeUser", summary="Remove a user", responses=responses(404, 409)
)
async def remove(
    services: InjectedServices, principal: OperatorPrincipal, user_id: UserIdPath
) -> MessageReply:
    """Remove a user from the configuration. Keys of this user do not work any more; the files stay."""
    await services.users.remove(principal, user_id)
    return MessageReply(message="user removed; the files stay")


async def _view(services: ApiServices, user: User) -> UserView:
    preferences = await services.store.preferences.recent(user.id)
    allowed = services.config.allowed_storages(user)
    chosen = preferences.storage in allowed
    return UserView(
        user_id=user.id,
        is_admin=services.config.is_admin(user),
        storages=allowed,
        storage=preferences.storage if chosen else next(iter(allowed), ""),
        folder=f"/{preferences.folder}" if chosen else "/",
        role=user.role,
        listed_storages=list(user.storages),
        blacklist=user.blacklist,
        accounts=list(user.accounts),
    )
