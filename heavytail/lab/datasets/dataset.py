"""Loading a data set whole into normalised tensors, and the state of all of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heavytail.lab.datasets import identity, reading, samples, splits
from heavytail.lab.datasets.arrays import (
    ARRAYS,
    Arrays,
    DataDamaged,
    DataUnreadable,
    by_digest,
    checked,
    shown,
    verified,
)
from heavytail.lab.datasets.download import advice, fetch
from heavytail.lab.datasets.layouts import DataUnavailable, Place, folder, locate
from heavytail.lab.datasets.official import NAMES, OFFICIAL, Official, lookup


class UnofficialData(UserWarning):
    """Data of the right form that is not the official data."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set: one of the paper's from `load`, or one of your own from `from_arrays`, `from_torch` or `from_csv`.

    Inputs are float32: digits (N, 64), ecg5000 and ecg5000-random (N, 140), mnist (N, 1, 28, 28), cifar10 and cifar100
    (N, 3, 32, 32), normalised as the paper's code does [C]; your own are as you gave them. Labels are int64 from 0 to
    `classes` - 1. A changed copy, as by `dataclasses.replace`, is a data set of your own, whatever it is called.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int
    verified: bool  # both splits have the official digest
    source: str  # the file or folder it was read from, or "scikit-learn"
    # Set when the tensors were found sound, to how often each had been changed in place, and, by `load`, to the
    # identity of what was read; a changed copy has neither.
    _sound: tuple[int, ...] | None = field(default=None, init=False, repr=False)
    _loaded: str | None = field(default=None, init=False, repr=False)

    @property
    def id(self) -> str:
        """What a `Run` of it is called in a table: the name alone for official data from `load`, else `name@digest`.

        The digest is 12 hexadecimal digits of the SHA-256 of all that it holds, read anew each time. Raises ValueError
        if it holds anything else than inputs and labels; see `from_arrays`.
        """
        return self.identified()[0]

    def identified(self) -> tuple[str, Dataset]:
        """Its `id`, and this data set if it is known to be sound and as it was loaded, else a checked one of your own.

        Raises ValueError with one sentence; see `from_arrays`.
        """
        known = self.checked()
        identity_now = identity.identity(known.name, known.tensors(), known.classes)
        if known._loaded is not None and known._loaded != identity_now:  # NumPy and `.data` change values uncounted
            known = known._as_own()
        official = known._loaded is not None and known.verified and known.classes == OFFICIAL[known.name].classes[0]
        return known.name if official else identity_now, known

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs and labels of the train split, then of the test split."""
        return self.x_train, self.y_train, self.x_test, self.y_test

    def checked(self) -> Dataset:
        """This data set if it is known to be sound, else a checked one of your own with the same contents.

        Raises ValueError with one sentence; see `from_arrays`.
        """
        if self._sound is not None and self._sound == _changes(self.tensors()):
            # NumPy and `.data` change labels uncounted, and one out of range would be written out of bounds.
            samples.in_range(f"y_train of {self.name}", self.y_train, self.classes)
            samples.in_range(f"y_test of {self.name}", self.y_test, self.classes)
            return self
        return self._as_own()

    def _as_own(self) -> Dataset:
        values = dict(zip(ARRAYS, self.tensors(), strict=True))
        return sound(self.name, values, self.classes, source=str(self.source))

    def to(self, device: torch.device | str) -> Dataset:
        """The same data set with its tensors on that device."""
        moved = replace(
            self,
            x_train=self.x_train.to(device),
            y_train=self.y_train.to(device),
            x_test=self.x_test.to(device),
            y_test=self.y_test.to(device),
        )
        if self._sound is not None and self._sound == _changes(self.tensors()):
            _mark(moved, loaded=self._loaded)
        return moved

    def __getstate__(self) -> dict[str, Any]:
        # A copy in another process counts changes from 0 again.
        unchanged = self._sound is not None and self._sound == _changes(self.tensors())
        return {**self.__dict__, "_sound": () if unchanged else None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        if state["_sound"] is not None:
            _mark(self, loaded=state["_loaded"])


def sound(
    name: str,
    values: Mapping[str, Any],
    classes: object,
    *,
    source: str,
    verified: bool = False,
    copy: bool = False,
) -> Dataset:
    """A data set of one's own with these values, once they are found sound; see `from_arrays`."""
    tensors, count = samples.checked(name, values, classes, copy)
    return _mark(Dataset(name, **tensors, classes=count, verified=verified, source=source), loaded=None)


