"""Results on disk: what is written is read back to the bit, half a file never appears, damage is named."""

from __future__ import annotations

import errno
import itertools
import math
import re
import shutil
import stat
import subprocess
from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd
import pytest
import torch
from made_up_results import diverged, measured, table
from made_up_simulations import table as table_of_simulations
from pyarrow import parquet
from safetensors.torch import save

from heavytail import Results, Run, _sampler, cli, stable, sweep, train, version
from heavytail.lab import results
from heavytail.lab.simulations import Chaos, Discretisation, Pruning, simulate
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


def test_tensors_of_a_file_have_one_order():
    names = [f"layer {number}" for number in range(20)]  # a random order has one chance in 2.4e18
    content = save({name: torch.zeros(1) for name in reversed(names)})
    assert list(results.tensors_in(content)) == sorted(names)


def test_weights_have_the_order_of_their_names_from_a_folder_and_from_a_store(tmp_path):
    run = Run(dataset="digits", width=4, depth=9, max_steps=2)
    train(run, progress=False).save(tmp_path / "folder")
    stored = sweep(run, store=tmp_path / "store", progress=False).weights(run)
    read = Results.load(tmp_path / "folder").weights(run)
    assert len(read) > 9  # a random order has less than one chance in 3e6
    assert list(stored) == list(read) == sorted(read)


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


@pytest.mark.parametrize("name", ["table.csv", "table", "table.parquet.gz", "table.PARQUET", ".parquet"])
def test_a_table_is_written_to_a_parquet_file_alone_and_that_is_said_before_the_work(name, tmp_path, capsys):
    with pytest.raises(ValueError, match=rf"{re.escape(name)} does not end in .parquet: name the table \S+.parquet$"):
        results.write_table(table([(Run(), measured())]), tmp_path / name)
    long = tmp_path / "grid.toml"
    long.write_text('[[quick]]\ndataset = "digits"\nmax_steps = 1000000000\n')
    longer = tmp_path / "study.toml"
    longer.write_text('study = "pruning"\n[[quick]]\nalpha = 1.5\nwidth = 1000000000000\n')
    store = ["--store", str(tmp_path / "store")]
    for command in (["train", str(long)], ["sweep", str(long), *store], ["simulate", str(longer)]):
        assert cli.main([*command, "--out", str(tmp_path / name)]) == 2
        assert f"{name} does not end in .parquet: name the table" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"grid.toml", "study.toml"}


# one schema

SIDES = {
    "plain": Run(seed=1),
    "noisy": Run(noise="shared", alpha=1.75, sigma=0.1, unit="kernel"),
    "all": Run(
        noise="shared", alpha=1.75, along="unseen", batch_size=5, samples=9, stop_accuracy=0.5, patience=2, seed=2**62
    ),
}
RUN_TABLES = {
    **{name: table([(run, measured())]) for name, run in SIDES.items()},
    "diverged": table([(SIDES["plain"], diverged())]),
    "mixed": table((run, measured()) for run in SIDES.values()),
    "of none": table([(Run(), measured())])[:0],
}
SIMULATION_TABLES = {
    "finite": table_of_simulations([(Pruning(alpha=1.5), {"error": [0.5, 0.25]})]),
    "not finite": table_of_simulations([(Pruning(alpha=2), {"error": [math.nan, math.nan]})]),
    "none": table_of_simulations([(Pruning(alpha=2), {"error": [1.0]})])[:0],
}
FOLDERS = [
    pytest.param(tables, pair, id=" and ".join(pair))
    for tables in (RUN_TABLES, SIMULATION_TABLES)
    for pair in itertools.permutations(tables, 2)
]


def written(tables, names, folder):
    for number, name in enumerate(names):
        results.write_table(tables[name], folder / f"{number}.parquet")
    return [folder / f"{number}.parquet" for number in range(len(names))]


@pytest.fixture(scope="module")
def files_of_tables(tmp_path_factory):
    """The file of each table, written once for all folders that it lies in."""
    tables = {**RUN_TABLES, **SIMULATION_TABLES}
    paths = written(tables, list(tables), tmp_path_factory.mktemp("tables"))
    return {name: path.read_bytes() for name, path in zip(tables, paths, strict=True)}


@pytest.mark.parametrize(("tables", "names"), FOLDERS)
@pytest.mark.long
def test_a_folder_of_tables_reads_as_one_whatever_they_hold(tables, names, tmp_path, files_of_tables):
    paths = [tmp_path / f"{number}.parquet" for number in range(len(names))]
    for path, name in zip(paths, names, strict=True):
        path.write_bytes(files_of_tables[name])
    assert len({str(parquet.read_schema(path)) for path in paths}) == 1
    parts = [results.read_table(path) for path in paths]
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path), pd.concat(parts, ignore_index=True), check_dtype=False, check_exact=True
    )
    for left, name in zip(parts, names, strict=True):
        right = tables[name]
        pd.testing.assert_frame_equal(left.astype(object).fillna(0), right.astype(object).fillna(0), check_exact=True)


