"""What `heavytail bench` measures on a CPU, case by case.

The limits are the matrix products of a step alone, and SciPy's draws.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.stats import levy_stable
from torch import Tensor

from heavytail import _sampler, noise
from heavytail.lab import measuring, sweeps, trainer, training
from heavytail.lab.bench import loop
from heavytail.lab.bench.shipping import shipping
from heavytail.lab.bench.stage import ALPHA, ECG5000, MNIST, Shape, descend, kick, networks, stage
from heavytail.lab.bench.timing import Figure, Missing, Sides, ratios, side_by_side
from heavytail.lab.engines import two_layer
from heavytail.lab.runs import Run
from heavytail.lab.training import Snapshot

ELEMENTS = 10**6
WIDEST = 10**6


def noises(device: torch.device, rounds: int = 7) -> Iterator[Figure]:
    """In-place updates of 10^6 float32 weights by each noise, against SciPy doing the same."""
    rows: dict[noise.Noise, list[int]] = {"entrywise": [140], "isotropic": [10, 140, 784], "shared": [140]}
    for kind, row in ((kind, row) for kind, sizes in rows.items() for row in sizes):
        nets = networks(1, ELEMENTS // row, row, 2, 1, device)
        by_scipy, rng = nets.hidden[0].clone(), np.random.RandomState(1)
        sides: Sides = {
            "ours": partial(two_layer.perturb, nets, {0: kick(kind, 0)}),
            "scipy": lambda: by_scipy.add_(loop.draw(kind, ALPHA, by_scipy.shape, rng).to(device), alpha=0.01),  # noqa: B023
        }
        taken = side_by_side(sides, rounds, calls={"ours": 20})  # a turn of each side takes about as long
        case = f"{kind}, rows of {row}"
        yield Figure.of("noise.speedup_vs_scipy", case, ratios(taken["scipy"], taken["ours"]), "ratio")
        yield Figure.of("noise.ns_per_draw", case, [1e9 * t / nets.hidden.numel() for t in taken["ours"]], "ns")
    draws: Sides = {
        "ours": lambda: _sampler.positive(ALPHA / 2, ELEMENTS, key=1),
        "scipy": lambda: levy_stable.rvs(ALPHA / 2, 1, size=ELEMENTS, random_state=rng),
    }
    taken = side_by_side(draws, rounds)
    yield Figure.of("noise.speedup_vs_scipy", "positive, one thread", ratios(taken["scipy"], taken["ours"]), "ratio")
    yield Figure.of("noise.ns_per_draw", "positive, one thread", [1e9 * t / ELEMENTS for t in taken["ours"]], "ns")


def steps(device: torch.device, rounds: int = 9) -> Iterator[Figure]:
    """A full step of as many runs as there are threads, against its five matrix products alone and between noises."""
    runs = torch.get_num_threads()
    for shape, width, batch, calls in ((ECG5000, 2000, 500, 10), (ECG5000, 10_000, 500, 2), (MNIST, 5000, 5000, 1)):
        nets, x, y = stage(shape, runs, width, batch, device)
        rates = torch.full((runs,), 1e-3, device=device)
        sides: Sides = {"products": _products(nets, x)}
        for kind in (None, *noise.NOISES):
            own = {} if kind is None else {row: kick(kind, row) for row in range(runs)}
            sides[str(kind)] = partial(descend, nets, x, y, rates, own)
        taken = side_by_side(sides, rounds, calls=dict.fromkeys(sides, calls))
        case = f"{shape.name}, n = {width}, batch {batch}, {runs} runs at once"
        yield Figure.of("step.over_matmul", f"{case}, no noise", ratios(taken["None"], taken["products"]), "ratio")
        for kind in noise.NOISES:
            yield Figure.of("step.over_matmul", f"{case}, {kind}", ratios(taken[kind], taken["products"]), "ratio")
        for kind in noise.NOISES[1:]:
            yield Figure.of("step.over_shared", f"{case}, {kind}", ratios(taken[kind], taken["shared"]), "ratio")
        each = [1e3 * t / runs for t in taken["products"]]
        yield Figure.of("step.matmul_ms", f"{case}, products of one run", each, "ms")


def grids(device: torch.device) -> Iterator[Figure]:
    """A whole grid against an ordinary loop over the same runs, evaluation and pruning at the end included.

    A round times the grid, and the loop on two of its runs in turn (one on the shape of MNIST, where it takes minutes).
    A trainer that did nothing but the products of its steps would have the speedup of the products alone.
    """
    never = {"eval_every": 600}
    often = {"stop_accuracy": 1.0, "eval_every": 10}  # as the paper's code does on ECG5000 [C]
    seldom = {"stop_accuracy": 1.0, "eval_every": 100, "batch_size": 1000}  # and elsewhere [C]
    for shape, runs, steps, kind, sample, rounds, fields, watch_test in (
        (ECG5000, 12, 600, "shared", 2, 2, never, False),
        (ECG5000, 12, 600, "shared", 2, 2, often, True),
        (ECG5000, 12, 600, "entrywise", 2, 2, never, False),
        (ECG5000, 12, 600, "entrywise", 2, 2, often, True),
        (MNIST, 2, 400, "shared", 1, 1, seldom, False),
        (MNIST, 2, 400, "entrywise", 1, 1, seldom, False),
    ):
        dataset = shape.data().to(device)
        settings: dict[str, Any] = {"noise": kind, "alpha": ALPHA, "sigma": 0.01, "max_steps": steps, **fields}
        base = Run(dataset=shape.name, width=2000, lr=1e-3, **settings)
        grid = [replace(base, seed=seed) for seed in range(runs)]
        data = {shape.name: dataset}
        list(trainer.outcomes([replace(base, max_steps=2)], data=data, device=device, progress=False))  # warm up
        loop.train(replace(base, max_steps=2), dataset)
        alone = _products(*stage(shape, 1, base.width, base.batch_size or shape.train, device)[:2])
        over, most, seconds = [], [], []
        for number in range(rounds):
            start = time.perf_counter()
            list(trainer.outcomes(grid, data=data, device=device, progress=False))
            middle = time.perf_counter()
            for run in grid[number * sample : (number + 1) * sample]:
                loop.train(run, dataset, watch_test)
            ours, theirs = (middle - start) / runs, (time.perf_counter() - middle) / sample
            over.append(theirs / ours)
            most.append(theirs / (steps * min(side_by_side({"": alone}, 3, calls={"": 10})[""])))
            seconds.append(ours)
        batch = "full batch" if base.batch_size is None else f"batch {base.batch_size}"
        looks = f", evaluated every {base.eval_every} steps" if base.stop_accuracy else ""
        watched = ", the loop on test samples too" if watch_test else ""
        case = f"{shape.name}, n = {base.width}, {batch}{looks}{watched}, {kind}, {runs} runs of {steps} steps"
        yield Figure.of("grid.speedup_over_loop", case, over, "ratio")
        yield Figure.of("grid.speedup_of_products_alone", case, most, "ratio")
        yield Figure.of("grid.seconds_per_run", case, seconds, "s")


def one_run(device: torch.device, rounds: int = 9, shape: Shape = MNIST, width: int = 2000) -> Iterator[Figure]:
    """A step of one run and of two at once, and what is measured of a run at its end, against the ordinary loop's.

    Both sides have their batch of a thousand at hand, so no DataLoader counts; the loop has all threads, as a run alone
    has, while of two runs each has its own. What the loop measures is less: see `loop.measured`.
    """
    batch = min(1000, shape.train)
    base = Run(dataset=shape.name, width=width, lr=1e-3, batch_size=batch, max_steps=1)
    dataset, case = shape.data().to(device), f"{shape.name}, n = {width}, batch {batch}"
    kinds: tuple[noise.Noise | None, ...] = (None, "shared", "entrywise")
    for kind in kinds:
        run = base if kind is None else replace(base, noise=kind, alpha=ALPHA, sigma=1e-6)  # the weights stay
        sides: Sides = {"loop": loop.stepped(run, dataset, device=device)}
        for runs in (1, 2):
            nets, x, y = stage(shape, runs, width, batch, device)
            own = {} if kind is None else {row: kick(kind, row) for row in range(runs)}
            sides[str(runs)] = partial(descend, nets, x, y, torch.full((runs,), 1e-3, device=device), own)
        taken = side_by_side(sides, rounds, calls={"loop": 2 if kind == "entrywise" else 10, "1": 10, "2": 5})
        for runs, called in ((1, "alone"), (2, "two runs at once")):
            each = [seconds / runs for seconds in taken[str(runs)]]
            named = f"{case}, {kind or 'no noise'}, {called}"
            yield Figure.of("step.over_loop", named, ratios(each, taken["loop"]), "ratio")
        loops = [1e3 * seconds for seconds in taken["loop"]]
        yield Figure.of("loop.step_ms", f"{case}, {kind or 'no noise'}", loops, "ms")
    model = trainer.initial_model(base, dataset).to(device)
    nets = two_layer.stack([model], base.products, base.unit, batch)
    ended = training.begin(Snapshot(base, base.max_steps, {}), dataset, None, looks=False)
    ended.status = "max_steps"
    taken = side_by_side(
        {
            "ours": lambda: measuring.finish(ended, nets, 0, two_layer, dataset, None, {}),
            "loop": lambda: loop.measured(model, base, dataset),
        },
        min(rounds, 5),
    )
    named = f"{case}, a finished run"
    yield Figure.of("measure.seconds", named, taken["ours"], "s")
    yield Figure.of("measure.over_loop", f"{named}, the loop on test samples alone", ratios(*taken.values()), "ratio")


def products(device: torch.device, rounds: int = 5) -> Iterator[Figure]:
    """What rounding the factors of a step's products to bfloat16 gains here."""
    for shape, width, batch, calls in ((ECG5000, 2000, 500, 2), (MNIST, 2000, 1000, 1)):
        sides: Sides = {}
        for low in ("float32", "bfloat16"):
            nets, x, y = stage(shape, 1, width, batch, device, low)
            sides[low] = partial(two_layer.descend, nets, x, y, torch.full((1,), 1e-3, device=device), {})
        taken = side_by_side(sides, rounds, calls=dict.fromkeys(sides, calls))
        case = f"{shape.name}, n = {width}, batch {batch}"
        yield Figure.of("step.bfloat16_speedup", case, ratios(taken["float32"], taken["bfloat16"]), "ratio")


