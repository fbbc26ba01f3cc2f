"""The noise of a run: what decides it, and what is left to be compared in pairs."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from goodness_of_fit import is_fair
from scipy import stats

from heavytail import Run, _sampler
from heavytail.lab import training

RUN = Run(dataset="digits", width=200, noise="entrywise", alpha=1.5, sigma=0.1)
# What decides the noise, and everything else that a run may be set to.
DECIDES = {"seed": 1, "dataset": "mnist", "network": "mean_field", "width": 100, "depth": 2, "noise": "shared"}
LEAVES = {
    "alpha": 1.9,
    "sigma": 0.3,
    "lr": 0.01,
    "weight_decay": 0.1,
    "group_lasso": 0.1,
    "validation": 50,
    "tune_steps": 3,
    "robustness": 20,
    "batch_size": 32,
    "samples": 100,
    "max_steps": 7,
    "eval_every": 3,
    "stop_accuracy": 1.0,
    "patience": 3,
    "products": "bfloat16",
    "unit": "kernel",
    "along": "unseen",
}
NEEDS = {"patience": {"stop_accuracy": 1.0}, "along": {"noise": "shared"}}
DRAWS = 20_000


def drawn(run):
    """The unit draws of a lane of a step: what an entry of a weight, or a unit, gets."""
    return _sampler.symmetric(run.alpha, DRAWS, key=training.noise_key(run), step=5)


def test_every_field_of_a_run_is_said_to_decide_the_noise_or_not():
    assert DECIDES.keys() | LEAVES.keys() == {field.name for field in fields(Run)}
    assert DECIDES.keys().isdisjoint(LEAVES)


@pytest.mark.parametrize("field", DECIDES)
def test_runs_of_another_seed_data_set_network_shape_or_noise_have_independent_kicks(field):
    """False alarm 1e-6 each, seeded. Runs of one key would be alike in all draws."""
    one, other = drawn(RUN), drawn(replace(RUN, **{field: DECIDES[field]}))
    assert not np.isin(np.abs(one), np.abs(other)).mean() > 0.01  # no shifted copy either
    assert is_fair(int((np.sign(one) == np.sign(other)).sum()), DRAWS)
    large = np.abs(one) > np.median(np.abs(one))
    assert is_fair(int((large == (np.abs(other) > np.median(np.abs(other)))).sum()), DRAWS)


@pytest.mark.parametrize("field", LEAVES)
def test_runs_that_differ_in_anything_else_are_kicked_by_the_same_random_words(field):
    run = replace(RUN, **NEEDS.get(field, {}))
    assert training.noise_key(replace(run, **{field: LEAVES[field]})) == training.noise_key(run)


def test_kicks_at_another_alpha_are_coupled():
    one, other = drawn(RUN), drawn(replace(RUN, alpha=1.9))
    assert np.array_equal(np.sign(one), np.sign(other))
    assert stats.spearmanr(np.abs(one), np.abs(other)).statistic > 0.9
    assert not np.array_equal(one, other)


def test_all_pairs_of_runs_of_a_large_experiment_have_keys_of_their_own():
    runs = [
        replace(RUN, dataset=dataset, width=width, depth=depth, noise=noise, seed=seed)
        for dataset in ("mnist", "ecg5000", "cifar10")
        for width in (10, 100, 1000)
        for depth in (1, 2)
        for noise in ("shared", "entrywise", "isotropic")
        for seed in range(50)
    ]
    assert len({training.noise_key(run) for run in runs}) == len(runs)
