"""Arms: the ways of training that a table compares, and which setting of each a search has chosen.

An arm is plain SGD, plain SGD with weight decay or with a group lasso, or one noise at one alpha and direction. Its
step size and its strength are settings, and every arm's are chosen in one way, on a validation part and on seeds that
no other table has: `chosen` takes the most accurate pruned networks, `strongest` those that prune the most at a stated
loss of accuracy after pruning, and `boldest` the largest strength at a stated loss before it.
"""

from __future__ import annotations

from typing import Literal

import pandas as pd

from heavytail.evidence.experiments import AT_SHARES, NETWORK, heavy, mean_accuracy, most_accurate, outcomes, plain

Strength = Literal["least", "most"]

PLAIN, DECAY, LASSO = "plain SGD", "weight decay", "group lasso"

#: What a search chooses of every arm.
SETTING = ("lr", "sigma", "weight_decay", "group_lasso")

#: `strongest` and `boldest` may lose this much against plain SGD. `strongest` calls ratios equal that differ by less
#: than EQUAL_RATIO.
LOSS, EQUAL_RATIO = 0.02, 0.01


def named(table: pd.DataFrame) -> pd.Series:
    """The arm of every row of a table of runs.

    >>> from heavytail.lab.results import tabled
    >>> rows = pd.DataFrame({"noise": [None, "shared"], "alpha": [None, 1.5], "along": "ones", "sigma": [0, 0.1]})
    >>> named(rows.assign(weight_decay=[0.1, 0], group_lasso=0.0)).tolist()
    ['weight decay', 'shared, α = 1.5']
    """
    names = pd.Series(PLAIN, index=table.index, dtype=object)
    names[table["weight_decay"] > 0] = DECAY
    names[table["group_lasso"] > 0] = LASSO
    for (noise, alpha, along), rows in table[table["noise"].notna() & (table["sigma"] > 0)].groupby(
        ["noise", "alpha", "along"]
    ):
        names[rows.index] = f"{noise}{'' if along == 'ones' else ' unseen'}, α = {alpha:g}"
    return names


def score(table: pd.DataFrame) -> pd.Series:
    """Each run's test accuracy, mean over the pruned shares 0.1 to 0.9; a run that diverged guesses."""
    return mean_accuracy(outcomes(table, AT_SHARES))


def chosen(search: pd.DataFrame) -> pd.DataFrame:
    """The setting of every arm and network whose median `score` over seeds is highest: one row each.

    The columns are those of NETWORK, `arm`, those of SETTING, `score`, `accuracy` (before pruning), `ratio` (the
    pruning ratio) and `seeds`. Of
    settings with equal scores the one with the smallest step size is taken, then the one with the least strength.
    Raises ValueError for a table whose runs saw the test split, since then what is chosen is chosen by it.
    """
    return _first(_settings(search))


def strongest(search: pd.DataFrame) -> pd.DataFrame:
    """The setting of every arm and network that prunes the most neurons at a loss of LOSS against plain SGD.

    Of an arm's settings whose median `score` is at most LOSS below the highest of plain SGD, those are kept whose
    median pruning ratio is within EQUAL_RATIO of the highest, and of them the most accurate is taken, ties as in
    `chosen`. An arm that always loses more gets its most accurate setting. Columns as those of `chosen`.
    Raises ValueError as `chosen` does, and for a network whose search has no plain SGD.
    """
    cells = _settings(search)
    by_arm = [cells[key] for key in (*NETWORK, "arm")]
    within = cells["score"] >= _of_plain(cells, "score") - LOSS
    hopeless = ~within.groupby(by_arm).transform("any")
    ratio = cells["ratio"].where(within)
    return _first(cells[hopeless | (ratio >= ratio.groupby(by_arm).transform("max") - EQUAL_RATIO)])


