"""The three noises have one marginal law and three ways to hang together, drawn or added at an address."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from goodness_of_fit import (
    follows,
    follows_continuous,
    follows_symmetric,
    gap_limit,
    is_fair,
    is_poisson,
    positive_cdf,
    symmetric_quantile,
)
from samplers import Sampler
from scipy import stats
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from heavytail import _sampler, networks, noise
from heavytail.noise import draws

UNITS = 300_000
HEAVY = (1.2, 1.75, 1.9)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- a draw


@pytest.mark.parametrize("unit", noise.UNITS)
@pytest.mark.parametrize("kind", noise.NOISES)
@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 2, 2), (4, 3, 2), (4, 3, 2, 1, 2), (1, 1), (6, 1, 3, 3)])
def test_a_draw_broadcasts_against_its_weight(kind: str, unit: str, shape: tuple[int, ...]) -> None:
    kick = noise.draw(1.75, kind, shape, unit=unit, generator=generator(1))
    assert (torch.zeros(shape) + kick).shape == shape
    if kind == "shared":
        own = 2 if unit == "kernel" and len(shape) > 2 else 1
        assert kick.shape == shape[:own] + (1,) * (len(shape) - own)
    else:
        assert kick.shape == shape
    assert kick.dtype == torch.float32
    assert noise.draw(1.75, kind, shape, unit=unit, generator=generator(1), dtype=torch.float64).dtype == torch.float64


@pytest.mark.parametrize("alpha", [*HEAVY, 2.0])
@pytest.mark.parametrize("kind", noise.NOISES)
def test_every_noise_has_the_same_marginal_law_of_scale_one(kind: str, alpha: float) -> None:
    entries = noise.draw(alpha, kind, (UNITS, 3), generator=generator(2))[:, -1]
    assert follows_symmetric(entries, alpha)
    assert not follows_symmetric(entries * 1.05, alpha)
    assert not follows_symmetric(entries / 2**0.5, alpha)  # the released code's isotropic noise, and its alpha = 2


@pytest.mark.parametrize("unit", noise.UNITS)
@pytest.mark.parametrize("kind", noise.NOISES)
def test_the_noise_of_a_convolution_has_the_same_marginal_law(kind: str, unit: str) -> None:
    weight = noise.draw(1.75, kind, (UNITS // 3, 3, 2, 2), unit=unit, generator=generator(3)).expand(-1, -1, 2, 2)
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
    weight = noise.draw(alpha, kind, (UNITS, 4), generator=generator(4)).expand(-1, 4)
    assert how_tied(weight[:, 0], weight[:, 1], alpha) == kind
    assert how_tied(weight[:, 0], weight[:, 3], alpha) == kind
    half = UNITS // 2
    assert how_tied(weight[:half, 0], weight[half:, 0], alpha) == "entrywise"  # neurons are independent


@pytest.mark.parametrize("kind", noise.NOISES)
def test_a_filter_is_tied_across_its_kernels_and_a_kernel_only_within(kind: str) -> None:
    shape = (UNITS, 2, 1, 2)
    filters = noise.draw(1.5, kind, shape, unit="filter", generator=generator(5)).expand(shape)
    assert how_tied(filters[:, 0, 0, 0], filters[:, 0, 0, 1], 1.5) == kind
    assert how_tied(filters[:, 0, 0, 0], filters[:, 1, 0, 1], 1.5) == kind
    kernels = noise.draw(1.5, kind, shape, unit="kernel", generator=generator(5)).expand(shape)
    assert how_tied(kernels[:, 0, 0, 0], kernels[:, 0, 0, 1], 1.5) == kind
    assert how_tied(kernels[:, 0, 0, 0], kernels[:, 1, 0, 1], 1.5) == "entrywise"


def test_ties_of_another_radius_law_are_no_noise() -> None:
    tied = noise.draw(1.5, "entrywise", (UNITS, 2), generator=generator(6))
    tied[:, 1] = tied[:, 0].abs() * tied[:, 1].sign()
    assert how_tied(tied[:, 0], tied[:, 1], 1.5) == "none"
    assert how_tied(tied[:, 0], -tied[:, 0], 1.5) == "none"


def test_at_two_isotropic_noise_is_entrywise() -> None:
    weight = noise.draw(2.0, "isotropic", (UNITS, 2), generator=generator(7))
    assert how_tied(weight[:, 0], weight[:, 1], 2.0) == "entrywise"


@pytest.mark.parametrize(("alpha", "entries"), [(1.2, 3), (1.75, 50)])
def test_an_isotropic_neuron_has_one_radius(alpha: float, entries: int) -> None:
    norms = noise.draw(alpha, "isotropic", (100_000, entries), generator=generator(8), dtype=torch.float64).norm(dim=1)
    # P(norm <= r) = E P(A <= r^2 / (2 chi^2)), averaged over the middle quantiles of chi^2.
    grid = np.linspace(-15, 40, 2000)
    mixing = positive_cdf(alpha / 2, np.exp(grid))
    chi_squared = stats.chi2(entries).ppf((np.arange(2000) + 0.5) / 2000)

    def law(r: np.ndarray) -> np.ndarray:
        return np.interp(np.log(r[:, None] ** 2 / (2 * chi_squared)), grid, mixing).mean(1)

    points = np.quantile(norms.numpy(), np.linspace(0.002, 0.998, 300))
    below = law(points)
    assert follows(norms, points, below)
    independent = noise.draw(alpha, "entrywise", (100_000, entries), generator=generator(9)).norm(dim=1)
    assert not follows(independent, points, below)


@pytest.mark.parametrize("kind", noise.NOISES)
def test_every_unit_may_have_an_index_of_its_own(kind: str) -> None:
    alphas = torch.tensor([1.2, 1.9]).unsqueeze(1).expand(2, 50_000)
    drawn = noise.vectors(alphas, kind, (2, 50_000, 3), generator=generator(12))
    assert drawn.shape == (2, 50_000, 1 if kind == "shared" else 3)
    for own, alpha, other in zip(drawn, (1.2, 1.9), (1.9, 1.2), strict=True):
        assert follows_symmetric(own[:, -1], alpha)
        assert not follows_symmetric(own[:, -1], other)


def test_an_index_of_vectors_is_checked_like_that_of_a_draw() -> None:
    with pytest.raises(ValueError, match=r"^the stability index alpha must lie in \(0, 2\], got 2.1$"):
        noise.vectors(2.1, "entrywise", (4, 3), generator=generator(1))
    with pytest.raises(TypeError, match=r"^the stability index alpha must be a number in \(0, 2\], not None$"):
        noise.vectors(None, "entrywise", (4, 3), generator=generator(1))


def test_a_draw_repeats_with_its_generator_and_leaves_the_global_state_alone() -> None:
    before = torch.random.get_rng_state()
    for kind in noise.NOISES:
        first, second, other = (noise.draw(1.5, kind, (4, 3), generator=generator(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, second)
        assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_scale_is_that_of_increments_over_one_step() -> None:
    assert noise.scale(2.0, 0.2, 0.01) == pytest.approx(0.2 * 0.1)
    assert noise.scale(1.0, 0.2, 0.01) == pytest.approx(0.2 * 0.01)
    assert noise.scale(1.5, 0.0, 0.01) == noise.scale(1.5, 0.2, 0.0) == 0.0
    # Stable increments add up: n steps of lr / n have the scale of one step of lr.
    alpha, steps = 1.75, 64
    assert steps ** (1 / alpha) * noise.scale(alpha, 0.3, 0.1 / steps) == pytest.approx(noise.scale(alpha, 0.3, 0.1))


@pytest.mark.parametrize("power", [-735.0, 735.0])
def test_the_scale_is_right_where_the_power_of_the_step_size_alone_is_no_float(power: float) -> None:
    alpha, log_sigma = 0.01, -math.copysign(700.0, power)
    lr, sigma = math.exp(power * alpha), math.exp(log_sigma)
    assert noise.scale(alpha, sigma, lr) == pytest.approx(math.exp(log_sigma + math.log(lr) / alpha), rel=1e-12)


@pytest.mark.parametrize(("lr", "word"), [(1e-10, "below"), (math.exp(7.35), "above"), (1e10, "above")])
def test_a_scale_far_beyond_every_float_is_refused_like_others(lr: float, word: str) -> None:
    with pytest.raises(ValueError, match=rf"^kicks of size .* are {word} what float32 holds"):
        noise.scale(0.01, 1.0, lr)


def test_the_scale_may_be_any_normal_number_of_float32() -> None:
    ends = torch.finfo(torch.float32)
    for size in (ends.tiny, 1.0, ends.max):
        assert noise.scale(1.5, size, 1.0) == size
    with pytest.raises(
        ValueError, match=r"are below what .*: take a larger alpha, lr or sigma, or sigma=0 for no noise"
    ):
        noise.scale(1.5, ends.tiny * (1 - 1e-9), 1.0)
    with pytest.raises(ValueError, match=r"are above what .*: take a smaller lr or sigma, or sigma=0 for no noise"):
        noise.scale(1.5, ends.max * (1 + 1e-9), 1.0)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_noise_on_something_that_is_no_weight_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^noise is defined on weights of at least two axes, got shape \(.*\)$"):
        noise.draw(1.5, "shared", shape, generator=generator(1))


WRONG = [
    ({"noise": "type-1"}, r"^unknown noise 'type-1': choose one of shared, entrywise, isotropic$"),
    ({"unit": "row"}, r"^unknown unit 'row': choose one of filter, kernel$"),
    ({"alpha": 0.0}, r"^the stability index alpha must lie in \(0, 2\], got 0$"),
    ({"alpha": 2.1}, r"^the stability index alpha must lie in \(0, 2\], got 2.1$"),
    ({"alpha": math.nan}, r"^the stability index alpha must lie in \(0, 2\], got nan$"),
    ({"alpha": None}, r"^the stability index alpha must be a number in \(0, 2\], not None$"),
    ({"alpha": "1.5"}, r"^the stability index alpha must be a number in \(0, 2\], not '1.5'$"),
    ({"alpha": torch.tensor([1.5, 1.6])}, r"^the stability index alpha must be a number in \(0, 2\], not a Tensor$"),
    ({"sigma": None}, r"^the noise scale sigma must be a finite number >= 0, not None$"),
    ({"noise": None}, r"^unknown noise None: choose one of shared, entrywise, isotropic$"),
    ({"alpha": -(10**400)}, r"^the stability index alpha must lie in \(0, 2\], got -inf$"),
    ({"alpha": 10**400}, r"^the stability index alpha must lie in \(0, 2\], got inf$"),
    ({"noise": "x" * 58}, rf"^unknown noise '{'x' * 58}': choose one of shared, entrywise, isotropic$"),
    ({"noise": "x" * 59}, rf"^unknown noise '{'x' * 56}\.\.\.: choose one of shared, entrywise, isotropic$"),
    ({"sigma": -0.1}, r"^the noise scale sigma must be a finite number >= 0, got -0.1$"),
    ({"sigma": math.inf}, r"^the noise scale sigma must be a finite number >= 0, got inf$"),
    ({"sigma": math.nan}, r"^the noise scale sigma must be a finite number >= 0, got nan$"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_wrong_settings_are_refused_in_one_sentence(wrong: dict, message: str) -> None:
    right = {"alpha": 1.75, "sigma": 0.1, "noise": "shared", "unit": "filter"}
    settings = right | wrong
    with pytest.raises((ValueError, TypeError), match=message):
        noise.check(settings["alpha"], settings["sigma"], settings["noise"], settings["unit"])
    optimizer = torch.optim.SGD(networks.fcn(6, 5, 2, 3, generator=generator(100)).parameters(), lr=0.1)
    with pytest.raises((ValueError, TypeError), match=message):
        noise.perturb(optimizer, generator=generator(1), **settings)
    assert len(optimizer._optimizer_step_post_hooks) == 0
    if "sigma" not in wrong:
        del settings["sigma"]
        with pytest.raises((ValueError, TypeError), match=message):
            noise.draw(settings.pop("alpha"), settings.pop("noise"), (3, 2), generator=generator(1), **settings)


@pytest.mark.parametrize("missing", [None, 1, "cpu"])
def test_noise_without_a_generator_is_refused_in_one_sentence(missing: Any) -> None:
    sentence = r"^generator= must be a torch\.Generator with a seed of yours, not .*$"
    with pytest.raises(TypeError, match=sentence):
        noise.draw(1.5, "shared", (3, 2), generator=missing)
    with pytest.raises(TypeError, match=sentence):
        noise.vectors(1.5, "isotropic", (3, 2), generator=missing)


@pytest.mark.parametrize("kind", noise.NOISES)
def test_sizes_and_settings_may_be_numbers_of_numpy(kind: str) -> None:
    sizes = np.array([4, 3, 2])
    wanted = noise.vectors(1.5, kind, (4, 3, 2), generator=generator(1))
    assert torch.equal(noise.vectors(np.float32(1.5), kind, sizes, generator=generator(1)), wanted)
    assert torch.equal(noise.vectors(1.5, kind, (np.int64(4), np.int32(3), 2), generator=generator(1)), wanted)
    drawn = noise.draw(np.float64(1.5), kind, sizes, unit="kernel", generator=generator(1))
    assert torch.equal(drawn, noise.draw(1.5, kind, (4, 3, 2), unit="kernel", generator=generator(1)))
    at = {"key": np.uint64(11), "step": np.int64(5), "layer": np.int32(1)}
    added = kicked(kind, (4, 3), np.float64(1.75), np.float64(1.0), **at)
    assert torch.equal(added, kicked(kind, (4, 3), layer=1))


@pytest.mark.parametrize("shape", [(2.5, 3), ("a", 3), 4])
def test_a_shape_that_is_none_is_refused_in_one_sentence(shape: Any) -> None:
    with pytest.raises(TypeError, match=r"^shape must be whole numbers, one an axis, not .*$"):
        noise.draw(1.5, "shared", shape, generator=generator(1))
    with pytest.raises(TypeError, match=r"^shape must be whole numbers, one an axis, not .*$"):
        noise.vectors(1.5, "shared", shape, generator=generator(1))


def test_a_draw_for_many_units_needs_an_axis() -> None:
    with pytest.raises(ValueError, match=r"^a draw for many units needs a shape whose last axis .*, got shape \(\)$"):
        noise.vectors(1.5, "entrywise", (), generator=generator(1))


# ---- noise added by address


def kicked(kind: str, shape: tuple[int, ...], alpha: float = 1.75, scale: float = 1.0, **address: Any) -> Tensor:
    weight = torch.zeros(shape)
    noise.add(weight, alpha, kind, scale, **{"key": 11, "step": 5} | address)
    return weight


@pytest.mark.parametrize("alpha", [1.2, 2.0])
@pytest.mark.parametrize("kind", noise.NOISES)
def test_added_noise_has_the_law_of_a_draw(kind: str, alpha: float, sampler: Sampler) -> None:
    units = 50_000
    added = sampler.kicked(kind, (units, 3), alpha, key=11, step=5).double()
    drawn = noise.draw(alpha, kind, (units, 3), generator=generator(20)).expand(-1, 3).double()
    for fact in (lambda w: w[:, 1], lambda w: w.sum(1), lambda w: w.norm(dim=1)):
        # Each sample strays from the law by half of this at a rate of 1e-6.
        assert stats.ks_2samp(fact(added), fact(drawn), method="asymp").statistic < 2 * gap_limit(units)
        assert stats.ks_2samp(1.25 * fact(added), fact(drawn), method="asymp").statistic > 2 * gap_limit(units)


@pytest.mark.parametrize("kind", noise.NOISES)
def test_added_noise_ties_a_neuron_as_its_name_says(kind: str, sampler: Sampler) -> None:
    units = sampler.draws(UNITS)
    weight = sampler.kicked(kind, (units, 4), 1.75, key=11, step=5)
    assert how_tied(weight[:, 0], weight[:, 1], 1.75) == kind
    assert how_tied(weight[:, 0], weight[:, 3], 1.75) == kind
    half = units // 2
    assert how_tied(weight[:half, 0], weight[half:, 0], 1.75) == "entrywise"


@pytest.mark.parametrize("kind", noise.NOISES)
def test_noise_added_to_a_convolution_ties_its_unit(kind: str, sampler: Sampler) -> None:
    shape = (sampler.draws(UNITS), 2, 1, 2)
    filters, kernels = (sampler.kicked(kind, shape, 1.5, key=11, step=5, unit=unit) for unit in ("filter", "kernel"))
    assert how_tied(filters[:, 0, 0, 0], filters[:, 0, 0, 1], 1.5) == kind
    assert how_tied(filters[:, 0, 0, 0], filters[:, 1, 0, 1], 1.5) == kind
    assert how_tied(kernels[:, 0, 0, 0], kernels[:, 0, 0, 1], 1.5) == kind
    assert how_tied(kernels[:, 0, 0, 0], kernels[:, 1, 0, 1], 1.5) == "entrywise"
    assert follows_symmetric(kernels[:, 1, 0, 1], 1.5)


def test_a_unit_of_shared_noise_gets_one_number() -> None:
    weight = kicked("shared", (50, 7))
    assert torch.equal(weight, weight[:, :1].expand(-1, 7))
    assert len(weight[:, 0].unique()) == 50


def test_units_in_a_grid_may_each_have_an_index_of_their_own() -> None:
    """The draws behind are the same, so each number is the one that its index gives all."""
    alphas = torch.tensor([[1.1, 1.3, 1.5], [1.7, 1.9, 2.0]])
    for kind in noise.NOISES:
        own = noise.vectors(alphas, kind, (2, 3, 4), generator=generator(5))
        for place in itertools.product(range(2), range(3)):
            all_alike = noise.vectors(alphas[place].expand(2, 3), kind, (2, 3, 4), generator=generator(5))
            assert torch.equal(own[place], all_alike[place])


def test_without_a_step_there_is_no_noise() -> None:
    assert noise.scale(1.5, 0.1, 0.0) == 0.0


@pytest.mark.parametrize("kind", noise.NOISES)
def test_added_noise_is_linear_in_its_scale_and_is_added(kind: str) -> None:
    one = kicked(kind, (40, 30))
    torch.testing.assert_close(kicked(kind, (40, 30), scale=0.01), 0.01 * one, rtol=1e-6, atol=0)
    assert torch.equal(kicked(kind, (40, 30), scale=4.0), 4 * one)
    weight = torch.randn(40, 30, generator=generator(21))
    before = weight.clone()
    noise.add(weight, 1.75, kind, 0.01, key=11, step=5)
    torch.testing.assert_close(weight, before + 0.01 * one, rtol=1e-6, atol=1e-6)
    noise.add(weight, 1.75, kind, 0.0, key=11, step=6)
    torch.testing.assert_close(weight, before + 0.01 * one, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", noise.NOISES)
def test_an_infinite_scale_makes_the_weight_infinite(kind: str) -> None:
    for scale in (math.inf, 3e38):  # of the second, times the root of 2, float32 holds nothing either
        assert (kicked(kind, (5, 4), scale=scale) == math.inf).all()
    assert kicked(kind, (5, 4), scale=2.2e38).isfinite().any()
    assert not kicked(kind, (5, 4), scale=math.nan).isfinite().any()
    weight = torch.full((5, 4), math.nan)
    noise.add(weight, 1.75, kind, 1.0, key=1, step=0)
    assert weight.isnan().all()


@pytest.mark.parametrize("unit", noise.UNITS)
@pytest.mark.parametrize("kind", noise.NOISES)
@pytest.mark.parametrize("shape", [(9, 7), (6, 3, 5, 5), (6, 3, 5), (6, 3, 2, 3, 2), (1, 1), (4, 1, 1, 1)])
def test_parts_of_a_weight_get_the_noise_of_the_whole(kind: str, unit: str, shape: tuple[int, ...]) -> None:
    whole, parts = kicked(kind, shape, unit=unit), torch.zeros(shape)
    units = shape[0] * shape[1] if unit == "kernel" and len(shape) > 2 else shape[0]
    for part in (slice(units // 2, None), slice(units // 3), slice(units // 3, units // 2)):
        noise.add(parts, 1.75, kind, 1.0, key=11, step=5, unit=unit, units=part)
    assert torch.equal(whole, parts)


@pytest.mark.parametrize("kind", noise.NOISES)
def test_units_that_are_not_named_stay_as_they_are(kind: str) -> None:
    weight = torch.ones(12, 8)
    noise.add(weight, 1.75, kind, 0.5, key=11, step=5, units=slice(3, 7))
    touched = (weight != 1).all(1)
    assert touched.tolist() == [3 <= unit < 7 for unit in range(12)]
    assert ((weight == 1).all(1) != touched).all()
    noise.add(weight, 1.75, kind, math.inf, key=11, step=5, units=slice(3, 3))
    assert weight.isfinite().all()


@pytest.mark.parametrize("kind", noise.NOISES)
def test_added_noise_is_decided_by_key_step_and_layer(kind: str) -> None:
    same = kicked(kind, (300, 20), layer=2)
    assert torch.equal(same, kicked(kind, (300, 20), layer=2))
    for change in ({"key": 12}, {"step": 6}, {"layer": 3}, {"layer": 1}):
        assert not (same == kicked(kind, (300, 20), **{"layer": 2} | change)).any()


def test_noise_added_to_a_parameter_leaves_no_gradient_and_no_global_state() -> None:
    weight, before = nn.Parameter(torch.zeros(4, 3)), torch.random.get_rng_state()
    noise.add(weight, 1.75, "entrywise", 1.0, key=11, step=5)
    assert torch.equal(weight.detach(), kicked("entrywise", (4, 3)))
    assert weight.grad_fn is None
    assert torch.equal(before, torch.random.get_rng_state())


def test_without_a_layer_noise_is_that_of_layer_0() -> None:
    added, kick = torch.zeros(4, 3), noise.Kick(1.75, "entrywise", "filter", 1.0, 11, 5)
    noise.kick(added, kick)
    assert torch.equal(added, kicked("entrywise", (4, 3)))
    assert torch.equal(added, kicked("entrywise", (4, 3), layer=0))


def test_for_a_device_without_a_sampler_kicks_are_drawn_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, add = [], _sampler.add

    def spy(weight: Tensor, *settings: object, **at: object) -> None:
        add(weight, *settings, **at)
        calls.append((weight, settings, at))

    monkeypatch.setattr(_sampler, "add", spy)
    weight = torch.zeros(6, 4, 3, 3, device="meta")
    noise.add(weight, 1.75, "entrywise", 0.1, key=11, step=5, layer=2, units=slice(2, 5))
    [(kick, settings, at)] = calls
    assert settings == ("entrywise", 1.75, 0.1)
    assert at == {"key": 11, "step": 5, "layer": 2, "first": 2, "along": None}
    wanted = torch.zeros(6, 4, 3, 3)
    noise.add(wanted, 1.75, "entrywise", 0.1, key=11, step=5, layer=2)
    assert torch.equal(kick, wanted.flatten(1)[2:5])


class Elsewhere(TorchFunctionMode):
    """Tensors in the memory of the processor say that they are on an Apple GPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return torch.device("mps")
        return args[0] if func is Tensor.to else func(*args, **(kwargs or {}))


