"""Pruning against brute force: the error curve, what goes and what stays, and the smaller network that is left."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.utils import prune as masks

from heavytail import compress, networks

EXACT = {"rtol": 1e-10, "atol": 0.0}
IMAGES = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(4))


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def heavy(*shape, seed=0):
    """A weight whose rows differ much in size."""
    sizes = torch.linspace(-2, 2, shape[0]).exp()[torch.randperm(shape[0], generator=gen(seed))]
    return torch.randn(shape, generator=gen(seed + 1)) * sizes.reshape(-1, *[1] * (len(shape) - 1))


def network(kind, seed=0, classes=3, **options):
    """A network of each kind with hidden weights of uneven rows, so that pruning has something to choose."""
    if kind == "mean_field":
        model = networks.MeanField(6, 12, classes, generator=gen(seed), **options)
    elif kind == "vgg":
        model = networks.vgg(3, 2, classes, generator=gen(seed))
    else:
        model = networks.fcn(6, 12, int(kind.removeprefix("fcn")), classes, generator=gen(seed))
    with torch.no_grad():
        for k, weight in enumerate(networks.hidden_weights(model).values()):
            weight.mul_(heavy(len(weight), *[1] * (weight.ndim - 1), seed=k))
    return model


def inputs(kind):
    return IMAGES if kind == "vgg" else torch.randn(7, 6, generator=gen(3))


def squared_error_without(weight, rows):
    """Squared relative error of zeroing these rows, in float64."""
    squares = weight.double().flatten(1).square().sum(1)
    return float(squares[list(rows)].sum() / squares.sum())


KINDS = ("fcn1", "fcn2", "fcn3", "mean_field", "vgg")


# norms and the error curve


def test_norms_are_row_norms_in_float64():
    weight = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-5.0, 12.0]])
    assert compress.norms(weight).dtype == torch.float64
    assert compress.norms(weight).tolist() == [5.0, 0.0, 13.0]


@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (6, 1, 3, 3)])
def test_a_unit_of_a_convolution_is_a_filter_or_one_kernel(shape):
    weight = heavy(*shape)
    filters = [weight[i].double().norm() for i in range(shape[0])]
    kernels = [weight[i, j].double().norm() for i in range(shape[0]) for j in range(shape[1])]
    torch.testing.assert_close(compress.norms(weight), torch.stack(filters), **EXACT)
    torch.testing.assert_close(compress.norms(weight, "kernel"), torch.stack(kernels), **EXACT)
    assert torch.equal(compress.norms(weight.flatten(1), "kernel"), compress.norms(weight.flatten(1)))


def test_the_error_curve_is_the_smallest_error_over_every_choice_of_rows():
    weight = heavy(7, 4)
    curve = compress.error_curve(weight)
    assert curve.shape == (8,)
    for k in range(8):
        best = min(squared_error_without(weight, rows) for rows in itertools.combinations(range(7), k))
        assert float(curve[k]) == pytest.approx(math.sqrt(best), rel=1e-10)


matrices = st.integers(1, 12).flatmap(
    lambda rows: st.integers(1, 5).flatmap(
        lambda columns: st.lists(
            st.floats(-(2.0**100), 2.0**100, width=32), min_size=rows * columns, max_size=rows * columns
        ).map(lambda entries: torch.tensor(entries).reshape(rows, columns))
    )
)


@settings(max_examples=100)
@given(weight=matrices.filter(lambda weight: bool((weight != 0).any())))
def test_the_error_curve_rises_from_0_to_1(weight):
    curve = compress.error_curve(weight)
    assert len(curve) == len(weight) + 1
    assert curve[0] == 0
    assert curve[-1] == 1
    assert bool((curve.diff() >= 0).all())


@settings(max_examples=50)
@given(power=st.integers(-80, 80), seed=st.integers(0, 50))
def test_the_error_curve_does_not_depend_on_scale_or_order(power, seed):
    weight = heavy(9, 3, seed=seed)
    curve = compress.error_curve(weight)
    assert torch.equal(compress.error_curve(weight * 2.0**power), curve)  # a power of two scales without rounding
    assert torch.equal(compress.error_curve(weight.flip(0)), curve)


def test_the_error_curve_of_giant_and_of_tiny_weights_neither_overflows_nor_vanishes():
    weight = heavy(8, 3).clamp(-50, 50)
    for size in (1e30, 1e-30):  # the squares of these exceed float32 on either side
        torch.testing.assert_close(compress.error_curve(weight * size), compress.error_curve(weight), rtol=1e-5, atol=0)
    for size in (1e150, 1e-150):  # and those of these, fourfold, float64
        torch.testing.assert_close(compress.error_curve(weight.double() * size), compress.error_curve(weight.double()))


def test_one_giant_row_leaves_the_rest_prunable():
    weight = torch.ones(1000, 4)
    weight[17] = 1e30
    assert compress.prunable_share(weight) == 0.999


@pytest.mark.parametrize(
    "bad", [torch.zeros(3, 2), torch.zeros(0, 2), *(torch.tensor([[1.0], [x]]) for x in (math.nan, math.inf))]
)
def test_a_weight_without_a_finite_size_is_refused(bad):
    with pytest.raises(ValueError, match=r"needs a finite weight that is not all zero"):
        compress.error_curve(bad)
    with pytest.raises(ValueError, match=r"needs a finite weight that is not all zero"):
        compress.prunable_share(bad)


def test_a_network_with_an_infinite_weight_is_refused_and_left_as_it_was():
    model = network("fcn2")
    with torch.no_grad():
        model[3].weight[0, 0] = math.inf
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"finite"):
        compress.prune(model, squared_error=0.1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, list, torch.bfloat16])
def test_curves_take_arrays_and_lists_and_every_real_dtype(kind):
    whole = torch.tensor([[3, 4], [0, 0], [6, 8]])
    weight = (
        whole.tolist() if kind is list else whole.to(kind) if kind is torch.bfloat16 else whole.numpy().astype(kind)
    )
    assert compress.norms(weight).tolist() == [5.0, 0.0, 10.0]
    assert compress.error_curve(weight).tolist() == pytest.approx([0, 0, math.sqrt(0.2), 1], abs=1e-15)
    assert compress.prunable_share(weight, 0.3) == 2 / 3


def test_with_one_axis_each_entry_is_a_unit():
    for weight in (torch.tensor([3.0, -4.0, 0.0]), np.array([3.0, -4.0, 0.0])):
        assert compress.norms(weight).tolist() == [3.0, 4.0, 0.0]
        assert compress.error_curve(weight).tolist() == pytest.approx([0, 0, 0.6, 1])


def test_a_kernel_is_one_output_and_one_input_of_a_convolution_of_any_number_of_axes():
    weight = heavy(4, 3, 2, 2, 2)
    for shape in ((4, 3, 8), (4, 3, 2, 2, 2)):
        found = compress.norms(weight.reshape(shape), "kernel")
        torch.testing.assert_close(found, weight.double().flatten(2).norm(dim=2).flatten(), **EXACT)


@pytest.mark.parametrize(
    ("weight", "error", "sentence"),
    [
        (np.array(["a", "b"]), TypeError, "a weight holds real numbers, not <U1"),
        (torch.zeros(3, 2, dtype=torch.complex64), TypeError, "a weight holds real numbers, not torch.complex64"),
        (torch.eye(3).to_sparse(), TypeError, r"a weight is a dense tensor: call to_dense\(\) on this one first"),
        (torch.ones(3, 2, dtype=torch.bool), TypeError, "a weight holds real numbers, not torch.bool"),
        ([[1.0, 2.0], [3.0]], TypeError, "a weight is a tensor, an array or lists of numbers, as long as each other"),
        (None, TypeError, "a weight holds real numbers, not object"),
        (torch.tensor(1.0), ValueError, "a weight has one axis or more"),
        (2.0, ValueError, "a weight has one axis or more"),
    ],
)
def test_what_is_no_weight_is_refused(weight, error, sentence):
    for call in (compress.norms, compress.error_curve, compress.prunable_share):
        with pytest.raises(error, match=sentence):
            call(weight)


# pruning


@pytest.mark.parametrize("squared_error", [0.0, 0.01, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("kind", KINDS)
def test_pruning_by_error_removes_the_most_units_the_bound_allows(kind, squared_error):
    model = network(kind)
    pruned = compress.prune(model, squared_error=squared_error)
    for (name, before), after in zip(
        networks.hidden_weights(model).items(), networks.hidden_weights(pruned).values(), strict=True
    ):
        gone = {k for k, row in enumerate(after.detach()) if not row.any()}
        stays = [k for k in range(len(before)) if k not in gone]
        assert torch.equal(after[stays], before[stays]), name
        assert squared_error_without(before.detach(), gone) <= squared_error
        most = max(k for k in range(len(before) + 1) if compress.error_curve(before)[k] ** 2 <= squared_error)
        assert len(gone) == most
        assert compress.prunable_share(before, squared_error) == most / len(before)
        smallest = before[stays].detach().double().flatten(1).norm(dim=1).argmin()
        assert squared_error_without(before.detach(), [*gone, stays[smallest]]) > squared_error


def test_the_criterion_is_the_papers_tenth_unless_another_is_named():
    assert compress.SQUARED_ERROR == 0.1
    weight = torch.tensor([1.0] * 10 + [89.5**0.5])  # each of the ten holds a little more than a hundredth
    assert compress.prunable_share(weight) == compress.prunable_share(weight, 0.1) == 9 / 11


def test_an_error_exactly_at_the_bound_is_within_it():
    """k of n equal rows have a squared error of exactly k/n; a root squared again would miss the bound by rounding."""
    for n in range(2, 60):
        for k in range(1, n):
            assert compress.prunable_share(torch.ones(n, 1), k / n) == k / n


@pytest.mark.parametrize("keep", [0, 0.1, 0.25, 0.5, 0.75, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_pruning_by_share_keeps_the_largest_units(kind, keep):
    model = network(kind)
    pruned = compress.prune(model, keep=keep)
    for before, after in zip(
        networks.hidden_weights(model).values(), networks.hidden_weights(pruned).values(), strict=True
    ):
        stays = max(1, round(keep * len(before))) if keep else 0
        largest = compress.norms(before).argsort(descending=True)[:stays]
        expected = torch.zeros_like(before)
        expected[largest] = before.detach()[largest]
        assert torch.equal(after, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_keeping_everything_changes_nothing_and_keeping_nothing_zeroes_every_hidden_weight(kind):
    model = network(kind)
    whole, empty = compress.prune(model, keep=1), compress.prune(model, keep=0)
    for name, value in model.state_dict().items():
        assert torch.equal(whole.state_dict()[name], value)
    assert not any(weight.any() for weight in networks.hidden_weights(empty).values())
    assert not empty(inputs(kind)).any()


@pytest.mark.parametrize("unit", ["filter", "kernel"])
def test_the_first_convolution_and_the_output_layer_are_never_pruned(unit):
    model = network("vgg")
    pruned = compress.prune(model, keep=0, unit=unit)
    convolutions = [layer for layer in pruned if isinstance(layer, nn.Conv2d)]
    assert torch.equal(convolutions[0].weight, model[0].weight)
    assert torch.equal(pruned[-1].weight, model[-1].weight)
    assert len(convolutions) == 8
    assert not any(conv.weight.any() for conv in convolutions[1:])


def test_a_hidden_layer_as_wide_as_the_class_count_is_pruned_like_any_other():
    model = networks.fcn(6, 3, 2, 3, generator=gen())
    pruned = compress.prune(model, keep=0)
    assert [bool(layer.weight.any()) for layer in pruned if isinstance(layer, nn.Linear)] == [False, False, True]


def test_pruning_copies_unless_it_is_asked_to_work_in_place():
    model = network("fcn2")
    before = copy.deepcopy(model.state_dict())
    compress.prune(model, keep=0.5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert compress.prune(model, keep=0.5, inplace=True) is model
    assert int((model[1].weight == 0).all(dim=1).sum()) == 6


def test_pruning_kernels_zeroes_single_kernels():
    model = network("vgg")
    weights = list(networks.hidden_weights(model).values())
    pruned = networks.hidden_weights(compress.prune(model, squared_error=0.1, unit="kernel")).values()
    mixed = 0
    for before, after in zip(weights, pruned, strict=True):
        kernels = before.detach().double().flatten(2).norm(dim=2).flatten()
        ranked, order = kernels.sort()
        count = int((ranked.square().cumsum(0) <= 0.1 * ranked.square().sum()).sum())
        gone = torch.zeros(len(kernels), dtype=torch.bool)
        gone[order[:count]] = True
        gone = gone.reshape(before.shape[:2])
        assert torch.equal(after == 0, gone[:, :, None, None].expand_as(after))
        assert torch.equal(after[~gone], before[~gone])
        mixed += int((gone.any(dim=1) & ~gone.all(dim=1)).sum())
    assert mixed > 0  # filters of which only some kernels went


@pytest.mark.parametrize("unit", ["filter", "kernel"])
def test_the_memory_format_of_a_convolution_does_not_matter(unit):
    model = network("vgg")
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    assert not last[3].weight.is_contiguous()
    assert torch.equal(compress.norms(last[3].weight, unit), compress.norms(model[3].weight, unit))
    for choice in ({"keep": 0.5}, {"squared_error": 0.1}):
        one, other = compress.prune(model, unit=unit, **choice), compress.prune(last, unit=unit, **choice)
        assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))
        assert compress.pruning_ratio(one) == compress.pruning_ratio(other) > 0
    shrunk = compress.shrink(compress.prune(last, keep=0.5, unit=unit))
    torch.testing.assert_close(shrunk(IMAGES), compress.prune(model, keep=0.5, unit=unit)(IMAGES))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, r"exactly one of squared_error= .* and keep="),
        ({"squared_error": 0.1, "keep": 0.5}, r"exactly one of squared_error= .* and keep="),
        ({"squared_error": 1}, r"squared_error is a squared relative error in \[0, 1\), got 1"),
        ({"squared_error": -0.1}, r"squared_error is a squared relative error in \[0, 1\), got -0.1"),
        ({"squared_error": math.nan}, r"squared_error is a squared relative error in \[0, 1\), got nan"),
        ({"keep": 1.1}, r"keep is a share of units in \[0, 1\], got 1.1"),
        ({"keep": -0.1}, r"keep is a share of units in \[0, 1\], got -0.1"),
        ({"keep": math.nan}, r"keep is a share of units in \[0, 1\], got nan"),
        ({"keep": 0.5, "unit": "row"}, r"unknown unit 'row': choose one of filter, kernel"),
    ],
)
def test_a_bad_request_is_refused_in_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        compress.prune(network("fcn1"), **options)


# anybody's networks


class HeadFirst(nn.Module):
    """A network that declares its head before its body."""

    def __init__(self, body):
        super().__init__()
        self.head = nn.Linear(8, 3)
        self.body = body(6, 8)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))


class Branching(nn.Module):
    """A network that cannot be traced: what it calls hangs on its input."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 3)
        self.body = nn.Linear(6, 8)

    def forward(self, x):
        return self.head(self.body(x).relu() if x.sum() > 0 else self.body(x).tanh())


