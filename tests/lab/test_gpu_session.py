"""One call on a machine with a GPU, rehearsed on the CPU: parts in their order, cut to the time, and gone on with."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
import torch

from heavytail import cli, grid, version
from heavytail.lab import bench, results, session, trainer
from heavytail.lab import store as stores
from heavytail.lab.bench import Figure, on_gpu
from heavytail.lab.datasets import dataset
from heavytail.lab.machine import traces
from heavytail.lab.measuring import unfinished
from heavytail.lab.session import checks, earlier, figures, parts, report, tables
from heavytail.lab.session.tables import Plan, State, Table

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef"
SEEDS = """
[[tiny]]
dataset = "digits"
width = [5, 6]
lr = 0.1
max_steps = 3
noise = "shared"
alpha = [1.5, 1.9]
sigma = 0.01
seed = [2, 1]
"""
STUDY = """
study = "chaos"

[[tiny]]
alpha = 1.5
width = [4, 8]
steps = 2
repeats = 3
reference = 64
"""
TESTS = """
import pytest


@pytest.mark.gpu
@pytest.mark.parametrize("number", [1, 2])
def test_passes(number):
    pass


@pytest.mark.needs_cuda
def test_fails():
    assert 1 == 2, "one is not two"


@pytest.mark.gpu
def test_skips():
    pytest.skip("for a reason")


def test_of_no_gpu():
    raise SystemExit
"""


@pytest.fixture
def root(tmp_path):
    """A tree with a few tests and grids."""
    folder = tmp_path / "tree"
    (folder / "tests").mkdir(parents=True)
    (folder / "data" / "grids").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "outcomes.py", folder / "tests")
    (folder / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["gpu", "needs_cuda"]\n')
    (folder / "tests" / "test_few.py").write_text(TESTS)
    for name, text in {"b": SEEDS, "a": STUDY, "ecg5000": SEEDS.replace("digits", "ecg5000")}.items():
        (folder / "data" / "grids" / f"{name}.toml").write_text(text)
    return folder


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch, tmp_path):
    """A rehearsal with a known commit and without any data set but digits; no test outside sees its commit."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the parts' pytest starts in half the time
    (tmp_path / "no data").mkdir()
    monkeypatch.setenv("HEAVYTAIL_DATA", str(tmp_path / "no data"))
    monkeypatch.setenv(version.NAMED, COMMIT)
    monkeypatch.setattr(version, "commit_of", lambda file: None)
    version.described.cache_clear()
    yield
    version.described.cache_clear()


def of(root, device="cpu", **fields):
    given = {"profile": "tiny", "only": (), "code": version.described(), "end": time.time() + 60}
    given |= {"out": root / "out", "store": root / "store"}
    return parts.Session(root=root, device=device, **{**given, **fields})


# the whole


