"""`perturb` in the trainings of others: exactly one kick a step, on exactly the right weights, bit for bit.

Every loss is multiplied by 0, so that kicks alone move a weight. `pytest -s` prints the table of the set-ups.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from networks_of_others import HeadFirst, Recurrent
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim import lr_scheduler, swa_utils
from torch.utils.checkpoint import checkpoint

import heavytail
from heavytail import noise

ALPHA, SIGMA, LR, STEPS = 1.75, 0.5, 0.125, 3
Rate = Callable[[str, int], float | None]  # of a weight at a step; None where it gets no kick


@dataclass
class Training:
    """Somebody's model, optimizer and step, and which weights have to get a kick."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: Callable[[], Any]
    kicked: list[str]
    sample: Any = None
    wrapped: nn.Module | None = None  # what is called in place of the model
    unit: str = "filter"
    noise: str | None = None  # where not every kind may be taken
    rate: Rate = lambda name, step: LR
    spared: dict[str, int] = field(default_factory=dict)  # the row of a weight that gets no kick
    later: Callable[[int], None] = lambda step: None  # after each step
    numbers: dict[str, int] = field(default_factory=dict)  # where a weight's number is not its place in `kicked`


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


HIDDEN = ["0.weight", "2.weight"]
X = torch.ones(2, 3)


def nothing(model: nn.Module, x: Any) -> Tensor:
    """A loss whose gradients are all 0."""
    outputs = model(x)
    return 0 * (outputs if isinstance(outputs, Tensor) else outputs[0]).float().sum()


def descend(model: nn.Module, optimizer: torch.optim.Optimizer, x: Any = X) -> None:
    optimizer.zero_grad()
    nothing(model, x).backward()
    optimizer.step()