def test_another_device_gets_the_kicks_of_the_cpu() -> None:
    along = torch.linspace(-1, 1, 4)
    for kind, direction in (("entrywise", None), ("isotropic", None), ("shared", None), ("shared", along)):
        wanted, got = torch.ones(6, 4), torch.ones(6, 4)
        noise.add(wanted, 1.75, kind, 0.5, key=11, step=5, layer=1, along=direction)
        with Elsewhere():
            assert got.device.type == "mps"
            noise.add(got, 1.75, kind, 0.5, key=11, step=5, layer=1, units=slice(2), along=direction)
            noise.add(got, 1.75, kind, 0.5, key=11, step=5, layer=1, units=slice(2, 6), along=direction)
        torch.testing.assert_close(got, wanted)


def test_kernels_are_for_a_gpu_of_nvidia_where_there_is_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_triton in (True, False):
        monkeypatch.setattr(draws, "find_spec", {"triton": object() if has_triton else None}.__getitem__)
        assert draws.launched(torch.device("cuda")) == has_triton
        assert not draws.launched(torch.device("cpu"))
        assert not draws.launched(torch.device("mps"))


def test_on_the_cpu_no_kick_is_made_ready_for_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "launches", lambda *_: pytest.fail("there is nothing to launch"))
    weights, wanted = torch.zeros(3, 6, 4), torch.zeros(3, 6, 4)
    noise.kick_each(weights, {1: noise.Kick(1.75, "isotropic", "filter", 0.5, 11, 5)}, layer=2)
    noise.add(wanted[1], 1.75, "isotropic", 0.5, key=11, step=5, layer=2)
    assert torch.equal(weights, wanted)


