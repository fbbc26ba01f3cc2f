"""A perturbed training that was broken off and resumed equals the unbroken one, bit for bit; and so do replicas."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import heavytail
from heavytail import noise, streams
from heavytail.lab.datasets.vision import torchvision_datasets

SETTINGS: dict[str, Any] = {"alpha": 1.6, "sigma": 0.02, "noise": "isotropic"}
STEPS, BROKEN_AT = 6, 3


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Embedding(7, 6, padding_idx=0), nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3)
    ).to(dtype)  # fmt: skip


def batch(step: int) -> tuple[Tensor, Tensor]:
    g = streams.generator(1, "batches", step)
    return torch.randint(7, (5, 2), generator=g), torch.randint(3, (5,), generator=g)


def descend(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        x, y = batch(step)
        optimizer.zero_grad()
        F.cross_entropy(model(x).float(), y).backward()
        optimizer.step()


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=0.01)


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


# ---- plain torch


@pytest.mark.parametrize("kind", noise.NOISES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_resumed_training_equals_the_unbroken_one(dtype: torch.dtype, kind: str, tmp_path: Path) -> None:
    settings = SETTINGS | {"noise": kind}
    whole = network(dtype)
    optimizer = adam(whole)
    heavytail.perturb(optimizer, model=whole, generator=generator(1), **settings)
    descend(whole, optimizer, range(STEPS))

    broken = network(dtype)
    optimizer = adam(broken)
    handle = heavytail.perturb(optimizer, model=broken, generator=generator(1), **settings)
    descend(broken, optimizer, range(BROKEN_AT))
    parts = {"model": broken, "optimizer": optimizer, "noise": handle}
    torch.save({name: part.state_dict() for name, part in parts.items()}, tmp_path / "state.pt")
    descend(broken, optimizer, range(BROKEN_AT, STEPS))
    assert same(broken, whole)

    resumed = network(dtype)
    optimizer = adam(resumed)
    handle = heavytail.perturb(optimizer, model=resumed, generator=generator(2), **settings)  # any seed will do
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    forgetful = copy.deepcopy(saved)
    for name, part in {"model": resumed, "optimizer": optimizer, "noise": handle}.items():
        part.load_state_dict(saved[name])
    descend(resumed, optimizer, range(BROKEN_AT, STEPS))
    assert same(resumed, whole)
    assert handle.state_dict()["step"] == STEPS

    for name, part in {"model": resumed, "optimizer": optimizer}.items():
        part.load_state_dict(forgetful[name])
    descend(resumed, optimizer, range(BROKEN_AT, STEPS))
    assert not same(resumed, whole)  # the state of the noise is needed


def test_what_low_precision_left_over_is_part_of_the_state() -> None:
    def trained(load: Callable[[dict[str, Any]], dict[str, Any]]) -> nn.Module:
        model = network(torch.bfloat16)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0625)
        settings: dict[str, Any] = {"alpha": 2.0, "sigma": 0.002, "noise": "entrywise", "generator": generator(1)}
        handle = heavytail.perturb(optimizer, model=model, **settings)
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        for step in range(40):
            optimizer.step()
            if step == 20:
                handle.load_state_dict(load(handle.state_dict()))
        return model

    whole = trained(lambda state: state)
    assert same(trained(copy.deepcopy), whole)
    assert not same(trained(lambda state: state | {"rest": {}}), whole)


def test_a_state_is_a_copy_of_its_own() -> None:
    model = network(torch.bfloat16)
    optimizer = adam(model)
    handle = heavytail.perturb(optimizer, model=model, generator=generator(1), **SETTINGS)
    descend(model, optimizer, range(2))
    state = handle.state_dict()
    before = copy.deepcopy(state)
    descend(model, optimizer, range(2, 4))
    assert state["step"] == before["step"] == 2
    assert all(torch.equal(rest, before["rest"][name]) for name, rest in state["rest"].items())


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another's state": (lambda state: {"state": {}, "param_groups": []}, r"^this is not the state of a perturbation: "),
    "nothing": (
        lambda state: None,
        r"^this is not the state of a perturbation: load what its state_dict\(\) returned$",
    ),
    "another alpha": (
        lambda state: state | {"settings": state["settings"] | {"alpha": 1.2}},
        r"^the state is that of a perturbation with other alpha: 1.2 there, 1.6 here$",
    ),
    "other weights": (
        lambda state: state | {"settings": state["settings"] | {"weights": ["2.weight (8, 12)"]}},
        r"^the state is that of a perturbation with other weights: \['2.weight \(8, 12\)'\] there, ",
    ),
    "no settings": (lambda state: state | {"settings": None}, r"^this is not the state of a perturbation: "),
    **{
        f"{name} {value!r}": (
            lambda state, name=name, value=value: state | {name: value},
            rf"^the state is damaged: its {name} is {value!r}, no whole number of \d\d bits$",
        )
        for name, values in {"key": (None, -1, 2**64), "step": ("two", 1.5, -1, 2**32)}.items()
        for value in values
    },
    **{
        f"rest {number}": (
            lambda state, rest=rest: state | {"rest": rest},
            r"^the state is damaged: what it left over of kicks does not fit the weights$",
        )
        for number, rest in enumerate(
            [None, {"0.weight": 3}, {"0.weight": torch.zeros(1)}, {"9.weight": torch.ones(2)}]
        )
    },
}


@pytest.mark.parametrize("state", [{"key": 0, "step": 0}, {"key": 2**64 - 1, "step": 2**32 - 1}])
def test_the_first_and_the_last_address_can_be_loaded(state: dict[str, int]) -> None:
    model = network()
    handle = heavytail.perturb(adam(model), model=model, generator=generator(1), **SETTINGS)
    handle.load_state_dict(handle.state_dict() | state)
    assert handle.state_dict().items() >= state.items()


@pytest.mark.parametrize("name", WRONG)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(name: str) -> None:
    change, sentence = WRONG[name]
    model = network()
    handle = heavytail.perturb(adam(model), model=model, generator=generator(1), **SETTINGS)
    before = handle.state_dict()
    with pytest.raises(ValueError, match=sentence):
        handle.load_state_dict(change(handle.state_dict()))
    assert handle.state_dict() == before


# ---- the order of calls of Lightning's trainer


class Noise:
    """A callback that perturbs the first optimizer. Its state comes before there is an optimizer."""

    def __init__(self, seed: int) -> None:
        self.seed, self.state = seed, None

    def on_train_start(self, trainer: Any, module: nn.Module) -> None:
        self.handle = heavytail.perturb(
            trainer.optimizers[0], model=module, sample=batch(0)[0], generator=generator(self.seed), **SETTINGS
        )
        if self.state is not None:
            self.handle.load_state_dict(self.state)

    def on_train_end(self, trainer: Any, module: nn.Module) -> None:
        self.handle.remove()

    def state_dict(self) -> dict[str, Any]:
        return self.handle.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


class Wrapped:
    """As Lightning wraps an optimizer: its class and its attributes, with a step that goes by the trainer."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.__dict__ = {name: value for name, value in vars(optimizer).items() if name != "step"}
        self.__class__ = type("Wrapped" + type(optimizer).__name__, (Wrapped, type(optimizer)), {})
        self._inner = optimizer

    def step(self, closure: Callable[[], Any]) -> Any:
        return self._inner.step(closure)


