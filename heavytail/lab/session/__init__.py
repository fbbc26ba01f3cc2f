"""One call on a machine with a GPU: its tests, its figures, then the full-size tables, cut to the minutes there are.

Every part is a process of its own that is ended when its time is over, so that no part takes another's time and none
that hangs or breaks the device takes the rest with it. What is finished lies in the store, and the next call goes on
from there:

    tests/TAG/FILE.jsonl     the outcome of every test as it came; the tag is of code and machine
    bench/TAG/CASE.json      the figures of a case so far
    rows, weights, ...       runs: see heavytail.lab.store
    earlier/N-NAME.parquet   rows of an earlier call, whose store is gone
    simulated/NAME.parquet   simulations
    logs/PART.txt            what the parts said

After every part, and every minute of a long one, `out` is written again.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from heavytail import version
from heavytail.lab.machine import files
from heavytail.lab.session import checks, earlier, figures, parts, report, tables
from heavytail.lab.session.parts import Session

SHARE = 0.6  # of the time that is left, for the tests at most, and then for the figures


def run(
    out: Path,
    store: Path,
    *,
    minutes: float = 9.0,
    profile: str = "paper",
    only: tuple[str, ...] = (),
    commit: str | None = None,
    before: Path | None = None,
    root: Path | None = None,
    say: Callable[[str], object] = print,
) -> bool:
    """Do in so many minutes what a GPU can tell, the most valuable first, and write it into `out`: at most 8 files.

    `only` names tables, in the order in which they are wanted; without it they are all those of the profile. `commit`
    names the commit of a tree without git. `before` is the `out` of an earlier call whose store is gone. `root` holds
    the folders tests and data/grids (default: this clone). Returns whether all is done.

    Raises ValueError without a GPU (but for TRITON_INTERPRET=1, with which all parts are rehearsed on the CPU), for a
    commit that is not known, a table that is not there, or a store that another call is at; RuntimeError if a test
    failed, after everything else was done.
    """
    begun = time.time()
    if not 0 < minutes < 10**6:
        raise ValueError(f"MINUTES must be above 0, got {minutes:g}")
    root = (root or Path(version.__file__).parents[1]).resolve()
    if not (root / "tests").is_dir() or not (root / "data" / "grids").is_dir():
        raise ValueError(
            f"{root} has no tests and grids: they are in the repository and not in the package, work there"
        )
    device = _device()
    if commit:
        os.environ[version.NAMED] = commit
        version.described.cache_clear()
    code = version.described()
    if "+" not in code:
        raise ValueError(
            "nobody could say which code made the rows: name its commit by COMMIT=, or in a file COMMIT at the top"
        )
    plan = tables.plan(root / "data" / "grids", profile, only)
    store = files.named(store).resolve()
    whole = 60 * minutes
    session = Session(
        root, files.named(out).resolve(), store, profile, only, device, code, begun + whole - min(20, whole / 8)
    )
    files.check_place(session.out / "summary.md")
    store.mkdir(parents=True, exist_ok=True)
    with files.locked(store / "session.lock") as mine:
        if not mine:
            raise ValueError(f"another call is at {store}: wait until it is done, or name another STORE=")
        if before is not None:
            earlier.take(files.named(before), store)
        return _all(session, plan, begun, say)


def _all(session: Session, plan: tables.Plan, begun: float, say: Callable[[str], object]) -> bool:
    machine = parts.machine(session)
    tag = hashlib.sha256(f"{session.code} {machine['device']}".encode()).hexdigest()[:8]
    taken: dict[str, float] = {}

    def write(part: str = "", since: float = 0.0) -> report.Report:
        if part:
            taken[part] = time.time() - since
        now = report.Report(
            machine,
            checks.outcomes(session, tag),
            figures.figures(session, tag),
            tables.states(plan, session),
            plan.absent,
            taken | {"in all": time.time() - begun},
        )
        report.write(session, now)
        return now

    say(f"{session.code} on {machine['device']}: {(session.end - time.time()) / 60:.1f} minutes of work")
    for part, work, share in (
        ("tests", lambda until: checks.run(session, tag, until), SHARE),
        ("figures", lambda until: figures.run(session, tag, until), SHARE),
        ("tables", lambda until: tables.run(session, plan, until, write), 1.0),
    ):
        start = time.time()
        work(start + share * max(0.0, session.end - start))
        summary = write(part, start)
        say(f"{part}: {summary.line(part)}, after {time.time() - begun:.0f} s")
    rest = "all is done" if summary.done else "the same call again goes on"
    say(f"{session.out / 'summary.md'} says it on one page; {rest}")
    if summary.failures:
        raise RuntimeError(f"{len(summary.failures)} tests failed: {session.out / 'summary.md'} names them")
    return summary.done


def _device() -> str:
    """Where to work: on CUDA, or for a rehearsal on the CPU."""
    if torch.cuda.is_available():
        return "cuda"
    if os.environ.get("TRITON_INTERPRET") == "1":
        return "cpu"
    raise ValueError(
        f"there is no CUDA device for torch {torch.__version__}: call it on a machine that has one, or rehearse it "
        "here with TRITON_INTERPRET=1 PROFILE=quick"
    )
