"""Any torch optimizer can be perturbed: what a step adds, what the handle does, and what is refused."""

from __future__ import annotations

import copy
import math
import pickle
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from goodness_of_fit import follows_symmetric
from torch import Tensor, nn

import heavytail
from heavytail import networks, noise, streams

OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda params: torch.optim.SGD(params, lr=0.1),
    "momentum": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": lambda params: torch.optim.Adam(params, lr=0.01),
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.01),
    "rmsprop": lambda params: torch.optim.RMSprop(params, lr=0.01),
    "adagrad": lambda params: torch.optim.Adagrad(params, lr=0.01),
    "tensor lr": lambda params: torch.optim.SGD(params, lr=torch.tensor(0.1)),
}
SETTINGS: dict[str, Any] = {"alpha": 1.5, "sigma": 0.1, "noise": "entrywise"}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_network() -> nn.Sequential:
    return networks.fcn(6, 5, 2, 3, generator=generator(100))


def square_network() -> nn.Sequential:
    """As wide as there are inputs and classes: shapes tell nothing."""
    return networks.fcn(5, 5, 2, 5, generator=generator(100))


def biased_convolutional_network() -> nn.Sequential:
    """Two convolutions and three linear layers with biases; the last hidden layer is as wide as there are classes."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2), nn.Flatten(),
        nn.Linear(32, 10), nn.ReLU(), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 10),
    )  # fmt: skip


def sgd(model: nn.Module, lr: float = 0.1) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=lr)


def gradients(model: nn.Module) -> None:
    """Leave in `.grad` the gradient of a fixed loss at the present weights."""
    x = torch.randn(8, 6, generator=generator(101), dtype=next(model.parameters()).dtype)
    model.zero_grad()
    model(x).square().sum().backward()


def zero_gradients(model: nn.Module) -> None:
    """With these a step moves nothing, so what moves is noise."""
    for p in model.parameters():
        p.grad = torch.zeros_like(p)


def moved(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def moved_by_a_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> set[str]:
    zero_gradients(model)
    before = state(model)
    optimizer.step()
    return moved(model, before)


# ---- what a step adds


@pytest.mark.parametrize("kind", noise.NOISES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_perturbed_step_is_the_plain_step_and_a_kick_at_its_address(name: str, kind: str) -> None:
    plain, noisy = small_network(), small_network()
    optimizers = [OPTIMIZERS[name](list(model.parameters())) for model in (plain, noisy)]
    noise.perturb(optimizers[1], alpha=1.75, sigma=0.05, noise=kind, generator=generator(9))
    key = streams.word(generator(9))
    for step in range(3):
        for model, optimizer in zip((plain, noisy), optimizers, strict=True):
            gradients(model)
            optimizer.step()
        size = noise.scale(1.75, 0.05, float(optimizers[0].param_groups[0]["lr"]))
        for layer, weight in enumerate(list(plain.parameters())[:-1]):
            noise.add(weight, 1.75, kind, size, key=key, step=step, layer=layer)
        assert moved(noisy, state(plain)) == set()


def test_the_generator_gives_one_word_and_no_more() -> None:
    model, stream = small_network(), generator(10)
    optimizer = sgd(model)
    noise.perturb(optimizer, generator=stream, **SETTINGS)
    expected = generator(10)
    streams.word(expected)
    for _ in range(3):
        zero_gradients(model)
        optimizer.step()
    assert torch.equal(stream.get_state(), expected.get_state())


def test_without_noise_strength_a_step_is_bit_identical() -> None:
    plain, noisy = small_network(), small_network()
    for model in (plain, noisy):
        optimizer = OPTIMIZERS["momentum"](list(model.parameters()))
        if model is noisy:
            noise.perturb(optimizer, alpha=1.2, sigma=0.0, noise="entrywise", generator=generator(9))
        for _ in range(5):
            gradients(model)
            optimizer.step()
    assert moved(noisy, state(plain)) == set()


def test_perturbing_draws_nothing_from_the_global_state() -> None:
    model = small_network()
    optimizer = sgd(model)
    before = torch.random.get_rng_state()
    noise.perturb(optimizer, model=model, sample=torch.ones(1, 6), generator=generator(9), **SETTINGS)
    zero_gradients(model)
    optimizer.step()
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("unit", noise.UNITS)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_perturbed_convolution_gets_the_noise_of_its_unit(axes: int, unit: str) -> None:
    model = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](4, 2, 3)
    optimizer = sgd(model)
    noise.perturb(
        optimizer, alpha=1.5, sigma=1.0, noise="shared", generator=generator(9), params=[model.weight], unit=unit
    )
    before = model.weight.detach().clone()
    assert moved_by_a_step(model, optimizer) == {"weight"}
    kick = model.weight.detach() - before
    per_filter, per_kernel = kick.flatten(1), kick.flatten(2)
    torch.testing.assert_close(per_kernel, per_kernel[..., :1].expand_as(per_kernel))
    tied = torch.allclose(per_filter, per_filter[:, :1].expand_as(per_filter), rtol=1e-3, atol=1e-6)
    assert tied == (unit == "filter")


# ---- which weights


def test_neither_the_output_layer_nor_the_first_convolution_nor_a_bias_gets_noise() -> None:
    model = biased_convolutional_network()
    optimizer = sgd(model)
    handle = noise.perturb(optimizer, model=model, generator=generator(9), **SETTINGS)
    wanted = {"2.weight", "5.weight", "7.weight"}  # 7 is as wide as there are classes
    assert moved_by_a_step(model, optimizer) == wanted == set(handle.names)


def test_named_weights_get_noise_once_and_named_biases_do_not() -> None:
    model = biased_convolutional_network()
    optimizer = sgd(model)
    handle = noise.perturb(
        optimizer, generator=generator(9), params=[*model[9].parameters(), model[9].weight], **SETTINGS
    )
    assert handle.names == ["group 0, parameter 10"]
    assert moved_by_a_step(model, optimizer) == {"9.weight"}


def test_a_single_weight_is_named_as_a_list_of_one_is() -> None:
    model = biased_convolutional_network()
    for number, name in ((2, "2.weight"), (9, "9.weight")):  # of four axes and of two
        with noise.perturb(
            optimizer := sgd(model), generator=generator(9), params=model[number].weight, **SETTINGS
        ) as handle:
            assert len(handle.names) == 1
            assert moved_by_a_step(model, optimizer) == {name}


def test_an_optimizer_that_knows_names_gives_them_to_the_handle() -> None:
    model = small_network()
    optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
    assert noise.perturb(optimizer, generator=generator(9), **SETTINGS).names == ["1.weight", "3.weight"]


def test_without_a_model_the_output_layer_is_told_by_shape_wherever_it_is_registered() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    for layers in (model, reversed(model)):
        optimizer = torch.optim.SGD([p for layer in layers for p in layer.parameters()], lr=0.1)
        handle = noise.perturb(optimizer, generator=generator(9), **SETTINGS)
        wanted = [0, 2] if layers is model else [2, 4]
        assert handle.names == [f"group 0, parameter {number}" for number in wanted]
        assert moved_by_a_step(model, optimizer) == {"0.weight", "2.weight"}


def with_unused() -> nn.Module:
    model = small_network()
    model.register_module("aside", nn.Linear(7, 7))
    return model


def shaped(*shapes: tuple[int, ...]) -> nn.Module:
    return nn.ParameterList([torch.zeros(shape) for shape in shapes])


AMBIGUOUS = {
    "square": square_network,
    "an autoencoder": lambda: nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 6)),
    "two heads": lambda: nn.ModuleList([nn.Linear(6, 5), nn.Linear(5, 2), nn.Linear(5, 3)]),
    "convolutions alone": lambda: nn.Sequential(nn.Conv1d(3, 4, 2), nn.Conv1d(4, 5, 2), nn.Conv1d(5, 2, 2)),
    "a convolution": biased_convolutional_network,
    "an embedding": lambda: nn.Sequential(nn.Embedding(9, 5), nn.Linear(5, 5), nn.Linear(5, 3)),
    "a layer that is not used": with_unused,
    "inputs first": lambda: shaped((8, 16), (16, 2)),
    "inputs first, with biases": lambda: shaped((8, 16), (16,), (16, 2), (2,)),
    "a table under layers": lambda: shaped((100, 8), (32, 8), (8, 32)),
    "a weight norm": lambda: shaped((16, 1), (16, 8), (2, 16)),
    "a recurrent layer": lambda: nn.ModuleList([nn.LSTM(3, 4), nn.Linear(4, 2)]),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_an_optimizer_whose_output_layer_cannot_be_told_is_refused(name: str) -> None:
    model = AMBIGUOUS[name]()
    sentence = r"^which of the optimizer's weights is the output layer cannot be told .*: pass model=, or name the weig"
    with pytest.raises(ValueError, match=sentence):
        noise.perturb(sgd(model), generator=generator(9), **SETTINGS)


@pytest.mark.parametrize("layer", [nn.Linear(3, 4), nn.Conv2d(3, 4, 2), nn.LayerNorm(4)])
def test_an_optimizer_of_one_layer_has_nothing_below_its_output(layer: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"^no weight to perturb: .* is trained; name them in params=$"):
        noise.perturb(sgd(layer), generator=generator(9), **SETTINGS)


def test_a_model_tells_what_shapes_cannot() -> None:
    model = square_network()
    optimizer = sgd(model)
    handle = heavytail.perturb(optimizer, model=model, generator=generator(9), **SETTINGS)
    assert handle.names == ["1.weight", "3.weight"]
    assert moved_by_a_step(model, optimizer) == {"1.weight", "3.weight"}


def test_the_names_are_those_that_are_kicked_at_the_moment() -> None:
    model = small_network()
    optimizer = torch.optim.SGD(model[3:].parameters(), lr=0.1)
    handle = noise.perturb(optimizer, model=model, generator=generator(9), **SETTINGS)
    assert handle.names == ["3.weight"]
    optimizer.add_param_group({"params": model[1].parameters()})
    assert handle.names == ["1.weight", "3.weight"]
    model[3].requires_grad_(False)
    assert handle.names == ["1.weight"]
    handle.remove()
    assert handle.names == []


# ---- low precision


LOW = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


def ones(shape: tuple[int, int], dtype: torch.dtype) -> nn.Linear:
    layer = nn.Linear(*reversed(shape), bias=False)
    nn.init.ones_(layer.weight)
    return layer.to(dtype)


@LOW
@pytest.mark.parametrize("kind", noise.NOISES)
def test_many_kicks_below_one_rounding_move_a_low_precision_weight_as_far_as_they_sum_to(
    kind: str, dtype: torch.dtype
) -> None:
    layer, exact = ones((20, 10), dtype), torch.ones(20, 10)
    optimizer = sgd(layer, lr=1.0)
    rounding = (
        torch.finfo(dtype).eps / 4
    )  # a smaller kick downwards, and twice as large a one upwards, leaves 1 as it is
    handle = noise.perturb(
        optimizer, alpha=2.0, sigma=rounding / 8, noise=kind, generator=generator(3), params=layer.parameters()
    )
    zero_gradients(layer)
    for step in range(400):
        before = exact.clone()
        noise.add(exact, 2.0, kind, rounding / 8, key=handle.state_dict()["key"], step=step)
        assert (exact - before).abs().max() < rounding
        optimizer.step()
    assert (exact - 1).abs().max() > 3 * rounding
    assert (layer.weight.detach().float() - exact).abs().max() < 0.51 * torch.finfo(dtype).eps  # between 1 and 2


@LOW
@pytest.mark.long
def test_the_displacement_by_kicks_below_one_rounding_has_the_stable_law(dtype: torch.dtype) -> None:
    # n kicks of scale s add up to scale n^(1/α) s: here 5 roundings. `follows_symmetric` strays at a rate of 1e-6.
    alpha, steps, size = 1.9, 1500, torch.finfo(dtype).eps / 10
    layer, naive = ones((50, 40), dtype), torch.ones(50, 40, dtype=dtype)
    optimizer = sgd(layer, lr=1.0)
    handle = noise.perturb(
        optimizer, alpha=alpha, sigma=size, noise="entrywise", generator=generator(4), params=layer.parameters()
    )
    zero_gradients(layer)
    for step in range(steps):
        optimizer.step()
        kick = torch.zeros(50, 40)
        noise.add(kick, alpha, "entrywise", size, key=handle.state_dict()["key"], step=step)
        naive += kick
    total = size * steps ** (1 / alpha)
    displaced = (layer.weight.detach().double() - 1) / total
    assert follows_symmetric(displaced, alpha)
    assert not follows_symmetric(1.5 * displaced, alpha)
    assert not follows_symmetric(displaced / 1.5, alpha)
    assert not follows_symmetric((naive.double() - 1) / total, alpha)  # each kick rounded for itself


def test_a_half_precision_weight_that_overflows_is_infinite_and_stays_so() -> None:
    layer = nn.Linear(4, 3, bias=False).half()
    optimizer = sgd(layer)
    handle = noise.perturb(
        optimizer, alpha=1.5, sigma=1e30, noise="entrywise", generator=generator(3), params=layer.parameters()
    )
    for _ in range(2):
        zero_gradients(layer)
        optimizer.step()
    assert layer.weight.isinf().all()
    (rest,) = handle.state_dict()["rest"].values()
    assert (rest == 0).all()


def test_a_step_in_a_captured_graph_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_network()
    optimizer = sgd(model)
    noise.perturb(optimizer, generator=generator(9), **SETTINGS)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    zero_gradients(model)
    optimizer.step()
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match=r"^a captured CUDA graph would repeat one kick for ever"):
        optimizer.step()


def test_a_double_weight_gets_the_kicks_of_a_single_one() -> None:
    layers = [nn.Linear(4, 3, bias=False).to(dtype) for dtype in (torch.float32, torch.float64)]
    for layer in layers:
        nn.init.zeros_(layer.weight)
        optimizer = sgd(layer)
        noise.perturb(optimizer, generator=generator(3), params=layer.parameters(), **SETTINGS)
        zero_gradients(layer)
        optimizer.step()
    assert layers[1].weight.dtype == torch.float64
    assert torch.equal(layers[0].weight.double(), layers[1].weight)


# ---- the handle


def test_a_removed_handle_stops_the_noise_and_leaves_the_optimizer_as_it_was() -> None:
    model = small_network()
    optimizer = sgd(model)
    plain = set(vars(optimizer))
    handle = noise.perturb(optimizer, generator=generator(9), **SETTINGS)
    assert moved_by_a_step(model, optimizer) == {"1.weight", "3.weight"}
    handle.remove()
    assert moved_by_a_step(model, optimizer) == set()
    handle.remove()
    assert set(vars(optimizer)) == plain
    again = noise.perturb(optimizer, generator=generator(9), **SETTINGS)
    assert moved_by_a_step(model, optimizer) == {"1.weight", "3.weight"}
    again.remove()


def test_noise_ends_with_its_block_also_by_an_error() -> None:
    model = small_network()
    optimizer = sgd(model)

    def block() -> None:
        with noise.perturb(optimizer, generator=generator(9), **SETTINGS) as handle:
            assert handle.names == ["group 0, parameter 0", "group 0, parameter 1"]
            assert moved_by_a_step(model, optimizer) == {"1.weight", "3.weight"}
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        block()
    assert moved_by_a_step(model, optimizer) == set()


def test_the_handle_keeps_no_optimizer_alive() -> None:
    model = small_network()
    optimizer = sgd(model)
    handle = noise.perturb(optimizer, generator=generator(9), **SETTINGS)
    del optimizer
    assert handle.names == []
    handle.remove()


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deep copy": copy.deepcopy,
    "pickle": lambda optimizer: pickle.loads(pickle.dumps(optimizer)),
}


def test_an_optimizer_that_was_never_made_is_refused() -> None:
    class Unmade(torch.optim.SGD):
        def __init__(self) -> None:
            pass

    with pytest.raises(TypeError, match=r"^perturb needs an optimizer of torch.optim, not a Unmade"):
        noise.perturb(Unmade(), generator=generator(9), **SETTINGS)


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_of_the_optimizer_has_no_noise_and_says_so(name: str) -> None:
    model = small_network()
    optimizer = sgd(model)
    handle = noise.perturb(optimizer, generator=generator(9), **SETTINGS)
    sentence = r"^a copy or pickle of a perturbed optimizer has no noise: perturb the copy$"
    with pytest.warns(UserWarning, match=sentence) as warned:
        other = COPIES[name](optimizer)
    assert [warning.filename for warning in warned] == [__file__]  # it names the line that makes the copy
    weights = [p for group in other.param_groups for p in group["params"]]
    for p in weights:
        p.grad = torch.zeros_like(p)
    before = [p.detach().clone() for p in weights]
    other.step()
    assert all(torch.equal(p, q) for p, q in zip(weights, before, strict=True))
    noise.perturb(other, generator=generator(9), **SETTINGS)  # a copy can be perturbed
    other.step()
    assert not torch.equal(weights[0], before[0])
    handle.remove()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        COPIES[name](optimizer)


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_of_the_handle_has_no_noise_and_says_so_and_ends_none(name: str) -> None:
    model = small_network()
    optimizer = sgd(model)
    handle = noise.perturb(optimizer, model=model, generator=generator(9), **SETTINGS)
    with pytest.warns(UserWarning, match=r"^a copy or pickle of a perturbation adds no noise: ") as warned:
        other = COPIES[name](handle)
    assert [warning.filename for warning in warned] == [__file__]  # it names the line that makes the copy
    assert other.names == []
    assert other.state_dict() == handle.state_dict()
    other.remove()
    assert moved_by_a_step(model, optimizer) == set(handle.names) != set()


def test_a_state_of_the_optimizer_is_copied_without_a_warning() -> None:
    model = small_network()
    optimizer = sgd(model)
    noise.perturb(optimizer, generator=generator(9), **SETTINGS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        repr(optimizer)
    assert moved_by_a_step(model, optimizer) == {"1.weight", "3.weight"}


# ---- what is refused


def test_perturbing_without_a_generator_is_an_error() -> None:
    optimizer = sgd(small_network())
    with pytest.raises(TypeError, match="generator"):
        noise.perturb(optimizer, **SETTINGS)
    with pytest.raises(TypeError, match=r"^generator= must be a torch.Generator with a seed of yours, not None$"):
        noise.perturb(optimizer, generator=None, **SETTINGS)


def test_a_weight_the_optimizer_does_not_hold_is_refused() -> None:
    stranger = nn.Parameter(torch.zeros(5, 6))  # equal in shape to one that is held
    with pytest.raises(ValueError, match=r"^a weight of shape \(5, 6\) in params= is not held by the optimizer$"):
        noise.perturb(sgd(small_network()), generator=generator(9), params=[stranger], **SETTINGS)


def test_an_optimizer_of_another_model_is_refused() -> None:
    model = small_network()
    with pytest.raises(ValueError, match=r"^no weight to perturb: .*; make it from the parameters of this model$"):
        noise.perturb(sgd(copy.deepcopy(model)), model=model, generator=generator(9), **SETTINGS)


@pytest.mark.parametrize("params", [None, []])
def test_an_optimizer_without_a_hidden_weight_is_refused(params: list | None) -> None:
    with pytest.raises(ValueError, match=r"^no weight to perturb: .*; name them in params=$"):
        noise.perturb(sgd(nn.Linear(3, 2)), generator=generator(9), params=params, **SETTINGS)


@pytest.mark.parametrize(
    "params", [["0.weight"], [("0.weight", torch.ones(2, 2))], nn.Linear(2, 2), nn.Sequential(nn.ReLU())]
)
def test_what_is_no_weight_or_no_model_is_refused(params: Any) -> None:
    model = small_network()
    with pytest.raises(TypeError, match=r"^params= must be weights, such as model.parameters\(\), not a \w+$"):
        noise.perturb(sgd(model), params=params, generator=generator(9), **SETTINGS)
    with pytest.raises(TypeError, match=r"^model= must be a torch.nn.Module, not a (str|list)$"):
        noise.perturb(sgd(model), model=params if type(params) is list else "model", generator=generator(9), **SETTINGS)


def test_two_ways_to_name_the_weights_are_one_too_many() -> None:
    model = small_network()
    more = {"generator": generator(9), **SETTINGS}
    with pytest.raises(ValueError, match=r"^name the weights by model= or by params=, not by both$"):
        noise.perturb(sgd(model), model=model, params=model.parameters(), **more)
    with pytest.raises(ValueError, match=r"^sample= is a batch for model=: name the model too$"):
        noise.perturb(sgd(model), sample=torch.ones(1, 6), **more)


def test_a_generator_on_another_device_than_the_weights_is_refused() -> None:
    weight = nn.Parameter(torch.zeros(5, 6, device="meta"))
    optimizer = OPTIMIZERS["sgd"]([weight])
    with pytest.raises(ValueError, match=r"^the generator is on cpu, a weight on meta: make them the same$"):
        noise.perturb(optimizer, generator=generator(9), params=[weight], **SETTINGS)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn])
def test_a_weight_that_is_no_number_of_ours_is_refused(dtype: torch.dtype) -> None:
    weight = nn.Parameter(torch.zeros(5, 6).to(dtype))
    with pytest.raises(
        ValueError, match=rf"^the weight 'group 0, parameter 0' is {dtype}: noise is for floating-point"
    ):
        noise.perturb(torch.optim.SGD([weight], lr=0.1), generator=generator(9), params=[weight], **SETTINGS)


def test_two_noises_on_one_optimizer_are_one_too_many() -> None:
    optimizer = sgd(small_network())
    handle = noise.perturb(optimizer, generator=generator(9), **SETTINGS)
    with pytest.raises(ValueError, match=r"^this optimizer has noise already: call remove\(\) of the handle before"):
        noise.perturb(optimizer, generator=generator(10), **SETTINGS)
    handle.remove()
    noise.perturb(optimizer, generator=generator(10), **SETTINGS)


class Facade:
    """An optimizer of another library that is none of torch's."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.inner, self.param_groups = optimizer, optimizer.param_groups

    def step(self) -> None:
        self.inner.step()


