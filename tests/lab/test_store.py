"""A store gives back what was put in, to the bit, and knows every file that is not what was written."""

from __future__ import annotations

import itertools
import json
import math
import os
import pickle
import shutil
import stat
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_outcomes import OTHER, RUN, assert_equal, outcome, snapshot
from made_up_results import diverged, measured

from heavytail import _sampler
from heavytail.lab import results, store
from heavytail.lab.machine import files
from heavytail.lab.trainer import Snapshot


@pytest.fixture
def folder(tmp_path):
    return store.prepare(tmp_path / "store")


# in and out


@pytest.mark.parametrize("numbers", [measured(train_loss=0.1 + 0.2, test_accuracy=1 / 3), diverged()])
def test_a_finished_run_comes_back_to_the_last_bit(numbers, folder):
    put = outcome(RUN, numbers)
    store.keep(folder, put)
    kept = store.find(folder, RUN)
    assert list(kept.row) == list(put.row)
    for name, value in put.row.items():
        again = kept.row[name]
        assert isinstance(value, type(again)), name
        assert again == value or (math.isnan(again) and math.isnan(value)), name
    found = store.Weights(folder, {RUN.key: kept.digest})
    assert (list(found), len(found)) == ([RUN.key], 1)
    assert_equal(dict(sorted(found[RUN.key].items())), dict(sorted(put.weights.items())))


def test_scalars_of_numpy_and_torch_become_plain_numbers(folder):
    store.keep(folder, outcome(RUN, measured(train_loss=np.float64(0.1), steps=np.int64(3), verified=np.bool_(True))))
    row = store.find(folder, RUN).row
    assert (row["train_loss"], row["steps"], row["verified"]) == (0.1, 3, True)
    assert [type(row[name]) for name in ("train_loss", "steps", "verified")] == [float, int, bool]


def test_a_run_that_is_not_there_is_none(folder):
    store.keep(folder, outcome(RUN))
    assert store.find(folder, OTHER) is None
    assert store.find_snapshot(folder, "cpu", RUN) is None


def test_weights_that_do_not_lie_in_order_in_memory_are_kept(folder):
    crossed = torch.arange(6.0).reshape(2, 3).T
    store.keep(folder, replace(outcome(RUN), weights={"w": crossed}))
    kept = store.find(folder, RUN)
    assert torch.equal(store.Weights(folder, {RUN.key: kept.digest})[RUN.key]["w"], crossed)


def test_a_snapshot_comes_back_to_the_last_bit(folder):
    put = snapshot(RUN, best=-math.inf)
    store.keep_snapshot(folder, "cpu", snapshot(RUN, step=3))
    store.keep_snapshot(folder, "cpu", put)
    again = store.find_snapshot(folder, "cpu", RUN)
    for field in fields(Snapshot):
        assert field.name == "weights" or getattr(again, field.name) == getattr(put, field.name)
    assert_equal(dict(sorted(again.weights.items())), dict(sorted(put.weights.items())))


def test_a_finished_run_needs_no_snapshot(folder):
    store.keep_snapshot(folder, "cpu", snapshot(RUN))
    store.keep(folder, outcome(RUN))
    assert store.find_snapshot(folder, "cpu", RUN) is None
    assert list((folder / "snapshots").iterdir()) == []


@pytest.mark.parametrize("changed", ["code", "torch", "sampler", "device"])
def test_a_snapshot_of_other_code_or_another_device_is_not_used(changed, folder, monkeypatch):
    store.keep_snapshot(folder, "cpu", snapshot(RUN))
    assert store.find_snapshot(folder, "cpu", RUN)
    if changed == "code":
        monkeypatch.setattr(results, "code_version", lambda: "0.0.1")
    if changed == "torch":
        monkeypatch.setattr(torch, "__version__", "2.0")
    if changed == "sampler":
        monkeypatch.setattr(_sampler, "SAMPLER_VERSION", -1)
    with pytest.raises(store.Damaged, match="was made by other code or on another device"):
        store.find_snapshot(folder, "cuda" if changed == "device" else "cpu", RUN)


