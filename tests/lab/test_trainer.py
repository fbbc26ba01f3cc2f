"""The trainer against plain loops written out here, and against the paper's measured facts on real data.

The step for one hidden layer is written by hand and rounds in another order than autograd; other networks agree bit for
bit. What a run gets alone, in a list, resumed, or on another number of threads is the same bits everywhere.
"""

from __future__ import annotations

import math
import random
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from made_up_data import CLASSES, INPUTS, made_up
from torch import nn
from torch.nn.functional import cross_entropy

from heavytail import Run, compress, networks, noise, streams
from heavytail.lab import queue, results, trainer, training
from heavytail.lab.engines import any_module, two_layer
from heavytail.lab.machine import threads
from heavytail.lab.runs import settled

NOISE = {"noise": "entrywise", "alpha": 1.75, "sigma": 0.3}
MEASURED = [name for name in results.COLUMNS if name.startswith(results.MEASURED)]
ASKED = tuple(f"test_accuracy_{kind}_" for kind in ("tuned", "fgsm", "pgd"))  # measured of runs that ask for it
ALWAYS = [name for name in MEASURED if not name.startswith(ASKED)]


TOY = made_up()
IMAGES = made_up("cifar10", rows=(8, 6), shape=(3, 32, 32))
DATA = {"digits": TOY, "cifar10": IMAGES}
BASE = Run(dataset="digits", width=8, lr=0.1, max_steps=12, seed=5)
VGG = Run(dataset="cifar10", network="vgg", width=2, lr=0.01, max_steps=2)


def train(*runs, **options):
    return trainer.train(runs, data=used(runs), progress=False, **options)


def used(runs, data=DATA):
    """The data sets of these runs alone: others are refused."""
    return {run.dataset: data[run.dataset] for run in runs}


def met(*runs):
    """The runs as a table says them: these data sets are not the published ones that they replace."""
    return settled(runs, {name: dataset.id for name, dataset in DATA.items()})


def weights(run):
    return train(run).weights(run)


def one_row(run):
    return train(run).table.iloc[0]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def agree(one, other):
    """Equal up to the rounding of a dozen steps: weights are of order 1, and one rounding is 6e-8."""
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=2e-5, atol=2e-6)
    return one.keys() == other.keys()


def initial(run):
    return trainer.initial_model(run, DATA[run.dataset]).state_dict()


# the algorithm, written out


def plain_loop(run, dataset):
    """Plain SGD, sharing with the trainer only its initial network and the order of its batches."""
    model = trainer.initial_model(run, dataset)
    optimizer = torch.optim.SGD(model.parameters(), lr=run.lr)
    order = trainer.batches(run, len(dataset.y_train), "cpu")
    for _ in range(run.max_steps):
        batch = next(order)
        optimizer.zero_grad()
        cross_entropy(model(dataset.x_train[batch]), dataset.y_train[batch]).backward()
        optimizer.step()
    return model.state_dict()


def noise_key(run):
    """That of the run that is trained, whose data set is not the published one."""
    return training.noise_key(met(run)[0])


def noisy_loop(run, dataset):
    """The paper's algorithm: after every step but the last, σ η^(1/α) ξ on all weights but first conv and output."""
    model = trainer.initial_model(run, dataset)
    layers = [layer for layer in model if isinstance(layer, nn.Linear | nn.Conv2d)]
    noisy = layers[1:-1] if isinstance(layers[0], nn.Conv2d) else layers[:-1]
    optimizer = torch.optim.SGD(model.parameters(), lr=run.lr)
    order = trainer.batches(run, len(dataset.y_train), "cpu")
    for step in range(1, run.max_steps + 1):
        batch = next(order)
        optimizer.zero_grad()
        cross_entropy(model(dataset.x_train[batch]), dataset.y_train[batch]).backward()
        optimizer.step()
        if step == run.max_steps:
            break
        size = run.sigma * run.lr ** (1 / run.alpha)
        at = {"key": noise_key(run), "step": step, "unit": run.unit}
        for number, layer in enumerate(noisy):
            noise.add(layer.weight.detach(), run.alpha, run.noise, size, layer=number, **at)
    return model.state_dict()


