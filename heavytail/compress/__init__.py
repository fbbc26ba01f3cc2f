"""How far a network compresses: column norms, error curves, pruning, the smaller network that is left, and shipping it.

The paper's column i is row i of a torch weight (one neuron's incoming weights). In a convolution the row is a filter,
or one kernel of a filter with `unit="kernel"`. Source of the rules: the paper's theorem T3 [P] and its code [C].

`squared_error` is a share of the squared Frobenius norm, as the paper's criterion has it. Where this package says
`error`, as in `laws.required_width`, the error is relative and not squared.

`save`, `load`, `export` and `measure` need the extra `ship`, and say so where it is not installed.
"""

from heavytail.compress.curves import SQUARED_ERROR, count, error_curve, norms, prunable_share
from heavytail.compress.exporting import export
from heavytail.compress.freezing import Frozen, freeze_zeros
from heavytail.compress.measuring import Measured, Measurements, Timing, measure
from heavytail.compress.pruning import Part, Taken, chance, order, prune, pruning_ratio, taken
from heavytail.compress.saving import load, save
from heavytail.compress.shrinking import shrink

__all__ = [
    "SQUARED_ERROR",
    "Frozen",
    "Measured",
    "Measurements",
    "Part",
    "Taken",
    "Timing",
    "chance",
    "count",
    "error_curve",
    "export",
    "freeze_zeros",
    "load",
    "measure",
    "norms",
    "order",
    "prunable_share",
    "prune",
    "pruning_ratio",
    "save",
    "shrink",
    "taken",
]
