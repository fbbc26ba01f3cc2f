"""The stable draws have the laws they name, down to the 1e-7 quantile, and never give inf or NaN."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from goodness_of_fit import (
    GAUSS_LIMIT,
    follows,
    follows_continuous,
    follows_symmetric,
    is_fair,
    is_poisson,
    positive_cdf,
    symmetric_cdf,
    symmetric_points,
    symmetric_quantile,
    symmetric_survival,
    z_score,
)
from scipy import stats
from torch import Tensor

from heavytail import stable

pytestmark = pytest.mark.long

DRAWS = 10**6
INDICES = (0.5, 1.0, 1.3, 1.75, 1.9, 2.0)
DTYPES = (torch.float32, torch.float64)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.needs_cuda),
]
EXTREME_INDICES = (1e-300, 1e-46, 1e-9, 1e-3, 0.01, 0.05, 0.1, 0.5, 1 - 1e-9, 1 - 2**-53, 1.0, 1 + 1e-9, 1.5)
EXTREME_INDICES += (2 - 1e-9, 2 - 2**-52, 2.0)
# What a generator could give at worst: the ends of the integers, their neighbours, and where float32 starts to round.
EXTREME_BITS = (0, 1, -1, 2, -2, 2**39, -(2**39), 2**62, -(2**62), 2**63 - 2**38, 2**63 - 2, 2**63 - 1)
EXTREME_BITS += (-(2**63) + 2**38, -(2**63) + 1, -(2**63))


def generator(seed: int, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seed)


def feed_bits(monkeypatch: pytest.MonkeyPatch, bits: tuple[int, ...]) -> int:
    """Let the two integers behind a draw run through all pairs of `bits`; returns how many pairs there are."""
    first, second = (torch.tensor(column) for column in zip(*itertools.product(bits, bits), strict=True))
    calls = itertools.cycle([first, second])
    monkeypatch.setattr(torch.Tensor, "random_", lambda self, *_, generator: self.copy_(next(calls)))
    return len(first)


# ---- the reference laws themselves


@cache
def scipys_law(alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Points that are not at the centre, and SciPy's law at them."""
    points = symmetric_points(alpha)
    points = points[np.abs(points) > 0.01]
    return points, stats.levy_stable.cdf(points, alpha, 0)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.3, 1.75, 1.9, 2.0])
def test_the_reference_law_agrees_with_scipy_where_scipy_is_sound(alpha: float) -> None:
    # SciPy's cdf steps to 1/2 within 0.005 of the centre and to 0 or 1 in the far tail; 1e-4 is far below a KS limit.
    points, scipys = scipys_law(alpha)
    ours = symmetric_cdf(alpha)[np.isin(symmetric_points(alpha), points)]
    body = np.abs(ours - 0.5) < 0.49
    gap = np.abs(ours - scipys)
    assert gap[body].max() < 1e-8
    assert gap.max() < 1e-4


@pytest.mark.parametrize(("alpha", "x"), [(0.5, 50.0), (0.5, 1e6), (1.3, 50.0), (1.75, 50.0), (1.75, 4250.0)])
def test_the_reference_tail_agrees_with_its_series(alpha: float, x: float) -> None:
    terms = [
        math.gamma(alpha * k) / math.factorial(k) * math.sin(k * math.pi * alpha / 2) * -((-(x**-alpha)) ** k)
        for k in range(1, 12)
    ]
    assert symmetric_survival(alpha, x) == pytest.approx(math.fsum(terms) / math.pi, rel=1e-9)


@pytest.mark.parametrize("alpha", [1.3, 1.75, 1.9])
def test_the_reference_law_agrees_with_the_inverted_characteristic_function(alpha: float) -> None:
    for x in (0.3, 2.0):
        half = mpmath.quadosc(lambda u, x=x: mpmath.sin(u * x) / u * mpmath.exp(-(u**alpha)), [0, mpmath.inf], omega=x)
        assert symmetric_survival(alpha, x) == pytest.approx(float(0.5 - half / mpmath.pi), rel=1e-7)


def test_the_reference_positive_law_agrees_with_the_levy_law() -> None:
    x = np.geomspace(0.01, 1e8, 100)
    np.testing.assert_allclose(positive_cdf(0.5, x), stats.levy.cdf(x, scale=0.5), atol=1e-12)


# ---- symmetric


