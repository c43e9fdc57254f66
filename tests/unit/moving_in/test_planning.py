"""The plan of an import: only what is missing here is added, and everything else is named with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saveany.config import Config, load, write
from saveany.models import Rule
from saveany.moving_in.configuration import combined, target
from saveany.moving_in.found import Finds, FoundLogin, FoundRule, FoundUser, FoundWatch, checked_login
from saveany.moving_in.plan import Plan, Present, make_plan
from saveany.moving_in.recognise import recognise
from saveany.moving_in.steps import ConfigStep, LoginStep, PreferencesStep, RulesStep, WatchStep
from saveany.planning.rules import MAX_RULES
from saveany.preferences import Preferences, Shortcut
from saveany.store.archives import Archive

_NOTHING = Present()
NAS = '[[storages]]\nname = "nas"\ntype = "local"\nbase_path = "nas"\n'
ONE_USER = f"{NAS}[[users]]\nid = 7\n"
USER = FoundUser(
    id=7,
    silent=True,
    storage="nas",
    folder="/Films/",
    rules_on=True,
    naming="default",
    template="",
    on_conflict="skip",
    shortcuts=(("nas", "Films"), ("gone", "x"), ("nas", "../x")),
    rules=(FoundRule(kind="IS-ALBUM", data="true", storage="CHOSEN", folder="a"),),
    watches=(FoundWatch(chat=-1001, filter=""), FoundWatch(chat=1500000002, filter="msgre:x")),
)


def config_of(folder: Path, text: str) -> Config:
    file = folder / "config.toml"
    file.write_text(text)
    return load(file, {})


def plan(folder: Path, text: str, finds: Finds, present: Present = _NOTHING) -> Plan:
    return make_plan(config_of(folder, text), finds, present)


def steps_of(found: Plan, kind: type) -> list[Any]:
    return [each for each in found.steps if isinstance(each, kind)]


def reasons(found: Plan) -> dict[str, str]:
    return {each.name: str(each.reason) for each in found.left_out}


def found_config(folder: Path, text: str) -> Finds:
    other = folder / "other"
    other.mkdir()
    (other / "config.toml").write_text(text)
    finds = Finds()
    recognise([other], finds)
    return finds


# Users.


def test_a_user_comes_along(tmp_path: Path) -> None:
    made = plan(tmp_path, ONE_USER, Finds(users=[USER]))
    (preferences,) = steps_of(made, PreferencesStep)
    assert preferences.changed == {
        "storage": "nas",
        "folder": "Films",
        "on_conflict": "skip",
        "silent": True,
        "shortcuts": [Shortcut("nas", "Films")],
    }
    watches = steps_of(made, WatchStep)
    assert [each.chat for each in watches] == [-1001, -1001500000002]
    assert sorted(reasons(made)) == ["user 7: folder gone:x", "user 7: folder nas:../x"]


def test_what_the_user_has_chosen_here_stays(tmp_path: Path) -> None:
    user = replace(USER, naming="message")
    own = Preferences(storage="nas", folder="Own", on_conflict="ask", template="{{ name }}", silent=True)
    made = plan(tmp_path, ONE_USER, Finds(users=[user]), Present(preferences={7: own}))
    (preferences,) = steps_of(made, PreferencesStep)
    assert set(preferences.changed) == {"shortcuts"}
    kept = [name for name, reason in reasons(made).items() if "which stays" in reason]
    assert kept == [
        "user 7: default storage nas",
        "user 7: name template {{ msggen }}",
        "user 7: strategy for taken names skip",
    ]


def test_to_import_again_changes_nothing(tmp_path: Path) -> None:
    made = plan(tmp_path, ONE_USER, Finds(users=[USER]))
    (preferences,), (rules,) = steps_of(made, PreferencesStep), steps_of(made, RulesStep)
    changed = {**preferences.changed, "shortcuts": tuple(preferences.changed["shortcuts"])}
    archives = [
        Archive(id=str(n), user_id=7, chat=each.chat, title="", account="", filter=each.filter, created_at=1)
        for n, each in enumerate(steps_of(made, WatchStep))
    ]
    present = Present(preferences={7: Preferences(**changed, rules=rules.rules)}, archives=archives)
    assert plan(tmp_path, ONE_USER, Finds(users=[USER]), present).steps == []
    others = [Archive(id="o", user_id=8, chat=-1001, title="", account="", created_at=1)]
    assert len(plan(tmp_path, ONE_USER, Finds(users=[USER]), replace(present, archives=others)).steps) == 2


def test_own_rules_come_first_and_their_number_is_limited(tmp_path: Path) -> None:
    rules = tuple(rule(str(number)) for number in range(MAX_RULES))
    present = Present(preferences={7: Preferences(rules=(Rule(name="own"),))})
    made = plan(tmp_path, ONE_USER, Finds(users=[replace(USER, rules=rules)]), present)
    (step,) = steps_of(made, RulesStep)
    assert [each.name for each in step.rules] == [str(number) for number in range(MAX_RULES - 1, 0, -1)]
    assert "at most 50 rules" in reasons(made)["user 7: rule name=0 -> :a"]


def rule(pattern: str) -> FoundRule:
    return FoundRule(kind="FILENAME-REGEX", data=pattern, storage="CHOSEN", folder="a")


def test_rules_that_were_switched_off(tmp_path: Path) -> None:
    user = replace(USER, rules_on=False)
    (step,) = steps_of(plan(tmp_path, ONE_USER, Finds(users=[user])), RulesStep)
    assert (step.is_on, step.detail) == (False, "album=yes -> :a\n(switched off)")
    present = Present(preferences={7: Preferences(rules=(Rule(name="own"),))})
    made = plan(tmp_path, ONE_USER, Finds(users=[user]), present)
    assert steps_of(made, RulesStep) == []
    assert "switched off" in reasons(made)["user 7: rule album=yes -> :a"]


def test_a_user_without_a_default_storage(tmp_path: Path) -> None:
    """SaveAny-Bot saves nothing of a watched chat then, and refuses silent mode."""
    made = plan(tmp_path, ONE_USER, Finds(users=[replace(USER, storage="")]))
    assert steps_of(made, WatchStep) == []
    assert "silent" not in steps_of(made, PreferencesStep)[0].changed
    assert "user 7: silent mode" in reasons(made)


def test_settings_that_mean_nothing_are_named(tmp_path: Path) -> None:
    user = replace(
        USER,
        on_conflict="explode",
        naming="other",
        folder="..",
        rules=(rule("("),),
        watches=(FoundWatch(chat=0, filter=""), FoundWatch(chat=-1, filter="kind:x")),
    )
    made = plan(tmp_path, ONE_USER, Finds(users=[user]))
    assert steps_of(made, PreferencesStep)[0].changed["storage"] == "nas"
    assert [each for each in reasons(made) if "nas:" not in each and "gone" not in each] == [
        "user 7: default folder ..",
        "user 7: name template other",
        "user 7: strategy for taken names explode",
        "user 7: rule FILENAME-REGEX ( CHOSEN a",
        "user 7: watched chat 0",
        "user 7: watched chat -1 kind:x",
    ]


def test_a_user_who_is_not_listed_is_named(tmp_path: Path) -> None:
    made = plan(tmp_path, NAS, Finds(users=[USER]))
    assert made.steps == []
    assert "[[users]]" in reasons(made)["user 7"]


# The configuration.

THEIRS = """\
# a comment
workers = 9
retry = 3
threads = 4
[telegram]
token = "1234567:their-token-their-token-their-token"
app_id = 5
app_hash = "theirs"
[[storages]]
name = "nas"
type = "local"
enable = true
base_path = "./elsewhere"
[[storages]]
name = "cloud"
type = "webdav"
enable = true
url = "https://dav.example.com"
username = "u"
password = "p"
base_path = "/x"
[[storages]]
name = "off"
type = "local"
base_path = "./off"
[[storages]]
name = "broken"
type = "nothing"
enable = true
[[users]]
id = 7
storages = ["off"]
[[users]]
id = 8
storages = ["cloud", "off"]
blacklist = true
"""


def written(made: Plan, folder: Path) -> Config:
    steps = [each for each in made.steps if isinstance(each, ConfigStep)]
    return write.update(target(load(folder / "config.toml", {})), combined(steps), {})


def test_only_what_is_missing_here_is_added(tmp_path: Path) -> None:
    made = plan(tmp_path, ONE_USER, found_config(tmp_path, THEIRS))
    after = written(made, tmp_path)
    assert [each.subject for each in made.steps] == ["bot", "application", "storage cloud", "user 8"]
    assert (after.workers, after.telegram.app_id) == (3, 5)
    assert [each.name for each in after.storages] == ["nas", "cloud"]
    assert [(each.id, each.storages, each.blacklist) for each in after.users] == [
        (7, (), False),
        (8, ("cloud",), True),
    ]
    assert "storage off" in reasons(made)
    theirs = tmp_path / "other/config.toml"
    assert "stays as it is" in reasons(made)[f"{theirs}: workers"]
    assert reasons(made)[f"{theirs}: threads"].startswith("has no effect")
    assert any("storage broken" in each for each in reasons(made))
    assert not any("retry" in each for each in reasons(made))
    assert plan(tmp_path, (tmp_path / "config.toml").read_text(), again(tmp_path)).steps == []


def again(folder: Path) -> Finds:
    finds = Finds()
    recognise([folder / "other"], finds)
    return finds


def test_another_bot_and_another_application_stay(tmp_path: Path) -> None:
    own = (
        '[telegram]\ntoken = "7654321:own-token-own-token-own-token-own-tok"\napp_id = 1\napp_hash = "own"\n'
    )
    made = plan(tmp_path, own + ONE_USER, found_config(tmp_path, THEIRS))
    assert [each.subject for each in made.steps] == ["storage cloud", "user 8"]
    assert any("another bot" in each for each in reasons(made).values())
    assert not any("token" in each.detail or "theirs" in repr(each) for each in made.steps)


def test_our_own_file_is_not_taken_for_that_of_another_program(tmp_path: Path) -> None:
    config = config_of(tmp_path, THEIRS.replace('"nothing"', '"local"\nbase_path = "b"'))
    finds = Finds()
    recognise([tmp_path], finds, config.file)
    assert finds.configs == []


def test_without_a_file_here_theirs_is_taken_with_its_comments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds = found_config(tmp_path, THEIRS.replace('"nothing"', '"local"\nbase_path = "/b"'))
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    made = make_plan(load(None, {}), finds, Present())
    steps: Sequence[ConfigStep] = steps_of(made, ConfigStep)
    after = write.update(target(made.config), combined(steps), {})
    text = (tmp_path / "new/config.toml").read_text()
    assert text.startswith("# a comment\nworkers = 9\n")
    assert any("threads has no effect" in str(each) for each in made.warnings)
    places = [str(getattr(each, "base_path", "")) for each in after.storages]
    assert places[0] == str(tmp_path / "other/elsewhere")


# Logins.


def login(**fields: Any) -> FoundLogin:
    given = {
        "source": "x",
        "program": "Telethon",
        "dc_id": 2,
        "key": bytes([1]) * 256,
        "address": ("149.154.167.51", 443),
    }
    return checked_login(**given | fields)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"is_test": True}, "test servers"),
        ({"address": ("149.154.167.40", 443)}, "test servers"),
        ({"address": ("127.0.0.1", 24430)}, "test servers"),
        ({"address": ("telegram.example.com", 443)}, "test servers"),
        ({"dc_id": 7}, "no data center 7"),
        ({"is_bot": True}, "login of a bot"),
        ({"user_id": 77}, "logged in already, as own"),
        ({"key": bytes([2]) * 256}, "here already, as the account own"),
    ],
)
def test_logins_that_do_not_move(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    found = login(**fields)
    present = Present(logins={login(key=bytes([2]) * 256).fingerprint: "own"}, owners={77: "own"})
    made = plan(tmp_path, ONE_USER, Finds(logins=[found]), present)
    assert made.steps == []
    assert reason in reasons(made)["x: login of Telethon"]


def test_each_login_gets_a_name_that_is_free(tmp_path: Path) -> None:
    keys = [bytes([number]) * 256 for number in (3, 4, 3)]
    finds = Finds(logins=[login(key=key, source=str(n), app_id=9) for n, key in enumerate(keys)])
    made = plan(
        tmp_path,
        f"[telegram]\napp_id = 1\napp_hash = 'x'\n{ONE_USER}",
        finds,
        Present(logins={"other": "me"}),
    )
    moved = steps_of(made, LoginStep)
    assert [(each.account, each.login.source) for each in moved] == [("me2", "0"), ("me3", "1")]
    assert "same login as that of 0" in reasons(made)["2: login of Telethon"]
    assert any("made with the application 9" in str(each) for each in made.warnings)
