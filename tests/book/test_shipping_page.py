"""What the chapter on shipping says and draws follows from the numbers it is given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from heavytail.book import figures, shipping
from heavytail.evidence import arms
from heavytail.evidence.shipping import NOISE, SMALL

LEVELS = (1, 4, 16, 64)
#: By arm, strength and noise: from how many units on a pruned network is accurate enough. A tuned one is from half.
NEEDS = {
    (arms.PLAIN, 0.0, ""): 16,
    (arms.DECAY, 0.1, ""): 16,
    (arms.LASSO, 0.1, ""): 4,
    ("shared, α = 1.75", 0.01, "shared"): 16,
    ("shared, α = 1.75", 0.1, "shared"): 64,
}


@pytest.fixture(scope="module")
def files():
    rows = []
    for seed in range(1, 8):
        for (arm, strength, noise), need in NEEDS.items():
            for units in LEVELS:
                for way, least in (("pruned", need), ("tuned", need / 2)):
                    rows.append((arm, strength, noise, way, seed, 64, units, 0.95 if units >= least else 0.8))
        rows += [(arms.PLAIN, 0.0, "", "small", seed, units, units, 0.95 if units > 4 else 0.8) for units in LEVELS]
        rows.append((arms.PLAIN, 0.0, "", "int8", seed, 64, 64, 0.95))
    names = ["arm", "strength", "noise", "way", "seed", "width", "units", "accuracy"]
    frame = pd.DataFrame(rows, columns=names).assign(dataset="mnist", diverged=False)
    return frame.assign(bytes=100.0 * frame["units"] + 0.01 * frame["seed"], parameters=10 * frame["units"])


def race(*rows):
    """A race of contenders with their bytes, and the word for noise against each."""
    names = ["contender", "bytes", "word", "arm", "strength", "way", "units", "ratio", "ratio_low", "ratio_high"]
    settings = {NOISE: ("shared, α = 1.75", 0.1, "tuned"), SMALL: (arms.PLAIN, 0.0, "small")}
    full = [
        (name, size, word, *settings.get(name, (name, 0.0, "pruned")), 4, 1.5, 1.2, np.inf) for name, size, word in rows
    ]
    return pd.DataFrame(full, columns=names)


def test_the_sentence_names_the_winner_and_where_noise_stands():
    lost = race((SMALL, 712, "fails"), (arms.PLAIN, 18_328, "undecided"), (NOISE, 20_000, ""))
    said = shipping.who_wins("MNIST", lost, lost)
    assert said == (
        "On MNIST the smallest file, in the median over seeds, is that of a small network from scratch, 4 units: "
        "712 B. Heavy-tailed noise leaves 20 kB at best, Type-I, α = 1.75, σ = 0.1, pruned and tuned. Seed by seed the "
        "file with noise is larger than that of a small network from scratch; not distinguishable from that of plain "
        "SGD."
    )
    ahead = race((NOISE, 500, ""), (arms.PLAIN, 900, "holds"), (SMALL, 901, "holds"))
    either = shipping.who_wins("MNIST", lost, ahead)
    assert either.startswith("On MNIST no way to a small file is ahead by both rules. The smallest size that is")
    assert "is that of a small network from scratch, 4 units: 712 B. If every larger size" in either
    assert "it is that of heavy-tailed noise, Type-I, α = 1.75, σ = 0.1, pruned and tuned: 500 B. Heavy-" in either
    won = shipping.who_wins("MNIST", ahead, ahead)
    assert won.startswith(
        "On MNIST the smallest file, in the median over seeds, is that of heavy-tailed noise, Type-I, α"
    )
    assert won.endswith(
        "Seed by seed the file with noise is smaller than that of plain SGD and a small network from scratch."
    )


def test_the_headline_names_only_those_who_win_by_both_rules():
    small, noisy = race((SMALL, 1, "fails"), (NOISE, 2, "")), race((NOISE, 1, ""), (SMALL, 2, "holds"))
    assert shipping.headline({"A": small, "B": small}, {"A": small, "B": noisy}) == (
        "Heavy-tailed noise gives the smallest file on none of A and B",
        "On A a small network from scratch gives the smallest file and on B no way to a small file is ahead by both of "
        "our rules",
    )
    assert shipping.headline(alike := {"A": small, "B": small}, alike) == (
        "Heavy-tailed noise gives the smallest file on none of A and B",
        "On A and B a small network from scratch gives the smallest file",
    )
    assert shipping.headline({"A": noisy, "B": noisy}, {"A": noisy, "B": small}) == (
        "Heavy-tailed noise gives the smallest file on A",
        "On A heavy-tailed noise gives the smallest file and on B no way to a small file is ahead by both of our rules",
    )


def test_the_advice_follows_from_the_words():
    lost = {"A": race((SMALL, 1, "fails"), (NOISE, 2, "")), "B": race((arms.PLAIN, 1, "undecided"), (NOISE, 2, ""))}
    assert shipping.advice(lost).endswith(
        "on one data set at least it is larger than that of a small network from scratch."
    )
    won = {"C": race((NOISE, 1, ""), (SMALL, 2, "holds"))}
    assert shipping.advice(won) == "Here heavy-tailed noise gives the file to ship."
    both = shipping.advice(won | lost)
    assert both.endswith(
        "is smaller than a small network from scratch, on one larger than a small network from scratch."
    )


def test_the_racers_and_the_neighbours_are_told_with_their_spread():
    shown = shipping.racers({"MNIST": race((SMALL, 712, "fails"), (NOISE, 800, ""))})
    assert shown["noise over it"].tolist() == ["1.5", ""]  # an end is open: no interval
    figures_of = pd.DataFrame(
        [
            ("shipping.onnx.over_multiple", "ecg5000, 23 units against 24, batch 64", 1.1, 1.0, 1.2),
            ("shipping.torch.over_multiple", "ecg5000, 23 units against 24, batch 64", 1.3, 1.0, 1.4),
            ("shipping.onnx.ms", "ecg5000, 24 units, batch 64", 0.1, 0.1, 0.2),
        ],
        columns=["name", "case", "value", "low", "high"],
    )
    odd = shipping.neighbours(figures_of)
    assert odd.to_numpy().tolist() == [
        ["ONNX Runtime", 23, 24, "1.10 (1.00 to 1.20)"],
        ["eager torch", 23, 24, "1.30 (1.00 to 1.40)"],
    ]


def test_accuracy_is_drawn_against_bytes_with_a_dot_a_seed_where_a_file_is_enough(files, book_style):
    figure = figures.accuracy_by_bytes({"MNIST": files})
    pruned, tuned = figure.axes
    lines = {line.get_label(): line for line in pruned.lines if len(line.get_xdata()) == len(LEVELS)}
    assert {arms.PLAIN, arms.DECAY, arms.LASSO, "Type-I"} <= set(lines)
    assert lines[arms.PLAIN].get_ydata().tolist() == [0.8, 0.8, 0.95, 0.95]
    dots = [(1000 * line.get_xdata()).round(-2).tolist() for line in pruned.lines if line.get_marker() == "."]
    assert [1600.0] * 7 in dots
    assert [400.0] * 7 in dots
    assert all(
        0.94 in line.get_ydata() for axis in (pruned, tuned) for line in axis.lines if len(line.get_xdata()) == 2
    )
    plt.close(figure)


def test_accuracy_is_drawn_against_time_for_the_sizes_that_were_timed(files, book_style):
    rows = [("mnist", units, batch, units / 10) for units in LEVELS[1:] for batch in (1, 64)]
    times = pd.DataFrame(rows, columns=["dataset", "units", "batch", "ms"])
    figure = figures.accuracy_by_time({"MNIST": files}, times)
    assert [axis.get_title() for axis in figure.axes] == ["MNIST, batch 1", "MNIST, batch 64"]
    drawn = next(line for line in figure.axes[0].lines if line.get_label() == arms.PLAIN)
    assert drawn.get_xdata().tolist() == [0.4, 1.6, 6.4]
    plt.close(figure)


def test_every_figure_of_shipping_is_drawn_above():
    own = {name for name in figures.__all__ if getattr(figures, name).__module__.endswith(".shipping")}
    assert own == {"accuracy_by_bytes", "accuracy_by_time"}
