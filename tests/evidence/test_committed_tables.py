"""The tables in the repository: they hold what their grids list, and a number is made again by its record."""

from __future__ import annotations

import itertools
import re
import tomllib
from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from heavytail import Run, _sampler, train
from heavytail.evidence import arms, controls, federated, shipping
from heavytail.lab import results, simulations
from heavytail.lab.runs import read_grid

DATA = Path(__file__).resolve().parents[2] / "data"
TABLES = sorted((DATA / "results").glob("*/*.parquet"))
# Another machine, or another number of threads, rounds sums in another order, and 300 steps carry that on.
TOLERANCE = 0.02
# Type-I kicks make the digits' training unstable, and then rounding grows: sums in another order moved test accuracy
# by 0.13 on such a row. Its pruning ratio is decided by the kicks, which are the same bits everywhere.
STEADY = {"shared": ["pruning_ratio"]}
# The steps of a convolutional network carry it on as far: from one thread to two, after 500, a loss moved by 0.1.
STEADY_OF_VGG = ["pruning_ratio", "norm_median"]
STEADY_NORMS = ["pruning_ratio", "norm_median", "norm_rms"]
MEASURES = [
    "train_loss",
    "train_accuracy",
    "test_accuracy",
    "pruning_ratio",
    "train_accuracy_pruned",
    "test_accuracy_pruned",
]
# A simulation has few steps and rounding hardly grows: from one thread to two no number moved by one part in 10^5.
SIMULATED_TOLERANCE = 1e-3


def grid_of(path):
    return DATA / "grids" / f"{path.stem}.toml"


@cache
def has_study(path):
    """Whether a table is of simulations: their grids name a study."""
    return "study" in tomllib.loads(grid_of(path).read_text("utf-8"))


def tables(profile=None, *, simulated):
    """The committed tables of runs, or those of simulations."""
    chosen = [path for path in TABLES if has_study(path) == simulated]
    chosen = [path for path in chosen if profile in (None, path.parent.name)]
    return pytest.mark.parametrize("path", chosen, ids=[f"{path.parent.name}-{path.stem}" for path in chosen])


def clean(table):
    return not table["code"].str.contains("dirty").any()


def diverges(table):
    """Rows that may be NaN: of networks with all assumptions broken at once, whose drift grows with the weights so that
    no step is small, and accuracies of what one would ship, of a training or a tuning that blew up.
    """
    if "tune_steps" in table:
        blown = table.loc[(table["quantity"] == "train_accuracy") & table["value"].isna(), "key"]
        lost = table["key"].isin(blown) & table["quantity"].isin(["train_accuracy", "accuracy", "int8"])
        return (lost | (table["quantity"] == "tuned")).to_numpy()
    if "activation" not in table:
        return np.zeros(len(table), dtype=bool)
    return ((table["activation"] == "relu") & table["trained"] & table["summed"]).to_numpy()


read = cache(results.read_table)  # three tests are about each table


@tables(simulated=False)
def test_a_table_holds_exactly_the_runs_of_its_grid(path):
    table = read(path)
    assert results.runs_of(table) == read_grid(grid_of(path), path.parent.name)
    assert list(table["key"]) == [run.key for run in results.runs_of(table)]
    assert list(table.columns) == [field.name for field in fields(Run)] + list(results.COLUMNS)
    assert table["verified"].all(), "a committed table must come from the official data"
    assert set(table["sampler"]) == {_sampler.SAMPLER_VERSION}, "a committed table is drawn by another sampler"
    assert clean(table), "a committed table must come from committed code"


@tables(simulated=True)
def test_a_table_holds_exactly_the_simulations_of_its_grid(path):
    table = read(path)
    wanted = simulations.read_grid(grid_of(path), path.parent.name)
    assert simulations.simulations_of(table) == wanted
    assert list(table["key"].unique()) == [simulation.key for simulation in wanted]
    names = [field.name for field in fields(wanted[0])]
    assert list(table.columns) == ["study", *names, *(name for name in results.SIMULATED if name != "study")]
    assert set(table["study"]) == {wanted[0].study}
    assert clean(table), "a committed table must come from committed code"


