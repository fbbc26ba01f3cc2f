"""A sweep gives what a training gives, by any executor, and does no finished run again unless it was damaged."""

from __future__ import annotations

import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sweep_children import RUNS, assert_same, rows_of

import heavytail
from heavytail import Run, grid, sweep
from heavytail.lab import results, store, sweeps, trainer

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained():
    return heavytail.train(RUNS, progress=False)


@pytest.fixture(scope="module")
def _swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    sweep(RUNS, store=folder, progress=False)
    return folder


@pytest.fixture
def swept(_swept, tmp_path):
    """A store in which all runs are finished."""
    return Path(shutil.copytree(_swept, tmp_path / "swept"))


@pytest.fixture
def calls(monkeypatch):
    """The runs of each call of the trainer."""
    made = []
    outcomes = trainer.outcomes

    def noted(runs, **options):
        made.append(list(runs))
        return outcomes(runs, **options)

    monkeypatch.setattr(trainer, "outcomes", noted)
    return made


class Late:
    """The least that an executor may be: nothing is done before somebody asks, and there is no `cancel`."""

    def __init__(self):
        self.tasks = []

    def submit(self, fn, *arguments):
        self.tasks.append(task := LateTask(fn, arguments, self.tasks))
        return task


class LateTask:
    def __init__(self, fn, arguments, tasks):
        self.fn, self.arguments, self.tasks = fn, arguments, tasks

    def done(self):
        return self is self.tasks[-1]  # the last one is done first

    def result(self):
        self.tasks.remove(self)
        return self.fn(*self.arguments)


# the same as a training


def test_a_sweep_gives_the_table_and_weights_of_a_training_in_the_order_given(trained, tmp_path):
    assert_same(sweep(RUNS, store=tmp_path, progress=False), trained, RUNS)
    backwards = sweep(RUNS[::-1], store=str(tmp_path), progress=False)
    assert results.runs_of(backwards.table) == RUNS[::-1]
    assert list(backwards.table.columns) == list(trained.table.columns)


def test_results_of_a_sweep_are_saved_and_loaded_as_any(swept, trained, tmp_path):
    sweep(RUNS, store=swept, progress=False).save(tmp_path / "saved")
    assert_same(heavytail.Results.load(tmp_path / "saved"), trained, RUNS)


@pytest.mark.parametrize("executor", [Late, lambda: ThreadPoolExecutor(2)], ids=["late", "threads"])
def test_any_executor_gives_the_same(executor, trained, tmp_path):
    assert_same(sweep(RUNS, executor(), store=tmp_path, progress=False), trained, RUNS)


def test_one_run_needs_no_list(trained, swept):
    table = sweep(RUNS[2], store=swept, progress=False).table
    assert list(table["key"]) == [RUNS[2].key]


# what is done, and how it is shared out


def test_finished_runs_are_not_done_again(swept, calls):
    before = rows_of(swept)
    sweep(RUNS, store=swept, progress=False)
    more = [*RUNS, *grid(dataset="digits", width=20, max_steps=3)]
    assert len(sweep(more, store=swept, progress=False).table) == len(more)
    assert calls == [more[-1:]]
    assert before.items() <= rows_of(swept).items()


def test_a_row_of_other_code_is_kept_and_says_so(tmp_path, monkeypatch, calls):
    with monkeypatch.context() as patch:
        patch.setattr(results, "code_version", lambda: "0.0.1")
        sweep(RUNS[:1], store=tmp_path, progress=False)
    table = sweep(RUNS[:2], store=tmp_path, progress=False).table
    assert list(table["code"]) == ["0.0.1", results.code_version()]
    assert calls == [RUNS[:1], RUNS[1:2]]


def test_a_task_holds_runs_of_one_shape_and_no_more_than_asked_for(tmp_path, calls):
    runs = grid(dataset="digits", seed=[1, 2, 3], width=[4, 5], max_steps=1)
    sweep(runs, Late(), store=tmp_path, progress=False, runs_per_task=2)
    assert sorted(len(call) for call in calls) == [1, 1, 2, 2]
    assert all(len({run.width for run in call}) == 1 for call in calls)
    assert {run for call in calls for run in call} == set(runs)


