"""Heavy-tailed SGD and the compressible networks it makes.

The executable companion to Wan, Barsbey, Zaidi, Şimşekli, *Implicit Compressibility of Overparametrized Neural Networks
Trained with Heavy-Tailed SGD*, ICML 2024.
"""

from heavytail import (
    claims,
    compress,
    datasets,
    laws,
    networks,
    noise,
    results,
    runs,
    sde,
    simulations,
    stable,
    store,
    streams,
    sweeps,
    tails,
    trainer,
)
from heavytail.noise import perturb
from heavytail.results import Results
from heavytail.runs import Run, grid, read_grid
from heavytail.sweeps import sweep
from heavytail.trainer import train
from heavytail.version import __version__

__all__ = [
    "Results",
    "Run",
    "__version__",
    "claims",
    "compress",
    "datasets",
    "grid",
    "laws",
    "networks",
    "noise",
    "perturb",
    "read_grid",
    "results",
    "runs",
    "sde",
    "simulations",
    "stable",
    "store",
    "streams",
    "sweep",
    "sweeps",
    "tails",
    "train",
    "trainer",
]
