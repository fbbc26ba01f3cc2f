"""Intervals over seeds: the ends are those of the books, they cover for every law, and a seed counts once.

What is simulated is seeded. Each such test says how often it would raise a false alarm under fresh seeds: at most once
in 10^5.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from heavytail.evidence.intervals import (
    LEVEL,
    family_level,
    least_seeds,
    median_interval,
    paired,
    share_interval,
    sign_test,
)

GAPS = [0.3, 0.1, 0.9, 0.2, 0.5, 0.7, 0.4, 0.8, 0.6, 1.0]


@pytest.mark.parametrize("level", [0.9, LEVEL, family_level(3), 0.99])
def test_the_ends_are_those_of_the_quantile_test(level):
    for n in range(2, 80):
        values = np.random.default_rng(n).standard_cauchy(n)
        interval = median_interval(values, level)
        other = stats.quantile_test(values, q=0, p=0.5).confidence_interval(level)
        if n < least_seeds(level):
            assert interval.coverage is None
            assert np.isnan([other.low, other.high]).all()
        else:
            assert (interval.low, interval.high) == (other.low, other.high)


@pytest.mark.parametrize("n", range(6, 13))
def test_the_coverage_stated_is_the_one_counted_over_all_ways_to_lie_about_the_median(n):
    """Of a law without atoms each seed lies above or below with even odds: all 2^n patterns, each as likely."""
    sides = np.array(list(itertools.product((-1.0, 1.0), repeat=n)))
    sizes = np.arange(1, n + 1)
    covered = [interval.low < 0 < interval.high for interval in map(median_interval, sides * sizes)]
    assert np.mean(covered) == pytest.approx(median_interval(sizes).coverage, abs=1e-12)
    assert np.mean(covered) >= LEVEL


LAWS = {
    "Cauchy": lambda g, n: g.standard_cauchy(n),
    "skew": lambda g, n: g.exponential(size=n) ** 4 - math.log(2) ** 4,
    "two atoms": lambda g, n: g.choice([0.0, 1.0], size=n, p=[0.6, 0.4]),
}


@pytest.mark.parametrize("law", LAWS)
def test_intervals_cover_whatever_the_law(law):
    """A false alarm once in 10^6: at worst 95 of a hundred cover, and the limit lies 4.9 standard deviations below."""
    draws = LAWS[law](np.random.default_rng(7), (3000, 8))
    covered = sum(interval.low <= 0 <= interval.high for interval in map(median_interval, draws))
    assert covered > stats.binom.ppf(5e-7, 3000, LEVEL)
    wrong = sum(interval.low <= 0 <= interval.high for interval in map(median_interval, draws + 2.0))
    assert wrong < stats.binom.ppf(5e-7, 3000, LEVEL)  # and it can fail


def test_below_six_seeds_there_are_points_and_no_interval():
    interval = median_interval([0.3, 0.1, 0.2, 0.5, 0.4])
    assert (interval.value, interval.low, interval.high) == (0.3, -math.inf, math.inf)
    assert (interval.seeds, interval.missing, interval.coverage) == (5, 0, None)
    assert interval.points == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert least_seeds() == 6
    six = median_interval([0.3, 0.1, 0.2, 0.5, 0.4, 0.6])
    assert (six.low, six.high, six.coverage) == (0.1, 0.6, pytest.approx(1 - 2 / 64))


def test_no_seeds_have_no_number():
    interval = median_interval([])
    assert math.isnan(interval.value)
    assert (interval.low, interval.high, interval.seeds, interval.points) == (-math.inf, math.inf, 0, ())


def test_a_missing_number_may_have_been_anything():
    whole = median_interval(GAPS)
    for lost in range(1, 5):
        interval = median_interval([*GAPS[lost:], *[math.nan] * lost])
        assert (interval.seeds, interval.missing, interval.coverage) == (10, lost, whole.coverage)
        for filled in (-9.0, 9.0):  # whatever the lost seeds had, its ends lie outside those of the whole sample
            other = median_interval([*GAPS[lost:], *[filled] * lost])
            assert interval.low == -math.inf or interval.low <= other.low
            assert interval.high == math.inf or interval.high >= other.high
    assert (median_interval([*GAPS[1:], math.inf]).low, median_interval([*GAPS[2:], math.nan, math.nan]).low) == (
        0.1, -math.inf,
    )  # fmt: skip


@pytest.mark.parametrize("n", [5, 6, 9, 20])
def test_the_sign_test_rejects_exactly_what_the_interval_leaves_out(n):
    values = np.round(np.random.default_rng(n).standard_normal(n), 1)
    values[0] = math.nan
    interval = median_interval(values)
    for at in np.round(np.arange(-3, 3.05, 0.1), 1):
        assert (sign_test(values, at).p <= 1 - LEVEL) == (not interval.low <= at <= interval.high)


def test_the_sign_test_counts_sides_and_is_the_exact_one():
    result = sign_test([0.1, 0.2, -0.1, 0.3, 0.4, math.nan, 0.0, 0.5])
    assert (result.above, result.below, result.at, result.missing) == (5, 1, 1, 1)
    assert result.p == pytest.approx(stats.binomtest(5, 8, alternative="greater").pvalue * 2)
    assert sign_test(GAPS).p == pytest.approx(stats.binomtest(10, 10).pvalue)
    assert sign_test([]).p == sign_test([1.0, -1.0]).p == 1.0


def test_pairs_are_made_by_seed_and_a_missing_partner_is_missing():
    first, second = pd.Series([1.0, 2.0, 3.0], index=[3, 1, 2]), pd.Series([0.5, 0.25], index=[1, 3])
    gaps = paired(first, second)
    assert gaps.drop(2).to_dict() == {3: 0.75, 1: 1.5}
    assert math.isnan(gaps[2])
    for pair in ((pd.concat([first, first]), second), (first, pd.concat([second, second]))):
        with pytest.raises(ValueError, match=r"^seed \d occurs twice: pair the runs of one cell, not of several$"):
            paired(*pair)


def test_a_seed_of_many_cells_counts_once():
    alone = pd.Series([True] * 7 + [False], index=range(8))
    many = pd.concat([alone] * 9)
    assert share_interval(many) == share_interval(alone)
    clopper = stats.binomtest(7, 8).proportion_ci(LEVEL, "exact")
    assert (share_interval(many).low, share_interval(many).high) == (clopper.low, clopper.high)


def test_a_seed_whose_cells_differ_counts_against_both_ends():
    agrees = pd.Series([True, True, *[True, False] * 3, False, False], index=np.repeat(range(5), 2)).rename(None)
    agrees = pd.concat([agrees, pd.Series([True, True], index=[5, 5])])
    interval = share_interval(agrees)
    assert interval.value == pytest.approx((1 + 0.5 * 3 + 0 + 1) / 6)
    assert interval.low == stats.binomtest(2, 6).proportion_ci(LEVEL, "exact").low
    assert interval.high == stats.binomtest(5, 6).proportion_ci(LEVEL, "exact").high


def test_an_unknown_cell_counts_against_both_ends_of_a_share():
    interval = share_interval(pd.Series([1.0] * 6 + [math.nan], index=range(7)))
    assert (interval.value, interval.seeds, interval.missing) == (1.0, 7, 1)
    assert interval.low == stats.binomtest(6, 7).proportion_ci(LEVEL, "exact").low
    assert interval.high == 1.0


def test_shares_cover_where_the_cells_of_a_seed_depend_on_each_other_and_pooling_would_not():
    """A false alarm once in 10^6. Nine cells a seed, all of them alike but for one in ten; true share 0.5."""
    generator, covered, pooled = np.random.default_rng(3), 0, 0
    for _ in range(600):
        seed = np.repeat(generator.random(8) < 0.5, 9)
        cells = np.where(generator.random(72) < 0.1, generator.random(72) < 0.5, seed)
        interval = share_interval(pd.Series(cells, index=np.repeat(range(8), 9)))
        covered += interval.low <= 0.5 <= interval.high
        wrong = stats.binomtest(int(cells.sum()), 72).proportion_ci(LEVEL, "exact")
        pooled += wrong.low <= 0.5 <= wrong.high
    least = stats.binom.ppf(5e-7, 600, LEVEL)
    assert covered > least
    assert pooled < least


def test_few_seeds_have_no_share_interval_however_many_cells():
    interval = share_interval(pd.Series([True] * 45, index=np.repeat(range(5), 9)))
    assert (interval.value, interval.low, interval.high, interval.coverage) == (1.0, -math.inf, math.inf, None)


def test_what_is_neither_yes_nor_no_is_refused():
    with pytest.raises(ValueError, match=r"^a cell agrees or it does not: give true, false, or NaN"):
        share_interval(pd.Series([0.5] * 6))


def test_several_intervals_together_have_the_level_asked():
    assert family_level(1) == LEVEL
    assert 3 * (1 - family_level(3)) == pytest.approx(1 - LEVEL)
    assert [least_seeds(family_level(members)) for members in (1, 2, 3)] == [6, 7, 7]
    assert median_interval(range(6), family_level(2)).coverage is None
    assert median_interval(range(7), family_level(3)).coverage >= family_level(3)
    with pytest.raises(ValueError, match=r"^a family has one member or more, got 0$"):
        family_level(0)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 2.0, math.nan])
def test_a_level_is_a_probability(level):
    calls = (least_seeds, lambda at: median_interval(GAPS, at), lambda at: share_interval(pd.Series([True] * 6), at))
    for call in (*calls, lambda at: family_level(2, at)):
        with pytest.raises(ValueError, match=r"^the level of an interval lies in \(0, 1\), got "):
            call(level)
