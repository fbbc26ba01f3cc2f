"""A table of simulations has one writer, and holds what its records gave: each number once, under the right key."""

from __future__ import annotations

import warnings

import pandas as pd
import pyarrow
import pytest
from fault_counts import ONE_SENTENCE, UNDISTURBED, some
from places import a_folder, a_pipe, limit, open_folder, somebody, state
from pyarrow import parquet

from heavytail import cli
from heavytail.lab import results, simulations
from heavytail.lab.simulations import (
    Ablation,
    Averaging,
    Batches,
    Chaos,
    Discretisation,
    Exposure,
    Fluctuations,
    Pruning,
    Surely,
    Untrained,
)

TABLES, LIMITS = "tables of simulations", "full disks and limits"
SMALL = {
    "chaos": [Chaos(alpha=alpha, width=4, repeats=3, reference=16, steps=4) for alpha in (1.5, 2)],
    "averaging": [Averaging(alpha=alpha, width=200, repeats=3) for alpha in (1.5, 2)],
    "discretisation": [Discretisation(alpha=alpha, width=3, repeats=2, finest=64) for alpha in (1.5, 2)],
    "pruning": [Pruning(alpha=alpha, width=20, repeats=3, steps=4) for alpha in (1.5, 2)],
    "ablation": [Ablation(alpha=alpha, width=20, repeats=3, activation="erf") for alpha in (1.5, 2)],
    "surely": [Surely(alpha=alpha, width=20, repeats=3, steps=4) for alpha in (1.5, 2)],
    "batches": [Batches(alpha=alpha, width=3, repeats=2, finest=64) for alpha in (1.5, 2)],
    "fluctuations": [Fluctuations(alpha=a, width=4, repeats=3, reference=16, steps=4, limit=9) for a in (1.5, 2)],
    "exposure": [Exposure(alpha=alpha, width=4, samples=3) for alpha in (1.5, 2)],
    "untrained": [Untrained(alpha=alpha, width=20, inputs=5, repeats=3) for alpha in (1.5, 2)],
}


@pytest.fixture(scope="module")
def whole():
    return {study: simulations.simulate(records) for study, records in SMALL.items()}


def same(one, other):
    pd.testing.assert_frame_equal(
        *(frame.drop(columns="seconds").reset_index(drop=True) for frame in (one, other)),
        check_exact=True,
        check_dtype=False,
    )


# what a table must hold


def in_several_chunks():
    several = Pruning(alpha=1.5, width=2**18, repeats=20, steps=0)
    assert len(several.chunks(0)) > 1
    return {several: simulations.simulate([several])}


@pytest.mark.parametrize("study", [*SMALL, "in several chunks"])
@pytest.mark.long
def test_a_study_gives_the_numbers_that_its_record_promises(study, whole):
    found = dict.fromkeys(SMALL[study], whole[study]) if study in SMALL else in_several_chunks()
    for record, frame in found.items():
        rows = frame[frame["key"] == record.key]
        assert rows.groupby(["quantity", "level"]).size().to_dict() == record.numbers
        for _, numbers in rows.groupby(["quantity", "level"]):
            assert sorted(numbers["repeat"]) == list(range(len(numbers)))


def without(row):
    return lambda rows: rows.drop(rows.index[row])


def doubled(row):
    return lambda rows: pd.concat([rows, rows.iloc[[row]]])


def with_(name, value):
    return lambda rows: rows.assign(**{name: value})


def with_one(name, value):
    def change(rows):
        rows = rows.copy()
        rows.loc[rows.index[1], name] = value
        return rows

    return change


DAMAGES = {
    "the first row is gone": without(0),
    "a row is gone": without(2),
    "the last row is gone": without(-1),
    "a row is there twice": doubled(1),
    "all are there twice": lambda rows: pd.concat([rows, rows]),
    "one row is left": lambda rows: rows.head(1),
    "a row in the place of another": lambda rows: pd.concat([rows.drop(rows.index[0]), rows.iloc[[1]]]),
    "another alpha": with_("alpha", 1.9),
    "another alpha in one row": with_one("alpha", 1.9),
    "another width": with_("width", 21),
    "another seed": with_("seed", 7),
    "another noise": with_("noise", "shared"),
    "another study": with_("study", "chaos2"),
    "another quantity": with_one("quantity", "luck"),
    "a quantity without a name": with_one("quantity", None),
    "another level": with_one("level", 99),
    "a repeat too high": with_one("repeat", 99),
    "a repeat below 0": with_one("repeat", -1),
    "code of two versions": with_one("code", "0.0.1"),
    "two torches": with_one("torch", "1.0"),
    "two devices": with_one("device", "cuda"),
    "two times": with_one("seconds", -1.0),
    "a column is gone": lambda rows: rows.drop(columns="inputs"),
}
CASES = [(study, damage) for study in SMALL for damage in DAMAGES]


