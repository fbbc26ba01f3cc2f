"""Kicks of many clients that a server averages: their law, what they prune, and common kicks bit for bit.

Each check that can fail by chance does so with probability at most 1e-6 (goodness_of_fit); there are 13. Seeds are
fixed, and each check is seen to reject the law beside it.
"""

from __future__ import annotations

import copy
import math

import pytest
import torch
from goodness_of_fit import FALSE_ALARM, follows_symmetric
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

import heavytail
from heavytail import laws, noise

DRAWS, CLIENTS, INPUTS = 20_000, 10, 3
SUM_OF_ENTRIES = {"shared": lambda _: INPUTS, "entrywise": lambda a: INPUTS ** (1 / a), "isotropic": lambda _: 3**0.5}
LAYER = {"noise": "isotropic", "inputs": 20, "spread": 0.2}
weights = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8)
indices = st.floats(0.3, 2.0)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def averaged(alpha: float, kind: str, shares: Tensor, seed: int) -> Tensor:
    """The sum of the entries of many averaged kicks, in units of that of one kick: one number a unit."""
    kicks = noise.vectors(alpha, kind, (len(shares), DRAWS, INPUTS), generator=generator(seed)).double()
    mean = (shares.double()[:, None, None] * kicks).sum(0)
    times = INPUTS if kind == "shared" else 1
    return times * mean.sum(-1) / SUM_OF_ENTRIES[kind](alpha)


# ---- the scale


@pytest.mark.parametrize("kind", noise.NOISES)
@pytest.mark.parametrize("alpha", [0.8, 1.5, 2.0])
def test_the_mean_of_many_clients_kicks_has_the_law_of_one_kick_of_another_scale(alpha: float, kind: str) -> None:
    """The gap allows for a scale 5% off at most; K^(-1/2) is half as much again at α = 1.5."""
    mean = averaged(alpha, kind, torch.full((CLIENTS,), 1 / CLIENTS), seed=1)
    assert follows_symmetric(mean / laws.averaged_scale(alpha, CLIENTS), alpha)
    if alpha < 2:
        assert not follows_symmetric(mean / CLIENTS**-0.5, alpha)
        assert not follows_symmetric(mean, alpha)


@pytest.mark.parametrize("alpha", [0.8, 1.5, 2.0])
def test_clients_of_unequal_weight_have_the_scale_of_their_weights_alpha_norm(alpha: float) -> None:
    """As many clients of equal weight would have another."""
    shares = torch.tensor([0.91, 0.03, 0.03, 0.03])
    mean = averaged(alpha, "shared", shares, seed=2)
    assert follows_symmetric(mean / laws.weighted_scale(alpha, shares.tolist()), alpha)
    assert not follows_symmetric(mean / laws.averaged_scale(alpha, 4), alpha)


@given(indices, weights)
def test_effective_clients_are_as_many_equal_ones_of_the_same_scale_and_no_more_than_there_are(
    alpha: float, each: list[float]
) -> None:
    many = laws.effective_clients(alpha, each)
    assert 1 - 1e-6 <= many <= len(each) * (1 + 1e-6)
    assert many ** (1 / alpha - 1) == pytest.approx(laws.weighted_scale(alpha, each), rel=1e-6)
    equal = [2.0] * len(each)
    assert laws.weighted_scale(alpha, equal) == pytest.approx(laws.averaged_scale(alpha, len(each)))
    assert laws.weighted_scale(alpha, [*each, 0.0]) == pytest.approx(laws.weighted_scale(alpha, each))


def test_at_an_index_of_one_averaging_changes_nothing_and_effective_clients_are_the_limit() -> None:
    assert laws.averaged_scale(1, 1000) == laws.averaged_scale(1.5, 1) == 1.0
    assert laws.weighted_scale(1, [1, 2, 5]) == pytest.approx(1)
    assert laws.effective_clients(1, [1, 2, 5]) == pytest.approx(laws.effective_clients(1 + 1e-7, [1, 2, 5]), rel=1e-5)


def test_common_kicks_and_those_of_the_server_stay_whole() -> None:
    assert [laws.averaged_scale(1.5, 100, design) for design in ("common", "server")] == [1.0, 1.0]


def test_extreme_arguments_give_numbers_and_no_overflow() -> None:
    assert laws.averaged_scale(0.01, 10**6) == math.inf
    assert laws.averaged_scale(2, 10**300) == pytest.approx(1e-150)
    assert laws.weighted_scale(0.001, [1e300, 1e-300]) == pytest.approx((1 + 10**-0.6) ** 1000)
    assert laws.weighted_scale(1.5, [1e308] * 4) == pytest.approx(4 ** (-1 / 3))
    assert laws.clients_at_balance(1.001, 100, **LAYER, scale=1.0) == math.inf