def test_no_file_of_a_store_is_a_pickle_and_others_may_read_it(folder):
    store.keep(folder, outcome(RUN))
    store.keep_snapshot(folder, "cpu", snapshot(OTHER))
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert len(paths) == 3
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        with pytest.raises((pickle.UnpicklingError, ValueError, EOFError, KeyError, IndexError)):
            pickle.loads(path.read_bytes())
    assert json.loads((folder / "rows" / f"{RUN.key}.json").read_text())["row"]["seed"] == 1


# damage


def test_files_of_another_run_are_found(folder):
    store.keep(folder, outcome(RUN))
    store.keep(folder, outcome(OTHER, seed=5))
    store.keep_snapshot(folder, "cpu", snapshot(OTHER))
    shutil.copy(folder / "snapshots" / f"{OTHER.key}.safetensors", folder / "snapshots" / f"{RUN.key}.safetensors")
    with pytest.raises(store.Damaged, match="is damaged"):
        store.find_snapshot(folder, "cpu", RUN)
    shutil.copy(folder / "weights" / f"{OTHER.key}.safetensors", folder / "weights" / f"{RUN.key}.safetensors")
    with pytest.raises(store.Damaged, match=r"weights.* is damaged"):
        store.find(folder, RUN)
    shutil.copy(folder / "rows" / f"{OTHER.key}.json", folder / "rows" / f"{RUN.key}.json")
    with pytest.raises(store.Damaged, match="holds the row of another run"):
        store.find(folder, RUN)
    assert store.find(folder, OTHER)


def test_a_row_without_its_weights_is_found(folder):
    store.keep(folder, outcome(RUN))
    (folder / "weights" / f"{RUN.key}.safetensors").unlink()
    with pytest.raises(store.Damaged, match="is missing"):
        store.find(folder, RUN)


@pytest.mark.parametrize("room", ["rows", "weights", "snapshots"])
def test_a_folder_in_the_place_of_a_file_is_found_and_set_aside(room, folder):
    store.keep(folder, outcome(RUN))
    path = folder / room / f"{RUN.key}.{'json' if room == 'rows' else 'safetensors'}"
    path.unlink(missing_ok=True)
    (path / "inner").mkdir(parents=True)
    with pytest.raises(store.Damaged):
        store.find_snapshot(folder, "cpu", RUN) if room == "snapshots" else store.find(folder, RUN)
    store.set_aside(folder, RUN)
    store.keep(folder, outcome(RUN))
    assert store.find(folder, RUN)


def test_weights_that_changed_after_the_sweep_are_refused_when_they_are_read(folder):
    store.keep(folder, outcome(RUN))
    found = store.Weights(folder, {RUN.key: store.find(folder, RUN).digest})
    path = folder / "weights" / f"{RUN.key}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(store.Damaged, match="is no longer what was written: sweep the same grid again"):
        found[RUN.key]
    path.unlink()
    with pytest.raises(store.Damaged, match="is no longer what was written"):
        found[RUN.key]


def test_a_row_of_other_columns_is_refused_by_name_and_left_alone(folder, monkeypatch):
    store.keep(folder, outcome(RUN))
    before = (folder / "rows" / f"{RUN.key}.json").read_bytes()
    monkeypatch.setitem(results.COLUMNS, "mood", "of the network")
    with pytest.raises(
        ValueError, match=r"has other columns than this version .* \(mood\): name another store"
    ) as said:
        store.find(folder, RUN)
    assert not isinstance(said.value, store.Damaged)
    assert (folder / "rows" / f"{RUN.key}.json").read_bytes() == before


def test_what_is_set_aside_is_kept_every_time(folder):
    for seed in range(3):
        store.keep(folder, outcome(RUN, seed=seed))
        store.set_aside(folder, RUN)
        assert store.find(folder, RUN) is None
    names = [path.name for path in (folder / "damaged").iterdir()]
    assert len([name for name in names if name.startswith(f"rows-{RUN.key}.json")]) == 3
    assert len([name for name in names if name.startswith(f"weights-{RUN.key}.safetensors")]) == 3


# writing


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_weights_are_in_place_and_on_the_disk_before_the_row(folder, monkeypatch):
    done = []
    replaced, pressed = os.replace, os.fsync

    def replacing(part, path):
        done.append(("move", Path(path).parent.name))
        replaced(part, path)

    def pressing(handle):
        done.append(("press", Path(os.readlink(f"/proc/self/fd/{handle}"))))
        pressed(handle)

    monkeypatch.setattr(os, "replace", replacing)
    monkeypatch.setattr(os, "fsync", pressing)
    store.keep(folder, outcome(RUN))
    seen = [what if what[0] == "move" else ("press", what[1].parent.name, what[1].suffix) for what in done]
    one = [("press", "{}", ".part"), ("move", "{}"), ("press", "store", "")]
    assert seen == [tuple(word.format(room) for word in step) for room in ("weights", "rows") for step in one]