def boldest(search: pd.DataFrame) -> pd.DataFrame:
    """The largest strength of every arm and network that loses at most LOSS before pruning, at plain SGD's step size.

    For arms whose strong settings are all ruled out by what pruning costs: here the median test accuracy of the whole
    networks is held against that of plain SGD at its `chosen` setting, and only settings at that step size are. An arm
    that always loses more gets its most accurate setting there. Columns and errors as those of `strongest`.
    """
    cells = _settings(search)
    cells = cells[cells["lr"] == _of_plain(cells, "lr")]
    strength = strength_of(cells).where(cells["accuracy"] >= _of_plain(cells, "accuracy") - LOSS)
    most = strength.groupby([cells[key] for key in (*NETWORK, "arm")]).transform("max")
    return _first(cells[most.isna() | (strength == most)])


def of_strength(table: pd.DataFrame, strength: Strength, lr: float | None = None) -> pd.DataFrame:
    """The rows of every arm and network at one setting: that of its least, or most, sigma or penalty.

    Plain SGD has no strength: its rows are those at step size `lr`, or else, in its favour, at the one that is the
    most accurate in this table.

    """
    names = named(table)
    size = strength_of(table)
    extreme = size.groupby([*(table[name] for name in NETWORK), names]).transform(
        "max" if strength == "most" else "min"
    )
    alone = table[names == PLAIN]
    if lr is not None:
        alone = alone[alone["lr"] == lr]
    else:
        alone = pd.concat([most_accurate(rows) for _, rows in alone.groupby(list(NETWORK))] or [alone])
    return table[((size == extreme) & (names != PLAIN)) | table.index.isin(alone.index)]


def of_the_paper(table: pd.DataFrame, lr: float | None = None) -> pd.DataFrame:
    """The arms of the paper's own tables: plain SGD, and each heavy-tailed noise at the strongest setting of the table.

    Plain SGD is that at step size `lr`, as in `of_strength`.

    Penalties, Gaussian noise, kicks that no input sees and networks that have no noise at all are left out.
    """
    rows = of_strength(table, "most", lr)
    noisy, networks = heavy(rows), rows[list(NETWORK)].apply(tuple, axis=1)
    kinds = rows.index.isin(plain(rows).index) | rows.index.isin(noisy.index)
    return rows[kinds & networks.isin(set(networks[noisy.index]))]


def strength_of(rows: pd.DataFrame) -> pd.Series:
    """Sigma or penalty of every row, whichever its arm has; 0 for plain SGD."""
    return rows[["sigma", "weight_decay", "group_lasso"]].max(axis=1)


def _networks(cells: pd.DataFrame) -> pd.Series:
    """The network of every row, as one value."""
    return cells[list(NETWORK)].apply(tuple, axis=1)


def _of_plain(cells: pd.DataFrame, column: str) -> pd.Series:
    """What plain SGD has at its chosen setting, for every row of its network; ValueError where there is none."""
    alone = _first(cells[cells["arm"] == PLAIN])
    values = _networks(cells).map(dict(zip(_networks(alone), alone[column], strict=True)))
    if values.isna().any():
        raise ValueError("the strength of an arm is chosen against plain SGD: add plain runs to the search")
    return values


def _settings(search: pd.DataFrame) -> pd.DataFrame:
    """One row a network, arm and setting: its medians over seeds, and their number."""
    if search["validation"].isna().any():
        raise ValueError("settings are chosen on a validation part: set validation= in every run of the search")
    whole = outcomes(search, ["test_accuracy"])["test_accuracy"]
    rows = search.assign(arm=named(search), score=score(search), whole=whole)
    return rows.groupby([*NETWORK, "arm", *SETTING], as_index=False).agg(
        score=("score", _median),
        accuracy=("whole", _median),
        ratio=("pruning_ratio", _median),
        seeds=("seed", "nunique"),
    )


def _median(values: pd.Series) -> float:
    """NaN, which nothing prefers, where a run has no number: it failed with an error, and nobody knows what it was."""
    return float(values.median(skipna=False))


def _first(cells: pd.DataFrame) -> pd.DataFrame:
    """The most accurate setting of every arm; of equals that with the smallest step size, then the least strength."""
    best = cells.sort_values(["score", *SETTING], ascending=[False, *[True] * len(SETTING)], kind="stable")
    by_arm = [*NETWORK, "arm"]
    return best.drop_duplicates(by_arm).sort_values(by_arm, kind="stable").reset_index(drop=True)