def plain(model: nn.Module, kicked: list[str], x: Any = X, **more: Any) -> Training:
    """A training of this model by SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    return Training(model, optimizer, partial(descend, model, optimizer, x), kicked, **more)


def by(make: Callable[..., torch.optim.Optimizer], **settings: Any) -> Training:
    model = mlp()
    optimizer = make(model.parameters(), **{"lr": LR} | settings)
    return Training(model, optimizer, partial(descend, model, optimizer), HIDDEN)


# ---- optimizers


def muon() -> Training:
    model = mlp()
    optimizer = torch.optim.Muon([model[0].weight, model[2].weight], lr=LR, weight_decay=0)
    return Training(model, optimizer, partial(descend, model, optimizer), HIDDEN)


def closure(make: Callable[..., torch.optim.Optimizer], **settings: Any) -> Training:
    training = by(make, **settings)

    def loss() -> Tensor:
        training.optimizer.zero_grad()
        value = nothing(training.model, X)
        value.backward()
        return value

    training.step = lambda: training.optimizer.step(loss)
    return training


def lbfgs_that_looks_often() -> Training:
    training, looks = closure(torch.optim.LBFGS, max_iter=4, tolerance_grad=-1, tolerance_change=-1), []
    training.model.register_forward_hook(lambda *_: looks.append(1))
    training.later = lambda step: looks.clear() if len(looks) > 1 else pytest.fail("one look alone")
    return training


def tensor_lr() -> Training:
    return by(torch.optim.Adam, lr=torch.tensor(LR), foreach=False)


# ---- groups


def groups() -> Training:
    model = mlp()
    first, *rest = model.parameters()
    optimizer = torch.optim.SGD([{"params": rest}, {"params": [first], "lr": 0.5}], lr=LR)
    rates = {"0.weight": 0.5, "2.weight": LR}
    return Training(model, optimizer, partial(descend, model, optimizer), HIDDEN, rate=lambda name, step: rates[name])


def without_decay() -> Training:
    model = mlp()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim == 1]
    grouped = [{"params": biases}, {"params": list(reversed(matrices))}]
    optimizer = torch.optim.AdamW(grouped, lr=LR, weight_decay=0)
    return Training(model, optimizer, partial(descend, model, optimizer), HIDDEN)


def added_group() -> Training:
    model = mlp()
    optimizer = torch.optim.SGD(model[2:].parameters(), lr=LR)
    later = lambda step: optimizer.add_param_group({"params": model[0].parameters(), "lr": 0.5}) if step == 0 else None  # noqa: E731
    rates: Rate = lambda name, step: LR if name == "2.weight" else 0.5 if step > 0 else None  # noqa: E731
    return Training(model, optimizer, partial(descend, model, optimizer), HIDDEN, rate=rates, later=later)


def thawed() -> Training:
    model = mlp()
    model[0].requires_grad_(False)
    optimizer = torch.optim.Adam(model[2:].parameters(), lr=LR)

    def later(step: int) -> None:
        if step == 1:
            model[0].requires_grad_(True)
            optimizer.add_param_group({"params": list(model[0].parameters())})

    rates: Rate = lambda name, step: LR if name == "2.weight" or step > 1 else None  # noqa: E731
    return Training(model, optimizer, partial(descend, model, optimizer), HIDDEN, rate=rates, later=later)


def held_in_part() -> Training:
    model = mlp()
    optimizer = torch.optim.SGD(model[2:].parameters(), lr=LR)
    return Training(model, optimizer, partial(descend, model, optimizer), ["2.weight"], numbers={"2.weight": 1})


def two_optimizers() -> Training:
    training = plain(mlp(), HIDDEN)
    other = plain(mlp(), HIDDEN)  # of another network, which gets no noise
    own = training.step
    training.step = lambda: (own(), other.step())
    return training


# ---- loops


def scheduled(make: Callable[[torch.optim.Optimizer], Any], rates: list[float]) -> Training:
    training = by(torch.optim.SGD)
    scheduler = make(training.optimizer)
    training.later = lambda step: scheduler.step()
    training.rate = lambda name, step: rates[step]
    return training


def accumulated() -> Training:
    training = by(torch.optim.AdamW, weight_decay=0)

    def step() -> None:
        training.optimizer.zero_grad()
        for _ in range(4):
            nothing(training.model, X).backward()
        nn.utils.clip_grad_norm_(training.model.parameters(), 1.0)
        training.optimizer.step()

    training.step = step
    return training


def autocast() -> Training:
    training = by(torch.optim.AdamW, weight_decay=0)

    def step() -> None:
        training.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = nothing(training.model, X)
        loss.backward()
        training.optimizer.step()

    training.step = step
    return training


def scaled(fused: bool) -> Training:
    """The second step has an infinite gradient: the scaler skips it, or lets a fused optimizer skip it."""
    training = by(torch.optim.Adam, fused=fused)
    scaler, taken = torch.amp.GradScaler("cpu", init_scale=2.0), []

    def step() -> None:
        training.optimizer.zero_grad()
        scaler.scale(nothing(training.model, X)).backward()
        if len(taken) == 1:
            training.model[4].bias.grad.fill_(torch.inf)
        taken.append(1)
        scaler.step(training.optimizer)
        scaler.update()

    training.step = step
    training.rate = lambda name, step: None if step == 1 else LR
    return training


def averaged() -> Training:
    training = by(torch.optim.SGD)
    average = swa_utils.AveragedModel(training.model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.5))
    training.later = lambda step: average.update_parameters(training.model)
    return training


def compiled_model() -> Training:
    training = by(torch.optim.Adam)
    training.wrapped = torch.compile(training.model, backend="eager")
    training.step = partial(descend, training.wrapped, training.optimizer)
    return training


def compiled_step() -> Training:
    training = by(torch.optim.SGD)
    training.step = torch.compile(training.step, backend="eager")
    return training


def compiled_optimizer() -> Training:
    training = by(torch.optim.Adam)
    update = torch.compile(training.optimizer.step, backend="aot_eager")

    def step() -> None:
        training.optimizer.zero_grad()
        nothing(training.model, X).backward()
        update()

    training.step = step
    return training


def replica() -> Training:
    training = by(torch.optim.SGD)
    training.wrapped = DistributedDataParallel(training.model)
    training.step = partial(descend, training.wrapped, training.optimizer)
    return training


# ---- networks


class TwoHeads(HeadFirst):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = checkpoint(self.body, x, use_reentrant=False).relu()
        return self.head(h), self.unused(h)


class Twice(nn.Module):
    """One layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.body, self.first = nn.Linear(4, 2), nn.Linear(4, 4), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for _ in range(2):
            h = F.dropout(self.body(h).relu(), training=self.training)
        return self.out(h)


