"""The table of storage types, and types of other packages."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from saveany.errors import ConfigError
from storages import registry
from storages.base import StorageOptions
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from storages.registry import GROUP, TYPES, Backend, backend, open_storage, options_model, table, types

HERE = Backend(
    "storages.local.options:LocalOptions",
    "storages.local.storage:LocalStorage",
    "the same under another name",
)
NOT_A_BACKEND = "something else"


def install(monkeypatch: pytest.MonkeyPatch, **plugins: str) -> None:
    entries = [EntryPoint(name, value, GROUP) for name, value in plugins.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries if group == GROUP else [])


@pytest.mark.parametrize("type_", TYPES)
def test_every_type_is_complete(type_: str) -> None:
    model = options_model(type_)
    assert model is not None
    assert issubclass(model, StorageOptions)
    assert all(field.description for field in model.model_fields.values())
    assert TYPES[type_].description


async def test_a_storage_is_opened_by_its_type(tmp_path: Path) -> None:
    storage = open_storage(LocalOptions(name="disk", type="local", base_path=tmp_path / "new"))
    assert isinstance(storage, LocalStorage)
    assert storage.name == "disk"
    assert not (tmp_path / "new").exists()
    await storage.close()


def test_a_backend_is_imported_only_when_opened() -> None:
    code = "import sys, storages.registry as r; r.types(); sys.exit('storages.local' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_type_is_refused() -> None:
    assert backend("tape") is None
    assert options_model("tape") is None
    with pytest.raises(ConfigError, match=r"'x': unknown type 'tape'; the types are .*local"):
        open_storage(StorageOptions(name="x", type="tape"))


def test_a_type_registered_twice_is_an_error() -> None:
    with pytest.raises(ConfigError, match="'local' is registered twice"):
        table(("local", HERE), ("local", HERE))


async def test_a_backend_of_another_package_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tape=f"{__name__}:HERE")
    assert types() == sorted([*TYPES, "tape"])
    assert options_model("tape") is LocalOptions
    storage = open_storage(LocalOptions(name="t", type="tape", base_path=tmp_path))
    assert isinstance(storage, LocalStorage)
    await storage.close()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_package:BACKEND", "'tape' of package .* cannot be loaded .*no_such_package"),
        (f"{__name__}:MISSING", "cannot be loaded"),
        (f"{__name__}:NOT_A_BACKEND", "is not a storages.registry.Backend"),
    ],
)
def test_error_names_a_broken_package(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    install(monkeypatch, tape=value)
    with pytest.raises(ConfigError, match=message):
        options_model("tape")
    assert options_model("local") is LocalOptions


def test_a_package_cannot_hide_a_type(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, local=f"{__name__}:HERE")
    with pytest.raises(ConfigError, match="'local' is registered twice; remove"):
        backend("local")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_library.sub:Options", "needs the Python package 'no_such_library'"),
        ("storages.local.options:Missing", "has no 'Missing'"),
        ("storages.local.storage:LocalStorage", "is not a StorageOptions"),
        ("storages.local.reader:PIECE", "is not a StorageOptions"),
    ],
)
def test_a_wrong_import_path_is_reported(monkeypatch: pytest.MonkeyPatch, path: str, message: str) -> None:
    monkeypatch.setattr(registry, "TYPES", {"tape": Backend(path, path, "")})
    with pytest.raises(ConfigError, match=message):
        options_model("tape")
