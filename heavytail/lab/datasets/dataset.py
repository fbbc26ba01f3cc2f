"""Loading a data set whole into normalised tensors, and the state of all of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from heavytail.lab.datasets.arrays import Arrays, DataDamaged, checked, verified
from heavytail.lab.datasets.download import advice, fetch
from heavytail.lab.datasets.layouts import DataUnavailable, Place, folder, locate
from heavytail.lab.datasets.official import NAMES, Official, lookup


class UnofficialData(UserWarning):
    """Data of the right form that is not the official data."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, normalised as the paper's code does [C].

    Inputs are float32: digits (N, 64) and ecg5000 (N, 140), mnist (N, 1, 28, 28), cifar10 and cifar100 (N, 3, 32, 32).
    Labels are int64 from 0 to `classes` - 1.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int
    verified: bool  # both splits have the official digest
    source: str  # the file or folder it was read from, or "scikit-learn"

    def to(self, device: torch.device | str) -> Dataset:
        """The same data set with its tensors on that device."""
        return replace(
            self,
            x_train=self.x_train.to(device),
            y_train=self.y_train.to(device),
            x_test=self.x_test.to(device),
            y_test=self.y_test.to(device),
        )


def load(name: str, root: Path | str | None = None, *, classes: int | None = None, download: bool = True) -> Dataset:
    """Read a data set from the data folder (see `folder`), downloading it there first if it is nowhere.

    ecg5000 takes `classes=2` (default) or 5. With 2, label 0 is the normal heartbeat (original class 1) and label 1 all
    others: our choice, as the paper's is not known to us [?]. With 5, label k is the original class k + 1.

    Data of the right form that is not the official data loads with the warning UnofficialData and `verified=False`.
    Raises ValueError for an unknown name or class count, DataUnavailable if the data cannot be had, and DataDamaged if
    a file that is there does not hold such data.

    >>> digits = load("digits")
    >>> digits.x_train.shape, digits.classes, digits.verified
    (torch.Size([1438, 64]), 10, True)
    """
    official = lookup(name)
    count = official.classes[0] if classes is None else classes
    if count not in official.classes:
        counts = " or ".join(str(known) for known in official.classes)
        raise ValueError(f"{name} has {counts} classes, not {classes}: leave `classes` out for {official.classes[0]}.")
    place = locate(official, root)
    if place is None:
        if not download:
            home = folder(root)
            raise DataUnavailable(f"{name} is not in {home}: {advice(official, home)}, or load it with download=True.")
        fetch(name, root)
        return load(name, root, classes=classes, download=False)
    arrays, sound = _read(official, place)
    if not all(sound):
        told = f"{place.path} is loaded as it is, but {_difference(arrays, official, sound)}."
        warnings.warn(told, UnofficialData, stacklevel=2)
    return Dataset(
        name=name,
        x_train=_inputs(arrays.x_train, official),
        y_train=_labels(arrays.y_train, official, count),
        x_test=_inputs(arrays.x_test, official),
        y_test=_labels(arrays.y_test, official, count),
        classes=count,
        verified=all(sound),
        source="scikit-learn" if name == "digits" else str(place.path),
    )


@dataclass(frozen=True)
class Status:
    """One line of the table of data sets."""

    name: str
    source: Path | None  # None: nowhere on this machine
    verified: bool
    note: str


def status(root: Path | str | None = None) -> list[Status]:
    """The state of every data set, found by reading all that is here; nothing is downloaded and nothing is raised."""
    return [_status(lookup(name), root) for name in NAMES]


def _status(official: Official, root: Path | str | None) -> Status:
    try:
        place = locate(official, root)
        if place is None:
            return Status(official.name, None, False, "not here; the first load downloads it")
    except DataUnavailable as error:
        return Status(official.name, None, False, str(error))
    try:
        arrays, sound = _read(official, place)
    except (DataDamaged, OSError) as error:
        return Status(official.name, place.path, False, str(error))
    note = "official" if all(sound) else _difference(arrays, official, sound)
    return Status(official.name, place.path, all(sound), note)


def _read(official: Official, place: Place) -> tuple[Arrays, tuple[bool, bool]]:
    arrays = checked(place.read(), official, place.path)
    return arrays, verified(arrays, official)


def _difference(arrays: Arrays, official: Official, sound: tuple[bool, bool]) -> str:
    parts = [
        f"its {len(x)} {split} rows are not the {rows} official ones"
        for split, (x, _), rows, same in zip(("train", "test"), arrays.splits(), official.rows, sound, strict=True)
        if not same
    ]
    return " and ".join(parts)


def _inputs(x: np.ndarray, official: Official) -> Tensor:
    inputs = torch.tensor(x)
    if inputs.ndim == 3:
        inputs = inputs.unsqueeze(1)
    if inputs.ndim == 4 and len(official.shape) == 3:
        inputs = inputs.permute(0, 3, 1, 2)
    inputs = inputs.to(torch.float32, memory_format=torch.contiguous_format)
    channels = (-1,) + (1,) * (inputs.ndim - 2)
    mean, std = (torch.tensor(constants).view(channels) for constants in (official.mean, official.std))
    return inputs.div_(official.scale).sub_(mean).div_(std)


def _labels(y: np.ndarray, official: Official, classes: int) -> Tensor:
    labels = torch.tensor(y) - official.labels[0]
    return (labels > 0).long() if official.name == "ecg5000" and classes == 2 else labels
