"""Inputs and labels of any origin as the tensors that a training takes, or one sentence on what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

SPLITS = ("train", "test")
_MOST = 2**31 - 1  # classes


def checked(name: str, values: Mapping[str, Any], classes: object, copy: bool) -> tuple[dict[str, Tensor], int]:
    """The four arrays `x_train`, `y_train`, `x_test`, `y_test` as tensors, and the number of classes.

    Inputs (N, ...) become contiguous float32, labels (N,) int64. Without `copy`, tensors that are so already stay.
    Raises ValueError with one sentence.
    """
    found: dict[str, Tensor] = {}
    for split in SPLITS:
        x, y = f"x_{split}", f"y_{split}"
        found[x], found[y] = _inputs(f"{x} of {name}", values[x], copy), _labels(f"{y} of {name}", values[y], copy)
        if len(found[x]) != len(found[y]):
            raise ValueError(
                f"{x} of {name} has {len(found[x])} rows, but {y} has {len(found[y])}: give each one label"
            )
    train, test = (tuple(found[f"x_{split}"].shape[1:]) for split in SPLITS)
    if train != test:
        raise ValueError(
            f"a row of x_train of {name} is of shape {train}, but one of x_test of {test}: make them alike"
        )
    count = _count(name, classes, found)
    for split in SPLITS:
        in_range(f"y_{split} of {name}", found[f"y_{split}"], count)
    return found, count


def _inputs(what: str, values: Any, copy: bool) -> Tensor:
    if isinstance(values, Tensor):
        x = _plain(what, values)
        if x.is_complex():
            raise ValueError(f"{what} is of type {x.dtype}: give real numbers")
        x = x.to(torch.float32, memory_format=torch.contiguous_format, copy=copy)
    else:
        with np.errstate(over="ignore"):  # what is infinite then is refused below
            x = torch.from_numpy(np.array(_array(what, values), dtype=np.float32, order="C"))
    if x.ndim < 2:
        raise ValueError(f"{what} must be (rows, ...), got shape {tuple(x.shape)}: reshape(-1, 1) if a row is a number")
    if not x.numel():
        raise ValueError(f"{what} is empty, of shape {tuple(x.shape)}: give at least one row of at least one number")
    if not (good := torch.isfinite(x)).all():
        row = _first(~good.flatten(1).all(1))
        raise ValueError(f"row {row} of {what} holds a value that is no finite number in float32: mend or leave it out")
    return x


def _labels(what: str, values: Any, copy: bool) -> Tensor:
    if isinstance(values, Tensor):
        y = _plain(what, values)
        if y.dtype == torch.int64:
            y = _one_axis(what, y).contiguous()
            return y.clone() if copy else y
        device, array = y.device, _array(what, (y.double() if y.is_floating_point() else y).cpu().numpy())
    else:
        device, array = torch.device("cpu"), _array(what, values)
    _one_axis(what, array)
    if array.dtype.kind == "f":
        numbers = array.astype(np.float64)
        whole = np.isfinite(numbers) & (numbers == np.round(numbers)) & (np.abs(numbers) < 2**53)
        _refuse_first(what, array, ~whole)
    if array.dtype.kind == "u":
        _refuse_first(what, array, array > np.iinfo(np.int64).max)
    return torch.from_numpy(np.array(array, dtype=np.int64)).to(device)


def _refuse_first(what: str, array: np.ndarray, bad: np.ndarray) -> None:
    for row in np.flatnonzero(bad)[:1]:
        raise ValueError(f"row {row} of {what} is {array[row].item()!r}: labels are whole numbers from 0")


def _one_axis(what: str, y: Any) -> Any:
    if y.ndim != 1:
        advice = "argmax(1) makes one of one-hot rows" if y.ndim == 2 and y.shape[1] > 1 else "reshape(-1) may make it"
        raise ValueError(f"{what} must be (rows,), one label a row, got shape {tuple(y.shape)}: {advice}")
    return y


def _plain(what: str, values: Tensor) -> Tensor:
    if values.layout != torch.strided or values.is_quantized or values.device.type == "meta":
        raise ValueError(f"{what} is a tensor without plain values in memory: give a dense one")
    return values.detach()


def _may_lack_values(values: Any) -> bool:
    """Whether these are columns of numbers of pandas' own types, such as Float64, which NumPy takes for objects."""
    kinds: Any = np.atleast_1d(getattr(values, "dtypes", ()))
    return len(kinds) > 0 and all(getattr(kind, "kind", "O") in "biuf" for kind in kinds)


