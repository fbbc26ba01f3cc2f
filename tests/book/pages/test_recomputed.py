"""Numbers in the text of chapters, computed again from the committed tables with plain pandas and no code of ours."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from .conftest import ROOT

pytestmark = pytest.mark.pages

TABLES = ROOT / "data" / "results" / "workstation"
SHARES = [f"test_accuracy_share_0.{tenth}" for tenth in range(1, 10)]
AT_RANDOM = [f"test_accuracy_random_0.{tenth}" for tenth in range(1, 10)]


def said(chapter):
    """What the executed chapter says, by name: text as it stands in a sentence."""
    notebook = json.loads((ROOT / "_build" / "chapters" / "quick" / f"{chapter}.ipynb").read_text("utf-8"))
    texts = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name:
                (text,) = (value for kind, value in output["data"].items() if kind.endswith("text/plain"))
                texts[name] = "".join(text).strip("'\"")
    return texts


def percent(number, digits=1):
    return f"{100 * number:.{digits}f}%"


def reach(numbers, form="{:.0%}"):
    """The smallest and the largest of several numbers, as a text."""
    return f"{form.format(min(numbers))} to {form.format(max(numbers))}"


def read(name):
    """A committed table."""
    return pd.read_parquet(TABLES / f"{name}.parquet")


def failures(table):
    """How many runs ended without a trained network."""
    return table["status"].isin(["diverged", "out_of_memory", "failed"]).sum()


def without_noise(table):
    """Plain SGD, without a penalty either; older tables have no column for the group lasso."""
    rows = table[table["noise"].isna() & (table["weight_decay"] == 0)]
    return rows[rows["group_lasso"] == 0] if "group_lasso" in rows else rows


def lost_points(rows):
    """Points of test accuracy that each run loses by pruning."""
    return 100 * (rows["test_accuracy"] - rows["test_accuracy_pruned"])


def of_ecg5000():
    """Numbers of the chapter on ECG5000."""
    table = pd.read_parquet(TABLES / "ecg5000.parquet")
    search = pd.read_parquet(TABLES / "choose-ecg5000.parquet")
    search["score"] = search[SHARES].mean(axis=1)
    quiet = search[search["noise"].isna() & (search["weight_decay"] == 0) & (search["group_lasso"] == 0)]
    step = quiet.groupby("lr")["score"].median().idxmax()
    wide = table[table["width"] == 2000]
    plain = wide[wide["noise"].isna() & (wide["weight_decay"] == 0) & (wide["group_lasso"] == 0)]
    middle = plain.assign(score=plain[SHARES].mean(axis=1)).groupby("lr")["score"].median()
    best = plain[plain["lr"] == middle.idxmax()]
    heavy = wide[wide["noise"].notna() & (wide["alpha"] < 2)]
    largest = heavy.groupby(["noise", "alpha"])["sigma"].transform("max")
    strong = heavy[heavy["sigma"] == largest]
    ratios = strong.groupby(["noise", "alpha"])["pruning_ratio"].median()
    lasso = wide[wide["group_lasso"] == wide["group_lasso"].max()]
    lost = strong["train_accuracy"] - strong["train_accuracy_pruned"] > 0.1
    shared = heavy[heavy["noise"] == "shared"]
    moves = []
    for _, rows in shared.groupby(["alpha", "sigma", "lr"]):
        partner = plain[plain["lr"] == rows["lr"].iloc[0]].set_index("seed")["train_loss"]
        loss = rows.set_index("seed")["train_loss"]
        moves.append(abs((loss / partner - 1).median()))
    return {
        "runs": str(len(table)),
        "seeds": str(table["seed"].nunique()),
        "failed": str(table["status"].isin(["diverged", "out_of_memory", "failed"]).sum()),
        "step": f"{step:g}",
        "plain": percent(best["pruning_ratio"].median()),
        "plain_accuracy": percent(best["test_accuracy"].median()),
        "low": percent(ratios.min(), 0),
        "high": percent(ratios.max(), 0),
        "lasso": percent(lasso["pruning_ratio"].median()),
        "lasso_accuracy": percent(lasso["test_accuracy"].median()),
        "shared_ratio": percent(strong.loc[strong["noise"] == "shared", "pruning_ratio"].median()),
        "collapse": f"{lost.sum()} of {len(strong)} noisy runs",
        "loss_moves": f"{max(moves):.0e}",
    }


def of_mnist():
    """Numbers of the chapter on MNIST."""
    table = pd.read_parquet(TABLES / "mnist.parquet")
    search = pd.read_parquet(TABLES / "choose-mnist.parquet")
    law = pd.read_parquet(TABLES / "untrained-mnist.parquet")
    wide = table[table["width"] == 1000]
    quiet = wide[wide["noise"].isna() & (wide["weight_decay"] == 0) & (wide["group_lasso"] == 0)]
    candidates = search[search["noise"].isna() & (search["weight_decay"] == 0) & (search["group_lasso"] == 0)]
    scores = candidates.assign(score=candidates[SHARES].mean(axis=1)).groupby("lr")["score"].median()
    middle = quiet.assign(score=quiet[SHARES].mean(axis=1)).groupby("lr")["score"].median()
    best, at_step = quiet[quiet["lr"] == middle.idxmax()], quiet[quiet["lr"] == scores.idxmax()]
    heavy = wide[wide["noise"].notna() & (wide["alpha"] < 2)]
    largest = heavy.groupby(["noise", "alpha"])["sigma"].transform("max")
    bold = heavy[heavy["sigma"] == largest]
    ratios = bold.groupby(["noise", "alpha"])["pruning_ratio"].median()
    tenths = bold.groupby(["noise", "alpha"])["test_accuracy_share_0.9"].median()
    lasso = wide[wide["group_lasso"] == wide["group_lasso"].max()]
    attacks = [column for column in table if column.startswith("test_accuracy_pgd_")]
    large = quiet[quiet["lr"] == quiet["lr"].max()]
    small = table[table["width"] == 100]
    lost = bold["train_accuracy"] - bold["train_accuracy_pruned"] > 0.1
    return {
        "runs": str(len(table)),
        "seeds": str(table["seed"].nunique()),
        "failed": str(table["status"].isin(["diverged", "out_of_memory", "failed"]).sum()),
        "step": f"{scores.idxmax():g}",
        "repeats": str(law["repeats"].max()),
        "plain": percent(best["pruning_ratio"].median()),
        "plain_accuracy": percent(best["test_accuracy"].median()),
        "low": percent(ratios.min(), 0),
        "high": percent(ratios.max(), 0),
        "lasso": percent(lasso["pruning_ratio"].median()),
        "lasso_accuracy": percent(lasso["test_accuracy"].median()),
        "large_ratio": percent(large["pruning_ratio"].median(), 0),
        "large_accuracy": percent(large["test_accuracy"].median()),
        "large_twin": percent(large["twin_pruning_ratio"].median(), 0),
        "plain_tenth": percent(at_step["test_accuracy_share_0.9"].median()),
        "small_tenth": percent(small["test_accuracy"].median()),
        "noise_tenth": f"{percent(tenths.min(), 0)} to {percent(tenths.max(), 0)}",
        "plain_attacked": percent(at_step[attacks].mean(axis=1).median()),
        "collapse": f"{lost.sum()} of {len(bold)} noisy runs",
    }


def of_cifar():
    """Numbers of the chapter on CIFAR-10 and CIFAR-100."""
    numbers, giants, isotropic = {}, {}, 0
    for name in ("cifar10", "cifar100"):
        table = read(name)
        quiet, noisy = without_noise(table), table[table["noise"].notna()]
        ratios = noisy.groupby(["noise", "alpha"])["pruning_ratio"].median()
        type3 = table[table["noise"] == "isotropic"]
        giants[name], isotropic = type3[type3["pruning_ratio"] > 0.95], isotropic + len(type3)
        numbers |= {
            f"{name}_neurons": str(*table["width"].unique()),
            f"{name}_seeds": str(table["seed"].nunique()),
            f"{name}_failed": str(failures(table)),
            f"{name}_plain": percent(quiet["pruning_ratio"].median()),
            f"{name}_low": percent(ratios.min(), 0),
            f"{name}_high": percent(ratios.max(), 0),
            f"{name}_plain_accuracy": percent(quiet["test_accuracy"].median()),
        }
    after = {name: percent(rows["test_accuracy_pruned"].median(), 0) for name, rows in giants.items()}
    return {
        **numbers,
        "giant": str(sum(map(len, giants.values()))),
        "giant_of": str(isotropic),
        "giant_after": f"{after['cifar10']} (CIFAR-10) and {after['cifar100']} (CIFAR-100)",
    }


def of_vgg():
    """Numbers of the chapter on a convolutional network."""
    table = read("vgg")
    heaviest = table["alpha"].min()
    numbers = {
        "filters": str(*table["width"].unique()),
        "samples": str(*table["samples"].unique()),
        "steps": str(*table["max_steps"].unique()),
        "runs": str(len(table)),
        "seeds": str(table["seed"].nunique()),
        "failed": str(failures(table)),
        "heaviest": f"{heaviest:g}",
        "failed_heaviest": str(failures(table[table["alpha"] == heaviest])),
    }
    for unit in ("filter", "kernel"):
        rows = table[table["unit"] == unit]
        quiet, noisy = without_noise(rows), rows[rows["noise"].notna()]
        ratios = noisy.groupby(["noise", "alpha"])["pruning_ratio"].median()
        numbers |= {
            f"{unit}_plain": percent(quiet["pruning_ratio"].median()),
            f"{unit}_low": percent(ratios.min(), 0),
            f"{unit}_high": percent(ratios.max(), 0),
            f"{unit}_plain_accuracy": percent(quiet["test_accuracy"].median()),
        }
    return numbers


def of_deeper():
    """Numbers of the chapter on deeper networks."""
    table = read("deeper").assign(lost=lost_points)
    shallow, deep = table["depth"].min(), table["depth"].max()
    quiet, noisy = without_noise(table), table[table["noise"].notna()]
    ratios = noisy.groupby(["noise", "alpha", "depth"])["pruning_ratio"].median()
    growth = []
    for _, rows in noisy.groupby(["noise", "alpha"]):
        lost = rows.pivot(index="seed", columns="depth", values="lost")
        growth.append((lost[deep] - lost[shallow]).median())
    numbers = {
        "runs": str(len(table)),
        "seeds": str(table["seed"].nunique()),
        "failed": str(failures(table)),
        "neurons": str(*table["width"].unique()),
        "shallow": str(shallow),
        "deep": str(deep),
        "low": percent(ratios.min(), 0),
        "high": percent(ratios.max(), 0),
        "least_growth": f"{min(growth):+.1f}",
        "most_growth": f"{max(growth):+.1f}",
    }
    for word, layers in (("shallow", shallow), ("deep", deep)):
        still, kicked = quiet[quiet["depth"] == layers], noisy[noisy["depth"] == layers]
        numbers |= {
            f"plain_{word}": percent(still["pruning_ratio"].median(), 0),
            f"plain_lost_{word}": f"{still['lost'].median():.1f}",
            f"noisy_lost_{word}": f"{kicked['lost'].median():.1f}",
        }
    return numbers


def of_width():
    """Numbers of the chapter on width."""
    table = read("width")
    table = table.assign(kept=table[SHARES].mean(axis=1))
    narrow, wide = table["width"].min(), table["width"].max()
    quiet, noisy = without_noise(table), table[table["noise"].notna()]

    def gain(rows, column):
        """Points from the narrowest to the widest network of a seed, the median over seeds."""
        by_seed = rows.pivot(index="seed", columns="width", values=column)
        return 100 * (by_seed[wide] - by_seed[narrow]).median()

    cells = [rows for _, rows in noisy.groupby(["noise", "alpha"])]
    ends = {"narrow": quiet[quiet["width"] == narrow], "wide": quiet[quiet["width"] == wide]}
    return {
        "runs": str(len(table)),
        "seeds": str(table["seed"].nunique()),
        "failed": str(failures(table)),
        "several": str(table["width"].nunique()),
        "narrow": str(narrow),
        "wide": str(wide),
        "left": str(narrow // 10),
        "wide_left": str(wide // 10),
        "sigma": f"{noisy['sigma'].unique().item():g}",
        "ratio_gain": reach([gain(rows, "pruning_ratio") for rows in cells], "{:+.0f}"),
        "accuracy_gain": reach([gain(rows, "kept") for rows in cells], "{:+.0f}"),
        "plain_accuracy_gain": f"{gain(quiet, 'kept'):+.1f}",
        **{f"plain_{end}": percent(rows["pruning_ratio"].median(), 0) for end, rows in ends.items()},
        **{f"train_{end}": percent(rows["train_accuracy"].median()) for end, rows in ends.items()},
        "heavy_falls": f"{(wide / narrow) ** (1 / 2 - 1 / 1.5):.2f}",
        "light_falls": f"{(wide / narrow) ** (1 / 2 - 1 / 1.75):.2f}",
        "lightest_falls": f"{(wide / narrow) ** (1 / 2 - 1 / 1.9):.2f}",
    }


def of_heavy_tail():
    """Numbers of the chapter on the controls of the heavy tail."""
    table = read("controls").assign(lost=lost_points)
    table["ordered"] = 100 * (table[SHARES].mean(axis=1) - table[AT_RANDOM].mean(axis=1))
    quiet, decayed = without_noise(table), table[table["weight_decay"] > 0]
    noisy = table[table["noise"].notna() & (table["along"] == "ones")]
    heavy, gaussian = noisy[noisy["alpha"] < 2], noisy[noisy["alpha"] == 2]
    by_size, by_cost = [], []
    for noise, rows in heavy.groupby("noise"):
        ratio = rows.set_index("seed")["pruning_ratio"]
        light = gaussian[gaussian["noise"] == noise]
        away = (light.groupby("sigma")["train_accuracy"].mean() - rows["train_accuracy"].mean()).abs()
        # The smallest Gaussian scale is that of equal median kicks; twice and four times it are there too.
        for found, sigma in ((by_size, light["sigma"].min()), (by_cost, away.idxmin())):
            partner = light[light["sigma"] == sigma].set_index("seed")["pruning_ratio"]
            found.append(100 * (ratio - partner).median())
    unseen = table[table["along"] == "unseen"]
    strongest = unseen[unseen["sigma"] == unseen["sigma"].max()]
    loss = quiet.set_index("seed")["train_loss"]
    moves = unseen.set_index("seed").groupby("sigma")["train_loss"].apply(lambda own: (own / loss - 1).median())
    return {
        "runs": str(len(table)),
        "seeds": str(table["seed"].nunique()),
        "failed": str(failures(table)),
        "neurons": str(*table["width"].unique()),
        "size_gain": reach(by_size, "{:+.0f}"),
        "equal_gain": reach(by_cost, "{:+.0f}"),
        "plain": percent(quiet["pruning_ratio"].median(), 0),
        "decay": f"{decayed['weight_decay'].unique().item():g}",
        "decayed": percent(decayed["pruning_ratio"].median(), 0),
        "decayed_accuracy": percent(decayed["test_accuracy"].median(), 0),
        "decay_loss": f"{decayed['lost'].median():.1f}",
        "noise_loss": reach(heavy.groupby("noise")["lost"].median(), "{:.0f}"),
        "random_gain": reach(heavy.groupby("noise")["ordered"].median(), "{:+.0f}"),
        "plain_random_gain": f"{quiet['ordered'].median():+.0f}",
        "unseen_sigma": f"{unseen['sigma'].max():g}",
        "unseen_ratio": percent(strongest["pruning_ratio"].median(), 0),
        "unseen_loss": f"{moves.abs().max():.0e}",
    }


def prunable(run, least):
    """The pruned share at which a run's accuracy, straight between the tenths, first falls below what is asked."""
    accuracies = run[["test_accuracy_share_0.0", *SHARES, "test_accuracy_share_1.0"]].to_numpy(dtype=float)
    below = np.flatnonzero(accuracies < least)
    if not len(below):
        return 1.0
    first = below[0]
    if first == 0:
        return 0.0
    return np.interp(least, [accuracies[first], accuracies[first - 1]], [first / 10, (first - 1) / 10])