@pytest.mark.parametrize("named", [{}, {"noise": "isotropic", "alpha": 1.5, "sigma": 0}], ids=["plain", "sigma=0"])
@pytest.mark.parametrize("batch_size", [None, 15, 40])
@pytest.mark.parametrize("depth", [1, 3])
def test_without_noise_the_weights_are_those_of_plain_sgd(depth, batch_size, named):
    run = replace(BASE, depth=depth, batch_size=batch_size, **named)
    trained = weights(run)
    assert agree(trained, plain_loop(run, TOY))
    assert not same(trained, initial(run))
    assert same(trained, weights(replace(BASE, depth=depth, batch_size=batch_size)))


@pytest.mark.parametrize("kind", noise.NOISES)
@pytest.mark.parametrize("batch_size", [None, 15])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_with_noise_the_weights_are_those_of_the_loop_in_the_paper(depth, batch_size, kind):
    run = replace(BASE, depth=depth, batch_size=batch_size, **{**NOISE, "noise": kind})
    trained = weights(run)
    assert agree(trained, noisy_loop(run, TOY))
    with pytest.raises(AssertionError):
        agree(trained, plain_loop(run, TOY))


@pytest.mark.parametrize("unit", noise.UNITS)
@pytest.mark.parametrize("kind", noise.NOISES)
@pytest.mark.long
def test_a_convolutional_network_follows_the_same_loop(kind, unit):
    run = replace(VGG, unit=unit, max_steps=3, noise=kind, alpha=1.75, sigma=0.05)
    assert agree(weights(run), noisy_loop(run, IMAGES))


@pytest.mark.parametrize("named", [{}, NOISE], ids=["plain", "noisy"])
def test_the_mean_field_network_steps_along_n_times_the_gradient(named):
    run = replace(BASE, network="mean_field", width=10, max_steps=6, **named)
    start = trainer.initial_model(run, TOY)
    theta, signs = start.hidden.weight.detach().clone().requires_grad_(), start.signs
    for step in range(1, run.max_steps + 1):
        outputs = torch.tanh(TOY.x_train @ theta.T) @ signs.T / run.width
        (gradient,) = torch.autograd.grad(cross_entropy(outputs, TOY.y_train), theta)
        with torch.no_grad():
            theta -= run.lr * run.width * gradient
            if run.noise and step < run.max_steps:
                size = run.sigma * run.lr ** (1 / run.alpha)  # η itself: n scales the drift alone
                noise.add(theta.detach(), run.alpha, run.noise, size, key=noise_key(run), step=step)
    trained = weights(run)
    torch.testing.assert_close(trained["hidden.weight"], theta.detach(), rtol=1e-4, atol=1e-5)
    assert torch.equal(trained["signs"], signs)
    moved = (theta.detach() - start.hidden.weight).abs().max()
    assert moved > 0.01  # with the plain gradient it would be a tenth of the drift


# when the noise comes


def test_no_noise_follows_the_last_step():
    for steps in (1, 2):
        run = replace(BASE, max_steps=steps, **NOISE)
        assert same(weights(run), weights(replace(BASE, max_steps=steps))) == (steps == 1)


def test_no_noise_follows_the_step_at_which_the_accuracy_is_reached():
    stopping = replace(BASE, max_steps=200, stop_accuracy=0.8, eval_every=4, noise="shared", alpha=1.9, sigma=0.02)
    row = one_row(stopping)
    assert row.status == "converged"
    assert 4 < row.steps < 200
    assert same(weights(stopping), weights(replace(stopping, max_steps=int(row.steps), stop_accuracy=None)))


def test_noise_falls_on_hidden_layers_only():
    """At lr = 1e-30 a gradient step is lost in rounding, while σ lr^(1/2) = 1 is not."""
    visible = {"lr": 1e-30, "noise": "entrywise", "alpha": 2, "sigma": 1e15, "max_steps": 2}
    for run, kept in (
        (replace(BASE, **visible), {"3.weight"}),
        (replace(BASE, depth=3, **visible), {"7.weight"}),
        (replace(VGG, **visible), {"0.weight", "23.weight"}),
        (replace(BASE, network="mean_field", **visible), {"signs"}),
    ):
        before, after = initial(run), weights(run)
        unmoved = {name for name in before if torch.equal(before[name], after[name])}
        assert unmoved == kept
        for name in before.keys() - kept:
            assert (before[name] != after[name]).all()