def test_a_mixed_folder_of_studies_and_runs_can_be_read(tmp_path):
    tables = {**RUN_TABLES, **SIMULATION_TABLES}
    tables["chaos"] = table_of_simulations([(Chaos(alpha=1.5), {"distance": [0.5]})])
    tables["discretisation"] = table_of_simulations([(Discretisation(alpha=1.5), {("fixed", 4): [0.5]})])
    for name in ("plain", "all", "not finite", "discretisation"):  # the first file decides what is read
        folder = tmp_path / name
        written(tables, [name, *(other for other in tables if other != name)], folder)
        assert len(pd.read_parquet(folder)) == sum(map(len, tables.values()))


@pytest.mark.parametrize("folder", ["quick", "workstation"])
@pytest.mark.long
def test_the_committed_tables_of_runs_read_as_one(folder, tmp_path):
    committed = sorted((Path(__file__).parents[2] / "data" / "results" / folder).glob("*.parquet"))
    runs = [path for path in committed if "quantity" not in parquet.read_schema(path).names]
    read = {path: results.read_table(path) for path in runs}
    for path, rows in read.items():  # some lack the columns that came after them
        results.write_table(rows, tmp_path / path.name)
    together = pd.read_parquet(tmp_path)
    assert list(together.columns) == list(read[runs[0]].columns)
    assert list(together["key"]) == [key for rows in read.values() for key in rows["key"]]
    assert [run.key for run in results.runs_of(together)] == list(together["key"])


def test_a_table_in_memory_has_the_types_of_the_table_in_the_file(outcome, tmp_path):
    outcome.save(tmp_path)
    for read in (results.read_table(tmp_path / "table.parquet"), pd.read_parquet(tmp_path / "table.parquet")):
        pd.testing.assert_frame_equal(read, outcome.table, check_exact=True)


def test_a_table_of_an_earlier_release_reads_with_the_types_of_today(tmp_path):
    old = table([(Run(), measured()), (Run(seed=1), measured())])
    later = [
        *results.LATER,
        *(name for name in old if name.startswith(results.NEW)),
    ]
    old.drop(columns=later).to_parquet(tmp_path / "old.parquet")
    results.write_table(old, tmp_path / "new.parquet")
    read, today = (results.read_table(tmp_path / f"{name}.parquet") for name in ("old", "new"))
    assert read.dtypes.equals(today.dtypes)
    assert results.runs_of(read) == results.runs_of(today)
    with_simulations = table_of_simulations([(Pruning(alpha=1.5), {"error": [0.5]})])
    with_simulations.to_parquet(tmp_path / "simulations.parquet")
    pd.testing.assert_frame_equal(
        results.read_table(tmp_path / "simulations.parquet"), with_simulations, check_dtype=False
    )


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
    assert line.startswith("3 runs (1 diverged, 2 took all steps), heavytail ")
    assert torch.__version__ in line
    assert results.code_version() in line
    assert "\n" not in line


def test_the_line_of_provenance_marks_tables_of_an_older_sampler():
    rows = table([(Run(seed=seed), measured()) for seed in (1, 2, 3)])
    assert "sampler" not in results.describe(rows)
    today = _sampler.SAMPLER_VERSION
    assert f", drawn by sampler 1, 2 (today's is {today})" in results.describe(rows.assign(sampler=[1, 2, today]))
    simulated = table_of_simulations([(SIMULATIONS[0], {("fixed", 4): [0.5]})])
    assert "sampler" not in results.describe(simulated)
    assert ", drawn by sampler 2 (today's is 1)" in results.describe(simulated.assign(sampler=2))


def test_a_diverged_row_has_no_measurements(tmp_path):
    results.write_table(table([(Run(), diverged())]), tmp_path / "t.parquet")
    row = results.read_table(tmp_path / "t.parquet").iloc[0]
    assert math.isnan(row["pruning_ratio"])
    assert row["status"] == "diverged"


