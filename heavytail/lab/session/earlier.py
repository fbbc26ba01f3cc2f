"""Rows that an earlier session handed back, whose machine is gone with its store: they are not made again."""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

import pandas as pd

from heavytail.lab import results
from heavytail.lab.machine import files


def take(folder: Path, store: Path) -> None:
    """Put the tables of runs that a session has written into `folder` into a store.

    Raises ValueError where there are none, or one that cannot be read. What the store has already stays.
    """
    archives = sorted(Path(folder).glob("tables*.zip"))
    if not archives:
        raise ValueError(f"{folder} holds no tables of an earlier call: name its OUT, with tables.zip in it")
    for number, path in enumerate(archives):
        try:
            with zipfile.ZipFile(path) as archive:
                contents = {Path(name).name: archive.read(name) for name in archive.namelist()}
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise ValueError(f"{path} is damaged ({error}): name another EARLIER=") from error
        for name, content in contents.items():
            if name.endswith(".parquet"):
                place = store / "earlier" / f"{number}-{name}"
                files.write_atomically(place, partial(Path.write_bytes, data=content))
                results.read_table(place)


def rows(store: Path) -> pd.DataFrame:
    """All rows of runs that were taken, each run once; an empty table if there are none."""
    tables = [results.read_table(path) for path in sorted((store / "earlier").glob("*.parquet"))]
    runs = [table for table in tables if "status" in table]
    return pd.concat(runs, ignore_index=True).drop_duplicates("key") if runs else results.tabled([])
