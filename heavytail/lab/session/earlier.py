"""Rows that an earlier session handed back, whose machine is gone with its store: they are not made again."""

from __future__ import annotations

import tempfile
import zipfile
from functools import partial
from pathlib import Path

import pandas as pd

from heavytail.lab import results
from heavytail.lab.machine import files


def take(folder: Path, store: Path) -> None:
    """Put the tables of runs that a session has written into `folder` into a store, all of them or none.

    Raises ValueError where there are none, or one that cannot be read. What the store has already stays.
    """
    archives = sorted(Path(folder).glob("tables*.zip"))
    if not archives:
        raise ValueError(f"{folder} holds no tables of an earlier call: name its OUT, with tables.zip in it")
    taken = [(f"{number}-{name}", held) for number, path in enumerate(archives) for name, held in _tables(path).items()]
    for name, content in taken:
        files.write_atomically(store / "earlier" / name, partial(Path.write_bytes, data=content))


def _tables(path: Path) -> dict[str, bytes]:
    """The tables in an archive by the names of their files. ValueError unless all can be read."""
    if kind := files.kind_of(path):  # a pipe would never end
        raise ValueError(f"{path} is {kind} and no archive: name another EARLIER=")
    try:
        with zipfile.ZipFile(path) as archive:
            contents = {Path(name).name: archive.read(name) for name in archive.namelist() if _is_table(name)}
    except Exception as error:  # the module and those it unpacks by have errors of their own for every kind of damage
        raise ValueError(f"{path} is damaged ({error}): name another EARLIER=") from error
    with tempfile.TemporaryDirectory() as folder:
        for name, content in contents.items():
            place = Path(folder) / "table.parquet"
            place.write_bytes(content)
            try:
                results.read_table(place)
            except ValueError as error:
                why = (
                    str(error).removeprefix(f"{place} ").partition(";")[0].removesuffix(": delete it and make it again")
                )
                raise ValueError(f"{name} in {path} {why}: name another EARLIER=") from error
    return contents


def _is_table(name: str) -> bool:
    return name.endswith(".parquet")


def rows(store: Path) -> pd.DataFrame:
    """All rows of runs that were taken, each run once; an empty table if there are none."""
    tables = [results.read_table(path) for path in sorted((store / "earlier").glob("*.parquet"))]
    runs = [table for table in tables if "status" in table]
    return pd.concat(runs, ignore_index=True).drop_duplicates("key") if runs else results.tabled([])
