"""The laws of pruning hold for drawn columns, and do not hold for the neighbouring index, scale or noise.

Each check that can fail by chance does so with probability at most 1e-6 (goodness_of_fit); there are about 40. Seeds
are fixed. How far off a law may be before its test sees it is written beside each test.
"""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from functools import cache

import mpmath
import numpy as np
import pytest
import torch
from goodness_of_fit import FALSE_ALARM, GAUSS_LIMIT, follows_continuous, is_poisson, positive_cdf, symmetric_survival
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from heavytail import laws, noise, stable
from heavytail.laws import LimitLaw, columns
from heavytail.laws._positive import Side, positive_law

INDICES = (1.2, 1.5, 1.75)
KEEP = 0.1
# Columns n and repeats, enough for the law of the error at each index to reject a scale that is off by 5%.
SIZES = {1.2: (2000, 12_000), 1.5: (2000, 4000), 1.75: (20_000, 1000)}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def squared_errors(
    kind: str, alpha: float, inputs: int, columns: int, repeats: int, seed: int, spread: float = 0.0
) -> torch.Tensor:
    """Squared relative errors of drawn columns plus Gaussian entries of this spread, a tenth of the columns kept."""
    stream, found = generator(seed), []
    at_once = max(1, 1_000_000 // (columns * inputs))
    gone = columns - round(KEEP * columns)
    for done in range(0, repeats, at_once):
        shape = (min(at_once, repeats - done), columns, inputs)
        drawn = noise.vectors(alpha, kind, shape, generator=stream)
        if spread:
            drawn = drawn + spread * torch.randn(shape, generator=stream)
        squares = np.partition(drawn.double().square().sum(-1).numpy(), gone, axis=-1)
        found.append(squares[:, :gone].sum(-1) / squares.sum(-1))
    return torch.from_numpy(np.concatenate(found))


@cache
def type_one_errors(alpha: float) -> torch.Tensor:
    return squared_errors("shared", alpha, 1, *SIZES[alpha], seed=1)


def agrees(squared: torch.Tensor, columns: int, law: LimitLaw) -> bool:
    """Whether squared errors of so many columns follow the limit law: its rate and its constants at once."""
    points = np.geomspace(law.quantile(0.001), law.quantile(0.999), 200)
    return follows_continuous(squared * columns ** (2 / law.alpha - 1), law.cdf, points)


def rescaled(law: LimitLaw, factor: float) -> LimitLaw:
    """The law of columns whose tail belongs to a scale `factor` times that of their bulk."""
    return LimitLaw(law.alpha, law.bulk, law.tail * factor**law.alpha)


def is_binomial(count: int, tosses: int, probability: float) -> bool:
    return bool(stats.binomtest(count, tosses, probability).pvalue > FALSE_ALARM)


# ---- the positive stable law


def below(alpha: float, x: np.ndarray) -> np.ndarray:
    law = positive_law(alpha)
    return law.of("below", law.power * np.log(x))


def quantile(alpha: float, probability: float) -> float:
    law = positive_law(alpha)
    return math.exp(law.quantile("below", probability) / law.power)


def test_at_one_half_the_positive_law_is_levys() -> None:
    x = np.geomspace(1e-3, 1e12, 200)
    levy, law = 0.5 / np.sqrt(x), positive_law(0.5)
    np.testing.assert_allclose(below(0.5, x), special.erfc(levy), rtol=1e-11)
    np.testing.assert_allclose(law.of("above", np.log(x)), special.erf(levy), rtol=1e-11)
    np.testing.assert_allclose(law.of("density", np.log(x)), levy * np.exp(-(levy**2)) / math.sqrt(math.pi), rtol=1e-11)


@pytest.mark.parametrize("alpha", [0.02, 0.2, 0.4, 0.6, 0.75, 0.875])
def test_the_positive_law_agrees_with_the_reference(alpha: float) -> None:
    x = np.geomspace(1e-3, 1e8, 300)
    np.testing.assert_allclose(below(alpha, x), positive_cdf(alpha, x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.75, 0.95, 0.995, 0.9995])
def test_the_tail_of_the_positive_law_is_that_of_its_power_series(alpha: float) -> None:
    # P(S > x) = Σ (-1)^(k+1) Γ(kα) sin(πkα) x^(-kα) / (π k!), summed in 60 digits: no quadrature, no Kanter.
    law = positive_law(alpha)
    with mpmath.workdps(60):
        a = mpmath.mpf(alpha)
        for log_x in (1.0, 3.0, 20.0):
            terms = (
                (-1) ** (k + 1) * mpmath.gamma(k * a) * mpmath.sinpi(k * a) * mpmath.exp(-k * a * log_x) / mpmath.fac(k)
                for k in range(1, 200)
            )
            expected = float(mpmath.fsum(terms) / mpmath.pi)
            assert float(law.of("above", law.power * log_x)) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("alpha", [0.3, 0.6, 0.75, 0.875, 0.95])
def test_positive_draws_follow_the_positive_law(alpha: float) -> None:
    draws = stable.positive(alpha, 200_000, generator=generator(2), dtype=torch.float64)
    points = np.geomspace(quantile(alpha, 0.001), quantile(alpha, 0.95), 200)

    def law(at: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: below(at, x)

    assert follows_continuous(draws, law(alpha), points)
    assert not follows_continuous(draws, law(alpha - 0.02), points)
    assert not follows_continuous(draws, law(alpha + 0.02), points)
    assert not follows_continuous(draws * 1.05, law(alpha), points)


@pytest.mark.parametrize("alpha", [1e-30, 0.005, 0.1, 0.5, 0.75, 0.95, 1 - 1e-7, 1 - 2**-53])
@pytest.mark.parametrize("probability", [1e-290, 1e-16, 1e-6, 0.3, 0.9, 1 - 2**-53])
def test_a_positive_quantile_inverts_the_law_from_either_side(alpha: float, probability: float) -> None:
    law = positive_law(alpha)
    sides: tuple[Side, Side] = ("below", "above")
    for side, other in (sides, sides[::-1]):
        y = law.quantile(side, probability)
        assert probability <= 0.5 or y == law.quantile(other, 1 - probability)
        if y < law.far:
            assert float(law.of(side, y)) == pytest.approx(probability, rel=1e-10)
            assert float(law.of(other, y)) == pytest.approx(1 - probability, rel=1e-10)


# ---- the tail constant


def isotropic_survival(alpha: float, inputs: int, x: float) -> float:
    """P(‖ξ‖ > x) exactly: the law of the positive variable, averaged over the logarithm of χ²_d / 2."""
    t, step = np.linspace(-60, 7, 1000, retstep=True)
    weight = np.exp(inputs / 2 * t - np.exp(t) - special.gammaln(inputs / 2)) * step
    t, weight = t[weight > 1e-22], weight[weight > 1e-22]  # all of the others are lost in rounding
    return float((1 - positive_cdf(alpha / 2, x**2 / (4 * np.exp(t)))) @ weight)


def shared_survival(alpha: float, inputs: int, x: float) -> float:
    return 2 * float(symmetric_survival(alpha, x / math.sqrt(inputs)))


SURVIVAL = {"isotropic": isotropic_survival, "shared": shared_survival}


def size_at(alpha: float, kind: str, inputs: int, level: float) -> float:
    """The size that a norm exceeds with probability `level`, by the tail constant."""
    return (laws.tail_constant(alpha, kind, inputs) / level) ** (1 / alpha)


def norms(kind: str, alpha: float, inputs: int, draws: int) -> torch.Tensor:
    stream, found = generator(3), []
    for _ in range(draws // 200_000):
        entries = noise.vectors(alpha, kind, (200_000, inputs), generator=stream)
        found.append((entries if inputs == entries.shape[-1] else entries.expand(-1, inputs)).double().norm(dim=-1))
    return torch.cat(found)


@pytest.mark.parametrize("alpha", [0.5, 1.0, *INDICES, 1.95])
def test_one_entry_has_one_tail_constant(alpha: float) -> None:
    one = stable.tail_constant(alpha)
    for kind in noise.NOISES:
        assert laws.tail_constant(alpha, kind, 1) == pytest.approx(one, rel=1e-12)
        assert laws.tail_constant(alpha, kind, 3) > 1.1 * one


@pytest.mark.parametrize("inputs", [1, 3, 50])
@pytest.mark.parametrize("alpha", [0.7, *INDICES])
@pytest.mark.parametrize("kind", ["isotropic", "shared"])
@pytest.mark.long
def test_the_tail_constant_is_the_limit_of_the_exact_tail(kind: str, alpha: float, inputs: int) -> None:
    near, far = (size_at(alpha, kind, inputs, level) for level in (1e-3, 1e-5))
    near_off, far_off = (SURVIVAL[kind](alpha, inputs, x) * x**alpha for x in (near, far))
    constant = laws.tail_constant(alpha, kind, inputs)
    assert far_off == pytest.approx(constant, rel=2e-4)  # a scale off by 1% would be 50 times that
    assert abs(far_off - constant) <= abs(near_off - constant)


@pytest.mark.parametrize("alpha", INDICES)
@pytest.mark.parametrize(("kind", "neighbour"), [("isotropic", "shared"), ("shared", "isotropic")])
@pytest.mark.long
def test_as_many_norms_lie_in_the_tail_as_the_exact_law_says(kind: str, neighbour: str, alpha: float) -> None:
    # 1e6 draws see 2.5% of this tail. It is not yet the power law: its second term is a few per cent.
    draws, x = 1_000_000, size_at(alpha, kind, 10, 4e-2)
    size = norms(kind, alpha, 10, draws)

    def fits(law: str, index: float, factor: float = 1.0) -> bool:
        return is_poisson(int((size > x).sum()), draws * SURVIVAL[law](index, 10, x / factor))

    assert fits(kind, alpha)
    assert not fits(neighbour, alpha)
    assert not fits(kind, alpha - 0.1)
    assert not fits(kind, alpha + 0.1)
    assert not fits(kind, alpha, 1.05)
    assert not fits(kind, alpha, 0.95)


@pytest.mark.parametrize("alpha", INDICES)
def test_as_many_entrywise_norms_lie_in_the_tail_as_the_constant_says(alpha: float) -> None:
    # No exact law here. 4e5 draws see 8% of this tail, and the scale enters with the power alpha.
    draws, x = 400_000, size_at(alpha, "entrywise", 10, 1e-2)
    size = norms("entrywise", alpha, 10, draws)

    def fits(kind: str, index: float, factor: float = 1.0) -> bool:
        constant = laws.tail_constant(index, kind, 10)
        return is_poisson(int((size > x).sum()), draws * constant * (factor / x) ** index)

    assert fits("entrywise", alpha)
    assert not fits("shared", alpha)
    assert not fits("isotropic", alpha)
    assert not fits("entrywise", alpha - 0.1)
    assert not fits("entrywise", alpha + 0.1)
    assert not fits("entrywise", alpha, 1.1)
    assert not fits("entrywise", alpha, 0.9)


# ---- the bulk


@pytest.mark.parametrize("keep", [0.1, 0.4])
@pytest.mark.parametrize("alpha", INDICES)
def test_the_bulk_agrees_with_scipys_density(alpha: float, keep: float) -> None:
    # SciPy's distribution function gives the quantile, its density the integral; its parametrisation S1, no skew.
    q = stats.levy_stable.ppf(1 - keep / 2, alpha, 0)
    half = integrate.quad(lambda x: x**2 * stats.levy_stable.pdf(x, alpha, 0), 0, q, epsabs=1e-7)[0]
    for kind in noise.NOISES:
        assert laws.bulk(alpha, keep, kind) == pytest.approx(2 * half, rel=1e-5)
    assert laws.bulk(alpha, keep, "shared", 7) == pytest.approx(14 * half, rel=1e-5)


@pytest.mark.parametrize("alpha", INDICES)
@pytest.mark.parametrize(("kind", "inputs"), [("shared", 5), ("isotropic", 3), ("isotropic", 10)])
@pytest.mark.long
def test_the_bulk_is_that_of_drawn_norms(kind: str, inputs: int, alpha: float) -> None:
    sample = norms(kind, alpha, inputs, 400_000)
    held = laws.bulk_of(sample, KEEP)
    capped = sample.clamp(max=float(sample.quantile(1 - KEEP))).square()
    error = float(capped.std()) / math.sqrt(len(sample))  # the influence of one norm on bulk_of: its capped square
    assert abs(held - laws.bulk(alpha, KEEP, kind, inputs)) < GAUSS_LIMIT * error
    assert abs(held - laws.bulk(alpha + 0.1, KEEP, kind, inputs)) > GAUSS_LIMIT * error
    assert abs(held - laws.bulk(alpha - 0.1, KEEP, kind, inputs)) > GAUSS_LIMIT * error
    assert abs(held - laws.bulk(alpha, KEEP, kind, inputs) * 1.02**2) > GAUSS_LIMIT * error  # a scale off by 2%


def test_the_bulk_of_a_sample_leaves_out_the_largest_share() -> None:
    sample = torch.tensor([[3.0, -1.0], [100.0, 2.0], [0.0, 1.0], [2.0, 4.0], [-5.0, 1.0]])
    assert laws.bulk_of(sample, 0.1) == pytest.approx((9 + 1 + 4 + 0 + 1 + 4 + 16 + 25 + 1) / 10)
    assert laws.bulk_of(sample, 0.5) == pytest.approx((1 + 0 + 1 + 4 + 1) / 10)  # which of the ties does not matter


@pytest.mark.parametrize("inputs", [1, 10, 784])
@pytest.mark.parametrize("keep", [1e-12, 0.1, 0.9, 0.9999])
def test_at_index_one_the_bulk_is_that_of_cauchy_vectors(keep: float, inputs: int) -> None:
    # Their squared norm is χ²_d over χ²_1, so R²/(1+R²) is a beta variable: in 40 digits, by no quadrature of ours.
    with mpmath.workdps(40):
        top = mpmath.mpf(special.betaincinv(0.5, inputs / 2, keep))  # 1 - R²/(1+R²) at the quantile
        a = mpmath.mpf(inputs) / 2
        held = mpmath.betainc(a + 1, mpmath.mpf(-1) / 2, 0, 1 - top) / mpmath.beta(a, 0.5)
    assert laws.bulk(1.0, keep, "isotropic", inputs) == pytest.approx(float(held), rel=1e-9)


# ---- the limit law


def test_draws_of_the_limit_law_follow_its_distribution_function() -> None:
    for alpha in INDICES:
        law = laws.limit_law(alpha, KEEP)
        draws = law.draw(200_000, generator=generator(4))
        assert draws.dtype == torch.float64
        assert agrees(draws, 1, law)
        assert not agrees(draws, 1, laws.limit_law(alpha + 0.1, KEEP))
        assert not agrees(draws, 1, rescaled(law, 1.02))


@pytest.mark.parametrize("alpha", [0.5, *INDICES, 1.9])
def test_the_limit_laws_quantile_inverts_its_distribution_function(alpha: float) -> None:
    law = LimitLaw(alpha, 2.0, 0.3)
    for probability in (0.001, 0.1, 0.5, 0.9, 0.999):
        assert law.cdf(law.quantile(probability)) == pytest.approx(probability, abs=1e-10)
    assert np.all(np.diff(law.cdf(np.geomspace(0.01, 10, 50) * law.quantile(0.5))) >= 0)


def test_type_one_noise_has_one_limit_law_in_every_dimension() -> None:
    for alpha in INDICES:
        one, many = laws.limit_law(alpha, KEEP), laws.limit_law(alpha, KEEP, "shared", 784)
        assert many.quantile(0.3) == pytest.approx(one.quantile(0.3), rel=1e-9)
        assert many.bulk == pytest.approx(784 * one.bulk, rel=1e-9)


@pytest.mark.parametrize("alpha", INDICES)
@pytest.mark.long
def test_pruning_errors_of_drawn_columns_follow_the_limit_law(alpha: float) -> None:
    assert agrees(type_one_errors(alpha), SIZES[alpha][0], laws.limit_law(alpha, KEEP))


@pytest.mark.parametrize("alpha", INDICES)
@pytest.mark.long
def test_the_law_of_the_error_rejects_an_index_off_by_a_tenth(alpha: float) -> None:
    for wrong in (alpha - 0.1, alpha + 0.1):
        assert not agrees(type_one_errors(alpha), SIZES[alpha][0], laws.limit_law(wrong, KEEP))
        # The constants of the wrong index at the right rate: the gap is about 0.11 at 1.2, against a limit of 0.025.
        law, gain = laws.limit_law(wrong, KEEP), SIZES[alpha][0] ** (2 / alpha - 2 / wrong)
        assert not agrees(type_one_errors(alpha) * gain, SIZES[alpha][0], law)


@pytest.mark.parametrize("alpha", INDICES)
def test_the_law_of_the_error_rejects_a_tail_whose_scale_is_off_by_a_twentieth(alpha: float) -> None:
    # The relative error has no scale of its own: what counts is the tail's scale over that of the bulk. 5% of it
    # move the law by 0.033, 0.060 and 0.13; the limits are 0.025, 0.043 and 0.085.
    law = laws.limit_law(alpha, KEEP)
    assert not agrees(type_one_errors(alpha), SIZES[alpha][0], rescaled(law, 1.05))
    assert not agrees(type_one_errors(alpha), SIZES[alpha][0], rescaled(law, 1 / 1.05))


@pytest.mark.parametrize("alpha", [1.5, 1.75])
@pytest.mark.long
def test_errors_of_isotropic_columns_follow_their_own_law_only(alpha: float) -> None:
    found = squared_errors("isotropic", alpha, 10, 2000, 2000, seed=5)
    assert agrees(found, 2000, laws.limit_law(alpha, KEEP, "isotropic", 10))
    assert not agrees(found, 2000, laws.limit_law(alpha, KEEP))  # that of Type I: apart by 0.096 and 0.29, limit 0.060


@pytest.mark.long
def test_errors_of_entrywise_columns_follow_the_law_with_their_own_bulk() -> None:
    # Their law is within 1% of the scale of the isotropic one: no number of repeats that a test has tells them apart.
    alpha = 1.75
    found = squared_errors("entrywise", alpha, 10, 1000, 1000, seed=6)
    held = laws.bulk(alpha, KEEP, "entrywise", 10)
    assert agrees(found, 1000, laws.limit_law(alpha, KEEP, "entrywise", 10))
    assert not agrees(found, 1000, LimitLaw(alpha, held, laws.tail_constant(alpha, "shared", 10)))
    assert not agrees(found, 1000, LimitLaw(alpha, held, laws.tail_constant(alpha, "isotropic", 10)))
    assert not agrees(found, 1000, laws.limit_law(alpha, KEEP))


# ---- how wide is wide enough


@pytest.mark.parametrize(("alpha", "width"), [(1.2, 1.8e3), (1.5, 8.9e5), (1.75, 1.5e13)])
def test_the_required_widths_are_those_known_from_simulation(alpha: float, width: float) -> None:
    assert laws.required_width(alpha, 0.1, 0.1) == pytest.approx(width, rel=0.15)


@pytest.mark.parametrize(("probability", "repeats"), [(0.5, 4000), (0.9, 1000)])
@pytest.mark.long
def test_at_the_required_width_the_error_is_small_as_often_as_asked(probability: float, repeats: int) -> None:
    width = round(laws.required_width(1.2, KEEP, 0.1, probability))
    found = squared_errors("shared", 1.2, 1, width, repeats, seed=7)
    for error in (0.08, 0.1, 0.125):
        small = int((found <= error**2).sum())
        assert is_binomial(small, repeats, probability) == (error == 0.1)


@pytest.mark.parametrize("alpha", [1.5, 1.75])
@pytest.mark.long
def test_the_rest_of_a_column_counts_at_widths_of_practice(alpha: float) -> None:
    columns, repeats, spread, stream = 1000, 2000, 3.0, generator(9)
    found = squared_errors("isotropic", alpha, 3, columns, repeats, 8, spread)
    sample = noise.vectors(alpha, "isotropic", (400_000, 3), generator=stream)
    sample = (sample + spread * torch.randn(sample.shape, generator=stream)).norm(dim=-1)
    law = LimitLaw(alpha, laws.bulk_of(sample, KEEP), laws.tail_constant(alpha, "isotropic", 3))

    def holds(probability: float, rest: float) -> bool:
        error = laws.pruning_error(law, columns, probability, rest)
        return is_binomial(int((found <= error**2).sum()), repeats, probability)

    for probability in (0.1, 0.5, 0.9):
        assert holds(probability, 3 * spread**2)
        assert probability == 0.1 or not holds(probability, 0.0)  # the smallest errors are those of one huge column


widths = st.floats(2, 1e12)
shares = st.floats(0.01, 0.99)
limit_laws = st.builds(LimitLaw, st.sampled_from([0.8, *INDICES]), st.floats(0.01, 100), st.floats(0.01, 10))


@settings(max_examples=40)
@given(limit_laws, widths, shares, st.floats(0, 10))
def test_the_error_at_the_required_width_is_the_one_asked_for(
    law: LimitLaw, width: float, probability: float, rest: float
) -> None:
    error = laws.pruning_error(law, width, probability, rest)
    if 1e-3 < error < 1:
        found = laws.required_width(law.alpha, KEEP, error, probability, law=law, rest=rest)
        # Where the rest is nearly all of the norm, the width is a difference of nearly equal numbers.
        slack = law.bulk / error**2 / (law.bulk / error**2 - rest) / (2 / law.alpha - 1)
        assert found == pytest.approx(width, rel=1e-9 * slack)


@settings(max_examples=40)
@given(limit_laws, widths, shares, st.floats(0, 10), st.floats(1.01, 3))
def test_pruning_errors_fall_with_width_and_rest_and_rise_with_the_probability(
    law: LimitLaw, width: float, probability: float, rest: float, factor: float
) -> None:
    error = laws.pruning_error(law, width, probability, rest)
    assert laws.pruning_error(law, width * factor, probability, rest) < error
    assert laws.pruning_error(law, width, probability, rest + 0.1 * law.bulk) <= error
    assert laws.pruning_error(law, width, probability ** (1 / factor), rest) > error


@pytest.mark.parametrize("alpha", INDICES)
def test_more_is_required_for_a_smaller_error_a_smaller_share_and_a_higher_probability(alpha: float) -> None:
    width = laws.required_width(alpha, 0.1, 0.1)
    assert laws.required_width(alpha, 0.1, 0.05) > width > laws.required_width(alpha, 0.1, 0.2)
    assert laws.required_width(alpha, 0.05, 0.1) > width > laws.required_width(alpha, 0.2, 0.1)
    assert laws.required_width(alpha, 0.1, 0.1, 0.9) > width > laws.required_width(alpha, 0.1, 0.1, 0.1)


def test_a_rest_lowers_the_required_width_of_the_same_law_to_one_at_least() -> None:
    law = laws.limit_law(1.5, KEEP)
    widths = [laws.required_width(1.5, KEEP, 0.1, law=law, rest=rest) for rest in (0.0, 10.0, 100.0, law.bulk * 100)]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 4
    assert widths[0] == pytest.approx(laws.required_width(1.5, KEEP, 0.1), rel=1e-12)
    assert widths[-1] == 1.0
    assert laws.required_width(0.5, 0.5, 0.999, 0.01) == 1.0


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: laws.largest_kick(1.5, -1, 1), "exposure"),
        (lambda: laws.largest_kick(1.5, 1, 0), "tail"),
        (lambda: laws.step_condition(1.5, 0), "width"),
        (lambda: laws.pruning_error(LimitLaw(1.5, 1.0, 1.0), -3), "width"),
    ],
)
def test_sizes_must_be_above_zero(call: Callable[[], object], name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be finite and above 0, got [-\w.]+$"):
        call()


def test_near_two_the_required_width_is_huge_or_infinite() -> None:
    assert laws.required_width(1.99, KEEP, 0.1) == math.inf
    known = [laws.required_width(alpha, KEEP, 0.1) for alpha in (1.75, 1.8, 1.9)]
    assert known == sorted(known)
    assert 1e30 < known[-1] < math.inf
    assert laws.required_width(1.9, KEEP, 1e-9) == math.inf


def test_the_required_widths_are_those_told_in_the_book() -> None:
    assert laws.required_width(1.2, 0.1, 0.1) == pytest.approx(1730.6425742424, rel=1e-12)
    assert laws.required_width(1.5, 0.1, 0.1) == pytest.approx(895869.40410761, rel=1e-12)
    assert laws.required_width(1.75, 0.1, 0.1) == pytest.approx(14719230524085, rel=1e-12)


@pytest.mark.parametrize(
    ("alpha", "inputs", "times"), [(1.5, 2, 1.3), (1.5, 784, 1.67), (1.75, 784, 5.78), (1.9, 2, 19.4)]
)
def test_type_three_needs_more_columns_than_type_one_by_its_own_law(alpha: float, inputs: int, times: float) -> None:
    width = laws.required_width(alpha, KEEP, 0.1, noise="isotropic", inputs=inputs)
    assert width == pytest.approx(laws.required_width(alpha, KEEP, 0.1) * times, rel=0.01)
    law = laws.limit_law(alpha, KEEP, "isotropic", inputs)
    assert width == pytest.approx(laws.required_width(alpha, KEEP, 0.1, law=law), rel=1e-9)
    assert laws.pruning_error(law, width) == pytest.approx(0.1, rel=1e-9)
    assert laws.required_width(alpha, KEEP, 0.1, noise="isotropic") == pytest.approx(
        laws.required_width(alpha, KEEP, 0.1), rel=1e-9
    )
    assert laws.required_width(alpha, KEEP, 0.1, noise="shared", inputs=inputs) == laws.required_width(alpha, KEEP, 0.1)


@pytest.mark.parametrize(
    ("kind", "alpha", "inputs", "error", "probability"),
    [
        ("isotropic", 1.2, 2, 0.2, 0.5),
        ("isotropic", 1.2, 2, 0.2, 0.9),
        ("isotropic", 1.35, 20, 0.1, 0.1),
        ("isotropic", 1.35, 2, 0.3, 0.9),
        ("isotropic", 1.5, 20, 0.4, 0.5),
        ("isotropic", 1.5, 2, 0.2, 0.1),
        ("entrywise", 1.2, 2, 0.2, 0.5),
        ("entrywise", 1.35, 20, 0.2, 0.1),
        ("entrywise", 1.35, 2, 0.3, 0.9),
        ("entrywise", 1.5, 20, 0.4, 0.5),
        ("entrywise", 1.5, 2, 0.2, 0.1),
        ("entrywise", 1.6, 5, 0.5, 0.9),
    ],
)
@pytest.mark.long
def test_at_the_required_width_of_types_two_and_three_the_error_is_as_small_with_its_probability(
    kind: str, alpha: float, inputs: int, error: float, probability: float
) -> None:
    """Of 4000 matrices, by a binomial test at 1e-6; at α = 1.5 it rejects the width that Type-I noise needs."""

    def agrees(width: int) -> bool:
        small = squared_errors(kind, alpha, inputs, width, repeats, seed=width) <= error**2
        return bool(stats.binomtest(int(small.sum()), repeats, probability).pvalue > FALSE_ALARM)

    repeats = 4000
    assert agrees(round(laws.required_width(alpha, KEEP, error, probability, noise=kind, inputs=inputs)))
    if (alpha, inputs) == (1.5, 20):
        assert not agrees(round(laws.required_width(alpha, KEEP, error, probability)))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"noise": "white"}, r"^unknown noise 'white'"),
        ({"noise": "isotropic", "inputs": 0}, r"^inputs counts the entries of a noise vector: 1 or more, got 0"),
        ({"noise": "isotropic", "law": laws.limit_law(1.5, KEEP)}, r"^a law has its columns already: name either law="),
    ],
)
def test_a_required_width_of_no_known_columns_is_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        laws.required_width(1.5, KEEP, 0.1, **options)


