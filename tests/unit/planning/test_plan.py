"""Where the files of a task are saved: the request, the user's template and the user's rules."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from saveany.ids import created_ms, new_id
from saveany.models import Item, Rule, TaskSpec
from saveany.planning.facts import Facts
from saveany.planning.plan import ResolvedFile, plan, planned_title, source_name, with_final_path

ALBUM = Facts(text="Our trip", album="Our trip", kind="photo", date_ms=1_785_585_600_000)


def spec(**changes: Any) -> TaskSpec:
    fields: dict[str, Any] = {
        "id": new_id(),
        "type": "tgfiles",
        "links": ("https://t.me/channel/123",),
        "user_id": 1,
        "storage": "local1",
        "path": "in",
    }
    return TaskSpec(**(fields | changes))


def places(spec: TaskSpec, *found: ResolvedFile) -> list[str]:
    return [f"{item.storage}:{item.path}" for item in plan(spec, found)]


def test_without_a_template_files_keep_their_names() -> None:
    (item,) = plan(spec(), [ResolvedFile("a.bin", 5, {"x": 1}, "sub")])
    assert item == Item(index=0, name="a.bin", path="in/sub/a.bin", size=5, source={"x": 1})


def test_files_of_an_album_are_recognized() -> None:
    found = [ResolvedFile(name, 1, album=name[0], caption=f"text of {name}") for name in ("a1", "b", "a2")]
    together = [(item.album, item.caption) for item in plan(spec(), found)]
    assert together == [("a", "text of a1"), ("", ""), ("a", "text of a2")]


def test_a_template_names_files_and_makes_folders() -> None:
    made = spec(template="{{ album }}/{{ n|pad(2) }}")
    found = [
        ResolvedFile("a.jpg", 1, facts=ALBUM),
        ResolvedFile("b.jpg", 1, facts=ALBUM),
        ResolvedFile("c.bin", 1, {}, "sub"),
    ]
    assert places(made, *found) == [":in/Our trip/01.jpg", ":in/Our trip/02.jpg", ":in/sub/03.bin"]


def test_equal_names_get_numbers_in_each_storage() -> None:
    made = spec(template="x", rules=(Rule(name="jpg", storage="nas", folder="in"),))
    found = [
        ResolvedFile("a.jpg", 1),
        ResolvedFile("b.jpg", 1),
        ResolvedFile("c.bin", 1),
        ResolvedFile("d.bin", 1),
    ]
    assert places(made, *found) == ["nas:in/x.jpg", "nas:in/x_1.jpg", ":in/x.bin", ":in/x_1.bin"]


def test_the_first_rule_decides_on_storage_and_folder() -> None:
    rules = (
        Rule(name="secret"),
        Rule(album=True, folder="{{ folder }}/{{ album }} {{ year }}"),
        Rule(name=r"\.mkv$", storage="nas", folder="Films"),
        Rule(min_size=100, storage="nas"),
        Rule(max_size=1, folder="/"),
        Rule(storage="local1", folder="{{ album }}"),
    )
    expected = [
        (ResolvedFile("secret.mkv", 1000), ":in/secret.mkv"),
        (ResolvedFile("a.mkv", 1, facts=ALBUM), ":in/Our trip 2026/a.mkv"),
        (ResolvedFile("a.mkv", 1), "nas:Films/a.mkv"),
        (ResolvedFile("a.bin", 100, {}, "list"), "nas:in/list/a.bin"),
        (ResolvedFile("a.bin", 1), ":a.bin"),
        (ResolvedFile("a.bin", 50), ":in/a.bin"),
    ]
    for found, place in expected:
        assert places(spec(rules=rules), found) == [place]


def test_rules_see_the_name_that_the_template_made() -> None:
    made = spec(template="{{ kind }}", rules=(Rule(name="^photo", folder="P"),))
    assert places(made, ResolvedFile("a.jpg", 1)) == [":P/photo.jpg"]
    assert places(replace(made, template="", filename="photo"), ResolvedFile("a.bin", 1)) == [":P/photo"]


def test_a_file_without_a_date_uses_that_of_its_task() -> None:
    made = spec(template='{{ date|date("%Y%m%d%H%M%S") }}')
    assert created_ms(made.id) > 1_700_000_000_000
    (item,) = plan(made, [ResolvedFile("a.bin", 1)])
    assert (
        item.name == plan(made, [ResolvedFile("a.bin", 1, facts=Facts(date_ms=created_ms(made.id)))])[0].name
    )


def test_a_file_is_placed_again_when_its_name_and_size_are_known() -> None:
    made = spec(
        template="{{ name }} x", rules=(Rule(name=r"\.mp4$", min_size=10, storage="nas", folder="F"),)
    )
    (item,) = plan(made, [ResolvedFile("watch", None, {"u": 1}, "list")])
    assert (item.path, item.storage, source_name(item)) == ("in/list/watch x", "", "watch")
    ready = with_final_path(made, item, replace(item, name="Film.mp4", size=10, source={"u": 2}))
    assert (ready.storage, ready.path, ready.name) == ("nas", "F/list/Film x.mp4", "Film x.mp4")
    assert (ready.size, ready.source, source_name(ready)) == (10, {"u": 2}, "Film.mp4")
    again = with_final_path(made, ready, replace(ready, name=source_name(ready)))
    assert again == ready


def test_a_file_whose_name_was_known_is_not_moved() -> None:
    made = spec(rules=(Rule(text="trip", storage="nas"),))
    (item,) = plan(made, [ResolvedFile("a.jpg", 5, facts=ALBUM)])
    assert item.storage == "nas"
    assert with_final_path(made, item, replace(item, name=source_name(item))) == item


def test_a_late_name_without_rules_replaces_the_provisional_one() -> None:
    (item,) = plan(spec(), [ResolvedFile("a", None)])
    ready = with_final_path(spec(), item, replace(item, name="b.txt", size=1))
    assert (ready.name, ready.path) == ("b.txt", "in/b.txt")
    named = spec(filename="mine")
    (item,) = plan(named, [ResolvedFile("a", None)])
    assert with_final_path(named, item, replace(item, name="b.txt")).path == "in/mine"


def test_the_title_shows_the_destination_chosen_by_a_rule() -> None:
    made = spec(rules=(Rule(storage="nas", folder="F"),))
    assert planned_title(made, plan(made, [ResolvedFile("a.bin", 1)])) == "[tgfiles](a.bin->nas:/F/a.bin)"
