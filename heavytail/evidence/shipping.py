"""What would you ship: the smallest file that is accurate enough, of every arm and way to make a network small.

A table of the study `shipping` has networks of every size. Accurate enough is what loses at most LOSS of test accuracy
against the whole network of plain SGD, the median over seeds: one number for all arms, which none of them moves. Plain
SGD is what everybody has anyway, and an arm that loses accuracy in training must not be measured against itself.

Of an arm, way and seed the smallest file is chosen among all sizes by the test accuracy. That favours those that were
tried at more sizes, and what varies most from size to size; `steady` is the stricter rule beside it, by which every
larger size must be accurate enough too. Where no file is accurate enough, the whole network of
plain SGD is what one would ship instead, and its bytes count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from heavytail.evidence import arms
from heavytail.evidence.cells import Cell, Sample, medians
from heavytail.evidence.intervals import median_interval, paired
from heavytail.evidence.verdicts import judge
from heavytail.lab.datasets.official import chance

LOSS = 0.01  # of test accuracy: one point
MARGIN = 0.1  # of a ratio of bytes or of times: a smaller difference is none

#: How a network came to its size: the smallest units pruned, and then tuned by plain SGD; small from the start, trained
#: for as many steps as those two take together; and the weights of a whole one, or of a small one, in 8 bits.
WAYS = ("pruned", "tuned", "small", "int8", "small int8")

_ARM = ["arm", "strength", "noise"]


def networks(table: pd.DataFrame) -> pd.DataFrame:
    """Every network of a table that could be shipped: one row a seed, arm, strength, way and size.

    Columns arm, strength (sigma or penalty), noise ("" without), way (one of WAYS), seed, width, units (those kept),
    bytes, parameters, accuracy and diverged. A network that diverged counts as a guess. Small ones are of plain SGD.
    """
    records = table.drop_duplicates("key").set_index("key")
    found = table.pivot(index=["key", "level"], columns="quantity", values="value").reset_index("level")
    found = found.reindex(columns=["level", "accuracy", "tuned", "int8", "bytes", "int8_bytes", "parameters"])
    rows = found.join(records.drop(columns=["level", "quantity", "value", "int8"])).reset_index(drop=True)
    rows = rows.assign(
        arm=arms.named(rows.assign(along="ones")),
        strength=arms.strength_of(rows),
        noise=rows["noise"].where(rows["sigma"] > 0, ""),
    )
    if (rows["network"] == "fcn").all():  # a lasso leaves units that are zero, and go without loss
        each = rows["parameters"].max() / rows["width"].max()
        rows = rows.assign(units=(rows["parameters"] / each).round().astype(int))
    else:
        rows = rows.assign(units=rows["level"])
    whole, small = rows["prune"].astype(bool), ~rows["prune"].astype(bool)
    quantised = rows["int8_bytes"].notna()

    def of(which: pd.Series, way: str, accuracy: str, size: str = "bytes") -> pd.DataFrame:
        own = rows[which]
        return own.assign(way=way, accuracy=own[accuracy], bytes=own[size])

    parts = [
        of(whole, "pruned", "accuracy"),
        of(whole, "tuned", "tuned"),
        of(small, "small", "tuned"),
        of(whole & quantised, "int8", "int8", "int8_bytes"),
        of(small & quantised, "small int8", "int8", "int8_bytes"),
    ]
    every = pd.concat(parts, ignore_index=True)
    diverged = every["accuracy"].isna()
    every["accuracy"] = every["accuracy"].fillna(every["dataset"].map(chance))
    names = ["dataset", *_ARM, "way", "seed", "width", "units", "bytes", "parameters", "accuracy"]
    return every[names].assign(diverged=diverged)


def target(files: pd.DataFrame) -> float:
    """The test accuracy that is enough: LOSS below the median whole network of plain SGD.

    `files` is what `networks` made of a table of one data set. ValueError where it has no such network.
    """
    return float(_whole(files)["accuracy"].median()) - LOSS


def smallest(files: pd.DataFrame, *, steady: bool = False) -> pd.DataFrame:
    """The smallest file of every arm, strength, way and seed that is accurate enough: one row each.

    With `steady` every larger one of the same arm, strength, way and seed must be so too.
    Columns as those of `networks`, and `enough`; where that is false nothing was, and the row is the whole network of
    plain SGD of the same seed. Of files of equal size the most accurate is taken.
    """
    own = [*_ARM, "way", "seed"]
    sizes = files.sort_values(["bytes", "accuracy"], ascending=[True, False])
    enough = (sizes["accuracy"] >= target(files) - 1e-9).astype(int)
    if steady:
        enough = enough[::-1].groupby([sizes[name] for name in own]).cummin().reindex(sizes.index)
    found = sizes[enough == 1].drop_duplicates(own).assign(enough=True)
    others = files.drop_duplicates(own)[own].merge(found[own], how="left", indicator=True)
    without = others[others["_merge"] == "left_only"].drop(columns="_merge")
    instead = without.merge(_whole(files).drop(columns=[*_ARM, "way"]), on="seed").assign(enough=False)
    return pd.concat([found, instead[found.columns]] if len(instead) else [found], ignore_index=True)


def ways(files: pd.DataFrame, *, steady: bool = False) -> pd.DataFrame:
    """The median smallest file of every arm, strength and way, smallest first, and how it compares.

    Columns arm, strength, noise, way, bytes, low, high (its interval), units (the median), enough (of how many seeds
    there was one), seeds; `pruned` and `small` with `_low` and `_high`: the median over seeds of the ratio of bytes to
    those of plain SGD pruned, and of a small network from scratch. NaN where the table lacks those. `steady` as in
    `smallest`.
    """
    chosen = smallest(files, steady=steady)
    rivals = {name: _bytes(chosen, arms.PLAIN, name) for name in ("pruned", "small")}
    rows = []
    for (arm, strength, noise, way), own in chosen.groupby([*_ARM, "way"], sort=False):
        size = median_interval(own["bytes"])
        row: dict[str, Any] = {"arm": arm, "strength": strength, "noise": noise, "way": way, "bytes": size.value}
        row |= {"low": size.low, "high": size.high, "units": own["units"].median()}
        row |= {"enough": int(own["enough"].sum()), "seeds": size.seeds}
        for name, rival in rivals.items():
            ratio = median_interval(_ratio(own.set_index("seed")["bytes"], rival))
            row |= {name: ratio.value, f"{name}_low": ratio.low, f"{name}_high": ratio.high}
        rows.append(row)
    return pd.DataFrame(rows).sort_values("bytes", kind="stable").reset_index(drop=True)


#: Who is in the race: of each the arm, strength and way whose median file is the smallest.
NOISE, SMALL = "heavy-tailed noise", "small from scratch"
CONTENDERS = (arms.PLAIN, NOISE, arms.DECAY, arms.LASSO, SMALL)


def race(files: pd.DataFrame, *, steady: bool = False) -> pd.DataFrame:
    """Each of CONTENDERS at its best in this table, smallest file first, and heavy-tailed noise against it.

    Columns contender and those of `ways` without the ratios; `ratio`, `ratio_low` and `ratio_high`, the median over
    seeds of the bytes with noise over those of the contender with its interval; and `word`, what that says of "noise is
    smaller". Noise has the most settings here, and so the most chances. `steady` as in `smallest`.
    """
    every, chosen = ways(files, steady=steady), smallest(files, steady=steady)
    by_ways = every["way"].isin(["pruned", "tuned"])
    noisy = every["noise"] != ""
    rows = {SMALL: every[every["way"] == "small"], NOISE: every[by_ways & noisy]}
    rows |= {arm: every[by_ways & (every["arm"] == arm)] for arm in (arms.PLAIN, arms.DECAY, arms.LASSO)}
    best = {name: rows[name].iloc[0] for name in CONTENDERS if len(rows[name])}

    def sizes(row: pd.Series) -> pd.Series:
        own = (chosen["arm"] == row["arm"]) & (chosen["strength"] == row["strength"]) & (chosen["way"] == row["way"])
        return chosen[own].set_index("seed")["bytes"]

    found = []
    for name, row in best.items():
        ratio = median_interval(_ratio(sizes(best[NOISE]), sizes(row)))
        word = judge(ratio.low, ratio.high, (-math.inf, 1.0), MARGIN)
        kept = row[["arm", "strength", "noise", "way", "bytes", "low", "high", "units", "enough", "seeds"]]
        compared = {"ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high, "word": word}
        found.append({"contender": name, **kept.to_dict(), **compared})
    return pd.DataFrame(found).sort_values("bytes", kind="stable").reset_index(drop=True)


def chosen(search: pd.DataFrame) -> pd.DataFrame:
    """What a search chose: the step size of tuning for every arm and strength, and of training for every small width.

    One row each, columns arm, strength, noise, width, prune, lr, tune_lr, score and seeds. The score of a run is its
    accuracy after tuning, mean over the ladder of sizes; a run that diverged guesses. The highest median over seeds
    wins, and of equals the smallest step size. Raises ValueError for runs that saw the test split.
    """
    if (search["validation"] == 0).any():
        raise ValueError("settings are chosen on a validation part: set validation= in every record of the search")
    tuned = search[search["quantity"] == "tuned"]
    values = tuned["value"].fillna(tuned["dataset"].map(chance))
    scores = values.groupby(tuned["key"]).mean().rename("score")
    records = tuned.drop_duplicates("key").set_index("key").join(scores)
    records = records.assign(
        arm=arms.named(records.assign(along="ones")),
        strength=arms.strength_of(records),
        noise=records["noise"].where(records["sigma"] > 0, ""),
        trained=records["lr"].where(records["prune"].astype(bool), 0.0),  # a small one has its step size chosen
    )
    setting = [*_ARM, "width", "prune", "trained"]
    cells = records.groupby([*setting, "lr", "tune_lr"], as_index=False).agg(
        score=("score", "median"), seeds=("seed", "nunique")
    )
    best = cells.sort_values(["score", "lr", "tune_lr"], ascending=[False, True, True], kind="stable")
    best = best.drop_duplicates(setting).sort_values([*setting], kind="stable").reset_index(drop=True)
    return best[[*_ARM, "width", "prune", "lr", "tune_lr", "score", "seeds"]]


# claims


def against_pruned(table: pd.DataFrame) -> list[Cell]:
    """Bytes of the smallest file with heavy-tailed noise over those with plain SGD, both pruned: a cell a noise."""
    return _against(table, "pruned", "pruned")


def against_tuned(table: pd.DataFrame) -> list[Cell]:
    """The same with both pruned and tuned."""
    return _against(table, "tuned", "tuned")


def against_small(table: pd.DataFrame) -> list[Cell]:
    """Bytes of the smallest file with heavy-tailed noise, tuned, over those of a small network from scratch."""
    return _against(table, "tuned", "small")


def _against(table: pd.DataFrame, way: str, rival: str) -> list[Cell]:
    chosen = smallest(networks(table))
    other = _bytes(chosen, arms.PLAIN, rival)
    return medians(
        [
            Sample(label, noise, _ratio(own["bytes"], other), int(own["diverged"].sum()))
            for label, noise, own in _noisy(chosen, way)
        ]
    )


def latencies(figures: pd.DataFrame, way: str = "onnx") -> pd.DataFrame:
    """Milliseconds of networks by shape, from the figures of `heavytail bench shipping`: in "onnx" or eager "torch".

    Columns dataset, units, batch, ms and p95. Raises ValueError where there are none.

    >>> figures = pd.DataFrame([("shipping.onnx.ms", "mnist, 8 units, batch 64", 0.2, 0.2, 0.3)])
    >>> latencies(figures.set_axis(["name", "case", "value", "low", "high"], axis=1)).values.tolist()
    [['mnist', 8, 64, 0.2, 0.3]]
    """
    rows = figures[figures["name"] == f"shipping.{way}.ms"]
    if rows.empty:
        raise ValueError(f"the report has no times in {way}: make it by `heavytail bench shipping --json`")
    found = rows["case"].str.extract(r"^(?P<dataset>\w+), (?P<units>\d+) units, batch (?P<batch>\d+)$")
    found = found.astype({"units": int, "batch": int})
    return found.assign(ms=rows["value"], p95=rows["high"]).reset_index(drop=True)


def faster_than_whole(table: pd.DataFrame, figures: pd.DataFrame) -> list[Cell]:
    """Time in ONNX Runtime of the smallest file with noise, tuned, over that of the whole network, by batch."""
    return _times(table, figures, None)


def faster_than_small(table: pd.DataFrame, figures: pd.DataFrame) -> list[Cell]:
    """The same over that of the smallest network from scratch that is accurate enough."""
    return _times(table, figures, "small")


def _times(table: pd.DataFrame, figures: pd.DataFrame, rival: str | None) -> list[Cell]:
    files = networks(table)
    chosen = smallest(files)
    times = latencies(figures)
    known = {(one.dataset, one.units, one.batch): one.ms for one in times.itertuples()}
    samples = []
    for label, noise, own in _noisy(chosen, "tuned"):
        other = own.assign(units=files["width"].max()) if rival is None else _of(chosen, arms.PLAIN, rival)
        for batch in sorted({batch for _, _, batch in known}):
            first, second = (_milliseconds(rows, batch, known) for rows in (own, other))
            samples.append(Sample(f"{label}, batch {batch}", noise, _ratio(first, second), int(own["diverged"].sum())))
    return medians(samples)


def _milliseconds(rows: pd.DataFrame, batch: int, known: Mapping[tuple[Any, ...], Any]) -> pd.Series:
    """What the networks of these rows take, by seed; NaN of shapes that were not timed."""
    shapes = zip(rows["dataset"], rows["units"], strict=True)
    return pd.Series([known.get((name, int(units), batch), math.nan) for name, units in shapes], index=rows.index)


def _noisy(chosen: pd.DataFrame, way: str) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """The smallest files of each noise that came to their size in this way, by seed, at the strength best for it.

    That is the one whose median file is the smallest, and of equals the least: whether noise makes the better network
    is asked of each type once.
    """
    noisy = chosen[(chosen["noise"] != "") & (chosen["way"] == way)]
    middle = noisy.groupby(_ARM)["bytes"].median().sort_index().sort_values(kind="stable").reset_index()
    for arm, strength, noise, _ in middle.drop_duplicates("arm").sort_values("arm").itertuples(index=False):
        own = noisy[(noisy["arm"] == arm) & (noisy["strength"] == strength)]
        yield f"{arm}, σ = {strength:g}", str(noise), own.set_index("seed")


def _of(chosen: pd.DataFrame, arm: str, way: str) -> pd.DataFrame:
    return chosen[(chosen["arm"] == arm) & (chosen["way"] == way)].set_index("seed")


def _bytes(chosen: pd.DataFrame, arm: str, way: str) -> pd.Series:
    return _of(chosen, arm, way)["bytes"]


def _ratio(first: pd.Series, second: pd.Series) -> pd.Series:
    """One over the other, seed by seed; NaN where the partner is missing."""
    return paired(first.map(math.log), second.map(math.log)).map(math.exp)


def _whole(files: pd.DataFrame) -> pd.DataFrame:
    """The networks of plain SGD with all units of the widest."""
    own = files[(files["arm"] == arms.PLAIN) & (files["way"] == "pruned")]
    rows = own[own["units"] == files["width"].max()]
    if rows.empty:
        raise ValueError("what is accurate enough is measured against whole networks of plain SGD: the table has none")
    return rows
