"""How the cost of a step grows, from a report of `heavytail bench`."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

AXES = {"n": "neurons $n$", "d": "inputs $d$", "runs": "runs at once"}


def growth(figures: pd.DataFrame) -> Figure:
    """Milliseconds a step against neurons, inputs and runs; bars reach over rounds, dashed is linear."""
    figure, panels = plt.subplots(1, len(AXES), figsize=(8.0, 2.8))
    for axis, (name, label) in zip(panels, AXES.items(), strict=True):
        rows = figures[figures["name"] == f"growth.{name}"]
        size = rows["case"].str.extract(r"= (\d+)")[0].astype(float)
        spread = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
        axis.errorbar(size, rows["value"], yerr=spread, marker="o", markersize=4, color="0.2", capsize=2)
        last = rows["value"].iloc[-1] / size.iloc[-1]
        axis.plot(size, last * size, color="0.6", linestyle="--", label="linear")
        axis.set(xscale="log", yscale="log", xlabel=label)
    panels[0].set_ylabel("ms a step")
    panels[0].legend()
    return figure
