"""Pytest that runs what failed once more, in a fresh process: `python tests/again.py ARGUMENTS OF PYTEST`.

`.ci/run` uses it. A line `FLAKY: NAME` names each test that failed and passed the second time: it wants mending, and
does not stop the others meanwhile. The exit status is 0 only if nothing failed or all that failed then passed. Only
failed tests get a second time. A crashed worker, a process that was ended (a test that hangs ends it), a file that
cannot be collected and Ctrl-C are failures at once.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import pytest


@dataclass
class Seen:
    """What a run of pytest did; while it runs, the plugin that watches it."""

    status: int = -1
    options: list[str] = field(default_factory=list)  # all arguments but files and tests
    workers: int = 0
    passed: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    crashed: set[str] = field(default_factory=set)  # what took its worker with it, or could not be collected

    def pytest_configure(self, config: pytest.Config) -> None:
        named = config.getoption("file_or_dir")
        self.options = [argument for argument in config.invocation_params.args if argument not in named]
        self.workers = len(config.getoption("tx", None) or [])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)
        elif report.passed and report.when == "call":
            self.passed.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.crashed.add(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str) -> None:
        self.crashed.add(crashitem)


def once(arguments: Sequence[str]) -> Seen:
    """Run pytest in this process."""
    sys.path[0] = os.getcwd()  # as for `python -m pytest`
    seen = Seen()
    seen.status = int(pytest.main([*arguments], plugins=[seen]))
    return seen


def main(arguments: Sequence[str]) -> int:
    """Run pytest, and once more what failed; the exit status."""
    first = once(arguments)
    if first.status != pytest.ExitCode.TESTS_FAILED or first.crashed or not first.failed:
        return first.status
    print(f"\n{len(first.failed)} failed and run once more in a fresh process", flush=True)
    alone = ["--numprocesses=1"] if first.workers else []  # a worker again, for it sets its threads
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        second = executor.submit(once, [*first.options, *alone, *sorted(first.failed)]).result()
    flaky = first.failed & (second.passed - second.failed - second.crashed)
    for name in sorted(flaky):
        print(f"FLAKY: {name}", flush=True)
    return 0 if flaky == first.failed and second.status == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
