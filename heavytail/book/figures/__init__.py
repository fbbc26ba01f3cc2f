"""Every plot of the book, from tables and tensors. One style, one colour a noise, axis symbols as in the text."""

from heavytail.book.figures.averaging import averaged_kicks, pruned_by_clients
from heavytail.book.figures.comparison import at_a_glance, exposures, kick_norms, ratio_and_accuracy, ratio_by_kick
from heavytail.book.figures.controls import control_curves, controls
from heavytail.book.figures.depths import curves_by_depth, loss_by_depth, pruning_by_depth
from heavytail.book.figures.federated import accuracy_at_cap, accuracy_by_upload, ratio_by_clients
from heavytail.book.figures.frontier import dose, frontier, strengths
from heavytail.book.figures.performance import growth, over_limits, over_loop
from heavytail.book.figures.rooms import plan
from heavytail.book.figures.shipping import accuracy_by_bytes, accuracy_by_time
from heavytail.book.figures.style import style
from heavytail.book.figures.theory import (
    bounds,
    coupled,
    error_shares,
    largest_in_width,
    laws_overlaid,
    misplaced_jump,
    pairwise_correlation,
    paths,
    power_laws,
    predicted_errors,
    step_cost,
    width_maps,
)
from heavytail.book.figures.training import (
    accuracy_by_share,
    loss_and_pruning,
    noise_types,
    norm_tails,
    pruning_by_alpha,
    stable_tails,
    weight_matrices,
)
from heavytail.book.figures.widths import curves_by_width, pruning_by_width

__all__ = [
    "accuracy_at_cap",
    "accuracy_by_bytes",
    "accuracy_by_share",
    "accuracy_by_time",
    "accuracy_by_upload",
    "at_a_glance",
    "averaged_kicks",
    "bounds",
    "control_curves",
    "controls",
    "coupled",
    "curves_by_depth",
    "curves_by_width",
    "dose",
    "error_shares",
    "exposures",
    "frontier",
    "growth",
    "kick_norms",
    "largest_in_width",
    "laws_overlaid",
    "loss_and_pruning",
    "loss_by_depth",
    "misplaced_jump",
    "noise_types",
    "norm_tails",
    "over_limits",
    "over_loop",
    "pairwise_correlation",
    "paths",
    "plan",
    "power_laws",
    "predicted_errors",
    "pruned_by_clients",
    "pruning_by_alpha",
    "pruning_by_depth",
    "pruning_by_width",
    "ratio_and_accuracy",
    "ratio_by_clients",
    "ratio_by_kick",
    "stable_tails",
    "step_cost",
    "strengths",
    "style",
    "weight_matrices",
    "width_maps",
]
