"""The three noises have one marginal law and three ways to hang together, and can perturb any optimizer."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from goodness_of_fit import (
    follows_continuous,
    follows_symmetric,
    gap_limit,
    is_fair,
    is_poisson,
    positive_cdf,
    symmetric_quantile,
)
from scipy import stats
from torch import Tensor, nn

from heavytail import networks, noise, stable, streams

UNITS = 300_000
HEAVY = (1.2, 1.75, 1.9)
OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda params: torch.optim.SGD(params, lr=0.1),
    "momentum": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": lambda params: torch.optim.Adam(params, lr=0.01),
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.01),
    "rmsprop": lambda params: torch.optim.RMSprop(params, lr=0.01),
    "adagrad": lambda params: torch.optim.Adagrad(params, lr=0.01),
    "tensor lr": lambda params: torch.optim.SGD(params, lr=torch.tensor(0.1)),
}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- a draw


@pytest.mark.parametrize("unit", noise.UNITS)
@pytest.mark.parametrize("kind", noise.NOISES)
@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 2, 2), (4, 3, 2), (1, 1), (6, 1, 3, 3)])
def test_a_draw_broadcasts_against_its_weight(kind: str, unit: str, shape: tuple[int, ...]) -> None:
    kick = noise.draw(kind, 1.75, shape, unit=unit, generator=generator(1))
    assert (torch.zeros(shape) + kick).shape == shape
    if kind == "shared":
        own = 2 if unit == "kernel" and len(shape) == 4 else 1
        assert kick.shape == shape[:own] + (1,) * (len(shape) - own)
    else:
        assert kick.shape == shape
    assert kick.dtype == torch.float32
    assert noise.draw(kind, 1.75, shape, unit=unit, generator=generator(1), dtype=torch.float64).dtype == torch.float64


@pytest.mark.parametrize("alpha", [*HEAVY, 2.0])
@pytest.mark.parametrize("kind", noise.NOISES)
def test_every_noise_has_the_same_marginal_law_of_scale_one(kind: str, alpha: float) -> None:
    entries = noise.draw(kind, alpha, (UNITS, 3), generator=generator(2))[:, -1]
    assert follows_symmetric(entries, alpha)
    assert not follows_symmetric(entries * 1.05, alpha)
    assert not follows_symmetric(entries / 2**0.5, alpha)  # the released code's isotropic noise, and its alpha = 2


@pytest.mark.parametrize("unit", noise.UNITS)
@pytest.mark.parametrize("kind", noise.NOISES)
def test_the_noise_of_a_convolution_has_the_same_marginal_law(kind: str, unit: str) -> None:
    weight = noise.draw(kind, 1.75, (UNITS // 3, 3, 2, 2), unit=unit, generator=generator(3)).expand(-1, -1, 2, 2)
    assert follows_symmetric(weight[:, 0, 0, 0], 1.75)
    assert follows_symmetric(weight[:, -1, 1, 1], 1.75)


def how_tied(first: Tensor, second: Tensor, alpha: float) -> str:
    """Which noise, of the given alpha, ties these two entries of many units; "none" where no noise does.

    "shared" entries are equal. The others have independent signs; entrywise ones are both large by chance alone.
    """
    if torch.equal(first, second):
        return "shared"
    if not is_fair(int(((first > 0) == (second > 0)).sum()), len(first)):
        return "none"
    far = symmetric_quantile(alpha, 1e-2)
    both = int(((first.abs() > far) & (second.abs() > far)).sum())
    if is_poisson(both, len(first) * 1e-4):
        return "entrywise"
    ratio = follows_continuous(first / second, stats.cauchy.cdf, stats.cauchy.ppf(np.linspace(0.005, 0.995, 199)))
    return "isotropic" if ratio else "none"  # one radius cancels in the ratio, and two Gaussians leave a Cauchy law


@pytest.mark.parametrize("alpha", HEAVY)
@pytest.mark.parametrize("kind", noise.NOISES)
def test_the_three_noises_are_told_apart_by_how_a_neuron_hangs_together(kind: str, alpha: float) -> None:
    weight = noise.draw(kind, alpha, (UNITS, 4), generator=generator(4)).expand(-1, 4)
    assert how_tied(weight[:, 0], weight[:, 1], alpha) == kind
    assert how_tied(weight[:, 0], weight[:, 3], alpha) == kind
    half = UNITS // 2
    assert how_tied(weight[:half, 0], weight[half:, 0], alpha) == "entrywise"  # neurons are independent


@pytest.mark.parametrize("kind", noise.NOISES)
def test_a_filter_is_tied_across_its_kernels_and_a_kernel_only_within(kind: str) -> None:
    shape = (UNITS, 2, 1, 2)
    filters = noise.draw(kind, 1.5, shape, unit="filter", generator=generator(5)).expand(shape)
    assert how_tied(filters[:, 0, 0, 0], filters[:, 0, 0, 1], 1.5) == kind
    assert how_tied(filters[:, 0, 0, 0], filters[:, 1, 0, 1], 1.5) == kind
    kernels = noise.draw(kind, 1.5, shape, unit="kernel", generator=generator(5)).expand(shape)
    assert how_tied(kernels[:, 0, 0, 0], kernels[:, 0, 0, 1], 1.5) == kind
    assert how_tied(kernels[:, 0, 0, 0], kernels[:, 1, 0, 1], 1.5) == "entrywise"


def test_ties_of_another_radius_law_are_no_noise() -> None:
    tied = noise.draw("entrywise", 1.5, (UNITS, 2), generator=generator(6))
    tied[:, 1] = tied[:, 0].abs() * tied[:, 1].sign()
    assert how_tied(tied[:, 0], tied[:, 1], 1.5) == "none"
    assert how_tied(tied[:, 0], -tied[:, 0], 1.5) == "none"


def test_at_two_isotropic_noise_is_entrywise() -> None:
    weight = noise.draw("isotropic", 2.0, (UNITS, 2), generator=generator(7))
    assert how_tied(weight[:, 0], weight[:, 1], 2.0) == "entrywise"


@pytest.mark.parametrize(("alpha", "entries"), [(1.2, 3), (1.75, 50)])
def test_an_isotropic_neuron_has_one_radius(alpha: float, entries: int) -> None:
    norms = noise.draw("isotropic", alpha, (100_000, entries), generator=generator(8), dtype=torch.float64).norm(dim=1)
    # P(norm <= r) = E P(A <= r^2 / (2 chi^2)), averaged over the middle quantiles of chi^2.
    grid = np.linspace(-15, 40, 2000)
    mixing = positive_cdf(alpha / 2, np.exp(grid))
    chi_squared = stats.chi2(entries).ppf((np.arange(2000) + 0.5) / 2000)

    def law(r: np.ndarray) -> np.ndarray:
        return np.interp(np.log(r[:, None] ** 2 / (2 * chi_squared)), grid, mixing).mean(1)

    points = np.quantile(norms.numpy(), np.linspace(0.002, 0.998, 300))
    assert follows_continuous(norms, law, points)
    independent = noise.draw("entrywise", alpha, (100_000, entries), generator=generator(9)).norm(dim=1)
    assert not follows_continuous(independent, law, points)


def test_a_draw_repeats_with_its_generator_and_leaves_the_global_state_alone() -> None:
    before = torch.random.get_rng_state()
    for kind in noise.NOISES:
        first, second, other = (noise.draw(kind, 1.5, (4, 3), generator=generator(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, second)
        assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_scale_is_that_of_increments_over_one_step() -> None:
    assert noise.scale(0.2, 0.01, 2.0) == pytest.approx(0.2 * 0.1)
    assert noise.scale(0.2, 0.01, 1.0) == pytest.approx(0.2 * 0.01)
    assert noise.scale(0.0, 0.01, 1.5) == 0.0
    # Stable increments add up: n steps of lr / n have the scale of one step of lr.
    alpha, steps = 1.75, 64
    assert steps ** (1 / alpha) * noise.scale(0.3, 0.1 / steps, alpha) == pytest.approx(noise.scale(0.3, 0.1, alpha))


@pytest.mark.parametrize("shape", [(), (3,)])
def test_noise_on_something_that_is_no_weight_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^noise is defined on weights of at least two axes, got shape \(.*\)$"):
        noise.draw("shared", 1.5, shape, generator=generator(1))


WRONG = [
    ({"noise": "type-1"}, r"^unknown noise 'type-1': choose one of shared, entrywise, isotropic$"),
    ({"unit": "row"}, r"^unknown unit 'row': choose one of filter, kernel$"),
    ({"alpha": 0.0}, r"^the stability index alpha must lie in \(0, 2\], got 0$"),
    ({"alpha": 2.1}, r"^the stability index alpha must lie in \(0, 2\], got 2.1$"),
    ({"alpha": math.nan}, r"^the stability index alpha must lie in \(0, 2\], got nan$"),
    ({"sigma": -0.1}, r"^the noise scale sigma must be a finite number >= 0, got -0.1$"),
    ({"sigma": math.inf}, r"^the noise scale sigma must be a finite number >= 0, got inf$"),
    ({"sigma": math.nan}, r"^the noise scale sigma must be a finite number >= 0, got nan$"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_wrong_settings_are_refused_in_one_sentence(wrong: dict, message: str) -> None:
    right = {"alpha": 1.75, "sigma": 0.1, "noise": "shared", "unit": "filter"}
    settings = right | wrong
    with pytest.raises(ValueError, match=message):
        noise.check(settings["noise"], settings["alpha"], settings["sigma"], settings["unit"])
    model = small_network()
    optimizer = OPTIMIZERS["sgd"](list(model.parameters()))
    with pytest.raises(ValueError, match=message):
        noise.perturb(optimizer, generator=generator(1), **settings)
    if "sigma" not in wrong:
        del settings["sigma"]
        with pytest.raises(ValueError, match=message):
            noise.draw(settings.pop("noise"), settings.pop("alpha"), (3, 2), generator=generator(1), **settings)


# ---- an optimizer perturbed


def small_network() -> nn.Sequential:
    return networks.fcn(6, 5, 2, 3, generator=generator(100))


def biased_convolutional_network() -> nn.Sequential:
    """Two convolutions and three linear layers with biases; the last hidden layer is as wide as there are classes."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2), nn.Flatten(),
        nn.Linear(32, 10), nn.ReLU(), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 10),
    )  # fmt: skip


