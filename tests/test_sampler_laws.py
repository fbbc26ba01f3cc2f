"""Kicks are their formula in float64 to a few last bits, and have the laws they name, far into the tail."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

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
    symmetric_points,
    symmetric_quantile,
    z_score,
)
from samplers import CPU, KEY, Sampler
from scipy import stats
from torch import Tensor

from heavytail._sampler import kernels, law, philox
from heavytail._sampler.law import Law
from heavytail._sampler.philox import CHUNK

MASK = 0x7FFFFFFF
COARSE = 1024  # below it an angle or an exponential gets finer digits
DRAWS = 10**6
INDICES = (0.5, 1.0, 1.3, 1.75, 1.9, 2.0)


# ---- accuracy


@dataclass(frozen=True)
class Pairs:
    """Pairs of words, each as a sign, an angle's share of π/2 and an exponential, in float64."""

    behind: np.ndarray
    last_bit: np.ndarray
    share: np.ndarray
    waiting: np.ndarray


def words(chunk: int) -> np.ndarray:
    """The pairs of a chunk of lane 0 at step 3, uint32 (2, CHUNK)."""
    both = np.empty((2, CHUNK), np.uint32)
    philox.words(chunk, 0, np.uint64(KEY), 3, *both)
    return both


def of_words(chunks: range | list[int]) -> Pairs:
    both = np.concatenate([words(chunk) for chunk in chunks], axis=1)
    size, digits = (both & MASK).astype(np.float64), np.full(both.shape, 0.5)
    for place in np.flatnonzero((size < COARSE).any(0)):
        more = philox.finer(chunks[place // CHUNK], 0, np.uint64(KEY), 3, place % CHUNK)
        digits[:, place] = np.where(size[:, place] < COARSE, more, 0.5)
    size += digits
    half = size[1] / 2**32
    waiting = np.where(both[1] > MASK, -np.log1p(-half), -np.log(half))
    return Pairs(both[0] > MASK, (both[0] & 1) == 1, size[0] / 2**31, waiting)


def symmetric_formula(alpha: float, pairs: Pairs) -> np.ndarray:
    """Chambers, Mallows and Stuck at |V| = π/2 (1 - share), as a sine from whichever end is nearer."""
    distance, angle = math.pi / 2 * pairs.share, math.pi / 2 * (1 - pairs.share)
    top, lean = (2 - alpha) * math.pi / 2 + alpha * distance, abs(1 - alpha)
    sine = np.sin(np.where((pairs.share < 0.5) & (alpha > 1), top, alpha * angle))
    ratio = np.sin((1 - lean) * math.pi / 2 + lean * distance) / pairs.waiting
    log_size = np.log(sine) + (1 - alpha) / alpha * np.log(ratio) - np.log(np.sin(distance)) / alpha
    return np.where(pairs.behind, -1, 1) * held(log_size)


def positive_formula(alpha: float, pairs: Pairs) -> np.ndarray:
    """Kanter at U = π/2 share, or at π less that."""
    distance = math.pi / 2 * pairs.share
    angle = np.where(pairs.behind, math.pi - distance, distance)
    ratio = np.sin((1 - alpha) * angle) / pairs.waiting
    return held(np.log(np.sin(alpha * angle)) + (1 - alpha) / alpha * np.log(ratio) - np.log(np.sin(distance)) / alpha)


def held(log_size: np.ndarray) -> np.ndarray:
    return np.exp(np.clip(log_size, -86.0, 88.722))


@cache
def chunks_with_coarse_pairs() -> list[int]:
    """Chunks of lane 0 among the first 10^4 in which a word lies below COARSE."""
    return [chunk for chunk in range(10_000) if ((words(chunk) & MASK) < COARSE).any()]


# Chunks of lane 0 with a word that is a border, a few among 10^10: a first word of 0, of 2^31 and of COARSE, and a
# second word of each.
BORDERS = {12892738: (0, 0), 1036120: (0, 2**31), 3612078: (0, COARSE)}
BORDERS |= {4494265: (1, 0), 5307213: (1, 2**31), 1479769: (1, COARSE)}
WHERE = {"everywhere": lambda: range(300), "where bits are few": chunks_with_coarse_pairs}


def drawn(of: Law, chunks: range | list[int]) -> np.ndarray:
    out = np.empty((len(chunks), CHUNK), np.float32)
    for row, chunk in zip(out, chunks, strict=True):
        kernels.stable(row, chunk * CHUNK, (chunk + 1) * CHUNK, np.float64(1), False, of, 0, np.uint64(KEY), 3)
    return out.reshape(-1).astype(np.float64)


def drawn_normals(chunks: range | list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The first and the second normal of each pair."""
    out = np.zeros((len(chunks), 2 * CHUNK), np.float32)
    for row, chunk in zip(out, chunks, strict=True):
        start = chunk * 2 * CHUNK
        kernels.normal(row, start, start + 2 * CHUNK, np.ones(1, np.float32), 2**62, 0, np.uint64(KEY), 3)
    first, second = out[:, :CHUNK], out[:, CHUNK:]
    return first.reshape(-1).astype(np.float64), second.reshape(-1).astype(np.float64)


def normal_formula(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Box and Muller."""
    radius, angle = np.sqrt(2 * pairs.waiting), math.pi / 2 * pairs.share
    along = np.where(pairs.behind, -1, 1) * radius * np.cos(angle)
    return along, np.where(pairs.last_bit, 1, -1) * radius * np.sin(angle)


def off(got: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.abs(got / wanted - 1)


def test_there_are_pairs_with_few_bits_to_test() -> None:
    chunks = chunks_with_coarse_pairs()
    few = np.concatenate([(words(chunk) & MASK) < COARSE for chunk in chunks], axis=1).sum(1)
    assert (few >= 2).all()  # several expected for angles and for exponentials; whether it holds is fixed by KEY
    # Normals of a 24-bit uniform would end at this exponential, 5.77 deviations.
    assert of_words(chunks).waiting.max() > 24 * math.log(2)


@pytest.mark.parametrize("alpha", [1e-9, 0.3, 0.48, 0.5, 0.52, 0.7, 1.0, 1.3, 1.999])
def test_no_offset_of_an_angle_lies_beyond_the_top_of_the_sine(alpha: float) -> None:
    for of in (law.symmetric(alpha), law.positive(min(alpha, 1 - alpha / 2)), law.root(alpha / 2)):
        for side in (of.near, of.far):
            assert 0 <= side.u_offset <= math.pi / 2
            assert 0 <= side.v_offset <= math.pi / 2


def test_there_is_a_pair_at_every_border_to_test() -> None:
    for chunk, (which, border) in BORDERS.items():
        assert (words(chunk)[which] == border).sum() == 1


def test_pairs_with_few_bits_get_different_digits() -> None:
    digits = np.array([philox.finer(0, 0, np.uint64(KEY), 3, j) for j in range(10_000)])
    assert ((digits > 0) & (digits < 1)).all()
    assert len(np.unique(digits)) > digits.size - 10  # 0.05 equal pairs expected
    assert np.abs(digits.mean(0) - 0.5).max() < 5 / math.sqrt(12 * 10_000)  # false alarm 1.2e-6


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.8, 1 - 1e-9, 1.0, 1 + 1e-9, 1.3, 1.75, 1.99, 2 - 1e-9, 2.0])
def test_symmetric_draws_are_their_formula_in_float64(alpha: float, where: str) -> None:
    chunks = WHERE[where]()
    pairs = of_words(chunks)
    wanted = symmetric_formula(alpha, pairs)
    error = off(drawn(law.symmetric(alpha), chunks), wanted)
    assert error.max() < 1.5e-6 / min(alpha, 1)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.5, 0.65, 0.875, 0.95, 0.99])
