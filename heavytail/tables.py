"""Tables as the pages show them: the paper's form of a results table, and the ledger."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

from heavytail.claims import Entry
from heavytail.measures import mean_cell
from heavytail.results import FAILED, SHARES

PAPER_TYPE = {None: "none", "shared": "Type-I", "entrywise": "Type-II", "isotropic": "Type-III"}

_MEASURES = {
    "train %": "train_accuracy",
    "test %": "test_accuracy",
    "pruned %": "pruning_ratio",
    "train after %": "train_accuracy_pruned",
    "test after %": "test_accuracy_pruned",
}


def paper_form(table: pd.DataFrame) -> pd.DataFrame:
    """The paper's table: a row for each noise, α and σ; percentages as mean ± half of the 95 % interval over seeds.

    "runs" counts the seeds that went in, "failed" those that diverged or did not fit in memory.
    """
    cells = []
    keys = ["noise", "alpha", "sigma"]
    for (noise, alpha, sigma), rows in table.groupby(keys, dropna=False, sort=True):
        noise = None if pd.isna(noise) else noise
        index = "" if pd.isna(alpha) else f"{alpha:g}"
        cell: dict[str, object] = {"noise": PAPER_TYPE[noise], "α": index, "σ": f"{sigma:g}"}
        for title, column in _MEASURES.items():
            mean = mean_cell("", 100 * rows[column])
            half = f" ± {(mean.high - mean.low) / 2:.1f}" if np.isfinite(mean.high) else ""
            cell[title] = f"{mean.value:.1f}{half}"
        failed = int(rows["status"].isin(FAILED).sum())
        cells.append({**cell, "runs": len(rows) - failed, "failed": failed})
    order = list(PAPER_TYPE.values())
    return pd.DataFrame(sorted(cells, key=lambda cell: order.index(str(cell["noise"]))))


def accuracy_curves(table: pd.DataFrame, split: str = "test") -> pd.DataFrame:
    """Long form of the accuracies at the pruned shares: columns noise, alpha, sigma, seed, share, accuracy."""
    columns = {f"{split}_accuracy_share_{share:.1f}": share for share in SHARES}
    long = table.melt(["noise", "alpha", "sigma", "seed"], list(columns), var_name="share", value_name="accuracy")
    return long.assign(share=long["share"].map(columns).astype(float))


def ledger_form(entries: Sequence[Entry]) -> pd.DataFrame:
    """The ledger as a page shows it: claim, source, verdict, measure with interval, cells that agree, profile."""
    rows = []
    for entry in entries:
        claim, weakest = entry.claim, entry.weakest
        number = f"{weakest.value:+.3g} [{weakest.low:+.3g}, {weakest.high:+.3g}]" if weakest else "—"
        rows.append(
            {
                "claim": claim.id,
                "source": claim.source,
                "verdict": entry.verdict,
                "weakest cell [interval]": number,
                "cells that agree": f"{entry.agreeing} of {len(entry.cells)}" if weakest else "—",
                "profile": entry.profile or "—",
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Html:
    """A piece of a page."""

    text: str

    def _repr_html_(self) -> str:
        return self.text


def show(table: pd.DataFrame, caption: str = "") -> Html:
    """A table as a page sets it: no index, short entries unbroken, texts free to wrap, the same HTML each time."""
    page = table.astype(str).to_html(index=False, border=0, justify="left", classes="dataframe")
    page = re.sub(r"<td>([^<]{0,23})</td>", r'<td class="short">\1</td>', page)
    return Html(page.replace("<thead>", f"<caption>{escape(caption)}</caption>\n  <thead>", 1) if caption else page)