def test_without_an_executor_a_shape_is_one_task_and_with_one_a_run_is(tmp_path, calls):
    runs = grid(dataset="digits", seed=[1, 2, 3], width=4, max_steps=1)
    sweep(runs, store=tmp_path / "here", progress=False)
    assert calls == [runs]
    sweep(runs, Late(), store=tmp_path / "there", progress=False)
    assert sorted(len(call) for call in calls[1:]) == [1, 1, 1]


def test_tasks_take_the_threads_asked_for_and_give_them_back(tmp_path, monkeypatch):
    seen = []
    outcomes = trainer.outcomes

    def noted(*arguments, **options):
        seen.append(torch.get_num_threads())
        return outcomes(*arguments, **options)

    monkeypatch.setattr(trainer, "outcomes", noted)
    runs = grid(dataset="digits", seed=[1, 2], width=4, max_steps=1)
    sweep(runs[:1], Late(), store=tmp_path, progress=False, threads=2)
    sweep(runs[1:], store=tmp_path, progress=False, threads=2)
    assert (seen, torch.get_num_threads()) == ([2, 1], 1)


def test_a_run_that_was_cut_off_goes_on_at_its_last_snapshot(tmp_path, monkeypatch):
    run, outcomes = RUNS[0], trainer.outcomes
    taken, begun = [], []

    def cut(runs, *, keep, **options):
        def kept(snapshot):
            keep(snapshot)
            taken.append(snapshot.step)
            if snapshot.step == 7:
                raise KeyboardInterrupt

        return outcomes(runs, keep=kept, **options)

    def noted(runs, *, snapshots, **options):
        begun.extend(snapshot.step for snapshot in snapshots)
        return outcomes(runs, snapshots=snapshots, **options)

    monkeypatch.setattr(trainer, "outcomes", cut)
    with pytest.raises(KeyboardInterrupt):
        sweep([run], store=tmp_path, progress=False, checkpoint_every=0)
    monkeypatch.setattr(trainer, "outcomes", noted)
    again = sweep([run], store=tmp_path, progress=False)
    assert taken[-1] == 7
    assert begun == [7]
    monkeypatch.undo()
    assert_same(again, heavytail.train(run, progress=False), [run])


# damage


def flip(path):
    content = path.read_bytes()
    path.write_bytes(content[:200] + bytes([content[200] ^ 4]) + content[201:])


def truncate(path):
    path.write_bytes(path.read_bytes()[:-9])


def empty(path):
    path.write_bytes(b"")


def overwrite(path):
    path.write_bytes(b"\xffnonsense" * 50)


def copy_another(path):
    other = next(file for file in path.parent.iterdir() if file != path)
    shutil.copy(other, path)


