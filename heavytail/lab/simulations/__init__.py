"""Simulations behind the theory: a frozen record in, one row a measured number out.

`Chaos` for T1, `Fluctuations` for its constant, `Discretisation` for T2, `Pruning` for T3, the rate, the limit law and
the required width, `Ablation` for what broken assumptions do to it, `Surely` and `Batches` for steps that see some
samples only, `Untrained` for what a network would prune without training, `Averaging` for kicks of many clients,
`Exposure` for what the inputs of a data set see of a kick. `Federated` and `Shipping` are no theory: trainings of many
clients and what they sent; trainings, and how accurate is what is left of them at every size.
"""

from __future__ import annotations

import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from heavytail import streams
from heavytail.lab import results, runs
from heavytail.lab.machine import devices, files
from heavytail.lab.simulations import (
    averaging,
    batches,
    chaos,
    discretisation,
    exposure,
    federated,
    fluctuations,
    pruning,
    shipping,
    untrained,
)
from heavytail.lab.simulations.averaging import Averaging
from heavytail.lab.simulations.batches import Batches, Surely
from heavytail.lab.simulations.chaos import Chaos
from heavytail.lab.simulations.discretisation import Discretisation
from heavytail.lab.simulations.exposure import Exposure
from heavytail.lab.simulations.federated import Federated
from heavytail.lab.simulations.fluctuations import Fluctuations
from heavytail.lab.simulations.pruning import Ablation, Pruning
from heavytail.lab.simulations.record import ACTIVATIONS, Simulation, teacher
from heavytail.lab.simulations.shipping import Shipping
from heavytail.lab.simulations.untrained import Untrained

_MEASURES: Mapping[str, tuple[type[Simulation], Callable[[Any, str], Mapping[Any, torch.Tensor]]]] = {
    "chaos": (Chaos, chaos.measure),
    "fluctuations": (Fluctuations, fluctuations.measure),
    "averaging": (Averaging, averaging.measure),
    "discretisation": (Discretisation, discretisation.measure),
    "pruning": (Pruning, pruning.measure),
    "ablation": (Ablation, pruning.measure),
    "surely": (Surely, batches.surely),
    "batches": (Batches, batches.order),
    "untrained": (Untrained, untrained.measure),
    "exposure": (Exposure, exposure.measure),
    "federated": (Federated, federated.measure),
    "shipping": (Shipping, shipping.measure),
}


def simulate(simulations: Iterable[Simulation], *, device: str = "cpu") -> pd.DataFrame:
    """Run simulations of one study: a table with one row a measured number, in the columns of `results.SIMULATED`.

    All is drawn on the device: torch's generators give other numbers of the same law on another one.
    Raises ValueError if there are none, or for a device that is not there, RuntimeError if one fails.
    """
    if not (todo := list(simulations)):
        raise ValueError("there is nothing to simulate: the list is empty")
    return pd.concat(list(each(todo, device=device)), ignore_index=True)


def each(simulations: Iterable[Simulation], *, device: str = "cpu") -> Iterator[pd.DataFrame]:
    """The rows of one simulation after the other, so that they can be kept as they come.

    One that fails is left out. RuntimeError names it when all others are done; or, before any, where git cannot say
    which code this is.
    """
    device = str(streams.present(device))
    results.code_version()  # which can fail: not after the work
    lost = []
    for simulation in simulations:
        _, measure = _MEASURES[simulation.study]
        start = time.perf_counter()
        try:
            found = measure(simulation, device)
        except Exception as error:
            if devices.broke(error):
                raise
            lost.append(f"{simulation} raised {type(error).__name__}: {error}".partition("\n")[0])
            continue
        seconds = time.perf_counter() - start
        rows = []
        for name, values in found.items():
            quantity, level = (name, 0) if isinstance(name, str) else name
            rows += [(quantity, level, repeat, value) for repeat, value in enumerate(values.tolist())]
        table = pd.DataFrame(rows, columns=["quantity", "level", "repeat", "value"])
        yield results.simulated(
            simulation.study, simulation.key, asdict(simulation), table, seconds=seconds, device=device
        )
    if lost:
        raise RuntimeError(f"{len(lost)} of the simulations could not be done, and all others are: {lost[0]}")