def growth(device: torch.device, rounds: int = 5) -> Iterator[Figure]:
    """Milliseconds a step with entrywise noise as neurons, inputs and runs grow, and the exponent in each."""
    few = torch.get_num_threads()  # what is trained at once
    axes: dict[str, list[tuple[int, int, int]]] = {
        "n": [(n, 140, few) for n in (1000, 3162, 10_000, 31_623, 100_000)],
        "d": [(2000, d, few) for d in (70, 140, 280, 560, 1120)],
        "runs": [(2000, 140, runs) for runs in (1, 2, 4, 8, 16)],
    }
    for axis, (name, points) in enumerate(axes.items()):
        sides: Sides = {}
        for width, inputs, runs in points:
            shape = replace(ECG5000, inputs=inputs)
            nets, x, y = stage(shape, runs, width, 500, device)
            rates, own = torch.full((runs,), 1e-3, device=device), {row: kick("entrywise", row) for row in range(runs)}
            sides[str((width, inputs, runs)[axis])] = partial(descend, nets, x, y, rates, own)
        taken = side_by_side(
            sides, rounds, calls={side: max(1, 20_000 // (int(side) if axis == 0 else 2000)) for side in sides}
        )
        for side, values in taken.items():
            yield Figure.of(f"growth.{name}", f"{name} = {side}", [1e3 * t for t in values], "ms")
        logs = np.log([float(side) for side in taken])
        slopes = [float(np.polyfit(logs, np.log(values), 1)[0]) for values in zip(*taken.values(), strict=True)]
        yield Figure.of("growth.exponent", f"time of a step in {name}", slopes, "")


def memory(device: torch.device) -> Iterator[Figure]:
    """Peak memory of training one network on the shape of ECG5000, in a process of its own."""
    if device.type != "cpu" or os.name == "nt":  # Windows does not tell it
        return
    command = [sys.executable, "-m", "heavytail.lab.bench.peak", str(WIDEST)]
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    peak, held = (float(word) for word in process.stdout.split())
    case = f"ecg5000, n = {WIDEST}, full batch, entrywise"
    yield Figure.of("memory.peak_gb", case, [peak / 1e9], "GB")
    yield Figure.of("memory.over_weights_and_data", case, [peak / held], "ratio")


def second_worker(device: torch.device, runs: int = 16, steps: int = 300, rounds: int = 2) -> Iterator[Figure]:
    """A sweep of digits runs over two Dask workers against one; each is a process of one thread."""
    if device.type != "cpu":
        return
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise Missing("the case workers needs Dask: install dask and distributed") from error
    base = Run(dataset="digits", width=2000, lr=1e-3, noise="entrywise", alpha=ALPHA, sigma=0.01, max_steps=steps)
    grid = [replace(base, seed=seed) for seed in range(runs)]
    warm = [replace(base, max_steps=3, seed=seed) for seed in range(2 * runs)]  # enough that each worker gets some
    taken: dict[int, list[float]] = {1: [], 2: []}
    silent = {"dashboard_address": ":0", "processes": True, "threads_per_worker": 1, "silence_logs": logging.ERROR}
    with ExitStack() as open_until_the_end:
        # Dask's profiler stops a worker a hundred times a second to see where it is.
        open_until_the_end.enter_context(dask.config.set({"distributed.worker.profile.enabled": False}))
        executors = {}
        for count in taken:
            cluster = open_until_the_end.enter_context(LocalCluster(n_workers=count, **silent))
            executors[count] = open_until_the_end.enter_context(Client(cluster)).get_executor()
        for number in range(rounds + 1):
            for count, executor in executors.items():
                with tempfile.TemporaryDirectory() as store:
                    start = time.perf_counter()
                    sweeps.sweep(grid if number else warm, executor, store=store, progress=False)
                    if number:
                        taken[count].append(time.perf_counter() - start)
    case = f"digits, n = {base.width}, {runs} runs of {steps} steps, Dask workers of one thread"
    yield Figure.of("sweep.second_worker", case, ratios(taken[1], taken[2]), "ratio")
    yield Figure.of("sweep.seconds", f"{case}, one worker", taken[1], "s")


CASES: dict[str, Callable[[torch.device], Iterator[Figure]]] = {
    "noise": noises,
    "step": steps,
    "loop": one_run,
    "grid": grids,
    "products": products,
    "growth": growth,
    "workers": second_worker,
    "memory": memory,
    "shipping": shipping,
}


def _products(nets: two_layer.Networks, x: Tensor) -> Callable[[], None]:
    """The five matrix products of a step of each run, and nothing else, as torch makes them by itself."""
    _, width, inputs = nets.hidden.shape
    batch, classes = len(x), nets.output.shape[2]
    h, slope = (torch.randn(batch, width, device=x.device) for _ in range(2))
    z = torch.randn(batch, classes, device=x.device)
    to_hidden, to_output = torch.empty(width, inputs, device=x.device), torch.empty(classes, width, device=x.device)
    outputs = [own.T.contiguous() for own in nets.output]

    def products() -> None:
        for hidden, output in zip(nets.hidden, outputs, strict=True):
            torch.mm(x, hidden.T, out=h)
            torch.mm(h, output.T, out=z)
            torch.mm(z, output, out=slope)
            torch.mm(z.T, h, out=to_output)
            torch.mm(slope.T, x, out=to_hidden)

    return products
