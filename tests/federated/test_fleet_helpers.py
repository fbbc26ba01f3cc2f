"""The fleet's own tools: ports that differ, waits that end, and no program that outlives its test."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import fleet as fleets
import pytest


def test_ports_that_are_drawn_at_once_differ():
    assert len(set(fleets.free_ports(50))) == 50


def test_a_wait_ends_where_a_program_has_ended(tmp_path):
    (tmp_path / "home").mkdir()
    made = fleets.Fleet(tmp_path, {}, 0, [], {}, time.monotonic() + fleets.PATIENCE)
    made.start("superlink", sys.executable, "-c", "print('out of cheese')").wait()
    with pytest.raises(AssertionError, match=r"^round 1 did not happen, as superlink has ended\n.*\nout of cheese"):
        fleets.wait(lambda: False, made, "round 1")


CHILD = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("child").write_text(str(child.pid))
time.sleep(600)
"""


def test_a_program_that_hangs_ends_with_all_that_it_has_started(tmp_path):
    with pytest.raises(subprocess.TimeoutExpired):
        fleets.called([sys.executable, "-c", CHILD], dict(os.environ), tmp_path, patience=5)
    child, end = int((tmp_path / "child").read_text()), time.monotonic() + 60
    while alive(child):
        assert time.monotonic() < end
        time.sleep(0.1)


def alive(process):
    """Whether a process runs; one that nobody has waited for does not."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return bool(listed.stdout.strip()) and not listed.stdout.startswith("Z")
