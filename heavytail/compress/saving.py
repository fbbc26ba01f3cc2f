"""A network in one file that needs none of its classes to be read, and no pickle.

The file is a safetensors file, so that any reader of those has the weights by their names. Its header holds the network
too: the operations of torch that a call makes, as JSON (see `heavytail.compress.program`), and a digest of all of it.

torch.export has a file of its own, which is not used: its weights and sample inputs may be pickles, the numbers in its
graph are given to `eval`, and its operations may be any function that can be reached from `torch`, so that reading a
stranger's file can run anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from heavytail import streams
from heavytail.compress import files
from heavytail.compress.agreement import check_same, check_steady
from heavytail.compress.batches import Batch, batch_for, device_of, eager
from heavytail.compress.calling import first_line
from heavytail.compress.program import rebuilt, recorded
from heavytail.extras import need

FORMAT = 1
_MOST = 64 * 2**20  # bytes of a header: a hundred times that of a large network
_NONE = "it is no network of heavytail.compress.save, or it is cut off"


@torch.inference_mode(False)
def save(model: nn.Module, path: Path | str, sample: Any = None) -> None:
    """Write a network into one file that `load` reads where none of its classes are known.

    model   any network that torch.export can follow, in eval mode; it is not changed
    path    such as small.ht; its folder is made, and an older file replaced once the new one is whole
    sample  one batch that the network is called with: a tensor, a tuple of tensors or a dict of named ones, with the
            samples along the first axis. Without it one is made up, for a network that begins with a Linear layer or a
            convolution

    The network is followed by torch.export with any number of samples; other sizes, such as the length of a sequence,
    are those of `sample`. What is written is read again and run beside the network, on one sample, on those given and
    on more, before the file is put in place.

    Raises TypeError or ValueError in one sentence: for a sample that the network cannot be called with, a forward that
    depends on values or on the number of samples, operations of other libraries than torch, and a network that does not
    say the same twice; OSError where no file can be put; ModuleNotFoundError without safetensors.

    >>> import tempfile
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(model, f"{folder}/small.ht")
    ...     again = load(f"{folder}/small.ht")
    >>> x = torch.ones(5, 4)
    >>> torch.equal(again(x), model(x))
    True
    """
    need("safetensors", "heavytail.compress.save", "ship")
    files.checked(path)
    model = eager(model)
    batch = batch_for(model, sample)
    content = packed(model, batch)
    again = unpacked(content, device_of(model))
    for rows in dict.fromkeys((1, batch.rows, 2 * batch.rows + 1)):
        check_same(model, again, batch.of(rows), "the saved network")
    check_steady(model, batch)
    files.put(path, content)


@torch.inference_mode(False)
def load(path: Path | str, device: torch.device | str = "cpu") -> nn.Module:
    """The network that `save` wrote, in eval mode, on a device: called as it was, with any number of samples.

    It has the weights and buffers under the names that they had, and Linear, convolution, normalisation and embedding
    layers where it had them, so that it can be pruned, tuned and saved again. Dropout is gone: in training mode only
    normalisations differ. To move it, load it with `device=`: some of its steps may make tensors there.

    Reading a file runs nothing that is in it. Raises OSError for a file that cannot be read, ValueError in one sentence
    for one that is damaged, of something else, or asks for what no network may do; ModuleNotFoundError without
    safetensors.
    """
    need("safetensors", "heavytail.compress.load", "ship")
    place = streams.present(device)
    if not is_network(path):  # before all of a large file is read
        raise ValueError(f"{path}: {_NONE}")
    try:
        return unpacked(files.content_of(path), place)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def is_network(path: Path | str) -> bool:
    """Whether a file says that it holds a network of `save`, be it whole or not. OSError for what cannot be read."""
    size = int.from_bytes(files.content_of(path, 8), "little")
    return size <= _MOST and b'"heavytail"' in files.content_of(path, 8 + size)


def packed(model: nn.Module, batch: Batch) -> bytes:
    """The file of a network."""
    program, states = recorded(model, batch)
    about = {
        "format": FORMAT,
        "program": program,
        "parameters": {name: value.requires_grad for name, value in states.items() if isinstance(value, nn.Parameter)},
        "channels_last": sorted(name for name, value in states.items() if _channels_last(value)),
    }
    content = sealed(about, {name: value.detach().cpu().contiguous().clone() for name, value in states.items()})
    size = int.from_bytes(content[:8], "little")
    if size > _MOST:
        raise ValueError(f"this {type(model).__name__} has too many steps for a file: {len(program['steps'])}")
    return content


def sealed(about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """A file of a network, with its digest."""
    from safetensors.torch import save as written

    text = json.dumps(about, separators=(",", ":"), allow_nan=False)
    head, data = _parts(written(dict(tensors)))
    whole = {"network": text, "sha256": _digest(head, text, data)}
    content: bytes = written(dict(tensors), {"heavytail": json.dumps(whole, separators=(",", ":"))})
    return content


def unpacked(content: bytes, device: torch.device | str = "cpu") -> nn.Module:
    """The network of a file. ValueError in one sentence for what is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load as read

    try:
        head, data = _parts(content)
        whole = json.loads(head.pop("__metadata__")["heavytail"])
        text, digest = whole["network"], whole["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(_NONE) from error
    if not isinstance(text, str) or digest != _digest(head, text, data):
        raise ValueError("it is damaged: copy it again")
    try:
        about = json.loads(text)
        known = about["format"]
        tensors = read(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("it is damaged: copy it again") from error
    if known != FORMAT:
        raise ValueError(f"it has format {known!r}, and this version of heavytail reads {FORMAT}: update it")
    try:
        states = _states(about, tensors, device)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ValueError(f"its weights cannot be read ({first_line(error)})") from error
    return rebuilt(about.get("program", {}), states, device)


def _states(about: Mapping[str, Any], tensors: Mapping[str, Tensor], device: torch.device | str) -> dict[str, Tensor]:
    """Weights and buffers as they were in the network."""
    states: dict[str, Tensor] = {}
    for name, value in sorted(tensors.items()):
        moved = value.to(device)
        if name in about["channels_last"]:
            moved = moved.contiguous(memory_format=torch.channels_last if value.ndim == 4 else torch.channels_last_3d)
        trained = about["parameters"].get(name)
        states[name] = moved if trained is None else nn.Parameter(moved, requires_grad=trained)
    return states


def _parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and what comes after it."""
    size = int.from_bytes(content[:8], "little")
    if not 0 < size <= min(_MOST, len(content) - 8):
        raise ValueError("no header")
    head = json.loads(content[8 : 8 + size])
    if not isinstance(head, dict):
        raise ValueError("no header")
    return head, content[8 + size :]


def _digest(head: Mapping[str, Any], text: str, data: bytes) -> str:
    """SHA-256 of a file: of its table of tensors, its network and its data."""
    table = json.dumps(head, sort_keys=True, separators=(",", ":"))
    found = hashlib.sha256(f"{len(table)} {table}{len(text)} {text}".encode("utf-8", "surrogatepass"))
    found.update(data)
    return found.hexdigest()


def _channels_last(value: Tensor) -> bool:
    kinds = {4: torch.channels_last, 5: torch.channels_last_3d}
    kind = kinds.get(value.ndim)
    return kind is not None and not value.is_contiguous() and value.is_contiguous(memory_format=kind)
