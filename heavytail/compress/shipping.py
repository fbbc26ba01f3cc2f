"""From a trained network to a smaller one in a file: where networks and samples come from that a command line names."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from heavytail.compress import files
from heavytail.compress.batches import batch_for
from heavytail.compress.calling import first_line
from heavytail.compress.pruning import prune
from heavytail.compress.saving import is_network, load
from heavytail.compress.shrinking import shrink
from heavytail.networks import MeanField


class Shipped(NamedTuple):
    """A network in eval mode as it was, and the smaller one that is left of it."""

    original: nn.Module
    small: nn.Module


def smaller(
    model: nn.Module, sample: Any = None, *, squared_error: float | None = None, keep: float | None = None
) -> Shipped:
    """A network pruned and shrunk, and the network itself. Raises as `prune` and `shrink` do."""
    model.eval()
    pruned = prune(model, squared_error=squared_error, keep=keep, sample=sample)
    if sample is None and type(model) not in (nn.Sequential, MeanField):  # for those shrink makes up a batch itself
        sample = batch_for(model).tensors
    return Shipped(model, shrink(pruned, sample).eval())


def found(source: str) -> nn.Module | None:
    """The network that a name stands for: a file by `save`, or `module:function`; None for a file of something else.

    A module is looked for in the current folder too. What it has by that name is a network, or is called for one.
    Raises ValueError in one sentence for what gives no network.
    """
    try:
        ours = is_network(source)
    except FileNotFoundError as error:
        if ":" in source:
            return _imported(source)
        raise ValueError(f"there is no file {source}; a function is named as in package.module:function") from error
    return load(source) if ours else None


def sample_in(paths: Sequence[Path | str], model: nn.Module) -> Any:
    """The batch in .npy files, one a tensor, or in an .npz file that holds them by name; None without files.

    Numbers with a point are turned into the type of the model's. Raises ValueError in one sentence, naming the file.
    """
    if not paths:
        return None
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    read = [_read(Path(path)) for path in paths]
    if len(read) == 1 and isinstance(read[0], dict):
        return {name: _tensor(array, paths[0], dtype) for name, array in read[0].items()}
    for path, array in zip(paths, read, strict=True):
        if isinstance(array, dict):
            raise ValueError(f"{path} holds arrays by name, and so is the only file of a sample")
    return tuple(_tensor(array, path, dtype) for array, path in zip(read, paths, strict=True))


def _imported(source: str) -> nn.Module:
    module, _, name = source.partition(":")
    try:
        with _here():
            made = getattr(importlib.import_module(module), name)
            model = made if isinstance(made, nn.Module) else made()
    except (Exception, SystemExit) as error:  # whatever a module of somebody else raises
        raise ValueError(f"the network {source!r} cannot be made: {first_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"the network {source!r} is a {type(model).__name__}: name a function that returns a module")
    return model


@contextmanager
def _here() -> Any:
    """Modules in the current folder can be imported, as by `python -m`."""
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path.pop(0)


def _read(path: Path) -> Any:
    content = files.content_of(path)
    try:
        found = np.load(io.BytesIO(content), allow_pickle=False)
        return dict(found) if isinstance(found, np.lib.npyio.NpzFile) else found
    except Exception as error:  # of whatever kind the reader of an archive raises
        raise ValueError(f"{path} holds no arrays of numbers as numpy.save and numpy.savez write them") from error


def _tensor(array: np.ndarray, path: Path | str, dtype: torch.dtype) -> Tensor:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path} holds no numbers but {array.dtype}")
    native = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))
    try:
        tensor = torch.from_numpy(native).reshape(array.shape)
    except TypeError as error:
        raise ValueError(f"{path} holds numbers of the kind {array.dtype}, which torch does not have") from error
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
