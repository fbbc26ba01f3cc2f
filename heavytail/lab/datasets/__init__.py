"""The data sets of the paper, and your own, whole in tensors.

Those of the paper are fetched once and verified against the official data: `load("digits")` works offline, the others
are read from `folder()` and fetched into it on first use. Your own come from `from_arrays`, `from_torch`, `from_csv` or
`from_npz`.
"""

from __future__ import annotations

from heavytail.lab.datasets.arrays import DataDamaged
from heavytail.lab.datasets.dataset import Dataset, Status, UnofficialData, load, status
from heavytail.lab.datasets.download import fetch
from heavytail.lab.datasets.layouts import DataUnavailable, find, folder
from heavytail.lab.datasets.official import NAMES, OFFICIAL, Official
from heavytail.lab.datasets.own import from_arrays, from_csv, from_npz, from_torch
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
    "from_arrays",
    "from_csv",
    "from_npz",
    "from_torch",
    "load",
    "status",
    "unseen",
]
