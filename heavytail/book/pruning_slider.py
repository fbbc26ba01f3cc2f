"""The pruning slider: trained networks and digits as bytes, and the piece of HTML in which a reader prunes them.

`book/_static/pruning.js` prunes and classifies by itself, with the weights that `unpack` gives. What a page shows
without it, and what the rounding of the weights costs, is computed here.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
from torch import Tensor

from heavytail import compress
from heavytail.book import pieces
from heavytail.book.tables import Html
from heavytail.lab import datasets

HIDDEN, OUTPUT = "1.weight", "3.weight"  # of `networks.fcn` with one hidden layer
PLAIN = "none"  # the network that the others are held against
IMAGES = 300  # the first of the test split
SCALE = datasets.OFFICIAL["digits"].scale  # an input is a byte over this
NINE_TENTHS = 0.9  # pruned, in the table that stands without the script

_LARGEST = 127  # of a byte with a sign


@dataclass(frozen=True, eq=False)
class Rows:
    """A matrix in bytes: row i is `scales[i]` times the whole numbers `values[i]`."""

    values: np.ndarray  # int8, (rows, columns)
    scales: np.ndarray  # float32, (rows,)


@dataclass(frozen=True, eq=False)
class Packed:
    """A network in bytes, a row a hidden neuron: its weights from the inputs, and those to the classes."""

    incoming: Rows
    outgoing: Rows


@dataclass(frozen=True, eq=False)
class Digits:
    """Images and their labels."""

    pixels: np.ndarray  # uint8, (images, inputs)
    labels: np.ndarray  # uint8, (images,)


def pack(weights: Mapping[str, Tensor]) -> Packed:
    """The weights of a network with one hidden layer, rounded to a byte each.

    Every neuron has a scale of its own, so that a giant one leaves the others their digits. Raises ValueError for other
    networks and for weights that are not finite.

    >>> packed = pack({"1.weight": torch.tensor([[1.0, -0.5]]), "3.weight": torch.tensor([[2.0], [0.0]])})
    >>> packed.incoming.values.tolist(), packed.outgoing.values.tolist()
    ([[127, -64]], [[127, 0]])
    """
    if weights.keys() != {HIDDEN, OUTPUT}:
        raise ValueError(f"the slider shows networks of one hidden layer, {HIDDEN} and {OUTPUT}: got {sorted(weights)}")
    return Packed(_rows(weights[HIDDEN].numpy()), _rows(weights[OUTPUT].numpy().T))


def _rows(matrix: np.ndarray) -> Rows:
    if not np.isfinite(matrix).all():
        raise ValueError("a weight of this network is not finite, so it has no bytes")
    scales = np.abs(matrix).max(axis=1).astype(np.float32) / np.float32(_LARGEST)
    safe = np.where(scales > 0, scales, 1)[:, None]  # a row of zeros has the scale 0
    return Rows(np.rint(matrix.astype(np.float64) / safe).clip(-_LARGEST, _LARGEST).astype(np.int8), scales)


def unpack(packed: Packed) -> dict[str, Tensor]:
    """The weights that the bytes stand for, in float32, by their names in the network."""

    def matrix(rows: Rows) -> Tensor:
        return torch.from_numpy(rows.values.astype(np.float32) * rows.scales[:, None])

    return {HIDDEN: matrix(packed.incoming), OUTPUT: matrix(packed.outgoing).T.contiguous()}


def embedded() -> Digits:
    """The first IMAGES of the test split of the digits that are there without data.

    >>> embedded().pixels.shape
    (300, 64)
    """
    found = datasets.load("digits")
    return digits(found.x_test, found.y_test)


def digits(inputs: Tensor, labels: Tensor) -> Digits:
    """The first IMAGES of these inputs as bytes. Raises ValueError for inputs that are no byte over SCALE."""
    pixels = (inputs[:IMAGES] * SCALE).numpy()
    if not np.array_equal(pixels, np.rint(pixels).clip(0, 255)):
        raise ValueError(f"inputs of digits are whole numbers from 0 to 255 over {SCALE:g}: these are not")
    return Digits(pixels.astype(np.uint8), labels[:IMAGES].numpy().astype(np.uint8))


def answers(weights: Mapping[str, Tensor], shown: Digits, gone: Tensor | Sequence[int] = ()) -> np.ndarray:
    """The class that a network of these weights gives each image, with the hidden neurons `gone` set to zero."""
    hidden = weights[HIDDEN].numpy().copy()
    hidden[np.asarray(gone, dtype=np.int64)] = 0
    inputs = shown.pixels.astype(np.float32) / np.float32(SCALE)
    outputs = np.maximum(inputs @ hidden.T, 0) @ weights[OUTPUT].numpy().T
    return np.asarray(outputs.argmax(axis=1))


def accuracy(weights: Mapping[str, Tensor], shown: Digits, gone: Tensor | Sequence[int] = ()) -> float:
    """The share of the images whose class `answers` finds."""
    return float((answers(weights, shown, gone) == shown.labels).mean())


def page(networks: Mapping[str, Mapping[str, Tensor]], shown: Digits, *, seed: int, static: str = "../_static") -> Html:
    """The slider as a piece of a page.

    networks  by the paper's name of their noise, the weights of networks of one width; "none" is plain SGD
    shown     the images that they classify
    seed      of the one random order in which neurons are pruned, as `compress.chance` has it
    static    where its script lies

    Raises ValueError for networks of several widths, and unless there are plain SGD and a noise.
    """
    widths = {len(weights[HIDDEN]) for weights in networks.values()}
    if PLAIN not in networks or len(networks) < 2 or len(widths) != 1:
        names = ", ".join(networks)
        raise ValueError(f"the slider compares networks of one width, {PLAIN!r} and noises: got {names}, {widths}")
    ordered = {PLAIN: networks[PLAIN], **networks}
    packed = {name: pack(weights) for name, weights in ordered.items()}
    rounded = {name: unpack(one) for name, one in packed.items()}
    random = compress.order(rounded[PLAIN][HIDDEN], generator=compress.chance(seed))
    data = {
        "scale": SCALE,
        "pixels": _text(shown.pixels),
        "labels": _text(shown.labels),
        "random": random.tolist(),
        "start": compress.SQUARED_ERROR,
        "networks": [
            {"name": _named(name), "colour": pieces.colour(name), **_json(one)} for name, one in packed.items()
        ],
    }
    note = f'<p class="pruning-note">{_note(ordered, rounded, shown)}</p>\n'
    return pieces.html("pruning", "Pruning slider", data, _without(rounded, shown, random), note=note, static=static)


def _json(packed: Packed) -> dict[str, str]:
    parts = {"incoming": packed.incoming, "outgoing": packed.outgoing}
    return {name: _text(rows.values) for name, rows in parts.items()} | {
        f"{name}_scales": _text(rows.scales.astype("<f4")) for name, rows in parts.items()
    }


def _text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _named(name: str) -> str:
    return "plain SGD" if name == PLAIN else name


def _without(networks: Mapping[str, Mapping[str, Tensor]], shown: Digits, random: Tensor) -> str:
    """What the page says where the script does not run: a few cuts as a table."""
    head = [
        "",
        "before",
        f"pruned at error {compress.SQUARED_ERROR:g}",
        "accuracy then",
        f"{NINE_TENTHS:.0%} pruned",
        "the same, at random",
    ]
    rows = []
    for name, weights in networks.items():
        first = compress.order(weights[HIDDEN])
        few = compress.count(weights[HIDDEN], squared_error=compress.SQUARED_ERROR)
        many = compress.count(weights[HIDDEN], keep=1 - NINE_TENTHS)
        cuts = [first[:0], first[:few], first[:many], random[:many]]
        whole, after, small, chance = (f"{accuracy(weights, shown, gone):.1%}" for gone in cuts)
        rows.append([_named(name), whole, f"{few / len(first):.1%}", after, small, chance])
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{text}</td>" for text in row[1:])}</tr>'
        for row in rows
    )
    return (
        f'<table class="dataframe"><caption>Some cuts, and the accuracy on {len(shown.labels)} test digits</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    )


def _note(whole: Mapping[str, Mapping[str, Tensor]], rounded: Mapping[str, Mapping[str, Tensor]], shown: Digits) -> str:
    """What the rounding to bytes costs, over all networks."""
    pairs = [(whole[name], rounded[name]) for name in whole]
    changed = max(int((answers(one, shown) != answers(other, shown)).sum()) for one, other in pairs)
    error = max(float((one[HIDDEN] - other[HIDDEN]).norm() / one[HIDDEN].norm()) ** 2 for one, other in pairs)
    images, small = len(shown.labels), np.format_float_positional(error, precision=1, fractional=False, trim="-")
    which = "no answer" if changed == 0 else f"at most {changed} of the {images} answers"
    return (
        f"The images are the first {images} of the test split: one digit is {1 / images:.1%} of accuracy, and small "
        "differences are chance. The weights are rounded to a byte each, with a scale a neuron: that changes "
        f"{which} of a network that is not pruned, and its squared error is {small} at most."
    )
