"""Heavy-tailed SGD and the compressible networks it makes.

The executable companion to Wan, Barsbey, Zaidi, Şimşekli, *Implicit Compressibility of Overparametrized Neural Networks
Trained with Heavy-Tailed SGD*, ICML 2024.
"""

from __future__ import annotations

import importlib
import importlib.util
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

_EXTRAS = {"lab": "[lab]", "evidence": "[lab]", "book": "[book]"}  # what to install for a wing


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


def _require(wing: str, *modules: str) -> None:
    """ModuleNotFoundError with one sentence unless all of these are installed: for a wing that is imported by name."""
    for name in modules:
        if importlib.util.find_spec(name) is None:
            error = ModuleNotFoundError(name=name)
            raise ModuleNotFoundError(_missing(f"heavytail.{wing}", error, wing), name=name)


def _missing(what: str, error: ModuleNotFoundError, wing: str) -> str:
    """The sentence for a wing's `what` that needs a module which is not here."""
    absent = str(error.name)
    if absent.startswith("heavytail.book"):
        return f"{what} needs the book, which is in the repository and not in the package: clone it and work there"
    if absent.startswith("heavytail"):
        return f"{what} needs {absent}, which this installation lacks: install heavytail again"
    return f"{what} needs {absent.partition('.')[0]}: pip install 'heavytail{_EXTRAS.get(wing, '')}'"
