"""Compiles templates in the subset of Jinja that users may use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from jinja2 import TemplateSyntaxError, nodes
from jinja2.sandbox import SandboxedEnvironment

from saveany.errors import InvalidInput
from saveany.planning.hints import hint

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
    """A function that renders `source` with values for `names`.

    Raises `InvalidInput`, which names the line, if the syntax is wrong or the template uses anything that is
    not allowed.
    """
    environment = SandboxedEnvironment(autoescape=False, optimized=False)
    environment.globals.clear()
    environment.tests.clear()
    environment.filters = dict(filters)
    try:
        _check(environment.parse(source), names, filters)
        return environment.from_string(source).render
    except TemplateSyntaxError as error:
        raise InvalidInput(
            "line {line}: the syntax is wrong; check that all braces, parentheses and quotes are closed",
            line=error.lineno,
        ) from error
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise InvalidInput("it is nested too deeply") from error


def _check(node: nodes.Node, names: Collection[str], filters: Collection[str], depth: int = 0) -> None:
    if not isinstance(node, _ALLOWED):
        raise InvalidInput(
            "line {line}: only values, filters, ~, if and comparisons can be used", line=node.lineno
        )
    if depth > _MAX_DEPTH:
        raise InvalidInput("line {line}: it is nested too deeply", line=node.lineno)
    if isinstance(node, nodes.Name):
        if node.name not in names:
            raise InvalidInput(
                "line {line}: there is no value {name!r}; {hint}",
                line=node.lineno,
                name=node.name,
                hint=hint(node.name, names),
            )
    elif isinstance(node, nodes.Filter):
        if node.name not in filters:
            raise InvalidInput(
                "line {line}: there is no filter {name!r}; {hint}",
                line=node.lineno,
                name=node.name,
                hint=hint(node.name, filters),
            )
        if node.kwargs or node.dyn_args or node.dyn_kwargs:
            raise InvalidInput(
                "line {line}: give {filter} its arguments without names", line=node.lineno, filter=node.name
            )
    for child in node.iter_child_nodes():
        _check(child, names, filters, depth + 1)
