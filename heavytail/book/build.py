"""The book: executed chapters compared with a second run, laid out as a source tree, and built into pages."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from heavytail.book import in_place, kernels, pdf, pictures, single_page, sphinx, stamps
from heavytail.book.alone import alone
from heavytail.book.children import Children, children
from heavytail.book.children import run as run_child
from heavytail.book.page import ChapterFailed, has_code, only_shows, pages, project_root, read
from heavytail.book.run import PATIENCE, executed, run_stale, share_of_threads, side_by_side


def check(profile: str = "quick", root: Path | None = None, *, again: bool = False, every: bool = False) -> int:
    """Run what is stale, then run every executed notebook again under nbval and compare all outputs.

    One that passed is not compared again until it changes, and one that only shows what is committed is not run twice,
    but with `every`. Returns how many chapters there are; raises ChapterFailed if any gives other outputs. With `again`
    such a one is compared once more, and called flaky if it then passes.
    `tests/notebooks/sanitize.cfg` lists what may differ. Raises Busy beside another build in the same project.
    """
    root = root or project_root()
    with alone(root):
        return _check(profile, root, again, every)


def _check(profile: str, root: Path, again: bool, every: bool) -> int:
    chapters = run_stale(profile, root)
    settings = root / "tests" / "notebooks"
    sanitize, plugin = settings / "sanitize.cfg", settings / "with_history.py"
    how = f"nbval with {stamps.digest(sanitize.read_bytes() + plugin.read_bytes())}"
    notebooks = {page: executed(root, profile, page) for page in chapters}
    new = {page: notebook for page, notebook in notebooks.items() if stamps.checked(notebook) != how}
    for page in chapters:
        if page not in new:
            print(f"  {page.stem}: compared before, unchanged", flush=True)
        elif not every and only_shows(read(page)):
            print(f"  {page.stem}: only shows what is committed, so it is not run twice", flush=True)
            del new[page]
    differ = _different(new, root, how)
    if again and differ:
        flaky = differ.keys() - (differ := _different(differ, root, how)).keys()
        for page in sorted(flaky):
            print(f"FLAKY: book/{page.name}", flush=True)
    if differ:
        names = ", ".join(page.stem for page in differ)
        raise ChapterFailed(f"run twice, these chapters do not give the same outputs: {names}")
    return len(chapters)


def _different(notebooks: Mapping[Path, Path], root: Path, how: str) -> dict[Path, Path]:
    """The pages whose notebooks give other outputs in a second run, with them; the others are stamped."""
    differ = {}
    with (
        kernels.warm(len(notebooks), share_of_threads()) as environment,
        children(side_by_side(len(notebooks))) as group,
    ):
        futures = {
            group.threads.submit(_compared, notebook, root, group, environment): page
            for page, notebook in notebooks.items()
        }
        for number, future in enumerate(as_completed(futures), 1):
            page, (done, seconds) = futures[future], future.result()
            print(f"  [{number:2}/{len(notebooks)}] {page.stem}: ", end="")
            if done.returncode == 0:
                stamps.mark_checked(notebooks[page], how)
                print(f"the same outputs again, {seconds:.1f} s", flush=True)
            else:  # 5, no cells found, is a failure too: a chapter has cells
                differ[page] = notebooks[page]
                print(f"NOT the same again\n{done.stdout}", flush=True)
    return differ


def _compared(
    notebook: Path, root: Path, group: Children, environment: Mapping[str, str]
) -> tuple[subprocess.CompletedProcess[str], float]:
    """What nbval says of one notebook, and how long it took."""
    start, settings = time.monotonic(), root / "tests" / "notebooks"
    search = os.pathsep.join(filter(None, [str(settings), os.environ.get("PYTHONPATH")]))
    # Cells go into a history of their own, not among what the reader typed into IPython.
    own = {**os.environ, **environment, "PYTHONPATH": search, "IPYTHONDIR": str(root / "_build" / "ipython")}
    own["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # to import those of other tests takes longer than pytest itself
    options = ["-p", "nbval.plugin", "-p", "no:cacheprovider", "-p", "with_history", "--color=no", "-q"]
    nbval = ["--nbval", f"--nbval-sanitize-with={settings / 'sanitize.cfg'}"]
    nbval += [] if "JUPYTER_PATH" in environment else ["--nbval-current-env"]  # a warm kernel is found by its name
    arguments = [*options, *nbval, f"--nbval-kernel-startup-timeout={PATIENCE}", str(notebook)]
    done = run_child("pytest", arguments, group, folder=root, environment=own)
    return done, time.monotonic() - start


def assemble(profile: str = "quick", root: Path | None = None) -> Path:
    """Lay out `_build/source/PROFILE`: the book's files, with each chapter replaced by its executed notebook."""
    root = root or project_root()
    target = root / "_build" / "source" / profile
    wanted = {Path(name): (root / name).read_bytes() for name in ("_config.yml", "_toc.yml")}
    wanted |= {path.relative_to(root): content for path, content in _contents(root, profile)}
    wanted[Path(sphinx.RUNS)] = json.dumps(_runs(root, profile), indent=1).encode()
    for old in [path for path in target.rglob("*") if path.is_file() and path.relative_to(target) not in wanted]:
        old.unlink()
    for name, content in wanted.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return target