class Words(nn.Module):
    """A language model: by layers, in order of neither registration nor size."""

    def __init__(self, tied: bool = False, sparse: bool = False, bag: bool = False) -> None:
        super().__init__()
        kind = nn.EmbeddingBag if bag else nn.Embedding
        self.head, self.body, self.words = nn.Linear(4, 5), nn.Linear(4, 4), kind(5, 4, padding_idx=2, sparse=sparse)
        if tied:
            self.head.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.words(x)).relu())


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x)[:, 0])


TOKENS = torch.tensor([[0, 1, 2]])
ENCODER = [f"encoder.layers.0.{name}.weight" for name in ("self_attn.out_proj", "linear1", "linear2")]


def attention() -> Training:
    kicked = ["encoder.layers.0.self_attn.in_proj_weight", *ENCODER]
    x = torch.ones(2, 3, 4)
    return plain(Attention(), kicked, x, sample=x)


def sparse_words() -> Training:
    model = Words(sparse=True)
    others = torch.optim.SGD([*model.body.parameters(), *model.head.parameters()], lr=LR)
    optimizer = torch.optim.SparseAdam([model.words.weight], lr=LR)
    step = lambda: (descend(model, optimizer, TOKENS), others.step())  # noqa: E731
    return Training(
        model, optimizer, step, ["words.weight"], spared={"words.weight": 2}, numbers={"words.weight": 1}
    )  # fmt: skip


def frozen(stem: bool) -> Training:
    """A frozen part in a chain: the first convolution, or the first of two hidden layers."""
    if stem:
        model, x, kicked = images(2), torch.ones(1, 2, 2, 2), ["2.weight", "4.weight"]
    else:
        model, x, kicked = mlp(), X, ["2.weight"]
    model[0].requires_grad_(False)
    return plain(model, kicked, x, numbers={} if stem else {"2.weight": 1})


def images(axes: int, **settings: Any) -> nn.Sequential:
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[axes - 1]
    return nn.Sequential(
        conv(2, 4, 1), norm(4), conv(4, 4, 3, padding=1, **settings), nn.ReLU(), conv(4, 6, 1), nn.Flatten(),
        nn.Linear(6 * 2**axes, 2),
    )  # fmt: skip


def convolutions(axes: int, unit: str = "filter", dtype: Any = None, layout: Any = None, **settings: Any) -> Training:
    model, x = images(axes, **settings), torch.ones(3, 2, *[2] * axes)
    if dtype is not None:
        model, x = model.to(dtype), x.to(dtype)
    if layout is not None:
        model = model.to(memory_format=layout)
        assert not model[2].weight.is_contiguous()
    return plain(model, ["2.weight", "4.weight"], x, unit=unit)


def transposed() -> Training:
    model = nn.Sequential(nn.Conv2d(1, 3, 2, 2), nn.ConvTranspose2d(3, 4, 2, 2), nn.ConvTranspose2d(4, 1, 1))
    return plain(model, ["1.weight"], torch.ones(1, 1, 4, 4), noise="entrywise")


def typed(dtype: torch.dtype) -> Training:
    return plain(mlp().to(dtype), HIDDEN, X.to(dtype))


def moved_data() -> Training:
    """The weights are replaced under the optimizer, as `Module.to` does it."""
    training = by(torch.optim.SGD)

    def later(step: int) -> None:
        for p in training.model.parameters():
            p.data = p.data.clone()

    training.later = later
    return training


def loaded() -> Training:
    training = by(torch.optim.Adam)
    training.later = lambda step: training.optimizer.load_state_dict(copy.deepcopy(training.optimizer.state_dict()))
    return training


