"""Rivals of noise: each is compared at the setting that is best for it, seed by seed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from made_up_results import diverged, measured, rivalled, table

from heavytail import Run
from heavytail.evidence import rivals
from heavytail.lab import results

BASE = Run(dataset="ecg5000", width=100, lr=0.01)
NOISY = replace(BASE, noise="shared", alpha=1.75, sigma=0.1)


def test_gaussian_noise_is_matched_by_its_least_and_its_most_sigma():
    labels = {rivals.against_gaussian_kick: "0.07", rivals.against_gaussian_total: "0.11"}
    for measure, sigma in labels.items():
        cells = measure(rivalled(True, range(1, 4)))
        assert [cell.label for cell in cells] == [
            f"{kind}, α = 1.75 against σ = {sigma} at α = 2" for kind in ("entrywise", "isotropic", "shared")
        ]
        assert [cell.value for cell in cells] == pytest.approx([0.2] * 3)


def test_gaussian_noise_at_another_step_size_is_no_match():
    light = replace(NOISY, alpha=2.0, lr=0.1)
    with pytest.raises(
        ValueError, match=r"^shared noise at alpha = 2 wants the step size that it has at alpha = 1.75$"
    ):
        rivals.against_gaussian_kick(table([(NOISY, measured()), (light, measured())]))
    assert rivals.against_gaussian_kick(table([(NOISY, measured())])) == []


def test_a_penalty_comes_at_the_strength_that_is_best_for_it():
    (cell,) = {cell.value for cell in rivals.accuracy_against_decay(rivalled(True, [1, 2, 3]))}
    assert cell == pytest.approx(0.2)  # of 0.7 and 0.5 it is the first
    (cell,) = {round(cell.value, 6) for cell in rivals.ratio_against_lasso(rivalled(True, [1, 2, 3]))}
    assert cell == pytest.approx(0.3)  # against the strongest one


def test_a_pruned_network_meets_the_small_one_of_its_size_and_seed():
    rows = [(NOISY, measured(share_accuracy=0.0))]
    rows[0][1]["test_accuracy_share_0.7"], rows[0][1]["test_accuracy_share_0.5"] = 0.8, 0.9
    for width, accuracy in ((30, 0.75), (50, 0.7)):
        rows.append((replace(BASE, width=width), measured(test_accuracy=accuracy)))
    (cell,) = rivals.against_small(table(rows))
    assert cell.value == pytest.approx((0.05 + 0.2) / 2)
    assert cell.seeds == 1


def test_noise_comes_at_the_setting_that_is_best_for_it_too():
    """The milder noise is the more accurate one when pruned: it alone is held against the three rivals."""
    rows = [(replace(NOISY, sigma=sigma), measured(share_accuracy=value)) for sigma, value in ((0.1, 0.8), (0.2, 0.7))]
    rows += [(replace(BASE, weight_decay=0.1), measured(share_accuracy=0.5))]
    rows += [(replace(BASE, group_lasso=0.1), measured(share_accuracy=0.6))]
    rows += [(replace(BASE, width=50), measured(test_accuracy=0.65))]
    measures = {rivals.accuracy_against_decay: 0.3, rivals.accuracy_against_lasso: 0.2, rivals.against_small: 0.15}
    for measure, difference in measures.items():
        (cell,) = measure(table(rows))
        assert cell.value == pytest.approx(difference)
        assert "σ = 0.1" in cell.label


def test_a_small_network_that_diverged_guesses():
    rows = [(NOISY, measured(share_accuracy=0.8)), (replace(BASE, width=30), diverged())]
    (cell,) = rivals.against_small(table(rows))
    assert cell.value == pytest.approx(0.8 - 0.5)
    (cell,) = rivals.against_small(table([(NOISY, diverged()), (replace(BASE, width=30), measured())]))
    assert (cell.diverged, cell.failed) == (1, 0)


def test_a_width_that_is_no_tenth_of_the_widest_is_refused():
    rows = [(NOISY, measured()), (replace(BASE, width=33), measured())]
    with pytest.raises(ValueError, match=r"^nothing is measured with the share 0.67 pruned: small networks are tenths"):
        rivals.against_small(table(rows))


def test_robustness_is_the_mean_over_the_sizes_of_attack_against_plain_sgd_of_the_same_step_size():
    attacked = dict(zip((f"test_accuracy_pgd_{size:g}" for size in results.DISTURBED), (0.9, 0.6, 0.3), strict=True))
    plain = [(BASE, measured(share_accuracy=0.8)), (replace(BASE, lr=0.1), measured(share_accuracy=0.9))]
    plain[0][1].update(dict.fromkeys(attacked, 0.5))  # plain SGD at the other step size is the more accurate one
    (cell,) = rivals.robustness(table([(NOISY, {**measured(), **attacked}), *plain]))
    assert cell.value == pytest.approx(0.1)
    assert math.isinf(cell.low)
