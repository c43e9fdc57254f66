"""Routes for the configuration: read, check, change, restart."""

from __future__ import annotations

from fastapi import APIRouter, Request

from saveany.api.auth import OperatorPrincipal
from saveany.api.config_models import (
    ConfigurationChange,
    ConfigurationView,
    SettingTable,
    SettingView,
    StorageConfigList,
    Tried,
)
from saveany.api.errors import responses
from saveany.api.models import MessageReply
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.api.storage_config import config_view, field_view
from saveany.config import keys
from saveany.config.describe import describe, describe_tables
from saveany.languages import localized
from saveany.service.configuration import Setting

router = APIRouter(prefix="/api/v1/config", tags=["configuration"], route_class=JsonRoute)


@router.get("", operation_id="getConfiguration", summary="Settings", responses=responses(409))
async def get(services: InjectedServices, principal: OperatorPrincipal) -> ConfigurationView:
    """All settings with what they mean, their values, and where these come from."""
    found = services.configuration.read(principal)
    return ConfigurationView(
        file=found.file,
        tables=[
            SettingTable(name=name, about=localized(" ".join(about.split())))
            for name, about in keys.tables().items()
        ],
        settings=[_setting(each) for each in found.settings],
        warnings=found.warnings,
        waiting=found.waiting,
        can_restart=found.can_restart,
    )


@router.patch(
    "", operation_id="changeConfiguration", summary="Change settings", responses=responses(409, 413, 415)
)
async def change(
    services: InjectedServices, principal: OperatorPrincipal, request: Request, body: ConfigurationChange
) -> ConfigurationView:
    """Change settings in the file, where comments stay. What names a server, a port or a bot is tried out
    before that; if it does not work, or would lock you out, nothing is changed. Users, storages and limits
    apply within seconds, other settings with a restart (`waiting`)."""
    await _try_out(services, principal, request, body)
    await services.configuration.change(principal, body.values)
    return await get(services, principal)


@router.post(
    "/check",
    operation_id="checkConfiguration",
    summary="Check settings",
    responses=responses(409, 413, 415),
)
async def check(
    services: InjectedServices, principal: OperatorPrincipal, request: Request, body: ConfigurationChange
) -> Tried:
    """Do the same without changing anything: validate the settings, and try them out."""
    return Tried(tried=await _try_out(services, principal, request, body))


@router.post(
    "/restart", status_code=202, operation_id="restart", summary="Restart SaveAny", responses=responses(409)
)
async def restart(services: InjectedServices, principal: OperatorPrincipal) -> MessageReply:
    """Restart all processes of this machine, for settings that need that. Running tasks continue after it."""
    services.configuration.restart(principal)
    return MessageReply(message="restarting")


@router.get(
    "/storages", operation_id="listStorageConfigs", summary="Storages of the file", responses=responses()
)
async def storages(services: InjectedServices, principal: OperatorPrincipal) -> StorageConfigList:
    """All storages of the file with their options, also those that are not enabled."""
    return StorageConfigList(storages=[config_view(each) for each in services.storages.tables(principal)])


async def _try_out(
    services: InjectedServices, principal: OperatorPrincipal, request: Request, body: ConfigurationChange
) -> list[str]:
    from saveany.api.config_trial import check_reachable, try_out

    before, after = services.configuration.checked(principal, body.values)
    check_reachable(before, after, request.client.host if request.client else "")
    return await try_out(before, after)


def _setting(setting: Setting) -> SettingView:
    *tables, name = map(str, setting.key.path)
    described = field_view(describe(name, setting.key.field))
    return SettingView(
        **described.model_dump(),
        key=setting.key.dotted,
        table=".".join(tables),
        value=setting.value,
        source=setting.source,
        variable=setting.key.variable,
        needs_restart=setting.needs_restart,
        fields=[field_view(each) for each in describe_tables(setting.key.field)],
    )
