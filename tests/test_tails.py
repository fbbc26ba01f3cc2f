"""The tail-index estimators find the index, their intervals hold what they promise, and both fail on the wrong law.

Each check that can fail by chance does so with probability at most 1e-5, most with 1e-6: binomial limits for
coverage, the limits of goodness_of_fit, and six standard errors, since an estimate from 100 values of the tail or 200
blocks is skewed (exact for Hill: beyond six at k = 100 with probability 3e-7). There are about 50. Seeds are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from goodness_of_fit import FALSE_ALARM, follows_continuous
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from heavytail import stable
from heavytail.tails import Estimate, characteristic, hill, log_moment

Estimator = Callable[..., Estimate]
STABLE_ONLY = (log_moment, characteristic)
EVERY = (hill, log_moment, characteristic)
INDICES = (1.1, 1.5, 1.9)


def draw(alpha: float, size: int | tuple[int, int], seed: int = 0) -> torch.Tensor:
    return stable.symmetric(alpha, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pareto(alpha: float, size: int | tuple[int, int], seed: int = 0) -> np.ndarray:
    """P(|X| > x) = x^(-alpha) for x >= 1, with random signs."""
    rng = np.random.default_rng(seed)
    return np.exp(rng.exponential(1 / alpha, size)) * rng.choice([-1.0, 1.0], size)


def held(estimates: Sequence[Estimate], alpha: float, level: float = 0.95) -> int:
    """How many of the intervals hold alpha."""
    return sum(low <= alpha <= high for low, high in (estimate.interval(level) for estimate in estimates))


def has_rate(count: int, repeats: int, low: float, high: float) -> bool:
    """Whether a count fits some rate in [low, high]: if it has one, False with probability at most FALSE_ALARM."""
    least = stats.binom.ppf(FALSE_ALARM / 2, repeats, low)
    most = stats.binom.isf(FALSE_ALARM / 2, repeats, high)
    return bool(least <= count <= most)


def distance(estimate: Estimate, alpha: float) -> float:
    """How many standard errors the estimate lies from alpha."""
    return abs(estimate.alpha - alpha) / estimate.standard_error


# ---- the estimates


@pytest.mark.parametrize("alpha", [1.1, 1.3, 1.5, 1.75, 1.9])
@pytest.mark.parametrize("estimator", STABLE_ONLY)
def test_a_stable_sample_gives_its_index(estimator: Estimator, alpha: float) -> None:
    estimate = estimator(draw(alpha, 40_000))
    assert distance(estimate, alpha) < 6
    assert estimate.standard_error < 0.08  # so that six of them say something
    assert estimate.used == 40_000


@pytest.mark.parametrize("estimator", STABLE_ONLY)
def test_a_gaussian_sample_gives_two_and_may_exceed_it(estimator: Estimator) -> None:
    estimates = [estimator(sample) for sample in draw(2.0, (20, 40_000))]
    assert max(distance(estimate, 2.0) for estimate in estimates) < 6
    assert 0 < sum(estimate.alpha > 2 for estimate in estimates) < 20


@pytest.mark.parametrize("alpha", [0.5, 1.5, 3.0])
def test_a_pareto_sample_gives_its_index_at_any_threshold(alpha: float) -> None:
    x = pareto(alpha, 10_000)
    for k in (None, 1000, 9999):
        assert distance(hill(x, k), alpha) < 6
    assert hill(x).used == 100  # the square root of the sample size
    assert hill(x, 1000).used == 1000


def test_hill_has_its_exact_law_on_pareto_samples() -> None:
    # k alpha / estimate is a sum of k standard exponentials, for every k and n: nothing asymptotic.
    k, alpha = 5, 1.5
    sums = torch.tensor([k * alpha / hill(x, k).alpha for x in pareto(alpha, (4000, 12))])
    points = np.linspace(0.5, 15, 60)
    assert follows_continuous(sums, stats.gamma(k).cdf, points)
    assert not follows_continuous(sums * 6 / 5, stats.gamma(k).cdf, points)  # k + 1 in place of k


def test_the_values_after_the_last_full_block_are_left_out() -> None:
    x = draw(1.5, 1003)
    assert log_moment(x, 10) == log_moment(x[:1000], 10)
    assert log_moment(x, 10).used == 1000
    assert log_moment(x) == log_moment(x, 31)


def test_the_log_moment_is_the_formula_of_its_source() -> None:
    x = draw(1.5, 600).numpy()
    inverse = (np.log(np.abs(x.reshape(60, 10).sum(1))).mean() - np.log(np.abs(x)).mean()) / math.log(10)
    assert log_moment(x, 10).alpha == pytest.approx(1 / inverse, rel=1e-12)


# ---- the intervals


@pytest.mark.parametrize("k", [30, 300])
def test_hill_intervals_cover_at_the_exact_rate_on_pareto_samples(k: int) -> None:
    half = stats.norm.ppf(0.975) / math.sqrt(k)
    rate = float(np.diff(stats.gamma.cdf([k * (1 - half), k * (1 + half)], k))[0])  # 0.947 and 0.950
    estimates = [hill(x, k) for x in pareto(1.5, (1500, 600))]
    assert has_rate(held(estimates, 1.5), 1500, rate, rate)
    assert not has_rate(held(estimates, 1.5, 0.8), 1500, rate, rate)  # intervals a third too short are found out


@pytest.mark.parametrize("alpha", INDICES)
@pytest.mark.parametrize(("estimator", "options"), [(log_moment, {"block": 8}), (characteristic, {})])
@pytest.mark.long
def test_stable_intervals_cover(estimator: Estimator, options: dict[str, int], alpha: float) -> None:
    # Nominal 0.95; two points more or less are granted to a finite sample.
    estimates = [estimator(x, **options) for x in draw(alpha, (1000, 4000))]
    assert has_rate(held(estimates, alpha), 1000, 0.93, 0.97)
    assert not has_rate(held(estimates, alpha, 0.8), 1000, 0.93, 0.97)


@pytest.mark.long
def test_hill_intervals_cover_stable_laws_only_far_from_two() -> None:
    covered = {alpha: held([hill(x) for x in draw(alpha, (1000, 2500))], alpha) for alpha in INDICES}
    assert has_rate(covered[1.1], 1000, 0.93, 0.97)
    assert has_rate(covered[1.5], 1000, 0.93, 0.97)
    assert has_rate(covered[1.9], 1000, 0.0, 0.4)  # biased upwards by more than two standard errors


def test_a_deep_threshold_breaks_hill_on_stable_laws() -> None:
    estimates = [
        hill(x, 500) for x in draw(1.5, (400, 2000))
    ]  # about the threshold of least Kolmogorov-Smirnov distance
    assert has_rate(held(estimates, 1.5), 400, 0.0, 0.3)


@pytest.mark.parametrize("alpha", [1.5, 1.75])
@pytest.mark.long
def test_the_bias_of_hill_on_stable_laws_is_the_one_stated(alpha: float) -> None:
    n, k = 200_000, 4000
    c = stable.tail_constant(alpha)
    cd = -math.gamma(2 * alpha) * math.sin(math.pi * alpha) / math.pi  # second term of the tail series
    bias = alpha * (cd / c) * k / (2 * c * n)
    assert bias > 2 * alpha / math.sqrt(40 * k)  # large beside the standard error of the mean of 40
    mean = np.mean([hill(draw(alpha, n, seed), k).alpha for seed in range(40)])
    # The further terms of the series add about a tenth.
    assert mean - alpha == pytest.approx(bias, rel=1 / 5, abs=5 * alpha / math.sqrt(40 * k))


def test_an_interval_is_the_normal_one() -> None:
    assert Estimate(1.5, 0.1, 9).interval() == pytest.approx((1.5 - 0.1959964, 1.5 + 0.1959964))
    assert Estimate(1.5, 0.1, 9).interval(0.6826895) == pytest.approx((1.4, 1.6))


def test_an_estimate_above_two_still_has_a_standard_error() -> None:
    # There is no law with an index above 2: the formula for the variance, used there, would fall below 0.
    estimate = characteristic(np.tile([1.0, 1.5, -1.0, -1.5], 1000))
    assert estimate.alpha > 2.05
    assert 0 < estimate.standard_error < 0.01


# ---- wrong laws


@pytest.mark.parametrize("alpha", INDICES)
@pytest.mark.parametrize("off", [-0.1, 0.1])
def test_a_wrong_index_is_rejected(alpha: float, off: float) -> None:
    x = draw(alpha + off, 300_000, 1)
    for estimate in (log_moment(x, 8), characteristic(x)):
        assert held([estimate], alpha + off, 1 - FALSE_ALARM) == 1
        assert held([estimate], alpha, 1 - FALSE_ALARM) == 0


def test_hill_grows_with_the_sample_where_there_is_no_power_tail() -> None:
    alphas = [hill(draw(2.0, n)).alpha for n in (100, 10_000, 1_000_000)]
    assert alphas[0] < alphas[1] < alphas[2]
    assert alphas[2] > 10


def test_only_hill_holds_for_a_power_tail_that_is_not_stable() -> None:
    x = np.random.default_rng(0).standard_t(1.5, 400_000)
    assert held([hill(x)], 1.5, 1 - FALSE_ALARM) == 1
    assert [held([estimator(x)], 1.5, 1 - FALSE_ALARM) for estimator in STABLE_ONLY] == [0, 0]


# ---- other implementations


@pytest.mark.parametrize("k", [1, 20, 500])
def test_hill_agrees_with_tailestim(k: int) -> None:
    # It reports 1/alpha for every k. Its k is ours: k values above the threshold x_(k+1).
    tailestim = pytest.importorskip("tailestim", reason="needs tailestim to compare with")
    size = draw(1.5, 2000).abs().numpy()
    theirs = tailestim.HillEstimator(bootstrap=False)
    theirs.fit(size)
    result = theirs.get_result()
    assert result.k_arr_[k - 1] == k
    assert hill(size, k).alpha == pytest.approx(1 / result.xi_arr_[k - 1], rel=1e-10)


@pytest.mark.parametrize("k", [20, 500])
def test_hill_agrees_with_powerlaw(k: int) -> None:
    # It reports the exponent of the density, alpha + 1, and counts the value at xmin: k + 1 values over the same sum.
    powerlaw = pytest.importorskip("powerlaw", reason="needs powerlaw to compare with")
    size = draw(1.5, 2000).abs().numpy()
    threshold = np.sort(size)[-k - 1]
    exponent = powerlaw.Fit(size, xmin=threshold, verbose=0).power_law.alpha
    assert hill(size, k).alpha == pytest.approx((exponent - 1) * k / (k + 1), rel=1e-10)


# ---- invariances


@settings(max_examples=40)
@given(st.floats(-250, 250), st.integers(0, 2**32 - 1))
def test_scale_signs_and_order_do_not_matter(exponent: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = draw(1.5, 500).numpy()
    scaled = x * 10.0**exponent
    shuffled = rng.permutation(x)
    flipped = x * rng.choice([-1.0, 1.0], len(x))
    for estimator in EVERY:
        expected = pytest.approx([estimator(x).alpha, estimator(x).standard_error], rel=1e-9)
        same = [-scaled] if estimator is log_moment else [scaled, shuffled, flipped]
        for other in same:  # sums depend on the order and on single signs
            assert [estimator(other).alpha, estimator(other).standard_error] == expected


def test_order_and_single_signs_matter_to_block_sums() -> None:
    x = draw(1.5, 500)
    assert log_moment(x.sort().values).alpha != pytest.approx(log_moment(x).alpha, rel=0.01)
    assert log_moment(x.abs()).alpha != pytest.approx(log_moment(x).alpha, rel=0.01)


@pytest.mark.parametrize("estimator", EVERY)
def test_arrays_lists_and_tensors_of_any_kind_are_the_same_sample(estimator: Estimator) -> None:
    x = draw(1.5, 400).to(torch.bfloat16)
    exact = x.double()
    for other in (
        x,
        exact.float(),
        exact.clone().requires_grad_(),
        exact.numpy(),
        exact.tolist(),
        exact.numpy()[::-1][::-1],
    ):
        assert estimator(other) == estimator(exact)
    assert estimator((1000 * exact).to(torch.int64)) == estimator((1000 * exact).to(torch.int64).double())


@pytest.mark.needs_cuda
@pytest.mark.parametrize("estimator", EVERY)
def test_a_tensor_may_lie_on_a_gpu(estimator: Estimator) -> None:
    assert estimator(draw(1.5, 400).cuda()) == estimator(draw(1.5, 400))


@pytest.mark.parametrize("estimator", EVERY)
def test_the_sample_is_left_as_it_was(estimator: Estimator) -> None:
    x = draw(1.5, 400)
    before = x.clone()
    estimator(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("estimator", EVERY)
def test_the_largest_and_smallest_numbers_overflow_nothing(estimator: Estimator) -> None:
    largest, smallest = np.finfo(float).max, np.finfo(float).tiny
    x = np.concatenate([np.full(20, largest), np.geomspace(smallest, largest / 2, 100), np.full(100, smallest)])
    estimate = estimator(x, 60) if estimator is hill else estimator(x)
    assert math.isfinite(estimate.alpha)
    assert math.isfinite(estimate.standard_error)


# ---- bad input


@pytest.mark.parametrize("estimator", EVERY)
@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (np.ones((20, 2)), r"one axis, got shape \(20, 2\): flatten"),
        (torch.ones(20, 2), r"one axis, got shape \(20, 2\): flatten"),
        (3.0, r"one axis, got shape \(\)"),
        ([], "values or more, got 0"),
        ([1.0], "values or more, got 1"),
        ([*range(1, 20), math.nan, math.inf], "2 of the values are NaN or infinite: leave them out"),
        (["1"] * 20, "holds real numbers, not <U1"),
        (torch.ones(20, dtype=torch.complex64), "holds real numbers, not complex64"),
        (torch.ones(20, dtype=torch.bool), "holds real numbers, not bool"),
    ],
)
def test_what_is_no_sample_gets_its_sentence(estimator: Estimator, x: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        estimator(x)


LATTICE = np.array([1.0] * 56 + [37.3] * 45)  # its characteristic function rises, so the slope is below 0


@pytest.mark.parametrize(
    ("estimator", "x", "options", "sentence"),
    [
        (hill, np.arange(1.0, 21), {"k": 0}, r"one of 1\.\.19 for 20 values, got 0"),
        (hill, np.arange(1.0, 21), {"k": 20}, r"one of 1\.\.19 for 20 values, got 20"),
        (hill, np.zeros(20), {}, "the 5 largest values must not be 0, only 0 are not: lower k"),
        (hill, np.arange(20.0) % 2, {"k": 10}, "the 11 largest values must not be 0, only 10 are not: lower k"),
        (hill, np.arange(20.0) % 2, {"k": 9}, "the 10 largest values are all 1: there is no tail"),
        (log_moment, np.arange(1.0, 21), {"block": 1}, r"a block holds 2\.\.10 values .* got 1"),
        (log_moment, np.arange(1.0, 21), {"block": 11}, r"a block holds 2\.\.10 values .* got 11"),
        (log_moment, np.arange(20.0) % 5, {}, "4 of the values are 0 and have no logarithm: leave them out"),
        (log_moment, np.tile([1.0, -1.0], 8), {}, "a block of 4 values sums to 0, .* take another block size"),
        (log_moment, np.tile([1.0, -1.001], 8), {}, "the block sums are no larger than the values"),
        (characteristic, np.arange(20.0) // 11, {}, "half of the values or more are 0, .* leave the zeros out"),
        (characteristic, np.tile([2.0, -2.0], 8), {}, "all values are of one size, 2: there is no law"),
        (characteristic, np.repeat([1.0, math.pi], [51, 49]), {}, r"falls to -0\.21, not above 0: x is far"),
        (characteristic, LATTICE, {}, r"has slope -0\.065, not above 0: x is far"),
    ],
)
def test_a_sample_without_an_answer_gets_its_sentence(
    estimator: Estimator, x: np.ndarray, options: dict[str, int], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        estimator(x, **options)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, math.nan])
def test_a_level_outside_0_1_gets_its_sentence(level: float) -> None:
    with pytest.raises(ValueError, match=r"level of an interval lies in \(0, 1\), got"):
        Estimate(1.5, 0.1, 9).interval(level)


@pytest.mark.parametrize("estimator", EVERY)
def test_a_list_an_array_and_a_tensor_of_any_real_dtype_are_one_sample(estimator: Estimator) -> None:
    values = np.round(np.random.default_rng(1).standard_cauchy(200) * 8) / 8 + 1 / 16
    expected = estimator(values)
    learned = torch.from_numpy(values).requires_grad_()
    for x in (values.tolist(), tuple(values), torch.from_numpy(values), learned, values.astype(np.float32)):
        assert estimator(x) == expected


@pytest.mark.parametrize("estimator", EVERY)
def test_ragged_lists_are_no_sample(estimator: Estimator) -> None:
    with pytest.raises(ValueError, match=r"^a sample has one axis: a list of numbers, not of lists of other lengths$"):
        estimator([[1.0, 2.0], [3.0]])


@pytest.mark.parametrize(("estimator", "name"), [(hill, "k"), (log_moment, "block")])
def test_a_number_of_values_is_whole(estimator: Estimator, name: str) -> None:
    x = np.random.default_rng(1).standard_cauchy(100)
    assert estimator(x, **{name: np.int64(5)}) == estimator(x, **{name: 5})
    for wrong in (5.0, "5", math.nan):
        with pytest.raises(TypeError, match=rf"^{name} is a whole number, got "):
            estimator(x, **{name: wrong})
    for wrong in (0, -1, 10**6):
        with pytest.raises(ValueError, match=rf"got {wrong}$"):
            estimator(x, **{name: wrong})