def test_near_two_the_logarithm_for_type_three_is_finite_where_the_width_is_not() -> None:
    wide, narrow = (laws.log_required_width(1.9999, KEEP, 0.1, noise="isotropic", inputs=inputs) for inputs in (784, 1))
    assert narrow == pytest.approx(laws.log_required_width(1.9999, KEEP, 0.1), rel=1e-9)
    assert narrow < wide < math.inf
    assert laws.required_width(1.9999, KEEP, 0.1, noise="isotropic", inputs=784) == math.inf


def gaussian_error(keep: float) -> float:
    """The squared relative error of many Gaussian numbers, the share `keep` kept."""
    return float(stats.chi2(3).cdf(stats.chi2(1).ppf(1 - keep)))


@pytest.mark.parametrize("alpha", [1.9999, 1.99999, 1.999999, 2 - 2**-50])
@pytest.mark.long
def test_near_two_the_logarithm_of_the_required_width_tends_to_that_of_gaussian_columns(alpha: float) -> None:
    # (2/α-1) log n -> log(squared error of Gaussian columns / squared error): the kicks add nothing in the limit.
    for keep, error in ((0.1, 0.1), (0.1, 1e-8), (0.9, 1e-3), (1e-6, 1e-300)):
        scaled = laws.log_required_width(alpha, keep, error) * (2 / alpha - 1)
        assert scaled == pytest.approx(
            math.log(gaussian_error(keep)) - 2 * math.log(error), abs=20 * (2 - alpha) ** 0.9 + 1e-9
        )
    assert laws.required_width(alpha, 0.1, 0.1) == math.inf
    assert laws.required_width(alpha, 0.9, 0.5) == 1.0  # Gaussian columns have that error at any width


