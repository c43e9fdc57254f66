"""Plans an import: compares what was found with what is here. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from saveany.config import Config
from saveany.moving_in.configuration import plan_configuration
from saveany.moving_in.found import Finds, NotTaken
from saveany.moving_in.logins import plan_logins
from saveany.moving_in.steps import LoginStep, Step
from saveany.moving_in.users import plan_user
from saveany.preferences import Preferences
from saveany.store.archives import Archive
from saveany.texts import Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What this installation has."""

    preferences: Mapping[int, Preferences] = field(default_factory=dict)
    archives: Sequence[Archive] = ()
    logins: Mapping[str, str] = field(default_factory=dict)  # fingerprint -> name of the account
    owners: Mapping[int, str] = field(default_factory=dict)  # id of the Telegram user -> name of the account


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an import will do."""

    config: Config  # as it will be
    steps: list[Step]
    warnings: list[Text]
    left_out: list[NotTaken]


def planned_config(config: Config, finds: Finds) -> tuple[Config, list[Step], list[NotTaken]]:
    """The configuration as it will be, how it becomes that, and what of it is left out."""
    left_out: list[NotTaken] = []
    after, steps = plan_configuration(config, finds.configs, left_out)
    return after, [*steps], left_out


def make_plan(config: Config, finds: Finds, present: Present) -> Plan:
    """The plan. `present` is what there is with the configuration that `planned_config` returns."""
    after, steps, left_out = planned_config(config, finds)
    left_out = [*finds.left_out, *left_out]
    for user in finds.users:
        known = present.preferences.get(user.id, Preferences())
        archives = [each for each in present.archives if each.user_id == user.id]
        steps += plan_user(after, user, known, archives, left_out)
    logins = plan_logins(after, finds.logins, present.logins, present.owners, left_out)
    steps += logins
    news = [Text(each) for each in after.warnings if each not in config.warnings]
    warnings = [*news, *_warnings(after, logins)]
    left_out = list({(each.name, str(each.reason)): each for each in left_out}.values())
    return Plan(config=after, steps=steps, warnings=warnings, left_out=left_out)


def _warnings(config: Config, logins: Sequence[LoginStep]) -> list[Text]:
    warnings = []
    if logins:
        warnings.append(
            Text(
                "A login moves: Telegram ends one that is used from two internet addresses at once. Stop the "
                "program that has it on every machine first, and do not start it with this login again."
            )
        )
    for step in logins:
        app_id = step.login.app_id
        if app_id and config.telegram.app_id not in (0, app_id):
            warnings.append(
                Text(
                    "The login of {source} was made with the application {theirs}, and is used with {ours} "
                    "from now on (telegram.app_id).",
                    {"source": step.login.source, "theirs": app_id, "ours": config.telegram.app_id},
                )
            )
    return warnings
