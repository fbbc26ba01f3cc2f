"""Results tables with numbers put in by hand, through the same `results.row` as a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from heavytail import Run, results

SETTINGS = tuple((noise, alpha, 0.1) for noise in ("shared", "entrywise", "isotropic") for alpha in (1.75, 1.9))


def measured(**numbers: object) -> dict[str, object]:
    """What a training would measure: a network at 95 % that pruning leaves alone, but for the `numbers` given.

    A `share_accuracy` fills the test accuracies at all pruned shares.
    """
    at_shares = numbers.pop("share_accuracy", 0.9)
    shares = {f"{split}_accuracy_share_{s:.1f}": at_shares for split in ("train", "test") for s in results.SHARES}
    accuracies = {f"{split}_accuracy{after}": 0.95 for split in ("train", "test") for after in ("", "_pruned")}
    rest = {"train_loss": 0.07, "pruning_ratio": 0.1, "steps": 600, "seconds": 1.0, "status": "max_steps", "reason": ""}
    return {**accuracies, **shares, **rest, "verified": True, "device": "cpu", **numbers}


def diverged() -> dict[str, object]:
    """What a training reports of a run that diverged."""
    names = [name for name in results.COLUMNS if name.startswith(results.MEASURED)]
    return measured(status="diverged", **dict.fromkeys(names, math.nan))


def table(rows: Iterable[tuple[Run, dict[str, object]]]) -> pd.DataFrame:
    """A results table of these runs and their measurements."""
    return pd.DataFrame([results.row(run, numbers) for run, numbers in rows])


def sweep(
    plain: Callable[[int], dict[str, object]],
    noisy: Callable[[str, float, int], dict[str, object]],
    settings: Sequence[tuple[str, float, float]] = SETTINGS,
    seeds: Sequence[int] = (1, 2, 3),
) -> pd.DataFrame:
    """Plain runs `plain(seed)` and noisy runs `noisy(noise, alpha, seed)` of every setting (noise, alpha, sigma)."""
    rows = [(Run(seed=seed), measured(**plain(seed))) for seed in seeds]
    for noise, alpha, sigma in settings:
        runs = [Run(noise=noise, alpha=alpha, sigma=sigma, seed=seed) for seed in seeds]
        rows += [(run, measured(**noisy(noise, alpha, run.seed))) for run in runs]
    return table(rows)
