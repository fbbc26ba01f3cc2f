"""What failed runs once more: a test that then passes is called flaky, and nothing else is forgiven."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
AGAIN = Path(__file__).with_name("again.py")
MADE_UP = """
import os
from pathlib import Path

import pytest

with open("processes", "a") as file:  # imported once a process
    print(os.getpid(), file=file)


def before(name):
    there = Path(name).exists()
    Path(name).touch()
    return there


def test_good():
    pass


@pytest.mark.parametrize("name", ["first", "[a] b"])
def test_once(name):
    assert before("once " + name)


def test_always():
    before("always")
    raise AssertionError


@pytest.fixture
def unready():
    assert before("unready")


def test_setup(unready):
    pass


def test_dies():
    if not before("dies"):
        os._exit(1)


def test_fails_then_dies():
    if before("fails then dies"):
        os._exit(0)
    raise AssertionError


def test_fails_then_skips():
    if before("fails then skips"):
        pytest.skip()
    raise AssertionError
"""


@pytest.fixture
def run(tmp_path):
    """Pytest, with what fails again, on the tests that `-k` selects: its exit status, flaky tests, processes."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_made_up.py").write_text(MADE_UP)

    def run(chosen, *options):
        arguments = ["-q", "-p", "no:cacheprovider", "test_made_up.py", *options, "-k", chosen]
        if options:
            arguments = ["-p", "xdist", *arguments]
        command = [sys.executable, str(AGAIN), *arguments]
        environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # starts in half the time
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(command, cwd=tmp_path, env=environment, **pipes)
        flaky = [line.removeprefix("FLAKY: ") for line in done.stdout.splitlines() if line.startswith("FLAKY")]
        imported = tmp_path / "processes"
        return done.returncode, flaky, len(set(imported.read_text().split())) if imported.exists() else 0

    return run


ONCE = ["test_made_up.py::test_once[[a] b]", "test_made_up.py::test_once[first]"]


@pytest.mark.parametrize("options", [(), ("--numprocesses=2", "--maxprocesses=4", "--dist=loadfile")])
def test_what_passes_the_second_time_is_flaky_and_no_failure(run, options):
    status, flaky, processes = run("good or once", *options)
    assert (status, flaky) == (0, ONCE)
    assert processes == (3 if options else 2)  # two workers, then one


def test_what_fails_twice_is_a_failure_beside_what_is_flaky(run):
    assert run("good or once or always")[:2] == (1, ONCE)


def test_a_fixture_that_fails_once_is_flaky(run):
    assert run("setup") == (0, ["test_made_up.py::test_setup"], 2)


def test_without_a_failure_there_is_no_second_process(run):
    assert run("good") == (0, [], 1)


def test_that_nothing_was_selected_is_a_failure(run):
    assert run("nothing") == (5, [], 1)


@pytest.mark.parametrize("options", [(), ("--numprocesses=1",)])
def test_a_process_that_dies_is_a_failure_at_once(run, options):
    status, flaky, _ = run("good or dies and not fails", *options)
    assert status == 1
    assert flaky == []


@pytest.mark.parametrize("chosen", ["fails_then_dies", "fails_then_skips"])
def test_only_a_test_that_passes_the_second_time_is_flaky(run, chosen):
    status, flaky, _ = run(chosen)
    assert status != 0
    assert flaky == []


def test_a_file_that_cannot_be_collected_is_a_failure_at_once(run, tmp_path):
    (tmp_path / "test_made_up.py").write_text("raise ImportError")
    assert run("good")[0] not in (0, 1)
