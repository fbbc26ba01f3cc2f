"""What the controls need of a run: weight decay, kicks that no input sees, fewer samples, pruning at random."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from made_up_results import diverged, measured, table
from torch.nn.functional import cross_entropy

from heavytail import Run, compress, laws, networks, noise, train
from heavytail.evidence import controls, experiments, rivals
from heavytail.lab import datasets, results, trainer
from heavytail.lab.datasets import Dataset
from heavytail.lab.runs import read_grid

DATA = Path(__file__).resolve().parents[2] / "data"
SMALL = {"dataset": "digits", "width": 30, "lr": 0.1, "max_steps": 12, "seed": 3}
KICKED = {"noise": "shared", "alpha": 1.5, "sigma": 0.2}


def row(run):
    return train(run, progress=False).table.iloc[0]


def weights(run):
    return train(run, progress=False).weights(run)


@pytest.mark.parametrize("changes", [{}, {"depth": 2}, {"network": "mean_field"}, {"batch_size": 500}])
@pytest.mark.long
def test_weight_decay_takes_its_share_of_every_weight_before_the_gradient_step(changes):
    run = Run(**SMALL | changes, weight_decay=0.7)
    digits = datasets.load("digits")
    model = trainer.initial_model(run, digits)
    gain = float(getattr(model, "gradient_scale", 1.0))
    steps = trainer.batches(run, len(digits.y_train), "cpu")
    for _, rows in zip(range(run.max_steps), steps, strict=False):
        model.zero_grad()
        cross_entropy(model(digits.x_train[rows]), digits.y_train[rows]).backward()
        with torch.no_grad():
            for p in model.parameters():
                p.copy_((1 - run.lr * 0.7) * p - run.lr * gain * p.grad)
    found = weights(run)
    for name, p in model.named_parameters():
        torch.testing.assert_close(found[name], p.detach(), rtol=2e-5, atol=2e-6)
    assert not torch.allclose(found[name], weights(Run(**SMALL | changes))[name], rtol=1e-3)


def test_runs_with_and_without_decay_have_the_same_bits_together_and_alone():
    runs = [Run(**SMALL, weight_decay=decay) for decay in (0.0, 0.5)]
    together = train(runs, progress=False)
    for run in runs:
        for name, weight in weights(run).items():
            assert torch.equal(weight, together.weights(run)[name])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"weight_decay": -0.1}, r"^weight_decay must be >= 0 and below 1 / lr = 10, got -0.1$"),
        ({"weight_decay": 10}, r"^weight_decay must be >= 0 and below 1 / lr = 10, got 10$"),
        ({"along": "up"}, r"^unknown direction along='up': choose one of ones, unseen$"),
        ({"along": "unseen"}, r"^along='unseen' is for noise 'shared' on a network with one hidden layer$"),
        ({**KICKED, "along": "unseen", "depth": 2}, r"^along='unseen' is for noise 'shared'"),
        ({**KICKED, "along": "unseen", "noise": "entrywise"}, r"^along='unseen' is for noise 'shared'"),
        ({"samples": 0}, r"^samples must be a whole number >= 1, got 0$"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_sentence(changes, told):
    with pytest.raises(ValueError, match=told):
        Run(**SMALL | changes)


def test_more_samples_than_there_are_or_a_batch_larger_than_the_samples_are_refused():
    with pytest.raises(ValueError, match=r"^samples=2000 is more than the 1438 training samples of digits: use"):
        train(Run(**SMALL, samples=2000), progress=False)
    with pytest.raises(ValueError, match=r"^batch_size=20 is more than the 10 training samples of digits"):
        train(Run(**SMALL, samples=10, batch_size=20), progress=False)


def test_the_first_samples_are_those_that_are_used():
    digits = datasets.load("digits")
    few = Dataset(
        "digits", digits.x_train[:300], digits.y_train[:300], digits.x_test, digits.y_test, 10, True, "scikit-learn"
    )
    run, same = Run(**SMALL, samples=300, batch_size=100), Run(**SMALL, batch_size=100)
    expected = train(same, data={"digits": few}, progress=False)
    for name, weight in weights(run).items():
        assert torch.equal(weight, expected.weights(same)[name])


def test_no_training_input_has_a_component_in_the_unseen_direction():
    x = datasets.load("digits").x_train
    u = datasets.unseen(x)
    assert math.isclose(float(u.norm()), 8.0, rel_tol=1e-5)
    assert float((x @ u).abs().max()) < 1e-5 * float(x.norm(dim=1).mean())
    g = torch.Generator().manual_seed(1)
    full = torch.randn(400, 5, generator=g) * torch.tensor([1.0, 2.0, 0.01, 3.0, 4.0])
    torch.testing.assert_close(datasets.unseen(full).abs() / math.sqrt(5), torch.eye(5)[2], atol=0.01, rtol=0)


def test_kicks_along_the_unseen_direction_move_the_weights_and_not_the_loss():
    plain, seen, unseen = (row(Run(**SMALL | changes)) for changes in ({}, KICKED, {**KICKED, "along": "unseen"}))
    assert abs(unseen.train_loss / plain.train_loss - 1) < 1e-4
    assert abs(seen.train_loss / plain.train_loss - 1) > 0.1
    assert unseen.norm_rms > 1.5 * plain.norm_rms
    assert unseen.pruning_ratio > plain.pruning_ratio + 0.1


def test_a_kick_along_a_direction_is_the_scalar_of_each_unit_times_it():
    along = torch.tensor([1.0, -2.0, 0.5])
    ones, other = torch.zeros(6, 3), torch.zeros(6, 3)
    for weight, direction in ((ones, None), (other, along)):
        noise.add(weight, 1.5, "shared", 0.3, key=5, step=2, along=direction)
    torch.testing.assert_close(other, ones * along)
    with pytest.raises(ValueError, match=r"^along= is for noise 'shared' and one number an input"):
        noise.add(torch.zeros(6, 3), 1.5, "entrywise", 0.3, key=5, step=2, along=along)


@pytest.mark.parametrize("network", [{"width": 40}, {"width": 12, "depth": 2}])
def test_random_pruning_takes_the_share_of_units_asked_for_and_any_of_them(network):
    model = networks.build(
        "fcn",
        (9,),
        3,
        width=network["width"],
        depth=network.get("depth", 1),
        generator=torch.Generator().manual_seed(1),
    )
    small, larger = (compress.prune(model, keep=keep, generator=compress.chance(7)) for keep in (0.75, 0.5))
    by_norm = compress.prune(model, keep=0.5)
    for name, weight in networks.hidden_weights(larger).items():
        gone = (weight == 0).all(1)
        assert int(gone.sum()) == len(weight) // 2
        before = (dict(small.named_parameters())[name] == 0).all(1)
        assert bool(gone[before].all()), "what goes at a small share goes at a larger one"
        assert not torch.equal(gone, (dict(by_norm.named_parameters())[name] == 0).all(1))
    with pytest.raises(ValueError, match=r"^pruning at random wants a share of units"):
        compress.prune(model, squared_error=0.1, generator=compress.chance(7))


@pytest.mark.parametrize("depth", [1, 2])
def test_a_row_has_the_accuracy_of_the_network_pruned_at_random(depth):
    run = Run(**SMALL | {"depth": depth, "max_steps": 60})
    digits = datasets.load("digits")
    outcome = train(run, progress=False)
    model = trainer.final_model(run, outcome.weights(run), digits)
    pruned = compress.prune(model, keep=1 - 0.4, generator=compress.chance(run.seed))
    with torch.no_grad():
        expected = float((pruned(digits.x_test).argmax(1) == digits.y_test).double().mean())
    assert outcome.table.iloc[0]["test_accuracy_random_0.4"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_row_has_the_norms_of_the_hidden_units(depth):
    run = Run(**SMALL | {"depth": depth})
    outcome = train(run, progress=False)
    found, held = outcome.table.iloc[0], outcome.weights(run)
    names = [f"{2 * k + 1}.weight" for k in range(depth)]
    norms = torch.cat([held[name].double().norm(dim=1) for name in names])
    assert found.norm_median == pytest.approx(float(norms.median()))
    assert found.norm_rms == pytest.approx(float(norms.square().mean().sqrt()))
    relative = torch.cat([(own := held[name].double().norm(dim=1)) / own.median() for name in names])
    assert found.tail_index > 1
    assert found.tail_index_error == pytest.approx(found.tail_index / math.isqrt(len(relative)) ** 0.5)


def test_a_table_of_an_earlier_release_has_the_later_fields_at_their_defaults(tmp_path):
    run = Run(seed=4)
    now = table([(run, measured())])
    names = ["along", "weight_decay", "samples", "tail_index", "norm_rms", "test_accuracy_random_0.3"]
    results.write_table(now.drop(columns=names), tmp_path / "old.parquet")
    read = results.read_table(tmp_path / "old.parquet")
    assert list(read.columns) == list(now.columns)
    assert results.runs_of(read) == [run]
    assert read["tail_index"].isna().all()


def gaussian_beside_tail(accuracies):
    """Three seeds a setting of Type-I noise; None is a run that diverged."""
    rows = []
    for (alpha, sigma), levels in accuracies.items():
        for seed, level in enumerate(levels):
            run = Run(dataset="mnist", width=50, noise="shared", alpha=alpha, sigma=sigma, seed=seed)
            rows.append((run, diverged() if level is None else measured(train_accuracy=level, pruning_ratio=sigma)))
    return table(rows)


def test_gaussian_noise_of_equal_accuracy_is_that_whose_median_run_is_nearest():
    heavy = {(1.75, 0.1): (0.9, 0.91, 0.1)}  # their mean is 0.64
    light = {(2.0, 0.2): (0.96, 0.96, 0.96), (2.0, 0.4): (0.86, 0.87, 0.87), (2.0, 0.8): (0.64, 0.64, 0.64)}
    assert controls.equal_accuracy(gaussian_beside_tail(heavy | light)) == {"shared": 0.4}
    equal = {(2.0, 0.4): (0.75, 0.75, 0.75), (2.0, 0.2): (1.0, 1.0, 1.0)}
    level = {(1.75, 0.1): (0.875, 0.875, 0.875)}
    assert controls.equal_accuracy(gaussian_beside_tail(level | equal)) == {"shared": 0.2}
    guess = {(1.75, 0.1): (0.2, 0.2, 0.2), (2.0, 0.2): (0.5, 0.5, 0.5), (2.0, 0.4): (None, None, 0.9)}
    assert controls.equal_accuracy(gaussian_beside_tail(guess)) == {"shared": 0.4}


def test_the_tail_is_held_against_the_strongest_gaussian_noise_of_the_table():
    runs = {(1.75, 0.5): (0.9,) * 6, (2.0, 0.1): (0.9,) * 6, (2.0, 0.3): (0.9,) * 6}
    (cell,) = controls.against_matched_accuracy(gaussian_beside_tail(runs))
    assert cell.label == "shared, σ = 0.3 at α = 2"
    assert cell.points == pytest.approx([0.2] * 6)


@pytest.mark.parametrize("kind", noise.NOISES)
def test_another_noise_of_a_matched_sigma_kicks_by_the_same_median_size(kind):
    sigma = controls.matched_sigma(1.5, "isotropic", 0.2, 0.1, 6, 1.5, kind=kind)
    assert sigma * laws.median_norm(1.5, kind, 6) == pytest.approx(0.2 * laws.median_norm(1.5, "isotropic", 6))
    assert (sigma == pytest.approx(0.2)) == (kind == "isotropic")


@pytest.mark.parametrize("profile", ["quick", "workstation"])
@pytest.mark.long
def test_the_grid_of_the_controls_matches_kicks_accuracy_and_decay_as_it_says(profile):
    """The rules are applied to committed searches. Sigma was found with simulated medians, 0.1% off."""
    runs = read_grid(DATA / "grids" / "controls.toml", profile)
    of_mnist = read_grid(DATA / "grids" / "mnist.toml", profile)
    matched = controls.equal_accuracy(results.read_table(DATA / "results" / "workstation" / "choose-controls.parquet"))
    for kind in noise.NOISES:
        (heavy,) = {run.sigma for run in runs if (run.noise, run.alpha, run.along) == (kind, 1.75, "ones")}
        assert heavy == max(run.sigma for run in of_mnist if (run.noise, run.alpha) == (kind, 1.75))
        light = {run.sigma for run in runs if (run.noise, run.alpha) == (kind, 2.0)} - {matched[kind]}
        assert list(light) == pytest.approx([controls.matched_sigma(1.75, kind, heavy, 0.3, 784)], rel=0.0012)
    search = results.read_table(DATA / "results" / "workstation" / "choose-mnist.parquet")
    search = search[search["lr"] == 0.3]
    noisy = search[(search["noise"] == "entrywise") & (search["sigma"] == 0.003)]
    ratio = noisy["norm_median"].median() / experiments.plain(search)["norm_median"].median()
    (decay,) = {run.weight_decay for run in runs} - {0.0}
    assert decay == pytest.approx(controls.matched_decay(ratio, 0.3, noisy["max_steps"].max()), rel=1e-3)


def test_matched_kicks_have_the_median_size_that_other_draws_have():
    """Medians of 4001 other draws differ by less than 7% (false alarm below 1e-6 each)."""
    for kind, sigma in (("shared", 0.3), ("entrywise", 0.01), ("isotropic", 0.05)):
        sizes = []
        for alpha, scale in ((1.6, sigma), (2.0, controls.matched_sigma(1.6, kind, sigma, 0.1, 20))):
            g = torch.Generator().manual_seed(5)
            kicks = noise.draw(alpha, kind, (4001, 20), generator=g).expand(4001, 20)
            sizes.append(float(noise.scale(alpha, scale, 0.1) * kicks.norm(dim=1).median()))
        assert sizes[1] == pytest.approx(sizes[0], rel=0.07)
    assert sizes[0] != pytest.approx(sizes[1] * 1.2, rel=0.07)


def test_matched_decay_shrinks_by_the_ratio():
    decay = controls.matched_decay(4.0, 0.1, 50)
    assert (1 - 0.1 * decay) ** 50 == pytest.approx(0.25)


def test_noise_is_held_against_the_decay_that_is_most_accurate_when_pruned():
    """A run that diverged is at chance, which is one in ten on MNIST; the better decay is the smaller one here."""
    base = {"dataset": "mnist", "width": 50}
    rows = []
    for seed in range(1, 9):
        for decay, level in ((0.1, 0.8), (0.5, 0.6)):
            rows.append((Run(**base, weight_decay=decay, seed=seed), measured(share_accuracy=level)))
        numbers = diverged() if seed == 8 else measured(share_accuracy=0.9 + seed / 1000)
        rows.append((Run(**base, noise="shared", alpha=1.75, sigma=0.1, seed=seed), numbers))
    frame = table(rows)
    (cell,) = rivals.accuracy_against_decay(frame)
    assert (cell.noise, cell.runs, cell.failed, cell.diverged) == ("shared", 8, 0, 1)
    assert cell.points == pytest.approx([0.1 - 0.8, *(0.1 + seed / 1000 for seed in range(1, 8))])
    best = experiments.most_accurate(frame[frame["weight_decay"] > 0])
    assert set(best["weight_decay"]) == {0.1}
    assert len(best) == 8
    unknown = frame.assign(**dict.fromkeys(experiments.AT_SHARES, math.nan))
    assert set(experiments.most_accurate(unknown[unknown["weight_decay"] > 0])["weight_decay"]) == {0.1}
