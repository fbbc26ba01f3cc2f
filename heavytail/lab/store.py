"""A folder of runs: what is finished, what is in the middle, and who is at what. Nothing in it is ever half there.

    rows/KEY.json              the row of a finished run, with digests of itself and of the weights; written last
    weights/KEY.safetensors    its weights
    snapshots/KEY.safetensors  a run in the middle
    data/ID.safetensors        a data set of one's own, for those who do the work
    locks/KEY.lock             held by the process that is at the run
    damaged/                   files that failed their check, put here before the run is done again

Other files are left alone. Many processes, machines and users may use one folder at the same time, as far as the modes
that their umask gives let them. A store that holds all that is asked for need not be writable.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save
from torch import Tensor

from heavytail import _sampler
from heavytail.lab import results
from heavytail.lab.datasets import Dataset, identity
from heavytail.lab.datasets.arrays import ARRAYS
from heavytail.lab.datasets.dataset import sound
from heavytail.lab.machine import files
from heavytail.lab.runs import Run
from heavytail.lab.trainer import Outcome, Snapshot

Content = TypeVar("Content")

_KEY = "[0-9a-f]{16}"
#: The rooms, and the names of the store's own files in each, as regular expressions.
_ROOMS = {
    "rows": rf"{_KEY}\.json",
    "weights": rf"{_KEY}\.safetensors",
    "snapshots": rf"{_KEY}\.safetensors",
    "data": rf"{identity.PATTERN}\.safetensors",
    "locks": rf"{_KEY}\.lock",
}
_SCALARS = [field.name for field in fields(Snapshot) if field.name not in ("run", "weights")]


class Damaged(ValueError):
    """A file of the store that is not what was written; the message names it."""


class Unwritable(OSError):
    """The store cannot take more: no space, or no right to write. Or it may not be read."""


@dataclass(frozen=True)
class Kept:
    """A finished run: its row of the results table and the SHA-256 of its weights file."""

    row: Mapping[str, object]
    digest: str


class Weights(Mapping[str, Mapping[str, Tensor]]):
    """The weights of finished runs by key, read and checked when they are asked for."""

    def __init__(self, folder: Path, digests: Mapping[str, str]) -> None:
        self._folder, self._digests = folder, digests

    def __getitem__(self, key: str) -> Mapping[str, Tensor]:
        digest, path = self._digests[key], _weights(self._folder, key)
        content = _content(path)
        if content is None or _sha256(content) != digest:
            raise Damaged(f"{path} is no longer what was written: sweep the same grid again")
        try:
            return results.tensors_in(content)
        except Exception as error:  # safetensors has errors of its own for every kind of damage
            raise Damaged(f"{path} holds no weights: sweep the same grid again") from error

    def __contains__(self, key: object) -> bool:
        return key in self._digests  # without reading them

    def __iter__(self) -> Iterator[str]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)


def prepare(folder: Path | str) -> Path:
    """The absolute path of a store, made if it is not there, without what killed writers left.

    A store that is there and may not be written is as it is: it may be finished.
    """
    folder = files.named(folder).resolve()
    for room, names in _ROOMS.items():
        try:
            with _writing(folder):
                (folder / room).mkdir(parents=True, exist_ok=True)
                files.remove_dead_parts(folder / room, names)
        except Unwritable:
            if not (folder / "rows").is_dir():
                raise
    with suppress(OSError):
        for path in (folder / "locks").iterdir():
            if re.fullmatch(_ROOMS["locks"], path.name):
                files.remove_if_free(path)
    return folder


def check_writable(folder: Path) -> None:
    """Raise Unwritable unless a run can be put into the store: for before the work, not after."""
    with _writing(folder):
        for place in (_row, _weights, _snapshot):  # of a name of its own, so that what a killed check leaves goes too
            files.check_place(place(folder, "0" * 16))


def keep(folder: Path, outcome: Outcome) -> None:
    """Put a finished run into the store. Raises Unwritable; stopped at any moment, it leaves all of it or no row."""
    key = outcome.run.key
    content = save({name: tensor.contiguous() for name, tensor in outcome.weights.items()})
    with _writing(folder):
        _put(_weights(folder, key), content)
        try:
            _put(_row(folder, key), _text(outcome.row, _sha256(content)))
        except BaseException:
            if not _row(folder, key).exists():  # stopped after its last move, a row stands and needs its weights
                _weights(folder, key).unlink(missing_ok=True)  # of no use without one, and room is wanted
            raise
        drop_snapshot(folder, outcome.run)


def find(folder: Path, run: Run, *, weights: bool = True) -> Kept | None:
    """A finished run, or None. Raises Damaged, or ValueError if another version of the schema wrote it.

    With `weights=False` the weights are not looked at, for those that were when they were written a moment ago.
    """
    path = _row(folder, run.key)
    content = _content(path)
    if content is None:
        return None
    try:
        found = json.loads(content)
        row, digest = found["row"], found["weights"]
        whole = _text(row, digest) == content
    except (ValueError, TypeError, KeyError, RecursionError):
        whole = False
    if not whole:
        raise Damaged(f"{path} is damaged")
    if row.keys() != {**asdict(run), **results.COLUMNS}.keys():
        raise ValueError(
            f"{path} has other columns than this version of heavytail writes "
            f"({', '.join(sorted(row.keys() ^ {**asdict(run), **results.COLUMNS}.keys()))}): name another store"
        )
    if any(row[name] != value for name, value in {**asdict(run), "key": run.key}.items()):
        raise Damaged(f"{path} holds the row of another run")
    if not results.is_row(row):
        raise Damaged(f"{path} is damaged")
    if weights:
        beside = _weights(folder, run.key)
        there = _read(beside, _sha256_of)
        if there != digest:
            raise Damaged(f"{beside} is {'missing' if there is None else 'damaged'}")
    return Kept(row, digest)


def set_aside(folder: Path, run: Run) -> None:
    """Move what the store has of a run to `damaged/`, the row first. For the holder of the run's lock only."""
    with _writing(folder):
        for path in (_row(folder, run.key), _weights(folder, run.key), _snapshot(folder, run.key)):
            if os.path.lexists(path):
                place = folder / "damaged" / f"{path.parent.name}-{path.name}"
                place.parent.mkdir(exist_ok=True)
                os.replace(path, place if not os.path.lexists(place) else f"{place}.{os.urandom(4).hex()}")