@tables(simulated=True)
def test_a_table_of_simulations_has_every_number_of_every_repeat_once_and_finite_unless_all_is_broken(path):
    table = read(path)
    assert np.isfinite(table.loc[~diverges(table), "value"]).all()
    table = table[table["quantity"] != "reference_gap"].assign(repeats=lambda rows: rows.get("repeats", 1))
    numbers = table.groupby(["key", "quantity", "level"])
    repeats, wanted = numbers["repeat"], numbers["repeats"]
    assert (repeats.min() == 0).all()
    assert (repeats.max() == wanted.first() - 1).all()
    assert (repeats.nunique() == wanted.first()).all()
    assert (repeats.size() == wanted.first()).all()


@tables("quick", simulated=True)
@pytest.mark.long
def test_the_cheapest_simulation_of_a_quick_table_is_made_again_by_its_record(path):
    table = read(path)
    if "tune_steps" in table:
        pytest.skip("networks that see data are made again below")
    key = table.loc[table["seconds"].idxmin(), "key"]
    (record,) = [simulation for simulation in simulations.simulations_of(table) if simulation.key == key]
    rows, again = table[table["key"] == key].reset_index(drop=True), simulations.simulate([record])
    names = ["key", "quantity", "level", "repeat"]
    assert again[names].to_dict("list") == rows[names].to_dict("list")
    np.testing.assert_allclose(again["value"], rows["value"], rtol=SIMULATED_TOLERANCE, atol=1e-9)


@pytest.mark.parametrize("noise", [None, "shared", "entrywise", "isotropic"])
@pytest.mark.long
def test_a_committed_row_is_made_again_by_its_run(noise):
    table = results.read_table(DATA / "results" / "quick" / "digits.parquet")
    pairs = zip(results.runs_of(table), table.to_dict("records"), strict=True)
    run, row = next((run, row) for run, row in pairs if run.noise == noise and run.seed == 49)
    again = train(run).table.to_dict("records")[0]
    for column in STEADY.get(noise, MEASURES):
        assert abs(again[column] - row[column]) <= TOLERANCE, column
    assert again["status"] == row["status"]


#: Of what one would ship: the table, and the search for its step sizes.
KINDS = ("ship", "choose-ship")
GRIDS_TO_SHIP = sorted((DATA / "grids").glob("*ship-*.toml"))

# Tables to make rows of again: quick ones, and a large one a chapter. Two rows each, first seed: the narrowest network
# at the heaviest tail of the noise named and the widest at the lightest, or of those that took long the widest that did
# not. Of the controls without noise the first is the run with weight decay. In the large tables the first is for
# `make slow`.
SPOTS = [
    ("quick", "mnist", "entrywise"),
    ("quick", "controls", None),
    ("workstation", "mnist", "isotropic"),
    ("quick", "cifar10", "isotropic"),
    ("quick", "cifar100", "entrywise"),
    ("workstation", "cifar100", "entrywise"),
    ("quick", "ecg5000", "isotropic"),
    ("workstation", "ecg5000", "entrywise"),
    ("quick", "ecg5000-random", "shared"),
    ("quick", "deeper", "entrywise"),
    ("workstation", "deeper", "entrywise"),
    ("quick", "vgg", "isotropic"),
    ("workstation", "vgg", None),
    ("quick", "width", "shared"),
    ("workstation", "width", "entrywise"),
]
DATA_OF = {"ecg5000-random": "ecg5000", "controls": "mnist", "deeper": "mnist", "vgg": "cifar10", "width": "ecg5000"}


LONG = 5  # seconds that a row took
# Both of whose rows are for `make slow`, and the first of the quick ones: 3072 weights a neuron and a thousand steps,
# 1600 steps of eight convolutions.
LONG_TABLES = ("cifar100", "vgg")
CHAOTIC = ("workstation", "vgg")  # and slow: one row of it


