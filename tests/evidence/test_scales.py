"""The scale of a table follows from its rows: data set, width, samples, and how far plain SGD was trained."""

from __future__ import annotations

import pandas as pd
import pytest
from made_up_results import measured, table

from heavytail import Run
from heavytail.evidence.scales import SCALES, scale


def of(accuracy=0.96, verified=True, **fields):
    return table([(Run(seed=seed, **fields), measured(train_accuracy=accuracy, verified=verified)) for seed in (1, 2)])


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        (of(), "full"),  # ECG5000 at 2000 neurons
        (of(width=10_000), "full"),
        (of(width=1999), "reduced"),
        (of(width=200), "reduced"),
        (of(width=199), "toy"),
        (of(accuracy=0.949), "reduced"),
        (of(accuracy=0.47), "toy"),
        (of(accuracy=float("nan")), "toy"),
        (of(samples=499), "reduced"),
        (of(samples=49), "toy"),
        (of(verified=False), "reduced"),
        (of(dataset="mnist", width=5000), "full"),
        (of(dataset="mnist", width=2000), "reduced"),
        (of(dataset="cifar10", width=50), "full"),  # of a fully connected one no width is known
        (of(dataset="cifar10", width=50, samples=5000), "reduced"),
        (of(dataset="cifar10", network="vgg", width=128), "full"),
        (of(dataset="cifar10", network="vgg", width=8), "toy"),
        (of(dataset="digits", width=5000), "toy"),  # no data set of the paper
        (of(dataset="mine@0123456789ab", width=5000), "toy"),
        (of(dataset="ecg5000-shuffled@0123456789ab"), "full"),  # another split of it
        (pd.concat([of(), of(width=100)]), "full"),  # the widest counts
        (pd.concat([of(), of(dataset="digits")]), "toy"),  # of several data sets the smallest
    ],
)
def test_the_scale_of_a_table_of_runs_is_how_much_of_the_known_setting_there_is(rows, word):
    assert scale(rows) == word
    assert word in SCALES


@pytest.mark.parametrize(("width", "word"), [(2000, "reduced"), (1999, "toy"), (10**6, "reduced")])
def test_simulations_are_never_full_as_a_theorem_speaks_of_all_widths(width, word):
    assert scale(pd.DataFrame({"study": ["pruning"] * 2, "width": [1, width]})) == word


def test_neither_penalties_nor_small_networks_nor_a_poor_step_size_say_how_far_plain_sgd_was_trained():
    others = [of(0.1, weight_decay=0.1), of(0.1, group_lasso=0.1), of(0.1, width=100), of(0.1, lr=9.0)]
    assert scale(pd.concat([of(), *others])) == "full"
    assert scale(pd.concat([of(0.1), of(weight_decay=0.1), of(group_lasso=0.1), of(width=100)])) == "toy"


def test_noisy_runs_do_not_say_how_far_plain_sgd_was_trained():
    noisy = table([(Run(noise="shared", alpha=1.5, sigma=0.1, seed=1), measured(train_accuracy=0.1))])
    assert scale(pd.concat([of(), noisy, noisy.assign(seed=2), noisy.assign(seed=3)])) == "full"
