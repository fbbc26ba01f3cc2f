"""A message: weights as bytes, exact on arrival, in the shortest of four forms. No pickle.

    bytes  0 to 3    "HTF1"
    bytes  4 to 7    length of the header, unsigned, little-endian as all that follows
    header           JSON, a list a weight in the order of the layout: [name, form, count]
    arrays           of each weight in that order, float32 or uint32

    form       count             what follows                                     bytes, of N numbers in rows of d
    "dense"    N                 all numbers                                      4 N
    "rows"     rows not zero     their places, then their numbers, row by row     4 count (1 + d)
    "entries"  numbers not zero  their places in the flat weight, then they       8 count
    "bits"     numbers not zero  a bit for each number, then those that have one  N / 8 + 4 count
    "known …"  places known      the numbers at places that both sides know       4 count

For places that both sides know the form names them: "known" and the CRC-32 of their bits, as 8 hexadecimal digits. So a
receiver that has others, as from another start, does not put numbers where they do not belong.

A sender that keeps some columns of a weight, which are its rows in torch, puts zeros into the others before: what is
zero, to the bit, costs nothing. Which form is the shortest follows from the weight, so nobody has to choose.
"""

from __future__ import annotations

import json
import math
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heavytail.federated.layout import Layout, State

_MAGIC = b"HTF1"
_MOST = 2**32  # numbers of a weight whose places fit into 32 bits

Mask = Mapping[str, Tensor]  # by name of a weight, the places that both sides know, bool in its shape


def pack(state: State, layout: Layout, known: Mask | None = None) -> bytes:
    """The message of a state. With `known`, a mask of places a weight, of that weight the numbers there and no places.

    state   a float32 tensor a weight of the layout, of its shape, on any device
    known   masks that the receiver can compute as well; all other numbers of these weights must be zero

    Raises ValueError for other names or shapes, what is not float32 or not finite, for a number other than zero outside
    of a mask, and for a mask of no weight.

    >>> few = Layout((("weight", (100, 20)),), ("weight",))
    >>> weight = torch.zeros(100, 20)
    >>> len(pack({"weight": weight}, few))  # a header and nothing else
    29
    >>> weight[7:10] = 1.5
    >>> len(pack({"weight": weight}, few)), len(pack({"weight": weight}, few, {"weight": weight != 0}))  # 3 columns
    (281, 280)
    >>> torch.equal(unpack(pack({"weight": weight}, few), few)["weight"], weight)
    True
    """
    if state.keys() != {name for name, _ in layout.shapes}:
        raise ValueError("a message holds the weights of its layout, no more and no fewer")
    _check_names(known, layout)
    header, arrays = [], []
    for name, shape in layout.shapes:
        flat = _flat(name, state[name], shape)
        mask = _flat_mask(name, known[name], shape) if known and name in known else None
        form, count, parts = _shortest(name, flat, shape, mask)
        header.append([name, form, count])
        arrays += parts
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join([_MAGIC, struct.pack("<I", len(text)), text, *(array.tobytes() for array in arrays)])


def unpack(content: bytes, layout: Layout, known: Mask | None = None) -> dict[str, Tensor]:
    """The state in a message, on the CPU, bit for bit as it was packed; reading it runs nothing that is in it.

    Raises ValueError in one sentence for bytes that are no message, are cut off or too many, for unknown, missing or
    repeated names, counts that do not fit the weight, places that are out of range or not in order, so that none comes
    twice, known places that are not those of the sender, a mask of no weight, and for a number that is not finite.
    """
    _check_names(known, layout)
    header, rest = _header(content)
    if [name for name, _, _ in header] != [name for name, _ in layout.shapes]:
        names = _few(name for name, _, _ in header)
        raise ValueError(f"the message holds the weights {names}, and those of the network in their order are others")
    state: dict[str, Tensor] = {}
    for (name, form, count), (_, shape) in zip(header, layout.shapes, strict=True):
        mask = _flat_mask(name, known[name], shape) if known and name in known else None
        flat, rest = _read(name, form, count, shape, mask, rest)
        if not np.isfinite(flat).all():
            raise ValueError(f"the message holds numbers of {name!r} that are not finite")
        state[name] = torch.from_numpy(flat.reshape(shape))
    if len(rest):
        raise ValueError(f"the message is longer than what it holds, by {len(rest)} bytes")
    return state


