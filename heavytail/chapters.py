"""Chapters: MyST notebooks of `book/`, each run once by papermill. That run is the page, and what nbval checks.

A chapter calls `project_root` and `say`. The rest runs chapters: `run_all` for the book, `run_one` for a reader.
jupytext, papermill and myst-nb are needed only here and are imported where they are used.
"""

from __future__ import annotations

import ast
import importlib
import math
import numbers
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heavytail import stamps, workers
from heavytail.claims import PROFILES


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


def data_or_digits(name: str) -> tuple[str, str]:
    """The data set that a page can train on here: the named one, or the digits; and a sentence that says which.

    Without data and without a network a page still builds, and says what to do.
    """
    from heavytail import datasets

    warnings.simplefilter("ignore", datasets.UnofficialData)  # the sentence says it, without a path of this machine
    try:
        verified = datasets.load(name).verified
    except datasets.DataUnavailable as error:
        told = f"**{name} could not be had** while this page was made, so its live part trained on the digits instead."
        return "digits", f"{told} What to do: {error}"
    if verified:
        return name, f"The live part of this page trained on {name} itself."
    told = f"The live part of this page trained on the {name} of this machine, which is **not the official data set**"
    return name, f"{told}; `heavytail data {name}` says how it differs."


def pages(root: Path) -> list[Path]:
    """The pages that `_toc.yml` lists, in the order of the book. Raises ValueError for one that is not there."""
    contents = _need("yaml").safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
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
    notebook = _need("jupytext").read(page, fmt="md:myst")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, cell in enumerate(notebook.cells):  # jupytext draws ids at random; the same source gives the same page
        cell["id"] = f"cell-{number}"
    return notebook


def has_code(notebook: Any) -> bool:
    """Whether a notebook has anything to run."""
    return any(cell.cell_type == "code" for cell in notebook.cells)


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
    type than the default's, and for an unknown profile.
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
        if name == "profile" and value not in PROFILES:
            raise ValueError(f"{page.name}: no profile {value!r}; the profiles are {', '.join(PROFILES)}")
    return {name: value for name, value in parameters.items() if value != defaults[name]}


def execute(page: Path, output: Path, *, parameters: Mapping[str, Any], folder: Path | None = None) -> None:
    """Run one chapter by papermill and write the executed notebook, which names no path of this machine.

    The kernel starts in `folder` (default: that of `output`). If a cell raises, `output` stays as it was, what ran is
    kept beside it as NAME.failed.ipynb, and ChapterFailed names the chapter, the cell and the error.
    """
    papermill, nbclient = _need("papermill"), _need("nbclient.exceptions")
    notebook = read(page)
    given = changed_parameters(page, notebook, parameters)
    output = output.resolve()
    folder = (folder or output.parent).resolve()
    for needed in (output.parent, folder):
        needed.mkdir(parents=True, exist_ok=True)
    failed = _failed(output)  # papermill writes here as it goes
    kept = f"what ran is kept in {failed}"
    try:
        done = papermill.execute_notebook(
            notebook,
            failed,
            given,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=folder,
            extra_arguments=["--log-level=CRITICAL"],  # ipykernel warns of its local sockets at every start
        )
    except papermill.PapermillExecutionError as error:
        first = error.source.strip().splitlines()[0] if error.source.strip() else ""
        raise ChapterFailed(
            f"book/{page.name}: cell {error.exec_count} (`{first}`) raised {error.ename}: {error.evalue}; {kept}"
        ) from None
    except (nbclient.CellTimeoutError, nbclient.DeadKernelError) as error:
        raise ChapterFailed(f"book/{page.name}: {error}; {kept}") from None
    stamps.write_text(output, _need("nbformat").writes(_without_traces(done)) + "\n")
    failed.unlink(missing_ok=True)


def _without_traces(notebook: Any) -> Any:
    """Without papermill's paths and times, so that two equal runs give two equal files."""
    notebook.metadata.pop("papermill", None)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.source = cell.source.replace("# Parameters", "# This run was given", 1)
    return notebook


def _failed(output: Path) -> Path:
    """Where what ran of a failed chapter is kept until the chapter is good again."""
    return output.with_suffix(".failed.ipynb")


def executed(root: Path, profile: str, page: Path) -> Path:
    """Where the executed notebook of a chapter lies."""
    return root / "_build" / "chapters" / profile / f"{page.stem}.ipynb"


def side_by_side(chapters: int) -> int:
    """How many of so many chapters run at once on this machine: one a core, at most four."""
    return max(1, min(chapters, 4, os.cpu_count() or 1))


