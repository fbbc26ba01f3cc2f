"""Numbers in the text of chapters, computed again from the committed tables with plain pandas and no code of ours."""

from __future__ import annotations

import json
from ast import literal_eval
from math import gamma, log, pi, sin, sqrt

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from scipy import optimize, stats

from .conftest import ROOT

pytestmark = pytest.mark.pages

TABLES = ROOT / "data" / "results" / "workstation"
SHARES = [f"test_accuracy_share_0.{tenth}" for tenth in range(1, 10)]
AT_RANDOM = [f"test_accuracy_random_0.{tenth}" for tenth in range(1, 10)]


def said(chapter):
    """What the executed chapter says, by name: texts as they stand in a sentence; cells of lists, by both heads."""
    notebook = json.loads((ROOT / "_build" / "chapters" / "quick" / f"{chapter}.ipynb").read_text("utf-8"))
    texts = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            shown = "".join(output.get("data", {}).get("text/html", ""))
            if 'class="dataframe stacked' in shown:
                head, *rows = BeautifulSoup(shown, "html.parser").find_all("tr")
                titles = [title.text for title in head.find_all("th")]
                for first, *cells in ([cell.text for cell in row.find_all("td")] for row in rows):
                    texts |= {f"{first}, {title}": text for title, text in zip(titles[1:], cells, strict=True)}
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name:
                (text,) = (value for kind, value in output["data"].items() if kind.endswith("text/plain"))
                texts[name] = str(literal_eval("".join(text)))
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
    best = plain[plain["lr"] == step]
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
    split = read("ecg5000-random")
    still, kicked = split[split["noise"].isna() & (split["lr"] == step)], split[split["noise"].notna()]
    kicked = kicked[kicked["sigma"] == kicked.groupby(["noise", "alpha"])["sigma"].transform("max")]
    columns = ["test_accuracy", "pruning_ratio"]
    moved = pd.concat(
        [
            kicked.groupby(["noise", "alpha"])[columns].median() - strong.groupby(["noise", "alpha"])[columns].median(),
            (still[columns].median() - best[columns].median()).to_frame().T,
        ]
    )
    return {
        "split_seeds": str(split["seed"].nunique()),
        "split_up": reach(100 * moved["test_accuracy"], "{:.1f}"),
        "split_ratio": f"{100 * moved['pruning_ratio'].abs().max():.1f}",
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
        "fall_kept": percent(1 - strong.loc[lost, "pruning_ratio"].min()),
        "nearly_all": str((strong["pruning_ratio"] > 0.9).sum()),
        "nearly_all_fell": str((strong.loc[lost, "pruning_ratio"] > 0.9).sum()),
        "loss_moves": short(max(moves)),
    } | of_doses()


def of_doses():
    """Numbers of the same chapter on how strong the noise should be."""
    table = read("dose-ecg5000")
    table["score"] = table[SHARES].mean(axis=1)
    quiet, numbers, whole, tenth, up = table[table["noise"].isna()], {}, [], [], []
    for noise, rows in table[table["noise"].notna()].groupby("noise"):
        partner = quiet[quiet["lr"] == rows["lr"].iloc[0]].set_index("seed")
        by_sigma = [(sigma, own.set_index("seed")) for sigma, own in rows.groupby("sigma")]
        moves = [100 * (own["score"] - partner["score"]).median() for _, own in by_sigma]
        numbers[f"dose_{noise}"] = reach(moves, "{:+z.1f}")
        strongest = by_sigma[-1][1]
        numbers[f"dose_top_{noise}"] = percent(strongest["pruning_ratio"].median(), 0)
        numbers[f"dose_plain_{noise}"] = short(partner["train_loss"].median())
        if noise == "entrywise":
            numbers["dose_loss_entrywise"] = short(strongest["train_loss"].median())
        if noise != "shared":
            for sums, column in ((whole, "test_accuracy"), (tenth, "test_accuracy_share_0.9")):
                sums += [100 * (partner[column] - own[column]).median() for _, own in by_sigma]
        if noise == "entrywise":
            up = [-lost for lost in whole]
    noisy = table[table["noise"].notna()]
    fallen = noisy["train_accuracy"] - noisy["train_accuracy_pruned"] > 0.1
    return numbers | {
        "dose_seeds": str(table["seed"].nunique()),
        "dose_whole": f"{max(whole):.1f}",
        "dose_tenth": f"{sorted(tenth)[2]:.1f}",  # the two that lose the least are open
        "dose_up": f"{max(up):.1f}",
        "dose_collapse": f"{fallen.sum()} of {len(noisy)}",
    }


def of_every_arm(name):
    """Numbers that the chapters on MNIST and CIFAR have both."""
    table, search, law = read(name), read(f"choose-{name}"), read(f"untrained-{name}")
    wide = table[table["width"] == table["width"].max()]
    quiet, candidates = without_noise(wide), without_noise(search)
    scores = candidates.assign(score=candidates[SHARES].mean(axis=1)).groupby("lr")["score"].median()
    at_step = quiet[quiet["lr"] == scores.idxmax()]
    heavy = wide[wide["noise"].notna() & (wide["alpha"] < 2)]
    largest = heavy.groupby(["noise", "alpha"])["sigma"].transform("max")
    bold = heavy[heavy["sigma"] == largest]
    ratios = bold.groupby(["noise", "alpha"])["pruning_ratio"].median()
    cut = bold.groupby(["noise", "alpha"])[["test_accuracy", "test_accuracy_pruned"]].median().loc[ratios.idxmax()]
    lasso = wide[wide["group_lasso"] == wide["group_lasso"].max()]
    attacks = [column for column in table if column.startswith("test_accuracy_pgd_")]
    small = table[table["width"] == table["width"].max() / 10]
    lost = bold["train_accuracy"] - bold["train_accuracy_pruned"] > 0.1
    return {
        "runs": str(len(table)),
        "seeds": str(table["seed"].nunique()),
        "failed": str(failures(table)),
        "step": f"{scores.idxmax():g}",
        "repeats": str(law["repeats"].max()),
        "plain": percent(at_step["pruning_ratio"].median()),
        "plain_accuracy": percent(at_step["test_accuracy"].median()),
        "low": percent(ratios.min(), 0),
        "high": percent(ratios.max(), 0),
        "furthest_before": percent(cut["test_accuracy"], 0),
        "furthest_after": percent(cut["test_accuracy_pruned"], 0),
        "lasso": percent(lasso["pruning_ratio"].median()),
        "lasso_accuracy": percent(lasso["test_accuracy"].median()),
        "plain_tenth": percent(at_step["test_accuracy_share_0.9"].median()),
        "small_tenth": percent(small["test_accuracy"].median()),
        "noise_tenth": reach(bold.groupby(["noise", "alpha"])["test_accuracy_share_0.9"].median()),
        "plain_attacked": percent(at_step[attacks].mean(axis=1).median()),
        "collapse": f"{lost.sum()} of {len(bold)} noisy runs",
    }