@pytest.mark.parametrize(("study", "damage"), some(CASES, 3))
def test_what_is_not_all_that_was_written_is_named_and_run_again(study, damage, whole, tmp_path, tried):
    path, records, frame = tmp_path / "t.parquet", SMALL[study], whole[study]
    first = frame["key"] == records[0].key
    spoiled = pd.concat([DAMAGES[damage](frame[first]), frame[~first]])
    if damage == "a column is gone":
        spoiled = spoiled.drop(columns="inputs")
    spoiled.to_parquet(path, index=False)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        again = simulations.fill(path, records)
    same(again, frame)
    said = [str(one.message) for one in told]
    assert all(one.startswith(f"{path} holds ") and one.endswith(", and it is run again") for one in said)
    if damage == "code of two versions":  # which is made again like all rows of other code
        assert len(said) <= 1
    else:
        assert len(said) == (2 if damage == "a column is gone" else 1)
    if damage != "a column is gone":
        kept = again["key"] == records[1].key
        assert (again.loc[kept, "seconds"].to_numpy() == frame.loc[~first, "seconds"].to_numpy()).all()  # not run again
    tried(TABLES, ONE_SENTENCE)


def test_the_command_says_so_in_one_line(tmp_path, capsys, tried):
    (tmp_path / "s.toml").write_text('study = "pruning"\n[[quick]]\nalpha = 1.5\nwidth = 20\nrepeats = 2\n')
    path = tmp_path / "t.parquet"
    command = ["simulate", str(tmp_path / "s.toml"), "--out", str(path)]
    assert cli.main(command) == 0
    results.write_table(results.read_table(path).head(1), path)
    capsys.readouterr()
    assert cli.main(command) == 0
    key = Pruning(alpha=1.5, width=20, repeats=2).key
    assert capsys.readouterr().err == (
        f"heavytail: {path} holds 1 numbers of the simulation {key}, not each of its 2 once, and it is run again\n"
    )
    tried(TABLES, ONE_SENTENCE)


@pytest.mark.parametrize("name", ["value", "alpha", "inputs", "repeat", "noise twice", "value twice"])
def test_a_column_of_text_or_one_that_is_there_twice_is_one_line_that_names_the_file(
    name, whole, tmp_path, capsys, tried
):
    path, grid = tmp_path / "t.parquet", tmp_path / "s.toml"
    grid.write_text('study = "pruning"\n[[quick]]\nalpha = 1.5\nwidth = 20\nrepeats = 3\nsteps = 4\n')
    simulations.fill(path, SMALL["pruning"][:1])
    frame, column = results.read_table(path), name.partition(" ")[0]
    if column == name:
        frame.assign(**{name: frame[name].astype(str)}).to_parquet(path, index=False)
    else:
        whole_file = pyarrow.Table.from_pandas(frame, preserve_index=False)
        parquet.write_table(whole_file.append_column(column, whole_file[column]), path)
    told = cli.main(["simulate", str(grid), "--out", str(path)])
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"heavytail: {path} ")
    assert said.endswith(", and it is run again" if name == "inputs" else "delete it and make it again")
    assert told == (0 if name == "inputs" else 2)
    tried(TABLES, ONE_SENTENCE)


WRONG_KINDS = {
    "repeat": ["a", 1.5, [1], None],
    "level": ["none", 0.25, [0]],
    "quantity": [1, [1], b"error"],
    "value": ["large", [1.0], True],
    "key": [7, ["a"], None, "0" * 16],
    "sampler": ["two", [2]],
    "code": [1, [2]],
}


