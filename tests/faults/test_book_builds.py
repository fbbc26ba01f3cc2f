"""The book under faults: two builds at once, builds that are killed, data that come too late, paths that are shown."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_counts import ONE_SENTENCE, UNDISTURBED, Tried, some

from heavytail.book import alone, build, children, in_place, page, stamps
from heavytail.book.__main__ import main
from heavytail.book.run import executed, run_all

ROOT = Path(__file__).parents[2]
PATIENCE = 240  # seconds; a busy machine takes long
FRONT = "---\nkernelspec:\n  name: python3\n  display_name: Python 3\n---\n\n# A chapter\n\n"
CELL = "```{{code-cell}}\n{}\n```\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one plain page and one chapter that imports nothing, and a data folder that is empty."""
    root = tmp_path / "project"
    for folder in ("book", "heavytail", "data", "tests"):
        (root / folder).mkdir(parents=True)
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n- file: book/one\n")
    (root / "_config.yml").write_text(
        'title: T\nonly_build_toc_files: true\nexecute:\n  execute_notebooks: "off"\n'
        "sphinx:\n  extra_extensions: [sphinx-mathjax-offline]\n"
    )
    (root / "requirements.txt").write_text("nothing==1\n")
    (root / "book" / "index.md").write_text("# Index\n\nSee [one](one.md).\n")
    (root / "book" / "one.md").write_text(FRONT + CELL.format("print('first')"))
    shutil.copytree(ROOT / "tests" / "notebooks", root / "tests" / "notebooks")
    (tmp_path / "given").mkdir()
    monkeypatch.setenv("HEAVYTAIL_DATA", str(tmp_path / "given"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]))
    monkeypatch.chdir(root)
    return root


def chapter(project: Path, *cells: str) -> Path:
    place = project / "book" / "one.md"
    place.write_text(FRONT + "\n".join(map(CELL.format, cells)))
    return place


def below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its content; the lock is no content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "book.lock"
    }


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


# two at once

COMMANDS = ["build", "run", "check", "notebooks"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_command_says_that_a_build_is_at_it_and_touches_nothing(
    command: str, project: Path, capsys: pytest.CaptureFixture[str], tried: Tried
) -> None:
    (project / "_build" / "html").mkdir(parents=True)
    (project / "_build" / "html" / "index.html").write_text("former")
    before = below(project)
    with alone.alone(project):
        assert main([command]) == 2
    told = capsys.readouterr()
    assert re.fullmatch(r"heavytail: another build of the book is at it .*book\.lock.*: wait .*\n", told.err)
    assert told.out == ""
    assert below(project) == before
    tried("book builds", ONE_SENTENCE)


def test_the_project_is_free_again_after_a_command_and_after_one_that_fails(project: Path) -> None:
    with alone.alone(project):
        pass
    with pytest.raises(ValueError, match="no profile"):
        run_all("laptop")
    with alone.alone(project):
        assert (project / "_build" / "book.lock").is_file()
    assert not (project / "_build" / "book.lock").exists()


def test_of_two_builds_at_once_one_builds_and_the_other_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried
) -> None:
    at_it, go_on, done = threading.Event(), threading.Event(), []

    def slowly(profile: str, root: Path) -> Path:
        at_it.set()
        assert go_on.wait(PATIENCE)
        return root / "built"

    monkeypatch.setattr(build, "run_stale", lambda profile, root: [])
    monkeypatch.setattr(build, "_build", slowly)
    first = threading.Thread(target=lambda: done.append(build.build()))
    first.start()
    assert at_it.wait(PATIENCE)
    with pytest.raises(alone.Busy, match="another build"):
        build.build()
    go_on.set()
    first.join()
    assert done == [project / "built"]
    assert build.build() == project / "built"
    tried("book builds", ONE_SENTENCE)


# killed