@pytest.mark.parametrize("depth", [1, 2])
def test_a_hidden_layer_as_wide_as_the_class_count_gets_noise(depth):
    run = replace(BASE, width=CLASSES, depth=depth, max_steps=2, **NOISE)
    noisy, plain = weights(run), weights(replace(run, noise=None, alpha=None, sigma=0))
    assert all(not torch.equal(noisy[name], plain[name]) for name in plain)


# stopping


def test_a_run_stops_at_the_first_look_at_which_the_accuracy_is_reached():
    run = replace(BASE, max_steps=300, stop_accuracy=0.9, eval_every=7)
    row = one_row(run)
    assert row.status == "converged"
    assert row.steps % 7 == 0
    assert 7 < row.steps < 300
    assert row.train_accuracy >= 0.9
    earlier = one_row(replace(run, max_steps=int(row.steps) - 7, stop_accuracy=None))
    assert earlier.train_accuracy < 0.9


def test_a_run_that_never_looks_never_stops():
    row = one_row(replace(BASE, max_steps=30, stop_accuracy=0.01, eval_every=31))
    assert (row.status, row.steps) == ("max_steps", 30)
    row = one_row(replace(BASE, max_steps=30, stop_accuracy=0.01, eval_every=30))
    assert (row.status, row.steps) == ("converged", 30)


# streams


def test_a_run_has_the_same_bits_alone_in_a_list_and_in_another_order():
    runs = [
        replace(BASE, **NOISE),
        replace(BASE, seed=6),
        replace(BASE, batch_size=7, **NOISE),
        replace(BASE, network="mean_field", **NOISE),
        replace(VGG, noise="shared", alpha=1.8, sigma=0.1),
    ]
    together, reversed_order = train(*runs), train(*runs[::-1])
    assert [row.key for row in together.table.itertuples()] == [run.key for run in met(*runs)]
    assert [row.key for row in reversed_order.table.itertuples()] == [run.key for run in met(*runs[::-1])]
    for run in runs:
        assert same(together.weights(run), weights(run))
        assert same(together.weights(run), reversed_order.weights(run))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_run_has_the_same_bits_on_any_number_of_threads(threads, one_thread):
    run = replace(BASE, width=700, batch_size=15, **NOISE)  # three tiles of neurons
    expected = weights(run)
    torch.set_num_threads(threads)
    assert same(weights(run), expected)


@pytest.fixture
def one_thread():
    with threads.using(1):
        yield


RESUMED = {
    "full batch": BASE,
    "minibatch": replace(BASE, batch_size=15),
    "depth 2": replace(BASE, depth=2, batch_size=15),
    "mean field": replace(BASE, network="mean_field"),
    "convolution": replace(VGG, noise="shared", alpha=1.8, sigma=0.1, max_steps=3),
    "stops": replace(BASE, max_steps=60, stop_accuracy=0.8, eval_every=7),
}


@pytest.mark.parametrize("how", RESUMED)
@pytest.mark.long
def test_a_run_resumed_after_any_step_has_the_same_bits(how):
    run = RESUMED[how] if how == "convolution" else replace(RESUMED[how], **{**NOISE, "sigma": 0.1})
    kept = []
    (undisturbed,) = trainer.outcomes([run], data=DATA, progress=False, keep=kept.append, keep_every=0)
    assert [snapshot.step for snapshot in kept] == list(range(1, undisturbed.row["steps"]))
    others = [replace(run, seed=seed) for seed in (11, 12)]  # a resumed run goes on beside others that begin
    for snapshot in kept:
        runs = [run, *others[: snapshot.step % 3]]
        outcomes = {o.run: o for o in trainer.outcomes(runs, data=DATA, progress=False, snapshots=[snapshot])}
        assert same(outcomes[run].weights, undisturbed.weights)
        assert {**outcomes[run].row, "seconds": 0} == {**undisturbed.row, "seconds": 0}


