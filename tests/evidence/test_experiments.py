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
from heavytail.evidence.cells import Sample, median_cell, medians
from heavytail.lab import results

SEEDS = range(1, 7)
PLAIN = dict(zip(SEEDS, (0.10, 0.20, 0.40, 0.60, 0.30, 0.50), strict=True))
GAIN = dict(zip(SEEDS, (0.01, 0.04, 0.02, 0.03, 0.08, 0.05), strict=True))
ENDS = pytest.approx((0.035, 0.01, 0.08))  # of six seeds: their median, the smallest and the largest


def noisy(seed, noise="shared", alpha=1.75, sigma=0.1, **fields):
    return Run(noise=noise, alpha=alpha, sigma=sigma, seed=seed, **fields)


def ends(cell):
    return cell.value, cell.low, cell.high


def test_a_cell_is_the_median_between_order_statistics():
    cell = median_cell("here", [0.3, 0.1, 0.2, 0.6, 0.4, 0.7, 0.9, 0.8, 0.5])
    assert (cell.label, cell.runs, cell.failed, cell.seeds) == ("here", 9, 0, 9)
    assert ends(cell) == (0.5, 0.2, 0.8)  # the second and the eighth of nine: 4% lie outside


def test_failed_runs_are_counted_and_widen_the_interval():
    values = [0.3, 0.1, 0.2, 0.6, 0.4, 0.7, 0.9, 0.8]
    cell = median_cell("here", pd.Series([*values, math.nan]))
    assert (cell.value, cell.runs, cell.failed, cell.seeds) == (pytest.approx(0.5), 8, 1, 9)
    assert (cell.low, cell.high) == (0.1, 0.9)


def test_fewer_than_six_seeds_have_no_interval_and_decide_nothing():
    cell = median_cell("here", [0.5, 0.25, 0.4, 0.3, 0.9])
    assert ends(cell) == (0.4, -math.inf, math.inf)
    assert cell.judged((0, math.inf)).verdict == cell.judged((-1, 1)).verdict == "undecided"
    assert cell.number() == "+0.4, 5 seeds: +0.25 to +0.9"
    assert cell.number(percent=True) == "+40.0, 5 seeds: +25.0 to +90.0"
    none = median_cell("here", [math.nan])
    assert math.isnan(none.value)
    assert (none.runs, none.failed, none.judged((0, math.inf)).verdict) == (0, 1, "undecided")
    assert none.number() == "none of 1 runs finished"
    assert median_cell("here", [0.1] * 5 + [0.3]).number() == "+0.1 [+0.1, +0.3]"


