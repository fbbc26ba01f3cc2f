"""Measures on tables whose answers are known: pairing by seed, intervals, failures counted."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_up_results import SETTINGS, diverged, measured, sweep, table
from scipy import stats

from heavytail import Run
from heavytail.evidence import experiments
from heavytail.evidence.cells import Cell, mean_cell
from heavytail.lab import results

PLAIN = {1: 0.10, 2: 0.20, 3: 0.40}
GAIN = {1: 0.01, 2: 0.04, 3: 0.02}


def noisy(seed, noise="shared", alpha=1.75, sigma=0.1):
    return Run(noise=noise, alpha=alpha, sigma=sigma, seed=seed)


def t_interval(values):
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    return pytest.approx((low, high), rel=1e-9)


def test_a_cell_is_the_mean_with_students_interval():
    values = [0.3, 0.1, 0.2, 0.6]
    cell = mean_cell("here", values)
    assert (cell.label, cell.runs, cell.failed) == ("here", 4, 0)
    assert cell.value == pytest.approx(0.3)
    assert (cell.low, cell.high) == t_interval(values)


def test_failed_runs_are_counted_and_left_out_of_the_mean():
    cell = mean_cell("here", pd.Series([0.3, math.nan, 0.1, math.inf]))
    assert (cell.value, cell.runs, cell.failed) == (pytest.approx(0.2), 2, 2)
    assert (cell.low, cell.high) == t_interval([0.3, 0.1])


def test_one_seed_has_an_infinite_interval_and_decides_nothing():
    cell = mean_cell("here", [0.5])
    assert (cell.value, cell.low, cell.high, cell.runs) == (0.5, -math.inf, math.inf, 1)
    assert cell.verdict((0, math.inf)) == cell.verdict((-1, 1)) == "mixed"
    none = mean_cell("here", [math.nan])
    assert math.isnan(none.value)
    assert (none.runs, none.failed, none.verdict((0, math.inf))) == (0, 1, "mixed")
    assert none.number() == "none of 1 runs finished"
    assert mean_cell("here", [0.5, 0.25]).number() == "+0.375 [-1.21, +1.96]"


@pytest.mark.parametrize(
    ("interval", "expected", "verdict"),
    [
        ((0.1, 0.2), (0, math.inf), "supported"),
        ((-0.2, -0.1), (0, math.inf), "not supported"),
        ((-0.1, 0.1), (0, math.inf), "mixed"),
        ((0.0, 0.1), (0, math.inf), "mixed"),  # the ends of the range do not belong to it
        ((-0.1, 0.0), (0, math.inf), "mixed"),
        ((0.0, 0.0), (0, math.inf), "mixed"),
        ((-0.5, 0.5), (-1, 1), "supported"),
        ((-1.0, 0.5), (-1, 1), "mixed"),
        ((-0.5, 1.0), (-1, 1), "mixed"),
        ((1.1, 1.2), (-1, 1), "not supported"),
        ((-3.0, 3.0), (-1, 1), "mixed"),
        ((-math.inf, math.inf), (-math.inf, math.inf), "mixed"),
    ],
)
def test_the_verdict_follows_from_where_the_interval_lies(interval, expected, verdict):
    assert Cell("", sum(interval) / 2, *interval, runs=3).verdict(expected) == verdict


@pytest.mark.parametrize(
    ("measure", "column"),
    [(experiments.compressibility, "pruning_ratio"), (experiments.accuracy_before, "test_accuracy")],
)
def test_noise_is_compared_with_the_plain_run_of_the_same_seed(measure, column):
    rows = [(Run(seed=seed), measured(**{column: PLAIN[seed]})) for seed in (3, 1, 2)]
    rows += [(noisy(seed), measured(**{column: PLAIN[seed] + GAIN[seed]})) for seed in (1, 2, 3)]
    (cell,) = measure(table(rows))
    assert cell.label == "shared, α = 1.75, σ = 0.1"
    assert cell.value == pytest.approx(np.mean(list(GAIN.values())))
    assert (cell.low, cell.high) == t_interval(list(GAIN.values()))  # unpaired it would be five times as wide


def test_a_run_whose_partner_failed_or_is_missing_counts_as_failed():
    rows = [(Run(seed=1), measured()), (Run(seed=2), diverged()), (Run(seed=4), measured()), (Run(seed=5), measured())]
    rows += [(noisy(seed), measured(pruning_ratio=0.5)) for seed in (1, 2, 3, 4)] + [(noisy(5), diverged())]
    (cell,) = experiments.compressibility(table(rows))
    assert (cell.runs, cell.failed) == (2, 3)
    assert cell.value == pytest.approx(0.4)


def test_every_noise_alpha_and_sigma_is_a_cell_of_its_own():
    settings = [("isotropic", 1.75, 0.1), ("shared", 1.9, 0.1), ("shared", 1.75, 0.2), ("shared", 1.75, 0.1)]
    frame = sweep(lambda seed: {}, lambda *_: {}, settings)
    assert [cell.label for cell in experiments.compressibility(frame)] == [
        "isotropic, α = 1.75, σ = 0.1",
        "shared, α = 1.75, σ = 0.1",
        "shared, α = 1.75, σ = 0.2",
        "shared, α = 1.9, σ = 0.1",
    ]


def test_a_named_noise_of_scale_zero_is_neither_noisy_nor_plain():
    frame = table([(Run(seed=1), measured()), (noisy(1, sigma=0), measured()), (noisy(1), measured())])
    assert [cell.label for cell in experiments.compressibility(frame)] == ["shared, α = 1.75, σ = 0.1"]


def test_accuracy_at_equal_share_is_the_mean_over_the_shares_between_none_and_all():
    plain, better = measured(), measured()
    for share in results.SHARES:
        better[f"test_accuracy_share_{share:.1f}"] = 0.9 + share / 10 if share < 1 else -50.0
    better["test_accuracy_share_0.0"] = 99.0
    frame = table([(Run(seed=1), plain), (Run(seed=2), plain), (noisy(1), better), (noisy(2), better)])
    (cell,) = experiments.accuracy_at_equal_share(frame)
    assert cell.value == pytest.approx(0.05)  # the mean of 0.01, 0.02 ... 0.09


def test_a_share_without_an_accuracy_makes_the_run_a_failed_one():
    gap = measured(**{"test_accuracy_share_0.5": math.nan})
    frame = table([(Run(seed=s), measured()) for s in (1, 2, 3)] + [(noisy(1), gap), (noisy(2), measured())])
    (cell,) = experiments.accuracy_at_equal_share(frame)
    assert (cell.runs, cell.failed) == (1, 1)


def test_accuracy_kept_compares_a_noisy_run_with_itself():
    rows = [(Run(seed=1), measured(test_accuracy_pruned=0.0))]
    lost = {1: -0.02, 2: 0.01, 3: -0.05}
    rows += [(noisy(s), measured(test_accuracy=0.9, test_accuracy_pruned=0.9 + change)) for s, change in lost.items()]
    (cell,) = experiments.accuracy_kept(table(rows))
    assert cell.value == pytest.approx(-0.02)
    assert (cell.low, cell.high) == t_interval(list(lost.values()))


def test_heavier_tail_compares_the_smallest_alpha_with_the_largest_seed_by_seed():
    def ratio(noise, alpha, seed):
        between = {1.75: 0.3 + GAIN[seed], 1.8: 99.0, 1.9: 0.3}[alpha] + PLAIN[seed]
        return {"pruning_ratio": between if noise == "shared" else 0.5}

    settings = [(noise, alpha, 0.1) for noise in ("shared", "isotropic") for alpha in (1.9, 1.8, 1.75)]
    flat, shared = experiments.heavier_tail(sweep(lambda seed: {}, ratio, settings))
    assert (flat.label, flat.value) == ("isotropic, α = 1.75 against 1.9", 0)
    assert shared.label == "shared, α = 1.75 against 1.9"
    assert (shared.low, shared.high) == t_interval(list(GAIN.values()))


def test_heavier_tail_counts_seeds_of_which_one_side_failed():
    rows = [(noisy(seed, alpha=1.75), measured(pruning_ratio=0.5)) for seed in (1, 2, 3)]
    rows += [(noisy(1, alpha=1.9), diverged())]
    rows += [(noisy(seed, alpha=1.9), measured(pruning_ratio=0.2)) for seed in (2, 3)]
    (cell,) = experiments.heavier_tail(table(rows))
    assert (cell.runs, cell.failed) == (2, 1)
    assert cell.value == pytest.approx(0.3)


def test_heavier_tail_says_nothing_of_a_noise_at_a_single_alpha():
    assert experiments.heavier_tail(sweep(lambda seed: {}, lambda *_: {}, [("shared", 1.75, 0.1)])) == []


def test_relative_loss_looks_at_shared_noise_only():
    rows = [(Run(seed=seed), measured(train_loss=seed * 0.1)) for seed in (1, 2)]
    rows += [(noisy(seed), measured(train_loss=seed * 0.1 * (1 + seed / 1000))) for seed in (1, 2)]
    rows += [(noisy(seed, "entrywise"), measured(train_loss=5.0)) for seed in (1, 2)]
    (cell,) = experiments.relative_loss(table(rows))
    assert cell.label == "shared, α = 1.75, σ = 0.1"
    assert cell.value == pytest.approx(0.0015)
    (cell,) = experiments.shared_compressibility(table(rows))
    assert cell.label == "shared, α = 1.75, σ = 0.1"


def test_collapses_are_a_share_of_noisy_runs_with_the_exact_interval():
    rows = [(Run(seed=1), measured(train_accuracy_pruned=0.1))]  # no noise: does not count
    rows += [(noisy(seed), measured()) for seed in range(7)]
    rows += [(noisy(7), measured(train_accuracy=0.95, train_accuracy_pruned=0.86))]  # nine points: no collapse
    rows += [(noisy(8), measured(train_accuracy=0.95, train_accuracy_pruned=0.84))]
    rows += [(noisy(9), measured(train_accuracy=0.95, train_accuracy_pruned=0.30)), (noisy(10), diverged())]
    (cell,) = experiments.collapses(table(rows))
    assert (cell.label, cell.value, cell.runs, cell.failed) == ("2 of 10 runs", 0.2, 10, 1)
    assert cell.low == pytest.approx(stats.beta.ppf(0.025, 2, 9))
    assert cell.high == pytest.approx(stats.beta.ppf(0.975, 3, 8))


def test_collapses_of_runs_that_all_failed_decide_nothing():
    (cell,) = experiments.collapses(table([(noisy(1), diverged()), (noisy(2), diverged())]))
    assert (cell.runs, cell.failed, cell.verdict((0.01, math.inf))) == (0, 2, "mixed")


MEASURES = [
    experiments.compressibility,
    experiments.accuracy_before,
    experiments.accuracy_at_equal_share,
    experiments.accuracy_kept,
    experiments.heavier_tail,
    experiments.relative_loss,
    experiments.shared_compressibility,
    experiments.collapses,
]


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)
def test_a_table_without_noise_has_no_cells(measure):
    assert measure(table([(Run(seed=1), measured()), (Run(seed=2), measured())])) == []


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)
def test_a_measure_of_runs_that_all_diverged_is_a_cell_without_a_verdict(measure):
    frame = sweep(lambda seed: diverged(), lambda *_: diverged())
    cells = measure(frame)
    assert cells
    assert all(cell.runs == 0 and cell.failed >= 3 for cell in cells)
    assert {cell.verdict((0, math.inf)) for cell in cells} == {"mixed"}


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)
def test_the_order_of_rows_and_a_way_over_the_disk_change_nothing(measure, tmp_path):
    rng = np.random.default_rng(0)
    frame = sweep(
        lambda seed: {"train_loss": rng.random(), "pruning_ratio": rng.random()},
        lambda *_: {"train_loss": rng.random(), "pruning_ratio": rng.random(), "test_accuracy": rng.random()},
        SETTINGS,
    )
    results.write_table(frame.sample(frac=1, random_state=1), tmp_path / "t.parquet")
    again = measure(results.read_table(tmp_path / "t.parquet"))
    assert [cell.label for cell in again] == [cell.label for cell in measure(frame)]
    for one, other in zip(again, measure(frame), strict=True):
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), rel=1e-9)


@pytest.mark.parametrize(("name", "values"), [("depth", [2, 4]), ("width", [50, 80]), ("unit", ["filter", "kernel"])])
def test_runs_of_different_networks_are_never_compared(name, values):
    """Both networks gain the same; across networks the difference would be anything else."""
    rows = []
    for offset, value in enumerate(values):
        for seed in PLAIN:
            base = PLAIN[seed] + offset / 3
            rows.append((Run(seed=seed, **{name: value}), measured(pruning_ratio=base)))
            for alpha, gain in ((1.5, 2 * GAIN[seed]), (1.9, GAIN[seed])):
                run = replace(noisy(seed, alpha=alpha), **{name: value})
                rows.append((run, measured(pruning_ratio=base + gain)))
    cells = experiments.compressibility(table(rows))
    assert [cell.label for cell in cells] == [
        f"shared, α = {alpha}, σ = 0.1, {name} {value}" for value in values for alpha in (1.5, 1.9)
    ]
    gains = list(GAIN.values())
    for cell, factor in zip(cells, (2, 1, 2, 1), strict=True):
        assert (cell.low, cell.high) == t_interval([factor * gain for gain in gains])
    heavier = experiments.heavier_tail(table(rows))
    assert [cell.label for cell in heavier] == [f"shared, α = 1.5 against 1.9, {name} {value}" for value in values]
    assert all((cell.low, cell.high) == t_interval(gains) for cell in heavier)
