"""Numbers in the text of chapters, computed again from the committed tables with plain pandas and no code of ours."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from .conftest import ROOT

pytestmark = pytest.mark.pages

TABLES = ROOT / "data" / "results" / "workstation"
SHARES = [f"test_accuracy_share_0.{tenth}" for tenth in range(1, 10)]


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


CHAPTERS = {"ecg5000": of_ecg5000, "mnist": of_mnist}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_numbers_of_a_chapter_come_out_again(chapter):
    texts = said(chapter)
    again = CHAPTERS[chapter]()
    assert len(again) >= 10
    assert {name: texts[name] for name in again} == again
