"""Heads of an attention go as a whole, where what they say can be told by a bias; and stay where it cannot."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from zoo import Heads, Words, encoder, filled, gen

from heavytail import compress
from heavytail.compress.heads import FewerHeads


def drawn(*shape, seed=5):
    return torch.randn(shape, generator=gen(seed), dtype=torch.float64)


def without_values(model, heads):
    """The value weights of these heads are zero, in every attention of torch's."""
    for layer in model.modules():
        if isinstance(layer, nn.MultiheadAttention):
            weight = layer.v_proj_weight if layer.in_proj_weight is None else layer.in_proj_weight[-layer.embed_dim :]
            with torch.no_grad():
                for head in heads:
                    weight[head * layer.head_dim : (head + 1) * layer.head_dim] = 0
    return model.double()


def heads_of(model):
    return [layer.num_heads for layer in model.modules() if isinstance(layer, nn.MultiheadAttention)]


def shrunk(model, sample, *others):
    small = compress.shrink(model, sample)
    for given in (sample, *others):
        named = given if isinstance(given, dict) else None
        given = given if isinstance(given, tuple) else (given,)
        a, b = (m(**named) if named else m(*given) for m in (small, model))
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    return small


class Attends(nn.Module):
    """An attention of torch's as a network of its own."""

    def __init__(self, weights=False, masked=None, **options):
        super().__init__()
        self.inner, self.weights, self.masked = nn.MultiheadAttention(8, 4, **options), weights, masked

    def forward(self, query, key=None, mask=None, padding=None):
        key = query if key is None else key
        if self.masked is not None:
            mask = self.masked(query)
        said, shares = self.inner(query, key, key, need_weights=self.weights, attn_mask=mask, key_padding_mask=padding)
        return (said, shares) if self.weights else said


class Own(nn.MultiheadAttention):
    """Takes the parameters of torch's attention for one of its own."""

    def forward(self, query, key, value, need_weights=False, attn_mask=None, key_padding_mask=None):
        parts = nn.functional.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        heads = [part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2).relu() for part in parts]
        said = nn.functional.scaled_dot_product_attention(*heads)
        return self.out_proj(said.transpose(1, 2).flatten(2)), None


def test_an_attention_of_the_users_keeps_its_class_when_it_loses_heads():
    model = filled(Attends(batch_first=True))
    model.inner.__class__ = Own
    small = shrunk(without_values(model, [1]), drawn(2, 5, 8), drawn(3, 7, 8, seed=6))
    assert type(small.inner) is Own
    assert small.inner.out_proj.in_features == 6


def causal(x):
    return nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)


GO = {
    "batch first": ({"batch_first": True}, (drawn(2, 5, 8),)),
    "batch second": ({}, (drawn(5, 2, 8),)),
    "one sequence": ({}, (drawn(5, 8),)),
    "other keys": ({"batch_first": True, "kdim": 6, "vdim": 6}, (drawn(2, 5, 8), drawn(2, 5, 6, seed=6))),
    "no bias": ({"batch_first": True, "bias": False}, (drawn(2, 5, 8),)),
    "a mask": ({"batch_first": True, "masked": causal}, (drawn(2, 5, 8),)),
}
STAY = {
    "weights returned": ({"batch_first": True, "weights": True}, (drawn(2, 5, 8),)),
    "keys of its own": ({"batch_first": True, "add_bias_kv": True}, (drawn(2, 5, 8),)),
    "a key of zeros": ({"batch_first": True, "add_zero_attn": True}, (drawn(2, 5, 8),)),
    "a mask for each head": (
        {"batch_first": True, "masked": lambda x: causal(x).expand(4 * len(x), -1, -1)},
        (drawn(2, 5, 8),),
    ),
}


@pytest.mark.parametrize("name", [*GO, *STAY])
def test_a_head_without_values_goes_unless_more_is_read_of_it(name):
    options, sample = {**GO, **STAY}[name]
    model = without_values(filled(Attends(**options)), [0, 2])
    small = shrunk(model, sample, tuple(2 * part.flip(0) for part in sample))
    if name in STAY:
        assert type(small.inner) is nn.MultiheadAttention
        return
    assert heads_of(small) == [2]
    assert small.inner.out_proj.weight.shape == (8, 4)
    assert sum(p.numel() for p in small.inner.parameters()) < sum(p.numel() for p in model.inner.parameters())
    again = shrunk(without_values(small, []), sample)  # it can be shrunk once more
    assert heads_of(again) == [2]


