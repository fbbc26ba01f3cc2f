"""Networks of every kind, small and seeded: each with a batch that it is called with, and what is pruned of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from heavytail.lab.datasets.vision import torchvision_datasets


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def filled(model, seed=1):
    """The model with weights, biases and running statistics of a seed, so that a dead unit says something."""
    draw = gen(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            size = max(1, p[0].numel()) if p.ndim >= 2 else 9
            p.copy_(torch.randn(p.shape, generator=draw) / math.sqrt(size) + (p.ndim == 1 and name.endswith("weight")))
        for name, b in model.named_buffers():
            if name.endswith("running_mean"):
                b.copy_(0.3 * torch.randn(b.shape, generator=draw))
            elif name.endswith("running_var"):
                b.copy_(0.5 + torch.rand(b.shape, generator=draw))
    return model.eval()


@dataclass(frozen=True)
class Kind:
    """A network, a batch for it, and how it is pruned."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]  # of the batch
    prune: dict[str, Any] = field(default_factory=dict)
    tokens: int = 0  # the batch holds whole numbers below this, and no real ones
    room: float = 1e-5  # by which share of their size outputs may differ
    dtype: torch.dtype = torch.float32
    folds: bool = True  # whether units that go have said something

    def model(self):
        return filled(self.make()).to(self.dtype)

    def sample(self, seed=3, more=0):
        shape = (self.shape[0] + more, *self.shape[1:])
        if self.tokens:
            return torch.randint(self.tokens, shape, generator=gen(seed))
        return torch.randn(shape, generator=gen(seed)).to(self.dtype)


class Mlp(nn.Module):
    """Layers in attributes and a list, activations as functions."""

    def __init__(self, activation, norm=None):
        super().__init__()
        self.enter = nn.Linear(6, 12)
        self.body = nn.ModuleList([nn.Linear(12, 14), nn.Linear(14, 10)])
        self.norms = nn.ModuleList([norm(14), norm(10)]) if norm else [nn.Identity()] * 2
        self.drop = nn.Dropout(0.5)
        self.leave = nn.Linear(10, 3)
        self.activation = activation

    def forward(self, x):
        x = self.activation(self.enter(x))
        for layer, norm in zip(self.body, self.norms, strict=True):
            x = self.drop(self.activation(norm(layer(x))))
        return self.leave(x)


class Functional(nn.Module):
    """A layer of the user's own, without torch's Linear."""

    def __init__(self):
        super().__init__()
        self.first, self.said = nn.Parameter(torch.empty(12, 6)), nn.Parameter(torch.empty(12))
        self.scale = nn.Parameter(torch.empty(12))
        self.inner = nn.Sequential(nn.Linear(12, 9), nn.PReLU(9), nn.Linear(9, 8))
        self.last, self.end = nn.Parameter(torch.empty(3, 8)), nn.Parameter(torch.empty(3))

    def forward(self, x):
        x = self.scale * F.linear(x, self.first, self.said).tanh()
        return {"logits": F.linear(F.gelu(self.inner(x)), self.last, self.end)}


class Images(nn.Module):
    """Convolutions with normalisation and pooling, flattened, and linear layers."""

    def __init__(self, axes, **options):
        super().__init__()
        conv, norm = getattr(nn, f"Conv{axes}d"), getattr(nn, f"BatchNorm{axes}d")
        self.conv1, self.norm1 = conv(2, 6, 3), norm(6)
        self.conv2, self.norm2 = conv(6, 8, 3, **options), norm(8)
        self.conv3 = conv(8, 6, 1)
        self.pool = getattr(nn, f"AdaptiveMaxPool{axes}d")(2)
        self.head = nn.Sequential(nn.Linear(6 * 2**axes, 9), nn.LeakyReLU(), nn.Linear(9, 3))

    def forward(self, x):
        x = F.silu(self.norm1(self.conv1(x)))
        x = F.leaky_relu(self.norm2(self.conv2(x)))
        return self.head(torch.flatten(self.pool(self.conv3(x).sigmoid()), 1))


