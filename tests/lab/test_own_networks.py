"""Networks of one's own: trained as autograd trains them, or refused in one sentence."""

from __future__ import annotations

import itertools
import re
import sys
import threading
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.parametrizations import weight_norm

from heavytail import Run, noise, streams, sweep
from heavytail.lab import trainer, training
from heavytail.lab.datasets import Dataset
from heavytail.networks import fcn

CLASSES, INPUTS = 3, 6
BASE = Run(dataset="digits", network=":mine", width=8, lr=0.1, max_steps=6, seed=5)


def toy():
    g = torch.Generator().manual_seed(0)
    splits = []
    for count in (40, 30):
        y = torch.arange(count) % CLASSES
        splits += [torch.randn(count, INPUTS, generator=g) + 1.5 * (y.unsqueeze(1) - 1), y]
    return Dataset("digits", *splits, classes=CLASSES, verified=False, source="made up")


TOY = toy()


def drawn(layer, generator):
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / 3)
    return layer


class Residual(nn.Module):
    """Biases, a buffer, a skip connection and a head that is registered first."""

    def __init__(self, shape, classes, *, width, depth, generator):
        super().__init__()
        self.head = drawn(nn.Linear(width, classes), generator)
        self.first = drawn(nn.Linear(shape[0], width), generator)
        self.second = drawn(nn.Linear(width, width), generator)
        self.register_buffer("mask", (torch.rand(width, generator=generator) > 0.3).float())

    def forward(self, x):
        h = torch.tanh(self.first(x.flatten(1)))
        return self.head(h + torch.relu(self.second(h)) * self.mask)


def train(run=BASE, build=Residual, **options):
    return trainer.train(run, data={"digits": TOY}, networks={"mine": build}, progress=False, **options)


def by_autograd(run, seed):
    stream = streams.generator(seed, "weights")
    model = Residual(torch.Size([INPUTS]), CLASSES, width=run.width, depth=run.depth, generator=stream)
    optimizer = torch.optim.SGD(model.parameters(), lr=run.lr)
    for step in range(1, run.max_steps + 1):
        optimizer.zero_grad()
        cross_entropy(model(TOY.x_train), TOY.y_train).backward()
        optimizer.step()
        if run.noise and step < run.max_steps:
            size = noise.scale(run.alpha, run.sigma, run.lr)
            for layer, weight in enumerate((model.first.weight, model.second.weight)):
                kick = noise.Kick(
                    run.alpha,
                    run.noise,
                    run.unit,
                    size,
                    training.noise_key(replace(run, dataset=TOY.id, seed=seed)),
                    step,
                )
                noise.kick(weight.detach(), kick, layer=layer)
    return model


NOISY = {"noise": "entrywise", "alpha": 1.75, "sigma": 0.05}


@pytest.mark.parametrize("named", [{}, NOISY], ids=["plain", "noisy"])
def test_a_network_of_ones_own_is_trained_as_autograd_trains_it(named):
    runs = [Run(dataset="digits", network=":mine", width=8, lr=0.1, max_steps=6, seed=seed, **named) for seed in (5, 6)]
    results = train(runs)
    for k, run in enumerate(runs):
        expected = by_autograd(run, run.seed)
        weights = results.weights(run)
        assert weights.keys() == expected.state_dict().keys()
        for name, value in expected.state_dict().items():
            torch.testing.assert_close(weights[name], value, rtol=2e-5, atol=2e-6)
        right = (expected(TOY.x_test).argmax(1) == TOY.y_test).double().mean()
        assert results.table.test_accuracy[k] == float(right)
        assert 0 < results.table.pruning_ratio[k] < 1
        whole, bare = (results.table[f"test_accuracy_share_{share}"][k] for share in ("0.0", "1.0"))
        assert whole == float(right)
        assert bare <= whole


def test_a_network_that_can_be_imported_needs_no_entry():
    run = Run(dataset="digits", network=f"{__name__}:Residual", width=8, lr=0.1, max_steps=2)
    ours = trainer.train(run, data={"digits": TOY}, progress=False)
    assert ours.table.network[0] == f"{__name__}:Residual"
    assert ours.weights(run)["second.weight"].shape == (8, 8)