def _contents(root: Path, profile: str) -> Iterator[tuple[Path, bytes]]:
    """Every file of the assembled `book/`, with its content."""
    run = {page.stem for page in pages(root) if has_code(read(page))}
    for path in sorted((root / "book").rglob("*")):
        if not path.is_file() or any(part.startswith((".", "__")) for part in path.relative_to(root).parts):
            continue
        if path.suffix == ".md" and path.stem in run:
            notebook = executed(root, profile, path)
            if not notebook.is_file():
                raise ValueError(
                    f"book/{path.name} has not been run at profile {profile}: `run` comes before `assemble`"
                )
            text, files = _for_pages(notebook, run)
            yield path.with_suffix(".ipynb"), text.encode()
            for name, drawn in files.items():
                yield root / "book" / "_static" / pictures.FOLDER / name, drawn.encode()
        elif path.suffix == ".md":
            yield path, relink(path.read_text(encoding="utf-8"), run).encode()
        elif path.suffix != ".ipynb":  # a notebook someone keeps beside its chapter would be a second page of that name
            yield path, path.read_bytes()


def _runs(root: Path, profile: str) -> dict[str, dict[str, Any]]:
    """When each chapter ran and how long, by the name of its page, as far as its stamp knows."""
    stamped = {page: stamps.ran(executed(root, profile, page)) for page in pages(root)}
    return {f"book/{page.stem}": asdict(ran) for page, ran in stamped.items() if ran}


def relink(text: str, run: set[str]) -> str:
    """Links and glue to `chapter.md` point to `chapter.ipynb`, which it is in the assembled book."""

    def target(match: re.Match[str]) -> str:
        return f"{match[1]}.ipynb" if match[1] in run else match[0]

    return re.sub(r"(?<=[(<`/])([\w-]+)\.md(?=[)#>]|::)", target, text)


def _for_pages(path: Path, run: set[str]) -> tuple[str, dict[str, str]]:
    """An executed notebook as its page has it, and the files of its figures by their names."""
    import nbformat

    notebook: Any = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = relink(cell.source, run)
        elif name := what_folds(cell.metadata.get("tags", []), cell.source):
            cell.metadata["mystnb"] = {
                **cell.metadata.get("mystnb", {}),
                "code_prompt_show": f"Show {name}",
                "code_prompt_hide": f"Hide {name}",
            }
    files = pictures.taken_out(notebook, path.stem)
    pictures.numbered(notebook, path.stem)
    return str(nbformat.writes(notebook)) + "\n", files


def build(profile: str = "quick", root: Path | None = None, *, as_pdf: bool = False) -> Path:
    """Run what is stale, assemble, and build the pages with warnings as errors; return the first page.

    The pages are built from scratch whenever anything changed: Sphinx forgets the warnings of a page that it does not
    read again, so a second build would pass. A build that fails or is killed leaves the former pages in place. With
    `as_pdf` the book in one file is printed too, where there is a Chromium. Raises Busy beside another build in the
    same project.
    """
    root = root or project_root()
    with alone(root):
        run_stale(profile, root)
        first = _build(profile, root)
        if as_pdf:
            print(pdf.beside(first.with_name(single_page.NAME)), flush=True)
        return first


