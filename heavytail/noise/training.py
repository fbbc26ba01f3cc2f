"""Heavy-tailed noise on anybody's training: after every step of a torch optimizer, each hidden weight gets a kick."""

from __future__ import annotations

import gc
import math
import sys
import types
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from heavytail import streams
from heavytail.noise import targets
from heavytail.noise.draws import Kick, kick, scale
from heavytail.noise.kinds import Noise, Unit, check, check_generator
from heavytail.noise.targets import Target

_HOOKED = torch.optim.Optimizer.profile_hook_step(len).__code__  # of what calls a `step` and its hooks
_FAR = 10_000
_PLAIN = (Tensor, nn.Module, type, types.ModuleType, str, bytes, int, float, types.FrameType)  # hold no optimizer


def perturb(
    optimizer: torch.optim.Optimizer,
    *,
    model: nn.Module | None = None,
    sample: Any = None,
    alpha: float,
    sigma: float,
    noise: Noise,
    generator: torch.Generator,
    params: Iterable[Tensor] | Tensor | None = None,
    unit: Unit = "filter",
) -> Perturbation:
    """Add heavy-tailed noise to the hidden weights after every `optimizer.step()`.

    Each step adds `sigma * lr^(1/alpha)` times a fresh unit draw, with the lr that the weight's own group has at that
    moment: one kick a step, however often it calls a closure or its base class; none if a GradScaler skips it. Biases
    and norm layers get none. Source: the paper's code [C].

    optimizer  a torch.optim.Optimizer, also in a compiled step; another library's wrapper is refused
    model      whose weights it holds: kicked are `heavytail.hidden_weights(model, sample)`, as far as the optimizer
               holds them when it steps (`add_param_group` may come later) and they are not frozen then. The rows of an
               embedding's `padding_idx` get none
    sample     one batch that the model is called with: needed where its layers are no chain and torch.fx cannot trace
    alpha      the stability index, in (0, 2]
    sigma      the noise scale, >= 0
    noise      "shared" (Type-I), "entrywise" (Type-II) or "isotropic" (Type-III)
    generator  on the device type of the weights; one word of it is drawn, now, to be the key of all kicks
    params     the weights, or one, to kick in place of those of a model; what has less than two axes is left out
    unit       what hangs together: a "filter" (all of one output) or, in a convolution, a "kernel"

    Without `model` and `params` the output layer is told by its shape, where all weights are matrices that form a chain
    in their order: as many columns as the one before has rows, and biases as long as the rows are many.

    Kicks are added at an address (key, step, number of the weight), and are the same but for the last bits on every
    device, whatever the weight's dtype and memory layout. A half or bfloat16 weight gets a kick that is below its
    rounding later, together with those that follow: the handle keeps the rest in float32. Where torch.distributed is
    initialised, every process has to call this: they use the key of process 0, so that replicas stay equal.

    Returns a handle, a `Perturbation`: `.names` are the weights that get kicks, `.remove()` ends the noise (the paper's
    code adds none after the last step), `.state_dict()` and `.load_state_dict()` go into a checkpoint, with which a
    resumed training equals the unbroken one. Copies and pickles of the optimizer have no noise, and a UserWarning says
    so when one is made: perturb the copy.

    Raises ValueError for settings out of range, an optimizer that has noise already, a weight that it does not hold, a
    generator on another device, or a model or optimizer whose output layer cannot be told; TypeError for an optimizer
    that is not torch's own, no generator, an alpha or sigma that is no number, a model that is no module, or params
    that are no tensors. `optimizer.step()` raises ValueError, and adds no kick, where the size of
    a kick is not what float32 can hold; see `heavytail.noise.scale`.

    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> generator = torch.Generator().manual_seed(1)
    >>> handle = perturb(optimizer, model=model, alpha=1.75, sigma=0.01, noise="isotropic", generator=generator)
    >>> handle.names
    ['0.weight']
    >>> first, last = model[0].weight.detach().clone(), model[2].weight.detach().clone()
    >>> (0 * model(torch.ones(1, 8)).sum()).backward()  # all gradients are 0: what moves now is moved by noise
    >>> optimizer.step()
    >>> bool((model[0].weight != first).all()), bool((model[2].weight == last).all())  # hidden layers alone
    (True, True)
    >>> handle.remove()
    """
    check(alpha, sigma, noise, unit)
    check_generator(generator)
    _check_optimizer(optimizer)
    if model is not None and params is not None:
        raise ValueError("name the weights by model= or by params=, not by both")
    if model is not None and not isinstance(model, nn.Module):
        raise TypeError(f"model= must be a torch.nn.Module, not a {type(model).__name__}")
    if params is not None:
        params = [params] if isinstance(params, Tensor) or not isinstance(params, Iterable) else list(params)
        if other := [p for p in params if not isinstance(p, Tensor)]:
            raise TypeError(f"params= must be weights, such as model.parameters(), not a {type(other[0]).__name__}")
    if sample is not None and model is None:
        raise ValueError("sample= is a batch for model=: name the model too")
    chosen = targets.of_optimizer(optimizer, params) if model is None else targets.of_model(model, sample, noise)
    held = _groups(optimizer)
    taken = [target for target in chosen if id(target.weight) in held and target.weight.requires_grad]
    if not taken:
        wanted = "name them in params=" if model is None else "make it from the parameters of this model"
        raise ValueError(f"no weight to perturb: the optimizer holds no hidden weight matrix that is trained; {wanted}")
    for target in taken:
        targets.check(target, generator)
    first = Kick(alpha, noise, unit, sigma, _shared(streams.word(generator)), 0)
    return Perturbation(optimizer, chosen, first)


