"""Tasks rendered as messages."""

from __future__ import annotations

import html
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from telethon.extensions import html as telegram_html

from saveany.bot.render import RenderedMessage, bar, clip, duration, reason, size, task_view
from saveany.bot.texts import translator
from saveany.models import Item, ItemStatus, Progress, Stage, Status, Task, TaskSpec
from saveany.telegram.update_types import Button
from saveany.texts import Text

T = translator("en")
ID = "0123456789abcdefghij"


def a_task(
    status: Status = Status.RUNNING,
    stage: Stage = Stage.DOWNLOADING,
    *,
    links: tuple[str, ...] = ("https://t.me/channel/123",),
    path: str = "films",
    error: str = "",
    progress: Progress | None = None,
    paused: bool = False,
    cancel_requested: bool = False,
) -> Task:
    return Task(
        spec=TaskSpec(id=ID, type="tgfiles", links=links, user_id=1, storage="nas", path=path),
        status=status,
        title="[tgfiles](x->nas:/films)",
        created_at=0,
        updated_at=0,
        started_at=10_000,
        finished_at=144_000 if status.ended else None,
        stage=Stage.NONE if status.ended else stage,
        error=error,
        paused=paused,
        cancel_requested=cancel_requested,
        progress=progress or Progress(),
    )


def an_item(index: int = 0, status: ItemStatus = ItemStatus.QUEUED, **more: object) -> Item:
    name = f"film{index}.mkv"
    fields: dict[str, object] = {"name": name, "path": f"films/{name}", "size": 1_000_000, **more}
    return Item(index=index, status=status, **fields)  # type: ignore[arg-type] # of the right types


def lines(task: Task, items: Sequence[Item] = (), name: str = "") -> list[str]:
    return task_view(T, task, items, name).text.split("\n")


HALF = Progress(total_bytes=4_000_000, downloaded_bytes=1_900_000, speed_bps=350_000.0, total_files=1)


def test_a_running_file_is_shown_with_a_bar() -> None:
    assert lines(a_task(progress=HALF), [an_item()]) == [
        "⬇️ <b>Downloading</b>",
        "film0.mkv",
        "▰▰▰▰▱▱▱▱▱▱ 47 %",
        "1.9 MB of 4.0 MB · 350.0 kB/s · 0:06 left",
        "📁 <code>nas:/films/film0.mkv</code>",
    ]


def test_a_recording_shows_what_has_come() -> None:
    """Nobody knows how much it will be."""
    progress = Progress(downloaded_bytes=1_500, speed_bps=10.0, total_files=2, done_files=1, grows=True)
    items = [an_item(0, ItemStatus.COMPLETED), an_item(1, ItemStatus.RUNNING)]
    assert lines(a_task(progress=progress), items)[:2] == ["🔴 <b>Recording</b>", "1.5 kB · 10 B/s"]


def test_a_file_of_unknown_size_has_no_bar() -> None:
    progress = Progress(downloaded_bytes=1_500, speed_bps=10.0, total_files=1)
    assert lines(a_task(progress=progress), [an_item(size=None)])[2:-1] == ["1.5 kB · 10 B/s"]


@pytest.mark.parametrize(
    ("task", "head"),
    [
        (a_task(Status.QUEUED, Stage.NONE), "⏳ <b>Waiting</b>"),
        (a_task(Status.QUEUED, Stage.PAUSED, paused=True), "⏸ <b>Paused</b>"),
        (a_task(stage=Stage.NONE), "▶️ <b>Starting</b>"),
        (a_task(stage=Stage.RESOLVING), "🔎 <b>Looking up the files</b>"),
        (a_task(stage=Stage.UPLOADING), "⬆️ <b>Uploading</b>"),
        (a_task(stage=Stage.VERIFYING), "🔍 <b>Verifying</b>"),
        (a_task(stage=Stage.JOINING), "🧩 <b>Joining</b>"),
        (a_task(cancel_requested=True), "⏹ <b>Canceling</b>"),
    ],
)
def test_each_phase_has_its_own_text(task: Task, head: str) -> None:
    assert lines(task)[0] == head


