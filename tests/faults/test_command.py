"""The command, given what nobody should give it, and stopped at any moment."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from fault_counts import ONE_SENTENCE, UNDISTURBED, of_command, some
from hypothesis import given, settings
from hypothesis import strategies as st

from heavytail import cli, streams
from heavytail.book.page import changed_parameters
from heavytail.evidence import claims
from heavytail.lab import results
from heavytail.lab.machine import workers

ROOT = Path(__file__).parents[2]
DIGITS, CHAOS = (str(ROOT / "data" / "grids" / f"{name}.toml") for name in ("digits", "chaos"))
TINY = ["--set", "max_steps=1", "--set", "width=4", "--set", "seed=1"]
FEW = ["--set", "repeats=2", "--set", "reference=8", "--set", "steps=2", "--set", "width=4"]
PATIENCE = 240


def command(*arguments):
    """A command in this process, as `of_command` wants it."""
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:  # of argparse
            status = stop.code
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), said.getvalue())


def assert_refused(done, tried, area="command"):
    tried(area, of_command(done))
    assert done.returncode == 2, done
    assert len([line for line in done.stderr.splitlines() if not line.startswith(("usage:", " "))]) == 1, done.stderr


DEVICES = [
    "hpu",
    "cuda:99",
    "meta",
    "xla",
    "cuda:-1",
    "",
    "mps:7",
    "vulkan",
    "privateuseone",
    "5",
    "CPU",
    "mkldnn",
    "cpu:-1",
]


@pytest.mark.parametrize("device", some(DEVICES, 2))
def test_a_device_that_is_not_there_is_one_sentence(device, tmp_path, tried):
    for verb, grid in (("train", DIGITS), ("simulate", CHAOS)):
        done = command(verb, grid, "--out", tmp_path / "t.parquet", "--device", device)
        assert_refused(done, tried)
        assert f"device {device!r} is not available here: use device='cpu'" in done.stderr
    assert_refused(command("sweep", DIGITS, "--store", tmp_path / "store", "--device", device), tried)
    assert not list(tmp_path.iterdir())


def test_a_device_that_is_there_is_found():
    assert streams.present("cpu") == torch.device("cpu")


@pytest.mark.parametrize("count", ["0", "-1", "99999999999", "1e3", "two", "", "9" * 5000])
def test_a_number_of_workers_that_is_none_is_one_sentence(count, tmp_path, tried):
    assert_refused(command("sweep", DIGITS, "--store", tmp_path / "s", f"--workers={count}", *TINY), tried)


SETTINGS = [
    "width=" + "(" * 5000,
    "width=" + "[" * 300 + "]" * 300,
    "width={[]: 1}",
    "width={1: 2}",
    "width=1 +",
    "width=__import__('os').getpid()",
    "width=" + "9" * 5000,
    "width=1e999",
    "seed=18446744073709551616",
    "lr=nan",
    "lr=True",
    "noise=[['shared']]",
    "profile=quick",
    "path=x",
    "=1",
    "width",
    "\u03b1=1",
    "alpha=0.001",
    "network=os:getpid",
    "network=no.such:thing",
    "dataset=../x.npz",
    "dataset=a\0.npz",
]


@pytest.mark.parametrize("setting", some(SETTINGS, 2), ids=lambda text: text[:25])
def test_an_odd_setting_is_one_sentence(setting, tmp_path, tried):
    done = command("train", DIGITS, "--out", tmp_path / "t.parquet", *TINY, "--set", setting)
    assert_refused(done, tried, "--set")
    if "dataset" not in setting and "network" not in setting:
        assert_refused(
            command("simulate", CHAOS, "--out", tmp_path / "c.parquet", *FEW, "--set", setting), tried, "--set"
        )


GRIDS = ["missing.toml", "x" * 300 + ".toml", ".", "empty.toml", "zero\0.toml"]


@pytest.mark.parametrize("name", GRIDS, ids=lambda name: name[:12])
def test_a_grid_that_cannot_be_read_is_one_sentence(name, tmp_path, tried):
    (tmp_path / "empty.toml").touch()
    for verb in ("train", "simulate"):
        assert_refused(command(verb, tmp_path / name, "--out", tmp_path / "t.parquet"), tried)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are POSIX")
def test_a_grid_that_is_a_pipe_is_not_waited_for(tmp_path, tried):
    os.mkfifo(tmp_path / "pipe.toml")
    for verb in ("train", "simulate"):
        done = command(verb, tmp_path / "pipe.toml", "--out", tmp_path / "t.parquet")
        assert_refused(done, tried)
        assert "pipe.toml is a pipe: name a TOML file" in done.stderr


@settings(max_examples=60)
@given(
    st.sampled_from(["width", "lr", "alpha", "sigma", "noise", "seed", "unit", "profile", "max_steps", "x"]),
    st.one_of(st.text(max_size=15), st.sampled_from(["[", "1e400", "{}", "None", "-1", "[1, 2", "nan", "9" * 400])),
)
def test_whatever_is_set_the_grid_is_read_or_refused_in_one_sentence(key, value):
    done = command("train", DIGITS, "--out", "t.txt", "--set", f"{key}={value}")  # .txt: nothing is trained
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr


def test_a_simulation_that_fails_is_named_and_the_others_are_kept(tmp_path, tried):
    out = tmp_path / "t.parquet"
    small = ["--set", "repeats=2", "--set", "reference=8", "--set", "steps=2", "--set", "alpha=1.5"]
    done = command("simulate", CHAOS, "--out", out, *small, "--set", f"width=[{10**18}, 4]")
    assert_refused(done, tried)
    assert f"width={10**18}" in done.stderr
    assert set(results.read_table(out)["width"]) == {4}


# chapters


def test_a_notebook_that_is_a_folder_or_no_notebook_is_refused(tmp_path, monkeypatch, tried):
    monkeypatch.chdir(ROOT)
    for out, said in ((tmp_path, "is a folder: name the notebook"), (tmp_path / "a.txt", "does not end in .ipynb")):
        done = command("chapter", "chaos", "-o", out)
        assert_refused(done, tried)
        assert said in done.stderr
    assert not list(tmp_path.iterdir())


ODD = {
    "a number for a word": {"profile": 1},
    "a list for a word": {"profile": ["quick"]},
    "no profile": {"profile": "huge"},
    "no name": {"no_such": 1},
    "nan": {"alpha": float("nan")},
    "inf": {"alpha": float("inf")},
    "truth": {"alpha": True},
    "400 digits": {"seed": 10**400},
    "bytes": {"seed": b"1"},
    "a set": {"seed": {1}},
    "a table": {"seed": {"a": 1}},
    "complex": {"seed": 1j},
    "dots": {"seed": ...},
    "lists in a list": {"seed": [[1]]},
}


@pytest.mark.parametrize("given_", some(list(ODD.values()), 2), ids=str)
def test_odd_parameters_of_a_chapter_are_refused(given_, monkeypatch, tried):
    monkeypatch.setattr(
        "heavytail.book.page.parameters_of", lambda _: {"profile": "quick", "alpha": 1.75, "seed": None}
    )
    with pytest.raises(ValueError, match=r"^noise_types.md"):
        changed_parameters(ROOT / "book" / "noise_types.md", None, given_)
    fine = {"profile": "quick", "alpha": 2, "seed": [1, 2]}
    assert changed_parameters(ROOT / "book" / "noise_types.md", None, fine) == {"alpha": 2, "seed": [1, 2]}
    tried("command", ONE_SENTENCE)


# a terminal without letters


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    """A ledger with one table behind it, and Greek letters in what it says."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "workstation").mkdir()
    shutil.copy(ROOT / "data" / "results" / "workstation" / "chaos.parquet", folder / "workstation")
    return claims.ledger(folder)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.long
