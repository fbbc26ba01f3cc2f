"""The hand-written step against autograd, in many tiles, with many runs; pruning in one pass against real pruning."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from heavytail import compress, networks, noise, streams
from heavytail.lab import measuring, trainer
from heavytail.lab.engines import fused, two_layer
from heavytail.lab.machine import threads
from heavytail.noise import Kick

INPUTS, CLASSES, WIDTH, SAMPLES = 20, 4, 700, 300  # 700 neurons are four tiles of 175


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(two_layer, "NEURONS", 150)
    monkeypatch.setattr(two_layer, "LEAST", 50)
    monkeypatch.setattr(two_layer, "BLOCK", 1)


def model(network="fcn", seed=0, width=WIDTH):
    stream = streams.generator(seed, "weights")
    return networks.build(network, (INPUTS,), CLASSES, width=width, depth=1, generator=stream)


def samples(seed=0, runs=None):
    g = torch.Generator().manual_seed(seed)
    lead = () if runs is None else (runs,)
    x = torch.randn(*lead, SAMPLES, INPUTS, generator=g)
    return x, torch.randint(0, CLASSES, (*lead, SAMPLES), generator=g)


def stack(*models, products="float32"):
    return two_layer.stack(list(models), products, "filter", SAMPLES)


def kick(seed, kind="entrywise"):
    return Kick(1.75, kind, "filter", 0.01, streams.key(seed, "noise"), 3)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("network", ["fcn", "mean_field"])
def test_a_step_is_that_of_autograd(network, compiled, monkeypatch):
    monkeypatch.setattr(fused, "CLASSES", CLASSES if compiled else 0)
    x, y = samples()
    expected, rate = model(network), 0.5 if network == "fcn" else 0.5 * WIDTH
    loss = cross_entropy(expected(x), y)
    loss.backward()
    found = stack(model(network))
    losses = two_layer.descend(found, x, y, torch.tensor([rate]), {})
    assert float(losses[0]) == pytest.approx(float(loss.detach()), rel=1e-6)
    for name, p in expected.named_parameters():
        stepped, largest = p.detach() - rate * p.grad, float(p.detach().abs().max())
        assert float((rate * p.grad).abs().max()) > 1e-3 * largest  # the step is large against the tolerance
        torch.testing.assert_close(two_layer.weights(found, 0)[name], stepped, rtol=0, atol=1e-6 * largest)


@pytest.mark.parametrize("own_batches", [False, True])
@pytest.mark.parametrize("network", ["fcn", "mean_field"])
def test_networks_trained_at_once_have_the_bits_that_each_has_alone(network, own_batches):
    x, y = samples(runs=3 if own_batches else None)
    rates = torch.tensor([0.1, 0.2, 0.3])
    together = stack(*(model(network, seed) for seed in range(3)))

    def step(row):
        own = (x[row : row + 1], y[row : row + 1]) if own_batches else (x, y)
        kicks = {0: kick(row)} if row != 1 else {}
        return two_layer.descend(two_layer.apart(together)[row], *own, rates[row : row + 1], kicks)

    with threads.using(2):
        for _ in range(2):
            losses = torch.cat(threads.each(step, range(3), x.device))
    for row in range(3):
        alone = stack(model(network, row))
        own = (x[row : row + 1], y[row : row + 1]) if own_batches else (x, y)
        for _ in range(2):
            loss = two_layer.descend(alone, *own, rates[row : row + 1], {0: kick(row)} if row != 1 else {})
        assert torch.equal(loss[0], losses[row])
        for name, weight in two_layer.weights(alone, 0).items():
            assert torch.equal(weight, two_layer.weights(together, row)[name])


@pytest.mark.parametrize("kind", noise.NOISES)
def test_noise_fused_with_the_step_is_noise_after_the_step(kind):
    x, y = samples()
    fused, apart = stack(model()), stack(model())
    rate = torch.tensor([0.1])
    two_layer.descend(fused, x, y, rate, {0: kick(1, kind)})
    two_layer.descend(apart, x, y, rate, {})
    before = apart.hidden.clone()
    two_layer.perturb(apart, {0: kick(1, kind)})
    assert torch.equal(fused.hidden, apart.hidden)
    assert (apart.hidden != before).all()
    assert torch.equal(fused.output, apart.output)


def test_the_networks_that_stay_are_those_named():
    found = stack(*(model(seed=seed) for seed in range(4)))
    kept = two_layer.keep(found, [3, 1])
    for row, seed in enumerate((3, 1)):
        expected = dict(model(seed=seed).named_parameters())
        assert all(torch.equal(w, expected[name]) for name, w in two_layer.weights(kept, row).items())
    for one in two_layer.apart(kept):
        two_layer.descend(one, *samples(), torch.tensor([0.1]), {})  # its room for activations fits


@pytest.mark.parametrize("network", ["fcn", "mean_field"])
def test_measuring_in_one_pass_gives_what_pruning_and_running_the_network_gives(network, monkeypatch):
    monkeypatch.setattr(two_layer, "PART", 128)
    train, test = samples(1), samples(2)
    whole, nets = model(network), two_layer.keep(stack(model(network, 1), model(network)), [1])
    found = two_layer.measure(nets, train, test, measuring.CRITERIA, measuring.RANDOM, 5)
    assert found.loss == pytest.approx(float(cross_entropy(whole(train[0]), train[1]).detach()), rel=1e-5)
    assert list(found.pruned) == list(measuring.CRITERIA)
    assert list(found.by_chance) == list(measuring.RANDOM)
    for pruned, seed, splits in ((found.pruned, None, (train, test)), (found.by_chance, 5, (test,))):
        seen = set()
        for criterion, (ratio, accuracies) in pruned.items():
            smaller = compress.prune(whole, **criterion._asdict(), generator=compress.chance(seed))
            assert ratio == compress.pruning_ratio(smaller)
            for accuracy, (x, y) in zip(accuracies, splits, strict=True):
                right = int((smaller(x).argmax(1) == y).sum())
                assert abs(accuracy * SAMPLES - right) <= 1  # rounding may turn a tie
                seen.add(accuracy)
        assert len(seen) > 4


@pytest.mark.parametrize("network", ["fcn", "mean_field"])
def test_a_network_is_measured_alike_on_any_number_of_threads(network, monkeypatch):
    monkeypatch.setattr(two_layer, "PART", 77)
    train, test = samples(1), samples(2)
    nets, whole = stack(*(model(network, seed) for seed in range(2))), []
    for count in (1, 2, 3):
        with threads.using(count):
            measured = two_layer.measure(
                two_layer.keep(nets, [0]), train, test, measuring.CRITERIA, measuring.RANDOM, 5
            )
            whole.append((measured, *(values.tolist() for values in two_layer.evaluate(nets, *train))))
    assert whole[0] == whole[1] == whole[2]
    alone = two_layer.evaluate(two_layer.keep(nets, [1]), *train)
    assert [float(values) for values in alone] == [whole[0][1][1], whole[0][2][1]]


def test_no_step_and_no_look_wakes_a_thread_of_torch():
    """It would spin for milliseconds after its work, on the core that the next tile needs."""
    program = """
        import os, torch
        from heavytail import networks, streams
        from heavytail.lab.engines import two_layer
        from heavytail.lab.machine import threads

        classes, batch = 30, 3000
        torch.set_num_threads(1)
        made = networks.build("fcn", (50,), classes, width=1200, depth=1, generator=streams.generator(0, "weights"))
        x, y = torch.zeros(batch, 50), torch.zeros(batch, dtype=torch.int64)
        nets = two_layer.stack([made], "float32", "filter", batch)
        count = lambda: len(os.listdir("/proc/self/task"))
        def train():
            two_layer.descend(nets, x, y, torch.ones(1), {})
            two_layer.evaluate(nets, x, y)

        train()  # on one thread: the first step of all imports the compiler, and with it SciPy, whose BLAS has a thread
        torch.set_num_threads(3)
        threads.each(str, range(3), x.device)  # starts the threads of this package
        before = count()
        train()
        after = count()
        torch.rand(10**6).exp()  # what does wake them
        print(before, after, count())
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    before, after, woken = map(int, told)
    assert before == after < woken


