"""Notifications: what they say, and that they go out by Apprise, to a server on loopback."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from saveany.config import Config
from saveany.models import Delivery, Status, Task, TaskSpec
from saveany.net.guard import AddressGuard
from saveany.webhooks.builder import DeliveryBuilder
from saveany.webhooks.notify import address_of, message_of, notify
from saveany.webhooks.send import Delivered, GiveUp, Retry, WebhookSender
from saveany.webhooks.signing import new_secret
from tests.unit.webhooks.receiver import Receiver, receiving
from tests.unit.webhooks.receiver import reply as answer

TASK = {"task_id": "t1", "title": "[tgfiles](file.pdf->local1:/a)", "storage": "local1", "items_total": 2}
ARCHIVE = {"title": "News", "counts": {"saved": 3, "duplicate": 1, "failed": 2}}


@pytest.mark.parametrize(
    ("body", "title", "text"),
    [
        ({**TASK, "event": "task.completed"}, "Saved: file.pdf", "2 files, storage local1"),
        ({**TASK, "event": "task.failed", "error": "no {room}"}, "Failed: file.pdf", "no {room}"),
        ({**ARCHIVE, "event": "archive_complete"}, "Archived: News", "4 files are saved, 2 have failed."),
        (
            {"title": "N", "event": "archive_problem", "error": "gone"},
            "The archive of N does not continue",
            "gone",
        ),
        ({"event": "test"}, "SaveAny can notify you", "This is a test."),
    ],
)
def test_what_a_notification_says(body: dict[str, Any], title: str, text: str) -> None:
    assert [str(each) for each in message_of(body)] == [title, text]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apprise may take as long as a busy machine needs."""
    monkeypatch.setattr("saveany.webhooks.notify.TIMEOUT_S", 120.0)


def url_of(receiver: Receiver) -> str:
    return f"json://user:secret-password@127.0.0.1:{receiver.port}/hook"


async def test_apprise_sends_it_in_the_language_of_the_configuration() -> None:
    async with receiving() as receiver:
        assert await notify(url_of(receiver), {**TASK, "event": "task.completed"}, "zh-Hans") == ""
        sent = json.loads(receiver.requests[0].body)
        assert sent["title"].startswith("已保存")
        assert sent["title"].endswith("file.pdf")
        assert "存储 local1" in sent["message"]


async def test_a_refusal_is_explained_without_secrets() -> None:
    async with receiving() as receiver:
        receiver.answer = answer(500)
        error = await notify(url_of(receiver), {"event": "test"})
        assert "500" in error
        assert "secret-password" not in error
    assert "not a URL that Apprise knows" in await notify("nonsense://x", {"event": "test"})
    # Apprise quotes a token that is not valid.
    error = await notify("tgram://123456789:my%20secret-token/12315544/", {"event": "test"})
    assert "Telegram" in error
    assert "secret-token" not in error


def config(**notify: Any) -> Config:
    return Config.model_validate({"notify": notify})


async def deliveries(config: Config, event: str) -> list[Delivery]:
    async def clock() -> int:
        return 1

    spec = TaskSpec(id="t1", type="tgfiles", links=("https://t.me/c/1/1",), user_id=1, storage="local1")
    return await DeliveryBuilder.of(config, clock)(
        Task(spec=spec, status=Status.FAILED, title="a", created_at=1, updated_at=1), [], event
    )


async def test_chosen_events_are_delivered_to_each_url_whose_secrets_stay_in_the_configuration() -> None:
    chosen = config(urls=["json://a:secret@host", "json://b"], events=["failed"])
    found = await deliveries(chosen, "task.failed")
    assert all(re.fullmatch("notify:json-[0-9a-f]{16}", each.url) for each in found)
    assert len({each.id for each in found}) == 2
    assert all(each.trusted for each in found), "users do not see them"
    assert await deliveries(chosen, "task.completed") == []
    assert await deliveries(config(), "task.failed") == []


def a_delivery(address: str) -> Delivery:
    body = '{"event": "test"}'
    return Delivery(id="m", task_id="t1", event="test", url=address, body=body, trusted=True, created_at=1)


async def test_a_delivery_is_repeated_until_it_is_sent() -> None:
    async with receiving() as receiver:
        delivery = a_delivery(address_of(url_of(receiver)))
        sender = WebhookSender(new_secret(), "", AddressGuard(), notify_urls=[url_of(receiver)])
        receiver.answer = answer(503)
        assert isinstance(await sender.send(delivery, 1), Retry)
        receiver.answer = answer(200)
        assert isinstance(await sender.send(delivery, 1), Delivered)
        await sender.aclose()
    sender = WebhookSender(new_secret(), "", AddressGuard())
    assert isinstance(await sender.send(delivery, 1), GiveUp), "the URL was removed from the configuration"
    await sender.aclose()


async def test_a_delivery_goes_to_its_url_if_the_list_was_changed_in_between() -> None:
    async with receiving() as first, receiving() as second:
        delivery = a_delivery(address_of(url_of(first)))
        urls = [url_of(second), url_of(first)]
        sender = WebhookSender(new_secret(), "", AddressGuard(), notify_urls=urls)
        assert isinstance(await sender.send(delivery, 1), Delivered)
        await sender.aclose()
        assert (len(first.requests), len(second.requests)) == (1, 0)
