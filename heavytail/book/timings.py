"""Reports of `heavytail bench` as the page *Performance* shows them: in tables and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

Reports = Mapping[str, tuple[Mapping[str, Any], pd.DataFrame]]  # machine and figures by name, from `bench.read_all`

_MOST = {  # of a GPU in short: what is told, and the figures it is told of
    "noise {} times as long as a copy of the same bytes": ("noise.over_copy", ""),
    "a step {} times as long as its matrix products": ("step.over_matmul", ""),
    "a grid {} times as fast as the loop with noise by torch": ("grid.speedup_over_loop", "by torch"),
    "{} times as fast as with noise by SciPy": ("grid.speedup_over_loop", "by scipy"),
}


def form(figures: pd.DataFrame, *names: str) -> pd.DataFrame:
    """The figures of these names: their case, median with unit, and spread over rounds, – where there is none."""
    chosen = figures[figures["name"].isin(names)]
    spread = [f"{row.low:.3g} to {row.high:.3g}" if row.low != row.high else "–" for row in chosen.itertuples()]
    units = chosen["unit"].replace("ratio", "×")
    median = [f"{value:.3g} {unit}".strip() for value, unit in zip(chosen["value"], units, strict=True)]
    return chosen.assign(median=median, spread=spread)[["name", "case", "median", "spread"]]


def span(figures: pd.DataFrame, name: str, case: str = "") -> str:
    """The smallest and the largest value of a figure over its cases that hold a word, in three digits.

    Raises ValueError where there is none.
    """
    values = figures.loc[(figures["name"] == name) & figures["case"].str.contains(case, regex=False), "value"]
    if values.empty:
        raise ValueError(f"no figure {name} of a case with {case!r}: measure again with `heavytail bench --json`")
    return " to ".join(dict.fromkeys(f"{value:.3g}" for value in (values.min(), values.max())))


def beside_the_loop(figures: pd.DataFrame) -> str:
    """What a step of one run and its measuring take beside the ordinary loop's; or that a report does not say it.

    >>> beside_the_loop(pd.DataFrame(columns=["name", "case", "value"]))[:25]
    'This report does not hold'
    """
    if not (_has(figures, "step.over_loop", "shared, alone") and _has(figures, "measure.seconds", "")):
        return (
            "This report does not hold a step and the measuring of one run against those of the loop, so no number is "
            "claimed: the command heavytail bench loop measures them."
        )
    alone, pairs = (span(figures, "step.over_loop", f"shared, {called}") for called in ("alone", "two runs at once"))
    seconds, over = span(figures, "measure.seconds"), span(figures, "measure.over_loop")
    return (
        f"A Type-I step of one run alone takes {alone} times as long as the loop's; two runs at once take {pairs} "
        f"times as long as in the loop. Measuring a finished run takes {seconds} s, {over} times as long as in the "
        "loop, which prunes at one error only and looks at no train sample."
    )


def products_form(reports: Reports) -> pd.DataFrame:
    """Which products are faster on which machine: a row a machine and case.

    "neither" is said where the rounds do not agree.
    """
    rows = []
    for machine, figures in reports.values():
        chosen = figures[figures["name"].str.fullmatch(r"step\.\w+_speedup")]
        for row in chosen.itertuples():
            low = str(row.name).removeprefix("step.").removesuffix("_speedup")
            rows.append(
                {
                    "machine": f"{machine['device']}, {machine['cores']} cores, {machine['instructions']}",
                    "case": row.case,
                    "products": low,
                    "float32 step over it": f"{row.value:.2f} × ({row.low:.2f} to {row.high:.2f})",
                    "faster": low if row.low > 1 else "float32" if row.high < 1 else "neither",
                }
            )
    return pd.DataFrame(rows)


def gpus_in_short(reports: Reports) -> str:
    """What was measured on GPUs, a clause a machine; or that there was none.

    >>> gpus_in_short({})
    'no GPU was at hand, and no number is claimed for one'
    """
    clauses = []
    for machine, figures in reports.values():
        said = [words.format(span(figures, *which)) for words, which in _MOST.items() if _has(figures, *which)]
        clauses.append(f"on {machine['device']} " + (", ".join(said) or "none of the ratios to a limit was measured"))
    return "; ".join(clauses) or "no GPU was at hand, and no number is claimed for one"


def gpus(reports: Reports) -> str:
    """Which GPUs the reports are of, and what beside them; or that there is no report, and where one would be."""
    if not reports:
        return (
            "There is no report of a GPU: none was at hand, so no number is claimed, here or elsewhere. A file "
            "data/performance/gpu-NAME.json is one, and what it holds is then drawn here."
        )
    machines = []
    for machine, _ in reports.values():
        versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        tf32 = "TF32 on" if machine.get("tf32") else "TF32 off"
        memory = f"{machine['memory_gb']:g} GB, " if "memory_gb" in machine else ""
        beside = f"beside {machine['processor']}, " if "processor" in machine else ""
        about = f"{memory}{tf32}; {beside}{machine['cores']} cores; {machine['system']}; {versions}; {machine['day']}"
        machines.append(f"{machine['device']} ({about})")
    return f"Measured on {'; and on '.join(machines)}."


def having(reports: Reports, *names: str) -> Reports:
    """The reports that have a figure of one of these names: one that was cut off may not have them all."""
    return {file: report for file, report in reports.items() if report[1]["name"].isin(names).any()}


def gpu_tables(reports: Reports) -> dict[str, pd.DataFrame]:
    """What was measured on GPUs, by caption: a table a machine and subject, those alone that have rows."""
    subjects = {
        "Noise": ("noise.over_copy", "noise.speedup_vs_torch", "copy.gb_per_second"),
        "A step of a whole grid": ("step.over_matmul", "step.matmul_ms"),
        "How far coarser products move the update of a step": ("step.bfloat16_error", "step.tf32_error"),
        "A grid against the loop": (
            "grid.speedup_over_loop",
            "grid.speedup_of_products_alone",
            "grid.seconds_per_run",
            "loop.seconds_per_run",
        ),
        "Growth": ("growth.exponent",),
    }
    made = {
        f"{subject}, on {machine['device']}": form(figures, *names)
        for machine, figures in reports.values()
        for subject, names in subjects.items()
    }
    return {caption: table for caption, table in made.items() if len(table)}


def _has(figures: pd.DataFrame, name: str, case: str) -> bool:
    return bool(((figures["name"] == name) & figures["case"].str.contains(case, regex=False)).any())