def gradients(model: nn.Module) -> None:
    """Leave in `.grad` the gradient of a fixed loss at the present weights."""
    x = torch.randn(8, 6, generator=generator(101), dtype=next(model.parameters()).dtype)
    model.zero_grad()
    model(x).square().sum().backward()


def zero_gradients(model: nn.Module) -> None:
    """With these a step moves nothing, so what moves is noise."""
    for p in model.parameters():
        p.grad = torch.zeros_like(p)


def moved(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def next_kick(kind: str, alpha: float, shape: torch.Size, stream: torch.Generator) -> Tensor:
    """What `perturb` adds next to a float32 weight on the CPU, at scale 1."""
    kick = torch.zeros(shape)
    noise.add(kick, kind, alpha, 1.0, key=streams.word(stream), step=0)
    return kick


@pytest.mark.parametrize("kind", noise.NOISES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_perturbed_step_is_the_plain_step_plus_scaled_draws(name: str, kind: str) -> None:
    plain, noisy = small_network(), small_network()
    optimizers = [OPTIMIZERS[name](list(model.parameters())) for model in (plain, noisy)]
    noise.perturb(optimizers[1], alpha=1.75, sigma=0.05, noise=kind, generator=generator(9))
    stream = generator(9)
    for _ in range(3):
        for model, optimizer in zip((plain, noisy), optimizers, strict=True):
            gradients(model)
            optimizer.step()
        lr = float(optimizers[0].param_groups[0]["lr"])
        with torch.no_grad():
            for weight in list(plain.parameters())[:-1]:
                kick = next_kick(kind, 1.75, weight.shape, stream)
                assert (kick != 0).all()
                weight.add_(kick, alpha=0.05 * lr ** (1 / 1.75))
        for p, q in zip(plain.parameters(), noisy.parameters(), strict=True):
            torch.testing.assert_close(p, q)


def test_noise_on_lbfgs_comes_once_a_step_not_once_a_closure() -> None:
    model, stream = small_network(), generator(10)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=5)
    noise.perturb(optimizer, alpha=1.5, sigma=0.1, noise="shared", generator=stream)

    def closure() -> Tensor:
        gradients(model)
        return torch.zeros(())

    optimizer.step(closure)
    expected = generator(10)
    for _ in ("1.weight", "3.weight"):
        streams.word(expected)
    assert torch.equal(stream.get_state(), expected.get_state())


def test_without_noise_strength_a_step_is_bit_identical() -> None:
    plain, noisy = small_network(), small_network()
    for model in (plain, noisy):
        optimizer = OPTIMIZERS["momentum"](list(model.parameters()))
        if model is noisy:
            noise.perturb(optimizer, alpha=1.2, sigma=0.0, noise="entrywise", generator=generator(9))
        for _ in range(5):
            gradients(model)
            optimizer.step()
    assert moved(noisy, state(plain)) == set()


def test_a_removed_handle_stops_the_noise() -> None:
    model = small_network()
    optimizer = OPTIMIZERS["sgd"](list(model.parameters()))
    handle = noise.perturb(optimizer, alpha=1.5, sigma=0.1, noise="isotropic", generator=generator(9))
    zero_gradients(model)
    before = state(model)
    optimizer.step()
    assert moved(model, before) == {"1.weight", "3.weight"}
    handle.remove()
    before = state(model)
    optimizer.step()
    assert moved(model, before) == set()


def kick_sizes(optimizer: torch.optim.Optimizer, weights: list[Tensor]) -> list[float]:
    """How far one step without gradient moves each weight."""
    before = [p.detach().clone() for p in weights]
    optimizer.step()
    return [float((p.detach() - q).norm()) for p, q in zip(weights, before, strict=True)]


def expected_sizes(shapes: list[torch.Size], lrs: list[float], stream: torch.Generator) -> list[float]:
    draws = [next_kick("entrywise", 1.5, shape, stream) for shape in shapes]
    return [0.1 * lr ** (1 / 1.5) * float(kick.norm()) for kick, lr in zip(draws, lrs, strict=True)]


def test_every_group_scales_its_noise_by_its_own_rate() -> None:
    model = small_network()
    first, second, last = model.parameters()
    groups = [{"params": [first], "lr": 0.5}, {"params": [second]}, {"params": [last]}]
    optimizer = torch.optim.SGD(groups, lr=0.01)
    noise.perturb(optimizer, alpha=1.5, sigma=0.1, noise="entrywise", generator=generator(9))
    zero_gradients(model)
    sizes = kick_sizes(optimizer, [first, second])
    assert sizes == pytest.approx(expected_sizes([first.shape, second.shape], [0.5, 0.01], generator(9)), rel=1e-4)


def test_noise_follows_a_learning_rate_scheduler() -> None:
    model, stream = small_network(), generator(9)
    weights = list(model.parameters())[:2]
    optimizer = OPTIMIZERS["sgd"](list(model.parameters()))
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.25)
    noise.perturb(optimizer, alpha=1.5, sigma=0.1, noise="entrywise", generator=generator(9))
    zero_gradients(model)
    for lr in (0.1, 0.025, 0.00625):
        wanted = expected_sizes([p.shape for p in weights], [lr, lr], stream)
        assert kick_sizes(optimizer, weights) == pytest.approx(wanted, rel=1e-3)
        scheduler.step()


