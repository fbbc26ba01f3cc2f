"""Controls: what each must match, and what of the gain is left beside it.

If light-tailed noise, or decay, does to a network what heavy-tailed noise does, the heavy tail is not what does it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pandas as pd

from heavytail import laws
from heavytail import noise as noises
from heavytail.evidence.cells import Cell, Sample, medians
from heavytail.evidence.experiments import heavy_cells, most_accurate, outcomes, plain, relative, strongest
from heavytail.evidence.intervals import paired
from heavytail.lab.results import MIDDLE


def matched_sigma(
    alpha: float,
    noise: noises.Noise,
    sigma: float,
    lr: float,
    entries: int,
    other: float = 2.0,
    *,
    kind: noises.Noise | None = None,
) -> float:
    """The sigma at index `other` whose kick of a neuron has the median size that `sigma` gives at `alpha`.

    A kick is `sigma * lr^(1/alpha)` times a unit draw, and both factors change with the index. `kind` is the noise at
    `other`, where it is another one.
    """
    size = noises.scale(alpha, sigma, lr) * laws.median_norm(alpha, noise, entries)
    return size / (noises.scale(other, 1.0, lr) * laws.median_norm(other, kind or noise, entries))


def matched_decay(ratio: float, lr: float, steps: int) -> float:
    """The weight decay that shrinks a weight by the factor `1 / ratio` in that many steps, gradients aside.

    `(1 - lr λ)^steps = 1 / ratio`. With the ratio of the norms after noise to those without, decay moves the norms as
    far down as noise moves them up.
    """
    return -math.expm1(-math.log(ratio) / steps) / lr


def equal_accuracy(search: pd.DataFrame) -> dict[str, float]:
    """The sigma at alpha = 2, per noise, whose median train accuracy is nearest to that of the heavy tail.

    `search` is a table on seeds of its own. A run that diverged guesses. Of equals the smallest sigma is taken.
    """
    held = outcomes(search, ["train_accuracy"])
    matched = {}
    for noise, rows in held.groupby("noise"):
        aim = rows.loc[rows["alpha"] < 2, "train_accuracy"].median()
        light = rows[rows["alpha"] == 2].groupby("sigma")["train_accuracy"].median()
        matched[str(noise)] = float((light - aim).abs().idxmin())
    return matched


def against_matched_accuracy(table: pd.DataFrame) -> list[Cell]:
    """Per noise: pruning ratio at the heavy tail less that of the strongest noise at alpha = 2.

    The strongest is that which a search matched in train accuracy, by `equal_accuracy`.
    """
    samples = []
    for _, noise, tail in heavy_cells(table):
        light = table[(table["noise"] == noise) & (table["alpha"] == 2)]
        sigma = light["sigma"].max()
        ratio = light[light["sigma"] == sigma].set_index("seed")["pruning_ratio"]
        samples.append(Sample(f"{noise}, σ = {sigma:g} at α = 2", noise, paired(tail["pruning_ratio"], ratio)))
    return medians(samples)


def against_decay(table: pd.DataFrame) -> list[Cell]:
    """Per noise: pruning ratio with noise less that of plain SGD with weight decay."""
    decayed = _decayed(table).set_index("seed")["pruning_ratio"]
    return medians(
        [Sample(label, noise, paired(rows["pruning_ratio"], decayed)) for label, noise, rows in heavy_cells(table)]
    )


def against_random_pruning(table: pd.DataFrame) -> list[Cell]:
    """Test accuracy pruned by norm less at random, mean over shares 0.1 to 0.9, noise at its strongest."""
    samples = []
    for label, noise, rows in heavy_cells(strongest(table)):
        by_norm, by_chance = (
            rows[[f"test_accuracy_{kind}_{share:.1f}" for share in MIDDLE]].mean(axis=1, skipna=False)
            for kind in ("share", "random")
        )
        samples.append(Sample(label, noise, by_norm - by_chance))
    return medians(samples)


def unseen_loss(table: pd.DataFrame) -> list[Cell]:
    """Per sigma: train loss with kicks along the unseen direction over that without noise, less one."""
    return _unseen_against_plain(table, "train_loss", relative)


def unseen_compressibility(table: pd.DataFrame) -> list[Cell]:
    """Per sigma: pruning ratio with kicks along the unseen direction less that without noise."""
    return _unseen_against_plain(table, "pruning_ratio", paired)


def _unseen_against_plain(
    table: pd.DataFrame, column: str, compared: Callable[[pd.Series, pd.Series], pd.Series]
) -> list[Cell]:
    alone = plain(table).set_index("seed")[column]
    return medians([Sample(label, "shared", compared(rows[column], alone)) for label, rows in _unseen(table)])


def _decayed(table: pd.DataFrame) -> pd.DataFrame:
    """Plain SGD with weight decay; of several, that which is most accurate when pruned."""
    return most_accurate(table[table["noise"].isna() & (table["weight_decay"] > 0)])


def _unseen(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    rows = table[table["along"] == "unseen"]
    for (alpha, sigma), own in rows.groupby(["alpha", "sigma"]):
        yield f"unseen, α = {alpha:g}, σ = {sigma:g}", own.set_index("seed")
