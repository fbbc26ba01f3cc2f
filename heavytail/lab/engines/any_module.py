"""Many networks of any module, trained together: the step by `torch.func`, over parameters with a leading run axis.

It has the doors of `two_layer`, which is faster where it applies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.functional import cross_entropy

from heavytail import noise
from heavytail.compress import shrinking
from heavytail.compress.pruning import prune_each
from heavytail.lab.engines.protocol import ROWS, Criterion, Measured, Pruned, Split, lowered, shorten
from heavytail.networks import hidden_weights
from heavytail.networks.keeping import copied
from heavytail.noise import Kicks

Parameters = Mapping[str, Tensor]
IMAGES = 128  # images at once where no gradient is needed


@dataclass(frozen=True, eq=False)
class Networks:
    """R networks of one shape. The tensors are changed in place by `descend` and `perturb`."""

    module: nn.Module  # how outputs come from parameters; its own are not used
    parameters: Parameters  # what is trained, by name, (R, ...)
    fixed: Parameters  # what is not: buffers and frozen parameters
    hidden: tuple[str, ...]  # names of the weights that get noise and may be pruned
    sample: Tensor | None  # two inputs, where the order of calls cannot be read off the module
    low: torch.dtype | None  # what products round their factors and results to; None = as they are
    unit: noise.Unit  # what pruning takes away


def stack(
    models: Sequence[nn.Module], products: str, unit: noise.Unit, batch: int = 0, sample: Tensor | None = None
) -> Networks:
    """Networks of one shape, from their modules; a single module shares its memory.

    `sample`, two inputs, shows what a module calls where that cannot be read off it.
    """
    hidden = tuple(hidden_weights(models[0], sample))
    trained, fixed = _together([_trained(m) for m in models]), _together([_fixed(m) for m in models])
    return Networks(models[0], trained, fixed, hidden, sample, lowered(products), unit)


def _trained(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def _fixed(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_buffers()) | {n: p.detach() for n, p in model.named_parameters() if not p.requires_grad}


def _together(named: Sequence[Parameters]) -> Parameters:
    if len(named) == 1:
        return {name: p.unsqueeze(0) for name, p in named[0].items()}
    return {name: torch.stack([own[name] for own in named]) for name in named[0]}


def keep(networks: Networks, rows: Sequence[int]) -> Networks:
    """The networks of these rows alone; the others leave."""
    trained, fixed = (
        {name: p[list(rows)] for name, p in named.items()} for named in (networks.parameters, networks.fixed)
    )
    return replace(networks, parameters=trained, fixed=fixed)


def apart(networks: Networks) -> list[Networks]:
    """The networks in parts that need not be trained in step: here all of them."""
    return [networks]


def weights(networks: Networks, row: int) -> dict[str, Tensor]:
    """A copy of one network's state by name, on the CPU: parameters, and buffers where it has some."""
    held = {**networks.parameters, **networks.fixed}
    state = networks.module.state_dict(keep_vars=True)
    first = {id(p): name for name, p in reversed(list(state.items()))}  # a tied weight has several names
    return {name: held[first[id(p)]][row].to("cpu", copy=True) for name, p in state.items()}