def test_noise_follows_the_rate_of_a_loaded_state() -> None:
    # load_state_dict gives the optimizer new group dictionaries; the old ones keep the old rate.
    model = small_network()
    weights = list(model.parameters())[:2]
    optimizer = OPTIMIZERS["sgd"](list(model.parameters()))
    noise.perturb(optimizer, alpha=1.5, sigma=0.1, noise="entrywise", generator=generator(9))
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0]["lr"] = 0.001
    optimizer.load_state_dict(saved)
    zero_gradients(model)
    wanted = expected_sizes([p.shape for p in weights], [0.001, 0.001], generator(9))
    assert kick_sizes(optimizer, weights) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("unit", noise.UNITS)
def test_a_perturbed_convolution_gets_the_noise_of_its_unit(unit: str) -> None:
    model = biased_convolutional_network()
    optimizer = OPTIMIZERS["sgd"](list(model.parameters()))
    noise.perturb(
        optimizer, alpha=1.5, sigma=1.0, noise="shared", generator=generator(9), params=[model[2].weight], unit=unit
    )
    zero_gradients(model)
    before = state(model)
    optimizer.step()
    assert moved(model, before) == {"2.weight"}
    kick = model[2].weight.detach() - before["2.weight"]
    per_filter = kick.flatten(1)
    per_kernel = kick.flatten(2)
    torch.testing.assert_close(per_kernel, per_kernel[..., :1].expand_as(per_kernel))
    tied = torch.allclose(per_filter, per_filter[:, :1].expand_as(per_filter), rtol=1e-3, atol=1e-6)
    assert tied == (unit == "filter")