def test_where_kicks_are_launched_a_weight_is_one_run_of_a_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(draws, "launched", lambda device: True)
    monkeypatch.setattr(draws, "kick_each", lambda *given, **at: calls.append((*given, at)))
    weight = torch.zeros(6, 4, device="meta")
    for units in (slice(None), slice(0, 6)):
        noise.add(weight, 1.75, "entrywise", 0.5, key=11, step=5, layer=2, units=units)
        [(weights, kicks, at)] = calls
        assert weights.shape == (1, 6, 4)
        assert dataclasses.astuple(kicks.pop(0)) == (1.75, "entrywise", "filter", 0.5, 11, 5, None)
        assert not kicks
        assert at == {"layer": 2}
        calls.clear()
    for units in (slice(1, 6), slice(0, 5)):
        with pytest.raises(ValueError, match=r"^on meta noise is added to a whole weight at once: leave units out$"):
            noise.add(weight, 1.75, "entrywise", 0.5, key=11, step=5, units=units)
    assert not calls


@pytest.mark.parametrize(("kind", "entries"), [("entrywise", 3), ("isotropic", 3), ("shared", 2), ("shared", 4)])
def test_a_direction_is_for_shared_noise_and_has_a_number_an_input(kind: str, entries: int) -> None:
    with pytest.raises(ValueError, match=rf"^along= is for noise 'shared' and one number an input, .* \({entries},\)$"):
        noise.add(torch.zeros(5, 3), 1.75, kind, 1.0, key=11, step=5, along=torch.ones(entries))


