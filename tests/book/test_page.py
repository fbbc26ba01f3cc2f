from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from heavytail import cli
from heavytail.book import build, kernels, page, sockets, stamps
from heavytail.book.__main__ import main
from heavytail.book.run import executed, run_all, run_one, share_of_threads

HERE = Path(__file__).parents[1]
FRONT = "---\nkernelspec:\n  name: python3\n  display_name: Python 3\n---\n\n# A chapter\n\n"
PARAMETERS = '```{code-cell}\n:tags: [parameters]\n\nprofile = "quick"\nwidth = 3\nrate: float = 0.5\n```\n\n'
CHAPTER = FRONT + PARAMETERS + "```{code-cell}\nprint(profile, width * 2)\n```\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one plain page and one chapter that imports nothing, so that a run takes a second."""
    root = tmp_path / "project"
    for folder in ("book", "heavytail", "data/results/quick", "tests/notebooks"):
        (root / folder).mkdir(parents=True)
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n- file: book/one\n")
    (root / "_config.yml").write_text(
        'title: T\nonly_build_toc_files: true\nexecute:\n  execute_notebooks: "off"\n'
        "sphinx:\n  extra_extensions: [sphinx-mathjax-offline]\n"
    )
    (root / "requirements.txt").write_text("nothing==1\n")
    (root / "heavytail" / "room.py").write_text("x = 1\n")
    (root / "book" / "index.md").write_text("# Index\n\nSee [one](one.md).\n\n```python\n1 / 0\n```\n")
    (root / "book" / "one.md").write_text(CHAPTER)
    for name in ("sanitize.cfg", "with_history.py"):
        shutil.copy(HERE / "notebooks" / name, root / "tests" / "notebooks")
    monkeypatch.chdir(root)
    return root


def outputs(notebook: Path) -> str:
    cells = json.loads(notebook.read_text())["cells"]
    return "".join("".join(out.get("text", [])) for cell in cells for out in cell.get("outputs", []))


@pytest.mark.long
def test_a_chapter_runs_again_when_its_text_or_a_module_or_its_notebook_changes_and_only_then(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = executed(project, "quick", project / "book" / "one.md")

    def run() -> str:
        run_all()
        return capsys.readouterr().out.splitlines()[-1]

    assert "ran (never run)" in run()
    assert outputs(notebook) == "quick 6\n"
    first = notebook.read_bytes()
    assert run().endswith("one: up to date")

    (project / "book" / "one.md").write_text(CHAPTER.replace("width * 2", "width * 3"))
    assert "ran (book/one.md changed)" in run()
    assert outputs(notebook) == "quick 9\n"

    (project / "heavytail" / "room.py").write_text("x = 2\n")
    assert "ran (heavytail/room.py changed)" in run()

    (project / "book" / "one.md").write_text(CHAPTER)
    run()
    assert notebook.read_bytes() == first  # a run leaves nothing of its time or place
    notebook.write_bytes(first.replace(b"quick 6", b"quick 7"))
    assert "ran (its notebook is not the one that was stamped)" in run()
    assert outputs(notebook) == "quick 6\n"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda root: (root / "requirements.txt").write_text("nothing==2\n"), id="environment"),
        pytest.param(lambda root: (root / "data/results/quick/t.parquet").write_bytes(b"new"), id="results"),
        pytest.param(lambda root: (root / "heavytail" / "new.py").write_text(""), id="new module"),
    ],
)
def test_what_a_chapter_may_read_is_part_of_its_stamp(project: Path, change: Callable[[Path], object]) -> None:
    page = project / "book" / "one.md"
    before = stamps.sources(project, page, {"profile": "quick"})
    assert before == stamps.sources(project, page, {"profile": "quick"})
    assert before != stamps.sources(project, page, {"profile": "workstation"})
    change(project)
    assert before != stamps.sources(project, page, {"profile": "quick"})


def test_a_data_set_that_appears_changes_the_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEAVYTAIL_DATA", str(tmp_path))
    without = stamps.data_sets()
    (tmp_path / "ecg5000.npz").write_bytes(b"found, though not sound")
    with_it = stamps.data_sets()
    assert [name for name in with_it if with_it[name] != without[name]] == ["the data set ecg5000"]


