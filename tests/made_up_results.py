"""Results tables with numbers put in by hand, through the same `results.row` as a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from heavytail import Run
from heavytail.lab import results

SETTINGS = tuple((noise, alpha, 0.1) for noise in ("shared", "entrywise", "isotropic") for alpha in (1.75, 1.9))


def measured(**numbers: object) -> dict[str, object]:
    """What a training would measure: a network at 95% that pruning leaves alone, but for the `numbers` given.

    A `share_accuracy` fills the test accuracies at all pruned shares.
    """
    at_shares = numbers.pop("share_accuracy", 0.9)
    shares = {f"{split}_accuracy_share_{s:.1f}": at_shares for split in ("train", "test") for s in results.SHARES}
    shares |= {f"test_accuracy_random_{s:.1f}": 0.7 for s in results.MIDDLE}
    shares |= {f"test_accuracy_tuned_{s:.1f}": 0.93 for s in results.TUNED}
    shares |= {f"test_accuracy_{kind}_{size:g}": 0.6 for kind in ("fgsm", "pgd") for size in results.DISTURBED}
    norms = {"norm_median": 1.0, "norm_rms": 2.0, "tail_index": 1.8, "tail_index_error": 0.3}
    twin = {"twin_pruning_ratio": 0.1, "twin_norm_median": 1.0, "twin_norm_rms": 2.0}
    accuracies = {f"{split}_accuracy{after}": 0.95 for split in ("train", "test") for after in ("", "_pruned")}
    rest = {"train_loss": 0.07, "pruning_ratio": 0.1, "steps": 600, "seconds": 1.0, "status": "max_steps", "reason": ""}
    return {**accuracies, **shares, **norms, **twin, **rest, "verified": True, "device": "cpu", **numbers}


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


def controlled(agree: bool | None, seeds: Iterable[int]) -> pd.DataFrame:
    """A table of the controls: what each run measures if the claims about them hold, fail, or find no difference."""

    def by(holds: float, fails: float, same: float) -> float:
        return same if agree is None else holds if agree else fails

    base = {"dataset": "mnist", "width": 500}
    sides = [
        (base, {"pruning_ratio": 0.2}),
        ({**base, "weight_decay": 0.1}, {"pruning_ratio": by(0.3, 0.9, 0.5)}),
        (
            {**base, "noise": "shared", "along": "unseen", "alpha": 1.75, "sigma": 0.1},
            {"pruning_ratio": by(0.6, 0.1, 0.2), "train_loss": by(0.07, 0.08, 0.07)},
        ),
    ]
    for kind in ("shared", "entrywise", "isotropic"):
        sides.append(({**base, "noise": kind, "alpha": 1.75, "sigma": 0.1}, {"pruning_ratio": 0.5}))
        for sigma in (0.2, 0.4):
            light = {**base, "noise": kind, "alpha": 2.0, "sigma": sigma}
            sides.append((light, {"pruning_ratio": by(0.3, 0.8, 0.5)}))
    rows = []
    for settings, numbers in sides:
        for seed in seeds:
            shaken = {name: value * (1 + 1e-7 * math.sin(seed)) for name, value in numbers.items()}
            level = 0.7 if "weight_decay" in settings else by(0.9, 0.5, 0.7)
            shares = {"share_accuracy": level + 1e-4 * math.sin(seed)}
            rows.append((Run(**settings, seed=seed), measured(**shares, **shaken)))
    return table(rows)


def rivalled(agree: bool | None, seeds: Iterable[int]) -> pd.DataFrame:
    """A table with every arm of ECG5000: what each run measures if the claims about rivals hold, fail, or neither."""

    def by(holds: float, fails: float, same: float) -> float:
        return same if agree is None else holds if agree else fails

    base = {"dataset": "ecg5000", "width": 100, "lr": 0.01, "tune_steps": 7, "robustness": 60}
    small = {**base, "width": 30, "tune_steps": 0}
    sides = [
        (base, {"pruning_ratio": 0.1}, 0.9),
        ({**base, "lr": 0.1}, {"pruning_ratio": 0.1}, 0.8),
        ({**base, "weight_decay": 0.1}, {}, by(0.7, 0.95, 0.9)),
        ({**base, "weight_decay": 1.0}, {}, 0.5),
        ({**base, "group_lasso": 0.1}, {"pruning_ratio": 0.1}, by(0.7, 0.95, 0.9)),
        ({**base, "group_lasso": 1.0}, {"pruning_ratio": by(0.2, 0.8, 0.5)}, 0.5),
        (small, {"test_accuracy": by(0.7, 0.95, 0.9)}, 0.5),
    ]
    for kind in ("shared", "entrywise", "isotropic"):
        random = {f"test_accuracy_random_{share:.1f}": by(0.7, 0.95, 0.9) for share in results.MIDDLE}
        attacked = {f"test_accuracy_pgd_{size:g}": by(0.65, 0.4, 0.6) for size in results.DISTURBED}
        twin = {"twin_pruning_ratio": by(0.5, 0.3, 0.501)}
        for alpha, sigma in ((1.5, 0.09), (1.75, 0.1)):
            noisy = {**base, "noise": kind, "alpha": alpha, "sigma": sigma}
            sides.append((noisy, {"pruning_ratio": 0.5, **twin, **random, **attacked}, 0.9))
        for sigma in (0.07, 0.11):
            light = {**base, "noise": kind, "alpha": 2.0, "sigma": sigma}
            sides.append((light, {"pruning_ratio": by(0.3, 0.8, 0.5), "twin_pruning_ratio": by(0.3, 0.4, 0.5)}, 0.9))
    rows = []
    for settings, numbers, level in sides:
        for seed in seeds:
            shaken = {name: value * (1 + 1e-7 * math.sin(seed)) for name, value in numbers.items()}
            rows.append((Run(**settings, seed=seed), measured(share_accuracy=level + 1e-4 * math.sin(seed), **shaken)))
    return table(rows)
