"""Results on disk: what is written is read back to the bit, half a file never appears, damage is named."""

from __future__ import annotations

import math
import re
import stat
from dataclasses import asdict, fields

import pandas as pd
import pytest
import torch
from made_up_results import diverged, measured, table
from made_up_simulations import table as table_of_simulations

from heavytail import Results, Run, train
from heavytail.lab import results
from heavytail.lab.simulations import Discretisation
from heavytail.version import __version__

RUNS = [
    Run(dataset="digits", width=4, max_steps=2, lr=0.1, batch_size=100, stop_accuracy=0.9, seed=3),
    Run(dataset="digits", network="mean_field", width=4, max_steps=2, noise="shared", alpha=1.75, sigma=0.1),
    Run(dataset="digits", width=4, max_steps=3, lr=1e30),
]


@pytest.fixture(scope="module")
def outcome():
    return train(RUNS, progress=False)


def test_results_are_read_back_to_the_last_bit(outcome, tmp_path):
    outcome.save(tmp_path / "new" / "folder")
    again = Results.load(str(tmp_path / "new" / "folder"))
    pd.testing.assert_frame_equal(again.table, outcome.table, check_dtype=False, check_exact=True)
    for run in RUNS:
        one, other = outcome.weights(run), again.weights(run)
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert value.dtype == other[name].dtype
            assert torch.equal(value.view(torch.int32), other[name].view(torch.int32))  # NaN of the diverged run too


def test_a_folder_of_results_holds_one_table_and_one_file_of_weights_a_run_and_no_pickle(outcome, tmp_path):
    outcome.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"table.parquet"} | {f"{run.key}.safetensors" for run in RUNS}
    assert (tmp_path / "table.parquet").read_bytes()[:4] == b"PAR1"
    for run in RUNS:
        assert b'"dtype":"F32"' in (tmp_path / f"{run.key}.safetensors").read_bytes()[:400]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in tmp_path.iterdir())


def test_results_can_be_written_over_older_ones(outcome, tmp_path):
    train(RUNS[0], progress=False).save(tmp_path)
    outcome.save(tmp_path)
    assert len(Results.load(tmp_path).table) == 3


def test_weights_that_were_not_kept_are_absent(outcome, tmp_path):
    results.write_table(outcome.table, tmp_path / "table.parquet")
    again = Results.load(tmp_path)
    assert len(again.table) == 3
    with pytest.raises(KeyError, match=r"no weights of this run here: Run\(dataset='digits'"):
        again.weights(RUNS[0])


# writing