class Perturbation:
    """The noise on an optimizer, and the handle on it: made by `perturb`.

    In a `with` statement it ends where the block ends. A copy or pickle of it adds no noise, and a UserWarning says so.

    >>> layer = torch.nn.Linear(8, 16)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> settings = {"alpha": 1.75, "sigma": 0.01, "noise": "shared", "generator": torch.Generator().manual_seed(1)}
    >>> with perturb(optimizer, params=layer.parameters(), **settings) as handle:
    ...     optimizer.step()
    >>> handle.state_dict()["step"]
    1
    """

    def __init__(self, optimizer: torch.optim.Optimizer, chosen: list[Target], unit: Kick) -> None:
        self._optimizer: Callable[[], torch.optim.Optimizer | None] = weakref.ref(optimizer)
        self._targets = chosen
        self._unit = unit  # its scale is sigma; key and step are put in at each step
        self._key, self._step = unit.key, unit.step
        self._rest: dict[int, Tensor] = {}  # by number of a low-precision weight: what was too small to be stored
        hook = torch.compiler.disable(self._after_step)  # never part of a compiled graph
        self._hook: RemovableHandle | None = optimizer.register_step_post_hook(hook)
        optimizer.__getstate__ = _Bare(optimizer)  # type: ignore[method-assign]

    @property
    def names(self) -> list[str]:
        """The weights that get kicks now: those of the model that the optimizer holds and that are not frozen.

        Named as in the model itself, out of torch.compile and DistributedDataParallel. Without a model they are named
        by their places, as in "group 0, parameter 2".
        """
        optimizer = self._optimizer()
        held = _groups(optimizer) if optimizer is not None and self._hook is not None else {}
        return [target.name for target in self._targets if id(target.weight) in held and target.weight.requires_grad]

    def remove(self) -> None:
        """End the noise; a second call does nothing."""
        optimizer = self._optimizer()
        if self._hook is not None and optimizer is not None:
            self._hook.remove()
            del optimizer.__getstate__
        self._hook = None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs: the key, the number of steps taken, the settings, what low precision left over."""
        rest = {self._targets[number].name: rest.clone() for number, rest in self._rest.items()}
        return {"key": self._key, "step": self._step, "settings": self._settings(), "rest": rest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint: the next kicks are those that would have come then.

        Raises ValueError for the state of something else, of other weights or of other settings of the noise.
        """
        if (
            not isinstance(state, Mapping)
            or state.keys() != self.state_dict().keys()
            or (not isinstance(state["settings"], Mapping))
        ):
            raise ValueError("this is not the state of a perturbation: load what its state_dict() returned")
        for name, value in self._settings().items():
            if state["settings"].get(name) != value:
                raise ValueError(
                    f"the state is that of a perturbation with other {name}: {state['settings'].get(name)} there, "
                    f"{value} here"
                )
        numbers = {target.name: number for number, target in enumerate(self._targets)}
        rest = state["rest"]
        for name, bits in (("key", 64), ("step", 32)):
            if not isinstance(state[name], int) or not 0 <= state[name] < 2**bits:
                raise ValueError(f"the state is damaged: its {name} is {state[name]!r}, no whole number of {bits} bits")
        if not isinstance(rest, Mapping) or not all(
            name in numbers and isinstance(value, Tensor) and value.shape == self._targets[numbers[name]].weight.shape
            for name, value in rest.items()
        ):
            raise ValueError("the state is damaged: what it left over of kicks does not fit the weights")
        self._key, self._step = state["key"], state["step"]
        self._rest = {numbers[name]: value.clone() for name, value in rest.items()}

    def __repr__(self) -> str:
        """Which noise, and on which weights."""
        unit = self._unit
        return (
            f"<{unit.noise} noise, alpha={unit.alpha:g}, sigma={unit.scale:g}, on {', '.join(self.names) or 'nothing'}>"
        )

    def __getstate__(self) -> dict[str, Any]:
        # Else remove() of a copy would end the noise of the original.
        message = (
            "a copy or pickle of a perturbation adds no noise: perturb the copy of the optimizer, and load the state"
        )
        warnings.warn(message, stacklevel=3)
        return {**vars(self), "_hook": None, "_optimizer": _no_optimizer}

    def __enter__(self) -> Perturbation:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()

    def _settings(self) -> dict[str, Any]:
        unit = self._unit
        weights = [f"{target.name} {tuple(target.weight.shape)}" for target in self._targets]
        settings = {"alpha": float(unit.alpha), "sigma": float(unit.scale), "noise": unit.noise, "unit": unit.unit}
        return {**settings, "weights": weights}

    @torch.no_grad()
    def _after_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        skipped = getattr(optimizer, "found_inf", None)  # a GradScaler lets fused optimizers skip the step themselves
        if (skipped is not None and float(skipped) != 0) or _steps_under_way(optimizer) > 1:
            return
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            raise RuntimeError("a captured CUDA graph would repeat one kick for ever: step outside of the capture")
        groups = _groups(optimizer)  # looked up at every step: loading a state makes new groups
        sizes = {  # all before the first kick: a step is refused whole
            number: scale(self._unit.alpha, self._unit.scale, _rate(optimizer, groups[id(target.weight)]))
            for number, target in enumerate(self._targets)
            if id(target.weight) in groups and target.weight.requires_grad
        }
        for number, size in sizes.items():
            self._kick(number, self._targets[number], size)
        self._step += 1

    def _kick(self, number: int, target: Target, size: float) -> None:
        weight, unit = target.weight, self._unit
        now = Kick(unit.alpha, unit.noise, unit.unit, size, self._key, self._step)
        spared = None if target.padding is None else weight[target.padding].clone()
        if weight.dtype == torch.float32:
            whole = weight if weight.is_contiguous() else weight.contiguous()
            kick(whole, now, layer=number)
            if whole is not weight:
                weight.copy_(whole)
        else:
            move = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
            kick(move, now, layer=number)
            if weight.dtype == torch.float64:
                weight.add_(move)
            else:
                self._rest[number] = _store(weight, move, self._rest.get(number))
        if spared is not None:
            weight[target.padding] = spared


