"""Inputs disturbed to make a network wrong: by hand, in closed form, and never outside their ball."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest
import torch
from made_up_data import made_up
from torch import nn
from torch.nn.functional import cross_entropy

from heavytail import Run
from heavytail.lab import models, results, robustness, trainer
from heavytail.lab.machine import threads

FGSM = [f"test_accuracy_fgsm_{e:g}" for e in results.DISTURBED]
PGD = [f"test_accuracy_pgd_{e:g}" for e in results.DISTURBED]
COLUMNS = FGSM + PGD
TOY = made_up(rows=(40, 300))
IMAGES = made_up("cifar10", rows=(8, 40), shape=(3, 32, 32))
BASE = Run(dataset="digits", width=40, lr=0.1, max_steps=9, seed=5, noise="entrywise", alpha=1.5, sigma=0.3)
BASE = replace(BASE, robustness=290)
VGG = replace(BASE, dataset="cifar10", network="vgg", width=2, lr=0.05, sigma=0.01, max_steps=3, robustness=33)


class Remembering(nn.Module):
    """It keeps its activations in itself between two lines: threads that share it would mix theirs."""

    def __init__(self, inputs, width, classes):
        super().__init__()
        self.body, self.head = nn.Linear(inputs, width), nn.Linear(width, classes)

    def forward(self, x):
        self.held = self.body(x).relu()
        time.sleep(0.001)  # another thread has its turn
        outputs = self.head(self.held)
        self.held = None
        return outputs


def remembering(shape, classes, *, width, depth, generator):
    model = Remembering(shape[0], width, classes)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3, generator=generator)
    return model


KINDS = {
    "one layer": BASE,
    "mean field": replace(BASE, network="mean_field", noise="isotropic"),
    "two layers": replace(BASE, depth=2),
    "few samples": replace(BASE, samples=20),
    "filters": VGG,
    "own": replace(BASE, network=":remembering", sigma=0.01),
}


def data(run):
    return TOY if run.dataset == "digits" else IMAGES


def builds(run):
    return {"remembering": remembering} if run.network == ":remembering" else None


def rows(*runs, **options):
    used = {run.dataset: data(run) for run in runs}
    return trainer.train(runs, data=used, progress=False, networks=builds(runs[0]), **options)


def by_hand(run, weights):
    """The columns, with all samples at once and the gradient of the mean loss in float64."""
    dataset = data(run)
    model = models.final_model(run, weights, dataset, (builds(run) or {}).get("remembering")).double()
    clean, y = dataset.x_test[: run.robustness].double(), dataset.y_test[: run.robustness]
    r = dataset.x_train[: run.samples].double().pow(2).mean().sqrt()

    def sign(x):
        x = x.clone().requires_grad_(True)
        cross_entropy(model(x), y).backward()
        return x.grad.sign()

    def right(x):
        return float((model(x).argmax(1) == y).double().mean())

    one, many = [], []
    for e in results.DISTURBED:
        one.append(right(clean + e * r * sign(clean)))
        x = clean
        for _ in range(10):
            x = x + 2.5 * e * r / 10 * sign(x)
            x = torch.max(torch.min(x, clean + e * r), clean - e * r)
        many.append(right(x))
    return one + many


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.long
def test_the_columns_are_those_of_plain_torch(kind):
    run = KINDS[kind]
    made = rows(run)
    row = made.table.iloc[0]
    assert row[COLUMNS].tolist() == pytest.approx(by_hand(run, made.weights(run)), abs=1e-12)
    assert row[FGSM].nunique() > 1  # a disturbance is seen


def test_a_linear_network_is_wrong_where_its_margin_is_below_the_radius_times_the_sum_of_weights():
    """With two classes the gradient is a multiple of w = w_1 - w_0: all of ε ‖w‖₁ is taken off the margin."""
    g = torch.Generator().manual_seed(1)
    model, x = nn.Linear(5, 2), torch.randn(400, 5, generator=g)
    for weight in model.parameters():
        nn.init.normal_(weight, generator=g)
    y = torch.randint(2, (400,), generator=g)
    w = (model.weight[1] - model.weight[0]).detach()
    margin = (2 * y - 1) * (x @ w + model.bias.detach().diff())
    for radius in (0.03, 0.2, 0.7):
        wanted = margin - radius * w.abs().sum() > 0
        assert 0 < wanted.sum() < (margin > 0).sum()
        for move in (robustness.fgsm, robustness.pgd):
            moved = move(model, x, y, radius)
            assert torch.equal(model(moved).argmax(1) == y, wanted)
            assert torch.allclose(moved - x, -radius * (2 * y - 1).unsqueeze(1) * w.sign(), atol=1e-6)


def test_pgd_never_leaves_the_ball_and_turns_where_fgsm_cannot():
    g = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 30), nn.Tanh(), nn.Linear(30, 3))
    for weight in model.parameters():
        nn.init.normal_(weight, generator=g)
    x, y = torch.randn(500, 6, generator=g), torch.randint(3, (500,), generator=g)
    for radius in (0.01, 0.1, 0.5):
        moved, once = (move(model, x, y, radius) for move in (robustness.pgd, robustness.fgsm))
        assert (moved >= x - radius).all()
        assert (moved <= x + radius).all()
        assert (moved - x).abs().max() > 0.99 * radius
        assert cross_entropy(model(moved), y) > cross_entropy(model(once), y) > cross_entropy(model(x), y)
    assert not torch.equal(moved, once)


def test_on_a_linear_problem_pgd_leaves_at_most_what_fgsm_leaves():
    g = torch.Generator().manual_seed(2)
    model, x = nn.Linear(6, 4), torch.randn(1000, 6, generator=g)
    for weight in model.parameters():
        nn.init.normal_(weight, generator=g)
    y = model(x).argmax(1)
    left = []
    for radius in (0.05, 0.1, 0.2):
        one, many = (
            (model(move(model, x, y, radius)).argmax(1) == y).sum() for move in (robustness.fgsm, robustness.pgd)
        )
        assert many <= one < len(y)
        left.append(int(many))
    assert left[0] > left[1] > left[2] > 0


def test_a_network_that_is_very_sure_is_not_taken_for_robust():
    """The gradient of its loss is exactly zero in float32; the classes that it chooses are those of the unsure one."""
    g = torch.Generator().manual_seed(4)
    unsure, x = nn.Linear(6, 3), torch.randn(300, 6, generator=g)
    for weight in unsure.parameters():
        nn.init.normal_(weight, generator=g)
    sure = nn.Linear(6, 3)
    sure.load_state_dict({name: 1e4 * weight for name, weight in unsure.state_dict().items()})
    y = unsure(x).argmax(1)
    seen = x.clone().requires_grad_(True)
    cross_entropy(sure(seen), y).backward()
    assert (seen.grad == 0).all(1).float().mean() > 0.9
    wrong = [(model(robustness.pgd(model, x, y, 0.3)).argmax(1) != y).float().mean() for model in (unsure, sure)]
    assert min(wrong) > 0.2


def test_outputs_that_are_not_finite_are_wrong():
    model = nn.Linear(2, 2, bias=False)
    nn.init.constant_(model.weight, 3e38)
    x, y = torch.full((3, 2), 10.0), torch.tensor([0, 0, 0])
    assert robustness._right(model, x, y, None) == 0
    assert robustness._right(model, 0 * x, y, None) == 3


def test_the_columns_have_the_same_bits_alone_in_a_grid_and_on_any_number_of_threads(monkeypatch):
    seen, right = [], robustness._right
    monkeypatch.setattr(
        robustness, "_right", lambda model, x, *rest: seen.append(x.double().sum()) or right(model, x, *rest)
    )
    runs = [replace(run, seed=seed) for run in (BASE, KINDS["mean field"], KINDS["two layers"], VGG) for seed in (1, 2)]
    with threads.using(3):
        together = rows(*runs).table
        first, seen[:] = sorted(map(float, seen)), []
    with threads.using(1):
        alone = [rows(run).table.iloc[0][COLUMNS].tolist() for run in runs]
    assert together[COLUMNS].to_numpy().tolist() == alone
    assert first == sorted(map(float, seen))  # of every part of every run, before and after each disturbance
    assert len(first) == 6 * (6 * 3 + 2 * 1)


def test_parts_of_one_network_do_not_disturb_each_other_on_threads():
    run = KINDS["own"]
    weights = rows(run).weights(run)
    found = []
    for count in (1, 4):
        with threads.using(count):
            found += [robustness.measure(run, weights, TOY, remembering) for _ in range(3)]
    assert all(columns == found[0] for columns in found)


@pytest.mark.parametrize("run", [BASE, KINDS["two layers"], VGG], ids=["one layer", "two layers", "convolutions"])
def test_without_it_a_row_is_what_it_was_and_with_it_only_its_own_columns_are_new(run):
    plain = replace(run, robustness=None)
    made, without = rows(run), rows(plain)
    assert without.table[COLUMNS].isna().all(axis=None)
    other = [*COLUMNS, "seconds", "key", "robustness"]
    assert made.table.drop(columns=other).equals(without.table.drop(columns=other))
    first, second = made.weights(run), without.weights(plain)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("run", [BASE, KINDS["mean field"]], ids=["one layer", "mean field"])
def test_networks_with_lowered_products_are_disturbed_as_they_are_evaluated(run, monkeypatch):
    model = models.initial_model(run, TOY)
    low, plain = (robustness._outputs(model, TOY.x_test, kind) for kind in (torch.bfloat16, None))
    assert low.dtype == plain.dtype == torch.float32
    assert 0 < (low - plain).abs().max() < 0.02 * plain.abs().max()
    run = replace(run, products="bfloat16", robustness=None)
    row = rows(run)
    monkeypatch.setattr(results, "DISTURBED", (0.0, 0.1))
    columns = robustness.measure(replace(run, robustness=300), row.weights(run), TOY, None)
    clean = row.table.iloc[0]["test_accuracy"]
    assert columns["test_accuracy_fgsm_0"] == columns["test_accuracy_pgd_0"] == pytest.approx(clean, abs=2 / 300)
    assert columns["test_accuracy_fgsm_0.1"] < clean


def test_a_run_that_diverged_is_not_measured():
    row = rows(replace(BASE, lr=1e30, sigma=0.0)).table.iloc[0]
    assert row["status"] == "diverged"
    assert all(math.isnan(row[name]) for name in COLUMNS)


def test_more_samples_than_there_are_is_refused_before_any_training():
    assert rows(replace(BASE, robustness=300)).table[COLUMNS].notna().all(axis=None)
    with pytest.raises(
        ValueError, match=r"^robustness=301 is more than the 300 test samples of digits: use robustness=300"
    ):
        rows(BASE, replace(BASE, robustness=301))


def test_the_unit_of_a_disturbance_is_a_root_mean_square_in_float64():
    x = torch.randn(9000, 5, generator=torch.Generator().manual_seed(0)) * 3
    assert robustness.root_mean_square(x) == pytest.approx(float(x.double().square().mean().sqrt()), rel=1e-13)
    with threads.using(1):
        alone = robustness.root_mean_square(x)
    with threads.using(3):
        assert robustness.root_mean_square(x) == alone