@pytest.mark.parametrize(
    ("links", "name", "shown"),
    [
        (("https://t.me/channel/123",), "", "https://t.me/channel/123"),
        (("https://t.me/channel/123",), "Holiday", "Holiday"),
        (("tg://openmessage?user_id=1&message_id=2",), "", "1 link"),
        (("https://a.example/1", "https://a.example/2"), "", "2 links"),
    ],
)
def test_a_task_without_a_plan_is_called_by_its_link(links: tuple[str, ...], name: str, shown: str) -> None:
    assert lines(a_task(Status.QUEUED, Stage.NONE, links=links), (), name)[1:] == [
        shown,
        "📁 <code>nas:/films</code>",
    ]


def test_a_batch_shows_counts_and_the_newest_files() -> None:
    over = [an_item(n, ItemStatus.COMPLETED) for n in range(9)]
    items = [*over, an_item(9, ItemStatus.FAILED), an_item(10, ItemStatus.RUNNING), an_item(11), an_item(12)]
    progress = Progress(total_bytes=13_000_000, downloaded_bytes=9_500_000, total_files=13, done_files=9)
    assert lines(a_task(progress=progress), items, "Holiday") == [
        "⬇️ <b>Downloading</b>",
        "Holiday",
        "▰▰▰▰▰▰▰▱▱▱ 73 %",
        "9.5 MB of 13.0 MB",
        "9 of 13 files done · 1 failed · 3 waiting",
        "✅ film6.mkv (1.0 MB)",
        "✅ film7.mkv (1.0 MB)",
        "✅ film8.mkv (1.0 MB)",
        "❌ film9.mkv (1.0 MB)",
        "▶️ film10.mkv (1.0 MB)",
        "📁 <code>nas:/films</code>",
    ]


def test_the_next_file_of_a_batch_counts_as_active_only_while_it_runs() -> None:
    items = [an_item(0, ItemStatus.COMPLETED), an_item(1)]
    assert "▶️ film1.mkv (1.0 MB)" in lines(a_task(), items)
    assert "▶️ film1.mkv (1.0 MB)" not in lines(a_task(Status.QUEUED, Stage.PAUSED, paused=True), items)


def test_a_saved_file_is_shown_with_its_storage_and_path() -> None:
    item = an_item(0, ItemStatus.COMPLETED, final="films/film0_1.mkv", url="https://nas.example/film0_1.mkv")
    view = task_view(T, a_task(Status.COMPLETED), [item])
    assert view.text.split("\n") == [
        "✅ <b>Saved</b>",
        "film0.mkv",
        "1.0 MB in 2:14",
        "📁 <code>nas:/films/film0_1.mkv</code>",
    ]
    page = Button("Open", url="https://nas.example/film0_1.mkv")
    assert view.keyboard == ((Button("Link", f"link:{ID}"), page),)


@pytest.mark.parametrize("url", ["http://localhost:8080/f", "http://[bad", "ftp://nas.example/f", "nonsense"])
def test_a_link_that_telegram_would_refuse_is_text(url: str) -> None:
    view = task_view(T, a_task(Status.COMPLETED), [an_item(0, ItemStatus.COMPLETED, url=url)])
    assert view.keyboard == ((Button("Link", f"link:{ID}"),),)
    assert view.text.split("\n")[-1] == url


def test_a_skipped_file_is_not_called_saved() -> None:
    assert lines(a_task(Status.COMPLETED), [an_item(0, ItemStatus.SKIPPED)]) == [
        "⏭ <b>Already there</b>",
        "film0.mkv",
        "📁 <code>nas:/films/film0.mkv</code>",
    ]


