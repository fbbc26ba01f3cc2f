"""The frontier: accuracy against size for every arm, with intervals over seeds, and who is better where."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from made_up_results import diverged, measured, table

from heavytail import Run
from heavytail.evidence import arms, frontier
from heavytail.lab import results

BASE = Run(dataset="digits", width=100, lr=0.1)
NOISY = replace(BASE, noise="shared", alpha=1.5, sigma=0.1)
SEEDS = range(1, 9)
ARM = "shared, α = 1.5"


def rows(run, accuracy, spread=0.001, seeds=SEEDS):
    """Runs whose accuracy falls with the share pruned, by a little more or less from seed to seed."""
    made = []
    for seed in seeds:
        numbers = {
            f"test_accuracy_{way}_{share:.1f}": accuracy - share / 10 + lift + seed * spread
            for way, shares, lift in (
                *[("share", results.SHARES, 0.0), ("random", results.MIDDLE, -0.2)],
                ("tuned", results.TUNED, 0.05),
            )
            for share in shares
        }
        made.append((replace(run, seed=seed), measured(test_accuracy=accuracy + seed * spread, **numbers)))
    return made


def at(points, **where):
    (row,) = points[np.logical_and.reduce([points[name] == value for name, value in where.items()])].to_dict("records")
    return row


def test_every_arm_has_its_median_and_interval_at_every_share_and_way():
    points = frontier.points(table([*rows(BASE, 0.8), *rows(NOISY, 0.7), *rows(replace(BASE, width=30), 0.6)]))
    row = at(points, arm=arms.PLAIN, way="pruned", kept=0.4)
    assert row["accuracy"] == pytest.approx(0.8 - 0.06 + 4.5 * 0.001)
    assert (row["low"], row["high"]) == (pytest.approx(0.741), pytest.approx(0.748))  # all of eight seeds: 99.2%
    assert row["seeds"] == 8
    assert at(points, arm=ARM, way="tuned", kept=0.2)["accuracy"] == pytest.approx(0.7 - 0.08 + 0.05 + 0.0045)
    assert at(points, arm=ARM, way="at random", kept=0.5)["accuracy"] == pytest.approx(0.7 - 0.05 - 0.2 + 0.0045)
    assert at(points, arm=arms.PLAIN, way="small", kept=0.3)["accuracy"] == pytest.approx(0.6045)
    assert set(points["way"]) == set(frontier.WAYS)
    assert sorted(points[(points["arm"] == ARM) & (points["way"] == "pruned")]["kept"]) == pytest.approx(
        [k / 10 for k in range(1, 11)]
    )


def test_what_was_not_measured_has_no_point():
    blank = {f"test_accuracy_tuned_{share:.1f}": math.nan for share in results.TUNED}
    points = frontier.points(table([(run, {**numbers, **blank}) for run, numbers in rows(BASE, 0.8)]))
    assert set(points["way"]) == {"pruned", "at random"}


def test_a_network_that_diverged_counts_as_a_guess_and_lowers_the_interval():
    wild = [(replace(NOISY, seed=seed), diverged()) for seed in (1, 2)]
    row = at(frontier.points(table([*wild, *rows(NOISY, 0.7, seeds=range(3, 9))])), arm=ARM, way="pruned", kept=1.0)
    assert row["low"] == pytest.approx(0.1)
    assert row["seeds"] == 8


def test_below_six_seeds_there_is_no_interval():
    row = at(frontier.points(table(rows(BASE, 0.8, seeds=range(1, 6)))), way="pruned", kept=1.0)
    assert (row["low"], row["high"]) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("gain", "word"), [(0.1, "holds"), (-0.1, "fails"), (0.001, "no difference"), (0.0045, "undecided")]
)
def test_an_arm_against_another_is_judged_seed_by_seed(gain, word):
    """The spread over seeds is common to both and cancels in the pairs; with 12 seeds ten shares have an interval."""
    seeds = range(1, 13)
    made = table([*rows(BASE, 0.8, spread=0.01, seeds=seeds), *rows(NOISY, 0.8 + gain, spread=0.0101, seeds=seeds)])
    found = frontier.against(made, ARM)
    assert len(found) == 10
    assert set(found["verdict"]) == {word}
    assert found["difference"].tolist() == pytest.approx([gain + 6.5 * 0.0001] * 10, abs=1e-9)


def test_pairs_are_of_seeds_and_a_partner_that_is_missing_counts_against_both_ends():
    made = table([*rows(BASE, 0.8, seeds=range(1, 5)), *rows(NOISY, 0.9, seeds=range(1, 13))])
    assert set(frontier.against(made, ARM)["verdict"]) == {"undecided"}


def test_two_settings_of_one_arm_and_an_unknown_arm_are_refused():
    both = table([*rows(NOISY, 0.8), *rows(replace(NOISY, sigma=0.2), 0.7)])
    with pytest.raises(ValueError, match=r"^shared, α = 1.5 has more than one setting at width 100: name the rows"):
        frontier.points(both)
    with pytest.raises(ValueError, match="does not have both 'weight decay' and 'plain SGD': name two of"):
        frontier.against(table(rows(BASE, 0.8)), arms.DECAY)