class Subclass(torch.optim.Optimizer):
    """One that is, by name, and never set up."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    @property
    def param_groups(self) -> Any:
        return self.optimizer.param_groups

    def step(self, closure: Any = None) -> None:
        self.optimizer.step(closure)


class SharpnessAware(torch.optim.Optimizer):
    """One that is set up, and steps by another."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer.param_groups, {"lr": 0.1})
        self.base_optimizer = optimizer

    def step(self, closure: Any = None) -> None:
        self.base_optimizer.step(closure)


class Chained(SharpnessAware):
    """One that steps by a list of others."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer)
        self.base_optimizer, self.chain = None, [optimizer]

    def step(self, closure: Any = None) -> None:
        for optimizer in self.chain:
            optimizer.step(closure)


class Hiding(torch.optim.Optimizer):
    """One that steps by another, which it keeps in something else."""

    hide, found = staticmethod(lambda inner: (inner,)), staticmethod(lambda hidden: hidden[0])

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__([p for group in optimizer.param_groups for p in group["params"]], {"lr": 0.1})
        self.hidden = self.hide(optimizer)

    def step(self, closure: Any = None) -> None:
        self.found(self.hidden).step(closure)


class Deep(Hiding):
    hide = staticmethod(lambda inner: {"chain": types.SimpleNamespace(inner=[inner])})
    found = staticmethod(lambda hidden: hidden["chain"].inner[0])


class BehindMethod(Hiding):
    hide, found = staticmethod(lambda inner: inner.step), staticmethod(lambda hidden: hidden.__self__)


class BehindFunction(Hiding):
    hide, found = staticmethod(lambda inner: lambda: inner), staticmethod(lambda hidden: hidden())


WRAPPERS = [Facade, Subclass, SharpnessAware, Chained, Hiding, Deep, BehindMethod, BehindFunction]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_an_optimizer_that_wraps_another_is_refused_and_that_which_it_wraps_is_not(wrapper: Any) -> None:
    model = small_network()
    inner = sgd(model)
    outer = wrapper(inner)
    with pytest.raises(TypeError, match=rf"{wrapper.__name__}.* pass the torch optimizer that it wraps$"):
        noise.perturb(outer, generator=generator(9), **SETTINGS)
    noise.perturb(inner, generator=generator(9), **SETTINGS)
    zero_gradients(model)
    before = state(model)
    outer.step()
    assert moved(model, before) == {"1.weight", "3.weight"}


def test_an_optimizer_that_knows_one_of_other_weights_is_not_taken_for_a_wrapper() -> None:
    model = small_network()
    optimizer = sgd(model)
    optimizer.rivals = (sgd(small_network()), optimizer)  # type: ignore[attr-defined]
    noise.perturb(optimizer, generator=generator(9), **SETTINGS)
    assert moved_by_a_step(model, optimizer) == {"1.weight", "3.weight"}


@pytest.mark.parametrize("lr", [None, -0.1, math.nan])
def test_an_optimizer_without_a_step_size_is_refused(lr: float | None) -> None:
    class NoRate(torch.optim.Optimizer):
        def step(self, closure: Any = None) -> None: ...

    optimizer = NoRate(small_network().parameters(), {} if lr is None else {"lr": lr})
    with pytest.raises(ValueError, match=r"^group 0 of the optimizer has no lr >= 0, with which the noise grows$"):
        noise.perturb(optimizer, generator=generator(9), **SETTINGS)


@pytest.mark.parametrize("lr", [None, "0.1"])
def test_an_lr_that_is_no_number_is_refused_also_when_it_comes_later(lr: Any) -> None:
    model = small_network()
    optimizer = sgd(model)
    handle = noise.perturb(optimizer, generator=generator(9), **SETTINGS)
    optimizer.param_groups[0]["lr"] = lr
    sentence = r"^group 0 of the optimizer has no lr >= 0, with which the noise grows$"
    with pytest.raises(ValueError, match=sentence):
        noise.perturb(sgd_with(small_network(), lr), generator=generator(9), **SETTINGS)
    with pytest.raises(ValueError, match=sentence):
        optimizer.step()  # without a gradient it needs no lr itself
    del optimizer.param_groups[0]["lr"]
    assert handle.names == ["group 0, parameter 0", "group 0, parameter 1"]


def sgd_with(model: nn.Module, lr: Any) -> torch.optim.SGD:
    optimizer = sgd(model)
    optimizer.param_groups[0]["lr"] = lr
    return optimizer


class Derived(torch.optim.Adam):
    """One that steps as its base class does, twice if it is told to."""

    calls = 1

    def step(self, closure: Any = None) -> Any:
        for _ in range(self.calls):
            loss = super().step(closure)
        return loss


@pytest.fixture
def derived() -> tuple[nn.Module, torch.optim.Optimizer, noise.Perturbation]:
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # from now on the step of the base class calls hooks too
    model = small_network()
    optimizer = Derived(model.parameters())
    return model, optimizer, noise.perturb(optimizer, generator=generator(9), **SETTINGS)


@pytest.mark.parametrize("calls", [1, 2])
def test_a_step_that_calls_that_of_the_base_class_gets_one_kick(calls: int, derived: Any) -> None:
    model, optimizer, handle = derived
    optimizer.calls = calls

    def closure() -> Tensor:
        gradients(model)
        return torch.zeros(())

    for k, given in enumerate([None, closure, closure], start=1):
        optimizer.step(given)
        assert handle.state_dict()["step"] == k


def test_a_step_after_one_that_failed_gets_one_kick(derived: Any) -> None:
    model, optimizer, handle = derived

    def failing() -> Tensor:
        raise RuntimeError("stop")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="stop"):
            optimizer.step(failing)
    assert handle.state_dict()["step"] == 0
    assert moved_by_a_step(model, optimizer) == {"1.weight", "3.weight"}
    assert handle.state_dict()["step"] == 1


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_step_that_calls_that_of_the_base_class_gets_one_kick(backend: str, derived: Any) -> None:
    model, optimizer, handle = derived
    gradients(model)
    step = torch.compile(optimizer.step, backend=backend)
    for k in (1, 2, 3):
        step()
        assert handle.state_dict()["step"] == k


def test_what_is_refused_leaves_the_optimizer_and_the_generator_alone() -> None:
    model, stream = square_network(), generator(9)
    optimizer = sgd(model)
    with pytest.raises(ValueError, match="cannot be told"):
        noise.perturb(optimizer, generator=stream, **SETTINGS)
    assert torch.equal(stream.get_state(), generator(9).get_state())
    assert not optimizer._optimizer_step_post_hooks
    noise.perturb(optimizer, model=model, generator=stream, **SETTINGS)


@pytest.mark.needs_cuda
@pytest.mark.parametrize("kind", noise.NOISES)
def test_weights_on_a_gpu_are_perturbed_by_a_generator_there(kind: str) -> None:
    stream = torch.Generator(device="cuda").manual_seed(1)
    model = networks.fcn(6, 5, 2, 3, generator=stream)
    optimizer = sgd(model)
    with pytest.raises(ValueError, match=r"^the generator is on cpu, a weight on cuda:0: make them the same$"):
        noise.perturb(optimizer, alpha=1.5, sigma=0.1, noise=kind, generator=generator(9))
    noise.perturb(optimizer, alpha=1.5, sigma=0.1, noise=kind, generator=stream)
    assert moved_by_a_step(model, optimizer) == {"1.weight", "3.weight"}