def test_weights_are_copies():
    found = stack(model())
    before = two_layer.weights(found, 0)
    two_layer.descend(found, *samples(), torch.tensor([1.0]), {0: kick(1)})
    after = two_layer.weights(found, 0)
    assert all(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(("network", "bound"), [("fcn", 2**-4), ("mean_field", 2**-6)])
def test_bfloat16_products_err_by_a_rounding_of_bfloat16(network, bound):
    """One rounding is 2^-9. It also turns that share of the ReLUs, which makes the root of it, 2^-4.5, in norm."""
    x, y = samples()
    moved = {}
    for products in ("float32", "bfloat16"):
        found = stack(model(network), products=products)
        before = found.hidden.clone()
        two_layer.descend(found, x, y, torch.tensor([0.5]), {})
        moved[products] = found.hidden - before
    error = (moved["bfloat16"] - moved["float32"]).norm() / moved["float32"].norm()
    assert 2**-12 < error < bound


def test_accuracy_and_loss_over_parts_of_the_samples_are_those_of_the_whole(monkeypatch):
    monkeypatch.setattr(two_layer, "PART", 77)
    x, y = samples()
    models = [model(seed=seed) for seed in range(3)]
    accuracy, loss = two_layer.evaluate(stack(*models), x, y)
    for row, one in enumerate(models):
        outputs = one(x)
        assert float(accuracy[row]) == int((outputs.argmax(1) == y).sum()) / SAMPLES
        assert float(loss[row]) == pytest.approx(float(cross_entropy(outputs, y).detach()), rel=1e-5)


@pytest.mark.parametrize("neurons", [0, 1, 149, 150, 299, 700, 10_000])
def test_the_tiles_of_a_layer_cover_each_neuron_once(neurons):
    cpu, other = torch.device("cpu"), torch.device("meta")
    for pieces in (two_layer._spans(neurons, cpu), two_layer._blocks(neurons, 500, cpu)):
        assert [row for piece in pieces for row in range(piece.start, piece.stop)] == list(range(neurons))
    whole = [slice(0, neurons)] if neurons else []
    assert two_layer._spans(neurons, other) == two_layer._blocks(neurons, 500, other) == whole


def test_tiles_are_wide_and_fill_two_cores(monkeypatch):
    monkeypatch.undo()
    counts = {n: len(two_layer._spans(n, torch.device("cpu"))) for n in (511, 512, 2000, 3999, 4000, 10_000, 10**6)}
    assert counts == {511: 1, 512: 2, 2000: 2, 3999: 2, 4000: 4, 10_000: 8, 10**6: 512}


def test_a_row_trained_in_tiles_is_the_row_trained_whole(monkeypatch):
    """Tiles change the order of sums, and that alone."""
    run = replace(trainer.Run(dataset="digits", width=600, lr=0.1, max_steps=20, seed=1))
    tiled = trainer.train(run, progress=False).weights(run)
    monkeypatch.setattr(two_layer, "NEURONS", 2**40)
    whole = trainer.train(run, progress=False).weights(run)
    assert any(not torch.equal(tiled[name], whole[name]) for name in tiled)
    for name in tiled:
        torch.testing.assert_close(tiled[name], whole[name], rtol=2e-5, atol=2e-6)
