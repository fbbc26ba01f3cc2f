"""The way of a GPU, all runs in one piece and steps recorded, on a CPU: the runs are those of the CPU to rounding.

Triton's interpreter draws the kicks, and a recorded step is the step itself. On a GPU nothing is changed.
"""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from made_up_data import made_up

pytest.importorskip("triton", reason="needs triton, which there is for Linux")

from heavytail import Run, noise
from heavytail.lab import trainer, training
from heavytail.lab.engines import any_module, two_layer
from heavytail.lab.machine import recording
from heavytail.noise import draws

pytestmark = pytest.mark.gpu
TWIN = ("twin_pruning_ratio", "twin_norm_median", "twin_norm_rms")
ON_GPU = torch.cuda.is_available()
DATA = {"digits": made_up(), "cifar10": made_up("cifar10", rows=(8, 6), shape=(3, 32, 32))}
BASE = Run(dataset="digits", width=8, lr=0.1, max_steps=8, eval_every=3, stop_accuracy=1.0)
VGG = Run(dataset="cifar10", network="vgg", width=2, lr=0.01, max_steps=3, unit="kernel")
NOISES = [
    *({"noise": kind, "alpha": alpha, "sigma": 0.05} for kind in noise.NOISES for alpha in (1.5, 2.0)),
    {},
    {"noise": "entrywise", "alpha": 1.75, "sigma": 0.1, "weight_decay": 0.1, "max_steps": 5},
]
KINDS = {
    "two layers": [replace(BASE, seed=3, **own) for own in NOISES],
    "two layers, minibatches": [replace(BASE, seed=k, batch_size=15, **own) for k, own in enumerate(NOISES[1:7:2])],
    "two layers, low": [replace(BASE, products="bfloat16", **own) for own in NOISES[1:4:2]],
    "mean field": [replace(BASE, network="mean_field", **own) for own in NOISES[1::2]],
    "along a direction": [replace(BASE, along="unseen", seed=seed, **NOISES[0]) for seed in (1, 2)],
    "three layers": [replace(BASE, depth=3, **own) for own in NOISES[::2]],
    "convolutions": [replace(VGG, **own) for own in NOISES[:3]],
}


@pytest.fixture
def gpu(monkeypatch):
    """What is called for a GPU; the steps that were recorded."""
    recorded, record = [], recording.record

    def spy(step, pool=None):
        recorded.append(step)
        return record(step, pool) if ON_GPU else step

    monkeypatch.setattr(recording, "record", spy)
    if not ON_GPU:
        for module in (noise, draws):
            monkeypatch.setattr(module, "launched", lambda device: True)
        monkeypatch.setattr(two_layer, "by_core", lambda device: False)
    return recorded


def trained(runs, device="cpu"):
    return trainer.train(runs, device=device, data={run.dataset: DATA[run.dataset] for run in runs}, progress=False)


@pytest.mark.parametrize("kind", KINDS)
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
def test_what_a_group_took_is_free_when_it_ends(kind, gpu, held):
    runs = [replace(run, max_steps=steps) for run, steps in zip(KINDS[kind], (8, 5, 8), strict=False)]
    result = trained(runs, "cuda" if ON_GPU else "cpu")
    assert gpu  # or nothing was recorded
    gpu.clear()
    assert held() == []
    assert set(result.table["status"]) == {"max_steps"}


@pytest.mark.parametrize("kind", ["two layers", "three layers"])
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
