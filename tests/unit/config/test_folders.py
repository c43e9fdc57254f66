"""No storage may contain SaveAny's own files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import saveany
from saveany.config import load
from saveany.errors import ConfigError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the configuration, with links to it and from it."""
    home = tmp_path / "home"
    for folder in ("data/sessions", "data/files", "keys", "files"):
        (home / folder).mkdir(parents=True)
    (home / "keys/id").touch()
    (tmp_path / "link").symlink_to(home)
    (tmp_path / "data-link").symlink_to(home / "data")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    return home


def write(home: Path, *storages: dict[str, Any], top: str = "") -> Path:
    file = home / "config.toml"
    tables = [
        "\n".join(["[[storages]]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())])
        for table in storages
    ]
    file.write_text("\n".join([top, *tables]))
    return file


def local(path: object, **more: Any) -> dict[str, Any]:
    return {"name": "disk", "type": "local", "base_path": str(path), **more}


def rclone(remote: str, **more: Any) -> dict[str, Any]:
    return {"name": "cloud", "type": "rclone", "remote": remote, **more}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "the configuration"),
        (".", "the configuration"),
        ("files/..", "the configuration"),
        ("/", "the configuration"),
        ("..", "the configuration"),
        ("../link", "the configuration"),
        ("data", "data_dir"),
        ("../data-link", "data_dir"),
        ("../data-link/sessions", "sessions of data_dir"),
        ("data/sessions/me", "sessions of data_dir"),
        ("data/redis", "redis of data_dir"),
        ("data/scratch", "scratch of data_dir"),
        ("data/cookies/../aria2/x", "aria2 of data_dir"),
        (Path(saveany.__file__).parent, "the program"),
        (Path(saveany.__file__).parent.parent, "the program"),
        (Path(saveany.__file__).parent / "new", "the program"),
    ],
    ids=str,
)
def test_a_storage_folder_with_saveanys_own_files_is_refused(home: Path, path: object, words: str) -> None:
    file = write(home, {"name": "m", "type": "memory"}, local(path))
    with pytest.raises(ConfigError, match="choose a folder that is for files only") as caught:
        load(file, {})
    assert f"{file}:8: storages[1].base_path: " in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("path", ["files", "data/files", "../elsewhere", "../link/files", "not/there/yet"])
def test_other_folders_are_accepted(home: Path, path: str) -> None:
    assert load(write(home, local(path)), {}).storage("disk")


def test_an_unused_storage_is_not_checked(home: Path) -> None:
    assert not load(write(home, local(".", enable=False)), {}).storages


def test_a_linked_configuration_is_protected_in_both_places(home: Path, tmp_path: Path) -> None:
    """Both the link and its target could be replaced."""
    (tmp_path / "etc").mkdir()
    link = tmp_path / "etc" / "config.toml"
    link.symlink_to(home / "config.toml")
    for path in (home, link.parent):
        write(home, local(path), top=f'data_dir = "{tmp_path}/var"')
        with pytest.raises(ConfigError, match="the configuration"):
            load(link, {})


def test_a_linked_data_dir_is_protected_at_its_target(home: Path, tmp_path: Path) -> None:
    file = write(home, local(tmp_path / "elsewhere/files"), top=f'data_dir = "{tmp_path}/moved"')
    (tmp_path / "elsewhere/files/data").mkdir(parents=True)
    (tmp_path / "moved").symlink_to(tmp_path / "elsewhere/files/data")
    with pytest.raises(ConfigError, match="data_dir"):
        load(file, {})


def test_a_storage_where_a_configuration_would_be_found_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration consists of variables; the next start would find a file saved there."""
    monkeypatch.chdir(home / "files")
    tables = json.dumps([local(home / "files")])
    with pytest.raises(ConfigError, match="the configuration"):
        load(None, {"SAVEANY_DATA_DIR": str(home / "data"), "SAVEANY_STORAGES": tables})


def test_other_trusted_files_are_protected(home: Path) -> None:
    box = {"name": "box", "type": "sftp", "host": "nas.lan", "username": "me", "private_key": "keys/id"}
    with pytest.raises(ConfigError, match="private_key"):
        load(write(home, local("keys"), box), {})
    assert load(write(home, local("files"), box), {}).storages


RCLONE_CONF = """
[disk]
type = local

[home]
type = alias
remote = disk:HOME

[shown]
type = crypt
remote = home:
filename_encryption = off

[many]
type = union
upstreams = gone: FOLDER home::ro

[named]
type = combine
upstreams = a=gone: "b=disk:HOME"

[loop]
type = alias
remote = loop:

[gone]
type = s3
"""


@pytest.mark.parametrize(
    ("remote", "base"),
    [
        ("disk:/", ""),
        ("disk:HOME", ""),
        ("disk:/", "HOME"),
        ("home", ""),
        ("home:", "data/sessions"),
        ("shown:", ""),
        ("many:", ""),
        ("named:", ""),
        ("named:b", "data"),
        (":local:HOME", ""),
        (":alias,remote='disk:':HOME", ""),
        (':alias,remote="HOME":', "files/.."),
        ("fromenv:", ""),
    ],
)
def test_a_remote_that_leads_to_such_a_folder_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, remote: str, base: str
) -> None:
    def here(text: str) -> str:
        return text.replace("HOME", str(home)).replace("FOLDER", str(home / "files"))

    monkeypatch.setenv("RCLONE_CONFIG_FROMENV_TYPE", "alias")
    monkeypatch.setenv("RCLONE_CONFIG_FROMENV_REMOTE", str(home))
    (home.parent / "rclone.conf").write_text(here(RCLONE_CONF))
    table = rclone(here(remote), base_path=here(base), config_path="../rclone.conf")
    with pytest.raises(ConfigError, match=r"storages\[0\]\.\w+: .* choose a folder that is for files only"):
        load(write(home, table), {})


@pytest.mark.parametrize(
    "remote", ["gone:", "disk:/srv/films", "named:a", "nobody:", "loop:", ":s3:bucket", "home:files"]
)
def test_other_remotes_are_accepted(home: Path, remote: str) -> None:
    (home.parent / "rclone.conf").write_text(RCLONE_CONF.replace("HOME", str(home)))
    assert load(write(home, rclone(remote, config_path="../rclone.conf")), {}).storages


def test_an_encrypted_rclone_conf_is_accepted(home: Path) -> None:
    (home.parent / "rclone.conf").write_bytes(b"# Encrypted\nRCLONE_ENCRYPT_V0:\n\xff\xfe")
    assert load(write(home, rclone("box:", config_path="../rclone.conf")), {}).storages


def test_the_demo_is_checked_too(tmp_path: Path) -> None:
    (tmp_path / "files").symlink_to(tmp_path / "data")
    command = [sys.executable, "-m", "saveany", "demo", "--once", "--port", "0", "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "base_path" in done.stderr
    assert "data_dir" in done.stderr
    assert "Traceback" not in done.stderr


def inboxes(home: Path, *paths: object, **more: object) -> Path:
    """A configuration with the storage `files` and these watched folders."""
    file = write(home, local(home / "files"))
    tables = [
        "\n".join(
            [
                "[[inboxes]]",
                f"path = {json.dumps(str(path))}",
                *(f"{k} = {json.dumps(v)}" for k, v in more.items()),
            ]
        )
        for path in paths
    ]
    file.write_text("\n".join([file.read_text(), "[[users]]", "id = 1", *tables]))
    return file


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("data", "is or contains data_dir"),
        ("data/in", "is inside data_dir"),
        (".", "is or contains the configuration"),
        ("files", "is or contains storage 'disk'"),
        ("files/in", "is inside storage 'disk'"),
        ("../link/files", "is or contains storage 'disk'"),
    ],
)
def test_a_watched_folder_is_apart_from_storages_and_data(home: Path, path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(inboxes(home, home / path))
    assert reason in refused.value.message
    assert "inboxes[0].path" in refused.value.message


def test_two_watched_folders_are_apart(home: Path) -> None:
    (home / "in").mkdir()
    (home / "again").symlink_to(home / "in")
    for other in ("in", "in/below", "again"):
        with pytest.raises(ConfigError, match="inboxes\\[0\\]"):
            load(inboxes(home, home / "in", home / other))
    config = load(inboxes(home, home / "in", home / "other", to="disk:x"))
    assert [inbox.target for inbox in config.inboxes] == [("disk", "x"), ("disk", "x")]


def test_files_are_not_moved_into_a_watched_folder(home: Path) -> None:
    config = load(inboxes(home, home / "in", after="move"))
    assert config.inboxes[0].moved_files == home / "in/saved"
    for target in ("in", "in/below", "other"):
        with pytest.raises(ConfigError, match="move_to"):
            load(inboxes(home, home / "in", home / "other", after="move", move_to=str(home / target)))
    load(inboxes(home, home / "in", after="move", move_to=str(home / "done")))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("to", "nowhere:x", "there is no storage 'nowhere'"),
        ("to", ":x", "STORAGE:FOLDER"),
        ("to", "disk:../x", ".."),
        ("user", 7, "there is no user 7"),
        ("after", "burn", "keep"),
        ("settle_seconds", 0, "0.1"),
    ],
)
def test_what_a_watched_folder_needs(home: Path, key: str, value: object, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(inboxes(home, home / "in", **{key: value}))
    assert reason in refused.value.message
