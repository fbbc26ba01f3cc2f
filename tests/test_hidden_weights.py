"""Which weights of a network are hidden and which are its output: told by what is called, not by who is registered."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from networks_of_others import HeadFirst, Recurrent
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

import heavytail
from heavytail import hidden_weights, networks
from heavytail.networks import output_weights


class ConvolutionsBackwards(nn.Module):
    """A residual network whose layers are registered from the last to the first."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.second, self.first, self.stem = nn.Linear(4, 2), conv(4, 4), conv(4, 4), conv(3, 4)
        self.norm, self.place = nn.LayerNorm([4, 6, 6]), nn.Parameter(torch.zeros(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x) + self.place
        h = h + self.first(self.norm(h)).relu()
        h += self.second(h).relu()
        return self.fc(h.mean((2, 3)))


def conv(inputs: int, filters: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, filters, 3, padding=1, stride=1)


class Heads(nn.Module):
    """Two outputs, and the features that they are made from."""

    def __init__(self) -> None:
        super().__init__()
        self.value, self.choice, self.body = nn.Linear(4, 1), nn.Linear(4, 3), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> dict[str, Any]:
        h = self.body(x).relu()
        return {"value": self.value(h), "rest": [self.choice(h)], "features": h}


class Tied(nn.Module):
    """Words in and out by one table, used by two layers or by a function."""

    def __init__(self, by_function: bool) -> None:
        super().__init__()
        self.words, self.body, self.head = nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 5)
        self.head.weight = self.words.weight
        self.by_function = by_function

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(self.words(x)).relu()
        return F.linear(h, self.words.weight) if self.by_function else self.head(h)


class Unrolled(nn.Module):
    """One cell called once for every step in time: no trace can follow it."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.cell = nn.Linear(4, 2), nn.GRUCell(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 4)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.head(h)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.body, self.other = nn.Linear(3, 2), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x) if x.sum() > 0 else self.other(x))


class OwnMatrices(nn.Module):
    """Weights without layers, one with a product of small ones added; a table of places that multiplies none."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first, self.full = (nn.Parameter(torch.ones(*s)) for s in ((4, 2), (3, 4), (4, 4)))
        self.tall, self.wide, self.places = (nn.Parameter(torch.ones(*s)) for s in ((4, 1), (1, 4), (1, 4)))

    def forward(self, x: Tensor) -> Tensor:
        h = (x @ self.first + self.places).relu()
        return torch.einsum("bi,ij->bj", h, self.full + self.tall @ self.wide).relu().matmul(self.last)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.both = nn.Linear(4, 2), nn.Bilinear(3, 2, 4)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head(self.both(x, y))


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.head, self.body, self.reentrant = nn.Linear(3, 2), nn.Linear(3, 3), reentrant

    def forward(self, x: Tensor) -> Tensor:
        return self.head(checkpoint(self.body, x, use_reentrant=self.reentrant))