def _shortest(
    name: str, flat: np.ndarray, shape: tuple[int, ...], mask: np.ndarray | None
) -> tuple[str, int, list[np.ndarray]]:
    """The form, its count and its arrays."""
    there = flat.view(np.uint32) != 0  # to the bit: a negative zero arrives as one
    if mask is not None:
        if (there & ~mask).any():
            raise ValueError(f"{name!r} has numbers other than zero outside of the places that the receiver knows")
        return _known(mask), int(mask.sum()), [flat[mask]]
    rows = there.reshape(_rows(shape), -1).any(1)
    numbers, lines, whole = int(there.sum()), int(rows.sum()), len(flat)
    length = whole // len(rows)
    sizes = {"dense": 4 * whole, "rows": 4 * lines * (1 + length), "entries": 8 * numbers}
    sizes["bits"] = -(-whole // 8) + 4 * numbers
    form = min(sizes, key=lambda name: sizes[name])
    if form == "dense":
        return form, whole, [flat]
    if form == "rows":
        return form, lines, [rows.nonzero()[0].astype("<u4"), flat.reshape(len(rows), -1)[rows]]
    places = there.nonzero()[0].astype("<u4") if form == "entries" else np.packbits(there)
    return form, numbers, [places, flat[there]]


def _read(
    name: str, form: str, count: int, shape: tuple[int, ...], mask: np.ndarray | None, rest: memoryview
) -> tuple[np.ndarray, memoryview]:
    """The flat weight, and what is left of the message."""
    whole: int = math.prod(shape)
    rows = _rows(shape)
    most: dict[str, int] = {"dense": whole, "rows": min(rows, whole), "entries": whole, "bits": whole}
    exact = {"dense": whole}
    if mask is not None:
        if form != _known(mask) and re.fullmatch("known [0-9a-f]{8}", form):
            raise ValueError(f"the message sends {name!r} at places that the receiver does not know")
        most, exact = {_known(mask): whole}, {_known(mask): int(mask.sum())}
    if form not in most:
        raise ValueError(f"the message sends {name!r} in a form that was not agreed on")
    if not 0 <= count <= most[form] or count != exact.get(form, count):
        written = str(count) if abs(count) < 2**63 else "too many"
        raise ValueError(f"the message counts {written} of {name!r}, which do not fit its shape {shape}")
    flat = np.zeros(whole, "<f4")
    if form in exact:
        values, rest = _take(rest, "<f4", count, name)
        flat[slice(None) if mask is None else mask] = values
    elif form == "bits":
        packed, rest = _take(rest, "u1", -(-whole // 8), name)
        bits = np.unpackbits(packed)
        if bits[whole:].any() or int(bits.sum()) != count:
            raise ValueError(f"the message marks other places of {name!r} than it counts")
        values, rest = _take(rest, "<f4", count, name)
        flat[bits[:whole].astype(bool)] = values
    else:
        places, rest = _take(rest, "<u4", count, name)
        if count and (places[-1] >= most[form] or (np.diff(places.astype(np.int64)) <= 0).any()):
            raise ValueError(f"the message names places of {name!r} that are out of range, twice, or out of order")
        length = whole // rows if form == "rows" else 1
        values, rest = _take(rest, "<f4", count * length, name)
        flat.reshape(-1, length)[places] = values.reshape(-1, length)
    return flat, rest


def _known(mask: np.ndarray) -> str:
    """The form of numbers at known places, which names these."""
    return f"known {zlib.crc32(np.packbits(mask).tobytes()):08x}"


def _check_names(known: Mask | None, layout: Layout) -> None:
    if more := sorted((known or {}).keys() - {name for name, _ in layout.shapes}):
        raise ValueError(f"there are known places of {_few(more)}, and the layout has no such weights: leave them out")


def _rows(shape: tuple[int, ...]) -> int:
    """In how many rows a weight is sent: one where it has no rows, or nothing in them."""
    return shape[0] if shape and 0 not in shape else 1


def _take(rest: memoryview, kind: str, count: int, name: str) -> tuple[np.ndarray, memoryview]:
    size = np.dtype(kind).itemsize * count
    if len(rest) < size:
        raise ValueError(f"the message is cut off in {name!r}")
    return np.frombuffer(rest[:size], kind), rest[size:]


def _header(content: Any) -> tuple[list[tuple[str, str, int]], memoryview]:
    """Name, form and count of each weight, and what comes after the header."""
    if not isinstance(content, bytes) or content[:4] != _MAGIC or len(content) < 8:
        raise ValueError("these bytes are no message of heavytail.federated")
    (size,) = struct.unpack("<I", content[4:8])
    if len(content) < 8 + size:
        raise ValueError("the message is cut off in its header")
    try:
        header = json.loads(content[8 : 8 + size])
    except (ValueError, RecursionError) as error:
        raise ValueError("the header of the message is no JSON") from error
    if not isinstance(header, list) or not all(map(_is_line, header)):
        raise ValueError("the header of the message is no list of names, forms and counts")
    return [(line[0], line[1], line[2]) for line in header], memoryview(content)[8 + size :]


def _is_line(line: Any) -> bool:
    kinds: tuple[Callable[[Any], bool], ...] = (
        lambda name: isinstance(name, str),
        lambda form: isinstance(form, str),
        lambda count: isinstance(count, int) and not isinstance(count, bool),
    )
    return isinstance(line, list) and len(line) == 3 and all(is_kind(x) for is_kind, x in zip(kinds, line, strict=True))


def _flat(name: str, value: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(value, Tensor) or tuple(value.shape) != shape or value.dtype != torch.float32:
        raise ValueError(f"{name!r} must be float32 of shape {shape} to be sent")
    if value.numel() >= _MOST:
        raise ValueError(f"{name!r} has {value.numel()} numbers, and a message holds fewer than 2^32 a weight")
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"{name!r} has numbers that are not finite, and is not sent")
    flat: np.ndarray = value.detach().cpu().contiguous().view(-1).numpy()
    return flat.astype("<f4", copy=False)


def _flat_mask(name: str, mask: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    if tuple(mask.shape) != shape or mask.dtype != torch.bool:
        raise ValueError(f"the known places of {name!r} must be true or false in its shape {shape}")
    flat: np.ndarray = mask.cpu().contiguous().view(-1).numpy()
    return flat


def _few(names: Any) -> str:
    text = ", ".join(ascii(name)[1:-1] for name in names)  # names from outside: no control characters, no surrogates
    return text if len(text) <= 60 else f"{text[:57]}..."
