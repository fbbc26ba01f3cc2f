"""Weights as bytes: exact on arrival in every form, as short as said, and refused where anything is wrong with them."""

from __future__ import annotations

import json
import re
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heavytail.federated import Layout, pack, unpack

LAYOUT = Layout((("1.weight", (30, 4)), ("1.bias", (6,)), ("3.weight", (3, 6))), ("1.weight",))
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)  # negative zero and the smallest numbers too


def state(rows=()):
    """A state in which these rows of the first weight are not zero."""
    weight = torch.zeros(30, 4)
    for row in rows:
        weight[row] = torch.arange(1.0, 5.0) + row
    return {"1.weight": weight, "1.bias": torch.ones(6), "3.weight": torch.full((3, 6), -2.5)}


def same(a, b):
    return all(a[name].numpy().tobytes() == b[name].numpy().tobytes() for name in a)


def refusal(content):
    """The sentence by which bytes are refused; None if they are not."""
    try:
        unpack(content, LAYOUT)
    except ValueError as error:
        return str(error)
    return None


def form_of(content, name):
    size = struct.unpack("<I", content[4:8])[0]
    return next((form, count) for own, form, count in json.loads(content[8 : 8 + size]) if own == name)


def known(mask):
    """The form of numbers at these places."""
    return f"known {zlib.crc32(np.packbits(mask.numpy()).tobytes()):08x}"


def with_header(content, header):
    """The same arrays behind another header."""
    size = struct.unpack("<I", content[4:8])[0]
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return content[:4] + struct.pack("<I", len(text)) + text + content[8 + size :]


@pytest.mark.parametrize(
    ("rows", "form"),
    [
        ([], ("rows", 0)),
        ([2], ("rows", 1)),
        ([0, 29], ("rows", 2)),
        (range(30), ("dense", 120)),
    ],
)
def test_no_column_one_some_and_all_arrive_to_the_bit(rows, form):
    content = pack(state(rows), LAYOUT)
    assert same(unpack(content, LAYOUT), state(rows))
    assert form_of(content, "1.weight") == form


def test_a_message_is_as_long_as_its_form_says():
    layout = Layout((("weight", (100, 50)),), ("weight",))
    weight = torch.zeros(100, 50)

    def length(known=None):
        content = pack({"weight": weight}, layout, known)
        return form_of(content, "weight")[0], len(content) - 8 - struct.unpack("<I", content[4:8])[0]

    assert length() == ("rows", 0)
    weight[3] = 1.0
    assert length() == ("rows", 4 * 51)
    assert length({"weight": weight != 0}) == (known(weight != 0), 4 * 50)
    weight[:] = 0
    weight[::10, 0] = 1.0
    assert length() == ("entries", 8 * 10)
    weight[:, ::4] = 1.0
    assert length() == ("bits", 100 * 50 // 8 + 4 * 1300)
    weight[:] = 1.0
    assert length() == ("dense", 4 * 5000)


@given(
    values=st.lists(FLOATS | st.just(0.0), min_size=120, max_size=120),
    rows=st.lists(st.booleans(), min_size=30, max_size=30),
    bias=st.lists(FLOATS, min_size=6, max_size=6),
)
def test_whatever_is_finite_arrives_to_the_bit(values, rows, bias):
    weight = torch.tensor(values).view(30, 4) * torch.tensor(rows).view(30, 1)
    sent = state() | {"1.weight": weight, "1.bias": torch.tensor(bias)}
    content = pack(sent, LAYOUT)
    assert same(unpack(content, LAYOUT), sent)
    assert len(content) <= len(pack(state(range(30)), LAYOUT)) + 3  # a form's name may be longer


@given(
    values=st.lists(FLOATS, min_size=120, max_size=120),
    mask=st.lists(st.booleans(), min_size=120, max_size=120),
)
def test_values_alone_arrive_where_both_sides_know_the_places(values, mask):
    places = {"1.weight": torch.tensor(mask).view(30, 4)}
    sent = state() | {"1.weight": torch.where(places["1.weight"], torch.tensor(values).view(30, 4), 0.0)}
    content = pack(sent, LAYOUT, places)
    assert same(unpack(content, LAYOUT, places), sent)
    assert form_of(content, "1.weight") == (known(places["1.weight"]), sum(mask))
    with pytest.raises(ValueError, match=r"^the message sends '1\.weight' in a form that was not agreed on$"):
        unpack(content, LAYOUT)


@given(content=st.binary(max_size=300), at=st.integers(0, 400), cut=st.integers(0, 400))
def test_no_bytes_do_anything_but_arrive_or_be_refused_in_one_sentence(content, at, cut):
    good = pack(state([1, 4]), LAYOUT)
    for damaged in (content, b"HTF1" + content, good[:cut], good[:at] + content + good[at:]):
        if (sentence := refusal(damaged)) is not None:
            assert re.fullmatch(r"(the message|the header of the message|these bytes) .+", sentence)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"1.bias": torch.full((6,), torch.nan)}, "'1.bias' has numbers that are not finite, and is not sent"),
        ({"1.bias": torch.full((6,), torch.inf)}, "'1.bias' has numbers that are not finite, and is not sent"),
        ({"1.bias": torch.ones(5)}, "'1.bias' must be float32 of shape (6,) to be sent"),
        ({"1.bias": torch.ones(6, dtype=torch.float64)}, "'1.bias' must be float32 of shape (6,) to be sent"),
        ({"more": torch.ones(6)}, "a message holds the weights of its layout, no more and no fewer"),
    ],
)
def test_what_cannot_be_sent_is_refused_in_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=rf"^{re.escape(sentence)}$"):
        pack(state([1]) | change, LAYOUT)


