"""The trainer against a loop that shares no code with it, by what both find over many seeds.

The loop is the algorithm of the paper's code [C], written out with torch's layers, autograd and SciPy's stable laws.
It has its own networks, initial weights, batches, noise, pruning and accuracy. From heavytail come only the real data,
and the trainer's side.

Two sides agree if the means of every figure lie within 5.8 standard errors of their difference. For right sides one of
the four figures fails with probability 1e-5 a comparison: Student's t with 30 degrees of freedom. Seeds are fixed.
Laws that are wrong by a factor, an exponent, an index or a type are rejected by the same rule. With so few seeds it
does not see noise on the output layer too, nor tell types of noise apart by kernel; test_trainer.py does both.
What needs no chance, training without noise and the measurements, is compared run by run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.stats import levy_stable
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from heavytail import Run, train
from heavytail.lab import datasets, trainer
from heavytail.lab.datasets import Dataset

pytestmark = pytest.mark.long

ALPHA = 1.6
FIGURES = ("test_accuracy", "test_accuracy_pruned", "pruning_ratio", "norm_median")
SEEDS = range(16)  # of both sides, whose streams have nothing in common
FALSE_ALARM = 1e-5  # of a comparison, which is of all figures
LIMIT = stats.t.isf(FALSE_ALARM / len(FIGURES) / 2, 2 * len(SEEDS) - 2)  # standard errors of the difference

ECG = Run(dataset="ecg5000", width=64, lr=0.01, max_steps=50)
VGG = Run(dataset="cifar10", network="vgg", width=2, lr=0.03, max_steps=10, batch_size=20)
SIGMA = {"ecg5000": 0.04, "cifar10": 0.03}  # seen beside the initial weights, without drowning them


def noisy(run: Run, noise: str, unit: str = "filter") -> Run:
    return replace(run, noise=noise, unit=unit, alpha=ALPHA, sigma=SIGMA[run.dataset])


CASES = {
    "ecg plain": ECG,
    "ecg shared": noisy(ECG, "shared"),
    "ecg entrywise": noisy(ECG, "entrywise"),
    "ecg isotropic": noisy(ECG, "isotropic"),
    "vgg plain": VGG,
    "vgg shared": noisy(VGG, "shared"),
    "vgg entrywise": noisy(VGG, "entrywise"),
    "vgg isotropic by kernel": noisy(VGG, "isotropic", "kernel"),
}


def cases(*rows):
    """Rows that begin with the name of a case, as parameters; those on ECG5000 skip where it cannot be had."""
    marks = {True: [pytest.mark.needs_data("ecg5000")], False: []}
    return [pytest.param(*row, marks=marks[row[0].startswith("ecg")]) for row in rows]


@cache
def pictures() -> Dataset:
    """Images of 32x32 pixels in 4 classes: a coarse pattern a class, under noise."""
    random = np.random.default_rng(0)
    patterns = random.normal(size=(4, 3, 4, 4)).repeat(8, axis=2).repeat(8, axis=3)
    splits = []
    for count in (48, 48):
        y = np.arange(count) % 4
        x = patterns[y] + random.normal(size=(count, 3, 32, 32))
        splits += [torch.tensor(x, dtype=torch.float32), torch.tensor(y)]
    return Dataset("cifar10", *splits, classes=4, verified=False, source="made up")


@cache
def data(name: str) -> Dataset:
    return pictures() if name == "cifar10" else datasets.load(name)


# the loop


@dataclass(frozen=True)
class Law:
    """How the noise enters; the defaults are the paper's, anything else is wrong."""

    factor: float = 1.0
    exponent: float = 1 / ALPHA
    index: float = ALPHA


PAPER = Law()


def untrained(run: Run, dataset: Dataset) -> nn.Sequential:
    """Torch's own layers without biases; linear ones with torch's own initial weights."""
    if run.network == "fcn":
        inputs = dataset.x_train[0].numel()
        hidden, output = nn.Linear(inputs, run.width, bias=False), nn.Linear(run.width, dataset.classes, bias=False)
        return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), output)
    layers, channels = [], 3
    for step in (128, "M", 256, "M", 512, 512, "M", 1024, 1024, "M", 1024, 1024, "M"):
        if step == "M":
            layers.append(nn.MaxPool2d(2))
            continue
        filters = step * run.width // 128
        convolution = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
        convolution.weight.data.normal_(0, math.sqrt(2 / (9 * filters)))  # He: fan-out is 9 * filters
        layers += [convolution, nn.ReLU()]
        channels = filters
    return nn.Sequential(*layers, nn.AvgPool2d(1), nn.Flatten(), nn.Linear(channels, dataset.classes, bias=False))


