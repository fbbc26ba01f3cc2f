"""What the inputs of a data set see of a kick: against sums by hand, and what a record keeps of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from heavytail.lab import datasets, simulations
from heavytail.lab.simulations import Exposure
from heavytail.lab.simulations.exposure import STEPS, exposure


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_shared_kick_is_seen_as_the_sum_of_the_inputs():
    x = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 2.0, -2.0], [3.0, 0.0, 0.0, 0.0]])
    seen = exposure(1.5, "shared", x, 7, generator=gen())
    assert seen.shape == (7, 3)
    assert np.allclose(seen, [[1.0, 0.0, 0.5]] * 7, atol=1e-12)


@pytest.mark.parametrize("kind", ["entrywise", "isotropic"])
def test_the_other_kicks_are_seen_alike_whatever_the_input(kind):
    """The mean square is 1/d by symmetry: 4000 cosines of 20 entries are within 15% of it (false alarm below 1e-6)."""
    x = torch.cat([torch.ones(1, 20), torch.ones(1, 20) * torch.tensor([1.0, -1.0]).repeat(10)])
    seen = exposure(1.5, kind, x, 4000, generator=gen(2))
    assert seen.square().mean(dim=0).tolist() == pytest.approx([1 / 20, 1 / 20], rel=0.15)
    assert float(seen.max()) <= 1


def test_an_input_of_zeros_is_refused():
    with pytest.raises(ValueError, match=r"^an input that is all zero sees no kick: leave it out$"):
        exposure(1.5, "shared", torch.zeros(2, 3), 1, generator=gen())


def numbers(**changes):
    table = simulations.simulate([Exposure(**changes)])
    return {name: rows.set_index("level")["value"] for name, rows in table.groupby("quantity")}


def test_a_record_has_the_quantiles_of_what_is_seen():
    """Of Type-I noise every kick is seen alike, by the sum of an input: 200 digits have 200 shares, by hand."""
    x = datasets.load("digits").x_test[:200].flatten(1).double()
    shares = (x.sum(1).abs() / (math.sqrt(64) * x.norm(dim=1))).numpy()
    found = numbers(noise="shared", seed=3)
    np.testing.assert_allclose(found["seen"][[0, STEPS]], [shares.min(), shares.max()], rtol=1e-9)
    assert found["seen"][STEPS // 2] == pytest.approx(np.median(shares), rel=1e-2)
    assert found["seen"].is_monotonic_increasing
    assert found["root_mean_square"][0] == pytest.approx(np.sqrt((shares**2).mean()), rel=1e-9)
    assert found["bright"][0] == pytest.approx((x.sum(1) > 0).double().mean())


def test_the_first_inputs_of_the_test_split_are_seen_and_no_more():
    assert numbers(noise="shared", samples=1, seed=3)["bright"][0] in (0.0, 1.0)
    few, many = (numbers(noise="shared", samples=samples, seed=3)["seen"] for samples in (5, 200))
    assert few[STEPS] < many[STEPS]


@pytest.mark.parametrize("name", ["", "letters", 3, None])
def test_another_data_set_is_refused(name):
    with pytest.raises(ValueError, match=r"^unknown data set .*: choose one of digits, "):
        Exposure(dataset=name)


def test_samples_are_a_whole_number():
    with pytest.raises(ValueError, match=r"^samples must be a whole number >= 1, got 0$"):
        Exposure(samples=0)


@pytest.mark.parametrize("name", ["ecg5000", "ecg5000-random"])
def test_no_series_of_ecg5000_sees_a_shared_kick(name):
    """Every series is normalised to mean zero, in training and in test: its sum is rounding, against a norm of √140."""
    try:
        data = datasets.load(name)
    except datasets.DataUnavailable as error:
        pytest.skip(str(error))
    for x in (data.x_train, data.x_test):
        assert float((x.double().sum(1) / x.double().norm(dim=1)).abs().max()) < 1e-5
    if name == "ecg5000":
        assert int(data.y_test.sum()) == 1873, "another share of the test series is abnormal than the book says"