@pytest.mark.long
def test_a_cell_that_raises_is_named_and_the_former_notebook_stays(project: Path) -> None:
    run_all()
    notebook = executed(project, "quick", project / "book" / "one.md")
    good = notebook.read_bytes()
    (project / "book" / "one.md").write_text(CHAPTER.replace("print(", "assert width == 4, 'too thin'\nprint("))
    with pytest.raises(page.ChapterFailed, match=r"one\.md: cell 2 .*AssertionError: too thin.*one\.failed\.ipynb"):
        run_all()
    assert notebook.read_bytes() == good
    assert "AssertionError" in notebook.with_suffix(".failed.ipynb").read_text()
    assert main(["run"]) == 1  # the failure is not forgotten

    (project / "book" / "one.md").write_text(CHAPTER)
    run_all()
    assert not list(notebook.parent.glob("*.failed.ipynb"))


@pytest.mark.long
def test_a_chapter_that_fails_leaves_the_others_done(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "FEWEST", 5)  # these import nothing, and a warm kernel imports for ten seconds
    for name in ("two", "three"):
        (project / "book" / f"{name}.md").write_text(CHAPTER.replace("print(", f"assert width, '{name}'\nprint("))
    (project / "book" / "bad.md").write_text(CHAPTER.replace("print(", "raise OSError('no')\nprint("))
    with (project / "_toc.yml").open("a") as contents:
        contents.writelines(f"- file: book/{name}\n" for name in ("two", "bad", "three"))
    with pytest.raises(page.ChapterFailed, match=r"^book/bad\.md: cell 2 .*OSError: no;.*bad\.failed\.ipynb$"):
        run_all()
    assert "/4] bad: ran (never run), failed" in capsys.readouterr().out
    (project / "book" / "bad.md").write_text(CHAPTER)
    assert [page.stem for page in run_all()] == ["one", "two", "bad", "three"]
    again = capsys.readouterr().out.splitlines()
    assert again[1:4] == ["  one: up to date", "  two: up to date", "  three: up to date"]
    assert again[4].startswith("  [ 1/1] bad: ran (never run), ")


@pytest.mark.long
def test_a_chapters_threads_do_not_depend_on_how_many_run_beside_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = "\n```{code-cell}\nimport os\nprint(os.environ['OMP_NUM_THREADS'])\n```\n"
    (project / "book" / "one.md").write_text(CHAPTER + asks)
    (project / "book" / "two.md").write_text(CHAPTER + asks)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    alone = run_all()
    with (project / "_toc.yml").open("a") as contents:
        contents.write("- file: book/two\n")
    (project / "book" / "one.md").write_text(CHAPTER + asks + "\n")
    beside = run_all()
    for chapter in alone + beside:
        assert outputs(executed(project, "quick", chapter)) == "quick 6\n1\n"
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert share_of_threads() == {"OMP_NUM_THREADS": "2"}
    assert "OMP_NUM_THREADS" not in os.environ


def test_where_the_path_of_a_socket_would_be_too_long_a_kernel_takes_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sockets.of_a_kernel() as settings:
        assert settings["transport"] == "ipc"
        folder = Path(settings["connection_file"]).parent
        assert folder.is_dir()
    assert not folder.exists()
    (tmp_path / ("a" * 100)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("a" * 100)))
    with sockets.of_a_kernel() as settings:
        assert settings == {}


@pytest.mark.long
def test_one_chapter_runs_with_a_readers_parameters(project: Path, tmp_path: Path) -> None:
    made = run_one("book/one.md", tmp_path / "mine.ipynb", {"width": 50, "profile": "quick"})
    assert outputs(made) == "quick 100\n"
    assert "# This run was given\\nwidth = 50\\n" in made.read_text().replace('\\n",\n    "', "\\n")
    assert not (project / "_build" / "chapters" / "quick").exists()


@pytest.mark.long
def test_a_notebook_may_have_braces_in_its_name(project: Path, tmp_path: Path) -> None:
    assert outputs(run_one("one", tmp_path / "{x}.ipynb")) == "quick 6\n"
    assert [path.name for path in tmp_path.glob("*.ipynb")] == ["{x}.ipynb"]


