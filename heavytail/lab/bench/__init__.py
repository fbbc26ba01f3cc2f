"""Measurements of speed and memory: every one a ratio of times taken side by side, with its spread over rounds."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd
import scipy
import torch

from heavytail import streams
from heavytail.lab import results
from heavytail.lab.bench.cases import CASES
from heavytail.lab.bench.timing import Figure


def bench(cases: Sequence[str] = tuple(CASES), *, device: torch.device | str = "cpu") -> Iterable[Figure]:
    """The figures of the named cases as they come. Raises ValueError for an unknown case or a device not there."""
    for name in cases:
        if name not in CASES:
            raise ValueError(f"unknown case {name!r}: choose from {', '.join(CASES)}")
    where = streams.present(device)
    for name in cases:
        yield from CASES[name](where)


def report(figures: Iterable[Figure], device: torch.device | str = "cpu") -> dict[str, Any]:
    """The figures and what they were measured on, ready for JSON."""
    return {"machine": machine(device), "figures": [asdict(figure) for figure in figures]}


def read(path: Path | str) -> tuple[dict[str, Any], pd.DataFrame]:
    """Machine and figures of a report: name, case, value, low, high, unit. ValueError for a file that is none."""
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8"))
        figures = pd.DataFrame([asdict(Figure(**figure)) for figure in told["figures"]])
        return told["machine"], figures
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no report of `heavytail bench --json` ({error}): make it again") from error


def machine(device: torch.device | str = "cpu") -> dict[str, Any]:
    """What the figures were measured on and with."""
    place = torch.device(device)
    return {
        "device": torch.cuda.get_device_name(place) if place.type == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {
            "heavytail": results.code_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "numba": numba.__version__,
        },
        "day": datetime.now(UTC).date().isoformat(),
    }


def as_text(figure: Figure) -> str:
    """One line: the median, and the spread over rounds."""
    spread = "" if figure.low == figure.high else f"  ({figure.low:.3g} to {figure.high:.3g})"
    return f"{figure.name:<28} {figure.value:>9.3g} {figure.unit:<6}{spread:<24} {figure.case}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


__all__ = ["CASES", "Figure", "as_text", "bench", "machine", "read", "report"]
