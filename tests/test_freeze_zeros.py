"""Zeroed units stay exactly zero in fine-tuning, whatever the optimizer remembers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from zoo import ZOO, filled, gen

import heavytail
from heavytail import compress

OPTIMIZERS = {
    "SGD": lambda params: torch.optim.SGD(params, lr=0.05),
    "SGD, momentum, decay": lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=0.1),
    "Adam": lambda params: torch.optim.Adam(params, lr=0.01, weight_decay=0.1),
    "AdamW": lambda params: torch.optim.AdamW(params, lr=0.01, weight_decay=0.1),
    "RMSprop": lambda params: torch.optim.RMSprop(params, lr=0.01, momentum=0.9),
}


def train(model, optimizer, x, steps=5):
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("network", ["MLP, GELU, BatchNorm, Dropout", "skip connections"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_zeros_stay_zero_and_the_rest_is_trained(name, network):
    kind = ZOO[network]
    model, x = kind.model(), kind.sample()
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer, x)  # so that the optimizer remembers what moved the units that go
    compress.prune(model, sample=x, inplace=True, **kind.prune)
    zero = {name: p.detach() == 0 for name, p in model.named_parameters() if p.ndim >= 2}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    handle = compress.freeze_zeros(model, optimizer)
    train(model, optimizer, x)
    for name, p in model.named_parameters():
        assert not torch.equal(p, before[name])
        if name in zero:
            assert torch.equal(p == 0, zero[name])
    pruned = model.eval()
    small = compress.shrink(pruned, sample=x)
    torch.testing.assert_close(small(x), pruned(x), rtol=1e-5, atol=1e-6)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    handle.remove()
    handle.remove()
    train(model, optimizer, x)  # the hold is what kept them
    assert any(bool((p[zero[name]] != 0).any()) for name, p in model.named_parameters() if name in zero)


def test_noise_that_is_added_before_is_taken_off_again():
    model = filled(nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 3)))
    model = compress.prune(model, keep=0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    heavytail.perturb(optimizer, model=model, alpha=1.8, sigma=0.1, noise="entrywise", generator=gen(1))
    with compress.freeze_zeros(model, optimizer) as handle:
        assert handle.counts == {"0.weight": 5, "2.weight": 4}
        train(model, optimizer, torch.ones(4, 6))
        assert [int(compress.norms(model[k].weight).count_nonzero()) for k in (0, 2)] == [4, 4]
    train(model, optimizer, torch.ones(4, 6))
    assert int(compress.norms(model[0].weight).count_nonzero()) == 9


def test_kernels_stay_zero_too_and_other_zeros_do_not():
    model = nn.Conv2d(2, 3, 3)
    with torch.no_grad():
        model.weight[0] = 0
        model.weight[1, 1] = 0
        model.weight[2, 0, 0, 0] = 0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert compress.freeze_zeros(model, optimizer).counts == {"weight": 3}
    train(model, optimizer, torch.randn(2, 2, 5, 5, generator=gen()))
    assert [int(model.weight[k].count_nonzero()) for k in range(3)] == [0, 9, 18]


def test_what_cannot_be_held_is_refused():
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"^no weight of the model has a unit that is all zero: prune it first$"):
        compress.freeze_zeros(model, optimizer)
    with pytest.raises(ValueError, match=r"^the optimizer holds no weight of this model"):
        compress.freeze_zeros(other, optimizer)
    with pytest.raises(TypeError, match=r"^a network to train is a torch.nn.Module, got list"):
        compress.freeze_zeros([model], optimizer)
    with pytest.raises(TypeError, match=r"^optimizer= is a torch.optim.Optimizer, got Linear"):
        compress.freeze_zeros(model, model)