class Trainer:
    """Calls what Lightning's calls, in its order: callbacks are restored first, then optimizers made and restored."""

    def __init__(self, callbacks: list[Any], max_steps: int) -> None:
        self.callbacks, self.max_steps, self.step = callbacks, max_steps, 0
        self.optimizers: list[torch.optim.Optimizer] = []

    def fit(self, module: nn.Module, path: Path | None = None) -> None:
        state = torch.load(path, weights_only=True) if path else None
        if state:
            module.load_state_dict(state["state_dict"])
            for callback in self.callbacks:
                callback.load_state_dict(state["callbacks"][type(callback).__qualname__])
        self.optimizers = [adam(module)]
        schedulers = [torch.optim.lr_scheduler.StepLR(self.optimizers[0], 2, gamma=0.5)]
        if state:
            self.step = state["global_step"]
            for part, saved in zip([*self.optimizers, *schedulers], state["states"], strict=True):
                part.load_state_dict(saved)
        self.schedulers = schedulers
        for callback in self.callbacks:
            callback.on_train_start(self, module)
        wrapped = Wrapped(self.optimizers[0])
        while self.step < self.max_steps:
            wrapped.step(lambda: self.closure(module))
            schedulers[0].step()
            self.step += 1

    def closure(self, module: nn.Module) -> Tensor:
        x, y = batch(self.step)
        loss = F.cross_entropy(module(x), y)
        self.optimizers[0].zero_grad()
        loss.backward()
        return loss

    def save_checkpoint(self, module: nn.Module, path: Path) -> None:
        state = {
            "global_step": self.step,
            "state_dict": module.state_dict(),
            "callbacks": {type(callback).__qualname__: callback.state_dict() for callback in self.callbacks},
            "states": [part.state_dict() for part in (*self.optimizers, *self.schedulers)],
        }
        torch.save(state, path)


