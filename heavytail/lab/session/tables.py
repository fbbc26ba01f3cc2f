"""The tables of a session: seed by seed in each, so that whatever is finished is a balanced part of it."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from heavytail.lab import datasets, results, runs, simulations, sweeps
from heavytail.lab import store as stores
from heavytail.lab.machine import devices
from heavytail.lab.runs import Run
from heavytail.lab.session import earlier, parts
from heavytail.lab.session.parts import Session
from heavytail.lab.simulations import Simulation

#: The order in which tables are made: the paper's main claims first, what takes minutes before what takes hours.
FIRST = ("ecg5000", "deeper", "mnist", "vgg", "cifar10", "cifar100")

#: What runs share that are trained at once.
TOGETHER = ("dataset", "samples", "network", "width", "depth", "batch_size", "products", "unit", "along")

SPARE = 15.0  # seconds before the end at which runs in the middle are kept
OFTEN = 90.0  # seconds at most between two times that they are
AGAIN = ("failed", "out_of_memory")  # runs that may fare better with other code, and are then done again
BROKE = 3  # the exit status of a process whose device does nothing more
STARTS = 4  # of such a process


@dataclass(frozen=True)
class Table:
    """A table to be made: of runs, or of simulations."""

    name: str
    runs: tuple[Run, ...] = ()
    simulations: tuple[Simulation, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The tables of a profile in their order, and why runs of some data sets are left out, by data set.

    Rows of a data set that is not here any more are handed back all the same.
    """

    tables: tuple[Table, ...]
    absent: dict[str, str]


@dataclass(frozen=True, eq=False)
class State:
    """How far a table is: its rows so far, how many records are finished and can be, and which seeds are whole."""

    name: str
    rows: pd.DataFrame | None
    finished: int
    wanted: int
    seeds: tuple[int, ...]
    problems: tuple[str, ...]


def plan(grids: Path, profile: str, only: Sequence[str] = ()) -> Plan:
    """The tables that a folder of grids lists under a profile. ValueError for a profile or table that is not there."""
    there = {path.stem: path for path in sorted(grids.glob("*.toml"))}
    having = [name for name, path in there.items() if profile in runs.read_toml(path)]
    if not having:
        raise ValueError(f"no grid in {grids} has a profile {profile!r}: choose PROFILE=paper, quick or workstation")
    if strangers := [name for name in only if name not in having]:
        raise ValueError(f"profile {profile!r} has no table {strangers[0]!r}: it has {', '.join(having)}")
    studies = {name for name in having if "study" in runs.read_toml(there[name])}
    order = only or sorted(having, key=lambda name: (name in studies, _place(name), name))
    tables: list[Table] = []
    absent: dict[str, str] = {}
    for name in order:
        if name in studies:
            tables.append(Table(name, simulations=tuple(simulations.read_grid(there[name], profile))))
            continue
        listed = runs.read_grid(there[name], profile)
        absent |= {used: why for used in {run.dataset for run in listed} - absent.keys() if (why := _absent(used))}
        tables.append(Table(name, runs=tuple(listed)))
    return Plan(tuple(tables), absent)


def _place(name: str) -> int:
    return FIRST.index(name) if name in FIRST else len(FIRST)


def _absent(name: str) -> str:
    """Why a data set cannot be had without a network; empty where it can."""
    try:
        return "" if datasets.find(name) else f"it is not in {datasets.folder()}"
    except datasets.DataUnavailable as error:
        return str(error)


def batches(listed: Sequence[Run]) -> Iterator[list[Run]]:
    """The runs seed by seed, all cells of a seed before the next seed, in lists that can be trained at once."""
    for seed in sorted({run.seed for run in listed}):
        shapes: dict[tuple[object, ...], list[Run]] = {}
        for run in listed:
            if run.seed == seed:
                shapes.setdefault(tuple(getattr(run, name) for name in TOGETHER), []).append(run)
        yield from shapes.values()


def run(session: Session, plan: Plan, until: float, meanwhile: Callable[[], object]) -> None:
    """Make what is left of the tables, in a process that is begun again where it broke its device."""
    there = _taken(session.store)
    runs = [
        run for table in plan.tables for run in table.runs if run.key not in there and run.dataset not in plan.absent
    ]
    if all(_finished(session.store, run) for run in runs) and all(
        state.finished == state.wanted for state in states(plan, session)
    ):
        return
    given = {
        "store": str(session.store),
        "grids": str(session.root / "data" / "grids"),
        "profile": session.profile,
        "only": list(session.only),
    }
    for _ in range(STARTS):
        if parts.part(session, "tables", until, "tables", meanwhile=meanwhile, **given) in (None, 0):
            return


