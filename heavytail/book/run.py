"""Run chapters by papermill: `run_all` those of the book that are out of date, `run_one` for a reader."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from heavytail.book import kernels, sockets, stamps, traces
from heavytail.book.alone import alone
from heavytail.book.page import (
    ChapterFailed,
    changed_parameters,
    has_code,
    need,
    pages,
    parameters_of,
    project_root,
    read,
)
from heavytail.evidence.claims import PROFILES
from heavytail.lab.machine import workers
from heavytail.lab.machine.files import named
from heavytail.lab.results import check_places

PATIENCE = 300  # seconds after which a kernel that says nothing is lost; a busy machine takes long


def execute(
    page: Path,
    output: Path,
    *,
    parameters: Mapping[str, Any],
    folder: Path | None = None,
    private: Mapping[str, str] | None = None,
) -> None:
    """Run one chapter by papermill and write the executed notebook.

    The kernel starts in `folder` (default: that of `output`). If a cell raises, or prints one of the traces `private`
    (see `heavytail.book.traces`), `output` stays as it was, what ran is kept beside it as NAME.failed.ipynb, and
    ChapterFailed names the chapter, the cell and the error.
    """
    papermill, nbclient = need("papermill"), need("nbclient.exceptions")
    notebook = read(page)
    given = changed_parameters(page, notebook, parameters)
    check_places(output)  # before the chapter runs, not after
    output = output.resolve()
    folder = (folder or output.parent).resolve()
    for needed in (output.parent, folder):
        needed.mkdir(parents=True, exist_ok=True)
    failed = _failed(output)  # papermill writes here as it goes
    check_places(failed)
    kept = f"what ran is kept in {failed}"
    try:
        with sockets.of_a_kernel() as settings:
            done = papermill.execute_notebook(
                notebook,
                str(failed).replace("{", "{{").replace("}", "}}"),  # papermill formats the name of its output
                given,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                cwd=folder,
                start_timeout=PATIENCE,
                iopub_timeout=PATIENCE,
                raise_on_iopub_timeout=True,  # else the outputs that are late are left out
                extra_arguments=["--log-level=CRITICAL"],  # ipykernel warns of its local sockets at every start
                config=need("traitlets.config").Config(KernelManager=settings),
            )
    except papermill.PapermillExecutionError as error:
        first = error.source.strip().splitlines()[0] if error.source.strip() else ""
        raise ChapterFailed(
            f"book/{page.name}: cell {error.exec_count} (`{first}`) raised {error.ename}: {error.evalue}; {kept}"
        ) from None
    except (nbclient.CellTimeoutError, nbclient.DeadKernelError) as error:
        raise ChapterFailed(f"book/{page.name}: {error}; {kept}") from None
    if trace := traces.in_outputs(done, private or {}):
        raise ChapterFailed(
            f"book/{page.name}: what cell {trace[0]} shows names {trace[1]} of this machine, and a page is for others: "
            f"say it without the path; {kept}"
        )
    stamps.write_text(output, need("nbformat").writes(_without_traces(done)) + "\n")
    failed.unlink(missing_ok=True)


def _without_traces(notebook: Any) -> Any:
    """Without papermill's paths and times, so that two equal runs give two equal files."""
    notebook.metadata.pop("papermill", None)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        if "outputs" in cell:
            cell["outputs"] = _in_one_piece(cell["outputs"])
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.source = cell.source.replace("# Parameters", "# This run was given", 1)
    return notebook


def _in_one_piece(outputs: Sequence[Any]) -> list[Any]:
    """What was printed in a row as one output: a busy kernel sends it in pieces, here and there."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output["output_type"] == "stream" and (last.get("output_type"), last.get("name")) == (
            "stream",
            output["name"],
        ):
            last["text"] += output["text"]
        else:
            joined.append(output)
    return joined


def _failed(output: Path) -> Path:
    """Where what ran of a failed chapter is kept until the chapter is good again."""
    return output.with_suffix(".failed.ipynb")


def executed(root: Path, profile: str, page: Path) -> Path:
    """Where the executed notebook of a chapter lies."""
    return root / "_build" / "chapters" / profile / f"{page.stem}.ipynb"


def side_by_side(chapters: int) -> int:
    """How many of so many chapters run at once: one more than cores, where there are several, and at most four."""
    cores = os.cpu_count() or 1
    return max(1, min(chapters, 4, cores + 1 if cores > 1 else 1))


def share_of_threads() -> dict[str, str]:
    """A chapter's share of the cores; the same when it runs alone, since sums on more threads round otherwise."""
    cores = os.cpu_count() or 1
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // side_by_side(cores))))}


