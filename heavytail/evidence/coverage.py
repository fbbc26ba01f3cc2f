"""How often intervals over seeds cover, simulated from the law of the pruning ratio itself.

Start plus own kicks makes that free: by stability all K kicks of a run together are one draw of scale σ(ηK)^(1/α), so
a thousand networks' pruning ratios take seconds and no training. [D]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from scipy import stats

from heavytail import compress, streams
from heavytail import noise as noises
from heavytail.evidence.intervals import LEVEL, median_interval
from heavytail.lab.runs import Run
from heavytail.lab.simulations import untrained

#: Samples in, (samples, seeds); out the ends of the interval of each.
Method = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

MIDDLE_OF: dict[str, Callable[[np.ndarray], float]] = {
    "student": lambda law: float(law.mean()),
    "median": lambda law: float(np.median(law)),
}


def student(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of Student's t interval of the mean, of two finite values or more: what the tables used before.

    >>> [round(end.item(), 2) for end in student(np.array([[0.2, 0.3, 0.4]]))]
    [0.05, 0.55]
    """
    seeds, middle = samples.shape[1], samples.mean(axis=1)
    half = float(stats.t.ppf((1 + LEVEL) / 2, seeds - 1)) * samples.std(axis=1, ddof=1) / math.sqrt(seeds)
    return middle - half, middle + half


def median(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the order-statistic interval of the median, as `intervals.median_interval` has them; of finite values.

    >>> [end.item() for end in median(np.array([[0.2, 0.3, 0.4, 0.1, 0.5, 0.6]]))]
    [0.1, 0.6]
    """
    places = median_interval(range(samples.shape[1]))  # of 0, 1, 2, ... the ends are their own places
    if places.coverage is None:
        return np.full(len(samples), -math.inf), np.full(len(samples), math.inf)
    ordered = np.sort(samples, axis=1)
    return ordered[:, int(places.low)], ordered[:, int(places.high)]


METHODS: dict[str, Method] = {"student": student, "median": median}


def start_plus_noise(run: Run, inputs: int, draws: int, *, generator: torch.Generator) -> np.ndarray:
    """Shares pruned at squared error 0.1 of `draws` networks that were not trained; shape (draws,), in [0, 1].

    Each is the start of a hidden layer of `inputs` weights a neuron, plus the noise of all steps of the run at once: a
    sum of K independent stable kicks has the law of K^(1/α) times one of them. No data, no gradient. [D]
    Raises ValueError for a run with other than one fully connected hidden layer.
    """
    if run.network != "fcn" or run.depth != 1:
        raise ValueError(f"start plus noise wants one hidden layer of an fcn, not {run.network!r} of depth {run.depth}")
    shares = []
    for _ in range(draws):
        weight = untrained.start(run.width, inputs, generator=generator)
        if run.noise is not None and run.alpha is not None:
            size = noises.scale(run.alpha, run.sigma, (run.max_steps - 1) * run.lr)  # no kick after the last step
            weight = untrained.kicked(weight, run.alpha, run.noise, size, generator=generator)
        shares.append(compress.prunable_share(weight))
    return np.array(shares)


def side_by_side(runs: Sequence[Run], inputs: int, draws: int, *, generator: torch.Generator) -> np.ndarray:
    """Pruning ratios of `draws` untrained networks, start plus kicks, as each run has them; shape (draws, runs).

    In a row all runs have the same start and the same random words, as runs of one seed have. Each run's law is exact;
    how two alphas depend on each other is that of the words of one step, where training has K steps of common words.
    Raises ValueError for runs that seeds do not pair: of different widths or noises, plain SGD aside; and as
    `start_plus_noise` does.

    >>> noisy = [Run(width=50, noise="shared", alpha=alpha, sigma=0.3) for alpha in (1.5, 1.9)]
    >>> shares = side_by_side([*noisy, Run(width=50)], 20, 3, generator=streams.generator(1, "noise"))
    >>> shares.shape, bool((shares[:, 0] > shares[:, 2]).all())
    ((3, 3), True)
    """
    if len({run.width for run in runs}) > 1 or len({run.noise for run in runs} - {None}) > 1:
        raise ValueError("runs side by side have one width, and one noise or none: other runs share no random words")
    seed = streams.word(generator)
    rows = [
        [start_plus_noise(run, inputs, 1, generator=streams.generator(seed, "noise", row))[0] for run in runs]
        for row in range(draws)
    ]
    return np.array(rows, dtype=float).reshape(draws, len(runs))


def between_alphas(run: Run, other: float, inputs: int, draws: int, *, generator: torch.Generator) -> np.ndarray:
    """Pruning ratio of a run less that at the index `other`, seed by seed; shape (draws,).

    >>> run = Run(width=50, noise="shared", alpha=1.5, sigma=0.3)
    >>> between_alphas(run, 1.9, 20, 3, generator=streams.generator(1, "noise")).shape
    (3,)
    """
    shares = side_by_side([run, replace(run, alpha=other)], inputs, draws, generator=generator)
    return shares[:, 0] - shares[:, 1]


def coverage(law: np.ndarray, method: str, seeds: int, samples: int, *, generator: np.random.Generator) -> float:
    """How often the intervals of `samples` samples of so many seeds cover what they are intervals of.

    `law` holds draws of the law, such as a column of `side_by_side`: samples are taken from these draws with
    replacement, and their own mean or median is what is to be covered. `method` is one of METHODS; ValueError for
    another, or for a law without draws or with a draw that is not finite.

    >>> law = np.random.default_rng(1).standard_normal(1001)
    >>> coverage(law, "median", 12, 400, generator=np.random.default_rng(2)) > 0.9
    True
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: choose one of {', '.join(METHODS)}")
    if not len(law) or not np.isfinite(law).all():
        raise ValueError("a law is given by draws, one or more, all of them finite")
    truth = MIDDLE_OF[method](law)
    low, high = METHODS[method](law[generator.integers(len(law), size=(samples, seeds))])
    slack = 1e-12  # a sample of equal numbers has a mean that is off by a rounding
    return float(((low - slack <= truth) & (truth <= high + slack)).mean())


def of_settings(law: pd.DataFrame, seeds: int, samples: int, *, seed: int) -> pd.DataFrame:
    """How often the intervals of so many seeds cover what heavy-tailed noise adds to the pruning ratio.

    `law` is a table of the study `untrained`: its repeats are the draws, and `seed` says which samples are taken. A
    row a setting, with the columns noise, alpha, sigma and one a method.
    """
    rows, generator = [], np.random.default_rng(seed)
    for (noise, alpha, sigma), own in law[law["alpha"] < 2].groupby(["noise", "alpha", "sigma"]):
        ratios = own.pivot(index="repeat", columns="quantity", values="value")
        added = (ratios["pruning_ratio"] - ratios["start_ratio"]).to_numpy()
        covered = {method: coverage(added, method, seeds, samples, generator=generator) for method in METHODS}
        rows.append({"noise": noise, "alpha": alpha, "sigma": sigma, **covered})
    return pd.DataFrame(rows)
