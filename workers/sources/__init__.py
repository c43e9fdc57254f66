"""Where files come from: one module per source, each with a `Source` (see `base.py`)."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from saveany.config import Config
from saveany.errors import ConfigError
from saveany.planning.source_choice import is_enabled
from saveany.sources import SourceSpec, sources
from workers.sources.base import Source, Tools


def open_sources(tools: Tools) -> dict[str, Source]:
    """Every source that the configuration enables, by its type. They start nothing before they are used."""
    return {type_: source(tools) for type_, source in source_classes(tools.config).items()}


def source_classes(config: Config) -> dict[str, Callable[[Tools], Source]]:
    """The class of every source that the configuration enables, by its type. Imports them."""
    return {spec.type: _load(spec) for spec in sources().values() if is_enabled(config, spec)}


def _load(spec: SourceSpec) -> Callable[[Tools], Source]:
    module, _, name = spec.worker.partition(":")
    try:
        source = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            "task type {type!r} cannot be loaded: {reason}", type=spec.type, reason=str(error)
        ) from error
    if not (isinstance(source, type) and issubclass(source, Source)):
        raise ConfigError("task type {type!r}: {name} is not a Source", type=spec.type, name=spec.worker)
    return source
