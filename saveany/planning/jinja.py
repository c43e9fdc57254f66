"""The small part of Jinja that templates may use, compiled."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from jinja2 import TemplateSyntaxError, nodes
from jinja2.sandbox import SandboxedEnvironment

from saveany.config.hints import did_you_mean

_MAX_DEPTH = 30

_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Filter,
    nodes.Concat,
    nodes.CondExpr,
    nodes.If,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Compare,
    nodes.Operand,
)


def compiled(
    source: str, names: Collection[str], filters: Mapping[str, Callable[..., Any]]
) -> Callable[[dict[str, object]], str]:
    """A function that makes a text of the values of those names. Raises `ValueError` with the line and the
    reason if the source is not a template, or uses what it must not."""
    environment = SandboxedEnvironment(autoescape=False, optimized=False)
    environment.globals.clear()
    environment.tests.clear()
    environment.filters = dict(filters)
    try:
        _check(environment.parse(source), names, filters)
        return environment.from_string(source).render
    except TemplateSyntaxError as error:
        raise ValueError(
            f"line {error.lineno}: {(error.message or 'it is not valid').rstrip('.')}"
        ) from error
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise ValueError("it is nested too deeply") from error


def _check(node: nodes.Node, names: Collection[str], filters: Collection[str], depth: int = 0) -> None:
    where = f"line {node.lineno}"
    if not isinstance(node, _ALLOWED):
        raise ValueError(f"{where}: only values, filters, ~, if and comparisons can be used")
    if depth > _MAX_DEPTH:
        raise ValueError(f"{where}: it is nested too deeply")
    if isinstance(node, nodes.Name):
        _check_word(where, "value", node.name, names)
    elif isinstance(node, nodes.Filter):
        _check_word(where, "filter", node.name, filters)
        if node.kwargs or node.dyn_args or node.dyn_kwargs:
            raise ValueError(f"{where}: give {node.name} its values without names")
    for child in node.iter_child_nodes():
        _check(child, names, filters, depth + 1)


def _check_word(where: str, what: str, word: str, known: Collection[str]) -> None:
    if word not in known:
        hint = did_you_mean(word, known) or f"there are: {', '.join(known)}"
        raise ValueError(f"{where}: there is no {what} {word!r}; {hint}")