def test_runs_that_finish_early_leave_and_the_rest_go_on():
    stops = [replace(BASE, seed=seed, max_steps=60, stop_accuracy=0.8, eval_every=3, **NOISE) for seed in range(6)]
    longer = [replace(BASE, max_steps=steps, **NOISE) for steps in (5, 12, 31)]
    together = train(*stops, *longer)
    assert len(set(together.table["steps"])) > 3
    for run in [*stops, *longer]:
        assert same(together.weights(run), weights(run))


def test_noise_leaves_initial_weights_and_batches_as_they_are():
    settings = [{}] + [{"noise": kind, "alpha": a, "sigma": 0.3} for kind in noise.NOISES for a in (1.2, 1.9)]
    runs = [replace(BASE, batch_size=15, **setting) for setting in settings]
    assert all(same(initial(run), initial(runs[0])) for run in runs)
    orders = [[next(order) for _ in range(9)] for order in (trainer.batches(run, 40, "cpu") for run in runs)]
    assert all(torch.equal(a, b) for order in orders for a, b in zip(order, orders[0], strict=True))
    # the noise itself does change with alpha
    assert len({tuple(weights(run)["1.weight"].flatten().tolist()) for run in runs}) == len(runs)


def test_initial_weights_and_batches_come_from_their_own_streams():
    run = replace(BASE, batch_size=15, depth=2)
    stream = streams.generator(run.seed, "weights")
    built = networks.build("fcn", (INPUTS,), CLASSES, width=run.width, depth=2, generator=stream)
    assert same(initial(run), built.state_dict())
    order = trainer.batches(run, 40, "cpu")
    for epoch in range(3):
        shuffle = torch.randperm(40, generator=streams.generator(run.seed, "batches", epoch))
        assert torch.equal(torch.cat([next(order) for _ in range(3)]), shuffle)


def test_another_seed_changes_initial_weights_batches_and_noise():
    one, other = replace(BASE, batch_size=15), replace(BASE, batch_size=15, seed=6)
    assert not same(initial(one), initial(other))
    assert not torch.equal(next(trainer.batches(one, 40, "cpu")), next(trainer.batches(other, 40, "cpu")))
    visible = {"lr": 1e-30, "noise": "entrywise", "alpha": 2, "sigma": 1e15, "max_steps": 2}
    kicks = [
        weights(run)["1.weight"] - initial(run)["1.weight"]
        for run in (replace(one, **visible), replace(other, **visible))
    ]
    assert not torch.allclose(kicks[0], kicks[1], atol=1e-3)


def test_an_epoch_is_a_fresh_shuffle_and_its_last_batch_holds_what_is_left():
    order = trainer.batches(replace(BASE, batch_size=15), 40, "cpu")
    epochs = [[next(order) for _ in range(3)] for _ in range(3)]
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == [15, 15, 10]
        assert sorted(torch.cat(epoch).tolist()) == list(range(40))
    assert len({tuple(torch.cat(epoch).tolist()) for epoch in epochs}) == 3
    full = trainer.batches(BASE, 40, "cpu")
    assert [next(full), next(full)] == [slice(None), slice(None)]


def test_global_random_states_are_left_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    train(replace(BASE, batch_size=7, **NOISE), replace(VGG, max_steps=1))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert random.getstate() == before[2]


# the table


def by_hand(hidden, output, x, y):
    return int(((x @ hidden.T).relu() @ output.T).argmax(1).eq(y).sum()) / len(y)


def without_smallest(weight, count):
    pruned = weight.clone()
    pruned[weight.norm(dim=1).argsort()[:count]] = 0
    return pruned