@pytest.mark.parametrize(("name", "value"), some([(name, v) for name, vs in WRONG_KINDS.items() for v in vs], 2))
def test_a_column_of_another_kind_is_one_sentence_or_run_again(name, value, whole, tmp_path, tried):
    path, records = tmp_path / "t.parquet", SMALL["pruning"]
    frame = whole["pruning"]
    frame.assign(**{name: [value] * len(frame)}).to_parquet(path, index=False)
    before = path.read_bytes()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            again = simulations.fill(path, records)
        except ValueError as error:
            said = str(error)
            assert path.read_bytes() == before
        else:
            same(again, frame)
            said = str(warned[0].message) if warned else ""
    assert not said or (said.startswith(f"{path} ") and "\n" not in said)
    tried(TABLES, ONE_SENTENCE if said else UNDISTURBED)


@pytest.mark.parametrize("place", some(range(40), 8))
def test_a_changed_byte_is_found_or_changes_nothing(place, whole, tmp_path, tried):
    path, records = tmp_path / "t.parquet", SMALL["pruning"]
    results.write_table(whole["pruning"], path)
    content = bytearray(path.read_bytes())
    content[(2 * place + 1) * len(content) // 80] ^= 1 << place % 8
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            again = simulations.fill(path, records)
        except (ValueError, OSError) as error:
            said = str(error)
        else:
            same(again, whole["pruning"])
            said = ""
    assert not said or (str(path) in said and "\n" not in said)
    tried(TABLES, ONE_SENTENCE if said else UNDISTURBED)


@pytest.mark.parametrize("make", [a_folder, a_pipe])
def test_what_is_no_file_is_named_and_left_alone(make, tmp_path, tried):
    make(tmp_path / "t.parquet")
    before = state(tmp_path)
    with pytest.raises(ValueError, match=rf"^{tmp_path / 't.parquet'} is a (folder|pipe)"):
        simulations.fill(tmp_path / "t.parquet", SMALL["pruning"])
    assert state(tmp_path) == before
    tried(TABLES, ONE_SENTENCE)


# one writer


def test_a_second_writer_is_refused_and_the_first_ones_table_is_whole(tmp_path, whole, monkeypatch, tried):
    path, records = tmp_path / "t.parquet", SMALL["pruning"]
    link = tmp_path / "link.parquet"
    link.symlink_to(path.name)
    each, refused = simulations.each, []

    def interrupted(todo, *, device):
        for rows in each(todo, device=device):
            for name in (path, link):
                with pytest.raises(ValueError, match=rf"^another simulate is at {name}: wait until it is done") as told:
                    simulations.fill(name, records)
                refused.append(told)
            yield rows

    monkeypatch.setattr(simulations, "each", interrupted)
    same(simulations.fill(path, records), whole["pruning"])
    assert len(refused) == 4
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link.parquet", "t.parquet"]
    for _ in refused:
        tried(TABLES, ONE_SENTENCE)


def test_a_writer_that_fails_leaves_no_lock(tmp_path, monkeypatch, whole, tried):
    path, records = tmp_path / "t.parquet", SMALL["pruning"]

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(results, "write_table", stop)
        with pytest.raises(KeyboardInterrupt):
            simulations.fill(path, records)
    assert list(tmp_path.iterdir()) == []
    same(simulations.fill(path, records), whole["pruning"])
    tried(TABLES, UNDISTURBED)


def test_a_whole_table_that_may_only_be_read_is_read(whole, tried):
    records = SMALL["pruning"]
    with open_folder() as folder:
        path = folder / "t.parquet"
        results.write_table(whole["pruning"], path)
        path.chmod(0o444)
        folder.chmod(0o555)
        with somebody():
            same(simulations.fill(path, records), whole["pruning"])
            with pytest.raises(OSError, match=rf"^{path} cannot be written \(Permission denied\): name another place$"):
                simulations.fill(path, [*records, Pruning(alpha=1.7, width=20)])
        folder.chmod(0o777)
    tried(TABLES, UNDISTURBED)


@pytest.mark.parametrize("size", some([0, 100, 1000, 5000], 2))
def test_a_table_that_may_not_grow_is_one_sentence_and_goes_on(size, tmp_path, whole, tried):
    path, records = tmp_path / "t.parquet", SMALL["pruning"]
    with limit("RLIMIT_FSIZE", size), pytest.raises(OSError, match=rf"^{path} cannot be written \(.*\)$") as told:
        simulations.fill(path, records)
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []
    same(simulations.fill(path, records), whole["pruning"])
    tried(LIMITS, ONE_SENTENCE)
