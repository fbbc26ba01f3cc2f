"""The intervals cover where the law is the pruning ratio's own, and those that the tables used before do not.

Every number is simulated under fixed seeds. Under fresh ones a test that asks for a coverage would raise a false alarm
at most once in 10^5: `safe` computes it from what the interval covers at least.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from heavytail import Run, compress, networks, noise, streams
from heavytail.evidence.coverage import (
    METHODS,
    between_alphas,
    coverage,
    median,
    of_settings,
    side_by_side,
    start_plus_noise,
)
from heavytail.evidence.intervals import least_seeds, median_interval
from heavytail.lab import results

TABLES = Path(__file__).resolve().parents[2] / "data" / "results" / "workstation"
INPUTS = {"ecg5000": 140, "ecg5000-random": 140, "mnist": 784, "cifar10": 3072, "cifar100": 3072, "digits": 64}
WANTED = 0.94  # of nominal 95
HEAVY = Run(width=100, noise="shared", alpha=1.5, sigma=0.3)


def safe(seeds, samples, tests):
    """Whether so many tests of this size together raise a false alarm at most once in 10^5."""
    least = median_interval(range(seeds)).coverage
    return tests * stats.binom.cdf(int(WANTED * samples), samples, least) <= 1e-5


def quantities(shares):
    """Ratio at each alpha, less plain SGD's, and the heaviest less the lightest; the last column is plain SGD."""
    noisy, plain = shares[:, :-1], shares[:, -1:]
    numbers = [*noisy.T, *(noisy - plain).T]
    return numbers + [noisy[:, 0] - noisy[:, -1]] * (noisy.shape[1] > 1)


@cache
def narrow(kind):
    runs = [replace(HEAVY, noise=kind, alpha=alpha) for alpha in (1.5, 1.75)]
    generator = streams.generator(11, "noise")
    return quantities(side_by_side([*runs, Run(width=100)], 140, 301, generator=generator))


@pytest.mark.parametrize("seeds", [6, 12])
@pytest.mark.parametrize("kind", noise.NOISES)
def test_the_median_of_pruning_ratios_and_of_their_differences_is_covered(kind, seeds):
    samples, laws = 2600, narrow(kind)
    assert safe(seeds, samples, tests=6 * len(laws))
    for law in laws:
        assert coverage(law, "median", seeds, samples, generator=np.random.default_rng(seeds)) >= WANTED


@pytest.mark.parametrize("kind", ["entrywise", "isotropic"])
def test_students_interval_does_not_cover_and_the_test_above_can_fail(kind):
    """Of ratios at α = 1.75 it covers 83 to 85%, and more seeds mend little; 0.89 is four standard deviations off."""
    law = narrow(kind)[1]
    assert coverage(law, "student", 12, 1500, generator=np.random.default_rng(1)) < 0.89
    assert coverage(law, "student", 30, 1500, generator=np.random.default_rng(1)) < WANTED


def cells():
    """One noise type at one width of a committed table: its runs at all alphas of one sigma, and its seeds."""
    for path in sorted(TABLES.glob("*.parquet")):
        table = results.read_table(path)
        if path.stem.startswith(("search", "choose")):
            continue  # no claim is held against it
        if "network" not in table or not (table["network"] == "fcn").all() or not (table["depth"] == 1).all():
            continue
        table = table[(table["along"] == "ones") & (table["weight_decay"] == 0) & (table["noise"].notna())]
        for setting, rows in table.groupby(["dataset", "width", "noise", "sigma", "lr", "max_steps"]):
            runs = results.runs_of(rows.drop_duplicates("alpha").sort_values("alpha"))
            yield f"{path.stem}-{'-'.join(map(str, setting))}", runs, rows["seed"].nunique()