class Turned(nn.Module):
    """Down by strides and up by transposed convolutions."""

    def __init__(self):
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(2, 6, 3, stride=2), nn.Conv2d(6, 8, 3)
        self.up1, self.up2 = nn.ConvTranspose2d(8, 7, 3), nn.ConvTranspose2d(7, 2, 4, stride=2)
        self.mix = nn.Conv2d(7, 7, 1)

    def forward(self, x):
        x = torch.relu(self.down2(torch.relu(self.down1(x))))
        return self.up2(torch.relu(self.mix(F.elu(self.up1(x)))))


class Depthwise(nn.Module):
    """A wide inner layer, one filter for each channel, a gate, and a way around them."""

    def __init__(self, multiplier=1, padding=0):
        super().__init__()
        wide = 10
        self.stem = nn.Conv2d(3, 6, 1)
        self.expand, self.norm1 = nn.Conv2d(6, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.each = nn.Conv2d(wide, wide * multiplier, 3, padding=padding, groups=wide, bias=False)
        self.norm2 = nn.BatchNorm2d(wide * multiplier)
        self.squeeze, self.gate = nn.Conv2d(wide * multiplier, 4, 1), nn.Conv2d(4, wide * multiplier, 1)
        self.project = nn.Conv2d(wide * multiplier, 6, 1)
        self.head = nn.Linear(6, 3)
        self.cut = 1 - padding

    def forward(self, x):
        x = F.hardswish(self.stem(x))
        y = F.relu6(self.norm1(self.expand(x)))
        y = F.hardswish(self.norm2(self.each(y)))
        gate = self.gate(torch.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1))))
        y = self.project(y * F.hardsigmoid(gate))
        x = x[:, :, self.cut : x.shape[2] - self.cut, self.cut : x.shape[3] - self.cut] + y
        return self.head(x.mean((2, 3)))


class Grouped(nn.Module):
    """Two groups of channels in the middle, and a concatenation."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Conv2d(3, 8, 3)
        self.groups = nn.Conv2d(8, 12, 3, groups=4)
        self.beside = nn.Conv2d(8, 5, 3)
        self.leave = nn.Conv2d(17, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = torch.relu(self.enter(x))
        x = torch.cat([torch.relu(self.groups(x)), torch.sigmoid(self.beside(x))], 1)
        return self.head(torch.relu(self.leave(x)).mean((2, 3)))


class Residual(nn.Module):
    """Channels that three layers write to."""

    def __init__(self):
        super().__init__()
        self.stem, self.begin = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 8, 1)
        self.inner = nn.ModuleList([nn.Conv2d(8, 6, 3, padding=1, bias=False) for _ in range(2)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(6) for _ in range(2)])
        self.outer = nn.ModuleList([nn.Conv2d(6, 8, 1) for _ in range(2)])
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.begin(torch.relu(self.stem(x)))
        for inner, norm, outer in zip(self.inner, self.norms, self.outer, strict=True):
            x = x + outer(torch.relu(norm(inner(torch.relu(x)))))
        return self.head(torch.relu(x).mean((2, 3)))


class Halves(nn.Module):
    """A layer whose one half gates the other."""

    def __init__(self):
        super().__init__()
        self.both, self.between = nn.Linear(6, 16), nn.Linear(8, 12)
        self.leave = nn.Linear(6, 3)

    def forward(self, x):
        a, b = self.both(x).chunk(2, -1)
        return self.leave(F.softplus(self.between(a.tanh() * b.sigmoid())).view(len(x), 12)[:, :6])


class TiedAutoencoder(nn.Module):
    """The decoder's weights are the encoder's."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(6, 9)
        self.inner = nn.Linear(9, 9)
        self.again = nn.Linear(9, 9)
        self.again.weight = self.inner.weight
        self.leave = nn.Linear(9, 3)

    def forward(self, x):
        return self.leave(self.again(self.inner(self.enter(x).sigmoid()).tanh()).sigmoid())