def test_positive_draws_are_their_formula_in_float64(alpha: float, where: str) -> None:
    chunks = WHERE[where]()
    error = off(drawn(law.positive(alpha), chunks), positive_formula(alpha, of_words(chunks)))
    assert error.max() < 1.5e-6 / alpha


@pytest.mark.parametrize("where", WHERE)
def test_normals_are_their_formula_in_float64(where: str) -> None:
    chunks = WHERE[where]()
    pairs = of_words(chunks)
    (first, second), (along, across) = drawn_normals(chunks), normal_formula(pairs)
    assert (off(first, along) * (1 - pairs.share)).max() < 1e-6
    assert off(second, across).max() < 1e-6


def test_draws_are_their_formula_where_a_word_is_a_border() -> None:
    pairs, chunks = of_words(list(BORDERS)), list(BORDERS)
    few = np.concatenate([(words(chunk)[which] == border) for chunk, (which, border) in BORDERS.items()])
    for alpha in (0.6, 1.3, 2.0):
        assert off(drawn(law.symmetric(alpha), chunks), symmetric_formula(alpha, pairs))[few].max() < 1e-5
    for alpha in (0.3, 0.8):
        assert off(drawn(law.positive(alpha), chunks), positive_formula(alpha, pairs))[few].max() < 1e-5
    for got, wanted in zip(drawn_normals(chunks), normal_formula(pairs), strict=True):
        assert off(got, wanted)[few].max() < 1e-5