def test_the_ledger_is_printed_where_there_are_no_greek_letters(encoding, form, entries, tmp_path, monkeypatch, tried):
    monkeypatch.setattr(claims, "ledger", lambda folder: entries)
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert cli.main(["claims", "--results", str(tmp_path), *form]) == 0
    sys.stdout.flush()
    text = raw.getvalue().decode(encoding)
    assert "\\u03b1" in text
    if form:
        assert any("α" in str(entry) for entry in json.loads(text))
    tried("command", UNDISTURBED)


# The command as it is, and one that has nothing large to import: what is printed, and what comes of it, is the same.
LIGHT = """
import sys, types
claims = sys.modules["heavytail.evidence.claims"] = types.ModuleType("heavytail.evidence.claims")
claims.ledger = str
claims.as_text = lambda folder: folder * SIZE
from heavytail.__main__ import main
sys.exit(main())
"""
PROGRAMS = {
    "few letters": ["-c", LIGHT.replace("SIZE", "1")],
    "the command": ["-m", "heavytail"],
    "more than a buffer holds": ["-c", LIGHT.replace("SIZE", "10**5")],
}


@pytest.mark.long
@pytest.mark.parametrize("program", some(list(PROGRAMS), 2))
def test_a_reader_that_has_enough_ends_the_command_without_a_word(program, tmp_path, tried):
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, *PROGRAMS[program], "claims", "--results", str(tmp_path)]
    done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
    os.close(writes)
    assert (done.returncode, done.stderr) == (cli.UNREAD, "")
    tried("command", UNDISTURBED)


def test_a_pipe_that_breaks_elsewhere_is_an_error(tmp_path, monkeypatch, capsys, tried):
    def broken(*_):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(claims, "ledger", broken)
    assert cli.main(["claims", "--results", str(tmp_path)]) == 2
    assert "Broken pipe" in capsys.readouterr().err
    tried("command", ONE_SENTENCE)