def test_a_mask_of_the_users_keeps_heads_that_say_something_where_nothing_is_left_to_attend_to():
    x, padding = drawn(2, 5, 8), torch.tensor([[False] * 5, [False, False, True, True, True]])
    model = without_values(filled(Attends(batch_first=True)), [1])
    mask = torch.zeros(5, 5, dtype=torch.bool)
    assert heads_of(shrunk(model, {"query": x, "mask": mask, "padding": padding})) == [4]
    with torch.no_grad():
        model.inner.in_proj_bias[-6:-4] = 0
    other = padding.flip(0)
    small = shrunk(model, {"query": x, "mask": mask, "padding": padding}, {"query": x, "padding": other})
    assert heads_of(small) == [3]
    marked = mask.clone().fill_diagonal_(True)
    torch.testing.assert_close(small(x, mask=marked), model(x, mask=marked), rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_an_encoder_with_fewer_heads_takes_sequences_of_several_lengths():
    model = without_values(filled(nn.TransformerEncoder(encoder()(), 2)), [0])
    x, padding = drawn(3, 5, 8), torch.arange(5) >= torch.tensor([[5], [3], [2]])
    small = shrunk(model, x)
    assert heads_of(small) == [1, 1]
    with torch.no_grad():
        given = {"src_key_padding_mask": padding}
        torch.testing.assert_close(small(x, **given), model(x, **given), rtol=1e-10, atol=1e-10)


def test_an_encoder_that_is_given_a_mask_is_shrunk_beside_its_attention():
    """Torch's fast way of an encoder leaves out what a mask covers, where the layers one by one do not."""
    model = filled(nn.TransformerEncoder(encoder()(), 2)).double()
    x, padding = drawn(3, 5, 8), torch.arange(5) >= torch.tensor([[5], [3], [2]])
    with torch.no_grad():
        model.layers[0].linear1.weight[:9] = 0
        small = shrunk(model, {"src": x, "src_key_padding_mask": padding})
    assert small.layers[0].linear1.out_features == 15


def test_weights_of_heads_that_are_gone_are_refused():
    small = compress.shrink(without_values(filled(Attends(batch_first=True)), [3]), drawn(2, 5, 8))
    assert type(small.inner) is FewerHeads
    with pytest.raises(ValueError, match=r"^this attention has lost heads, .*: pass need_weights=False$"):
        small.inner(*[drawn(2, 5, 8)] * 3)


def test_coupled_pruning_takes_whole_heads_where_they_can_go_and_rows_elsewhere():
    x = torch.randn(2, 5, 6, generator=gen(4))

    def alive(model, name):
        return model.get_parameter(name).ne(0).any(1).view(-1, 4).sum(1).tolist()

    pruned = compress.prune(filled(Heads()), keep=0.67, sample=x, coupled=True)
    assert sorted(alive(pruned, "qkv.weight")) == [0] * 3 + [4] * 6
    tokens = torch.randint(11, (2, 5), generator=gen())
    words = compress.prune(filled(Words()), keep=0.6, sample=tokens, coupled=True)  # which has their width in its code
    assert set(alive(words, "value.weight")) - {0, 4}


class Written(Heads):
    """The same with heads by another way."""

    def __init__(self, way):
        super().__init__()
        self.way = way

    def forward(self, x):
        x = self.norm(self.enter(x))
        query, key, value = (self.apart(part).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        scores = query @ key.transpose(-2, -1)
        if self.way == "masked before":
            scores = scores.masked_fill((x[..., 0] > 0)[:, None, None], -1e9)
        shares = scores.softmax(-1)
        if self.way == "channels":  # each number of a head attends to its other numbers
            shares, value = (query.transpose(-2, -1) @ key).softmax(-1), value.transpose(-2, -1)
        if self.way == "masked after":
            shares = shares.masked_fill((x[..., 0] > 0)[:, None, None], 0.0)
        said = shares @ value
        said = (said.transpose(-2, -1) if self.way == "channels" else said).transpose(1, 2)
        said = said.reshape(*x.shape[:2], 12) if self.way == "width" else said.flatten(2)
        return self.leave(x + self.joined(said))

    def apart(self, part):
        number = 3 if self.way == "number" else self.num_heads
        return part.view(*part.shape[:2], number, part.shape[-1] // number)


@pytest.mark.parametrize(
    ("way", "left"),
    [("plain", 24), ("masked before", 24), ("masked after", 36), ("number", 36), ("width", 36), ("channels", 36)],
)
def test_a_head_by_hand_goes_where_the_code_leaves_room_and_its_shares_sum_to_one(way, left):
    model = filled(Written(way)).double()
    with torch.no_grad():
        model.qkv.weight[28:32] = 0  # the values of the second head
        if way == "channels":  # where what a head says hangs on the length, also when all that it is told is the same
            model.qkv.weight[4:8] = model.qkv.weight[16:20] = 0
    small = shrunk(model, drawn(1, 5, 6), drawn(4, 7, 6, seed=8))
    assert (small.qkv.out_features, small.num_heads) == (left, left // 12)
    assert model.num_heads == 3
