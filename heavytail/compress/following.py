"""Which parts of which weights belong to one unit of a network, seen while the network is called.

A unit is a row of a weight and everything that goes with it: its bias, its entries in normalisations, the columns that
read it, the rows that a skip connection adds to it. Each tensor on the way is known by its line: the axis along which
its entries are units, and which of them say the same whatever the input is. What cannot be followed, an attention, a
normalisation over units, a reshape across them, keeps the units that it reads; so what is said here is never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from heavytail.compress.calling import first_line, place, run, unseen
from heavytail.networks import watching
from heavytail.networks.calls import flat


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KERNELS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Linear, *KERNELS)
CONVOLUTIONS = {f"conv{d}d": d for d in (1, 2, 3)}  # with the number of axes that they slide along
TRANSPOSED = {f"conv_transpose{d}d": d for d in (1, 2, 3)}
# Each entry of the result is made of the entries at the same place alone.
_ELEMENTWISE = _words(
    "relu relu6 leaky_relu elu selu celu gelu silu mish tanh sigmoid hardtanh hardswish hardsigmoid softplus softsign "
    "logsigmoid tanhshrink softshrink hardshrink threshold rrelu abs absolute neg negative exp expm1 log log1p sqrt "
    "rsqrt square sin cos erf reciprocal clamp clip clamp_min clamp_max pow rpow sign floor ceil round add iadd radd "
    "sub isub rsub subtract mul imul rmul multiply div idiv truediv itruediv rtruediv divide maximum minimum where "
    "masked_fill gt lt ge le eq ne logical_and logical_or logical_not and or invert nan_to_num dropout dropout1d "
    "dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout to float double half bfloat16 type_as "
    "contiguous clone detach requires_grad type lerp addcmul addcdiv"
)
_CALLED = frozenset([*CONVOLUTIONS, *TRANSPOSED, "linear"])
_TIMES = frozenset(["mul", "imul", "rmul", "multiply"])
_DROPOUTS = frozenset(name for name in _ELEMENTWISE if "dropout" in name) | {"rrelu"}
# Entries are moved, repeated or left out, and none is changed.
_MOVES = _words(
    "view reshape flatten unflatten permute transpose swapaxes swapdims movedim moveaxis t T mT squeeze unsqueeze "
    "expand expand_as view_as reshape_as repeat tile getitem select narrow index_select chunk tensor_split split "
    "unsafe_chunk unsafe_split split_with_sizes unbind roll flip"
)
_POOLS = {f"{kind}_pool{d}d": d for kind in ("max", "avg", "adaptive_max", "adaptive_avg") for d in (1, 2, 3)}
_REDUCTIONS = frozenset(["mean", "sum", "amax", "amin"])
_RESIZED = frozenset(["interpolate", "upsample"])
# What asks for a number that the network then decides by.
_ASKING = _words(
    "__bool__ __int__ __float__ __index__ __array__ __complex__ __contains__ item tolist numpy is_nonzero equal "
    "allclose"
)
_DRAWN = ("rand", "normal", "bernoulli", "uniform", "exponential", "poisson", "multinomial", "gumbel", "cauchy")
_FACTOR = 1e-9  # numbers that agree to this share of their size are one and the same, but for rounding


@dataclass(frozen=True, eq=False)
class Line:
    """The axis of a tensor whose entries are units."""

    axis: int
    units: np.ndarray  # (n,) which unit each entry belongs to
    constant: np.ndarray  # (n,) whether it says the same whatever the input is, and wherever it stands


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a tensor: whether something of the input is in it, and its line if it has one."""

    data: bool
    line: Line | None = None


@dataclass(eq=False)
class Reader:
    """A layer that multiplies units by the columns of its weight and adds them up."""

    weight: Tensor
    axis: int  # of the weight, along which its inputs lie
    bias: Tensor | None
    layer: nn.Module | None  # whose bias may be made if there is none
    said: list[np.ndarray] = field(default_factory=list)  # (n,) at each call, what each unit says; nan: not known


