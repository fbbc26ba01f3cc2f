"""Many networks with one hidden layer, trained together: the step is written by hand.

With W (R, n, d) the hidden weights of R runs, U (R, n, c) the output weights, φ the activation and X a batch,

    H = φ(W Xᵀ),  Z = Uᵀ H,  G = -η/|batch| · (softmax(Z) - labels),  W += (U G ∘ φ'(H)) X,  U += H Gᵀ,

after W and U have lost the share ηλ of weight decay, if there is one.

On the CPU neurons are taken in tiles: a tile's activations stay in the cache from the product to the mask. Tiles are
the same for any number of threads, and their outputs are added in order, so a run's bits are its own. A CPU takes runs
`apart`, each on a thread; a run alone has its tiles on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from heavytail import compress, noise
from heavytail.lab.engines import fused
from heavytail.lab.engines.protocol import ROWS, Criterion, Pruned, Split, lowered
from heavytail.lab.machine import threads
from heavytail.networks import MeanField
from heavytail.noise import Kicks

TILE = 2**19  # activations of a tile: larger ones leave a core's cache, with smaller ones the interpreter takes over
PART = 1024  # samples at once of one network that is pruned: few enough that every thread of a CPU has some
NEURONS = 256  # but never fewer neurons: below it the products themselves get slower

Tile = tuple[slice, int, slice]  # rows of runs, number of the span, span of neurons


@dataclass(frozen=True, eq=False)
class Networks:
    """R networks of one shape. The tensors are changed in place by `descend` and `perturb`."""

    hidden: Tensor  # (R, n, d)
    output: Tensor  # (R, n, c); for the mean-field network its signs over n
    names: tuple[str, str | None]  # of hidden and output weight; None: mean-field, so fixed signs and tanh, else ReLU
    low: torch.dtype | None  # what products round their factors to; None = as they are
    activations: Tensor  # flat room for (R, n, batch)


def stack(models: Sequence[nn.Module], products: str, unit: str, batch: int, sample: Tensor | None = None) -> Networks:
    """Networks of one shape, from their modules; a single module shares its memory. There is room for a batch."""
    if isinstance(models[0], MeanField):
        names: tuple[str, str | None] = ("hidden.weight", None)
        output = [model.signs.T / model.gradient_scale for model in models if isinstance(model, MeanField)]
    else:
        names = ("1.weight", "3.weight")
        output = [model.get_parameter("3.weight").detach().T.contiguous() for model in models]
    hidden = [model.get_parameter(names[0]).detach() for model in models]
    room = hidden[0].new_empty(len(models) * len(hidden[0]) * batch)
    return Networks(_stacked(hidden), _stacked(output), names, lowered(products), room)


def bytes_of(width: int, inputs: int, classes: int, batch: int) -> int:
    """Memory a run takes while it is trained and measured."""
    return 4 * width * (2 * inputs + 2 * classes + batch)


def keep(networks: Networks, rows: Sequence[int]) -> Networks:
    """The networks of these rows alone; the others leave."""
    chosen = list(rows)
    if chosen == list(range(len(networks.hidden))):  # a wide network alone is not copied
        return networks
    room = networks.activations[: len(networks.activations) // len(networks.hidden) * len(chosen)]
    return replace(networks, hidden=networks.hidden[chosen], output=networks.output[chosen], activations=room)


def apart(networks: Networks) -> list[Networks]:
    """The networks in parts that need not be trained in step, in the same memory: on a CPU one by one."""
    alone = by_core(networks.hidden.device)
    return [_alone(networks, row) for row in range(len(networks.hidden))] if alone else [networks]


def by_core(device: torch.device) -> bool:
    """Whether a run has a core of its own, and its neurons go in tiles that fit the core's cache; else all go at once.

    >>> by_core(torch.device("cpu"))
    True
    """
    return device.type == "cpu"


def weights(networks: Networks, row: int) -> dict[str, Tensor]:
    """A copy of one network's weights by parameter name, on the CPU."""
    found = {networks.names[0]: networks.hidden[row].to("cpu", copy=True)}
    if networks.names[1] is None:
        signs = networks.output[row].T.mul(networks.hidden.shape[1]).round()
        return {**found, "signs": signs.contiguous().cpu()}
    return {**found, networks.names[1]: networks.output[row].T.contiguous().to("cpu", copy=True)}