@pytest.mark.parametrize("name", ["mine.ipynb", "mine.failed.ipynb"])
@pytest.mark.parametrize("target", [None, "/dev/full", "mine.ipynb"], ids=["a pipe", "a device", "a link to itself"])
def test_a_notebook_that_could_not_be_written_is_refused_before_the_chapter_runs(
    project: Path, target: str | None, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if target is None:
        os.mkfifo(name)
    else:
        Path(name).symlink_to(name if target == "mine.ipynb" else target)
    (project / "book" / "one.md").write_text(CHAPTER + "\n```{code-cell}\nopen('ran', 'w')\n```\n")
    assert cli.main(["chapter", "one", "-o", "mine.ipynb"]) == 2
    place = Path(name) if name == "mine.ipynb" else Path(name).absolute()
    said = capsys.readouterr().err
    assert said.startswith(f"heavytail: {place} cannot be written (")
    assert said.count("\n") == 1
    assert not list(project.rglob("ran"))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"widht": 4}, r"no parameter widht; its parameters: profile, width, rate"),
        ({"width": "wide"}, r"width is of type int \(its default is 3\), and 'wide' is not"),
        ({"width": True}, r"width is of type int"),
        ({"profile": "laptop"}, r"no profile 'laptop'; the profiles are quick, workstation, paper"),
    ],
)
def test_a_wrong_parameter_is_an_error_that_says_what_is_right(
    project: Path, parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run_one("one", None, parameters)
    assert not (project / "_build" / "chapters" / "custom").exists()


def test_values_equal_to_the_defaults_are_not_injected(project: Path) -> None:
    notebook = page.read(project / "book" / "one.md")
    given = {"profile": "workstation", "width": 3, "rate": 1}
    assert page.changed_parameters(Path("one.md"), notebook, given) == {"profile": "workstation", "rate": 1}


def test_a_code_block_that_is_not_a_cell_is_not_run(project: Path) -> None:
    assert not page.has_code(page.read(project / "book" / "index.md"))


def test_a_listed_page_that_is_missing_is_named(project: Path) -> None:
    (project / "_toc.yml").write_text("root: book/index\nparts:\n- chapters:\n  - file: book/two\n")
    with pytest.raises(ValueError, match="lists book/two"):
        page.pages(project)


def test_pages_come_in_the_order_of_the_parts(project: Path) -> None:
    (project / "_toc.yml").write_text(
        "root: book/index\nparts:\n"
        "- caption: First\n  chapters:\n  - file: book/two\n- caption: Then\n  chapters:\n  - file: book/one\n"
    )
    (project / "book" / "two.md").write_text("# Two\n")
    assert [found.stem for found in page.pages(project)] == ["index", "two", "one"]


def test_every_page_of_the_book_stands_in_one_part_that_has_a_name() -> None:
    contents = page.need("yaml").safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    assert contents.keys() == {"format", "root", "parts"}
    assert all(part.keys() == {"caption", "chapters"} and len(part["chapters"]) for part in contents["parts"])
    listed = [found.stem for found in page.pages(ROOT)]
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "book").glob("*.md"))
    assert listed[:2] == ["index", "story"]


def test_the_root_is_found_from_below_and_its_absence_is_said(project: Path, tmp_path: Path) -> None:
    below = project / "_build" / "chapters" / "quick"
    below.mkdir(parents=True)
    assert page.project_root(below) == project
    with pytest.raises(ValueError, match=r"no project at or above .*: go to the folder with _toc\.yml"):
        page.project_root(tmp_path)


@pytest.mark.long
def test_the_assembled_book_holds_runs_for_chapters_and_nothing_of_this_machine(project: Path) -> None:
    (project / "book" / "one.md").write_text(
        CHAPTER + "\nBack to [index](index.md), `one.md`, [me](one.md#a-chapter).\n"
    )
    run_all()
    source = build.assemble()
    (source / "book" / "stale.md").write_text("gone from the book")
    assert build.assemble() == source
    found = sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
    assert found == ["_config.yml", "_toc.yml", "book/index.md", "book/one.ipynb", "runs.json"]
    (ran,) = json.loads((source / "runs.json").read_text()).items()
    assert ran == ("book/one", asdict(stamps.ran(executed(project, "quick", project / "book" / "one.md"))))
    assert 0 < ran[1]["seconds"] < 600
    assert "[one](one.ipynb)" in (source / "book" / "index.md").read_text()
    text = (source / "book" / "one.ipynb").read_text()
    assert "[index](index.md), `one.md`, [me](one.ipynb#a-chapter)" in text
    assert str(project.parent) not in text
    assert os.fspath(Path.home()) not in text
    notebook = json.loads(text)
    assert "papermill" not in notebook["metadata"]
    assert all(cell["metadata"].keys() <= {"tags"} for cell in notebook["cells"])


