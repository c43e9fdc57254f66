"""Print where the code misses its structural targets. `make lint` runs this; it never fails a build.

Targets: no class over 20 methods, no file over 450 lines, no class name in two modules, no import cycle.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

MAX_METHODS, MAX_LINES = 20, 450
PACKAGES = ("saveany", "workers", "storages")
#: The storage contract. Its classes, and its methods in the storages, may be as many as it needs.
CONTRACT = Path("storages/base.py")
#: Files that mostly hold a table or text.
TABLES = ("saveany/config/schema.py", "saveany/api/models.py")
#: Written from openapi.json, with the names of the API.
GENERATED = Path("saveany/client/models.py")

Graph = dict[str, set[str]]


def main() -> None:
    """Print all misses, and how many there are."""
    root = Path(__file__).parents[1]
    trees = {
        file.relative_to(root): ast.parse(file.read_text())
        for package in PACKAGES
        for file in sorted((root / package).rglob("*.py"))
        if file.relative_to(root) != GENERATED
    }
    misses = [*large_classes(trees), *long_files(root, trees), *shared_names(trees), *cycles(imports(trees))]
    for miss in misses:
        print(f"structure: {miss}")
    print(f"structure: {len(misses)} misses in {len(trees)} files")


def large_classes(trees: dict[Path, ast.Module]) -> Iterator[str]:
    """Classes with too many methods."""
    contract = {name for found in classes(trees[CONTRACT]) for name in methods(found)}
    for file, tree in trees.items():
        given = contract if file.parts[0] == "storages" else set()
        for found in classes(tree):
            count = len([name for name in methods(found) if name not in given])
            if count > MAX_METHODS:
                yield f"{file}:{found.lineno}: class {found.name} has {count} methods (target: {MAX_METHODS})"


def long_files(root: Path, trees: dict[Path, ast.Module]) -> Iterator[str]:
    """Files with too many lines."""
    for file in trees:
        count = len((root / file).read_text().splitlines())
        if count > MAX_LINES and file.as_posix() not in TABLES:
            yield f"{file}: {count} lines (target: {MAX_LINES})"


def shared_names(trees: dict[Path, ast.Module]) -> Iterator[str]:
    """Public class names that several modules define."""
    where: defaultdict[str, list[str]] = defaultdict(list)
    for file, tree in trees.items():
        for found in classes(tree):
            if not found.name.startswith("_"):
                where[found.name].append(str(file))
    for name, files in sorted(where.items()):
        if len(files) > 1:
            yield f"class {name} is defined in {', '.join(files)}"


def methods(found: ast.ClassDef) -> list[str]:
    """The names of the methods of a class."""
    return [each.name for each in found.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]


def classes(tree: ast.Module) -> list[ast.ClassDef]:
    """The classes at the top level of a module."""
    return [each for each in tree.body if isinstance(each, ast.ClassDef)]


def module(file: Path) -> str:
    """The dotted name of a file."""
    return ".".join(file.with_suffix("").parts).removesuffix(".__init__")


def imports(trees: dict[Path, ast.Module]) -> Graph:
    """The modules that each module imports when it is loaded: neither in functions nor for types only."""
    known = {module(file) for file in trees}
    graph: Graph = {name: set() for name in known}
    for file, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                found = {name if name in known else node.module for name in names}
            elif isinstance(node, ast.Import):
                found = {alias.name for alias in node.names}
            else:
                continue
            graph[module(file)] |= (found & known) - {module(file)}
    return graph


def cycles(graph: Graph) -> Iterator[str]:
    """Groups of modules that import each other (strongly connected components, by Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            groups.append(sorted(stack[at:]))
            del stack[at:]

    for name in sorted(graph):
        if name not in index:
            visit(name)
    for group in groups:
        if len(group) > 1:
            yield f"import cycle: {', '.join(group)}"


if __name__ == "__main__":
    main()
