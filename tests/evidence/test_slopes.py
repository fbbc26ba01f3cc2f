"""Exponents: exact on a power law, honest about chance, paired where a simulation's numbers are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from goodness_of_fit import FALSE_ALARM
from scipy import stats

from heavytail.evidence import slopes
from heavytail.evidence.slopes import exponent

WIDTHS = (16, 64, 256)


def rows(values, keys=None):
    """Rows of the columns that `exponent` reads: `values` by x, one a repeat; by default all of one simulation."""
    frames = [
        pd.DataFrame(
            {"width": x, "key": "one" if keys is None else keys[x], "repeat": range(len(value)), "value": value}
        )
        for x, value in values.items()
    ]
    return pd.concat(frames, ignore_index=True)


def apart(values):
    """The same rows, each x in a simulation of its own."""
    return rows(values, {x: f"key {x}" for x in values})


def noisy(slope, repeats, seed, spread=0.3):
    """A power law times independent noise of mean 1."""
    generator = np.random.default_rng(seed)
    return {x: 2 * x**slope * (1 + spread * generator.uniform(-1, 1, repeats)) for x in WIDTHS}


# what is measured


@pytest.mark.parametrize("typical", [False, True])
@pytest.mark.parametrize(("slope", "against"), [(-0.5, 0.0), (0.37, 0.37), (-0.1, -0.25)])
def test_a_power_law_is_measured_exactly(slope, against, typical):
    frame = apart({x: np.full(8, 3 * x**slope) for x in (16, 50, 64, 1000)})
    cell = exponent("a label", frame, "width", against=against, typical=typical)
    assert cell.value == pytest.approx(slope - against, abs=1e-12)
    assert (cell.low, cell.high) == pytest.approx((slope - against,) * 2, abs=1e-12)
    assert (cell.label, cell.runs, cell.failed) == ("a label", 32, 0)


def test_the_slope_is_that_of_least_squares_on_logarithms():
    values = noisy(-0.5, 10, seed=1)
    by_hand = np.polyfit(np.log(WIDTHS), [np.log(values[x].mean()) for x in WIDTHS], 1)[0]
    typical = np.polyfit(np.log(WIDTHS), [np.log(values[x]).mean() for x in WIDTHS], 1)[0]
    assert exponent("", apart(values), "width").value == pytest.approx(by_hand, abs=1e-12)
    assert exponent("", apart(values), "width", typical=True).value == pytest.approx(typical, abs=1e-12)
    assert abs(by_hand - typical) > 1e-4


def test_the_typical_value_is_the_geometric_mean():
    frame = apart({x: [1.0, 1.0, x**2, x**2] for x in (100, 10_000)})
    assert exponent("", frame, "width", typical=True).value == pytest.approx(1, abs=1e-12)
    assert exponent("", frame, "width").value == pytest.approx(2, abs=1e-3)  # the mean follows the largest


def test_one_enormous_value_moves_the_mean_and_hardly_the_typical_value():
    values = noisy(-0.5, 100, seed=2)
    wild = {**values, 256: np.append(values[256][:-1], 1e6)}
    moved = [
        abs(exponent("", apart(wild), "width", typical=t).value - exponent("", apart(values), "width", typical=t).value)
        for t in (False, True)
    ]
    assert moved[0] > 2
    assert moved[1] < 0.1


# resampling


def test_levels_of_one_simulation_are_resampled_together():
    shared = np.random.default_rng(3).lognormal(0, 1, 20)  # all x of a repeat move alike: the slope is certain
    values = {x: x**-0.5 * shared for x in WIDTHS}
    paired, unpaired = exponent("", rows(values), "width"), exponent("", apart(values), "width")
    assert paired.value == pytest.approx(unpaired.value, abs=1e-12) == pytest.approx(-0.5, abs=1e-12)
    assert paired.high - paired.low < 1e-12
    assert unpaired.high - unpaired.low > 0.2


def test_repeats_are_paired_by_their_number_not_by_their_place():
    frame = rows(noisy(-0.5, 10, seed=4))
    assert exponent("", frame.sample(frac=1, random_state=5), "width") == exponent("", frame, "width")


def test_the_same_table_gives_the_same_interval_and_no_global_generator_is_touched():
    frame = apart(noisy(-0.5, 10, seed=6))
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    cell = exponent("", frame, "width")
    assert exponent("", frame, "width") == cell
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    other = exponent("", frame, "width", seed=1)
    assert other.value == cell.value
    assert other != cell
    assert (other.low, other.high) == pytest.approx((cell.low, cell.high), abs=0.2 * (cell.high - cell.low))


TABLES = 150
# How often so many intervals that err at 1 - LEVEL may err, but for a chance of FALSE_ALARM.
MISSES = int(stats.binom.isf(FALSE_ALARM, TABLES, 1 - slopes.LEVEL))


def misses(cells, slope):
    return sum(not cell.low <= slope <= cell.high for cell in cells)


@pytest.mark.long
def test_intervals_hold_the_true_exponent_as_often_as_they_say_and_exclude_wrong_ones(monkeypatch):
    monkeypatch.setattr(slopes, "RESAMPLES", 500)
    frames = [rows(noisy(-0.5, 40, seed)) for seed in range(TABLES)]
    cells = [exponent("", frame, "width") for frame in frames]
    assert misses(cells, -0.5) <= MISSES
    assert min(misses(cells, wrong) for wrong in (-0.6, -0.4)) == TABLES
    monkeypatch.setattr(slopes, "LEVEL", 0.8)
    assert misses([exponent("", frame, "width") for frame in frames], -0.5) > MISSES  # one in five is found out


# what cannot be measured


def test_one_repeat_has_a_value_and_no_interval():
    cell = exponent("", apart({x: [x**-0.5] for x in WIDTHS}), "width")
    assert cell.value == pytest.approx(-0.5, abs=1e-12)
    assert (cell.low, cell.high, cell.runs) == (-math.inf, math.inf, 3)


def test_one_simulation_of_one_repeat_among_others_opens_the_interval():
    values = noisy(-0.5, 10, seed=7)
    cell = exponent("", apart({**values, 16: values[16][:1]}), "width")
    assert (cell.low, cell.high, cell.runs) == (-math.inf, math.inf, 21)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_counted_and_left_out(bad):
    values = noisy(-0.5, 10, seed=8)
    some = apart({**values, 64: np.append(values[64], [bad, bad])})
    assert exponent("", some, "width") == replace(exponent("", apart(values), "width"), failed=2)


def test_a_repeat_that_lacks_one_level_is_left_out_at_all_levels():
    values = noisy(-0.5, 10, seed=9)
    lacking = {x: value.copy() for x, value in values.items()}
    lacking[64][-1] = math.nan
    complete = rows({x: value[:-1] for x, value in values.items()})
    assert exponent("", rows(lacking), "width") == replace(exponent("", complete, "width"), failed=1)


@pytest.mark.parametrize(
    "frame",
    [rows({16: [1.0, 2.0]}), rows({16: [1.0, 2.0], 64: [math.nan] * 2}).query("width == 16"), rows({16: []})],
    ids=["one x", "one x after a choice", "no rows"],
)
def test_fewer_than_two_places_give_no_slope(frame):
    cell = exponent("alone", frame, "width")
    assert math.isnan(cell.value)
    assert (cell.label, cell.low, cell.high, cell.runs) == ("alone", -math.inf, math.inf, len(frame))


def test_a_place_where_every_number_failed_is_no_place():
    cell = exponent("", apart({16: [1.0, 2.0], 64: [math.nan, math.nan]}), "width")
    assert math.isnan(cell.value)
    assert (cell.low, cell.high, cell.runs, cell.failed) == (-math.inf, math.inf, 2, 2)


def test_two_simulations_at_one_place_give_no_slope():
    frame = pd.concat([rows({16: [1.0, 2.0]}), rows({16: [2.0, 3.0]}, {16: "other"})])
    assert math.isnan(exponent("", frame, "width").value)


def test_a_simulation_without_a_whole_repeat_gives_no_slope():
    cell = exponent("", rows({16: [1.0, math.nan], 64: [math.nan, 1.0]}), "width")
    assert math.isnan(cell.value)
    assert (cell.runs, cell.failed) == (0, 2)