@pytest.mark.long
def test_a_chapter_runs_the_same_again_and_one_that_gives_other_outputs_fails_the_check(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chapter = project / "book" / "one.md"
    hides = CELL.format("width;")  # a value hidden here is hidden there
    # A kernel takes no ports, here nor there: of two that start at once the second may find its own taken, and hangs.
    asks = CELL.format("import ipykernel\nprint(ipykernel.get_connection_info(unpack=True)['transport'])")
    chapter.write_text(CHAPTER + hides + asks)
    assert build.check() == 1
    assert "the same outputs again" in capsys.readouterr().out
    assert outputs(executed(project, "quick", chapter)).endswith("\nipc\n")
    assert build.check() == 1
    assert "compared before, unchanged" in capsys.readouterr().out

    notebook = executed(project, "quick", chapter)
    inputs = json.loads(notebook.with_suffix(".stamp.json").read_text())["inputs"]
    notebook.write_text(notebook.read_text().replace("quick 6", "quick 7"))
    stamps.write(notebook, inputs)  # as if the run itself had printed 7
    with pytest.raises(page.ChapterFailed, match="do not give the same outputs: one"):
        build.check()
    assert "quick 7" in capsys.readouterr().out
    assert not stamps.checked(notebook)


@pytest.mark.parametrize(
    ("cell", "shows"),
    [
        ("import pandas as pd", True),
        ("from heavytail.evidence import claims\nfrom heavytail.book import page, tables", True),
        ("from heavytail.lab import results", True),
        ("from heavytail.lab.results import FAILED", True),
        ("from heavytail import laws\nfrom heavytail.lab.runs import Run", True),
        ("from heavytail.lab import bench", False),
        ("print(1)", False),  # who knows
        ("import heavytail", False),
        ("from heavytail import train", False),
        ("from heavytail.lab import results, trainer", False),
        ("from heavytail.lab.results_of_today import FAILED", False),
        ("import pandas as pd, numpy", False),
        ("def later():\n    import torch", False),
    ],
)
def test_a_chapter_only_shows_what_is_committed_if_it_imports_nothing_that_computes(
    project: Path, cell: str, shows: bool
) -> None:
    (project / "book" / "one.md").write_text(CHAPTER + CELL.format(cell))
    assert page.only_shows(page.read(project / "book" / "one.md")) == shows


@pytest.mark.long
def test_a_chapter_that_only_shows_what_is_committed_is_run_twice_when_asked_for(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[list[str]] = []

    def noted(notebooks: dict[Path, Path], root: Path, how: str) -> dict[Path, Path]:
        compared.append([page.stem for page in notebooks])
        return {}

    monkeypatch.setattr(build, "_different", noted)
    (project / "book" / "one.md").write_text(CHAPTER + CELL.format("import pandas as pd"))
    monkeypatch.chdir(project)
    assert main(["check"]) == main(["check", "--all"]) == 0
    assert compared == [[], ["one"]]
    assert "one: only shows what is committed, so it is not run twice" in capsys.readouterr().out


CELL = "\n```{{code-cell}}\n{}\n```\n"


def two_chapters(project: Path, one: str, two: str) -> None:
    """Chapters with one more cell each."""
    (project / "book" / "one.md").write_text(CHAPTER + CELL.format(one))
    (project / "book" / "two.md").write_text(CHAPTER + CELL.format(two))
    with (project / "_toc.yml").open("a") as contents:
        contents.write("- file: book/two\n")


@pytest.mark.long
def test_numbers_without_a_seed_and_an_order_by_chance_fail_the_check(project: Path) -> None:
    two_chapters(project, "import numpy\nnumpy.random.random()", "print({str(number) for number in range(100)})")
    with pytest.raises(page.ChapterFailed, match=r"do not give the same outputs: (one, two|two, one)$"):
        build.check()


@pytest.mark.long
def test_a_chapter_that_differs_once_is_flaky_if_it_is_compared_again(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = "with open({!r}, 'a+') as file:\n    print('.', end='', file=file)\n    print(file.tell() {})"
    two_chapters(project, count.format(str(project / "a"), "== 2"), count.format(str(project / "b"), "> 1"))
    with pytest.raises(page.ChapterFailed, match=r"do not give the same outputs: two$"):
        build.check(again=True)
    assert re.findall("FLAKY.*", capsys.readouterr().out) == ["FLAKY: book/one.md"]


@pytest.mark.long
def test_a_warning_in_a_page_fails_every_build_and_leaves_the_former_pages(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build.build()
    good = first.parent / "book" / "one.html"
    assert "quick 6" in good.read_text()
    made = good.stat().st_mtime_ns
    assert build.build() == first
    assert good.stat().st_mtime_ns == made  # nothing changed, nothing built
    index = project / "book" / "index.md"
    index.write_text(index.read_text() + "\nSee {ref}`nowhere`.\n")
    made_by = build._jupyter_book  # the other form would fail in the same way, which takes seconds each
    monkeypatch.setattr(build, "_jupyter_book", lambda *given: made_by(*given) if "html" in given else first.parent)
    for _ in range(2):
        with pytest.raises(page.ChapterFailed, match="were not built"):
            build.build()
    assert good.is_file()


def test_named_numbers_reach_the_page_as_plain_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    import myst_nb

    said: dict[str, object] = {}
    monkeypatch.setattr(myst_nb, "glue", lambda key, value, display: said.update({key: value}))
    page.say(slope=np.float32(0.5), count=np.int64(3), who="quick")
    assert {key: (type(value), value) for key, value in said.items()} == {
        "slope": (float, 0.5),
        "count": (int, 3),
        "who": (str, "quick"),
    }


@pytest.mark.parametrize("value", [torch.tensor(1.0), [1], None, True])
def test_only_numbers_and_texts_are_named(value: object) -> None:
    with pytest.raises(ValueError, match=r"say\(slope=\.\.\.\): a \w+ is neither a number nor a text"):
        page.say(slope=value)  # type: ignore[arg-type]


def test_a_number_that_is_not_finite_is_not_put_into_a_sentence() -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        page.say(slope=float("nan"))


def test_chapters_are_written_as_notebooks_that_fetch_the_project(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEAVYTAIL_REPOSITORY", raising=False)
    with pytest.raises(ValueError, match="name it in HEAVYTAIL_REPOSITORY"):
        build.notebooks(project)
    monkeypatch.setenv("HEAVYTAIL_REPOSITORY", "https://github.com/someone/project")
    (path,) = build.notebooks(project)
    assert path == project / "_build" / "notebooks" / "one.ipynb"
    codes = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert "git clone --quiet --depth 1 https://github.com/someone/project project" in codes[0]
    assert '%pip install --quiet ".[book]"' in codes[0]  # the wheel has no book: it is imported from the clone
    assert "sys.path.insert(0, os.getcwd())" in codes[0]
    assert codes[2] == "print(profile, width * 2)"


ROOT = HERE.parent
COMMAND = re.compile(r"heavytail chapter (\w+)((?: -p \w+=[^\s`]+)*)")
COMMANDS = [
    (place.name, *found.groups())
    for place in [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md"))]
    for found in COMMAND.finditer(place.read_text(encoding="utf-8"))
    if found[1] != "momentum"  # the made-up one of the recipes
]


@pytest.mark.parametrize(("place", "name", "options"), COMMANDS)
def test_a_command_that_a_page_offers_names_a_chapter_and_its_parameters(place: str, name: str, options: str) -> None:
    chapter = ROOT / "book" / f"{name}.md"
    given = dict(cli._assignment(option) for option in options.split() if option != "-p")
    changed = page.changed_parameters(chapter, page.read(chapter), given)
    assert changed == given, f"{place}: what it offers to change is the default"


def test_every_chapter_with_parameters_offers_a_command() -> None:
    offered = {name for place, name, _ in COMMANDS if place == f"{name}.md"}
    has = {chapter.stem for chapter in page.pages(ROOT) if page.parameters_of(page.read(chapter))}
    assert has - offered == {"claims", "performance"}  # they show what others computed
