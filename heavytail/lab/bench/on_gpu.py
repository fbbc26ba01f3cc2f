"""What `heavytail bench --device cuda` measures: whole grids in single launches, against what a GPU can do at best.

The limits are a copy in the memory of the device, which moves the same bytes as a kick, and the matrix products of a
step alone. The rival is the ordinary loop on the same device, with the noise by torch and by SciPy. A `Plan` says what
is measured and how long, so the same cases run on a CPU too, small, to be tested.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from heavytail import noise
from heavytail.lab import trainer
from heavytail.lab.bench import loop
from heavytail.lab.bench.stage import ALPHA, ECG5000, MNIST, Shape, descend, kick, kicked, stage, stepped
from heavytail.lab.bench.timing import Figure, Sides, in_time, ratios, wait
from heavytail.lab.datasets import Dataset
from heavytail.lab.engines import two_layer
from heavytail.lab.machine import devices
from heavytail.lab.runs import PRODUCTS, Run

FEWEST = 10  # steps of a grid
SIGMA = 1e-4  # so small that no kick ends a run early
LOOKS = 100  # steps between two looks at the accuracy, where batches are small
UPPER = 10.0  # growth is told over the sizes from the largest down to this part of it


@dataclass(frozen=True)
class Grid:
    """Runs of one shape that are trained together, for so many steps at most."""

    shape: Shape
    runs: int
    width: int
    batch: int | None
    steps: int

    def __str__(self) -> str:
        batch = "full batch" if self.batch is None else f"batch {self.batch}"
        return f"{self.shape.name}, n = {self.width}, {batch}, {self.runs} runs at once"

    def stage(self, device: torch.device, low: str = "float32") -> tuple[two_layer.Networks, Tensor, Tensor, Tensor]:
        """Its networks, a batch of inputs and labels, and the step sizes."""
        batch = self.batch or self.shape.train
        nets, x, y = stage(self.shape, self.runs, self.width, batch, device, low)
        return nets, x, y, torch.full((self.runs,), 1e-3, device=device)


@dataclass(frozen=True)
class Plan:
    """What is measured, and how long: `seconds` for a comparison of two sides, a small number of times that for a grid.

    weights  shapes (runs, units, d) of weights that are kicked in place
    grids    what is stepped, and trained against the loop
    widths   neurons of one network whose step is timed
    runs     networks that are stepped at once, of 2000 neurons or of the most in `widths`, whichever is fewer
    """

    weights: tuple[tuple[int, int, int], ...]
    grids: tuple[Grid, ...]
    widths: tuple[int, ...]
    runs: tuple[int, ...]
    seconds: float


FULL = Plan(
    weights=((60, 2000, 140), (60, 10_000, 140), (20, 10_000, 784), (10, 2000, 2000)),
    grids=(Grid(ECG5000, 60, 2000, None, 600), Grid(MNIST, 20, 10_000, 1000, 100)),
    widths=(1000, 3162, 10_000, 31_623, 100_000, 316_228, 1_000_000),
    runs=(1, 3, 10, 32, 100, 316, 1000),
    seconds=0.8,
)

REHEARSAL = Plan(
    weights=((3, 40, 10), (2, 30, 20)),
    grids=(
        Grid(replace(ECG5000, inputs=20, train=40, test=30), 3, 30, None, 12),
        Grid(replace(MNIST, inputs=15, train=60, test=30), 2, 40, 20, 12),
    ),
    widths=(20, 100, 500),
    runs=(1, 3, 10),
    seconds=0.02,
)


def noises(plan: Plan, device: torch.device) -> Iterator[Figure]:
    """Kicks of all runs of a layer, against a copy that moves the same bytes and against the eager draws of a run."""
    for number, (shape, kind) in enumerate((shape, kind) for shape in plan.weights for kind in noise.NOISES):
        runs, units, row = shape
        case = f"{kind}, {runs} runs of {units} x {row}"
        sides = kick_and_copy(shape, kind, device)
        taken = in_time(sides, plan.seconds, device)
        yield Figure.of("noise.over_copy", case, ratios(taken["ours"], taken["copy"]), "ratio")
        each = [runs * theirs / ours for theirs, ours in zip(taken["torch"], taken["ours"], strict=True)]
        yield Figure.of("noise.speedup_vs_torch", f"{case}, torch's one run after the other", each, "ratio")
        if number % len(noise.NOISES) == 0:
            speeds = [1e-9 * moved(shape) / seconds for seconds in taken["copy"]]
            yield Figure.of("copy.gb_per_second", f"{runs} x {units} x {row} float32", speeds, "GB/s")
        del sides
        _clear(device)


def moved(shape: tuple[int, int, int]) -> int:
    """Bytes that a kick of float32 weights and a copy of them each read and write."""
    runs, units, row = shape
    return 2 * 4 * runs * units * row


def kick_and_copy(shape: tuple[int, int, int], kind: noise.Noise, device: torch.device) -> Sides:
    """Kicks of all runs in place ("ours"), a copy of their weights ("copy"), and eager kicks of one run ("torch")."""
    weights = torch.zeros(shape, device=device)
    other, alone = torch.empty_like(weights), weights[0].clone()
    kicks = {row: kick(kind, row) for row in range(shape[0])}
    generator = torch.Generator(device).manual_seed(1)
    return {
        "ours": kicked(weights, kicks),
        "copy": partial(other.copy_, weights),
        "torch": lambda: alone.add_(1e-9 * loop.eager(kind, ALPHA, alone.shape, generator)),
    }


def steps(plan: Plan, device: torch.device) -> Iterator[Figure]:
    """A step of all runs of a grid, against its five batched products alone and between noises."""
    for grid in plan.grids:
        sides = _steps(grid, device, [None, *noise.NOISES])
        taken = in_time(sides, plan.seconds * len(sides) / 2, device)
        for kind in ("None", *noise.NOISES):
            case = f"{grid}, {'no noise' if kind == 'None' else kind}"
            yield Figure.of("step.over_matmul", case, ratios(taken[kind], taken["products"]), "ratio")
        each = [1e3 * seconds / grid.runs for seconds in taken["products"]]
        yield Figure.of("step.matmul_ms", f"{grid}, products of one run", each, "ms")
        del sides
        _clear(device)


def _steps(grid: Grid, device: torch.device, kinds: list[noise.Noise | None]) -> Sides:
    """The products of a grid's step alone, and the step with each noise, by its name."""
    nets, x, y, rates = grid.stage(device)
    sides: Sides = {"products": products_alone(nets, x)}
    for kind in kinds:
        own = {} if kind is None else {row: kick(kind, row) for row in range(grid.runs)}
        sides[str(kind)] = stepped(nets, x, y, rates, own)
    return sides


