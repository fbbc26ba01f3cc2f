"""The network of a run: before its first step, in the middle, and trained."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from heavytail import networks, streams
from heavytail.lab.datasets import Dataset
from heavytail.lab.engines import any_module
from heavytail.lab.runs import Run, own_network
from heavytail.networks.watching import message_of


class Build(Protocol):
    """How a network of one's own is made.

    `shape` is that of one input, `classes` the number of outputs, `width` and `depth` are those of the run, and every
    random number comes from `generator`, so that a seed names a network: it is the CPU's, and the module is moved to
    the device of the run. The module takes inputs `(batch, *shape)` and returns (batch, classes); its parameters are
    float32. It may have biases, buffers that training does not change, and any forward that `torch.func` can follow.

    >>> from heavytail import Run, train
    >>> def narrow(shape, classes, *, width, depth, generator):
    ...     model = nn.Sequential(nn.Linear(shape[0], width), nn.Tanh(), nn.Linear(width, classes))
    ...     for weight in model.parameters():
    ...         _ = nn.init.normal_(weight, std=0.1, generator=generator)
    ...     return model
    >>> run = Run(dataset="digits", network=":narrow", width=5, lr=0.1, max_steps=2)
    >>> results = train(run, networks={"narrow": narrow}, progress=False)
    >>> results.weights(run)["0.weight"].shape
    torch.Size([5, 64])
    """

    def __call__(
        self, shape: torch.Size, classes: int, *, width: int, depth: int, generator: torch.Generator
    ) -> nn.Module:
        """The network before its first step."""


def builders(names: Iterable[str], given: Mapping[str, Build] | None = None) -> dict[str, Build]:
    """The makers of those networks that are one's own, by what the runs call them.

    Raises TypeError if `given` is no mapping from names, ValueError for one that cannot be imported, is not in `given`,
    or for one in `given` that no run names.
    """
    if given is not None and not (isinstance(given, Mapping) and all(isinstance(name, str) for name in given)):
        raise TypeError("networks= is a mapping such as {'mine': function}, from names to what makes a network")
    own = {name for name in names if own_network(name)}
    unused = sorted(set(given or {}) - {name[1:] for name in own if name.startswith(":")})
    if unused:
        raise ValueError(f"networks= holds {', '.join(unused)}, which no run names: use Run(network=':{unused[0]}')")
    return {name: _builder(name, given or {}) for name in sorted(own)}


def _builder(name: str, given: Mapping[str, Build]) -> Build:
    module, _, function = name.partition(":")
    if not module:
        if function not in given:
            raise ValueError(
                f"network {name!r} is not given: pass networks={{{function!r}: the function that makes it}}"
            )
        build: object = given[function]
    else:
        try:
            build = getattr(importlib.import_module(module), function)
        except (Exception, SystemExit) as error:  # whatever a module of somebody else raises
            raise ValueError(f"network {name!r} cannot be imported: {message_of(error)}".partition("\n")[0]) from error
    if not callable(build):
        raise ValueError(f"network {name!r} is not a function but a {type(build).__name__}")
    return build


def check(run: Run, dataset: Dataset, build: Build) -> None:
    """Try a network of one's own: two samples forward, a step, made twice. Raises ValueError that says what fails."""
    name = run.network
    try:
        model = initial_model(run, dataset, build)
    except (Exception, SystemExit) as error:  # whatever a function of somebody else raises
        raise ValueError(f"network {name!r} cannot be made: {message_of(error)}".partition("\n")[0]) from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"network {name!r} must return a torch.nn.Module, got {type(model).__name__}")
    for layer, module in model.named_modules():
        kind = f"network {name!r} has the layer {layer!r}, a {type(module).__name__}, which"
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise ValueError(f"{kind} draws random numbers that no seed names: leave it out")
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None:
            raise ValueError(f"{kind} keeps running statistics: set track_running_stats=False")
        if any(is_lazy(held) for held in (*module._parameters.values(), *module._buffers.values())):
            raise ValueError(f"{kind} has no shape before its first call, nor weights that a seed names: give it sizes")
    wrong = [key for key, p in model.named_parameters() if p.dtype != torch.float32]
    if wrong:
        raise ValueError(
            f"network {name!r} must have float32 parameters: {wrong[0]!r} is {model.get_parameter(wrong[0]).dtype}"
        )
    x, y = dataset.x_train[:2], dataset.y_train[:2]
    try:
        with torch.no_grad():
            outputs = model(x)
    except (Exception, SystemExit) as error:
        raise ValueError(f"network {name!r} fails on inputs {tuple(x.shape)}: {message_of(error)}") from error
    if not isinstance(outputs, Tensor) or outputs.shape != (len(x), dataset.classes):
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ValueError(f"network {name!r} must return (batch, classes) = {(len(x), dataset.classes)}, got {shape}")
    try:
        hidden = networks.hidden_weights(model, x)
    except ValueError as error:
        raise ValueError(f"network {name!r}: {error}") from error
    if not any(p.requires_grad for p in hidden.values()):
        raise ValueError(f"network {name!r} has no hidden weight that is trained: noise and pruning need one")
    before = {key: buffer.clone() for key, buffer in model.named_buffers()}
    try:
        alone = any_module.stack([model], run.products, run.unit, sample=x)
        own = slice(None) if run.batch_size is None else None  # with minibatches every run has inputs of its own
        any_module.descend(alone, x[own], y[own], x.new_zeros(1), {})
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"network {name!r} cannot make a step of torch.func: {message_of(error)}".partition("\n")[0]
        ) from error
    changed = [key for key, buffer in model.named_buffers() if not torch.equal(buffer, before[key])]
    if changed:
        raise ValueError(f"network {name!r} changes its buffer {changed[0]!r} in training: make it constant")
    once, again = (initial_model(run, dataset, build).state_dict() for _ in range(2))
    same = {key for key in once.keys() & again.keys() if torch.equal(once[key].nan_to_num(), again[key].nan_to_num())}
    other = [key for key in once if key not in same]
    if other:
        raise ValueError(
            f"network {name!r} draws {other[0]!r} from numbers that no seed names, so it is another one each time: "
            "draw all of them from the generator that it is given"
        )