def test_by_default_neither_the_output_layer_nor_the_first_convolution_nor_a_bias_gets_noise() -> None:
    model = biased_convolutional_network()
    optimizer = OPTIMIZERS["sgd"](list(model.parameters()))
    noise.perturb(optimizer, alpha=1.75, sigma=0.1, noise="isotropic", generator=generator(9))
    zero_gradients(model)
    before = state(model)
    optimizer.step()
    assert moved(model, before) == {"2.weight", "5.weight", "7.weight"}  # 7 is as wide as there are classes


def test_named_weights_get_noise_and_named_biases_do_not() -> None:
    model = biased_convolutional_network()
    optimizer = OPTIMIZERS["sgd"](list(model.parameters()))
    noise.perturb(
        optimizer, alpha=1.75, sigma=0.1, noise="shared", generator=generator(9), params=model[9].parameters()
    )
    zero_gradients(model)
    before = state(model)
    optimizer.step()
    assert moved(model, before) == {"9.weight"}


def test_hidden_weights_are_told_by_position_not_by_size() -> None:
    model = biased_convolutional_network()
    assert [id(p) for p in noise.hidden(model.parameters())] == [id(model[k].weight) for k in (2, 5, 7)]
    square = networks.fcn(10, 10, 3, 10, generator=generator(1))
    assert [id(p) for p in noise.hidden(square.parameters())] == [id(square[k].weight) for k in (1, 3, 5)]
    assert noise.hidden([]) == []