def spots():
    """Every table with both of its rows."""
    for profile, name, noise in SPOTS:
        for place in ("last",) if (profile, name) == CHAOTIC else ("first", "last"):
            long = (profile == "workstation") + (place == "first") + (name in LONG_TABLES)
            slow = [pytest.mark.slow] if long > 1 else []
            marks = [pytest.mark.needs_data(DATA_OF.get(name, name)), *slow]
            yield pytest.param(profile, name, noise, place, marks=marks, id=f"{profile}-{name}-{noise}-{place}")


@pytest.mark.parametrize(("profile", "name", "noise", "place"), list(spots()))
@pytest.mark.long
def test_committed_rows_are_made_again_on_their_data(profile, name, noise, place):
    table = results.read_table(DATA / "results" / profile / f"{name}.parquet")
    rows = table[(table["noise"] == noise) if noise else table["noise"].isna()]
    rows = rows[rows["depth"] == rows["depth"].min()]  # four layers carry rounding on as far as data/README.md says
    rows = rows[rows["seed"] == rows["seed"].min()].sort_values(
        ["weight_decay", "alpha", "width"], ascending=[False, True, True]
    )
    rows = rows[(rows["seconds"] < LONG) | (rows["width"] == rows["width"].min())]
    chaotic = (profile, name) == CHAOTIC
    row = rows.iloc[0 if chaotic or place == "first" else -1]
    (run,) = results.runs_of(rows.loc[[row.name]])
    held_alone = replace(run, tune_steps=0, robustness=None)  # what that measures is not compared, and takes longest
    again = train(held_alone, progress=False).table.iloc[0]
    if again["verified"] != row["verified"]:
        pytest.skip("the row was computed on another part of this data set")
    # The kicks are the same bits everywhere. What a giant one does to the accuracy is another matter: there rounding
    # grows (data/README.md has the sizes), so accuracies are held at the lightest tail of a table.
    held = STEADY_OF_VGG if chaotic else STEADY_NORMS if place == "first" else [*MEASURES, *STEADY_NORMS]
    for column in [*held, *(["test_accuracy_random_0.5"] if place == "last" and not chaotic else [])]:
        assert abs(again[column] - row[column]) <= TOLERANCE * max(1, abs(row[column])), (row["alpha"], column)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.needs_data(name)) for name in ("ecg5000", "mnist")]
)
@pytest.mark.long
def test_a_network_that_one_would_ship_is_made_again_from_its_record(name):
    """Sizes to the byte; accuracies of plain SGD as far as rounding goes. Other tests say what noise makes of it."""
    table = results.read_table(DATA / "results" / "quick" / f"ship-{name}.parquet")
    plain = table[(table["sigma"] == 0) & table["prune"] & table["int8"] & (table["seed"] == table["seed"].min())]
    (record,) = simulations.simulations_of(plain)
    again = simulations.simulate([record]).set_index(["quantity", "level"])["value"]
    rows = plain.set_index(["quantity", "level"])["value"]
    assert set(again.index) == set(rows.index)
    quantity = rows.index.get_level_values("quantity")
    of_file, by_runtime = quantity.isin(["bytes", "parameters"]), quantity == "int8_bytes"
    assert again[rows.index][of_file].tolist() == rows[of_file].tolist()
    assert (again[rows.index] - rows)[~(of_file | by_runtime)].abs().median() <= TOLERANCE


# Of the tables whose settings were searched for: the rule for noise beside `chosen`, the inputs of a unit, and step
# sizes of plain SGD that no rule asks for: that of the authors' example, and a larger one alone as a rival. In the
# second convolution a kernel has nine, a filter nine a filter of the first. All but deeper and vgg have small networks.
SEARCHED = {
    "ecg5000": (arms.strongest, 140, {0.001}),
    "mnist": (arms.boldest, 784, {1.0}),
    "deeper": (arms.boldest, 784, set()),
    "vgg": (arms.boldest, 9, set()),
    "cifar10": (arms.boldest, 3072, set()),
    "cifar100": (arms.boldest, 3072, set()),
}

