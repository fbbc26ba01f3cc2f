"""Federated training: how accurate a global model is for the bytes that its clients sent, and how compressible.

A way to train is who adds which kicks and what a client sends. Each has settings, which a search has chosen, and a
strength of its kicks: `chosen`. What is compared is the test accuracy at a cap of upload. The unit of upload is what a
client sends in one round of federated averaging that leaves nothing out: at a cap of 1 that one has had one round or
little more, and who sends a twentieth has had twenty. A model is that of the last round within the cap, and before the
first round it guesses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache

import pandas as pd

from heavytail import laws
from heavytail.evidence.cells import Cell, Sample, medians
from heavytail.evidence.intervals import paired
from heavytail.lab.datasets.official import chance, lookup
from heavytail.laws.averaging import Design
from heavytail.noise import Noise

CAP = 1.0  # uploads of a dense message a client, at which claims compare
CAPS = (0.25, 0.5, 1.0, 2.0, 4.0)  # over which a search takes its mean
LOSS = 0.02  # of the accuracy that a search sees: what the strongest kicks of `chosen` may cost
SHORT = 0.01  # of test accuracy: as accurate as the last model of federated averaging is what lacks no more than this

DENSE, SMALL = "dense", "small network"
#: What a client sends, as a table of results calls it.
SELECTIONS = {
    "all": DENSE,
    "columns": "largest columns",
    "known": "known columns",
    "top": "top numbers",
    "random": "random numbers",
    "threshold": "above a threshold",
    "error": "by squared error",
}
#: Who draws kicks, with what a client then sends: each has a way without kicks that sends the like.
DESIGNS = (
    ("local", "largest columns"),
    ("common", "largest columns"),
    ("common", "known columns"),
    ("server", "largest columns"),
)

EVERY = 3  # the law is asked at every third number of clients: they share kicks, so more of them would say little more

_SETTING = ["kicks", "design", "way", "alpha", "sigma", "lr", "width", "amount"]
_CELL = ["clients", "split"]


def trainings(table: pd.DataFrame) -> pd.DataFrame:
    """A table of the study `federated`, a row a training and round.

    Columns kicks ("", "heavy" or "Gaussian"), design ("" without kicks), way (one of SELECTIONS, or SMALL for a
    narrower network that sends everything), alpha, sigma, lr, width, amount, clients, split, seed, key, round, and
    those of the study: accuracy, pruning_ratio, upload, download (bytes of all messages until then), answered. And
    `sent`: the upload in messages of federated averaging, see the top of this module.
    """
    records = table.drop_duplicates("key").set_index("key")
    records = records.drop(columns=["level", "quantity", "value"])
    numbers = table.pivot(index=["key", "level"], columns="quantity", values="value").reset_index("level")
    rows = numbers.rename(columns={"level": "round"}).join(records).reset_index()
    quiet, whole = rows["sigma"] == 0, rows["width"] == rows["width"].max()
    rows["kicks"] = rows["alpha"].map(lambda alpha: "Gaussian" if alpha == 2 else "heavy").mask(quiet, "")
    rows["design"] = rows["design"].mask(quiet, "")
    rows["way"] = rows["select"].map(SELECTIONS).mask((rows["select"] == "all") & ~whole, SMALL)
    rows["sent"] = rows["upload"] / rows["clients"] / _message(rows)
    return rows


def _message(rows: pd.DataFrame) -> float:
    """Bytes of a message that leaves nothing out: those of the first round, mean over clients, where they are most.

    Later ones can be shorter, as neurons that have died do not move.
    """
    dense = rows[(rows["way"] == DENSE) & (rows["round"] == 1)]
    if dense.empty:
        raise ValueError("upload is counted in dense messages of the whole network: the table has no such training")
    return float((dense["upload"] / dense["clients"]).max())


def at_cap(rows: pd.DataFrame, cap: float = CAP) -> pd.DataFrame:
    """Each training at its last round within a cap of upload, of what `trainings` returns; one that has none guesses.

    >>> rows = pd.DataFrame({"key": ["a", "a"], "round": [1, 2], "sent": [0.6, 1.2], "accuracy": [0.8, 0.9]})
    >>> at_cap(rows.assign(dataset="mnist"), 1.0)["accuracy"].tolist()
    [0.8]
    """
    within = rows[rows["sent"] <= cap * (1 + 1e-9)]
    last = within.sort_values("round").drop_duplicates("key", keep="last")
    others = rows[~rows["key"].isin(last["key"])].sort_values("round").drop_duplicates("key")
    guesses = others.assign(round=0, sent=0.0, accuracy=others["dataset"].map(chance))
    return pd.concat([last, guesses] if len(guesses) else [last], ignore_index=True)


def chosen(search: pd.DataFrame) -> pd.DataFrame:
    """The settings of every way: the most accurate at CAPS, and with kicks the strongest ones that cost little.

    One row each, columns kicks, design, way, alpha, sigma, lr, width, amount, `score` and `strength`. The score is the
    accuracy on the validation part, mean over CAPS and over seeds. The highest wins, "best"; of equals the least sigma,
    then the least step size, width and amount. "strong" has the largest sigma whose score is at most LOSS lower, all
    else alike; it is left out where that is the best one itself. Of a way only those amounts count that were tried with
    every kind of kicks that it was tried with, and with kicks it has the amount that is the best without, so that both
    have as many rounds within a cap. Raises ValueError for runs that saw the test split.
    """
    if (search["validation"] == 0).any():
        raise ValueError("settings are chosen on a validation part: set validation= in every record of the search")
    rows = trainings(search)
    kinds = rows.groupby("way")["kicks"].transform("nunique")
    rows = rows[rows.groupby(["way", "amount"])["kicks"].transform("nunique") == kinds]
    every = pd.concat([at_cap(rows, cap) for cap in CAPS])
    scores = every.groupby(_SETTING, as_index=False).agg(score=("accuracy", "mean"))
    order = ["score", "sigma", "lr", "width", "amount"]
    scores = scores.sort_values(order, ascending=[False, True, True, True, True], kind="stable")
    scores = _with_the_amount_without(scores)
    best = scores.drop_duplicates(["kicks", "design", "way"]).assign(strength="best")
    same = [name for name in _SETTING if name != "sigma"]
    near = scores.merge(best[[*same, "sigma", "score"]], on=same, suffixes=("", "_best"))
    near = near[(near["sigma"] > near["sigma_best"]) & (near["score"] >= near["score_best"] - LOSS)]
    strong = near.sort_values("sigma").drop_duplicates(same, keep="last").assign(strength="strong")
    found = pd.concat([best, strong[best.columns]]) if len(strong) else best
    return found.sort_values(["strength", "score"], ascending=[True, False], kind="stable").reset_index(drop=True)


def ended(rows: pd.DataFrame) -> pd.DataFrame:
    """Each training after its last round, of what `trainings` returns."""
    return rows[rows["round"] == rows["rounds"]]


def target(rows: pd.DataFrame) -> pd.Series:
    """The test accuracy to reach, by clients and split: SHORT below the last model of federated averaging, in the
    median over seeds. `rows` is what `trainings` returns.
    """
    dense = rows[(rows["way"] == DENSE) & (rows["kicks"] == "")]
    return ended(dense).groupby(_CELL)["accuracy"].median() - SHORT


def sent_to_target(rows: pd.DataFrame) -> pd.DataFrame:
    """Each training with the upload until it first reached `target`: `sent`, infinite where it never does."""
    wanted = rows[_CELL].merge(target(rows).rename("wanted"), left_on=_CELL, right_index=True)["wanted"]
    there = rows[rows["accuracy"] >= wanted - 1e-9].sort_values("round").drop_duplicates("key")
    never = ended(rows[~rows["key"].isin(there["key"])])
    return pd.concat([there, never.assign(sent=math.inf)], ignore_index=True)


def best(rows: pd.DataFrame) -> pd.DataFrame:
    """The trainings at the best settings, see `chosen`: of every way and design the least sigma, and with kicks the
    amount of the same way without.
    """
    rows = _with_the_amount_without(rows)
    return rows[rows["sigma"] == rows.groupby(["kicks", "design", "way"])["sigma"].transform("min")]


def _with_the_amount_without(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows without kicks, and those with kicks that have the amount of the first row of the same way without."""
    quiet = rows[rows["kicks"] == ""].drop_duplicates("way").set_index("way")["amount"]
    return rows[(rows["kicks"] == "") | (rows["amount"] == rows["way"].map(quiet))]


