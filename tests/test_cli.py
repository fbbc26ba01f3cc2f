"""The command line, run for real: it does the work and returns 0, or says one sentence and returns 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from made_up_results import measured, table

import heavytail
from heavytail import Results, Run, cli
from heavytail.cli import main
from heavytail.evidence import claims
from heavytail.lab import datasets, results, simulations
from heavytail.lab.runs import read_grid

ROOT = Path(__file__).parents[1]
DIGITS = str(ROOT / "data" / "grids" / "digits.toml")
TINY = ["--set", "max_steps=2", "--set", "width=8"]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "results" / "quick" / "digits.parquet"


def refused(capsys, *arguments):
    """The one sentence with which a command is refused."""
    assert main([str(argument) for argument in arguments]) == 2
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.startswith("heavytail: ")
    assert said.count("\n") == 1
    return said


# train


def test_training_a_grid_writes_its_table(out, capsys):
    assert main(["train", DIGITS, "--profile", "quick", "--out", str(out), *TINY]) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"{out}: 12 runs")
    runs = read_grid(DIGITS, "quick", max_steps=2, width=8)
    frame = results.read_table(out)
    assert results.runs_of(frame) == runs
    assert set(frame["status"]) == {"max_steps"}
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_weights_are_kept_when_asked_for(out, tmp_path):
    narrowed = [*TINY, "--set", "seed=4", "--weights", str(tmp_path / "weights")]
    assert main(["train", DIGITS, "--out", str(out), *narrowed]) == 0
    kept = Results.load(tmp_path / "weights")
    runs = results.runs_of(results.read_table(out))
    assert {run.seed for run in runs} == {4}
    assert all(kept.weights(run)["1.weight"].shape == (8, 64) for run in runs)


def test_values_on_the_command_line_are_numbers_lists_or_words(out):
    changes = ["--set", "dataset=digits", "--set", "stop_accuracy=None", "--set", "seed=[7, 8]", "--set", "lr=1e-3"]
    assert main(["train", DIGITS, "--out", str(out), *TINY, *changes]) == 0
    runs = results.runs_of(results.read_table(out))
    assert {(run.seed, run.lr, run.stop_accuracy) for run in runs} == {(7, 0.001, None), (8, 0.001, None)}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--set", "noise=gaussian"], "unknown noise 'gaussian': choose one of shared, entrywise, isotropic"),
        (["--set", "alpha=3"], "alpha"),
        (["--set", "width=None"], "width must be a whole number >= 1, got None"),
        (["--set", "width=[8"], "width must be a whole number >= 1, got '[8'"),
        (["--set", "lr=fast"], "lr must be a number, got 'fast'"),
        (["--set", "seed=[]"], "lists no runs"),
        (["--set", "sedd=1"], "a Run has no key 'sedd'"),
        (["--set", "batch_size=99999"], "batch_size=99999 is more than the 1438 training samples of digits"),
        (["--set", "network=vgg"], "network 'vgg' needs images"),
        (["--profile", "huge"], "digits.toml has no profile 'huge': it has quick, workstation"),
        (["--device", "nonsense"], "device 'nonsense' is not available here: use device='cpu'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_are_refused_in_one_sentence_and_write_nothing(options, sentence, out, capsys):
    assert sentence in refused(capsys, "train", DIGITS, "--out", out, *TINY, *options)
    assert not out.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_gpu_that_is_not_there_is_refused(out, capsys):
    assert "device 'cuda' is not available here" in refused(capsys, "train", DIGITS, "--out", out, "--device", "cuda")


def test_a_grid_file_that_is_missing_a_folder_or_no_toml_is_refused(out, tmp_path, capsys):
    assert "missing.toml" in refused(capsys, "train", tmp_path / "missing.toml", "--out", out)
    assert str(tmp_path) in refused(capsys, "train", tmp_path, "--out", out)
    (tmp_path / "bad.toml").write_text("[[quick]\n")
    refused(capsys, "train", tmp_path / "bad.toml", "--out", out)


def test_a_place_that_cannot_be_written_is_refused_before_the_training(tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("training began")

    monkeypatch.setattr(heavytail, "train", fail)
    assert "is a folder: name the table" in refused(capsys, "train", DIGITS, "--out", tmp_path)
    (tmp_path / "file").write_text("")
    assert "file" in refused(capsys, "train", DIGITS, "--out", tmp_path / "file" / "table.parquet")


def test_an_older_table_outlives_a_training_that_is_refused_or_stopped(out, capsys, monkeypatch):
    results.write_table(table([(Run(), measured())]), out)
    before = out.read_bytes()
    refused(capsys, "train", DIGITS, "--out", out, "--set", "alpha=3")

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(heavytail, "train", stop)
    assert main(["train", DIGITS, "--out", str(out)]) == 130
    assert "stopped" in capsys.readouterr().err
    assert out.read_bytes() == before


# sweep

FOUR = [*TINY, "--set", "seed=4"]


def test_sweeping_a_grid_fills_its_store_and_writes_its_table(out, tmp_path, capsys):
    swept = ["sweep", DIGITS, "--store", str(tmp_path / "store"), *FOUR]
    assert main([*swept, "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 4 runs (4 took all steps), ")
    runs = read_grid(DIGITS, "quick", max_steps=2, width=8, seed=4)
    assert results.runs_of(results.read_table(out)) == runs
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store" / "rows").iterdir()}
    assert len(before) == len(runs)
    assert main(swept) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'store'}: 4 runs (4 took all steps), ")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_damaged_row_is_one_line_and_the_command_goes_on(tmp_path, capsys):
    swept = ["sweep", DIGITS, "--store", str(tmp_path / "store"), *FOUR]
    assert main(swept) == 0
    path = next((tmp_path / "store" / "rows").iterdir())
    path.write_text("nonsense")
    capsys.readouterr()
    assert main(swept) == 0
    said = capsys.readouterr().err
    assert said == (
        f"heavytail: {path} is damaged: set aside in {tmp_path / 'store' / 'damaged'}, and the run is done again\n"
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--set", "alpha=3"], "alpha"),
        (["--set", "network=vgg"], "network 'vgg' needs images"),
        (["--profile", "huge"], "digits.toml has no profile 'huge': it has quick, workstation"),
        (["--device", "nonsense"], "device 'nonsense' is not available here: use device='cpu'"),
        (["--workers", "0"], "workers must be 1 to 1024, got 0"),
        (["--out", str(ROOT)], "is a folder: name the table"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_sweep_is_refused_in_one_sentence_and_finishes_nothing(options, sentence, tmp_path, capsys):
    assert sentence in refused(capsys, "sweep", DIGITS, "--store", tmp_path / "store", *TINY, *options)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_store_that_is_a_file_is_refused_and_left_alone(tmp_path, capsys):
    (tmp_path / "store").write_text("mine")
    assert "store cannot be written (" in refused(capsys, "sweep", DIGITS, "--store", tmp_path / "store", *TINY)
    assert (tmp_path / "store").read_text() == "mine"


def test_a_table_that_cannot_be_written_in_the_end_says_that_the_runs_are_safe(tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(results, "write_table", fail)
    where = ["--store", tmp_path / "store", "--out", tmp_path / "table.parquet"]
    assert "the disk is full; all runs are safe in" in refused(capsys, "sweep", DIGITS, *where, *FOUR)
    assert len(list((tmp_path / "store" / "rows").iterdir())) == 4


# simulate

ROLES = str(ROOT / "data" / "grids" / "roles.toml")
FEW = ["--set", "repeats=2", "--set", "width=[16, 32]"]


def test_simulating_a_grid_writes_its_table(out, capsys):
    assert main(["simulate", ROLES, "--profile", "quick", "--out", str(out), *FEW]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 12 simulations, 96 numbers, 0 of them not finite, heavytail ")
    wanted = simulations.read_grid(ROLES, "quick", repeats=2, width=[16, 32])
    assert simulations.simulations_of(results.read_table(out)) == wanted
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_simulating_again_goes_on_and_does_nothing_twice(out):
    half = simulations.read_grid(ROLES, "quick", repeats=2, width=[16, 32])[:5]
    begun = simulations.fill(out, half)
    assert main(["simulate", ROLES, "--out", str(out), *FEW]) == 0
    table = results.read_table(out)
    assert table["key"].nunique() == 12
    assert (table.iloc[: len(begun)]["seconds"] == begun["seconds"]).all()
    before = out.read_bytes()
    assert main(["simulate", ROLES, "--out", str(out), *FEW]) == 0
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--set", "noise=gaussian"], "unknown noise 'gaussian': choose one of shared, entrywise, isotropic"),
        (["--set", "alpha=3"], "the stability index alpha must lie in (0, 2], got 3"),
        (["--set", "width=0"], "width must be a whole number >= 1, got 0"),
        (["--set", "repeats=[]"], "lists no runs"),
        (["--set", "sedd=1"], "a Pruning has no key 'sedd'"),
        (["--profile", "huge"], "roles.toml has no profile 'huge': it has quick, workstation"),
        (["--device", "nonsense"], "nonsense"),
        pytest.param(
            ["--set", "width=None"],
            "width must be a whole number >= 1, got None",
        ),
        pytest.param(
            ["--device", "cuda"],
            "device 'cuda' is not available here",
            marks=[
                pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA"),
            ],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_simulation_is_refused_in_one_sentence_and_writes_nothing(options, sentence, out, capsys):
    assert sentence in refused(capsys, "simulate", ROLES, "--out", out, *FEW, *options)
    assert not out.exists()


def test_a_grid_of_another_kind_is_refused(out, tmp_path, capsys):
    said = refused(capsys, "simulate", DIGITS, "--out", out)
    assert "digits.toml must name its study: one of chaos, " in said
    assert said.endswith("not None; if it lists runs, it is for `heavytail train` or `heavytail sweep`\n")
    by = "roles.toml lists simulations (study 'pruning'): run it by `heavytail simulate`"
    assert by in refused(capsys, "train", ROLES, "--out", out)
    assert by in refused(capsys, "sweep", ROLES, "--store", out)
    missing = f"there is no grid {tmp_path / 'missing.toml'}: name a TOML file"
    assert missing in refused(capsys, "simulate", tmp_path / "missing.toml", "--out", out)
    (tmp_path / "bad.toml").write_text("[[quick]\n")
    refused(capsys, "simulate", tmp_path / "bad.toml", "--out", out)
    assert not out.exists()


def test_a_table_of_another_grid_or_a_damaged_one_is_refused_and_left_alone(out, capsys):
    results.write_table(table([(Run(), measured())]), out)
    for said in ("holds 1 simulations that the grid does not list: move it away", "is not a readable results table"):
        before = out.read_bytes()
        assert said in refused(capsys, "simulate", ROLES, "--out", out, *FEW)
        assert out.read_bytes() == before
        out.write_bytes(before[:100])


def test_a_folder_named_as_a_table_of_simulations_is_refused(tmp_path, capsys):
    assert "is a folder: name the table" in refused(capsys, "simulate", ROLES, "--out", tmp_path, *FEW)


def test_a_training_that_is_stopped_says_what_would_have_kept_it(out, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(heavytail, "train", stop)
    assert main(["train", DIGITS, "--out", str(out)]) == 130
    assert capsys.readouterr().err == (
        "heavytail: stopped; nothing was written: `heavytail sweep` keeps each run as it is finished\n"
    )
    assert not out.exists()


def test_a_simulation_that_is_stopped_says_that_it_goes_on(out, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(simulations, "fill", stop)
    assert main(["simulate", ROLES, "--out", str(out), *FEW]) == 130
    assert "nothing was written" not in capsys.readouterr().err


# claims


def test_claims_prints_one_line_a_claim(tmp_path, capsys):
    assert main(["claims", "--results", str(tmp_path)]) == 0
    lines, tallied, *_ = capsys.readouterr().out.split("\n\n")
    assert [line.split()[0] for line in lines.splitlines()] == [claim.id for claim in claims.CLAIMS]
    assert tallied.splitlines()[1].startswith("  the paper's [P]: not tested ")


def test_claims_without_a_results_folder_is_refused(tmp_path, capsys):
    assert "there is no results folder" in refused(capsys, "claims", "--results", tmp_path / "missing")


def test_claims_on_a_damaged_table_is_refused(tmp_path, capsys):
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick" / "ecg5000.parquet").write_bytes(b"nonsense")
    assert "is not a readable results table" in refused(capsys, "claims", "--results", tmp_path)


# data


def test_data_says_where_each_data_set_is(tmp_path, capsys):
    assert main(["data", "--root", str(tmp_path)]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"folder: {tmp_path}"
    assert [line.split(":")[0] for line in lines] == list(datasets.NAMES)
    said = dict(zip(datasets.NAMES, lines, strict=True))
    assert "official" in said["digits"]
    assert "not here" in said["ecg5000"]


def test_data_by_name_loads_and_verifies(capsys):
    assert main(["data", "digits"]) == 0
    assert capsys.readouterr().out == "digits: 1438 train, 359 test, official, from scikit-learn\n"


def test_unknown_data_is_refused(capsys):
    assert "imagenet" in refused(capsys, "data", "imagenet")


# the parser


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["train", DIGITS], ["train", DIGITS, "--out", "t.parquet", "--set", "width"]],
    ids=["no command", "unknown command", "no --out", "no value"],
)
def test_a_command_that_does_not_parse_exits_with_2_and_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: heavytail" in capsys.readouterr().err


def test_the_version_has_the_commit_of_the_checkout(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    commit = said.removeprefix(f"heavytail {heavytail.__version__}+").removesuffix("\n").removesuffix("-dirty")
    assert len(commit) >= 7
    assert asked.startswith(commit)


@pytest.mark.parametrize("command", ["train", "simulate"])
@pytest.mark.parametrize("name", ["table.csv", "table"])
def test_a_table_is_written_under_a_name_that_says_what_it_is(command, name, tmp_path, capsys):
    said = refused(capsys, command, DIGITS if command == "train" else ROLES, "--out", tmp_path / name)
    assert said.endswith(f"{name} does not end in .parquet: name the table table.parquet\n")
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_is_told_a_wrong_name_of_its_table_before_it_begins(tmp_path, capsys):
    where = ["--store", tmp_path / "store", "--out", tmp_path / "table.csv"]
    assert "name the table table.parquet" in refused(capsys, "sweep", DIGITS, *where, *TINY)
    assert not (tmp_path / "store").exists()


def test_the_module_runs_as_a_program_and_passes_its_status_on():
    nowhere = {**os.environ, "PATH": "", "HEAVYTAIL_COMMIT": "main"}  # without git: refused before torch is imported
    command = [sys.executable, "-m", "heavytail", "--version"]
    done = subprocess.run(command, cwd=ROOT, env=nowhere, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("heavytail: HEAVYTAIL_COMMIT must name a commit")
    assert "Traceback" not in done.stderr


def test_a_commit_that_is_none_is_one_sentence_where_the_version_is_asked_for(monkeypatch, capsys):
    def named():
        raise ValueError("HEAVYTAIL_COMMIT must name a commit by 7 to 40 hexadecimal digits, not 'zzz'")

    monkeypatch.setattr(cli, "described", named)
    assert main(["--version"]) == 2
    assert capsys.readouterr().err == (
        "heavytail: HEAVYTAIL_COMMIT must name a commit by 7 to 40 hexadecimal digits, not 'zzz'\n"
    )


def test_a_store_without_a_name_is_not_this_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["sweep", "grid.toml", "--store", ""])
    assert stopped.value.code == 2
    assert "the name of the folder is empty" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
