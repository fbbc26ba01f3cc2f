"""What the theory predicts: the rates of T1 and T2, and the law of the pruning error with its constants.

`c` is a tail constant: a column norm R has `P(R > x) ~ c x^(-alpha)`. `m(κ)` is the bulk term: with the share κ of
the largest columns kept, `m(κ) = E[R²; R below its quantile 1 - κ]`, what the pruned columns hold. Labels: [P] the
paper, [D] derived in the book (chapters Compressibility, How wide is wide enough and Many clients, one kick), else a
source by name.
"""

from heavytail.laws.averaging import (
    averaged_scale,
    clients_at_balance,
    effective_clients,
    weighted_scale,
    widening,
)
from heavytail.laws.bounds import compressibility_bound
from heavytail.laws.columns import bulk, bulk_of, median_norm, tail_constant
from heavytail.laws.prediction import predicted_error, predicted_ratio
from heavytail.laws.pruning import LimitLaw, limit_law, log_required_width, pruning_error, required_width
from heavytail.laws.rates import chaos_rate, compression_rate, euler_rate, largest_kick, step_condition

__all__ = [
    "LimitLaw",
    "averaged_scale",
    "bulk",
    "bulk_of",
    "chaos_rate",
    "clients_at_balance",
    "compressibility_bound",
    "compression_rate",
    "effective_clients",
    "euler_rate",
    "largest_kick",
    "limit_law",
    "log_required_width",
    "median_norm",
    "predicted_error",
    "predicted_ratio",
    "pruning_error",
    "required_width",
    "step_condition",
    "tail_constant",
    "weighted_scale",
    "widening",
]