@pytest.mark.parametrize("options", [{"keep": 0.25}, {"squared_error": 0.1}], ids=str)
def test_a_head_declared_before_the_body_is_not_pruned(options):
    model = HeadFirst(nn.Linear)
    with torch.no_grad():
        model.body.weight.copy_(heavy(8, 6))
    pruned = compress.prune(model, **options)
    assert torch.equal(pruned.head.weight, model.head.weight)
    assert torch.equal(pruned.body.bias, model.body.bias)
    gone = int((pruned.body.weight == 0).all(dim=1).sum())
    assert gone == compress.count(model.body.weight, **options) > 0
    assert compress.pruning_ratio(pruned) == gone / 8


def test_a_network_that_cannot_be_traced_is_pruned_with_a_sample():
    model, x = Branching(), torch.ones(2, 6)
    for call in (lambda: compress.prune(model, keep=0.25), lambda: compress.pruning_ratio(model)):
        with pytest.raises(ValueError, match=r"pass sample="):
            call()
    pruned = compress.prune(model, keep=0.25, sample=x)
    assert torch.equal(pruned.head.weight, model.head.weight)
    assert compress.pruning_ratio(pruned, x) == 0.75


def masked():
    model = HeadFirst(nn.Linear)
    masks.l1_unstructured(model.body, "weight", amount=0.5)
    return model


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
@pytest.mark.parametrize(
    "make",
    [
        masked,
        lambda: HeadFirst(lambda *sizes: torch.nn.utils.parametrizations.weight_norm(nn.Linear(*sizes))),
        lambda: HeadFirst(lambda *sizes: torch.nn.utils.parametrizations.spectral_norm(nn.Linear(*sizes))),
        lambda: HeadFirst(lambda *sizes: torch.nn.utils.weight_norm(nn.Linear(*sizes))),
    ],
    ids=["mask", "weight_norm", "spectral_norm", "old weight_norm"],
)
def test_a_weight_that_is_made_anew_at_every_call_is_refused_by_name(make):
    model = make()
    before = copy.deepcopy({name: p.detach() for name, p in model.named_parameters()})
    for call in (lambda: compress.prune(model, keep=0.5, inplace=True), lambda: compress.pruning_ratio(model)):
        with pytest.raises(ValueError, match=r"the weight of layer 'body' is parametrized or masked"):
            call()
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize("keep", [1e-300, 1e-9, 0.01, 0.04])
@pytest.mark.parametrize("kind", KINDS)
def test_any_share_above_0_keeps_one_unit_of_every_layer(kind, keep):
    pruned = compress.prune(network(kind), keep=keep)
    for weight in networks.hidden_weights(pruned).values():
        assert int((weight != 0).flatten(1).any(dim=1).sum()) == 1


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize(
    ("fault", "options", "sentence"),
    [
        (
            0.0,
            {"squared_error": 0.1},
            r"^'5.weight' is all zero, so pruning it has no relative error: nothing was pruned$",
        ),
        (
            math.nan,
            {"squared_error": 0.1},
            r"^'5.weight' is not finite, so its units have no order: nothing was pruned$",
        ),
        (math.inf, {"keep": 0.5}, r"^'5.weight' is not finite, so its units have no order: nothing was pruned$"),
    ],
)
def test_a_layer_that_cannot_be_pruned_is_named_and_no_other_is_touched(fault, options, sentence, inplace):
    model = network("fcn3")
    with torch.no_grad():
        model[5].weight[:] = fault
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=sentence):
        compress.prune(model, inplace=inplace, **options)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)


