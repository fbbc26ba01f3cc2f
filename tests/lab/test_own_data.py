"""Runs on data of one's own: name and contents are their identity, in a training, a sweep, a grid and a command."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from heavytail import Results, Run, cli, sweep, train
from heavytail.lab import datasets, queue, results, trainer
from heavytail.lab import store as stores
from heavytail.lab.datasets import from_arrays
from heavytail.lab.runs import read_grid, settled

RUN = Run(dataset="mine", width=6, lr=0.1, max_steps=5, noise="shared", alpha=1.75, sigma=0.1)
RUNS = [replace(RUN, seed=seed) for seed in (1, 2)]


def arrays(seed=0, rows=(30, 20)):
    """Three classes that are shifted against each other."""
    random, splits = np.random.default_rng(seed), []
    for count in rows:
        y = np.arange(count) % 3
        splits += [random.normal(size=(count, 4)) + y[:, None], y]
    return splits


MINE, OTHER = from_arrays("mine", *arrays()), from_arrays("mine", *arrays(1))


def trained(run, dataset=MINE):
    return train(run, data={"mine": dataset}, progress=False)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def untrainable(monkeypatch):
    def fail(*_):
        raise AssertionError("training began")

    monkeypatch.setattr(queue, "_together", fail)


# training


def test_a_row_says_name_and_digest_and_its_key_is_that_of_the_run_it_says():
    outcome = trained(RUNS)
    assert outcome.table["dataset"].tolist() == [MINE.id, MINE.id]
    assert not outcome.table["verified"].any()
    assert outcome.table["seed"].tolist() == [1, 2]
    again = results.runs_of(outcome.table)
    assert again == settled(RUNS, {"mine": MINE.id})
    assert [run.key for run in again] == outcome.table["key"].tolist()


@pytest.mark.parametrize("call", ["mine", MINE.id])
def test_weights_are_found_by_the_run_that_was_made_and_by_the_one_in_the_table(call, tmp_path):
    outcome = trained([replace(run, dataset=call) for run in RUNS])
    outcome.save(tmp_path)
    for found in (outcome, Results.load(tmp_path)):
        for run in RUNS:
            expected = outcome.weights(replace(run, dataset=MINE.id))
            assert expected["1.weight"].shape == (6, 4)
            assert same(found.weights(run), expected)
    with pytest.raises(KeyError, match="no weights of this run here"):
        outcome.weights(replace(RUN, dataset=OTHER.id))
    with pytest.raises(KeyError, match="no weights of this run here"):
        outcome.weights(replace(RUN, dataset="other"))


def test_own_data_is_trained_on_as_given():
    """One full-batch step of plain SGD, by autograd on the tensors of the data set."""
    run = Run(dataset="mine", width=6, lr=0.1, max_steps=1, seed=3)
    model = trainer.initial_model(run, MINE)
    nn.functional.cross_entropy(model(MINE.x_train), MINE.y_train).backward()
    expected = {name: (p - 0.1 * p.grad).detach() for name, p in model.named_parameters()}
    for name, weight in trained(run).weights(run).items():
        torch.testing.assert_close(weight, expected[name])


def test_the_same_contents_under_one_name_are_the_same_run_wherever_they_come_from(tmp_path, monkeypatch):
    np.savez(tmp_path / "mine.npz", **dict(zip(("x_train", "y_train", "x_test", "y_test"), arrays(), strict=True)))
    monkeypatch.chdir(tmp_path)
    keys = {trained(RUN).table["key"][0], trained(replace(RUN, dataset=MINE.id)).table["key"][0]}
    for path in ("mine.npz", "./mine.npz", str(tmp_path / "mine.npz")):
        run = replace(RUN, dataset=path)
        outcome = train(run, progress=False)
        keys.add(outcome.table["key"][0])
        assert same(outcome.weights(run), trained(RUN).weights(RUN))
    assert len(keys) == 1


def test_a_published_data_set_that_is_replaced_does_not_pass_for_itself():
    digits, run = datasets.load("digits"), Run(dataset="digits", width=4, max_steps=2)
    few = replace(digits, x_train=digits.x_train[:200], y_train=digits.y_train[:200])
    official, explicit = train(run, progress=False), train(run, data={"digits": digits}, progress=False)
    replaced = train(run, data={"digits": few}, progress=False)
    assert official.table["key"][0] == explicit.table["key"][0] == run.key
    assert official.table["dataset"][0] == explicit.table["dataset"][0] == "digits"
    assert official.table["verified"][0]
    assert explicit.table["verified"][0]
    assert replaced.table["dataset"][0] == few.id != "digits"
    assert replaced.table["key"][0] != run.key
    assert not replaced.table["verified"][0]
    assert replaced.weights(run).keys() == official.weights(run).keys()


@pytest.mark.parametrize("split", ["x_train", "y_train", "x_test", "y_test"])
def test_published_data_that_numpy_changed_do_not_pass_for_themselves(split):
    changed, run = datasets.load("digits"), Run(dataset="digits", width=4, max_steps=2)
    getattr(changed, split).numpy()[:5] = 0
    for given in (changed, changed.to("cpu"), pickle.loads(pickle.dumps(changed))):
        table = train(run, data={"digits": given}, progress=False).table
        assert table["dataset"][0] == given.id != "digits"
        assert not table["verified"][0]


def test_a_name_with_several_contents_in_a_table_does_not_name_one():
    outcome = train(
        [RUN, replace(RUN, dataset="other", seed=2)],
        data={"mine": MINE, "other": replace(OTHER, name="other")},
        progress=False,
    )
    assert sorted(outcome.table["dataset"]) == sorted([MINE.id, replace(OTHER, name="other").id])
    both = Results(
        results.tabled(trained(RUN).table.to_dict("records") + trained(RUN, OTHER).table.to_dict("records")),
        {**trained(RUN)._weights, **trained(RUN, OTHER)._weights},
    )
    with pytest.raises(KeyError, match="data of several contents are called 'mine' here"):
        both.weights(RUN)
    assert same(both.weights(replace(RUN, dataset=OTHER.id)), trained(RUN, OTHER).weights(RUN))


# identity


def test_a_run_has_no_key_before_it_is_known_what_it_trains_on():
    for name in ("mine", "mnsit", "path/to/mine.npz"):
        with pytest.raises(
            ValueError, match=rf"^a run of '{name}' has no key before it meets its data: choose one of dig"
        ):
            _ = Run(dataset=name).key
    keys = {replace(RUN, dataset=name).key for name in (MINE.id, OTHER.id, "digits", "ecg5000")}
    assert len(keys) == 4


DATA = {"mine": MINE}


@pytest.mark.parametrize(
    ("names", "data", "kind", "sentence"),
    [
        (
            ["mnsit"],
            None,
            ValueError,
            r"^unknown data set 'mnsit': choose one of digits, ecg5000, mnist, cifar10, cifar100, ",
        ),
        (
            ["mnsit"],
            DATA,
            ValueError,
            r"^unknown data set 'mnsit': choose one of digits, ecg5000, mnist, cifar10, cifar100, ",
        ),
        (["mine", "mnsit"], DATA, ValueError, r"^unknown data set 'mnsit': "),
        (["mine", "digits"], {}, ValueError, r"^unknown data set 'mine': "),
        (["digits"], DATA, ValueError, r"^no run uses data\['mine'\]: the runs use digits, so leave out mine$"),
        (
            ["mine"],
            {**DATA, "a": MINE, "b": MINE},
            ValueError,
            r"^data\['a'\] is the data set 'mine': give it under its",
        ),
        (
            ["mine"],
            {"mine": MINE, "a": replace(MINE, name="a")},
            ValueError,
            r"^no run uses data\['a'\]: .* leave out a$",
        ),
        (["mine"], [MINE], TypeError, r"^data must be a mapping such as {'mine': dataset}, not a list$"),
        (["mine"], MINE, TypeError, r"^data must be a mapping such as {'mine': dataset}, not a Dataset$"),
        (
            ["mine"],
            {"mine": arrays()},
            TypeError,
            r"^data\['mine'\] is a list: make a data set of it by datasets.from_arra",
        ),
        ([OTHER.id], DATA, ValueError, rf"^a run is of {OTHER.id}, but data\['mine'\] is {MINE.id}: its contents are"),
        (
            [OTHER.id],
            None,
            ValueError,
            rf"^a run is of {OTHER.id}, which is not here: give it in data={{'mine': ...}}$",
        ),
        (["mine", MINE.id], DATA, ValueError, r"^this run is listed twice: "),
        (["absent.npz"], None, FileNotFoundError, r"^there is no file absent.npz: "),
        (["dir/mine.npz"], DATA, ValueError, r"^no run uses data\['mine'\]"),
    ],
)
@pytest.mark.usefixtures("untrainable")
def test_runs_and_data_that_do_not_meet_are_refused_before_any_training(names, data, kind, sentence, tmp_path):
    runs = [replace(RUN, dataset=name) for name in names]
    for act in (
        lambda: train(runs, data=data),
        lambda: sweep(runs, store=tmp_path / "store", data=data, progress=False),
    ):
        with pytest.raises(kind, match=sentence) as refused:
            act()
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "store").exists()


# sweeps


@pytest.fixture(params=[False, True], ids=["here", "executor"])
def executor(request):
    if not request.param:
        yield None
        return
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_a_sweep_trains_what_training_trains_and_finds_its_runs_again(executor, tmp_path, monkeypatch):
    expected = trained(RUNS)
    first = sweep(RUNS, executor, store=tmp_path, data={"mine": MINE}, progress=False)
    monkeypatch.setattr(stores, "keep", None)  # nothing is trained from here on
    again = sweep(RUNS, executor, store=tmp_path, data={"mine": MINE}, progress=False)
    by_id = sweep([replace(run, dataset=MINE.id) for run in RUNS], executor, store=tmp_path, progress=False)
    for outcome in (first, again, by_id):
        left = outcome.table.drop(columns="seconds")
        assert left.equals(expected.table.drop(columns="seconds"))
        assert all(same(outcome.weights(run), expected.weights(run)) for run in RUNS)


def test_two_contents_under_one_name_never_share_a_row_of_a_store(executor, tmp_path):
    outcomes = [sweep(RUNS, executor, store=tmp_path, data={"mine": d}, progress=False) for d in (MINE, OTHER)]
    assert not set(outcomes[0].table["key"]) & set(outcomes[1].table["key"])
    assert len(list((tmp_path / "rows").iterdir())) == 4
    for outcome, dataset in zip(outcomes, (MINE, OTHER), strict=True):
        assert all(same(outcome.weights(run), trained(RUNS, dataset).weights(run)) for run in RUNS)


def test_a_replaced_published_data_set_reaches_the_workers_of_a_sweep(executor, tmp_path):
    run = Run(dataset="digits", width=4, max_steps=2)
    replaced = from_arrays("mine", *arrays())
    replaced = replace(replaced, name="digits")
    outcome = sweep(run, executor, store=tmp_path, data={"digits": replaced}, progress=False)
    assert outcome.table["dataset"][0] == replaced.id
    assert outcome.weights(run)["1.weight"].shape == (4, 4)
    assert sweep(run, executor, store=tmp_path, progress=False).weights(run)["1.weight"].shape == (4, 64)


def test_more_runs_by_id_go_on_with_the_data_in_the_store(executor, tmp_path):
    sweep(RUNS, executor, store=tmp_path, data={"mine": MINE}, progress=False)
    more = replace(RUN, dataset=MINE.id, seed=9)
    outcome = sweep(more, executor, store=tmp_path, progress=False)
    assert same(outcome.weights(more), trained(replace(RUN, seed=9)).weights(replace(RUN, seed=9)))


@pytest.mark.parametrize("damage", ["garbage", "other values", "gone"])
def test_damaged_data_in_a_store_is_named_and_made_whole_by_giving_it_again(damage, executor, tmp_path):
    sweep(RUNS, executor, store=tmp_path, data={"mine": MINE}, progress=False)
    path = tmp_path / "data" / f"{MINE.id}.safetensors"
    content = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(b"garbage")
    elif damage == "other values":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        path.unlink()
    more = replace(RUN, dataset=MINE.id, seed=9)
    with pytest.raises(ValueError, match="is not here" if damage == "gone" else f"{path} is damaged: give it in data="):
        sweep(more, executor, store=tmp_path, progress=False)
    sweep(more, executor, store=tmp_path, data={"mine": MINE}, progress=False)
    assert path.read_bytes() == content


# files, grids, commands


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """A grid whose runs name a file beside it, and the folder it lies in as the current one."""
    np.savez(tmp_path / "mine.npz", **dict(zip(("x_train", "y_train", "x_test", "y_test"), arrays(), strict=True)))
    path = tmp_path / "grid.toml"
    path.write_text('[[quick]]\ndataset = "mine.npz"\nwidth = 6\nmax_steps = 3\nseed = [1, 2]\n')
    monkeypatch.chdir(tmp_path)
    return path


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_grid_and_a_command_may_name_a_file(command, grid, capsys):
    options = ["--store", "store"] if command == "sweep" else []
    assert cli.main([command, str(grid), "--out", "table.parquet", *options]) == 0
    table = results.read_table("table.parquet")
    assert table["dataset"].tolist() == [MINE.id, MINE.id]
    expected = train(read_grid(grid, "quick"), progress=False).table
    assert table["train_loss"].tolist() == expected["train_loss"].tolist()
    assert cli.main([command, str(grid), "--out", "table.parquet", *options, "--set", "dataset=./mine.npz"]) == 0
    assert results.read_table("table.parquet")["key"].tolist() == table["key"].tolist()
    capsys.readouterr()


@pytest.mark.parametrize("command", ["train", "sweep"])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mnsit", "heavytail: unknown data set 'mnsit': choose one of digits, ecg5000"),
        ("absent.npz", "heavytail: there is no file absent.npz"),
        ("grid.npz", "heavytail: grid.npz: it is not a NumPy archive of plain arrays"),
        ("a/b", "heavytail: profile 'quick' of grid.toml: a data set cannot be called 'a/b'"),
    ],
)
def test_a_command_refuses_data_that_is_none_in_one_line(command, name, sentence, grid, capsys):
    grid.with_suffix(".npz").write_text("nothing")
    options = ["--store", "store"] if command == "sweep" else []
    assert cli.main([command, str(grid), "--out", "t.parquet", *options, "--set", f"dataset={json.dumps(name)}"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(sentence)
    assert told.count("\n") == 1
