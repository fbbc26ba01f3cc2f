"""Heavy-tailed SGD and the compressible networks it makes.

The executable companion to Wan, Barsbey, Zaidi, Şimşekli, *Implicit Compressibility of Overparametrized Neural Networks
Trained with Heavy-Tailed SGD*, ICML 2024.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from heavytail.extras import missing as _missing
from heavytail.version import __version__

if TYPE_CHECKING:
    from heavytail import compress, federated, laws, networks, noise, sde, stable, streams, tails
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
    "federated",
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
    if name not in __all__:
        raise AttributeError(f"module 'heavytail' has no attribute {name!r}")
    home = _HOMES.get(name, name)
    try:
        module = importlib.import_module(f"heavytail.{home}")
    except ModuleNotFoundError as error:
        raise ImportError(_missing(f"heavytail.{name}", error, home.partition(".")[0]), name=error.name) from error
    value = getattr(module, name) if name in _HOMES else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