def test_near_zero_the_required_width_is_that_of_one_column_that_outgrows_all() -> None:
    # The largest of n columns alone counts against the largest of those pruned: E = -log(1-p) over -log(1-κ).
    for keep, probability in ((0.1, 0.5), (0.1, 0.99), (1e-8, 0.5), (0.3, 0.9)):
        expected = math.log1p(-probability) / math.log1p(-keep)
        for alpha in (1e-300, 1e-9, 1e-6):
            assert laws.required_width(alpha, keep, 0.1, probability) == pytest.approx(expected, rel=1e-4)
    assert laws.required_width(0.01, 0.1, 0.1) == pytest.approx(6.7, rel=0.05)


@pytest.mark.parametrize("alpha", [1e-300, 0.01, 1.0, 1.9, 1.999999, 2 - 2**-52])
def test_every_input_gets_a_finite_logarithm_of_the_width(alpha: float) -> None:
    ends = (1e-300, 0.5, 1 - 2**-53)
    found = np.array([[[laws.log_required_width(alpha, k, e, p) for p in ends] for e in ends] for k in ends])
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (np.diff(found, axis=0) <= 0).all()  # more kept: less width
    assert (np.diff(found, axis=1) <= 0).all()  # a larger error
    assert (np.diff(found, axis=2) >= 0).all()  # a higher probability