def _no_optimizer() -> None:
    """What a copy of a handle has in place of a weak reference to an optimizer."""


class _Bare:
    """`__getstate__` of a perturbed optimizer, which says that a copy goes without noise."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = weakref.ref(optimizer)

    def __call__(self) -> dict[str, Any]:
        optimizer = self.optimizer()
        assert optimizer is not None  # whose attribute this is
        warnings.warn("a copy or pickle of a perturbed optimizer has no noise: perturb the copy", stacklevel=3)
        return type(optimizer).__getstate__(optimizer)


def _store(weight: Tensor, move: Tensor, rest: Tensor | None) -> Tensor:
    """Move a low-precision weight, and return what its rounding left over of this move and of those before."""
    if rest is not None:
        move = move + rest.to(move.device)
    before = weight.to(torch.float32)
    weight.copy_(before + move)
    rest = move - (weight.to(torch.float32) - before)
    return torch.where(rest.isfinite(), rest, 0.0)


def _groups(optimizer: torch.optim.Optimizer) -> dict[int, int]:
    """The number of the group of each parameter that an optimizer holds, by identity."""
    return {id(p): number for number, group in enumerate(optimizer.param_groups) for p in group["params"]}


def _rate(optimizer: torch.optim.Optimizer, number: int) -> float:
    """The present step size of a group."""
    rate: Any = optimizer.param_groups[number].get("lr")
    # Anything that floats: a number, an array or a tensor of one.
    size = float(rate) if hasattr(rate, "__float__") else math.nan
    if not size >= 0:
        raise ValueError(f"group {number} of the optimizer has no lr >= 0, with which the noise grows")
    return size


def _steps_under_way(optimizer: torch.optim.Optimizer) -> int:
    """How many calls of `step` the hooks of an optimizer are called in: several where one calls that of its base class.

    Read off the stack, as nothing that was counted would be right after an error. A compiled call is on it too.
    """
    count, frame = 0, sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        code = frame.f_code
        if code.co_name == _HOOKED.co_name and code.co_filename == _HOOKED.co_filename:
            count += (frame.f_locals.get("args") or (None,))[0] is optimizer
    return count


def _shared(key: int) -> int:
    """The key of process 0 where there are several, or the key."""
    together = torch.distributed
    if together.is_available() and together.is_initialized() and together.get_world_size() > 1:
        box = [key]
        together.broadcast_object_list(box, src=0)
        return box[0]
    return key


def _check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, torch.optim.Optimizer) or "_optimizer_step_post_hooks" not in vars(optimizer):
        raise TypeError(
            f"perturb needs an optimizer of torch.optim, not a {type(optimizer).__name__}: pass the torch optimizer "
            "that it wraps"
        )
    if _wraps_another(optimizer):
        raise TypeError(f"a {type(optimizer).__name__} wraps another optimizer: pass the torch optimizer that it wraps")
    if isinstance(vars(optimizer).get("__getstate__"), _Bare):
        raise ValueError("this optimizer has noise already: call remove() of the handle before you perturb it again")
    for number in range(len(optimizer.param_groups)):
        _rate(optimizer, number)


def _wraps_another(optimizer: torch.optim.Optimizer) -> bool:
    """Whether another optimizer of the same weights is reached from one, which then may step by it.

    What lies far off, behind more than _FAR other things, is not looked for.
    """
    own = _groups(optimizer).keys()
    left = [value for name, value in vars(optimizer).items() if name not in ("param_groups", "state", "defaults")]
    seen: dict[int, Any] = {}  # kept, so that no identity is given twice
    for part in left:  # which grows
        if id(part) in seen or part is optimizer or isinstance(part, _PLAIN):
            continue
        seen[id(part)] = part
        if isinstance(part, torch.optim.Optimizer) and own & _groups(part).keys():
            return True
        if len(seen) > _FAR:
            break
        left += _parts(part)
    return False


def _parts(thing: Any) -> list[Any]:
    """What a thing holds; of a function what was given to it, and not all of its module."""
    if isinstance(thing, types.FunctionType):
        return [*(thing.__closure__ or ()), *(thing.__defaults__ or ())]
    return gc.get_referents(thing)