@contextmanager
def started(project: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command of the book in a process of its own, whose whole family can be told by a variable.

    It hears Ctrl-C, also where the tests run in the background and do not.
    """
    environment = os.environ | {"FAMILY": str(project)}
    hears = "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    starts = "from heavytail.book.__main__ import command\nsys.exit(command())"
    process = subprocess.Popen(
        [sys.executable, "-c", hears + starts, *command],
        cwd=project,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def family(project: Path) -> list[str]:
    """What the living processes of that family were started as. Linux alone tells."""
    told = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if f"FAMILY={project}".encode() in (place / "environ").read_bytes().split(b"\0"):
                told.append((place / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # ended meanwhile, or another user's
            continue
    return told


on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc who is alive")
# Where a build is killed, as something that one of its processes is then, and the signal.
WAITS = "import pathlib, time\npathlib.Path({!r}).touch()\ntime.sleep(1000)"
ONCE = "import pathlib\nran = pathlib.Path({!r})\nif ran.exists():\n    {}\nran.touch()"
KILLS = [
    ("sphinx", signal.SIGKILL),
    ("chapter", signal.SIGKILL),
    ("sphinx", signal.SIGTERM),
    ("sphinx", signal.SIGINT),
    ("chapter", signal.SIGTERM),
    ("compared", signal.SIGKILL),
]


@on_linux
@pytest.mark.long
@pytest.mark.parametrize(("where", "number"), some(KILLS, len(KILLS)))
def test_a_killed_build_takes_its_children_along_and_leaves_the_former_pages(
    where: str,
    number: signal.Signals,
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tried: Tried,
) -> None:
    html = made(project / "_build" / "html", "former")
    sign = tmp_path / "reached"
    if where == "sphinx":  # an extension that stops at its import
        (project / "slow.py").write_text(WAITS.format(str(sign)))
        config = (project / "_config.yml").read_text()
        (project / "_config.yml").write_text(config.replace("offline]", "offline, slow]"))
    elif where == "chapter":  # one of two, each in a process of its own
        chapter(project, WAITS.format(str(sign)))
        (project / "book" / "two.md").write_text(FRONT + CELL.format("print(2)"))
        (project / "_toc.yml").write_text((project / "_toc.yml").read_text() + "- file: book/two\n")
    else:  # the second run of a chapter, by nbval
        chapter(project, ONCE.format(str(tmp_path / "ran"), WAITS.format(str(sign)).replace("\n", "\n    ")))
    os.environ["PYTHONPATH"] += os.pathsep + str(project)
    with started(project, "check" if where == "compared" else "build") as process:
        wait_for(sign.exists)
        process.send_signal(number)
        process.wait(PATIENCE)
        wait_for(lambda: not family(project))
    assert below(html) == {"index.html": b"former"}
    left = [path for path in (project / "_build" / "book" / "quick").glob("*") if path.is_dir()]

    config = (project / "_config.yml").read_text()
    (project / "_config.yml").write_text(config.replace("offline, slow]", "offline]"))
    chapter(project, "print('second')")
    made_by = build._jupyter_book  # the other form goes the same way, and takes seconds more
    monkeypatch.setattr(build, "_jupyter_book", lambda *given: made_by(*given) if "html" in given else html)
    monkeypatch.setattr(build.single_page, "of", lambda folder: "the book in one file")
    assert "second" in (build.build().parent / "book" / "one.html").read_text()
    assert not any(path.exists() for path in left)
    assert [path.name for path in (project / "_build" / "book" / "quick").iterdir()] == ["built"]
    tried("book builds", UNDISTURBED)


def test_a_child_ends_when_the_block_does_by_an_exception(tmp_path: Path, tried: Tried) -> None:
    sign = tmp_path / "reached"
    (tmp_path / "waits.py").write_text(WAITS.format(str(sign)))
    ended: list[subprocess.CompletedProcess[str]] = []

    def run(group: children.Children) -> None:
        ended.append(children.run(str(tmp_path / "waits.py"), [], group, folder=tmp_path, environment=os.environ))

    with pytest.raises(KeyboardInterrupt), children.children(1) as group:  # noqa: PT012
        group.threads.submit(run, group)
        group.threads.submit(run, group)  # waits for the first, and never starts
        wait_for(sign.exists)
        raise KeyboardInterrupt
    assert [done.returncode for done in ended] == [1]
    tried("book builds", UNDISTURBED)


def test_a_child_says_what_it_said_and_gets_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "says.py").write_text("import sys\nprint(sys.argv[1:], repr(sys.stdin.read()))\nsys.exit(3)")
    with children.children(1) as group:
        done = children.run(str(tmp_path / "says.py"), ["a", "-b"], group, folder=tmp_path, environment=os.environ)
        module = children.run("json.tool", ["--help"], group, folder=tmp_path, environment=os.environ)
    assert (done.returncode, done.stdout) == (3, "['a', '-b'] ''\n")
    assert module.returncode == 0
    assert "json" in module.stdout


# the move


def made(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(text)
    return folder


@pytest.mark.parametrize("trades", [True, False])
def test_pages_are_put_in_the_place_of_others(trades: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not trades:
        monkeypatch.setattr(in_place, "_traded", lambda one, other: False)
    home, place = tmp_path / "home", tmp_path / "html"
    for text in ("first", "second"):
        with in_place.work_folder(home, place) as work:
            in_place.put(made(work / "new", text), place, work)
        assert (place / "index.html").read_text() == text
        assert list(home.iterdir()) == []


@pytest.mark.parametrize("moment", [1, 2])
def test_a_build_killed_in_the_middle_of_the_move_loses_no_pages(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Tried
) -> None:
    """Where folders cannot trade places: killed before the first move, or between the two."""
    home, place = tmp_path / "home", made(tmp_path / "html", "former")
    left = home / "work-killed"
    new = made(left / "new", "new")
    moves, move = [], os.replace

    class Killed(BaseException):
        pass

    def until_killed(source: Path, target: Path) -> None:
        moves.append(target)
        if len(moves) == moment:
            raise Killed
        move(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(in_place, "_traded", lambda one, other: False)
        patched.setattr(os, "replace", until_killed)
        with pytest.raises(Killed):
            in_place.put(new, place, left)
    assert place.exists() == (moment == 1)
    with in_place.work_folder(home, place):
        assert (place / "index.html").read_text() == "former"
    assert not left.exists()
    tried("book builds", UNDISTURBED)


@on_linux
def test_folders_trade_places_here(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one", "one"), made(tmp_path / "other", "other")
    if not in_place._traded(one, other):
        pytest.skip("this file system cannot")
    assert ((one / "index.html").read_text(), (other / "index.html").read_text()) == ("other", "one")


# what a stamp says

ARRIVES = "import os, pathlib\n(pathlib.Path(os.environ['HEAVYTAIL_DATA']) / 'ecg5000.npz').write_bytes(b'came')"


@pytest.mark.long
def test_a_data_set_that_arrives_while_a_chapter_runs_makes_it_stale(
    project: Path, capsys: pytest.CaptureFixture[str], tried: Tried
) -> None:
    looks = "import os\nprint(os.listdir(os.environ['HEAVYTAIL_DATA']))\n"
    chapter(project, looks + ARRIVES)
    run_all()
    told = capsys.readouterr().out
    assert "the data set ecg5000 changed meanwhile, so the next build runs it again" in told
    stamp = json.loads(executed(project, "quick", project / "book" / "one.md").with_suffix(".stamp.json").read_text())
    assert stamp["changed"] == ["the data set ecg5000"]
    monkey = pytest.MonkeyPatch()
    with monkey.context() as without:
        without.setenv("HEAVYTAIL_DATA", str(project / "data"))
        assert stamp["inputs"]["the data set ecg5000"] == stamps.data_sets()["the data set ecg5000"]
    held = stamps.data_sets()
    (project.parent / "given" / "ecg5000.npz").write_bytes(b"came")
    assert held.keys() == stamps.data_sets().keys()

    chapter(project, looks + ARRIVES)  # as it was: nothing else changed
    run_all()
    assert "ran (the data set ecg5000 changed while it ran)" in capsys.readouterr().out
    tried("book builds", UNDISTURBED)


@pytest.mark.long
def test_a_module_that_is_edited_while_a_chapter_waits_its_turn_is_the_one_that_ran(
    project: Path, capsys: pytest.CaptureFixture[str], tried: Tried
) -> None:
    """One chapter after the other: the first edits what the second reads, long before the second begins."""
    (project / "heavytail" / "room.py").write_text("x = 1\n")
    edits = "import pathlib\npathlib.Path({!r}).write_text('x = 2\\n')"
    chapter(project, edits.format(str(project / "heavytail" / "room.py")))
    (project / "book" / "two.md").write_text(FRONT + CELL.format("print(2)"))
    with (project / "_toc.yml").open("a") as contents:
        contents.write("- file: book/two\n")
    monkey = pytest.MonkeyPatch()
    with monkey.context() as one_core:
        one_core.setattr(os, "cpu_count", lambda: 1)
        run_all()
        capsys.readouterr()
        run_all()
    told = capsys.readouterr().out
    assert "one: ran (heavytail/room.py changed while it ran)" in told
    assert "two: up to date" in told
    tried("book builds", UNDISTURBED)


def test_a_note_of_a_change_outlives_the_note_of_a_comparison(tmp_path: Path) -> None:
    notebook = tmp_path / "one.ipynb"
    notebook.write_text("{}")
    ran = stamps.Ran("2026-03-02", 1.5)
    stamps.write(notebook, {"a": "1"}, ["a"], ran=ran)
    stamps.mark_checked(notebook, "by nbval")
    assert stamps.checked(notebook) == "by nbval"
    assert stamps.ran(notebook) == ran
    assert stamps.why_stale(notebook, {"a": "1"}) == "a changed while it ran"


DAMAGED = ["", "[]", "null", "{", '{"inputs": []}', '{"inputs": {}, "changed": 3}', '{"inputs": null}', '"text"']


@pytest.mark.parametrize("text", some(DAMAGED, 3))
def test_a_damaged_stamp_stands_for_nothing(text: str, tmp_path: Path, tried: Tried) -> None:
    notebook = tmp_path / "one.ipynb"
    notebook.write_text("{}")
    notebook.with_suffix(".stamp.json").write_text(text)
    assert stamps.why_stale(notebook, {}) == "never run"
    assert stamps.ran(notebook) is None
    tried("book builds", UNDISTURBED)


# traces of a machine

PRINTS = {
    "the project's folder": "print({project!r})",
    "the data folder": "import os\n'in ' + os.environ['HEAVYTAIL_DATA']",
    "the home folder": "import os, sys\nprint(os.path.expanduser('~/x'), file=sys.stderr)",
    "the temporary folder": "import warnings\nwarnings.warn('from a file of the kernel')",
}


@pytest.mark.long
@pytest.mark.parametrize("what", some(list(PRINTS), 2))
def test_a_chapter_that_shows_a_path_of_this_machine_fails_and_the_former_page_stays(
    what: str, project: Path, tried: Tried
) -> None:
    run_all()
    notebook = executed(project, "quick", project / "book" / "one.md")
    good = notebook.read_bytes()
    chapter(project, "1 + 1", PRINTS[what].format(project=str(project)))
    with pytest.raises(page.ChapterFailed, match=rf"book/one\.md: what cell 2 shows names {what} of this machine"):
        run_all()
    assert notebook.read_bytes() == good
    tried("book builds", ONE_SENTENCE)
