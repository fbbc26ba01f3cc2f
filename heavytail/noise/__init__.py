"""The paper's three noises on weight matrices, and their use with any torch optimizer.

Weights follow torch: a linear weight is (neurons, inputs), so the paper's column i is row i. A convolution's weight is
(filters, channels, *size of a kernel); its unit is a filter (one output channel) or a kernel (one output, one input).

    ours         paper      one unit's noise vector (d entries)          source: the paper's code [C]
    "shared"     Type-I     one symmetric stable scalar, d times
    "entrywise"  Type-II    d independent symmetric stable scalars
    "isotropic"  Type-III   a Gaussian vector times the root of one positive stable scalar

All three have symmetric stable entries of scale 1 and index alpha; they differ in how the entries of a unit hang
together.
"""

from __future__ import annotations

from heavytail.noise.draws import Kick, Kicks, add, draw, kick, kick_each, launched, launches, scale, vectors
from heavytail.noise.kinds import NOISES, UNITS, Noise, Unit, check
from heavytail.noise.training import Perturbation, perturb

__all__ = [
    "NOISES",
    "UNITS",
    "Kick",
    "Kicks",
    "Noise",
    "Perturbation",
    "Unit",
    "add",
    "check",
    "draw",
    "kick",
    "kick_each",
    "launched",
    "launches",
    "perturb",
    "scale",
    "vectors",
]