# ---- drift, and what is left to prune


def rounds(kind: str, alpha: float, clients: int, seed: int, step: float = 0.05) -> tuple[Tensor, Tensor, float]:
    """Four rounds of three local steps: the global layer, its start plus averaged kicks, and a bound on its drift.

    Each client pulls to targets of its own by a gradient that is bounded and depends on where the client is.
    """
    draws = generator(seed)
    start = 0.2 * torch.randn(400, 5, generator=draws, dtype=torch.float64)
    targets = 3 * torch.randn(clients, 400, 5, generator=draws, dtype=torch.float64)
    model, kicked = start.clone(), start.clone()
    for _ in range(4):
        local = model.repeat(clients, 1, 1)
        for _ in range(3):
            kick = noise.vectors(alpha, kind, local.shape, generator=draws).double()
            local = local - step * torch.tanh(local - targets) / 10 + step ** (1 / alpha) * kick
            kicked = kicked + step ** (1 / alpha) * kick.mean(0)
        model = local.mean(0)
    return model, kicked, 12 * step * math.sqrt(5) / 10


@pytest.mark.parametrize("kind", noise.NOISES)
def test_however_far_clients_drift_the_global_model_is_bounded_by_its_start_and_averaged_kicks(kind: str) -> None:
    model, kicked, drift = rounds(kind, 1.5, clients=8, seed=3)
    assert float((model - kicked).norm(dim=1).max()) <= drift
    squares = model.square().sum(1).sort().values
    error = float((squares[:-40].sum() / squares.sum()).sqrt())
    bound = laws.compressibility_bound(kicked, drift, keep=0.1)
    largest = kicked.norm(dim=1).sort().indices[-40:]  # which all know where kicks are common
    known = model.clone()
    known[largest] = 0.0
    assert error <= float(known.norm() / model.norm()) <= bound < 1
    assert float((model - kicked).norm(dim=1).max()) > drift / 100  # the clients did drift


def test_many_clients_with_strong_kicks_prune_as_one_with_a_larger_start() -> None:
    """The relative error knows no unit: kicks that shrink are a start that grows."""
    shrunk = laws.averaged_scale(1.5, 30)
    many = laws.predicted_error(1.5, 500, 0.1, **LAYER, scale=0.2 * shrunk)
    one = laws.predicted_error(1.5, 500, 0.1, **{**LAYER, "spread": 0.2 / shrunk}, scale=0.2)
    assert many == pytest.approx(one, rel=1e-9)
    assert many > 1.2 * laws.predicted_error(1.5, 500, 0.1, **LAYER, scale=0.2)


@pytest.mark.parametrize("alpha", [0.8, 1.5, 1.9])
def test_pure_noise_prunes_alike_whatever_the_number_of_clients(alpha: float) -> None:
    alone = {**LAYER, "spread": 1e-12}
    errors = [laws.predicted_error(alpha, 500, 0.1, **alone, scale=laws.averaged_scale(alpha, k)) for k in (1, 1000)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-6)


def test_gaussian_kicks_prune_alike_at_every_number_of_clients_for_start_plus_kicks_stay_normal() -> None:
    errors = [laws.predicted_error(2, 500, 0.1, **LAYER, scale=laws.averaged_scale(2, k)) for k in (1, 30, 1000)]
    assert errors == pytest.approx([errors[0]] * 3, rel=1e-6)


def heavier(alpha: float, clients: float, width: int, repeats: int) -> int:
    """In how many layers the kicks of so many clients hold more than the start does."""
    draws = generator(4)
    kicks = noise.vectors(alpha, "isotropic", (repeats, width, 20), generator=draws).double()
    held = (clients ** (1 / alpha - 1) * 0.1) ** 2 * kicks.square().sum((1, 2))
    return int((held > width * 20 * 0.2**2).sum())


def test_at_balance_the_kicks_outweigh_the_start_in_half_of_the_layers() -> None:
    """Of 300 layers; three times as many clients, or a third, are seen."""
    width, repeats = 1000, 300
    middle = laws.clients_at_balance(1.5, width, **LAYER, scale=0.1)
    low, high = stats.binom.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], repeats, 0.5)
    assert low <= heavier(1.5, middle, width, repeats) <= high
    assert heavier(1.5, middle * 3, width, repeats) < low
    assert heavier(1.5, middle / 3, width, repeats) > high


def test_a_gaussian_balance_is_where_the_variances_are_equal() -> None:
    assert laws.clients_at_balance(2, 50, **LAYER, scale=1.0) == pytest.approx(2 * 25)


