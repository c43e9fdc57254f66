"""Changing a config.toml."""

from __future__ import annotations

import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from urllib.parse import quote

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from saveany.config import load
from saveany.config.keys import plain
from saveany.config.loader import parse
from saveany.config.write import add_account, add_storage, create, remove_storage, set_key
from saveany.errors import ConfigError

TEXT = 'workers = 4\nthreads = 2\n[api]\nport = 81\n[[users]]\nid = 1\n[hook.exec]\ntask_fail = "x"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(TEXT)
    return path


def test_setting_a_key_keeps_the_rest(file: Path) -> None:
    config = set_key(file, "api.token", "secret", {})
    assert config.model_dump() == load(file, {}).model_dump()
    assert (config.api.token.get_secret_value(), config.api.port, config.workers) == ("secret", 81, 4)
    assert [user.id for user in config.users] == [1]
    text = file.read_text()
    assert "threads = 2" in text
    assert 'task_fail = "x"' in text


def test_setting_a_key_creates_the_table_and_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    set_key(path, "telegram.proxy.url", "http://p:1", {})
    assert load(path, {}).telegram.proxy.url == "http://p:1"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_mode_and_symbolic_link_are_kept(file: Path, tmp_path: Path) -> None:
    file.chmod(0o640)
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    set_key(link, "workers", 5, {})
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert load(file, {}).workers == 5


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("api.prot", 1, "there is no key 'api.prot'; did you mean api.port?"),
        ("port", 1, "there is no key 'port'; did you mean api.port?"),
        ("threads", 1, "there is no key 'threads'"),
        ("api", {}, "there is no key 'api'"),
        ("api.port", "x", "config.toml: api.port: must be a whole number"),
        ("api.host", "0.0.0.0", "config.toml: api.host: would open the API"),
        ("storages", [{"name": "a"}], "config.toml: storages[0].type: is missing"),
    ],
)
def test_an_invalid_configuration_is_not_written(file: Path, key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        set_key(file, key, value, {})
    assert caught.value.message.replace(f"{file.parent}/", "").startswith(message)
    assert file.read_text() == TEXT
    assert [*file.parent.iterdir()] == [file]


def test_an_already_invalid_file_is_not_changed(file: Path) -> None:
    file.write_text("wrokers = 1")
    with pytest.raises(ConfigError, match=r"config\.toml:1: wrokers"):
        set_key(file, "workers", 5, {})
    assert file.read_text() == "wrokers = 1"


def test_the_variable_of_the_key_does_not_hide_an_invalid_value(file: Path) -> None:
    with pytest.raises(ConfigError, match="must be a whole number"):
        set_key(file, "workers", "x", {"SAVEANY_WORKERS": "3"})
    # while another's does count: the token comes from there
    set_key(file, "api.host", "0.0.0.0", {"SAVEANY_API_TOKEN": "t"})


def test_an_unwritable_folder_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write .*: No such file or directory"):
        set_key(tmp_path / "no" / "config.toml", "workers", 5, {})


def test_accounts_are_added_and_replaced_by_name(file: Path) -> None:
    add_account(file, "me", "one", {})
    add_account(file, "you", "two", {})
    config = add_account(file, "me", "three", {})
    accounts = {one.name: one.session.get_secret_value() for one in config.telegram.accounts}
    assert accounts == {"me": "three", "you": "two"}
    with pytest.raises(ConfigError, match=r"telegram\.accounts\[2\]\.name: "):
        add_account(file, "../me", "four", {})


def test_create_replaces_a_file_only_if_forced(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="already exists"):
        create(file, {"workers": 9})
    assert file.read_text() == TEXT
    create(file, {"workers": 9}, comment="first\nsecond", replace=True)
    assert file.read_text() == "# first\n# second\nworkers = 9\n"


COMMENTED = """\
# My SaveAny.

workers = 4  # the NAS has four disks

# --- the API ---
[api]
port = 81
# host = "127.0.0.1"

# --- who ---
[[users]]
id = 1  # me

# the children
[[users]]
id = 2

# --- where ---
[[storages]]
name = "nas"  # the big one
type = "local"
base_path = "/srv/nas"

# --- the rest ---
[log]
level = "info"
"""


@pytest.fixture
def commented(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(COMMENTED)
    return path


def added(before: str, after: str) -> list[str]:
    """The lines of `after` that are new; fails if a line was lost or moved."""
    new, rest = [], iter(after.splitlines())
    for line in before.splitlines():
        for candidate in rest:
            if candidate == line:
                break
            new.append(candidate)
        else:
            raise AssertionError(f"{line!r} is lost or moved in:\n{after}")
    return [*new, *rest]


@pytest.mark.parametrize(
    ("key", "value", "line", "above"),
    [
        ("retry", 7, "retry = 7", "workers = 4  # the NAS has four disks"),
        ("api.enable", False, "enable = false", "port = 81"),
        ("storages.0.enable", False, "enable = false", 'base_path = "/srv/nas"'),
        ("users.0.role", "admin", 'role = "admin"', "id = 1  # me"),
    ],
)
def test_a_new_key_is_added_to_its_table(
    commented: Path, key: str, value: object, line: str, above: str
) -> None:
    set_key(commented, key, value, {})
    lines = commented.read_text().splitlines()
    assert added(COMMENTED, commented.read_text()) == [line]
    assert lines[lines.index(line) - 1] == above


def test_a_changed_value_keeps_the_comment_beside_it(commented: Path) -> None:
    set_key(commented, "workers", 5, {})
    set_key(commented, "storages.0.base_path", "/srv/other", {})
    expected = COMMENTED.replace("workers = 4", "workers = 5").replace("/srv/nas", "/srv/other")
    assert commented.read_text() == expected


def test_new_tables_and_top_level_keys_are_placed_correctly(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# Hello.\n\n# the API\n[api]\nport = 81")
    set_key(path, "telegram.app_id", 5, {})
    set_key(path, "workers", 2, {})
    config = load(path, {})
    assert (config.workers, config.telegram.app_id, config.api.port) == (2, 5, 81)
    assert path.read_text().startswith("# Hello.\nworkers = 2\n\n# the API\n[api]\nport = 81\n")


def test_storages_are_added_and_removed_as_blocks(commented: Path) -> None:
    add_storage(commented, {"name": "usb", "type": "local", "base_path": "/mnt/usb"}, {})
    config = load(commented, {})
    assert [storage.name for storage in config.storages] == ["nas", "usb"]
    new = added(COMMENTED, commented.read_text())
    assert [line for line in new if line] == [
        "[[storages]]",
        'name = "usb"',
        'type = "local"',
        'base_path = "/mnt/usb"',
    ]
    text = commented.read_text()
    assert text.index('"/mnt/usb"') < text.index("# --- the rest ---") < text.index("[log]")
    with pytest.raises(ConfigError, match="usb is used twice"):
        add_storage(commented, {"name": "usb", "type": "local", "base_path": "/x"}, {})
    remove_storage(commented, "usb", {})
    assert added(COMMENTED, commented.read_text()) in ([], [""])
    with pytest.raises(ConfigError, match="has no storage 'usb'"):
        remove_storage(commented, "usb", {})
    remove_storage(commented, "nas", {})
    assert load(commented, {}).storages == ()


def test_blocks_can_be_appended_by_hand_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    create(path, {"users": [{"id": 1}], "storages": [{"name": "a", "type": "local", "base_path": "/a"}]})
    add_account(path, "me", "session", {})
    with path.open("a") as file:
        file.write('[[users]]\nid = 2\n[[telegram.accounts]]\nname = "you"\nsession = "s"\n')
        file.write('[[storages]]\nname = "b"\ntype = "local"\nbase_path = "/b"\n')
    config = load(path, {})
    assert [user.id for user in config.users] == [1, 2]
    assert [storage.name for storage in config.storages] == ["a", "b"]
    assert [account.name for account in config.telegram.accounts] == ["me", "you"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("storages.1.name", "there is no storages.1: the file has only storages.0"),
        ("storages.0.base_pat", "there is no key 'storages.0.base_pat'; did you mean base_path?"),
        ("storages.x.name", "there is no key 'storages.x.name'"),
        ("storages.0", "there is no key 'storages.0'"),
    ],
)
def test_a_key_of_a_missing_list_is_refused(commented: Path, key: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        set_key(commented, key, "x", {})
    assert caught.value.message.startswith(message)
    assert commented.read_text() == COMMENTED


def test_changes_at_the_same_time_are_all_kept(file: Path) -> None:
    """As by two API processes and the command line."""
    start = Barrier(6)

    def add(number: int) -> None:
        start.wait()
        add_storage(file, {"name": f"s{number}", "type": "local", "base_path": f"files/{number}"}, {})

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, range(6)))
    assert {each.name for each in load(file, {}).storages} == {f"s{n}" for n in range(6)}


def test_what_a_killed_writer_has_left_is_removed(file: Path) -> None:
    kill = """
import os, signal, sys
from pathlib import Path
from saveany.config import write
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
write.set_key(Path(sys.argv[1]), "api.token", "a-secret-token", {})
"""
    subprocess.run([sys.executable, "-c", kill, str(file)], check=False)
    left = [each for each in file.parent.iterdir() if each != file]
    assert len(left) == 1
    mine = file.with_name(f".{file.name}.swp")
    mine.write_text("of an editor")
    set_key(file, "api.port", 82, {})
    assert sorted(file.parent.iterdir()) == sorted([file, mine])


def test_a_file_is_created_once(tmp_path: Path) -> None:
    start = Barrier(4)

    def make(number: int) -> bool:
        start.wait()
        try:
            create(tmp_path / "new.toml", {"workers": number + 1})
        except ConfigError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(make, range(4))) == 1


