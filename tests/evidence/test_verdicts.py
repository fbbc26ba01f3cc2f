"""The four words: each can come out, the rule is the one stated, and what is undecided says what it would take."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from heavytail.evidence.intervals import family_level, median_interval, share_interval
from heavytail.evidence.verdicts import (
    MOST,
    VERDICTS,
    Verdict,
    accuracy_outcomes,
    check,
    judge,
    seeds_needed,
    seeds_needed_share,
    tally,
    verdict,
    whole,
)

ABOVE, BELOW, WITHIN = (0.0, math.inf), (-math.inf, 0.0), (-1.0, 1.0)
POINTS = np.linspace(-1, 1, 12)


@pytest.mark.parametrize(
    ("low", "high", "expected", "margin", "word"),
    [
        (0.02, 0.1, ABOVE, 0.01, "holds"),
        (0.01, 0.1, ABOVE, 0.01, "undecided"),  # the margin itself is not beyond it
        (-0.1, -0.02, ABOVE, 0.01, "fails"),
        (-0.1, -0.01, ABOVE, 0.01, "undecided"),
        (-0.01, 0.01, ABOVE, 0.01, "no difference"),
        (0.002, 0.004, ABOVE, 0.01, "no difference"),  # above 0, but by less than would matter
        (-0.004, -0.002, ABOVE, 0.01, "no difference"),
        (-0.011, 0.01, ABOVE, 0.01, "undecided"),
        (0.002, 0.004, ABOVE, 0.0, "holds"),
        (0.0, 0.0, ABOVE, 0.0, "no difference"),  # the same to the unit in every seed
        (0.0, 0.1, ABOVE, 0.0, "undecided"),
        (-0.1, -0.02, BELOW, 0.01, "holds"),
        (0.02, 0.1, BELOW, 0.01, "fails"),
        (-0.01, 0.01, BELOW, 0.01, "no difference"),
        (-0.01, 0.1, (-0.02, math.inf), 0.0, "holds"),
        (-0.1, -0.03, (-0.02, math.inf), 0.0, "fails"),
        (-0.9, 0.9, WITHIN, 0.0, "holds"),
        (-1.0, 0.9, WITHIN, 0.0, "undecided"),
        (1.1, 1.2, WITHIN, 0.0, "fails"),
        (-1.2, -1.1, WITHIN, 0.0, "fails"),
        (-3.0, 3.0, WITHIN, 0.0, "undecided"),
        (1.0, 1.0, WITHIN, 0.0, "undecided"),
        (-math.inf, math.inf, ABOVE, 0.01, "undecided"),
        (-math.inf, math.inf, BELOW, 0.0, "undecided"),
        (-math.inf, math.inf, WITHIN, 0.0, "undecided"),
        (math.nan, math.nan, ABOVE, 0.01, "undecided"),
        (-math.inf, -0.02, ABOVE, 0.01, "fails"),  # some seeds are missing, the others suffice
    ],
)
def test_the_word_follows_from_where_the_interval_lies(low, high, expected, margin, word):
    assert judge(low, high, expected, margin) == word


def test_turning_the_numbers_and_the_claim_round_changes_no_word():
    ends = [-math.inf, -0.03, -0.02, -0.01, -0.005, 0.0, 0.005, 0.01, 0.02, 0.03, math.inf]
    words = set()
    for low in ends:
        for high in (end for end in ends if end >= low):
            words.add(judge(low, high, ABOVE, 0.01))
            assert judge(low, high, ABOVE, 0.01) == judge(-high, -low, BELOW, 0.01)
    assert words == set(VERDICTS)


@pytest.mark.parametrize(
    ("expected", "margin", "why"),
    [
        ((1.0, 0.0), 0.0, "a claimed range has a low end below a high end, and one of them is finite, got (1.0, 0.0)"),
        ((-math.inf, math.inf), 0.0, "a claimed range has a low end below a high end, and one of them is finite, got"),
        (ABOVE, -0.1, "an equivalence margin is a finite number >= 0, got -0.1"),
        (ABOVE, math.nan, "an equivalence margin is a finite number >= 0, got nan"),
        (ABOVE, math.inf, "an equivalence margin is a finite number >= 0, got inf"),
        (WITHIN, 0.1, "a range with two ends says itself how small is small: leave the margin at 0"),
    ],
)
def test_what_cannot_be_claimed_is_refused(expected, margin, why):
    for ask in (lambda: judge(0.0, 1.0, expected, margin), lambda: seeds_needed(POINTS, expected, margin)):
        with pytest.raises(ValueError, match="^" + why.replace("(", r"\(").replace(")", r"\)")):
            ask()


@pytest.mark.parametrize(("shift", "word"), [(2.0, "holds"), (-2.0, "fails"), (0.3, "undecided"), (0.0, "undecided")])
def test_seeds_decide_by_their_interval(shift, word):
    assert verdict(median_interval(POINTS + shift), ABOVE, 0.05) == word
    assert verdict(median_interval(POINTS / 100), ABOVE, 0.05) == "no difference"


def test_five_seeds_decide_nothing_and_six_that_agree_do():
    assert verdict(median_interval([0.5] * 5), ABOVE) == "undecided"
    assert verdict(median_interval([0.5] * 6), ABOVE) == "holds"
    assert verdict(median_interval([0.5] * 6, family_level(3)), ABOVE) == "undecided"
    assert verdict(median_interval([0.5] * 7, family_level(3)), ABOVE) == "holds"


def test_shares_decide_by_seeds_and_not_by_cells():
    cells = pd.Series([True] * 90, index=np.repeat(range(30), 3))
    assert verdict(share_interval(cells), (0.9, math.inf)) == "undecided"
    assert verdict(share_interval(cells.set_axis(range(90))), (0.9, math.inf)) == "holds"
    assert verdict(share_interval(~cells), (0.5, math.inf)) == "fails"


def test_a_decided_sample_needs_no_more_than_the_fewest_seeds_if_all_agree():
    assert seeds_needed([0.5] * 5, ABOVE, 0.01) == 6
    assert seeds_needed([0.5] * 5, ABOVE, 0.01, family_level(3)) == 7
    assert seeds_needed([-0.5] * 5, ABOVE, 0.01) == 6  # to know that it fails
    assert seeds_needed([0.001] * 5, ABOVE, 0.01) == 6  # or makes no difference


def test_the_nearer_the_median_to_the_margin_the_more_seeds_are_needed():
    needed = [seeds_needed(POINTS + shift, ABOVE) for shift in (0.8, 0.5, 0.3, 0.2, 0.1)]
    assert needed == sorted(set(needed))
    assert seeds_needed(POINTS, ABOVE) is None  # the median lies on it
    assert seeds_needed([0.3], ABOVE) is None  # no spread was seen
    assert seeds_needed([0.3, math.nan], ABOVE) is None
    assert max(needed) < MOST


@pytest.mark.parametrize("shift", [0.2, 0.4, -0.3])
def test_about_half_of_the_samples_of_as_many_seeds_decide(shift):
    """Draws of a law that the points describe well. From 3000 samples; half of that size would decide too rarely."""
    law = np.linspace(-1, 1, 400) + shift
    needed = seeds_needed(law, ABOVE)
    generator = np.random.default_rng(5)

    def deciding(n):
        samples = generator.choice(law, size=(1000, n))
        return np.mean([verdict(median_interval(sample), ABOVE) != "undecided" for sample in samples])

    assert 0.35 < deciding(needed) < 0.75  # 0.1 is six standard deviations and the rest the steps of j
    assert deciding(needed // 2) < 0.35


def test_a_share_says_how_many_seeds_it_would_take():
    assert seeds_needed_share(1.0, (0.9, math.inf)) == 36
    cells = pd.Series([True] * 36)
    assert verdict(share_interval(cells), (0.9, math.inf)) == "holds"
    assert verdict(share_interval(cells[1:]), (0.9, math.inf)) == "undecided"
    assert seeds_needed_share(0.0, (0.01, math.inf)) == 368
    assert seeds_needed_share(0.9, (0.9, math.inf)) is None
    assert seeds_needed_share(math.nan, (0.9, math.inf)) is None


def test_a_diverged_run_is_an_outcome_and_another_failure_is_none():
    accuracy = pd.Series([0.9, math.nan, math.nan, 0.8], index=[4, 5, 6, 7])
    status = pd.Series(["max_steps", "diverged", "out_of_memory", "converged"], index=[4, 5, 6, 7])
    outcome = accuracy_outcomes(accuracy, status, 0.1)
    assert outcome.drop(6).to_dict() == {4: 0.9, 5: 0.1, 7: 0.8}
    assert math.isnan(outcome[6])
    for chance in (0.0, 1.1, math.nan):
        with pytest.raises(
            ValueError, match=r"^chance is an accuracy in \(0, 1\], one over the number of classes, got "
        ):
            accuracy_outcomes(accuracy, status, chance)


def test_diverged_runs_can_make_a_claim_about_accuracy_fail():
    """Six of eight noisy runs diverge: those that are left are better than plain SGD, and noise is not."""
    gains = pd.Series([0.01] * 2 + [math.nan] * 6)
    status = pd.Series(["max_steps"] * 2 + ["diverged"] * 6)
    assert verdict(median_interval(gains), ABOVE) == "undecided"
    outcome = accuracy_outcomes(0.9 + gains, status, 0.1) - 0.9
    assert verdict(median_interval(outcome), (-math.inf, 0.005)) == "undecided"
    outcome[:2] = -0.01
    assert verdict(median_interval(outcome), ABOVE) == "fails"


def test_words_are_a_closed_set():
    assert get_args(Verdict) == VERDICTS == ("holds", "fails", "no difference", "undecided")
    for word in ("mixed", "supported", "", None):
        for ask in (check, lambda other: tally([other]), lambda other: whole(["holds", other])):
            with pytest.raises(ValueError, match=r"^unknown verdict .*: choose one of holds, fails, no difference, "):
                ask(word)


def test_a_word_for_all_is_the_word_of_each_or_else_counts():
    assert whole(["fails"] * 3) == "fails"
    assert whole(["undecided", "no difference", "undecided"]) == "no difference 1, undecided 2"
    assert list(tally(["undecided"]).items()) == [("holds", 0), ("fails", 0), ("no difference", 0), ("undecided", 1)]
    with pytest.raises(ValueError, match=r"^a verdict needs the word of one cell at least$"):
        whole([])
