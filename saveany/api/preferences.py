"""Routes for the preferences and the rules of users."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from saveany.api.auth import TasksPrincipal
from saveany.api.config_models import (
    NewRules,
    PreferencesChange,
    PreferencesView,
    RuleChatTrial,
    RuleChatTrialView,
    RuleLines,
    RulePreset,
    RulesView,
    RuleTrial,
    RuleTrialView,
    ShortcutView,
    TriedFileView,
)
from saveany.api.errors import responses
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.config import User
from saveany.planning.rules import format_rule
from saveany.preferences import Preferences, Shortcut
from saveany.service.preferences import example

router = APIRouter(prefix="/api/v1", tags=["preferences"], route_class=JsonRoute)

UserId = Annotated[
    int | None, Query(ge=1, lt=2**53, description="Of this user. Default: that of the key, or the first.")
]


@router.get("/preferences", operation_id="getPreferences", summary="Preferences", responses=responses(404))
async def get(
    services: InjectedServices, principal: TasksPrincipal, user_id: UserId = None
) -> PreferencesView:
    """Where and how the files of a user are saved, and how the bot asks."""
    user = services.preferences.user(principal, user_id)
    return _view(user, await services.preferences.get(user))


@router.patch(
    "/preferences",
    operation_id="changePreferences",
    summary="Change preferences",
    responses=responses(403, 404, 413, 415),
)
async def change(
    services: InjectedServices, principal: TasksPrincipal, body: PreferencesChange
) -> PreferencesView:
    """Change some preferences of a user. They apply to the bot and to tasks that do not say otherwise."""
    user = services.preferences.user(principal, body.user_id)
    given = {name: getattr(body, name) for name in body.model_fields_set - {"user_id"}}
    changed = {name: value for name, value in given.items() if value is not None}
    if body.shortcuts is not None:
        changed["shortcuts"] = [Shortcut(each.storage, each.folder) for each in body.shortcuts]
    return _view(user, await services.preferences.change(user, changed))


@router.get("/rules", operation_id="listRules", summary="Rules", responses=responses(404))
async def rules(services: InjectedServices, principal: TasksPrincipal, user_id: UserId = None) -> RulesView:
    """The rules of a user, which choose the storage and the folder of files."""
    user = services.preferences.user(principal, user_id)
    return _rules(user, await services.preferences.get(user))


@router.put("/rules", operation_id="setRules", summary="Set the rules", responses=responses(404, 413, 415))
async def set_rules(services: InjectedServices, principal: TasksPrincipal, body: NewRules) -> RulesView:
    """Replace all rules of a user. `details` of a 400 name the rule that is wrong, as `rules[0]`."""
    user = services.preferences.user(principal, body.user_id)
    return _rules(user, await services.preferences.set_rules(user, body.rules, body.is_on))


@router.post(
    "/rules/test", operation_id="testRules", summary="Try rules out", responses=responses(404, 413, 415)
)
async def try_rules(services: InjectedServices, principal: TasksPrincipal, body: RuleTrial) -> RuleTrialView:
    """Which rule applies to a file of a name, and where the file goes."""
    user = services.preferences.user(principal, body.user_id)
    rule, storage, path = await services.preferences.try_rules(user, body.name, body.rules)
    return RuleTrialView(rule=rule, storage=storage, folder=path)


@router.post(
    "/rules/test-chat",
    operation_id="testRulesOnChat",
    summary="Try rules on a chat",
    responses=responses(403, 404, 409, 413, 415, 503),
)
async def try_rules_on_chat(
    services: InjectedServices, principal: TasksPrincipal, body: RuleChatTrial
) -> RuleChatTrialView:
    """Which rules apply to the files in the newest 50 messages of a chat, and where these would be saved.
    Nothing is saved. A user account must be able to read the chat."""
    user = services.preferences.user(principal, body.user_id)
    preferences = await services.preferences.get(user)
    known = await services.preferences.known_rules(user, body.rules)
    tried = await services.chats.try_rules(principal, user, preferences, known, body.chat, body.account)
    return RuleChatTrialView(
        files=[
            TriedFileView(
                message=each.message,
                name=each.name,
                size=each.size,
                rule=each.rule,
                storage=each.storage,
                path=each.path,
            )
            for each in tried
        ]
    )


@router.post(
    "/rules/preset",
    operation_id="makePresetRules",
    summary="Rules by kind of file",
    responses=responses(404, 413, 415),
)
async def preset(services: InjectedServices, principal: TasksPrincipal, body: RulePreset) -> RuleLines:
    """Rules that sort files by their kind. They are not stored."""
    user = services.preferences.user(principal, body.user_id)
    return RuleLines(rules=services.preferences.preset(user, body.storage, body.folder))


def _view(user: User, found: Preferences) -> PreferencesView:
    return PreferencesView(
        user_id=user.id,
        language=found.language,
        silent=found.silent,
        storage=found.storage,
        folder=found.folder,
        on_conflict=found.on_conflict,
        on_duplicate=found.on_duplicate,
        template=found.template,
        template_example=example(found.template),
        shortcuts=[ShortcutView(storage=each.storage, folder=each.folder) for each in found.shortcuts],
    )


def _rules(user: User, found: Preferences) -> RulesView:
    return RulesView(user_id=user.id, is_on=found.rules_on, rules=[format_rule(each) for each in found.rules])