# claims


def against_none(table: pd.DataFrame) -> list[Cell]:
    """Test accuracy at CAP with heavy-tailed kicks less that without kicks that sends the like; a cell a design."""
    return _at_cap(table, "", lambda design, way: ("", way))


def against_gaussian(table: pd.DataFrame) -> list[Cell]:
    """The same less that with Gaussian kicks of the same design, at their own best."""
    return _at_cap(table, "Gaussian", lambda design, way: (design, way))


def against_small(table: pd.DataFrame) -> list[Cell]:
    """The same less that of the small network that sends everything."""
    return _at_cap(table, "", lambda design, way: ("", SMALL))


def against_top(table: pd.DataFrame) -> list[Cell]:
    """The same less that without kicks that sends the numbers of largest size."""
    return _at_cap(table, "", lambda design, way: ("", SELECTIONS["top"]))


def _at_cap(table: pd.DataFrame, kicks: str, rival: Callable[[str, str], tuple[str, str]]) -> list[Cell]:
    rows = best(at_cap(trainings(table)))
    return medians(
        [
            Sample(label, str(own["noise"].iloc[0]), paired(_by_seed(own, "accuracy"), _by_seed(other, "accuracy")))
            for label, own, other in _pairs(rows, kicks, rival)
        ]
    )