def test_a_width_near_two_takes_no_more_memory_than_any_other() -> None:
    tracemalloc.start()
    try:
        laws.log_required_width(1.9999987, KEEP, 0.1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200e6


@pytest.mark.parametrize("alpha", [1e-300, 0.01, 1.99, 1.999999, 2 - 2**-52])
def test_no_other_number_of_the_laws_fails_at_either_end_of_alpha(alpha: float) -> None:
    for keep in (1e-300, 1e-8, 0.5, 1 - 2**-53):
        assert laws.bulk(alpha, keep) >= 0  # inf where it exceeds a float
    for kind in noise.NOISES:
        assert 0 < laws.tail_constant(alpha, kind, 784) < math.inf
    law = LimitLaw(alpha, 1.4, laws.tail_constant(alpha))
    for probability in (1e-300, 0.5, 1 - 2**-53):
        assert law.quantile(probability) >= 0
        for width in (1.0, 1e300):
            assert laws.pruning_error(law, width, probability) >= 0
    assert 0 <= float(law.cdf(1e300)) <= 1
    assert laws.compression_rate(alpha) <= 0
    assert laws.euler_rate(alpha, "fixed time") > 0.5
    assert laws.step_condition(alpha, 1e300) >= 0
    if alpha > 1:
        assert laws.largest_kick(alpha, 1e300, 1e300) > 0


def test_where_the_bulk_exceeds_a_float_a_law_says_so() -> None:
    assert laws.bulk(0.001, 0.1) == math.inf
    with pytest.raises(ValueError, match=r"the bulk, inf, is outside the floats: log_required_width works there"):
        laws.limit_law(0.001, 0.1)


def test_a_width_without_a_law_is_that_of_the_law() -> None:
    for alpha in (0.3, 1.2, 1.9, 1.99):
        law = laws.limit_law(alpha, KEEP)
        for rest in (0.0, 1.0):
            alone = laws.log_required_width(alpha, KEEP, 0.05, 0.9, rest=rest)
            assert laws.log_required_width(alpha, KEEP, 0.05, 0.9, law=law, rest=rest) == pytest.approx(
                alone, rel=1e-10
            )


# ---- rates and single numbers


def test_the_rates_are_those_of_the_theorems() -> None:
    assert laws.chaos_rate(1.5) == laws.chaos_rate(2) == -0.5
    assert laws.chaos_rate(1.5, bounded=False) == pytest.approx(-1 / 3)
    assert laws.chaos_rate(2, bounded=False) == -0.5
    assert laws.euler_rate(1.6, "fixed time") == 0.625
    assert laws.euler_rate(0.5, "grid") == 1
    assert laws.euler_rate(1.6, "supremum") == 0
    assert laws.compression_rate(1.6) == pytest.approx(-0.125)
    assert laws.compression_rate(2) == 0
    assert laws.step_condition(1.5, 16) == pytest.approx(2**-7)


@pytest.mark.parametrize("alpha", INDICES)
def test_at_the_step_condition_the_euler_error_among_all_particles_is_the_chaos_rate(alpha: float) -> None:
    # (η n)^(1/α) at η = n^(-α/2-1) is n^(-1/2).
    eta = laws.step_condition(alpha, 1000)
    assert (eta * 1000) ** laws.euler_rate(alpha, "fixed time") == pytest.approx(1000 ** laws.chaos_rate(alpha))


def test_the_compression_rate_is_the_slope_of_the_pruning_error() -> None:
    for alpha in INDICES:
        law = laws.limit_law(alpha, KEEP)
        slope = math.log(laws.pruning_error(law, 1e6) / laws.pruning_error(law, 1e3)) / math.log(1e3)
        assert slope == pytest.approx(laws.compression_rate(alpha), abs=1e-12)


@pytest.mark.parametrize("alpha", INDICES)
def test_the_largest_kick_is_the_mean_of_a_frechet_law(alpha: float) -> None:
    c = laws.tail_constant(alpha)
    frechet = stats.invweibull(alpha, scale=(2 * c) ** (1 / alpha))  # exp(-c T x^-alpha) at T = 2
    assert laws.largest_kick(alpha, 2.0, c) == pytest.approx(frechet.mean(), rel=1e-9)


def test_the_largest_step_of_a_path_follows_that_frechet_law() -> None:
    alpha, horizon, steps, paths = 1.5, 2.0, 500, 20_000
    stream, found = generator(10), []
    for _ in range(10):
        kicks = stable.symmetric(alpha, (paths // 10, steps), generator=stream)
        found.append(kicks.abs().amax(-1) * (horizon / steps) ** (1 / alpha))
    largest = torch.cat(found)

    def fits(index: float, scale: float) -> bool:
        law = stats.invweibull(index, scale=scale * (horizon * laws.tail_constant(index)) ** (1 / index))
        return follows_continuous(largest, law.cdf, law.ppf(np.linspace(0.005, 0.995, 199)))

    assert fits(alpha, 1)
    assert not fits(alpha - 0.1, 1)
    assert not fits(alpha + 0.1, 1)
    assert not fits(alpha, 1.05)
    assert not fits(alpha, 0.95)


# ---- bad input


@pytest.mark.parametrize("alpha", [0.0, -1.0, 2.0, 2.5, math.nan])
@pytest.mark.parametrize(
    "call",
    [
        lambda alpha: laws.tail_constant(alpha),
        lambda alpha: laws.bulk(alpha, 0.1),
        lambda alpha: laws.limit_law(alpha, 0.1),
        lambda alpha: LimitLaw(alpha, 1.0, 1.0),
        lambda alpha: laws.required_width(alpha, 0.1, 0.1),
    ],
)
def test_a_law_with_a_power_tail_needs_an_index_below_two(call: Callable[[float], object], alpha: float) -> None:
    with pytest.raises(ValueError, match=r"^this law needs the stability index alpha in \(0, 2\), got [-\w.]+$"):
        call(alpha)


@pytest.mark.parametrize(
    ("call", "interval"),
    [
        (lambda: laws.chaos_rate(1.0), r"\(1, 2\]"),
        (lambda: laws.chaos_rate(2.1), r"\(1, 2\]"),
        (lambda: laws.euler_rate(0.0, "grid"), r"\(0, 2\]"),
        (lambda: laws.largest_kick(1.0, 1, 1), r"\(1, 2\)"),
        (lambda: laws.largest_kick(2.0, 1, 1), r"\(1, 2\)"),
        (lambda: laws.step_condition(2.1, 10), r"\(0, 2\]"),
        (lambda: laws.compression_rate(math.nan), r"\(0, 2\]"),
    ],
)
def test_a_rate_says_which_indices_it_holds_for(call: Callable[[], object], interval: str) -> None:
    with pytest.raises(ValueError, match=rf"^this law needs the stability index alpha in {interval}, got [-\w.]+$"):
        call()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, math.nan])
def test_a_share_and_an_error_lie_between_zero_and_one(share: float) -> None:
    for call in (lambda: laws.bulk(1.5, share), lambda: laws.bulk_of(torch.ones(9), share)):
        with pytest.raises(ValueError, match=r"^keep must lie in \(0, 1\), got [-\w.]+$"):
            call()
    with pytest.raises(ValueError, match=r"^error must lie in \(0, 1\), got [-\w.]+$"):
        laws.required_width(1.5, 0.1, share)


@pytest.mark.parametrize("rest", [-1.0, math.inf, math.nan])
def test_a_rest_is_a_mean_square(rest: float) -> None:
    law = LimitLaw(1.5, 1.0, 1.0)
    for call in (
        lambda: laws.pruning_error(law, 10, rest=rest),
        lambda: laws.required_width(1.5, 0.1, 0.1, law=law, rest=rest),
    ):
        with pytest.raises(ValueError, match=r"^rest is a mean square: it must be finite and >= 0, got [-\w.]+$"):
            call()


@pytest.mark.parametrize("alpha", [0.3, 1.0, 1.9, 2.0])
def test_the_median_of_one_entry_is_the_quartile_of_the_symmetric_law(alpha: float) -> None:
    for kind in noise.NOISES:
        assert laws.median_norm(alpha, kind) == pytest.approx(stats.levy_stable.ppf(0.75, alpha, 0), rel=1e-5)
    assert laws.median_norm(alpha, "shared", 9) == pytest.approx(3 * laws.median_norm(alpha), rel=1e-12)


@pytest.mark.parametrize("inputs", [2, 140, 10_000])
def test_the_median_of_gaussian_noise_is_that_of_chi(inputs: int) -> None:
    for kind in ("entrywise", "isotropic"):
        chi = math.sqrt(2 * stats.chi2.ppf(0.5, inputs))
        assert laws.median_norm(2.0, kind, inputs) == pytest.approx(chi, rel=1e-4 if inputs < 10_000 else 1e-3)


@pytest.mark.parametrize("kind", ["entrywise", "isotropic"])
@pytest.mark.parametrize("alpha", [0.7, 1.5, 1.9])
def test_half_of_all_kicks_are_longer_than_the_median(kind: str, alpha: float) -> None:
    """Seeds are fixed. Of fresh ones 40 000 kicks would be 5 standard errors off once in 2e6 times."""
    g = torch.Generator().manual_seed(3)
    norms = noise.vectors(alpha, kind, (40_000, 12), generator=g, dtype=torch.float64).norm(dim=1)
    above = [float((norms > size).double().mean()) for size in (laws.median_norm(alpha, kind, d) for d in (12, 8, 18))]
    assert abs(above[0] - 0.5) < 5 * 0.5 / math.sqrt(len(norms))
    assert min(abs(share - 0.5) for share in above[1:]) > 5 * 0.5 / math.sqrt(len(norms))  # half as many again


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: laws.euler_rate(1.5, "end"), "unknown form 'end' of the Euler error: choose one of fixed time, grid"),
        (lambda: laws.tail_constant(1.5, "type1"), "unknown noise 'type1': choose one of shared, entrywise, isotropic"),
        (lambda: laws.median_norm(2.1), "alpha"),
        (lambda: laws.median_norm(1.5, "type1"), "unknown noise 'type1': choose one of shared, entrywise, isotropic"),
        (
            lambda: laws.median_norm(1.5, "shared", 0),
            "inputs counts the entries of a noise vector: 1 or more, got 0",
        ),
        (
            lambda: laws.median_norm(1e-3, "isotropic", 2),
            "at alpha = 0.001 the median of the norm is outside the floats",
        ),
        (lambda: laws.median_norm(1e-30), "at alpha = 1e-30 the median of the norm is outside the floats"),
        (lambda: laws.bulk(1.5, 0.1, "type1"), "unknown noise 'type1': choose one of shared, entrywise, isotropic"),
        (lambda: laws.tail_constant(1.5, "shared", 0), "inputs counts the entries of a noise vector: 1 or more, got 0"),
        (
            lambda: laws.required_width(0.008, 0.1, 0.1, noise="entrywise", inputs=2),
            "the bulk, inf, is outside the floats",
        ),
        (lambda: LimitLaw(1.5, 0.0, 1.0), "bulk and tail must be finite and above 0, got 0 and 1"),
        (lambda: LimitLaw(1.5, 1.0, math.inf), "bulk and tail must be finite and above 0, got 1 and inf"),
        (
            lambda: laws.required_width(1.5, 0.1, 0.1, law=LimitLaw(1.6, 1, 1)),
            "^the law is one of alpha = 1.6, not of 1.5",
        ),
        (lambda: laws.pruning_error(LimitLaw(1.5, 1, 1), 10, 1.0), r"a probability must lie in \(0, 1\), got"),
    ],
)
def test_bad_input_is_told_in_one_sentence(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()


def test_a_draw_of_the_limit_law_needs_a_generator() -> None:
    with pytest.raises(TypeError, match="generator"):
        LimitLaw(1.5, 1.0, 1.0).draw(5)


# ---- many inputs


@pytest.mark.parametrize("alpha", [0.5, 1.5, 1.999])
def test_the_quotient_of_gammas_is_exact_at_every_number_of_inputs(alpha: float) -> None:
    for inputs in (1, 3072, columns._MANY_INPUTS - 1, columns._MANY_INPUTS, 10**6, 10**13, 10**16):
        with mpmath.workdps(50):
            z, a = mpmath.mpf(inputs) / 2, mpmath.mpf(alpha) / 2
            exact = float(mpmath.loggamma(z + a) - mpmath.loggamma(z))
        assert columns.log_gammas(alpha, inputs) == pytest.approx(exact, rel=1e-11)


def test_with_many_inputs_the_width_of_isotropic_noise_tends_to_a_number() -> None:
    limit = 1495171.71484
    for inputs in (10**10, 10**13, 10**14, 10**16, 10**20):
        assert laws.required_width(1.5, KEEP, 0.1, noise="isotropic", inputs=inputs) == pytest.approx(limit, rel=1e-8)


@pytest.mark.parametrize(("alpha", "keep"), [(1.5, 0.1), (1.999, 0.1), (1.999, 0.001), (1.99999, 0.9)])
def test_with_many_inputs_entrywise_noise_needs_the_width_of_isotropic_noise(alpha: float, keep: float) -> None:
    for inputs in (columns._ALIKE, columns._ALIKE + 1, 3 * 10**6, 10**9):
        logs = [
            laws.log_required_width(alpha, keep, 0.1, noise=kind, inputs=inputs) for kind in ("entrywise", "isotropic")
        ]
        assert logs[0] == pytest.approx(logs[1], rel=2e-6)


def test_the_bulk_of_entrywise_noise_has_no_step_where_its_law_becomes_too_narrow() -> None:
    for alpha, keep in ((1.5, 0.1), (1.999, 0.001), (1.999, 0.5)):
        held = [laws.bulk(alpha, keep, "entrywise", n) / n ** (2 / alpha) for n in (columns._ALIKE, columns._ALIKE + 1)]
        assert held[0] == pytest.approx(held[1], rel=1e-5)


def test_the_least_alpha_has_a_width() -> None:
    assert laws.required_width(5e-324, KEEP, 0.1) == pytest.approx(laws.required_width(1e-300, KEEP, 0.1))


HUGE = 10**400


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: laws.required_width(HUGE, 0.1, 0.1), r"^this law needs .* in \(0, 2\), got inf$"),
        (lambda: laws.bulk(1.5, HUGE), r"^keep must lie in \(0, 1\), got inf$"),
        (lambda: laws.required_width(1.5, 0.1, 0.1, rest=HUGE), r"^rest is a mean square: .* got inf$"),
        (lambda: laws.bulk(1.5, 0.1, "isotropic", HUGE), r"^inputs counts .*: more than any float holds is too many$"),
        (lambda: laws.step_condition(1.5, HUGE), r"^width must be finite and above 0, got inf$"),
        (lambda: laws.LimitLaw(1.5, HUGE, 1.0), r"^bulk and tail must be finite and above 0, got inf and 1$"),
        (lambda: laws.compressibility_bound(torch.ones(2, 2), HUGE, 0.5), r"^drift is .* got inf$"),
        (lambda: laws.required_width(1.5, 0.1, 0.1, law=3), r"^a law is what laws.limit_law .* gives, not 3$"),
        (lambda: laws.pruning_error(None, 10), r"^a law is what laws.limit_law .* gives, not None$"),
        (lambda: laws.LimitLaw(1.5, 1.0, 1.0).cdf(HUGE), r"^the law is asked at numbers above 0, not at 1000"),
        (lambda: laws.LimitLaw(1.5, 1.0, 1.0).cdf([1.0, -1.0]), r"^the law is asked at numbers above 0, not at -1$"),
        (lambda: laws.LimitLaw(1.5, 1.0, 1.0).cdf("a"), r"^the law is asked at numbers above 0, not at 'a'$"),
        (lambda: laws.bulk_of(None, 0.1), r"^norms= is a tensor, an array or a list of numbers, not None$"),
        (lambda: laws.required_width(2 + 1e-9, 0.1, 0.1), r"got 2.000000001$"),
        (lambda: laws.required_width(1e-9, 0.1, 0.1, noise="entrywise", inputs=9), r"the floats: take a larger alpha$"),
    ],
)  # fmt: skip
def test_what_no_law_takes_is_told_in_one_sentence(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises((ValueError, TypeError), match=sentence):
        call()