def test_double_and_half_precision_weights_get_noise_in_their_own_precision() -> None:
    for dtype, drawn in (
        (torch.float64, torch.float64),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ):
        weight = nn.Parameter(torch.ones(4, 3, dtype=dtype))
        optimizer = OPTIMIZERS["sgd"]([weight])
        noise.perturb(optimizer, alpha=1.5, sigma=0.1, noise="entrywise", generator=generator(9), params=[weight])
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
        kick = stable.symmetric(1.5, (4, 3), generator=generator(9), dtype=drawn)
        wanted = (torch.ones(4, 3, dtype=drawn) + noise.scale(0.1, 0.1, 1.5) * kick).to(dtype)
        assert weight.dtype == dtype
        torch.testing.assert_close(weight.detach(), wanted)


def test_perturbing_draws_nothing_from_the_global_state() -> None:
    model = small_network()
    optimizer = OPTIMIZERS["sgd"](list(model.parameters()))
    noise.perturb(optimizer, alpha=1.75, sigma=0.1, noise="isotropic", generator=generator(9))
    zero_gradients(model)
    before = torch.random.get_rng_state()
    optimizer.step()
    assert torch.equal(before, torch.random.get_rng_state())


def test_perturbing_without_a_generator_is_an_error() -> None:
    optimizer = OPTIMIZERS["sgd"](list(small_network().parameters()))
    with pytest.raises(TypeError, match="generator"):
        noise.perturb(optimizer, alpha=1.75, sigma=0.1, noise="shared")