def share_of_threads() -> dict[str, str]:
    """A chapter's share of the cores; the same when it runs alone, since sums on more threads round otherwise."""
    cores = os.cpu_count() or 1
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // side_by_side(cores))))}


def run_all(profile: str = "quick", root: Path | None = None) -> list[Path]:
    """Run every chapter whose executed notebook is not valid any more; list the chapters in the order of the book.

    One is valid while nothing it depends on has changed: see `heavytail.stamps`. A chapter without a parameter
    `profile` runs the same at every profile. Several run side by side. Raises ChapterFailed for those that failed when
    all others are done.
    """
    root = root or project_root()
    if profile not in PROFILES:
        raise ValueError(f"no profile {profile!r}; the profiles are {', '.join(PROFILES)}")
    chapters = [(page, notebook) for page in pages(root) if has_code(notebook := read(page))]
    print(f"chapters: {len(chapters)} with code, profile {profile}", flush=True)
    began = time.monotonic()
    stale = []
    for page, notebook in chapters:
        output = executed(root, profile, page)
        parameters = {"profile": profile} if "profile" in parameters_of(notebook) else {}
        before = stamps.sources(root, page, {**parameters, "profile": profile})
        reason = stamps.why_stale(output, before | stamps.data_sets())
        if reason is None:
            print(f"  {page.stem}: up to date", flush=True)
            _failed(output).unlink(missing_ok=True)
        else:
            stale.append(_Stale(page, output, parameters, before, reason))
    failed = []
    with workers.processes(side_by_side(len(stale))) as executor:
        for number, (chapter, outcome) in enumerate(_each(executor, stale), 1):
            print(f"  [{number:2}/{len(stale)}] {chapter.page.stem}: ran ({chapter.reason}), ", end="")
            if isinstance(outcome, ChapterFailed):
                failed.append(outcome)
                print("failed", flush=True)
            else:
                stamps.write(chapter.output, chapter.before | stamps.data_sets())  # the run may have fetched data
                print(f"{outcome:.1f} s, {time.monotonic() - began:.0f} s in all", flush=True)
    if failed:
        raise ChapterFailed("\n".join(map(str, failed)))
    return [page for page, _ in chapters]


@dataclass(frozen=True)
class _Stale:
    """A chapter that has to run."""

    page: Path
    output: Path
    parameters: dict[str, Any]
    before: dict[str, str]  # what it depends on
    reason: str


def _each(executor: Executor | None, stale: Sequence[_Stale]) -> Iterator[tuple[_Stale, float | ChapterFailed]]:
    """Every chapter as it is done, with its seconds or its failure."""
    if executor is None:
        for chapter in stale:
            yield chapter, _seconds(chapter, share_of_threads())
        return
    futures = {executor.submit(_seconds, chapter, share_of_threads()): chapter for chapter in stale}
    for future in as_completed(futures):
        yield futures[future], future.result()


def _seconds(chapter: _Stale, environment: Mapping[str, str]) -> float | ChapterFailed:
    """Run a chapter from this process; its seconds, or its failure."""
    start, before = time.monotonic(), dict(os.environ)
    os.environ.update(environment)
    try:
        execute(chapter.page, chapter.output, parameters=chapter.parameters)
    except ChapterFailed as failure:
        return failure
    finally:
        os.environ.clear()
        os.environ.update(before)
    return time.monotonic() - start


def run_one(name: str, output: Path | None = None, parameters: Mapping[str, Any] | None = None) -> Path:
    """Run one chapter (`ecg5000` or `book/ecg5000.md`) with other parameters; the book's own run stays as it is.

    The notebook is written to `output`, or to `_build/chapters/custom/`. Returns its path.
    """
    root = project_root()
    page = root / "book" / f"{Path(name).stem}.md"
    if not page.is_file():
        known = ", ".join(sorted(path.stem for path in pages(root)))
        raise ValueError(f"no chapter {name}; the pages are {known}")
    folder = root / "_build" / "chapters" / "custom"
    output = (output or folder / f"{page.stem}.ipynb").resolve()
    if not has_code(read(page)):
        raise ValueError(f"book/{page.name} has no code to run")
    execute(page, output, parameters=parameters or {}, folder=folder)
    print(f"{os.path.relpath(output)}: book/{page.name} as it ran")
    return output


def _need(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise RuntimeError(f"chapters need {error.name}: pip install 'heavytail[book]'") from None