def test_a_chain_like_the_papers_is_trained_to_the_same_numbers(monkeypatch):
    def chain(shape, classes, *, width, depth, generator):
        return fcn(shape[0], width, depth, classes, generator=generator)

    mine = Run(dataset="digits", network=":mine", width=8, depth=2, lr=0.1, max_steps=6, **NOISY)
    theirs = Run(dataset="digits", width=8, depth=2, lr=0.1, max_steps=6, **NOISY)
    monkeypatch.setattr(training, "noise_key", lambda run: run.seed)  # networks of other names have kicks of their own
    one = train(mine, chain)
    other = trainer.train(theirs, data={"digits": TOY}, progress=False)
    for name, value in other.weights(theirs).items():
        assert torch.equal(one.weights(mine)[name], value)
    assert one.table.pruning_ratio[0] == other.table.pruning_ratio[0]


def sequential(*middle, outputs=CLASSES):
    def build(shape, classes, *, width, depth, generator):
        return nn.Sequential(
            drawn(nn.Linear(shape[0], width), generator), *middle, drawn(nn.Linear(width, outputs), generator)
        )

    return build


class DropsByItself(nn.Module):
    """Random numbers that no layer shows."""

    def __init__(self, inputs, width, classes):
        super().__init__()
        self.first, self.second = nn.Linear(inputs, width), nn.Linear(width, classes)

    def forward(self, x):
        return self.second(nn.functional.dropout(self.first(x), 0.5))


class Images(nn.Module):
    """Convolutions on inputs that come as a row, in a module that is no chain."""

    def __init__(self, width, classes):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, width, 2), nn.Conv2d(width, width, 1)
        self.last = nn.Linear(2 * width, classes)

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.first(x.view(-1, 1, 2, 3))))).flatten(1))


CONVOLUTIONAL = {
    "a chain": lambda shape, classes, *, width, generator, **_: drawn(nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, width, 2), nn.ReLU(), nn.Conv2d(width, width, 1),
        nn.Flatten(), nn.Linear(2 * width, classes),
    ), generator),
    "no chain": lambda shape, classes, *, width, generator, **_: drawn(Images(width, classes), generator),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_convolutions_on_flat_inputs_are_trained_and_measured(name):
    table = train(build=CONVOLUTIONAL[name]).table
    assert list(table.status) == ["max_steps"]
    assert 0 < table.pruning_ratio[0] < 1


class Deaf(nn.Module):
    """What says the same of every input, to the gradient."""

    def __init__(self, inputs, width, classes):
        super().__init__()
        self.first, self.second = nn.Linear(inputs, width), nn.Linear(width, classes)

    def forward(self, x):
        return self.second(self.first(x.detach()))


def deaf(shape, classes, *, width, generator, **_):
    return drawn(Deaf(shape[0], width, classes), generator)


def locked(shape, classes, **rest):
    model = deaf(shape, classes, **rest)
    model.lock = threading.Lock()  # no copy of it can be made
    return model


def masked_by(values, generator, shape, classes):
    model = Residual(shape, classes, width=len(values), depth=1, generator=generator)
    model.mask = torch.from_numpy(values).float()
    return model


NUMBERS = itertools.count()


def named_anew(shape, classes):
    layers = nn.Linear(shape[0], 8), nn.ReLU(), nn.Linear(8, classes)
    return nn.Sequential(OrderedDict((str(next(NUMBERS)), layer) for layer in layers))


def mute():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    raise Mute


UNMEASURED = {
    "cannot be copied": (BASE, locked, "ValueError: a Deaf cannot be copied: cannot pickle '_thread.lock' object"),
    "has no gradient by its inputs": (replace(BASE, robustness=5), deaf, "RuntimeError: "),
}


@pytest.mark.parametrize("how", UNMEASURED)
def test_a_network_that_cannot_be_measured_is_refused_before_it_is_trained(how):
    run, build, sentence = UNMEASURED[how]
    with pytest.raises(ValueError, match=rf"^network ':mine' cannot be measured: {sentence}"):
        train(run, build)


