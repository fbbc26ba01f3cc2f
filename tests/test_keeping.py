from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import nn

from heavytail import networks
from heavytail.networks.keeping import copied


def tied() -> nn.Module:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    return nn.Sequential(first, nn.ReLU(), second, first)


def frozen() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2)).eval()
    model[0].weight.requires_grad_(False)
    model[3].train()
    return model


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    model[0].register_forward_hook(lambda module, given, said: 2 * said)
    model[1].note = ["a word", torch.ones(2)]
    return model


class Keeps(nn.Linear):
    """A layer of somebody's own, which keeps what it said."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.said = super().forward(x)
        return self.said


def kept() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), Keeps(4, 4))
    model(torch.ones(1, 4))
    return model


def vgg() -> nn.Module:
    return networks.vgg(3, width=2, classes=4, generator=torch.Generator().manual_seed(0))


MODELS = [tied, frozen, hooked, kept, vgg, lambda: nn.TransformerEncoderLayer(8, 2, 16), lambda: nn.LSTM(3, 4, 2)]


@pytest.mark.parametrize("make", MODELS)
def test_a_copy_is_a_deepcopy_in_memory_of_its_own(make) -> None:
    torch.manual_seed(0)
    model = make()
    new = copied(model)
    for wanted in [model] if make is kept else [model, copy.deepcopy(model)]:  # of that no deepcopy can be made
        pairs = list(zip(wanted.modules(), new.modules(), strict=True))
        assert [(type(a), a.training, a.extra_repr()) for a, _ in pairs] == [
            (type(b), b.training, b.extra_repr()) for _, b in pairs
        ]
        assert all(vars(a).keys() == vars(b).keys() and a is not b for a, b in pairs)
        for a, b in pairs:
            for name in vars(a).keys() - {"said", "note"}:
                mine, other = vars(b)[name], vars(a)[name]
                assert type(mine) is type(other), name
                assert mine is not other or not isinstance(mine, dict | list | set), name
    assert str(new) == str(model)
    tensors = (list(model.state_dict(keep_vars=True).items()), list(new.state_dict(keep_vars=True).items()))
    for (name, a), (other, b) in zip(*tensors, strict=True):
        assert (name, type(a), a.requires_grad, a.stride()) == (other, type(b), b.requires_grad, b.stride())
        assert torch.equal(a, b)
        assert a.data_ptr() != b.data_ptr()
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.add_(1)
    assert all(not torch.equal(a, b) for (_, a), (_, b) in zip(*tensors, strict=True) if isinstance(a, nn.Parameter))


def test_what_is_tied_stays_tied_and_hooks_and_notes_are_copied() -> None:
    new = copied(tied())
    assert new[0] is new[3]
    assert new[0].weight is new[2].weight
    model = hooked()
    new = copied(model)
    assert torch.equal(new(torch.ones(1, 4)), model(torch.ones(1, 4)))
    assert new[1].note[0] == "a word"
    assert new[1].note is not model[1].note
    assert new[1].note[1].data_ptr() != model[1].note[1].data_ptr()
    assert copied(kept())[1].said.is_leaf  # without the graph


def test_what_refers_to_the_layers_around_it_refers_to_their_copies() -> None:
    model = nn.Sequential(nn.Sequential(Keeps(2, 2)), nn.Sequential(nn.Linear(2, 2)))
    model[0][0].around = [model, model[0], model[1]]
    new = copied(model)
    assert all(a is b for a, b in zip(new[0][0].around, [new, new[0], new[1]], strict=True))


@pytest.mark.parametrize("place", ["", "0"])
def test_what_cannot_be_copied_is_named(place: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model.get_submodule(place).held = threading.Lock()
    with pytest.raises(ValueError, match="a Sequential cannot be copied"):
        copied(model)
