"""What a store is given in tests: two runs, an outcome and a snapshot with numbers put in by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from made_up_results import measured

from heavytail import Run
from heavytail.lab import results
from heavytail.lab.trainer import Outcome, Snapshot

RUN = Run(dataset="digits", width=4, seed=1)
OTHER = Run(dataset="digits", width=4, seed=2)


def weights(seed=0):
    drawn = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
    return {"1.weight": drawn, "3.weight": drawn.T.clone(), "bias": torch.tensor([math.nan, math.inf, -0.0])}


def outcome(run, numbers=None, seed=0):
    return Outcome(run, results.row(run, numbers or measured()), weights(seed))


def snapshot(run, **changes):
    return replace(Snapshot(run=run, step=7, weights=weights(3), best=0.1 + 0.2, waited=2, seconds=1.5), **changes)


def assert_equal(one, two):
    assert list(one) == list(two)
    for name, value in one.items():
        assert value.dtype == two[name].dtype
        assert torch.equal(value.contiguous().view(torch.int32), two[name].contiguous().view(torch.int32))
