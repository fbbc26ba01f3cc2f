"""The paper's networks: their shapes, their initial laws, and which of their weights are hidden."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from goodness_of_fit import follows_continuous
from scipy import stats
from torch import nn

from heavytail import networks

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.needs_cuda),
]
BUILDS = [("fcn", (140,), 3), ("mean_field", (140,), 1), ("fcn", (1, 8, 8), 2), ("vgg", (3, 32, 32), 1)]


def generator(seed: int, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seed)


def shapes(model: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in model.parameters()]


# ---- every network


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("name", "shape", "depth"), BUILDS)
def test_a_network_maps_a_batch_to_class_scores(name: str, shape: tuple[int, ...], depth: int, device: str) -> None:
    model = networks.build(name, shape, 5, width=4, depth=depth, generator=generator(1, device))
    scores = model(torch.zeros(7, *shape, device=device))
    assert scores.shape == (7, 5)
    assert {tensor.device.type for tensor in model.state_dict().values()} == {device}


@pytest.mark.parametrize(("name", "shape", "depth"), BUILDS)
def test_a_network_is_fixed_by_its_generator_alone(name: str, shape: tuple[int, ...], depth: int) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (
        networks.build(name, shape, 5, width=4, depth=depth, generator=generator(seed)).state_dict()
        for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize(("name", "shape", "depth"), BUILDS)
def test_no_network_has_a_bias(name: str, shape: tuple[int, ...], depth: int) -> None:
    model = networks.build(name, shape, 5, width=4, depth=depth, generator=generator(1))
    assert all(p.ndim >= 2 for p in model.parameters())
    assert all(p.requires_grad for p in model.parameters())


def test_a_network_without_a_generator_is_an_error() -> None:
    for build, sizes in ((networks.fcn, (3, 4, 1, 5)), (networks.vgg, (3, 4, 5)), (networks.MeanField, (3, 4, 5))):
        with pytest.raises(TypeError, match="generator"):
            build(*sizes)


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^unknown network 'resnet': choose one of fcn, mean_field, vgg$"):
        networks.build("resnet", (3, 32, 32), 5, width=4, depth=1, generator=generator(1))


# ---- fully connected


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_fully_connected_network_has_depth_hidden_layers(depth: int) -> None:
    model = networks.fcn(6, 10, depth, 3, generator=generator(1))
    assert shapes(model) == [(10, 6)] + [(10, 10)] * (depth - 1) + [(3, 10)]
    assert sum(isinstance(layer, nn.ReLU) for layer in model) == depth


def test_a_fully_connected_network_is_relu_between_matrices() -> None:
    model = networks.fcn(6, 10, 2, 3, generator=generator(1))
    first, second, last = model.parameters()
    x = torch.randn(4, 2, 3, generator=generator(2))
    wanted = (x.flatten(1) @ first.T).clamp(min=0)
    wanted = (wanted @ second.T).clamp(min=0) @ last.T
    torch.testing.assert_close(model(x), wanted)


def test_a_fully_connected_network_without_a_hidden_layer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a fully connected network needs at least one hidden layer, got depth=0$"):
        networks.fcn(6, 10, 0, 3, generator=generator(1))


def uniform_init(weight: torch.Tensor) -> bool:
    """Whether a linear weight (neurons, inputs) has torch's default law, uniform on ±1/sqrt(inputs)."""
    bound = 1 / math.sqrt(weight.shape[1])
    points = np.linspace(-bound, bound, 201)
    inside = bool(weight.abs().max() <= bound)
    return inside and follows_continuous(weight, stats.uniform(-bound, 2 * bound).cdf, points)


def test_linear_layers_have_torchs_default_initial_law() -> None:
    model = networks.fcn(300, 400, 2, 200, generator=generator(3))
    mean_field = networks.MeanField(300, 400, 2, generator=generator(4))
    for weight in (*model.parameters(), mean_field.hidden.weight):
        assert uniform_init(weight)
        assert not uniform_init(weight * 1.05)
        assert not uniform_init(weight * 0.95)
    torch.manual_seed(0)
    assert uniform_init(nn.Linear(300, 400).weight)


# ---- mean field


def test_the_mean_field_output_is_the_mean_of_signed_neurons() -> None:
    model = networks.MeanField(6, 11, 3, generator=generator(5))
    x = torch.randn(4, 6, generator=generator(6))
    weight = model.hidden.weight.detach()
    for sample, scores in zip(x, model(x).detach(), strict=True):
        for c, score in enumerate(scores):
            neurons = (float(model.signs[c, i]) * math.tanh(float(weight[i] @ sample)) for i in range(11))
            assert float(score) == pytest.approx(sum(neurons) / 11, abs=1e-6)


def test_the_mean_field_network_takes_any_activation_and_flattens_its_input() -> None:
    model = networks.MeanField(6, 11, 3, generator=generator(5), activation=torch.sigmoid)
    x = torch.randn(4, 2, 3, generator=generator(6))
    torch.testing.assert_close(model(x), torch.sigmoid(x.flatten(1) @ model.hidden.weight.T) @ model.signs.T / 11)


