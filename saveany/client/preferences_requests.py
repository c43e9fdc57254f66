"""Requests of the API: preferences. `make docs` has written this from openapi.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saveany.client.request import ApiRequest

if TYPE_CHECKING:
    from saveany.client.models import (
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
    )


def get_preferences(*, user_id: int | None = None) -> ApiRequest[PreferencesView]:
    """Preferences.

    Where and how the files of a user are saved, and how the bot asks.

    user_id: Of this user. Default: that of the key, or the first.
    """
    return ApiRequest("GET", "/api/v1/preferences", params={"user_id": user_id})


def change_preferences(body: PreferencesChange) -> ApiRequest[PreferencesView]:
    """Change preferences.

    Change some preferences of a user. They apply to the bot and to tasks that do not say otherwise.
    """
    return ApiRequest("PATCH", "/api/v1/preferences", body=body)


def list_rules(*, user_id: int | None = None) -> ApiRequest[RulesView]:
    """Rules.

    The rules of a user, which choose the storage and the folder of files.

    user_id: Of this user. Default: that of the key, or the first.
    """
    return ApiRequest("GET", "/api/v1/rules", params={"user_id": user_id})


def set_rules(body: NewRules) -> ApiRequest[RulesView]:
    """Set the rules.

    Replace all rules of a user. `details` of a 400 name the rule that is wrong, as `rules[0]`.
    """
    return ApiRequest("PUT", "/api/v1/rules", body=body)


def test_rules(body: RuleTrial) -> ApiRequest[RuleTrialView]:
    """Try rules out.

    Which rule applies to a file of a name, and where the file goes.
    """
    return ApiRequest("POST", "/api/v1/rules/test", body=body)


def test_rules_on_chat(body: RuleChatTrial) -> ApiRequest[RuleChatTrialView]:
    """Try rules on a chat.

    Which rules apply to the files in the newest 50 messages of a chat, and where these would be saved.
    Nothing is saved. A user account must be able to read the chat.
    """
    return ApiRequest("POST", "/api/v1/rules/test-chat", body=body)


def make_preset_rules(body: RulePreset) -> ApiRequest[RuleLines]:
    """Rules by kind of file.

    Rules that sort files by their kind. They are not stored.
    """
    return ApiRequest("POST", "/api/v1/rules/preset", body=body)