class Stateful(nn.Module):
    """Counts its calls in a buffer, replaces another, draws random numbers, and changes its input in place."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body, self.norm = nn.Linear(4, 2), nn.Linear(3, 4), nn.BatchNorm1d(4)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.mean = self.mean + x.mean(0)
        x.mul_(2).add_(torch.randn(3))
        return self.head(self.norm(self.body(x)))


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 4), nn.Tanh()), nn.Linear(4, 2))


def spatial(axes: int, transposed: bool = False) -> nn.Sequential:
    plain = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    second = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 1] if transposed else plain
    return nn.Sequential(plain(2, 3, 1), nn.ReLU(), second(3, 3, 1), nn.Flatten(), nn.Linear(3 * 2**axes, 2))


WORDS = torch.tensor([[1, 2, 0]])
IN_PROJECTION = "layers.0.self_attn.in_proj_weight"
# What is built, a sample, the hidden weights, the output weights, and whether they are told without the sample too.
CASES: dict[str, tuple[Any, Any, list[str], list[str], bool]] = {
    "a chain": (mlp, torch.ones(1, 3), ["0.weight", "2.0.weight"], ["3.weight"], True),
    "one layer": (lambda: nn.Linear(3, 2), torch.ones(1, 3), [], ["weight"], True),
    "head first": (HeadFirst, torch.ones(1, 3), ["body.weight"], ["head.weight"], True),
    "residual": (
        ConvolutionsBackwards, torch.ones(1, 3, 6, 6), ["second.weight", "first.weight"], ["fc.weight"], True,
    ),
    "heads": (Heads, torch.ones(1, 3), ["body.weight"], ["value.weight", "choice.weight"], True),
    "tied layers": (lambda: Tied(False), WORDS, ["body.weight"], ["words.weight"], True),
    "tied by a function": (lambda: Tied(True), WORDS, ["body.weight"], ["words.weight"], True),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 2)),
        WORDS, ["0.weight", "1.weight"], ["2.weight"], True,
    ),
    "embedding bag": (
        lambda: nn.Sequential(nn.EmbeddingBag(5, 4), nn.Linear(4, 4), nn.Linear(4, 2)),
        WORDS, ["0.weight", "1.weight"], ["2.weight"], True,
    ),
    **{
        kind.__name__: (
            lambda kind=kind: Recurrent(kind, layers=2),
            torch.ones(1, 5, 3),
            [f"cells.weight_{w}h_l{layer}" for layer in (0, 1) for w in "ih"], ["head.weight"], True,
        )
        for kind in (nn.LSTM, nn.GRU, nn.RNN)
    },
    "a cell in time": (Unrolled, torch.ones(1, 5, 3), ["cell.weight_ih", "cell.weight_hh"], ["head.weight"], False),
    "a branch": (Branching, torch.ones(1, 3), ["body.weight"], ["head.weight"], False),
    "own matrices": (OwnMatrices, torch.ones(1, 3), ["first", "full", "tall", "wide"], ["last"], True),
    "an encoder without a head": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 1),
        torch.ones(2, 3, 4),
        [IN_PROJECTION, "layers.0.self_attn.out_proj.weight", "layers.0.linear1.weight"], ["layers.0.linear2.weight"],
        False,
    ),
    "attention": (
        lambda: nn.MultiheadAttention(4, 2, kdim=3, vdim=3),
        (torch.ones(1, 1, 4), torch.ones(1, 1, 3), torch.ones(1, 1, 3)),
        ["q_proj_weight", "k_proj_weight", "v_proj_weight"], ["out_proj.weight"], True,
    ),
    "bilinear": (
        Pair, (torch.ones(1, 3), torch.ones(1, 2)), ["both.weight"], ["head.weight"], True,
    ),
    **{
        f"{axes}-d{' transposed' * back}": (
            lambda axes=axes, back=back: spatial(axes, back),
            torch.ones(1, 2, *[2] * axes), ["2.weight"], ["4.weight"], True,
        )
        for axes in (1, 2, 3) for back in (False, True)
    },
    "an encoder and a decoder of images": (
        lambda: nn.Sequential(conv(1, 3), conv(3, 3), nn.ConvTranspose2d(3, 1, 2, 2)), torch.ones(1, 1, 4, 4),
        ["1.weight"], ["2.weight"], True,
    ),
    "a checkpoint": (lambda: Checkpointed(False), torch.ones(1, 3), ["body.weight"], ["head.weight"], True),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_hidden_and_output_weights_are_told_by_what_is_called(case: str) -> None:
    build, sample, hidden, output, readable = CASES[case]
    model = build()
    own = dict(model.named_parameters())
    for given in [sample, *([None] if readable else [])]:
        assert list(hidden_weights(model, given)) == hidden
        assert list(output_weights(model, given)) == output
        for name, weight in (hidden_weights(model, given) | output_weights(model, given)).items():
            assert weight is own[name]
    if not readable:
        with pytest.raises(
            ValueError, match=rf"^the order in which a {type(model).__name__} .*pass sample=, one batch"
        ):
            hidden_weights(model)


@pytest.mark.parametrize("network", [("fcn", (7,), 3), ("mean_field", (7,), 1), ("vgg", (3, 32, 32), 1)])
def test_the_papers_networks_need_no_sample_and_agree_with_one(network: tuple[str, tuple[int, ...], int]) -> None:
    name, shape, depth = network
    model = networks.build(name, shape, 5, width=2, depth=depth, generator=torch.Generator().manual_seed(1))
    sample = torch.ones(2, *shape)
    assert list(hidden_weights(model)) == list(hidden_weights(model, sample)) != []
    assert list(output_weights(model)) == list(output_weights(model, sample))


def test_a_sample_is_one_batch_its_arguments_or_its_named_arguments() -> None:
    model = HeadFirst()
    x = torch.ones(1, 3)
    for sample in (x, (x,), [x], {"x": x}):
        assert list(hidden_weights(model, sample)) == ["body.weight"]


def test_frozen_weights_are_left_alone_unless_all_are_frozen() -> None:
    model = mlp()
    model[0].requires_grad_(False)
    for sample in (None, torch.ones(1, 3)):
        assert list(hidden_weights(model, sample)) == ["2.0.weight"]
    model.requires_grad_(False)  # a network that is not trained any more is pruned as it is
    for sample in (None, torch.ones(1, 3)):
        assert list(hidden_weights(model, sample)) == ["0.weight", "2.0.weight"]
        assert list(output_weights(model, sample)) == ["3.weight"]


def test_a_frozen_first_convolution_is_still_the_first() -> None:
    model = nn.Sequential(conv(1, 2), conv(2, 2), nn.Flatten(), nn.Linear(8, 2))
    model[0].requires_grad_(False)
    assert list(hidden_weights(model)) == list(hidden_weights(model, torch.ones(1, 1, 2, 2))) == ["1.weight"]


@pytest.mark.parametrize("training", [True, False])
def test_a_call_with_a_sample_leaves_no_trace(training: bool) -> None:
    model = Stateful().train(training)
    model.norm.eval()
    model.head.bias.requires_grad_(False)
    buffers = dict(model.named_buffers())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random, x = torch.random.get_rng_state(), torch.ones(2, 3)
    with torch.no_grad():
        assert list(hidden_weights(model, x)) == ["body.weight"]
    with torch.inference_mode():
        assert list(output_weights(model, x)) == ["head.weight"]
    assert torch.equal(random, torch.random.get_rng_state())
    assert torch.equal(x, torch.ones(2, 3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(tensor is buffers[name] for name, tensor in model.named_buffers())
    assert [module.training for module in (model, model.body, model.norm)] == [training, training, False]
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["head.bias"]
    assert all(p.grad is None for p in model.parameters())


def test_a_trace_draws_no_random_numbers() -> None:
    class Draws(HeadFirst):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + torch.randn(3))

    model, random = Draws(), torch.random.get_rng_state()
    assert list(hidden_weights(model)) == ["body.weight"]
    assert torch.equal(random, torch.random.get_rng_state())


@pytest.mark.long
def test_a_compiled_or_distributed_model_is_that_which_it_wraps() -> None:
    model = HeadFirst()
    assert list(hidden_weights(nn.DataParallel(model))) == ["module.body.weight"]
    compiled = torch.compile(model, backend="eager")
    for sample in (None, torch.ones(1, 3)):
        assert list(hidden_weights(compiled, sample)) == ["_orig_mod.body.weight"]


@pytest.mark.parametrize("part", ["layer", "function", "network in place"])
@pytest.mark.long
def test_compiled_parts_are_seen_as_they_were_written(part: str) -> None:
    compiled = partial(torch.compile, backend="aot_eager")
    model = mlp()
    if part == "layer":
        model[2][0] = compiled(model[2][0])
    elif part == "function":
        model[2].forward = compiled(model[2].forward)
    else:
        model.compile(backend="aot_eager")
    model(torch.ones(1, 3))  # compiled by now
    hidden = hidden_weights(model, torch.ones(1, 3)).values()
    assert [tuple(weight.shape) for weight in hidden] == [(4, 3), (4, 4)]
    assert list(output_weights(model, torch.ones(1, 3))) == ["3.weight"]


MADE_ANEW = {
    "weight_norm": parametrizations.weight_norm,
    "old weight_norm": weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "old spectral_norm": spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "prune": lambda layer: prune.l1_unstructured(layer, "weight", 2),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("sample", [None, torch.ones(1, 3)], ids=["read", "called"])
@pytest.mark.parametrize("kind", MADE_ANEW)
def test_a_hidden_weight_that_is_made_anew_at_every_call_is_refused_by_name(kind: str, sample: Any) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), MADE_ANEW[kind](nn.Linear(4, 4)), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"^the weight of layer '2' is parametrized or masked, so .* first$"):
        hidden_weights(model, sample)
    as_output = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), MADE_ANEW[kind](nn.Linear(4, 2)))
    assert list(hidden_weights(as_output, sample)) == ["0.weight"]  # an output weight is left alone in any case


def test_a_sample_that_the_model_cannot_take_is_refused_with_its_reason() -> None:
    with pytest.raises(ValueError, match=r"^the model cannot be called with sample=: mat1 and mat2 shapes .*$"):
        hidden_weights(mlp(), torch.ones(1, 7))


@pytest.mark.parametrize("sample", [None, torch.ones(1, 3)], ids=["read", "called"])
def test_a_layer_without_a_shape_is_refused_until_it_has_one(sample: Any) -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyLinear(2))
    with pytest.raises(ValueError, match=r"^a layer of the model has no shape yet: call the model once with a batch"):
        hidden_weights(model, sample)
    model(torch.ones(1, 3))
    assert list(hidden_weights(model, sample)) == ["0.weight"]


def test_an_output_that_comes_from_no_weight_is_refused() -> None:
    class Detached(HeadFirst):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    with pytest.raises(ValueError, match=r"^no output of the model comes from one of its weights: pass the sample= of"):
        hidden_weights(Detached(), torch.ones(1, 3))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_a_checkpoint_that_hides_its_layers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a reentrant checkpoint hides the layers in it: .* use_reentrant=False$"):
        hidden_weights(Checkpointed(True), torch.ones(1, 3))


class Keeping(nn.Module):
    """Keeps a mask from its first call, a state, a list and a mapping of what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body, self.mask, self.state = nn.Linear(4, 2), nn.Linear(3, 4), None, torch.zeros(4)
        self.log, self.last = [], {"calls": [0]}

    def forward(self, x: Tensor) -> Tensor:
        if self.mask is None:
            self.mask = torch.ones(self.body.weight.shape[1]) * x.new_ones(())
        self.log.append(x)
        self.last["calls"][0], self.last["x"] = self.last["calls"][0] + 1, x
        self.state = self.state + self.body(x * self.mask).relu()
        return self.head(self.state)


