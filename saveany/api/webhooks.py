"""Routes for the deliveries of webhooks."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field

from saveany.api.auth import TasksPrincipal, UserPrincipal, operator
from saveany.api.bodies import Strict
from saveany.api.errors import responses
from saveany.api.models import EXAMPLE_DELIVERY, DeliveryPageView, DeliveryView, Reply
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.config.hidden import HIDDEN
from saveany.models import Delivery
from saveany.timefmt import rfc3339
from saveany.webhooks.notify import SCHEME

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"], route_class=JsonRoute)


class NewWebhookTest(Strict):
    """Where to send a test."""

    url: str = Field(
        default="", max_length=2048, description="Default: `api.webhook_url`. Only that gets the token."
    )


class WebhookTest(Reply):
    """The result of a test."""

    url: str = Field(description="Without user name, password, path and query, which may be secret.")
    delivered: bool
    status: int = Field(description="HTTP status of the response; 0 if there was none.")
    error: str = Field(description="Why it failed; empty if it was delivered.")
    seconds: float


@router.post(
    "/test",
    operation_id="testWebhook",
    summary="Test a webhook",
    responses=responses(415),
    dependencies=[Depends(operator)],
)
async def test(services: InjectedServices, principal: UserPrincipal, body: NewWebhookTest) -> WebhookTest:
    """Send a signed webhook with the event `test` now, once. Its outcome is in the reply, and it is in no
    list."""
    result = await services.webhooks.test(principal, body.url)
    return WebhookTest(
        url=_shown(result.url),
        delivered=not result.error,
        status=result.status,
        error=result.error,
        seconds=result.seconds,
    )


@router.get(
    "/deliveries", operation_id="listDeliveries", summary="Webhook deliveries", responses=responses(404)
)
async def list_deliveries(
    services: InjectedServices,
    principal: TasksPrincipal,
    task_id: Annotated[str, Query(max_length=64, description="Only deliveries of this task.")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str, Query(max_length=128, description="`next_cursor` of the previous page.")] = "",
) -> DeliveryPageView:
    """Deliveries, newest first, including pending ones. They are kept as long as their task. A key sees those
    to the `webhook_url` of the tasks of its user; a page may be short, even empty, and still have a
    `next_cursor`."""
    page = await services.webhooks.page(principal, task_id, limit, cursor)
    return DeliveryPageView(
        deliveries=[_view(delivery) for delivery in page.deliveries], next_cursor=page.cursor or None
    )


@router.post(
    "/deliveries/{delivery_id}/redeliver",
    status_code=202,
    operation_id="redeliver",
    summary="Send a webhook again",
    responses=responses(404),
)
async def redeliver(
    services: InjectedServices,
    principal: TasksPrincipal,
    delivery_id: Annotated[str, Path(description="Id of the delivery.", examples=[EXAMPLE_DELIVERY])],
) -> DeliveryView:
    """Send a webhook again now, with the same `webhook-id` and body, whatever its state. The number of
    attempts continues; a webhook that was given up gets one more attempt."""
    return _view(await services.webhooks.redeliver(principal, delivery_id))


def _view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        id=delivery.id,
        task_id=delivery.task_id,
        event=delivery.event,
        url=_shown(delivery.url),
        state=delivery.state,
        attempts=delivery.attempts,
        last_status=delivery.last_status,
        last_error=delivery.last_error,
        created_at=rfc3339(delivery.created_at),
    )


def _shown(url: str) -> str:
    if url.startswith(SCHEME):
        return url
    # All but the host may contain the secret by which the receiver knows the sender.
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    path = f"/{HIDDEN}" if parts.path.strip("/") else parts.path
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], path=path, query="", fragment="").geturl()
