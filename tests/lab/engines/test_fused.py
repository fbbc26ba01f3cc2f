"""The compiled way from logits back to pre-activations, against autograd."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from heavytail.lab.engines import fused, protocol, two_layer

NEURONS = 37
SIZES = [(2, 500), (3, 512), (5, 1300), (10, 40)]  # classes even and odd; samples below, at and above a block


def logits_and_labels(classes, batch, tiles=3):
    g = torch.Generator().manual_seed(classes)
    return torch.randn(tiles, classes, batch, generator=g), torch.randint(0, classes, (batch,), generator=g)


@pytest.mark.parametrize(("classes", "batch"), SIZES)
def test_the_gradient_of_the_loss_is_that_of_autograd(classes, batch):
    parts, labels = logits_and_labels(classes, batch)
    z = parts.sum(0).requires_grad_()
    loss = cross_entropy(z.T, labels)
    loss.backward()
    g = np.full((classes, batch), 7.0, np.float32)  # what was there before is of no account
    found = fused.gradient(parts.numpy(), labels.numpy(), np.float32(0.3 / batch), g)
    assert found == pytest.approx(float(loss.detach()), rel=1e-6)
    np.testing.assert_allclose(g, 0.3 * z.grad.numpy(), rtol=2e-5, atol=1e-8)


@pytest.mark.parametrize("keep", [1.0, 0.75, 0.0])
@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("classes", "batch"), SIZES)
def test_the_way_back_is_that_of_autograd(classes, batch, relu, trained, keep):
    draws = torch.Generator().manual_seed(batch)
    pre = torch.randn(NEURONS, batch, generator=draws).requires_grad_()
    out = torch.randn(NEURONS, classes, generator=draws).requires_grad_()
    g = torch.randn(classes, batch, generator=draws)
    h = torch.relu(pre) if relu else torch.tanh(pre)
    ((out.T @ h) * g).sum().backward()
    slope, stepped = h.detach().numpy().copy(), out.detach().numpy().copy()
    fused.backward(slope, stepped, g.numpy(), relu, trained, np.float32(keep))
    np.testing.assert_allclose(slope, pre.grad.numpy(), rtol=1e-5, atol=1e-5)
    moved = keep * out + out.grad if trained else out
    np.testing.assert_allclose(stepped, moved.detach().numpy(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_run_that_diverged_has_a_loss_that_says_so(bad):
    parts, labels = logits_and_labels(2, 64)
    parts[0, 1, 5] = bad
    labels[5] = 0
    g = np.empty((2, 64), np.float32)
    assert not math.isfinite(fused.gradient(parts.numpy(), labels.numpy(), np.float32(1), g))


def test_many_classes_low_precision_and_devices_take_the_way_of_torch():
    def networks(classes, products="float32", device="cpu"):
        like = {"device": device}
        return two_layer.Networks(
            torch.empty(1, 4, 3, **like),
            torch.empty(1, 4, classes, **like),
            ("1.weight", "3.weight"),
            protocol.lowered(products),
            torch.empty(0, **like),
        )

    assert two_layer._compiled(networks(fused.CLASSES))
    assert not two_layer._compiled(networks(fused.CLASSES + 1))
    assert not two_layer._compiled(networks(2, "bfloat16"))
    assert not two_layer._compiled(networks(2, device="meta"))


def test_the_loss_of_torch_and_the_compiled_one_agree():
    parts, labels = logits_and_labels(4, 90)
    runs, y, scales = parts.unsqueeze(1), labels.unsqueeze(0), torch.tensor([-0.1])
    (loss, g), (compiled_loss, compiled_g) = (
        way(runs, y, scales) for way in (two_layer._loss, two_layer._loss_compiled)
    )
    torch.testing.assert_close(compiled_loss, loss)
    torch.testing.assert_close(compiled_g, g)
