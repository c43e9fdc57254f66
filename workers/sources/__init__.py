"""Where files come from: one module per source, each with a `Source` (see `base.py`)."""

from __future__ import annotations

import importlib

from saveany.errors import ConfigError
from saveany.planning.source_choice import is_enabled
from saveany.sources import SourceSpec, sources
from workers.sources.base import Source, Tools


def open_sources(tools: Tools) -> dict[str, Source]:
    """Every source that the configuration enables, by its type. They start nothing before they are used."""
    enabled = (spec for spec in sources().values() if is_enabled(tools.config, spec))
    return {spec.type: _open(spec, tools) for spec in enabled}


def _open(spec: SourceSpec, tools: Tools) -> Source:
    module, _, name = spec.worker.partition(":")
    try:
        source = getattr(importlib.import_module(module), name)(tools)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            "task type {type!r} cannot be loaded: {reason}", type=spec.type, reason=str(error)
        ) from error
    if not isinstance(source, Source):
        raise ConfigError("task type {type!r}: {name} is not a Source", type=spec.type, name=spec.worker)
    return source
