"""Settings from SAVEANY_… environment variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from saveany.config import compat
from saveany.config.hints import did_you_mean
from saveany.config.keys import KEYS, ConfigKey

PREFIX = "SAVEANY_"

#: SAVEANY_… variables that are not keys of the configuration.
OTHERS: Mapping[str, str] = {
    "SAVEANY_CONFIG": "path of the configuration file, like --config",
    "SAVEANY_URL": "address of the API, for commands that use it, like --url",
    "SAVEANY_TOKEN": "token of the API, for the same commands, like --token",
    "SAVEANY_COMMAND": "how to call the program, in messages that recommend a command; containers set it",
    "SAVEANY_WORKER_ID": "start of the ids of worker processes, to recognize them; default: host and pid",
}

#: Every variable that sets a key. `…_FILE` holds the path of a file with a secret (Docker secrets).
VARIABLES: Mapping[str, ConfigKey] = {
    name: key
    for key in KEYS.values()
    for name in ([key.variable, f"{key.variable}_FILE"] if key.is_secret else [key.variable])
}


@dataclass(frozen=True, slots=True)
class VariableSetting:
    """The value of one key, and the variable that it comes from."""

    key: ConfigKey
    variable: str
    value: object


@dataclass(slots=True)
class Variables:
    """Settings from the environment, and the problems found in them."""

    settings: list[VariableSetting] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_variables(env: Mapping[str, str]) -> Variables:
    """Read every `SAVEANY_…` variable of `env`.

    An empty variable counts as not set, because a compose file cannot leave one out.
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
    found.problems += _duplicates(found.settings)
    return found


def _hint(variable: str) -> str:
    # compared without the prefix, which makes all names similar
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
            reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
            found.problems.append(f"{variable}: cannot read {text}: {reason}")
            return
    found.settings.append(VariableSetting(key, variable, key.parse(text)))


def _duplicates(settings: list[VariableSetting]) -> Iterator[str]:
    given: set[str] = set()
    for setting in settings:
        if setting.key.dotted in given:
            yield f"{setting.variable} and {setting.key.variable} are both set; unset one of them"
        given.add(setting.key.dotted)
