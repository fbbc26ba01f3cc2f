"""Many networks with one hidden layer, trained together: the step is written by hand.

With W (R, n, d) the hidden weights of R runs, U (R, n, c) the output weights, φ the activation and X a batch,

    H = φ(W Xᵀ),  Z = Uᵀ H,  G = -η/|batch| · (softmax(Z) - labels),  W += (U G ∘ φ'(H)) X,  U += H Gᵀ,

after W and U have lost the share ηλ of weight decay, if there is one. With a group lasso each row w of W is then scaled
by max(0, 1 - ηλ/‖w‖).

On the CPU neurons are taken in tiles. Tiles are the same for any number of threads, and their outputs are added in
order, so a run's bits are its own. A CPU takes runs `apart`, each on a thread; a run alone has its tiles on all of
them, and torch's own threads have no part in a step: they would spin for milliseconds after it, on cores that the next
tiles need.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from heavytail import compress, noise
from heavytail.lab.engines import fused
from heavytail.lab.engines.protocol import ROWS, Criterion, Measured, Pruned, Split, lowered, shorten
from heavytail.lab.machine import threads
from heavytail.networks import MeanField
from heavytail.noise import Kicks

NEURONS = 1000  # of a tile, at least: a product of fewer spends more of its time on packing the samples anew
FEW = 512  # but from so many on there are two tiles, one for each of two threads
BLOCK = 2**19  # numbers at once of what is no product: more of them leave the cache, fewer keep the interpreter busy
LEAST = 256  # but never fewer neurons at once
PART = 1024  # samples at once on a CPU where no gradient is needed: few enough that every thread has some

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
    networks: Networks,
    x: Tensor,
    y: Tensor,
    rates: Tensor,
    kicks: Kicks,
    decay: Tensor | None = None,
    shrink: Tensor | None = None,
) -> Tensor:
    """One step of SGD in place, then the noise of the rows in `kicks`. Returns the losses before it, (R,), in nats.

    x is (batch, ...) for all runs or (R, batch, ...), y (batch,) or (R, batch), rates (R,) the step sizes η, decay (R,)
    the factors 1 - ηλ of weight decay, shrink (R,) the lengths ηλ of a group lasso. On a CPU R is 1: see `apart`.
    """
    runs, neurons, _ = networks.hidden.shape
    batch, device = y.shape[-1], y.device
    x, y = x.flatten(y.ndim).expand(runs, batch, -1), y.expand(runs, batch)
    spans = _spans(neurons, device)
    tiles = _tiles(networks, spans)
    h = networks.activations[: runs * neurons * batch].view(runs, neurons, batch)
    parts = h.new_empty(len(spans), runs, networks.output.shape[2], batch)

    def forward(tile: Tile) -> None:
        rows, number, span = tile
        _activate(networks, networks.hidden[rows, span], x[rows], h[rows, span])
        _product(networks.low, networks.output[rows, span].mT, h[rows, span], parts[number, rows])

    threads.each(forward, tiles, device)
    losses, g = (_loss_compiled if by_core(device) else _loss)(parts, y, rates / -batch)
    back = _back_compiled if _compiled(networks) else _back

    def backward(tile: Tile) -> None:
        rows, _, span = tile
        left = None if decay is None else decay[rows].view(-1, 1, 1)
        slope = h[rows, span]
        back(networks, slope, networks.output[rows, span], g[rows], left)
        if left is not None:
            networks.hidden[rows, span].mul_(left)
        _add_product(networks.low, slope, x[rows], networks.hidden[rows, span])
        if shrink is not None:
            shorten(networks.hidden[rows, span], shrink[rows], axes=1)
        _kick(networks, kicks, tile)

    threads.each(backward, tiles, device)
    return losses


@torch.no_grad()
def perturb(networks: Networks, kicks: Kicks) -> None:
    """Add the noise of the rows in `kicks`, in place."""
    _, neurons, inputs = networks.hidden.shape
    kinds = {given.noise for given in (kicks.values() if isinstance(kicks, Mapping) else kicks)}
    drawn = 1 if kinds == {"shared"} else inputs  # of a neuron; to add a number takes a hundredth of what a draw does
    tiles = _tiles(networks, _blocks(neurons, drawn, networks.hidden.device))
    threads.each(lambda tile: _kick(networks, kicks, tile), tiles, networks.hidden.device)


@torch.no_grad()
def evaluate(networks: Networks, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the rows of x, (N, ...), whose largest output is at the label y, (N,), and the mean loss: (R,) each."""

    def sums(job: tuple[Networks, Split]) -> Tensor:
        some, (inputs, labels) = job
        logits = inputs.new_zeros(len(some.hidden), some.output.shape[2], len(labels))
        for span, h in _activations(some, inputs):
            _add_product(some.low, some.output[:, span].mT, h, logits)
        loss = cross_entropy(logits, labels.expand(len(logits), -1), reduction="none").sum(1)
        return torch.stack([(_largest(logits, 1) == labels).sum(1).double(), loss.double()])

    groups, parts = apart(networks), _parts(x, y)
    found = torch.stack(threads.each(sums, [(group, part) for group in groups for part in parts], x.device))
    right, loss = found.unflatten(0, (len(groups), len(parts))).sum(1).transpose(0, 1).flatten(1) / len(y)
    return right, loss