def test_a_parquet_file_that_is_no_results_table_is_refused_by_name(tmp_path):
    pd.DataFrame({"width": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"other\.parquet is no results table: it has no column dataset"):
        results.read_table(tmp_path / "other.parquet")


# provenance


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1", "mps"])
def test_a_row_names_the_sampler_that_drew_which_is_one_on_all_devices(device):
    assert _sampler.SAMPLER_VERSION != stable.SAMPLER_VERSION
    assert results.row(Run(), measured(device=device))["sampler"] == _sampler.SAMPLER_VERSION
    numbers = pd.DataFrame({"quantity": ["error"], "level": 0, "repeat": 0, "value": 1.0})
    rows = results.simulated("pruning", "0", {}, numbers, seconds=1.0, device=device)
    assert list(rows["sampler"]) == [stable.SAMPLER_VERSION]


def git(folder, *command):
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    done = subprocess.run(["git", *who, *command], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def repository(folder, package, name="heavytail"):
    """A repository with one commit, and a copy of the version file in `package`, which is committed too."""
    file = folder / package / "heavytail" / "version.py"
    file.parent.mkdir(parents=True)
    shutil.copy(version.__file__, file)
    if name:
        (folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return file


@pytest.fixture
def asked_anew():
    results.code_version.cache_clear()
    yield
    results.code_version.cache_clear()


@pytest.mark.parametrize(
    ("package", "name"),
    [
        (".venv/lib/python3.12/site-packages", "heavytail"),  # installed inside a checkout of this project
        (".venv/lib/python3.12/site-packages", "theirs"),
        ("vendored", "theirs"),
        (".", "theirs"),
        (".", None),
    ],
)
@pytest.mark.usefixtures("asked_anew")
def test_the_commit_of_somebody_elses_repository_is_not_taken_for_ours(package, name, tmp_path, monkeypatch):
    monkeypatch.setattr(version, "__file__", str(repository(tmp_path, package, name)))
    monkeypatch.setattr(version, "COMMIT", None, raising=False)
    assert results.code_version() == __version__
    monkeypatch.setattr(version, "COMMIT", "abc1234", raising=False)
    results.code_version.cache_clear()
    assert results.code_version() == f"{__version__}+abc1234"


@pytest.mark.usefixtures("asked_anew")
def test_a_checkout_of_this_project_says_its_commit_whatever_was_built_in_it(tmp_path, monkeypatch):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    monkeypatch.setattr(version, "__file__", str(repository(ours, ".")))
    repository(theirs, ".", "theirs")
    monkeypatch.setattr(version, "COMMIT", "abc1234", raising=False)
    commit = git(ours, "rev-parse", "HEAD")[:7]
    assert results.code_version() == f"{__version__}+{commit}"
    (ours / "pyproject.toml").write_text('name = "heavytail"\n# changed\n')
    monkeypatch.setenv("GIT_DIR", str(theirs / ".git"))  # as in a hook of another repository
    results.code_version.cache_clear()
    assert results.code_version() == f"{__version__}+{commit}-dirty"


@pytest.mark.usefixtures("asked_anew")
def test_without_git_the_build_says_the_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(version, "COMMIT", "abc1234", raising=False)
    assert results.code_version() == f"{__version__}+abc1234"


SHORT = [
    (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
    (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "Resource temporarily unavailable"),
    (subprocess.TimeoutExpired("git", 10), "no answer in 10 s"),
    (subprocess.CalledProcessError(-9, "git"), "ended by signal 9"),
]


def short(monkeypatch, error):
    def run(*command, **options):
        raise error

    monkeypatch.setattr(version.subprocess, "run", run)


@pytest.mark.parametrize(("error", "reason"), SHORT)
@pytest.mark.usefixtures("asked_anew")
def test_a_commit_that_git_knows_is_not_left_out_where_git_cannot_answer(error, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(version, "__file__", str(repository(tmp_path, ".")))
    short(monkeypatch, error)
    with pytest.raises(RuntimeError, match=rf"git could not be asked .*{tmp_path.name}.* \({reason}\): run the same"):
        results.code_version()
    (tmp_path / ".git").rename(tmp_path / "elsewhere")  # no checkout, and git has nothing to say
    assert results.code_version() == __version__


@pytest.mark.usefixtures("asked_anew")
def test_the_commit_is_asked_for_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(version, "__file__", str(repository(tmp_path / "code", ".")))
    short(monkeypatch, SHORT[0][0])
    run, looks = Run(dataset="digits", width=2, lr=0.1, max_steps=1, eval_every=1), []
    with pytest.raises(RuntimeError, match="git could not be asked"):
        train(run, progress=False, on_look=lambda *look: looks.append(look))
    with pytest.raises(RuntimeError, match="git could not be asked"):
        sweep(run, store=tmp_path / "store", progress=False)
    monkeypatch.setattr(Discretisation, "path", lambda *_, **__: looks.append(_))
    with pytest.raises(RuntimeError, match="git could not be asked"):
        simulate(SIMULATIONS)
    assert not looks


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


def test_weights_of_what_is_no_run_are_refused():
    with pytest.raises(TypeError, match=r"^weights are those of a Run, not of None$"):
        results.Results(results.tabled([]), {}).weights(None)
