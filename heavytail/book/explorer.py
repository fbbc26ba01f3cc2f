"""The explorer page: every cell of the committed tables of runs as one record, and the piece of HTML that shows them.

`book/_static/explorer.js` draws the records. It computes nothing: each number on the page is made here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pandas as pd

from heavytail.book import pieces
from heavytail.book.figures.style import COLOURS
from heavytail.book.tables import PAPER_TYPE, Html, paper_form
from heavytail.evidence.claims import largest, study_of
from heavytail.lab.results import MIDDLE, SHARES, read_table, runs_of
from heavytail.lab.runs import Run

#: What a reader chooses, in this order, and its title: the table and all fields of a Run but the seed. An axis that is
#: not in ALWAYS is offered by a table that has several values of it.
AXES = {
    "dataset": "Data set",
    "table": "Table",
    "network": "Network",
    "width": "Width",
    "depth": "Hidden layers",
    "lr": "Step size",
    "batch_size": "Batch size",
    "max_steps": "Steps",
    "stop_accuracy": "Stop accuracy",
    "eval_every": "Steps between looks",
    "patience": "Patience",
    "samples": "Training samples",
    "validation": "Validation samples",
    "tune_steps": "Steps of tuning",
    "robustness": "Disturbed samples",
    "products": "Products",
    "noise": "Noise",
    "unit": "Unit",
    "along": "Direction",
    "weight_decay": "Weight decay",
    "group_lasso": "Group lasso",
    "alpha": "α",
    "sigma": "σ",
}

ALWAYS = ("dataset", "table", "width", "noise", "alpha", "sigma")

NORMS = {
    "norm_median": "Median norm",
    "norm_rms": "Root mean square of the norms",
    "tail_index": "Tail index of the norms",
}

DIGITS = 3  # significant ones of every number on the page

# What is not told of a cell: it is so in all tables but those that are about it.
_USUAL = {"products": "float32", "unit": "filter", "along": "ones"}

Record = dict[str, Any]


def committed(folder: Path | str) -> dict[str, pd.DataFrame]:
    """The tables of runs in `folder`, each at its largest profile, by PROFILE/NAME.

    Simulations are left out, and searches on a validation part: hundreds of cells of few seeds, which other pages show.
    """
    names = sorted({path.stem for path in Path(folder).glob("*/*.parquet")})
    found = (largest(folder, name) for name in names if not study_of(name))
    tables = {f"{profile}/{path.stem}": read_table(path) for profile, path in filter(None, found)}
    runs = {name: table for name, table in tables.items() if "quantity" not in table}
    return {name: table for name, table in runs.items() if table["validation"].isna().any()}


def cells(tables: Mapping[str, pd.DataFrame]) -> list[Record]:
    """One record a cell, that is all runs of a table that differ in their seed alone, in the order of AXES.

    `at`      where the cell is: axis -> value as text; only the axes that the table's data set varies, and ALWAYS
    `fixed`   the other fields of its runs, in words
    `row`     its row of `tables.paper_form`, without noise, α and σ
    `keys`    of its runs, in the order of their seeds, with a space between
    `curves`  train, test, random: at each pruned share the median over seeds, the worst and the best seed; None
              where no run has a number
    `norms`   column -> a number a run, with `tail_index_error`; None where no run has one
    `plain`   position of the plain run of the same network in this list; None where there is none, or it is this one
    """
    records: list[Record] = []
    for name, dataset in _ordered(tables):
        groups = _groups(tables[name][tables[name]["dataset"] == dataset])
        varied = {axis for axis in AXES if axis != "table" and len({getattr(run, axis) for run in groups}) > 1}
        place = {run: len(records) + number for number, run in enumerate(groups)}
        records += [_record(name, run, rows, varied.union(ALWAYS), place) for run, rows in groups.items()]
    return records


def _ordered(tables: Mapping[str, pd.DataFrame]) -> list[tuple[str, str]]:
    """Tables and data sets: by data set, the table of that name first."""
    pairs = [(name, str(dataset)) for name, table in tables.items() for dataset in table["dataset"].unique()]

    def place(pair: tuple[str, str]) -> tuple[str, bool, str]:
        title = pair[0].rpartition("/")[2]
        return pair[1], title != pair[1], title

    return sorted(pairs, key=place)


def _groups(table: pd.DataFrame) -> dict[Run, pd.DataFrame]:
    """The rows of each cell by the Run that they share, its seed set to 0; cells in the order of AXES."""
    positions: dict[Run, list[int]] = {}
    for position, run in enumerate(runs_of(table)):
        positions.setdefault(replace(run, seed=0), []).append(position)
    return {run: table.iloc[positions[run]].sort_values("seed") for run in sorted(positions, key=_place)}


def _place(run: Run) -> list[tuple[bool, Any]]:
    values = {**asdict(run), "noise": list(PAPER_TYPE).index(run.noise)}
    return [(values[axis] is not None, values[axis]) for axis in AXES if axis != "table"]


def _record(name: str, run: Run, rows: pd.DataFrame, axes: Iterable[str], place: Mapping[Run, int]) -> Record:
    values = {"table": name, **{axis: _text(axis, getattr(run, axis)) for axis in AXES if axis != "table"}}
    ((_, row),) = paper_form(rows).iterrows()
    split = {kind: [f"{kind}_accuracy_share_{share:.1f}" for share in SHARES] for kind in ("train", "test")}
    random = [f"test_accuracy_random_{share:.1f}" for share in MIDDLE]
    return {
        "at": {axis: value for axis, value in values.items() if axis in axes},
        "fixed": ", ".join(
            f"{axis} {value}"
            for axis, value in values.items()
            if axis not in axes and value not in ("—", _USUAL.get(axis))
        ),
        "row": {title: _plain_number(value) for title, value in row.items() if title not in ("noise", "α", "σ")},
        "keys": " ".join(rows["key"]),
        "curves": {kind: _curve(rows, names) for kind, names in {**split, "random": random}.items()},
        "norms": _norms(rows),
        "plain": _plain(run, place),
    }


def _text(axis: str, value: object) -> str:
    """A field as a reader chooses it; a dash for None."""
    if axis == "noise":
        return PAPER_TYPE[None if value is None else str(value)]
    return "—" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)


def _plain_number(value: object) -> object:
    return value if isinstance(value, str) else int(value)  # type: ignore[call-overload]


def _short(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _curve(rows: pd.DataFrame, names: Sequence[str]) -> list[list[float | None]] | None:
    numbers = rows[list(names)]
    if numbers.isna().all(axis=None):
        return None
    parts = zip(numbers.median(), numbers.min(), numbers.max(), strict=True)
    return [[_short(number) for number in part] for part in parts]


def _norms(rows: pd.DataFrame) -> dict[str, list[float | None]] | None:
    names = [*NORMS, "tail_index_error"]
    if rows[names].isna().all(axis=None):
        return None
    return {name: [_short(number) for number in rows[name]] for name in names}


def _plain(run: Run, place: Mapping[Run, int]) -> int | None:
    """Plain SGD of the same network: with the same penalty on its weights, or else without any."""
    plain = replace(run, noise=None, alpha=None, sigma=0.0, along="ones")
    candidates = [plain, replace(plain, weight_decay=0.0, group_lasso=0.0)]
    return next((place[other] for other in candidates if other != run and other in place), None)


def page(records: Sequence[Record], start: Mapping[str, str], static: str = "../_static") -> Html:
    """The explorer as a piece of a page, which opens at the first record with the axes of `start`.

    `static` is where its script lies.

    What the reader sees without the script is a sentence and the list of the tables. The records are in the piece
    itself, because a page opened as a file may not read another file. Raises ValueError for a `start` that no record
    has.
    """
    first = next((record["at"] for record in records if start.items() <= record["at"].items()), None)
    if first is None:
        raise ValueError(f"no cell has {dict(start)}: start at axes and values that one of the tables has")
    texts = list(dict.fromkeys(record["fixed"] for record in records))  # few, and long
    data = {
        "axes": AXES,
        "always": ALWAYS,
        "colours": {name: pieces.colour(name) for name in COLOURS if name != "none"},
        "shares": {"train": SHARES, "test": SHARES, "random": MIDDLE},
        "norms": NORMS,
        "fixed": texts,
        "records": [{**record, "fixed": texts.index(record["fixed"])} for record in records],
    }
    names = sorted({record["at"]["table"] for record in records})
    items = "".join(f"<li><code>data/results/{escape(name)}.parquet</code></li>" for name in names)
    without = (
        "<p>The explorer needs JavaScript, which does not run here. "
        f"Its numbers are in these tables:</p><ul>{items}</ul>"
    )
    at = f' data-start="{escape(urlencode(first if start else {}))}"'
    return pieces.html("explorer", "Explorer", data, without, attributes=at, static=static)
