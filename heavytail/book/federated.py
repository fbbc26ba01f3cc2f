"""The chapter *Federated learning*: its sentences and tables, from what `evidence.federated` finds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from heavytail.book.figures.federated import SPLITS, named_way
from heavytail.book.tables import over_seeds
from heavytail.evidence import federated
from heavytail.evidence.claims import Entry


def answer(entries: Sequence[Entry]) -> tuple[str, str]:
    """What answers the title, and the counts for it: of the cells of *better than none within the cap*, all data sets.

    >>> from heavytail.evidence import claims
    >>> from heavytail.evidence.cells import Cell
    >>> worse = Cell("a", -0.2, -0.3, -0.1, 7).judged((0.0, float("inf")), 0.005)
    >>> answer([Entry(claims.named("within-cap-better-than-none-federated-mnist"), "quick", (worse,) * 3)])[0]
    'No, not here'
    """
    words = [cell.verdict for entry in entries for cell in entry.cells]
    better, worse, alike, open_ = (words.count(word) for word in ("holds", "fails", "no difference", "undecided"))
    first = "No, not here" if not better else "Yes, here" if better == len(words) else "Here and there"
    return first, (
        f"of {len(words)} comparisons {better} find heavy-tailed kicks more accurate for the same upload, "
        f"{worse} find them less so, {alike} find no difference, and {open_} decide nothing."
    )


def ways(rows: pd.DataFrame, clients: int) -> pd.DataFrame:
    """Every way to train with so many clients, ready to be shown: accuracy at the cap, upload to the target, and the
    pruning ratio after the last round.

    `rows` is what `evidence.federated.trainings` made of a table. A row a way and setting, the most accurate first;
    uploads are medians over seeds, "never" where half of them or more do not get to the target; ratios are medians over
    all splits.
    """
    capped, spent = federated.at_cap(rows), federated.sent_to_target(rows)
    last = federated.ended(rows)
    names = ["kicks", "design", "way", "sigma", "amount"]
    found = []
    for key, own in capped[capped["clients"] == clients].groupby(names, sort=False):
        cost = spent[(spent["clients"] == clients) & (spent[names] == list(key)).all(axis=1)]
        row: dict[str, object] = {"way": named_way(*key[:3]), "σ": f"{key[3]:g}" if key[3] else ""}
        row["sent"] = f"{key[4]:g}" if key[4] else "all"
        for split, title in SPLITS.items():
            row[f"test %, {title}"] = over_seeds(own.loc[own["split"] == split, "accuracy"])
        for split, title in SPLITS.items():
            middle = cost.loc[cost["split"] == split, "sent"].median()
            row[f"upload, {title}"] = f"{middle:.2f}" if math.isfinite(middle) else "never"
        ratios = last.loc[last["key"].isin(own["key"]), "pruning_ratio"]
        row["pruned %"] = f"{100 * ratios.median():.0f}"
        found.append((own["accuracy"].median(), row))
    found.sort(key=lambda pair: -pair[0])
    return pd.DataFrame([row for _, row in found])


def settings(chosen: pd.DataFrame) -> pd.DataFrame:
    """What a search chose, ready to be shown."""
    return pd.DataFrame(
        {
            "way": named_way(row["kicks"], row["design"], row["way"]),
            "σ": f"{row['sigma']:g}" if row["sigma"] else "",
            "η": f"{row['lr']:g}",
            "neurons": int(row["width"]),
            "share or size sent": f"{row['amount']:g}" if row["amount"] else "all",
            "score": f"{row['score']:.3f}",
        }
        for _, row in chosen.iterrows()
    )
