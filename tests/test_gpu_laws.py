"""The laws once more, of draws of a GPU's kernels: fewer than of the CPU's, whose numbers they have.

Seeded, false alarm 1e-6 each.
"""

from __future__ import annotations

import math

import pytest
import torch
from goodness_of_fit import GAUSS_LIMIT, follows_symmetric, is_fair, is_poisson, symmetric_quantile, z_score
from torch import Tensor

pytest.importorskip("triton", reason="needs triton, which there is for Linux")
from gpu_kicks import DEVICE, KEYS, kicks_of, launch, symmetric

from heavytail import noise
from heavytail._sampler import gpu
from heavytail.noise import Kick

pytestmark = pytest.mark.gpu
DRAWS, INDICES = 150_001, (0.5, 1.0, 1.3, 1.75, 1.99, 2.0)


@pytest.mark.parametrize("alpha", INDICES)
def test_kicks_follow_the_law_and_no_neighbouring_one(alpha: float) -> None:
    sample = symmetric(alpha, DRAWS).flatten()
    assert follows_symmetric(sample, alpha)
    for wrong in (alpha - 0.15, *([alpha + 0.15] if alpha < 1.85 else [])):
        assert not follows_symmetric(sample, wrong)
    assert not follows_symmetric(sample * 1.05, alpha)


@pytest.mark.parametrize("alpha", INDICES)
def test_as_many_kicks_lie_in_the_tail_as_the_law_says_and_as_many_on_either_side(alpha: float) -> None:
    sample = symmetric(alpha, DRAWS).flatten()
    for level in (1e-2, 1e-3, 1e-4):
        far = sample[sample.abs() > symmetric_quantile(alpha, level)]
        assert is_poisson(len(far), len(sample) * level)
        assert is_fair(int((far > 0).sum()), len(far))
    wrong = symmetric_quantile(alpha - 0.1, 1e-3)
    assert not is_poisson(int((sample.abs() > wrong).sum()), len(sample) * 1e-3)


def added(kind: noise.Noise, alpha: float, shape: tuple[int, int]) -> Tensor:
    weight = torch.zeros(1, *shape, device=DEVICE)
    launch(weight, {0: Kick(alpha, kind, "filter", 1.0, KEYS[2], 3)}, layer=0)
    return weight[0].cpu()


@pytest.mark.parametrize("alpha", [0.8, 1.5, 2.0])
def test_every_projection_of_an_isotropic_kick_is_symmetric_of_scale_one(alpha: float) -> None:
    vectors = added("isotropic", alpha, (100_000, 3)).double()
    for direction in ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 1.0), (1.0, -1.0, 0.0)):
        along = torch.tensor(direction).double()
        assert follows_symmetric(vectors @ (along / along.norm()), alpha)
    assert not follows_symmetric(vectors[:, 0] / 2**0.5, alpha)


@pytest.mark.parametrize("alpha", [0.6, 1.5])
def test_squared_norms_have_the_laplace_transform_of_the_positive_law(alpha: float) -> None:
    """Half of it is the positive variable of index alpha / 2 itself."""
    radii = torch.zeros(1, 200_000, device=DEVICE)
    kicks = kicks_of("isotropic", [alpha], [1.0], [KEYS[2]], [3])
    gpu._stable_draws(radii, kicks, 1, signed=False)
    half_squares = radii[0].cpu().double().square() / 2
    for s in (0.1, 0.5, 2.0, 5.0):
        mean = math.exp(-(s ** (alpha / 2)))
        variance = math.exp(-((2 * s) ** (alpha / 2))) - mean**2
        assert abs(z_score(torch.exp(-s * half_squares), mean, variance)) < GAUSS_LIMIT
        assert abs(z_score(torch.exp(-s * 1.1 * half_squares), mean, variance)) > GAUSS_LIMIT