def test_a_training_resumed_in_lightnings_order_of_calls_equals_the_unbroken_one(tmp_path: Path) -> None:
    whole, broken, resumed = network(), network(), network()
    Trainer([Noise(1)], STEPS).fit(whole)
    first = Trainer([Noise(1)], BROKEN_AT)
    first.fit(broken)
    first.save_checkpoint(broken, tmp_path / "state.ckpt")
    second = Trainer([Noise(2)], STEPS)
    second.fit(resumed, tmp_path / "state.ckpt")
    assert same(resumed, whole)
    assert second.callbacks[0].state_dict()["step"] == STEPS  # one kick a step, though the step went by a wrapper


@pytest.mark.filterwarnings("ignore")
def test_a_training_resumed_by_lightning_equals_the_unbroken_one(tmp_path: Path) -> None:
    torchvision_datasets()  # beside a CPU build of torch nothing that imports torchvision comes up without this
    lightning = pytest.importorskip("pytorch_lightning")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

        def training_step(self, batch: Any, number: int) -> Tensor:
            return F.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return adam(self)

    class Callback(Noise, lightning.Callback):
        pass

    def trainer(seed: int, steps: int) -> Any:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        return lightning.Trainer(
            max_steps=steps, max_epochs=-1, accelerator="cpu", callbacks=[Callback(seed)], enable_checkpointing=False,
            **quiet,
        )  # fmt: skip

    rows = torch.utils.data.TensorDataset(*batch(0))
    loader = torch.utils.data.DataLoader(rows, batch_size=5)  # one batch an epoch
    whole, broken, resumed = Module(), Module(), Module()
    trainer(1, STEPS).fit(whole, loader)
    first = trainer(1, BROKEN_AT)
    first.fit(broken, loader)
    first.save_checkpoint(tmp_path / "state.ckpt")
    second = trainer(2, STEPS)
    second.fit(resumed, loader, ckpt_path=tmp_path / "state.ckpt", weights_only=True)
    assert same(resumed, whole)
    assert second.callbacks[0].state_dict()["step"] == STEPS


# ---- replicas

REPLICA = """
import os, sys
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
import heavytail
from heavytail import streams
from test_perturb_resume import BROKEN_AT, SETTINGS, STEPS, adam, generator, network
from torch.nn import functional as F

import torch._dynamo  # what an optimizer asks for, with a thousand modules

folder = sys.argv[1]
child = os.fork()  # two processes of one import
rank = 1 if child else 0
distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)


def train(seed, first, last, state=None):
    model = DistributedDataParallel(network())
    optimizer = adam(model)
    torch.manual_seed(seed + rank)  # what a rank draws for itself is its own
    handle = heavytail.perturb(optimizer, model=model, generator=generator(seed + rank), **SETTINGS)
    for part, saved in zip((model, optimizer, handle), state or ()):
        part.load_state_dict(saved)
    for step in range(first, last):
        g = streams.generator(rank, "batches", step)  # each rank has batches of its own
        x, y = torch.randint(7, (5, 2), generator=g), torch.randint(3, (5,), generator=g)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return [part.state_dict() for part in (model, optimizer, handle)]


whole = train(10, 0, STEPS)
state = train(10, 0, BROKEN_AT)
if rank == 0:
    torch.save(state, f"{folder}/state.pt")
distributed.barrier()
resumed = train(20, BROKEN_AT, STEPS, torch.load(f"{folder}/state.pt", weights_only=True))
torch.save({"whole": whole[0], "resumed": resumed[0], "noise": whole[2]}, f"{folder}/{rank}.pt")
distributed.destroy_process_group()
if rank == 1:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.long
def test_replicas_stay_equal_whatever_their_seeds_and_are_resumed_as_one(tmp_path: Path) -> None:
    (tmp_path / "replica.py").write_text(REPLICA)
    paths = os.pathsep.join([str(Path(heavytail.__file__).parents[1]), str(Path(__file__).parent)])
    command = [sys.executable, tmp_path / "replica.py", tmp_path]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    first = ranks[0]["whole"]
    for other in (ranks[0]["resumed"], ranks[1]["whole"], ranks[1]["resumed"]):
        assert all(torch.equal(first[name], weight) for name, weight in other.items())
    assert ranks[0]["noise"] == ranks[1]["noise"]
    assert ranks[0]["noise"]["key"] == streams.word(generator(10)) != streams.word(generator(11))  # that of rank 0
    start = network().state_dict()
    assert not any(torch.equal(first[f"module.{name}"], weight) for name, weight in start.items())