def test_the_short_series_are_those_of_the_textbook() -> None:
    def rounded(*values: float) -> tuple[np.float32, ...]:
        return tuple(np.float32(value) for value in values)

    assert rounded(1 / 6227020800, -1 / 39916800, 1 / 362880, -1 / 5040, 1 / 120, -1 / 6) == kernels._SIN
    assert rounded(1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6) == kernels._EXP
    assert rounded(2 / 9, 2 / 7, 2 / 5, 2 / 3) == kernels._ATANH
    assert rounded(1.4426950408889634, 1.4142135623730951) == (kernels._LOG2E, kernels._ROOT2)
    assert float(kernels._LN2_HIGH) * 2**9 == 355  # so that 88 * 2 times it has no digit too many
    for high, low in ((kernels._LN2, kernels._LN2_LOW), (kernels._LN2_HIGH, kernels._LN2_REST)):
        assert abs(float(high) + float(low) - math.log(2)) < 1e-11
    # The largest size of a draw is finite and the smallest is above 0, with less than a thousandth left on either side.
    assert math.log(np.finfo(np.float32).max) - 0.001 < kernels._LARGEST < math.log(np.finfo(np.float32).max)
    assert math.log(np.finfo(np.float32).tiny) < kernels._SMALLEST


def horner(coefficients: tuple[np.float32, ...], z: np.ndarray) -> np.ndarray:
    """A polynomial of the highest power first, in float32."""
    value = coefficients[0]
    for coefficient in coefficients[1:]:
        value = value * z + coefficient
    return value


def plain(loop: Callable[..., None]) -> Callable[..., None]:
    """A loop as plain Python, which rounds alike on every processor."""
    return getattr(loop, "py_func", loop)


def test_the_sine_is_its_series_to_the_last_bit() -> None:
    z = np.linspace(0, math.pi / 2, 2000, dtype=np.float32)
    wanted = z + z * (z * z) * horner(kernels._SIN, z * z)
    assert [plain(kernels._sin_of_acute)(angle) for angle in z] == wanted.tolist()


def test_the_logarithm_is_its_series_to_the_last_bit() -> None:
    x = np.exp(np.linspace(-60, 60, CHUNK)).astype(np.float32)
    m, e = (part.astype(np.float32) for part in np.frexp(x))
    m, e = np.where(2 * m > kernels._ROOT2, m, 2 * m), np.where(2 * m > kernels._ROOT2, e, e - 1)
    s = (m - kernels._ONE) / (m + kernels._ONE)
    wanted = e * kernels._LN2 + (s * (horner(kernels._ATANH, s * s) * (s * s) + 2) + e * kernels._LN2_LOW)
    out = np.empty(CHUNK, np.float32)
    plain(kernels._log)(x, x.view(np.int32), out)
    assert out.dtype == wanted.dtype
    assert out.tolist() == wanted.tolist()


def test_the_exponential_is_its_series_to_the_last_bit() -> None:
    v = np.linspace(-85, 88, CHUNK, dtype=np.float32)
    k = np.rint(v * kernels._LOG2E)
    r = (v - k * kernels._LN2_HIGH) - k * kernels._LN2_REST
    one, half = kernels._ONE, kernels._HALF
    wanted = np.ldexp(horner((*kernels._EXP, half, one, one), r), k.astype(np.int32))
    out = np.empty(CHUNK, np.float32)
    plain(kernels._exp)(v, out.view(np.int32), out)
    assert out.dtype == wanted.dtype
    assert out.tolist() == wanted.tolist()


# ---- laws, of whoever draws: `test_gpu_laws.py` asks them of the kernels of a GPU too


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.8, 0.95, 1.05, 1.99, *INDICES])
@pytest.mark.long
def test_symmetric_kicks_follow_the_law(alpha: float, sampler: Sampler) -> None:
    draws = sampler.symmetric(alpha, sampler.draws(DRAWS))
    assert draws.dtype == torch.float32
    assert follows_symmetric(draws, alpha)