@pytest.mark.long
def test_a_call_does_its_parts_one_after_the_other_and_the_next_call_goes_on(root, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "cases", lambda session: ())
    said: list[str] = []
    call = {"minutes": 2, "profile": "tiny", "root": root, "say": said.append}
    with pytest.raises(RuntimeError, match=r"^1 tests failed: .*summary\.md names them$"):
        session.run(tmp_path / "out", tmp_path / "store", **call)
    assert [line.partition(":")[0] for line in said[1:4]] == ["tests", "figures", "tables"]
    assert said[1].startswith("tests: 1 failed, 2 passed, 1 skipped, after")
    assert said[3].startswith("tables: 10 of 10 runs or simulations finished")
    out = {path.name for path in (tmp_path / "out").iterdir()}
    assert out == {"summary.md", "session.json", "tests.json", "bench.json", "tables.zip", "log.txt"}
    page = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert "A rehearsal on a CPU" in page
    assert "test_fails`: AssertionError: one is not two" in page
    assert "* ecg5000 is not here: it is not in " in page
    assert "All is done" in page
    assert _traces(tmp_path / "out", root) == []
    with zipfile.ZipFile(tmp_path / "out" / "tables.zip") as archive:
        assert archive.namelist() == ["tiny/b.parquet", "tiny/a.parquet"]
        archive.extractall(tmp_path)
    table = results.read_table(tmp_path / "tiny" / "b.parquet")
    assert len(table) == 8
    assert all(re.fullmatch(r"\d+\.\d+\.\d+\+[0-9a-f]{7,}(-dirty)?", code) for code in table["code"])
    assert results.read_table(tmp_path / "tiny" / "a.parquet")["key"].nunique() == 2

    machine = json.loads((tmp_path / "store" / "machine.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(parts, "machine", lambda session: machine)
    monkeypatch.setattr(parts, "call", None)  # nothing is begun again
    with pytest.raises(RuntimeError, match="1 tests failed"):
        session.run(tmp_path / "out 2", tmp_path / "store", **call)
    pages = [(tmp_path / out / "tests.json").read_text(encoding="utf-8") for out in ("out", "out 2")]
    assert pages[0] == pages[1]


@pytest.mark.parametrize("left", [3.0, 20.0, 59.0, 106.0, 400.0, 3000.0])
def test_runs_in_the_middle_are_kept_often_and_for_the_last_time_just_before_the_end(left):
    every = tables._every(left)
    last = left // every * every
    assert every <= tables.OFTEN
    assert left - tables.SPARE <= last + 1e-6
    assert last < left
    assert left - last >= min(tables.SPARE, left / 4) - 1e-6


# what is asked for


def test_without_cuda_one_sentence_says_so_and_the_exit_status_is_2(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("TRITON_INTERPRET")
    assert cli.main(["gpu", "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"heavytail: there is no CUDA device for torch \S+: call it on .*PROFILE=quick\n", said)
    assert not (tmp_path / "out").exists()


WRONG = [
    ({"minutes": 0}, r"^MINUTES must be above 0, got 0$"),
    ({"minutes": float("nan")}, r"^MINUTES must be above 0, got nan$"),
    ({"profile": "papers"}, r"has a profile 'papers': choose PROFILE=paper, quick or workstation$"),
    ({"only": ("mnist",)}, r"^profile 'tiny' has no table 'mnist': it has a, b, ecg5000$"),
    ({"commit": "main"}, r"^HEAVYTAIL_COMMIT must name a commit by 7 to 40 hexadecimal digits, not 'main'$"),
    ({"root": Path("/")}, r"^/ has no tests and grids: they are in the repository and not in the package"),
]


@pytest.mark.parametrize(("wrong", "sentence"), WRONG, ids=[next(iter(wrong)) for wrong, _ in WRONG])
def test_what_cannot_be_done_is_said_before_anything_is(wrong, sentence, root, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        session.run(tmp_path / "out", tmp_path / "store", **{"profile": "tiny", "root": root, **wrong})
    assert not (tmp_path / "store").exists()


def test_rows_without_a_commit_are_refused(root, tmp_path, monkeypatch):
    monkeypatch.delenv(version.NAMED)
    with pytest.raises(ValueError, match=r"^nobody could say which code made the rows: name its commit by COMMIT="):
        session.run(tmp_path / "out", tmp_path / "store", profile="tiny", root=root)


def test_two_calls_do_not_share_a_store(root, tmp_path):
    from heavytail.lab.machine import files

    (tmp_path / "store").mkdir()
    with files.locked(tmp_path / "store" / "session.lock"), pytest.raises(ValueError, match=r"^another call is at "):
        session.run(tmp_path / "out", tmp_path / "store", profile="tiny", root=root)


# the commit of a bare tree


@pytest.mark.parametrize("by", ["variable", "file"])
@pytest.mark.parametrize(
    ("named", "told"), [("0123456789", "0123456"), ("abcdef0", "abcdef0"), ("abcdef01-dirty\n", "abcdef0-dirty")]
)
def test_the_commit_of_a_bare_tree_is_named_by_a_variable_or_a_file(by, named, told, monkeypatch, tmp_path):
    _bare(tmp_path, monkeypatch, by, named)
    assert version.described() == f"{version.__version__}+{told}"


@pytest.mark.parametrize("by", ["variable", "file"])
def test_what_names_no_commit_is_refused(by, monkeypatch, tmp_path):
    _bare(tmp_path, monkeypatch, by, "v1.0")
    with pytest.raises(ValueError, match=r"must name a commit by 7 to 40 hexadecimal digits, not 'v1\.0'"):
        version.described()


def test_a_file_of_that_name_in_a_place_that_is_not_ours_names_nothing(monkeypatch, tmp_path):
    _bare(tmp_path, monkeypatch, "file", "abcdef0")
    (tmp_path / "pyproject.toml").unlink()
    assert version.described() == version.__version__


def _bare(folder, monkeypatch, by, named):
    monkeypatch.delenv(version.NAMED)
    monkeypatch.setattr(version, "__file__", str(folder / "heavytail" / "version.py"))
    (folder / "pyproject.toml").write_text("")
    if by == "file":
        (folder / "COMMIT").write_text(named)
    else:
        monkeypatch.setenv(version.NAMED, named)


# the tests


def test_every_test_that_asks_for_cuda_has_the_mark_by_which_make_gpu_finds_it():
    own = Path(__file__).name
    asking = re.compile(r"skipif\(\s*not torch\.cuda\.is_available")
    loose = [path.name for path in (ROOT / "tests").rglob("*.py") if asking.search(path.read_text("utf-8"))]
    assert set(loose) <= {own}
    marked = checks.wanted(ROOT)
    assert "gpu" in checks.marks(marked[0])
    assert len(marked) >= 10


@pytest.mark.long
def test_what_make_gpu_runs_is_collected_without_what_it_does_not_need(tmp_path):
    absent = (
        "hypothesis",
        "seaborn",
        "jupytext",
        "papermill",
        "pooch",
        "platformdirs",
        "certifi",
        "torchvision",
        "dask",
    )
    (tmp_path / "without.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({absent}))\n")
    paths = [str(path) for path in checks.wanted(ROOT) if path.name != Path(__file__).name]
    words = ["-m", checks.MARKS, "--collect-only", "-q", "-p", "without", "-p", "no:cacheprovider"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, *paths], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    for name in ("test_gpu_kernels.py", "test_tails.py", "test_stable.py", "test_trainer.py"):
        assert f"{name}::" in done.stdout


def test_a_process_is_ended_when_its_time_is_over_and_not_begun_after_it(root):
    call = of(root)
    start = time.time()
    assert parts.call(call, ["-c", "import time; time.sleep(99)"], "log", start + 0.5) is None
    assert parts.call(call, ["-c", "raise SystemExit(7)"], "log", start + 60) == 7
    assert time.time() - start < 95  # it did not wait for the end
    assert parts.call(call, ["-c", "raise SystemExit(7)"], "log", start) is None


@pytest.mark.long
def test_a_test_that_ends_its_process_is_left_out_at_the_third_time_and_all_others_are_run(root):
    text = "import os\nimport pytest\npytestmark = pytest.mark.gpu\n"
    text += "def test_1(): pass\ndef test_2(): os.kill(os.getpid(), 9)\ndef test_3(): pass\n"
    (root / "tests" / "test_few.py").write_text(text)
    call = of(root)
    checks.run(call, "tag", call.end)
    assert [(t["test"][-1], t["outcome"]) for t in checks.outcomes(call, "tag")] == [
        ("1", "passed"),
        ("2", "begun"),
        ("3", "passed"),
    ]


@pytest.mark.long
def test_tests_that_were_cut_off_are_said_to_wait(root):
    (root / "tests" / "test_few.py").write_text("import pytest, time\n@pytest.mark.gpu\ndef test_1(): time.sleep(99)\n")
    call = of(root)
    start = time.time()
    checks.run(call, "tag", start + 3)
    assert checks.outcomes(call, "tag")[-1]["outcome"] == "waiting"
    assert not _report(tests=checks.outcomes(call, "tag")).done


@pytest.mark.long
@pytest.mark.parametrize(
    ("plugin", "tests", "why"),
    [
        ("import not_there\n", TESTS, "No module named 'not_there'"),
        (None, "import pytest\nimport not_there\npytest.mark.gpu\n", "1 error in"),
    ],
    ids=["nothing can be run", "a file cannot be read"],
)
def test_files_that_cannot_be_run_are_broken_and_tried_again_by_the_next_call(plugin, tests, why, root):
    (root / "tests" / "test_few.py").write_text(tests)
    if plugin is not None:
        (root / "tests" / "outcomes.py").write_text(plugin)
    call = of(root)
    checks.run(call, "tag", call.end)
    (told,) = checks.outcomes(call, "tag")
    assert told["outcome"] == "broken"
    assert why in told["why"]
    assert len(_report(tests=[told]).failures) == 1
    (root / "tests" / "test_few.py").write_text(TESTS)
    shutil.copy(ROOT / "tests" / "outcomes.py", root / "tests")
    checks.run(call, "tag", call.end)
    assert [test["outcome"] for test in checks.outcomes(call, "tag")] == ["passed", "passed", "failed", "skipped"]


def test_a_line_that_was_cut_off_is_left_out_and_those_after_it_are_read(tmp_path):
    place = tmp_path / "x.jsonl"
    assert parts.lines(place) == []
    parts.add_line(place, {"a": 1})
    with open(place, "a") as file:
        file.write('{"a": 2, "b')
    parts.add_line(place, {"a": 3})
    assert parts.lines(place) == [{"a": 1}, {"a": 3}]


# processes


def test_a_process_is_ended_with_those_that_it_started(root):
    call = of(root)
    child = "import os, subprocess, sys, time\nprint(os.getpid(), flush=True)\n"
    grandchild = f"subprocess.run([sys.executable, '-c', {child + 'time.sleep(99)'!r}])\n"
    log = root / "store" / "logs" / "log.txt"

    def stop_when_both_are_there():
        if len(log.read_text().split()) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parts.call(call, ["-c", child + grandchild], "log", call.end, meanwhile=stop_when_both_are_there, every=0)
    assert all(map(_goes, map(int, log.read_text().split())))


def test_a_part_ends_when_its_session_is_killed(root):
    waiting = "import os, time\nfrom heavytail import stopping\nstopping.follow(os.getppid())\n"
    waiting += "print(os.getpid(), flush=True)\ntime.sleep(99)\n"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {waiting!r}])\n"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    with subprocess.Popen([sys.executable, "-c", parent], env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
        process.wait()
        assert _goes(pid)


def _goes(pid: int) -> bool:
    """Whether a process ends within a minute: it is not there any more, or nobody has asked how it ended."""
    for _ in range(1200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("said", "why"), [("Traceback\nError: no driver\n", "Error: no driver"), ("", "not in its time")]
)
def test_a_device_that_does_not_answer_is_one_sentence(said, why, root, monkeypatch):
    def part(session, name, until, log, **options):
        (session.store / "logs").mkdir(parents=True)
        (session.store / "logs" / "machine.txt").write_text(said)
        return 1 if said else None

    monkeypatch.setattr(parts, "part", part)
    with pytest.raises(ValueError, match=rf"^device 'cuda' does not answer: {why}$"):
        parts.machine(of(root, device="cuda"))


# the figures


def _made_up(name, *, fails_after=None):
    def case(plan, device):
        for number in range(3):
            if number == fails_after:
                raise RuntimeError("cut off")
            yield Figure.of(name, f"case {number}", [1.0, 2.0 + number, 9.0], "ratio")

    return case


def test_figures_are_kept_as_they_come_and_replaced_when_they_are_measured_again(monkeypatch, tmp_path):
    place = tmp_path / "x.json"
    monkeypatch.setattr(on_gpu, "CASES", {"x": _made_up("first", fails_after=2)})
    with pytest.raises(RuntimeError, match="cut off"):
        figures.measure("x", "cpu", place)
    known = figures._read(place)
    assert (len(known["figures"]), known["ended"]) == (2, False)
    monkeypatch.setattr(on_gpu, "CASES", {"x": _made_up("first")})
    figures.measure("x", "cpu", place)
    known = figures._read(place)
    assert [figure["value"] for figure in known["figures"]] == [2.0, 3.0, 4.0]
    assert known["ended"]


def test_what_a_session_hands_back_of_its_figures_is_a_report_of_bench(tmp_path):
    figure = {"name": "a", "case": "b", "value": 1.0, "low": 0.5, "high": 2.0, "unit": "ratio"}
    known = {"x": {"figures": [figure], "ended": True, "tries": 1, "error": ""}}
    report.write(of(tmp_path), _report(figures=known))
    machine, read = bench.read(tmp_path / "out" / "bench.json")
    assert machine["device"] == "a made-up GPU"
    assert read.to_dict("records") == [figure]


def test_a_case_that_was_cut_off_twice_is_left_out(root, monkeypatch):
    monkeypatch.setattr(figures, "cases", lambda session: ("noise",))
    call = of(root)
    for _ in range(3):
        monkeypatch.setattr(parts, "part", lambda *_, **__: None)
        figures.run(call, "tag", call.end)
    known = figures.figures(call, "tag")
    assert known["noise"]["tries"] == figures.TRIES
    assert _report(figures=known).done


# the tables


def test_a_table_is_made_seed_by_seed_with_all_its_cells():
    cells = {"width": [5, 6], "noise": ["shared", "entrywise"], "alpha": 1.5, "sigma": 0.1}
    runs = grid(dataset="digits", lr=0.1, max_steps=2, **cells, seed=[3, 1, 2])
    batches = list(tables.batches(runs))
    assert [run for batch in batches for run in batch] == sorted(runs, key=lambda run: (run.seed, run.width))
    assert [len(batch) for batch in batches] == [2] * 6
    assert all(len({(run.seed, run.width) for run in batch}) == 1 for batch in batches)


def test_runs_of_different_shapes_are_not_trained_at_once():
    shapes = {"depth": [1, 2], "batch_size": [None, 5], "samples": [None, 9], "products": ["float32", "bfloat16"]}
    runs = grid(dataset="digits", width=5, lr=[0.1, 0.2], max_steps=2, **shapes)
    assert [len(batch) for batch in tables.batches(runs)] == [2] * 16


def test_tables_come_in_their_order_and_absent_data_is_named(root):
    plan = tables.plan(root / "data" / "grids", "tiny")
    assert [table.name for table in plan.tables] == ["ecg5000", "b", "a"]  # the paper's, then runs, then simulations
    assert plan.absent == {"ecg5000": f"it is not in {os.environ['HEAVYTAIL_DATA']}"}
    assert [len(table.runs) + len(table.simulations) for table in plan.tables] == [8, 8, 2]
    wanted = tables.plan(root / "data" / "grids", "tiny", ("a", "b"))
    assert [table.name for table in wanted.tables] == ["a", "b"]


def test_rows_of_data_that_are_gone_are_handed_back_and_no_more_are_made(tmp_path, capsys):
    there = Plan((Table("x", tuple(RUNS[:1])),), {})
    tables.fill(there, tmp_path / "store", "cpu", time.time() + 60)
    gone = Plan((Table("x", tuple(RUNS)),), {"digits": "it is gone"})
    tables.fill(gone, tmp_path / "store", "cpu", time.time() + 60)
    (state,) = tables.states(gone, of(tmp_path))
    assert (state.finished, state.wanted, state.seeds) == (1, 1, ())
    assert state.rows["key"].tolist() == [RUNS[0].key]
    capsys.readouterr()


def test_without_platformdirs_and_a_named_folder_digits_are_swept_and_others_are_said_to_be_absent(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.delenv("HEAVYTAIL_DATA")
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    plan = tables.plan(ROOT / "data" / "grids", "quick", ("ecg5000", "digits"))
    why = "nobody knows here where your cache is (platformdirs is not installed): set HEAVYTAIL_DATA to a folder."
    assert plan.absent == {"ecg5000": why}
    small = replace(plan.tables[1].runs[0], width=5, max_steps=2)
    tables.fill(Plan((Table("digits", (small,)),), {}), tmp_path / "store", "cpu", time.time() + 60)
    assert len(list((tmp_path / "store" / "rows").iterdir())) == 1
    capsys.readouterr()


def test_the_profile_paper_has_tables_and_they_are_those_that_have_a_place():
    plan = tables.plan(ROOT / "data" / "grids", "paper")
    assert [table.name for table in plan.tables] == list(tables.FIRST)


RUNS = grid(dataset="digits", width=5, lr=0.1, max_steps=2, noise="shared", alpha=[1.5, 1.9], sigma=0.01, seed=[1, 2])


def test_what_raises_an_error_is_noted_and_the_rest_goes_on(tmp_path, monkeypatch, capsys):
    bad = replace(RUNS[0], dataset="mnist")  # which is not here

    def refused(*_):
        raise tables.datasets.DataUnavailable("mnist is not here")

    monkeypatch.setattr(dataset, "fetch", refused)
    plan = Plan((Table("first", (bad,)), Table("second", tuple(RUNS))), {})
    tables.fill(plan, tmp_path / "store", "cpu", time.time() + 60)
    first, second = tables.states(plan, of(tmp_path))
    assert (first.finished, second.finished, second.seeds) == (0, 4, (1, 2))
    assert "mnist" in first.problems[0]
    assert second.problems == ()
    assert not _report(tables=[first, second]).done
    capsys.readouterr()


def test_runs_that_broke_the_device_are_left_out_by_the_next_process(tmp_path, monkeypatch, capsys):
    plan = Plan((Table("x", tuple(RUNS)),), {})
    true, calls = tables.sweeps.sweep, []

    def sweep(todo, **options):
        calls.append([run.seed for run in todo])
        if todo[0].seed == 1:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return true(todo, **options)

    monkeypatch.setattr(tables.sweeps, "sweep", sweep)
    with pytest.raises(SystemExit, match=str(tables.BROKE)):
        tables.fill(plan, tmp_path / "store", "cpu", time.time() + 60)
    assert calls == [[1, 1]]
    tables.fill(plan, tmp_path / "store", "cpu", time.time() + 60)
    (state,) = tables.states(plan, of(tmp_path))
    assert state.seeds == (2,)
    assert "illegal memory access" in state.problems[0]
    capsys.readouterr()


def test_a_run_that_failed_is_done_again_by_other_code_and_not_by_the_same(tmp_path, monkeypatch, capsys):
    store = stores.prepare(tmp_path / "store")
    outcome = unfinished(RUNS[0], tables.datasets.load("digits"), RuntimeError("no kernel"))
    stores.keep(store, outcome)
    plan = Plan((Table("x", (RUNS[0],)),), {})
    tables.fill(plan, store, "cpu", time.time() + 60)
    assert tables.states(plan, of(tmp_path))[0].rows["status"].tolist() == ["failed"]
    monkeypatch.setenv(version.NAMED, "fedcba9876543210")
    version.described.cache_clear()
    tables.fill(plan, store, "cpu", time.time() + 60)
    assert tables.states(plan, of(tmp_path))[0].rows["status"].tolist() == ["max_steps"]
    capsys.readouterr()


def test_rows_of_a_session_are_those_of_the_trainer(tmp_path, one_thread, capsys):
    plan = Plan((Table("x", tuple(RUNS)),), {})
    tables.fill(plan, tmp_path / "store", "cpu", time.time() + 60)
    (state,) = tables.states(plan, of(tmp_path))
    wanted = trainer.train(RUNS, progress=False).table
    pd.testing.assert_frame_equal(state.rows.drop(columns="seconds"), wanted.drop(columns="seconds"))
    capsys.readouterr()


def test_rows_that_an_earlier_call_has_handed_back_are_not_made_again(tmp_path, monkeypatch, capsys):
    plan = Plan((Table("x", tuple(RUNS)),), {})
    rows = trainer.train(RUNS[:3], progress=False).table.assign(torch="of another machine")
    rows.loc[2, "status"] = "failed"
    report.write(of(tmp_path, profile="tiny"), _report(tables=[State("x", rows, 3, 4, (), ())]))
    earlier.take(tmp_path / "out", tmp_path / "new")
    call = of(tmp_path, store=tmp_path / "new")
    assert tables.states(plan, call)[0].finished == 3
    tables.fill(plan, call.store, "cpu", call.end)
    (state,) = tables.states(plan, call)
    assert (state.finished, state.seeds) == (4, (1, 2))
    made = dict(zip(state.rows["key"], state.rows["torch"], strict=True))
    assert [made[run.key] for run in RUNS] == ["of another machine"] * 2 + [torch.__version__] * 2
    assert set(state.rows["status"]) == {"max_steps"}
    monkeypatch.setattr(parts, "part", None)  # nothing is left
    tables.run(call, plan, call.end, lambda: None)
    capsys.readouterr()


@pytest.mark.parametrize("damaged", [False, True])
def test_a_folder_without_tables_of_an_earlier_call_is_refused(damaged, tmp_path):
    if damaged:
        (tmp_path / "tables.zip").write_bytes(b"PK")
    with pytest.raises(
        ValueError, match=r"tables\.zip is damaged " if damaged else r"holds no tables of an earlier call"
    ):
        earlier.take(tmp_path, tmp_path / "store")


def _zipped(content, name="tiny/x.parquet"):
    memory = BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return bytearray(memory.getvalue())


def _bad_deflate(path):
    content = _zipped(bytes(range(256)) * 9)
    start = 30 + len("tiny/x.parquet")
    content[start : start + 20] = b"\xff" * 20
    path.write_bytes(content)


def _locked(path):
    content = _zipped(b"x")
    content[6] |= 1  # a flag: it wants a password
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


def _no_table(path):
    path.write_bytes(_zipped(b"PAR1 and no more"))


WRONG_ARCHIVES = [
    (_bad_deflate, r"^\S+/tables-2\.zip is damaged \(Error -3 .*\): name another EARLIER=$"),
    (_locked, r"^\S+/tables-2\.zip is damaged \(.* is encrypted, .*\): name another EARLIER=$"),
    (_no_table, r"^x\.parquet in \S+/tables-2\.zip is not a readable results table \(.*\): name another EARLIER=$"),
    (os.mkfifo, r"^\S+/tables-2\.zip is a pipe and no archive: name another EARLIER=$"),
]


@pytest.mark.parametrize(("make", "sentence"), WRONG_ARCHIVES, ids=["deflate", "locked", "no table", "a pipe"])
def test_of_archives_with_one_that_is_damaged_nothing_is_taken(make, sentence, tmp_path):
    rows = results.tabled([unfinished(RUNS[0], tables.datasets.load("digits"), RuntimeError("no kernel")).row])
    report.write(of(tmp_path), _report(tables=[State("x", rows, 1, 4, (), ())]))
    make(tmp_path / "out" / "tables-2.zip")
    with pytest.raises(ValueError, match=sentence) as told:
        earlier.take(tmp_path / "out", tmp_path / "new")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "new").exists()


# what is handed back


def _report(**fields):
    machine = {"device": "a made-up GPU", "versions": {"torch": "2.13"}, "system": "Linux", "cores": 4, "memory": 2**34}
    empty = {"machine": machine, "tests": [], "figures": {}, "tables": [], "absent": {}, "taken": {}}
    return report.Report(**{**empty, **fields})


def _traces(out, root):
    """The files of a session that hold a path of this machine."""
    known = traces.paths(root) | traces.spellings({"the store": root / "store", "Python's folder": sys.prefix})
    texts = {path.name: path.read_text("utf-8") for path in out.iterdir() if path.suffix != ".zip"}
    for path in out.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            tabled = {name: pd.read_parquet(BytesIO(archive.read(name))) for name in archive.namelist()}
        texts |= {name: frame.to_csv() for name, frame in tabled.items()}
    return [name for name, text in texts.items() if any(path in text for path in known)]


def test_what_is_handed_back_holds_no_path_of_the_machine_and_any_letters(tmp_path, monkeypatch):
    monkeypatch.setenv("HEAVYTAIL_DATA", "/elsewhere/data")
    call = of(tmp_path)
    places = [str(call.root / "x.py"), str(call.store), str(Path.home() / "x"), sys.prefix, "/elsewhere/data", "/tmp/y"]
    why = "\n".join(f"no {place}:1 -I{place} \udcff" for place in [tempfile.gettempdir(), *places])
    (call.store / "logs").mkdir(parents=True)
    (call.store / "logs" / "x.txt").write_text(why, encoding="utf-8", errors="replace")
    row = unfinished(RUNS[0], tables.datasets.load("digits"), RuntimeError(why.replace("\n", " "))).row
    told = _report(
        tests=[{"file": "f", "test": "t", "outcome": "failed", "why": why}],
        figures={"noise": {"figures": [], "ended": True, "tries": 1, "error": why}},
        tables=[State("x", results.tabled([row]), 1, 4, (), (why,))],
        absent={"mnist": why},
    )
    report.write(call, told)
    assert len(list(call.out.iterdir())) == 6
    assert _traces(call.out, call.root) == []
    assert "no <the data folder>:1 -I<the data folder>" in (call.out / "log.txt").read_text("utf-8")


def test_however_much_there_is_it_goes_into_eight_files_below_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MOST", 2**16 + 2**16)
    rows = results.tabled([outcome.row for outcome in trainer.outcomes(RUNS[:2], progress=False)])
    states = [State(f"table{k}", rows, 2, 2, (1,), ()) for k in range(20)]
    logs = tmp_path / "store" / "logs"
    logs.mkdir(parents=True)
    (logs / "x.txt").write_bytes(b"\xffword " * 10**5)
    tests = [{"file": "f", "test": f"t{k}", "outcome": "failed", "why": "w" * 500} for k in range(100)]
    report.write(of(tmp_path), _report(tables=states, tests=tests))
    files = list((tmp_path / "out").iterdir())
    assert len(files) == 8
    packed = []
    for place in (tmp_path / "out" / f"tables{number}.zip" for number in ("", "-2", "-3")):
        assert place.stat().st_size <= report.MOST
        with zipfile.ZipFile(place) as archive:
            packed += archive.namelist()
    assert packed
    assert packed == [f"tiny/table{k}.parquet" for k in range(len(packed))]
    page = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    left_out = [f"table{k}" for k in range(len(packed), 20)]
    assert left_out
    said = r"^\* \*\*(\S+) is not handed back\*\*, its rows are in the store alone: 3 archives are full$"
    assert re.findall(said, page, re.MULTILINE) == left_out
    assert page.count("\n* `t") == report.LISTED
    assert "* and 85 more, in tests.json" in page
    assert all(len(line) < 600 for line in page.splitlines())
    assert (tmp_path / "out" / "log.txt").stat().st_size < 2 * report.TAIL


@pytest.mark.long
def test_a_table_that_no_archive_holds_is_named_on_the_page_and_takes_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MOST", 2**16 + 2**16)
    small = results.tabled([outcome.row for outcome in trainer.outcomes(RUNS[:2], progress=False)])
    many = small.loc[small.index.repeat(2**12)]
    large = many.assign(key=[f"{k:x}" for k in range(2**13)], reason=[f"{k:x}" * 40 for k in range(2**13)])
    states = [State(name, rows, 2, 2, (1,), ()) for name, rows in (("a", small), ("b", large), ("c", small))]
    report.write(of(tmp_path), _report(tables=states))
    with zipfile.ZipFile(tmp_path / "out" / "tables.zip") as archive:
        assert archive.namelist() == ["tiny/a.parquet", "tiny/c.parquet"]
    page = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert re.findall(r"\*\*(\S+) is not handed back\*\*, .* it has \d+ bytes, and an archive holds 65536", page) == [
        "b"
    ]


def test_a_page_of_a_gpu_names_it_and_says_what_failed(tmp_path):
    rows = pd.DataFrame([unfinished(RUNS[0], tables.datasets.load("digits"), RuntimeError("no kernel")).row])
    page = report.page(of(tmp_path, device="cuda"), _report(tables=[State("x", rows, 1, 4, (), ())]))
    assert page.startswith("# a made-up GPU, 16 GiB\n")
    assert "rehearsal" not in page
    assert "* x: RuntimeError: no kernel (1 runs)" in page
    assert "| x | 1 | 4 |  | 1 runs (" in page