def empty():
    model = nn.Sequential(nn.Linear(6, 1), nn.ReLU(), nn.Linear(1, 3))
    model[0].weight = nn.Parameter(torch.zeros(0, 6))
    return model


def test_units_go_at_random_where_a_generator_says_which():
    model = network("fcn2")
    once, again, other = (compress.prune(model, keep=0.5, generator=gen(seed)) for seed in (7, 7, 8))
    smallest = compress.prune(model, keep=0.5)
    for pruned in (once, again, other, smallest):
        assert [int((pruned[k].weight == 0).all(dim=1).sum()) for k in (1, 3)] == [6, 6]
    assert torch.equal(once[1].weight, again[1].weight)
    assert not torch.equal(once[1].weight, other[1].weight)
    assert not torch.equal(once[1].weight, smallest[1].weight)
    drawn = compress.order(model[1].weight, generator=gen(7))
    assert {k for k in range(12) if not once[1].weight[k].any()} == set(drawn[:6].tolist())
    with pytest.raises(ValueError, match=r"^pruning at random wants a share of units: name keep= with generator=$"):
        compress.prune(model, squared_error=0.1, generator=gen())


def test_the_chance_of_a_run_is_that_of_its_seed():
    assert compress.chance(None) is None
    orders = [compress.order(torch.ones(50, 2), generator=compress.chance(seed)) for seed in (3, 3, 4)]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_units_of_one_size_go_in_their_order():
    assert compress.order(torch.ones(3000, 2)).tolist() == list(range(3000))


