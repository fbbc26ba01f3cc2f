"""The chapter *Federated learning*: its sentences and tables, from what `evidence.federated` finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from heavytail.book.figures.federated import SPLITS, named_way
from heavytail.book.tables import over_seeds
from heavytail.evidence import federated
from heavytail.evidence.cells import Cell
from heavytail.evidence.claims import Entry


def answer(entries: Sequence[Entry]) -> str:
    """The sentence that answers the title: from the words of the cells of *fewer bytes than none*, all data sets.

    >>> from heavytail.evidence import claims
    >>> from heavytail.evidence.cells import Cell
    >>> dear = Cell("a", 1.5, 1.2, 1.8, 7).judged((-float("inf"), 1.0), 0.1)
    >>> answer([Entry(claims.named("fewer-bytes-than-none-federated-mnist"), "quick", (dear,) * 3)])
    'No: in none of 3 comparisons do heavy-tailed kicks save upload, and in 3 they cost more.'
    """
    cells = [cell for entry in entries for cell in entry.cells]
    saved, dearer, alike = (sum(cell.verdict == word for cell in cells) for word in ("holds", "fails", "no difference"))
    if not saved:
        ends = [
            *([f"in {dearer} they cost more"] if dearer else []),
            *([f"in {alike} they make no difference"] if alike else []),
        ]
        end = f", and {' and '.join(ends)}" if ends else ""
        return f"No: in none of {len(cells)} comparisons do heavy-tailed kicks save upload{end}."
    first = "Yes" if saved == len(cells) else "Mostly not" if 2 * saved < len(cells) else "Mostly"
    return f"{first}: heavy-tailed kicks save upload in {saved} of {len(cells)} comparisons, and cost more in {dearer}."


def counted(entry: Entry) -> str:
    """How many of a claim's cells have which word, as a cell of a table.

    >>> counted(Entry(__import__("heavytail").evidence.claims.named("common-kicks-keep-more"), None, ()))
    'not tested'
    """
    words = [str(cell.verdict) for cell in entry.cells]
    return ", ".join(f"{word} {words.count(word)}" for word in dict.fromkeys(sorted(words))) or "not tested"


def ways(rows: pd.DataFrame, clients: int) -> pd.DataFrame:
    """Every way to train with so many clients, ready to be shown: accuracy at the cap and upload to the target.

    `rows` is what `evidence.federated.trainings` made of a table. A row a way and setting, the most accurate first;
    "reached" counts the seeds that got to the target, over all splits.
    """
    capped, spent = federated.at_cap(rows), federated.sent_to_target(rows)
    names = ["kicks", "design", "way", "sigma"]
    found = []
    for key, own in capped[capped["clients"] == clients].groupby(names, sort=False):
        cost = spent[(spent["clients"] == clients) & (spent[names] == list(key)).all(axis=1)]
        row: dict[str, object] = {"way": named_way(*key[:3]), "σ": f"{key[3]:g}" if key[3] else ""}
        for split, title in SPLITS.items():
            row[f"test %, {title}"] = over_seeds(own.loc[own["split"] == split, "accuracy"])
        for split, title in SPLITS.items():
            row[f"upload, {title}"] = f"{cost.loc[cost['split'] == split, 'sent'].median():.2f}"
        row["reached"] = f"{int(cost['reached'].sum())} of {len(cost)}"
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


def spread(cells: Sequence[Cell]) -> str:
    """From which to which number cells go, as a phrase."""
    values = sorted(cell.value for cell in cells)
    return f"{values[0]:.2f} to {values[-1]:.2f}"


def best_of(rows: pd.DataFrame, clients: int, split: str) -> Mapping[str, tuple[str, float]]:
    """The most accurate way at the cap of each kind of kicks, and its median test accuracy."""
    capped = federated.at_cap(rows)
    own = capped[(capped["clients"] == clients) & (capped["split"] == split)]
    middle = own.groupby(["kicks", "design", "way", "sigma"])["accuracy"].median()
    found = {}
    for kicks in ("", "heavy", "Gaussian"):
        if kicks in middle.index.get_level_values("kicks"):
            first = middle.loc[[kicks]].idxmax()
            found[kicks] = named_way(*first[:3]), float(middle[first])
    return found