@cache
def sample(alpha: float, count: int = DRAWS, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draws whose law several tests ask about. Each check of them alone has its rate of false alarms."""
    return stable.symmetric(alpha, count, generator=generator(1), dtype=dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", INDICES)
def test_symmetric_draws_follow_scipys_law(alpha: float, dtype: torch.dtype, device: str) -> None:
    on_cpu = device == "cpu"
    draws = (
        sample(alpha, dtype=dtype)
        if on_cpu
        else stable.symmetric(alpha, DRAWS, generator=generator(1, device), dtype=dtype)
    )
    assert follows(draws, *scipys_law(alpha))


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.8, 0.95, 1.05, 1.99])
def test_symmetric_draws_follow_the_law_at_awkward_indices(alpha: float) -> None:
    assert follows_symmetric(stable.symmetric(alpha, DRAWS, generator=generator(2)), alpha)


@pytest.mark.parametrize("alpha", INDICES)
def test_the_symmetric_test_rejects_an_index_off_by_a_tenth(alpha: float) -> None:
    for wrong in (alpha - 0.1, min(alpha + 0.1, 2.0)):
        if wrong != alpha:
            assert not follows_symmetric(stable.symmetric(wrong, DRAWS, generator=generator(3)), alpha)


@pytest.mark.parametrize("alpha", INDICES)
def test_the_symmetric_test_rejects_a_scale_off_by_a_twentieth(alpha: float) -> None:
    draws = sample(alpha)
    assert follows_symmetric(draws, alpha)
    assert not follows_symmetric(draws * 0.95, alpha)
    assert not follows_symmetric(draws * 1.05, alpha)


def test_at_two_the_symmetric_law_is_normal_of_variance_two_not_one() -> None:
    draws = sample(2.0)
    points = symmetric_points(2.0)
    assert follows_continuous(draws, stats.norm(scale=2**0.5).cdf, points)
    assert not follows_continuous(draws, stats.norm(scale=1).cdf, points)


def test_at_one_the_symmetric_law_is_cauchy() -> None:
    assert follows_continuous(sample(1.0), stats.cauchy.cdf, symmetric_points(1))


@pytest.mark.parametrize("alpha", INDICES)
def test_signs_are_fair_in_the_body_and_in_the_tail(alpha: float) -> None:
    draws = sample(alpha)
    assert is_fair(int((draws > 0).sum()), int((draws != 0).sum()))
    far = draws[draws.abs() > symmetric_quantile(alpha, 1e-2)]
    assert is_fair(int((far > 0).sum()), len(far))


@pytest.mark.parametrize("alpha", INDICES)
def test_neighbouring_draws_are_independent_in_sign_and_size(alpha: float) -> None:
    draws = stable.symmetric(alpha, 400_000, generator=generator(8)).reshape(2, -1)
    large = draws.abs() > symmetric_quantile(alpha, 0.5)
    for fact in (draws > 0, large):
        assert is_fair(int((fact[0] == fact[1]).sum()), 200_000)  # far apart
        assert is_fair(int((fact[:, ::2] == fact[:, 1::2]).sum()), 200_000)  # side by side
    assert is_fair(int(((draws > 0) == large).sum()), 400_000)  # the sign says nothing about the size


def tail_counts(draws: torch.Tensor, alpha: float, levels: tuple[float, ...]) -> list[int]:
    """How many draws lie beyond each two-sided quantile."""
    size = draws.abs()
    return [int((size > symmetric_quantile(alpha, level)).sum()) for level in levels]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", INDICES)
def test_as_many_draws_lie_in_the_tail_as_the_law_says(alpha: float, dtype: torch.dtype) -> None:
    levels, draws = (1e-3, 1e-4, 1e-5), 2 * DRAWS
    counts = tail_counts(sample(alpha, draws, dtype), alpha, levels)
    for count, level in zip(counts, levels, strict=True):
        assert is_poisson(count, draws * level)


@pytest.mark.parametrize("alpha", INDICES)
def test_the_tail_test_rejects_an_index_off_by_a_tenth(alpha: float) -> None:
    draws = stable.symmetric(alpha - 0.1, 2 * DRAWS, generator=generator(10))
    for count, level in zip(tail_counts(draws, alpha, (1e-3, 1e-4)), (1e-3, 1e-4), strict=True):
        assert not is_poisson(count, 2 * DRAWS * level)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.3, 1.75, 1.9])
def test_the_tail_constant_is_the_limit_of_the_exact_tail(alpha: float) -> None:
    # The next term of the tail series is smaller by x^-alpha.
    far, farther = (power * 2 * float(symmetric_survival(alpha, power ** (1 / alpha))) for power in (1e5, 1e6))
    constant = stable.tail_constant(alpha)
    assert farther == pytest.approx(constant, rel=1e-5)
    assert abs(farther - constant) <= abs(far - constant)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.3, 1.75])
def test_far_draws_meet_the_tail_constant(alpha: float) -> None:
    x = (stable.tail_constant(alpha) / 1e-4) ** (1 / alpha)
    draws = sample(alpha, 2 * DRAWS, torch.float32)
    assert is_poisson(int((draws.abs() > x).sum()), 2 * DRAWS * 1e-4)


@pytest.mark.parametrize("alpha", [0.0, 2.0, -1.0, 2.5])
def test_no_tail_constant_without_a_power_law(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"a power-law tail needs alpha in \(0, 2\), got"):
        stable.tail_constant(alpha)


@pytest.mark.parametrize("alpha", INDICES)
def test_the_mean_of_cosines_is_the_characteristic_function(alpha: float) -> None:
    draws = sample(alpha, dtype=torch.float64)
    for u in (0.2, 1.0, 2.0):
        phi, double = (float(stable.characteristic_function(alpha, torch.tensor(v))) for v in (u, 2 * u))
        assert abs(z_score(torch.cos(u * draws), phi, (1 + double) / 2 - phi**2)) < GAUSS_LIMIT
        assert abs(z_score(torch.cos(1.05 * u * draws), phi, (1 + double) / 2 - phi**2)) > GAUSS_LIMIT


# ---- positive


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_positive_draws_have_the_laplace_transform(alpha: float, dtype: torch.dtype) -> None:
    draws = stable.positive(alpha, DRAWS, generator=generator(20), dtype=dtype).double()
    for s in (0.1, 0.5, 1.0, 2.0, 5.0):
        mean = math.exp(-(s**alpha))
        variance = math.exp(-((2 * s) ** alpha)) - mean**2
        assert abs(z_score(torch.exp(-s * draws), mean, variance)) < GAUSS_LIMIT


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.7, 0.9])
def test_the_laplace_test_rejects_a_wrong_index_and_a_wrong_scale(alpha: float) -> None:
    s = 2.0
    mean = math.exp(-(s**alpha))
    variance = math.exp(-((2 * s) ** alpha)) - mean**2
    right = stable.positive(alpha, DRAWS, generator=generator(21)).double()
    wrong = stable.positive(alpha - 0.1, DRAWS, generator=generator(22)).double()
    assert abs(z_score(torch.exp(-s * wrong), mean, variance)) > GAUSS_LIMIT
    assert abs(z_score(torch.exp(-s * 1.05 * right), mean, variance)) > GAUSS_LIMIT


@pytest.mark.parametrize("dtype", DTYPES)
def test_at_one_half_the_positive_law_is_levys(dtype: torch.dtype) -> None:
    law, points = stats.levy(scale=0.5), stats.levy(scale=0.5).ppf(np.linspace(0.001, 0.999, 400))
    draws = stable.positive(0.5, DRAWS, generator=generator(23), dtype=dtype)
    assert follows_continuous(draws, law.cdf, points)
    assert not follows_continuous(draws * 1.05, law.cdf, points)


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.65, 0.875, 0.95])
def test_positive_draws_follow_the_positive_law(alpha: float) -> None:
    points = np.exp(np.linspace(-6, 20 if alpha > 0.2 else 80, 400))
    draws = stable.positive(alpha, DRAWS, generator=generator(24))
    assert follows(draws, points, positive_cdf(alpha, points))
    assert not follows(draws, points, positive_cdf(alpha + 0.04, points))


@pytest.mark.parametrize("alpha", [0.5, 0.875])
def test_as_many_positive_draws_are_large_and_small_as_the_law_says(alpha: float) -> None:
    draws = stable.positive(alpha, 2 * DRAWS, generator=generator(25))
    sizes = np.exp(np.linspace(-4, 30, 69))
    for x, below in zip(sizes, positive_cdf(alpha, sizes), strict=True):
        for share, far in ((below, lambda x=x: draws <= x), (1 - below, lambda x=x: draws > x)):
            if 1e-8 < share < 1e-3:
                assert is_poisson(int(far().sum()), 2 * DRAWS * share)


# ---- isotropic


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("alpha", [0.1, 0.8, 1.0, 1.5, 1.75, 1.9, 2.0])
def test_every_projection_of_an_isotropic_draw_is_symmetric_of_scale_one(alpha: float, device: str) -> None:
    vectors = stable.isotropic(alpha, (300_000, 3), generator=generator(30, device)).double().cpu()
    random = torch.randn(3, 3, generator=generator(31), dtype=torch.float64)
    for direction in (*torch.eye(3).double(), torch.ones(3).double(), torch.tensor([1.0, -1, 0]).double(), *random):
        assert follows_symmetric(vectors @ (direction / direction.norm()), alpha)


@pytest.mark.parametrize("alpha", [0.8, 1.5, 1.75])
def test_the_projection_test_rejects_independent_entries(alpha: float) -> None:
    vectors = stable.symmetric(alpha, (300_000, 3), generator=generator(32))
    assert follows_symmetric(vectors[:, 0], alpha)
    assert not follows_symmetric(vectors.sum(1) / 3**0.5, alpha)


@pytest.mark.parametrize("alpha", [1.5, 1.75, 2.0])
def test_the_projection_test_rejects_a_vector_without_the_factor_two(alpha: float) -> None:
    vectors = stable.isotropic(alpha, (300_000, 3), generator=generator(33))
    assert not follows_symmetric(vectors[:, 0] / 2**0.5, alpha)


@pytest.mark.parametrize("alpha", [0.8, 1.5, 1.9, 2.0])
def test_isotropic_draws_have_a_characteristic_function_of_the_norm_alone(alpha: float) -> None:
    vectors = stable.isotropic(alpha, (300_000, 4), generator=generator(34), dtype=torch.float64)
    frequencies = torch.randn(6, 4, generator=generator(35), dtype=torch.float64) / 2
    for u in frequencies:
        phi, double = (float(stable.characteristic_function(alpha, v.norm())) for v in (u, 2 * u))
        assert abs(z_score(torch.cos(vectors @ u), phi, (1 + double) / 2 - phi**2)) < GAUSS_LIMIT


def test_at_one_the_squared_isotropic_norm_is_fisher_distributed() -> None:
    norms = stable.isotropic(1.0, (300_000, 3), generator=generator(36), dtype=torch.float64).square().sum(1)
    points = stats.f(3, 1).ppf(np.linspace(0.001, 0.999, 400))
    assert follows_continuous(norms / 3, stats.f(3, 1).cdf, points)
    assert not follows_continuous(norms / 3, stats.f(2, 1).cdf, points)


def test_at_two_the_isotropic_law_is_normal_with_independent_entries_of_variance_two() -> None:
    vectors = stable.isotropic(2.0, (300_000, 5), generator=generator(37))
    assert follows_continuous(vectors.flatten(), stats.norm(scale=2**0.5).cdf, symmetric_points(2.0))
    points = stats.chi2(5).ppf(np.linspace(0.001, 0.999, 400))
    assert follows_continuous(vectors.square().sum(1) / 2, stats.chi2(5).cdf, points)


def test_isotropic_vectors_are_spread_evenly_over_directions() -> None:
    vectors = stable.isotropic(1.2, (300_000, 3), generator=generator(38), dtype=torch.float64)
    height = (vectors / vectors.norm(dim=1, keepdim=True))[:, 2]  # uniform on (-1, 1) on the sphere in three dimensions
    far = vectors.norm(dim=1) > vectors.norm(dim=1).median()
    points = np.linspace(-0.99, 0.99, 199)
    for part in (height, height[far]):
        assert follows_continuous(part, stats.uniform(-1, 2).cdf, points)


@pytest.mark.parametrize("alpha", [0.5, 1.3, 1.75, 2.0])
def test_a_one_dimensional_isotropic_draw_is_symmetric(alpha: float) -> None:
    draws = stable.isotropic(alpha, (DRAWS, 1), generator=generator(39))
    assert follows_symmetric(draws, alpha)
    assert not follows_symmetric(draws * 1.05, alpha)


# ---- an alpha for every draw


def test_a_tensor_alpha_gives_each_draw_its_own_law() -> None:
    alpha = torch.tensor([[0.5], [1.0], [1.3], [1.75], [2.0]])
    draws = stable.symmetric(alpha, (5, 300_000), generator=generator(40))
    for index, row in zip(alpha.flatten().tolist(), draws, strict=True):
        assert follows_symmetric(row, round(index, 4))


def test_an_isotropic_draw_mixes_gaussian_and_heavy_rows() -> None:
    alpha = torch.tensor([[2.0], [1.2], [2.0], [1.75]])
    vectors = stable.isotropic(alpha, (4, 200_000, 2), generator=generator(41))
    for index, rows in zip((2.0, 1.2, 2.0, 1.75), vectors, strict=True):
        assert follows_symmetric(rows[:, 0], index)
        assert follows_symmetric((rows[:, 0] - rows[:, 1]) / 2**0.5, index)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tensor_alpha_gives_the_same_numbers_as_a_scalar(dtype: torch.dtype) -> None:
    close = {"rtol": 1e-5 if dtype == torch.float32 else 1e-13, "atol": 0.0}
    size = (3, 1001)
    indices = torch.tensor([0.6, 1.0, 1.75], dtype=torch.float64)
    mixed = stable.symmetric(indices[:, None], size, generator=generator(42), dtype=dtype)
    full = stable.symmetric(indices[:, None].expand(size), size, generator=generator(42), dtype=dtype)
    torch.testing.assert_close(mixed, full, **close)
    halves = stable.positive(indices[:, None] / 2, size, generator=generator(43), dtype=dtype)
    vectors = stable.isotropic(indices[:, None], (*size, 2), generator=generator(44), dtype=dtype)
    for row, alpha in enumerate(indices.tolist()):
        alone = stable.symmetric(alpha, size, generator=generator(42), dtype=dtype)
        torch.testing.assert_close(mixed[row], alone[row], **close)
        alone = stable.positive(alpha / 2, size, generator=generator(43), dtype=dtype)
        torch.testing.assert_close(halves[row], alone[row], **close)
        alone = stable.isotropic(alpha, (*size, 2), generator=generator(44), dtype=dtype)
        torch.testing.assert_close(vectors[row], alone[row], **close)


# ---- numbers: exact against many digits, never inf or NaN, the same in both dtypes


def exact_symmetric(alpha: float, first: int, second: int) -> mpmath.mpf:
    distance, waiting = exact_uniforms(first, second)
    angle = mpmath.sign(first + 0.5) * mpmath.pi / 2 * (1 - distance)
    a = mpmath.mpf(alpha)
    ratio = mpmath.cos((1 - a) * angle) / waiting
    return mpmath.sin(a * angle) * ratio ** ((1 - a) / a) / mpmath.cos(angle) ** (1 / a)


def exact_positive(alpha: float, first: int, second: int) -> mpmath.mpf:
    distance, waiting = exact_uniforms(first, second)
    t = mpmath.pi / 2 * distance
    angle = t if first >= 0 else mpmath.pi - t
    a = mpmath.mpf(alpha)
    ratio = mpmath.sin((1 - a) * angle) / waiting
    return mpmath.sin(a * angle) * ratio ** ((1 - a) / a) / mpmath.sin(angle) ** (1 / a)


def exact_uniforms(first: int, second: int) -> tuple[mpmath.mpf, mpmath.mpf]:
    """The distance to the singular angle, and the exponential, that two 64-bit integers stand for."""
    distance, half = ((abs(mpmath.mpf(k)) + 0.5) / 2**63 for k in (first, second))
    return distance, -mpmath.log(1 - half / 2 if second >= 0 else half / 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9, 1 - 1e-9, 1.0, 1 + 1e-9, 1.3, 1.75, 2 - 1e-9, 2.0])
def test_draws_match_their_formula_in_seventy_digits(
    alpha: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    bits = (0, -1, 12_345, -(2**39), 2**55, 3 * 2**60, -3 * 2**60, 2**62, -(2**62) - 2**61)
    count = feed_bits(monkeypatch, bits)
    laws = [(stable.symmetric, exact_symmetric)]
    if alpha < 1:
        laws.append((stable.positive, exact_positive))
    unit = torch.finfo(dtype).eps
    limit = 400 * unit / min(alpha, 1.0)  # logarithms of up to 90 are rounded, then divided by alpha
    for draw, exact in laws:
        got = draw(alpha, count, generator=generator(0), dtype=dtype)
        for value, (first, second) in zip(got.tolist(), itertools.product(bits, bits), strict=True):
            with mpmath.workdps(70):
                wanted = exact(alpha, first, second)
                if abs(wanted) >= torch.finfo(dtype).max:
                    wanted = mpmath.sign(wanted) * torch.finfo(dtype).max
                error = float(abs(value - wanted) / (abs(wanted) + (unit if exact is exact_symmetric else 0)))
            assert error < limit, (first, second)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", EXTREME_INDICES)
def test_the_worst_bits_give_finite_draws(alpha: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    count = feed_bits(monkeypatch, EXTREME_BITS)
    assert stable.symmetric(alpha, count, generator=generator(0), dtype=dtype).isfinite().all()
    assert stable.isotropic(alpha, (count, 3), generator=generator(0), dtype=dtype).isfinite().all()
    if alpha < 1:
        draws = stable.positive(alpha, count, generator=generator(0), dtype=dtype)
        assert draws.isfinite().all()
        assert (draws > 0).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", EXTREME_INDICES)
def test_draws_at_extreme_indices_are_finite(alpha: float, dtype: torch.dtype, device: str) -> None:
    stream = generator(50, device)
    assert stable.symmetric(alpha, 30_000, generator=stream, dtype=dtype).isfinite().all()
    assert stable.isotropic(alpha, (30_000, 2), generator=stream, dtype=dtype).isfinite().all()
    if alpha < 1:
        draws = stable.positive(alpha, 30_000, generator=stream, dtype=dtype)
        assert draws.isfinite().all()
        assert (draws > 0).all()


@pytest.mark.parametrize("index", [1 - 1e-9, 1 - 1e-6, 1 - 1e-4])
def test_near_one_the_positive_law_is_nearly_constant(index: float) -> None:
    draws = stable.positive(index, 100_000, generator=generator(51))
    # Its median is 1 + O(1 - index); half the draws within a hundred times that, at any index.
    assert (draws.median() - 1).abs() < 10 * (1 - index) + 1e-5


@pytest.mark.parametrize("alpha", [0.3, 0.5, 1 - 1e-9, 1.0, 1 + 1e-9, 1.3, 1.75, 2 - 1e-9, 2.0])
def test_both_dtypes_make_the_same_draws_of_the_same_bits(alpha: float) -> None:
    narrow = stable.symmetric(alpha, 200_000, generator=generator(52))
    wide = stable.symmetric(alpha, 200_000, generator=generator(52), dtype=torch.float64)
    assert narrow.dtype == torch.float32
    assert wide.dtype == torch.float64
    # Float32 rounds the angle next to zero, where single draws differ more; the tail sits at the other end.
    close = (narrow - wide).abs() <= 2e-5 / min(alpha, 1) * wide.abs()
    assert close.double().mean() > 0.98
    assert close[wide.abs() > symmetric_quantile(2.0 if alpha > 1.9 else round(alpha, 1), 1e-2)].double().mean() > 0.99
    if alpha < 1:
        narrow = stable.positive(alpha, 200_000, generator=generator(52))
        wide = stable.positive(alpha, 200_000, generator=generator(52), dtype=torch.float64)
        torch.testing.assert_close(narrow.double(), wide.clamp(max=torch.finfo(torch.float32).max), rtol=1e-4, atol=0)


# ---- how they are called


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("draw", [stable.symmetric, stable.positive, stable.isotropic])
def test_the_same_generator_state_gives_the_same_bits_on_its_device(draw, device: str) -> None:
    first = draw(0.7, (50, 3), generator=generator(60, device))
    assert torch.equal(first, draw(0.7, (50, 3), generator=generator(60, device)))
    assert not torch.equal(first, draw(0.7, (50, 3), generator=generator(61, device)))
    assert first.device.type == device
    assert first.shape == (50, 3)
    assert first.dtype == torch.float32


@pytest.mark.parametrize("draw", [stable.symmetric, stable.positive, stable.isotropic])
def test_successive_draws_of_a_generator_differ(draw) -> None:
    stream = generator(62)
    assert not torch.equal(draw(0.7, (50, 3), generator=stream), draw(0.7, (50, 3), generator=stream))


@pytest.mark.parametrize("draw", [stable.symmetric, stable.positive, stable.isotropic])
def test_a_draw_without_a_generator_is_an_error(draw) -> None:
    with pytest.raises(TypeError, match="generator"):
        draw(0.7, (5, 3))


@pytest.mark.parametrize("size", [7, (7,), (), (0,), (2, 3, 4)])
def test_a_size_is_a_number_or_a_shape(size) -> None:
    wanted = (size,) if isinstance(size, int) else size
    assert stable.symmetric(1.5, size, generator=generator(63)).shape == wanted
    assert stable.positive(0.5, size, generator=generator(63)).shape == wanted
    if wanted:
        assert stable.isotropic(1.5, size, generator=generator(63)).shape == wanted


@pytest.mark.parametrize("alpha", [0.0, -1.0, 2.0001, math.nan, math.inf, torch.tensor([1.5, 3.0])])
@pytest.mark.parametrize("draw", [stable.symmetric, stable.isotropic])
def test_an_alpha_outside_its_interval_is_refused(draw, alpha) -> None:
    with pytest.raises(ValueError, match=r"^the stability index alpha must lie in \(0, 2\], got [-\w.]+$"):
        draw(alpha, (2, 2), generator=generator(64))


@pytest.mark.parametrize("alpha", [0.0, -1.0, 1.0, 1.5, math.nan])
def test_a_positive_alpha_outside_its_interval_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"^the stability index alpha must lie in \(0, 1\), got [-\w.]+$"):
        stable.positive(alpha, (2, 2), generator=generator(65))


def test_an_isotropic_draw_needs_an_axis() -> None:
    with pytest.raises(ValueError, match="needs a size with at least one axis, the last of which is the vector"):
        stable.isotropic(1.5, (), generator=generator(66))


@pytest.mark.parametrize("shape", [(5,), (2, 1, 3), (1, 2, 3)])
@pytest.mark.parametrize("draw", [stable.symmetric, stable.positive])
def test_an_alpha_that_would_stretch_the_draw_is_refused(draw, shape: tuple[int, ...]) -> None:
    # Broadcast the other way, draws that share their bits would pass for independent ones.
    with pytest.raises(ValueError, match=r"^alpha of shape \(.*\) does not broadcast against draws of shape \(2, 1\)$"):
        draw(torch.full(shape, 0.5), (2, 1), generator=generator(67))


def test_an_isotropic_alpha_has_one_entry_a_vector() -> None:
    with pytest.raises(ValueError, match=r"alpha of shape \(2, 3\) does not broadcast against draws of shape \(2,\)"):
        stable.isotropic(torch.full((2, 3), 1.5), (2, 3), generator=generator(68))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
@pytest.mark.parametrize("draw", [stable.symmetric, stable.positive, stable.isotropic])
def test_a_dtype_that_cannot_hold_the_tail_is_refused(draw, dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"^stable draws are float32 or float64, not torch\.\w+: draw float32 and"):
        draw(0.5, (2, 2), generator=generator(69), dtype=dtype)


# ---- a billion draws


def textbook_symmetric(alpha: float, uniform: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The formula as books print it, in the dtype of two uniforms on [0, 1): what `stable` must not be."""
    angle, waiting = math.pi * (uniform - 0.5), -torch.log(other)
    size = torch.sin(alpha * angle) / torch.cos(angle) ** (1 / alpha)
    return size * (torch.cos((1 - alpha) * angle) / waiting) ** ((1 - alpha) / alpha)


def test_the_textbook_formula_is_not_finite_where_a_float32_uniform_is_zero() -> None:
    ends = torch.tensor([0.0, 0.3])  # torch.rand gives zero once in 2^24 draws
    assert not textbook_symmetric(1.75, ends[:1], ends[1:]).isfinite()
    assert textbook_symmetric(1.75, ends[1:], ends[1:]).isfinite()


CHUNK = 10**7
FAR_LEVELS = (1e-6, 1e-7)


def far_counts(draw_chunk, alpha: float, draws: int) -> tuple[int, list[int]]:
    """Of `draws` draws made by chunks: how many are not finite, and how many lie beyond each of FAR_LEVELS."""
    broken, counts = 0, [0] * len(FAR_LEVELS)
    for _ in range(draws // CHUNK):
        chunk = draw_chunk()
        broken += CHUNK - int(chunk.isfinite().sum())
        counts = [a + b for a, b in zip(counts, tail_counts(chunk, alpha, FAR_LEVELS), strict=True)]
    return broken, counts


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "draws"), [(1.75, 10**9), (1.3, 2 * 10**8), (1.0, 2 * 10**8), (2.0, 2 * 10**8)])
def test_a_billion_float32_draws_are_finite_and_right_at_the_far_quantiles(alpha: float, draws: int) -> None:
    stream = generator(70)
    broken, counts = far_counts(lambda: stable.symmetric(alpha, CHUNK, generator=stream), alpha, draws)
    print(f"alpha={alpha}: {draws} draws, {broken} not finite, beyond {FAR_LEVELS}: {counts}")
    assert broken == 0
    for count, level in zip(counts, FAR_LEVELS, strict=True):
        assert is_poisson(count, draws * level)