MATCHED = 0.006  # their sigma was found with medians of 20 001 draws, and is so far off; two rules are a third apart


@pytest.mark.parametrize("inputs", sorted({inputs for _, inputs, _ in SEARCHED.values()}))
def test_the_settings_of_a_table_are_those_that_its_search_chose_and_those_that_match_them(inputs):
    for name in (name for name, (_, own, _) in SEARCHED.items() if own == inputs):
        searched = results.read_table(DATA / "results" / "workstation" / f"choose-{name}.parquet")
        for profile in ("quick", "workstation", "paper"):
            table = pd.DataFrame([asdict(run) for run in read_grid(DATA / "grids" / f"{name}.toml", profile)])
            for (depth, unit), rows in table.groupby(["depth", "unit"]):
                own = searched[(searched["depth"] == depth) & (searched["unit"] == unit)]
                rule, entries, besides = SEARCHED[name]
                entries *= rows["width"].max() if (name, unit) == ("vgg", "filter") else 1
                check_settings(rows, own, rule, entries, besides, small=name not in ("deeper", "vgg"))


def check_settings(table, search, rule, inputs, besides, small):
    chosen, penalised, noisy = (each(search).set_index("arm") for each in (arms.chosen, arms.strongest, rule))
    wide = table[table["width"] == table["width"].max()]
    others = set()
    for arm, rows in wide.groupby(arms.named(wide)):
        settings = set(rows[list(arms.SETTING)].itertuples(index=False, name=None))
        if arm == arms.PLAIN:
            assert {lr for lr, *_ in settings} == set(wide["lr"]) | besides
        elif arm in chosen.index:
            second = noisy if rows["noise"].notna().any() else penalised
            assert settings == {tuple(choice.loc[arm, list(arms.SETTING)]) for choice in (chosen, second)}
        else:
            others.add(arm)
            (kind,), (alpha,) = rows["noise"].unique(), rows["alpha"].unique()
            rules = (each.loc[f"{kind}, α = 1.75", ["lr", "sigma"]] for each in (chosen, noisy))
            lr, sigma = max(rules, key=lambda setting: setting["sigma"])
            tried = search[(search["noise"] == kind) & (search["lr"] == lr) & (search["sigma"] == sigma)]
            steps = min(rows["max_steps"].iloc[0], int(tried["steps"].median()))  # fewer where a run stops when it fits
            times = {lr * (steps - 1)} | ({lr} if alpha == 2 else set())
            matched = {controls.matched_sigma(1.75, kind, sigma, time, inputs, alpha) for time in times}
            assert {setting[0] for setting in settings} == {lr}
            assert sorted(setting[1] for setting in settings) == pytest.approx(sorted(matched), rel=MATCHED)
    assert len(others) == 3 * len(set(wide["alpha"].dropna()) - {1.75})
    narrow = table[table["width"] < table["width"].max()]
    assert set(arms.named(narrow)) == ({arms.PLAIN} if small else set())
    assert set(narrow["lr"]) == ({chosen.loc[arms.PLAIN, "lr"]} if small else set())


@pytest.mark.parametrize("profile", ["quick", "workstation"])
def test_the_split_at_random_has_the_arms_of_the_paper_at_the_settings_of_the_archives_split(profile):
    read = {name: read_grid(DATA / "grids" / f"{name}.toml", profile) for name in ("ecg5000", "ecg5000-random")}
    widest = max(run.width for run in read["ecg5000"])
    own = [run for run in read["ecg5000"] if run.width == widest and not run.weight_decay and not run.group_lasso]
    settings = {
        name: {(run.lr, run.noise, run.alpha, run.sigma, run.width, run.max_steps) for run in runs if run.alpha != 2}
        for name, runs in (("ecg5000", own), ("ecg5000-random", read["ecg5000-random"]))
    }
    assert settings["ecg5000-random"] == settings["ecg5000"]
    assert len(read["ecg5000-random"]) == len(settings["ecg5000"]) * len({run.seed for run in read["ecg5000-random"]})