def test_a_number_outside_of_the_known_places_is_not_lost_in_silence():
    with pytest.raises(ValueError, match="outside of the places that the receiver knows"):
        pack(state([1]), LAYOUT, {"1.weight": torch.zeros(30, 4, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"^the known places of '1\.weight' must be true or false in its shape"):
        pack(state([1]), LAYOUT, {"1.weight": torch.zeros(30)})


def test_numbers_at_places_of_the_sender_are_refused_where_the_receiver_has_others():
    """As many, so that the count tells nothing."""
    places, others = torch.zeros(2, 30, 4, dtype=torch.bool)
    places[2], others[3] = True, True
    content = pack(state([2]), LAYOUT, {"1.weight": places})
    assert same(unpack(content, LAYOUT, {"1.weight": places}), state([2]))
    with pytest.raises(ValueError, match=r"^the message sends '1\.weight' at places that the receiver does not know$"):
        unpack(content, LAYOUT, {"1.weight": others})
    with pytest.raises(ValueError, match=r"^the message sends '1\.weight' in a form that was not agreed on$"):
        unpack(pack(state([2]), LAYOUT), LAYOUT, {"1.weight": places})


def test_known_places_of_no_weight_are_refused():
    sentence = r"^there are known places of 1\.wieght, and the layout has no such weights: leave them out$"
    mask = {"1.wieght": torch.ones(30, 4, dtype=torch.bool)}
    with pytest.raises(ValueError, match=sentence):
        pack(state([2]), LAYOUT, mask)
    with pytest.raises(ValueError, match=sentence):
        unpack(pack(state([2]), LAYOUT), LAYOUT, mask)


HEADER = [["1.weight", "rows", 2], ["1.bias", "dense", 6], ["3.weight", "dense", 18]]


def other(*changes):
    """The header with other entries, by place in it."""
    made = [list(line) for line in HEADER]
    for line, place, value in changes:
        made[line][place] = value
    return made


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (b"{", "the header of the message is no JSON"),
        (b"[" * 100_000, "the header of the message is no JSON"),
        (b"\xff", "the header of the message is no JSON"),
        ({"1.weight": 3}, "the header of the message is no list of names, forms and counts"),
        ([["1.weight", "rows"]], "the header of the message is no list of names, forms and counts"),
        (other((0, 2, 1.5)), "the header of the message is no list of names, forms and counts"),
        (other((0, 2, True)), "the header of the message is no list of names, forms and counts"),
        (
            other((1, 0, "2.bias")),
            "the message holds the weights 1.weight, 2.bias, 3.weight, and those of the network in their order are "
            "others",
        ),
        (
            [*HEADER, HEADER[0]],
            "the message holds the weights 1.weight, 1.bias, 3.weight, 1.weight, and those of the network in their "
            "order are others",
        ),
        (other((0, 1, "pickle")), "the message sends '1.weight' in a form that was not agreed on"),
        (other((0, 1, "known")), "the message sends '1.weight' in a form that was not agreed on"),
        (other((0, 2, 31)), "the message counts 31 of '1.weight', which do not fit its shape (30, 4)"),
        (other((0, 2, -1)), "the message counts -1 of '1.weight', which do not fit its shape (30, 4)"),
        (other((0, 2, 10**30)), "the message counts too many of '1.weight', which do not fit its shape (30, 4)"),
        (
            other((0, 2, -int("9" * 4300))),
            "the message counts too many of '1.weight', which do not fit its shape (30, 4)",
        ),
        (
            other((1, 0, "\ud800\x1b[2J"), (2, 0, "a\nround 9")),
            "the message holds the weights 1.weight, \\ud800\\x1b[2J, a\\nround 9, and those of the network in their "
            "order are others",
        ),
        (other((1, 2, 5)), "the message counts 5 of '1.bias', which do not fit its shape (6,)"),
        (other((0, 1, "dense"), (0, 2, 120)), "the message is cut off in '1.weight'"),
        (other((0, 2, 0)), "the message is longer than what it holds, by 40 bytes"),
        (other((0, 1, "bits")), "the message marks other places of '1.weight' than it counts"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_header_that_does_not_fit_is_refused_in_one_sentence(header, sentence):
    content = pack(state([1, 4]), LAYOUT)
    assert same(unpack(with_header(content, HEADER), LAYOUT), state([1, 4]))
    with pytest.raises(ValueError, match=rf"^{re.escape(sentence)}$"):
        unpack(with_header(content, header), LAYOUT)


@pytest.mark.parametrize("places", [[4, 1], [1, 1], [1, 30], [1, 2**32 - 1]], ids=str)
def test_places_twice_out_of_range_or_out_of_order_are_refused(places):
    content = pack(state([1, 4]), LAYOUT)
    damaged = content.replace(np.array([1, 4], "<u4").tobytes(), np.array(places, "<u4").tobytes())
    assert damaged != content
    sentence = r"^the message names places of '1\.weight' that are out of range, twice, or out of order$"
    with pytest.raises(ValueError, match=sentence):
        unpack(damaged, LAYOUT)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused_on_arrival(value):
    content = pack(state([1, 4]), LAYOUT)
    damaged = content[:-4] + np.array([value], "<f4").tobytes()
    with pytest.raises(ValueError, match=r"^the message holds numbers of '3\.weight' that are not finite$"):
        unpack(damaged, LAYOUT)


def test_every_cut_is_refused():
    content = pack(state([1, 4]), LAYOUT)
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"^(these bytes are no message|the message is cut off in )"):
            unpack(content[:length], LAYOUT)
