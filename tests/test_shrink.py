"""Shrinking is right or refused: chains with every activation, bias, pooling and padding, and what a chain hides."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from heavytail import compress, networks


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def filled(model, seed=1):
    """The model, with weights and biases from a seed."""
    with torch.no_grad():
        for k, p in enumerate(model.parameters()):
            p.copy_(torch.randn(p.shape, generator=gen(seed + k)) / math.sqrt(p[0].numel()))
    return model


def chain(*layers):
    return filled(nn.Sequential(*layers))


ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.GELU, nn.ELU, nn.LeakyReLU, nn.Identity)


def with_activation(kind):
    return lambda: chain(nn.Linear(6, 9), kind(), nn.Linear(9, 8), kind(), nn.Linear(8, 3))


CHAINS = {
    **{kind.__name__: with_activation(kind) for kind in ACTIVATIONS},
    "no activation": lambda: chain(nn.Linear(6, 9), nn.Linear(9, 8), nn.Linear(8, 3)),
    "output without bias": lambda: chain(nn.Linear(6, 9), nn.Sigmoid(), nn.Linear(9, 3, bias=False)),
    "some biases, in place": lambda: chain(
        nn.Linear(6, 9, bias=False), nn.Sigmoid(), nn.Linear(9, 8), nn.ELU(inplace=True), nn.Linear(8, 3)
    ),
    "nested": lambda: chain(
        nn.Sequential(nn.Linear(6, 9), nn.Tanh()), nn.Sequential(nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 3))
    ),
    "one activation used twice": lambda: (lambda f: chain(nn.Linear(6, 9), f, nn.Linear(9, 8), f, nn.Linear(8, 3)))(
        nn.Sigmoid()
    ),
    "dropout": lambda: chain(nn.Linear(6, 9), nn.Sigmoid(), nn.Dropout(0.5), nn.Linear(9, 8), nn.Linear(8, 3)),
    "odd head": lambda: chain(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 8), nn.LayerNorm(8), nn.LogSoftmax(-1)),
    "convolutions without padding": lambda: chain(
        nn.Conv2d(1, 5, 3),
        nn.Sigmoid(),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 6, 3),
        nn.Tanh(),
        nn.AvgPool2d(3, 2),
        nn.Conv2d(6, 6, 2),
        nn.Flatten(),
        nn.Linear(6 * 25, 3),
    ),
    "convolutions with padding": lambda: chain(
        nn.Conv2d(1, 5, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 1, 1),  # overlapping windows
        nn.Conv2d(5, 6, 3, padding="same"),
        nn.ReLU(),
        nn.AvgPool2d(3, 2, 1),
        nn.Conv2d(6, 4, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ),
    "padding by what is there": lambda: chain(
        nn.Conv1d(2, 5, 3, padding=1, padding_mode="reflect"),
        nn.Tanh(),
        nn.Conv1d(5, 6, 3, padding=1, padding_mode="circular"),
        nn.Sigmoid(),
        nn.AdaptiveMaxPool1d(2),
        nn.Flatten(),
        nn.Linear(12, 3),
    ),
    "three axes": lambda: chain(
        nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, 4, 2), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)
    ),
}
INPUT = {  # shapes of inputs that are no six numbers
    "convolutions without padding": (1, 32, 32),
    "convolutions with padding": (1, 32, 32),
    "padding by what is there": (2, 16),
    "three axes": (1, 8, 8, 8),
}


def weighted(model):
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)]


def with_zero_rows(model, share=0.5, seed=5):
    """The model with some rows of each layer but the last set to zero; biases stay."""
    with torch.no_grad():
        for k, layer in enumerate(weighted(model)[:-1]):
            gone = torch.randperm(len(layer.weight), generator=gen(seed + k))[: round(share * len(layer.weight))]
            layer.weight[gone] = 0
    return model.eval()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", CHAINS)
def test_a_shrunk_chain_says_what_the_chain_says(name, share):
    model = with_zero_rows(CHAINS[name](), share)
    before = copy.deepcopy(model.state_dict())
    shrunk = compress.shrink(model.double())
    x = torch.randn(7, *INPUT.get(name, (6,)), generator=gen(9), dtype=torch.float64)
    torch.testing.assert_close(shrunk(x), model(x), rtol=1e-12, atol=1e-12)
    assert all(torch.equal(value, before[key].double()) for key, value in model.state_dict().items())
    kept = sum(p.numel() for p in shrunk.parameters()) / sum(p.numel() for p in model.parameters())
    assert kept >= 1 if share == 0 else kept < 1


def test_a_unit_that_cannot_be_told_by_a_bias_stays():
    """Before a convolution that pads with zeros only units that say 0 go: a border would hear the others less."""
    conv, following = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3, padding=1)
    model = chain(conv, nn.ReLU(), following)
    with torch.no_grad():
        conv.weight[1:] = 0
        conv.bias.copy_(torch.tensor([1.0, 0.5, -0.5, 0.0]))  # ReLU sends the last two to 0
    assert compress.shrink(model)[0].weight.shape[0] == 2
    following.padding = (0, 0)
    following._reversed_padding_repeated_twice = [0] * 4
    assert compress.shrink(model)[0].weight.shape[0] == 1


@pytest.mark.parametrize(
    ("pool", "even"),
    [
        (nn.MaxPool2d(3, 1, 1), True),
        (nn.AvgPool2d(2), True),
        (nn.AvgPool2d((2, 1)), True),
        (nn.AvgPool2d(2, padding=1), False),
        (nn.AvgPool2d(3, padding=(0, 1)), False),
        (nn.AvgPool2d(2, ceil_mode=True), False),
        (nn.AvgPool2d(2, divisor_override=3), False),
        (nn.AdaptiveAvgPool2d(3), True),
    ],
    ids=str,
)
def test_a_unit_that_says_the_same_everywhere_goes_through_a_pooling_unless_it_is_an_uneven_average(pool, even):
    model = chain(nn.Conv2d(1, 3, 3), nn.Sigmoid(), pool, nn.Sigmoid(), nn.Conv2d(3, 2, 1))
    with torch.no_grad():
        model[0].weight[1:] = 0
    shrunk, x = compress.shrink(model), torch.randn(2, 1, 9, 9, generator=gen())
    assert shrunk[0].weight.shape[0] == (1 if even else 3)
    torch.testing.assert_close(shrunk(x), model(x))


def test_an_average_along_one_axis_is_even_without_padding():
    model = chain(nn.Conv1d(1, 3, 3), nn.Sigmoid(), nn.AvgPool1d(2), nn.Conv1d(3, 2, 1))
    with torch.no_grad():
        model[0].weight[1:] = 0
    assert compress.shrink(model)[0].weight.shape[0] == 1


USUAL = [(axes, size) for axes in (1, 2, 3) for size in (1, 4, 8, 16, 28, 32)] + [(1, 64), (1, 224), (2, 64), (2, 224)]


@pytest.mark.parametrize(("axes", "size"), USUAL)
def test_a_network_for_images_of_one_usual_size_needs_no_sample(axes, size):
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    model = chain(kind(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2 * size**axes, 1))
    with torch.no_grad():
        model[0].weight[0] = 0
    assert compress.shrink(model)[3].in_features == size**axes


@pytest.mark.parametrize(
    ("options", "adds_zeros"),
    [
        ({}, False),
        ({"padding": "valid"}, False),
        ({"padding": 1}, True),
        ({"padding": (0, 1)}, True),
        ({"padding": "same"}, True),
        ({"padding": 1, "padding_mode": "reflect"}, False),
        ({"padding": 1, "padding_mode": "circular"}, False),
    ],
    ids=str,
)
def test_only_before_zeros_at_the_border_a_unit_stays_for_what_it_says(options, adds_zeros):
    model = chain(nn.Conv2d(1, 3, 3), nn.Sigmoid(), nn.Conv2d(3, 2, 3, **options))
    with torch.no_grad():
        model[0].weight[1:] = 0
    assert compress.shrink(model)[0].weight.shape[0] == (3 if adds_zeros else 1)


def test_the_only_unit_of_a_layer_stays():
    model = chain(nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 2))
    with torch.no_grad():
        model[0].weight[:] = 0
    assert compress.shrink(model)[0].weight.shape == (1, 4)


@pytest.mark.parametrize("size", [1e-9, 1e9])
def test_outputs_are_compared_by_their_size(size):
    model = with_zero_rows(CHAINS["ReLU"]())
    with torch.no_grad():
        model[-1].weight *= size
        model[-1].bias *= size
    assert compress.shrink(model)[0].weight.shape[0] < 9


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_output_that_is_no_number_is_none_of_the_smaller_network_either(value):
    model = with_zero_rows(CHAINS["ReLU"]())
    for places in ([0], [0, 1, 2]):
        with torch.no_grad():
            model[-1].bias[places] = value
        if len(places) == 3:  # and where there is no other there is nothing to compare
            with pytest.raises(ValueError, match=r"^the model says nothing but nan or infinity of the sample"):
                compress.shrink(model)
        else:
            assert compress.shrink(model)[0].weight.shape[0] < 9


def test_what_dead_units_said_goes_into_the_next_bias():
    model = chain(nn.Linear(6, 3), nn.Sigmoid(), nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        model[0].weight[1] = 0
    shrunk = compress.shrink(model)
    assert shrunk[0].weight.shape == (2, 6)
    expected = model[2].weight[:, 1] * torch.sigmoid(model[0].bias[1])
    torch.testing.assert_close(shrunk[2].bias.detach(), expected.detach())
    assert model[2].bias is None


def test_a_channel_goes_with_all_its_places():
    model = with_zero_rows(CHAINS["convolutions without padding"]())
    shrunk = compress.shrink(model)
    assert shrunk[-1].weight.shape == (3, 3 * 25)
    assert shrunk[-1].in_features == 75


def test_dtype_flags_and_mode_of_a_chain_are_kept():
    model = with_zero_rows(CHAINS["Sigmoid"]()).train()
    model[0].weight.requires_grad_(False)
    shrunk = compress.shrink(model.to(torch.bfloat16))
    assert {p.dtype for p in shrunk.parameters()} == {torch.bfloat16}
    assert [p.requires_grad for p in shrunk.parameters()] == [p.requires_grad for p in model.parameters()]
    assert shrunk.training


def test_comparing_leaves_the_random_state_and_the_buffers_as_they_were():
    model = chain(nn.BatchNorm1d(6), nn.Linear(6, 9), nn.Dropout(0.5), nn.Linear(9, 3)).train()
    torch.manual_seed(3)
    state, before = torch.get_rng_state(), copy.deepcopy(model.state_dict())
    shrunk = compress.shrink(model, sample=torch.randn(5, 6, generator=gen()))
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
        assert torch.equal(shrunk.state_dict()[key], value)


# what is refused


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Skip(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


def hooked(layer=1):
    model = chain(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    model[layer].register_forward_hook(lambda module, args, result: result + 1)
    return model


def prehooked():
    model = chain(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    model.register_forward_pre_hook(lambda module, args: tuple(2 * x for x in args))
    return model


def patched():
    model = chain(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    model[1].forward = torch.sin
    return model


def masked():
    model = chain(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    prune.ln_structured(model[0], "weight", amount=0.5, n=2, dim=0)
    return model


def tied():
    model = chain(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 2))
    model[2].weight = model[0].weight
    return model


def normed(norm):
    return nn.Sequential(norm(nn.Linear(4, 5)), nn.ReLU(), nn.Linear(5, 2))


def twice():
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(4, 2))


REFUSED = {
    "subclass of Linear between": (
        lambda: chain(nn.Linear(4, 5), Doubled(5, 5), nn.Linear(5, 2)),
        r"cannot see through a Doubled layer",
    ),
    "subclass of Sequential": (
        lambda: Skip(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)),
        r"shrink knows a chain of layers \(torch.nn.Sequential itself\) or a MeanField, not a Skip",
    ),
    "subclass of Sequential inside": (
        lambda: nn.Sequential(nn.Linear(4, 4), Skip(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 4)),
        r"cannot see through a Skip layer",
    ),
    "hook": (hooked, r"layer '1' has a hook, mask or forward of its own"),
    "pre-hook": (prehooked, r"the model has a hook, mask or forward of its own"),
    "forward of its own": (patched, r"layer '1' has a hook, mask or forward of its own"),
    "mask": (masked, r"layer '0' has a hook, mask or forward of its own"),
    "old weight_norm": (lambda: normed(weight_norm), r"layer '0' has a hook, mask or forward of its own"),
    "old spectral_norm": (lambda: normed(spectral_norm), r"layer '0' has a hook, mask or forward of its own"),
    "weight_norm": (lambda: normed(parametrizations.weight_norm), r"layer '0' is parametrized"),
    "orthogonal": (lambda: normed(parametrizations.orthogonal), r"layer '0' is parametrized"),
    "tied weights": (tied, r"'2.weight' and '0.weight' are one and the same"),
    "a layer used twice": (twice, r"'2.weight' and '0.weight' are one and the same"),
    "pooling over units": (
        lambda: chain(nn.Linear(4, 6), nn.MaxPool1d(3, 1), nn.Linear(4, 2)),
        r"cannot see through a MaxPool1d layer here: it pools over units",
    ),
    "pooling over channels": (
        lambda: chain(nn.Conv2d(1, 4, 3), nn.MaxPool3d(2), nn.Conv2d(2, 2, 3)),
        r"cannot see through a MaxPool3d layer here: it pools over units",
    ),
    "layer norm": (
        lambda: chain(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 2)),
        r"cannot see through a LayerNorm layer",
    ),
    "batch norm": (
        lambda: chain(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)),
        r"cannot see through a BatchNorm1d layer",
    ),
    "softmax": (lambda: chain(nn.Linear(4, 5), nn.Softmax(-1), nn.Linear(5, 2)), r"cannot see through a Softmax layer"),
    "no Flatten": (
        lambda: chain(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Linear(4, 2)),
        r"needs a Flatten between a convolution and a Linear layer",
    ),
    "Flatten of other axes": (
        lambda: chain(nn.Conv2d(1, 4, 3), nn.Flatten(2), nn.Conv1d(4, 2, 3)),
        r"knows a Flatten of all axes but the first",
    ),
    "several units in one input, laid side by side": (
        lambda: chain(nn.Linear(4, 5), nn.Flatten(), nn.Linear(15, 2)),
        r"each unit to feed inputs of its own",
    ),
    "several units in one input": (
        lambda: chain(nn.Linear(4, 5), nn.Linear(15, 2)),
        r"each unit to feed inputs of its own",
    ),
    "groups": (
        lambda: chain(nn.Conv2d(4, 4, 3, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
        r"groups=1",
    ),
    "an input that no unit feeds": (
        lambda: chain(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 9 + 1, 2)),
        r"each unit to feed inputs of its own",
    ),
    "a single layer": (lambda: nn.Linear(4, 5), r"not a Linear"),
    "no weighted layer": (lambda: nn.Sequential(nn.ReLU()), r"finds no Linear or Conv layer"),
    "MeanField that says something at 0": (
        lambda: networks.MeanField(6, 12, 3, generator=gen(), activation=torch.sigmoid),
        r"needs an activation with φ\(0\) = 0",
    ),
    "an input that cannot be made up": (
        lambda: nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 5), nn.Linear(5, 2)),
        r"pass sample=, one batch",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_shrunk_is_refused_in_one_sentence_and_left_as_it_was(name):
    make, sentence = REFUSED[name]
    model = make()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=sentence) as told:
        compress.shrink(model)
    assert "\n" not in str(told.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_sample_serves_where_none_can_be_made_up():
    model = filled(nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)))
    with torch.no_grad():
        model[1].weight[:3] = 0
    tokens = torch.tensor([[1, 2, 8], [0, 4, 4]])
    for sample in (tokens, (tokens,), {"input": tokens}):
        torch.testing.assert_close(compress.shrink(model, sample=sample)(tokens), model(tokens))
    with pytest.raises(ValueError, match=r"the model cannot be called with sample=: Expected tensor .*indices"):
        compress.shrink(model, sample=torch.ones(2, 3))


def test_a_layer_that_took_on_a_bias_is_found_when_both_are_run():
    model = networks.MeanField(6, 12, 3, generator=gen())
    model.hidden.bias = nn.Parameter(torch.ones(12))
    with torch.no_grad():
        model.hidden.weight[:5] = 0
    with pytest.raises(ValueError, match=r"the shrunk network cannot be called with the sample: "):
        compress.shrink(model)


def test_both_networks_are_run_so_that_a_layer_that_is_not_what_its_type_says_is_found(monkeypatch):
    model = with_zero_rows(chain(nn.Linear(6, 9), nn.Sigmoid(), nn.Linear(9, 3)))
    for wrong in (lambda self, x: x.cumsum(-1), lambda self, x: x + 1e-7 * x.shape[-1]):  # no longer elementwise
        monkeypatch.setattr(nn.Sigmoid, "forward", wrong)
        with pytest.raises(ValueError, match=r"the shrunk network does not say what the model says of the sample"):
            compress.shrink(model)


def test_an_error_without_words_is_told_by_its_kind():
    class Silent(nn.Embedding):
        def forward(self, x):
            raise NotImplementedError

    model = nn.Sequential(Silent(9, 4), nn.Linear(4, 5), nn.Linear(5, 2))
    with pytest.raises(ValueError, match=r"the model cannot be called with sample=: NotImplementedError$"):
        compress.shrink(model, sample=torch.tensor([[1, 2]]))