def test_several_saved_files_are_counted() -> None:
    items = [an_item(0, ItemStatus.SKIPPED), *(an_item(n, ItemStatus.COMPLETED) for n in range(1, 4))]
    assert lines(a_task(Status.COMPLETED), items) == [
        "✅ <b>Saved</b>",
        "4 of 4 files saved · 1 was already there",
        "3.0 MB in 2:14",
        "📁 <code>nas:/films</code>",
    ]


def test_a_failed_task_shows_its_reason_and_a_retry_button() -> None:
    view = task_view(T, a_task(Status.FAILED, error="no <access>" + "x" * 500), [])
    shown = html.unescape(view.text.split("\n")[-1])
    assert shown.startswith("no <access>xxx")
    assert len(shown) == 240
    assert view.keyboard == ((Button("Retry", f"retry:{ID}"),),)


def test_files_sent_to_the_user_name_no_storage() -> None:
    sent = a_task(
        Status.FAILED, path="1", error="storage 'talks': 'a.mkv' is empty, and Telegram takes no such files"
    )
    sent = replace(sent, spec=replace(sent.spec, storage="talks"))
    done = an_item(0, ItemStatus.COMPLETED, path="1/film0.mkv", final="1/film0.mkv")
    for task in (
        sent,
        replace(sent, status=Status.RUNNING, error=""),
        replace(sent, status=Status.COMPLETED),
    ):
        text = task_view(T, task, [done]).text
        assert "talks" not in text
        assert "1/film0" not in text
        assert "this chat" in text
    assert "our chat: 'a.mkv' is empty" in task_view(T, sent, []).text


def test_a_reason_with_fields_does_not_name_the_storage_of_private_chats() -> None:
    text = Text("storage {storage!r}: {reason}", {"storage": "talks", "reason": Text("it does not reply")})
    assert reason(T, text, 100) == "our chat: it does not reply"
    assert reason(translator("zh-Hans"), text, 100) == "我们的对话：它没有响应"  # noqa: RUF001


def test_a_long_reason_ends_with_a_sentence() -> None:
    task = a_task(
        Status.FAILED, error="The server refuses the file, as its disk is full. " + "Much more " * 30
    )
    assert task_view(T, task, []).text.endswith("The server refuses the file, as its disk is full.")


def test_a_batch_that_failed_in_part_lists_ten_of_its_failures() -> None:
    failed = [an_item(n, ItemStatus.FAILED, error="gone") for n in range(12)]
    shown = lines(
        a_task(Status.FAILED, error="12 of 13 files failed"), [*failed, an_item(12, ItemStatus.COMPLETED)]
    )
    assert shown[:4] == [
        "⚠️ <b>Partly saved</b>",
        "1 of 13 files saved",
        "1.0 MB in 2:14",
        "📁 <code>nas:/films</code>",
    ]
    assert shown[4:] == [*(f"❌ film{n}.mkv: gone" for n in range(10)), "and 2 more"]


def test_a_card_says_what_is_special_about_saved_files() -> None:
    note = Text("It was cut into {count} parts that play by themselves.", {"count": 3})
    items = [an_item(n, ItemStatus.COMPLETED, note=note) for n in range(5)]
    assert lines(a_task(Status.COMPLETED), items)[-4:] == [
        *(f"💡 film{n}.mkv: It was cut into 3 parts that play by themselves." for n in range(3)),
        "and 2 more",
    ]


def test_a_task_that_failed_after_its_last_file_shows_the_reason() -> None:
    items = [an_item(n, ItemStatus.COMPLETED) for n in range(2)]
    assert "the folder could not be removed" in lines(
        a_task(Status.FAILED, error="the folder could not be removed"), items
    )


def test_a_canceled_task_is_shown_as_such() -> None:
    view = task_view(T, a_task(Status.CANCELED), [an_item()])
    assert view.text == "🚫 <b>Canceled</b>\nfilm0.mkv"
    assert view.keyboard == ((Button("Retry", f"retry:{ID}"),),)


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_the_cancel_button_disappears_after_it_was_pressed(status: Status) -> None:
    task = a_task(status, Stage.NONE)
    assert task_view(T, task, []).keyboard == ((Button("Cancel", f"cancel:{ID}"),),)
    assert task_view(T, replace(task, cancel_requested=True), []).keyboard == ()