def test_a_layer_that_is_all_zero_can_be_pruned_by_share():
    model = compress.prune(network("fcn2"), keep=0)
    assert compress.pruning_ratio(compress.prune(model, keep=0.5)) == 1


def test_biases_and_norm_layers_do_not_count_in_the_pruning_ratio():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    assert compress.pruning_ratio(compress.prune(model, keep=0.5)) == 0.5


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: nn.Linear(6, 3), r"^this Linear has no hidden weights: output layers and a first convolution are not"),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)), r"has no hidden weights"),
        (empty, r"^'0.weight' has no units to prune$"),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(2, 4, 3), nn.Conv2d(4, 1, 1)),
            r"^the rows of '1.weight' are its inputs, as in a transposed convolution, .*or leave it out by exclude=$",
        ),
    ],
)
def test_a_network_without_units_to_prune_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        compress.prune(make(), keep=0.5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"keep": "half"}, r"^keep= is one number, got str$"),
        ({"squared_error": [0.1]}, r"^squared_error= is one number, got list$"),
        ({"keep": 0.5, "generator": 7}, r"^generator= is a torch.Generator, got int$"),
    ],
)
def test_an_argument_of_another_type_is_refused(options, sentence):
    with pytest.raises(TypeError, match=sentence):
        compress.prune(network("fcn1"), **options)
    with pytest.raises(TypeError, match=r"^a network to prune is a torch.nn.Module, got dict$"):
        compress.prune({}, keep=0.5)