OPTIM = torch.optim
SETUPS: dict[str, Callable[[], Training]] = {
    "SGD": partial(by, OPTIM.SGD),
    "SGD, momentum": partial(by, OPTIM.SGD, momentum=0.9, nesterov=True),
    "SGD, maximize": partial(by, OPTIM.SGD, maximize=True),
    "SGD, fused": partial(by, OPTIM.SGD, fused=True),
    "Adam": partial(by, OPTIM.Adam),
    "Adam, fused": partial(by, OPTIM.Adam, fused=True),
    "Adam, foreach": partial(by, OPTIM.Adam, foreach=True),
    "Adam, lr as a tensor": tensor_lr,
    "AdamW, amsgrad": partial(by, OPTIM.AdamW, amsgrad=True, weight_decay=0),
    "Adamax": partial(by, OPTIM.Adamax),
    "NAdam": partial(by, OPTIM.NAdam),
    "RAdam": partial(by, OPTIM.RAdam),
    "RMSprop": partial(by, OPTIM.RMSprop),
    "Rprop": partial(by, OPTIM.Rprop),
    "Adagrad": partial(by, OPTIM.Adagrad),
    "Adadelta": partial(by, OPTIM.Adadelta),
    "ASGD": partial(by, OPTIM.ASGD, lambd=0),
    "Adafactor": partial(by, OPTIM.Adafactor, weight_decay=0),
    "Muon": muon,
    "SparseAdam, embedding": sparse_words,
    "LBFGS": partial(closure, OPTIM.LBFGS),
    "LBFGS, many looks": lbfgs_that_looks_often,
    "closure": partial(closure, OPTIM.Adam),
    "groups with rates": groups,
    "groups without decay": without_decay,
    "add_param_group": added_group,
    "thawed layer": thawed,
    "held in part": held_in_part,
    "two optimizers": two_optimizers,
    "StepLR": partial(scheduled, partial(lr_scheduler.StepLR, step_size=2, gamma=0.5), [LR, LR, LR / 2]),
    "warm-up from 0": partial(
        scheduled, partial(lr_scheduler.LambdaLR, lr_lambda=lambda step: step / 2), [0.0, LR / 2, LR]
    ),
    "accumulation, clipping": accumulated,
    "autocast": autocast,
    "GradScaler skips": partial(scaled, False),
    "GradScaler, fused, skips": partial(scaled, True),
    "EMA": averaged,
    "compiled model": compiled_model,
    "compiled step": compiled_step,
    "compiled optimizer": compiled_optimizer,
    "DDP": replica,
    "loaded optimizer": loaded,
    "replaced data": moved_data,
    "head first, unused": lambda: plain(HeadFirst(), ["body.weight"]),
    "two heads, checkpoint": lambda: plain(TwoHeads(), ["body.weight"], sample=X),
    "layer called twice": lambda: plain(Twice(), ["body.weight", "first.weight"], sample=X),
    "tied": lambda: plain(Words(tied=True), ["body.weight"], TOKENS),
    "embedding": lambda: plain(Words(), ["body.weight", "words.weight"], TOKENS, spared={"words.weight": 2}),
    "embedding bag": lambda: plain(
        Words(bag=True), ["body.weight", "words.weight"], TOKENS, spared={"words.weight": 2}
    ),
    "frozen hidden layer": partial(frozen, False),
    "frozen stem": partial(frozen, True),
    "LSTM": lambda: plain(Recurrent(nn.LSTM), ["cells.weight_ih_l0", "cells.weight_hh_l0"], torch.ones(1, 5, 3)),
    "GRU": lambda: plain(Recurrent(nn.GRU), ["cells.weight_ih_l0", "cells.weight_hh_l0"], torch.ones(1, 5, 3)),
    "transformer": attention,
    "conv 1-d": partial(convolutions, 1),
    "conv 2-d": partial(convolutions, 2),
    "conv 3-d": partial(convolutions, 3),
    "conv 1-d, kernels": partial(convolutions, 1, "kernel"),
    "conv 2-d, kernels": partial(convolutions, 2, "kernel"),
    "conv 3-d, kernels": partial(convolutions, 3, "kernel"),
    "conv, grouped": partial(convolutions, 2, groups=4),
    "conv, transposed": transposed,
    "channels_last": partial(convolutions, 2, layout=torch.channels_last),
    "channels_last 3-d": partial(convolutions, 3, layout=torch.channels_last_3d),
    "channels_last, bf16": partial(convolutions, 2, dtype=torch.bfloat16, layout=torch.channels_last),
    "bfloat16": partial(typed, torch.bfloat16),
    "float16": partial(typed, torch.float16),
    "float64": partial(typed, torch.float64),
}