def fill(plan: Plan, store: Path, device: str, until: float) -> None:
    """Make what the store lacks of the tables, until a time. What raises an error is noted, and the rest goes on."""
    code = results.code_version()
    broken = {
        key
        for line in parts.lines(store / "problems.jsonl")
        if line["broke"] and line["code"] == code
        for key in line["keys"]
    }
    there = _taken(store)
    store = stores.prepare(store)
    for table in plan.tables:
        for batch in batches(table.runs):
            here = [run for run in batch if run.dataset not in plan.absent and run.key not in broken | there]
            todo = [run for run in here if not _finished(store, run)]
            if todo and not _tried(store, table, todo, partial(_sweep, todo, store, device, until)):
                raise SystemExit(BROKE)
        if table.simulations and not broken & {record.key for record in table.simulations}:
            work = partial(simulations.fill, _simulated(store, table), table.simulations, device=device)
            if not _tried(store, table, table.simulations, work):
                raise SystemExit(BROKE)


def _sweep(todo: Sequence[Run], store: Path, device: str, until: float) -> None:
    every = _every(until - time.time())
    start = time.perf_counter()
    table = sweeps.sweep(todo, store=store, device=device, progress=False, checkpoint_every=every).table
    print(f"{len(todo)} runs in {time.perf_counter() - start:.1f} s: {results.describe(table)}", flush=True)


def _every(left: float) -> float:
    """Seconds between two times at which runs in the middle are kept, so that the last is just before the end."""
    work = max(1.0, left - min(SPARE, left / 4))
    return work / math.ceil(work / OFTEN)


def _tried(store: Path, table: Table, todo: Sequence[Run | Simulation], work: Callable[[], object]) -> bool:
    """Do some work; an error is noted. False if the device does nothing more after it."""
    try:
        print(f"{table.name}: {len(todo)} from {todo[0].key} on", flush=True)
        work()
    except Exception as error:
        traceback.print_exc()
        broke = devices.broke(error)
        line = {
            "table": table.name,
            "keys": [record.key for record in todo],
            "why": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
            "broke": broke,
            "code": results.code_version(),
        }
        parts.add_line(store / "problems.jsonl", line)
        return not broke
    return True


def states(plan: Plan, session: Session) -> list[State]:
    """How far each table is."""
    problems, before = parts.lines(session.store / "problems.jsonl"), earlier.rows(session.store)
    states = []
    for table in plan.tables:
        wanted = len(table.simulations)
        said = tuple(dict.fromkeys(line["why"] for line in problems if line["table"] == table.name))
        whole: tuple[int, ...] = ()
        rows = None
        if table.runs:
            kept = results.tabled(k.row for run in table.runs if (k := _found(session.store, run)) is not None)
            taken = before[before["key"].isin({run.key for run in table.runs} - set(kept["key"]))]
            rows = pd.concat([kept, taken], ignore_index=True) if len(taken) else kept
            keys = set(rows["key"])
            wanted = sum(run.dataset not in plan.absent or run.key in keys for run in table.runs)
            seeds = sorted({run.seed for run in table.runs})
            whole = tuple(s for s in seeds if all(run.key in keys for run in table.runs if run.seed == s))
            rows = rows if len(rows) else None
        elif table.simulations and (path := _simulated(session.store, table)).exists():
            rows = results.read_table(path)
        finished = 0 if rows is None else rows["key"].nunique()
        states.append(State(table.name, rows, finished, wanted, whole, said))
    return states


def _simulated(store: Path, table: Table) -> Path:
    return store / "simulated" / f"{table.name}.parquet"


def _finished(store: Path, run: Run) -> bool:
    """Whether the store holds a run; one that failed with other code is set aside."""
    found = _found(store, run)
    if found is None or found.row["status"] not in AGAIN or found.row["code"] == results.code_version():
        return found is not None
    with stores.claim(store, [run]) as mine:
        for run in mine:
            stores.set_aside(store, run)
    return not mine


def _taken(store: Path) -> set[str]:
    """The runs of which an earlier session has rows; not those that failed, with whatever code."""
    rows = earlier.rows(store)
    return set(rows["key"][~rows["status"].isin(AGAIN)])


def _found(store: Path, run: Run) -> stores.Kept | None:
    with suppress(stores.Damaged):  # the sweep sets it aside
        return stores.find(store, run, weights=False)
    return None
