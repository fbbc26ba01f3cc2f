"""Reports of measurements: the figures and the machine they come from, written, read, and told in a line."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd
import scipy
import torch

from heavytail.lab import results
from heavytail.lab.bench.timing import Figure
from heavytail.lab.machine.files import named

Report = tuple[dict[str, Any], pd.DataFrame]  # a machine, and its figures


def report(figures: Iterable[Figure], device: torch.device | str = "cpu") -> dict[str, Any]:
    """The figures and what they were measured on, ready for JSON."""
    return {"machine": machine(device), "figures": [asdict(figure) for figure in figures]}


def read(path: Path | str) -> Report:
    """Machine and figures of a report: name, case, value, low, high, unit. ValueError for a file that is none."""
    try:
        report = json.loads(named(path).read_text(encoding="utf-8"))
        figures = pd.DataFrame([asdict(Figure(**figure)) for figure in report["figures"]])
        return report["machine"], figures
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no report of `heavytail bench --json` ({error}): make it again") from error


def read_all(folder: Path | str, kind: str) -> dict[str, Report]:
    """Every report `KIND-*.json` of a folder by its file's name without the ending, in order; {} where there is none.

    Raises ValueError for a file that is no report.
    """
    return {path.stem: read(path) for path in sorted(named(folder).glob(f"{kind}-*.json"))}


def machine(device: torch.device | str = "cpu") -> dict[str, Any]:
    """What the figures were measured on and with; of a GPU also its memory in GB, and whether TF32 was on."""
    place = torch.device(device)
    packages = {"torch": torch.__version__, "numpy": np.__version__, "scipy": scipy.__version__}
    about: dict[str, Any] = {
        "device": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {"heavytail": results.code_version(), **packages, "numba": numba.__version__},
        "day": datetime.now(UTC).date().isoformat(),
    }
    if place.type == "cuda":
        about |= {
            "device": torch.cuda.get_device_name(place),
            "processor": about["device"],
            "memory_gb": round(torch.cuda.get_device_properties(place).total_memory / 1e9, 1),
            "tf32": torch.backends.cuda.matmul.fp32_precision == "tf32",
        }
        about["versions"] |= {"cuda": str(torch.version.cuda), "triton": _version("triton")}
    return about


def as_text(figure: Figure) -> str:
    """One line: the median, and the spread over rounds."""
    spread = "" if figure.low == figure.high else f"  ({figure.low:.3g} to {figure.high:.3g})"
    return f"{figure.name:<28} {figure.value:>9.3g} {figure.unit:<6}{spread:<24} {figure.case}"


def fastest_products(figures: Sequence[Figure]) -> str:
    """Which products are the fastest on the machine of these figures, in a sentence; "" where none tell.

    Coarser products are faster if they were in every case that was measured, float32 is if it was in every case.

    >>> fastest_products([Figure("step.bfloat16_speedup", "mnist", 1.5, 1.4, 1.6, "ratio")])
    'Products in bfloat16 are faster than in float32 here: a step 1.5 times as fast.'
    """
    sentences = []
    for name in dict.fromkeys(figure.name for figure in figures):
        if low := re.fullmatch(r"step\.(\w+)_speedup", name):
            values = [figure.value for figure in figures if figure.name == name]
            span = " to ".join(dict.fromkeys(f"{value:.2g}" for value in (min(values), max(values))))
            sentences.append(
                f"Products in {low[1]} are {_verdict(values)} than in float32 here: a step {span} times as fast."
            )
    return " ".join(sentences)


def _verdict(values: Sequence[float]) -> str:
    if min(values) > 1:
        return "faster"
    return "slower" if max(values) < 1 else "in some cases faster and in some slower"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"