def test_a_weight_the_optimizer_does_not_hold_is_refused() -> None:
    optimizer = OPTIMIZERS["sgd"](list(small_network().parameters()))
    stranger = nn.Parameter(torch.zeros(5, 6))  # equal in shape to one that is held
    with pytest.raises(ValueError, match=r"^a weight of shape \(5, 6\) in params= is not held by the optimizer$"):
        noise.perturb(optimizer, alpha=1.5, sigma=0.1, noise="shared", generator=generator(9), params=[stranger])


@pytest.mark.parametrize("params", [None, []])
def test_an_optimizer_without_a_hidden_weight_is_refused(params: list | None) -> None:
    model = nn.Linear(3, 2)
    optimizer = OPTIMIZERS["sgd"](list(model.parameters()))
    with pytest.raises(ValueError, match=r"^no weight to perturb: .*; name them in params=$"):
        noise.perturb(optimizer, alpha=1.5, sigma=0.1, noise="shared", generator=generator(9), params=params)


def test_a_generator_on_another_device_than_the_weights_is_refused() -> None:
    weight = nn.Parameter(torch.zeros(5, 6, device="meta"))
    optimizer = OPTIMIZERS["sgd"]([weight])
    with pytest.raises(ValueError, match=r"^the generator is on cpu, a weight on meta: make them the same$"):
        noise.perturb(optimizer, alpha=1.5, sigma=0.1, noise="shared", generator=generator(9), params=[weight])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", noise.NOISES)
def test_weights_on_a_gpu_are_perturbed_by_a_generator_there(kind: str) -> None:
    stream = torch.Generator(device="cuda").manual_seed(1)
    model = networks.fcn(6, 5, 2, 3, generator=stream)
    optimizer = OPTIMIZERS["sgd"](list(model.parameters()))
    with pytest.raises(ValueError, match=r"^the generator is on cpu, a weight on cuda:0: make them the same$"):
        noise.perturb(optimizer, alpha=1.5, sigma=0.1, noise=kind, generator=generator(9))
    noise.perturb(optimizer, alpha=1.5, sigma=0.1, noise=kind, generator=stream)
    zero_gradients(model)
    before = state(model)
    optimizer.step()
    assert moved(model, before) == {"1.weight", "3.weight"}


# ---- noise added by address


def kicked(kind: str, shape: tuple[int, ...], alpha: float = 1.75, scale: float = 1.0, **address: Any) -> Tensor:
    weight = torch.zeros(shape)
    noise.add(weight, kind, alpha, scale, **{"key": 11, "step": 5} | address)
    return weight


@pytest.mark.parametrize("alpha", [1.2, 2.0])
@pytest.mark.parametrize("kind", noise.NOISES)
def test_added_noise_has_the_law_of_a_draw(kind: str, alpha: float) -> None:
    units = 50_000
    added = kicked(kind, (units, 3), alpha).double()
    drawn = noise.draw(kind, alpha, (units, 3), generator=generator(20)).expand(-1, 3).double()
    for fact in (lambda w: w[:, 1], lambda w: w.sum(1), lambda w: w.norm(dim=1)):
        # Each sample strays from the law by half of this at a rate of 1e-6.
        assert stats.ks_2samp(fact(added), fact(drawn), method="asymp").statistic < 2 * gap_limit(units)
        assert stats.ks_2samp(1.25 * fact(added), fact(drawn), method="asymp").statistic > 2 * gap_limit(units)


