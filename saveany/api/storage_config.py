"""Routes that add, change, try out and remove storages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter

from saveany.api.auth import OperatorPrincipal
from saveany.api.config_models import (
    FieldView,
    NewStorage,
    StorageChange,
    StorageConfigView,
    StorageTypeList,
    StorageTypeView,
)
from saveany.api.errors import responses
from saveany.api.models import MessageReply, StorageTest
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.api.storages import StorageName
from saveany.config.describe import FieldDescription, storage_options
from saveany.errors import InvalidInput
from saveany.languages import localized
from storages import registry

router = APIRouter(prefix="/api/v1", tags=["configuration"], route_class=JsonRoute)

_COMMON = ("name", "type", "enable")
#: Types that only tests use, or that are old names of others.
_NOT_OFFERED = (*registry.FOR_TESTS, "minio")


@router.get(
    "/storage-types", operation_id="listStorageTypes", summary="Types of storages", responses=responses()
)
async def types(services: InjectedServices, principal: OperatorPrincipal) -> StorageTypeList:
    """All types of storages, with their options."""
    return StorageTypeList(types=[_type(each) for each in registry.types() if each not in _NOT_OFFERED])


@router.post(
    "/storages",
    status_code=201,
    operation_id="addStorage",
    summary="Add a storage",
    responses=responses(409, 413, 415),
)
async def add(
    services: InjectedServices, principal: OperatorPrincipal, body: NewStorage
) -> StorageConfigView:
    """Add a storage to the configuration. Before that, a small file is written to it and deleted; if that
    fails, nothing is changed. Workers use it within seconds."""
    await services.storages.add(principal, _table(body))
    return config_view(services.storages.table(principal, body.name))


@router.post(
    "/storage-tests",
    operation_id="testNewStorage",
    summary="Test options of a storage",
    responses=responses(409, 413, 415),
)
async def try_out(services: InjectedServices, principal: OperatorPrincipal, body: NewStorage) -> StorageTest:
    """Write a small file to a storage that is not configured yet, or has other options until now, and delete
    it. Hidden secrets are those of the storage of that name."""
    return StorageTest(seconds=await services.storages.try_out(principal, _table(body)))


@router.get(
    "/storages/{name}", operation_id="getStorage", summary="Options of a storage", responses=responses(404)
)
async def get(
    services: InjectedServices, principal: OperatorPrincipal, name: StorageName
) -> StorageConfigView:
    """The options of a storage."""
    return config_view(services.storages.table(principal, name))


@router.patch(
    "/storages/{name}",
    operation_id="changeStorage",
    summary="Change a storage",
    responses=responses(404, 409, 413, 415),
)
async def change(
    services: InjectedServices, principal: OperatorPrincipal, name: StorageName, body: StorageChange
) -> StorageConfigView:
    """Change options of a storage, which is tried out before. Running tasks end with the present ones."""
    _check_names(body.options)
    enabled = {} if body.enable is None else {"enable": body.enable}
    await services.storages.change(principal, name, {**body.options, **enabled}, moved=body.moved)
    return config_view(services.storages.table(principal, name))


@router.delete(
    "/storages/{name}",
    operation_id="removeStorage",
    summary="Remove a storage",
    responses=responses(404, 409),
)
async def remove(services: InjectedServices, principal: OperatorPrincipal, name: StorageName) -> MessageReply:
    """Remove a storage from the configuration. Its files stay where they are; tasks that wait for it fail."""
    await services.storages.remove(principal, name)
    return MessageReply(message="storage removed; its files stay")


def config_view(table: Mapping[str, Any]) -> StorageConfigView:
    """A table of `[[storages]]` as a reply."""
    return StorageConfigView(
        name=str(table.get("name", "")),
        type=str(table.get("type", "")),
        enable=table.get("enable") is not False,
        options={key: value for key, value in table.items() if key not in _COMMON},
    )


def _table(body: NewStorage) -> dict[str, Any]:
    _check_names(body.options)
    return {"name": body.name, "type": body.type, **body.options}


def _check_names(options: Mapping[str, Any]) -> None:
    for name in options:
        if name in _COMMON:
            raise InvalidInput("{name} is not an option", "options", name=name)


def _type(type_: str) -> StorageTypeView:
    known = registry.backend(type_)
    options: list[FieldView] = [field_view(each) for each in storage_options(type_)]
    return StorageTypeView(type=type_, about=localized(known.description) if known else "", options=options)


def field_view(field: FieldDescription) -> FieldView:
    """The description of a value as a reply."""
    return FieldView(
        name=field.name,
        kind=field.kind,
        about=localized(" ".join(field.about.split())),
        choices=list(field.choices),
        default=field.default,
        example=field.example,
        is_required=field.is_required,
        is_secret=field.is_secret,
        minimum=field.minimum,
        maximum=field.maximum,
    )