def _pairs(
    rows: pd.DataFrame, kicks: str, rival: Callable[[str, str], tuple[str, str]]
) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Heavy-tailed kicks of each design beside a rival with such kicks: (label, own, other), a cell at a time."""
    for (clients, split), cell in rows.groupby(_CELL, sort=False):
        for design, way in DESIGNS:
            against, sends = rival(design, way)
            own = cell[(cell["kicks"] == "heavy") & (cell["design"] == design) & (cell["way"] == way)]
            other = cell[(cell["kicks"] == kicks) & (cell["design"] == against) & (cell["way"] == sends)]
            if len(own) and len(other):
                yield f"{design} kicks, {way}, K = {clients}, {split}", own, other


def _by_seed(rows: pd.DataFrame, column: str) -> pd.Series:
    return rows.set_index("seed")[column]


def common_keeps_more(table: pd.DataFrame) -> list[Cell]:
    """Pruning ratio of the global model with common kicks less that with local ones of the most clients; alpha < 2."""
    last = ended(trainings(table))
    most = last["clients"] == last.loc[last["design"] == "local", "clients"].max()
    return medians(
        [
            Sample(f"α = {alpha:g}", str(own["noise"].iloc[0]), _common_less_local(own, most))
            for alpha, own in last[last["alpha"] < 2].groupby("alpha")
        ]
    )


def _common_less_local(own: pd.DataFrame, most: pd.Series) -> pd.Series:
    common, local = own[own["design"] == "common"], own[(own["design"] == "local") & most[own.index]]
    return paired(_by_seed(common, "pruning_ratio"), _by_seed(local, "pruning_ratio"))


def ratio_less_predicted(table: pd.DataFrame) -> list[Cell]:
    """Pruning ratio of the global model less what the law says for its start and kicks of scale σ K^(1/α-1)."""
    local = ended(trainings(table)).query("design == 'local'")
    some = local[local["clients"].isin(sorted(local["clients"].unique())[::EVERY])]
    samples = []
    for (alpha, clients), own in some.groupby(["alpha", "clients"]):
        label = f"α = {alpha:g}, K = {clients}"
        samples.append(Sample(label, str(own["noise"].iloc[0]), _by_seed(own, "pruning_ratio") - predicted(own)))
    return medians(samples)


def predicted(rows: pd.DataFrame) -> float:
    """The median share that the law lets go at squared error 0.1, of trainings with one setting: no gradient, no data.

    The start is that of `torch.nn.Linear`; kicks of all rounds are one draw of scale `σ (η E T)^(1/α) K^(1/α - 1)`.
    """
    first = rows.iloc[0]
    time = first["lr"] * first["steps"] * first["rounds"]
    return _predicted(
        *(float(first["alpha"]), float(first["sigma"]), str(first["noise"]), int(first["width"])),
        *(math.prod(lookup(first["dataset"]).shape), float(time), int(first["clients"]), first["design"]),
    )


@cache
def _predicted(
    alpha: float, sigma: float, noise: Noise, width: int, inputs: int, time: float, clients: int, design: Design
) -> float:
    size = sigma * time ** (1 / alpha) * laws.averaged_scale(alpha, clients, design)
    return laws.predicted_ratio(alpha, width, noise=noise, inputs=inputs, spread=(3 * inputs) ** -0.5, scale=size)