@torch.no_grad()
def measure(
    networks: Networks,
    train: Split,
    test: Split,
    criteria: Sequence[Criterion],
    by_chance: Sequence[Criterion],
    seed: int,
) -> Measured:
    """What `Engine.measure` says of a single network, in one pass over samples and neurons.

    Activations depend on no order. Neurons come in order of norm, from the largest on: what those after a cut put out
    are sums from the end. For the random order the weights of the neurons that stay at a cut are outputs of their own.
    """
    [weight] = networks.hidden
    order, drawn = compress.order(weight), compress.order(weight, generator=compress.chance(seed)).to(weight.device)
    one = replace(networks, hidden=networks.hidden[:, order], output=networks.output[:, order])
    gone = {c: compress.count(weight, squared_error=c.squared_error, keep=c.keep) for c in {*criteria, *by_chance}}
    cuts, at_random = sorted({0, len(order), *(gone[c] for c in criteria)}), sorted({gone[c] for c in by_chance})
    place = drawn.argsort()[order]  # of a neuron in the random order
    stays = [place >= cut for cut in at_random]
    loss, *on_train = _shares(one, train, cuts, [])
    _, *on_test = _shares(one, test, cuts, stays)
    found = {cut: list(both) for cut, both in zip(cuts, zip(on_train, on_test, strict=False), strict=True)}
    drawn_found = dict(zip(at_random, on_test[len(cuts) :], strict=True))
    return Measured(
        loss,
        {c: Pruned(gone[c] / len(order), found[gone[c]]) for c in criteria},
        {c: Pruned(gone[c] / len(order), [drawn_found[gone[c]]]) for c in by_chance},
    )


def _shares(one: Networks, split: Split, cuts: Sequence[int], stays: Sequence[Tensor]) -> list[float]:
    """The mean loss of one network, and its accuracies with the neurons from each cut on, and those that `stays`."""

    def sums(part: Split) -> Tensor:
        x, y = part
        logits = x.new_zeros(1, one.output.shape[2], len(y))
        drawn = x.new_zeros(1, len(stays) * one.output.shape[2], len(y))
        right = {one.hidden.shape[1]: (_largest(logits[0], 0) == y).sum()}
        for span, h in _activations(one, x):
            edges = [span.start, *(cut for cut in cuts if span.start < cut < span.stop), span.stop]
            for low, high in reversed(list(pairwise(edges))):
                own = h[:, low - span.start : high - span.start]
                _add_product(one.low, one.output[:, low:high].mT, own, logits)
                if low in cuts:
                    right[low] = (_largest(logits[0], 0) == y).sum()
            if stays:
                outputs = torch.cat([one.output[:, span] * stay[span, None] for stay in stays], 2)
                _add_product(one.low, outputs.mT, h, drawn)
        loss = cross_entropy(logits, y.unsqueeze(0), reduction="sum")
        by_chance = (_largest(drawn[0].unflatten(0, (len(stays), -1)), 1) == y).sum(1) if stays else y.new_zeros(0)
        return torch.cat([torch.stack([loss.double(), *(right[cut].double() for cut in cuts)]), by_chance.double()])

    return (torch.stack(threads.each(sums, _parts(*split), split[0].device)).sum(0) / len(split[1])).tolist()


