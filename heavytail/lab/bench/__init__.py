"""Measurements of speed and memory: every one a ratio of times taken side by side, with its spread over rounds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import torch

from heavytail import streams
from heavytail.lab.bench import on_gpu
from heavytail.lab.bench.cases import CASES
from heavytail.lab.bench.on_gpu import Plan
from heavytail.lab.bench.reports import as_text, fastest_products, machine, read, read_all, report
from heavytail.lab.bench.timing import Figure, Missing


def bench(
    cases: Sequence[str] = (), *, device: torch.device | str = "cpu", plan: Plan | None = None
) -> Iterable[Figure]:
    """The figures of the named cases, or of all, as they come. A CUDA GPU has cases of its own: see `on_gpu`.

    A `plan` asks for those of a GPU on any device, at its sizes. A case that wants a package which is not
    installed, as `workers` wants Dask, is left out with a warning. Raises ValueError for an unknown case or a device
    that is not there, RuntimeError for a case that was named and lacks its package.
    """
    where = streams.present(device)
    there = cases_on(where, plan)
    for name in cases:
        if name not in there:
            raise ValueError(f"unknown case {name!r}: choose from {', '.join(there)}")
    for name in cases or there:
        try:
            yield from there[name](where)
        except Missing as error:
            if cases:
                raise
            warnings.warn(f"{error}; it is left out", stacklevel=2)


def cases_on(
    device: torch.device | str, plan: Plan | None = None
) -> Mapping[str, Callable[[torch.device], Iterator[Figure]]]:
    """The cases that `bench` has for a device, by name; with a `plan` those of a GPU. The most telling come first.

    >>> list(cases_on("cuda"))
    ['noise', 'step', 'grid', 'products', 'growth']
    """
    if plan is None and torch.device(device).type != "cuda":
        return CASES
    return {name: partial(case, plan or on_gpu.FULL) for name, case in on_gpu.CASES.items()}


__all__ = [
    "CASES",
    "Figure",
    "Plan",
    "as_text",
    "bench",
    "cases_on",
    "fastest_products",
    "machine",
    "read",
    "read_all",
    "report",
]
