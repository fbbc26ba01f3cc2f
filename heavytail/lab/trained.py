"""The network of a stored run, from the file of its weights."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import partial
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor, nn

from heavytail.lab import datasets, models, results, store
from heavytail.lab.datasets import references
from heavytail.lab.runs import Run

ROWS = 64  # of the test split, as a sample


def trained(path: Path) -> tuple[nn.Module, Tensor]:
    """The trained network whose weights lie in a file, on the CPU, and samples of its data set's test split.

    path  KEY.safetensors, in the folder `weights` of a store by `heavytail sweep`, or beside the table.parquet of
          `Results.save` and `heavytail train --weights`; the column `key` of a table says which run is which

    Raises ValueError in one sentence for a file that belongs to neither, or is damaged.
    """
    in_store = path.parent.name == "weights" and (path.parents[1] / "rows").is_dir()
    run, weights = _of_store(path) if in_store else _of_results(path)
    dataset = _dataset(run, path.parents[1] if in_store else None)
    try:
        model = models.final_model(run, weights, dataset)
    except RuntimeError as error:  # torch names every weight, a line each
        raise ValueError(f"{path} does not hold the weights of its run's network {run.network!r}") from error
    return model.eval(), dataset.x_test[:ROWS]


def _of_store(path: Path) -> tuple[Run, dict[str, Tensor]]:
    folder, row = path.parents[1], path.parents[1] / "rows" / f"{path.stem}.json"
    if not row.is_file():
        raise ValueError(f"{path} belongs to no finished run: {row} is not there")
    try:
        values = json.loads(row.read_bytes())["row"]
        run = Run(**{field.name: values[field.name] for field in fields(Run)})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{row} is damaged: sweep the same grid again") from error
    kept = store.find(folder, run)
    if kept is None:
        raise ValueError(f"{row} is not that of the run in it: sweep the same grid again")
    return run, dict(store.Weights(folder, {run.key: kept.digest})[run.key])


def _of_results(path: Path) -> tuple[Run, dict[str, Tensor]]:
    beside = path.parent / "table.parquet"
    if not beside.is_file():
        raise ValueError(
            f"{path} is no network that compress.save wrote, and no weights of a stored run: there is no {beside}"
        )
    table = results.read_table(beside)
    if "key" not in table or path.stem not in set(table["key"]):
        raise ValueError(f"{beside} has no run {path.stem!r}, whose weights {path} would be")
    (run,) = results.runs_of(table[table["key"] == path.stem].head(1))
    try:
        return run, results.tensors_in(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{path} does not hold readable weights: make it again") from error


def _dataset(run: Run, folder: Path | None) -> datasets.Dataset:
    """The data set of a run: published, or its own as a store has it."""
    if run.dataset in datasets.NAMES:
        return datasets.load(run.dataset)
    held = partial(store.find_data, folder) if folder is not None else lambda name: None
    ids, sets = references.resolve([run.dataset], kept=held)
    return sets[ids.get(run.dataset, run.dataset)]
