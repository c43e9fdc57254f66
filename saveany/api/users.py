"""The route for the users of this SaveAny."""

from __future__ import annotations

from fastapi import APIRouter

from saveany.api.auth import UserPrincipal
from saveany.api.errors import responses
from saveany.api.models import UserList, UserView
from saveany.api.routes import JsonRoute
from saveany.api.services import ApiServices, InjectedServices
from saveany.config.schema import User

router = APIRouter(prefix="/api/v1/users", tags=["keys"], route_class=JsonRoute)


@router.get("", operation_id="listUsers", summary="Users", responses=responses())
async def list_users(services: InjectedServices, principal: UserPrincipal) -> UserList:
    """The configured users that the caller may act for, and where their files are saved by default."""
    users = [user for user in services.config.users if principal.may_access(user.id)]
    return UserList(users=[await _view(services, user) for user in users])


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
    )
