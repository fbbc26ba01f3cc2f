"""How often intervals over seeds cover, simulated from the law of the pruning ratio itself.

Start plus own kicks makes that free: by stability all K kicks of a run together are one draw of scale σ(ηK)^(1/α), so
a thousand networks' pruning ratios take seconds and no training. [D]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy import stats

from heavytail import streams
from heavytail.evidence.intervals import LEVEL, median_interval
from heavytail.evidence.widths import start_plus_noise
from heavytail.lab.runs import Run

Method = Callable[[np.ndarray], tuple[float, float]]  # numbers of some seeds in, ends of the interval out

MIDDLE_OF: dict[str, Callable[[np.ndarray], float]] = {
    "student": lambda law: float(law.mean()),
    "median": lambda law: float(np.median(law)),
}


def student(values: np.ndarray) -> tuple[float, float]:
    """Ends of Student's t interval of the mean, of two finite values or more: what the tables used before.

    >>> [round(end, 2) for end in student(np.array([0.2, 0.3, 0.4]))]
    [0.05, 0.55]
    """
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def median(values: np.ndarray) -> tuple[float, float]:
    """Ends of the order-statistic interval of the median.

    >>> median(np.array([0.2, 0.3, 0.4, 0.1, 0.5, 0.6]))
    (0.1, 0.6)
    """
    interval = median_interval(values)
    return interval.low, interval.high


METHODS: dict[str, Method] = {"student": student, "median": median}


def side_by_side(runs: Sequence[Run], inputs: int, draws: int, *, generator: torch.Generator) -> np.ndarray:
    """Pruning ratios of `draws` untrained networks, start plus kicks, as each run has them; shape (draws, runs).

    In a row all runs have the same start and the same random words, as runs of one seed have. Each run's law is exact;
    how two alphas depend on each other is that of the words of one step, where training has K steps of common words.
    Raises ValueError for runs that seeds do not pair: of different widths or noises, plain SGD aside; and as
    `widths.start_plus_noise` does.

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
    chosen = law[generator.integers(len(law), size=(samples, seeds))]
    ends = [METHODS[method](sample) for sample in chosen]
    slack = 1e-12  # a sample of equal numbers has a mean that is off by a rounding
    return float(np.mean([low - slack <= truth <= high + slack for low, high in ends]))