# the pruning ratio


def zero(weight, *rows):
    with torch.no_grad():
        weight[list(rows)] = 0


def test_the_pruning_ratio_of_a_shallow_network_is_the_share_of_zero_neurons():
    model = networks.fcn(6, 8, 1, 3, generator=gen())
    assert compress.pruning_ratio(model) == 0
    zero(model[1].weight, 0, 3, 5)
    with torch.no_grad():
        model[1].weight[1, :5] = 0  # not all of a neuron: not pruned
        model[-1].weight[:] = 0  # the output layer does not count
    assert compress.pruning_ratio(model) == 3 / 8


def test_the_pruning_ratio_of_a_deep_network_counts_parameters_of_all_hidden_layers():
    model = networks.fcn(6, 8, 3, 3, generator=gen())
    zero(model[1].weight, 0)
    zero(model[3].weight, 1, 2)
    zero(model[5].weight, 5, 6, 7)
    assert compress.pruning_ratio(model) == (6 + 2 * 8 + 3 * 8) / (8 * 6 + 8 * 8 + 8 * 8)


def test_the_pruning_ratio_of_a_mean_field_network_counts_its_particles():
    model = network("mean_field")
    zero(model.hidden.weight, 2, 3, 4)
    assert compress.pruning_ratio(model) == 3 / 12