@pytest.mark.parametrize("alpha", INDICES)
@pytest.mark.long
def test_the_test_rejects_a_neighbouring_law(alpha: float, sampler: Sampler) -> None:
    size, apart = sampler.draws(DRAWS), 0.1 * sampler.off
    for wrong in (alpha - apart, *([alpha + apart] if alpha + apart <= 2 else [])):
        assert not follows_symmetric(sampler.symmetric(wrong, size), alpha)
    draws = sampler.symmetric(alpha, size)
    assert not follows_symmetric(draws * (1 - apart / 2), alpha)
    assert not follows_symmetric(draws * (1 + apart / 2), alpha)


def test_at_two_a_kick_is_normal_and_at_one_it_is_cauchy(sampler: Sampler) -> None:
    size = sampler.draws(DRAWS)
    assert follows_continuous(sampler.symmetric(2.0, size), stats.norm(scale=2**0.5).cdf, symmetric_points(2.0))
    assert follows_continuous(sampler.symmetric(1.0, size), stats.cauchy.cdf, symmetric_points(1))
    assert not follows_continuous(sampler.symmetric(2.0, size), stats.norm.cdf, symmetric_points(2.0))


@pytest.mark.parametrize("alpha", INDICES)
def test_signs_of_far_kicks_are_fair(alpha: float, sampler: Sampler) -> None:
    draws, border = sampler.symmetric(alpha, sampler.draws(DRAWS)), symmetric_quantile(alpha, 1e-2)
    for values, fair in ((draws, True), (draws + border / 2, False)):
        far = values[values.abs() > border]
        assert is_fair(int((far > 0).sum()), len(far)) == fair


def tail_counts(draws: Tensor, alpha: float, levels: tuple[float, ...]) -> list[int]:
    """How many draws lie beyond each two-sided quantile."""
    size = draws.abs()
    return [int((size > symmetric_quantile(alpha, level)).sum()) for level in levels]


@pytest.mark.parametrize("alpha", INDICES)
@pytest.mark.parametrize("noise", ["entrywise", "isotropic"])
def test_as_many_kicks_lie_in_the_tail_as_the_law_says(noise: str, alpha: float, sampler: Sampler) -> None:
    # Isotropic entries of one unit are large together, so each unit has one.
    levels, draws = (1e-3, 1e-4, 1e-5), sampler.draws(2 * DRAWS)
    one = noise == "entrywise"
    entries = sampler.symmetric(alpha, draws) if one else sampler.kicked("isotropic", (draws, 1), alpha)
    for count, level in zip(tail_counts(entries, alpha, levels), levels, strict=True):
        assert is_poisson(count, draws * level)


@pytest.mark.parametrize("alpha", INDICES)
def test_the_tail_test_rejects_an_index_off_by_a_tenth(alpha: float, sampler: Sampler) -> None:
    size = sampler.draws(2 * DRAWS)
    levels = tuple(level for level in (1e-3, 1e-4) if size * level > 100)
    draws = sampler.symmetric(alpha - 0.1 * sampler.off, size)
    for count, level in zip(tail_counts(draws, alpha, levels), levels, strict=True):
        assert not is_poisson(count, size * level)


@pytest.mark.parametrize("alpha", INDICES)
def test_the_mean_of_cosines_is_the_characteristic_function(alpha: float, sampler: Sampler) -> None:
    draws = sampler.symmetric(alpha, sampler.draws(DRAWS)).double()
    for u in (0.2, 1.0, 2.0):
        phi, double = math.exp(-(u**alpha)), math.exp(-((2 * u) ** alpha))
        assert abs(z_score(torch.cos(u * draws), phi, (1 + double) / 2 - phi**2)) < GAUSS_LIMIT
        stretched = torch.cos((1 + 0.05 * sampler.off) * u * draws)
        assert abs(z_score(stretched, phi, (1 + double) / 2 - phi**2)) > GAUSS_LIMIT


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_positive_kicks_have_the_laplace_transform(alpha: float, sampler: Sampler) -> None:
    size = sampler.draws(DRAWS)
    draws, wrong = (sampler.positive(index, size).double() for index in (alpha, 0.4 if alpha == 0.5 else 0.5))
    for s in (0.1, 0.5, 2.0, 5.0):
        mean = math.exp(-(s**alpha))
        variance = math.exp(-((2 * s) ** alpha)) - mean**2
        assert abs(z_score(torch.exp(-s * draws), mean, variance)) < GAUSS_LIMIT
        assert abs(z_score(torch.exp(-s * wrong), mean, variance)) > GAUSS_LIMIT
        if s == 2.0 and alpha >= 0.3:
            stretched = torch.exp(-s * (1 + 0.05 * sampler.off) * draws)
            assert abs(z_score(stretched, mean, variance)) > GAUSS_LIMIT


