"""What would you ship: how accurate a network is at every size of file, pruned, tuned, and quantised.

A network is trained as any user of the library would do it, by an optimizer of torch with `heavytail.perturb` on it.
One step, with the batch's gradient ∇R, weight decay λ, group lasso μ and noise of scale σ:

    W ← (1 - ηλ) W - η ∇R,    then, of every hidden unit w,    w ← w max(0, 1 - ημ / ‖w‖)    or    w ← w + σ η^(1/α) ξ.

Then it is pruned to each number of units of a ladder, its zero units are taken out, and what is left is tuned by the
same step without lasso and noise.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import heavytail
from heavytail import compress, networks, streams
from heavytail.compress.batches import batch_for
from heavytail.compress.exporting import onnx_of, runner
from heavytail.compress.measuring import weights_file
from heavytail.compress.quiet import quiet
from heavytail.extras import need
from heavytail.lab import models, runs, training
from heavytail.lab.datasets import Dataset
from heavytail.lab.engines.protocol import shorten
from heavytail.lab.runs import Run
from heavytail.lab.simulations.data import accuracy, seen, split
from heavytail.lab.simulations.record import Simulation
from heavytail.networks.keeping import copied
from heavytail.networks.residual import Residual

#: Units that are kept, as far as a network has them; from 120 on they repeat tenfold.
_FINE = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 25, 32, 40, 50, 64, 80)
_COARSE = (120, 250, 500)

#: The networks, and what a `Run` calls them.
NETWORKS = {"fcn": "fcn", "resnet": "heavytail.networks.residual:resnet"}


@dataclass(frozen=True, kw_only=True)
class Shipping(Simulation):
    """One training, and what is left of it at every size. A record has one network: its repeats are the seeds.

    alpha, sigma, noise   as in a `Run`; a sigma of 0 is no noise, whatever the others say
    dataset, lr, weight_decay, group_lasso   those of a `Run`, too; a lasso has no noise beside it
    network               "fcn", with one hidden layer, or "resnet", a small residual network with batch normalisation
    width                 neurons of the hidden layer, or channels of the first stage
    batch_size, samples, validation   as in a `Run`, but 0 is all of them, or none set aside
    steps                 optimizer steps; there is no noise after the last one
    tune_steps, tune_lr   steps by which each pruned network is tuned, and their step size; 0 is `lr`
    prune                 whether networks of fewer units are made of it; else the whole one alone is measured
    int8                  whether the whole network is quantised too
    """

    study: ClassVar[str] = "shipping"

    # Of the data, and one: not fields here.
    inputs: ClassVar[int] = 1  # type: ignore[misc]
    repeats: ClassVar[int] = 1  # type: ignore[misc]

    alpha: float = 2.0
    sigma: float = 0.0
    width: int = 2000
    dataset: str = "ecg5000"
    network: str = "fcn"
    lr: float = 0.01
    weight_decay: float = 0.0
    group_lasso: float = 0.0
    batch_size: int = 0
    steps: int = 600
    tune_steps: int = 100
    tune_lr: float = 0.0
    prune: bool = True
    samples: int = 0
    validation: int = 0
    int8: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("batch_size", 0), ("steps", 1), ("tune_steps", 1), ("samples", 0), ("validation", 0)):
            runs.whole(self, name, least)
        for name in ("lr", "weight_decay", "group_lasso", "tune_lr"):
            runs.number(self, name)
        if not 0 <= self.tune_lr < math.inf:
            raise ValueError(f"tune_lr must be a finite number >= 0, got {self.tune_lr:g}")
        if self.network not in NETWORKS:
            raise ValueError(f"unknown network {self.network!r}: choose one of {', '.join(NETWORKS)}")
        for name in ("int8", "prune"):
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {value!r}")
        if self.sigma and self.group_lasso:
            raise ValueError("noise and group_lasso are two arms: leave one of them at 0")
        _ = self.run  # which refuses what no run has

    @property
    def run(self) -> Run:
        """The `Run` that this training is, as far as a run goes."""
        noisy = {"noise": self.noise, "alpha": self.alpha, "sigma": self.sigma} if self.sigma else {}
        return Run(
            dataset=self.dataset,
            network=NETWORKS[self.network],
            width=self.width,
            lr=self.lr,
            batch_size=self.batch_size or None,
            max_steps=self.steps,
            weight_decay=self.weight_decay,
            group_lasso=self.group_lasso,
            samples=self.samples or None,
            validation=self.validation or None,
            seed=self.seed,
            **noisy,  # type: ignore[arg-type]
        )

    @property
    def ladder(self) -> tuple[int, ...]:
        """Numbers of units that are kept, ascending, the last one all of them.

        >>> Shipping(width=8).ladder, Shipping(width=1000).ladder[-4:]
        ((1, 2, 3, 4, 5, 6, 8), (120, 250, 500, 1000))
        """
        if not self.prune:
            return (self.width,)
        tenfold = [10**k * units for k in range(len(str(self.width))) for units in _COARSE]
        return (*(units for units in (*_FINE, *tenfold) if units < self.width), self.width)

    @property
    def numbers(self) -> dict[tuple[str, int], int]:
        """One number of each quantity at each level, which is the number of units kept; see `measure`."""
        found = {("train_accuracy", self.width): 1}
        for level in self.ladder:
            found |= dict.fromkeys([(name, level) for name in ("accuracy", "tuned", "bytes", "parameters")], 1)
        if self.int8:
            found |= {("int8", self.width): 1, ("int8_bytes", self.width): 1}
        return found


def measure(simulation: Shipping, device: str) -> dict[tuple[str, int], Tensor]:
    """At each number of units kept, of all together: test `accuracy` when pruned, and `tuned` after that.

    With the `bytes` of the weights as safetensors and the number of `parameters`; of the whole network the
    `train_accuracy`, and where asked the accuracy as `int8` with the bytes of its ONNX file. Accuracies of what
    diverged are NaN, sizes are those that it would have had.
    """
    run = simulation.run
    dataset = seen(run, device)
    start = models.initial_model(run, dataset).eval()
    model = trained(run, dataset)
    sound = _is_sound(model)
    found = {("train_accuracy", simulation.width): _accuracy(model, dataset.x_train, dataset.y_train)}
    for level in simulation.ladder:
        small = smaller(simulation, model if sound else start, level, dataset)
        found["accuracy", level] = _accuracy(small, dataset.x_test, dataset.y_test) if sound else math.nan
        found["bytes", level] = len(weights_file(small))
        found["parameters", level] = sum(p.numel() for p in small.parameters())
        if sound:
            tune(simulation, small, dataset)
        found["tuned", level] = _accuracy(small, dataset.x_test, dataset.y_test) if sound else math.nan
    if simulation.int8:
        content = quantised(copied(model if sound else start).cpu(), dataset.x_train[:2].cpu())
        found["int8_bytes", simulation.width] = len(content)
        found["int8", simulation.width] = _accuracy_of_file(content, dataset) if sound else math.nan
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in found.items()}


@lru_cache(maxsize=1)  # a search lists one training with many step sizes of tuning
def trained(run: Run, dataset: Dataset) -> nn.Module:
    """The network after all steps, in eval mode, from the seed's own start, batches and noise. Nobody may change it."""
    model = models.initial_model(run, dataset).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=run.lr, weight_decay=run.weight_decay)
    sample = dataset.x_train[:2]
    handle = None
    if run.noise is not None and run.alpha is not None:
        words = streams.generator(training.noise_key(run), "noise", device=sample.device)
        handle = heavytail.noise.perturb(
            optimizer,
            model=model,
            sample=sample,
            alpha=run.alpha,
            sigma=run.sigma,
            noise=run.noise,
            generator=words,
        )
    hidden = networks.hidden_weights(model, sample).values() if run.group_lasso else ()
    length = torch.tensor([run.lr * run.group_lasso], device=sample.device)
    for step, rows in enumerate(_batches(run, dataset, "batches", run.max_steps), 1):
        if handle is not None and step == run.max_steps:
            handle.remove()
        optimizer.zero_grad()
        cross_entropy(model(dataset.x_train[rows]), dataset.y_train[rows]).backward()
        optimizer.step()
        with torch.no_grad():
            for weight in hidden:
                shorten(weight.unsqueeze(0), length, axes=weight.ndim - 1)
    return model.eval()


