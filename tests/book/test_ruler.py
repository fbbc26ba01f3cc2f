"""How wide is wide enough: what comes with the page is the law, and matrices drawn by the library beside it."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from heavytail import laws
from heavytail.book import ruler
from heavytail.book.ruler import ALPHAS, ERRORS, INPUTS, KEEPS, MATRICES, NOISES, WIDTHS, Landmark


@pytest.mark.parametrize(
    ("kind", "alpha", "keep"),
    [("shared", 1.1, 0.5), ("shared", 1.95, 0.01), ("isotropic", 1.5, 0.1), ("entrywise", 1.75, 0.2)],
)
def test_one_number_a_setting_gives_the_width_at_every_error(kind, alpha, keep):
    start = ruler.log_width_at_one(kind, alpha, keep)
    for error in ERRORS:
        wanted = laws.log_required_width(alpha, keep, error, noise=kind, inputs=INPUTS)
        assert max(0.0, start - 2 * alpha / (2 - alpha) * math.log(error)) == pytest.approx(
            wanted, rel=1e-12, abs=1e-12
        )


def test_wide_matrices_lie_about_the_law_and_more_columns_kept_leave_a_smaller_error():
    for alpha, keep in ((1.2, 0.1), (1.5, 0.01)):
        errors = ruler.simulated("shared", alpha, seed=2)[30_000]
        assert errors.shape == (MATRICES, len(KEEPS))
        assert (np.diff(errors, axis=1) < 0).all()
        own = errors[:, KEEPS.index(keep)]
        law = laws.limit_law(alpha, keep)
        low, high = (laws.pruning_error(law, 30_000, chance) for chance in (1e-4, 1 - 1e-4))
        assert low < own.min() < own.max() < high
        assert len(np.unique(own)) == MATRICES


def test_matrices_of_other_settings_and_seeds_are_others():
    sets = [
        ruler.simulated(kind, alpha, seed)
        for kind, alpha, seed in (("shared", 1.5, 1), ("shared", 1.5, 2), ("shared", 1.55, 1), ("isotropic", 1.5, 1))
    ]
    numbers = np.concatenate([errors[100].ravel() for errors in sets])
    assert len(np.unique(numbers)) == numbers.size == 4 * MATRICES * len(KEEPS)


@pytest.fixture(scope="module")
def piece():
    names = ruler.simulated, ruler.log_width_at_one
    with pytest.MonkeyPatch.context() as patch:  # of which the tests above are
        patch.setattr(
            ruler, "simulated", lambda kind, *_: {n: np.full((MATRICES, len(KEEPS)), 1 / 3) for n in WIDTHS[kind]}
        )
        patch.setattr(ruler, "log_width_at_one", lambda kind, alpha, keep: alpha + keep)
        yield ruler.page([Landmark(2000, "</script>")], 1.5, 0.1, 0.1, seed=1, committed=[{"alpha": 1.5, "width": 10}])
    assert names == (ruler.simulated, ruler.log_width_at_one)


def test_the_page_holds_every_setting_and_its_landmarks_in_order(piece):
    assert piece.text.count("</script") == 3  # data, what pieces share, its own
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', piece.text, re.DOTALL)
    data = json.loads(text)
    assert np.array_equal(data["laws"], [[[alpha + keep for keep in KEEPS] for alpha in ALPHAS] for _ in NOISES])
    assert [data["alphas"][data["start"][1]], data["keeps"][data["start"][2]], data["errors"][data["start"][3]]] == [
        1.5,
        0.1,
        0.1,
    ]
    assert [np.shape(data["matrices"][k][0]) for k in range(3)] == [
        (len(WIDTHS[n]), len(KEEPS), MATRICES) for n in NOISES
    ]
    assert {value for kind in data["matrices"] for value in np.unique(kind)} == {0.333}
    assert [mark["number"] for mark in data["landmarks"]] == sorted([2000, *(mark.number for mark in ruler.KNOWN)])
    assert data["committed"] == [{"alpha": 1.5, "width": 10}]


def test_without_its_script_the_page_has_a_table_of_widths(piece):
    before = piece.text.partition("<script")[0]
    (row,) = re.findall(r"α = 1.5</th>(.*?)</tr>", before)
    powers = [float(power) for power in re.findall(r"10<sup>([\d.]+)</sup>", row)]
    wanted = [math.log10(laws.required_width(1.5, 0.1, error)) for error in (0.1, math.sqrt(0.1), 0.5)]
    assert powers == pytest.approx(wanted, abs=0.051)


def test_a_setting_that_cannot_be_chosen_is_an_error():
    with pytest.raises(ValueError, match=r"alpha = 1.52 cannot be chosen: take one of 1.1, 1.15, "):
        ruler.page([], 1.52, 0.1, 0.1, seed=1)


def test_medians_are_of_pure_noise_at_settings_that_can_be_chosen():
    usual = {"quantity": "error", "noise": "shared", "steps": 0, "alpha": 1.5, "keep": 0.1, "width": 10, "value": 0.2}
    others = [{"alpha": 1.52}, {"keep": 0.3}, {"steps": 5}, {"noise": "isotropic"}, {"quantity": "rest"}]
    rows = pd.DataFrame([usual, usual | {"value": 0.3}, *(usual | other for other in others)])
    more = pd.DataFrame([usual | {"value": 0.9}, usual | {"width": 20}])
    first, second = ruler.medians([rows, more])
    assert first == {"alpha": 1.5, "keep": 0.1, "width": 10, "error": 0.3, "matrices": 3}
    assert (second["width"], second["error"], second["matrices"]) == (20, 0.2, 1)
