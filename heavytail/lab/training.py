"""Runs in training: their batches and their noise, steps of many at once, and when each of them stops."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic

import torch
from torch import Tensor

from heavytail import noise, streams
from heavytail.lab.datasets import Dataset
from heavytail.lab.engines.protocol import Engine, Networks
from heavytail.lab.machine import recording, threads
from heavytail.lab.machine.recording import Step, Tape
from heavytail.lab.runs import Run
from heavytail.noise import Kick, Kicks


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A run in the middle: what it takes to go on after `step` steps. Random numbers need no state: see `streams`."""

    run: Run
    step: int
    weights: Mapping[str, Tensor]  # on the CPU
    best: float = -1.0  # highest train accuracy at a look so far
    waited: int = 0  # looks since then
    seconds: float = 0.0


def batches(
    run: Run, samples: int, device: torch.device | str, start: int = 0, stream: str = "batches"
) -> Iterator[Tensor | slice]:
    """Indices of each step's batch after step `start`, without end: all samples in order, or a shuffle an epoch.

    The last batch of an epoch holds what is left, as a DataLoader does by default. Shuffles are drawn on the CPU: the
    same on every device.
    """
    if run.batch_size is None:
        while True:
            yield slice(None)
    epoch, skip = divmod(start, -(-samples // run.batch_size))
    while True:
        shuffle = streams.generator(run.seed, stream, epoch)
        yield from torch.randperm(samples, generator=shuffle).to(device).split(run.batch_size)[skip:]
        epoch, skip = epoch + 1, 0


@dataclass(eq=False)
class Training:
    """A run in training, after `step` steps."""

    run: Run
    step: int
    best: float
    waited: int
    seconds: float
    order: Iterator[Tensor | slice]
    key: int
    along: Tensor | None
    looks: bool  # whether the train accuracy is looked at: to stop there, or because somebody asks
    status: str = ""
    reason: str = ""

    def is_kicked(self) -> bool:
        """Whether there is noise after this step."""
        return self.run.noise is not None and self.run.sigma > 0 and self.step < self.run.max_steps

    def kick(self) -> Kick | None:
        """The noise `σ η^{1/α} ξ` after this step, the same ξ for the same seed and step whatever else is trained."""
        run = self.run
        if run.noise is None or run.alpha is None or not self.is_kicked():
            return None
        size = noise.scale(run.alpha, run.sigma, run.lr)
        return Kick(run.alpha, run.noise, run.unit, size, self.key, self.step, self.along)

    def looks_after(self, steps: int = 0) -> bool:
        """Whether the train accuracy is looked at after so many more steps."""
        return self.looks and (self.step + steps) % self.run.eval_every == 0

    def look(self, accuracy: float) -> None:
        """Stop if the accuracy is high enough, or has not grown for long."""
        if self.run.stop_accuracy is None:
            return
        self.waited = 0 if accuracy > self.best else self.waited + 1
        self.best = max(self.best, accuracy)
        if accuracy >= self.run.stop_accuracy:
            self.status = "converged"
        elif self.run.patience is not None and self.waited >= self.run.patience:
            self.status = "stalled"
            self.reason = f"the train accuracy has not grown in {self.waited} looks; the best was {self.best:.4f}"


def noise_key(run: Run) -> int:
    """The key of a run's noise: seed, data set, network, width, depth and noise type decide it.

    alpha, sigma and step size do not, on purpose: runs that differ in these alone get kicks of the same random words,
    and are compared in pairs.
    """
    about = run.dataset, run.network, run.width, run.depth, str(run.noise)
    return streams.key(run.seed, "noise", *about)


def begin(start: Snapshot, dataset: Dataset, along: Tensor | None, looks: bool) -> Training:
    """A run that goes on from a snapshot."""
    order = batches(start.run, len(dataset.y_train), dataset.x_train.device, start.step)
    key = noise_key(start.run)
    return Training(start.run, start.step, start.best, start.waited, start.seconds, order, key, along, looks)


def stride(going: Sequence[Training], limit: int) -> int:
    """How many steps to make until some run is looked at or done, `limit` at most."""
    left = [one.run.max_steps - one.step for one in going]
    looks = [one.run.eval_every - one.step % one.run.eval_every for one in going if one.looks]
    return min(*left, *looks, limit)


@dataclass(frozen=True, eq=False)
class Group(Generic[Networks]):
    """Runs that are trained in step, and what all their steps read."""

    engine: Engine[Networks]
    nets: Networks
    going: Sequence[Training]
    x: Tensor
    y: Tensor
    rates: Tensor  # (R,)
    decay: Tensor | None  # (R,): what a step leaves of each run's weights, 1 - ηλ; None if no weight decays
    shrink: Tensor | None  # (R,): what a step takes off each hidden unit's norm, ηλ of the group lasso; None if nothing
    tape: Tape | None  # where steps are recorded


def group(
    engine: Engine[Networks], nets: Networks, going: Sequence[Training], x: Tensor, y: Tensor, rates: Tensor
) -> Group[Networks]:
    """Runs that are at the steps where they are; to be made anew when one of them leaves."""
    left = [1 - one.run.lr * one.run.weight_decay for one in going]
    decay = x.new_tensor(left) if any(share != 1 for share in left) else None
    short = [one.run.lr * one.run.group_lasso for one in going]
    shrink = x.new_tensor(short) if any(short) else None
    clock = recording.tape([one.step for one in going], x.device) if noise.launched(x.device) else None
    return Group(engine, nets, going, x, y, rates, decay, shrink, clock)


def steps(runs: Group[Networks], count: int, hold: bool) -> Tensor:
    """So many steps of every run; `hold` leaves out the noise after the last one. Returns the losses, (count, R).

    Runs that need not wait for each other go each on a thread.
    """
    apart = runs.engine.apart(runs.nets)
    if len(apart) == 1:
        return _in_step(runs, count, hold)

    def alone(row: int) -> Tensor:
        own = slice(row, row + 1)
        decay, shrink = (None if each is None else each[own] for each in (runs.decay, runs.shrink))
        one = replace(runs, nets=apart[row], going=runs.going[own], rates=runs.rates[own], decay=decay, shrink=shrink)
        return _in_step(one, count, hold)

    return torch.cat(threads.each(alone, range(len(runs.going)), runs.x.device), 1)


def _in_step(runs: Group[Networks], count: int, hold: bool) -> Tensor:
    losses = []
    for number in range(1, count + 1):
        rows = [next(one.order) for one in runs.going]
        for one in runs.going:
            one.step += 1
        silent = hold and number == count
        if runs.tape is None:
            batch = _batch(runs.x, runs.y, _places(rows))
            own = {} if silent else kicks(runs.going)
            losses.append(runs.engine.descend(runs.nets, *batch, runs.rates, own, runs.decay, runs.shrink))
        else:
            losses.append(_recorded(runs, runs.tape, _places(rows), silent))
    return torch.stack(losses)


def _recorded(runs: Group[Networks], tape: Tape, places: Tensor | None, silent: bool) -> Tensor:
    """The same step from what lies on the device: which samples, and how many steps were made."""
    size = None if places is None else places.shape[1]
    taken = None if places is None else tape.places.setdefault(size, torch.empty_like(places)).copy_(places)
    kicked = () if silent else tuple(row for row, one in enumerate(runs.going) if one.is_kicked())

    def make() -> Step:
        own = {row: kick for row in kicked if (kick := runs.going[row].kick())}
        ready = noise.launches(own, len(runs.going), tape.clock.device, tape.clock)
        # A step that knew its tape would keep both, and the networks, until Python looks for cycles.
        return partial(_once, replace(runs, tape=None), tape.clock, taken, ready)

    return recording.repeat(tape, (size, kicked), make)


def _once(runs: Group[Networks], clock: Tensor, taken: Tensor | None, ready: Kicks) -> Tensor:
    clock.add_(1)
    return runs.engine.descend(runs.nets, *_batch(runs.x, runs.y, taken), runs.rates, ready, runs.decay, runs.shrink)


def kicks(going: Sequence[Training]) -> dict[int, Kick]:
    """The noise after the step just made, of each row that gets some."""
    return {row: kick for row, one in enumerate(going) if (kick := one.kick())}


def _places(rows: Sequence[Tensor | slice]) -> Tensor | None:
    """Which samples each run takes, (R, batch); None for all."""
    chosen = [row for row in rows if isinstance(row, Tensor)]
    return torch.stack(chosen) if chosen else None


def _batch(x: Tensor, y: Tensor, places: Tensor | None) -> tuple[Tensor, Tensor]:
    """The samples of a step: shared by all runs, or each run's own, with a leading run axis."""
    if places is None:
        return x, y
    # By one thread: those of torch would spin for milliseconds after it, on the cores that the step needs.
    [batch] = threads.each(lambda rows: (x[rows], y[rows]), [places], x.device)
    return batch


def check(going: Sequence[Training], losses: Tensor) -> None:
    """Mark the runs one of whose last losses, (steps, R), was not finite."""
    for one, good in zip(going, torch.isfinite(losses).T.cpu(), strict=True):
        if not good.all():
            one.step += int(good.long().argmin()) - len(losses)
            one.status, one.reason = "diverged", f"the loss was not finite at step {one.step + 1}"


def share_time(going: Sequence[Training], lap: float) -> None:
    """Give each run its share of the time since the last lap."""
    share = (time.perf_counter() - lap) / len(going)
    for one in going:
        one.seconds += share
