"""A store finds whatever is not what was written, touches nothing that is not its own, and is there for many users."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import subprocess
import sys
import warnings
from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch
from fault_counts import ALL, ONE_SENTENCE, UNDISTURBED, some
from hypothesis import given
from hypothesis import strategies as st
from made_up_outcomes import OTHER, RUN, assert_equal, outcome, snapshot
from made_up_results import diverged, measured
from places import (
    HOSTILE,
    a_folder,
    a_link_to_nothing,
    a_pipe,
    limit,
    open_folder,
    opened,
    somebody,
    state,
    umask,
    user,
)

from heavytail import grid, sweep, train
from heavytail.lab import datasets, store, trainer
from heavytail.lab.engines import two_layer
from heavytail.lab.machine import files
from heavytail.lab.trainer import Snapshot

DAMAGE, LIMITS, SHARED = "damaged files of stores", "full disks and limits", "stores of many users"
FOREIGN = "files of others in a store"

_DRAWN = torch.Generator().manual_seed(1)
MINE = datasets.from_arrays(
    "mine", torch.randn(20, 6, generator=_DRAWN), torch.arange(20) % 2, torch.randn(8, 6, generator=_DRAWN), [0, 1] * 4
)
RUNS = grid(dataset=MINE.id, width=4, lr=0.1, max_steps=4, seed=[1, 2, 3])


def swept(folder, runs=RUNS, **options):
    return sweep(runs, store=folder, data={"mine": MINE}, progress=False, **options)


@pytest.fixture(scope="module")
def undisturbed():
    return train(RUNS, data={"mine": MINE}, progress=False)


@pytest.fixture
def folder(tmp_path):
    return store.prepare(tmp_path / "store")


def assert_same(one, other):
    assert one.table.drop(columns="seconds").equals(other.table.drop(columns="seconds"))
    for run in RUNS:
        assert_equal(dict(sorted(one.weights(run).items())), dict(sorted(other.weights(run).items())))


def refuse_to_work(*_, **__):
    raise AssertionError("the work began")


# damage


def each_byte(content):
    for place in range(len(content)):
        yield content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def lengths(content):
    return (content[:length] for length in range(0, len(content), 7))


def thinned(contents, damage):
    return list(contents) if ALL or damage is others else list(contents)[:: 50 if damage is each_byte else 5]


def others(content):
    return (
        content + b"\n",
        content * 2,
        b"\x00" * len(content),
        random.Random(1).randbytes(300),
        b"{}",
        b"[]",
        b'"row"',
        b"null",
        b"[" * 9999,
    )


@pytest.mark.parametrize("damage", [each_byte, lengths, others])
@pytest.mark.parametrize("room", ["rows", "weights"])
def test_any_change_of_a_finished_run_is_found(room, damage, folder, tried):
    store.keep(folder, outcome(RUN))
    (path,) = (folder / room).iterdir()
    sound = path.read_bytes()
    for content in thinned(damage(sound), damage):
        path.write_bytes(content)
        with pytest.raises(store.Damaged, match=rf"^{path} (is damaged|holds the row of another run)$"):
            store.find(folder, RUN)
        tried(DAMAGE, ONE_SENTENCE)
    path.write_bytes(sound)
    assert store.find(folder, RUN)


@pytest.mark.parametrize("damage", [lengths, others])
def test_a_snapshot_that_was_cut_or_overwritten_is_found(damage, folder, tried):
    store.keep_snapshot(folder, "cpu", snapshot(RUN))
    (path,) = (folder / "snapshots").iterdir()
    for content in thinned(damage(path.read_bytes()), damage):
        path.write_bytes(content)
        with pytest.raises(store.Damaged, match=rf"^{path} is damaged$"):
            store.find_snapshot(folder, "cpu", RUN)
        tried(DAMAGE, ONE_SENTENCE)


def test_a_snapshot_with_a_changed_byte_is_found_or_says_the_same(folder, tried):
    put = snapshot(RUN)
    store.keep_snapshot(folder, "cpu", put)
    (path,) = (folder / "snapshots").iterdir()
    found = 0
    contents = thinned(each_byte(path.read_bytes()), each_byte)
    for content in contents:
        path.write_bytes(content)
        try:
            again = store.find_snapshot(folder, "cpu", RUN)
        except store.Damaged:
            found += 1
            tried(DAMAGE, ONE_SENTENCE)
        else:
            assert replace(again, weights={}) == replace(put, weights={})
            assert_equal(dict(sorted(again.weights.items())), dict(sorted(put.weights.items())))
            tried(DAMAGE, UNDISTURBED)
    assert found > 0.9 * len(contents)


def test_an_unreadable_file_is_named(tried):
    with open_folder() as folder:
        place = store.prepare(folder / "store")
        store.keep(place, outcome(RUN))
        for room in ("rows", "weights"):
            (path,) = (place / room).iterdir()
            path.chmod(0)
            with somebody(), pytest.raises(store.Unwritable, match=rf"^{path} cannot be read \(Permission denied\)$"):
                store.find(place, RUN)
            path.chmod(0o644)
            tried(DAMAGE, ONE_SENTENCE)


FORGED_ROWS = [
    {"key": "0" * 16},
    {"seed": True},
    {"seed": 2},
    {"width": 4.0},
    {"dataset": "digits2"},
    {"train_loss": "low"},
    {"train_loss": True},
    {"train_loss": [0.1]},
    {"steps": 1.5},
    {"steps": 2**63},
    {"steps": 10**400},
    {"steps": {}},
    {"status": 7},
    {"reason": ["a"]},
    {"verified": "yes"},
    {"verified": 1},
    {"seconds": "long"},
    {"sampler": "2"},
    {"code": 1},
    {"norm_rms": {"a": 1}},
    {"reason": "no file \ud800"},
    {"code": None},
    {"verified": None},
    {"pruning_ratio": None},
    {"status": "great"},
    {"status": None},
    {"steps": -5},
    {"steps": RUN.max_steps + 1},
    {"seconds": -1.0},
    {"seconds": math.nan},
    {"seconds": math.inf},
    {"pruning_ratio": 7},
    {"twin_pruning_ratio": -0.1},
    {"test_accuracy_share_0.3": 1.5},
    {"norm_median": -1.0},
]


HONEST_ROWS = [
    measured(),
    diverged(),
    {**diverged(), "status": "failed", "reason": "OSError: no file", "steps": 0, "seconds": 0.0},
    {**diverged(), "status": "out_of_memory", "steps": 0, "seconds": 0.0},
    measured(pruning_ratio=1, steps=RUN.max_steps, norm_rms=math.inf, tail_index=math.nan, status="stalled"),
]


@pytest.mark.parametrize("numbers", HONEST_ROWS, ids=lambda numbers: numbers["status"])
def test_a_row_of_any_status_is_found_as_it_was_kept(numbers, folder):
    put = outcome(RUN, numbers)
    store.keep(folder, put)
    assert repr(store.find(folder, RUN).row) == repr(dict(put.row))


@pytest.mark.parametrize("change", FORGED_ROWS, ids=str)
def test_a_forged_row_with_a_sound_digest_is_found(change, folder, tried):
    store.keep(folder, outcome(RUN))
    path = folder / "rows" / f"{RUN.key}.json"
    whole = json.loads(path.read_bytes())
    path.write_bytes(store._text({**whole["row"], **change}, whole["weights"]))
    with pytest.raises(store.Damaged, match=rf"^{path} (is damaged|holds the row of another run)$"):
        store.find(folder, RUN)
    tried(DAMAGE, ONE_SENTENCE)


def test_forged_weights_with_a_sound_digest_are_refused_when_they_are_read(folder, tried):
    store.keep(folder, outcome(RUN))
    path = folder / "weights" / f"{RUN.key}.safetensors"
    for content in (b"", b"nonsense", b"\xff" * 99):
        path.write_bytes(content)
        found = store.Weights(folder, {RUN.key: store._sha256(content)})
        with pytest.raises(store.Damaged, match=rf"^{path} holds no weights: sweep the same grid again$"):
            found[RUN.key]
        tried(DAMAGE, ONE_SENTENCE)


FORGED_SNAPSHOTS = [
    {"step": -1}, {"step": 0}, {"step": RUN.max_steps}, {"step": 10**30}, {"step": 7.0}, {"step": True}, {"step": "7"},
    {"step": None}, {"step": []}, {"waited": -1}, {"waited": 8}, {"waited": 2.0}, {"waited": "x"}, {"waited": None},
    {"best": math.nan}, {"best": 1.5}, {"best": math.inf}, {"best": 1}, {"best": "x"}, {"best": None},
    {"seconds": -1.0}, {"seconds": math.nan}, {"seconds": math.inf}, {"seconds": 1}, {"seconds": {}}, {"weights": {}},
]  # fmt: skip


@pytest.mark.parametrize("change", FORGED_SNAPSHOTS, ids=str)
def test_a_forged_snapshot_with_a_sound_digest_is_found(change, folder, tried):
    store.keep_snapshot(folder, "cpu", snapshot(RUN, **change))
    (path,) = (folder / "snapshots").iterdir()
    with pytest.raises(store.Damaged, match=rf"^{path} is damaged$"):
        store.find_snapshot(folder, "cpu", RUN)
    tried(DAMAGE, ONE_SENTENCE)


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers())


@given(st.fixed_dictionaries(dict.fromkeys(("step", "waited", "best", "seconds"), anything)))
def test_a_snapshot_says_where_a_run_can_have_been_or_is_damaged(tmp_path_factory, scalars):
    folder = store.prepare(tmp_path_factory.getbasetemp() / "forged")
    store.keep_snapshot(folder, "cpu", snapshot(RUN, **scalars))
    try:
        again = store.find_snapshot(folder, "cpu", RUN)
    except store.Damaged:
        return
    assert 0 < again.step < RUN.max_steps
    assert 0 <= again.waited <= again.step
    assert again.best <= 1
    assert math.isfinite(again.seconds)


def spoiled(weights, how):
    first = next(iter(weights))
    if how == "a tensor of another shape":
        return {**weights, first: weights[first].T.contiguous()}
    if how == "a tensor of one more axis":
        return {**weights, first: weights[first][None]}
    if how == "a tensor too many":
        return {**weights, "more": torch.zeros(2)}
    if how == "a tensor too few":
        return {name: w for name, w in weights.items() if name != first}
    if how == "double":
        return {name: w.double() for name, w in weights.items()}
    return {name: w.long() for name, w in weights.items()}


@pytest.mark.parametrize(
    "how",
    [
        "a tensor of another shape",
        "a tensor of one more axis",
        "a tensor too many",
        "a tensor too few",
        "double",
        "whole numbers",
    ],
)
def test_a_snapshot_of_another_network_is_named_and_its_run_done_again(how, folder, undisturbed, tried):
    put = Snapshot(RUNS[0], 2, spoiled(undisturbed.weights(RUNS[0]), how))
    store.keep_snapshot(folder, "cpu", put)
    (path,) = (folder / "snapshots").iterdir()
    with pytest.warns(UserWarning, match=rf"^{path} holds the weights of another network: set aside in .*done again$"):
        again = swept(folder)
    assert_same(again, undisturbed)
    assert [one.name for one in (folder / "damaged").iterdir()] == [f"snapshots-{path.name}"]
    tried(DAMAGE, ONE_SENTENCE)


def test_a_snapshot_with_weights_that_are_no_numbers_is_named_and_its_run_done_again(folder, undisturbed, tried):
    weights = {name: w.clone() for name, w in undisturbed.weights(RUNS[0]).items()}
    next(iter(weights.values()))[0, 0] = math.nan
    store.keep_snapshot(folder, "cpu", Snapshot(RUNS[0], 2, weights))
    with pytest.warns(
        UserWarning, match=r"\.safetensors holds weights that are no numbers: set aside in .*done again$"
    ):
        again = swept(folder)
    assert_same(again, undisturbed)
    tried(DAMAGE, ONE_SENTENCE)


@pytest.mark.parametrize(("value", "count"), [(1.0, 3), (math.inf, 3), (math.nan, 0)])
def test_no_snapshot_is_kept_of_weights_that_are_no_numbers(value, count, monkeypatch):
    monkeypatch.setattr(two_layer, "weights", lambda *_: {"1.weight": torch.tensor([0.0, value])})
    kept = []
    list(trainer.outcomes([RUNS[0]], data={MINE.id: MINE}, progress=False, keep=kept.append, keep_every=0))
    assert len(kept) == count


@pytest.mark.parametrize("make", [*HOSTILE, a_link_to_nothing])
@pytest.mark.parametrize("room", ["rows", "weights", "snapshots"])
def test_what_lies_in_the_place_of_a_file_is_named_set_aside_and_its_run_done_again(
    room, make, tmp_path, undisturbed, tried
):
    folder = tmp_path / "store"
    swept(folder)
    path = folder / room / f"{RUNS[0].key}.{'json' if room == 'rows' else 'safetensors'}"
    path.unlink(missing_ok=True)
    make(path)
    if room == "snapshots":
        (folder / "rows" / f"{RUNS[0].key}.json").unlink()
    with pytest.warns(UserWarning, match=rf"^{path} is a .*: set aside in {folder / 'damaged'}, and the run is done"):
        assert_same(swept(folder), undisturbed)
    assert os.path.lexists(folder / "damaged" / f"{room}-{path.name}")
    assert not os.path.lexists(folder / "nothing")
    tried(DAMAGE, ONE_SENTENCE)


@pytest.mark.parametrize("make", [*HOSTILE, a_link_to_nothing])
def test_what_lies_in_the_place_of_a_lock_or_of_a_folder_is_named_and_left_alone(make, tmp_path, monkeypatch, tried):
    monkeypatch.setattr(trainer, "outcomes", refuse_to_work)
    for number, place in enumerate((f"locks/{RUNS[0].key}.lock", "rows", "weights", "snapshots", "locks")):
        folder = tmp_path / str(number)
        if "/" in place or make is not a_folder:
            path = folder / place
            path.parent.mkdir(parents=True)
            make(path)
            before = state(path)
            said = rf"^(the store {folder} cannot be written \({path}.*\)|{path}.* cannot be read)"
            with pytest.raises(store.Unwritable, match=said) as told:
                swept(folder)
            assert "\n" not in str(told.value)
            assert state(path) == before
            tried(DAMAGE, ONE_SENTENCE)


def test_a_file_where_damaged_ones_would_go_is_named(folder, tried):
    swept(folder)
    (folder / "damaged").write_text("mine")
    (folder / "rows" / f"{RUNS[0].key}.json").write_text("nonsense")
    with pytest.warns(UserWarning, match="set aside"), pytest.raises(store.Unwritable, match=rf"{folder / 'damaged'}"):
        swept(folder)
    assert (folder / "damaged").read_text() == "mine"
    tried(DAMAGE, ONE_SENTENCE)


# files of others


def test_files_of_others_are_left_alone(tmp_path, undisturbed, tried):
    folder = store.prepare(tmp_path / "store")
    key = "0123456789abcdef"
    names = ["README.txt", ".hidden", ".README.txt.abcd1234.part", "x.lock", f"{key}.lock.bak", f"{key.upper()}.lock"]
    names += [
        f"{key}0.lock",
        f".{key}.json.abcd1234.part~",
        f".{key}0.json.abcd1234.part",
        ".x@y.safetensors.abcd1234.part",
    ]
    for room, name in itertools.product(("rows", "weights", "snapshots", "data", "locks", "damaged", "."), names):
        (folder / room).mkdir(exist_ok=True)
        (folder / room / name).write_text("mine")
    for room, make in itertools.product(("rows", "weights", "snapshots", "locks"), HOSTILE):
        make(folder / room / make.__name__)
    for make, end in itertools.product((a_folder, a_pipe), ("lock", "json")):  # of the names of its own, but no files
        make(folder / "locks" / f"{key[:-1]}{HOSTILE.index(make)}.{end}")
        make(folder / "rows" / f".{key}.{end}.{HOSTILE.index(make)}bcd1234.part")
    before = state(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(swept(folder), undisturbed)
        assert_same(swept(folder), undisturbed)
    after = state(folder)
    assert {name for name, value in before.items() if after.get(name) != value} == set()
    tried(FOREIGN, UNDISTURBED)


def test_what_is_its_own_and_dead_is_removed(folder, tried):
    dead = [folder / "locks" / f"{RUN.key}.lock"]
    dead += [folder / room / f".{RUN.key}.safetensors.ab12cd34.part" for room in ("weights", "snapshots")]
    dead += [
        folder / "rows" / f".{RUN.key}.json.ab12cd34.part",
        folder / "data" / f".{MINE.id}.safetensors.ab12cd34.part",
    ]
    for path in dead:
        path.write_text("half")
    store.prepare(folder)
    assert not any(path.exists() for path in dead)
    tried(FOREIGN, UNDISTURBED)


# limits


@pytest.mark.parametrize("most", some([256, 128, 64], 3))
def test_a_low_limit_of_open_files_is_kept_to(most, tmp_path, tried):
    """What a process has open beside its locks is not part of the test: the limit is so many more than that."""
    runs = grid(dataset=MINE.id, width=1, lr=0.1, max_steps=1, seed=range(most + 44))
    with limit("RLIMIT_NOFILE", opened() + most):
        table = swept(tmp_path, runs).table
    assert set(table["status"]) == {"max_steps"}
    assert len(table) == len(runs)
    tried(LIMITS, UNDISTURBED)


def test_no_more_runs_are_claimed_than_may_be_held(folder, tried):
    runs = grid(dataset="digits", width=1, seed=range(300))
    with ExitStack() as held:
        for number in range(60):  # what a process has open beside its locks does not count
            held.enter_context((folder.parent / f"open-{number}").open("w"))
        held.enter_context(limit("RLIMIT_NOFILE", opened() + 100))
        mine = held.enter_context(store.claim(folder, runs))
        assert mine == runs[:50]
        assert not any(store.is_free(folder, run) for run in mine)
        assert store.is_free(folder, runs[50])
    assert files.at_once(7) == 7
    tried(LIMITS, UNDISTURBED)


@pytest.mark.parametrize("size", some([0, 100, 300, 1000], 2))
def test_a_file_that_may_not_grow_is_one_sentence_and_the_next_sweep_goes_on(size, folder, undisturbed, tried):
    with (
        limit("RLIMIT_FSIZE", size),
        pytest.raises(OSError, match=rf"^the store {folder} cannot be written \({folder}/.*: File too large\)") as told,
    ):
        swept(folder)
    assert "\n" not in str(told.value)
    assert_same(swept(folder), undisturbed)
    tried(LIMITS, ONE_SENTENCE)


def test_a_store_in_the_home_of_nobody_is_one_sentence_that_names_it(tried):
    with pytest.raises(ValueError, match=r"^~nobody-at-all/x is in the home of nobody here: correct its name$"):
        swept("~nobody-at-all/x")
    tried(LIMITS, ONE_SENTENCE)


@pytest.mark.skipif(sys.platform != "linux", reason="workers meet at a socket on Linux alone")
def test_a_folder_of_temporary_files_that_is_too_long_for_a_socket_is_one_sentence(tmp_path, tried):
    deep = tmp_path / ("d" * 100) / "e"
    deep.mkdir(parents=True)
    work = "from heavytail.lab.machine import workers\nwith workers.processes(2): pass"
    env = {**os.environ, "TMPDIR": str(deep)}
    done = subprocess.run([sys.executable, "-c", work], env=env, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        f"RuntimeError: no worker process started (AF_UNIX path too long): they meet in the folder of temporary files "
        f"{deep}, name a short one that can be written in TMPDIR"
    )
    tried(LIMITS, ONE_SENTENCE)


# many users

GROUP, ONE, TWO = 54321, 54322, 54323


@pytest.fixture
def shared():
    """A folder in which a group of users may write, and what they make in it belongs to the group."""
    if os.geteuid() != 0:
        pytest.skip("only root can be two users")
    with open_folder() as folder:
        os.chown(folder, 0, GROUP)
        folder.chmod(0o2775)
        with umask(0o002):
            yield folder / "store"


def test_a_second_user_of_a_group_goes_on_with_a_sweep(shared, undisturbed, tried):
    with user(ONE, GROUP):
        swept(shared, RUNS[:2])
        store.keep_snapshot(shared, "cpu", Snapshot(RUNS[2], 2, undisturbed.weights(RUNS[2])))
        (shared / "snapshots" / f"{RUNS[2].key}.safetensors").unlink()
        dead = [shared / "locks" / f"{RUNS[2].key}.lock", shared / "rows" / f".{RUNS[2].key}.json.abcd1234.part"]
        for path in dead:
            path.touch(0o644)
    with user(TWO, GROUP):
        assert_same(swept(shared), undisturbed)
    assert not any(path.exists() for path in dead)
    assert (shared / "rows" / f"{RUNS[2].key}.json").stat().st_uid == TWO
    assert (shared / "rows" / f"{RUNS[0].key}.json").stat().st_uid == ONE
    tried(SHARED, UNDISTURBED)


@pytest.mark.parametrize("mask", [0o002, 0o022])
def test_a_run_that_another_user_is_at_is_not_free(mask, shared, tried):
    with user(ONE, GROUP):
        store.prepare(shared)
    with user(ONE, GROUP), umask(mask):
        held = store.claim(shared, [RUN])
        assert held.__enter__() == [RUN]
    with user(TWO, GROUP):
        assert not store.is_free(shared, RUN)
        assert store.is_free(shared, OTHER)
        store.prepare(shared)
        assert not store.is_free(shared, RUN)
    held.__exit__(None, None, None)
    with user(TWO, GROUP), store.claim(shared, [RUN]) as mine:
        assert mine == [RUN]
    tried(SHARED, UNDISTURBED)


def test_a_second_user_sets_aside_what_the_first_ones_damaged_files_are(shared, undisturbed, tried):
    with user(ONE, GROUP):
        swept(shared)
        (shared / "rows" / f"{RUNS[0].key}.json").write_text("nonsense")
    with user(TWO, GROUP), pytest.warns(UserWarning, match=r"is damaged: set aside"):
        assert_same(swept(shared), undisturbed)
    tried(SHARED, ONE_SENTENCE)


def frozen(folder):
    """Take the right to write from everything."""
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.mark.parametrize("empty", [True, False])
def test_a_finished_store_that_may_only_be_read_is_read(empty, undisturbed, tried):
    with open_folder() as folder:
        swept(folder / "store")
        if not empty:  # as a copy may leave out folders that hold nothing
            for room in ("locks", "snapshots"):
                (folder / "store" / room).rmdir()
        frozen(folder / "store")
        before = state(folder)
        with somebody(), warnings.catch_warnings():
            warnings.simplefilter("error")
            assert_same(swept(folder / "store"), undisturbed)
        assert state(folder) == before
    tried(SHARED, UNDISTURBED)


@pytest.mark.parametrize("room", [".", "rows", "weights", "snapshots", "locks"])
def test_a_store_that_may_only_be_read_and_lacks_a_run_is_told_before_the_work(room, monkeypatch, tried):
    with open_folder() as folder:
        place = folder / "store"
        with somebody():
            swept(place, RUNS[:2])
            frozen(place) if room == "." else (place / room).chmod(0o555)
            monkeypatch.setattr(trainer, "outcomes", refuse_to_work)
            said = rf"^the store {place} cannot be written \({place / room}.*: Permission denied\): 2 of 3 runs are"
            with pytest.raises(store.Unwritable, match=said):
                swept(place)
        assert len(list((place / "rows").iterdir())) == 2
    tried(SHARED, ONE_SENTENCE)


def test_a_finished_store_on_a_mount_that_may_only_be_read_is_read(tmp_path, undisturbed, tried):
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], capture_output=True, check=False).returncode:
        pytest.skip("a disk cannot be mounted here: that takes root")
    try:
        swept(place / "store")
        (place / "store" / "locks" / f"{RUNS[0].key}.lock").touch()
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        assert_same(swept(place / "store"), undisturbed)
        with pytest.raises(store.Unwritable, match=r"Read-only file system\): 3 of 4 runs are finished and safe"):
            swept(place / "store", [*RUNS, replace(RUNS[0], seed=9)])
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)
    tried(SHARED, UNDISTURBED)


# what is read


def test_weights_are_read_to_be_checked_once_a_sweep(folder, monkeypatch, tried):
    read = []
    checked = store._sha256_of
    monkeypatch.setattr(store, "_sha256_of", lambda path: read.append(path.stem) or checked(path))
    swept(folder)
    assert read == []  # the digest is that of what was written
    swept(folder)
    assert sorted(read) == sorted(run.key for run in RUNS)
    tried(DAMAGE, UNDISTURBED)
