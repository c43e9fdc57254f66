"""Missing fields of a request come from the preferences of its user; rules apply only to missing fields."""

from __future__ import annotations

from typing import Any

import pytest

from saveany.config import Config
from saveany.errors import InvalidInput
from saveany.models import OnConflict, Rule, TaskSpec
from saveany.planning.requests import TaskRequest, plan_request
from saveany.preferences import Preferences
from saveany.sources import SOURCES

RULES = (Rule(name="mkv", storage="nas", folder="Films"), Rule(storage="gone", folder="x"), Rule(name="z"))
PREFS = Preferences(
    storage="nas", folder="mine", on_conflict="skip", template="{{ n }}", rules=RULES, rules_on=True
)


def config(**user: Any) -> Config:
    storages = [{"name": name, "type": "memory", "space": name} for name in ("local1", "nas")]
    return Config.model_validate({"users": [{"id": 1, **user}], "storages": storages})


def spec(preferences: Preferences = PREFS, user: dict[str, Any] | None = None, **request: Any) -> TaskSpec:
    request = {"links": ["https://t.me/channel/1"], **request}
    configured = config(**(user or {}))
    return plan_request(configured, configured.users[0], TaskRequest(**request), preferences, task_id="1")


def test_missing_fields_come_from_the_preferences() -> None:
    made = spec()
    assert (made.storage, made.path, made.on_conflict) == ("nas", "mine", OnConflict.SKIP)
    assert (made.template, made.rules) == ("{{ n }}", (RULES[0], Rule(folder="x"), Rule(name="z")))


def test_without_preferences_the_first_storage_is_used() -> None:
    made = spec(Preferences())
    assert (made.storage, made.path, made.on_conflict) == ("local1", "", OnConflict.RENAME)
    assert (made.template, made.rules) == ("", ())


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"storage": "local1"}, ("local1", "")),
        ({"storage": "nas"}, ("nas", "mine")),
        ({"folder": "a"}, ("nas", "a")),
        ({"folder": "/"}, ("nas", "")),
        ({"storage": "local1", "folder": "a"}, ("local1", "a")),
    ],
)
def test_the_preferred_folder_is_used_with_the_preferred_storage_only(
    fields: dict[str, Any], place: tuple[str, str]
) -> None:
    made = spec(**fields)
    assert (made.storage, made.path) == place


def test_rules_apply_only_to_fields_missing_in_the_request() -> None:
    assert [rule.storage for rule in spec(storage="local1").rules] == ["", "", ""]
    assert [rule.folder for rule in spec(storage="local1").rules] == ["Films", "x", ""]
    assert [rule.storage for rule in spec(folder="a").rules] == ["nas", "", ""]
    assert [rule.folder for rule in spec(folder="a").rules] == ["", "", ""]
    assert spec(storage="local1", folder="/").rules == ()
    assert spec(filename="a.bin").template == ""
    assert spec(filename="a.bin").rules[0] == RULES[0]


def test_disabled_rules_are_ignored() -> None:
    assert spec(Preferences(rules=RULES, rules_on=False)).rules == ()


def test_a_preferred_storage_without_permission_is_not_used() -> None:
    made = spec(user={"storages": ["local1"]})
    assert (made.storage, made.path) == ("local1", "")
    assert [rule.storage for rule in made.rules] == ["", "", ""]


@pytest.mark.parametrize(
    ("kept", "meant"), [("", "rename"), ("ask", "rename"), ("overwrite", "overwrite"), ("skip", "skip")]
)
def test_the_ask_policy_becomes_rename_outside_of_the_bot(kept: Any, meant: str) -> None:
    assert spec(Preferences(on_conflict=kept)).on_conflict == meant
    assert spec(Preferences(on_conflict=kept), on_conflict=OnConflict.RENAME).on_conflict == "rename"


def test_transfers_of_a_folder_ignore_templates_and_rules() -> None:
    made = spec(type="transfer", links=["films"], params={"source_storage": "local1"})
    assert (made.storage, made.template, made.rules) == ("nas", "", ())


@pytest.mark.parametrize(
    ("off", "link"),
    [
        ("ytdlp", "https://youtu.be/abc"),
        ("gallery", "https://x.com/a/status/1"),
        ("aria2", "https://example.com/a.torrent"),
    ],
)
def test_links_of_a_disabled_source_are_refused(off: str, link: str) -> None:
    storages = [{"name": "nas", "type": "memory", "space": "nas"}]

    def chosen_type(*, enable: bool, type_: str = "") -> str:
        table = {"users": [{"id": 1}], "storages": storages, off: {"enable": enable}}
        config = Config.model_validate(table)
        request = TaskRequest(links=[link], type=type_)
        return plan_request(config, config.users[0], request, task_id="1").type

    with pytest.raises(InvalidInput, match=rf"set enable = true in \[{off}\].*config set {off}\.enable true"):
        chosen_type(enable=False)
    assert chosen_type(enable=False, type_="directlinks") == "directlinks"
    assert chosen_type(enable=True) == installed(off)


def installed(table: str) -> str:
    """The task type that a table of the configuration enables."""
    return next(source.type for source in SOURCES if source.table == table)
