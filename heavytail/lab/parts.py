"""What of its data set a run sees: the samples that it trains on, and those on which it is measured."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from heavytail import streams
from heavytail.lab.datasets import Dataset, identity
from heavytail.lab.runs import Run


def seen(run: Run, dataset: Dataset) -> Dataset:
    """The data set as this run sees it; the same one for every run with the same `samples` and `validation`.

    With `validation` so many training samples, drawn without replacement by the name of the data set alone, take the
    place of the test split, and the rest keep their order. Of these `samples` are used, the first ones.
    """
    held, left = held_out(run, dataset)
    changed = dataset
    if held is not None:
        x, y = dataset.x_train, dataset.y_train
        changed = replace(dataset, x_train=x[left], y_train=y[left], x_test=x[held], y_test=y[held])
    return replace(changed, x_train=changed.x_train[: run.samples], y_train=changed.y_train[: run.samples])


def held_out(run: Run, dataset: Dataset) -> tuple[Tensor | None, Tensor]:
    """The places of the training samples that `validation` sets aside, None without, and of those left: each ascending.

    Raises ValueError if none would be left.
    """
    _left(run, dataset)
    count = len(dataset.y_train)
    every = torch.arange(count, device=dataset.y_train.device)
    if run.validation is None:
        return None, every
    name = identity.base(run.dataset)  # not the id: a copy of one's own that differs in a value has the same places
    shuffle = streams.generator(streams.key(0, "validation", name), "validation")
    mask = torch.zeros(count, dtype=torch.bool)
    mask[torch.randperm(count, generator=shuffle)[: run.validation]] = True
    mask = mask.to(every.device)
    return every[mask], every[~mask]


def check(run: Run, dataset: Dataset) -> None:
    """Raise ValueError with one sentence if a run asks for more samples than there are, or for some of one class."""
    left = _left(run, dataset)
    kind = "training samples" if run.validation is None else "training samples that validation leaves"
    if run.samples is not None and run.samples > left:
        raise ValueError(
            f"samples={run.samples} is more than the {left} {kind} of {dataset.name}: use samples=None for all"
        )
    samples = run.samples or left
    if run.batch_size is not None and run.batch_size > samples:
        raise ValueError(
            f"batch_size={run.batch_size} is more than the {samples} training samples of {dataset.name}: use "
            f"batch_size=None for the full batch"
        )
    there, where = (len(dataset.y_test), "test samples") if run.validation is None else (run.validation, "set aside")
    if run.robustness is not None and run.robustness > there:
        raise ValueError(
            f"robustness={run.robustness} is more than the {there} {where} of {dataset.name}: use robustness={there} "
            f"for all"
        )
    held, rest = held_out(run, dataset)
    _mixed("samples", run.samples, dataset.y_train[rest], dataset.name)
    _mixed("robustness", run.robustness, dataset.y_test if held is None else dataset.y_train[held], dataset.name)


def _mixed(field: str, many: int | None, labels: Tensor, name: str) -> None:
    """Files may be sorted by class, as those of ECG5000 are: then the first samples stand for nothing."""
    first = labels[:many]
    if 1 < len(first) < len(labels) and bool((first == first[0]).all()) and not bool((labels == first[0]).all()):
        raise ValueError(
            f"{field}={many} takes the first samples of {name}, which are all of one class: take more of them, up to "
            f"all {len(labels)}, or shuffle a data set of your own"
        )


def _left(run: Run, dataset: Dataset) -> int:
    """How many training samples `validation` leaves; ValueError if none."""
    count = len(dataset.y_train)
    left = count - (run.validation or 0)
    if left < 1:
        raise ValueError(
            f"validation={run.validation} leaves nothing of the {count} training samples of {dataset.name} to train "
            f"on: set aside fewer"
        )
    return left