def of_mnist():
    """Numbers of the chapter on MNIST."""
    table = read("mnist")
    quiet = without_noise(table[table["width"] == 1000])
    large = quiet[quiet["lr"] == quiet["lr"].max()]
    return {
        **of_every_arm("mnist"),
        "large_ratio": percent(large["pruning_ratio"].median(), 0),
        "large_accuracy": percent(large["test_accuracy"].median()),
        "large_twin": percent(large["twin_pruning_ratio"].median(), 0),
    }


def of_cifar():
    """Numbers of the chapter on CIFAR-10 and CIFAR-100."""
    hundred = {f"hundred_{name}": number for name, number in of_every_arm("cifar100").items()}
    return of_every_arm("cifar10") | hundred


def of_vgg():
    """Numbers of the chapter on a convolutional network."""
    table, search = read("vgg"), read("choose-vgg")
    table["score"] = table[SHARES].mean(axis=1)
    noisy = table[table["noise"].notna()]
    noisy = noisy[noisy["sigma"] == noisy.groupby(["unit", "noise", "alpha"])["sigma"].transform("max")]
    every = without_noise(table)
    steps = every.groupby(["unit", "lr"])["score"].median().groupby("unit").idxmax()
    quiet = every[[(unit, lr) in set(steps) for unit, lr in zip(every["unit"], every["lr"], strict=True)]]
    gains = {1.5: [], 1.75: []}
    for (unit, _, alpha, lr), rows in noisy.groupby(["unit", "noise", "alpha", "lr"]):
        partner = every[(every["unit"] == unit) & (every["lr"] == lr)].set_index("seed")["pruning_ratio"]
        gains[alpha].append(100 * (rows.set_index("seed")["pruning_ratio"] - partner).median())
    heavy = noisy[noisy["alpha"] == 1.5]
    cost = lost_points(quiet).groupby(quiet["unit"]).median()
    numbers = {
        "filters": str(*table["width"].unique()),
        "samples": grouped(table["samples"].unique().item()),
        "steps": grouped(table["max_steps"].unique().item()),
        "runs": str(len(table)),
        "seeds": str(table["seed"].nunique()),
        "failed": str(failures(table)),
        "searched": str(len(search)),
        "search_failed": str(failures(search)),
        "light_gain": reach(gains[1.75], "{:.1f}"),
        "heavy_gain": reach(gains[1.5], "{:.1f}"),
        "far": str((heavy["pruning_ratio"] >= 0.5).sum()),
        "far_lost": str(((heavy["pruning_ratio"] >= 0.5) & (heavy["test_accuracy"] < 0.11)).sum()),
        "small_plain": percent(
            every.loc[(every["unit"] == "filter") & (every["lr"] == 0.05), "pruning_ratio"].median()
        ),
        "unfit_heavy": percent(
            heavy[(heavy["unit"] == "filter") & (heavy["noise"] == "shared")]["train_accuracy"].median(), 0
        ),
        "heavy_runs": str(len(heavy)),
        "broken": str(failures(heavy)),
        "plain_lost": reach(cost, "{:.1f}"),
        "unit_cost": f"{cost['kernel'] - cost['filter']:.1f}",
        "noisy_lost": reach(
            lost_points(noisy).groupby([noisy["unit"], noisy["noise"], noisy["alpha"]]).median(), "{:.1f}"
        ),
        "plain_train": percent(quiet["train_accuracy"].median()),
        "plain_test": percent(quiet["test_accuracy"].median()),
    }
    for unit in ("filter", "kernel"):
        ratios = noisy[noisy["unit"] == unit].groupby(["noise", "alpha"])["pruning_ratio"].median()
        numbers |= {
            f"{unit}_plain": percent(quiet.loc[quiet["unit"] == unit, "pruning_ratio"].median()),
            f"{unit}_low": percent(ratios.min(), 0),
            f"{unit}_high": percent(ratios.max(), 0),
        }
    return numbers


