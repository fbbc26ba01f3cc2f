"""The way of a GPU, all runs in one piece and steps recorded, on a CPU: the runs are those of the CPU to rounding.

Triton's interpreter draws the kicks, and `recorded_steps` records the steps. On a GPU nothing is changed.
"""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest
import recorded_steps
import torch
from made_up_data import made_up
from torch import Tensor, nn

pytest.importorskip("triton", reason="needs triton, which there is for Linux")

from heavytail import Run, noise
from heavytail._sampler import gpu as sampler
from heavytail.lab import trainer, training
from heavytail.lab.engines import any_module, two_layer
from heavytail.lab.machine import recording
from heavytail.noise import draws

pytestmark = pytest.mark.gpu
TWIN = ("twin_pruning_ratio", "twin_norm_median", "twin_norm_rms")
ON_GPU = torch.cuda.is_available()
DATA = {"digits": made_up(), "cifar10": made_up("cifar10", rows=(8, 6), shape=(3, 32, 32))}
BASE = Run(dataset="digits", width=8, lr=0.1, max_steps=5, eval_every=2, stop_accuracy=1.0)
DEEP = replace(BASE, depth=3)
VGG = Run(dataset="cifar10", network="vgg", width=2, lr=0.01, max_steps=3, unit="kernel")
NOISES = [
    *({"noise": kind, "alpha": alpha, "sigma": 0.05} for kind in noise.NOISES for alpha in (1.5, 2.0)),
    {},
    {"noise": "entrywise", "alpha": 1.75, "sigma": 0.1, "weight_decay": 0.1, "max_steps": 4},
]
KINDS = {
    "two layers": [replace(BASE, seed=3, **own) for own in NOISES],
    "two layers, minibatches": [replace(BASE, seed=k, batch_size=15, **own) for k, own in enumerate(NOISES[1:7:2])],
    "two layers, low": [replace(BASE, products="bfloat16", **own) for own in NOISES[1:4:2]],
    "mean field": [replace(BASE, network="mean_field", **own) for own in NOISES[1::2]],
    "along a direction": [replace(BASE, along="unseen", seed=seed, **NOISES[0]) for seed in (1, 2)],
    "three layers": [replace(DEEP, **own) for own in NOISES[::2]],
    "convolutions": [replace(VGG, **own) for own in NOISES[:3]],
}


@pytest.fixture
def gpu(monkeypatch):
    """What is called for a GPU; the steps that were recorded."""
    recorded, record = [], recording.record

    def spy(step, pool=None):
        recorded.append(step)
        return (record if ON_GPU else recorded_steps.record)(step, pool)

    monkeypatch.setattr(recording, "record", spy)
    if not ON_GPU:
        for module in (noise, draws):
            monkeypatch.setattr(module, "launched", lambda device: True)
        monkeypatch.setattr(two_layer, "by_core", lambda device: False)
        monkeypatch.setattr(sampler, "add", recorded_steps.kernel(sampler.add))
    return recorded


