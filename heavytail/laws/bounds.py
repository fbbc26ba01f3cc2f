"""What holds of every trained network, at any width and step size: the error of pruning against start plus noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heavytail.laws._checks import digits, number, share
from heavytail.noise.kinds import as_float


def compressibility_bound(start_plus_noise: Tensor, drift: float, keep: float) -> float:
    """What the relative error of pruning is at most, whatever the gradients were, as long as they were bounded. [D]

    start_plus_noise  W (n, d): the initial weights of a layer plus all its kicks `σ η^(1/α) ξ`, without any gradient; a
                      row is a neuron, the paper's column
    drift             B: what all gradient steps together may have moved a neuron, at most, `‖Σ_k η b_k‖ <= B` for each;
                      in the units of the weights. With gradients of size C at most, B = C T for a time of training T
    keep              κ, the share of neurons kept, in (0, 1), rounded to a whole number, one at least, as `prune` does

    With N the sum of the smallest squared norms of W, those of the neurons that go, and D that of all,
    `error <= (√N + B √n) / (√D − B √n)`: √N is the Frobenius distance to the matrices of so few neurons, √D the norm,
    and the trained matrix is at most B √n away from W. It holds surely, for every width, step size and batch, and for
    Types I to III alike. Returned is at most 1, which no such error exceeds. As D grows as n^(2/α) and the rest as n,
    it tends to 0 for α < 2: that is T3, with its rate.

    Raises ValueError for W that is no finite matrix with a row and a weight, a drift not finite or below 0, or keep
    out of range, TypeError for W that is no real tensor, or a drift or keep that is no number.

    >>> generator = torch.Generator().manual_seed(1)
    >>> from heavytail import noise
    >>> kicks = noise.vectors(1.2, "shared", (10_000, 3), generator=generator).expand(-1, 3)
    >>> [round(compressibility_bound(kicks, drift, keep=0.1), 2) for drift in (0.0, 0.5, 50.0)]
    [0.08, 0.1, 1.0]
    """
    share("keep", keep)
    number("drift", drift)
    if not 0 <= as_float(drift) < math.inf:
        raise ValueError(f"drift is what a neuron was moved at most: finite and >= 0, got {digits(drift)}")
    if not isinstance(start_plus_noise, Tensor) or start_plus_noise.is_complex():
        raise TypeError("start_plus_noise is a tensor of real numbers, a row a neuron")
    if start_plus_noise.ndim != 2 or not start_plus_noise.numel() or not bool(start_plus_noise.isfinite().all()):
        shape = tuple(start_plus_noise.shape)
        raise ValueError(f"start_plus_noise is a finite matrix (neurons, inputs), got {shape}, or NaN or inf in it")
    norms = torch.linalg.vector_norm(start_plus_noise.double(), dim=1).sort().values
    gone = len(norms) - max(1, round(keep * len(norms)))
    away = drift * math.sqrt(len(norms))
    pruned, whole = float(torch.linalg.vector_norm(norms[:gone])), float(torch.linalg.vector_norm(norms))
    return min(1.0, (pruned + away) / (whole - away)) if whole > away else 1.0