def keep_snapshot(folder: Path, device: str, snapshot: Snapshot) -> None:
    """Put a run in the middle into the store, in place of an older snapshot. Raises Unwritable."""
    tensors = {name: tensor.contiguous() for name, tensor in snapshot.weights.items()}
    scalars = {name: getattr(snapshot, name) for name in _SCALARS}
    about = json.dumps({"run": asdict(snapshot.run), "scalars": scalars, "made": _made_with(device)})
    digest = _sha256(save(tensors) + about.encode())
    with _writing(folder):
        _put(_snapshot(folder, snapshot.run.key), save(tensors, {"about": about, "sha256": digest}))


def find_snapshot(folder: Path, device: str, run: Run) -> Snapshot | None:
    """Where a run was cut off, or None. Raises Damaged, also if other code or another kind of device made it."""
    path = _snapshot(folder, run.key)
    content = _content(path)
    if content is None:
        return None
    try:
        tensors = results.tensors_in(content)
        header = _header(content)
        about = json.loads(header["about"])
        sound = header["sha256"] == _sha256(save(tensors) + header["about"].encode()) and about["run"] == asdict(run)
    except Exception as error:  # safetensors has errors of its own for every kind of damage
        raise Damaged(f"{path} is damaged") from error
    if not sound:
        raise Damaged(f"{path} is damaged")
    if about["made"] != _made_with(device) or about["scalars"].keys() != set(_SCALARS):
        raise Damaged(f"{path} was made by other code or on another device")
    if not (tensors and _reachable(run, about["scalars"])):
        raise Damaged(f"{path} is damaged")
    return Snapshot(run=run, weights=tensors, **about["scalars"])


def _reachable(run: Run, scalars: Mapping[str, Any]) -> bool:
    """Whether a run can have come to this point."""
    step, waited, best, seconds = (scalars[name] for name in ("step", "waited", "best", "seconds"))
    whole = type(step) is type(waited) is int and type(best) is type(seconds) is float
    return whole and 0 < step < run.max_steps and 0 <= waited <= step and best <= 1 and 0 <= seconds < math.inf


