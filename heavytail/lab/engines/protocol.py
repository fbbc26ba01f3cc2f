"""What the trainer asks of an engine: the functions of a module that trains networks of one shape together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from heavytail.noise import Kicks, Unit

ROWS = 4096  # samples at once where no gradient is needed

Split = tuple[Tensor, Tensor]  # inputs and labels
Networks = TypeVar("Networks")


class Criterion(NamedTuple):
    """How far to prune: by squared error or by the share of units that stay, as `compress.prune` does."""

    squared_error: float | None = None
    keep: float | None = None


class Pruned(NamedTuple):
    """What pruning took, as a share of the parameters, and the accuracy that is left on every split."""

    ratio: float
    accuracies: list[float]


class Measured(NamedTuple):
    """What is measured of one trained network: its loss, and what pruning by each criterion leaves of it."""

    loss: float  # mean over the training split, nats
    pruned: dict[Criterion, Pruned]  # the smallest units gone; accuracies on the training and the test split
    by_chance: dict[Criterion, Pruned]  # units gone in random order; accuracy on the test split


class Engine(Protocol[Networks]):
    """R networks of one shape are one value of the engine's own type, whose tensors `descend` and `perturb` change."""

    def stack(
        self, models: Sequence[nn.Module], products: str, unit: Unit, batch: int, sample: Tensor | None = None
    ) -> Networks:
        """Networks of one shape, from their modules. There is room for a batch; `sample` shows what a module calls."""

    def keep(self, networks: Networks, rows: Sequence[int]) -> Networks:
        """The networks of these rows alone; the others leave."""

    def apart(self, networks: Networks) -> list[Networks]:
        """The networks in parts that need not be trained in step, in the same memory."""

    def weights(self, networks: Networks, row: int) -> dict[str, Tensor]:
        """A copy of one network's weights by name, on the CPU."""

    def hidden(self, networks: Networks, row: int) -> list[Tensor]:
        """One network's weights that get noise and may be pruned."""

    def descend(
        self,
        networks: Networks,
        x: Tensor,
        y: Tensor,
        rates: Tensor,
        kicks: Kicks,
        decay: Tensor | None = None,
        shrink: Tensor | None = None,
    ) -> Tensor:
        """One step of SGD in place, then the noise of the rows in `kicks`. Returns the losses before it, (R,).

        `decay`, (R,), is what stays of each run's weights before the gradient is taken off; `shrink`, (R,), is by how
        much each hidden unit's norm is shortened after that, down to 0 at most.
        """

    def perturb(self, networks: Networks, kicks: Kicks) -> None:
        """Add the noise of the rows in `kicks`, in place."""

    def evaluate(self, networks: Networks, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Accuracy on x, (N, ...), with labels y, (N,), and mean loss: (R,) each."""

    def measure(
        self,
        networks: Networks,
        train: Split,
        test: Split,
        criteria: Sequence[Criterion],
        by_chance: Sequence[Criterion],
        seed: int,
    ) -> Measured:
        """A single network's loss on `train`, and what pruning leaves of it, as `compress.prune` does it.

        By each of `criteria` with the smallest units gone, on both splits; by each of `by_chance` with units gone in a
        random order of this seed, on `test`.
        """


def lowered(products: str) -> torch.dtype | None:
    """What an engine rounds the factors of a run's `products` to; None = to nothing. TF32 is a matter of the device."""
    return torch.bfloat16 if products == "bfloat16" else None


def shorten(weights: Tensor, lengths: Tensor, axes: int) -> None:
    """Shorten every unit of R weights by the length of its run, down to 0 at most, in place: `w max(0, 1 - l/‖w‖)`.

    That is the proximal step of the group lasso. weights is (R, ..., *unit) with `axes` axes of a unit, lengths (R,).
    Source: M. Yuan, Y. Lin (2006).

    >>> weights = torch.tensor([[[3.0, 4.0], [0.0, 0.5], [0.0, 0.0]]])
    >>> shorten(weights, torch.tensor([1.0]), axes=1)
    >>> weights.tolist()
    [[[2.4000000953674316, 3.200000047683716], [0.0, 0.0], [0.0, 0.0]]]
    """
    dims = list(range(weights.ndim - axes, weights.ndim))
    norms = torch.linalg.vector_norm(weights, dim=dims, keepdim=True).clamp_min_(torch.finfo(weights.dtype).tiny)
    weights.mul_((1 - lengths.view(-1, *[1] * (weights.ndim - 1)) / norms).clamp_min_(0))
