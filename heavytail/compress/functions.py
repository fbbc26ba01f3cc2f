"""What functions of torch do with units: which of them leave each unit by itself, and where it lies afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heavytail.compress.units import Known, Line
from heavytail.networks.calls import flat


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONVOLUTIONS = {f"conv{d}d": d for d in (1, 2, 3)}  # with the number of axes that they slide along
TRANSPOSED = {f"conv_transpose{d}d": d for d in (1, 2, 3)}
# Each entry of the result is made of the entries at the same place alone.
ELEMENTWISE = _words(
    "relu relu6 leaky_relu elu selu celu gelu silu mish tanh sigmoid hardtanh hardswish hardsigmoid softplus softsign "
    "logsigmoid tanhshrink softshrink hardshrink threshold rrelu abs absolute neg negative exp expm1 log log1p sqrt "
    "rsqrt square sin cos erf reciprocal clamp clip clamp_min clamp_max pow rpow sign floor ceil round add iadd radd "
    "sub isub rsub subtract mul imul rmul multiply div idiv truediv itruediv rtruediv divide maximum minimum where "
    "masked_fill gt lt ge le eq ne logical_and logical_or logical_not and or invert nan_to_num dropout dropout1d "
    "dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout to float double half bfloat16 type_as "
    "cpu cuda contiguous clone detach requires_grad type lerp addcmul addcdiv"
)
LAYERS = CONVOLUTIONS | TRANSPOSED | {"linear": 0}
TIMES = frozenset(["mul", "imul", "rmul", "multiply"])
DROPOUTS = frozenset(name for name in ELEMENTWISE if "dropout" in name) | {"rrelu"}
SAME = DROPOUTS | {"to", "float", "double", "contiguous", "clone", "detach", "type_as"}  # which change no number
# Entries are moved, repeated or left out, and none is changed.
MOVES = _words(
    "view reshape flatten unflatten permute transpose swapaxes swapdims movedim moveaxis t T mT squeeze unsqueeze "
    "expand expand_as view_as reshape_as repeat tile getitem select narrow index_select chunk tensor_split split "
    "unsafe_chunk unsafe_split split_with_sizes unbind roll flip"
)
POOLS = {f"{kind}_pool{d}d": d for kind in ("max", "avg", "adaptive_max", "adaptive_avg") for d in (1, 2, 3)}
AVERAGES = frozenset(name for name in POOLS if name.startswith("avg"))
REDUCTIONS = frozenset(["mean", "sum", "amax", "amin"])
RESIZED = frozenset(["interpolate", "upsample"])
PRODUCTS = frozenset(["matmul", "bmm", "scaled_dot_product_attention"])
JOINS = frozenset(["cat", "concat", "concatenate"])
# What asks for a number that the network then decides by, or for a result whose shape hangs on numbers.
ASKING = _words(
    "__bool__ __int__ __float__ __index__ __array__ __complex__ __contains__ item tolist numpy is_nonzero equal "
    "allclose nonzero argwhere unique unique_consecutive masked_select bincount"
)
SIZES = frozenset(["shape", "size", "numel", "nelement", "len"])
DRAWN = ("rand", "normal", "bernoulli", "uniform", "exponential", "poisson", "multinomial", "gumbel", "cauchy")


@dataclass(frozen=True, eq=False)
class Step:
    """One call of a function of torch."""

    name: str  # without underscores: one for a method, an operator, and what works in place
    func: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    given: list[Tensor]  # all tensors among the arguments
    known: list[Known]  # of those
    silent: list[np.ndarray]  # where they say nothing but one number, for functions that make a constant of that alone

    def option(self, place: int, name: str, default: Any = None) -> Any:
        """An argument by its place or its name."""
        return self.kwargs[name] if name in self.kwargs else self.args[place] if len(self.args) > place else default

    @property
    def data(self) -> bool:
        """Whether something of the input is in the arguments."""
        return any(known.data for known in self.known)


def rows(tensor: Tensor, axis: int) -> Tensor:
    """One row for each entry along an axis."""
    return tensor.detach().movedim(axis, 0).reshape(tensor.shape[axis], -1)


def pads(padding: Any) -> bool:
    """Whether a padding adds anything."""
    if isinstance(padding, str):
        return padding != "valid"
    return any(padding) if isinstance(padding, list | tuple) else bool(padding)


def kept_apart(step: Step) -> Known | None:
    """What is known of the result of a function that leaves each unit by itself: pooling, padding, means over places.

    Of its first argument alone; None for another function, and where units are mixed.
    """
    x, line = step.given[0], step.known[0].line
    if line is None:
        return None
    constant = line.constant
    if step.name in POOLS and line.axis == x.ndim - POOLS[step.name] - 1:
        if step.name in AVERAGES and not _even(step):
            constant = constant & step.silent[0]
        return Known(step.data, Line(line.axis, line.units, constant))
    if step.name in RESIZED and line.axis == 1:
        return Known(step.data, line)
    if step.name == "pad" and len(step.option(1, "pad", ())) // 2 <= x.ndim - line.axis - 1:
        if step.option(2, "mode", "constant") == "constant":
            constant = constant & step.silent[0]
        return Known(step.data, Line(line.axis, line.units, constant))
    return _reduced(step, line) if step.name in REDUCTIONS else None


def _even(step: Step) -> bool:
    """Whether an average of equal numbers is that number everywhere: nothing is padded, cut off or divided anew."""
    divided = step.name != "avg_pool1d" and step.option(6, "divisor_override")
    return not (pads(step.option(3, "padding", 0)) or step.option(4, "ceil_mode", False) or divided)


def _reduced(step: Step, line: Line) -> Known | None:
    """A mean, sum or largest number over axes that are not that of the units."""
    axes = step.given[0].ndim
    over = step.kwargs.get("axis", step.option(1, "dim"))
    if over is None or isinstance(over, bool):
        return None
    over = {one % axes for one in (over if isinstance(over, list | tuple) else [over])}
    if line.axis in over or not over:
        return None
    axis = line.axis if step.option(2, "keepdim", False) else line.axis - sum(one < line.axis for one in over)
    constant = line.constant & step.silent[0] if step.name == "sum" else line.constant
    return Known(step.data, Line(axis, line.units, constant))


def moved(step: Step, results: list[Tensor], cautious: bool) -> tuple[list[Known] | None, list[np.ndarray]]:
    """What is known of entries that are moved, and units that must be tied so that they are moved alike afterwards.

    Numbers in the place of the entries, moved in the same way, tell where each has gone. `cautious`: a size in the
    arguments may be the number of units, written down, so that with fewer of them the call would fail.
    """
    x, line = step.given[0], step.known[0].line
    if line is None or len(line.units) < 2:
        return None, []
    number, shape = len(line.units), [1] * x.ndim
    if cautious and step.name in ("view", "reshape", "expand", "unflatten"):
        sizes = [size for size in flat([*step.args[1:], *step.kwargs.values()]) if isinstance(size, int)]
        if any(size % number == 0 and size > 0 for size in sizes):
            return None, []
    if cautious and step.name in ("getitem", "index_select"):
        parts = [part for one in step.args[1:] for part in (one if isinstance(one, tuple) else (one,))]
        if any(isinstance(part, list | Tensor) for part in parts):  # places by their numbers, of all units
            return None, []
    shape[line.axis] = number
    marks = torch.arange(number, device=x.device).reshape(shape).expand(x.shape).contiguous()
    args = [marks if one is x else one for one in step.args]
    result = step.func(*args, **{name: marks if one is x else one for name, one in step.kwargs.items()})
    parts = [part for part in flat([result]) if isinstance(part, Tensor)]
    if [part.shape for part in parts] != [part.shape for part in results]:
        return None, []
    found = [followed(part, number) for part in parts]
    if all(found):
        return [Known(step.data, Line(one[0], line.units[one[1]], line.constant[one[1]])) for one in found if one], []
    own, rest = divmod(number, len(parts))
    if step.name not in ("chunk", "unsafe_chunk") or rest or any(part.shape[line.axis] != own for part in parts):
        return None, []
    pieces = [np.arange(k * own, (k + 1) * own) for k in range(len(parts))]  # lose equally many, or are cut elsewhere
    lines = [Line(line.axis, line.units[piece], line.constant[piece]) for piece in pieces]
    return [Known(step.data, one) for one in lines], [line.units[piece] for piece in pieces]


def split(step: Step, result: Tensor) -> tuple[int, np.ndarray] | None:
    """Where units were laid over two axes or more: the one that may be of heads, and the units of each head, by rows.

    Of several axes along which units lie, it is the last but one, before that of the numbers of a head.
    """
    x, line = step.given[0], step.known[0].line
    if line is None or step.name not in ("view", "reshape", "unflatten"):
        return None
    number, shape = len(line.units), [1] * x.ndim
    shape[line.axis] = number
    marks = torch.arange(number, device=x.device).reshape(shape).expand(x.shape).reshape(result.shape)
    for axis in range(marks.ndim):  # along which all places have the same units
        first = marks.narrow(axis, 0, min(1, marks.shape[axis]))
        marks = first if bool((marks == first).all()) else marks
    axes = []
    for axis, size in enumerate(marks.shape):
        own = marks.movedim(axis, 0).reshape(size, -1)
        if 1 < size < number and sum(len(row.unique()) for row in own) == number:
            axes.append((axis, own))
    if len(axes) < 2:
        return None
    axis, own = axes[-2]
    members = [row.unique() for row in own]
    if len({len(row) for row in members}) > 1:
        return None
    return axis, line.units[torch.stack(members).cpu().numpy()]


def attended(step: Step, result: Tensor) -> tuple[Known, list[np.ndarray]] | None:
    """What is known of a product of heads with heads, one by one, and the units of each that must be tied; None if not.

    A product with shares that sum to one says what all of the things shared say, where they say the same.
    """
    if step.name == "scaled_dot_product_attention":
        tensors, known = step.given[:3], step.known[:3]
        mask = step.option(3, "attn_mask")
        steady = mask is None or not any(one.data for t, one in zip(step.given, step.known, strict=True) if t is mask)
        if len(step.args) < 3 or step.option(4, "dropout_p", 0.0) or step.option(7, "enable_gqa", False):
            return None
        if mask is not None and mask.ndim > 2 and mask.shape[-3] > 1:
            return None
    elif len(step.given) == 2:
        tensors, known = step.given, step.known
        steady = known[0].shares
    else:
        return None
    lines = [one.line for one in known if one.line is not None]
    shapes = {(t.ndim, line.axis, len(line.units)) for t, line in zip(tensors, lines, strict=False)}
    if len(lines) < len(tensors) or len(shapes) > 1 or result.ndim != tensors[0].ndim:
        return None
    axis, last = lines[0].axis, lines[-1]
    if axis >= result.ndim - 2 or result.shape[axis] != len(last.units):
        return None
    things = tensors[-1].detach().movedim(axis, 0)
    alike = (things - things[..., :1, :]).abs() <= 1e-9 * things.abs()
    constant = last.constant & steady & alike.flatten(1).all(1).cpu().numpy()
    return Known(step.data, Line(axis, last.units, constant | step.silent[0])), [line.units for line in lines]


def followed(marks: Tensor, number: int) -> tuple[int, np.ndarray] | None:
    """The axis along which marks differ, and which one lies at each place: all of them, equally often, in order."""
    for axis in range(marks.ndim):
        size = marks.shape[axis]
        if size % number or not marks.numel():
            continue
        line = marks.movedim(axis, 0).reshape(size, -1)
        if not bool((line == line[:, :1]).all()):
            continue
        which = line[:, 0].cpu().numpy()
        every = np.arange(number)
        if (which == every.repeat(size // number)).all() or (which == np.tile(every, size // number)).all():
            return axis, which
    return None