def _array(what: str, values: Any) -> np.ndarray:
    """Anything as an array of numbers or truth values."""
    if np.ma.is_masked(values):
        raise ValueError(f"{what} has masked values: fill them or leave their rows out")
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, or tensors on another device in a list
        raise ValueError(f"{what} is no array of numbers: {str(error).splitlines()[0]}") from error
    if array.dtype == object and _may_lack_values(values):
        array = values.to_numpy(dtype=np.float64)  # a value that lacks is NaN, which is refused as any
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} is of type {array.dtype}: give real numbers")
    return array


def _count(name: str, classes: object, found: Mapping[str, Tensor]) -> int:
    if classes is None:
        return max(2, *(int(found[f"y_{split}"].max()) + 1 for split in SPLITS))
    if isinstance(classes, bool) or not isinstance(classes, Integral) or int(classes) < 2:
        raise ValueError(f"classes of {name} must be a whole number >= 2, got {classes!r}")
    if int(classes) > _MOST:
        raise ValueError(f"classes of {name} must be {_MOST} at most: no network has more outputs")
    return int(classes)


def in_range(what: str, y: Tensor, classes: int) -> None:
    """Raise ValueError unless all labels are whole numbers from 0 to `classes` - 1."""
    if (bad := (y < 0) | (y >= classes)).any():
        row = _first(bad)
        raise ValueError(f"row {row} of {what} is {int(y[row])}: labels are whole numbers from 0 to {classes - 1}")


def _first(bad: Tensor) -> int:
    return int(bad.nonzero()[0])


def stacked(what: str, pairs: Iterable[Any]) -> tuple[Tensor, np.ndarray]:
    """All inputs and all labels of (input, label) pairs that come one by one; ValueError if they do not stack."""
    inputs: list[Tensor] = []
    labels: list[np.ndarray] = []
    for row, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"row {row} of {what} is a {type(pair).__name__}, not a pair of input and label")
        inputs.append(_input(f"the input in row {row} of {what}", pair[0]))
        labels.append(_array(f"the label in row {row} of {what}", _on_cpu(pair[1])))
        for kind, values in (("input", inputs), ("label", labels)):
            if values[-1].shape != values[0].shape:
                shapes = f"{tuple(values[-1].shape)}, but that in row 0 of {tuple(values[0].shape)}"
                raise ValueError(f"the {kind} in row {row} of {what} is of shape {shapes}: make them alike")
    if not inputs:
        raise ValueError(f"{what} has no rows: give at least one")
    return torch.stack(inputs), np.stack(labels)


def _input(what: str, x: Any) -> Tensor:
    """A copy of one input: some data sets give the same memory again and again."""
    if isinstance(x, Tensor):
        return _plain(what, x).cpu().clone()
    if isinstance(x, np.ndarray | np.number | list | tuple | int | float):
        with np.errstate(over="ignore"):
            return torch.from_numpy(np.array(_array(what, x), dtype=np.float32))
    raise ValueError(
        f"{what} is of type {type(x).__name__}: give its data set a transform to a tensor, such as "
        "torchvision.transforms.ToTensor()"
    )


def _on_cpu(label: Any) -> Any:
    return label.detach().cpu() if isinstance(label, Tensor) else label