def test_the_pruning_ratio_of_a_convolutional_network_counts_its_first_convolution_as_kept():
    model = networks.vgg(3, 2, 5, generator=gen())
    sizes = [conv.weight.numel() for conv in model if isinstance(conv, nn.Conv2d)]
    assert sizes == [9 * a * b for a, b in itertools.pairwise([3, 2, 4, 8, 8, 16, 16, 16, 16])]
    zero(model[3].weight, 0, 1)  # two of four filters with 2 * 9 entries
    with torch.no_grad():
        model[6].weight[5, 1] = 0  # one kernel
        model[0].weight[:] = 0  # the first convolution
    assert compress.pruning_ratio(model) == (2 * 2 * 9 + 9) / sum(sizes)
    assert compress.pruning_ratio(compress.prune(model, keep=0)) == 1 - sizes[0] / sum(sizes)


# shrinking


@pytest.mark.parametrize("choice", [{"squared_error": 0.1}, {"keep": 0.4}, {"keep": 0.0}, {"keep": 1.0}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_shrunk_network_computes_what_the_pruned_one_did(kind, choice):
    pruned = compress.prune(network(kind), **choice).double()
    before = copy.deepcopy(pruned.state_dict())
    x = inputs(kind).double()
    torch.testing.assert_close(compress.shrink(pruned)(x), pruned(x), rtol=1e-12, atol=1e-12)
    assert all(torch.equal(value, before[name]) for name, value in pruned.state_dict().items())
    if choice != {"keep": 0.0}:
        assert pruned(x).any()


def alive(weight):
    return max(1, int((weight != 0).flatten(1).any(dim=1).sum()))


@pytest.mark.parametrize("keep", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("kind", ["fcn1", "fcn2", "fcn3", "vgg"])
def test_the_layers_of_a_shrunk_network_have_the_units_that_are_left(kind, keep):
    pruned = compress.prune(network(kind), keep=keep)
    shrunk = compress.shrink(pruned)
    weighted = [[layer for layer in model if hasattr(layer, "weight")] for model in (pruned, shrunk)]
    units = [alive(layer.weight) for layer in weighted[0][:-1]] + [3]
    fan_in = [3 if kind == "vgg" else 6, *units[:-1]]
    for layer, rows, columns in zip(weighted[1], units, fan_in, strict=True):
        assert layer.weight.shape[:2] == (rows, columns)
        assert layer.weight.untyped_storage().nbytes() == layer.weight.numel() * 4  # new memory, not a view
        assert layer.weight.requires_grad
        named = ("out_channels", "in_channels") if isinstance(layer, nn.Conv2d) else ("out_features", "in_features")
        assert tuple(getattr(layer, name) for name in named) == (rows, columns)


def test_a_shrunk_mean_field_network_keeps_its_living_particles_and_their_signs():
    pruned = compress.prune(network("mean_field"), keep=0.5)
    shrunk = compress.shrink(pruned)
    living = [k for k in range(12) if pruned.hidden.weight[k].any()]
    assert len(living) == 6
    assert torch.equal(shrunk.hidden.weight, pruned.hidden.weight[living])
    assert torch.equal(shrunk.signs, pruned.signs[:, living])
    assert (shrunk.hidden.out_features, shrunk.signs.untyped_storage().nbytes()) == (6, 3 * 6 * 4)


@pytest.mark.parametrize("size", [1e300, 1e-300, 5e-324])
def test_weights_whose_squares_are_no_floats_have_the_error_of_others(size):
    weight = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(compress.error_curve(weight * size), compress.error_curve(weight))
    assert compress.order(weight * size).tolist() == [1, 0, 2]


@pytest.mark.parametrize("work", [lambda model: compress.prune(model, keep=0.5), compress.shrink])
def test_a_model_without_values_is_refused(work):
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with pytest.raises(ValueError, match=r"^'0.weight' is on the meta device and has no values: load or draw them fir"):
        work(model)
    with pytest.raises(ValueError, match=r"^a weight on the meta device has no values"):
        compress.norms(model[0].weight)


@pytest.fixture
def process_group():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize(
    "work",
    [
        lambda model: compress.prune(model, keep=0.5),
        lambda model: compress.prune(model, keep=0.5, inplace=True),
        compress.pruning_ratio,
        compress.shrink,
        lambda model: compress.norms(model[0].weight),
    ],
)
def test_a_model_of_which_a_process_holds_a_part_is_refused(work):
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    with pytest.raises(
        ValueError, match=r"^('0.weight'|a weight) is sharded over several processes: load its full sta"
    ):
        work(model)


def test_a_share_of_hundreds_of_digits_is_out_of_range():
    with pytest.raises(ValueError, match=r"^keep is a share of units in \[0, 1\], got inf$"):
        compress.count(torch.ones(3, 2), keep=10**400)


class Keeps(nn.Module):
    """Keeps what it made of its last batch, in an attribute and in a list."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.last, self.all = nn.Linear(3, 4), nn.Linear(4, 2), None, []

    def forward(self, x):
        self.last = self.body(x).relu()
        self.all.append(self.last)
        return self.head(self.last)


@pytest.mark.parametrize("sample", [None, torch.ones(2, 3)], ids=["traced", "called"])
def test_a_network_that_keeps_its_activations_is_pruned(sample):
    model = Keeps()
    model(torch.ones(5, 3))
    last = model.last
    pruned = compress.prune(model, keep=0.5, sample=sample)
    assert int(pruned.body.weight.any(1).sum()) == 2
    assert model.last is last
    assert torch.equal(pruned.last, last)
    assert pruned.all == [pruned.last]
    assert not pruned.last.requires_grad