def matrices(model: nn.Sequential) -> list[nn.Parameter]:
    return [layer.weight for layer in model if isinstance(layer, nn.Linear | nn.Conv2d)]


def hidden(model: nn.Sequential) -> list[nn.Parameter]:
    """Neither the output layer nor a first convolution."""
    _, *others = weights = matrices(model)
    return others[:-1] if weights[0].ndim == 4 else weights[:-1]


def units(weight: Tensor, unit: str) -> tuple[int, int]:
    """How many units a weight has, and how many entries each."""
    count = len(weight) * (weight.shape[1] if unit == "kernel" and weight.ndim == 4 else 1)
    return count, weight.numel() // count


def kick(noise: str, alpha: float, count: int, entries: int, random: np.random.Generator) -> np.ndarray:
    """A unit draw of the noise, (count, entries), by SciPy in float64."""
    if noise == "shared":
        return levy_stable.rvs(alpha, 0, size=(count, 1), random_state=random).repeat(entries, axis=1)
    if noise == "entrywise":
        return levy_stable.rvs(alpha, 0, size=(count, entries), random_state=random)
    half = alpha / 2
    # E exp(-λS) = exp(-λ^half) at this scale. N(0, 2) given √S then has E exp(iuX) = E exp(-u²S) = exp(-|u|^α).
    positive = levy_stable.rvs(
        half, 1, scale=math.cos(math.pi * half / 2) ** (1 / half), size=(count, 1), random_state=random
    )
    return np.sqrt(positive) * random.normal(0, math.sqrt(2), (count, entries))


def add_noise(model: nn.Sequential, run: Run, law: Law, random: np.random.Generator) -> None:
    size = law.factor * run.sigma * run.lr**law.exponent
    for weight in hidden(model):
        drawn = size * kick(run.noise, law.index, *units(weight, run.unit), random)
        weight.data += torch.tensor(drawn, dtype=torch.float32).reshape(weight.shape)


def loop(model: nn.Sequential, run: Run, dataset: Dataset, random: np.random.Generator, law: Law = PAPER) -> None:
    """Step by step: batch, gradient, step, and noise unless the step was the last."""
    optimizer = torch.optim.SGD(model.parameters(), lr=run.lr)
    samples = len(dataset.y_train)
    waiting: list[np.ndarray] = []
    for step in range(1, run.max_steps + 1):
        if not waiting:
            size = run.batch_size or samples
            waiting = np.split(random.permutation(samples), range(size, samples, size))
        batch = torch.tensor(waiting.pop(0))
        optimizer.zero_grad()
        cross_entropy(model(dataset.x_train[batch]), dataset.y_train[batch]).backward()
        optimizer.step()
        if run.noise is not None and step < run.max_steps:
            add_noise(model, run, law, random)