def _mark(dataset: Dataset, *, loaded: str | None) -> Dataset:
    object.__setattr__(dataset, "_sound", _changes(dataset.tensors()))
    object.__setattr__(dataset, "_loaded", loaded)
    return dataset


def _changes(tensors: tuple[Any, ...]) -> tuple[int, ...] | None:
    """How often each tensor was changed in place; None if one is no tensor."""
    if not all(isinstance(tensor, Tensor) for tensor in tensors):
        return None
    return tuple(0 if tensor.is_inference() else tensor._version for tensor in tensors)


def load(name: str, root: Path | str | None = None, *, classes: int | None = None, download: bool = True) -> Dataset:
    """Read a data set from the data folder (see `folder`), downloading it there first if it is nowhere.

    ecg5000 takes `classes=2` (default) or 5. With 2, label 0 is the normal heartbeat (original class 1) and label 1 all
    others: our choice, as the paper's is not known to us [?]. With 5, label k is the original class k + 1.

    ecg5000-random is read from the files of ecg5000, and official if they are: the 5000 series pooled and split anew
    into 500 and 4500, as the paper may have it [Q], by one shuffle that no seed of a run changes.

    Rows come in the published order, those of cifar100 in the order of their digests: its files come in several orders,
    and the first samples of a run must be the same ones everywhere. Those of ecg5000-random come as they were shuffled.

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
            raise DataUnavailable(
                f"{name} is not in {shown(home)}: {advice(official.base, home)}, or load it with download=True."
            )
        fetch(name, root)
        return load(name, root, classes=classes, download=False)
    arrays, sound = _read(official, place)
    if not all(sound):
        message = f"{place.path} is loaded as it is, but {_difference(arrays, official, sound)}."
        warnings.warn(message, UnofficialData, stacklevel=2)
    dataset = Dataset(
        name=name,
        x_train=_inputs(arrays.x_train, official),
        y_train=_labels(arrays.y_train, official, count),
        x_test=_inputs(arrays.x_test, official),
        y_test=_labels(arrays.y_test, official, count),
        classes=count,
        verified=all(sound),
        source="scikit-learn" if name == "digits" else str(place.path),
    )
    return _mark(dataset, loaded=identity.identity(name, dataset.tensors(), count))


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
    except DataDamaged as error:
        return Status(official.name, place.path, False, str(error))
    note = "official" if all(sound) else _difference(arrays, official, sound)
    return Status(official.name, place.path, all(sound), note)


def _read(official: Official, place: Place) -> tuple[Arrays, tuple[bool, bool]]:
    base = official.base
    try:
        arrays = checked(place.read(), base, place.path)
        if base.by_digest:
            arrays = Arrays(*(values for split in arrays.splits() for values in by_digest(*split)))
        sound = verified(arrays, base)
        return (splits.anew(arrays, official.name) if official.of else arrays), sound
    except (OSError, MemoryError) as error:
        raise DataUnreadable(place.path, reading.brief(error)) from error


def _difference(arrays: Arrays, official: Official, sound: tuple[bool, bool]) -> str:
    parts = [
        f"its {len(x)} {split} rows are not the {rows} official ones"
        for split, (x, _), rows, same in zip(("train", "test"), arrays.splits(), official.base.rows, sound, strict=True)
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
    low, high = official.labels
    labels = torch.tensor(y) - low
    return labels if classes > high - low else (labels > 0).long()  # the first class against all others
