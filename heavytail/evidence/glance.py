"""The whole reproduction at a glance: what was run on what, at which scale, for how long, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from heavytail.evidence.claims import PROFILES, Entry, largest, study_of, tally
from heavytail.evidence.scales import SCALES, Scale
from heavytail.lab.datasets.official import published
from heavytail.lab.machine import files

_TITLES = {"ecg5000": "ECG5000", "mnist": "MNIST", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "digits": "digits"}

#: What the simulations of some studies are together, in the order of the rows.
_SIMULATED = {
    ("shipping",): "networks pruned to every size and tuned",
    ("federated",): "training by many clients",
    ("untrained",): "start plus kicks, without training",
    ("chaos", "fluctuations"): "T1: particles beside their mean-field limits",
    ("discretisation", "batches"): "T2: coarse steps beside fine ones",
    ("pruning", "ablation", "surely"): "T3: pruned matrices, kicks alone and trained",
    ("averaging",): "kicks of many clients, averaged",
    ("exposure",): "what inputs see of a kick",
}


@dataclass(frozen=True)
class Line:
    """Tables of one kind together, each at its largest profile.

    `runs` counts trainings or simulations, searches among them; `scales` those of the tables that claims are held
    against; `words` how often each verdict was given there, by noise type. `seconds` are those of all runs one after
    the other, `devices` what they ran on.
    """

    what: str
    datasets: tuple[str, ...]
    tables: tuple[str, ...]
    profiles: tuple[str, ...]
    devices: tuple[str, ...]
    runs: int
    seconds: float
    scales: tuple[Scale, ...]
    words: Mapping[str, int]


def lines(folder: Path | str, entries: Sequence[Entry]) -> list[Line]:
    """A line for each kind of table in `folder/PROFILE`, with the verdicts of these entries of the ledger."""
    names = sorted({path.stem for profile in PROFILES for path in (files.named(folder) / profile).glob("*.parquet")})
    kinds: dict[str, list[tuple[str, str, pd.DataFrame]]] = {}
    for name in names:
        if found := largest(folder, name):
            profile, path = found
            table = _read(path)
            kinds.setdefault(_kind(name, table), []).append((name, profile, table))
    return [_line(kind, kinds[kind], entries) for kind in sorted(kinds, key=_place)]


def _read(path: Path) -> pd.DataFrame:
    """What is told of each row of a table; the ledger has read all of it."""
    from pyarrow import parquet

    with path.open("rb") as file:
        table = parquet.ParquetFile(file)
        told = [name for name in ("key", "dataset", "seconds", "device") if name in table.schema_arrow.names]
        return table.read(told).to_pandas()


def _kind(name: str, table: pd.DataFrame) -> str:
    if study := study_of(name):
        return next((title for studies, title in _SIMULATED.items() if study in studies), study)
    return f"networks trained on {_title(str(table['dataset'].iloc[0]))}"


def _title(dataset: str) -> str:
    official = published(dataset)
    return _TITLES.get(official.name, official.name) if official else dataset.partition("@")[0]


def _place(kind: str) -> tuple[int, str]:
    """Trained networks come first, then simulations; of each, those that are known by name."""
    known = [*(f"networks trained on {title}" for title in _TITLES.values()), *_SIMULATED.values()]
    return known.index(kind) if kind in known else len(known), kind


def _line(kind: str, held: Iterable[tuple[str, str, pd.DataFrame]], entries: Sequence[Entry]) -> Line:
    names, profiles, tables = zip(*held, strict=True)
    own = [entry for entry in entries if entry.cells and entry.claim.table in names]
    runs = pd.concat(
        [table.drop_duplicates("key").assign(table=name) for name, table in zip(names, tables, strict=True)]
    )
    datasets = dict.fromkeys(_title(name) for name in runs["dataset"].dropna()) if "dataset" in runs else {}
    words: dict[str, int] = {}
    for counts in tally(own).values():
        words = {word: words.get(word, 0) + count for word, count in counts.items()}
    return Line(
        kind,
        tuple(sorted(datasets, key=lambda title: ([*_TITLES.values(), title].index(title), title))),
        names,
        tuple(profile for profile in PROFILES if profile in profiles),
        tuple(sorted(set(runs["device"]))),
        len(runs),
        float(runs["seconds"].sum()),
        tuple(scale for scale in SCALES if scale in {entry.scale for entry in own}),
        words,
    )