def products_alone(nets: two_layer.Networks, x: Tensor) -> Callable[[], None]:
    """The five matrix products of a step, each of all runs in one call, and nothing else."""
    hidden, output = nets.hidden, nets.output
    runs, width, _ = hidden.shape
    x = x.flatten(1).expand(runs, len(x), -1)
    h, slope = (hidden.new_ones(runs, width, x.shape[1]) for _ in range(2))
    z = hidden.new_empty(runs, output.shape[2], x.shape[1])
    to_hidden, to_output = torch.empty_like(hidden), torch.empty_like(output)

    def products() -> None:
        torch.bmm(hidden, x.mT, out=h)
        torch.bmm(output.mT, h, out=z)
        torch.bmm(output, z, out=slope)
        torch.bmm(h, z.mT, out=to_output)
        torch.bmm(slope, x, out=to_hidden)

    return products


def rounded(plan: Plan, device: torch.device) -> Iterator[Figure]:
    """What coarser products of a step gain, and by how much they move its update: a share of the update's length."""
    for grid in plan.grids:
        for low in PRODUCTS[1:]:
            sides: Sides = {}
            for products in (PRODUCTS[0], low):
                nets, x, y, rates = grid.stage(device, products)
                with devices.products(products, device):
                    step = stepped(nets, x, y, rates, {})
                sides[products] = partial(_in_products, products, step, device)
            taken = in_time(sides, plan.seconds, device)
            yield Figure.of(f"step.{low}_speedup", str(grid), ratios(taken[PRODUCTS[0]], taken[low]), "ratio")
            del sides, nets, step
            _clear(device)
            yield Figure.of(f"step.{low}_error", f"{grid}, of the update of a step", [_error(grid, device, low)], "")


def _in_products(products: str, step: Callable[[], object], device: torch.device) -> None:
    with devices.products(products, device):
        step()


def _error(grid: Grid, device: torch.device, low: str) -> float:
    updates = []
    for products in (PRODUCTS[0], low):
        nets, x, y, rates = replace(grid, runs=1).stage(device, products)
        before = nets.hidden.clone()
        rates.fill_(1.0)  # so long that float32 holds the update to many digits
        _in_products(products, partial(descend, nets, x, y, rates, {}), device)
        updates.append((nets.hidden - before).double())
    exact, other = updates
    return float((other - exact).norm() / exact.norm())


def grids(plan: Plan, device: torch.device) -> Iterator[Figure]:
    """A whole grid against the loop over its runs, evaluation and pruning at the end included.

    The loop is timed step by step for as long as the plan allows, and measuring its network once; a run of it is
    counted as its steps and its measuring. What it needs to begin is left out. The samples lie on the CPU for the loop,
    whose DataLoader is fastest there, and on the device for the grid.
    """
    for grid in plan.grids:
        dataset = grid.shape.data().checked()
        there = dataset.to(device)
        for kind in noise.NOISES:
            yield from _against_loop(grid, kind, dataset, there, plan.seconds, device)