def test_at_one_half_the_positive_law_is_levys(sampler: Sampler) -> None:
    law, points = stats.levy(scale=0.5), stats.levy(scale=0.5).ppf(np.linspace(0.001, 0.999, 400))
    draws = sampler.positive(0.5, sampler.draws(DRAWS))
    assert follows_continuous(draws, law.cdf, points)
    assert not follows_continuous(draws * (1 + 0.05 * sampler.off), law.cdf, points)


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.65, 0.875, 0.95])
@pytest.mark.long
def test_positive_kicks_follow_the_positive_law(alpha: float, sampler: Sampler) -> None:
    points = np.exp(np.linspace(-6, 20 if alpha > 0.2 else 80, 400))
    draws = sampler.positive(alpha, sampler.draws(DRAWS))
    assert follows(draws, points, positive_cdf(alpha, points))
    assert not follows(draws, points, positive_cdf(alpha + 0.04, points))


@pytest.mark.parametrize("alpha", [0.5, 0.875])
def test_as_many_positive_kicks_are_large_and_small_as_the_law_says(alpha: float, sampler: Sampler) -> None:
    size = sampler.draws(2 * DRAWS)
    draws, wrong = sampler.positive(alpha, size), sampler.positive(alpha - 0.1 * sampler.off, size)
    rejected = 0
    sizes = np.exp(np.linspace(-4, 30, 69))
    for x, below in zip(sizes, positive_cdf(alpha, sizes), strict=True):
        for share, far in ((below, lambda s, x=x: s <= x), (1 - below, lambda s, x=x: s > x)):
            if 1e-8 < share < 1e-3:
                assert is_poisson(int(far(draws).sum()), size * share)
                rejected += not is_poisson(int(far(wrong).sum()), size * share)
    assert rejected


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5, 1.75, 2.0])
@pytest.mark.long
def test_every_projection_of_an_isotropic_kick_is_symmetric_of_scale_one(alpha: float, sampler: Sampler) -> None:
    vectors = sampler.kicked("isotropic", (sampler.draws(200_000), 3), alpha).double()
    random = torch.randn(2, 3, generator=torch.Generator().manual_seed(31), dtype=torch.float64)
    for direction in (*torch.eye(3).double(), torch.ones(3).double(), torch.tensor([1.0, -1, 0]).double(), *random):
        assert follows_symmetric(vectors @ (direction / direction.norm()), alpha)
    assert not follows_symmetric(vectors[:, 0] / 2**0.5, alpha)


@pytest.mark.parametrize("alpha", [0.8, 1.5, 1.75])
def test_the_projection_test_rejects_independent_entries(alpha: float, sampler: Sampler) -> None:
    entries = sampler.kicked("entrywise", (sampler.draws(300_000), 3), alpha)
    assert not follows_symmetric(entries.sum(1) / 3**0.5, alpha)


@pytest.mark.parametrize("alpha", [0.8, 1.5, 1.9, 2.0])
def test_isotropic_kicks_have_a_characteristic_function_of_the_norm_alone(alpha: float, sampler: Sampler) -> None:
    vectors = sampler.kicked("isotropic", (sampler.draws(300_000), 4), alpha).double()
    for u in torch.randn(6, 4, generator=torch.Generator().manual_seed(35), dtype=torch.float64) / 2:
        phi, double = (math.exp(-(float(v.norm()) ** alpha)) for v in (u, 2 * u))
        assert abs(z_score(torch.cos(vectors @ u), phi, (1 + double) / 2 - phi**2)) < GAUSS_LIMIT
        assert abs(z_score(torch.cos(1.1 * (vectors @ u)), phi, (1 + double) / 2 - phi**2)) > GAUSS_LIMIT