@pytest.mark.slow
def test_the_textbook_formula_in_float32_fails_the_same_test() -> None:
    stream, alpha, draws = generator(71), 1.75, 4 * 10**8

    def chunk() -> torch.Tensor:
        return textbook_symmetric(alpha, *torch.rand(2, CHUNK, generator=stream))

    broken, counts = far_counts(chunk, alpha, draws)
    print(f"textbook: {draws} draws, {broken} not finite, beyond {FAR_LEVELS}: {counts}")
    assert broken > 0  # 24 expected for each of the two uniforms


SAMPLERS = (stable.symmetric, stable.positive, stable.isotropic)


@pytest.mark.parametrize("draw", SAMPLERS)
@pytest.mark.parametrize(
    "size", [np.int64(4), np.int32(4), (np.int64(4), 3), [4, 3], torch.Size([4, 3]), (4, np.uint8(0))], ids=repr
)
def test_every_whole_number_is_a_size(draw: Callable[..., Tensor], size: Any) -> None:
    plain = tuple(int(n) for n in size) if isinstance(size, Sequence) else (int(size),)
    drawn = draw(0.7, size, generator=torch.Generator().manual_seed(1))
    assert torch.equal(drawn, draw(0.7, plain, generator=torch.Generator().manual_seed(1)))
    assert drawn.shape == plain