def fill(path: Path | str, simulations: Iterable[Simulation], *, device: str = "cpu") -> pd.DataFrame:
    """Run simulations into a table file, written again after each, and return the table.

    What the file already holds, made by the same code, is not run again: a run that was cut off goes on. Rows of other
    code stay until they are made again. (All uncommitted changes count as one code: commit before long computations.)
    What lacks a number, has one twice, or does not have the fields of its record is made again with a warning. A number
    changed in a table that is otherwise whole is not noticed.

    Raises ValueError if the file is damaged, holds simulations that are not asked for, or is being filled by somebody
    else, OSError if it cannot be written.
    """
    path, wanted = results.table_path(path), list(simulations)
    place = Path(os.path.realpath(path))
    lock = place.with_name(f".{place.name}.lock")
    if path.exists() and not _left(_held(path, wanted), wanted):
        files.remove_if_free(lock)  # of a writer that was killed
        return results.read_table(path)  # which need not be writable
    results.check_places(path)
    with files.locked(lock) as mine:
        if not mine:
            raise ValueError(f"another simulate is at {path}: wait until it is done, or name another table")
        there = _held(path, wanted)
        todo = _left(there, wanted)
        for simulation in todo:
            if reason := _spoiled(there.get(simulation.key), simulation):
                warnings.warn(f"{path} {reason}, and it is run again", stacklevel=2)
                del there[
                    simulation.key
                ]  # its columns may be of other types, which no table holds beside the right ones
        for rows in each(todo, device=device):
            there[rows["key"].iloc[0]] = rows
            known = [there[simulation.key] for simulation in wanted if simulation.key in there]
            results.write_table(pd.concat(known, ignore_index=True), path)
    return results.read_table(path)


def _held(path: Path, wanted: Iterable[Simulation]) -> dict[str, pd.DataFrame]:
    """The rows that a table holds, by key. ValueError if it holds others than are wanted."""
    if not path.exists():
        return {}
    table = results.read_table(path)
    strangers = set(table["key"]) - {simulation.key for simulation in wanted}
    if strangers:
        raise ValueError(f"{path} holds {len(strangers)} simulations that the grid does not list: move it away first")
    return dict(iter(table.groupby("key", sort=False)))


def _left(there: Mapping[str, pd.DataFrame], wanted: Iterable[Simulation]) -> list[Simulation]:
    """The simulations that are not there, were made by other code, or whose rows are not all that was written."""
    return [
        simulation
        for simulation in wanted
        if (rows := there.get(simulation.key)) is None
        or set(rows["code"]) != {results.code_version()}
        or _spoiled(rows, simulation)
    ]


def _spoiled(rows: pd.DataFrame | None, simulation: Simulation) -> str:
    """What of a simulation's rows is not as it was written, to be told after the name of the file; empty if nothing."""
    if rows is None:
        return ""
    record = {"study": simulation.study, **asdict(simulation)}
    if any(name not in rows or not (rows[name] == value).all() for name, value in record.items()):
        return f"holds other fields than those of the simulation {simulation.key} under its key"
    found = Counter(zip(rows["quantity"], rows["level"], rows["repeat"], strict=True))
    promised = {(*name, repeat): 1 for name, count in simulation.numbers.items() for repeat in range(count)}
    if found != promised:
        return f"holds {len(rows)} numbers of the simulation {simulation.key}, not each of its {len(promised)} once"
    if any(rows[name].nunique(dropna=False) != 1 for name in ("code", "torch", "device", "sampler", "seconds")):
        return f"holds rows of the simulation {simulation.key} that were not made together"
    if rows["value"].dtype.kind != "f":
        return f"holds values of the simulation {simulation.key} that are no numbers"
    return ""


def read_grid(path: Path | str, profile: str, /, **changes: Any) -> list[Simulation]:
    """The simulations a TOML file lists under `[[profile]]`, of the kind its `study` names; see `runs.read_grid`."""
    lists = runs.read_toml(path)
    study = str(lists.get("study"))
    if study not in _MEASURES:
        other = "" if "study" in lists else "; if it lists runs, it is for `heavytail train` or `heavytail sweep`"
        raise ValueError(f"{Path(path).name} must name its study: one of {', '.join(_MEASURES)}, not {study}{other}")
    return runs.records_of(_MEASURES[study][0], lists, path, profile, changes)


def fields_of(study: str) -> tuple[str, ...]:
    """The fields of a study's simulations, which its tables have as columns.

    >>> fields_of("surely")[:3]
    ('alpha', 'sigma', 'noise')
    """
    kind, _ = _MEASURES[study]
    return tuple(field.name for field in fields(kind))


def simulations_of(table: pd.DataFrame) -> list[Simulation]:
    """The simulations of a table, in its order, so that any number can be traced to the record that makes it again."""
    kind, _ = _MEASURES[table["study"].iloc[0]]
    names = [field.name for field in fields(kind)]
    known: list[dict[str, Any]] = table.drop_duplicates("key")[names].astype(object).to_dict("records")
    return [kind(**record) for record in known]


__all__ = [
    "ACTIVATIONS",
    "Ablation",
    "Averaging",
    "Batches",
    "Chaos",
    "Discretisation",
    "Exposure",
    "Federated",
    "Fluctuations",
    "Pruning",
    "Shipping",
    "Simulation",
    "Surely",
    "Untrained",
    "each",
    "fields_of",
    "fill",
    "read_grid",
    "simulate",
    "simulations_of",
    "teacher",
]
