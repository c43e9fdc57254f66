"""Where media comes from: one module per source, each a `Source` (see `base.py`)."""

from __future__ import annotations

import importlib

from saveany.errors import ConfigError
from saveany.planning.source_choice import is_enabled
from saveany.sources import SourceSpec, sources
from workers.sources.base import Source, Tools


def open_sources(tools: Tools) -> dict[str, Source]:
    """Every source that the configuration lets be used, by its type. Nothing is started before its use."""
    enabled = (spec for spec in sources().values() if is_enabled(tools.config, spec))
    return {spec.type: _open(spec, tools) for spec in enabled}


def _open(spec: SourceSpec, tools: Tools) -> Source:
    module, _, name = spec.worker.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)(tools)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"task type {spec.type!r} cannot be loaded: {error}") from error
    if not isinstance(made, Source):
        raise ConfigError(f"task type {spec.type!r}: {spec.worker} is not a Source")
    return made