@pytest.mark.parametrize("profile", ["quick", "workstation"])
@pytest.mark.parametrize("name", ["ecg5000", "mnist"])
def test_what_stops_at_an_accuracy_has_the_settings_of_what_takes_a_number_of_steps(name, profile):
    def settings(runs):
        return {(run.lr, run.noise, run.alpha, run.sigma, run.width, run.batch_size, run.samples) for run in runs}

    own, stopped = (read_grid(DATA / "grids" / f"{each}.toml", profile) for each in (name, f"{name}-stopped"))
    width = max(run.width for run in own if run.noise)
    noisy = [run for run in own if run.noise and run.alpha in (1.5, 1.75)]
    steps = {run.lr for run in noisy}
    plain = [run for run in own if not (run.noise or run.weight_decay or run.group_lasso) and run.lr in steps]
    assert settings(stopped) == settings([*noisy, *(run for run in plain if run.width == width)])
    (stop,) = {run.stop_accuracy for run in stopped}
    assert stop == {"ecg5000": 0.99, "mnist": 0.9 if profile == "quick" else 0.95}[name]
    assert len(stopped) == len(settings(stopped)) * len({run.seed for run in stopped})


@pytest.mark.parametrize("profile", ["quick", "workstation"])
def test_every_width_has_the_strongest_settings_of_ecg5000_and_so_has_their_law(profile):
    def settings(runs, steps="max_steps"):
        return {(run.noise, run.alpha, run.sigma, run.lr, getattr(run, steps)) for run in runs}

    ecg, wide = (read_grid(DATA / "grids" / f"{name}.toml", profile) for name in ("ecg5000", "width"))
    by_arm = {(run.noise, run.alpha): run for run in sorted(ecg, key=lambda run: run.sigma) if run.noise}
    strongest = [run for run in by_arm.values() if run.alpha in (1.5, 1.75)]  # the last of each arm
    law = simulations.read_grid(DATA / "grids" / "untrained-width.toml", profile)
    assert len(strongest) == 6
    for width in {run.width for run in wide}:
        noisy, alone = (
            [run for run in wide if run.width == width and bool(run.noise) == kind] for kind in (True, False)
        )
        assert settings(noisy) == settings(strongest)
        assert settings(noisy) == settings([each for each in law if each.width == width], "steps")
        assert {run.lr for run in alone} == {run.lr for run in strongest}
        assert {run.seed for run in alone} == {run.seed for run in noisy} == {run.seed for run in wide}
    assert len(law) == 6 * len({run.width for run in wide})


@pytest.mark.parametrize("profile", ["quick", "workstation"])
def test_doses_are_given_at_the_step_size_of_each_noise_at_its_strongest_and_plain_sgd_has_them_all(profile):
    search = results.read_table(DATA / "results" / "workstation" / "choose-ecg5000.parquet")
    strongest = arms.strongest(search).set_index("arm")["lr"]
    runs = read_grid(DATA / "grids" / "dose-ecg5000.toml", profile)
    steps = {run.noise: {other.lr for other in runs if other.noise == run.noise} for run in runs}
    plain = steps.pop(None)
    assert steps == {kind: {strongest[f"{kind}, α = 1.75"]} for kind in ("shared", "entrywise", "isotropic")}
    assert set.union(*steps.values()) == plain


WORKSTATION = [path for path in TABLES if path.parent.name == "workstation" and not has_study(path)]


@cache
def of_workstation(name):
    """A workstation table of trained networks."""
    return results.read_table(DATA / "results" / "workstation" / f"{name}.parquet")


def seeds_of_workstation():
    """The seeds of each of these tables."""
    return [set(of_workstation(path.stem)["seed"]) for path in WORKSTATION]


def test_no_two_tables_share_a_seed_nor_a_table_and_its_search():
    seeds = [seed for own in seeds_of_workstation() for seed in own]
    assert len(seeds) == len(set(seeds)) > 30