def after(before: Tensor, training: Training, name: str, kind: noise.Noise, key: int) -> tuple[Tensor, int]:
    """A weight after the kicks at its addresses, and how many they are."""
    number = training.numbers.get(name, training.kicked.index(name))
    weight, rest, kicks, taken = before.clone().contiguous(), torch.zeros(before.shape), 0, 0
    for step in range(STEPS):
        rate = training.rate(name, step)
        if rate is not None:
            at = {"key": key, "step": taken, "layer": number, "unit": training.unit}
            size = noise.scale(ALPHA, SIGMA, rate)
            if weight.dtype == torch.float32:
                noise.add(weight, ALPHA, kind, size, **at)
            else:
                kick = torch.zeros(before.shape)
                noise.add(kick, ALPHA, kind, size, **at)
                total = kick + rest
                moved = (weight + total).to(weight.dtype)
                rest = total - (moved.float() - weight.float()) if weight.dtype != torch.float64 else rest
                weight = moved
            kicks += 1
        if any(training.rate(other, step) is not None for other in training.kicked):
            taken += 1
    if name in training.spared:
        weight[training.spared[name]] = before[training.spared[name]]
    return weight, kicks


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """The lines of the table, which is printed when they are all there."""
    lines: list[str] = []
    yield lines
    print(f"\n\n{'set-up':<26} {'optimizer':<11} {'noise':<10} kicks in {STEPS} steps, by weight")
    print("\n".join(lines))
    print(f"{len(lines)} set-ups")


@pytest.fixture(scope="module", autouse=True)
def one_process() -> Iterator[None]:
    """A process group of one, for the replica."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_there_are_set_ups_enough() -> None:
    assert len(SETUPS) >= 40
    assert len({type(make().optimizer) for name, make in SETUPS.items() if name[:1].isupper()}) >= 12


@pytest.mark.filterwarnings("ignore:.*is_causal.*|.*enable_nested_tensor.*|.*lr_scheduler.step.*")
@pytest.mark.parametrize("name", SETUPS)
def test_a_step_is_exactly_one_kick_on_exactly_the_right_weights(name: str, table: list[str]) -> None:
    torch.manual_seed(0)
    training = SETUPS[name]()
    kind = training.noise or noise.NOISES[list(SETUPS).index(name) % 3]
    before = {key: p.detach().clone() for key, p in training.model.named_parameters()}
    handle = heavytail.perturb(
        training.optimizer, model=training.wrapped or training.model, sample=training.sample, alpha=ALPHA,
        sigma=SIGMA, noise=kind, generator=torch.Generator().manual_seed(1), unit=training.unit,
    )  # fmt: skip
    for step in range(STEPS):
        training.step()
        training.later(step)
    assert handle.names == training.kicked
    counts = {}
    for key, p in training.model.named_parameters():
        wanted = before[key]
        if key in training.kicked:
            wanted, counts[key] = after(wanted, training, key, kind, handle.state_dict()["key"])
            assert not torch.equal(wanted, before[key])
            assert (p.grad is None) or not p.grad.to_dense().isnan().any()
        assert torch.equal(p.detach(), wanted), key
    table.append(
        f"{name:<26} {type(training.optimizer).__name__:<11} {kind:<10} "
        + ", ".join(f"{key.removeprefix('encoder.layers.0.')}: {count}" for key, count in counts.items())
    )
