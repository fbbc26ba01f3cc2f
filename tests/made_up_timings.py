"""Reports of `heavytail bench` with numbers put in by hand, in the names and cases of what measures."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd

from heavytail.lab.bench.timing import Figure

KINDS = ("shared", "entrywise", "isotropic")
NETWORKS = ("ecg5000, n = 2000, full batch, 60 runs at once", "mnist, n = 10000, batch 1000, 20 runs at once")


def gpu_figures(factor: float = 1.0) -> list[Figure]:
    """Each with a spread of a tenth; times and ratios grow with `factor`."""
    made: list[tuple[str, str, float, str]] = []
    for number, kind in enumerate(("no noise", *KINDS)):
        if number:
            for size, shape in enumerate(("60 runs of 2000 x 140", "20 runs of 10000 x 784")):
                made.append(("noise.over_copy", f"{kind}, {shape}", 1 + 0.1 * number + 0.01 * size, "ratio"))
        for size, networks in enumerate(NETWORKS):
            made.append(("step.over_matmul", f"{networks}, {kind}", 1 + 0.02 * number + 0.001 * size, "ratio"))
    made.append(("copy.gb_per_second", "60 x 2000 x 140 float32", 1234.0, "GB/s"))
    for networks in NETWORKS:
        made.append(("step.bfloat16_speedup", networks, 3.0, "ratio"))
        made.append(("step.bfloat16_error", f"{networks}, of the update of a step", 0.004, ""))
        for kind in KINDS:
            case = f"{networks}, 100 steps, {kind}"
            made.append(("grid.seconds_per_run", case, 0.05, "s"))
            for by, ratio in (("scipy", 900.0), ("torch", 40.0)):
                made.append(("grid.speedup_over_loop", f"{case}, the loop's noise by {by}", ratio, "ratio"))
    for axis, sizes in (("n", (1000, 10**6)), ("runs", (1, 1000))):
        made += [(f"growth.{axis}", f"{axis} = {size}", 1e-3 * size, "ms") for size in sizes]
        made.append(("growth.exponent", f"time of a step in {axis}, from {sizes[0]} to {sizes[1]}", 0.99, ""))
    return [Figure(name, case, factor * v, 0.9 * factor * v, 1.1 * factor * v, unit) for name, case, v, unit in made]


def loop_figures() -> list[Figure]:
    """One run against the ordinary loop."""
    case = "mnist, n = 2000, batch 1000"
    made = [
        ("step.over_loop", f"{case}, shared, alone", 1.25, "ratio"),
        ("step.over_loop", f"{case}, shared, two runs at once", 0.75, "ratio"),
        ("loop.step_ms", f"{case}, shared", 40.0, "ms"),
        ("measure.seconds", f"{case}, a finished run", 2.5, "s"),
        ("measure.over_loop", f"{case}, a finished run, the loop on test samples alone", 5.0, "ratio"),
    ]
    return [Figure(name, case, v, 0.9 * v, 1.1 * v, unit) for name, case, v, unit in made]


def gpu_machine(device: str = "Made-up GPU") -> dict[str, Any]:
    """What `bench.machine` tells of a GPU."""
    return {
        "device": device,
        "processor": "Made-up processor",
        "memory_gb": 80.0,
        "tf32": False,
        "cores": 16,
        "threads": 16,
        "instructions": "AVX2",
        "system": "Linux x86_64, Python 3.11.7",
        "versions": {"heavytail": "0.1.0+abcdef0", "torch": "2.13.0", "triton": "3.7.1"},
        "day": "2030-01-02",
    }


def gpu_report(device: str = "Made-up GPU", factor: float = 1.0) -> tuple[dict[str, Any], pd.DataFrame]:
    """Machine and figures, as `bench.read` gives them."""
    return gpu_machine(device), pd.DataFrame([asdict(figure) for figure in gpu_figures(factor)])