def _against_loop(
    grid: Grid, kind: noise.Noise, dataset: Dataset, there: Dataset, seconds: float, device: torch.device
) -> Iterator[Figure]:
    base = Run(
        dataset=grid.shape.name, width=grid.width, lr=1e-3, batch_size=grid.batch, noise=kind, alpha=ALPHA, sigma=SIGMA
    )
    alone = in_time(_steps(grid, device, [kind]), seconds, device)
    _clear(device)
    count = max(FEWEST, min(grid.steps, int(5 * seconds / statistics.median(alone[kind]))))
    limit = count * statistics.median(alone["products"]) / grid.runs
    base = replace(base, max_steps=count, eval_every=LOOKS)
    _trained(replace(base, max_steps=2), grid.runs, there, device)  # warm up
    ours: list[float] = []
    theirs: dict[loop.By, list[float]] = {by: [] for by in get_args(loop.By)}
    start = time.perf_counter()
    while not ours or (len(ours) < 3 and time.perf_counter() - start < 8 * seconds):
        ours.append(_trained(base, grid.runs, there, device) / grid.runs)
        for by, taken in theirs.items():
            taken.append(_looped(base, dataset, device, by, seconds))
    case = f"{grid}, {count} steps, {kind}"
    for by, taken in theirs.items():
        yield Figure.of("grid.speedup_over_loop", f"{case}, the loop's noise by {by}", ratios(taken, ours), "ratio")
        most = [total / limit for total in taken]
        yield Figure.of("grid.speedup_of_products_alone", f"{case}, the loop's noise by {by}", most, "ratio")
        yield Figure.of("loop.seconds_per_run", f"{case}, noise by {by}", taken, "s")
    yield Figure.of("grid.seconds_per_run", case, ours, "s")


def _trained(base: Run, runs: int, there: Dataset, device: torch.device) -> float:
    """Seconds of a grid of so many seeds, from initial weights to rows."""
    grid = [replace(base, seed=seed) for seed in range(runs)]
    wait(device)
    start = time.perf_counter()
    outcomes = list(trainer.outcomes(grid, data={base.dataset: there}, device=device, progress=False))
    taken = time.perf_counter() - start
    if wrong := [outcome.row for outcome in outcomes if outcome.row["status"] != "max_steps"]:
        raise RuntimeError(f"a run of the measured grid ended as {wrong[0]['status']}: {wrong[0]['reason']}")
    return taken


def _looped(base: Run, dataset: Dataset, device: torch.device, by: loop.By, seconds: float) -> float:
    """Seconds of one run by the loop: as many steps as there is time for, taken for all, and what comes after them."""
    going = loop.steps(base, dataset, device=device, by=by)
    model = next(going)  # the first step warms up
    loop.measured(model, base, dataset)
    wait(device)
    start, done = time.perf_counter(), 0
    for _ in islice(going, base.max_steps - 2):  # the last step has no noise
        done += 1
        if time.perf_counter() - start > seconds / 2:
            break
    wait(device)
    middle = time.perf_counter()
    loop.measured(model, base, dataset)
    wait(device)
    return base.max_steps * (middle - start) / done + time.perf_counter() - middle


def growth(plan: Plan, device: torch.device) -> Iterator[Figure]:
    """Milliseconds a step with entrywise noise as neurons and runs grow, and the exponent of the largest sizes."""
    each = min(2000, max(plan.widths))
    axes = {"n": [(n, 1) for n in plan.widths], "runs": [(each, runs) for runs in plan.runs]}
    for name, points in axes.items():
        sides: Sides = {}
        room = devices.available(device)
        for width, runs in points:
            size = width if name == "n" else runs
            room -= 2 * runs * two_layer.bytes_of(width, ECG5000.inputs, ECG5000.classes, ECG5000.train)
            if room < 0:
                warnings.warn(f"{name} = {size} and more are left out: {device} has too little memory", stacklevel=2)
                break
            grid = Grid(ECG5000, runs, width, None, 1)
            sides[str(size)] = _steps(grid, device, ["entrywise"])["entrywise"]
        if not sides:
            continue
        taken = in_time(sides, plan.seconds * len(sides) / 2, device)
        for side, values in taken.items():
            yield Figure.of(f"growth.{name}", f"{name} = {side}", [1e3 * t for t in values], "ms")
        largest = max(map(int, taken))
        upper = {int(side): values for side, values in taken.items() if int(side) * UPPER >= 0.99 * largest}
        logs = np.log(list(upper))
        slopes = [float(np.polyfit(logs, np.log(values), 1)[0]) for values in zip(*upper.values(), strict=True)]
        yield Figure.of("growth.exponent", f"time of a step in {name}, from {min(upper)} to {largest}", slopes, "")
        del sides
        _clear(device)


CASES: dict[str, Callable[[Plan, torch.device], Iterator[Figure]]] = {
    "noise": noises,
    "step": steps,
    "grid": grids,
    "products": rounded,
    "growth": growth,
}


def _clear(device: torch.device) -> None:
    """Give memory back to a GPU, whose free memory decides how many runs are trained at once."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
