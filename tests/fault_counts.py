"""Faults that were tried, counted by area: what came of each, printed as a table at the end of a run.

    tried("data files", ONE_SENTENCE)   in a test, once for every fault, when it is known what came of it

`make faults` tries all of them. In `make test` each list is thinned by `some`.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

ONE_SENTENCE = "one sentence"  # said what was wrong; nothing was lost
UNDISTURBED = "undisturbed"  # the result is that of a run that nothing happened to
LOST, TRACEBACK, WRONG = "lost", "traceback", "silently wrong"
OUTCOMES = (ONE_SENTENCE, UNDISTURBED, LOST, TRACEBACK, WRONG)
GOOD = (ONE_SENTENCE, UNDISTURBED)

ALL = os.environ.get("FAULTS") == "all"
Case = TypeVar("Case")
Tried = Callable[[str, str], None]


def some(cases: Sequence[Case], one_in: int = 4) -> list[Case]:
    """All cases where all are asked for, else one in so many, the first among them."""
    return list(cases if ALL else cases[::one_in])


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Tried:
    """Counts a fault of an area by what came of it; the test fails unless that is good."""

    def count(area: str, outcome: str) -> None:
        assert outcome in OUTCOMES, outcome
        request.node.user_properties.append(("fault", (area, outcome)))
        assert outcome in GOOD, f"{area}: {outcome}"

    return count


def of_command(done: subprocess.CompletedProcess[str]) -> str:
    """What came of a command that was given bad input: one sentence on standard error and exit status 2, or not."""
    if "Traceback" in done.stderr or done.returncode < 0:
        return TRACEBACK
    if done.returncode == 0:
        return UNDISTURBED
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    said = lines and (lines[-1].startswith("heavytail") or " error: " in lines[-1])
    return ONE_SENTENCE if done.returncode in (2, 130) and said else TRACEBACK


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A row an area: how many were tried, and what came of them."""
    counts: dict[str, Counter[str]] = {}
    for name in ("passed", "failed"):
        for report in terminalreporter.stats.get(name, []):
            for kind, value in getattr(report, "user_properties", []):
                if kind == "fault" and report.when == "call":
                    area, outcome = value
                    counts.setdefault(area, Counter())[outcome] += 1
    if not counts:
        return
    terminalreporter.section("faults that were tried" + ("" if ALL else ", a part: `make faults` tries all"))
    for area in [*sorted(counts), "all"]:
        row = counts[area] if area in counts else sum(counts.values(), Counter())
        columns = "  ".join(f"{outcome} {row[outcome]:4d}" for outcome in OUTCOMES)
        terminalreporter.write_line(f"{area:28s} tried {sum(row.values()):5d}  {columns}")