REFUSED = {
    "a layer without a shape": (
        sequential(nn.LazyLinear(8)),
        r"the layer '1', a LazyLinear, which has no shape before its first call",
    ),
    "random numbers in a call": (
        lambda shape, classes, *, width, **_: DropsByItself(shape[0], width, classes),
        r"cannot make a step of torch.func: .*random",
    ),
    "dropout": (
        sequential(nn.Dropout(0.5)),
        r"the layer '1', a Dropout, which draws random numbers that no seed names",
    ),
    "running statistics": (
        sequential(nn.BatchNorm1d(8)),
        r"the layer '1', a BatchNorm1d, which keeps running statistics",
    ),
    "another output": (sequential(nn.ReLU(), outputs=4), r"must return \(batch, classes\) = \(2, 3\), got \(2, 4\)"),
    "no module": (lambda *_, **__: 3, r"must return a torch.nn.Module, got int"),
    "no hidden weight": (lambda shape, classes, **_: nn.Linear(shape[0], classes), r"has no hidden weight"),
    "another dtype": (
        lambda shape, classes, **_: nn.Linear(shape[0], classes).double(),
        r"must have float32 parameters",
    ),
    "a call that fails": (sequential(nn.Linear(3, 3)), r"fails on inputs \(2, 6\)"),
    "other arguments": (
        lambda run: nn.Linear(3, 3),
        r"^network ':mine' cannot be made: .* unexpected keyword argument",
    ),
    "an error without a text": (lambda *_, **__: mute(), r"^network ':mine' cannot be made: Mute$"),
    "an error of its own": (lambda *_, **__: {}["width"], r"^network ':mine' cannot be made: 'width'$"),
    "an end of the program": (lambda *_, **__: sys.exit(3), r"^network ':mine' cannot be made: SystemExit: 3$"),
    "weights of torch's own drawing": (
        lambda shape, classes, *, width, **_: nn.Sequential(nn.Linear(shape[0], width), nn.Linear(width, classes)),
        r"^network ':mine' draws '0.weight' from numbers that no seed names",
    ),
    "names that change": (
        lambda shape, classes, **_: named_anew(shape, classes),
        r"^network ':mine' draws '\d+\.weight' from numbers that no seed names",
    ),
    "a buffer of NumPy's drawing": (
        lambda shape, classes, *, width, generator, **_: masked_by(np.random.rand(width), generator, shape, classes),  # noqa: NPY002
        r"^network ':mine' draws 'mask' from numbers that no seed names",
    ),
    "a weight made of others": (
        lambda shape, classes, **_: nn.Sequential(weight_norm(nn.Linear(shape[0], 4)), nn.Linear(4, classes)),
        r"^network ':mine': the weight of layer '0' is parametrized or masked",
    ),
}


@pytest.mark.parametrize("how", REFUSED)
def test_a_network_that_cannot_be_trained_is_refused_in_one_sentence(how):
    build, sentence = REFUSED[how]
    with pytest.raises(ValueError, match=sentence):
        train(build=build)


class Asking(Residual):
    """What looks at the values of its inputs."""

    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


def test_a_network_is_tried_with_the_batches_of_its_runs_before_any_is_trained():
    runs = [replace(BASE, seed=seed, batch_size=size) for seed, size in ((1, None), (2, 10))]
    assert list(train(runs[0], Asking).table.status) == ["max_steps"]
    seen = []
    with pytest.raises(ValueError, match=r"^network ':mine' cannot make a step of torch.func: vmap: .*data-dependent"):
        train(runs, Asking, on_look=lambda *look: seen.append(look))
    assert not seen


def test_a_module_that_raises_when_it_is_imported_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for number, (text, said) in enumerate([("raise SystemExit(3)", "SystemExit: 3"), ("1 / 0", "division by zero")]):
        (tmp_path / f"broken_{number}.py").write_text(text)
        with pytest.raises(ValueError, match=f"^network 'broken_{number}:f' cannot be imported: {said}$"):
            trainer.train(Run(dataset="digits", network=f"broken_{number}:f"), data={"digits": TOY}, progress=False)