@pytest.mark.parametrize("alpha", [1.2, 1.5, 1.75])
def test_a_layer_that_is_wider_by_the_widening_has_its_balance_at_as_many_times_the_clients(alpha: float) -> None:
    narrow, wide = (laws.clients_at_balance(alpha, n, **LAYER, scale=0.1) for n in (1000, 1000 * 4))
    assert laws.widening(alpha, 16) ** (math.log(wide / narrow) / math.log(16)) == pytest.approx(4)


# ---- arguments


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: laws.averaged_scale(2.1, 3), r"this law needs the stability index alpha in \(0, 2\], got 2.1"),
        (lambda: laws.averaged_scale(1.5, 0), "clients counts the clients that are averaged: 1 or more, got 0"),
        (lambda: laws.averaged_scale(1.5, 2.5), "clients counts .*: a whole number, got 2.5"),
        (lambda: laws.averaged_scale(1.5, 3, "mine"), "unknown design 'mine': choose one of local, common, server"),
        (lambda: laws.weighted_scale(1.5, []), "no client has a weight above 0, .*"),
        (lambda: laws.weighted_scale(1.5, [0, 0]), "no client has a weight above 0, .*"),
        (lambda: laws.effective_clients(1.5, [1, -1]), "a client's weight must be finite and >= 0, got -1"),
        (lambda: laws.effective_clients(1.0, [math.nan]), "a client's weight must be finite and >= 0, got nan"),
        (lambda: laws.clients_at_balance(1.0, 9, **LAYER, scale=1.0), r"this law needs .* in \(1, 2\], got 1"),
        (lambda: laws.clients_at_balance(1.5, 9, **LAYER, scale=0.0), "scale must be finite and above 0, got 0"),
        (lambda: laws.widening(2.0, 9), r"this law needs the stability index alpha in \(0, 2\), got 2"),
    ],
)
def test_a_bad_argument_is_refused_in_one_sentence(call, sentence: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=rf"^{sentence}$"):
        call()


def test_a_weight_that_is_no_number_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^a client's weight is one real number, got str$"):
        laws.weighted_scale(1.5, ["many"])  # type: ignore[list-item]


# ---- common kicks, bit for bit


def a_network() -> nn.Sequential:
    return heavytail.networks.fcn(6, 5, 2, 3, generator=generator(100))


def kicked(model: nn.Sequential, kind: str, key: int, steps: int) -> nn.Sequential:
    """The model after steps whose gradients are all 0, with the kicks of a key."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with heavytail.perturb(optimizer, model=model, alpha=1.5, sigma=0.1, noise=kind, generator=generator(key)):
        for _ in range(steps):
            for p in model.parameters():
                p.grad = torch.zeros_like(p)
            optimizer.step()
    return model


def mean_of(models: list[nn.Sequential], dtype: torch.dtype) -> dict[str, Tensor]:
    """Weights averaged one after the other in this precision, then rounded to float32."""
    states = [model.state_dict() for model in models]
    total = {name: value.to(dtype) for name, value in states[0].items()}
    for state in states[1:]:
        total = {name: value + state[name].to(dtype) for name, value in total.items()}
    return {name: (value / len(models)).float() for name, value in total.items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("kind", noise.NOISES)
@pytest.mark.parametrize("clients", [3, 10, 64])
def test_common_kicks_averaged_are_those_of_a_central_run_bit_for_bit(clients: int, kind: str) -> None:
    """In float64 a sum of up to 2^29 equal float32 numbers is exact, and so is its quotient, for every number K."""
    first, central = a_network(), kicked(a_network(), kind, key=7, steps=3).state_dict()
    locals_ = [kicked(copy.deepcopy(first), kind, key=7, steps=3) for _ in range(clients)]
    assert equal(mean_of(locals_, torch.float64), central)
    assert not equal(first.state_dict(), central)
    others = [kicked(copy.deepcopy(first), kind, key=7 + number, steps=3) for number in range(clients)]
    assert not equal(mean_of(others, torch.float64), central)


def test_in_single_precision_pairs_of_clients_are_exact_and_a_running_sum_rounds() -> None:
    """A sum of pairs of pairs doubles: exact where K is a power of two. Else each addition may round, by 2^-24."""
    central = kicked(a_network(), "isotropic", key=7, steps=3).state_dict()
    value = torch.cat([p.flatten() for p in central.values()])
    pairs = value.repeat(64, 1)
    while len(pairs) > 1:
        pairs = pairs[::2] + pairs[1::2]
    assert torch.equal(pairs[0] / 64, value)
    for clients in (3, 7, 10, 100):
        total = value.clone()
        for _ in range(clients - 1):
            total += value
        off = ((total / clients - value) / value)[value != 0].abs().max()
        assert 0 < float(off) <= clients * 2**-24
