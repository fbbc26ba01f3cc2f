"""How right a network is on inputs that are disturbed to make it wrong, by no more than e·r in any number of them.

e is one of `results.DISTURBED`, r the root mean square of all numbers of the training inputs. With the cross-entropy L,

    FGSM:  x + e r sign(∇L(x))                                     one step; Goodfellow, Shlens and Szegedy, ICLR 2015
    PGD:   x ← the nearest in the ball to x + a sign(∇L(x)),       10 steps, a = 2.5 e r / 10; Madry et al., ICLR 2018

PGD begins at the sample itself, not at a random place near it, so that nothing here is drawn. Nothing is clipped to
what a pixel may be either: inputs are standardised, and data of one's own may be anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from heavytail.lab import models, results
from heavytail.lab.datasets import Dataset
from heavytail.lab.engines.protocol import ROWS, Split, lowered
from heavytail.lab.machine import threads
from heavytail.lab.models import Build
from heavytail.lab.runs import Run
from heavytail.networks.keeping import copied

STEPS = 10  # of PGD
STEP = 2.5 / STEPS  # of PGD, as a share of the ball's radius: the border is reached, and left to turn
PART = 128  # samples at once


def measure(run: Run, weights: Mapping[str, Tensor], dataset: Dataset, build: Build | None) -> dict[str, float]:
    """Columns of a run's final network: accuracy on its first `robustness` test samples, disturbed at each size.

    `weights` are its final ones, `build` makes a network that the user has given: one that mixes the samples of a batch
    sees PART of them at once. Nothing where `robustness` is None. The same bits on any number of threads.

    >>> from heavytail import train
    >>> run = Run(dataset="digits", width=50, lr=0.1, max_steps=50, robustness=100)
    >>> row = train(run, progress=False).table.iloc[0]
    >>> bool(row["test_accuracy_pgd_0.1"] <= row["test_accuracy_fgsm_0.1"] <= row["test_accuracy_fgsm_0.01"])
    True
    """
    if run.robustness is None:
        return {}
    model = models.final_model(run, weights, dataset, build).requires_grad_(False)
    x, y = dataset.x_test[: run.robustness], dataset.y_test[: run.robustness]
    size, low = root_mean_square(dataset.x_train), lowered(run.products)

    def right(part: Split) -> Tensor:
        own = copied(model)  # a module may keep something of a call, and other threads call theirs meanwhile
        return torch.stack([_right(own, disturbed, part[1], low) for disturbed in _all(own, *part, size, low)])

    parts = list(zip(x.split(PART), y.split(PART), strict=True))
    shares = (torch.stack(threads.each(right, parts, x.device)).sum(0).double() / len(y)).tolist()
    names = [f"test_accuracy_{kind}_{e:g}" for e in results.DISTURBED for kind in ("fgsm", "pgd")]
    return dict(zip(names, shares, strict=True))


def root_mean_square(x: Tensor) -> float:
    """Of all numbers of x, in float64; the same bits on any number of threads.

    >>> root_mean_square(torch.tensor([[3.0, -3.0], [1.0, 9.0]]))
    5.0
    """
    sums = threads.each(lambda part: part.double().square().sum(), x.split(ROWS), x.device)
    return math.sqrt(float(torch.stack(sums).sum()) / x.numel())


def fgsm(model: nn.Module, x: Tensor, y: Tensor, radius: float, low: torch.dtype | None = None) -> Tensor:
    """Inputs x, (batch, ...), with labels y, (batch,), moved by `radius` along the sign of the gradient of the loss.

    `low` is what products round their factors to; None = as they are.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> model.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> fgsm(model, torch.zeros(1, 2), torch.tensor([0]), 0.5)
    tensor([[-0.5000,  0.5000]])
    """
    return x + radius * _uphill(model, x, y, low)


def pgd(model: nn.Module, x: Tensor, y: Tensor, radius: float, low: torch.dtype | None = None) -> Tensor:
    """Inputs after STEPS steps of projected gradients, none further than `radius` from x in any number; see `fgsm`.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> model.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> pgd(model, torch.zeros(1, 2), torch.tensor([0]), 0.5)
    tensor([[-0.5000,  0.5000]])
    """
    least, most, moved = x - radius, x + radius, x
    for _ in range(STEPS):
        moved = (moved + STEP * radius * _uphill(model, moved, y, low)).clamp(least, most)
    return moved


def _all(model: nn.Module, x: Tensor, y: Tensor, size: float, low: torch.dtype | None) -> list[Tensor]:
    return [move(model, x, y, e * size, low) for e in results.DISTURBED for move in (fgsm, pgd)]


def _uphill(model: nn.Module, x: Tensor, y: Tensor, low: torch.dtype | None) -> Tensor:
    """The sign of the gradient of the cross-entropy with respect to each input.

    By the outputs z the gradient is softmax(z) less 1 at the label, which float32 rounds to nothing where a network is
    sure: it would pass for robust. So it is taken over the odds of an error, softmax of the other classes less 1 at the
    label, which has the same signs and the length of 1 everywhere.
    """
    with torch.enable_grad():
        moved = x.detach().requires_grad_(True)
        z = _outputs(model, moved, low)
        label = nn.functional.one_hot(y, z.shape[1]).bool()
        wrong = z.detach().masked_fill(label, -math.inf).softmax(1)
        return torch.autograd.grad(z, moved, wrong - label.to(wrong))[0].sign()


@torch.no_grad()
def _right(model: nn.Module, x: Tensor, y: Tensor, low: torch.dtype | None) -> Tensor:
    """How many are classified rightly; outputs that are not finite are wrong."""
    z = _outputs(model, x, low)
    return ((z.argmax(1) == y) & torch.isfinite(z).all(1)).sum()


def _outputs(model: nn.Module, x: Tensor, low: torch.dtype | None) -> Tensor:
    with torch.autocast(x.device.type, low, enabled=low is not None):
        z: Tensor = model(x)
    return z.float()