def test_isotropic_kicks_are_spread_evenly_over_directions(sampler: Sampler) -> None:
    def heights(kind: str) -> tuple[Tensor, Tensor]:
        """Uniform on (-1, 1) on the sphere in three dimensions: of all, and of the far half."""
        vectors = sampler.kicked(kind, (sampler.draws(300_000), 3), 1.2).double()
        norms = vectors.norm(dim=1)
        return vectors[:, 2] / norms, (vectors[:, 2] / norms)[norms > norms.median()]

    points = np.linspace(-0.99, 0.99, 199)
    for right, wrong in zip(heights("isotropic"), heights("entrywise"), strict=True):
        assert follows_continuous(right, stats.uniform(-1, 2).cdf, points)
        assert not follows_continuous(wrong, stats.uniform(-1, 2).cdf, points)


def test_the_two_normals_of_a_pair_are_independent(sampler: Sampler) -> None:
    rows = sampler.draws(400 * CHUNK) // CHUNK
    halves = sampler.kicked("isotropic", (rows, 2 * CHUNK), 2.0).double().unflatten(1, (2, CHUNK))
    along, across = (half.flatten() for half in halves.unbind(1))
    for angle in (0.0, math.pi / 2, math.pi / 4, -math.pi / 4, 1.1):
        assert follows_symmetric(math.cos(angle) * along + math.sin(angle) * across, 2.0)
    assert not follows_symmetric((along + along.abs() * across.sign()) / 2**0.5, 2.0)  # of one size
    assert is_fair(int((along * across > 0).sum()), len(along))
    squares = (along.square() + across.square()) / 2  # chi squared of two degrees
    points = stats.chi2(2).ppf(np.linspace(0.001, 0.999, 400))
    assert follows_continuous(squares, stats.chi2(2).cdf, points)
    assert not follows_continuous(along.square(), stats.chi2(2).cdf, points)


def test_at_one_the_squared_isotropic_norm_is_fisher_distributed(sampler: Sampler) -> None:
    norms = sampler.kicked("isotropic", (sampler.draws(300_000), 3), 1.0).double().square().sum(1)
    points = stats.f(3, 1).ppf(np.linspace(0.001, 0.999, 400))
    assert follows_continuous(norms / 3, stats.f(3, 1).cdf, points)
    assert not follows_continuous(norms / 3, stats.f(2, 1).cdf, points)


@pytest.mark.parametrize("alpha", [1e-300, 1e-46, 1e-9, 1e-3, 0.01, 0.05, 1 - 1e-9, 1 - 2**-53, 1.0, 2 - 2**-52, 2.0])
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # an interpreter says it
def test_kicks_at_extreme_indices_are_finite(alpha: float, sampler: Sampler) -> None:
    assert sampler.symmetric(alpha, 30_000).isfinite().all()
    assert sampler.kicked("isotropic", (10_000, 3), alpha).isfinite().all()
    if alpha < 1:
        draws = sampler.positive(alpha, 30_000)
        assert draws.isfinite().all()
        assert (draws > 0).all()


# ---- a billion draws

FAR_LEVELS, BATCH = (1e-6, 1e-7), 10**7


def far_counts(batch: Callable[[int], Tensor], alpha: float, draws: int) -> tuple[int, list[int]]:
    """Of `draws` draws made by batches: how many are not finite, and how many lie beyond each of FAR_LEVELS."""
    broken, counts = 0, np.zeros(len(FAR_LEVELS), int)
    for number in range(draws // BATCH):
        values = batch(number)
        broken += BATCH - int(values.isfinite().sum())
        counts += tail_counts(values, alpha, FAR_LEVELS)
    print(f"alpha={alpha}: {draws} draws, {broken} not finite, beyond {FAR_LEVELS}: {counts.tolist()}")
    return broken, counts.tolist()


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "draws"), [(1.75, 10**9), (1.3, 2 * 10**8), (1.0, 2 * 10**8), (2.0, 2 * 10**8)])
def test_a_billion_kicks_are_finite_and_right_at_the_far_quantiles(alpha: float, draws: int) -> None:
    broken, counts = far_counts(lambda step: CPU.symmetric(alpha, BATCH, step=step), alpha, draws)
    assert broken == 0
    assert all(is_poisson(count, draws * level) for count, level in zip(counts, FAR_LEVELS, strict=True))


@pytest.mark.slow
def test_isotropic_kicks_at_two_are_finite_and_right_at_the_far_quantiles() -> None:
    draws = 2 * 10**8
    broken, counts = far_counts(lambda step: CPU.kicked("isotropic", (BATCH // 1000, 1000), 2.0, step=step), 2.0, draws)
    assert broken == 0
    assert all(is_poisson(count, draws * level) for count, level in zip(counts, FAR_LEVELS, strict=True))
