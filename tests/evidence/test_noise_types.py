"""The three noises beside each other: sizes of kicks against their laws, what inputs see, and equal accuracy."""

from __future__ import annotations

import math

import pytest
import torch
from made_up_results import diverged, measured, table

from heavytail import Run, noise
from heavytail.evidence import noise_types
from heavytail.lab.results import SHARES

KINDS = pytest.mark.parametrize("kind", noise.NOISES)


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def run(kind, steps=5, **changes):
    return Run(noise=kind, alpha=1.5, sigma=0.2, lr=0.1, max_steps=steps, **changes)


@KINDS
def test_the_path_is_as_long_as_the_sum_of_its_kicks(kind):
    """Medians of 4001 sums of 4 kicks differ from their law's by less than 8% (false alarm below 1e-6)."""
    kicks = noise.vectors(1.5, kind, (4001, 4, 6), generator=gen()).expand(4001, 4, 6).double()
    measured_size = noise.scale(1.5, 0.2, 0.1) * kicks.sum(dim=1).norm(dim=1).median()
    assert noise_types.path_size(run(kind), 6) == pytest.approx(float(measured_size), rel=0.08)
    assert noise_types.path_size(run(kind, steps=9), 6) > 1.2 * measured_size  # as many kicks again: told apart


def test_plain_sgd_and_a_single_step_have_no_path():
    assert noise_types.path_size(Run(), 6) == noise_types.path_size(run("shared", steps=1), 6) == 0


@KINDS
def test_the_share_of_pure_noise_is_that_of_its_largest_norms(kind):
    """Of three neurons with d = 1 all types have one law; the median of 301 shares is one of the three steps."""
    share = noise_types.pure_share(1.2, kind, 3, 1, 301, generator=gen())
    draws = noise.vectors(1.2, "shared", (301, 3, 1), generator=gen(5)).double().squeeze(-1).square().sort(dim=1).values
    shares = (draws.cumsum(1) <= 0.1 * draws.sum(1, keepdim=True)).sum(1) / 3
    assert share == pytest.approx(float(shares.median()))


def test_in_many_dimensions_types_two_and_three_prune_alike_and_type_one_more():
    """At α = 1.9 the shares of pure noise are far apart (0.58 against 0.16 at d = 784, with a spread of 0.05)."""
    first, second, third = (
        noise_types.pure_share(1.9, kind, 300, 100, 11, generator=gen())
        for kind in ("shared", "entrywise", "isotropic")
    )
    assert first > 0.4 > 0.3 > max(second, third)


def curve(*accuracies):
    shares = {f"test_accuracy_share_{share:.1f}": a for share, a in zip(SHARES, accuracies, strict=True)}
    return measured(test_accuracy=accuracies[0], **shares)


def falling(top, at):
    """Flat at `top` up to the share `at`, and nothing one step on."""
    return curve(*(top if share <= at + 1e-9 else 0.0 for share in SHARES))


def noisy(seed, kind="shared", alpha=1.5):
    return Run(noise=kind, alpha=alpha, sigma=0.1, seed=seed)


def test_the_usable_share_ends_where_accuracy_falls_too_low_for_the_plain_network_of_the_seed():
    rows = [
        (Run(seed=1), falling(0.9, 0.5)),
        (Run(seed=2), falling(0.5, 0.9)),
        (noisy(1), curve(0.9, 0.88, 0.87, 0.83, *[0.9] * 7)),  # falls through 0.85 between 0.2 and 0.3; later rises
        (noisy(2), curve(*[0.46] * 11)),  # never below 0.45
        (noisy(3), falling(0.9, 0.5)),  # no plain partner
        (noisy(1, alpha=1.9), falling(0.84, 0.9)),  # too low unpruned
        (noisy(2, alpha=1.9), diverged()),
    ]
    found = noise_types.usable_share(table(rows), 0.05).tolist()
    assert found[:4] == pytest.approx([0.5 + 0.1 * 0.05 / 0.9, 0.9 + 0.1 * 0.05 / 0.5, 0.25, 1.0])
    assert math.isnan(found[4])
    assert found[5] == 0
    assert math.isnan(found[6])


def test_equal_accuracy_compares_with_the_plain_network_of_the_same_seed():
    rows = []
    for seed, at in enumerate((0.2, 0.5, 0.4, 0.3, 0.6, 0.1, 0.7), start=1):
        rows += [(Run(seed=seed), falling(0.9, at)), (noisy(seed), falling(0.9, at + 0.1))]
    rows.append((noisy(3, "isotropic"), diverged()))
    failed, cell = noise_types.at_equal_accuracy(table(rows).sample(frac=1, random_state=1))
    assert (cell.label, cell.runs) == ("shared, α = 1.5, σ = 0.1", 7)
    assert (cell.value, cell.low, cell.high) == pytest.approx((0.1, 0.1, 0.1))
    assert (failed.label, failed.runs, failed.failed) == ("isotropic, α = 1.5, σ = 0.1", 0, 1)


def test_every_row_has_the_path_of_its_run_over_the_steps_that_it_took():
    early = measured(steps=3)  # it stopped before its last step
    frame = table([(Run(seed=1), measured()), (run("shared"), measured(steps=5)), (run("entrywise"), early)])
    paths = noise_types.with_path(frame, 6)["path"].tolist()
    assert paths == [0.0, noise_types.path_size(run("shared"), 6), noise_types.path_size(run("entrywise", 3), 6)]
    assert "path" not in frame