def test_samples_of_several_noise_types_share_one_level():
    values = pd.Series([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    alone, *family = (
        medians([Sample("", noise, values) for noise in noises])
        for noises in (["shared", "shared"], ["shared", "isotropic"], ["shared", "entrywise", "isotropic"])
    )
    assert [ends(cell) for cell in alone] == [(0.35, 0.1, 0.6)] * 2
    assert all(ends(cell) == (0.35, -math.inf, math.inf) for cells in family for cell in cells)  # wants seven seeds
    seven = medians([Sample("", noise, pd.Series(range(7))) for noise in ("shared", "entrywise", "isotropic")])
    assert {ends(cell) for cell in seven} == {(3, 0, 6)}
    assert [cell.noise for cell in seven] == ["shared", "entrywise", "isotropic"]


@pytest.mark.parametrize(
    ("measure", "column"),
    [(experiments.compressibility, "pruning_ratio"), (experiments.accuracy_before, "test_accuracy")],
)
def test_noise_is_compared_with_the_plain_run_of_the_same_seed(measure, column):
    rows = [(Run(seed=seed), measured(**{column: PLAIN[seed]})) for seed in reversed(SEEDS)]
    rows += [(noisy(seed), measured(**{column: PLAIN[seed] + GAIN[seed]})) for seed in SEEDS]
    (cell,) = measure(table(rows))
    assert cell.label == "shared, α = 1.75, σ = 0.1"
    assert ends(cell) == ENDS  # unpaired it would be seven times as wide
    assert cell.noise == "shared"


def test_a_run_whose_partner_failed_or_is_missing_counts_as_failed():
    rows = [(Run(seed=1), measured()), (Run(seed=2), diverged()), (Run(seed=4), measured()), (Run(seed=5), measured())]
    rows += [(noisy(seed), measured(pruning_ratio=0.5)) for seed in (1, 2, 3, 4)] + [(noisy(5), diverged())]
    (cell,) = experiments.compressibility(table(rows))
    assert (cell.runs, cell.failed) == (2, 3)
    assert cell.value == pytest.approx(0.4)


def test_every_noise_alpha_and_sigma_is_a_cell_of_its_own_and_what_noise_does_is_asked_of_the_strongest():
    settings = [("isotropic", 1.75, 0.1), ("shared", 1.9, 0.1), ("shared", 1.75, 0.2), ("shared", 1.75, 0.1)]
    frame = sweep(lambda seed: {}, lambda *_: {}, settings)
    strong = ["isotropic, α = 1.75, σ = 0.1", "shared, α = 1.75, σ = 0.2", "shared, α = 1.9, σ = 0.1"]
    for measure in (experiments.compressibility, experiments.accuracy_before, experiments.accuracy_kept):
        assert [cell.label for cell in measure(frame)] == strong
    assert [cell.label for cell in experiments.collapses(frame)] == [f"{label}, 0 of 3 runs" for label in strong]


def test_the_strongest_noise_of_each_network_stays_and_all_that_has_none():
    wide = replace(noisy(1, sigma=0.1), width=2 * Run().width)
    runs = [Run(seed=1), replace(Run(seed=1), weight_decay=0.1), noisy(1, sigma=0.1), noisy(1, sigma=0.3), wide]
    frame = table([(run, measured()) for run in runs])
    assert experiments.strongest(frame)["key"].tolist() == [run.key for run in (*runs[:2], *runs[3:])]


def test_the_better_network_is_asked_of_each_noise_type_once_at_its_best_setting_on_each_network():
    """That of Type-I is neither the strongest nor the heaviest; one that diverges in one run of two guesses there."""
    accuracy = {("shared", 1.75, 0.1): 0.8, ("shared", 1.75, 0.2): 0.7, ("shared", 1.9, 0.1): 0.85}
    rows = [(run, measured(share_accuracy=0.9)) for seed in (1, 2) for run in (Run(seed=seed), Run(seed=seed, width=9))]
    for (noise, alpha, sigma), value in accuracy.items():
        for seed in (1, 2):
            run = noisy(seed, noise=noise, alpha=alpha, sigma=sigma)
            rows += [(run, measured(share_accuracy=value)), (replace(run, width=9), measured(share_accuracy=1 - value))]
    for seed, outcome in ((1, measured(share_accuracy=1.0)), (2, diverged())):
        rows.append((noisy(seed, noise="shared", alpha=1.5, sigma=0.1), outcome))
    rows.append((noisy(1, noise="isotropic", alpha=2.0), measured(share_accuracy=1.0)))  # Gaussian: a control
    cells = experiments.accuracy_at_equal_share(table(rows))
    narrow, wide = "shared, α = 1.75, σ = 0.2, width 9", f"shared, α = 1.9, σ = 0.1, width {Run().width}"
    assert {cell.label: round(cell.value, 6) for cell in cells} == {narrow: -0.6, wide: -0.05}
    kept = experiments.best(table(rows))
    assert set(kept["key"]) >= {run.key for run, _ in rows if run.noise is None or run.alpha == 2.0}
    assert len(kept) == 4 + 1 + 4


def test_plain_sgd_at_a_step_size_where_it_diverges_is_not_the_most_accurate():
    fast = [replace(Run(seed=seed), lr=0.9) for seed in range(3)]
    rows = [(Run(seed=seed), measured(share_accuracy=0.7)) for seed in range(3)]
    rows += [(fast[0], measured(share_accuracy=0.9)), (fast[1], diverged()), (fast[2], diverged())]
    assert set(experiments.most_accurate(table(rows))["lr"]) == {Run().lr}


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
    lost = dict(zip(SEEDS, (-0.02, 0.01, -0.05, -0.03, 0.0, -0.01), strict=True))
    rows += [(noisy(s), measured(test_accuracy=0.9, test_accuracy_pruned=0.9 + change)) for s, change in lost.items()]
    (cell,) = experiments.accuracy_kept(table(rows))
    assert ends(cell) == pytest.approx((-0.015, -0.05, 0.01))


def test_heavier_tail_compares_the_smallest_alpha_with_the_largest_seed_by_seed():
    def ratio(noise, alpha, seed):
        between = {1.75: 0.3 + GAIN[seed], 1.8: 99.0, 1.9: 0.3}[alpha] + PLAIN[seed]
        return {"pruning_ratio": between if noise == "shared" else 0.5}

    settings = [(noise, alpha, 0.1) for noise in ("shared", "isotropic") for alpha in (1.9, 1.8, 1.75)]
    flat, shared = experiments.heavier_tail(sweep(lambda seed: {}, ratio, settings, SEEDS))
    assert (flat.label, flat.value) == ("isotropic, α = 1.75 against 1.9", 0)
    assert shared.label == "shared, α = 1.75 against 1.9"
    assert shared.points == pytest.approx(sorted(GAIN.values()))
    (shared,) = experiments.heavier_tail(sweep(lambda seed: {}, ratio, settings[:3], SEEDS))
    assert ends(shared) == ENDS


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


def test_collapses_are_a_share_of_runs_whose_interval_counts_seeds():
    rows = [(Run(seed=1), measured(train_accuracy_pruned=0.1))]  # no noise: does not count
    after = {7: 0.86, 8: 0.84, 9: 0.30}  # nine points are no collapse
    for seed in range(10):
        rows.append((noisy(seed), measured(train_accuracy_pruned=after.get(seed, 0.95))))
        rows.append((noisy(seed, sigma=0.01), measured()))  # a mild setting says nothing of a strong one
    rows.append((noisy(10), diverged()))
    (cell,) = experiments.collapses(table(rows))
    assert (cell.label, cell.runs, cell.failed, cell.seeds) == ("shared, α = 1.75, σ = 0.1, 2 of 10 runs", 10, 1, 11)
    # Two seeds of eleven collapse; three may, as the eleventh is not known.
    assert (cell.low, cell.high) == pytest.approx((stats.beta.ppf(0.025, 2, 10), stats.beta.ppf(0.975, 4, 8)))


def test_collapses_are_counted_by_noise_type():
    rows = [(noisy(seed, kind), measured()) for seed in SEEDS for kind in ("shared", "isotropic")]
    assert [(cell.noise, cell.seeds) for cell in experiments.collapses(table(rows))] == [
        ("isotropic", 6),
        ("shared", 6),
    ]


def test_collapses_of_runs_that_all_failed_decide_nothing():
    (cell,) = experiments.collapses(table([(noisy(1), diverged()), (noisy(2), diverged())]))
    assert (cell.runs, cell.failed, cell.judged((0.05, math.inf)).verdict) == (0, 2, "undecided")


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


COMPARED = [experiments.accuracy_before, experiments.accuracy_at_equal_share]  # accuracies of several networks


@pytest.mark.parametrize("measure", [m for m in MEASURES if m not in COMPARED], ids=lambda measure: measure.__name__)
def test_a_measure_of_runs_that_all_diverged_is_a_cell_without_a_verdict(measure):
    frame = sweep(lambda seed: diverged(), lambda *_: diverged(), seeds=range(12))
    cells = measure(frame)
    assert cells
    assert all(cell.runs == 0 and cell.failed >= 12 for cell in cells)
    assert {cell.judged((0, math.inf)).verdict for cell in cells} == {"undecided"}


@pytest.mark.parametrize("measure", COMPARED, ids=lambda measure: measure.__name__)
@pytest.mark.parametrize(
    ("dataset", "chance"), [("ecg5000", 0.5), ("digits", 0.1), ("ecg5000-other@0123456789ab", 0.5)]
)
def test_a_diverged_run_counts_at_chance_where_accuracies_are_compared(measure, dataset, chance):
    rows = [(Run(dataset=dataset, seed=seed), measured(test_accuracy=0.9)) for seed in range(8)]
    rows += [
        (noisy(seed, dataset=dataset), diverged() if seed < 7 else measured(test_accuracy=0.9)) for seed in range(8)
    ]
    (cell,) = measure(table(rows))
    assert (cell.runs, cell.failed, cell.diverged, cell.seeds) == (8, 0, 7, 8)
    assert ends(cell) == pytest.approx((chance - 0.9, chance - 0.9, 0.0))


def test_a_diverged_run_of_data_of_unknown_classes_is_missing():
    rows = [(run, measured()) for run in (Run(dataset="mine@0123456789ab", seed=1),)]
    rows.append((noisy(1, dataset="mine@0123456789ab"), diverged()))
    (cell,) = experiments.accuracy_before(table(rows))
    assert (cell.runs, cell.failed, cell.diverged) == (0, 1, 0)


def test_a_diverged_run_speaks_against_surviving_pruning_and_against_compressing():
    rows = [(Run(seed=seed), measured(pruning_ratio=0.1)) for seed in range(9)]
    rows += [(noisy(seed), measured(pruning_ratio=0.5)) for seed in range(7)]
    rows += [(noisy(seed), diverged()) for seed in (7, 8)]
    for measure in (experiments.compressibility, experiments.accuracy_kept):
        (cell,) = measure(table(rows))
        assert (cell.runs, cell.failed, cell.diverged, cell.low) == (7, 2, 0, -math.inf)


def test_plain_sgd_of_the_same_step_size_is_the_partner_and_for_the_better_network_the_best():
    rows = [(Run(seed=seed), measured(pruning_ratio=0.1, share_accuracy=0.80)) for seed in SEEDS]
    rows += [(Run(seed=seed, lr=0.01), measured(pruning_ratio=0.4, share_accuracy=0.90)) for seed in SEEDS]
    rows += [(Run(seed=seed, lr=0.01, weight_decay=0.1), measured(pruning_ratio=0.9)) for seed in SEEDS]
    rows += [(noisy(seed), measured(pruning_ratio=0.5, share_accuracy=0.85)) for seed in SEEDS]
    rows += [(noisy(seed, lr=0.01), measured(pruning_ratio=0.5, share_accuracy=0.95)) for seed in SEEDS]
    rows += [(noisy(seed, alpha=2.0), measured(pruning_ratio=9.0)) for seed in SEEDS]  # Gaussian: a control
    small, large = experiments.compressibility(table(rows))
    assert [cell.label for cell in (small, large)] == [f"shared, α = 1.75, σ = 0.1, η = {lr}" for lr in (0.001, 0.01)]
    assert [cell.value for cell in (small, large)] == pytest.approx([0.4, 0.1])
    (best,) = experiments.accuracy_at_equal_share(table(rows))
    assert best.value == pytest.approx(0.05)
    (alone,) = experiments.accuracy_at_equal_share(table(rows[:24]))  # noise at the step size that is the worse one
    assert alone.value == pytest.approx(-0.05)
    (alone,) = experiments.compressibility(table([*rows[6:12], rows[18]]))  # no plain run at its step size
    assert alone.value == pytest.approx(0.1)


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
    for cell, factor in zip(cells, (2, 1, 2, 1), strict=True):
        assert ends(cell) == pytest.approx((factor * 0.035, factor * 0.01, factor * 0.08))
    heavier = experiments.heavier_tail(table(rows))
    assert [cell.label for cell in heavier] == [f"shared, α = 1.5 against 1.9, {name} {value}" for value in values]
    assert all(ends(cell) == ENDS for cell in heavier)
