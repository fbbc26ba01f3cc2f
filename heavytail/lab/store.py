"""A folder of runs: what is finished, what is in the middle, and who is at what. Nothing in it is ever half there.

    rows/KEY.json              the row of a finished run, with digests of itself and of the weights; written last
    weights/KEY.safetensors    its weights
    snapshots/KEY.safetensors  a run in the middle
    data/ID.safetensors        a data set of one's own, for those who do the work
    locks/KEY.lock             held by the process that is at the run
    damaged/                   files that failed their check, put here before the run is done again

Other files are left alone. Many processes and machines may use one folder at the same time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from heavytail.lab import results
from heavytail.lab.datasets import Dataset
from heavytail.lab.datasets.arrays import ARRAYS
from heavytail.lab.datasets.dataset import sound
from heavytail.lab.machine import files
from heavytail.lab.runs import Run
from heavytail.lab.trainer import Outcome, Snapshot

_ROOMS = ("rows", "weights", "snapshots", "data", "locks")
_SCALARS = [field.name for field in fields(Snapshot) if field.name not in ("run", "weights")]


class Damaged(ValueError):
    """A file of the store that is not what was written; the message names it."""


class Unwritable(OSError):
    """The store cannot take more: no space, or no right to write."""


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
        return load(content)

    def __contains__(self, key: object) -> bool:
        return key in self._digests  # without reading them

    def __iter__(self) -> Iterator[str]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)


def prepare(folder: Path | str) -> Path:
    """The absolute path of a store, made if it is not there, without what killed writers left."""
    folder = Path(folder).expanduser().resolve()
    with _writing(folder):
        for room in _ROOMS:
            (folder / room).mkdir(parents=True, exist_ok=True)
            files.remove_dead_parts(folder / room)
        for path in (folder / "locks").iterdir():
            with files.locked(path, make=False):  # removed, if nobody holds it
                pass
    return folder


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


def find(folder: Path, run: Run) -> Kept | None:
    """A finished run, or None. Raises Damaged, or ValueError if another version of the schema wrote it."""
    path, weights = _row(folder, run.key), _weights(folder, run.key)
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
    if any(row[name] != value for name, value in asdict(run).items()):
        raise Damaged(f"{path} holds the row of another run")
    if not weights.is_file() or _sha256_of(weights) != digest:
        raise Damaged(f"{weights} is {'damaged' if weights.exists() else 'missing'}")
    return Kept(row, digest)


def set_aside(folder: Path, run: Run) -> None:
    """Move what the store has of a run to `damaged/`, the row first. For the holder of the run's lock only."""
    with _writing(folder):
        for path in (_row(folder, run.key), _weights(folder, run.key), _snapshot(folder, run.key)):
            if path.exists():
                place = folder / "damaged" / f"{path.parent.name}-{path.name}"
                place.parent.mkdir(exist_ok=True)
                os.replace(path, place if not place.exists() else f"{place}.{os.urandom(4).hex()}")


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
        tensors = load(content)
        header = _header(content)
        about = json.loads(header["about"])
        sound = header["sha256"] == _sha256(save(tensors) + header["about"].encode()) and about["run"] == asdict(run)
    except Exception as error:  # safetensors has errors of its own for every kind of damage
        raise Damaged(f"{path} is damaged") from error
    if not sound:
        raise Damaged(f"{path} is damaged")
    if about["made"] != _made_with(device) or about["scalars"].keys() != set(_SCALARS):
        raise Damaged(f"{path} was made by other code or on another device")
    return Snapshot(run=run, weights=tensors, **about["scalars"])


def drop_snapshot(folder: Path, run: Run) -> None:
    """Forget where a run was cut off: it is finished."""
    _snapshot(folder, run.key).unlink(missing_ok=True)


def keep_data(folder: Path, identity: str, dataset: Dataset) -> None:
    """Put a data set of one's own into the store under its id, if it is not there. Raises Unwritable."""
    try:
        if find_data(folder, identity) is not None:
            return
    except Damaged:
        pass  # written again
    tensors = {name: tensor.cpu() for name, tensor in zip(ARRAYS, dataset.tensors(), strict=True)}
    about = json.dumps({"name": dataset.name, "classes": dataset.classes, "verified": dataset.verified})
    with _writing(folder):
        _put(_data(folder, identity), save(tensors, {"about": about}))


def find_data(folder: Path, identity: str) -> Dataset | None:
    """The data set of one's own with this id, or None. Raises Damaged."""
    path = _data(folder, identity)
    content = _content(path)
    if content is None:
        return None
    try:
        about = json.loads(_header(content)["about"])
        dataset = sound(about.pop("name"), load(content), **about, source=str(path))
        whole = dataset.id == identity
    except Exception as error:  # safetensors has errors of its own for every kind of damage
        raise Damaged(f"{path} is damaged: give it in data= again") from error
    if not whole:
        raise Damaged(f"{path} is damaged: give it in data= again")
    return dataset


@contextmanager
def claim(folder: Path, runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Those of the runs that no other process is at; they are this caller's until the end of the block.

    Where the file system has no locks that is all of them: a run done twice is waste, not harm. Raises Unwritable.
    """
    with ExitStack() as held:
        with _writing(folder):
            mine = [run for run in runs if held.enter_context(files.locked(_lock(folder, run.key)))]
        yield mine


def is_free(folder: Path, run: Run) -> bool:
    """Whether nobody is at the run."""
    with claim(folder, [run]) as mine:
        return bool(mine)


def _made_with(device: str) -> list[object]:
    return [results.code_version(), torch.__version__, results.sampler_of(device), device]


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
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except IsADirectoryError as error:
        raise Damaged(f"{path} is a folder") from error


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unwritable(f"the store {folder} cannot be written ({error.strerror or error})") from error


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


def _data(folder: Path, identity: str) -> Path:
    return folder / "data" / f"{identity}.safetensors"
