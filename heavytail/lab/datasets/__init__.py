"""The data sets of the paper: fetched once, verified against the official data, loaded whole into tensors.

`load("digits")` works offline. The others are read from `folder()` and fetched into it on first use.
"""

from __future__ import annotations

from heavytail.lab.datasets.arrays import DataDamaged
from heavytail.lab.datasets.dataset import Dataset, Status, UnofficialData, load, status
from heavytail.lab.datasets.download import fetch
from heavytail.lab.datasets.layouts import DataUnavailable, find, folder
from heavytail.lab.datasets.official import NAMES, OFFICIAL, Official
from heavytail.lab.datasets.unseen import unseen

__all__ = [
    "NAMES",
    "OFFICIAL",
    "DataDamaged",
    "DataUnavailable",
    "Dataset",
    "Official",
    "Status",
    "UnofficialData",
    "fetch",
    "find",
    "folder",
    "load",
    "status",
    "unseen",
]
