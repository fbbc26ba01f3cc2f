"""Which units are pruned: by name, in multiples, over all layers, and together where a model ties them."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn
from zoo import ZOO, Depthwise, Mlp, Residual, filled, gen

from heavytail import compress


def widths(model, sample, pruned):
    return {part.name: part.kept for part in compress.taken(model, pruned, sample)}


def mlp():
    model = filled(Mlp(torch.relu))
    with torch.no_grad():
        model.body[0].weight *= 3.0  # so that one order over layers is another one than that of each
    return model, torch.randn(5, 6, generator=gen())


ALL = {"enter.weight": 12, "body.0.weight": 14, "body.1.weight": 10}


@pytest.mark.parametrize(
    ("names", "pruned"),
    [
        ({}, ["enter.weight", "body.0.weight", "body.1.weight"]),
        ({"include": ["body"]}, ["body.0.weight", "body.1.weight"]),
        ({"include": "body.1"}, ["body.1.weight"]),
        ({"include": ["enter.weight", "body.0"]}, ["enter.weight", "body.0.weight"]),
        ({"exclude": ["body"]}, ["enter.weight"]),
        ({"include": ["body"], "exclude": ("body.0.weight",)}, ["body.1.weight"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("coupled", [False, True])
def test_layers_are_chosen_by_name(names, pruned, coupled):
    model, x = mlp()
    kept = widths(model, x, compress.prune(model, keep=0.5, sample=x, coupled=coupled, **names))
    assert kept == {name: units // 2 if name in pruned else units for name, units in ALL.items()}


@pytest.mark.parametrize("option", ["include", "exclude"])
@pytest.mark.parametrize("name", ["bod", "leave", "body.2", "enter.bias", ""])
def test_a_name_that_no_hidden_weight_has_is_refused(option, name):
    model, x = mlp()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=rf"^{option}= names '{name}', but no hidden weight has that name or begins"):
        compress.prune(model, keep=0.5, sample=x, inplace=True, **{option: ["enter", name]})
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_choice_of_nothing_is_refused():
    model, x = mlp()
    with pytest.raises(ValueError, match=r"^include= and exclude= leave no hidden weight to prune$"):
        compress.prune(model, keep=0.5, sample=x, include=["body.0"], exclude=["body"])


def test_a_layer_that_cannot_be_pruned_can_be_left_out():
    kind = ZOO["transposed convolutions"]
    model, x = kind.model(), kind.sample()
    with pytest.raises(ValueError, match=r"^the rows of 'up1.weight' are its inputs"):
        compress.prune(model, keep=0.5, sample=x)
    assert compress.prune(model, keep=0.5, sample=x, exclude=["up1"]).up1.weight.eq(model.up1.weight).all()


@pytest.mark.parametrize("options", [{}, {"coupled": True}, {"across_layers": True}], ids=str)
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("multiple", [1, 4, 8, 100])
def test_kept_units_are_rounded_up_to_a_multiple_and_are_the_largest(multiple, keep, options):
    model, x = mlp()
    one = widths(model, x, compress.prune(model, keep=keep, sample=x, **options))
    pruned = compress.prune(model, keep=keep, sample=x, multiple_of=multiple, **options)
    for name, kept in widths(model, x, pruned).items():
        assert kept == min(ALL[name], -(-one[name] // multiple) * multiple)
        sizes, left = (compress.norms(m.get_parameter(name)) for m in (model, pruned))
        assert set(sizes.topk(kept).indices.tolist()) == set(left.nonzero().flatten().tolist())


@pytest.mark.parametrize("value", [0, -8, 2.0, True, "8"])
def test_a_multiple_is_a_whole_number_of_one_or_more(value):
    model, x = mlp()
    with pytest.raises(ValueError, match=r"^multiple_of= is a whole number of 1 or more, got "):
        compress.prune(model, keep=0.5, sample=x, multiple_of=value)


def squares(model):
    return {name: compress.norms(model.get_parameter(name)).square() for name in ALL}


@pytest.mark.parametrize("squared_error", [0.0, 0.01, 0.1, 0.3, 0.6, 0.99])
def test_over_all_layers_the_squared_error_is_that_of_all_weights_together(squared_error):
    model, x = mlp()
    pruned = compress.prune(model, squared_error=squared_error, sample=x, across_layers=True)
    whole, left = squares(model), squares(pruned)
    total = float(sum(s.sum() for s in whole.values()))
    lost = total - float(sum(s.sum() for s in left.values()))
    assert lost <= squared_error * total + 1e-12
    kept = torch.cat([s[left[name] > 0] for name, s in whole.items()])
    gone = torch.cat([s[left[name] == 0] for name, s in whole.items()])
    largest = {float(s.max()) for s in whole.values()}
    others = [float(s) for s in kept if float(s) not in largest]
    assert all(bool((s > 0).any()) for s in left.values())
    if others:
        assert lost + min(others) > squared_error * total  # the next one would be too much
        assert not len(gone) or float(gone.max()) <= min(others)


def test_over_all_layers_the_share_is_that_of_all_units_and_each_layer_keeps_its_largest():
    model, x = mlp()
    for keep in (0.0, 0.05, 0.25, 0.5, 1.0):
        kept = widths(model, x, compress.prune(model, keep=keep, sample=x, across_layers=True))
        assert sum(kept.values()) == (max(3, round(keep * 36)) if keep else 0)
        assert keep == 0 or min(kept.values()) >= 1
    half = widths(model, x, compress.prune(model, keep=0.5, sample=x, across_layers=True))
    assert half["body.0.weight"] > 7  # the layer of large weights keeps more
    drawn = [
        widths(model, x, compress.prune(model, keep=0.5, sample=x, across_layers=True, generator=gen(seed)))
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1]
    assert all(sum(kept.values()) == 18 for kept in drawn)
    assert drawn[0] != half or drawn[2] != half


def test_by_kernels_over_all_layers():
    kind = ZOO["convolutions of two axes"]
    model, x = kind.model(), kind.sample()
    pruned = compress.prune(model, keep=0.5, sample=x, across_layers=True, unit="kernel")
    parts = compress.taken(model, pruned, x, unit="kernel")
    assert sum(p.kept for p in parts) == round(0.5 * sum(p.units for p in parts))
    assert {p.name: p.units for p in parts}["conv2.weight"] == 48


# units that a model ties


def zero_rows(*layers):
    return [set((layer.weight.flatten(1) == 0).all(1).nonzero().flatten().tolist()) for layer in layers]


def test_the_channels_of_a_skip_connection_are_pruned_together_by_the_sum_of_their_squares():
    model, x = filled(Residual()), torch.randn(2, 3, 6, 6, generator=gen())
    with torch.no_grad():
        model.begin.weight *= 2.0
    pruned = compress.prune(model, squared_error=0.3, sample=x, coupled=True)
    first, *others = zero_rows(pruned.begin, *pruned.outer)
    assert others == [first, first]
    writers = (model.begin, *model.outer)
    sizes = sum(compress.norms(layer.weight).square() for layer in writers).sqrt()
    assert len(first) == compress.count(sizes, squared_error=0.3) > 0
    assert first == set(compress.order(sizes)[: len(first)].tolist())
    apart = zero_rows(
        *(compress.prune(model, squared_error=0.3, sample=x).get_submodule(n) for n in ("begin", "outer.0"))
    )
    assert apart[0] != apart[1]
    for layer, other in zip(model.inner, pruned.inner, strict=True):  # which nothing ties
        assert len(zero_rows(other)[0]) == compress.count(layer.weight, squared_error=0.3)
    with torch.no_grad():
        for layer in (pruned.begin, *pruned.outer):
            layer.bias.fill_(-0.1)  # silent behind ReLU, as a border of zeros wants it
    small = compress.shrink(pruned, sample=x)
    assert [layer.out_channels for layer in (small.begin, *small.outer)] == [8 - len(first)] * 3


@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_depthwise_filter_is_pruned_with_its_channel_and_its_gate(multiplier):
    model, x = filled(Depthwise(multiplier)), torch.randn(2, 3, 9, 9, generator=gen())
    pruned = compress.prune(model, keep=0.4, sample=x, coupled=True)
    channels, filters, gates = zero_rows(pruned.expand, pruned.each, pruned.gate)
    assert len(channels) == 6
    assert filters == gates == {multiplier * c + k for c in channels for k in range(multiplier)}


def test_coupled_without_ties_is_the_same_as_not_coupled():
    model, x = mlp()
    for options in ({"squared_error": 0.2}, {"keep": 0.3}, {"keep": 0.5, "multiple_of": 4}):
        one, other = (compress.prune(model, sample=x, coupled=coupled, **options) for coupled in (False, True))
        assert all(torch.equal(p, q) for p, q in itertools.zip_longest(one.parameters(), other.parameters()))


def test_coupled_wants_a_sample_and_filters_and_a_network_that_can_be_followed():
    model, x = mlp()
    for options in ({}, {"sample": x, "unit": "kernel"}):
        with pytest.raises(
            ValueError, match=r"^coupled units are filters, seen while the model is called: pass sample="
        ):
            compress.prune(model, keep=0.5, coupled=True, **options)
    model.body[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match=r"^layer 'body.0' has a hook, mask or forward of its own"):
        compress.prune(model, keep=0.5, coupled=True, sample=x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_quantised_network_is_refused():
    model = torch.ao.quantization.quantize_dynamic(mlp()[0], {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(ValueError, match=r"^layer 'enter' is quantised \(Linear\): prune and shrink the model first"):
        compress.prune(model, keep=0.5, sample=torch.ones(2, 6))


# what was taken


def test_what_was_taken_is_told_and_printed():
    model, x = mlp()
    parts = compress.taken(model, compress.prune(model, squared_error=0.2, sample=x), x)
    assert [part.name for part in parts] == list(ALL)
    for part in parts:
        weight = model.get_parameter(part.name)
        gone = compress.count(weight, squared_error=0.2)
        assert (part.units, part.kept) == (len(weight), len(weight) - gone)
        assert part.squared_error == pytest.approx(float(compress.error_curve(weight)[gone]) ** 2)
    lines = str(parts).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["weight", "units", "kept", "squared", "error"]
    assert lines[1].split() == ["enter.weight", "12", str(parts[0].kept), f"{parts[0].squared_error:.4f}"]
    assert compress.taken(model, model, x)[0].squared_error == 0


def test_what_was_taken_is_not_told_of_another_network():
    model, x = mlp()
    small = compress.shrink(compress.prune(model, keep=0.5, sample=x), sample=x)
    for other in (small, nn.Linear(3, 2)):
        with pytest.raises(ValueError, match=r"^the second network has no 'enter.weight' of the same shape"):
            compress.taken(model, other, x)