def trained(runs, device="cpu", **options):
    data = {run.dataset: DATA[run.dataset] for run in runs}
    return trainer.train(runs, device=device, data=data, progress=False, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.long
def test_runs_on_the_way_of_a_gpu_are_those_of_the_cpu(kind, request):
    runs = KINDS[kind]
    wanted = trained(runs)
    recorded = request.getfixturevalue("gpu")
    got = trained(runs, "cuda" if ON_GPU else "cpu")
    assert recorded  # or nothing was tested
    loose = 2e-2 if "low" in kind else 1e-4
    for run in runs:
        for name, weight in wanted.weights(run).items():
            torch.testing.assert_close(got.weights(run)[name], weight, rtol=loose, atol=loose / 10)
    assert list(got.table["status"]) == list(wanted.table["status"])
    assert list(got.table["steps"]) == list(wanted.table["steps"])
    for column in ("train_loss", "pruning_ratio", "norm_median", "test_accuracy", *TWIN):
        torch.testing.assert_close(
            torch.tensor(got.table[column]), torch.tensor(wanted.table[column]), rtol=5 * loose, atol=5 * loose
        )


@pytest.fixture
def held(monkeypatch):
    """Names of the groups, tapes and networks made in the test that are still there, without a garbage collection."""
    made = []

    def watched(module, name):
        make = getattr(module, name)

        def call(*args, **options):
            value = make(*args, **options)
            made.append((f"{module.__name__}.{name}", weakref.ref(value)))
            return value

        monkeypatch.setattr(module, name, call)

    for module, name in ((training, "group"), (recording, "tape"), (two_layer, "stack"), (any_module, "stack")):
        watched(module, name)
    gc.collect()
    gc.disable()
    yield lambda: [name for name, value in made if value() is not None] if made else ["nothing was made"]
    gc.enable()


@pytest.mark.parametrize("kind", ["two layers, minibatches", "three layers"])
@pytest.mark.long
def test_what_a_group_took_is_free_when_it_ends(kind, gpu, held):
    runs = [replace(run, max_steps=steps) for run, steps in zip(KINDS[kind], (5, 3, 5), strict=False)]
    result = trained(runs, "cuda" if ON_GPU else "cpu")
    assert gpu  # or nothing was recorded
    gpu.clear()
    assert held() == []
    assert set(result.table["status"]) == {"max_steps"}


@pytest.mark.parametrize("kind", ["two layers", "three layers"])
@pytest.mark.long
def test_what_a_group_took_is_free_when_it_fails(kind, gpu, held, monkeypatch):
    engine, calls = (two_layer if kind == "two layers" else any_module), []
    descend = engine.descend

    def fails(*args):
        calls.append(held())
        if len(calls) % 7 == 0:
            raise MemoryError("too much")
        return descend(*args)

    monkeypatch.setattr(engine, "descend", fails)
    result = trained(KINDS[kind], "cuda" if ON_GPU else "cpu")
    gpu.clear()
    assert held() == []
    assert max(names.count("heavytail.lab.training.group") for names in calls) == 1
    assert "out_of_memory" in set(result.table["status"])


class Doubled(nn.Module):
    """It brings a number over from Python at every call, which no step that is recorded can."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.tensor(2.0, device=x.device)


def doubling(shape, classes, *, width, depth, generator):
    model = nn.Sequential(nn.Linear(shape[0], width), Doubled(), nn.Tanh(), nn.Linear(width, classes))
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.1, generator=generator)
    return model


def test_a_network_whose_step_cannot_be_recorded_is_trained_all_the_same(request):
    runs = [replace(BASE, network=":doubling", **own) for own in NOISES[:2]]
    wanted = trained(runs, networks={"doubling": doubling})
    request.getfixturevalue("gpu")
    with pytest.warns(UserWarning, match="a step cannot be recorded"):
        got = trained(runs, "cuda" if ON_GPU else "cpu", networks={"doubling": doubling})
    assert list(got.table["status"]) == ["max_steps"] * 2
    for run in runs:
        for name, weight in wanted.weights(run).items():
            torch.testing.assert_close(got.weights(run)[name], weight, rtol=1e-4, atol=1e-5)


WEIGHTS = torch.arange(4.0)
STEPS = {
    "a number is read": lambda: WEIGHTS.mul_(float(WEIGHTS.sum())),
    "a number is brought over": lambda: WEIGHTS.add_(torch.tensor([1.0, 2.0, 3.0, 4.0])),
    "a choice is read": lambda: WEIGHTS[WEIGHTS > 1].sum(),
    "all is read": lambda: WEIGHTS.add_(WEIGHTS.tolist()[0]),
}


@pytest.mark.parametrize("kind", STEPS)
def test_the_stand_in_records_no_step_that_a_gpu_does_not(kind):
    before = WEIGHTS.clone()
    with pytest.raises(torch.AcceleratorError, match="not permitted when stream is capturing"):
        recorded_steps.record(STEPS[kind])
    assert torch.equal(WEIGHTS, before)


def test_the_stand_in_changes_nothing_while_it_records_and_replays_what_it_recorded():
    weights, here = torch.zeros(3), [torch.ones(3), torch.ones(3)]
    replay = recorded_steps.record(lambda: weights.add_(here[0] * 2))
    assert weights.tolist() == [0.0] * 3
    assert replay().tolist() == replay().sub(2).tolist() == [2.0] * 3
    here.reverse()
    with pytest.raises(AssertionError, match="not the same"):
        replay()
    count = iter(range(9))
    replay = recorded_steps.record(lambda: weights.add_(next(count)))
    with pytest.raises(AssertionError, match="not the same"):
        replay()