def test_the_second_mean_field_layer_is_fixed_fair_signs() -> None:
    model = networks.MeanField(6, 10_000, 3, generator=generator(5))
    assert shapes(model) == [(10_000, 6)]
    assert "signs" in model.state_dict()
    assert model.signs.shape == (3, 10_000)
    assert set(model.signs.flatten().tolist()) == {-1.0, 1.0}
    assert stats.binomtest(int((model.signs > 0).sum()), 30_000, 0.5).pvalue > 1e-6


def test_the_gradient_scale_makes_a_neurons_step_free_of_the_width() -> None:
    # -n times the gradient is the drift of the theory: doubling every neuron must not change it.
    narrow = networks.MeanField(6, 4, 2, generator=generator(7))
    wide = networks.MeanField(6, 8, 2, generator=generator(8))
    with torch.no_grad():
        wide.hidden.weight.copy_(narrow.hidden.weight.repeat(2, 1))
        wide.signs.copy_(narrow.signs.repeat(1, 2))
    x = torch.randn(5, 6, generator=generator(9))
    drifts = []
    for model in (narrow, wide):
        model(x).square().sum().backward()
        drifts.append(model.gradient_scale * model.hidden.weight.grad)
    torch.testing.assert_close(drifts[1], drifts[0].repeat(2, 1))


# ---- VGG


def test_vgg_at_width_128_has_the_papers_channels() -> None:
    model = networks.vgg(3, 128, 10, generator=generator(10))
    plan = [
        layer.out_channels if isinstance(layer, nn.Conv2d) else "M"
        for layer in model
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d)
    ]
    assert plan == [128, "M", 256, "M", 512, 512, "M", 1024, 1024, "M", 1024, 1024, "M"]
    convolutions = [layer for layer in model if isinstance(layer, nn.Conv2d)]
    assert [layer.in_channels for layer in convolutions] == [3, 128, 256, 512, 512, 1024, 1024, 1024]
    assert {layer.kernel_size for layer in convolutions} == {(3, 3)}
    assert shapes(model)[-1] == (10, 1024)


def test_vgg_puts_a_relu_after_every_convolution() -> None:
    layers = list(networks.vgg(3, 2, 10, generator=generator(10)))
    for layer, following in itertools.pairwise(layers):
        if isinstance(layer, nn.Conv2d):
            assert isinstance(following, nn.ReLU)
    assert sum(isinstance(layer, nn.ReLU) for layer in layers) == 8


def test_vgg_convolutions_have_the_he_normal_law_with_fan_out() -> None:
    def he_normal(weight: torch.Tensor) -> bool:
        law = stats.norm(scale=math.sqrt(2 / (weight.shape[0] * 9)))
        return follows_continuous(weight, law.cdf, law.ppf(np.linspace(0.002, 0.998, 300)))

    model = networks.vgg(3, 32, 50, generator=generator(11))
    *convolutions, linear = model.parameters()
    assert uniform_init(linear)
    for weight in convolutions:
        assert he_normal(weight)
    for weight in convolutions[2:]:  # large enough to see 5%
        assert not he_normal(weight * 1.05)


@pytest.mark.parametrize("shape", [(140,), (28, 28)])
def test_vgg_on_something_that_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"needs images of shape \(channels, height, width\), the data have \(.*\)$"):
        networks.build("vgg", shape, 5, width=4, depth=1, generator=generator(1))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 31)])
def test_vgg_on_images_too_small_for_its_pools_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^network 'vgg' halves its images five times: they need 32x32 pixels, not"):
        networks.build("vgg", shape, 5, width=4, depth=1, generator=generator(1))
    with pytest.raises(RuntimeError):  # what the network itself would say at its first batch
        networks.vgg(shape[0], 4, 5, generator=generator(1))(torch.zeros(1, *shape))


# ---- which weights are hidden, which are output


def test_hidden_weights_of_a_fully_connected_network_are_all_but_the_last() -> None:
    model = networks.fcn(10, 10, 3, 10, generator=generator(1))  # every hidden layer is as wide as there are classes
    assert list(networks.hidden_weights(model)) == ["1.weight", "3.weight", "5.weight"]
    assert list(networks.output_weights(model)) == ["7.weight"]


def test_hidden_weights_of_vgg_leave_out_the_first_convolution_too() -> None:
    model = networks.vgg(3, 2, 16, generator=generator(1))  # the last convolutions have as many filters as classes
    names = [name for name, _ in model.named_parameters()]
    assert list(networks.hidden_weights(model)) == names[1:-1]
    assert list(networks.output_weights(model)) == names[-1:]


def test_every_weight_of_the_mean_field_network_is_hidden() -> None:
    model = networks.MeanField(6, 10, 10, generator=generator(1))
    assert list(networks.hidden_weights(model)) == ["hidden.weight"]
    assert networks.output_weights(model) == {}


def test_hidden_and_output_weights_are_the_networks_own_parameters() -> None:
    model = networks.fcn(6, 10, 2, 3, generator=generator(1))
    own = dict(model.named_parameters())
    for name, weight in (networks.hidden_weights(model) | networks.output_weights(model)).items():
        assert weight is own[name]


def test_biases_are_neither_hidden_nor_output_weights() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert list(networks.hidden_weights(model)) == ["0.weight"]
    assert list(networks.output_weights(model)) == ["2.weight"]