@pytest.mark.parametrize("sample", [None, torch.ones(5, 3)], ids=["traced", "called"])
def test_attributes_that_a_call_changes_are_what_they_were(sample: Any) -> None:
    model = Keeping()
    log, last, state = model.log, model.last, model.state
    assert list(hidden_weights(model, sample)) == ["body.weight"]
    assert model.mask is None
    assert model.state is state
    assert not state.any()
    assert (model.log is log, model.last is last, log, last) == (True, True, [], {"calls": [0]})
    assert type(model(torch.ones(2, 3))) is Tensor  # of another batch size than the sample


class Asking(nn.Module):
    """Takes another way for another kind of input, or of arguments."""

    def __init__(self, ask: Any) -> None:
        super().__init__()
        self.head, self.body, self.other, self.ask = nn.Linear(3, 2), nn.Linear(3, 3), nn.Linear(3, 3), ask

    def forward(self, x: Tensor, state: Any = None, **more: Any) -> Tensor:
        return self.head(self.body(x) if self.ask(x, state, more) else self.other(x))


def guarded(x: Any, *_: Any) -> bool:
    try:
        return bool(x.mean() > 0)
    except Exception:
        return False


QUESTIONS: dict[str, tuple[Any, bool]] = {  # and whether a trace can tell
    "default": (lambda x, state, more: state is None, True),
    "isinstance": (lambda x, state, more: isinstance(x, Tensor), False),
    "is_tensor": (lambda x, state, more: torch.is_tensor(x), False),
    "attribute": (lambda x, state, more: not hasattr(x, "keys_of_mine"), False),
    "more": (lambda x, state, more: more.get("y") is None, False),
    "caught": (guarded, False),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_branch_is_that_which_a_call_takes_or_a_sample_is_asked_for(question: str) -> None:
    ask, readable = QUESTIONS[question]
    model = Asking(ask)
    assert list(hidden_weights(model, torch.ones(1, 3))) == ["body.weight"]
    if readable:
        assert list(hidden_weights(model)) == ["body.weight"]
    else:
        with pytest.raises(ValueError, match=r"^the order in which a Asking .*pass sample=, one batch"):
            hidden_weights(model)


def wrapped(x: Tensor, weight: Tensor) -> Tensor:
    return F.linear(x, weight)


torch.fx.wrap("wrapped")


def by_wrapped(x: Tensor, weight: Tensor) -> Tensor:
    return wrapped(x, weight)


class Branches(nn.Module):
    """Two ways to two heads, joined as each test says."""

    def __init__(self, join: Any) -> None:
        super().__init__()
        self.left, self.right, self.one, self.two = (nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 2))
        self.join = join

    def forward(self, x: Tensor) -> Any:
        return self.join(self.one(self.left(x)), self.two, self.right(x))