def test_a_direction_of_a_convolution_goes_over_all_its_inputs() -> None:
    along = torch.arange(1.0, 13.0)
    for units in (7, 1):
        weight = torch.zeros(units, 3, 2, 2)
        noise.add(weight, 1.75, "shared", 1.0, key=11, step=5, along=along)
        torch.testing.assert_close(weight.flatten(1), kicked("shared", (units, 12)) * along)


@pytest.mark.needs_cuda
@pytest.mark.parametrize("kind", noise.NOISES)
def test_noise_added_on_a_gpu_has_an_address_too(kind: str) -> None:
    weights = [torch.zeros(20_000, 3, device="cuda") for _ in range(3)]
    for weight, step in zip(weights, (5, 5, 6), strict=True):
        noise.add(weight, 1.75, kind, 1.0, key=2**64 - 1, step=step, layer=1)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert follows_symmetric(weights[0][:, 1], 1.75)
    with pytest.raises(ValueError, match=r"^on cuda:0 noise is added to a whole weight at once: leave units out$"):
        noise.add(weights[0], 1.75, kind, 1.0, key=1, step=0, units=slice(0, 5))


WRONG = [
    ({"noise": "type-1"}, r"unknown noise 'type-1': choose one of shared, entrywise, isotropic"),
    ({"alpha": 2.5}, r"alpha must lie in \(0, 2\], got 2.5"),
    ({"alpha": None}, r"alpha must be a number in \(0, 2\], not None"),
    ({"unit": "row"}, r"unknown unit 'row'"),
    ({"units": slice(0, 6, 2)}, r"units must name neighbours, got slice\(0, 6, 2\)"),
    ({"key": -1}, r"no such address: key=-1, step=5"),
    ({"step": -1}, r"no such address: key=11, step=-1"),
    ({"along": torch.ones(3)}, r"^along= is for noise 'shared' and one number an input, not of shape \(3,\)$"),
    ({"along": torch.ones(4), "noise": "entrywise"}, r"^along= is for noise 'shared' and one number an input"),
    ({"weight": torch.zeros(6)}, r"two axes or more, not torch.float32 of shape \(6,\)"),
    ({"weight": torch.zeros(6, 4, dtype=torch.float64)}, r"contiguous float32 weight .* not torch.float64"),
    ({"weight": torch.zeros(4, 6).T}, r"contiguous float32 weight .* strides \(1, 6\)"),
    ({"weight": torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last)}, r"contiguous float32 weight"),
]


@pytest.mark.parametrize(("wrong", "sentence"), WRONG, ids=[str(list(wrong)) for wrong, _ in WRONG])
def test_noise_that_cannot_be_added_is_refused_in_one_sentence(wrong: dict, sentence: str) -> None:
    settings = {"weight": torch.zeros(6, 4), "noise": "shared", "alpha": 1.75, "key": 11, "step": 5, **wrong}
    weight, kind, alpha = (settings.pop(name) for name in ("weight", "noise", "alpha"))
    with pytest.raises((ValueError, TypeError), match=sentence):
        noise.add(weight, alpha, kind, 1.0, **settings)
    assert (weight == 0).all()


def test_a_kick_is_told_from_what_is_none():
    with pytest.raises(TypeError, match=r"^a kick is a heavytail.noise.Kick, not None$"):
        noise.kick(torch.zeros(2, 2), None)
