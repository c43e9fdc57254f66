"""Requests of the API: webhooks. `make docs` has written this from openapi.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saveany.client.request import ApiRequest, quoted

if TYPE_CHECKING:
    from saveany.client.models import (
        DeliveryPageView,
        DeliveryView,
        NewNotificationTest,
        NewWebhookTest,
        NotificationTest,
        WebhookTest,
    )


def test_webhook(body: NewWebhookTest) -> ApiRequest[WebhookTest]:
    """Test a webhook.

    Send a signed webhook with the event `test` now, once. Its outcome is in the reply, and it is in no
    list.
    """
    return ApiRequest("POST", "/api/v1/webhooks/test", body=body)


def list_deliveries(
    *, task_id: str | None = None, limit: int | None = None, cursor: str | None = None
) -> ApiRequest[DeliveryPageView]:
    """Webhook deliveries.

    Deliveries, newest first, including pending ones. They are kept as long as their task. A key sees
    those to the `webhook_url` of the tasks of its user; a page may be short, even empty, and still have a
    `next_cursor`.

    task_id: Only deliveries of this task.

    cursor: `next_cursor` of the previous page.
    """
    return ApiRequest(
        "GET", "/api/v1/webhooks/deliveries", params={"task_id": task_id, "limit": limit, "cursor": cursor}
    )


def redeliver(delivery_id: str) -> ApiRequest[DeliveryView]:
    """Send a webhook again.

    Send a webhook again now, with the same `webhook-id` and body, whatever its state. The number of
    attempts continues; a webhook that was given up gets one more attempt.

    delivery_id: Id of the delivery.
    """
    return ApiRequest("POST", f"/api/v1/webhooks/deliveries/{quoted(delivery_id)}/redeliver")


def test_notification(body: NewNotificationTest) -> ApiRequest[NotificationTest]:
    """Test the notifications.

    Send a test notification to each URL now.
    """
    return ApiRequest("POST", "/api/v1/notifications/test", body=body)