def of_noise_types():
    """Numbers of the chapter on noise types: its rows on ECG5000, CIFAR-10 and CIFAR-100."""
    numbers = {}
    told = {"ratio": "{:.0%}", "usable": "{:.0%}", "lost": "{:.1f}", "accuracy": "{:.1%}"}
    for name in ("ecg5000", "cifar10", "cifar100"):
        table = read(name)
        table = table[table["width"] == table["width"].max()]  # narrower networks are there without noise only
        table = table.assign(ratio=table["pruning_ratio"], accuracy=table["test_accuracy"], lost=lost_points)
        quiet = without_noise(table)
        middle = quiet.assign(kept=quiet[SHARES].mean(axis=1)).groupby("lr")["kept"].median()
        quiet = quiet[quiet["lr"] == middle.idxmax()]
        least = table["seed"].map(quiet.set_index("seed")["accuracy"]) - 0.05
        table["usable"] = [prunable(run, least[place]) for place, run in table.iterrows()]
        quiet = table.loc[quiet.index]
        heavy = table[table["noise"].notna() & (table["alpha"] < 2)]
        strong = heavy[heavy["sigma"] == heavy.groupby(["noise", "alpha"])["sigma"].transform("max")]
        for key, form in told.items():
            numbers[f"{name}_{key}_plain"] = form.format(quiet[key].median())
            for noise, rows in strong.groupby("noise"):
                numbers[f"{name}_{key}_{noise}"] = reach(rows.groupby("alpha")[key].median(), form)
    return numbers


CHAPTERS = {
    "cifar": of_cifar,
    "deeper": of_deeper,
    "ecg5000": of_ecg5000,
    "heavy_tail": of_heavy_tail,
    "mnist": of_mnist,
    "noise_types": of_noise_types,
    "vgg": of_vgg,
    "width": of_width,
}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_numbers_of_a_chapter_come_out_again(chapter):
    texts = said(chapter)
    again = CHAPTERS[chapter]()
    assert len(again) >= 10
    assert {name: texts[name] for name in again} == again