@pytest.mark.parametrize("damage", [flip, truncate, empty, overwrite, copy_another, Path.unlink])
@pytest.mark.parametrize("room", ["rows", "weights"])
def test_a_damaged_run_is_named_set_aside_and_done_again(room, damage, swept, trained, calls):
    path = next(path for path in sorted((swept / room).iterdir()) if path.stem == RUNS[1].key)
    damage(path)
    left = path.read_bytes() if path.exists() else None
    if room == "rows" and left is None:
        again = sweep(RUNS, store=swept, progress=False)  # without a row the run was never finished
    else:
        with pytest.warns(
            UserWarning, match=rf"{room}/{RUNS[1].key}.*: set aside in .*damaged, .* done again$"
        ) as said:
            again = sweep(RUNS, store=swept, progress=False)
        assert len(said) == 1
        assert left is None or (swept / "damaged" / f"{room}-{path.name}").read_bytes() == left
    assert calls == [[RUNS[1]]]
    assert_same(again, trained, RUNS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sweep(RUNS, store=swept, progress=False)


@pytest.mark.parametrize("damage", [flip, truncate, empty, overwrite, copy_another])
@pytest.mark.long
def test_a_damaged_snapshot_is_named_and_its_run_begins_anew(damage, tmp_path, trained):
    folder = store.prepare(tmp_path)
    for run in RUNS[:2]:
        model = trainer.initial_model(run, heavytail.lab.datasets.load("digits"))
        half = trainer.Snapshot(run, 1, {n: w * 0 for n, w in model.state_dict().items()}, 0.0, 0, 0.0)
        store.keep_snapshot(folder, "cpu", half)
    (folder / "snapshots" / f"{RUNS[1].key}.safetensors").rename(path := folder / "snapshots" / "other.safetensors")
    if damage is not copy_another:
        path.unlink()
    damage(folder / "snapshots" / f"{RUNS[0].key}.safetensors")
    with pytest.warns(UserWarning, match=rf"snapshots/{RUNS[0].key}.* is damaged: set aside .* done again$"):
        again = sweep(RUNS, store=folder, progress=False)
    assert_same(again, trained, RUNS)


def test_files_that_are_none_of_its_own_are_left_alone(swept):
    for name in ("notes.txt", "rows/notes.json", "weights/x.safetensors", "rows/.hidden", ".part"):
        (swept / name).write_text("mine")
    sweep(RUNS, store=swept, progress=False)
    for name in ("notes.txt", "rows/notes.json", "weights/x.safetensors", "rows/.hidden", ".part"):
        assert (swept / name).read_text() == "mine"


# refusals


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"runs": [RUNS[0], RUNS[0]]}, "this run is listed twice"),
        ({"device": "nonsense"}, "device 'nonsense' is not available here"),
        ({"runs_per_task": 0}, "runs_per_task must be at least 1, got 0"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
    ],
)
def test_bad_input_is_refused_before_the_store_is_made(options, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        sweep(options.pop("runs", RUNS), store=tmp_path / "store", progress=False, **options)
    assert not (tmp_path / "store").exists()


def test_a_run_that_does_not_fit_its_data_is_refused_by_the_task(tmp_path):
    bad = Run(dataset="digits", network="vgg", width=4)
    for executor in (None, Late()):
        with pytest.raises(ValueError, match="network 'vgg' needs images"):
            sweep([bad], executor, store=tmp_path, progress=False)
    assert store.is_free(tmp_path, bad)


def test_a_task_that_does_not_come_back_is_one_sentence_and_the_rest_is_cancelled(tmp_path):
    cancelled = []

    class Broken(Late):
        def submit(self, fn, *arguments):
            future = super().submit(fn, *arguments)
            future.cancel = lambda: cancelled.append(future)
            if len(self.tasks) == 2:
                future.result = lambda: 1 / 0
            future.done = lambda: future in self.tasks[:2]
            return future

    runs = [replace(RUNS[0], seed=seed) for seed in range(4)]
    said = r"a task did not come back \(ZeroDivisionError: division by zero\): 1 of 4 runs are finished and safe in .*$"
    with pytest.raises(RuntimeError, match=said):
        sweep(runs, Broken(), store=tmp_path, progress=False)
    assert len(cancelled) == 2
    assert len(sweep(runs, store=tmp_path, progress=False).table) == 4


def test_a_trainer_that_leaves_out_a_run_is_an_error_and_not_a_wait_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "outcomes", lambda *_, **__: iter(()))
    with pytest.raises(RuntimeError, match=f"the trainer left out the runs {RUNS[0].key}"):
        sweep(RUNS[:1], store=tmp_path, progress=False)


def test_after_an_exception_nothing_is_held_even_while_its_traceback_lives(swept, monkeypatch):
    more = [replace(RUNS[0], seed=seed) for seed in (7, 8)]

    def fail(folder, run, **_):
        if run in more and (folder / "rows" / f"{run.key}.json").exists():
            raise KeyboardInterrupt
        return None

    with monkeypatch.context() as patch:
        patch.setattr(sweeps.stores, "find", fail)
        with pytest.raises(KeyboardInterrupt) as kept:
            sweep(more, store=swept, progress=False)
    assert kept.tb is not None
    assert all(store.is_free(swept, run) for run in more)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"threads": "a"}, "^threads must be at least 1, got 'a': give a whole number$"),
        ({"runs_per_task": "a"}, "^runs_per_task must be at least 1, got 'a'"),
        ({"runs_per_task": 1.5}, "^runs_per_task must be at least 1, got 1.5: give a whole number$"),
        ({"checkpoint_every": None}, "^checkpoint_every is a number of seconds, 0 or more, got None$"),
        ({"store": ""}, "^store= is the path of a folder, and empty"),
    ],
)
def test_what_a_sweep_cannot_be_told_is_refused_before_anything_is_made(given, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        sweep(Run(dataset="digits", width=4, max_steps=1), progress=False, **{"store": "kept", **given})
    assert list(tmp_path.iterdir()) == []