class Units:
    """Units by number, some tied to others, some that must stay: union and find."""

    def __init__(self) -> None:
        self._above: list[int] = []
        self.stay: set[int] = set()
        self.dead: set[int] = set()  # whose weights are all zero

    def __len__(self) -> int:
        return len(self._above)

    def new(self, number: int) -> np.ndarray:
        """So many units, tied to none."""
        first = len(self._above)
        self._above += range(first, first + number)
        return np.arange(first, first + number)

    def of(self, unit: int) -> int:
        """The one that stands for all that are tied to this one."""
        while self._above[unit] != unit:
            self._above[unit] = self._above[self._above[unit]]
            unit = self._above[unit]
        return unit

    def tie(self, some: Iterable[int], others: Iterable[int]) -> None:
        """Tie these units to those, one by one."""
        for one, other in zip(some, others, strict=True):
            self._above[self.of(int(one))] = self.of(int(other))

    def keep(self, units: Iterable[int]) -> None:
        """These units must stay."""
        self.stay.update(int(unit) for unit in units)


class Following(TorchFunctionMode):
    """Follows units through a network in eval mode, from the layers that make them to those that read them."""

    def __init__(self, model: nn.Module, cautious: bool = False) -> None:
        super().__init__()
        self.cautious = cautious  # whether to keep units whose number the network may have written down in a reshape
        self.units = Units()
        self.places: dict[tuple[int, int], np.ndarray] = {}  # the units along an axis of a parameter or buffer
        self.readers: dict[tuple[int, ...], Reader] = {}
        self.own = {id(t): t for t in (*model.parameters(), *model.buffers())}
        self.elsewhere: set[int] = set()  # parameters that are also used as no layer uses them
        self.grouped: set[int] = set()  # weights of which whole groups may go
        self.calling: list[nn.Module] = []  # the layers that are being called, from the outermost on
        self.asked: list[nn.Module | None] = []  # layers that asked for a number they were given
        self.known: Any = WeakIdKeyDictionary()
        for tensor in _attributes(model):
            self.known[tensor] = Known(data=False)

    def given(self, sample: Any) -> None:
        """These are the inputs, and nothing is known of them."""
        for tensor in flat([sample]):
            if isinstance(tensor, Tensor):
                self.known[tensor] = Known(data=True)

    def returned(self, tensors: Iterable[Tensor]) -> None:
        """These are the outputs: whatever they say must go on being said."""
        for tensor in tensors:
            self._keep(tensor)

    def place(self, tensor: Tensor, axis: int) -> np.ndarray:
        """The units along an axis of a parameter or buffer."""
        key = (id(tensor), axis)
        if key not in self.places:
            self.places[key] = self.units.new(tensor.shape[axis])
        return self.places[key]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        spelled = getattr(func, "__name__", "")
        name = (getattr(func.__self__, "__name__", "") if spelled == "__get__" else spelled).strip("_")
        given = [t for t in flat([*args, *kwargs.values()]) if isinstance(t, Tensor)]
        if spelled in _ASKING and any(self._known(t).data for t in given):
            self.asked.append(self.calling[-1] if self.calling else None)
            raise ValueError("the network asks what its values are")
        if name not in _CALLED:
            self.elsewhere.update(id(t) for t in given if id(t) in self.own)
        silent = [self._silent(t) for t in given] if name in _TIMES else []
        if name == "pad":
            silent = [self._silent(t, _option(args, kwargs, 3, "value", 0) or 0.0) for t in given[:1]]
        if name in ("avg_pool1d", "avg_pool2d", "avg_pool3d", "sum"):
            silent = [self._silent(t) for t in given[:1]]
        inputs = [self._known(t) for t in given]  # before an operation in place makes them something else
        x = _option(args, kwargs, 0, "input", None)
        said = self._said(x) if name in _CALLED and isinstance(x, Tensor) else None
        result = func(*args, **kwargs)
        results = [t for t in flat([result]) if isinstance(t, Tensor)]
        if not results:
            if result is None and given:  # something was changed in place
                self._overwritten(given)
            return result
        changed = any(results[0] is t for t in given) and not (name in _DROPOUTS or name in ("to", "contiguous"))
        found: list[Known] | None = None
        if "out" not in kwargs and not (changed and name == "copy"):
            found = self._found(name, func, args, kwargs, given, inputs, silent, said, result, results)
        if found is None:
            drawn = any(word in name for word in _DRAWN) or name in _DROPOUTS
            data = drawn or any(known.data for known in inputs)
            for tensor in given:
                self._keep(tensor)
            found = [Known(data)] * len(results)
        if changed:
            self._changed(results[0], found[0].line)
        for tensor, known in zip(results, found, strict=True):
            self.known[tensor] = known
        return result

    def _found(
        self,
        name: str,
        func: Any,
        args: Any,
        kwargs: Any,
        given: list[Tensor],
        inputs: list[Known],
        silent: list[np.ndarray],
        said: Any,
        result: Any,
        results: list[Tensor],
    ) -> list[Known] | None:
        """What is known of the results; None for what cannot be followed."""
        if name == "linear":
            return self._linear(args, kwargs, said, results[0])
        if name in CONVOLUTIONS:
            return self._convolution(CONVOLUTIONS[name], args, kwargs, said, results[0])
        if name in TRANSPOSED:
            return self._transposed(TRANSPOSED[name], args, kwargs, said, results[0])
        if name == "batch_norm":
            return self._batch_norm(args, kwargs, results[0])
        if name == "embedding":
            return self._embedding(args, kwargs, results[0])
        if name in ("cat", "concat", "concatenate"):
            return self._joined(args, kwargs, inputs, results[0])
        if name == "prelu" and len(given) == 2 and given[1].numel() > 1:
            return self._prelu(given, inputs)
        if name in ("to", "type_as"):  # the other tensor tells a type and a device
            given, inputs = given[:1], inputs[:1]
        if name in _ELEMENTWISE or name == "prelu":
            random = name in _DROPOUTS and bool(_option(args, kwargs, 2, "training", True))
            return [self._elementwise(given, inputs, silent, results[0], random)]
        if not given or inputs[0].line is None or any(known.line is not None for known in inputs[1:]):
            plain = name in _MOVES | _REDUCTIONS | _RESIZED | set(_POOLS) | {"pad"}
            wide = any(id(t) in self.own and t.numel() > 1 for t in given)
            if plain and not wide and not any(known.line is not None for known in inputs):
                return [Known(any(known.data for known in inputs))] * len(results)
            return None
        line, shape = inputs[0].line, given[0].shape
        if name in _MOVES:
            return self._moved(name, func, args, kwargs, inputs[0], result, results)
        if name in _POOLS and len(results) == 1 and line.axis == len(shape) - _POOLS[name] - 1:
            even = not name.startswith("avg") or _even(_POOLS[name], args, kwargs)
            return [_still(inputs[0], line.axis, line.constant & (even | silent[0] if silent else even))]
        if name in _REDUCTIONS and len(results) == 1:
            return _reduced(name, args, kwargs, inputs[0], len(shape), silent)
        if name in _RESIZED and line.axis == 1:
            return [_still(inputs[0], 1, line.constant)]
        if name == "pad":
            pads = _option(args, kwargs, 1, "pad", ())
            if len(pads) // 2 <= len(shape) - line.axis - 1:
                same = _option(args, kwargs, 2, "mode", "constant") != "constant"
                return [_still(inputs[0], line.axis, line.constant & (same | silent[0]))]
        return None

    # what is known of a tensor

    def _known(self, tensor: Tensor) -> Known:
        if id(tensor) in self.own:
            wide = [axis for axis, size in enumerate(tensor.shape) if size > 1]
            if len(wide) != 1:
                return Known(data=False)
            units = self.place(tensor, wide[0])
            return Known(False, Line(wide[0], units, np.ones(len(units), dtype=bool)))
        if tensor not in self.known:  # no function of torch's made it, so anything may be in it
            self.units.keep(range(len(self.units)))
            self.known[tensor] = Known(data=True)
        return self.known[tensor]

    def _keep(self, tensor: Tensor) -> None:
        """All units in a tensor must stay."""
        line = self._known(tensor).line
        if line is not None:
            self.units.keep(line.units)
        if id(tensor) in self.own:
            for axis in range(tensor.ndim):
                self.units.keep(self.place(tensor, axis))

    def _overwritten(self, given: list[Tensor]) -> None:
        for tensor in given:
            self._keep(tensor)
            if id(tensor) not in self.own:
                self.known[tensor] = Known(data=True)
                self._changed(tensor, None)

    def _changed(self, tensor: Tensor, line: Line | None) -> None:
        """What shares its memory with a tensor that was changed in place is no longer what it was."""
        memory = tensor.untyped_storage().data_ptr()
        for other in list(self.known):
            if other is not tensor and other.layout == torch.strided and other.untyped_storage().data_ptr() == memory:
                self._keep(other)
                self.known[other] = Known(data=True)
                if line is not None:
                    self.units.keep(line.units)

    def _silent(self, tensor: Tensor, value: float = 0.0) -> np.ndarray:
        """Along the line of a tensor, where it says nothing but this value."""
        line = self._known(tensor).line
        if line is None:
            return np.zeros(0, dtype=bool)
        return line.constant & _rows(tensor, line.axis).eq(value).all(1).cpu().numpy()

    def _said(self, tensor: Tensor) -> tuple[Line, np.ndarray] | None:
        """The line of a tensor, and what its constant entries say: nan where numbers differ."""
        line = self._known(tensor).line
        if line is None:
            return None
        said = np.full(len(line.units), math.nan)
        rows = _rows(tensor, line.axis)
        if rows.numel():
            low, high = rows.min(1).values, rows.max(1).values
            same = high - low <= _FACTOR * torch.maximum(high.abs(), low.abs())
            same = same.cpu().numpy() & line.constant
            said[same] = ((low + high) / 2).double().cpu().numpy()[same]
        return line, said

    # layers

    def _linear(self, args: Any, kwargs: Any, said: Any, result: Tensor) -> list[Known] | None:
        x, weight = (_option(args, kwargs, k, name, None) for k, name in enumerate(("input", "weight")))
        bias = _option(args, kwargs, 2, "bias", None)
        if id(weight) not in self.own or weight.ndim != 2 or not self._plain(bias):
            return None
        constant = self._read(x, x.ndim - 1, weight, 1, bias, said, False)
        live = ((weight != 0).cpu().numpy() & ~constant).any(1)
        return [self._made(weight, 0, bias, result.ndim - 1, ~live)]

    def _convolution(self, axes: int, args: Any, kwargs: Any, said: Any, result: Tensor) -> list[Known] | None:
        x, weight = (_option(args, kwargs, k, name, None) for k, name in enumerate(("input", "weight")))
        bias, groups = _option(args, kwargs, 2, "bias", None), _option(args, kwargs, 6, "groups", 1)
        if id(weight) not in self.own or not self._plain(bias):
            return None
        axis, pads = x.ndim - axes - 1, _pads(_option(args, kwargs, 4, "padding", 0))
        used = (weight != 0).flatten(2).any(2).cpu().numpy()
        if groups == 1:
            constant = self._read(x, axis, weight, 1, bias, said, pads)
            live = (used & ~constant).any(1)
        else:
            layer = self._layer(weight, bias)
            if said is None or said[0].axis != axis or layer is None:
                if said is not None:
                    self.units.keep(said[0].units)
                self.units.keep(self.place(weight, 0))
                live = used.any(1)
            else:
                self.grouped.add(id(weight))
                line, outs, wide = said[0], self.place(weight, 0), weight.shape[1]
                one = np.arange(groups).repeat(wide)
                for group in range(groups):
                    ins = line.units[one == group]
                    made = outs[group * len(outs) // groups : (group + 1) * len(outs) // groups]
                    self.units.tie(ins, [ins[0]] * len(ins))
                    self.units.tie(made, [ins[0]] * len(made))
                steady = line.constant & ~np.isnan(said[1]) & ((said[1] == 0) | (not pads))
                live = (used & ~steady.reshape(groups, wide).repeat(len(outs) // groups, 0)).any(1)
        return [self._made(weight, 0, bias, result.ndim - axes - 1, ~live)]

    def _transposed(self, axes: int, args: Any, kwargs: Any, said: Any, result: Tensor) -> list[Known] | None:
        x, weight = (_option(args, kwargs, k, name, None) for k, name in enumerate(("input", "weight")))
        bias = _option(args, kwargs, 2, "bias", None)
        if id(weight) not in self.own or _option(args, kwargs, 6, "groups", 1) != 1 or not self._plain(bias):
            return None
        constant = self._read(x, x.ndim - axes - 1, weight, 0, bias, said, True)
        live = ((weight != 0).flatten(2).any(2).cpu().numpy() & ~constant[:, None]).any(0)
        return [self._made(weight, 1, bias, result.ndim - axes - 1, ~live)]

    def _read(
        self, x: Tensor, axis: int, weight: Tensor, along: int, bias: Tensor | None, said: Any, uneven: bool
    ) -> np.ndarray:
        """A layer reads units along an axis of its input: which of them are the same everywhere, for this layer.

        `uneven`: places at the border hear less than others, so that only silence is the same everywhere.
        """
        columns = self.place(weight, along)
        if said is None or said[0].axis != axis or len(said[0].units) != len(columns):
            if said is not None:
                self.units.keep(said[0].units)
            self.units.keep(columns)
            return np.zeros(len(columns), dtype=bool)
        line, values = said
        self.units.tie(columns, line.units)
        values = np.where((values != 0) & uneven, math.nan, values)
        layer = self._layer(weight, bias)
        if bias is None and layer is None:
            values = np.where(values == 0, values, math.nan)
        key = (id(layer),) if layer is not None else (id(weight), id(bias))
        reader = self.readers.setdefault(key, Reader(weight, along, bias, layer))
        reader.said.append(values)
        self.units.keep(columns[np.isnan(values)])
        return ~np.isnan(values)

    def _made(self, weight: Tensor, along: int, bias: Tensor | None, axis: int, constant: np.ndarray) -> Known:
        """The units that a weight makes, along an axis of the result."""
        units = self.place(weight, along)
        if bias is not None:
            self.units.tie(self.place(bias, 0), units)
        rows = _rows(weight, along).ne(0).any(1).cpu().numpy()
        self.units.dead.update(int(unit) for unit in units[~rows])
        return Known(True, Line(axis, units, constant))

    def _layer(self, weight: Tensor, bias: Tensor | None) -> nn.Module | None:
        """The layer that is being called, if it multiplies by just this weight and does what its type says."""
        layer = self.calling[-1] if self.calling else None
        if layer is None or getattr(layer, "weight", None) is not weight or getattr(layer, "bias", None) is not bias:
            return None
        return layer if _does_what_it_says(layer) else None

    def _plain(self, bias: Any) -> bool:
        return bias is None or id(bias) in self.own

    def _batch_norm(self, args: Any, kwargs: Any, result: Tensor) -> list[Known] | None:
        line = self._known(_option(args, kwargs, 0, "input", None)).line
        places = ("running_mean", "running_var", "weight", "bias")
        parts = [_option(args, kwargs, 1 + k, name, None) for k, name in enumerate(places)]
        parts = [part for part in parts if part is not None]
        if line is None or line.axis != 1 or _option(args, kwargs, 5, "training", False) or len(parts) < 2:
            return None
        if any(id(part) not in self.own or len(part) != len(line.units) for part in parts):
            return None
        for part in parts:
            self.units.tie(self.place(part, 0), line.units)
        return [Known(True, line)]

    def _prelu(self, given: list[Tensor], inputs: list[Known]) -> list[Known] | None:
        line = inputs[0].line
        if line is None or line.axis != 1 or id(given[1]) not in self.own or len(given[1]) != len(line.units):
            return None
        self.units.tie(self.place(given[1], 0), line.units)
        return [inputs[0]]

    def _embedding(self, args: Any, kwargs: Any, result: Tensor) -> list[Known] | None:
        weight = _option(args, kwargs, 1, "weight", None)
        if id(weight) not in self.own:
            return None
        units = self.place(weight, 1)
        return [Known(True, Line(result.ndim - 1, units, np.zeros(len(units), dtype=bool)))]

    # functions without weights

    def _elementwise(
        self, given: list[Tensor], inputs: list[Known], silent: list[np.ndarray], result: Tensor, random: bool
    ) -> Known:
        data = random or any(known.data for known in inputs)
        lines = [
            (known.line.axis + result.ndim - tensor.ndim, known.line)
            for tensor, known in zip(given, inputs, strict=True)
            if known.line is not None
        ]
        if not lines:
            for tensor in given:
                if id(tensor) in self.own and tensor.numel() > 1:
                    self._keep(tensor)
            return Known(data)
        axis, size = lines[0][0], result.shape[lines[0][0]]
        clear = all(place == axis and len(line.units) == size for place, line in lines)
        for tensor, known in zip(given, inputs, strict=True):
            own = axis - (result.ndim - tensor.ndim)
            clear = clear and (known.line is not None or own < 0 or tensor.shape[own] == 1)
        if not clear:
            for tensor in given:
                self._keep(tensor)
            return Known(data)
        constant = np.full(size, not random)
        for tensor, known in zip(given, inputs, strict=True):
            if known.line is not None:
                self.units.tie(known.line.units, lines[0][1].units)
                constant &= known.line.constant
            else:
                constant &= not known.data and tensor.numel() == 1
        for zero in silent:
            if len(zero):
                constant |= zero
        return Known(data, Line(axis, lines[0][1].units, constant))

    def _moved(
        self, name: str, func: Any, args: Any, kwargs: Any, known: Known, result: Any, results: list[Tensor]
    ) -> list[Known] | None:
        """Numbers in the place of the entries, moved in the same way, tell where each has gone."""
        x, line = args[0] if args else kwargs["input"], known.line
        assert line is not None
        number, shape = len(line.units), [1] * x.ndim
        if number < 2:
            return None
        shape[line.axis] = number
        marks = torch.arange(number, device=x.device).reshape(shape).expand(x.shape).contiguous()
        moved = func(marks, *args[1:], **kwargs) if args else func(**{**kwargs, "input": marks})
        parts = [part for part in flat([moved]) if isinstance(part, Tensor)]
        if self.cautious and name in ("view", "reshape", "expand", "unflatten"):
            sizes = [size for size in flat([*args[1:], *kwargs.values()]) if isinstance(size, int)]
            if any(size % number == 0 and size > 0 for size in sizes):
                return None
        if [part.shape for part in parts] != [part.shape for part in results]:
            return None
        found = [_followed(part, number) for part in parts]
        if all(one is not None for one in found):
            return [Known(known.data, Line(at, line.units[which], line.constant[which])) for at, which in found]  # type: ignore[misc]
        if name in ("chunk", "unsafe_chunk") and len(parts) > 1 and len({part.shape for part in parts}) == 1:
            own = number // len(parts)
            pieces = [np.arange(k * own, (k + 1) * own) for k in range(len(parts))]
            if own * len(parts) == number and all(part.shape[line.axis] == own for part in parts):
                for piece in pieces[1:]:  # which lose as many as the first, or they would be cut elsewhere
                    self.units.tie(line.units[piece], line.units[pieces[0]])
                return [Known(known.data, Line(line.axis, line.units[p], line.constant[p])) for p in pieces]
        return None

    def _joined(self, args: Any, kwargs: Any, inputs: list[Known], result: Tensor) -> list[Known] | None:
        parts = list(_option(args, kwargs, 0, "tensors", ()))
        dim = kwargs.get("axis", _option(args, kwargs, 1, "dim", 0)) % result.ndim
        lines = [known.line for known in inputs]
        data = any(known.data for known in inputs)
        if not any(lines) and not any(id(t) in self.own and t.numel() > 1 for t in parts):
            return [Known(data)]
        if len(parts) != len(inputs) or any(t.ndim != result.ndim for t in parts):
            return None
        axes = {line.axis for line in lines if line is not None}
        if axes == {dim} and not any(id(t) in self.own for t in parts):
            units, constant = [], []
            for tensor, line in zip(parts, lines, strict=True):
                if line is None:
                    others = self.units.new(tensor.shape[dim])
                    self.units.keep(others)
                    line = Line(dim, others, np.zeros(len(others), dtype=bool))
                units.append(line.units)
                constant.append(line.constant)
            return [Known(data, Line(dim, np.concatenate(units), np.concatenate(constant)))]
        if len(axes) == 1 and dim not in axes and all(line is not None for line in lines):
            first = lines[0]
            assert first is not None
            constant = first.constant.copy()
            for line in lines[1:]:
                assert line is not None
                self.units.tie(line.units, first.units)
                constant &= line.constant
            return [Known(data, Line(first.axis, first.units, constant))]
        return None


def follow(model: nn.Module, sample: Any, cautious: bool = False) -> tuple[Following, list[Tensor]]:
    """A network followed through a call with a sample, and what it returned; `model` and `sample` are float64 copies.

    Raises ValueError where the call fails, returns no tensor, or decides by a number that it was given.
    """
    watch = Following(model, cautious)
    watch.given(sample)

    def enter(module: nn.Module, args: Any) -> None:
        watch.calling.append(module)

    def leave(module: nn.Module, args: Any, result: Any) -> None:
        watch.calling.pop()

    hooks: list[Any] = []
    for module in model.modules():
        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        with torch.no_grad(), unseen(model), watching.uncompiled(), watch:
            result = run(model, sample)
    except Exception as error:
        if not watch.asked:
            raise ValueError(f"the model cannot be called with sample=: {first_line(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()
    if watch.asked:  # though the network may have caught the error
        name = next((n for n, module in model.named_modules() if module is watch.asked[0]), "")
        raise ValueError(
            f"{place(name)} asks what its values are, so that another input may go another way through it: shrink sees "
            "one way only"
        )
    returned = list(watching.tensors(result))
    if not returned:
        raise ValueError(f"the model returns no tensor, but a {type(result).__name__}, so nothing can be compared")
    watch.returned(returned)
    return watch, returned


def _does_what_it_says(layer: nn.Module) -> bool:
    """Whether a layer is called as torch has it, with its bias."""
    for kind in LAYERS:
        if isinstance(layer, kind):
            methods = ("forward", "_conv_forward") if hasattr(kind, "_conv_forward") else ("forward",)
            return all(getattr(type(layer), method) is getattr(kind, method) for method in methods)
    return False


def _attributes(model: nn.Module) -> list[Tensor]:
    """Tensors that the layers hold, and are neither parameters nor buffers."""
    values = [value for module in model.modules() for value in vars(module).values()]
    return [value for value in values if isinstance(value, Tensor)]


def _option(args: Sequence[Any], kwargs: Mapping[str, Any], place: int, name: str, default: Any) -> Any:
    return kwargs[name] if name in kwargs else args[place] if len(args) > place else default


def _rows(tensor: Tensor, axis: int) -> Tensor:
    """One row for each entry along an axis."""
    return tensor.detach().movedim(axis, 0).reshape(tensor.shape[axis], -1)


def _pads(padding: Any) -> bool:
    if isinstance(padding, str):
        return padding != "valid"
    return any(padding) if isinstance(padding, list | tuple) else bool(padding)


def _even(axes: int, args: Any, kwargs: Any) -> bool:
    """Whether an average of equal numbers is that number everywhere: nothing is padded, cut off or divided anew."""
    padding, ceil = _option(args, kwargs, 3, "padding", 0), _option(args, kwargs, 4, "ceil_mode", False)
    return not (_pads(padding) or ceil or (axes > 1 and _option(args, kwargs, 6, "divisor_override", None)))


def _still(known: Known, axis: int, constant: np.ndarray) -> Known:
    """The same units, on this axis."""
    assert known.line is not None
    return Known(known.data, Line(axis, known.line.units, constant))


def _reduced(
    name: str, args: Any, kwargs: Any, known: Known, axes: int, silent: list[np.ndarray]
) -> list[Known] | None:
    """A mean, sum or largest number over axes that are not that of the units."""
    assert known.line is not None
    over = kwargs.get("axis", _option(args, kwargs, 1, "dim", None))
    if over is None or isinstance(over, bool):
        return None
    over = {one % axes for one in (over if isinstance(over, list | tuple) else [over])}
    if known.line.axis in over or not over:
        return None
    keep = bool(_option(args, kwargs, 2, "keepdim", False))
    axis = known.line.axis - (0 if keep else sum(one < known.line.axis for one in over))
    constant = known.line.constant & silent[0] if name == "sum" else known.line.constant
    return [_still(known, axis, constant)]


def _followed(marks: Tensor, number: int) -> tuple[int, np.ndarray] | None:
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