def of_deeper():
    """Numbers of the chapter on deeper networks."""
    table = read("deeper").assign(lost=lost_points)
    shallow, deep = table["depth"].min(), table["depth"].max()
    noisy = table[table["noise"].notna()]
    noisy = noisy[noisy["sigma"] == noisy.groupby(["depth", "noise", "alpha"])["sigma"].transform("max")]
    every = without_noise(table)
    every = every.assign(score=every[SHARES].mean(axis=1))
    steps = every.groupby(["depth", "lr"])["score"].median().groupby("depth").idxmax()
    quiet = every[[(depth, lr) in set(steps) for depth, lr in zip(every["depth"], every["lr"], strict=True)]]
    ratios = noisy.groupby(["noise", "alpha", "depth"])["pruning_ratio"].median()
    growth = []
    for _, rows in noisy.groupby(["noise", "alpha"]):
        lost = rows.pivot(index="seed", columns="depth", values="lost")
        growth.append((lost[deep] - lost[shallow]).median())
    third = 100 * (quiet["test_accuracy"] - quiet["test_accuracy_share_0.3"]).groupby(quiet["depth"]).median()
    deepest = quiet.loc[quiet["depth"] == deep, "test_accuracy"]
    lost = noisy[noisy["status"] == "diverged"]
    by_cell = noisy.groupby(["noise", "alpha", "depth"])
    furthest = by_cell.get_group(ratios.idxmax())

    def order_of(rows):
        """Points by which pruning the smallest is better than pruning at random."""
        return 100 * (rows[SHARES].mean(axis=1) - rows[AT_RANDOM].mean(axis=1))

    numbers = {
        "order_plain": reach(order_of(quiet).groupby(quiet["depth"]).median(), "{:.1f}"),
        "plain_third": f"{third.min():.1f} to {third.max():.1f}",
        "weak": str((deepest < 0.9).sum()),
        "weakest": percent(deepest.min(), 0),
        "broken": ", ".join(f"{(lost['depth'] == d).sum()} of {(noisy['depth'] == d).sum()}" for d in (2, 3, 4)),
        "broken_heavy": str((lost["alpha"] == 1.5).sum()),
        "broken_light": str((lost["alpha"] == 1.75).sum()),
        "runs_heavy": str((noisy["alpha"] == 1.5).sum()),
        "high_before": percent(furthest["test_accuracy"].median(), 0),
        "high_after": percent(furthest["test_accuracy_pruned"].median(), 0),
        "runs": str(len(table)),
        "seeds": str(table["seed"].nunique()),
        "failed": str(failures(table)),
        "neurons": str(*table["width"].unique()),
        "shallow": str(shallow),
        "deep": str(deep),
        "low": percent(ratios.min(), 0),
        "high": percent(ratios.max(), 0),
        "least_growth": f"{min(growth):+z.1f}",
        "most_growth": f"{max(growth):+z.1f}",
    }
    for word, layers in (("shallow", shallow), ("deep", deep)):
        still, kicked = quiet[quiet["depth"] == layers], noisy[noisy["depth"] == layers]
        numbers |= {
            f"yard_{word}": f"{sqrt(1 - 0.9**layers):.2f}",
            f"order_{word}": reach(order_of(kicked).groupby([kicked["noise"], kicked["alpha"]]).median(), "{:.1f}"),
            f"plain_{word}": percent(still["pruning_ratio"].median(), 0),
            f"plain_lost_{word}": f"{still['lost'].median():.1f}",
            f"noisy_lost_{word}": reach(kicked.groupby(["noise", "alpha"])["lost"].median(), "{:.1f}"),
        }
    return numbers


