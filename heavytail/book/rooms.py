"""The rooms of this package and who imports whom, read from the source: what the page *Architecture* draws.

There are four wings: the library, whose modules lie at the top, then `lab`, `evidence` and `book`. A wing may import
from those before it, never from those after it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
WINGS = ("library", "lab", "evidence", "book")
DOOR = "cli"  # opens every wing, and no wing imports it


@dataclass(frozen=True)
class Room:
    """A module or subpackage: what it is for, the first sentence of its docstring, and which rooms it imports."""

    name: str
    purpose: str
    imports: frozenset[str]


def rooms(package: Path = PACKAGE, wing: str | None = None) -> dict[str, Room]:
    """Every room right under a package by name, or right under one of its wings; a subpackage is one room.

    Imports inside a function count, those for type checking alone too, and so do names that the package's front door
    hands on. Front doors, `__init__.py` and `__main__.py` of the folder itself, are no rooms. Raises SyntaxError for a
    file that is no Python.
    """
    folder = package / wing if wing else package
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.py")):
        place = path.relative_to(folder)
        if place.parts not in (("__init__.py",), ("__main__.py",)):
            files.setdefault(place.parts[0].removesuffix(".py"), []).append(path)
    inside = (package.name, *([wing] if wing else []))
    onward = handed_on(package)
    return {name: _room(inside, name, paths, set(files), onward) for name, paths in files.items()}


def _room(inside: tuple[str, ...], name: str, paths: list[Path], names: set[str], onward: Mapping[str, str]) -> Room:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    door = next((path for path in paths if path.name == "__init__.py"), paths[0])
    purpose = " ".join((ast.get_docstring(trees[door]) or "").partition("\n\n")[0].split())
    dotted = {onward.get(target, target) for tree in trees.values() for target in _targets(tree)}
    parts = [tuple(target.split(".")) for target in dotted]
    found = {part[len(inside)] for part in parts if part[: len(inside)] == inside and len(part) > len(inside)}
    return Room(name, purpose, frozenset(found & names) - {name})


def _targets(tree: ast.Module) -> Iterator[str]:
    """Dotted names of what the `import`s of a file name, and of what it takes from a package as an attribute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def handed_on(package: Path) -> dict[str, str]:
    """Names that the front door has from elsewhere: `house.train` is in truth `house.lab.trainer.train`."""
    door = package / "__init__.py"
    tree = ast.parse(door.read_text(encoding="utf-8")) if door.exists() else ast.Module([], [])
    return {
        f"{package.name}.{alias.name}": f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
        for alias in node.names
    }


def wing_of(name: str) -> str | None:
    """The wing of a room of the top level; None for the command line, which is in none."""
    return None if name == DOOR else name if name in WINGS else "library"


def backward(found: Mapping[str, Room]) -> list[tuple[str, str]]:
    """Imports of the top level that lead from a wing to a later one or to the command line: (importing, imported)."""
    height = {name: WINGS.index(wing) for name in found if (wing := wing_of(name))}
    return sorted(
        (name, target)
        for name, room in found.items()
        for target in room.imports
        if name in height and height.get(target, len(WINGS)) > height[name]
    )


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