@pytest.mark.slow
def test_the_median_is_covered_in_every_cell_of_the_committed_tables():
    """Of networks with one hidden layer. A cell with fewer than six seeds has no interval, and is asked for six."""
    samples, every = 6000, list(cells())
    assert len(every) > 20
    missed = {}
    for name, runs, seeds in every:
        seeds = max(seeds, least_seeds())
        assert safe(seeds, samples, tests=10 * len(every))
        plain = replace(runs[0], noise=None, alpha=None, sigma=0.0)
        generator = streams.generator(18, "noise")
        shares = side_by_side([*runs, plain], INPUTS[runs[0].dataset], 151, generator=generator)
        found = [
            coverage(law, "median", seeds, samples, generator=np.random.default_rng(18)) for law in quantities(shares)
        ]
        if min(found) < WANTED:
            missed[name] = found
    assert missed == {}


def summed(run, inputs, draws, generator):
    """Pruning ratios of a start plus its kicks, added one by one."""
    size = noise.scale(run.alpha, run.sigma, run.lr)
    for _ in range(draws):
        weight = (2 * torch.rand(run.width, inputs, generator=generator) - 1) / inputs**0.5
        for _ in range(run.max_steps - 1):
            weight = weight + size * noise.draw(run.alpha, run.noise, weight.shape, generator=generator)
        yield compress.prunable_share(weight)


def test_all_kicks_together_are_one_draw():
    """Kolmogorov and Smirnov on two samples of 150; a false alarm once in 10^6."""
    run = Run(width=40, noise="shared", alpha=1.3, sigma=1.0, lr=0.01, max_steps=9)
    one_by_one = list(summed(run, 5, 150, streams.generator(4, "noise")))
    together, wrong = (
        side_by_side([made], 5, 150, generator=streams.generator(5, "noise"))[:, 0]
        for made in (run, replace(run, max_steps=2))
    )
    assert stats.ks_2samp(one_by_one, together).pvalue > 1e-6
    assert stats.ks_2samp(one_by_one, wrong).pvalue < 1e-6


def test_runs_side_by_side_share_start_and_words_as_runs_of_a_seed_do():
    runs = [HEAVY, replace(HEAVY, alpha=1.6), replace(HEAVY, alpha=1.5, seed=3), Run(width=100)]
    shares = side_by_side(runs, 20, 60, generator=streams.generator(1, "noise"))
    assert shares.shape == (60, 4)
    assert (shares[:, 0] == shares[:, 2]).all()
    assert stats.spearmanr(shares[:, 0], shares[:, 1]).statistic > 0.9
    assert len(np.unique(shares[:, 0])) > 10  # rows are draws of their own
    again = side_by_side(runs[:2], 20, 60, generator=streams.generator(1, "noise"))
    assert (again == shares[:, :2]).all()
    gap = between_alphas(HEAVY, 1.6, 20, 60, generator=streams.generator(1, "noise"))
    assert (gap == shares[:, 0] - shares[:, 1]).all()


@pytest.mark.parametrize("other", [replace(HEAVY, width=50), replace(HEAVY, noise="isotropic")])
def test_runs_that_seeds_do_not_pair_are_refused(other):
    with pytest.raises(ValueError, match=r"^runs side by side have one width, and one noise or none: other runs share"):
        side_by_side([HEAVY, other], 20, 3, generator=streams.generator(1, "noise"))


def test_a_law_and_a_method_that_cannot_be_used_are_refused():
    generator = np.random.default_rng(1)
    with pytest.raises(ValueError, match=r"^unknown method 'bootstrap': choose one of student, median$"):
        coverage(np.ones(3), "bootstrap", 6, 10, generator=generator)
    for law in (np.array([]), np.array([1.0, np.nan])):
        with pytest.raises(ValueError, match=r"^a law is given by draws, one or more, all of them finite$"):
            coverage(law, "median", 6, 10, generator=generator)