def test_every_number_of_a_row_follows_from_the_weights():
    run = replace(BASE, width=10, max_steps=25, **NOISE)
    outcome = train(run)
    row, (hidden, output) = outcome.table.iloc[0], outcome.weights(run).values()
    squares = hidden.double().square().sum(1).sort().values
    gone = int((squares.cumsum(0) <= 0.1 * squares.sum()).sum())
    assert 0 < gone < 10
    assert row.pruning_ratio == gone / 10
    for split in ("train", "test"):
        xy = getattr(TOY, f"x_{split}"), getattr(TOY, f"y_{split}")
        assert row[f"{split}_accuracy"] == by_hand(hidden, output, *xy)
        assert row[f"{split}_accuracy_pruned"] == by_hand(without_smallest(hidden, gone), output, *xy)
        for tenths in range(11):
            pruned = without_smallest(hidden, tenths)
            assert row[f"{split}_accuracy_share_{tenths / 10:.1f}"] == by_hand(pruned, output, *xy)
    logits = (TOY.x_train @ hidden.T).relu() @ output.T
    losses = logits.logsumexp(1) - logits[torch.arange(40), TOY.y_train]
    assert row.train_loss == pytest.approx(float(losses.mean()), rel=1e-5)


@pytest.mark.parametrize("run", [BASE, VGG, replace(BASE, network="mean_field")], ids=lambda run: run.network)
def test_evaluation_in_parts_gives_the_same_numbers(run, monkeypatch):
    whole = one_row(run)
    monkeypatch.setattr(two_layer, "PART", 7)
    monkeypatch.setattr(any_module, "ROWS", 7)
    parts = one_row(run)
    for name in MEASURED:
        assert parts[name] == pytest.approx(whole[name], rel=1e-6, nan_ok=True)


def test_a_row_holds_the_fields_of_its_run_and_the_columns_of_the_schema():
    run = replace(BASE, **NOISE)
    outcome = train(run, BASE)
    assert list(outcome.table.columns) == [field.name for field in fields(Run)] + list(results.COLUMNS)
    assert results.runs_of(outcome.table) == met(run, BASE)
    row = outcome.table.iloc[0]
    assert (row.key, row.steps, row.status, row.device) == (met(run)[0].key, 12, "max_steps", "cpu")
    assert not row.verified
    assert row.seconds > 0
    assert row.torch == torch.__version__


def test_a_table_of_no_runs_has_the_same_columns():
    assert list(trainer.train([]).table.columns) == list(train(BASE).table.columns)


def test_one_run_may_be_given_without_a_list():
    alone = trainer.train(BASE, data=used([BASE]), progress=False)
    assert len(alone.table) == 1
    assert same(alone.weights(BASE), weights(BASE))


def test_trained_weights_make_the_trained_network_again():
    for run in (BASE, VGG, replace(BASE, network="mean_field")):
        dataset, outcome = DATA[run.dataset], train(run)
        model = trainer.final_model(run, outcome.weights(run), dataset)
        right = model(dataset.x_test).argmax(1) == dataset.y_test
        assert float(right.double().mean()) == outcome.table.iloc[0].test_accuracy
        loss = cross_entropy(model(dataset.x_train), dataset.y_train)
        assert float(loss.detach()) == pytest.approx(outcome.table.iloc[0].train_loss, rel=1e-5)


def test_weights_of_a_run_that_was_not_trained_are_refused():
    with pytest.raises(KeyError, match=r"no weights of this run here"):
        train(BASE).weights(replace(BASE, seed=99))


def test_progress_can_be_silenced(capsys):
    train(BASE)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("network", ["fcn", "vgg", "mean_field"])
def test_every_network_trains_on_images(network):
    row = one_row(replace(VGG, network=network, max_steps=1))
    assert (row.status, row.steps) == ("max_steps", 1)
    assert math.isfinite(row.train_loss)
    assert 0 <= row.test_accuracy <= 1


# runs that stall, and runs that do not fit


def test_a_run_without_gain_in_accuracy_is_given_up_as_stalled():
    run = replace(BASE, lr=1e-12, max_steps=90, stop_accuracy=1.0, eval_every=4, patience=3)
    row = one_row(run)
    assert (row.status, row.steps) == ("stalled", 16)  # the first look is a gain, the next three are none
    assert row.reason == f"the train accuracy has not grown in 3 looks; the best was {row.train_accuracy:.4f}"
    patient = one_row(replace(run, patience=40))
    assert (patient.status, patient.reason) == ("max_steps", "")