@pytest.mark.parametrize("kind", noise.NOISES)
def test_added_noise_ties_a_neuron_as_its_name_says(kind: str) -> None:
    weight = kicked(kind, (UNITS, 4))
    assert how_tied(weight[:, 0], weight[:, 1], 1.75) == kind
    assert how_tied(weight[:, 0], weight[:, 3], 1.75) == kind
    half = UNITS // 2
    assert how_tied(weight[:half, 0], weight[half:, 0], 1.75) == "entrywise"


@pytest.mark.parametrize("kind", noise.NOISES)
def test_noise_added_to_a_convolution_ties_its_unit(kind: str) -> None:
    shape = (UNITS, 2, 1, 2)
    filters, kernels = (kicked(kind, shape, 1.5, unit=unit) for unit in ("filter", "kernel"))
    assert how_tied(filters[:, 0, 0, 0], filters[:, 0, 0, 1], 1.5) == kind
    assert how_tied(filters[:, 0, 0, 0], filters[:, 1, 0, 1], 1.5) == kind
    assert how_tied(kernels[:, 0, 0, 0], kernels[:, 0, 0, 1], 1.5) == kind
    assert how_tied(kernels[:, 0, 0, 0], kernels[:, 1, 0, 1], 1.5) == "entrywise"
    assert follows_symmetric(kernels[:, 1, 0, 1], 1.5)


def test_a_unit_of_shared_noise_gets_one_number() -> None:
    weight = kicked("shared", (50, 7))
    assert torch.equal(weight, weight[:, :1].expand(-1, 7))
    assert len(weight[:, 0].unique()) == 50