@pytest.mark.parametrize("last", range(6))
def test_ctrl_c_at_any_moment_of_writing_leaves_a_run_whole_or_not_there(last, folder, monkeypatch):
    calls = itertools.count()

    def interrupted(function):
        def called(*args):
            function(*args)
            if next(calls) == last:  # a signal is heard once the call has come back
                raise KeyboardInterrupt

        return called

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, interrupted(getattr(os, name)))
    with pytest.raises(KeyboardInterrupt):
        store.keep(folder, outcome(RUN))
    monkeypatch.undo()
    kept = store.find(folder, RUN)  # warns of damage, which is an error here
    assert (kept is not None) == (last >= 4)  # three calls for the weights, and the row is pressed, moved, pressed
    assert {path.stem for path in (folder / "weights").iterdir()} == ({RUN.key} if kept or last in (1, 2) else set())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_may_not_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(store.Unwritable, match=r"the store .* cannot be written \(.*: Permission denied\)"):
        store.prepare(tmp_path / "store")


def test_a_file_in_the_place_of_the_store_is_refused(tmp_path):
    (tmp_path / "store").write_text("mine")
    with pytest.raises(store.Unwritable, match=r"store cannot be written \(.*: (Not a directory|File exists)"):
        store.prepare(tmp_path / "store")
    assert (tmp_path / "store").read_text() == "mine"


def test_unwritable_survives_the_way_from_a_worker():
    error = pickle.loads(pickle.dumps(store.Unwritable("the store is full")))
    assert (type(error), str(error)) == (store.Unwritable, "the store is full")


# what dead and living writers leave


def test_what_a_dead_writer_left_is_removed_and_a_living_ones_file_is_not(folder):
    dead = folder / "rows" / f".{RUN.key}.json.abcd1234.part"
    dead.write_text("half")
    foreign = folder / "rows" / ".hidden"
    foreign.write_text("mine")
    living = []

    def write(part):
        living.append(part)
        part.write_text("half")
        store.prepare(folder)
        assert part.exists()
        assert not dead.exists()
        part.write_text("whole")

    files.write_atomically(folder / "rows" / "x.json", write)
    assert (folder / "rows" / "x.json").read_text() == "whole"
    assert not living[0].exists()
    assert foreign.read_text() == "mine"


def test_writing_a_file_removes_what_its_dead_writers_left(tmp_path):
    (tmp_path / ".a.json.abcd1234.part").write_text("half")
    (tmp_path / ".b.json.abcd1234.part").write_text("of another file")
    files.write_atomically(tmp_path / "a.json", lambda part: part.write_text("whole"))
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", ".b.json.abcd1234.part"}


# locks


def test_a_run_is_claimed_once_until_it_is_let_go(folder):
    with store.claim(folder, [RUN, OTHER]) as mine:
        assert mine == [RUN, OTHER]
        assert not store.is_free(folder, RUN)
        with store.claim(folder, [RUN]) as none:
            assert none == []
        store.prepare(folder)
        assert not store.is_free(folder, RUN)
    assert store.is_free(folder, RUN)
    assert list((folder / "locks").iterdir()) == []


def test_a_claim_ends_with_an_exception(folder):
    with pytest.raises(KeyboardInterrupt), store.claim(folder, [RUN]):
        raise KeyboardInterrupt
    assert store.is_free(folder, RUN)


def test_where_there_are_no_locks_every_claim_is_granted_and_no_writer_taken_for_dead(folder, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    part = folder / "rows" / ".x.json.abcd1234.part"
    part.write_text("of somebody living, perhaps")
    monkeypatch.setattr("fcntl.flock", refuse)
    with store.claim(folder, [RUN]) as one, store.claim(folder, [RUN]) as two:
        assert one == two == [RUN]
    store.prepare(folder)
    assert part.exists()
    store.keep(folder, outcome(RUN))
    assert store.find(folder, RUN)