@pytest.mark.parametrize(("method", "seeds"), [*itertools.product(METHODS, (6, 10))])
def test_of_a_law_that_students_interval_is_made_for_both_cover_as_they_say(method, seeds):
    """Normal draws; a false alarm once in 10^6. The same hits would not pass for a coverage of 90%."""
    law = np.random.default_rng(2).standard_normal(20_001)
    said = {"student": 0.95, "median": median_interval(range(seeds)).coverage}[method]
    hits = round(3000 * coverage(law, method, seeds, 3000, generator=np.random.default_rng(3)))
    assert stats.binomtest(hits, 3000, said).pvalue > 1e-6
    assert stats.binomtest(hits, 3000, 0.9).pvalue < 1e-6


@pytest.mark.parametrize("seeds", [2, 5, 6, 12, 13, 30])
def test_the_ends_of_many_samples_are_those_of_each(seeds):
    samples = np.random.default_rng(4).choice([0.1, 0.2, 0.3, 0.7], size=(40, seeds))
    each = [median_interval(sample) for sample in samples]
    low, high = median(samples)
    assert low.tolist() == [interval.low for interval in each]
    assert high.tolist() == [interval.high for interval in each]


def test_settings_are_judged_by_what_noise_adds_to_the_start():
    """At the one alpha noise adds a number of a law like Student's, at the other nothing but once in forty times."""
    drawn = np.random.default_rng(5).standard_normal(1000) / 50
    added = {1.5: 0.5 + drawn, 1.75: np.where(np.arange(1000) % 40, 0.0, 0.8), 2.0: drawn}
    law = pd.DataFrame(
        {"noise": "shared", "alpha": alpha, "sigma": 0.1, "repeat": repeat, "quantity": quantity, "value": value}
        for alpha, values in added.items()
        for repeat, more in enumerate(values)
        for quantity, value in (("pruning_ratio", 0.1 + more), ("start_ratio", 0.1))
    )
    table = of_settings(law, 12, 4000, seed=6)
    assert list(table.columns) == ["noise", "alpha", "sigma", *METHODS]
    assert table["alpha"].tolist() == [1.5, 1.75]
    bell, rare = table.to_dict("records")
    assert abs(bell["student"] - 0.95) < 0.02  # beyond it once in 10^8
    assert rare["student"] < 0.35  # 26% of samples see one of the rare numbers
    assert min(bell["median"], rare["median"]) > WANTED
    assert rare["median"] == 1.0


def test_start_plus_noise_has_the_start_of_the_networks_and_the_noise_of_all_steps():
    """Without noise, a plain start; with much noise, what noise alone prunes; its size is that of K kicks."""
    g = streams.generator(1, "noise")
    net = networks.build("fcn", (30,), 2, width=4000, depth=1, generator=g)
    (start,) = networks.hidden_weights(net).values()
    plain = start_plus_noise(Run(width=4000), 30, 3, generator=g)
    assert plain.shape == (3,)
    assert plain == pytest.approx(compress.prunable_share(start.detach()), abs=0.01)
    pure = compress.prunable_share(noise.draw(2.0, "isotropic", (4000, 30), generator=g))
    loud = Run(width=4000, noise="isotropic", alpha=2.0, sigma=100.0)
    assert start_plus_noise(loud, 30, 3, generator=g) == pytest.approx(pure, abs=0.01)
    # At α = 2 the kicks of one step of size Kη are those of K steps of size η; one step less is no kick.
    settings = {"width": 4000, "noise": "shared", "alpha": 2.0, "sigma": 0.1}
    many, one, none = (
        start_plus_noise(Run(**settings, lr=lr, max_steps=steps), 30, 1, generator=streams.generator(2, "noise"))
        for lr, steps in ((0.001, 601), (0.6, 2), (0.6, 1))
    )
    assert many == one
    assert none == pytest.approx(plain[:1], abs=0.01)
    assert one > none + 0.05


def test_start_plus_noise_is_for_one_hidden_layer():
    for other, told in ((Run(depth=2), "'fcn' of depth 2"), (Run(network="mean_field"), "'mean_field' of depth 1")):
        with pytest.raises(ValueError, match=f"^start plus noise wants one hidden layer of an fcn, not {told}$"):
            start_plus_noise(other, 3, 1, generator=streams.generator(1, "noise"))