@pytest.mark.parametrize("kind", noise.NOISES)
def test_added_noise_is_linear_in_its_scale_and_is_added(kind: str) -> None:
    one = kicked(kind, (40, 30))
    torch.testing.assert_close(kicked(kind, (40, 30), scale=0.01), 0.01 * one, rtol=1e-6, atol=0)
    assert torch.equal(kicked(kind, (40, 30), scale=4.0), 4 * one)
    weight = torch.randn(40, 30, generator=generator(21))
    before = weight.clone()
    noise.add(weight, kind, 1.75, 0.01, key=11, step=5)
    torch.testing.assert_close(weight, before + 0.01 * one, rtol=1e-6, atol=1e-6)
    noise.add(weight, kind, 1.75, 0.0, key=11, step=6)
    torch.testing.assert_close(weight, before + 0.01 * one, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", noise.NOISES)
def test_an_infinite_scale_makes_the_weight_infinite(kind: str) -> None:
    assert not kicked(kind, (5, 4), scale=math.inf).isfinite().any()
    assert not kicked(kind, (5, 4), scale=math.nan).isfinite().any()
    weight = torch.full((5, 4), math.nan)
    noise.add(weight, kind, 1.75, 1.0, key=1, step=0)
    assert weight.isnan().all()


@pytest.mark.parametrize("unit", noise.UNITS)
@pytest.mark.parametrize("kind", noise.NOISES)
@pytest.mark.parametrize("shape", [(9, 7), (6, 3, 5, 5), (1, 1), (4, 1, 1, 1)])
def test_parts_of_a_weight_get_the_noise_of_the_whole(kind: str, unit: str, shape: tuple[int, ...]) -> None:
    whole, parts = kicked(kind, shape, unit=unit), torch.zeros(shape)
    units = shape[0] * shape[1] if unit == "kernel" and len(shape) == 4 else shape[0]
    for part in (slice(units // 2, None), slice(units // 3), slice(units // 3, units // 2)):
        noise.add(parts, kind, 1.75, 1.0, key=11, step=5, unit=unit, units=part)
    assert torch.equal(whole, parts)


@pytest.mark.parametrize("kind", noise.NOISES)
def test_units_that_are_not_named_stay_as_they_are(kind: str) -> None:
    weight = torch.ones(12, 8)
    noise.add(weight, kind, 1.75, 0.5, key=11, step=5, units=slice(3, 7))
    touched = (weight != 1).all(1)
    assert touched.tolist() == [3 <= unit < 7 for unit in range(12)]
    assert ((weight == 1).all(1) != touched).all()
    noise.add(weight, kind, 1.75, math.inf, key=11, step=5, units=slice(3, 3))
    assert weight.isfinite().all()


@pytest.mark.parametrize("kind", noise.NOISES)
def test_added_noise_is_decided_by_key_step_and_layer(kind: str) -> None:
    same = kicked(kind, (300, 20), layer=2)
    assert torch.equal(same, kicked(kind, (300, 20), layer=2))
    for change in ({"key": 12}, {"step": 6}, {"layer": 3}, {"layer": 1}):
        assert not (same == kicked(kind, (300, 20), **{"layer": 2} | change)).any()


def test_noise_added_to_a_parameter_leaves_no_gradient_and_no_global_state() -> None:
    weight, before = nn.Parameter(torch.zeros(4, 3)), torch.random.get_rng_state()
    noise.add(weight, "entrywise", 1.75, 1.0, key=11, step=5)
    assert torch.equal(weight.detach(), kicked("entrywise", (4, 3)))
    assert weight.grad_fn is None
    assert torch.equal(before, torch.random.get_rng_state())


def test_part_of_a_weight_on_another_device_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^on meta noise is added to a whole weight at once: leave units out$"):
        noise.add(torch.zeros(6, 4, device="meta"), "shared", 1.75, 1.0, key=11, step=5, units=slice(2, 4))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", noise.NOISES)
def test_noise_added_on_a_gpu_has_an_address_too(kind: str) -> None:
    weights = [torch.zeros(20_000, 3, device="cuda") for _ in range(3)]
    for weight, step in zip(weights, (5, 5, 6), strict=True):
        noise.add(weight, kind, 1.75, 1.0, key=2**64 - 1, step=step, layer=1)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert follows_symmetric(weights[0][:, 1], 1.75)
    with pytest.raises(ValueError, match=r"^on cuda:0 noise is added to a whole weight at once: leave units out$"):
        noise.add(weights[0], kind, 1.75, 1.0, key=1, step=0, units=slice(0, 5))


WRONG = [
    ({"noise": "type-1"}, r"unknown noise 'type-1': choose one of shared, entrywise, isotropic"),
    ({"alpha": 2.5}, r"alpha must lie in \(0, 2\], got 2.5"),
    ({"unit": "row"}, r"unknown unit 'row'"),
    ({"units": slice(0, 6, 2)}, r"units must name neighbours, got slice\(0, 6, 2\)"),
    ({"key": -1}, r"no such address: key=-1, step=5"),
    ({"step": -1}, r"no such address: key=11, step=-1"),
    ({"weight": torch.zeros(6)}, r"two axes or more, not torch.float32 of shape \(6,\)"),
    ({"weight": torch.zeros(6, 4, dtype=torch.float64)}, r"contiguous float32 weight .* not torch.float64"),
    ({"weight": torch.zeros(4, 6).T}, r"contiguous float32 weight .* strides \(1, 6\)"),
    ({"weight": torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last)}, r"contiguous float32 weight"),
]


@pytest.mark.parametrize(("wrong", "sentence"), WRONG, ids=[str(list(wrong)) for wrong, _ in WRONG])
def test_noise_that_cannot_be_added_is_refused_in_one_sentence(wrong: dict, sentence: str) -> None:
    settings = {"weight": torch.zeros(6, 4), "noise": "shared", "alpha": 1.75, "key": 11, "step": 5, **wrong}
    weight, kind, alpha = (settings.pop(name) for name in ("weight", "noise", "alpha"))
    with pytest.raises(ValueError, match=sentence):
        noise.add(weight, kind, alpha, 1.0, **settings)
    assert (weight == 0).all()
