"""The tables in the repository: they hold what their grids list, and a number is made again by its record."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from heavytail import Run, read_grid, results, simulations, train

DATA = Path(__file__).resolve().parents[1] / "data"
TABLES = sorted((DATA / "results").glob("*/*.parquet"))
# Another machine, or another number of threads, rounds sums in another order, and 300 steps carry that on.
TOLERANCE = 0.02
# Type-I kicks make the digits' training unstable, and then rounding grows: sums in another order moved test accuracy
# by 0.13 on this row. Its pruning ratio is decided by the kicks, which are the same bits everywhere.
STEADY = {"shared": ["pruning_ratio"]}
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


def tables(profile=None, *, simulated):
    """The committed tables of runs, or those of simulations, which have a grid with a study."""
    chosen = [path for path in TABLES if ("study" in tomllib.loads(grid_of(path).read_text("utf-8"))) == simulated]
    chosen = [path for path in chosen if profile in (None, path.parent.name)]
    return pytest.mark.parametrize("path", chosen, ids=[f"{path.parent.name}-{path.stem}" for path in chosen])


def clean(table):
    return not table["code"].str.contains("dirty").any()


def diverges(table):
    """Rows of networks with all assumptions broken at once: their drift grows with the weights and no step is small."""
    if "activation" not in table:
        return np.zeros(len(table), dtype=bool)
    return ((table["activation"] == "relu") & table["trained"] & table["summed"]).to_numpy()


@tables(simulated=False)
def test_a_table_holds_exactly_the_runs_of_its_grid(path):
    table = results.read_table(path)
    assert results.runs_of(table) == read_grid(grid_of(path), path.parent.name)
    assert list(table["key"]) == [run.key for run in results.runs_of(table)]
    assert list(table.columns) == [field.name for field in fields(Run)] + list(results.COLUMNS)
    assert table["verified"].all(), "a committed table must come from the official data"
    assert clean(table), "a committed table must come from committed code"


@tables(simulated=True)
def test_a_table_holds_exactly_the_simulations_of_its_grid(path):
    table = results.read_table(path)
    wanted = simulations.read_grid(grid_of(path), path.parent.name)
    assert simulations.simulations_of(table) == wanted
    assert list(table["key"].unique()) == [simulation.key for simulation in wanted]
    names = [field.name for field in fields(wanted[0])]
    assert list(table.columns) == ["study", *names, *(name for name in results.SIMULATED if name != "study")]
    assert set(table["study"]) == {wanted[0].study}
    assert clean(table), "a committed table must come from committed code"


@tables(simulated=True)
def test_a_table_of_simulations_has_every_number_of_every_repeat_once_and_finite_unless_all_is_broken(path):
    table = results.read_table(path)
    assert np.isfinite(table.loc[~diverges(table), "value"]).all()
    for _, rows in table[table["quantity"] != "reference_gap"].groupby(["key", "quantity", "level"]):
        assert sorted(rows["repeat"]) == list(range(rows["repeats"].iloc[0]))


@tables("quick", simulated=True)
def test_the_cheapest_simulation_of_a_quick_table_is_made_again_by_its_record(path):
    table = results.read_table(path)
    key = table.loc[table["seconds"].idxmin(), "key"]
    (record,) = [simulation for simulation in simulations.simulations_of(table) if simulation.key == key]
    rows, again = table[table["key"] == key].reset_index(drop=True), simulations.simulate([record])
    names = ["key", "quantity", "level", "repeat"]
    assert again[names].to_dict("list") == rows[names].to_dict("list")
    np.testing.assert_allclose(again["value"], rows["value"], rtol=SIMULATED_TOLERANCE, atol=1e-9)


@pytest.mark.parametrize("noise", [None, "shared", "entrywise", "isotropic"])
def test_a_committed_row_is_made_again_by_its_run(noise):
    table = results.read_table(DATA / "results" / "quick" / "digits.parquet")
    pairs = zip(results.runs_of(table), table.to_dict("records"), strict=True)
    run, row = next((run, row) for run, row in pairs if run.noise == noise and run.seed == 2)
    again = train(run).table.to_dict("records")[0]
    for column in STEADY.get(noise, MEASURES):
        assert abs(again[column] - row[column]) <= TOLERANCE, column
    assert again["status"] == row["status"]
