"""What a run draws from a torch generator is drawn on the CPU: another device gives other numbers for the same seed."""

from __future__ import annotations

import ast
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from made_up_data import made_up
from torch import nn

import heavytail
from heavytail import Run, streams
from heavytail.lab import models, training

META = torch.device("meta")  # no generator can be made for it
BASE = Run(dataset="digits", width=8, lr=0.1, max_steps=8, seed=5)
RUNS = {
    "two layers": BASE,
    "deeper": replace(BASE, depth=3),
    "mean field": replace(BASE, network="mean_field"),
    "convolutions": replace(BASE, dataset="cifar10", network="vgg", width=2),
    "one's own": replace(BASE, network=":own"),
}
# Whose numbers are those of a device on purpose: the studies, and what the benchmarks of a device hold against it.
ON_A_DEVICE = ("lab/simulations/", "lab/bench/")


def own(shape, classes, *, width, depth, generator):
    model = nn.Sequential(nn.Linear(shape[0], width), nn.Tanh(), nn.Linear(width, classes))
    for weight in model.parameters():
        nn.init.normal_(weight, generator=generator)
    return model


@pytest.mark.parametrize("kind", RUNS)
def test_a_network_is_drawn_on_the_cpu_and_lies_with_its_data(kind, monkeypatch):
    drawn, parts = [], streams.generator
    monkeypatch.setattr(streams, "generator", lambda *a, **k: drawn.append(parts(*a, **k)) or drawn[-1])
    run = RUNS[kind]
    dataset = made_up("cifar10", rows=(8, 6), shape=(3, 32, 32)) if run.dataset == "cifar10" else made_up()
    model = models.initial_model(run, dataset.to(META), own)
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}
    there = models.initial_model(run, dataset, own).state_dict()
    assert {name: w.shape for name, w in model.state_dict().items()} == {name: w.shape for name, w in there.items()}
    first, again = (torch.rand(5, generator=generator) for generator in drawn)
    assert torch.equal(first, again)  # as many numbers were taken of one stream


@pytest.mark.parametrize("stream", ["batches", "tuning"])
def test_shuffles_are_drawn_on_the_cpu_and_moved(stream, monkeypatch):
    run, moved, to = replace(BASE, batch_size=15), [], torch.Tensor.to
    wanted = list(islice(training.batches(run, 40, "cpu", 4, stream), 5))
    monkeypatch.setattr(torch.Tensor, "to", lambda one, device: moved.append(one.clone()) or to(one, device))
    batches = list(islice(training.batches(run, 40, META, 4, stream), 5))
    assert [rows.shape for rows in batches] == [rows.shape for rows in wanted]
    assert {rows.device for rows in batches} == {META}
    assert torch.equal(torch.cat(moved)[15:80], torch.cat(wanted))  # from the fifth step on, in three epochs


def test_nothing_that_a_run_draws_names_a_device():
    """Of the whole library: studies and rivals in benchmarks apart, no generator is made for a device."""
    top, found, seen = Path(heavytail.__file__).parent, [], 0
    for path in sorted(top.rglob("*.py")):
        name = path.relative_to(top).as_posix()
        if name.startswith(ON_A_DEVICE) or name == "streams.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("streams.generator", "torch.Generator"):
                seen += 1
                plain = node.func.attr == "generator" or not node.args  # type: ignore[union-attr]
                if not plain or any(given.arg in ("device", None) for given in node.keywords):
                    found.append(f"{name}:{node.lineno}")
    assert seen > 5
    assert not found
