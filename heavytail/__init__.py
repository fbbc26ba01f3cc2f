"""Heavy-tailed SGD and the compressible networks it makes.

The executable companion to Wan, Barsbey, Zaidi, Şimşekli, *Implicit Compressibility of Overparametrized Neural Networks
Trained with Heavy-Tailed SGD*, ICML 2024.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from heavytail.version import __version__

if TYPE_CHECKING:
    from heavytail import compress, laws, networks, noise, sde, stable, streams, tails
    from heavytail.compress import prune, shrink
    from heavytail.lab.results import Results
    from heavytail.lab.runs import Run, grid
    from heavytail.lab.sweeps import sweep
    from heavytail.lab.trainer import train
    from heavytail.networks import hidden_weights
    from heavytail.noise import perturb

__all__ = [
    "Results",
    "Run",
    "__version__",
    "compress",
    "grid",
    "hidden_weights",
    "laws",
    "networks",
    "noise",
    "perturb",
    "prune",
    "sde",
    "shrink",
    "stable",
    "streams",
    "sweep",
    "tails",
    "train",
]

_HOMES = {
    "perturb": "noise",
    "prune": "compress",
    "shrink": "compress",
    "hidden_weights": "networks",
    "Run": "lab.runs",
    "grid": "lab.runs",
    "train": "lab.trainer",
    "sweep": "lab.sweeps",
    "Results": "lab.results",
}


def __getattr__(name: str) -> object:
    """Import what is asked for, when it is asked for: a sampler needs no trainer, and a trainer no book (PEP 562)."""
    if name in _HOMES:
        value = getattr(importlib.import_module(f"heavytail.{_HOMES[name]}"), name)
    elif name in __all__:
        value = importlib.import_module(f"heavytail.{name}")
    else:
        raise AttributeError(f"module 'heavytail' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
