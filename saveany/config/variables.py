"""The configuration's part that comes from SAVEANY_… environment variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from saveany.config import compat
from saveany.config.hints import did_you_mean
from saveany.config.keys import KEYS, ConfigKey

PREFIX = "SAVEANY_"

#: Variables of ours that are not keys of the configuration.
OTHERS: Mapping[str, str] = {
    "SAVEANY_CONFIG": "path of the configuration file, like --config",
    "SAVEANY_URL": "address of the API for `saveany add` and its like, like --url",
    "SAVEANY_TOKEN": "token of the API for the same commands, like --token",
    "SAVEANY_COMMAND": "what messages put before a command that they recommend; containers set it",
    "SAVEANY_WORKER_ID": "name of a worker process, unique; made up when it is not set",
}

#: Every variable that sets a key. A secret may also come from a file (Docker secrets): `…_FILE` is its path.
VARIABLES: Mapping[str, ConfigKey] = {
    name: key
    for key in KEYS.values()
    for name in ([key.variable, f"{key.variable}_FILE"] if key.is_secret else [key.variable])
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One key's value, and the variable that gave it."""

    key: ConfigKey
    variable: str
    value: object


@dataclass(slots=True)
class Variables:
    """What the environment says."""

    settings: list[Setting] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_variables(env: Mapping[str, str]) -> Variables:
    """Every `SAVEANY_…` variable of `env`.

    An empty one is as good as none: that is how compose files leave something out.
    """
    found = Variables()
    for variable in sorted(env):
        text = env[variable]
        if not variable.startswith(PREFIX) or variable in OTHERS or not text:
            continue
        if variable in VARIABLES:
            _add(found, variable, text)
        elif compat.is_ignored_variable(variable):
            found.warnings.append(f"{variable} has no effect")
        else:
            found.problems.append(f"{variable}: there is no such setting; {_hint(variable) or 'unset it'}")
    found.problems += _doubles(found.settings)
    return found


def _hint(variable: str) -> str:
    # without the prefix, which is near to itself in all of them
    names = (name.removeprefix(PREFIX) for name in (*VARIABLES, *OTHERS))
    return did_you_mean(variable.removeprefix(PREFIX), names, fold=str.upper).replace(
        "mean ", f"mean {PREFIX}"
    )


def _add(found: Variables, variable: str, text: str) -> None:
    key = VARIABLES[variable]
    if variable != key.variable:
        try:
            text = Path(text).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            found.problems.append(f"{variable}: cannot read {text}: {getattr(error, 'strerror', error)}")
            return
    found.settings.append(Setting(key, variable, key.parse(text)))


def _doubles(settings: list[Setting]) -> Iterator[str]:
    given: set[str] = set()
    for setting in settings:
        if setting.key.dotted in given:
            yield f"{setting.variable} and {setting.key.variable} are both set; keep one"
        given.add(setting.key.dotted)
