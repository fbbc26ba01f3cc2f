"""Does a sample follow a law? Reference laws from numerical integration, and tests whose false-alarm rate is known.

Every check that can fail by chance does so with probability at most FALSE_ALARM. The files test_stable.py,
test_noise.py, test_sampler.py, test_sampler_laws.py, test_gpu_laws.py, test_streams.py and test_networks.py make about
1300: under fresh seeds they would raise a false alarm less than once in 700 runs. Seeds are fixed: a run that passed
passes again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from scipy import stats

FALSE_ALARM = 1e-6
GAUSS_LIMIT = float(stats.norm.isf(FALSE_ALARM / 2))  # a standard normal passes it with probability FALSE_ALARM

# Two-sided levels of the 2 * 201 points at which the symmetric law is compared: the body, then every tail down to 1e-7.
LEVELS = np.concatenate([np.linspace(0.005, 0.98, 196), [1e-3, 1e-4, 1e-5, 1e-6, 1e-7]])


def largest_gap(sample: torch.Tensor, points: np.ndarray, cdf: np.ndarray) -> float:
    """The largest distance, over the given points, between the sample's distribution function and `cdf`."""
    edges = torch.as_tensor(points, dtype=torch.float64)
    below = torch.bucketize(sample.detach().cpu().double().flatten().contiguous(), edges)
    counts = torch.bincount(below, minlength=len(edges) + 1)[:-1].cumsum(0).numpy()
    return float(np.abs(counts / sample.numel() - cdf).max())


def gap_limit(draws: int) -> float:
    """What the gap of a right sample exceeds with probability at most FALSE_ALARM.

    The inequality of Dvoretzky, Kiefer and Wolfowitz with Massart's constant. It holds for every size and for the
    supremum over all points, so also for a maximum over some of them.
    """
    return math.sqrt(math.log(2 / FALSE_ALARM) / (2 * draws))


def follows(sample: torch.Tensor, points: np.ndarray, cdf: np.ndarray) -> bool:
    """Kolmogorov-Smirnov over `points`: False for a right, independent sample with probability at most FALSE_ALARM."""
    return largest_gap(sample, points, cdf) <= gap_limit(sample.numel())


def follows_symmetric(sample: torch.Tensor, alpha: float) -> bool:
    """Kolmogorov-Smirnov against the symmetric stable law of scale 1."""
    return follows(sample, symmetric_points(alpha), symmetric_cdf(alpha))


def follows_continuous(sample: torch.Tensor, law: Callable[[np.ndarray], np.ndarray], points: np.ndarray) -> bool:
    """Kolmogorov-Smirnov against a distribution function that can be evaluated anywhere."""
    return follows(sample, points, law(points))


def is_fair(heads: int, tosses: int) -> bool:
    """Exact binomial test of a fair coin."""
    return bool(stats.binomtest(heads, tosses, 0.5).pvalue > FALSE_ALARM)


def is_poisson(count: int, expected: float) -> bool:
    """Whether a count lies in the central interval of a Poisson law, each side with half of FALSE_ALARM."""
    low, high = stats.poisson.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], expected)
    return bool(low <= count <= high)


def z_score(values: torch.Tensor, mean: float, variance: float) -> float:
    """Standardised distance of the mean of bounded `values` from what the law says."""
    return float((values.double().mean() - mean) / math.sqrt(variance / values.numel()))


def symmetric_survival(alpha: float, x: np.ndarray | float) -> np.ndarray:
    """P(X > x), x > 0, for the characteristic function exp(-|u|^alpha), to about 1e-10 of its own size.

    Zolotarev's integral by the trapezoidal rule after a logistic change of variable, which resolves both ends.
    Closed forms at alpha = 1 and 2.
    """
    x = np.asarray(x, dtype=np.float64)
    if alpha == 1:
        return np.arctan2(1, x) / np.pi
    if alpha == 2:
        return stats.norm.sf(x / math.sqrt(2))
    s, step = np.linspace(-80, 80, 4001, retstep=True)
    angle, rest = (np.pi / 2) / (1 + np.exp(-s)), (np.pi / 2) / (1 + np.exp(s))  # rest = pi/2 - angle
    log_size = np.log(np.sin(alpha * angle)) - np.log(np.sin(rest)) / alpha
    if alpha > 1:
        far = np.log(np.sin((2 - alpha) * np.pi / 2 + alpha * rest))
        log_size = np.where(angle < 0.7, log_size, far - np.log(np.sin(rest)) / alpha)
    slope, log_cosine = alpha / (1 - alpha), np.log(np.cos((1 - alpha) * angle))

    def survival(x: np.ndarray) -> np.ndarray:
        bound = np.exp(np.minimum(log_cosine - slope * (np.log(x)[..., None] - log_size), 700))
        exceed = np.exp(-bound) if alpha > 1 else -np.expm1(-bound)
        return (exceed * angle * rest).sum(-1) * step * 2 / np.pi**2

    return _few_at_a_time(survival, x)


def positive_cdf(alpha: float, x: np.ndarray | float) -> np.ndarray:
    """P(S <= x) for the Laplace transform exp(-s^alpha), alpha in (0, 1), to about 1e-10."""
    s, step = np.linspace(-80, 80, 4001, retstep=True)
    angle, rest = np.pi / (1 + np.exp(-s)), np.pi / (1 + np.exp(s))  # rest = pi - angle
    log_sine = np.log(np.sin(np.minimum(angle, rest)))
    log_size = np.log(np.sin(alpha * angle)) - log_sine / alpha
    slope, log_other = alpha / (1 - alpha), np.log(np.sin((1 - alpha) * angle))

    def cdf(x: np.ndarray) -> np.ndarray:
        log_bound = log_other - slope * (np.log(x)[..., None] - log_size)
        return (np.exp(-np.exp(np.minimum(log_bound, 700))) * angle * rest).sum(-1) * step / np.pi**2

    return _few_at_a_time(cdf, np.asarray(x, np.float64))


def _few_at_a_time(law: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """The law at many points, of which the nodes of a few stay in the cache."""
    if x.size < 4:
        return law(x)
    return np.concatenate([law(part) for part in np.array_split(x.ravel(), x.size // 4)]).reshape(x.shape)


@cache
def symmetric_quantile(alpha: float, two_sided: float) -> float:
    """The x with P(|X| > x) = `two_sided`, by bisection of the logarithm."""
    low, high = -50.0, 700.0
    while high - low > 1e-12 * max(1.0, abs(low)):
        middle = (low + high) / 2
        if 2 * symmetric_survival(alpha, math.exp(middle)) > two_sided:
            low = middle
        else:
            high = middle
    return math.exp(low)


@cache
def symmetric_points(alpha: float) -> np.ndarray:
    """Where the symmetric law is compared: nearly the quantiles of LEVELS on both sides, ascending."""
    grid = np.linspace(-2 / alpha - 4, 17 / alpha + 3, 600)
    level = 2 * symmetric_survival(alpha, np.exp(grid))
    # Interpolated in log survival, increasing: the points need not be quantiles, the law is evaluated at them anyway.
    positive = np.exp(np.interp(np.log(LEVELS), np.log(np.maximum(level, 1e-300))[::-1], grid[::-1]))
    positive.sort()
    return np.concatenate([-positive[::-1], positive])


@cache
def symmetric_cdf(alpha: float) -> np.ndarray:
    """The law at those points."""
    points = symmetric_points(alpha)
    upper = symmetric_survival(alpha, points[points > 0])
    return np.concatenate([upper[::-1], 1 - upper])