@pytest.mark.long
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is of Linux")
@pytest.mark.parametrize(
    ("program", "arguments"),
    [("the command", "--version"), *((program, "claims --results .") for program in some(list(PROGRAMS), 2))],
)
def test_standard_output_on_a_full_disk_is_one_sentence(program, arguments, tmp_path, tried):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, *PROGRAMS[program], *arguments.split()],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        2,
        "heavytail: standard output cannot be written to: No space left on device\n",
    )
    tried("command", ONE_SENTENCE)


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="closed by a POSIX shell")
@pytest.mark.parametrize("closed", some([">&-", "2>&-", "<&- >&- 2>&-"], 3))
def test_a_command_whose_streams_are_closed_does_its_work(closed, tmp_path, tried):
    table = tmp_path / "t.parquet"
    shell = ["sh", "-c", f'"$0" "$@" {closed}', sys.executable, "-m", "heavytail"]
    done = subprocess.run(
        [*shell, "train", DIGITS, "--out", str(table), *TINY],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr
    assert len(results.read_table(table)) > 1
    tried("command", UNDISTURBED)


# Ctrl-C

STOPPED = r"""
import os, signal, sys
from heavytail import stopping
moment, times = sys.argv[1], int(sys.argv[2])
sys.argv[1:] = sys.argv[3:]
def interrupt(*_, **__):
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
class Importing:
    def find_spec(self, name, path=None, target=None):
        if name == moment:
            interrupt()
if "." not in moment or moment.startswith("heavytail"):
    sys.meta_path.insert(0, Importing())
from heavytail.__main__ import main
if moment == "at work":
    from heavytail.lab import queue
    queue.train = interrupt
elif moment == "in a del":
    from heavytail.lab import queue
    class Late:
        __del__ = interrupt
    def train(*_):
        late = Late()
        del late
        yield from ()
    queue.train = train
elif moment == "at the end":
    import atexit
    atexit.register(interrupt)
sys.exit(main())
"""
MOMENTS = [("heavytail.cli", 1), ("torch", 3), ("at work", 3), ("at work", 1), ("pandas", 1), ("in a del", 1)]


@pytest.mark.long
@pytest.mark.parametrize(("moment", "times"), some(MOMENTS, 2), ids=str)
def test_ctrl_c_is_one_line_at_whatever_moment_and_however_often(moment, times, tmp_path, tried):
    arguments = ["train", DIGITS, "--out", str(tmp_path / "t.parquet"), *TINY]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, moment, str(times), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    tried("Ctrl-C", of_command(done))
    assert done.returncode == 130, done
    lines = [line for line in done.stderr.splitlines() if "step/s" not in line and line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("heavytail: stopped; nothing was written")
    assert not (tmp_path / "t.parquet").exists()


@pytest.mark.long
@pytest.mark.parametrize("moment", ["heavytail.book.build", "pandas"])
def test_ctrl_c_while_the_book_is_imported_is_one_line(moment, tmp_path, tried):
    code = STOPPED.replace("heavytail.__main__ import main", "heavytail.book.__main__ import command as main")
    done = subprocess.run(
        [sys.executable, "-c", code, moment, "1", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "heavytail: stopped; chapters that were done are kept\n")
    tried("Ctrl-C", of_command(done))


@pytest.mark.long
@pytest.mark.parametrize("program", some(["few letters", "the command"], 2))
def test_ctrl_c_after_the_work_changes_nothing(program, tmp_path, tried):
    before = LIGHT.replace("SIZE", "1").partition("from")[0] if program == "few letters" else ""
    arguments = ["claims", "--results", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", before + STOPPED, "at the end", "3", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    tried("Ctrl-C", of_command(done))


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are POSIX")
@pytest.mark.parametrize("pause", some([0.01, 0.0, 0.001, 0.1], 4))
def test_ctrl_c_three_times_leaves_no_worker_and_no_word_of_one(pause, tmp_path, tried):
    """As a terminal does it: to every process of the group. The last of them to end is the tracker of semaphores."""
    store = tmp_path / "store"
    grid = tmp_path / "grid.toml"
    grid.write_text('[[quick]]\ndataset = "digits"\nwidth = 20\nmax_steps = [12, 10_000_000, 10_000_001]\n')
    arguments = ["sweep", str(grid), "--store", str(store), "--workers", "2"]
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from heavytail.__main__ import main; sys.exit(main())"
    with (tmp_path / "said").open("w") as said:
        child = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=said, start_new_session=True)
        try:
            wait_for(lambda: store.exists() and any((store / "rows").glob("*.json")), child)
            for _ in range(3):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGINT)
                time.sleep(pause)
            status = child.wait(PATIENCE)
            wait_for(lambda: not alive(child.pid))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
    text = (tmp_path / "said").read_text()
    tried("Ctrl-C", of_command(subprocess.CompletedProcess(arguments, status, "", text)))
    assert status == 130
    assert text == f"heavytail: stopped; what was done is in {store}, run the same again to go on\n"


def wait_for(condition, child=None):
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < PATIENCE
        assert child is None or child.poll() is None, "the command ended by itself"
        time.sleep(0.05)


def alive(group):
    """Whether a process of the group lives: one that nobody has waited for does not."""
    states = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            states += [fields[0]] if int(fields[2]) == group else []
    return any(state != "Z" for state in states)


def test_workers_never_number_more_than_they_may():
    assert (os.cpu_count() or 1) <= workers.MOST