@pytest.fixture
def memory_for(monkeypatch):
    """Memory for that many runs at once; returns the numbers that were tried."""

    def limit(most, error):
        tried, stack = [], two_layer.stack

        def stack_or_fail(models, *rest):
            tried.append(len(models))
            if len(models) > most:
                raise error
            return stack(models, *rest)

        monkeypatch.setattr(two_layer, "stack", stack_or_fail)
        return tried

    return limit


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried 9"),
    MemoryError("Unable to allocate 9 GiB"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cuda", "cpu", "numpy"])
def test_runs_that_do_not_fit_together_are_trained_fewer_at_once(error, memory_for, monkeypatch):
    runs = [replace(BASE, seed=seed, **NOISE) for seed in range(5)]
    expected = train(*runs)
    monkeypatch.setattr(queue, "_at_once", lambda *_: 4)
    tried = memory_for(1, error)
    found = train(*runs)
    assert tried == [4, 2, *[1] * 10]  # each alone, and then its twin
    assert all(same(found.weights(run), expected.weights(run)) for run in runs)
    assert list(found.table["status"]) == ["max_steps"] * 5


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cuda", "cpu", "numpy"])
def test_a_run_that_does_not_fit_alone_is_a_row_and_leaves_the_others_alone(error, memory_for):
    memory_for(0, error)
    deep = replace(BASE, depth=2)
    table = train(BASE, deep).table
    assert list(table["status"]) == ["out_of_memory", "max_steps"]
    assert table.iloc[0].reason == f"it does not fit in memory: {error}"
    assert table.iloc[0][MEASURED].isna().all()


def test_an_error_that_is_not_about_memory_is_a_row_that_says_so(memory_for):
    memory_for(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied\nand more"))
    row = one_row(BASE)
    assert (row.status, row.reason) == ("failed", "RuntimeError: mat1 and mat2 shapes cannot be multiplied")
    assert row[MEASURED].isna().all()


def test_a_network_larger_than_the_memory_is_a_row():
    row = one_row(replace(BASE, width=10**13))
    assert row.status == "out_of_memory"


# runs that diverge

DIVERGE = {
    "step size": {"lr": 1e30},
    "noise": {**NOISE, "sigma": 1e30},
    # such a network puts out NaN, whose largest entry is the first: it is "accurate" on the first class
    "at a look at the accuracy": {"lr": 1e18, "stop_accuracy": 0.01, "eval_every": 2},
    "at the last step": {"lr": 1e30, "max_steps": 1},
    "mean field": {"network": "mean_field", "lr": 1e38},
}


@pytest.mark.parametrize("how", DIVERGE)
def test_a_run_that_diverges_is_a_row_and_leaves_the_others_alone(how):
    bad, good, after = replace(BASE, **DIVERGE[how]), replace(BASE, seed=7, **NOISE), replace(BASE, seed=8)
    outcome = train(good, bad, after)
    row = outcome.table.iloc[1]
    assert (row.status, row.key) == ("diverged", met(bad)[0].key)
    assert 0 <= row.steps <= bad.max_steps
    assert row[MEASURED].isna().all()
    for k, run in ((0, good), (2, after)):
        assert outcome.table.iloc[k].status == "max_steps"
        assert outcome.table.iloc[k][ALWAYS].notna().all()
        assert same(outcome.weights(run), weights(run))


@pytest.mark.parametrize("how", DIVERGE)
def test_a_run_that_diverges_leaves_no_snapshot_from_which_it_would_end_otherwise(how):
    bad = replace(BASE, **DIVERGE[how])
    kept = []
    (undisturbed,) = trainer.outcomes([bad], data=DATA, progress=False, keep=kept.append, keep_every=0)
    assert undisturbed.row["steps"] == train(bad).table.loc[0, "steps"]
    for snapshot in kept:
        (resumed,) = trainer.outcomes([bad], data=DATA, progress=False, snapshots=[snapshot])
        assert {**resumed.row, "seconds": 0} == pytest.approx({**undisturbed.row, "seconds": 0}, abs=0, nan_ok=True)


def test_infinite_weights_behind_a_saturated_activation_count_as_diverged():
    """With one input, a weight of ±inf still gives tanh = ±1 and a finite loss."""
    run = replace(BASE, network="mean_field", lr=1e38, max_steps=1)
    outcome = trainer.train(run, data={"digits": made_up(shape=(1,))}, progress=False)
    assert not outcome.weights(run)["hidden.weight"].isfinite().any()
    assert outcome.table.iloc[0].status == "diverged"


# refusals, all before any training


@pytest.fixture
def untrainable(monkeypatch):
    def fail(*_):
        raise AssertionError("training began")

    monkeypatch.setattr(queue, "_together", fail)


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [
        ([BASE, replace(BASE, seed=2), BASE], r"this run is listed twice: Run\("),
        ([BASE, replace(BASE, batch_size=41)], r"batch_size=41 is more than the 40 training samples of digits"),
        ([BASE, replace(BASE, network="vgg")], r"network 'vgg' needs images"),
        ([BASE, replace(VGG, dataset="mnist")], r"network 'vgg' .* need 32x32 pixels, not \(1, 28, 28\)"),
    ],
    ids=["twice", "batch", "no images", "small images"],
)
@pytest.mark.usefixtures("untrainable")
def test_runs_that_cannot_be_trained_are_refused_before_any_training(runs, sentence):
    data = {**DATA, "mnist": made_up("mnist", rows=(4, 4), shape=(1, 28, 28))}
    with pytest.raises(ValueError, match=sentence):
        trainer.train(runs, data=used(runs, data), progress=False)
    with pytest.raises(AssertionError, match="training began"):
        trainer.train(runs[:1], data=used(runs[:1], data), progress=False)


@pytest.mark.parametrize("device", ["nonsense", "cuda", "cuda:99"])
@pytest.mark.usefixtures("untrainable")
def test_a_device_that_is_not_there_is_refused_in_one_sentence(device):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ValueError, match=rf"^device '{device}' is not available here: use device='cpu'$"):
        train(BASE, device=device)


