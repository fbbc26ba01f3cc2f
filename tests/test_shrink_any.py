"""Any network shrinks to the same function: a zoo by checks, what stays, what is refused, Torch-Pruning beside it."""

from __future__ import annotations

import copy
import threading
from collections import deque
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils import dlpack
from torch_pruning_alone import change, compared, output, plan_of, table, theirs, unfolded
from zoo import LARGE, ZOO, Kind, Mlp, Residual, Words, filled, gen

from heavytail import compress, networks
from heavytail.compress import removing


class Case(NamedTuple):
    kind: Kind
    sample: torch.Tensor
    before: dict[str, torch.Tensor]  # the pruned network's state before it was shrunk
    pruned: nn.Module
    shrunk: nn.Module


@cache
def case(name):
    kind = {**ZOO, **LARGE}[name]
    sample = kind.sample()
    pruned = compress.prune(kind.model(), sample=sample, **kind.prune)
    next(p for p in pruned.parameters() if p.ndim >= 2).requires_grad_(False)
    pruned.train()
    before = copy.deepcopy(pruned.state_dict())
    shrunk = compress.shrink(pruned, sample=sample)
    return Case(kind, sample, before, pruned, shrunk)


def says_the_same(name):
    kind, sample, _, pruned, shrunk = case(name)
    pruned, shrunk = copy.deepcopy(pruned).eval(), copy.deepcopy(shrunk).eval()
    for batch in (sample, kind.sample(seed=8, more=1)):
        assert change(output(shrunk, batch), output(pruned, batch)) <= kind.room


def is_smaller(name):
    _, _, _, pruned, shrunk = case(name)
    assert sum(p.numel() for p in shrunk.parameters()) < sum(p.numel() for p in pruned.parameters())
    sizes = [tuple(p.shape) for p in shrunk.parameters()]
    assert all(0 not in size for size in sizes)


def leaves_the_model_alone_and_keeps_mode_flags_and_dtype(name):
    kind, _, before, pruned, shrunk = case(name)
    assert all(torch.equal(value, before[key]) for key, value in pruned.state_dict().items())
    assert pruned.training
    assert [m.training for m in shrunk.modules()] == [m.training for m in pruned.modules()]
    flags = {name: p.requires_grad for name, p in pruned.named_parameters()}
    assert not all(flags.values())
    for name, p in shrunk.named_parameters():
        assert p.requires_grad == flags.get(name, flags.get(f"{name.rpartition('.')[0]}.weight"))
        assert p.dtype == kind.dtype
    memory = {p.data_ptr() for p in pruned.parameters()}
    assert memory.isdisjoint(p.data_ptr() for p in shrunk.parameters())


