"""Which parts of which weights belong to one unit of a network, seen while the network is called.

A unit is a row of a weight and everything that goes with it: its bias, its entries in normalisations, the columns that
read it, the rows that a skip connection adds to it. Each tensor on the way is known by its line: the axis along which
its entries are units, and which of them say the same whatever the input is. What cannot be followed, a normalisation
over units, a reshape across them, keeps the units that it reads; so what is said here is never a guess.
The heads of an attention are units too, of all their numbers together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from heavytail.compress import functions, heads
from heavytail.compress.calling import first_line, place, run_exact, unseen
from heavytail.compress.functions import Step, pads, rows
from heavytail.compress.units import Known, Line, Reader, Units
from heavytail.networks import watching
from heavytail.networks.calls import flat

KERNELS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_FACTOR = 1e-9  # numbers that agree to this share of their size are one and the same, but for rounding


class _Said(NamedTuple):
    """What a layer is given to read."""

    line: Line
    values: np.ndarray  # (units,) what each says; nan where that is not the same everywhere


_TURNED = ("embedding", "batch_norm")  # whose arguments have another order as operations


class Following(TorchFunctionMode):
    """Follows units through a network in eval mode, from the layers that make them to those that read them."""

    def __init__(self, model: nn.Module, caution: int = 0) -> None:
        super().__init__()
        self.caution = caution  # 1: keep units whose number the network may have written down in a reshape,
        # 2: keep heads, and units of a tensor whose size the network asks for
        self.attentions = {id(m) for m in model.modules() if type(m) in heads.KINDS}
        self.units = Units()
        self.places: dict[tuple[int, int], np.ndarray] = {}  # the units along an axis of a parameter or buffer
        self.readers: dict[tuple[int, ...], Reader] = {}
        self.own = {id(t): t for t in (*model.parameters(), *model.buffers())}
        self.elsewhere: set[int] = set()  # parameters that are also used as no layer uses them
        self.named: dict[tuple[int, str], np.ndarray] = {}  # the heads whose number an attribute of a layer tells
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
        packet = getattr(func, "overloadpacket", func)  # an operation of a network that was read from a file
        spelled = getattr(func if getattr(packet, "__name__", "") in _TURNED else packet, "__name__", "")
        name = (getattr(func.__self__, "__name__", "") if spelled == "__get__" else spelled).strip("_")
        given = [t for t in flat([*args, *kwargs.values()]) if isinstance(t, Tensor)]
        known = [self._known(t) for t in given]  # before an operation in place makes them something else
        step = Step(name, func, args, kwargs, given, known, self._silences(name, args, kwargs, given))
        if step.data and (spelled in functions.ASKING or _chosen(step)):
            self.asked.append(self.calling[-1] if self.calling else None)
            raise ValueError("the network asks what its values are")
        said = None
        if name in functions.LAYERS:
            said = self._said(step.option(0, "input"))
        elif name == heads.NAME and self._attention(step):
            result = func(*args, **kwargs)
            self.known[result[0]] = Known(data=True)
            return result
        else:
            self.elsewhere.update(id(t) for t in given if id(t) in self.own)
        result = func(*args, **kwargs)
        results = [t for t in flat([result]) if isinstance(t, Tensor)]
        if not results:
            if self.caution > 1 and name in functions.SIZES:
                for tensor in given:
                    self._keep(tensor)
            if result is None and spelled != "__get__":  # something was changed in place
                self._overwritten(given)
            return result
        found = None if "out" in kwargs or name == "copy" else self._found(step, said, results)
        if found is None:
            for tensor in given:
                self._keep(tensor)
            drawn = name in functions.DROPOUTS or any(word in name for word in functions.DRAWN)
            found = [Known(drawn or step.data)] * len(results)
        if any(results[0] is t for t in given) and name not in functions.DROPOUTS | {"to", "contiguous"}:
            self._changed(results[0], found[0].line)
        for tensor, one in zip(results, found, strict=True):
            self.known[tensor] = one
        return result

    def _found(self, step: Step, said: _Said | None, results: list[Tensor]) -> list[Known] | None:
        """What is known of the results; None for what cannot be followed."""
        name = step.name
        if name in functions.LAYERS:
            found = self._layer(step, said, results[0])
        elif name == "batch_norm":
            found = self._batch_norm(step)
        elif name == "embedding":
            found = self._embedding(step, results[0])
        elif name in functions.JOINS:
            found = self._joined(step, results[0])
        elif name == "prelu" and step.given[-1].numel() > 1:
            found = self._prelu(step)
        elif name in functions.ELEMENTWISE or name == "prelu":
            found = self._elementwise(step, results[0])
        elif name in functions.PRODUCTS:
            found = self._attended(step, results[0])
        elif name == "softmax" and step.known and step.known[0].line is not None:
            found = self._softmax(step, results[0])
        elif not step.given or any(one.line is not None for one in step.known[1:]):
            return None
        elif step.known[0].line is None:
            leaves = functions.MOVES | functions.REDUCTIONS | functions.RESIZED | set(functions.POOLS) | {"pad"}
            if name in leaves and not any(id(t) in self.own and t.numel() > 1 for t in step.given):
                return [Known(step.data)] * len(results)
            return None
        elif name in functions.MOVES:
            moved, alike = functions.moved(step, results, self.caution > 0)
            for units in alike[1:]:
                self.units.tie(units, alike[0])
            return moved or self._split(step, results)
        else:
            found = functions.kept_apart(step) if len(results) == 1 else None
        return None if found is None else [found]

    # what is known of a tensor

    def _silences(self, name: str, args: Any, kwargs: Any, given: list[Tensor]) -> list[np.ndarray]:
        """Along the lines of tensors, where they say nothing but 0, or the number that is set around them."""
        if name in functions.TIMES:
            return [self._silent(t) for t in given]
        if name == "pad":
            value = kwargs["value"] if "value" in kwargs else args[3] if len(args) > 3 else 0.0
            return [self._silent(t, value or 0.0) for t in given[:1]]
        if name in functions.PRODUCTS:
            return [self._silent(given[2 if len(given) > 2 else -1])] if given else []
        return [self._silent(t) for t in given[:1]] if name in functions.AVERAGES | {"sum"} else []

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
        return line.constant & rows(tensor, line.axis).eq(value).all(1).cpu().numpy()

    def _said(self, tensor: Tensor) -> _Said | None:
        """The line of a tensor, and what its constant entries say: nan where numbers differ."""
        line = self._known(tensor).line
        if line is None:
            return None
        said, values = np.full(len(line.units), math.nan), rows(tensor, line.axis)
        if values.numel():
            low, high = values.min(1).values, values.max(1).values
            same = high - low <= _FACTOR * torch.maximum(high.abs(), low.abs())
            same = same.cpu().numpy() & line.constant
            said[same] = ((low + high) / 2).double().cpu().numpy()[same]
        return _Said(line, said)

    # layers

    def _layer(self, step: Step, said: _Said | None, result: Tensor) -> Known | None:
        """A product of units with the columns of a weight: of a linear layer or a convolution, transposed or not."""
        x, weight, bias = (step.option(k, name) for k, name in enumerate(("input", "weight", "bias")))
        axes, groups = functions.LAYERS[step.name], step.option(6, "groups", 1) if step.name != "linear" else 1
        turned = step.name in functions.TRANSPOSED
        if id(weight) not in self.own or not (bias is None or id(bias) in self.own) or weight.ndim != 2 + axes:
            return None
        axis, used = x.ndim - axes - 1, (weight != 0).reshape(*weight.shape[:2], -1).any(2).cpu().numpy()
        uneven = turned or (axes > 0 and pads(step.option(4, "padding", 0)))
        if said is not None and said.line.axis != axis:
            self.units.keep(said.line.units)
            said = None
        if groups == 1:
            steady = self._read(weight, 0 if turned else 1, bias, said, uneven)
            used = used & (~steady[:, None] if turned else ~steady)
        elif turned:
            return None
        else:
            used = used & ~self._read_in_groups(weight, bias, groups, said, uneven)
        live = used.any(0 if turned else 1)
        return self._made(weight, 1 if turned else 0, bias, result.ndim - axes - 1, ~live)

    def _read(self, weight: Tensor, along: int, bias: Tensor | None, said: _Said | None, uneven: bool) -> np.ndarray:
        """A layer reads units along an axis of its weight: which of them are the same everywhere, for this layer.

        `uneven`: places at the border hear less than others, so that only silence is the same everywhere.
        """
        columns = self.place(weight, along)
        if said is None:
            self.units.keep(columns)
            return np.zeros(len(columns), dtype=bool)
        self.units.tie(columns, said.line.units)
        layer = self._called(weight, bias)
        known = said.values == 0 if uneven or (bias is None and layer is None) else ~np.isnan(said.values)
        key = (id(layer),) if layer is not None else (id(weight), id(bias))
        reader = self.readers.setdefault(key, Reader(weight, along, bias, layer))
        reader.said.append(np.where(known, said.values, math.nan))
        self.units.keep(columns[~known])
        return known

    def _read_in_groups(
        self, weight: Tensor, bias: Tensor | None, groups: int, said: _Said | None, uneven: bool
    ) -> np.ndarray:
        """A convolution in groups ties all that a group reads to all that it makes; which entries read the same."""
        outs, wide = self.place(weight, 0), weight.shape[1]
        if said is None or self._called(weight, bias) is None:
            self.units.keep(outs)
            self.units.keep([] if said is None else said.line.units)
            return np.zeros(weight.shape[:2], dtype=bool)
        self.grouped.add(id(weight))
        for ins, made in zip(said.line.units.reshape(groups, wide), outs.reshape(groups, -1), strict=True):
            self.units.tie(ins, [ins[0]] * len(ins))
            self.units.tie(made, [ins[0]] * len(made))
        known = said.values == 0 if uneven else ~np.isnan(said.values)
        return known.reshape(groups, wide).repeat(len(outs) // groups, 0)

    def _made(self, weight: Tensor, along: int, bias: Tensor | None, axis: int, constant: np.ndarray) -> Known:
        """The units that a weight makes, along an axis of the result."""
        units = self.place(weight, along)
        if bias is not None:
            self.units.tie(self.place(bias, 0), units)
        alive = rows(weight, along).ne(0).any(1).cpu().numpy()
        self.units.dead.update(int(unit) for unit in units[~alive])
        return Known(True, Line(axis, units, constant))

    def _called(self, weight: Tensor, bias: Tensor | None) -> nn.Module | None:
        """The layer that is being called, if it multiplies by just this weight and does what its type says."""
        layer = self.calling[-1] if self.calling else None
        if layer is None or getattr(layer, "weight", None) is not weight or getattr(layer, "bias", None) is not bias:
            return None
        return layer if _does_what_it_says(layer) else None

    def _attention(self, step: Step) -> bool:
        """The heads of an attention are units, what it reads and returns stays; False where none of them can go.

        A head whose value weights are all zero says its value bias at every place, for what it attends to sums to one;
        unless a mask may leave it nothing to attend to.
        """
        given = heads.arguments(step.func, step.args, step.kwargs)
        number, last, bias = given["num_heads"], given["out_proj_weight"], given["in_proj_bias"]
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight") if given["in_proj_weight"] is None else ()
        weights = [given[name] for name in names or ("in_proj_weight",)]
        biases = [t for t in (bias, given["out_proj_bias"]) if t is not None]
        masks = [t for name in ("attn_mask", "key_padding_mask") if (t := given[name]) is not None]
        drops = given["training"] and given["dropout_p"] > 0
        if (
            not (self.calling and id(self.calling[-1]) in self.attentions)
            or any(id(t) not in self.own for t in (*weights, *biases, last))
            or any(given.get(name) is not None for name in ("bias_k", "bias_v", "static_k", "static_v"))
            or any(mask.ndim == 3 and mask is given["attn_mask"] for mask in masks)
            or given["add_zero_attn"]
            or given["need_weights"]
            or drops
            or self.caution > 1
            or last.shape[1] < 2
        ):
            return False
        for tensor in (given["query"], given["key"], given["value"]):
            self._keep(tensor)
        for weight in weights:
            self.units.keep(self.place(weight, 1))
        self.units.keep(self.place(last, 0))
        which = self.units.new(number).repeat(last.shape[1] // number)
        for weight in weights:
            self.units.tie(self.place(weight, 0), np.tile(which, len(weight) // len(which)))
        if bias is not None:
            self.units.tie(self.place(bias, 0), np.tile(which, 3))
        self.units.tie(self.place(last, 1), which)
        live = (weights[-1][-len(which) :] != 0).any(1).cpu().numpy().reshape(number, -1).any(1)
        unread = ~(last != 0).any(0).cpu().numpy().reshape(number, -1).any(1)
        own = np.zeros(len(which)) if bias is None else bias[-len(which) :].detach().double().cpu().numpy()
        said = np.where(unread.repeat(len(which) // number), 0.0, own)
        known = (unread | ~live).repeat(len(which) // number)
        if masks and (len(masks) > 1 or self._known(masks[0]).data or _covers(masks[0])):
            known &= ~said.reshape(number, -1).any(1).repeat(len(which) // number)
        reader = self.readers.setdefault(
            (id(last), id(given["out_proj_bias"])), Reader(last, 1, given["out_proj_bias"], None)
        )
        reader.said.append(np.where(known, said, math.nan))
        self.units.keep(which[~known])
        self.units.dead.update(int(unit) for unit in which[known])
        return True

    def _batch_norm(self, step: Step) -> Known | None:
        names = ("running_mean", "running_var", "weight", "bias")
        parts = [part for k, name in enumerate(names) if (part := step.option(1 + k, name)) is not None]
        line = self._known(step.option(0, "input")).line
        if line is None or line.axis != 1 or step.option(5, "training", False) or len(parts) < 2:
            return None
        if any(id(part) not in self.own or len(part) != len(line.units) for part in parts):
            return None
        for part in parts:
            self.units.tie(self.place(part, 0), line.units)
        return Known(True, line)

    def _prelu(self, step: Step) -> Known | None:
        line, slopes = step.known[0].line, step.given[-1]
        if line is None or line.axis != 1 or id(slopes) not in self.own or len(slopes) != len(line.units):
            return None
        self.units.tie(self.place(slopes, 0), line.units)
        return step.known[0]

    def _embedding(self, step: Step, result: Tensor) -> Known | None:
        weight = step.option(1, "weight")
        if id(weight) not in self.own:
            return None
        units = self.place(weight, 1)
        return Known(True, Line(result.ndim - 1, units, np.zeros(len(units), dtype=bool)))

    # heads of an attention

    def _split(self, step: Step, results: list[Tensor]) -> list[Known] | None:
        """Units that were laid over two axes or more, as heads and their numbers: each head is one, if that it is."""
        found = functions.split(step, results[0]) if len(results) == 1 and not self.caution else None
        if found is None:
            return None
        axis, members = found
        line = step.known[0].line
        assert line is not None
        constant = dict(zip(map(int, line.units), line.constant, strict=True))
        heads = self.units.new(len(members))
        self.units.heads.update(zip(map(int, heads), members, strict=True))
        self._name(members)
        every = np.array([all(constant[int(unit)] for unit in row) for row in members])
        return [Known(step.data, Line(axis, heads, every))]

    def _name(self, members: np.ndarray) -> None:
        """How the layer that is being called names its number of heads, and their numbers together."""
        layer = self.calling[-1] if self.calling else None
        for name, value in ({} if layer is None else vars(layer)).items():
            if type(value) is int and "head" in name:
                sized = "dim" in name or "size" in name
                if value == (members.size if sized else len(members)):
                    self.named[id(layer), name] = members

    def _attended(self, step: Step, result: Tensor) -> Known | None:
        found = functions.attended(step, result)
        if found is None:
            return None
        known, lines = found
        for units in lines:
            self.units.as_heads(units)
            self.units.tie(units, lines[-1])
        return known

    def _softmax(self, step: Step, result: Tensor) -> Known | None:
        """Shares along an axis that is not that of the units."""
        line, along = step.known[0].line, step.option(1, "dim")
        if line is None or along is None or along % result.ndim == line.axis:
            return None
        none = np.zeros(len(line.units), dtype=bool)
        return Known(step.data, Line(line.axis, line.units, none), shares=along % result.ndim == result.ndim - 1)

    # functions of several tensors

    def _elementwise(self, step: Step, result: Tensor) -> Known:
        random = step.name in functions.DROPOUTS and bool(step.option(2, "training", True))
        pairs = list(zip(step.given, step.known, strict=True))
        if step.name in ("to", "type_as"):  # the other tensor tells a type and a device
            pairs = pairs[:1]
        lines = [(one.line.axis + result.ndim - t.ndim, one.line) for t, one in pairs if one.line is not None]
        others = [(t, one) for t, one in pairs if one.line is None]
        data = random or step.data
        if not lines:
            for tensor, _ in others:
                if id(tensor) in self.own and tensor.numel() > 1:
                    self._keep(tensor)
            return Known(data)
        axis, first = lines[0]
        size = result.shape[axis]
        clear = all(one == axis and len(line.units) == size for one, line in lines)
        for tensor, _ in others:
            own = axis - (result.ndim - tensor.ndim)
            clear = clear and (own < 0 or tensor.shape[own] == 1)
        if not clear:
            for tensor, _ in pairs:
                self._keep(tensor)
            return Known(data)
        constant = np.full(size, not random and all(not one.data and self._alone(t) for t, one in others))
        for _, line in lines:
            self.units.tie(line.units, first.units)
            constant &= line.constant
        for silent in step.silent:
            if len(silent):
                constant |= silent
        same = step.name in functions.SAME and not random
        return Known(data, Line(axis, first.units, constant), shares=same and step.known[0].shares)

    def _alone(self, tensor: Tensor) -> bool:
        """Whether a tensor is one number whatever the sample is: not a table of as many numbers as it has samples."""
        return tensor.ndim == 0 or (id(tensor) in self.own and tensor.numel() == 1)

    def _joined(self, step: Step, result: Tensor) -> Known | None:
        """Tensors side by side: units after units, or the same units at more places."""
        along = step.kwargs.get("axis", step.option(1, "dim", 0)) % result.ndim
        parts = list(step.option(0, "tensors", ()))
        own = any(id(t) in self.own and t.numel() > 1 for t in parts)
        lines = [one.line for one in step.known]
        if not own and not any(lines):
            return Known(step.data)
        if own or len(parts) != len(lines) or any(t.ndim != result.ndim for t in parts):
            return None
        axes = {line.axis for line in lines if line is not None}
        if axes == {along}:
            sides = [self._other(t, along) if line is None else line for t, line in zip(parts, lines, strict=True)]
            units = np.concatenate([line.units for line in sides])
            return Known(step.data, Line(along, units, np.concatenate([line.constant for line in sides])))
        same = [line for line in lines if line is not None]
        if len(axes) != 1 or len(same) < len(lines):
            return None
        for line in same[1:]:
            self.units.tie(line.units, same[0].units)
        return Known(step.data, Line(same[0].axis, same[0].units, np.all([line.constant for line in same], axis=0)))

    def _other(self, tensor: Tensor, axis: int) -> Line:
        """A line of entries that no layer made, and that stay."""
        units = self.units.new(tensor.shape[axis])
        self.units.keep(units)
        return Line(axis, units, np.zeros(len(units), dtype=bool))


def follow(model: nn.Module, sample: Any, caution: int = 0) -> Following:
    """A network followed through a call with a sample; `model` and `sample` are float64 copies.

    Raises ValueError where the call fails, returns no tensor, or decides by a number that it was given.
    """
    watch = Following(model, caution)
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
            result = run_exact(model, sample)
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
    unread = next((part for part in flat([result]) if not _shows(part)), None)
    if unread is not None:
        raise ValueError(
            f"the model returns a {type(unread).__name__}, in which shrink cannot see what is needed: return tensors "
            "in tuples, lists and dicts"
        )
    returned = list(watching.tensors(result))
    if not returned:
        raise ValueError(f"the model returns no tensor, but a {type(result).__name__}, so nothing can be compared")
    watch.returned(returned)
    for head, members in watch.units.heads.items():  # no attention has read them
        watch.units.keep([head, *members])
    return watch


def _shows(part: Any) -> bool:
    """Whether the tensors in what a network returns can be found, if there are any."""
    return part is None or isinstance(part, Tensor | bool | int | float | str | np.ndarray) or hasattr(part, "__dict__")


def _does_what_it_says(layer: nn.Module) -> bool:
    """Whether a layer is called as torch has it, with its bias."""
    for kind in (nn.Linear, *KERNELS):
        if isinstance(layer, kind):
            methods = ("forward", "_conv_forward") if hasattr(kind, "_conv_forward") else ("forward",)
            return all(getattr(type(layer), method) is getattr(kind, method) for method in methods)
    return False


def _covers(mask: Tensor) -> bool:
    """Whether a mask leaves one thing nothing to attend to."""
    return bool((mask if mask.dtype == torch.bool else mask.eq(-torch.inf)).all(-1).any())


def _chosen(step: Step) -> bool:
    """Whether entries are chosen by what numbers are, so that the shape of the result hangs on them."""
    index = step.option(1, "index") if step.name == "getitem" else None
    masks = any(isinstance(one, Tensor) and one.dtype == torch.bool for one in flat([index]))
    return masks or (step.name == "where" and len(step.args) + len(step.kwargs) == 1)


def _attributes(model: nn.Module) -> list[Tensor]:
    """Tensors that the layers hold, and are neither parameters nor buffers."""
    values = [value for module in model.modules() for value in vars(module).values()]
    return [value for value in values if isinstance(value, Tensor)]