def test_the_list_of_tables_has_the_number_of_runs_of_each():
    listed = re.findall(r"^\| ([\w-]+) \| (quick|workstation) \| (\d+)", (DATA / "README.md").read_text("utf-8"), re.M)
    counts = {(name, profile): int(runs) for name, profile, runs in listed}
    made = {(path.stem, path.parent.name): pd.read_parquet(path, columns=["key"])["key"].nunique() for path in TABLES}
    assert len(counts) > 50
    assert counts == {table: made[table] for table in counts}


def test_what_one_would_ship_has_seeds_of_its_own_and_its_searches_have_others():
    taken = set.union(*seeds_of_workstation())
    grids = {path.stem: simulations.read_grid(path, "workstation") for path in GRIDS_TO_SHIP}
    seeds = {name: {record.seed for record in records} for name, records in grids.items()}
    assert len(seeds) >= 4
    assert not taken & set.union(*seeds.values())
    for name in seeds:  # two data sets may share some, as nothing is compared across them
        assert seeds[name].isdisjoint(seeds.get(f"choose-{name}", set()))


@pytest.mark.parametrize("name", ["ecg5000", "mnist"])
def test_what_one_would_ship_is_trained_at_settings_that_were_searched_for(name):
    shipped, searched = (simulations.read_grid(DATA / "grids" / f"{kind}-{name}.toml", "workstation") for kind in KINDS)
    runs = read_grid(DATA / "grids" / f"{name}.toml", "workstation")
    known = {(run.noise, run.lr, run.sigma, run.weight_decay, run.group_lasso) for run in runs}
    wide = [record for record in shipped if record.prune]
    assert {setting_of(record.run) for record in wide} <= known
    assert {record.noise for record in wide if record.sigma} == {"shared", "entrywise", "isotropic"}
    assert {record.alpha for record in wide if record.sigma} == {1.75}
    assert {setting_of(record.run) for record in searched if record.prune} == {
        setting_of(record.run) for record in wide
    }
    rows = shipping.chosen(results.read_table(DATA / "results" / "workstation" / f"choose-ship-{name}.parquet"))
    arm = ["noise", "lr", "strength", "width", "prune"]
    chosen = rows.set_index(arm)["tune_lr"]
    for record in shipped:
        strength = max(record.sigma, record.weight_decay, record.group_lasso)
        own = chosen.loc[(record.noise if record.sigma else "", record.lr, strength, record.width, record.prune)]
        assert record.tune_lr in np.atleast_1d(own)
    assert len({record.width for record in shipped if not record.prune}) >= 5


GRIDS_FEDERATED = sorted((DATA / "grids").glob("*federated-*.toml"))


def test_federated_tables_have_seeds_of_their_own_and_their_searches_have_others():
    taken = set.union(*seeds_of_workstation())
    taken |= {r.seed for path in GRIDS_TO_SHIP for r in simulations.read_grid(path, "workstation")}
    grids = {path.stem: simulations.read_grid(path, "workstation") for path in GRIDS_FEDERATED}
    seeds = {name: {record.seed for record in records} for name, records in grids.items()}
    assert len(seeds) == 5
    assert not taken & set.union(*seeds.values())
    for name in seeds:
        assert seeds[name].isdisjoint(seeds.get(f"choose-{name}", set()))
    assert seeds["federated-clients"].isdisjoint(seeds["federated-ecg5000"] | seeds["federated-mnist"])