def says_its_sizes(name):
    """What layers say of their sizes is what their weights have."""
    for layer in case(name).shrunk.modules():
        if isinstance(layer, nn.Linear):
            assert layer.weight.shape == (layer.out_features, layer.in_features)
        elif isinstance(layer, nn.modules.conv._ConvNd):
            sizes = layer.out_channels, layer.in_channels
            rows, columns = sizes[::-1] if layer.transposed else sizes
            assert layer.weight.shape[:2] == (rows, columns // layer.groups)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            assert layer.weight.shape == layer.running_mean.shape == (layer.num_features,)
        elif isinstance(layer, nn.Embedding):
            assert layer.weight.shape == (layer.num_embeddings, layer.embedding_dim)
        if isinstance(getattr(layer, "bias", None), torch.Tensor) and not isinstance(layer, nn.LayerNorm):
            assert len(layer.bias) == layer.weight.shape[1 if getattr(layer, "transposed", False) else 0]


def ties_stay(name):
    """Weights that were one and the same still are."""
    pruned, shrunk = case(name).pruned, case(name).shrunk
    shared = [len({id(p) for _, p in m.named_parameters(remove_duplicate=False)}) for m in (pruned, shrunk)]
    named = [len(list(m.named_parameters(remove_duplicate=False))) for m in (pruned, shrunk)]
    assert named[1] - shared[1] == named[0] - shared[0]


def is_trained_on(name):
    kind, _, _, _, shrunk = case(name)
    model = copy.deepcopy(shrunk).float().train()
    batch = kind.sample(more=1)
    result = model(batch.float() if batch.is_floating_point() else batch)
    (result["logits"] if isinstance(result, dict) else result).square().mean().backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert trained
    assert all(p.grad is None or p.grad.shape == p.shape for p in trained)
    assert any(p.grad is not None for p in trained)


class Wrapped(nn.Module):
    """A network that is no chain."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def is_seen_to_be_wrong(name):
    """Without what dead units have said outputs differ by more than the room that they have, and shrink says so."""
    kind, sample, _, pruned, _ = case(name)
    model = Wrapped(copy.deepcopy(pruned).eval().double())
    sample = sample.double() if sample.is_floating_point() else sample
    plan = plan_of(model, sample)
    assert bool(plan.folds) == kind.folds
    wrong = [replace(plan, folds=())] if kind.folds else []
    if kind.folds:
        assert change(output(unfolded(model, plan), sample), output(model, sample)) > max(1e-3, kind.room)
    weights = {name for name, p in model.named_parameters() if p.ndim >= 2}
    found = ((names, entries[0]) for names, entries in plan.kept.items() if names[0] in weights and set(entries) == {0})
    names, stays = next(found)
    gone = sorted(set(range(len(model.get_parameter(names[0])))) - {int(k) for k in stays})[: len(stays)]
    shifted = {**plan.kept, names: {0: np.array([*gone, *stays[len(gone) :]])}}  # rows that go in the place of others
    wrong.append(replace(plan, kept=shifted))
    with pytest.MonkeyPatch.context() as patch:
        for other in wrong:
            patch.setattr(removing, "removable", lambda *_, other=other: other)
            with pytest.raises(ValueError, match=r"^the shrunk network does not say what the model says"):
                compress.shrink(model, sample=sample)


def changes_less_than_by_torch_pruning(name):
    kind, sample, _, pruned, shrunk = case(name)
    pruned, shrunk = (copy.deepcopy(m).float().eval() for m in (pruned, shrunk))
    sample = sample.float() if sample.is_floating_point() else sample
    expected = output(pruned, sample)
    try:
        other, units = theirs(pruned, sample, plan_of(pruned, sample))
        found = output(other, sample)
    except Exception:  # it stops, or leaves a network that cannot be called
        assert name in STOPS
        return
    assert units > 0
    if kind.folds and kind.dtype == torch.float32:
        assert change(found, expected) > 0.01 > 1e-5 >= change(output(shrunk, sample), expected)


STOPS = {
    "functions of torch, PReLU, dict",
    "depthwise convolution, two filters a channel",
    "shufflenet_v2_x0_5",
    "attention by hand, packed heads",
}
CHECKS = (
    says_the_same,
    is_smaller,
    leaves_the_model_alone_and_keeps_mode_flags_and_dtype,
    says_its_sizes,
    ties_stay,
    is_trained_on,
    is_seen_to_be_wrong,
    changes_less_than_by_torch_pruning,
)


#: Of the largest in the zoo, whose forms smaller ones have too.
LONGEST = {(name, is_seen_to_be_wrong) for name in ("resnet18", "mobilenet_v3_small")}


PAIRS = [(name, check) for name in ZOO for check in CHECKS if (name, check) not in LONGEST]


@pytest.mark.parametrize(("name", "check"), PAIRS, ids=[f"{name}-{check.__name__}" for name, check in PAIRS])
def test_a_network_of_the_zoo_is_shrunk(name, check):
    check(name)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", LARGE)
def test_a_large_network_is_shrunk(name):
    try:
        for check in CHECKS:
            if check not in LEFT_OUT.get(name, ()):
                check(name)
    finally:
        case.cache_clear()


LEFT_OUT = {
    "swin_t": (changes_less_than_by_torch_pruning,),  # which fills the memory there and does not end
    "vit_b_16": tuple(set(CHECKS) - {says_the_same, is_smaller, says_its_sizes}),  # each other copy takes a gigabyte
}


def test_the_table_of_changes_has_a_line_for_each_network():
    few = {name: ZOO[name] for name in ("MLP, ReLU", "functions of torch, PReLU, dict")}
    lines = table(few).splitlines()
    assert len(lines) == 3
    assert compared(few["MLP, ReLU"]).theirs > 0.01
    assert lines[2].startswith("functions of torch, PReLU, dict")
    assert "RuntimeError" in lines[2]


# what a unit goes through, and where it stays


class Between(nn.Module):
    """Two linear layers, or convolutions, and something between them."""

    def __init__(self, between, axes=0, channels=6, into=None, **options):
        super().__init__()
        kind = getattr(nn, f"Conv{axes}d") if axes else nn.Linear
        size = (1,) if axes else ()
        self.enter = kind(3, channels, *size)
        self.inner = between if isinstance(between, nn.Module) else nn.Identity()
        self.between = self.inner if isinstance(between, nn.Module) else between
        self.leave = kind(into or channels, 2, *((options.pop("kernel", 1),) if axes else ()), **options)

    def forward(self, x):
        return self.leave(self.between(self.enter(x)))


def set_first(x):
    y = x.clone()
    y[:, 0] = 1.0
    return y


CONSTANT = torch.linspace(1, 2, 6)
GOES = {
    "relu": F.relu,
    "relu_": lambda x: F.relu(x, inplace=True),
    "method": lambda x: x.tanh().abs(),
    "operators": lambda x: 1 - 2 * x + x**2 / 3,
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "with itself": lambda x: x * torch.sigmoid(x),
    "dropout": nn.Dropout(0.5),
    "batch norm": nn.BatchNorm1d(6),
    "PReLU, one for each": nn.PReLU(6),
    "PReLU, one for all": nn.PReLU(),
    "there and back": lambda x: x.unsqueeze(1).transpose(1, 2).squeeze(2),
    "a sum of equals": lambda x: (x[:, None] + x[:, None]).mean(1),
    "repeated": lambda x: x.expand(2, *x.shape).mean(0),
    "changed type": lambda x: x.to(x.dtype).float().double().to(x.dtype),
}
STAYS = {
    "layer norm": nn.LayerNorm(6),
    "group norm": nn.GroupNorm(2, 6),
    "softmax": lambda x: x.softmax(-1),
    "normalised": lambda x: F.normalize(x, dim=-1),
    "sum over units": lambda x: x + x.sum(-1, keepdim=True),
    "running sum": lambda x: x.cumsum(-1),
    "turned round": lambda x: x.flip(-1),
    "moved on": lambda x: x.roll(1, -1),
    "shuffled": lambda x: x.view(-1, 2, 3).transpose(1, 2).flatten(1),
    "sorted": lambda x: x.sort(-1).values,
    "a product": lambda x: x @ torch.eye(6, dtype=x.dtype),
    "a function unseen": lambda x: 2 * dlpack.from_dlpack(dlpack.to_dlpack(x)),
    "numbers unseen": lambda x: x * CONSTANT.to(x.dtype),
    "set in place": set_first,
    "times what was given": lambda x: x * x.sum(-1, keepdim=True).sigmoid(),
    "cut by its number": lambda x: torch.cat([x[:, :3], x[:, 3:]], -1),
}


def with_zero_rows(model, rows=(0, 1, 4)):
    with torch.no_grad():
        model.enter.weight[list(rows)] = 0
    return model


def shrunk_and_held(model, shape):
    x = torch.randn(shape, generator=gen(5), dtype=torch.float64)
    model = model.double().eval()
    small = compress.shrink(model, sample=x)
    other = torch.randn(shape, generator=gen(6), dtype=torch.float64)
    for batch in (x, other):
        torch.testing.assert_close(small(batch), model(batch), rtol=1e-10, atol=1e-10)
    return small


@pytest.mark.parametrize("name", GOES)
def test_a_unit_goes_through_what_is_known(name):
    small = shrunk_and_held(with_zero_rows(filled(Between(GOES[name]))), (4, 3))
    assert small.enter.weight.shape == (3, 3)
    assert small.leave.weight.shape == (2, 3)


@pytest.mark.parametrize("name", STAYS)
def test_a_unit_stays_before_what_is_not(name):
    small = shrunk_and_held(with_zero_rows(filled(Between(STAYS[name]))), (4, 3))
    assert small.enter.weight.shape == (6, 3)


PLACES_GO = {
    "max pool": (nn.MaxPool2d(3, 1, 1), {}),
    "average": (nn.AvgPool2d(2), {}),
    "adaptive": (nn.AdaptiveAvgPool2d(3), {}),
    "larger": (nn.Upsample(scale_factor=2, mode="bilinear"), {}),
    "reflected": (nn.ReflectionPad2d(1), {}),
    "replicated": (lambda x: F.pad(x, (1, 0, 1, 0), mode="replicate"), {}),
    "padded with what it says": (lambda x: F.pad(x.relu() * 0, (1, 1)), {}),
    "mean of places": (lambda x: x.mean((2, 3), keepdim=True), {}),
    "largest of places": (lambda x: x.amax((-1,), keepdim=True), {}),
    "laid side by side": (lambda x: x.flatten(2).unflatten(2, (1, -1)), {}),
    "a border of silence": (lambda x: x * 0, {"kernel": 3, "padding": 1}),
    "a border that reflects": (nn.Sigmoid(), {"kernel": 3, "padding": 1, "padding_mode": "reflect"}),
}
PLACES_STAY = {
    "uneven average": (nn.AvgPool2d(2, padding=1), {}),
    "padded with zeros": (lambda x: F.pad(x.sigmoid(), (1, 1)), {}),
    "a border of zeros": (nn.Sigmoid(), {"kernel": 3, "padding": 1}),
    "a border of zeros, same": (nn.Sigmoid(), {"kernel": 3, "padding": "same"}),
    "sum of places": (lambda x: x.sum((2, 3), keepdim=True), {}),
    "softmax over channels": (nn.Softmax2d(), {}),
    "pool over channels": (lambda x: F.max_pool3d(x[:, None], (3, 1, 1), (1, 1, 1), (1, 0, 0))[:, 0], {}),
    "of the user's own numbers": (lambda x: x + torch.linspace(0, 1, x.shape[-1], dtype=x.dtype), {}),
}


@pytest.mark.parametrize("name", [*PLACES_GO, *PLACES_STAY])
def test_a_channel_goes_where_it_says_the_same_at_every_place(name):
    between, options = {**PLACES_GO, **PLACES_STAY}[name]
    model = with_zero_rows(filled(Between(between, 2, **options)))
    small = shrunk_and_held(model, (2, 3, 6, 6))
    assert small.enter.weight.shape[0] == (3 if name in PLACES_GO else 6)


def test_a_channel_before_a_transposed_convolution_goes_if_it_is_silent_and_one_behind_it_always():
    def make(bias):
        model = nn.Sequential(
            nn.Conv1d(2, 4, 1), nn.ReLU(), nn.ConvTranspose1d(4, 5, 3), nn.Sigmoid(), nn.Conv1d(5, 2, 1)
        )
        with torch.no_grad():
            filled(model)[0].weight[:2] = 0
            model[0].bias[:2] = bias
            model[2].weight[:, 1:3] = 0
        return model

    for bias, left in ((-1.0, 2), (1.0, 4)):
        small = shrunk_and_held(make(bias), (2, 2, 7))
        assert small[2].weight.shape[:2] == (left, 3)
        assert (small[2].in_channels, small[2].out_channels) == (left, 3)


def test_a_depthwise_filter_of_zeros_takes_the_channel_that_it_hears_along():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4, padding=1), nn.Sigmoid(), nn.Conv2d(4, 2, 1)
    )
    with torch.no_grad():
        filled(model)[2].weight[1] = 0
    small = shrunk_and_held(model, (2, 2, 5, 5))
    assert [len(small[k].weight) for k in (0, 2)] == [3, 3]
    assert small[2].groups == small[2].in_channels == 3


def test_of_a_grouped_convolution_a_group_goes_when_all_its_filters_are_zero():
    for rows, groups in (([0, 1, 2], 1), ([0, 1], 2), ([0, 3], 2)):
        model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 6, 3, groups=2), nn.Sigmoid(), nn.Conv2d(6, 2, 1))
        with torch.no_grad():
            filled(model)[1].weight[rows] = 0
        small = shrunk_and_held(model, (2, 2, 5, 5))
        assert (small[1].groups, small[0].out_channels, small[3].in_channels) == (groups, 2 * groups, 3 * groups)


def test_a_unit_that_only_happens_to_be_silent_stays():
    model = filled(Between(F.relu))
    with torch.no_grad():
        model.enter.bias[:3] = -100.0  # no input of the sample lifts it above 0, another one may
    assert shrunk_and_held(model, (4, 3)).enter.weight.shape == (6, 3)


def test_a_channel_of_a_skip_connection_goes_when_all_that_write_to_it_are_zero():
    model = filled(Residual())
    with torch.no_grad():
        model.begin.weight[:3] = 0
        model.outer[0].weight[:2] = 0
        model.outer[1].weight[1:5] = 0
    small = shrunk_and_held(model, (2, 3, 6, 6))
    assert [layer.out_channels for layer in (small.begin, *small.outer)] == [8, 8, 8]  # what says φ(bias) meets zeros
    with torch.no_grad():
        for layer in (model.begin, *model.outer):
            layer.bias[1] = -abs(layer.bias[1])  # now the one that all of them leave out is silent behind the ReLU
    small = shrunk_and_held(model, (2, 3, 6, 6))
    assert [layer.out_channels for layer in (small.begin, *small.outer)] == [7, 7, 7]
    assert small.head.in_features == 7


def test_a_bias_that_is_missing_is_made():
    model = filled(Between(torch.sigmoid, bias=False))
    small = shrunk_and_held(with_zero_rows(model), (4, 3))
    said = model.leave.weight[:, [0, 1, 4]] @ model.enter.bias[[0, 1, 4]].sigmoid()
    torch.testing.assert_close(small.leave.bias, said)
    assert model.leave.bias is None


class Reads(nn.Module):
    """Two layers that have their bias in common."""

    def __init__(self):
        super().__init__()
        self.enter, self.one, self.other = nn.Linear(3, 6), nn.Linear(6, 2), nn.Linear(6, 2)
        self.other.bias = self.one.bias

    def forward(self, x):
        x = self.enter(x).sigmoid()
        return self.one(x) * self.other(x)


class Adds(nn.Module):
    """A bias that is also added elsewhere."""

    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.leave(self.enter(x).sigmoid()) + 2 * self.leave.bias


@pytest.mark.parametrize("kind", [Reads, Adds])
def test_a_bias_that_serves_two_ends_takes_on_nothing(kind):
    assert shrunk_and_held(with_zero_rows(filled(kind())), (4, 3)).enter.weight.shape == (6, 3)


class WritesDown(nn.Module):
    """A network whose code has the number of its channels in it."""

    def __init__(self):
        super().__init__()
        self.enter, self.inner, self.leave = nn.Conv2d(2, 4, 1), nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = self.enter(x).sigmoid().view(len(x), 4, -1).transpose(1, 2)
        return self.leave(self.inner(x).sigmoid())


def test_a_number_of_units_that_is_written_in_the_code_is_kept():
    model = filled(WritesDown())
    with torch.no_grad():
        model.enter.weight[:2] = 0
        model.inner.weight[:3] = 0
    small = shrunk_and_held(model, (2, 2, 3, 3))
    assert [len(layer.weight) for layer in (small.enter, small.inner)] == [4, 3]


def test_heads_stay_and_the_layers_beside_them_go():
    model = filled(Words())
    sample = torch.randint(11, (2, 5), generator=gen())
    small = compress.shrink(compress.prune(model, keep=0.5, sample=sample), sample=sample)
    assert [small.wide.out_features, small.query.out_features, small.narrow.out_features] == [10, 12, 12]
    assert small.head.weight is small.table.weight


def test_samples_are_tensors_tuples_and_dicts_and_outputs_are_anything_with_tensors():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.enter, self.leave = nn.Linear(3, 6), nn.Linear(6, 2)

        def forward(self, x, scale, flag=True):
            y = self.leave(torch.tanh(self.enter(x)) * scale)
            return {"y": (y, [y.argmax(-1)]), "flag": flag}

    model, x, scale = with_zero_rows(filled(Two())), torch.randn(4, 3, generator=gen()), torch.tensor(2.0)
    for sample in ((x, scale), [x, scale], {"scale": scale, "x": x, "flag": False}):
        small = compress.shrink(model, sample=sample)
        assert small.enter.out_features == 6  # another scale would say something else
    with torch.no_grad():
        model.enter.bias[[0, 1]] = 0
    small = compress.shrink(model, sample=(x, scale))
    assert small.enter.out_features == 4  # silence times anything is silence
    torch.testing.assert_close(small(x, scale)["y"][0], model(x, scale)["y"][0])


def test_memory_formats_stay():
    kind = ZOO["skip connections"]
    model = compress.prune(kind.model(), sample=kind.sample(), **kind.prune).to(memory_format=torch.channels_last)
    small = compress.shrink(model, sample=kind.sample())
    assert small.inner[0].weight.shape[0] < model.inner[0].weight.shape[0]
    assert small.inner[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not small.inner[0].weight.is_contiguous()


def test_the_random_state_is_left_and_a_network_that_draws_is_refused():
    model = with_zero_rows(filled(Between(lambda x: F.dropout(x, 0.5, training=True))))
    torch.manual_seed(3)
    state = torch.get_rng_state()
    small = compress.shrink(model, sample=torch.ones(4, 3))
    assert small.enter.out_features == 6
    assert torch.equal(torch.get_rng_state(), state)


# what is refused


class Asks(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.enter, self.leave, self.how = nn.Linear(3, 6), nn.Linear(6, 2), how

    def forward(self, x):
        x = self.enter(x)
        return self.leave(x.relu() if self.how(x) else x)


class Catches(Asks):
    def forward(self, x):
        try:
            return super().forward(x)
        except ValueError:
            return self.leave(self.enter(x).relu())


class Nothing(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(3, 6)

    def forward(self, x):
        return "a word"


def mlp():
    return with_zero_rows(filled(Mlp(torch.tanh)))


def hooked(register):
    model = mlp()
    getattr(model.body[1], register)(lambda *_: None)
    return model


def parametrized():
    model = mlp()
    parametrizations.weight_norm(model.body[0])
    return model


def quantised():
    return torch.ao.quantization.quantize_dynamic(mlp(), {nn.Linear}, dtype=torch.qint8)


def sparse():
    model = mlp()
    model.body[0].weight = nn.Parameter(model.body[0].weight.detach().to_sparse())
    return model


def with_nan(layer):
    if isinstance(layer, nn.Linear):
        nn.init.constant_(layer.bias, torch.nan)


def empty():
    model = mlp()
    model.body.append(nn.Linear(4, 0))
    return model


REFUSED = {
    "a sample that does not fit": (mlp, torch.ones(2, 5), r"^the model cannot be called with sample=: mat1 and mat2"),
    "a call that fails without words": (
        lambda: Between(lambda x: [][1]),
        torch.ones(2, 3),
        r"^the model cannot be called with sample=: list index out of range$",
    ),
    "asks if": (lambda: Asks(lambda x: x.sum() > 0), torch.ones(2, 3), r"^the model asks what its values are"),
    "asks for a number": (lambda: Asks(lambda x: x[0, 0].item()), torch.ones(2, 3), r"asks what its values are"),
    "asks for an array": (lambda: Asks(lambda x: x.numpy().sum()), torch.ones(2, 3), r"asks what its values are"),
    "asks where": (lambda: Asks(lambda x: len(x[:, 0].nonzero())), torch.ones(2, 3), r"asks what its values are"),
    "takes some by a mask": (lambda: Asks(lambda x: len(x[x > 0])), torch.ones(2, 3), r"asks what its values are"),
    "asks inside": (
        lambda: Wrapped(Asks(lambda x: bool(x.max() > 1))),
        torch.ones(2, 3),
        r"^layer 'inner' asks what its values are, so that another input may go another way",
    ),
    "asks, and hears nothing": (lambda: Catches(lambda x: x.sum() > 0), torch.ones(2, 3), r"asks what its values are"),
    "hook": (lambda: hooked("register_forward_hook"), torch.ones(2, 6), r"^layer 'body.1' has a hook, mask or forward"),
    "pre-hook": (lambda: hooked("register_forward_pre_hook"), torch.ones(2, 6), r"^layer 'body.1' has a hook, mask"),
    "parametrization": (parametrized, torch.ones(2, 6), r"^layer 'body.0' is parametrized: remove"),
    "LSTM": (lambda: Wrapped(nn.LSTM(3, 4)), torch.ones(2, 5, 3), r"^layer 'inner' is recurrent \(LSTM\)"),
    "GRU": (lambda: Wrapped(nn.GRU(3, 4)), torch.ones(2, 5, 3), r"^layer 'inner' is recurrent \(GRU\)"),
    "RNN": (lambda: Wrapped(nn.RNN(3, 4)), torch.ones(2, 5, 3), r"^layer 'inner' is recurrent \(RNN\)"),
    "cell": (lambda: Wrapped(nn.GRUCell(3, 4)), torch.ones(2, 3), r"^layer 'inner' is recurrent \(GRUCell\)"),
    "quantised": (
        quantised,
        torch.ones(2, 6),
        r"^layer 'enter' is quantised \(Linear\): prune and shrink the model first",
    ),
    "traced": (
        lambda: Wrapped(torch.jit.trace(mlp(), torch.ones(2, 6))),
        torch.ones(2, 6),
        r"^layer 'inner' is scripted",
    ),
    "sparse": (sparse, torch.ones(2, 6), r"^'body.0.weight' is sparse: call to_dense\(\) on it first$"),
    "nothing but nan": (
        lambda: Between(lambda x: x * torch.nan),
        torch.ones(2, 3),
        r"^the model says nothing but nan or infinity of the sample, so nothing can be compared: correct its weights",
    ),
    "nothing but nan in a chain": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).apply(with_nan),
        None,
        r"^the model says nothing but nan or infinity of the sample",
    ),
    "scripted": (lambda: torch.jit.script(nn.Linear(3, 2)), torch.ones(2, 3), r"^the model is scripted"),
    "no units": (empty, torch.ones(2, 6), r"^'body.2.weight' has no units: an axis of it is empty$"),
    "no shape": (lambda: Wrapped(nn.LazyLinear(3)), torch.ones(2, 6), r"^'inner.weight' has no shape yet"),
    "no values": (lambda: Mlp(torch.tanh).to("meta"), torch.ones(2, 6), r"^'enter.weight' is on the meta device"),
    "no tensor": (Nothing, torch.ones(2, 3), r"^the model returns no tensor, but a str"),
    "no sample": (mlp, None, r"^without sample= shrink knows a chain of layers .*, not a Mlp: pass sample="),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_shrunk_is_refused_in_one_sentence_and_left_as_it_was(name):
    make, sample, sentence = REFUSED[name]
    model = make()
    state = {key: value for key, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    before = {
        key: (value, copy.deepcopy(value), value._version if name != "no shape" else 0) for key, value in state.items()
    }
    with pytest.raises(ValueError, match=sentence) as told:
        compress.shrink(model, sample=sample)
    assert "\n" not in str(told.value)
    if name not in ("no shape", "no values"):
        same = [(value.to_dense().nan_to_num(), was.to_dense().nan_to_num()) for value, was, _ in before.values()]
        assert all(torch.equal(value, was) for value, was in same)


def test_what_is_no_network_is_refused():
    with pytest.raises(TypeError, match=r"^a network to shrink is a torch.nn.Module, got a?\w*"):
        compress.shrink([nn.Linear(3, 2)], sample=torch.ones(1, 3))


BY_HAND = {
    "float": lambda x: torch.relu(x).float(),
    "to": lambda x: torch.relu(x.to(torch.float32)),
    "half": lambda x: x.half().to(dtype=torch.float32).sigmoid(),
    "type": lambda x: x.type(torch.float32).sigmoid(),
    "numbers of the default type": lambda x: torch.relu(x) @ torch.eye(6),
    "zeros": lambda x: x.sigmoid() + torch.zeros(1, 6, dtype=torch.float32),
    "softmax": lambda x: x.sigmoid() * x.softmax(0, dtype=torch.float32)[:, :1],
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, torch.float32) for name in BY_HAND), ("to", torch.bfloat16), ("half", torch.bfloat16)],
    ids=str,
)
def test_a_type_that_is_named_in_the_code_is_no_reason_to_refuse(name, dtype):
    model = with_zero_rows(filled(Between(lambda x: BY_HAND[name](x).to(dtype)))).to(dtype)
    x = torch.randn(4, 3, generator=gen(5)).to(dtype)
    small = compress.shrink(model, x)
    assert small.enter.weight.dtype == dtype
    assert torch.get_default_dtype() == torch.float32
    room = 0.03 if dtype == torch.bfloat16 else 2e-3 if name == "half" else 1e-6
    torch.testing.assert_close(small(2 * x), model(2 * x), rtol=room, atol=room)
    assert len(small.enter.weight) == (6 if name in ("numbers of the default type", "zeros", "softmax") else 3)


class Holds(nn.Module):
    """Numbers in float32 that are neither a parameter nor a buffer."""

    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(3, 6), nn.Linear(6, 2)
        self.table = torch.linspace(-1, 1, 9).view(3, 3)

    def forward(self, x):
        return self.leave(self.enter(x @ self.table).sigmoid())


def test_numbers_that_a_layer_holds_are_as_wide_as_its_weights_and_stay_what_they_were():
    model, x = with_zero_rows(filled(Holds())), torch.randn(4, 3, generator=gen(5))
    small = compress.shrink(model, x)
    assert len(small.enter.weight) == 3
    assert small.table.dtype == torch.float32
    torch.testing.assert_close(small(-x), model(-x))


@pytest.mark.parametrize("work", ["prune", "coupled", "shrink", "pruning_ratio"])
def test_inference_mode_changes_nothing(work):
    model = with_zero_rows(filled(Between(torch.sigmoid)))
    with torch.inference_mode():
        x = torch.randn(4, 3, generator=gen(5))
        if work == "pruning_ratio":
            assert compress.pruning_ratio(model, x) == 0.5 * 18 / 18
            return
        options = {"keep": 0.5} if work != "shrink" else {}
        options |= {"coupled": True} if work == "coupled" else {}
        made = getattr(compress, "shrink" if work == "shrink" else "prune")(model, sample=x, **options)
    made(x.clone()).sum().backward()  # it can be trained
    assert made.enter.weight.grad is not None
    with torch.inference_mode():
        within = filled(Between(torch.sigmoid))
    if work != "shrink":
        with pytest.raises(
            ValueError, match=r"^'enter.weight' was made within torch.inference_mode\(\): make the model"
        ):
            compress.prune(within, sample=x, **options)


ASKS_SIZES = {
    "shape": lambda x: x.sigmoid() / x.shape[1],
    "size": lambda x: x.sigmoid() / x.size(-1),
    "numbers": lambda x: x.sigmoid() / (x.numel() / len(x)),
    "places in a list": lambda x: x.sigmoid()[..., [0, 1, 2, 3, 4, 5]],
}


@pytest.mark.parametrize("name", ASKS_SIZES)
def test_units_whose_number_the_code_asks_for_stay(name):
    model = with_zero_rows(filled(Between(ASKS_SIZES[name])))
    assert shrunk_and_held(model, (4, 3)).enter.out_features == 6


class Placed(nn.Module):
    """Adds to every unit what depends on the place, of which a sample may have one."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 20), nn.Linear(20, 20), nn.Linear(20, 4)

    def forward(self, x):
        hidden = self.b(torch.relu(self.a(x))) + torch.arange(x.shape[1]).view(1, -1, 1)
        return self.c(torch.relu(hidden))


def test_what_is_one_number_on_the_sample_alone_is_no_constant():
    torch.manual_seed(0)
    sample, longer = torch.randn(3, 1, 6), torch.randn(3, 5, 6)
    pruned = compress.prune(Placed().eval(), keep=0.3, sample=sample)
    small = compress.shrink(pruned, sample)
    torch.testing.assert_close(small(longer), pruned(longer))
    assert small.a.out_features < 20  # what comes before the sum still goes


class Divided(nn.Module):
    """Divides what its units say by the number of samples."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 20), nn.Linear(20, 4)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)) / len(x))


def test_a_unit_whose_constant_hangs_on_the_number_of_samples_is_not_taken_for_one():
    torch.manual_seed(0)
    sample = torch.randn(3, 6)
    pruned = compress.prune(Divided().eval(), keep=0.3, sample=sample)
    with pytest.raises(ValueError, match=r"does not say what the model says of the sample"):
        compress.shrink(pruned, sample)


class Hides(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.a, self.b, self.kind = nn.Linear(6, 20), nn.Linear(20, 4), kind

    def forward(self, x):
        hidden = torch.relu(self.a(x))
        return self.b(hidden), self.kind([hidden])


@pytest.mark.parametrize("kind", [deque, set, iter])
def test_outputs_that_nobody_finds_are_refused(kind):
    sample = torch.randn(3, 6, generator=gen())
    pruned = compress.prune(Hides(list), keep=0.3, sample=sample)
    pruned.kind = kind
    with pytest.raises(
        ValueError, match=r"^the model returns a \w+, in which shrink cannot see what is needed: return t"
    ):
        compress.shrink(pruned, sample)


@pytest.mark.parametrize("work", ["prune", "taken", "shrink", "hidden_weights"])
def test_a_table_that_is_kept_within_a_norm_is_as_it_was(work):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 4, max_norm=0.5), nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    tokens, before = torch.tensor([[1, 2, 3]]), model[0].weight.detach().clone()
    if work == "taken":
        compress.taken(model, model, sample=tokens)
    elif work == "hidden_weights":
        networks.hidden_weights(model, tokens)
    else:
        getattr(compress, work)(model, **({"keep": 0.5} if work == "prune" else {}), sample=tokens)
    assert torch.equal(model[0].weight, before)
    assert float(before.norm(dim=1).max()) > 0.5


def test_what_cannot_be_copied_is_said_once():
    model = Placed()
    model.lock = threading.Lock()
    with pytest.raises(ValueError, match=r"^a Placed cannot be copied: cannot pickle"):
        compress.shrink(model, torch.zeros(2, 3, 6))