def test_messages_are_translated_into_chinese() -> None:
    view = task_view(translator("zh-hans"), a_task(progress=HALF), [an_item()])
    assert view.text.split("\n")[0] == "⬇️ <b>正在下载</b>"
    assert "剩余 0:06" in view.text
    assert view.keyboard[0][0].label == "取消"


def test_messages_with_different_buttons_have_different_fingerprints() -> None:
    view = task_view(T, a_task(), [])
    assert view.fingerprint == task_view(T, a_task(), []).fingerprint
    assert view.fingerprint != replace(view, keyboard=()).fingerprint
    assert view.fingerprint != replace(view, text=view.text + ".").fingerprint


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1_500_000_000, "1.5 GB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_sizes_are_shown_with_units(count: int, shown: str) -> None:
    assert size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0:00"), (0, "0:00"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")]
)
def test_durations_are_shown_with_units(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_bars_show_the_share_that_is_done() -> None:
    assert (bar(0), bar(9.9), bar(50), bar(100)) == ("▱" * 10, "▱" * 10, "▰" * 5 + "▱" * 5, "▰" * 10)


def test_a_long_name_keeps_its_end() -> None:
    assert clip("a" * 100 + "season 1.mkv", 20) == "aaaaaaa…season 1.mkv"
    assert clip(" two\nlines ", 20) == "two lines"


#: What people and programs put into names and errors: markup, line ends, characters of four bytes.
ANY = st.text(st.sampled_from("<&>\"' \n\t\u202eaß界😀"), max_size=600)
ITEMS = st.lists(
    st.builds(
        lambda name, status, size, error, url: Item(
            index=0, name=name, path=name, status=status, size=size, error=error, url=url
        ),
        ANY,
        st.sampled_from(ItemStatus),
        st.none() | st.integers(0, 10**15),
        ANY,
        ANY | st.just("https://nas.example/" + "x" * 3000),
    ),
    max_size=40,
)
PROGRESS = st.builds(
    Progress,
    total_bytes=st.integers(0, 10**15),
    downloaded_bytes=st.integers(0, 10**15),
    total_files=st.integers(0, 10**6),
    done_files=st.integers(0, 10**6),
    speed_bps=st.just(0.0) | st.floats(0.1, 1e12),
)


@given(
    st.sampled_from(Status),
    st.sampled_from(Stage),
    ITEMS,
    PROGRESS,
    ANY,
    ANY,
    ANY,
    st.sampled_from(["en", "zh"]),
)
def test_any_task_fits_into_a_message_and_is_escaped(
    status: Status,
    stage: Stage,
    items: list[Item],
    progress: Progress,
    path: str,
    error: str,
    name: str,
    language: str,
) -> None:
    task = a_task(status, stage, path=path, error=error, progress=progress, links=(path,))
    check_fits(task_view(translator(language), task, items, name))


def test_the_longest_values_fit_into_a_message() -> None:
    much = "😀" * 600
    items = [an_item(n, ItemStatus.FAILED, name=much, error=much, size=10**15) for n in range(30)]
    for status in Status:
        task = a_task(
            status,
            path=much,
            error=much,
            progress=Progress(total_bytes=10**15, downloaded_bytes=1, speed_bps=1.0),
        )
        check_fits(task_view(T, task, items, much))
        check_fits(task_view(T, task, [], much))


def check_fits(view: RenderedMessage) -> None:
    shown, entities = telegram_html.parse(view.text)
    assert 0 < len(shown.encode("utf-16-le")) // 2 <= 4096
    assert {type(entity).__name__ for entity in entities} <= {"MessageEntityBold", "MessageEntityCode"}
    assert view.text.count("<") == 2 * len(entities)
    assert all(len(button.data.encode()) <= 64 for row in view.keyboard for button in row)