def of_width():
    """Numbers of the chapter on width."""
    table, law = read("width"), read("untrained-width")
    table = table.assign(kept=table[SHARES].mean(axis=1), tenth=100 * (table["test_accuracy"] - table[SHARES[-1]]))
    narrow, wide = table["width"].min(), table["width"].max()
    every, noisy = without_noise(table), table[table["noise"].notna()]
    steps = every.groupby(["width", "lr"])["kept"].median().groupby("width").idxmax()
    quiet = every[[(width, lr) in set(steps) for width, lr in zip(every["width"], every["lr"], strict=True)]]

    def gain(rows, column, top=wide, other=None, bottom=narrow):
        """Points from the narrowest to the widest network of a seed, the median over seeds."""
        first = rows[rows["width"] == top].set_index("seed")[column]
        return 100 * (first - rows[rows["width"] == bottom].set_index("seed")[other or column]).median()

    cells = [rows for _, rows in noisy.groupby(["noise", "alpha"])]
    still = [rows for _, rows in every.groupby("lr")]
    ends = {"narrow": narrow, "wide": wide}
    loud = noisy[noisy["noise"] != "shared"]
    lost = loud.groupby(["width", "noise", "alpha"])["tenth"].median()
    one = noisy[noisy["noise"] == "shared"].groupby(["width", "alpha"])["tenth"].median()
    common = every[every["lr"] == noisy.loc[noisy["noise"] == "shared", "lr"].unique().item()].groupby("width")[
        "train_loss"
    ]
    drawn = law[law["quantity"] == "pruning_ratio"].set_index(["noise", "alpha", "width", "repeat"])["value"]
    guesses = [
        100 * (own.xs(wide, level="width") - own.xs(narrow, level="width")).median()
        for _, own in drawn.groupby(level=["noise", "alpha"])
    ]
    norms = noisy.assign(apart=noisy["norm_rms"] / noisy["norm_median"]).groupby(["noise", "alpha", "width"])
    apart, index = norms["apart"].median().unstack("width"), norms["tail_index"].median().unstack("width")
    both = pd.concat(
        [norms["norm_median"].median().unstack("width"), quiet.groupby("width")[["norm_median"]].median().T]
    )
    grown = {"heavy": (1.5, apart.xs(1.5, level="alpha")), "light": (1.75, apart.xs(1.75, level="alpha"))}
    rest = {name: [gain(rows, SHARES[-1], wide, "test_accuracy", wide // 10) for rows in some] for name, some in
            (("noisy", cells), ("plain", still))}  # fmt: skip
    return {
        "runs": str(len(table)),
        "seeds": str(table["seed"].nunique()),
        "failed": str(failures(table)),
        "several": str(table["width"].nunique()),
        "narrow": str(narrow),
        "wide": f"{wide:,}".replace(",", "\xa0"),
        "left": str(narrow // 10),
        "wide_left": str(wide // 10),
        "ratio_gain": reach([gain(rows, "pruning_ratio") for rows in cells], "{:+z.0f}"),
        "accuracy_gain": reach([gain(rows, "kept") for rows in cells], "{:+z.1f}"),
        "plain_accuracy_gain": reach([gain(rows, "kept") for rows in still], "{:+z.1f}"),
        "guess_gain": reach(guesses, "{:+z.0f}"),
        **{f"rest_{name}": reach(values, "{:+z.1f}") for name, values in rest.items()},
        **{f"lost_{end}": reach(lost[n], "{:.1f}") for end, n in ends.items()},
        **{f"one_lost_{end}": reach(one[n], "{:.1f}") for end, n in ends.items()},
        **{f"plain_lost_{end}": f"{quiet.loc[quiet['width'] == n, 'tenth'].median():.1f}" for end, n in ends.items()},
        **{
            f"plain_{end}": percent(quiet.loc[quiet["width"] == n, "pruning_ratio"].median(), 0)
            for end, n in ends.items()
        },
        "train_narrow": f"{common.median()[narrow]:.2g}",
        "train_wide": f"{common.median()[wide]:.1g}",
        "norm_moves": f"{100 * (both.max(axis=1) / both.min(axis=1) - 1).max():.0f}%",
        **{f"{name}_grows": reach(rows[wide] / rows[narrow], "{:.1f}") for name, (_, rows) in grown.items()},
        **{f"{name}_law": f"{(wide / narrow) ** (1 / alpha - 1 / 2):.1f}" for name, (alpha, _) in grown.items()},
        **{f"{name}_index": reach(index.xs(a, level="alpha")[wide], "{:.2f}") for name, (a, _) in grown.items()},
        "heavy_falls": f"{(wide / narrow) ** (1 / 2 - 1 / 1.5):.2f}",
        "light_falls": f"{(wide / narrow) ** (1 / 2 - 1 / 1.75):.2f}",
        "lightest_falls": f"{(wide / narrow) ** (1 / 2 - 1 / 1.9):.2f}",
        "law_narrow": percent(prunable_noise(1.5, narrow, 0.5), 0),
        "law_wide": percent(prunable_noise(1.5, wide, 0.5), 0),
        "law_low": percent(prunable_noise(1.5, wide, 0.9), 0),
        "law_high": percent(prunable_noise(1.5, wide, 0.1), 2),
    }


def of_heavy_tail():
    """Numbers of the chapter on the controls of the heavy tail."""
    table = read("controls").assign(lost=lost_points)
    quiet, decayed = without_noise(table), table[table["weight_decay"] > 0]
    noisy = table[table["noise"].notna() & (table["along"] == "ones")]
    heavy, gaussian = noisy[noisy["alpha"] < 2], noisy[noisy["alpha"] == 2]
    kinds = ("shared", "entrywise", "isotropic")
    scales = {noise: sorted(gaussian.loc[gaussian["noise"] == noise, "sigma"].unique()) for noise in kinds}
    tails = [heavy[heavy["noise"] == noise].set_index("seed") for noise in kinds]
    # The smaller Gaussian scale is that of equal median kicks, the larger that of equal train accuracy.
    kicks, matches = (
        [
            gaussian[(gaussian["noise"] == noise) & (gaussian["sigma"] == scales[noise][place])].set_index("seed")
            for noise in kinds
        ]
        for place in (0, -1)
    )
    shares = quiet.set_index("seed")[SHARES].mean(axis=1)

    def three(numbers, form="{:.0f}"):
        return "{}, {} and {}".format(*map(form.format, numbers))

    unseen = table[table["along"] == "unseen"]
    strongest = unseen[unseen["sigma"] == unseen["sigma"].max()]
    loss = quiet.set_index("seed")["train_loss"]
    moved = unseen.groupby("sigma")[["seed", "train_loss"]].apply(
        lambda own: own.set_index("seed")["train_loss"] / loss - 1
    )
    seeds, ordered = [], []
    for name in ("ecg5000", "mnist", "cifar10", "cifar100"):
        other = read(name)
        seeds.append(other["seed"].nunique())
        tail = other[other["noise"].notna() & (other["alpha"] < 2)]
        tail = tail[tail["sigma"] == tail.groupby(["noise", "alpha"])["sigma"].transform("max")]
        gain = 100 * (tail[SHARES].mean(axis=1) - tail[AT_RANDOM].mean(axis=1))
        ordered += list(gain.groupby([tail["noise"], tail["alpha"]]).median())
    return {
        "others_seeds": f"{min(seeds)} to {max(seeds)}",
        "runs": str(len(table)),
        "seeds": str(table["seed"].nunique()),
        "failed": str(failures(table)),
        "neurons": str(*table["width"].unique()),
        "equal_gains": three(
            100 * (t["pruning_ratio"] - m["pruning_ratio"]).median() for t, m in zip(tails, matches, strict=True)
        ),
        "behind_plain": three(100 * (shares - t[SHARES].mean(axis=1)).median() for t in tails),
        "behind_kick": three(
            100 * (k[SHARES] - t[SHARES]).mean(axis=1).median() for t, k in zip(tails, kicks, strict=True)
        ),
        "noise_order": three(100 * (t[AT_RANDOM].mean(axis=1) - t[SHARES].mean(axis=1)).median() for t in tails),
        "apart": three(
            (
                100 * (m["train_accuracy"].median() - t["train_accuracy"].median())
                for t, m in zip(tails, matches, strict=True)
            ),
            "{:+.1f}",
        ),
        "norms": three((t["norm_median"].median() / quiet["norm_median"].median() for t in tails), "{:.1f}"),
        "decayed_norm": f"{quiet['norm_median'].median() / decayed['norm_median'].median():.1f}",
        "plain": percent(quiet["pruning_ratio"].median(), 0),
        "plain_accuracy": percent(quiet["test_accuracy"].median(), 0),
        "decay": f"{decayed['weight_decay'].unique().item():g}",
        "decayed": percent(decayed["pruning_ratio"].median(), 0),
        "decayed_accuracy": percent(decayed["test_accuracy"].median(), 0),
        "noise_ratios": reach([t["pruning_ratio"].median() for t in tails]),
        "noise_tenth": reach([t["test_accuracy_share_0.9"].median() for t in tails]),
        "unseen_costs": " and ".join(f"{lost:.1f}" for lost in unseen.groupby("sigma")["lost"].median()),
        "order_gain": reach(ordered, "{:+z.0f}"),
        "unseen_sigma": f"{unseen['sigma'].max():g}",
        "unseen_ratio": percent(strongest["pruning_ratio"].median(), 0),
        "unseen_most": f"{100 * moved.abs().max(axis=None):.1f}%",
        "gaussian_shared": percent(
            gaussian[gaussian["noise"] == "shared"].groupby("sigma")["pruning_ratio"].median().iloc[-1], 0
        ),
        "heavy_shared": percent(heavy.loc[heavy["noise"] == "shared", "pruning_ratio"].median(), 0),
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


def of_glance():
    """Numbers of the table at a glance: the paper's arms on four data sets, each noise at its strongest."""
    numbers = {}
    for title in ("ECG5000", "MNIST", "CIFAR-10", "CIFAR-100"):
        name = title.replace("-", "").lower()
        table = read(name)
        wide = table[table["width"] == table["width"].max()]
        tried = without_noise(read(f"choose-{name}"))
        middle = tried.assign(kept=tried[SHARES].mean(axis=1)).groupby("lr")["kept"].median()
        quiet = without_noise(wide)
        quiet = quiet[quiet["lr"] == middle.idxmax()]
        heavy = wide[wide["noise"].notna() & (wide["alpha"] < 2)]
        strong = heavy[heavy["sigma"] == heavy.groupby(["noise", "alpha"])["sigma"].transform("max")]
        ratios = strong.groupby(["noise", "alpha"])["pruning_ratio"].median()
        numbers |= {
            f"{title}, neurons": grouped(wide["width"].iloc[0]),
            f"{title}, test accuracy, plain SGD": percent(quiet["test_accuracy"].median(), 0),
            f"{title}, pruned, plain SGD": percent(quiet["pruning_ratio"].median(), 0),
            f"{title}, pruned, with noise": reach(ratios),
        }
    return numbers


def of_noise_types():
    """Numbers of the chapter on noise types: its rows on ECG5000, CIFAR-10 and CIFAR-100."""
    numbers = {}
    told = {"ratio": "{:.0%}", "usable": "{:.0%}", "lost": "{:.1f}", "accuracy": "{:.1%}"}
    for name in ("ecg5000", "cifar10", "cifar100"):
        table = read(name)
        table = table[table["width"] == table["width"].max()]  # narrower networks are there without noise only
        table = table.assign(ratio=table["pruning_ratio"], accuracy=table["test_accuracy"], lost=lost_points)
        quiet = without_noise(table)
        tried = without_noise(read(f"choose-{name}"))
        middle = tried.assign(kept=tried[SHARES].mean(axis=1)).groupby("lr")["kept"].median()
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


NODES, WEIGHTS = np.polynomial.legendre.leggauss(600)


def integral(function, end):
    """Of a smooth function from 0 to `end`."""
    return end / 2 * np.sum(WEIGHTS * function(end / 2 * (NODES + 1)), axis=-1)


def jumps_cdf(alpha, z):
    """P(Z <= z) for the sum Z of all Γ_j^(-2/α): a positive stable variable, whose law is Zolotarev's integral."""
    half = alpha / 2
    x = np.asarray(z, dtype=float) / gamma(1 - half) ** (1 / half)

    def inside(u):
        size = np.sin(half * u) ** half * np.sin((1 - half) * u) ** (1 - half) / np.sin(u)
        return np.exp(-((size / x[..., None] ** half) ** (1 / (1 - half))))

    return integral(inside, pi) / pi


def jumps_quantile(alpha, probability):
    """The z with P(Z <= z) = probability."""
    return np.exp(optimize.brentq(lambda log: jumps_cdf(alpha, np.exp(log)) - probability, -5, 30, xtol=1e-13))


def kick_cdf(alpha, x):
    """P(|X| <= x) for a symmetric stable X of index above 1, by Zolotarev's integral too."""
    power = alpha / (alpha - 1)
    x = np.asarray(x, dtype=float)

    def inside(u):
        return np.exp(-((x[..., None] * np.cos(u) / np.sin(alpha * u)) ** power) * np.cos((alpha - 1) * u) / np.cos(u))

    return 1 - 2 / pi * integral(inside, pi / 2)


def bulk(alpha, keep):
    """E[X²; |X| <= q] of a symmetric stable X, where |X| exceeds q with probability `keep`."""
    q = np.exp(optimize.brentq(lambda log: kick_cdf(alpha, np.exp(log)) - (1 - keep), -10, 30, xtol=1e-13))
    return q**2 * (1 - keep) - integral(lambda x: 2 * x * kick_cdf(alpha, x), q)


def kick_tail(alpha):
    """c in P(|X| > x) ~ c x^(-α) for a symmetric stable X."""
    return 2 * gamma(alpha) * sin(pi * alpha / 2) / pi


def needed_width(alpha, keep, error, probability=0.5):
    """Columns of pure Type-I noise that it takes to have the error with this probability, by the limit law."""
    size = kick_tail(alpha) ** (2 / alpha) * jumps_quantile(alpha, 1 - probability)
    return (bulk(alpha, keep) / error**2 / size) ** (alpha / (2 - alpha))


def prunable_noise(alpha, width, probability):
    """The share of columns of pure noise that squared error 0.1 lets go with this probability."""

    def excess(keep):
        return needed_width(alpha, keep, sqrt(0.1), probability) - width

    return 1 - optimize.brentq(excess, 1e-5, 0.9, xtol=1e-8)


def short(number, digits=1):
    """A number with so many digits, from 100 000 on and below a thousandth as 2\xa0·\xa010⁻⁵."""
    number = float(f"{number:.{digits}g}")
    if 1e-3 <= number < 1e5:
        return f"{number:g}"
    power = int(np.floor(np.log10(number)))
    sign = "⁻" if power < 0 else ""
    raised = "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(abs(power)))
    return f"{number / 10.0**power:.{digits - 1}f}\xa0·\xa010{sign}{raised}"


def grouped(number):
    """A whole number, one of five digits or more with its thousands apart, which a line does not break."""
    return f"{number:,}".replace(",", "\u00a0" if number > 9999 else "")


def slope(rows, x):
    """The exponent of x in the typical value: geometric means, a point a simulation and value of x."""
    points = rows.groupby(["key", x])["value"].agg(stats.gmean)
    return np.polyfit(np.log(points.index.get_level_values(x)), np.log(points), 1)[0]


def of_chaos():
    """Numbers of the chapter on propagation of chaos."""
    table = read("chaos")
    settings = ["alpha", "sigma"]
    distance = table[table["quantity"] == "distance"]
    slopes, errors = [], []
    for _, rows in distance.groupby(settings):
        points = rows.groupby("width")["value"].agg(["mean", "sem"])
        away = np.log(points.index.to_numpy())
        away = away - away.mean()
        weight = away / (away**2).sum()
        slopes.append(weight @ np.log(points["mean"]))
        errors.append(np.sqrt(((weight * points["sem"] / points["mean"]) ** 2).sum()))
    # The page has bootstrap intervals; with a thousand repeats those of the normal law contain the same.
    contained = np.abs(np.array(slopes) + 1 / 2) < stats.norm.ppf(0.995) * np.array(errors)
    widest = table[table["width"] == table["width"].max()]
    means = widest.groupby(["quantity", *settings])["value"].mean()
    gap = table[table["quantity"] == "reference_gap"].groupby(settings)["value"].mean() / sqrt(2)
    n = distance["width"].max()
    output = widest[widest["quantity"] == "output"].groupby(settings)["value"].var()
    single = means["output_square"] - means["output"] ** 2
    correlation = (n * output / single - 1) / (n - 1)  # of two neurons, from the variance of the mean of all
    clt = read("fluctuations")
    every = [*settings, "width"]
    of = {name: rows.set_index([*every, "repeat"])["value"] for name, rows in clt.groupby("quantity")}
    mean, variance = ({name: getattr(v.groupby(every), what)() for name, v in of.items()} for what in ("mean", "var"))
    widths = mean["distance"].index.get_level_values("width").to_numpy()
    quotients = np.sqrt(widths) * mean["distance"] / mean["limit_distance"]
    neuron = mean["output_square"] - mean["output"] ** 2
    times = widths / (widths - 1) * (widths * variance["output"] / neuron - 1)
    apart = times + 1 - variance["limit_output"] / variance["free_output"]
    return {
        "constant_low": percent(quotients.min()),
        "constant_high": percent(quotients.max()),
        "correlation_off": f"{apart.abs().max():.2f}",
        "clt_narrow": str(widths.min()),
        "limit_particles": grouped(clt["limit"].unique().item()),
        "low": f"{min(slopes):.3f}",
        "high": f"{max(slopes):.3f}",
        "contained": f"{contained.sum()} of {len(slopes)}",
        "narrowest": str(distance["width"].min()),
        "widest": str(n),
        "repeats": str(distance["repeat"].nunique()),
        "reference": grouped(table["reference"].unique().item()),
        "bias": percent((gap / means["distance"]).max(), 0),
        "correlation": short(correlation.abs().max()),
    }


def of_discretisation():
    """Numbers of the chapter on discretisation."""
    table = read("discretisation")
    finest, n = table["finest"].unique().item(), table["width"].max()
    table = table.assign(eta=1 / table["level"])
    wide, heavy = table[table["width"] == n], table[table["alpha"] < 2]

    def exponents(rows, quantity, x):
        cells = rows[rows["quantity"] == quantity].groupby("alpha")
        return {alpha: slope(own, x) for alpha, own in cells}

    fixed = [found - 1 / alpha for alpha, found in exponents(wide, "fixed", "eta").items()]
    by_eta = [found - 1 / alpha for alpha, found in exponents(heavy, "particles", "eta").items()]
    by_n = {alpha: found - 1 / alpha for alpha, found in exponents(heavy, "particles", "width").items()}
    grid = exponents(wide[wide["eta"] >= 16 / finest], "grid", "eta").values()
    sup = wide[(wide["quantity"] == "supremum") & (wide["alpha"] < 2)]
    sup = sup[sup["level"] == sup["level"].max()].set_index(["alpha", "repeat"])["value"]
    jump = wide[wide["quantity"] == "jump"].set_index(["alpha", "repeat"])["value"]
    ratios = (sup / jump.reindex(sup.index)).groupby("alpha").median()
    batches = read("batches")
    batches = batches[batches["level"] <= batches["finest"] / 16].assign(eta=lambda rows: 1 / rows["level"])
    orders = [
        [slope(rows, "eta") for _, rows in own[own["quantity"] == quantity].groupby("alpha")]
        for own, quantity in ((batches[batches["batch"] == 0], "grid"), (batches[batches["batch"] == 1], "end"))
    ]
    return {
        "whole": reach(orders[0], "{:.2f}"),
        "single": reach(orders[1], "{:.2f}"),
        **{"fixed_low": f"{min(fixed):+z.2f}", "fixed_high": f"{max(fixed):+z.2f}"},
        **{"eta_low": f"{min(by_eta):+z.2f}", "eta_high": f"{max(by_eta):+z.2f}"},
        **{"n_low": f"{min(by_n.values()):+z.2f}", "n_high": f"{max(by_n.values()):+z.2f}"},
        "lightest": f"{max(by_n):g}",
        "n_theory": f"{1 / max(by_n):.2f}",
        **{"grid_low": f"{min(grid):.2f}", "grid_high": f"{max(grid):.2f}"},
        **{"sup_low": f"{min(ratios):.2f}", "sup_high": f"{max(ratios):.2f}"},
        "repeats": str(table["repeat"].nunique()),
        "finest": str(finest),
        "widest": str(n),
        "small": f"{64 ** (1.5 / 2 + 1):.0f}",
        "million": short(4096 ** (1.5 / 2 + 1), 2),
    }


def of_required_width():
    """Numbers of the chapter on the required width: those of the law, and plain SGD; the others are simulated there."""
    table = read("ecg5000")
    wide = table[table["width"] == table["width"].max()]
    quiet = without_noise(wide)
    middle = quiet.assign(kept=quiet[SHARES].mean(axis=1)).groupby("lr")["kept"].median()
    shared = wide[(wide["noise"] == "shared") & (wide["alpha"] == wide["alpha"].min())]
    strongest = shared[shared["sigma"] == shared["sigma"].max()]
    keep = 1 - strongest["pruning_ratio"].median()
    return {
        **{f"at{alpha * 100:.0f}": short(needed_width(alpha, 0.1, 0.1), 2) for alpha in (1.2, 1.35, 1.5, 1.75, 1.9)},
        "dot": f"{needed_width(wide['alpha'].min(), keep, sqrt(0.1)):.0f}",
        "tenth": short(needed_width(wide["alpha"].min(), 0.1, sqrt(0.1)), 2),
        "tenth190": short(needed_width(1.9, 0.1, sqrt(0.1)), 2),
        "plain": percent(quiet.loc[quiet["lr"] == middle.idxmax(), "pruning_ratio"].median(), 0),
    }


def of_averaging():
    """Numbers of the chapter on averaged kicks, but for shares pruned, which are predicted there."""
    table = read("averaging")
    scales = table[(table["quantity"] == "scale") & (table["alpha"] < 2)]
    off = [slope(rows, "clients") + 1 - 1 / alpha for (alpha, _), rows in scales.groupby(["alpha", "noise"])]

    def balance(alpha, width=2000, inputs=140, scale=0.1):
        tail = 2**alpha * gamma((inputs + alpha) / 2) / gamma(inputs / 2) / gamma(1 - alpha / 2)  # of Type-III noise
        kicks = scale * width ** (1 / alpha - 1 / 2) * tail ** (1 / alpha) * sqrt(jumps_quantile(alpha, 0.5))
        return (kicks * sqrt(3)) ** (alpha / (alpha - 1))  # torch's start has a mean square norm of a third

    return {
        "off": f"{max(map(abs, off)):.3f}",
        "factor10": f"{10 ** (1 / 1.5 - 1):.2f}",
        "factor100": f"{100 ** (1 / 1.5 - 1):.2f}",
        "gaussian100": f"{1 / sqrt(100):.2f}",
        "heavy100": f"{100**0.25:.1f}",
        "wider120": f"{10**0.5:.1f}",
        "wider150": f"{10**2}",
        "balance150": f"{balance(1.5):.0f}",
        "balance175": f"{balance(1.75):.0f}",
        "layers": grouped(table["repeat"].nunique()),
        "neurons": str(table["width"].unique().item()),
        "entries": str(table["inputs"].unique().item()),
        "fewest": str(table["clients"].min()),
        "most": grouped(table["clients"].max()),
    }


def of_assumptions():
    """Numbers of the chapter on what experiments break: it says three, the rest are verdicts."""
    distance = read("assumptions").query("quantity == 'distance' and activation == 'relu'")
    wide = distance[distance["width"] >= 128].groupby("alpha")
    off = [slope(rows, "width") + 1 - 1 / alpha for alpha, rows in wide]
    broken = read("ablation").query("quantity == 'error' and activation == 'relu' and trained and summed")
    return {
        "slow": f"{slope(distance[distance['alpha'] == 1.3], 'width'):.2f}",
        "off": f"{max(map(abs, off)):.2f}",
        "lost": f"{(~np.isfinite(broken['value'])).sum()} of {len(broken)}",
    }


def columns(alpha, spread, shape):
    """Squared norms of columns of a normal start plus Type-III noise in two dimensions; A by Kanter's formula."""
    draws, index = np.random.default_rng(0), alpha / 2
    u, w = pi * draws.random(shape), draws.exponential(size=shape)
    power = (1 - index) / index
    a = np.sin(index * u) / np.sin(u) ** (1 / index) * (np.sin((1 - index) * u) / w) ** power
    return (spread**2 + 2 * a) * draws.chisquare(2, shape)


def below(squares, share):
    """The mean of those below this quantile, the others as 0."""
    return squares[squares <= np.quantile(squares, share)].sum() / squares.size


def of_compressibility():
    """Numbers of the chapter on compressibility."""
    error = {name: read(name).query("quantity == 'error'") for name in ("rate", "trained", "limit-law")}
    off = {
        name: [slope(rows, "width") - 1 / 2 + 1 / alpha for alpha, rows in error[name].groupby("alpha")]
        for name in ("rate", "trained")
    }
    law = error["limit-law"]
    apart = []
    for alpha, rows in law.groupby("alpha"):
        top = bulk(alpha, 0.1) * kick_tail(alpha) ** (-2 / alpha)
        value = rows["width"] ** (2 / alpha - 1) * rows["value"] ** 2
        apart.append(stats.kstest(value, lambda x, alpha=alpha, top=top: 1 - jumps_cdf(alpha, top / x)).statistic)
    start = read("roles").query("spread == 5 and sigma == 1 and horizon == 1")
    n, alpha, inputs = start["width"].min(), start["alpha"].unique().item(), start["inputs"].unique().item()
    assert (inputs, *start["keep"].unique()) == (2, 0.1)
    wide = columns(alpha, 5.0, (40_000, n))
    foretold = sqrt(n * below(wide, 1 - round(0.1 * n) / n) / np.median(wide.sum(1)))
    tail = 2**alpha * gamma((inputs + alpha) / 2) / gamma(inputs / 2) / gamma(1 - alpha / 2)  # of Type-III noise
    jumps = tail ** (2 / alpha) * n ** (2 / alpha - 1) * jumps_quantile(alpha, 0.5)
    seen = start[(start["width"] == n) & (start["quantity"] == "error")]
    sure = read("surely").pivot(index=["key", "repeat"], columns="quantity", values="value")
    settings = read("surely").drop_duplicates("key")
    tables = [read(name).query("alpha == 1.5 and along == 'ones'") for name in ("width", "ecg5000", "ecg5000-random")]
    both = pd.concat([rows.assign(own=place == 0) for place, rows in enumerate(tables)])
    both["left"] = (both["width"] - both["pruning_ratio"] * both["width"]).round()
    both["fell"] = both["test_accuracy_pruned"] < both["test_accuracy"] - 0.1

    def counted(chosen):
        rows = both.query(chosen)
        return f"{rows['fell'].sum()} of {len(rows)}"

    def fell(width, column):
        return str((tables[0].query(f"width == {width}").eval(f"test_accuracy - `{column}`") > 0.1).sum())

    return {
        "few": counted("left <= 20"),
        "some": counted("left > 20 and left <= 100"),
        "many": counted("left > 100"),
        "thin": counted("own and width <= 300 and left > 20 and left <= 100"),
        "thick": counted("own and width > 300 and left > 20 and left <= 100"),
        "share_100_1": fell(100, "test_accuracy_share_0.9"),
        "share_100_3": fell(100, "test_accuracy_share_0.7"),
        "share_300_1": fell(300, "test_accuracy_share_0.9"),
        "share_300_3": fell(300, "test_accuracy_share_0.7"),
        "share_1000_1": fell(1000, "test_accuracy_share_0.9"),
        "tried": grouped(len(sure)),
        "settings": str(len(settings)),
        "beyond": str((sure["error"] > sure["bound"]).sum()),
        "narrow_sure": str(settings["width"].min()),
        "wide_sure": grouped(settings["width"].max()),
        "most_steps": grouped(settings["steps"].max()),
        "sharp": percent((sure["bound"] / sure["error"]).min() - 1),
        "generous": f"{(sure['drift'] / sure['moved']).median():.1f}",
        "pure": f"{max(map(abs, off['rate'])):.3f}",
        "after": f"{max(map(abs, off['trained'])):.3f}",
        "widest": grouped(error["rate"]["width"].max()),
        "trained_widest": grouped(error["trained"]["width"].max()),
        "d_most": f"{max(apart):.3f}",
        "d_sure": f"{max(apart) + sqrt(log(40) / 2 / law['repeat'].nunique()):.3f}",
        "matrices": str(law["repeat"].nunique()),
        "columns": grouped(law["width"].unique().item()),
        "narrow": str(n),
        "seen": f"{seen['value'].median():.2f}",
        "without": f"{sqrt(below(columns(alpha, 0.0, (10**6,)), 0.9) / jumps):.2f}",
        "foretold": f"{foretold:.2f}",
    }


def of_performance():
    """Numbers of the chapter on speed that are about results: what coarser products do to them."""
    table = read("bfloat16")
    assert table["seed"].nunique() == 12  # of so few the interval of each of 18 medians at once goes from end to end
    ends = {}
    for column in ("test_accuracy", "test_accuracy_pruned", "pruning_ratio"):
        by_seed = table.pivot(index=["noise", "lr", "seed"], columns="products", values=column)
        ends[column] = f"{100 * (by_seed['bfloat16'] - by_seed['float32']).abs().max():.1f}"
    return {
        "rounded_seeds": "12",
        "rounded_accuracy": ends["test_accuracy"],
        "rounded_after": ends["test_accuracy_pruned"],
        "rounded_ratio": ends["pruning_ratio"],
    }


def of_shipping():
    """Numbers of the chapter on what one would ship."""
    tables = {name: read(f"ship-{name}") for name in ("ecg5000", "mnist", "cifar10")}
    numbers = {"trainings": str(sum(table["key"].nunique() for table in tables.values()))}
    numbers["seeds"] = "{}, {} and {}".format(*(table["seed"].nunique() for table in tables.values()))
    for name, table in tables.items():
        numbers |= {f"{what}_{name}": number for what, number in of_files(table).items()}
    return numbers


def of_files(table):
    """What the chapter says of one table: the smallest file of each contender that is accurate enough."""
    table["prune"] = table["prune"].astype(bool)
    cells = table.pivot(index=["key", "level"], columns="quantity", values="value").reset_index()
    fields = ["key", "noise", "sigma", "weight_decay", "group_lasso", "width", "prune", "seed"]
    cells = cells.merge(table[fields].drop_duplicates("key"), on="key")
    quiet = (cells["sigma"] == 0) & (cells["weight_decay"] == 0) & (cells["group_lasso"] == 0)
    whole = cells[quiet & cells["prune"] & (cells["level"] == cells["width"])].set_index("seed")
    enough = whole["accuracy"].median() - 0.01

    in_eight_bits = cells[~cells["prune"] & (cells["int8"] >= enough - 1e-9)]

    def least(rows, way):
        """The median over seeds; where no file is accurate enough, the whole network of plain SGD counts."""
        good = rows[rows[way] >= enough - 1e-9].groupby("seed")["bytes"].min()
        return good.reindex(whole.index).fillna(whole["bytes"]).median()

    def best(rows, strength):
        """That of the strength and way where it is the smallest."""
        groups = [own for _, own in rows[rows["prune"]].groupby(strength)]
        return min(least(own, way) for own in groups for way in ("accuracy", "tuned"))

    return {
        "plain": in_bytes(best(cells[quiet], "sigma")),
        "noise": in_bytes(best(cells[cells["sigma"] > 0], ["noise", "sigma"])),
        "lasso": in_bytes(best(cells[cells["group_lasso"] > 0], "group_lasso")),
        "scratch": in_bytes(least(cells[~cells["prune"]], "tuned")),
        "small_int8": in_bytes(in_eight_bits.groupby("seed")["int8_bytes"].min().median()),
        "whole_bytes": in_bytes(whole["bytes"].median()),
        "whole_accuracy": percent(whole["accuracy"].median()),
    }


def in_bytes(count):
    """A number of bytes as the chapter writes it."""
    if count < 1000:
        return f"{count:.0f} B"
    return f"{count / 1000:.3g} kB" if count < 1e6 else f"{count / 1e6:.3g} MB"


CHAPTERS = {
    "assumptions": of_assumptions,
    "averaging": of_averaging,
    "chaos": of_chaos,
    "cifar": of_cifar,
    "compressibility": of_compressibility,
    "deeper": of_deeper,
    "discretisation": of_discretisation,
    "ecg5000": of_ecg5000,
    "glance": of_glance,
    "heavy_tail": of_heavy_tail,
    "mnist": of_mnist,
    "noise_types": of_noise_types,
    "performance": of_performance,
    "required_width": of_required_width,
    "shipping": of_shipping,
    "vgg": of_vgg,
    "width": of_width,
}

#: Chapters that say fewer than ten numbers that follow from a table or the law.
FEW = {"assumptions": 3, "performance": 4, "required_width": 9}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_numbers_of_a_chapter_come_out_again(chapter):
    texts = said(chapter)
    again = CHAPTERS[chapter]()
    assert len(again) >= FEW.get(chapter, 10)
    assert {name: texts[name] for name in again} == again