class Words(nn.Module):
    """Embeddings, an attention written by hand, a block of two layers, and a head tied to the table."""

    def __init__(self, width=12, heads=3, words=11):
        super().__init__()
        self.heads = heads
        self.table = nn.Embedding(words, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.joined = nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 20), nn.Linear(20, width)
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        x = self.table(tokens)
        y = self.norm1(x)
        parts = [
            layer(y).view(*y.shape[:2], self.heads, -1).transpose(1, 2) for layer in (self.query, self.key, self.value)
        ]
        attended = F.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(y.shape)
        x = x + self.joined(attended)
        x = x + self.narrow(F.gelu(self.wide(self.norm2(x))))
        return self.head(x)


class Heads(nn.Module):
    """An attention written by hand, with a way around it: heads laid out by their size, or packed for all three."""

    def __init__(self, packed=False):
        super().__init__()
        self.num_heads, self.head_dim, self.packed = 3, 4, packed
        self.enter, self.norm = nn.Linear(6, 10), nn.LayerNorm(10)
        self.qkv, self.joined = nn.Linear(10, 36), nn.Linear(12, 10)
        self.leave = nn.Linear(10, 3)

    def forward(self, x):
        x = self.norm(self.enter(x))
        if self.packed:
            parts = self.qkv(x).view(*x.shape[:2], 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
            said = F.scaled_dot_product_attention(*parts.unbind(0))
        else:
            parts = [part.unflatten(-1, (-1, self.head_dim)) for part in self.qkv(x).chunk(3, -1)]
            query, key, value = (part.transpose(1, 2) for part in parts)
            shares = (query @ key.transpose(-2, -1) / math.sqrt(self.head_dim)).softmax(-1)
            said = F.dropout(shares, 0.1, self.training) @ value
        return self.leave(x + self.joined(said.transpose(1, 2).flatten(2)))


class Twice(nn.Module):
    """One layer, called twice."""

    def __init__(self):
        super().__init__()
        self.enter, self.layer, self.leave = nn.Linear(6, 9, bias=False), nn.Linear(9, 9, bias=False), nn.Linear(9, 3)

    def forward(self, x):
        return self.leave(torch.relu(self.layer(torch.relu(self.layer(torch.relu(self.enter(x)))))))


def encoder(**options):
    return lambda: nn.TransformerEncoderLayer(8, 2, 24, batch_first=True, **options)


def vision(name, device="meta", **options):
    """A network of torchvision's, made without drawing weights that are drawn anew."""

    def make():
        torchvision_datasets()
        from torchvision import models

        with torch.device(device):
            model = getattr(models, name)(**options)
        return model.to_empty(device="cpu") if device == "meta" else model

    return make


def small_vgg(width=64):
    """torchvision's vgg11, with so many filters in its first convolution, and a small head."""
    torchvision_datasets()
    from torchvision.models import vgg

    plan = [step if step == "M" else step * width // 64 for step in vgg.cfgs["A"]]
    with torch.device("meta"):
        model = vgg.VGG(vgg.make_layers(plan), num_classes=5, init_weights=False)
        head = nn.Linear(8 * width * 49, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 5)
        model.classifier = nn.Sequential(*head)
    return model.to_empty(device="cpu")


HALF, TIED = {"keep": 0.5}, {"keep": 0.5, "coupled": True}
SQUARE = (2, 3, 32, 32)
ZOO = {
    "MLP, ReLU": Kind(lambda: Mlp(torch.relu), (5, 6), HALF),
    "MLP, GELU, BatchNorm, Dropout": Kind(lambda: Mlp(F.gelu, nn.BatchNorm1d), (5, 6), HALF),
    "MLP, LeakyReLU": Kind(lambda: Mlp(nn.LeakyReLU(0.2)), (5, 6), {"squared_error": 0.3}),
    "chain with BatchNorm": Kind(
        lambda: nn.Sequential(
            nn.Linear(6, 12),
            nn.BatchNorm1d(12),
            nn.Sigmoid(),
            nn.Sequential(nn.Linear(12, 8), nn.ELU()),
            nn.Linear(8, 3),
        ),
        (5, 6),
        HALF,
    ),
    "functions of torch, PReLU, dict": Kind(Functional, (5, 6), HALF),
    "a layer cut in halves": Kind(Halves, (5, 6), {**TIED, "exclude": ["between"]}),
    "convolutions of one axis": Kind(lambda: Images(1), (2, 2, 20), HALF),
    "convolutions of two axes": Kind(lambda: Images(2), (2, 2, 12, 12), HALF),
    "convolutions of three axes": Kind(lambda: Images(3), (2, 2, 8, 8, 8), HALF),
    "convolution with zeros at the border": Kind(lambda: Images(2, padding=1), (2, 2, 12, 12), HALF),
    "convolution that reflects at the border": Kind(
        lambda: Images(2, padding=1, padding_mode="reflect"), (2, 2, 12, 12), HALF
    ),
    "transposed convolutions": Kind(Turned, (2, 2, 11, 11), {**HALF, "exclude": ["up1"]}, folds=False),
    "depthwise convolution, gate": Kind(Depthwise, (2, 3, 9, 9), TIED),
    "depthwise convolution with a border": Kind(lambda: Depthwise(padding=1), (2, 3, 9, 9), TIED),
    "depthwise convolution, two filters a channel": Kind(lambda: Depthwise(2), (2, 3, 9, 9), TIED),
    "groups, concatenation": Kind(Grouped, (2, 3, 9, 9), TIED),
    "skip connections": Kind(Residual, (2, 3, 6, 6), TIED),
    "skip connections, not coupled": Kind(Residual, (2, 3, 6, 6), HALF),
    "tied weights": Kind(TiedAutoencoder, (5, 6), HALF),
    "a layer called twice": Kind(Twice, (5, 6), TIED, folds=False),
    "encoder layer, ReLU": Kind(encoder(), (2, 5, 8), HALF),
    "encoder layer, GELU, norm first": Kind(encoder(activation="gelu", norm_first=True), (2, 5, 8), HALF),
    "encoder of two layers": Kind(lambda: nn.TransformerEncoder(encoder()(), 2), (2, 5, 8), HALF),
    "encoder of two layers, heads": Kind(lambda: nn.TransformerEncoder(encoder()(), 2), (2, 5, 8), TIED),
    "attention by hand, heads": Kind(Heads, (2, 5, 6), TIED),
    "attention by hand, packed heads": Kind(lambda: Heads(packed=True), (2, 5, 6), TIED),
    "words, tied head": Kind(Words, (2, 5), HALF, tokens=11),
    "bfloat16": Kind(lambda: Mlp(F.gelu, nn.BatchNorm1d), (5, 6), HALF, room=0.05, dtype=torch.bfloat16),
    "float16": Kind(lambda: Mlp(torch.tanh), (5, 6), HALF, room=0.01, dtype=torch.float16),
    "float64": Kind(lambda: Mlp(torch.tanh), (5, 6), HALF, room=1e-12, dtype=torch.float64),
    "resnet18": Kind(vision("resnet18", num_classes=5), SQUARE, TIED),
    "vgg11, narrow": Kind(lambda: small_vgg(16), SQUARE, HALF),
    "mobilenet_v3_small": Kind(vision("mobilenet_v3_small", num_classes=5), SQUARE, TIED),
    "VisionTransformer, small": Kind(
        vision(
            "VisionTransformer",
            **{"image_size": 16, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32},
        ),
        (2, 3, 16, 16),
        TIED,
    ),
}
LARGE = {  # seconds each: for `make slow`
    "densenet121": Kind(vision("densenet121", num_classes=5), SQUARE, TIED),
    "shufflenet_v2_x0_5": Kind(vision("shufflenet_v2_x0_5", num_classes=5), SQUARE, TIED),
    "vgg11, small head": Kind(small_vgg, SQUARE, HALF),
    "resnet18, not coupled": Kind(vision("resnet18", num_classes=5), SQUARE, HALF),
    "vit_b_16": Kind(vision("vit_b_16", image_size=32), (1, 3, 32, 32), HALF),
    "resnet50": Kind(vision("resnet50"), SQUARE, TIED),
    "convnext_tiny": Kind(vision("convnext_tiny"), SQUARE, TIED),
    "swin_t": Kind(vision("swin_t", "cpu"), SQUARE, TIED),
}