def snapshot_path(folder: Path, run: Run) -> Path:
    """Where a run in the middle is kept."""
    return _snapshot(folder, run.key)


def drop_snapshot(folder: Path, run: Run) -> None:
    """Forget where a run was cut off: it is finished. A snapshot that may not be removed stays, in nobody's way."""
    with suppress(OSError):
        _snapshot(folder, run.key).unlink(missing_ok=True)


def keep_data(folder: Path, name: str, dataset: Dataset) -> None:
    """Put a data set of one's own into the store under its id, if it is not there. Raises Unwritable."""
    try:
        if find_data(folder, name) is not None:
            return
    except Damaged:
        pass  # written again
    tensors = {name: tensor.cpu() for name, tensor in zip(ARRAYS, dataset.tensors(), strict=True)}
    about = json.dumps({"name": dataset.name, "classes": dataset.classes, "verified": dataset.verified})
    with _writing(folder):
        _put(_data(folder, name), save(tensors, {"about": about}))


def find_data(folder: Path, name: str) -> Dataset | None:
    """The data set of one's own with this id, or None. Raises Damaged."""
    path = _data(folder, name)
    content = _content(path)
    if content is None:
        return None
    try:
        about = json.loads(_header(content)["about"])
        dataset = sound(about.pop("name"), results.tensors_in(content), **about, source=str(path))
        whole = dataset.id == name
    except Exception as error:  # safetensors has errors of its own for every kind of damage
        raise Damaged(f"{path} is damaged: give it in data= again") from error
    if not whole:
        raise Damaged(f"{path} is damaged: give it in data= again")
    return dataset


@contextmanager
def claim(folder: Path, runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Those of the runs that no other process is at; they are this caller's until the end of the block.

    No more of them than this process may hold at once; the others are left for another time. Where the file system has
    no locks everybody gets them: a run done twice is waste, not harm. Raises Unwritable.
    """
    some = runs[: files.at_once(len(runs))]
    with ExitStack() as held:
        with _writing(folder):
            mine = [run for run in some if held.enter_context(files.locked(_lock(folder, run.key)))]
        yield mine


def is_free(folder: Path, run: Run) -> bool:
    """Whether nobody is at the run."""
    with claim(folder, [run]) as mine:
        return bool(mine)


def _made_with(device: str) -> list[object]:
    return [results.code_version(), torch.__version__, _sampler.SAMPLER_VERSION, device]


def _header(content: bytes) -> dict[str, str]:
    """What was noted beside the tensors of a file."""
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]


def _text(row: Mapping[str, object], digest: str) -> bytes:
    """The row's file. A file that differs from it in one byte is damaged."""
    body = json.dumps({"row": dict(row), "weights": digest}, separators=(",", ":"), default=_plain)
    return f'{body[:-1]},"sha256":"{_sha256(body.encode())}"}}\n'.encode()


def _plain(number: Any) -> object:
    return number.item()  # a NumPy or torch scalar; others have no such method, and that is the error


def _put(path: Path, content: bytes) -> None:
    files.write_atomically(path, lambda part: part.write_bytes(content))


def _content(path: Path) -> bytes | None:
    return _read(path, Path.read_bytes)


def _read(path: Path, read: Callable[[Path], Content]) -> Content | None:
    """What is read of a file, None if it is not there. Raises Damaged for what is no file: a pipe would never end."""
    try:
        if kind := files.kind_of(path):
            raise Damaged(f"{path} is {kind}")
        return read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unwritable(f"{path} cannot be read ({error.strerror or error})") from error


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except Unwritable:
        raise
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error
        raise Unwritable(f"the store {folder} cannot be written ({reason})") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _row(folder: Path, key: str) -> Path:
    return folder / "rows" / f"{key}.json"


def _weights(folder: Path, key: str) -> Path:
    return folder / "weights" / f"{key}.safetensors"


def _snapshot(folder: Path, key: str) -> Path:
    return folder / "snapshots" / f"{key}.safetensors"


def _lock(folder: Path, key: str) -> Path:
    return folder / "locks" / f"{key}.lock"


def _data(folder: Path, name: str) -> Path:
    return folder / "data" / f"{name}.safetensors"