@pytest.mark.parametrize("draw", SAMPLERS)
@pytest.mark.parametrize("alpha", [np.float64(0.7), np.float32(0.5), Fraction(1, 2), np.array([0.5, 0.7])], ids=repr)
def test_an_index_may_be_a_number_of_any_kind_or_an_array(draw: Callable[..., Tensor], alpha: Any) -> None:
    plain = torch.tensor(alpha) if isinstance(alpha, np.ndarray) else float(alpha)
    drawn = draw(alpha, (2, 2), generator=torch.Generator().manual_seed(1))
    assert torch.equal(drawn, draw(plain, (2, 2), generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("draw", SAMPLERS)
@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"generator": None}, TypeError, r"^generator= is a torch.Generator with a seed of yours, got NoneType$"),
        ({"generator": 7}, TypeError, r"^generator= is a torch.Generator with a seed of yours, got int$"),
        ({"alpha": None}, TypeError, r"^the stability index alpha is a number, a tensor or an array, got NoneType$"),
        ({"alpha": [0.7, 0.8]}, TypeError, r"^the stability index alpha is a number, .* got list$"),
        ({"alpha": "0.7"}, TypeError, r"^the stability index alpha is a number, .* got str$"),
        ({"alpha": 0.5j}, TypeError, r"^the stability index alpha is a number, .* got complex$"),
        ({"alpha": torch.tensor(0.5j)}, TypeError, r"^the stability index alpha is real, got torch.complex64$"),
        ({"alpha": math.nan}, ValueError, r"^the stability index alpha must lie in \(0, [12][\])], got nan$"),
        ({"alpha": torch.tensor([0.5, math.nan])}, ValueError, r"^the stability index alpha must lie in .* got nan$"),
        ({"size": -1}, ValueError, r"^size holds no number below 0, got -1$"),
        ({"size": (2, -3)}, ValueError, r"^size holds no number below 0, got \(2, -3\)$"),
        ({"size": 2.0}, TypeError, r"^size is a whole number or a sequence of them, got 2.0$"),
        ({"size": (2, 2.5)}, TypeError, r"^size is a whole number or a sequence of them, got \(2, 2.5\)$"),
        ({"size": None}, TypeError, r"^size is a whole number or a sequence of them, got None$"),
        ({"size": "4"}, TypeError, r"^size is a whole number or a sequence of them, got '4'$"),
        ({"dtype": torch.int64}, ValueError, r"^stable draws are float32 or float64, not torch.int64"),
        ({"dtype": "float32"}, ValueError, r"^stable draws are float32 or float64, not float32"),
        ({"dtype": None}, ValueError, r"^stable draws are float32 or float64, not None"),
    ],
)
def test_what_no_draw_can_be_made_of_is_refused(
    draw: Callable[..., Tensor], change: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    asked: dict[str, Any] = {"alpha": 0.7, "size": (4, 2), "generator": torch.Generator().manual_seed(1), **change}
    with pytest.raises(error, match=sentence):
        draw(asked.pop("alpha"), asked.pop("size"), **asked)


@pytest.mark.parametrize("call", [stable.tail_constant, lambda alpha: stable.characteristic_function(alpha, 1.0)])
def test_what_is_known_of_the_laws_asks_for_one_number(call: Callable[[Any], object]) -> None:
    for alpha in (None, [1.5], "1.5"):
        with pytest.raises(TypeError, match=r"^the stability index alpha is a number"):
            call(alpha)
    for alpha in (0.0, -1.0, 2.1, math.nan):
        with pytest.raises(ValueError, match=r"alpha"):
            call(alpha)


def test_the_characteristic_function_takes_numbers_and_arrays() -> None:
    for u in (2.0, -2, np.array([2.0]), torch.tensor(2)):
        assert float(stable.characteristic_function(1.5, u)) == pytest.approx(math.exp(-(2**1.5)), rel=1e-6)


@pytest.mark.parametrize("alpha", [1e-320, 1e-300, 1e-9, 0.5, 1.0, 1.5, 1.999999, 2 - 2**-52])
def test_the_tail_constant_is_that_of_mpmath_at_every_index(alpha: float) -> None:
    with mpmath.workdps(50):
        a = mpmath.mpf(alpha)
        expected = float(2 * mpmath.gamma(a) * mpmath.sin(mpmath.pi * a / 2) / mpmath.pi)
    assert stable.tail_constant(alpha) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda g: stable.symmetric(np.array(["a"]), 1, generator=g), r"^the stability index alpha is real, got an ar"),
        (lambda g: stable.symmetric(10**400, 1, generator=g), r"^the stability index alpha must lie in .*, got inf$"),
        (lambda g: stable.characteristic_function(1.5, None), r"^u is a real number, .* not a NoneType$"),
        (lambda g: stable.characteristic_function(10**400, 1.0), r"alpha must lie in \(0, 2\], got inf$"),
        (lambda g: stable.tail_constant(10**400), r"^a power-law tail needs alpha in \(0, 2\), got inf: "),
    ],
)
def test_what_is_no_index_and_no_argument_is_told_in_one_sentence(call, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        call(torch.Generator())
