"""What the law of start plus noise says: settled by a thousand repeats, and each way on made-up laws."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from made_up_results import diverged, measured, table

from heavytail import Run
from heavytail.evidence import untrained
from heavytail.lab import simulations
from heavytail.lab.simulations import Untrained

ABOVE, MARGIN = (0.0, math.inf), 0.01
BASE = Untrained(alpha=1.5, sigma=0.3, width=60, inputs=6, lr=0.1, steps=30, noise="shared", repeats=101)


def words(cells, expected=ABOVE, margin=MARGIN):
    return [cell.judged(expected, margin).verdict for cell in cells]


def made(*changes):
    return simulations.simulate([replace(BASE, **change) for change in changes])


def test_noise_compresses_where_it_is_strong_and_makes_no_difference_where_it_is_weak():
    rows = made({}, {"sigma": 1e-5}, {"noise": "entrywise"})
    cells = untrained.compressibility(rows)
    by_label = dict(zip([cell.label for cell in cells], words(cells), strict=True))
    assert by_label == {
        "entrywise, α = 1.5, σ = 0.3, 60 neurons of 6 inputs": "holds",
        "shared, α = 1.5, σ = 1e-05, 60 neurons of 6 inputs": "no difference",
        "shared, α = 1.5, σ = 0.3, 60 neurons of 6 inputs": "holds",
    }
    assert {cell.seeds for cell in cells} == {101}
    assert {round(cell.level, 3) for cell in cells} == {0.975}  # a family of two noise types


def test_a_law_with_the_sign_turned_fails():
    rows = made({})
    turned = rows.assign(
        quantity=rows["quantity"].replace({"start_ratio": "pruning_ratio", "pruning_ratio": "start_ratio"})
    )
    assert words(untrained.compressibility(turned)) == ["fails"]


def test_heavier_tails_are_compared_repeat_by_repeat_at_the_outer_alphas_below_two():
    rows = made({}, {"alpha": 1.7}, {"alpha": 1.9}, {"alpha": 2.0})
    (cell,) = untrained.heavier_tail(rows)
    assert cell.label == "shared, α = 1.5 against 1.9, 60 neurons of 6 inputs"
    pruned = rows[rows["quantity"] == "pruning_ratio"].pivot(index="repeat", columns="alpha", values="value")
    assert cell.value == pytest.approx((pruned[1.5] - pruned[1.9]).median())
    assert words([cell]) == ["holds"]
    below = rows[rows["alpha"] < 2]
    swapped = below.assign(alpha=3.4 - below["alpha"])
    assert words(untrained.heavier_tail(swapped)) == ["fails"]


def test_gaussian_noise_of_every_strength_is_held_against_the_index_next_to_1_75():
    rows = made({"alpha": 1.7}, {"alpha": 1.2}, *({"alpha": 2.0, "sigma": sigma} for sigma in (0.2, 9.0)))
    weak, strong = untrained.against_gaussian(rows)
    assert (weak.label, strong.label) == tuple(
        f"shared, σ = {sigma} at α = 2, 60 neurons of 6 inputs" for sigma in ("0.2", "9")
    )
    pruned = rows[rows["quantity"] == "pruning_ratio"].set_index(["alpha", "sigma", "repeat"])["value"].sort_index()
    assert weak.value == pytest.approx((pruned[1.7, 0.3] - pruned[2.0, 0.2]).median())


def test_a_wider_layer_is_held_against_the_narrowest_of_its_setting():
    rows = made({}, {"width": 120}, {"width": 900}, {"noise": "isotropic"}, {"noise": "isotropic", "width": 120})
    one, two = untrained.wider(rows)
    assert (one.label, two.label) == (
        "isotropic, α = 1.5, σ = 0.3, width 120 less 60 of 6 inputs",
        "shared, α = 1.5, σ = 0.3, width 900 less 60 of 6 inputs",
    )
    shared = rows[(rows["quantity"] == "pruning_ratio") & (rows["noise"] == "shared")]
    by_width = shared.pivot(index="repeat", columns="width", values="value")
    assert two.value == pytest.approx((by_width[900] - by_width[60]).median())
    assert words([two]) == ["holds"]
    turned = rows.assign(width=rows["width"].replace({60: 900, 900: 60}))
    assert words(untrained.wider(turned[turned["noise"] == "shared"])) == ["fails"]
    assert untrained.wider(made({}, {"sigma": 0.1, "width": 120})) == []  # two settings at a width each
    assert untrained.wider(made({"alpha": 2.0}, {"alpha": 2.0, "width": 120})) == []


def test_the_law_by_width_has_a_row_a_setting_and_the_start_last():
    rows = made({}, {"width": 120}, {"alpha": 1.9})
    law = untrained.by_width(rows)
    assert list(law.columns) == ["noise", "alpha", "width", "predicted"]
    assert law["noise"].fillna("").tolist() == ["shared"] * 3 + [""] * 2
    assert law["alpha"].tolist()[:3] == [1.5, 1.5, 1.9]
    assert law["width"].tolist() == [60, 120, 60, 60, 120]
    own = rows[(rows["alpha"] == 1.5) & (rows["width"] == 120)]
    for predicted, quantity in ((law["predicted"][1], "pruning_ratio"), (law["predicted"][4], "start_ratio")):
        assert predicted == own.loc[own["quantity"] == quantity, "value"].median()


def test_two_strengths_at_one_alpha_are_refused_where_alphas_are_compared():
    with pytest.raises(ValueError, match="several settings at one alpha"):
        untrained.heavier_tail(made({}, {"sigma": 0.1}, {"alpha": 1.9}))


@pytest.mark.parametrize(("beyond", "word"), [(0.0, "holds"), (0.002, "holds"), (-0.3, "fails"), (0.01, "undecided")])
def test_trained_networks_are_held_against_their_twins(beyond, word):
    run = Run(dataset="digits", width=9, noise="isotropic", alpha=1.5, sigma=0.1)
    rows = [
        (replace(run, seed=seed), measured(pruning_ratio=0.4 + beyond + seed / 1000 - 0.0045, twin_pruning_ratio=0.4))
        for seed in range(10)
    ]
    plain = [(replace(run, noise=None, alpha=None, sigma=0.0, seed=seed), measured()) for seed in range(10)]
    (cell,) = untrained.beyond_twins(table([*rows, *plain]))
    assert words([cell], (-0.01, 0.01), 0.0) == [word]
    assert (cell.noise, cell.seeds) == ("isotropic", 10)


def test_a_run_that_diverged_has_no_twin_and_is_counted():
    run = Run(dataset="digits", width=9, noise="isotropic", alpha=1.5, sigma=0.1)
    rows = [(replace(run, seed=seed), measured(pruning_ratio=0.4, twin_pruning_ratio=0.4)) for seed in range(7)]
    (cell,) = untrained.beyond_twins(table([*rows, (replace(run, seed=7), diverged())]))
    assert (cell.runs, cell.failed, cell.seeds) == (7, 1, 8)


def test_networks_of_several_depths_are_no_one_cell_and_are_told_apart():
    run = Run(dataset="digits", width=9, noise="isotropic", alpha=1.5, sigma=0.1)
    rows = [
        (replace(run, depth=depth, seed=seed), measured(pruning_ratio=0.4 + depth / 10, twin_pruning_ratio=0.4))
        for depth in (1, 2)
        for seed in range(7)
    ]
    cells = untrained.beyond_twins(table(rows))
    assert [(cell.label[-16:], round(cell.value, 6)) for cell in cells] == [
        ("width 9, depth 1", 0.1),
        ("width 9, depth 2", 0.2),
    ]