def _parts(x: Tensor, y: Tensor) -> list[Split]:
    """Samples and labels, as many at once as is fast where no gradient is needed; on a CPU in two parts at least."""
    rows = max(1, min(PART, -(-len(y) // 2))) if by_core(x.device) else ROWS
    return list(zip(x.split(rows), y.split(rows), strict=True))


def _activations(networks: Networks, x: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """The activations of x, span by span from the last on, in memory of this thread that the next span overwrites."""
    runs, neurons, _ = networks.hidden.shape
    x = x.flatten(1).expand(runs, len(x), -1)
    for span in reversed(_spans(neurons, x.device)):
        h = threads.scratch(runs, span.stop - span.start, x.shape[1], like=x)
        _activate(networks, networks.hidden[:, span], x, h)
        yield span, h


def _largest(logits: Tensor, axis: int) -> Tensor:
    """`argmax`, which takes eight times as long where the axis is not the last."""
    return logits.max(axis).indices


def _alone(networks: Networks, row: int) -> Networks:
    """One of the networks, in the same memory."""
    rows = slice(row, row + 1)
    room = networks.activations.view(len(networks.hidden), -1)[row]
    return replace(networks, hidden=networks.hidden[rows], output=networks.output[rows], activations=room)


def _spans(neurons: int, device: torch.device) -> list[slice]:
    """Neurons in even spans of NEURONS or more, a power of two, as most CPUs have cores; all at once elsewhere."""
    if not by_core(device):
        return _even(neurons, 1)
    return _even(neurons, max(1 << (neurons // NEURONS).bit_length() >> 1, 2 if neurons >= FEW else 1))


def _blocks(neurons: int, each: int, device: torch.device) -> list[slice]:
    """Neurons in even pieces that fit a cache, with `each` numbers a neuron; all at once where there is none."""
    return _even(neurons, -(-neurons // max(BLOCK // each, LEAST)) if by_core(device) else 1)


def _even(neurons: int, pieces: int) -> list[slice]:
    size = max(-(-neurons // max(pieces, 1)), 1)
    return [slice(low, min(low + size, neurons)) for low in range(0, neurons, size)]


def _tiles(networks: Networks, spans: Sequence[slice]) -> list[Tile]:
    """On the CPU one run and one span at a time, elsewhere all runs."""
    runs = len(networks.hidden)
    rows = [slice(r, r + 1) for r in range(runs)] if by_core(networks.hidden.device) else [slice(0, runs)]
    return [(row, number, span) for row in rows for number, span in enumerate(spans)]


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


def _back(networks: Networks, active: Tensor, out: Tensor, g: Tensor, left: Tensor | None) -> None:
    """The gradient of a tile's pre-activations, U G ∘ φ'(H), over its activations H; U += H Gᵀ where U is trained."""
    for block in _blocks(active.shape[1], active.shape[2], active.device):
        h, own = active[:, block], out[:, block]
        slope = threads.scratch(*h.shape, like=h)
        _product(networks.low, own, g, slope)
        if networks.names[1] is None:
            torch.ops.aten.tanh_backward.grad_input(slope, h, grad_input=h)
            continue
        if left is not None:
            own.mul_(left)
        _add_product(networks.low, h, g.mT, own)
        torch.ops.aten.threshold_backward.grad_input(slope, h, 0, grad_input=h)


def _back_compiled(networks: Networks, active: Tensor, out: Tensor, g: Tensor, left: Tensor | None) -> None:
    """The same in one pass over the activations. For one run on a CPU."""
    trained, keep = networks.names[1] is not None, np.float32(1 if left is None else left.item())
    fused.backward(active[0].numpy(), out[0].numpy(), g[0].numpy(), trained, trained, keep)


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