def _build(profile: str, root: Path) -> Path:
    source = assemble(profile, root)
    home = root / "_build" / "book" / profile
    html = root / "_build" / ("html" if profile == "quick" else f"html-{profile}")
    stamp, first = home / "built", html / "index.html"
    files = sorted(path for path in source.rglob("*") if path.is_file())
    made_from = repr([(path.relative_to(source).as_posix(), stamps.digest(path.read_bytes())) for path in files])
    made_from += (root / "requirements.txt").read_text(encoding="utf-8") + repr(
        (sphinx.repository(root), sphinx.made_with())
    )
    made_from += "".join(stamps.digest(path.read_bytes()) for path in sorted((root / "heavytail").rglob("*.py")))
    made_from = stamps.digest(made_from.encode())
    with in_place.work_folder(home, html) as work:
        if first.is_file() and stamp.is_file() and stamp.read_text() == made_from:
            print("pages: up to date", flush=True)
            return first
        start = time.monotonic()
        print(f"pages: jupyter-book builds {source.relative_to(root)} ...", flush=True)
        with children(2) as group:
            pages_made = group.threads.submit(_jupyter_book, source, work / "html", "html", root, group)
            single_made = group.threads.submit(_single_page, source, work / "singlehtml", root, group)
            whole, single = pages_made.result(), single_made.result()
        stamps.write_text(whole / single_page.NAME, single)
        stamp.unlink(missing_ok=True)  # before the move: a stamp never stands beside pages that it was not made for
        in_place.put(whole, html, work)
        stamps.write_text(stamp, made_from)
    print(f"pages: built in {time.monotonic() - start:.1f} s", flush=True)
    return first


def _single_page(source: Path, work: Path, root: Path, group: Children) -> str:
    """The book in one page, put together while its pages are being made, which takes longer."""
    return single_page.of(_jupyter_book(source, work, "singlehtml", root, group))


def _jupyter_book(source: Path, work: Path, builder: str, root: Path, group: Children) -> Path:
    """Build by Jupyter Book with every warning an error; the folder of what was built."""
    program = shutil.which("jupyter-book", path=os.fspath(Path(sys.executable).parent))
    if program is None:
        raise RuntimeError("the pages need jupyter-book below 2: pip install 'heavytail[book]'")
    options = ["--builder", builder, "--path-output", str(work), "-n", "-W", "--keep-going", "-q"]
    done = run_child(program, ["build", str(source), *options], group, folder=root, environment=os.environ)
    if done.returncode:
        print(done.stdout)
        raise ChapterFailed(f"the pages were not built ({builder}): every warning above is an error")
    return work / "_build" / builder


def what_folds(tags: Sequence[str], source: str) -> str:
    """What a reader sees who unfolds a cell with these tags, in words; empty for one that folds nothing.

    >>> what_folds(["parameters", "hide-input"], "seed = 1"), what_folds(["hide-input"], "assert low < high")
    ('what can be changed', 'how this page checks what it says')
    >>> what_folds(["hide-output"], "show(keys_form(table))"), what_folds(["hide-output"], "show(table)")
    ('the keys of the runs', 'the whole table')
    """
    if "hide-cell" in tags:
        return "a solution in code"
    if "hide-output" in tags:
        return "the keys of the runs" if "keys_form" in source else "the whole table"
    if "hide-input" not in tags:
        return ""
    if "parameters" in tags:
        return "what can be changed"
    return "how this page checks what it says" if "assert " in source else "how this is computed"


def notebooks(root: Path | None = None, folder: Path | None = None) -> list[Path]:
    """Write every chapter, not run, as a notebook that can be opened anywhere: its first cell fetches the project.

    They go to `folder` (default `_build/notebooks`); the buttons for Binder and Colab lead to them on a branch of their
    own. Raises ValueError where the project's address is not known, Busy beside a build in the same project.
    """
    root = root or project_root()
    with alone(root):
        return _notebooks(root, folder or root / "_build" / "notebooks")


def _notebooks(root: Path, folder: Path) -> list[Path]:
    import nbformat

    address = sphinx.repository(root)
    if address is None:
        raise ValueError(
            "the project's address is not known: name it in HEAVYTAIL_REPOSITORY, https://github.com/NAME/PROJECT"
        )
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for page in pages(root):
        notebook = read(page)
        if has_code(notebook):
            notebook.cells.insert(0, nbformat.v4.new_code_cell(_SETUP.format(address=address), id="setup"))
            written.append(folder / f"{page.stem}.ipynb")
            stamps.write_text(written[-1], nbformat.writes(notebook) + "\n")
    return written


_SETUP = """\
# On a machine that has not the project yet, such as Colab's: fetch and install it. Some minutes.
try:
    from heavytail.book import page

    page.project_root()
except (ImportError, ValueError):
    !git clone --quiet --depth 1 {address} project
    %cd project
    %pip install --quiet ".[book]"
    import os, sys

    sys.path.insert(0, os.getcwd())  # the book is in the clone, and not in what pip installs"""
