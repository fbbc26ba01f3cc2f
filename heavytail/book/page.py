"""Chapters: MyST notebooks of `book/`, each run once by papermill. That run is the page, and what nbval checks.

A chapter calls `project_root` and `say`. The rest runs chapters: `run_all` for the book, `run_one` for a reader.
jupytext, papermill and myst-nb are needed only here and are imported where they are used.
"""

from __future__ import annotations

import ast
import importlib
import math
import numbers
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from heavytail.evidence.claims import PROFILES


class ChapterFailed(RuntimeError):
    """A cell of a chapter raised, or gave other outputs when it was run again."""


def project_root(start: Path | str | None = None) -> Path:
    """The project's folder: `start` (default: the current folder) or the nearest one above it.

    It is known by `_toc.yml`, `book/` and `heavytail/` together. Chapters find `data/` with it, because the folder
    that a kernel starts in depends on what runs the chapter. Raises ValueError outside the project.
    """
    here = Path.cwd() if start is None else Path(start).resolve()
    for folder in (here, *here.parents):
        if all((folder / name).exists() for name in ("_toc.yml", "book", "heavytail")):
            return folder
    raise ValueError(
        f"no project at or above {here}: go to the folder with _toc.yml, book/ and heavytail/ and run again there"
    )


def say(**values: float | str) -> None:
    """Give names to numbers and texts, for the prose: `` {glue:text}`slope:.2f` `` after `say(slope=...)`.

    Numbers must be finite: a page has no NaN in a sentence. The only place that knows how the book glues values.
    """
    from myst_nb import glue

    for key, value in values.items():
        plain = _plain(key, value)  # NumPy's own scalars print as np.float64(...), which no format understands
        glue(key, plain, display=False)


def _plain(key: str, value: object) -> int | float | str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError(f"say({key}={value}): not a finite number; say in words what is missing")
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    raise ValueError(f"say({key}=...): a {type(value).__name__} is neither a number nor a text; pass one of those")


def lasted(seconds: float) -> str:
    """A time as a page says it.

    >>> lasted(0.4), lasted(59.4), lasted(75), lasted(3000), lasted(19080)
    ('1 s', '59 s', '1 min 15 s', '50 min', '5.3 h')
    """
    if seconds < 59.5:
        return f"{max(1, round(seconds))} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 10 and rest:
        return f"{minutes} min {rest} s"
    return f"{round(seconds / 60)} min" if minutes < 100 else f"{seconds / 3600:.1f} h"


def grouped(number: float) -> str:
    """A whole number, one of five digits or more with its thousands apart, which a line does not break.

    >>> grouped(20000.0), grouped(2000)
    ('20\\xa0000', '2000')
    """
    return f"{int(number):,}".replace(",", "\u00a0") if abs(number) >= 10_000 else f"{int(number)}"


def power(number: float, digits: int = 1) -> str:
    """A number to so many digits, which a line does not break; a very large or very small one with a power of ten.

    >>> power(0.00099996), power(1448, 2), power(2.36e-5, 2), power(4.1e5)
    ('0.001', '1400', '2.4\\xa0·\\xa010⁻⁵', '4\\xa0·\\xa010⁵')
    """
    rounded = float(f"{number:.{digits}g}")
    if not math.isfinite(rounded) or rounded == 0 or 1e-3 <= abs(rounded) < 1e5:
        return f"{rounded:g}"
    first, _, exponent = f"{rounded:.{digits - 1}e}".partition("e")
    return f"{first}\u00a0·\u00a010{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def pages(root: Path) -> list[Path]:
    """The pages that `_toc.yml` lists, in the order of the book. Raises ValueError for one that is not there."""
    contents = need("yaml").safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    found = []
    for name in _files(contents):
        page = root / (name if name.endswith(".md") else f"{name}.md")
        if page.parent != root / "book" or not page.is_file():
            raise ValueError(f"_toc.yml lists {name}, but there is no such page: write book/NAME.md and list book/NAME")
        found.append(page)
    return found


def _files(node: Any) -> Iterator[str]:
    """Every `root:` and `file:` of a table of contents, however deep."""
    if isinstance(node, list):
        for item in node:
            yield from _files(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("root", "file"):
                yield str(value)
            else:
                yield from _files(value)


def read(page: Path) -> Any:
    """A page as a notebook. It is a chapter if it has `{code-cell}`s; other code blocks are only shown."""
    notebook = need("jupytext").read(page, fmt="md:myst")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, cell in enumerate(notebook.cells):  # jupytext draws ids at random; the same source gives the same page
        cell["id"] = f"cell-{number}"
    return notebook


def has_code(notebook: Any) -> bool:
    """Whether a notebook has anything to run."""
    return any(cell.cell_type == "code" for cell in notebook.cells)


#: What a chapter may import that only shows what is committed. Nothing here trains, records of runs do nothing, and
#: what draws has its own seed or wants a generator, which is had elsewhere.
SHOWS = {
    *("IPython", "pandas", "heavytail.book", "heavytail.evidence"),
    *("heavytail.laws", "heavytail.lab.results", "heavytail.lab.runs", "heavytail.lab.bench.reports"),
}


def only_shows(notebook: Any) -> bool:
    """Whether a chapter only shows what is committed, by what its cells import: something, and nothing beside SHOWS."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    nodes = [node for cell in cells for node in ast.walk(ast.parse(cell))]
    modules = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    modules += [f"{n.module}.{name.name}" for n in nodes if isinstance(n, ast.ImportFrom) for name in n.names]
    return bool(modules) and all(any(f"{module}.".startswith(f"{shows}.") for shows in SHOWS) for module in modules)


def parameters_of(notebook: Any) -> dict[str, Any]:
    """Names and defaults in the cell tagged `parameters`: plain assignments of literals."""
    defaults: dict[str, Any] = {}
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            for line in ast.parse(cell.source).body:
                if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
                    defaults[line.targets[0].id] = ast.literal_eval(line.value)
                elif isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value:
                    defaults[line.target.id] = ast.literal_eval(line.value)
    return defaults


def changed_parameters(page: Path, notebook: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The given parameters that differ from the chapter's defaults.

    Raises ValueError for a name that the chapter does not have (papermill alone only warns), for a value of another
    type than the default's or one that no cell takes, and for an unknown profile.
    """
    defaults = parameters_of(notebook)
    for name, value in parameters.items():
        if name not in defaults:
            has = ", ".join(defaults) or "none"
            raise ValueError(f"{page.name} has no parameter {name}; its parameters: {has}")
        default = defaults[name]
        fits = type(value) is type(default) or (type(default) is float and type(value) is int)
        if isinstance(default, bool | int | float | str) and not fits:
            raise ValueError(
                f"{page.name}: {name} is of type {type(default).__name__} (its default is {default!r}), "
                f"and {value!r} is not"
            )
        if not _is_plain(value):
            raise ValueError(
                f"{page.name}: {name} must be a word, True, False, None, a finite number of 64 bits, or a list of those"
            )
        if name == "profile" and value not in PROFILES:
            raise ValueError(f"{page.name}: no profile {value!r}; the profiles are {', '.join(PROFILES)}")
    return {name: value for name, value in parameters.items() if value != defaults[name]}


def _is_plain(value: object) -> bool:
    """Whether a value is one that a cell can be given as text, and that a table can hold."""
    if isinstance(value, list | tuple):
        return all(type(item) is not list and type(item) is not tuple and _is_plain(item) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or isinstance(value, str)


def need(module: str) -> Any:
    """A module of the extra `book`, or one sentence that says what to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise RuntimeError(f"chapters need {package}: pip install 'heavytail[book]'") from None