def run_all(profile: str = "quick", root: Path | None = None) -> list[Path]:
    """Run every chapter whose executed notebook is not valid any more; list the chapters in the order of the book.

    One is valid while nothing it depends on has changed: see `heavytail.book.stamps`. A chapter without a parameter
    `profile` runs the same at every profile. Several run side by side. Raises ChapterFailed for those that failed when
    all others are done, Busy beside another build in the same project.
    """
    root = root or project_root()
    with alone(root):
        return run_stale(profile, root)


def run_stale(profile: str, root: Path) -> list[Path]:
    """What `run_all` does, for a caller that has made sure of being alone in the project."""
    if profile not in PROFILES:
        raise ValueError(f"no profile {profile!r}; the profiles are {', '.join(PROFILES)}")
    chapters = [(page, notebook) for page in pages(root) if has_code(notebook := read(page))]
    print(f"chapters: {len(chapters)} with code, profile {profile}", flush=True)
    began = time.monotonic()
    stale = []
    for page, notebook in chapters:
        output = executed(root, profile, page)
        parameters = {"profile": profile} if "profile" in parameters_of(notebook) else {}
        chapter = _Chapter(root, profile, page, output, parameters)
        reason = stamps.why_stale(output, chapter.inputs())
        if reason is None:
            print(f"  {page.stem}: up to date", flush=True)
            _failed(output).unlink(missing_ok=True)
        else:
            stale.append((chapter, reason))
    reasons, failed = dict(stale), []
    with (
        kernels.warm(len(stale), share_of_threads()) as environment,
        workers.processes(side_by_side(len(stale)), ("heavytail.book.run", "papermill")) as executor,
    ):
        for number, (chapter, outcome) in enumerate(_each(executor, [chapter for chapter, _ in stale], environment), 1):
            print(f"  [{number:2}/{len(stale)}] {chapter.page.stem}: ran ({reasons[chapter]}), ", end="")
            if isinstance(outcome, ChapterFailed):
                failed.append(outcome)
                print("failed", flush=True)
            else:
                changed = stamps.differing(outcome.before, outcome.after)
                stamps.write(chapter.output, outcome.before, changed, ran=outcome.ran)
                again = f"; {changed[0]} changed meanwhile, so the next build runs it again" if changed else ""
                print(f"{outcome.ran.seconds:.1f} s, {time.monotonic() - began:.0f} s in all{again}", flush=True)
    if failed:
        raise ChapterFailed("\n".join(map(str, failed)))
    return [page for page, _ in chapters]


@dataclass(frozen=True, eq=False)
class _Chapter:
    """A chapter at a profile: what runs, and where the executed notebook goes."""

    root: Path
    profile: str
    page: Path
    output: Path
    parameters: dict[str, Any]

    def inputs(self) -> dict[str, str]:
        """All that makes its outputs, as it is now."""
        return stamps.sources(self.root, self.page, {**self.parameters, "profile": self.profile}) | stamps.data_sets()


@dataclass(frozen=True)
class _Ran:
    """When and how long a chapter ran, and its inputs when it began and when it ended."""

    ran: stamps.Ran
    before: dict[str, str]
    after: dict[str, str]


def _each(
    executor: Executor | None, chapters: Sequence[_Chapter], environment: Mapping[str, str]
) -> Iterator[tuple[_Chapter, _Ran | ChapterFailed]]:
    """Every chapter as it is done, with how it ran or its failure."""
    if executor is None:
        for chapter in chapters:
            yield chapter, _run(chapter, environment)
        return
    futures = {executor.submit(_run, chapter, environment): chapter for chapter in chapters}
    for future in as_completed(futures):
        yield futures[future], future.result()


def _run(chapter: _Chapter, environment: Mapping[str, str]) -> _Ran | ChapterFailed:
    """Run a chapter from this process; how it went, or its failure."""
    start, around = time.monotonic(), dict(os.environ)
    os.environ.update(environment)
    before = chapter.inputs()  # now and not when it was queued: data may have come since
    try:
        execute(chapter.page, chapter.output, parameters=chapter.parameters, private=traces.paths(chapter.root))
    except ChapterFailed as failure:
        return failure
    finally:
        os.environ.clear()
        os.environ.update(around)
    ran = stamps.Ran(datetime.now(UTC).date().isoformat(), round(time.monotonic() - start, 1))
    return _Ran(ran, before, chapter.inputs())


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
    output = None if output is None else named(output)
    if output is not None and output.is_dir():
        raise ValueError(f"{output} is a folder: name the notebook, such as {output / page.stem}.ipynb")
    if output is not None and output.suffix != ".ipynb":
        raise ValueError(f"{output} does not end in .ipynb: name the notebook, such as {page.stem}.ipynb")
    if not has_code(read(page)):
        raise ValueError(f"book/{page.name} has no code to run")
    output = output or folder / f"{page.stem}.ipynb"
    execute(page, output, parameters=parameters or {}, folder=folder)
    print(f"{os.path.relpath(output)}: book/{page.name} as it ran")
    return output.resolve()