@torch.no_grad()
def measure(model: nn.Sequential, run: Run, dataset: Dataset) -> dict[str, float]:
    """Prune, changing the model, and measure before and after."""

    def accuracy() -> float:
        return float((model(dataset.x_test).argmax(1) == dataset.y_test).double().mean())

    before, gone, norms = accuracy(), 0, []
    for weight in hidden(model):
        rows = weight.reshape(units(weight, run.unit))  # a view
        squares = (rows.numpy().astype(np.float64) ** 2).sum(axis=1)
        smallest = squares.argsort()
        drop = smallest[squares[smallest].cumsum() <= 0.1 * squares.sum()]
        rows[drop] = 0
        gone += len(drop) * rows.shape[1]
        norms += np.sqrt(squares).tolist()
    counted = sum(weight.numel() for weight in matrices(model)[:-1])
    found = before, accuracy(), gone / counted, float(np.sort(norms)[(len(norms) - 1) // 2])  # the lower median
    return dict(zip(FIGURES, found, strict=True))


# the comparison


def by_loop(run: Run, law: Law = PAPER) -> np.ndarray:
    """What the loop finds, (seeds, figures)."""
    dataset, found = data(run.dataset), []
    with torch.random.fork_rng():  # torch's own initial weights come from the global state
        for seed in SEEDS:
            torch.manual_seed(seed)
            model = untrained(run, dataset)
            loop(model, run, dataset, np.random.default_rng(seed), law)
            found.append(list(measure(model, run, dataset).values()))
    return np.array(found)


@cache
def by_right_loop(name: str) -> np.ndarray:
    return by_loop(CASES[name])


@cache
def trained(name: str):
    runs = [replace(CASES[name], seed=seed) for seed in SEEDS]
    return runs, train(runs, data={runs[0].dataset: data(runs[0].dataset)}, progress=False)


def by_trainer(name: str) -> np.ndarray:
    return trained(name)[1].table[list(FIGURES)].to_numpy(float)


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Differences of means in standard errors, one a figure. Two sides without spread are 0 or infinitely apart."""
    assert np.isfinite(one).all()
    assert np.isfinite(other).all()
    gap = one.mean(0) - other.mean(0)
    error = np.sqrt(one.var(0, ddof=1) / len(one) + other.var(0, ddof=1) / len(other))
    return np.divide(gap, error, out=np.where(gap == 0, 0.0, np.inf), where=error > 0)


def agree(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((np.abs(distances(one, other)) <= LIMIT).all())


@pytest.mark.parametrize("name", cases(*zip(CASES)))
def test_the_trainer_finds_what_the_loop_finds(name):
    assert agree(by_trainer(name), by_right_loop(name)), distances(by_trainer(name), by_right_loop(name))


WRONG = {
    "noise too large by a half": Law(factor=1.5),
    "noise twice too large": Law(factor=2.0),
    "noise scaled as if it were Gaussian": Law(exponent=1 / 2),
    "noise of another index": Law(index=1.3),
    "Type-III without its factor 2": Law(factor=2**-0.5),
}
REJECTED = [
    ("ecg shared", "noise twice too large"),
    ("ecg entrywise", "noise too large by a half"),
    ("ecg shared", "noise scaled as if it were Gaussian"),
    ("ecg entrywise", "noise of another index"),
    ("ecg isotropic", "Type-III without its factor 2"),
    ("vgg entrywise", "noise scaled as if it were Gaussian"),
    ("vgg isotropic by kernel", "noise twice too large"),
]


@pytest.mark.parametrize(("name", "wrong"), cases(*REJECTED))
def test_a_wrong_law_is_rejected(name, wrong):
    assert not agree(by_trainer(name), by_loop(CASES[name], WRONG[wrong]))


NEIGHBOURS = [
    ("ecg plain", "ecg shared"),
    ("ecg shared", "ecg entrywise"),
    ("ecg entrywise", "ecg isotropic"),
    ("ecg isotropic", "ecg shared"),
    ("vgg plain", "vgg entrywise"),
    ("vgg shared", "vgg entrywise"),
]


@pytest.mark.parametrize(("name", "neighbour"), cases(*NEIGHBOURS))
def test_another_type_of_noise_is_rejected(name, neighbour):
    assert not agree(by_trainer(name), by_right_loop(neighbour))


# run by run


@pytest.mark.parametrize("name", cases(*zip(CASES)))
def test_the_loop_measures_a_trained_network_as_the_trainer_does(name):
    """Rounding may turn one sample in a tie, none of the other figures."""
    runs, found = trained(name)
    dataset, model = data(runs[0].dataset), untrained(runs[0], data(runs[0].dataset))
    for run, row in zip(runs, by_trainer(name), strict=True):
        with torch.no_grad():
            for weight, value in zip(matrices(model), found.weights(run).values(), strict=True):
                weight.copy_(value)
        measured = list(measure(model, run, dataset).values())
        assert measured[:2] == pytest.approx(row[:2], abs=1.5 / len(dataset.y_test))
        assert measured[2:] == pytest.approx(row[2:], rel=1e-6)


@pytest.mark.parametrize("name", cases(("ecg plain",), ("vgg plain",)))
def test_without_noise_both_lead_from_the_same_weights_to_the_same_weights(name):
    run = replace(CASES[name], batch_size=None, max_steps=10)
    dataset, random = data(run.dataset), np.random.default_rng(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = untrained(run, dataset)
    start = trainer.Snapshot(run, 0, {key: value.clone() for key, value in model.state_dict().items()})
    (outcome,) = trainer.outcomes([run], data={run.dataset: dataset}, progress=False, snapshots=[start])
    loop(model, run, dataset, random)
    for key, value in model.state_dict().items():
        assert (value - start.weights[key]).abs().max() > 1e-3  # far beyond rounding
        torch.testing.assert_close(outcome.weights[key], value, rtol=2e-5, atol=2e-6)