def test_a_writer_that_fails_leaves_the_old_file_and_no_debris(tmp_path):
    path = tmp_path / "table.parquet"
    results.write_atomically(path, lambda part: part.write_text("old"))

    def fail(part):
        part.write_text("half of the n")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        results.write_atomically(path, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["table.parquet"]
    assert path.read_text() == "old"
    with pytest.raises(OSError, match="disk full"):
        results.write_atomically(tmp_path / "new", fail)
    assert [p.name for p in tmp_path.iterdir()] == ["table.parquet"]


def test_nobody_sees_a_file_before_it_is_whole(tmp_path):
    path = tmp_path / "table.parquet"

    def write(part):
        part.write_text("half")
        assert not path.exists()
        part.write_text("whole")

    results.write_atomically(path, write)
    assert path.read_text() == "whole"


def test_a_table_that_parquet_cannot_hold_leaves_no_trace(tmp_path):
    with pytest.raises(Exception, match="sigma"):
        results.write_table(pd.DataFrame({"sigma": [1.0, "a lot"]}), tmp_path / "table.parquet")
    assert list(tmp_path.iterdir()) == []


# damage


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "a byte flipped at the end"])
def test_a_damaged_table_is_refused_by_name(damage, outcome, tmp_path):
    path = tmp_path / "table.parquet"
    results.write_table(outcome.table, path)
    whole = path.read_bytes()
    broken = {"truncated": whole[: len(whole) // 2], "garbage": b"\x00" * 500, "empty": b""}
    path.write_bytes(broken.get(damage, whole[:-1] + bytes([whole[-1] ^ 1])))
    for read in (lambda: results.read_table(path), lambda: Results.load(tmp_path)):
        with pytest.raises(ValueError, match=rf"{re.escape(str(path))} is not a readable results table .*delete it"):
            read()


@pytest.mark.parametrize("length", [0, 20, -8])
def test_damaged_weights_are_refused_by_name(length, outcome, tmp_path):
    outcome.save(tmp_path)
    path = tmp_path / f"{RUNS[1].key}.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} does not hold readable weights .*delete it"):
        Results.load(tmp_path)


def test_a_table_that_is_not_there_is_refused_with_advice(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no results table .*heavytail train GRID.toml"):
        results.read_table(tmp_path / "table.parquet")


# rows


def test_every_row_can_be_turned_back_into_its_run(tmp_path):
    runs = [
        Run(),
        Run(noise="isotropic", alpha=2, sigma=0.5, unit="kernel", batch_size=32, stop_accuracy=1, seed=2**40),
        Run(dataset="cifar10", network="vgg", width=128, depth=1, lr=0.1, max_steps=7, eval_every=100),
    ]
    in_memory = table((run, measured()) for run in runs)
    results.write_table(in_memory, tmp_path / "table.parquet")
    for frame in (in_memory, results.read_table(tmp_path / "table.parquet"), in_memory[::-1][::-1]):
        again = results.runs_of(frame)
        assert again == runs
        assert [run.key for run in again] == list(frame["key"])
        for run, original in zip(again, runs, strict=True):
            for field in fields(Run):
                assert type(getattr(run, field.name)) is type(getattr(original, field.name)), field.name


def test_runs_of_a_table_without_any_noise_have_none(tmp_path):
    runs = [Run(seed=1), Run(seed=2)]
    results.write_table(table((run, measured()) for run in runs), tmp_path / "table.parquet")
    assert results.runs_of(results.read_table(tmp_path / "table.parquet")) == runs


def test_a_row_is_the_run_then_the_columns_in_order():
    run = Run(noise="shared", alpha=1.75, sigma=0.1)
    row = results.row(run, measured(pruning_ratio=0.25))
    assert list(row) == [field.name for field in fields(Run)] + list(results.COLUMNS)
    assert (row["alpha"], row["pruning_ratio"], row["key"]) == (1.75, 0.25, run.key)
    assert row["code"].startswith(__version__)


def test_a_row_with_a_missing_or_an_unknown_column_is_refused():
    short = measured()
    del short["seconds"]
    with pytest.raises(ValueError, match=r"must fill exactly the columns \['seconds'\]"):
        results.row(Run(), short)
    with pytest.raises(ValueError, match=r"must fill exactly the columns \['loss'\]"):
        results.row(Run(), measured(loss=0.1))


def test_every_column_says_what_it_holds():
    assert all(len(meaning) > 5 for meaning in results.COLUMNS.values())
    assert results.SHARES == (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
    for split in ("train", "test"):
        assert f"{split}_accuracy_share_0.3" in results.COLUMNS


def test_the_line_of_provenance_counts_rows_and_failures():
    rows = [(Run(seed=1), measured()), (Run(seed=2), measured()), (Run(seed=3), diverged())]
    line = results.describe(table(rows))
    assert "3 runs" in line
    assert '{"diverged": 1, "max_steps": 2}' in line
    assert torch.__version__ in line
    assert results.code_version() in line
    assert "\n" not in line


def test_a_diverged_row_has_no_measurements(tmp_path):
    results.write_table(table([(Run(), diverged())]), tmp_path / "t.parquet")
    row = results.read_table(tmp_path / "t.parquet").iloc[0]
    assert math.isnan(row["pruning_ratio"])
    assert row["status"] == "diverged"


def test_a_parquet_file_that_is_no_results_table_is_refused_by_name(tmp_path):
    pd.DataFrame({"width": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"other\.parquet is no results table: it has no column dataset"):
        results.read_table(tmp_path / "other.parquet")


# simulations

SIMULATIONS = [Discretisation(alpha=alpha, repeats=2, finest=64) for alpha in (1.5, 2)]


@pytest.fixture
def simulated():
    return table_of_simulations((s, {("fixed", 4): [0.5, 0.25], ("jump", 64): [1.0, math.inf]}) for s in SIMULATIONS)


def test_rows_of_a_simulation_hold_its_record_and_what_made_them(simulated):
    names = [field.name for field in fields(Discretisation)]
    assert list(simulated.columns) == ["study", *names, *(name for name in results.SIMULATED if name != "study")]
    first = simulated.iloc[0].to_dict()
    assert {name: first[name] for name in names} == asdict(SIMULATIONS[0])
    assert (first["study"], first["quantity"], first["level"], first["repeat"]) == ("discretisation", "fixed", 4, 0)
    assert (first["key"], first["value"], first["device"]) == (SIMULATIONS[0].key, 0.5, "cpu")
    assert (first["code"], first["torch"]) == (results.code_version(), torch.__version__)
    assert list(simulated["value"]) == [0.5, 0.25, 1.0, math.inf] * 2
    assert all(len(meaning) > 5 for meaning in results.SIMULATED.values())


def test_a_table_of_simulations_is_read_back_to_the_last_bit(simulated, tmp_path):
    results.write_table(simulated, tmp_path / "t.parquet")
    again = results.read_table(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(again, simulated, check_dtype=False, check_exact=True)


@pytest.mark.parametrize("name", [name for name in results.SIMULATED if name != "quantity"])
def test_a_table_of_simulations_that_lacks_a_column_is_refused_by_name(name, simulated, tmp_path):
    simulated.drop(columns=name).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=rf"t\.parquet is no results table: it has no column {name}; delete it"):
        results.read_table(tmp_path / "t.parquet")


def test_the_line_of_provenance_counts_simulations_numbers_and_what_is_not_finite(simulated):
    line = results.describe(simulated)
    assert line.startswith("2 simulations, 8 numbers, 2 of them not finite, heavytail ")
    assert f"torch {torch.__version__}, cpu" in line
    assert "\n" not in line