def smaller(simulation: Shipping, model: nn.Module, level: int, dataset: Dataset) -> nn.Module:
    """The network pruned to so many units, without those that are zero; the `model` is left as it is.

    In a residual network a pruned channel loses what its normalisation adds, too: see `Residual.silence`.
    """
    sample, tied = dataset.x_train[:2], simulation.network == "resnet"
    pruned = compress.prune(model, keep=level / simulation.width, sample=sample, coupled=tied)
    for block in pruned.modules():
        if isinstance(block, Residual):
            block.silence()
    return compress.shrink(pruned, sample)


def tune(simulation: Shipping, model: nn.Module, dataset: Dataset) -> None:
    """Steps of plain SGD with the run's weight decay, in place; all sizes see the same batches."""
    run = simulation.run
    rate = simulation.tune_lr or run.lr
    optimizer = torch.optim.SGD(model.train().parameters(), lr=rate, weight_decay=run.weight_decay)
    for rows in _batches(run, dataset, "tuning", simulation.tune_steps):
        optimizer.zero_grad()
        cross_entropy(model(dataset.x_train[rows]), dataset.y_train[rows]).backward()
        optimizer.step()
    model.eval()


def quantised(model: nn.Module, sample: Tensor) -> bytes:
    """The ONNX file of a network with its weights in int8, whose inputs ONNX Runtime quantises as they come."""
    quantization = need("onnxruntime.quantization", "the study shipping", "ship")
    with tempfile.TemporaryDirectory() as folder:
        whole, small = Path(folder, "whole.onnx"), Path(folder, "small.onnx")
        whole.write_bytes(onnx_of(model, batch_for(model, sample)))
        # For convolutions ONNX Runtime has a kernel of unsigned weights alone, and its own guide advises against it:
        # what they advise instead, static quantisation, needs a sample to calibrate on.
        with quiet():
            quantization.quantize_dynamic(whole, small, weight_type=quantization.QuantType.QUInt8)
        return small.read_bytes()


def _batches(run: Run, dataset: Dataset, stream: str, steps: int) -> Iterator[Tensor | slice]:
    x = dataset.x_train
    return islice(training.batches(run, len(x), x.device, stream=stream), steps)


def _accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """That of `data.accuracy`; NaN of what diverged."""
    return accuracy(model, x, y) if _is_sound(model) else math.nan


def _accuracy_of_file(content: bytes, dataset: Dataset) -> float:
    """The same on the test split in ONNX Runtime."""
    run, right = runner(content), 0
    for some, labels in split(dataset.x_test.cpu(), dataset.y_test.cpu()):
        (outputs,) = run({"input": some.numpy()})
        right += int((torch.from_numpy(outputs).argmax(1) == labels).sum())
    return right / len(dataset.y_test)


def _is_sound(model: nn.Module) -> bool:
    return all(bool(torch.isfinite(values).all()) for values in model.state_dict().values())
