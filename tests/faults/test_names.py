"""A name is that of a file, whatever it looks like: a home folder, an address, bytes of no letters."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fault_counts import ONE_SENTENCE, UNDISTURBED
from made_up_outcomes import RUN, outcome
from made_up_results import measured, table

import heavytail
from heavytail import Results, cli
from heavytail.lab import results
from heavytail.lab.datasets import from_npz
from heavytail.lab.machine import files
from heavytail.lab.runs import read_grid

NAMES = "outputs"
GRID = '[[quick]]\ndataset = "digits"\nwidth = 4\nmax_steps = 1\n'
STUDY = 'study = "pruning"\n[[quick]]\nalpha = 1.5\nwidth = 20\nrepeats = 2\n'
PATIENCE = 240


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home folder, in which nobody stands."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    Path("grid.toml").write_text(GRID)
    Path("study.toml").write_text(STUDY)
    return tmp_path / "home"


def found(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def saved():
    return Results(table([(RUN, measured())]), {RUN.key: outcome(RUN).weights}, results.history_of([RUN], {}))


def test_a_command_writes_into_the_home_folder_that_a_shell_has_left_a_tilde_for(home, tried):
    assert cli.main(["train", "grid.toml", "--out=~/t.parquet", "--weights=~/w"]) == 0
    assert cli.main(["sweep", "grid.toml", "--out=~/s.parquet", "--store=~/store"]) == 0
    assert cli.main(["simulate", "study.toml", "--out=~/c.parquet"]) == 0
    assert found(Path()) == {"grid.toml", "study.toml"}
    assert {"t.parquet", "s.parquet", "c.parquet", "w/table.parquet"} <= found(home)
    assert not [name for name in found(home) if name.endswith(".part")]
    assert all(len(results.read_table(home / f"{name}.parquet")) for name in "tsc")
    tried(NAMES, UNDISTURBED)


def test_functions_that_take_a_path_know_the_home_folder_too(home, tried):
    results.check_places("~/new/t.parquet")
    results.write_table(table([(RUN, measured())]), "~/t.parquet")
    saved().save("~/w")
    assert Results.load("~/w").table.equals(results.read_table("~/t.parquet"))
    (home / "grid.toml").write_text(GRID)
    assert len(read_grid("~/grid.toml", "quick")) == 1
    np.savez(home / "mine.npz", x_train=[[0], [1]], y_train=[0, 1], x_test=[[2]], y_test=[1])
    assert from_npz("~/mine.npz").name == "mine"
    assert found(Path()) == {"grid.toml", "study.toml"}
    tried(NAMES, UNDISTURBED)


def test_a_tilde_that_is_nobodys_home_is_a_name_or_one_sentence(home, capsys, tried):
    assert cli.main(["train", "grid.toml", "--out=~x.parquet"]) == 0
    assert "~x.parquet" in found(Path())
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", "grid.toml", "--out=~nobody-of-this-name/t.parquet"])
    assert stopped.value.code == 2
    assert "is in the home of nobody here" in capsys.readouterr().err
    with pytest.raises(ValueError, match="is in the home of nobody here"):
        files.named("~nobody-of-this-name/t.parquet")
    tried(NAMES, ONE_SENTENCE)


@pytest.mark.parametrize("name", ["file:x.parquet", "s3:x.parquet", "\udcff.parquet"], ids=ascii)
def test_a_name_of_another_kind_is_a_name(name, home, tried):
    saved().save(f"w-{name}")
    assert len(Results.load(f"w-{name}").history) == 0
    assert cli.main(["simulate", "study.toml", "--out", name]) == 0
    assert cli.main(["simulate", "study.toml", "--out", name]) == 0  # reads it again
    assert len(results.read_table(name))
    assert os.listdir(".").count(name) == 1
    assert not found(home)
    tried(NAMES, UNDISTURBED)


BOTH = """
import sys
from heavytail.__main__ import main
words = sys.argv[1:]
between = words.index("--")
for part in words[:between], words[between + 1 :]:
    sys.argv[1:] = part
    if status := main():
        sys.exit(status)
"""


@pytest.mark.parametrize("name", [b"\xff", "\u03b1".encode()])
@pytest.mark.long
def test_bytes_of_no_letters_name_a_table_a_store_and_weights(name, tmp_path, tried):
    (tmp_path / "grid.toml").write_text(GRID)
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"} if name[0] != 0xFF else {}
    train = ["train", "grid.toml", b"--weights", b"w" + name, b"--out", name + b".parquet"]
    sweep = ["sweep", "grid.toml", b"--store", b"st" + name]
    done = subprocess.run(
        [sys.executable, "-c", BOTH, *train, "--", *sweep],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict", **plain},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b": 1 runs") == 2
    assert {name + b".parquet", b"w" + name, b"st" + name} <= set(os.listdir(bytes(tmp_path)))
    assert len(results.read_table(os.fsdecode(bytes(tmp_path) + b"/" + name + b".parquet"))) == 1
    tried(NAMES, UNDISTURBED)


# the weights of runs of one's own data


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A grid of two runs of one's own data, and where their weights go."""
    np.savez(tmp_path / "d1.npz", x_train=np.eye(4), y_train=[0, 1, 0, 1], x_test=np.eye(4), y_test=[0, 1, 0, 1])
    grid = tmp_path / "grid.toml"
    grid.write_text(GRID.replace('"digits"', f'"{tmp_path / "d1.npz"}"') + "seed = [1, 2]\n")
    name = from_npz(tmp_path / "d1.npz").id
    keys = [replace(run, dataset=name).key for run in read_grid(grid, "quick")]
    (tmp_path / "w").mkdir()
    return ["train", str(grid), "--out", str(tmp_path / "t.parquet"), "--weights", str(tmp_path / "w")], keys


def test_weights_of_own_data_that_could_not_be_written_are_refused_before_the_training(
    own, tmp_path, capsys, monkeypatch, tried
):
    words, keys = own
    place = tmp_path / "w" / f"{keys[0]}.safetensors"
    os.mkfifo(place)
    monkeypatch.setattr(heavytail, "train", lambda *_, **__: pytest.fail("the training began"))
    assert cli.main(words) == 2
    assert capsys.readouterr().err.startswith(f"heavytail: {place} cannot be written (it is a pipe")
    tried(NAMES, ONE_SENTENCE)


def test_what_can_be_written_of_results_is_when_one_file_cannot(own, tmp_path, tried):
    words, keys = own
    assert cli.main(words) == 0
    done = Results.load(tmp_path / "w")
    (tmp_path / "again").mkdir()
    os.mkfifo(tmp_path / "again" / f"{keys[0]}.safetensors")
    with pytest.raises(files.Unwritable, match=keys[0]):
        done.save(tmp_path / "again")
    assert found(tmp_path / "again") == {f"{keys[1]}.safetensors", "table.parquet"}
    tried(NAMES, ONE_SENTENCE)
