"""The rooms of this package and who imports whom, read from the source: what the page *Architecture* draws."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Room:
    """A module or subpackage: what it is for, the first sentence of its docstring, and which rooms it imports."""

    name: str
    purpose: str
    imports: frozenset[str]


def rooms(package: Path = PACKAGE) -> dict[str, Room]:
    """Every room of a package by name; a subpackage is one room, and the package's own front door is none.

    Imports inside a function count, those for type checking alone too. Raises SyntaxError for a file that is no Python.
    """
    files: dict[str, list[Path]] = {}
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        if place.parts != ("__init__.py",):
            files.setdefault(place.parts[0].removesuffix(".py"), []).append(path)
    return {name: _room(package.name, name, paths, files.keys()) for name, paths in files.items()}


def _room(package: str, name: str, paths: Sequence[Path], names: object) -> Room:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    door = next((path for path in paths if path.name == "__init__.py"), paths[0])
    found = {target for tree in trees.values() for target in _targets(package, tree)}
    purpose = " ".join((ast.get_docstring(trees[door]) or "").partition("\n\n")[0].split())
    return Room(name, purpose, frozenset(found & set(names)) - {name})  # type: ignore[call-overload]


def _targets(package: str, tree: ast.Module) -> set[str]:
    """What the `import`s of a file name right under the package."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            dotted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            dotted = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        parts = [name.split(".") for name in dotted]
        found |= {part[1] for part in parts if part[0] == package and len(part) > 1}
    return found


def floors(found: Mapping[str, Room]) -> list[list[str]]:
    """Rooms on floors, the ground floor first: each above all that it imports, and right below what imports it.

    Raises ValueError that names a circle of imports, if there is one.
    """
    height: dict[str, int] = {}

    def climb(name: str, path: tuple[str, ...]) -> int:
        if name in path:
            raise ValueError(f"rooms import each other in a circle: {' -> '.join([*path[path.index(name) :], name])}")
        if name not in height:
            height[name] = 1 + max((climb(other, (*path, name)) for other in found[name].imports), default=-1)
        return height[name]

    for name in found:
        climb(name, ())
    for name in sorted(found, key=lambda name: -height[name]):  # as high as what imports it allows
        above = [height[other] for other, room in found.items() if name in room.imports]
        height[name] = min(above, default=height[name] + 1) - 1
    return [sorted(name for name in found if height[name] == level) for level in range(max(height.values()) + 1)]


def direct(found: Mapping[str, Room]) -> set[tuple[str, str]]:
    """The imports that no chain of other imports implies, as pairs (importing, imported): enough for a picture."""
    below: dict[str, set[str]] = {}
    for floor in floors(found):
        for name in floor:
            below[name] = set().union(found[name].imports, *(below[other] for other in found[name].imports))
    return {
        (name, target)
        for name, room in found.items()
        for target in room.imports
        if not any(target in below[other] for other in room.imports - {target})
    }
