"""Every plot of the book, from tables and tensors. One style, one colour a noise, axis symbols as in the text."""

from heavytail.figures.performance import growth
from heavytail.figures.style import style
from heavytail.figures.theory import (
    coupled,
    error_shares,
    laws_overlaid,
    misplaced_jump,
    pairwise_correlation,
    paths,
    power_laws,
    predicted_errors,
    step_cost,
    width_maps,
)
from heavytail.figures.training import (
    accuracy_by_share,
    input_sums,
    loss_and_pruning,
    noise_types,
    norm_tails,
    pruning_by_alpha,
    stable_tails,
    weight_matrices,
)

__all__ = [
    "accuracy_by_share",
    "coupled",
    "error_shares",
    "growth",
    "input_sums",
    "laws_overlaid",
    "loss_and_pruning",
    "misplaced_jump",
    "noise_types",
    "norm_tails",
    "pairwise_correlation",
    "paths",
    "power_laws",
    "predicted_errors",
    "pruning_by_alpha",
    "stable_tails",
    "step_cost",
    "style",
    "weight_matrices",
    "width_maps",
]