def in_a_view(a: Tensor, two: Any, b: Tensor) -> Tensor:
    a[:, :1].add_(two(b)[:, :1])
    return a


def by_a_view(a: Tensor, two: Any, b: Tensor) -> Tensor:
    part = a[:, :1]
    part += two(b)[:, :1]
    return a


JOINS = {
    "in place in a view": in_a_view,
    "a view and an operator": by_a_view,
    "a size": lambda a, two, b: (a, two(b.view(a.size(0), -1))),
    "a shape": lambda a, two, b: (a, two(b.view(a.shape[0], -1))),
    "another like it": lambda a, two, b: (a, two(b + torch.zeros_like(a).sum() + a.new_ones(1))),
}


@pytest.mark.parametrize("sample", [None, torch.ones(2, 3)], ids=["traced", "called"])
@pytest.mark.parametrize("join", JOINS)
def test_values_are_followed_through_memory_and_not_through_shapes(join: str, sample: Any) -> None:
    model = Branches(JOINS[join])
    assert list(hidden_weights(model, sample)) == ["left.weight", "right.weight"]
    assert list(output_weights(model, sample)) == ["one.weight", "two.weight"]


class OwnProduct(nn.Module):
    """A weight that is used in the middle or as the head, by something other than a function of torch."""

    def __init__(self, use: Any, head: bool) -> None:
        super().__init__()
        self.first, self.second, self.w, self.use, self.head = nn.Linear(3, 4), nn.Linear(4, 4), None, use, head
        self.w = nn.Parameter(torch.ones(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.use(self.second(h), self.w) if self.head else self.second(self.use(h, self.w))


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        return x @ weight.t()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("head", [True, False])
def test_a_weight_that_is_used_in_an_unknown_way_is_refused_by_name(head: bool) -> None:
    for use in (Product.apply, lambda h, w: (h[:, None] * w).sum(-1)):
        with pytest.raises(
            ValueError, match=r"^what the model does with its weight 'w' is no layer, .*linear or conv2"
        ):
            hidden_weights(OwnProduct(use, head), torch.ones(1, 3))
    for use in (by_wrapped, lambda h, w: (h[:, None] * w).sum(-1)):
        with pytest.raises(ValueError, match=r"^the order in which a OwnProduct .*pass sample=, one batch"):
            hidden_weights(OwnProduct(use, head))
    names = list(hidden_weights(OwnProduct(by_wrapped, head), torch.ones(1, 3)))
    assert names == (["first.weight", "second.weight"] if head else ["w", "first.weight"])


@pytest.mark.parametrize("sample", [None, torch.ones(2, 3)], ids=["traced", "called"])
def test_tokens_places_scales_and_norms_are_no_weights_of_a_layer(sample: Any) -> None:
    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.body, self.norm = nn.Linear(4, 2), nn.Linear(4, 4), nn.RMSNorm([2, 4])
            self.token, self.places, self.scale = (nn.Parameter(torch.ones(*s)) for s in ((1, 1), (2, 3), (1, 4)))

        def forward(self, x: Tensor) -> Tensor:
            h = torch.cat([self.token.expand(x.shape[0], -1), x + self.places], 1)
            return self.head(self.norm(self.body(h)) * self.scale)

    assert list(hidden_weights(Added(), sample)) == ["body.weight"]
    assert list(output_weights(Added(), sample)) == ["head.weight"]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
@pytest.mark.parametrize("sample", [None, torch.ones(2, 3)], ids=["read", "called"])
def test_what_hides_its_calls_is_refused_with_its_reason(sample: Any) -> None:
    for scripted in (torch.jit.script(mlp()), torch.jit.trace(mlp(), torch.ones(2, 3))):
        with pytest.raises(ValueError, match=r"^a scripted or traced model does not show .* made from$"):
            hidden_weights(scripted, sample)


def test_layers_under_vmap_are_refused_with_a_reason() -> None:
    class Mapped(HeadFirst):
        def forward(self, x: Tensor) -> Tensor:
            return torch.vmap(super().forward)(x)

    with pytest.raises(ValueError, match=r"^torch.vmap hides the layers that it calls: .*$"):
        hidden_weights(Mapped(), torch.ones(2, 3))


class Stored(nn.Module):
    """A weight of its own under a head."""

    def __init__(self, use: Any, *shape: int, more: tuple[int, ...] = (1,)) -> None:
        super().__init__()
        self.head, self.w, self.use = nn.Linear(4, 2), nn.Parameter(torch.ones(shape)), use
        self.stem = nn.Conv1d(3, 3, 1)
        self.more = nn.Parameter(torch.ones(more))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.use(self, x))


USES: dict[str, tuple[Any, tuple[int, ...], bool]] = {  # the shape of the weight, and whether its rows are its inputs
    "x @ w": (lambda s, x: x @ s.w, (3, 4), True),
    "x @ w.T": (lambda s, x: x @ s.w.T, (4, 3), False),
    "x @ transpose": (lambda s, x: x @ (2 * s.w).transpose(-1, -2), (4, 3), False),
    "w @ x": (lambda s, x: (s.w @ x.mT).mT, (4, 3), False),
    "linear, w": (lambda s, x: F.linear(x, s.w), (4, 3), False),
    "linear, w.t()": (lambda s, x: F.linear(x, s.w.t()), (3, 4), True),
    "addmm": (lambda s, x: torch.addmm(s.more, x, s.w), (3, 4), True),
    "einsum, io": (lambda s, x: torch.einsum("bi,io->bo", x, s.w), (3, 4), True),
    "einsum, oi": (lambda s, x: torch.einsum("bi,oi->bo", x, s.w), (4, 3), False),
    "conv_transpose": (lambda s, x: F.conv_transpose1d(s.stem(x[..., None]), s.w).mean(-1), (3, 4, 2), True),
    "conv_transpose, turned": (
        lambda s, x: F.conv_transpose1d(s.stem(x[..., None]), s.w.transpose(0, 1))[..., 0], (4, 3, 2), False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("sample", [None, torch.ones(2, 3)], ids=["traced", "called"])
@pytest.mark.parametrize("use", USES)
def test_a_weight_whose_rows_are_its_inputs_has_no_units(use: str, sample: Any) -> None:
    call, shape, turned = USES[use]
    model = Stored(call, *shape)
    assert list(hidden_weights(model, sample)) == ["w"]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    settings: dict[str, Any] = {"model": model, "sample": sample, "alpha": 1.5, "sigma": 0.1}
    settings["generator"] = torch.Generator().manual_seed(1)
    if turned:
        with pytest.raises(
            ValueError,
            match=r"^the rows of 'w' are its inputs, .*: store it \(outputs, inputs\), or leave it out by exclude=$",
        ):
            heavytail.prune(model, keep=0.5, sample=sample)
        for noise in ("shared", "isotropic"):
            with pytest.raises(ValueError, match=rf"^the rows of the weight 'w' are its inputs, .*{noise} noise"):
                heavytail.perturb(optimizer, noise=noise, **settings)
        assert heavytail.perturb(optimizer, noise="entrywise", **settings).names == ["w"]
    else:
        assert int(heavytail.prune(model, keep=0.5, sample=sample).w.flatten(1).any(1).sum()) == 2
        assert heavytail.perturb(optimizer, noise="shared", **settings).names == ["w"]


@pytest.mark.parametrize("sample", [None, torch.ones(2, 3)], ids=["traced", "called"])
@pytest.mark.parametrize("more", [(4, 1), (4,)])
def test_a_weight_norm_made_by_hand_is_refused(more: tuple[int, ...], sample: Any) -> None:
    normed = lambda s, x: F.linear(x, s.more.view(4, 1) * F.normalize(s.w, dim=1))  # noqa: E731
    with pytest.raises(ValueError, match=r"^the weight '(w|more)' is multiplied with another parameter at every call"):
        hidden_weights(Stored(normed, 4, 3, more=more), sample)
    assert list(hidden_weights(Stored(lambda s, x: F.linear(x, 2 * s.w), 4, 3), sample)) == ["w"]


@pytest.mark.parametrize("sample", [None, torch.tensor([1, 2])], ids=["traced", "called"])
def test_the_padding_row_of_a_table_without_a_layer_gets_no_kick(sample: Any) -> None:
    model = Stored(lambda s, x: F.embedding(x, s.w, padding_idx=1), 5, 4)
    before = model.w.detach().clone()
    optimizer = torch.optim.SGD([{"params": [model.w], "lr": 0.1}])
    generator = torch.Generator().manual_seed(1)
    heavytail.perturb(optimizer, model=model, sample=sample, alpha=1.5, sigma=0.1, noise="shared", generator=generator)
    optimizer.step()
    assert (model.w != before).any(1).tolist() == [True, False, True, True, True]


LOOKED_UP = {
    "indexed": lambda s, x: s.w[x],
    "indexed at places made of the tokens": lambda s, x: s.w[(x != 0).long().cumsum(0)],
    "selected": lambda s, x: s.w.index_select(0, x),
    "selected by name": lambda s, x: torch.index_select(s.w, dim=0, index=x),
    "gathered": lambda s, x: torch.gather(s.w, 0, x[:, None].expand(-1, 4)),
}


@pytest.mark.parametrize("how", LOOKED_UP)
def test_a_table_that_is_looked_up_at_tokens_by_hand_is_that_of_an_embedding(how: str) -> None:
    model = Stored(LOOKED_UP[how], 5, 4)
    assert list(hidden_weights(model, torch.tensor([1, 2]))) == ["w"]
    assert list(output_weights(model, torch.tensor([1, 2]))) == ["head.weight"]
    with pytest.raises(ValueError, match=r"^the order in which a Stored .*pass sample=, one batch"):
        hidden_weights(model)


@pytest.mark.parametrize("at", [slice(2), torch.tensor([0, 1])], ids=["slice", "fixed"])
def test_a_table_that_is_read_at_fixed_places_and_added_is_left_alone(at: Any) -> None:
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head, self.places = nn.Embedding(5, 4), nn.Linear(4, 2), nn.Parameter(torch.ones(3, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.words(x) + self.places[at])

    assert list(hidden_weights(Placed(), torch.tensor([1, 2]))) == ["words.weight"]


@pytest.mark.parametrize("work", [hidden_weights, output_weights, heavytail.compress.pruning_ratio])
@pytest.mark.parametrize("given", [None, "model", nn.Linear, torch.ones(2, 2), lambda x: x])
def test_what_is_no_network_is_refused_in_one_sentence(work: Any, given: Any) -> None:
    with pytest.raises(TypeError, match=r"^a network is a torch.nn.Module, got \w+$"):
        work(given)