def hidden(networks: Networks, row: int) -> list[Tensor]:
    """One network's weights that get noise and may be pruned."""
    return [networks.parameters[name][row] for name in networks.hidden]


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
    the factors 1 - ηλ of weight decay, shrink (R,) the lengths ηλ of a group lasso.
    """

    def loss(parameters: Parameters, fixed: Parameters, inputs: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(_outputs(networks, {**parameters, **fixed}, inputs), labels)

    axis = 0 if y.ndim == 2 else None
    gradients, losses = vmap(grad_and_value(loss), in_dims=(0, 0, axis, axis))(
        networks.parameters, networks.fixed, x, y
    )
    with torch.no_grad():
        for name, p in networks.parameters.items():
            each = (-1, *[1] * (p.ndim - 1))
            if decay is not None:
                p.mul_(decay.view(each))
            p.addcmul_(gradients[name], rates.view(each), value=-1)
            if shrink is not None and name in networks.hidden:
                shorten(p, shrink, axes=p.ndim - (3 if networks.unit == "kernel" and p.ndim == 5 else 2))
        perturb(networks, kicks)
    return losses


@torch.no_grad()
def perturb(networks: Networks, kicks: Kicks) -> None:
    """Add the noise of the rows in `kicks` to every hidden weight, in place."""
    for layer, name in enumerate(networks.hidden):
        noise.kick_each(networks.parameters[name], kicks, layer=layer)


@torch.no_grad()
def evaluate(networks: Networks, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the rows of x, (N, ...), whose largest output is at the label y, (N,), and the mean loss: (R,) each."""

    def sums(parameters: Parameters, fixed: Parameters, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        outputs = _outputs(networks, {**parameters, **fixed}, inputs)
        return (outputs.argmax(1) == labels).sum(), cross_entropy(outputs, labels, reduction="sum")

    def sums_of_one(parameters: Parameters, fixed: Parameters, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        own, rest = ({name: p[0] for name, p in named.items()} for named in (parameters, fixed))
        right, loss = sums(own, rest, inputs, labels)
        return right.unsqueeze(0), loss.unsqueeze(0)

    # In a group of one, convolutions would take twice the time.
    one = len(next(iter(networks.parameters.values()))) == 1
    each = sums_of_one if one else vmap(sums, in_dims=(0, 0, None, None))
    right, loss = torch.zeros(()), torch.zeros(())
    for part, labels in _parts(networks, x, y):
        more, lost = each(networks.parameters, networks.fixed, part, labels)
        right, loss = right.to(more) + more, loss.to(lost) + lost
    return right.double() / len(y), loss / len(y)


def measure(
    networks: Networks,
    train: Split,
    test: Split,
    criteria: Sequence[Criterion],
    by_chance: Sequence[Criterion],
    seed: int,
) -> Measured:
    """What `Engine.measure` says of a single network."""
    loss = float(evaluate(networks, *train)[1])
    smallest = pruned(networks, 0, criteria, [train, test])
    return Measured(loss, smallest, pruned(networks, 0, by_chance, [test], chance=seed))


@torch.no_grad()
def pruned(
    networks: Networks, row: int, criteria: Sequence[Criterion], splits: Sequence[Split], chance: int | None = None
) -> dict[Criterion, Pruned]:
    """One network pruned by each criterion of `compress.prune`: its pruning ratio, and its accuracy on every split.

    With `chance`, a seed, units go in random order. What comes before the first hidden weight is not pruned, so it is
    run once for all criteria.
    """
    model = copied(networks.module)
    model.load_state_dict(weights(networks, row))
    before = _before_hidden(model, networks.hidden[0])
    made = _smaller(networks, model, criteria, chance)
    found: dict[Criterion, Pruned] = {}
    # All at once only where they share work: they may be large.
    for group in [list(made)] if before else ([one] for one in made):
        cut = [_cut(small, before) for _, _, small in group]
        head, rests = cut[0][0], [rest for _, rest in cut]
        accuracies = [_accuracies(networks, head, rests, x, y) for x, y in splits]
        for (criterion, ratio, _), own in zip(group, zip(*accuracies, strict=True), strict=True):
            found[criterion] = Pruned(ratio, list(own))
    return found


def _smaller(
    networks: Networks, model: nn.Module, criteria: Sequence[Criterion], chance: int | None
) -> Iterator[tuple[Criterion, float, nn.Module]]:
    """The model pruned by each criterion, with its pruning ratio, and without its zero units where it is a chain."""
    first, shrinks = True, False
    cut = prune_each(model, criteria, sample=networks.sample, unit=networks.unit, seed=chance)
    for criterion, (sparse, ratio) in zip(criteria, cut, strict=True):
        small = sparse
        if first:  # it is held against the unshrunk network, those that follow have its form
            with suppress(ValueError):  # no chain: it is evaluated whole
                small, shrinks = shrinking.shrink_chain(sparse, networks.sample), True
        elif shrinks:
            small = shrinking.smaller(sparse)
        first = False
        yield criterion, ratio, small


def _before_hidden(model: nn.Module, name: str) -> int:
    """How many layers lie before that of the hidden weight `name`, if they have weights: no pruning changes them.

    Only of a plain nn.Sequential it is known what comes before; of another module 0.
    """
    if type(model) is not nn.Sequential or model._forward_hooks or model._forward_pre_hooks:
        return 0
    before = list(model._modules).index(name.partition(".")[0])
    return before if list(model[:before].parameters()) else 0


def _cut(model: nn.Module, before: int) -> tuple[nn.Module, nn.Module]:
    """So many layers of a model, and the rest of it."""
    return (model[:before], model[before:]) if isinstance(model, nn.Sequential) and before else (nn.Identity(), model)


def _accuracies(networks: Networks, head: nn.Module, rests: Sequence[nn.Module], x: Tensor, y: Tensor) -> list[float]:
    """The accuracy on x, (N, ...), with labels y, (N,), of each of `rests` after what they share."""
    right = torch.zeros(len(rests), dtype=torch.int64, device=x.device)
    for part, labels in _parts(networks, x, y):
        features = head(part)
        right += torch.stack([(rest(features).argmax(1) == labels).sum() for rest in rests])
    return (right.double() / len(y)).tolist()


def _parts(networks: Networks, x: Tensor, y: Tensor) -> Iterator[Split]:
    """Samples and labels in parts, as many at once as is fast where no gradient is needed."""
    rows = ROWS
    if x.device.type == "cpu" and any(p.ndim == 5 for p in networks.parameters.values()):
        rows = IMAGES
        if x.ndim == 4:  # convolutions take half the time this way
            x = x.contiguous(memory_format=torch.channels_last)
    return zip(x.split(rows), y.split(rows), strict=True)


def _outputs(networks: Networks, parameters: Parameters, x: Tensor) -> Tensor:
    if networks.low is None:
        return functional_call(networks.module, dict(parameters), (x,))
    with torch.autocast(x.device.type, networks.low):
        return functional_call(networks.module, dict(parameters), (x,)).float()