@pytest.mark.parametrize("name", ["ecg5000", "mnist"])
def test_every_way_to_send_less_is_trained_at_the_settings_that_a_search_chose(name):
    search = results.read_table(DATA / "results" / "workstation" / f"choose-federated-{name}.parquet")
    assert set(search["key"]) == {
        record.key for record in simulations.read_grid(DATA / "grids" / f"choose-federated-{name}.toml", "workstation")
    }
    chosen = federated.chosen(search)
    names = ["kicks", "design", "way", "alpha", "sigma", "lr", "width", "amount"]
    best, strong = (
        {tuple(row) for row in chosen.loc[chosen["strength"] == which, names].itertuples(index=False)}
        for which in ("best", "strong")
    )
    heavy = {setting for setting in strong if setting[0] == "heavy"}
    rows = federated.trainings(results.read_table(DATA / "results" / "workstation" / f"federated-{name}.parquet"))
    for clients, wanted in ((10, best | heavy), (100, {s for s in best if s[0] != "Gaussian"})):
        trained = rows.loc[rows["clients"] == clients, names].drop_duplicates()
        there = {tuple(row) for row in trained.itertuples(index=False)}
        left_out = {setting for setting in wanted - there if setting[2] in ("random numbers", "above a threshold")}
        another = {setting for setting in there if setting[0] and setting[-1] == 0.2}  # see data/README.md
        assert there - another == wanted - (left_out if clients == 100 else set())
        assert len(another) == (name == "mnist")
        assert {"even", "dirichlet", "classes"} == set(rows.loc[rows["clients"] == clients, "split"])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.needs_data(name)) for name in ("ecg5000", "mnist")]
)
@pytest.mark.long
def test_a_federated_training_is_made_again_from_its_record(name):
    """Bytes of who sends everything, to the byte; accuracies and ratios as far as rounding goes."""
    table = results.read_table(DATA / "results" / "quick" / f"federated-{name}.parquet")
    plain = table[(table["sigma"] == 0) & (table["select"] == "all") & (table["width"] == table["width"].max())]
    (record, *_) = simulations.simulations_of(plain)
    again = simulations.simulate([record]).set_index(["quantity", "level"])["value"]
    rows = plain[plain["key"] == record.key].set_index(["quantity", "level"])["value"]
    assert set(again.index) == set(rows.index)
    apart = (again[rows.index] - rows).abs().groupby(level="quantity").max()
    assert apart[["upload", "download", "answered"]].max() == 0
    assert apart[["accuracy", "pruning_ratio"]].max() <= TOLERANCE


def setting_of(run):
    """What a search chooses of a run, and its noise."""
    return run.noise, run.lr, run.sigma, run.weight_decay, run.group_lasso


def alike(table, first, second, measured):
    """Rank correlation over seeds of one column of the rows of two noises, given as (noise, alpha)."""
    strongest = arms.of_the_paper(table)
    by_seed = strongest.pivot(index="seed", columns=["noise", "alpha"], values=measured)
    return stats.spearmanr(by_seed[first], by_seed[second]).statistic


@pytest.mark.parametrize(
    ("name", "alike_by_chance"),
    [("ecg5000", 0.75), ("ecg5000-random", 0.75), *((name, 0.8) for name in ("mnist", "cifar10", "cifar100"))],
)
@pytest.mark.long
def test_noise_types_are_independent_over_seeds_and_alphas_are_paired(name, alike_by_chance):
    """Three pairs of types are looked at. Of 30 independent pairs the rank correlation is beyond 0.75 in fewer than 4
    of 10^6 cases, of 12 pairs beyond 0.8 in 3 of 1000: those rows are committed, and will not be drawn again.

    Where types shared their draws, as in older tables, that of pruning ratios was 0.9 and more. The norms are
    those of start plus kicks, in which no gradient is. Type-I moves the ratios of CIFAR by a neuron or two only, so
    there the norms alone say that its alphas are paired.
    """
    table = of_workstation(name)
    kinds, columns = ("shared", "entrywise", "isotropic"), ("pruning_ratio", "twin_norm_rms")
    for (first, second), column in itertools.product(itertools.combinations(kinds, 2), columns):
        assert abs(alike(table, (first, 1.5), (second, 1.5), column)) < alike_by_chance
    for kind, column in itertools.product(kinds, columns):
        if (kind, column) != ("shared", "pruning_ratio") or not name.startswith("cifar"):
            assert alike(table, (kind, 1.5), (kind, 1.75), column) > 0.75