@pytest.mark.needs_cuda
def test_a_gpu_trains_the_same_networks_to_like_numbers():
    run = replace(BASE, batch_size=15, **NOISE)
    one, other = train(run, device="cuda"), train(run, device="cuda")
    assert same(one.weights(run), other.weights(run))
    assert one.table.iloc[0].device == "cuda"
    assert one.weights(run)["1.weight"].device.type == "cpu"


# real data


@pytest.mark.needs_data("ecg5000")
@pytest.mark.long
def test_plain_sgd_on_ecg5000_gives_what_the_authors_code_gives():
    """Pruning ratio 0.1145 measured with the authors' code [M]; 0.001 accuracy is 5 of 4500 samples."""
    run = Run(dataset="ecg5000", width=2000, lr=0.001, batch_size=500, max_steps=600, seed=1)
    row = trainer.train(run, progress=False).table.iloc[0]
    assert row.verified
    assert row.pruning_ratio == pytest.approx(0.1145, abs=0.01)
    assert row.test_accuracy == pytest.approx(0.964, abs=0.007)
    assert row.train_loss == pytest.approx(0.0709, abs=0.005)


@pytest.mark.needs_data("ecg5000")
@pytest.mark.long
def test_shared_noise_on_ecg5000_raises_the_pruning_ratio_unseen_by_the_loss():
    plain = Run(dataset="ecg5000", width=200, lr=0.001, max_steps=200, seed=1)
    shared = replace(plain, noise="shared", alpha=1.75, sigma=0.2)
    control = replace(shared, noise="entrywise")
    table = trainer.train([plain, shared, control], progress=False).table
    change = (table.train_loss / table.train_loss[0] - 1).abs()
    assert change[1] < 1e-3
    assert table.pruning_ratio[1] > table.pruning_ratio[0] + 0.05
    assert change[2] > 1e-2  # the loss does feel noise that does not cancel in Σ_j x_j


def test_the_data_of_the_package_is_loaded_when_none_is_given():
    run = Run(dataset="digits", width=32, lr=0.1, max_steps=60, batch_size=256, seed=1)
    row = trainer.train(run, progress=False).table.iloc[0]
    assert row.verified
    assert row.test_accuracy > 0.5  # chance is 0.1
    assert row.pruning_ratio == compress.prunable_share(trainer.train(run, progress=False).weights(run)["1.weight"])