def hidden(networks: Networks, row: int) -> list[Tensor]:
    """One network's weights that get noise and may be pruned."""
    return [networks.hidden[row]]


@torch.no_grad()
def descend(
    networks: Networks, x: Tensor, y: Tensor, rates: Tensor, kicks: Kicks, decay: Tensor | None = None
) -> Tensor:
    """One step of SGD in place, then the noise of the rows in `kicks`. Returns the losses before it, (R,), in nats.

    x is (batch, ...) for all runs or (R, batch, ...), y (batch,) or (R, batch), rates (R,) the step sizes η, decay (R,)
    the factors 1 - ηλ of weight decay. On a CPU R is 1: see `apart`.
    """
    runs, neurons, _ = networks.hidden.shape
    batch, device = y.shape[-1], y.device
    x, y = x.flatten(y.ndim).expand(runs, batch, -1), y.expand(runs, batch)
    spans = _spans(neurons, batch, device)
    tiles = _tiles(networks, spans)
    h = networks.activations[: runs * neurons * batch].view(runs, neurons, batch)
    parts = h.new_empty(len(spans), runs, networks.output.shape[2], batch)

    def forward(tile: Tile) -> None:
        rows, number, span = tile
        _activate(networks, networks.hidden[rows, span], x[rows], h[rows, span])
        _product(networks.low, networks.output[rows, span].mT, h[rows, span], parts[number, rows])

    threads.each(forward, tiles, device)
    losses, g = (_loss_compiled if _compiled(networks) else _loss)(parts, y, rates / -batch)
    back = _back_compiled if _compiled(networks) else _back

    def backward(tile: Tile) -> None:
        rows, _, span = tile
        left = None if decay is None else decay[rows].view(-1, 1, 1)
        slope = back(networks, h[rows, span], networks.output[rows, span], g[rows], left)
        if left is not None:
            networks.hidden[rows, span].mul_(left)
        _add_product(networks.low, slope, x[rows], networks.hidden[rows, span])
        _kick(networks, kicks, tile)

    threads.each(backward, tiles, device)
    return losses


@torch.no_grad()
def perturb(networks: Networks, kicks: Kicks) -> None:
    """Add the noise of the rows in `kicks`, in place."""
    _, neurons, inputs = networks.hidden.shape
    tiles = _tiles(networks, _spans(neurons, inputs, networks.hidden.device))
    threads.each(lambda tile: _kick(networks, kicks, tile), tiles, networks.hidden.device)


