"""The bound on the error of pruning holds surely: trained or shifted, at every width, step size and batch."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from heavytail import laws, sde
from heavytail.lab import simulations

KEEP = 0.1
ROUNDING = 1e-12


def error(weights, keep=KEEP):
    """The relative error, by sorting in NumPy."""
    squares = np.sort(np.square(np.asarray(weights, dtype=np.float64)).sum(1))
    gone = len(squares) - max(1, round(keep * len(squares)))
    return math.sqrt(squares[:gone].sum() / squares.sum())


def trained(alpha, n, steps, batch, seed, *, sigma=1.0, horizon=1.0, trained_outputs=False):
    """Weights after training, start plus noise, and what gradients may have moved a neuron at most.

    Squared loss, tanh, output weights ±1 and a mean over neurons: |∂ℓ| is at most 2, so a gradient is at most twice the
    longest input.
    """
    generator = torch.Generator().manual_seed(seed)
    problem = replace(simulations.teacher(inputs=2, seed=seed), trained=trained_outputs)
    particles = sde.initial((n, 2), generator=generator, dtype=torch.float64)
    path = sde.levy_path(
        alpha, "isotropic", (n, 2), horizon=horizon, steps=steps, generator=generator, dtype=torch.float64
    )
    start = particles.weights
    for kick in path.increments:
        some = torch.randint(len(problem.x), (batch,), generator=generator) if batch else slice(None)
        seen = replace(problem, x=problem.x[some], y=problem.y[some])
        particles = sde.step(seen, particles, path.step, kick, sigma)
    bound = 2 * float(problem.x.norm(dim=1).max()) * horizon
    if trained_outputs:  # they move by at most 2 T times the largest |φ|, and the outputs of the network with them
        size = 1 + 2 * math.expm1(horizon)
        bound = float(problem.x.norm(dim=1).max()) * size * (size + 1) * horizon
    return particles.weights, start + sigma * path.increments.sum(0), bound


@pytest.mark.parametrize("batch", [None, 1], ids=["full batch", "one sample a step"])
@pytest.mark.parametrize("steps", [1, 16])
@pytest.mark.parametrize("alpha", [0.7, 1.1, 1.5, 1.9])
def test_no_trained_network_is_beyond_the_bound_whatever_its_steps(alpha, steps, batch):
    for n in (64, 512, 4096):
        weights, untrained, drift = trained(alpha, n, steps, batch, seed=n + steps)
        assert (weights - untrained).norm(dim=1).max() <= drift
        assert error(weights) <= laws.compressibility_bound(untrained, drift, KEEP)


@pytest.mark.parametrize("n", [64, 4096])
def test_nor_one_whose_second_layer_is_trained_too(n):
    weights, untrained, drift = trained(1.5, n, 16, None, seed=n, trained_outputs=True)
    assert error(weights) <= laws.compressibility_bound(untrained, drift, KEEP)


def test_the_bound_falls_with_the_width_and_not_for_gaussian_noise():
    """Medians of 25 draws with fixed seeds; at α = 1.2 the law says a factor 2.5 from one width to the next."""

    def middle(alpha, n):
        return np.median([laws.compressibility_bound(kicks(alpha, n, seed), 0.1, KEEP) for seed in range(25)])

    first, second, third = (middle(1.2, n) for n in (2**8, 2**12, 2**16))
    assert first > 2 * second > 4 * third
    assert min(middle(2.0, n) for n in (2**8, 2**16)) > 0.8


def kicks(alpha, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    path = sde.levy_path(alpha, "isotropic", (n, 2), horizon=1.0, steps=1, generator=generator, dtype=torch.float64)
    return path.increments[0]


MATRICES = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.floats(-1e6, 1e6, allow_subnormal=False)
)


@settings(deadline=None)
@given(MATRICES, st.floats(0, 10), st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
def test_no_shift_of_the_rows_is_beyond_the_bound(matrix, drift, keep, seed):
    """Random shifts, and the worst there is: what goes grows, and what stays shrinks."""
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    ranks = np.argsort(np.argsort(norms[:, 0], kind="stable"), kind="stable")
    gone = len(matrix) - max(1, round(keep * len(matrix)))
    outward = np.divide(matrix, norms, out=np.eye(*matrix.shape), where=norms > 0)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-300)
    random = np.random.default_rng(seed).normal(size=matrix.shape)
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    bound = laws.compressibility_bound(torch.from_numpy(matrix), drift, keep)
    for shift in (random, np.where(ranks[:, None] < gone, outward, -outward)):
        moved = matrix + drift * shift
        if np.square(moved).sum() > 1e-12:
            assert error(moved, keep) <= bound * (1 + 1e-9) + 1e-9


def test_without_drift_it_is_the_error_itself_and_a_larger_drift_is_beyond_it():
    matrix = kicks(1.5, 1000)
    assert laws.compressibility_bound(matrix, 0.0, KEEP) == pytest.approx(error(matrix), rel=ROUNDING)
    matrix = torch.cat([torch.full((90, 1), 0.1), torch.full((10, 1), 100.0)]).double()
    moved = matrix + torch.cat([torch.full((90, 1), 5.0), torch.full((10, 1), -5.0)])
    assert error(moved) <= laws.compressibility_bound(matrix, 5.0, KEEP)
    assert error(moved) > laws.compressibility_bound(matrix, 4.0, KEEP)  # it is not much larger than it must be


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64])
def test_any_real_matrix_is_taken(dtype):
    matrix = torch.tensor([[3, 4], [1, 0], [0, 0]]).to(dtype)
    assert laws.compressibility_bound(matrix, 0, 0.34) == pytest.approx(1 / math.sqrt(26))
    assert laws.compressibility_bound(torch.zeros(3, 2), 0, 0.5) == 1.0


@pytest.mark.parametrize(
    ("arguments", "error_kind", "sentence"),
    [
        (
            (torch.ones(3), 1.0, 0.1),
            ValueError,
            r"^start_plus_noise is a finite matrix \(neurons, inputs\), got \(3,\)",
        ),
        ((torch.ones(0, 3), 1.0, 0.1), ValueError, r"^start_plus_noise is a finite matrix"),
        ((torch.tensor([[math.nan]]), 1.0, 0.1), ValueError, r"^start_plus_noise is a finite matrix"),
        (([[1.0]], 1.0, 0.1), TypeError, r"^start_plus_noise is a tensor of real numbers"),
        ((torch.ones(3, 2, dtype=torch.complex64), 1.0, 0.1), TypeError, r"^start_plus_noise is a tensor of real"),
        ((torch.ones(3, 2), -1.0, 0.1), ValueError, r"^drift is what a neuron was moved at most: .* got -1"),
        ((torch.ones(3, 2), math.inf, 0.1), ValueError, r"^drift is what a neuron was moved at most"),
        ((torch.ones(3, 2), "much", 0.1), TypeError, r"^drift is one real number"),
        ((torch.ones(3, 2), 1.0, 1.0), ValueError, r"^keep must lie in \(0, 1\), got 1"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(arguments, error_kind, sentence):
    with pytest.raises(error_kind, match=sentence):
        laws.compressibility_bound(*arguments)
