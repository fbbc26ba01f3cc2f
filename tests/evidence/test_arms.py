"""Arms and the rule that chooses their settings: by the validation part, by seeds, and each arm in the same way."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from made_up_results import diverged, measured, table

from heavytail import Run
from heavytail.evidence import arms
from heavytail.lab import results

BASE = Run(dataset="digits", width=5, lr=0.1, validation=100)
NOISY = replace(BASE, noise="entrywise", alpha=1.75, sigma=0.1)


def scored(run, accuracy, seeds=(1, 2, 3)):
    """Rows of a run whose pruned networks all have this accuracy."""
    shares = {f"test_accuracy_share_{share:.1f}": accuracy for share in results.MIDDLE}
    return [(replace(run, seed=seed), measured(**shares)) for seed in seeds]


def test_every_way_of_training_has_a_name_of_its_own():
    runs = {
        "plain SGD": BASE,
        "weight decay": replace(BASE, weight_decay=0.1),
        "group lasso": replace(BASE, group_lasso=0.1),
        "entrywise, α = 1.75": NOISY,
        "entrywise, α = 2": replace(NOISY, alpha=2.0),
        "shared, α = 1.75": replace(NOISY, noise="shared"),
        "shared unseen, α = 1.75": replace(NOISY, noise="shared", along="unseen"),
    }
    assert arms.named(table([(run, measured()) for run in runs.values()])).tolist() == list(runs)


def test_each_arm_gets_the_setting_with_the_best_median_and_one_lucky_seed_does_not_choose():
    rows = [
        *scored(BASE, 0.8),
        *scored(replace(BASE, lr=0.3), 0.7, seeds=(1, 2)),
        *scored(replace(BASE, lr=0.3), 1.0, seeds=(3,)),
        *scored(NOISY, 0.5),
        *scored(replace(NOISY, sigma=0.3), 0.9),
        *scored(replace(NOISY, sigma=1.0), 0.6),
    ]
    chosen = arms.chosen(table(rows)).set_index("arm")
    assert chosen["lr"].to_dict() == {"plain SGD": 0.1, "entrywise, α = 1.75": 0.1}
    assert chosen.loc["entrywise, α = 1.75", ["sigma", "seeds"]].tolist() == [0.3, 3]


def test_of_equal_settings_the_smallest_step_and_then_the_least_strength_is_chosen():
    settings = [(0.3, 0.1), (0.1, 0.3), (0.1, 0.1)]
    rows = [row for lr, sigma in settings for row in scored(replace(NOISY, lr=lr, sigma=sigma), 0.7)]
    for order in (rows, rows[::-1]):
        (chosen,) = arms.chosen(table(order)).to_dict("records")
        assert (chosen["lr"], chosen["sigma"]) == (0.1, 0.1)


def test_a_setting_that_diverges_counts_as_a_guess():
    wild = [(replace(NOISY, sigma=9.0, seed=seed), diverged()) for seed in (1, 2, 3)]
    (chosen,) = arms.chosen(table([*scored(NOISY, 0.2), *wild])).to_dict("records")
    assert chosen["sigma"] == 0.1  # 0.2 beats a guess among ten classes
    (chosen,) = arms.chosen(table([*scored(NOISY, 0.05), *wild])).to_dict("records")
    assert (chosen["sigma"], chosen["score"]) == (9.0, pytest.approx(0.1))


def test_networks_of_different_shape_choose_apart():
    wide = replace(BASE, width=50)
    rows = [
        *scored(BASE, 0.8),
        *scored(replace(BASE, lr=0.3), 0.7),
        *scored(wide, 0.7),
        *scored(replace(wide, lr=0.3), 0.8),
    ]
    assert arms.chosen(table(rows)).set_index("width")["lr"].to_dict() == {5: 0.1, 50: 0.3}


def test_nothing_is_chosen_by_the_test_split():
    with pytest.raises(ValueError, match="chosen on a validation part: set validation="):
        arms.chosen(table([*scored(BASE, 0.8), *scored(replace(BASE, validation=None), 0.7)]))


def pruned(run, accuracy, ratio, seeds=(1, 2, 3)):
    """Rows of a run whose pruned networks have this accuracy, and which prunes this share."""
    return [(made, {**numbers, "pruning_ratio": ratio}) for made, numbers in scored(run, accuracy, seeds)]


def test_the_strongest_setting_prunes_the_most_at_a_loss_of_two_points():
    rows = [
        *pruned(BASE, 0.9, 0.1),
        *pruned(replace(BASE, lr=0.3), 0.8, 0.1),
        *pruned(replace(NOISY, sigma=0.1), 0.9, 0.3),
        *pruned(replace(NOISY, sigma=0.3), 0.885, 0.6),  # within two points of plain SGD at its best
        *pruned(replace(NOISY, sigma=1.0), 0.875, 0.9),  # not within
    ]
    strongest = arms.strongest(table(rows)).set_index("arm")
    assert strongest["sigma"].to_dict() == {"plain SGD": 0.0, "entrywise, α = 1.75": 0.3}
    assert strongest.loc["plain SGD", "lr"] == 0.1
    assert arms.chosen(table(rows)).set_index("arm").loc["entrywise, α = 1.75", "sigma"] == 0.1


def test_of_settings_that_prune_alike_the_most_accurate_is_the_strongest():
    rows = [
        *pruned(BASE, 0.9, 0.1),
        *pruned(replace(NOISY, sigma=0.1), 0.9, 0.595),
        *pruned(replace(NOISY, sigma=0.3), 0.89, 0.6),
        *pruned(replace(NOISY, sigma=0.5), 0.9, 0.58),
    ]
    assert arms.strongest(table(rows)).set_index("arm").loc["entrywise, α = 1.75", "sigma"] == 0.1


def test_an_arm_that_always_loses_more_gets_its_most_accurate_setting():
    rows = [*pruned(BASE, 0.9, 0.1), *pruned(NOISY, 0.7, 0.5), *pruned(replace(NOISY, sigma=1.0), 0.6, 0.9)]
    assert arms.strongest(table(rows)).set_index("arm").loc["entrywise, α = 1.75", "sigma"] == 0.1


def test_the_strongest_setting_wants_plain_runs_to_be_held_against():
    with pytest.raises(ValueError, match="chosen against plain SGD: add plain runs to the search"):
        arms.strongest(table(pruned(NOISY, 0.7, 0.5)))
    with pytest.raises(ValueError, match="chosen on a validation part"):
        arms.strongest(table(pruned(replace(BASE, validation=None), 0.7, 0.5)))


def whole(run, accuracy, before, ratio):
    """Rows as `pruned` makes them, of networks that have an accuracy of their own before pruning."""
    return [(made, {**numbers, "test_accuracy": before}) for made, numbers in pruned(run, accuracy, ratio)]


def test_the_boldest_setting_is_the_strongest_at_a_loss_of_two_points_before_pruning_at_the_step_size_of_plain_sgd():
    rows = [
        *whole(BASE, 0.9, 0.92, 0.1),
        *whole(replace(BASE, lr=0.3), 0.8, 0.99, 0.1),  # not what `chosen` takes: pruned, it is worse
        *whole(replace(NOISY, sigma=0.1), 0.9, 0.92, 0.3),
        *whole(replace(NOISY, sigma=0.3), 0.5, 0.905, 0.305),  # within two points before, and far below after
        *whole(replace(NOISY, sigma=1.0), 0.4, 0.89, 0.9),  # not within
        *whole(replace(NOISY, sigma=0.3, lr=0.3), 0.9, 0.98, 0.95),  # at another step size
    ]
    boldest = arms.boldest(table(rows)).set_index("arm")
    assert boldest[["lr", "sigma"]].to_dict("index") == {
        "plain SGD": {"lr": 0.1, "sigma": 0.0},
        "entrywise, α = 1.75": {"lr": 0.1, "sigma": 0.3},
    }
    assert boldest.loc["entrywise, α = 1.75", "accuracy"] == pytest.approx(0.905)
    assert arms.strongest(table(rows)).set_index("arm").loc["entrywise, α = 1.75", "lr"] == 0.3


def test_a_bold_setting_that_diverges_counts_as_a_guess_and_an_arm_without_hope_gets_its_most_accurate():
    wild = [(replace(NOISY, sigma=9.0, seed=seed), diverged()) for seed in (1, 2, 3)]
    rows = [*whole(BASE, 0.9, 0.92, 0.1), *whole(NOISY, 0.7, 0.8, 0.5), *wild]
    assert arms.boldest(table(rows)).set_index("arm").loc["entrywise, α = 1.75", "sigma"] == 0.1


def test_bold_settings_want_plain_runs_and_a_validation_part():
    with pytest.raises(ValueError, match="chosen against plain SGD: add plain runs to the search"):
        arms.boldest(table(pruned(NOISY, 0.7, 0.5)))
    with pytest.raises(ValueError, match="chosen on a validation part"):
        arms.boldest(table(pruned(replace(BASE, validation=None), 0.7, 0.5)))


def test_one_setting_an_arm_is_left_by_its_strength():
    weak, strong = replace(NOISY, sigma=0.1, lr=0.3), replace(NOISY, sigma=0.3)
    decays = [replace(BASE, weight_decay=decay) for decay in (0.1, 1.0)]
    every = [BASE, replace(BASE, lr=0.3), replace(BASE, width=2), weak, strong, *decays]
    frame = table([row for run in every for row in scored(run, 0.9 if run.lr == 0.1 else 0.95)])

    def left(strength, lr=None):
        rows = arms.of_strength(frame, strength, lr)
        assert rows.equals(frame.loc[rows.index])
        return set(zip(rows["width"], rows["lr"], rows["sigma"], rows["weight_decay"], strict=True))

    assert left("most") == {(5, 0.3, 0.0, 0.0), (2, 0.1, 0.0, 0.0), (5, 0.1, 0.3, 0.0), (5, 0.1, 0.0, 1.0)}
    assert left("least", 0.1) == {(5, 0.1, 0.0, 0.0), (2, 0.1, 0.0, 0.0), (5, 0.3, 0.1, 0.0), (5, 0.1, 0.0, 0.1)}


def test_the_arms_of_the_paper_are_plain_sgd_and_heavy_tailed_noise():
    others = [
        replace(BASE, weight_decay=0.1),
        replace(BASE, group_lasso=0.1),
        replace(BASE, width=2),
        replace(NOISY, alpha=2.0),
        replace(NOISY, noise="shared", along="unseen"),
        replace(NOISY, sigma=0.05),
    ]
    paper = [BASE, NOISY, replace(NOISY, noise="shared")]
    frame = table([row for run in (*others, *paper) for row in scored(run, 0.9)])
    keys = {replace(run, seed=seed).key for run in paper for seed in (1, 2, 3)}
    assert set(arms.of_the_paper(frame)["key"]) == keys


def test_plain_sgd_among_the_arms_of_the_paper_is_that_of_the_step_size_asked_for():
    fast = replace(BASE, lr=3 * BASE.lr)
    frame = table([*scored(BASE, 0.7), *scored(fast, 0.9), *scored(NOISY, 0.9)])
    for lr, wanted in ((BASE.lr, BASE), (fast.lr, fast), (None, fast)):
        rows = arms.of_the_paper(frame, lr)
        assert set(rows.loc[rows["noise"].isna(), "lr"]) == {wanted.lr}


def test_a_chosen_setting_has_its_own_numbers_and_no_other_ones():
    """One whose runs all diverged guesses and has no ratio: it does not borrow that of another setting."""
    wild = replace(NOISY, sigma=9.0)
    rows = [
        *scored(BASE, 0.9),
        *[(replace(wild, seed=seed), diverged()) for seed in (1, 2, 3)],
        *pruned(NOISY, 0.05, 0.7),
    ]
    setting = arms.chosen(table(rows)).set_index("arm").loc["entrywise, α = 1.75"]
    assert (setting["sigma"], setting["score"]) == (9.0, pytest.approx(0.1))
    assert math.isnan(setting["ratio"])


def test_a_setting_that_diverges_once_is_not_the_one_that_prunes_the_most():
    once = [*pruned(replace(NOISY, sigma=0.5), 0.95, 0.9)[:2], (replace(NOISY, sigma=0.5, seed=3), diverged())]
    rows = [*pruned(BASE, 0.9, 0.1), *pruned(NOISY, 0.9, 0.3), *once]
    assert arms.strongest(table(rows)).set_index("arm").loc["entrywise, α = 1.75", "sigma"] == NOISY.sigma