@torch.no_grad()
def evaluate(networks: Networks, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the rows of x, (N, ...), whose largest output is at the label y, (N,), and the mean loss: (R,) each."""
    runs = len(networks.hidden)
    if runs > 1 and by_core(x.device):
        pairs = threads.each(lambda row: evaluate(_alone(networks, row), x, y), range(runs), x.device)
        return torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])
    right, loss = y.new_zeros(runs), x.new_zeros(runs)
    for part, labels in zip(x.split(ROWS), y.split(ROWS), strict=True):
        logits = _logits(networks, part, _spans(networks.hidden.shape[1], len(part), x.device)).sum(0)
        right += (_largest(logits, 1) == labels).sum(1)
        loss += cross_entropy(logits, labels.expand(len(logits), -1), reduction="none").sum(1)
    return right.double() / len(y), loss / len(y)


@torch.no_grad()
def pruned(
    networks: Networks, row: int, criteria: Sequence[Criterion], splits: Sequence[Split], chance: int | None = None
) -> dict[Criterion, Pruned]:
    """One network pruned by each criterion of `compress.prune`: its pruning ratio, and its accuracy on every split.

    One pass over the neurons in order of norm serves all: what the larger ones put out are sums from the end. With
    `chance`, a seed, neurons go in random order instead.
    """
    weight = networks.hidden[row]
    gone = {c: compress.count(weight, squared_error=c.squared_error, keep=c.keep) for c in criteria}
    order = compress.order(weight, generator=compress.chance(chance)).to(weight.device)
    one = replace(networks, hidden=weight[order].unsqueeze(0), output=networks.output[row, order].unsqueeze(0))
    cuts = sorted({0, *gone.values(), len(order)})
    accuracies = []
    for x, y in splits:
        rows = PART if x.device.type == "cpu" else ROWS
        parts = list(zip(x.split(rows), y.split(rows), strict=True))
        right = torch.stack(threads.each(lambda part: _right(one, *part, cuts), parts, x.device)).sum(0).tolist()
        accuracies.append({cut: count / len(y) for cut, count in zip(cuts, right, strict=True)})
    return {c: Pruned(cut / len(order), [split[cut] for split in accuracies]) for c, cut in gone.items()}


def _right(one: Networks, x: Tensor, y: Tensor, cuts: Sequence[int]) -> Tensor:
    """How many rows of x one network gets right with the neurons from each cut on, and no others: (cuts,)."""
    x = x.flatten(1).unsqueeze(0)
    logits = x.new_zeros(1, one.output.shape[2], x.shape[1])
    counts = {one.hidden.shape[1]: (_largest(logits[0], 0) == y).sum()}
    for span in reversed(_spans(one.hidden.shape[1], x.shape[1], x.device)):
        h = threads.scratch(1, span.stop - span.start, x.shape[1], like=x)
        _activate(one, one.hidden[:, span], x, h)
        edges = [span.start, *(cut for cut in cuts if span.start < cut < span.stop), span.stop]
        for low, high in reversed(list(pairwise(edges))):
            more = torch.empty_like(logits)
            _product(one.low, one.output[:, low:high].mT, h[:, low - span.start : high - span.start], more)
            logits += more
            if low in cuts:
                counts[low] = (_largest(logits[0], 0) == y).sum()
    return torch.stack([counts[cut] for cut in cuts])


def _largest(logits: Tensor, axis: int) -> Tensor:
    """`argmax`, which takes eight times as long where the axis is not the last."""
    return logits.max(axis).indices


def _alone(networks: Networks, row: int) -> Networks:
    """One of the networks, in the same memory."""
    rows = slice(row, row + 1)
    room = networks.activations.view(len(networks.hidden), -1)[row]
    return replace(networks, hidden=networks.hidden[rows], output=networks.output[rows], activations=room)


def _spans(neurons: int, batch: int, device: torch.device) -> list[slice]:
    """Neurons in even pieces that fit a cache; all at once where there is no such cache."""
    pieces = -(-neurons // max(TILE // batch, NEURONS)) if by_core(device) else 1
    size = -(-neurons // max(pieces, 1))
    return [slice(low, min(low + size, neurons)) for low in range(0, neurons, size or 1)]


def _tiles(networks: Networks, spans: Sequence[slice]) -> list[Tile]:
    """On the CPU one run and one span at a time, elsewhere all runs."""
    runs = len(networks.hidden)
    rows = [slice(r, r + 1) for r in range(runs)] if by_core(networks.hidden.device) else [slice(0, runs)]
    return [(row, number, span) for row in rows for number, span in enumerate(spans)]


def _logits(networks: Networks, x: Tensor, spans: Sequence[slice]) -> Tensor:
    """What each span of neurons adds to the outputs: (spans, R, c, N)."""
    runs, _, classes = networks.output.shape
    x = x.flatten(1).expand(runs, len(x), -1)
    parts = x.new_empty(len(spans), runs, classes, x.shape[1])

    def forward(tile: Tile) -> None:
        rows, number, span = tile
        hidden = networks.hidden[rows, span]
        h = threads.scratch(*hidden.shape[:2], x.shape[1], like=x)
        _activate(networks, hidden, x[rows], h)
        _product(networks.low, networks.output[rows, span].mT, h, parts[number, rows])

    threads.each(forward, _tiles(networks, spans), x.device)
    return parts


def _activate(networks: Networks, hidden: Tensor, x: Tensor, out: Tensor) -> None:
    _product(networks.low, hidden, x.mT, out)
    out.tanh_() if networks.names[1] is None else out.relu_()


def _loss(parts: Tensor, y: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Mean losses (R,), and G (R, c, batch), from what each tile adds to the outputs, (tiles, R, c, batch)."""
    log_odds = torch.log_softmax(parts.sum(0), 1)
    chosen = y.unsqueeze(1)
    losses = -log_odds.gather(1, chosen).mean((1, 2))
    g = log_odds.exp_()
    g.scatter_add_(1, chosen, g.new_full((1, 1, 1), -1.0).expand(chosen.shape))
    return losses, g.mul_(scales.view(-1, 1, 1))


def _loss_compiled(parts: Tensor, y: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """The same in one call. For one run on a CPU."""
    g = torch.empty_like(parts[0])
    loss = fused.gradient(parts[:, 0].numpy(), y[0].numpy(), np.float32(scales.item()), g[0].numpy())
    return scales.new_tensor([loss]), g


def _back(networks: Networks, active: Tensor, out: Tensor, g: Tensor, left: Tensor | None) -> Tensor:
    """The gradient of a tile's pre-activations, U G ∘ φ'(H), from its activations H; U += H Gᵀ where U is trained."""
    slope = threads.scratch(*active.shape, like=active)
    _product(networks.low, out, g, slope)
    if networks.names[1] is None:
        return torch.ops.aten.tanh_backward.grad_input(slope, active, grad_input=slope)
    torch.ops.aten.threshold_backward.grad_input(slope, active, 0, grad_input=slope)
    if left is not None:
        out.mul_(left)
    _add_product(networks.low, active, g.mT, out)
    return slope


def _back_compiled(networks: Networks, active: Tensor, out: Tensor, g: Tensor, left: Tensor | None) -> Tensor:
    """The same in one pass over the activations, which it overwrites. For one run on a CPU."""
    trained, keep = networks.names[1] is not None, np.float32(1 if left is None else left.item())
    fused.backward(active[0].numpy(), out[0].numpy(), g[0].numpy(), trained, trained, keep)
    return active


def _compiled(networks: Networks) -> bool:
    """Whether the way back is `fused.backward`: on a CPU, products in float32, few classes."""
    few = networks.output.shape[2] <= fused.CLASSES
    return few and networks.low is None and by_core(networks.hidden.device)


def _kick(networks: Networks, kicks: Kicks, tile: Tile) -> None:
    rows, _, span = tile
    if not (by_core(networks.hidden.device) and isinstance(kicks, Mapping)):  # the tile is all of it
        noise.kick_each(networks.hidden, kicks)
        return
    for row in range(len(networks.hidden))[rows]:
        if row in kicks:
            noise.kick(networks.hidden[row], kicks[row], units=span)


def _product(low: torch.dtype | None, a: Tensor, b: Tensor, out: Tensor) -> None:
    """`out = a b`, with factors rounded to `low`."""
    if low is None:
        torch.bmm(a, b, out=out)
    else:
        out.copy_(torch.bmm(a.to(low), b.to(low)))


def _add_product(low: torch.dtype | None, a: Tensor, b: Tensor, out: Tensor) -> None:
    """`out += a b`, with factors rounded to `low`."""
    if low is None:
        out.baddbmm_(a, b)
    else:
        out.add_(torch.bmm(a.to(low), b.to(low)))


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0].unsqueeze(0) if len(tensors) == 1 else torch.stack(list(tensors))