@pytest.mark.parametrize("where", ["made", "called", "measured"])
def test_a_network_that_ends_the_program_ends_its_own_run_alone(where, monkeypatch):
    bad = replace(BASE, seed=6)

    class Leaving(Residual):
        def __init__(self, *shape, generator, **sizes):
            super().__init__(*shape, generator=generator, **sizes)
            self.bad = generator.initial_seed() == streams.generator(bad.seed, "weights").initial_seed()
            if self.bad and where == "made":
                raise SystemExit(3)

        def forward(self, x):
            if self.bad and (where == "called" or (where == "measured" and not torch.is_grad_enabled())):
                raise SystemExit(3)
            return super().forward(x)

    table = train([bad, BASE], Leaving).table
    assert list(table["status"]) == ["failed", "max_steps"]
    assert table["reason"][0].endswith("SystemExit: 3")


def test_a_network_that_is_not_there_is_refused_in_one_sentence():
    for name, sentence in (
        (":other", r"network ':other' is not given: pass networks=\{'other'"),
        ("no_such_module:f", r"network 'no_such_module:f' cannot be imported: No module named 'no_such_module'"),
        ("math:f", r"network 'math:f' cannot be imported: module 'math' has no attribute 'f'"),
        ("math:pi", r"network 'math:pi' is not a function but a float"),
    ):
        with pytest.raises(ValueError, match=sentence):
            trainer.train(Run(dataset="digits", network=name), data={"digits": TOY}, progress=False)
    with pytest.raises(ValueError, match=re.escape("networks= holds mine, which no run names")):
        train(Run(dataset="digits"))


def test_a_sweep_wants_a_network_that_every_worker_can_import(tmp_path):
    with pytest.raises(
        ValueError, match=r"network ':mine' is known here alone: name it in a sweep as 'module:function'"
    ):
        sweep(BASE, store=tmp_path, data={"digits": TOY}, progress=False)
    run = Run(dataset="digits", network=f"{__name__}:Residual", width=8, lr=0.1, max_steps=2)
    table = sweep(run, store=tmp_path, data={"digits": TOY}, progress=False).table
    assert list(table.status) == ["max_steps"]


# looks


def test_a_history_holds_a_look_after_every_eval_every_steps_and_changes_no_bit():
    runs = [Run(dataset="digits", width=8, depth=d, lr=0.1, max_steps=12, eval_every=5, seed=s, **NOISY)
            for d in (1, 2) for s in (1, 2)]  # fmt: skip
    seen = []
    plain = trainer.train(runs, data={"digits": TOY}, progress=False)
    asked = trainer.train(
        runs, data={"digits": TOY}, progress=False, history=True, on_look=lambda *look: seen.append(look)
    )
    assert plain.history is None
    assert list(asked.history.columns) == ["key", "step", "train_loss", "train_accuracy"]
    keys = list(asked.table.key)
    assert list(zip(asked.history.key, asked.history.step, strict=True)) == [(k, s) for k in keys for s in (5, 10)]
    assert sorted((run.key, *rest) for run, *rest in seen) == sorted(asked.history.itertuples(index=False, name=None))
    for run in runs:
        for name, value in plain.weights(run).items():
            assert torch.equal(asked.weights(run)[name], value)
    same = [name for name in plain.table if name != "seconds"]
    assert plain.table[same].equals(asked.table[same])


def test_a_look_sees_the_network_after_the_step_and_before_its_noise():
    run = Run(dataset="digits", width=8, lr=0.1, max_steps=12, eval_every=5, **NOISY)
    looks = trainer.train(run, data={"digits": TOY}, progress=False, history=True).history
    for look in looks.itertuples():
        stopped = Run(dataset="digits", width=8, lr=0.1, max_steps=look.step, **NOISY)  # no noise follows the last step
        row = trainer.train(stopped, data={"digits": TOY}, progress=False).table.iloc[0]
        assert look.train_loss == pytest.approx(row.train_loss, rel=1e-6)
        assert look.train_accuracy == row.train_accuracy


def test_a_history_is_saved_and_loaded_and_goes_with_its_table(tmp_path):
    run = Run(dataset="digits", width=8, lr=0.1, max_steps=4, eval_every=2)
    asked = trainer.train(run, data={"digits": TOY}, progress=False, history=True)
    asked.save(tmp_path)
    assert trainer.Results.load(tmp_path).history.equals(asked.history)
    trainer.train(run, data={"digits": TOY}, progress=False).save(tmp_path)
    assert trainer.Results.load(tmp_path).history is None
