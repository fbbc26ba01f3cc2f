"""A plugin for `make gpu`: the outcome of each test is written down as it comes, and what is there is not run again.

A test that was begun twice and has no outcome has ended its process or hangs: it is left out too.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from heavytail import stopping

FILE = Path(os.environ.get("HEAVYTAIL_OUTCOMES", os.devnull))  # where it is only read, nothing is written
BEGINNINGS = 2
going: dict[str, Any] = {}

if parent := os.environ.get("HEAVYTAIL_PARENT"):
    stopping.follow(int(parent))


def write(**line: Any) -> None:
    with open(FILE, "a", encoding="utf-8") as file:
        file.write(f"\n{json.dumps(line)}\n")


def written() -> Iterator[dict[str, Any]]:
    for line in FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() else ():
        with suppress(ValueError):  # cut off when its process was ended
            yield json.loads(line)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    lines = [line for line in written() if "test" in line]
    done = {line["test"] for line in lines if line["outcome"] != "begun"}
    begun = Counter(line["test"] for line in lines if line["outcome"] == "begun")
    left_out = [item for item in items if item.nodeid in done or begun[item.nodeid] >= BEGINNINGS]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_runtest_logstart(nodeid: str) -> None:
    going.clear()
    going.update(outcome="passed", seconds=0.0, why="")
    write(test=nodeid, outcome="begun")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    going["seconds"] += report.duration
    if report.outcome != "passed" and going["outcome"] == "passed":
        going["outcome"] = report.outcome
        told = report.longrepr
        crash = getattr(told, "reprcrash", None)
        why = told[2] if isinstance(told, tuple) else crash.message if crash else str(told)
        going["why"] = why.strip()[:400]


def pytest_runtest_logfinish(nodeid: str) -> None:
    write(test=nodeid, **going)
