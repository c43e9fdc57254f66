"""The route for notifications."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from pydantic import Field

from saveany.api.auth import UserPrincipal, operator
from saveany.api.bodies import Strict
from saveany.api.errors import responses
from saveany.api.models import Reply
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices

router = APIRouter(prefix="/api/v1/notifications", tags=["webhooks"], route_class=JsonRoute)


class NewNotificationTest(Strict):
    """Where to send a test."""

    url: str = Field(
        default="", max_length=2048, description="URL of Apprise. Default: all of `notify.urls`."
    )


class NotificationTest(Reply):
    """The result of a test."""

    errors: list[str] = Field(description="For each URL why it failed; empty if it was sent.")


@router.post(
    "/test",
    operation_id="testNotification",
    summary="Test the notifications",
    responses=responses(415),
    dependencies=[Depends(operator)],
)
async def test_notification(
    services: InjectedServices, principal: UserPrincipal, body: NewNotificationTest
) -> NotificationTest:
    """Send a test notification to each URL now."""
    return NotificationTest(errors=await services.webhooks.test_notification(principal, body.url))
