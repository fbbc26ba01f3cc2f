"""How near a table comes to what is known of the paper's settings: a verdict is worth what its table is worth."""

from __future__ import annotations

from typing import Literal, get_args

import pandas as pd

from heavytail.lab.datasets.official import published

Scale = Literal["full", "reduced", "toy"]
SCALES: tuple[Scale, ...] = get_args(Scale)

PAPER = ("ecg5000", "mnist", "cifar10", "cifar100")  # its data sets
# Widths of the authors' runs [C]; of a fully connected network on CIFAR none is known to us.
WIDTHS = {("ecg5000", "fcn"): 2000, ("mnist", "fcn"): 5000, ("cifar10", "vgg"): 128}
TARGET = 0.95  # the train accuracy at which the authors stop [C]


def scale(table: pd.DataFrame) -> Scale:
    """The scale of a table of runs, from its rows; of several data sets the smallest.

    What counts is how much of the known setting there is: the largest width over the known width, the training samples
    over all that were published (unverified data are taken for a part), and the train accuracy of plain SGD, the median
    run of the widest network at the step size where it is highest, over TARGET.

        full     all of each
        toy      less than a tenth of the width or of the samples, or less than half of the accuracy; or no data set of
                 the paper
        reduced  what lies between

    A table of what one would ship has its training accuracy among its numbers, and counts alike. One of federated
    training has none, and its test accuracy after the last round counts instead.

    A theorem speaks of all widths, so simulations are never full: they are reduced from 2000 particles or columns on,
    the smallest width known of the paper, and else toy.

    >>> scale(pd.DataFrame({"study": ["chaos"], "width": [4096]}))
    'reduced'
    """
    if "dataset" not in table:
        return "reduced" if table["width"].max() >= min(WIDTHS[name, "fcn"] for name in ("ecg5000", "mnist")) else "toy"
    if "quantity" in table:
        table = _shipped(table) if "prune" in table else _federated(table)
    groups = table.groupby(["dataset", "network"])
    parts = [_scale(str(dataset), str(network), rows) for (dataset, network), rows in groups]
    return max(parts, key=SCALES.index)


def _shipped(table: pd.DataFrame) -> pd.DataFrame:
    """A table of the study `shipping` as one of runs, as far as a scale needs it: what it trained on is official."""
    rows = table[table["quantity"] == "train_accuracy"]
    noise, samples = rows["noise"].where(rows["sigma"] > 0), rows["samples"].where(rows["samples"] > 0)
    return rows.assign(noise=noise, samples=samples, train_accuracy=rows["value"], verified=True)


def _federated(table: pd.DataFrame) -> pd.DataFrame:
    """The same of a table of the study `federated`, whose trainings are those of one network."""
    last = table[(table["quantity"] == "accuracy") & (table["level"] == table["rounds"])]
    one = last.assign(quantity="train_accuracy", network="fcn", weight_decay=0.0, group_lasso=0.0)
    return _shipped(one)


def _scale(dataset: str, network: str, rows: pd.DataFrame) -> Scale:
    official = published(dataset)
    if official is None or official.name not in PAPER:
        return "toy"
    width = rows["width"].max() / WIDTHS.get((official.name, network), 1)
    samples = rows["samples"].max() / official.rows[0] if rows["samples"].notna().all() else 1.0
    alone = rows[rows["noise"].isna() & (rows["weight_decay"] == 0) & (rows["group_lasso"] == 0)]
    alone = alone[alone["width"] == rows["width"].max()]
    accuracy = alone.groupby("lr")["train_accuracy"].median().max() / TARGET
    if min(width, samples) < 1 / 10 or not accuracy >= 1 / 2:
        return "toy"
    return "full" if min(width, samples, accuracy) >= 1 and bool(rows["verified"].all()) else "reduced"