def initial_model(run: Run, dataset: Dataset, build: Build | None = None) -> nn.Module:
    """The network of a run before its first step, on the data's device; `build` makes one that the user has given.

    It is drawn on the CPU wherever the data lie: another device's generator gives other numbers for the same seed.
    """
    stream = streams.generator(run.seed, "weights")
    shape = dataset.x_train.shape[1:]
    if own_network(run.network):
        build = build or _builder(run.network, {})
        model = build(shape, dataset.classes, width=run.width, depth=run.depth, generator=stream)
        return model.to(dataset.x_train.device) if isinstance(model, nn.Module) else model
    model = networks.build(run.network, shape, dataset.classes, width=run.width, depth=run.depth, generator=stream)
    return model.to(dataset.x_train.device)


def final_model(run: Run, weights: Mapping[str, Tensor], dataset: Dataset, build: Build | None = None) -> nn.Module:
    """The trained network of a run, from `Results.weights(run)`, on the data's device.

    `build` makes a network that the user has given by name; one that can be imported needs none.

    >>> from heavytail import train
    >>> from heavytail.lab import datasets
    >>> run = Run(dataset="digits", width=5, lr=0.1, max_steps=2)
    >>> dataset = datasets.load("digits")
    >>> model = final_model(run, train(run, progress=False).weights(run), dataset)
    >>> model(dataset.x_test[:3]).shape
    torch.Size([3, 10])
    """
    model = initial_model(run, dataset, build)
    model.load_state_dict(dict(weights))
    return model


def fits(run: Run, weights: Mapping[str, Tensor], dataset: Dataset) -> bool:
    """Whether weights have the names, shapes and types of those of the run's network."""
    wanted = initial_model(run, dataset).state_dict()
    return {name: (w.shape, w.dtype) for name, w in weights.items()} == {
        name: (w.shape, w.dtype) for name, w in wanted.items()
    }


def has_numbers(weights: Mapping[str, Tensor]) -> bool:
    """Whether no weight is NaN: with one that is, a run has diverged. An infinite one may be a mask of the network."""
    return not any(bool(w.isnan().any()) for w in weights.values())


def rate(run: Run, model: nn.Module) -> float:
    """η, times n for the mean-field network; inf beyond float32, and then the run diverges."""
    size = run.lr * float(getattr(model, "gradient_scale", 1.0))
    return size if size <= torch.finfo(torch.float32).max else math.inf


def reached(run: Run, weights: Mapping[str, Tensor], dataset: Dataset, build: Build | None) -> nn.Module:
    """The network of a run in the middle, from its weights; without weights before its first step."""
    return final_model(run, weights, dataset, build) if weights else initial_model(run, dataset, build)
