"""What of its data a run sees: with a validation part never the test split, and the same part whatever the seed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from made_up_data import made_up

from heavytail import Run, train
from heavytail.lab import datasets, parts, trainer

DIGITS = datasets.load("digits")
RUN = Run(dataset="digits", width=8, lr=0.1, max_steps=5, validation=300)
NOISY = replace(RUN, noise="entrywise", alpha=1.5, sigma=0.1)


def rows_of(x):
    return {tuple(row) for row in x.flatten(1).tolist()}


def spoiled(dataset):
    """The same training split with another test split: that of a wrong label everywhere."""
    return replace(dataset, x_test=-dataset.x_test, y_test=(dataset.y_test + 1) % dataset.classes)


def rows(runs, data):
    """What is measured of runs of this data set, by run."""
    names = ("test_", "train_", "pruning_", "twin_")
    finished = trainer.outcomes(runs, data={"digits": data}, progress=False)
    return {o.run: {k: v for k, v in o.row.items() if k.startswith(names) and v == v} for o in finished}


def test_the_part_and_the_rest_are_the_training_split_and_the_rest_keeps_its_order():
    held, left = parts.held_out(RUN, DIGITS)
    assert len(held) == 300
    assert sorted([*held.tolist(), *left.tolist()]) == list(range(len(DIGITS.y_train)))
    assert held.tolist() == sorted(held.tolist())
    assert left.tolist() == sorted(left.tolist())
    seen = parts.seen(RUN, DIGITS)
    assert torch.equal(seen.x_train, DIGITS.x_train[left])
    assert torch.equal(seen.y_train, DIGITS.y_train[left])
    assert torch.equal(seen.x_test, DIGITS.x_train[held])
    assert torch.equal(seen.y_test, DIGITS.y_train[held])


@pytest.mark.parametrize(
    "changes",
    [{"seed": 9}, {"width": 3}, {"lr": 0.5}, {"noise": "shared", "alpha": 1.9, "sigma": 1.0}, {"samples": 50}],
)
def test_the_part_is_the_same_for_every_run_of_a_data_set(changes):
    assert torch.equal(parts.held_out(replace(RUN, **changes), DIGITS)[0], parts.held_out(RUN, DIGITS)[0])


def test_the_part_is_drawn_at_random_and_by_the_name_of_the_data_set():
    """Under a fair shuffle the mean place is that of all to 8 standard errors of 24: a false alarm in 10^14, seeded."""
    held, _ = parts.held_out(RUN, DIGITS)
    assert abs(held.double().mean() - 718.5) < 8 * 1438 / 12**0.5 / 300**0.5
    other, _ = parts.held_out(replace(RUN, dataset="mnist"), DIGITS)
    assert len(set(held.tolist()) & set(other.tolist())) < 120  # 63 by chance


def test_samples_are_the_first_of_those_left():
    seen = parts.seen(replace(RUN, samples=40), DIGITS)
    assert torch.equal(seen.x_train, parts.seen(RUN, DIGITS).x_train[:40])
    assert torch.equal(seen.x_test, parts.seen(RUN, DIGITS).x_test)


@pytest.mark.parametrize("changes", [{}, {"depth": 2}, {"batch_size": 64}])
def test_the_test_split_is_not_looked_at(changes):
    runs = [replace(run, **changes, robustness=20, tune_steps=2) for run in (RUN, NOISY)]
    first, second = (rows(runs, data) for data in (DIGITS, spoiled(DIGITS)))
    assert first == second
    whole = [replace(run, validation=None) for run in runs]
    assert rows(whole, DIGITS) != rows(whole, spoiled(DIGITS))


def test_what_is_measured_is_the_accuracy_on_the_part_of_a_network_that_never_saw_it():
    [outcome] = trainer.outcomes([RUN], data={"digits": DIGITS}, progress=False)
    seen = parts.seen(RUN, DIGITS)
    model = trainer.final_model(RUN, outcome.weights, DIGITS)
    right = (model(seen.x_test).argmax(1) == seen.y_test).double().mean()
    assert outcome.row["test_accuracy"] == pytest.approx(float(right), abs=1e-9)
    alone = replace(DIGITS, x_train=seen.x_train, y_train=seen.y_train)
    [plain] = trainer.outcomes([replace(RUN, validation=None)], data={"digits": alone}, progress=False)
    for name, weight in outcome.weights.items():
        assert torch.equal(weight, plain.weights[name])


def test_runs_with_and_without_a_part_train_side_by_side_as_alone():
    runs = [RUN, replace(RUN, validation=None), replace(RUN, validation=100), NOISY]
    together = train(runs, progress=False).table
    for place, run in enumerate(runs):
        row = train(run, progress=False).table.iloc[0]
        assert row["test_accuracy"] == together.loc[place, "test_accuracy"]
        assert row["train_loss"] == together.loc[place, "train_loss"]


@pytest.mark.parametrize("field", ["samples", "robustness"])
def test_the_first_samples_of_a_sorted_file_are_refused_while_they_are_of_one_class(field):
    """ECG5000 is sorted: its first 1000 test samples, which a table attacked, were all of one class."""
    mixed = made_up()
    order = {part: getattr(mixed, f"y_{part}").argsort(stable=True) for part in ("train", "test")}
    arrays = {f"{a}_{part}": getattr(mixed, f"{a}_{part}")[order[part]] for a in "xy" for part in order}
    data = replace(mixed, **arrays)
    labels = data.y_train if field == "samples" else data.y_test
    alone = int((labels == labels[0]).sum())
    message = rf"^{field}={alone} takes the first samples of digits, which are all of one class: take more of them"
    with pytest.raises(ValueError, match=message):
        parts.check(replace(RUN, validation=None, **{field: alone}), data)
    parts.check(replace(RUN, validation=None, **{field: alone + 1}), data)
    parts.check(replace(RUN, validation=None, **{field: None}), data)
    parts.check(replace(RUN, validation=None, **{field: alone}), mixed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"validation": 40},
            "validation=40 leaves nothing of the 40 training samples of digits to train on: set aside fewer",
        ),
        (
            {"validation": 35, "samples": 6},
            "samples=6 is more than the 5 training samples that validation leaves of digits",
        ),
        ({"validation": 35, "batch_size": 6}, "batch_size=6 is more than the 5 training samples of digits"),
    ],
)
def test_too_large_a_part_is_refused_before_any_training(changes, message):
    with pytest.raises(ValueError, match=message):
        train(replace(RUN, **changes), data={"digits": made_up()}, progress=False)
