"""The body of webhooks: exactly that of seed 002, with later additions."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from saveany.models import Item, ItemStatus, Status, Task, TaskSpec
from saveany.timefmt import rfc3339
from saveany.webhooks.payload import task_payload

TASK = Task(
    spec=TaskSpec(
        id="c9h8t1234abcd",
        type="tgfiles",
        links=("https://t.me/channel/123",),
        user_id=123456789,
        storage="local1",
        path="downloads",
    ),
    status=Status.RUNNING,
    title="[tgfiles](file.pdf->local1:/downloads/file.pdf)",
    created_at=1705638600_000,
    updated_at=1705638700_000,
)
FILE = Item(
    index=0,
    name="file.pdf",
    path="downloads/file.pdf",
    final="downloads/file_1.pdf",
    size=5,
    status=ItemStatus.COMPLETED,
    sha256="ab" * 32,
)


def test_the_body_of_a_completed_task_is_that_of_the_documentation() -> None:
    body = json.loads(task_payload(TASK, [FILE], "task.completed", 1705638723_456))
    assert list(body.items())[:5] == [
        ("task_id", "c9h8t1234abcd"),
        ("status", "completed"),
        ("title", "[tgfiles](file.pdf->local1:/downloads/file.pdf)"),
        ("created_at", "2024-01-19T04:30:00Z"),
        ("error", ""),
    ]
    assert dict(list(body.items())[5:]) == {
        "event": "task.completed",
        "type": "tgfiles",
        "storage": "local1",
        "items": [
            {
                "name": "file.pdf",
                "size": 5,
                "status": "completed",
                "path": "downloads/file_1.pdf",
                "sha256": "ab" * 32,
            }
        ],
        "items_total": 1,
        "finished_at": "2024-01-19T04:32:03Z",
    }


def test_a_failed_item_has_its_error_and_destination() -> None:
    item = Item(index=0, name="a", path="x/a", status=ItemStatus.FAILED, error="The message was deleted.")
    body = json.loads(task_payload(TASK, [item], "task.failed", 0))
    assert body["status"] == "failed"
    assert body["items"] == [
        {"name": "a", "size": None, "status": "failed", "path": "x/a", "error": "The message was deleted."}
    ]


def test_an_item_has_the_url_of_its_page() -> None:
    item = Item(index=0, name="a", path="a", size=1, status=ItemStatus.COMPLETED, url="https://t.me/c/1/2")
    assert json.loads(task_payload(TASK, [item], "file_uploaded", None))["items"] == [
        {"name": "a", "size": 1, "status": "completed", "path": "a", "url": "https://t.me/c/1/2"}
    ]


def test_a_running_task_has_no_end_time() -> None:
    body = json.loads(task_payload(TASK, [], "task.running", None))
    assert (body["status"], body["finished_at"], body["items"]) == ("running", None, [])


def test_a_file_event_contains_the_status_of_the_task() -> None:
    body = json.loads(task_payload(TASK, [FILE], "file_uploaded", None))
    assert (body["event"], body["status"]) == ("file_uploaded", "running")


def test_long_lists_are_truncated_and_counted() -> None:
    body = json.loads(task_payload(TASK, [FILE] * 101, "task.completed", 0))
    assert (len(body["items"]), body["items_total"]) == (100, 101)


@given(st.integers(0, 253402300798_999))
def test_times_are_rfc_3339_in_utc_and_sort_like_numbers(ms: int) -> None:
    text = rfc3339(ms)
    assert len(text) == 20
    assert text.endswith("Z")
    assert text < rfc3339(ms + 1000)
