"""Where results go is looked at before the work, and only files are replaced, with the rights that the umask gives."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_counts import ONE_SENTENCE, UNDISTURBED, some
from made_up_outcomes import RUN, outcome, snapshot
from made_up_results import measured, table
from places import HOSTILE, a_folder, a_pipe, limit, open_folder, somebody, state, umask

import heavytail
from heavytail import Results, cli
from heavytail.lab import results, simulations, store
from heavytail.lab.machine import files

OUTPUTS, LIMITS = "outputs", "full disks and limits"
KEY = heavytail.grid(dataset="digits", width=8, max_steps=1)[0].key
GRID = '[[quick]]\ndataset = "digits"\nwidth = 8\nmax_steps = 1\n'
STUDY = 'study = "pruning"\n[[quick]]\nalpha = 1.5\nwidth = 20\nrepeats = 2\n'


def refuse_to_work(*_, **__):
    raise AssertionError("the work began")


@pytest.fixture
def idle(monkeypatch):
    """Whatever would take hours fails the test."""
    monkeypatch.setattr(heavytail, "train", refuse_to_work)
    monkeypatch.setattr(heavytail, "sweep", refuse_to_work)
    monkeypatch.setattr(simulations, "each", refuse_to_work)


def command(verb, folder):
    """The words of a command, its grid in `folder`."""
    grid = folder / "grid.toml"
    grid.write_text(STUDY if verb == "simulate" else GRID)
    return [verb, str(grid), *(["--store", str(folder / "store")] if verb == "sweep" else [])]


def refused(arguments, place, capsys):
    """One sentence, status 2, and the place is named in it."""
    assert cli.main([str(argument) for argument in arguments]) == 2
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.startswith("heavytail: ")
    assert said.count("\n") == 1
    assert str(place) in said
    return ONE_SENTENCE


def a_file_in_the_place_of_its_folder(path):
    path.parent.write_text("mine")


def a_loop_in_the_place_of_its_folder(path):
    path.parent.symlink_to(path.parent.name)


def nothing(path):
    pass


PLACES = {
    **{make.__name__: ("new/t.parquet", make) for make in HOSTILE},
    "a file in the place of its folder": ("new/t.parquet", a_file_in_the_place_of_its_folder),
    "a loop in the place of its folder": ("new/t.parquet", a_loop_in_the_place_of_its_folder),
    "a name as long as a part has no room for": ("new/" + "x" * 242 + ".parquet", nothing),
    "a name of 300 letters": ("new/" + "x" * 292 + ".parquet", nothing),
    "a path of 5000 letters": ("x" * 100 + ("/" + "y" * 99) * 49 + "/t.parquet", nothing),
    "a folder of 300 letters": ("x" * 300 + "/t.parquet", nothing),
    "a folder that nobody makes": ("/proc/heavytail/t.parquet", nothing),
}


def placed(name, folder):
    place, make = PLACES[name]
    path = folder / place
    if make in HOSTILE:
        path.parent.mkdir()
    make(path)
    return path


@pytest.mark.parametrize("verb", ["train", "sweep", "simulate"])
@pytest.mark.parametrize("name", PLACES)
def test_a_table_that_could_not_be_written_is_refused_before_the_work(name, verb, tmp_path, idle, capsys, tried):
    path = placed(name, tmp_path)
    words = command(verb, tmp_path)
    before = state(tmp_path)
    said = refused([*words, "--out", path], path, capsys)
    after = state(tmp_path)
    assert before.items() <= after.items()
    assert after.keys() - before.keys() <= {str(tmp_path / "new")}  # the folder of a name that is too long
    tried(OUTPUTS, said)


@pytest.mark.parametrize("make", HOSTILE)
@pytest.mark.parametrize("name", ["", "table.parquet", f"{KEY}.safetensors"])
def test_weights_that_could_not_be_written_are_refused_before_the_training(name, make, tmp_path, idle, capsys, tried):
    folder = tmp_path / "weights"
    if not name and make is a_folder:
        (folder).write_text("a file")
    elif not name:
        make(folder)
    else:
        folder.mkdir()
        make(folder / name)
    before = state(folder)
    words = [*command("train", tmp_path), "--out", tmp_path / "t.parquet", "--weights", folder]
    said = refused(words, folder / name, capsys)
    assert state(folder) == before
    assert not (tmp_path / "t.parquet").exists()
    tried(OUTPUTS, said)


@contextmanager
def without_the_right_to_write(folder):
    folder.chmod(0o555)
    try:
        with somebody():
            yield
    finally:
        folder.chmod(0o777)


@pytest.mark.parametrize("verb", ["train", "sweep", "simulate"])
def test_a_folder_that_may_not_be_written_is_told_before_the_work(verb, idle, capsys, tried):
    with open_folder() as folder:
        words = command(verb, folder)
        with without_the_right_to_write(folder):
            for path in (folder / "t.parquet", folder / "new" / "t.parquet"):
                tried(OUTPUTS, refused([*words, "--out", path], path, capsys))
        assert [path.name for path in folder.iterdir()] == ["grid.toml"]


def test_a_check_leaves_nothing_and_an_older_table_as_it_is(tmp_path, tried):
    path = tmp_path / "new" / "t.parquet"
    results.check_places(path)
    assert list(path.parent.iterdir()) == []
    path.write_text("older")
    before = state(tmp_path)
    results.check_places(path)
    assert state(tmp_path) == before
    tried(OUTPUTS, UNDISTURBED)


@pytest.mark.parametrize("make", HOSTILE)
def test_only_files_are_replaced_whoever_writes(make, tmp_path, tried):
    path = tmp_path / "place"
    make(path)
    before = state(path)
    with pytest.raises(files.Unwritable, match=rf"^{path} cannot be written \(.*\)$"):
        files.write_atomically(path, lambda part: part.write_text("new"))
    assert state(path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["place"]
    tried(OUTPUTS, ONE_SENTENCE)


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_to_its_file(there, tmp_path, tried):
    target, link = tmp_path / "far" / "t.parquet", tmp_path / "t.parquet"
    target.parent.mkdir()
    link.symlink_to(Path("far") / "t.parquet")
    if there:
        target.write_text("older")
    rows = table([(RUN, measured())])
    results.write_table(rows, link)
    assert link.is_symlink()
    assert not target.is_symlink()
    assert len(results.read_table(target)) == 1
    assert [entry.name for entry in target.parent.iterdir()] == ["t.parquet"]
    tried(OUTPUTS, UNDISTURBED)


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o027, 0o077, 0])
def test_files_and_folders_have_the_modes_that_the_umask_gives(mask, tmp_path, tried):
    with umask(mask):
        Results(table([(RUN, measured())]), {RUN.key: outcome(RUN).weights}).save(tmp_path / "a" / "saved")
        folder = store.prepare(tmp_path / "a" / "store")
        store.keep(folder, outcome(RUN))
        store.keep_snapshot(folder, "cpu", snapshot(RUN))
        with store.claim(folder, [RUN]):
            found = list((tmp_path / "a").rglob("*"))
            assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_file()} == {0o666 & ~mask}
            assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir()} == {0o777 & ~mask}
    assert {path.suffix for path in found} == {"", ".parquet", ".safetensors", ".json", ".lock"}
    tried(OUTPUTS, UNDISTURBED)


# limits


def saved(folder):
    Results(table([(RUN, measured())]), {RUN.key: outcome(RUN).weights}).save(folder)


def kept(folder):
    store.keep(store.prepare(folder / "store"), outcome(RUN))


def a_table(folder):
    results.write_table(table([(RUN, measured())]), folder / "t.parquet")


@pytest.mark.parametrize("size", some([0, 1, 100, 200, 1000], 2))
@pytest.mark.parametrize("write", [a_table, saved, kept])
def test_a_file_that_grows_too_large_is_one_sentence_and_the_older_one_stays(write, size, tmp_path, tried):
    write(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with limit("RLIMIT_FSIZE", size), pytest.raises(OSError, match=r"cannot be written \(.*\)") as told:
        write(tmp_path)
    assert "\n" not in str(told.value)
    assert str(tmp_path) in str(told.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    tried(LIMITS, ONE_SENTENCE)


def test_a_table_that_cannot_be_written_in_the_end_does_not_lose_the_weights(tmp_path, capsys, monkeypatch, tried):
    def full(*_):
        raise OSError(28, "No space left on device", str(tmp_path / "t.parquet"))

    words = command("train", tmp_path)
    monkeypatch.setattr(results, "write_table", full)
    monkeypatch.setattr(Results, "save", lambda self, folder: folder.mkdir())
    said = refused([*words, "--out", tmp_path / "t.parquet", "--weights", tmp_path / "w"], tmp_path, capsys)
    assert (tmp_path / "w").is_dir()
    tried(LIMITS, said)


@pytest.mark.parametrize("make", [a_folder, a_pipe])
def test_a_table_or_weights_that_are_no_files_are_refused_and_not_waited_for(make, tmp_path, tried):
    saved(tmp_path)
    for name, said in ((f"{RUN.key}.safetensors", "holds no weights"), ("table.parquet", "no results table")):
        (tmp_path / name).unlink()
        make(tmp_path / name)
        with pytest.raises(ValueError, match=rf"^{tmp_path / name} is a \w+ and .*{said}"):
            Results.load(tmp_path)
        tried(OUTPUTS, ONE_SENTENCE)
    assert os.path.lexists(tmp_path / "table.parquet")