def test_a_list_cannot_contain_null(file: Path) -> None:
    with pytest.raises(ConfigError, match="cannot contain null"):
        set_key(file, "telegram.sessions", ["a", None], {})
    assert file.read_text() == TEXT


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
NAMES = st.text("abcdefgh_-", min_size=1, max_size=8)


PROXIES = st.just("") | TEXTS.map(lambda text: f"socks5://me:{quote(text, safe='')}@p:1080")


@st.composite
def configs(draw: st.DrawFn) -> dict[str, object]:
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    return draw(
        st.fixed_dictionaries(
            {
                "storages": st.just(
                    [{"name": name, "type": "local", "base_path": f"files/{name}"} for name in names]
                ),
            },
            optional={
                "workers": st.integers(1, 10**6),
                "data_dir": st.sampled_from(["data", "/var/lib/saveany", "a b/ü"]),
                "proxy": PROXIES,
                "api": st.fixed_dictionaries(
                    {"token": st.from_regex(r"[^\s\x00-\x1f\x7f\ud800-\udfff]{1,9}", fullmatch=True)},
                    optional={
                        "host": TEXTS,
                        "port": st.integers(0, 65535),
                        "enable": st.booleans(),
                        "webhook_events": st.lists(st.sampled_from(["completed", "failed", "running"])),
                    },
                ),
                "telegram": st.fixed_dictionaries(
                    {},
                    optional={
                        "app_id": st.integers(0, 2**40),
                        "app_hash": TEXTS,
                        "sessions": st.lists(TEXTS, max_size=2),
                        "proxy": st.fixed_dictionaries({"enable": st.booleans(), "url": PROXIES}),
                        "accounts": st.just([{"name": name, "session": "s" + name} for name in names]),
                    },
                ),
                "net": st.fixed_dictionaries({"allow": st.lists(st.ip_addresses().map(str), max_size=2)}),
                "worker": st.fixed_dictionaries({"drain_seconds": st.floats(0, 1e9)}),
                "users": st.lists(st.integers(1, 2**60), unique=True, max_size=3).map(
                    lambda ids: [{"id": id_, "storages": names, "blacklist": id_ % 2 == 0} for id_ in ids]
                ),
            },
        )
    )


@settings(deadline=None)  # the machine may be busy
@given(configs())
def test_every_key_can_be_set_in_every_file(data: dict[str, object]) -> None:
    """The file has comments everywhere, and none may be lost."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.toml")
        lines = tomli_w.dumps(data).splitlines()
        path.write_text("".join(f"# about line {n}\n{line}\n" for n, line in enumerate(lines)))
        try:
            before = load(path, {})
        except ConfigError:  # a comment inside a list or a text of several lines
            return
        after = set_key(path, "worker.drain_seconds", 4.5, {})
        after = set_key(path, "retry", 8, {})
        restored = after.model_copy(update={"worker": before.worker, "retry": before.retry})
        assert restored.model_dump() == before.model_dump()
        assert (after.worker.drain_seconds, after.retry) == (4.5, 8)
        text = path.read_text()
        assert all(f"# about line {n}\n" in text for n in range(len(lines)))


@settings(deadline=None)  # the machine may be busy
@given(configs())
def test_every_valid_configuration_survives_writing(data: dict[str, object]) -> None:
    file = Path("/etc/saveany/config.toml")  # never touched
    config = parse(tomli_w.dumps(data), file, {})
    again = parse(tomli_w.dumps(plain(config, reveal=True)), file, {})
    assert again == config
