"""The study of averaged kicks: its numbers against their definitions, on the same random numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from heavytail import laws, noise, tails
from heavytail.lab import simulations
from heavytail.lab.simulations import Averaging

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.needs_cuda)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", noise.NOISES)
def test_a_layer_is_a_common_start_plus_the_mean_of_its_clients_kicks(kind, device):
    record = Averaging(alpha=1.5, sigma=0.7, noise=kind, width=60, inputs=3, repeats=3, clients=5, spread=0.4)
    frame = simulations.simulate([record], device=device)
    found = {name: rows.sort_values("repeat")["value"].to_numpy() for name, rows in frame.groupby("quantity")}
    expected = {"scale": [], "index": [], "error": []}
    for part, many in enumerate(record.parts(5, device)):
        kicks = noise.vectors(1.5, kind, (*many, 5, 60, 3), generator=record.generator("noise", part, device))
        weights = record.generator("weights", part, device)
        start = torch.randn(*many, 60, 3, generator=weights, device=device, dtype=torch.float64)
        for kick, own in zip(kicks.reshape(-1, *kicks.shape[-3:]), start.reshape(-1, 60, 3), strict=True):
            mean = 0.7 * kick.double().sum(0).expand(60, 3) / 5
            expected["scale"].append(float(np.median(mean.norm(dim=1).cpu())) / laws.median_norm(1.5, kind, 3))
            expected["index"].append(tails.characteristic(mean[:, 0]).alpha)
            squares = np.sort((0.4 * own + mean).square().sum(1).cpu().numpy())
            expected["error"].append(np.sqrt(squares[:54].sum() / squares.sum()))
    assert found["scale"] == pytest.approx(expected["scale"], rel=1e-6)
    assert found["index"] == pytest.approx(expected["index"], rel=1e-6)
    assert found["error"] == pytest.approx(expected["error"], rel=1e-5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"clients": 0}, "clients must be a whole number >= 1, got 0"),
        ({"spread": -1.0}, "spread must be finite and >= 0, got -1"),
        ({"width": 4}, "keep=0.1 of width=4 keeps no neuron, or all: choose others"),
    ],
)
def test_a_bad_record_is_refused_in_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=rf"^{re.escape(sentence)}$"):
        Averaging(**{"alpha": 1.5, **change})
