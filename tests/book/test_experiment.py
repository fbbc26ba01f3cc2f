"""What a page on a data set says of its tables, from made-up ones and from those of the repository."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from made_up_results import diverged, measured, rivalled, table

from heavytail import Run
from heavytail.book import experiment
from heavytail.evidence import arms, claims
from heavytail.lab import results

RESULTS = Path(__file__).resolve().parents[2] / "data" / "results"
NAMES = ("ecg5000", "mnist", "cifar10", "cifar100")  # that have every arm


def searched():
    base = Run(dataset="ecg5000", width=9, validation=50, lr=0.01)
    runs = {base: 0.9, replace(base, lr=0.1): 0.8}
    runs |= {replace(base, noise="shared", alpha=1.75, sigma=sigma): 0.5 for sigma in (0.1, 0.2)}
    return table(
        (replace(run, seed=seed), measured(share_accuracy=score)) for run, score in runs.items() for seed in (1, 2)
    )


def made():
    law = results.read_table(RESULTS / "quick" / "untrained-ecg5000.parquet")
    return experiment.Experiment("ecg5000", "quick", rivalled(True, range(1, 13)), "quick", searched(), "quick", law)


def test_plain_sgd_stands_at_the_step_size_that_the_search_chose_and_each_arm_at_one_strength():
    page = made()
    assert page.step == 0.01
    strong, gentle = (rows[rows["width"] == 100] for rows in (page.strong, page.gentle))
    for rows in (strong, gentle):
        assert set(rows.loc[arms.named(rows) == arms.PLAIN, "lr"]) == {0.01}
    assert set(strong["group_lasso"]) == {0.0, 1.0}
    assert set(gentle["group_lasso"]) == {0.0, 0.1}
    assert set(strong["alpha"].dropna()) == {1.5, 1.75, 2.0}
    assert set(gentle["alpha"].dropna()) == {1.75}  # the others were not searched for


def test_an_arm_of_one_strength_at_two_step_sizes_stands_at_that_of_the_rule_of_its_table():
    """As weight decay on CIFAR-100, which the two rules gave one strength."""
    page = made()
    decay, base = page.table["weight_decay"] > 0, Run(dataset="ecg5000", width=9, validation=50, weight_decay=0.5)
    other = page.table[decay].assign(weight_decay=0.5, lr=0.3)
    one = page.table.assign(weight_decay=page.table["weight_decay"].where(~decay, 0.5))
    of_decay = [
        (replace(base, lr=lr, seed=seed), measured(share_accuracy=score, pruning_ratio=ratio))
        for lr, score, ratio in ((page.table.loc[decay, "lr"].iloc[0], 0.9, 0.1), (0.3, 0.89, 0.9))
        for seed in (1, 2)
    ]
    both = replace(
        page,
        table=pd.concat([one, other], ignore_index=True),
        search=pd.concat([page.search, table(of_decay)], ignore_index=True),
    )
    for rows, rule in ((both.gentle, "most accurate"), (both.strong, "strongest")):
        (lr,) = rows.loc[arms.named(rows) == arms.DECAY, "lr"].unique()
        assert lr == both.rules[rule].set_index("arm").loc[arms.DECAY, "lr"]
    assert both.gentle.loc[arms.named(both.gentle) == arms.DECAY, "lr"].max() < 0.3
    assert len(both.strong[arms.named(both.strong) != arms.DECAY]) == len(
        page.strong[arms.named(page.strong) != arms.DECAY]
    )


def test_medians_are_those_of_wide_networks_by_arm():
    page = made()
    assert set(page.medians["width"]) == {100}
    assert page.medians.loc["shared, α = 1.75", "attacked"] == pytest.approx(0.65, abs=1e-6)
    assert list(page.of_type("shared").index) == ["shared, α = 1.5", "shared, α = 1.75"]


def test_the_plain_sgd_of_the_page_is_that_of_its_search_also_where_another_is_better_in_the_table():
    page = made()
    fast = replace(page, search=page.search.assign(lr=page.search["lr"].map({0.01: 0.1, 0.1: 0.01})))
    for held, lr in ((page, 0.01), (fast, 0.1)):
        assert held.step == lr
        assert set(held.paper.loc[held.paper["noise"].isna(), "lr"]) == {lr}


def test_the_arms_that_the_paper_has_are_plain_sgd_of_the_search_and_each_noise_at_its_most():
    page = made()
    noisy = page.table[page.table["noise"].notna() & (page.table["alpha"] == 1.75)]
    with_mild = replace(page, table=pd.concat([page.table, noisy.assign(sigma=noisy["sigma"] / 2)], ignore_index=True))
    assert results.runs_of(with_mild.paper) == results.runs_of(page.paper)
    assert set(page.paper["noise"].fillna("none")) == {"none", "shared", "entrywise", "isotropic"}
    assert (page.paper[["weight_decay", "group_lasso"]] == 0).all(axis=None)
    assert not (page.paper["alpha"] == 2).any()


def test_a_run_that_diverged_guesses_in_the_medians_of_the_page():
    page = made()
    accuracies = [name for name in page.table if name.startswith("test_accuracy")]
    lost = page.table.copy()
    of_arm = lost["noise"].eq("shared") & lost["alpha"].eq(1.75)
    lost.loc[of_arm, "status"], lost.loc[of_arm, accuracies] = "diverged", float("nan")
    middle = replace(page, table=lost).medians.loc["shared, α = 1.75"]
    assert (middle["test_accuracy"], middle["attacked"]) == (0.5, 0.5)


def test_every_claim_of_the_page_is_held_once_against_its_own_table():
    page = made()
    wanted = [
        claim
        for claim in claims.CLAIMS
        if claim.table in ("ecg5000", "untrained-ecg5000") and claim.measure is not None
    ]
    assert [entry.claim for entry in page.entries.values()] == wanted
    assert not any(name.endswith("ecg5000") for name in page.entries)
    for entry in page.entries.values():
        assert {cell.seeds for cell in entry.cells} <= ({100} if entry.claim.table.startswith("untrained") else {12})


def test_what_a_page_says_are_texts_and_counts():
    said = experiment.words(made())
    assert said["step"] == "0.01"
    assert (said["plain"], said["low"], said["lasso"]) == ("10.0%", "50%", "20.0%")
    assert said["shared_attacked"] == "65% to 65%"
    assert said["furthest"].startswith("Type-")
    assert 0 < int(said["furthest_after"][:-1]) <= int(said["furthest_before"][:-1]) <= 100
    assert [said[name] for name in ("strengths", "set_aside", "disturbed", "tuned_steps")] == [2, "50", "60", 7]
    assert said["noise_compresses"].startswith("✓\u00a0holds (all 6 cells; 12 seeds; ")
    assert all(isinstance(value, (str, int)) for value in said.values())


def test_a_data_set_without_one_of_its_tables_is_refused_by_its_name(tmp_path):
    (tmp_path / "quick").mkdir()
    results.write_table(rivalled(True, (1, 2)), tmp_path / "quick" / "ecg5000.parquet")
    with pytest.raises(ValueError, match=r"has no table choose-ecg5000: make it by `heavytail sweep "):
        experiment.read(tmp_path, "ecg5000")


def test_what_a_search_chose_is_shown_with_its_rule_and_a_strength_only_where_there_is_one():
    base = Run(dataset="ecg5000", width=9, validation=50, lr=0.01)
    runs = [base, replace(base, weight_decay=0.3)]
    search = table((run, measured(share_accuracy=0.8, pruning_ratio=0.25)) for run in runs)
    shown = experiment.choices({"most accurate": arms.chosen(search), "strongest": arms.strongest(search)})
    assert shown["rule"].tolist() == ["most accurate"] * 2 + ["strongest"] * 2
    assert shown[["arm", "strength"]].drop_duplicates().values.tolist() == [["plain SGD", ""], ["weight decay", "0.3"]]
    assert shown.loc[shown["arm"] == "plain SGD", ["η", "accuracy %", "before %", "pruned %"]].values.tolist() == [
        ["0.01", "80.0", "95.0", "25.0"]
    ] * 2  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_tables_of_a_data_set_with_every_arm_are_read_at_their_largest_profile(name):
    page = experiment.read(RESULTS, name)
    assert (page.profile, page.searched_in, page.law_in) == ("workstation",) * 3
    assert set(page.search["dataset"]) == set(page.table["dataset"]) == {name}
    assert not set(page.search["seed"]) & set(page.table["seed"])
    assert (page.strong.groupby(["width", arms.named(page.strong)])["sigma"].nunique() <= 2).all()  # Gaussian has two
    assert {entry.profile for entry in page.entries.values()} == {"workstation"}


def test_a_variant_has_the_claims_of_its_table_by_the_names_of_those_it_stands_beside():
    page, other = made(), experiment.variant(RESULTS, "ecg5000-random")
    assert set(other.table["dataset"]) == {"ecg5000-random"}
    assert {entry.claim.table for entry in other.entries.values()} == {"ecg5000-random"}
    assert {entry.profile for entry in other.entries.values()} == {other.profile}
    shown = experiment.verdicts(page, other, "there", "here")
    assert "noise-compresses" in other.entries
    assert shown["claim"].tolist() == list(other.entries)
    assert shown["there"].tolist() == [entry.verdict for entry in other.entries.values()]
    assert shown["here"].tolist() == [entry.verdict for entry in experiment.alike(page, other).values()]
    assert shown["there"].tolist() != shown["here"].tolist()


def test_a_variant_without_a_table_is_refused_by_its_name(tmp_path):
    with pytest.raises(ValueError, match=r"has no table mnist-stopped: make it by `heavytail sweep data/grids/mnist-s"):
        experiment.variant(tmp_path, "mnist-stopped")


def test_runs_that_stop_are_shown_with_how_many_did_and_in_how_many_steps_and_noise_at_its_strongest():
    base = Run(dataset="ecg5000", width=9, lr=0.01, stop_accuracy=0.9)
    noisy = [replace(base, noise="shared", alpha=1.5, sigma=sigma) for sigma in (0.1, 0.2)]
    runs = [replace(run, seed=seed) for run in (base, replace(base, lr=0.1), *noisy) for seed in (1, 2, 3)]
    rows = [(run, measured(steps=10 * run.seed, status="converged" if run.seed < 3 else "max_steps")) for run in runs]
    shown = experiment.stopped_form(table([*rows, (replace(runs[-1], seed=4), diverged())]))
    assert shown[["arm", "η", "σ"]].values.tolist() == [
        ["Type-I, α = 1.5", "0.01", "0.2"], ["plain SGD", "0.01", ""], ["plain SGD", "0.1", ""]
    ]  # fmt: skip
    assert shown["stopped"].tolist() == ["2 of 4", "2 of 3", "2 of 3"]
    assert shown["steps"].tolist()[1:] == ["20 (10 to 30)"] * 2
    assert (
        shown[["test %", "kept 0.1", "pruned %", "its twin %"]].values.tolist()[1:]
        == [["95.0", "90.0", "10.0", "10.0"]] * 2
    )
    assert float(shown["test %"][0]) == 95.0  # the median of three and a guess


def test_a_run_that_diverged_guesses_where_runs_stop():
    base = Run(dataset="ecg5000", width=9, lr=0.01, stop_accuracy=0.9)
    shown = experiment.stopped_form(table((replace(base, seed=seed), diverged()) for seed in (1, 2)))
    assert shown[["test %", "kept 0.1", "stopped"]].values.tolist() == [["50.0", "50.0", "0 of 2"]]


def test_what_a_page_says_of_runs_that_stop_is_measured_at_the_step_size_of_each_noise():
    base = Run(dataset="ecg5000", width=100, lr=0.01, stop_accuracy=0.9, eval_every=5)
    fast = replace(base, lr=0.1)
    noisy = [(replace(base, noise="shared", alpha=1.5, sigma=sigma), sigma * 200, 0.6, 0.9) for sigma in (0.1, 0.2)]
    noisy.append((replace(fast, noise="entrywise", alpha=1.5, sigma=0.1), 15, 0.4, 0.9))
    numbers = [(base, 20, 0.9, 0.92), (fast, 10, 0.8, 0.92), *noisy]
    rows = [
        (
            replace(run, seed=seed),
            measured(steps=steps, share_accuracy=score, test_accuracy=whole, status="converged"),
        )
        for run, steps, score, whole in numbers
        for seed in range(1, 13)
    ]
    named = "ratio-is-that-of-the-twin"
    claim = next(claim for claim in claims.CLAIMS if claim.id == f"{named}-ecg5000-random")
    stopped = table(rows)
    other = experiment.Variant("quick", stopped, {named: claims.hold(claim, stopped, "quick")})
    said = experiment.stopped_words(made(), other)
    counts = {"every": 5, "seeds": 12, "reached": "60 of 60"}
    shares = {"low": "10%", "high": "10%", "tenth": "40% to 60%", "plain_tenth": "90%"}
    more = {"more": "1.50 to 2.00", "gain": "5.0 to 5.0", "plain_gain": "3.0"}  # 95% in the table of fixed steps
    assert {name: said[f"stop_{name}"] for name in counts | shares | more} == counts | shares | more
    assert str(said["stop_ratio_is_that_of_the_twin"]).startswith("✓\u00a0holds (all 2 cells")
    assert str(said["stop_fixed_ratio_is_that_of_the_twin"]).startswith(
        "✓\u00a0holds (all 3 cells"
    )  # of 6: at 1.5 alone
    assert made().entries[named].cells != experiment.alike(made(), other)[named].cells
