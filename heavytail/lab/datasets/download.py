"""Fetching a data set: downloaded, verified, and only then stored."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from heavytail.lab.datasets import archives, formats, layouts, reading, transfer
from heavytail.lab.datasets.arrays import ARRAYS, Arrays, DataDamaged, checked, shown, verified
from heavytail.lab.datasets.layouts import DataUnavailable
from heavytail.lab.datasets.official import OFFICIAL, Official, lookup
from heavytail.lab.datasets.vision import torchvision_datasets
from heavytail.lab.machine import files

PATIENCE = transfer.Patience()

_STORED = "|".join(name for name, official in OFFICIAL.items() if official.of is None)
_LOCK = re.compile(rf"\.({_STORED})-[a-z0-9_]{{8}}\.lock")  # of the folder that is called so but for `.part`
_PAGE = re.compile(rb"\s*<(!doctype\s+html|html)", re.IGNORECASE)
_FULL = (errno.ENOSPC, errno.EDQUOT)


def fetch(name: str, root: Path | str | None = None) -> Path:
    """Download a data set, verify it and store it as `NAME.npz` in the data folder; returns that file.

    For one that is another data set split anew, such as ecg5000-random, that is the file of the other one.
    A file of that name is replaced only by the verified official data. Everything else that a download needs lies in a
    temporary folder beside it, gone afterwards; what a killed download left there is removed by the next one. Size and
    time are bounded. Raises DataUnavailable (no network, no folder to write to, no room) or DataDamaged (what came is
    not the official data).
    """
    official = lookup(name).base
    if name == "digits":
        raise ValueError("digits ships with scikit-learn: there is nothing to fetch, load it.")
    home = layouts.folder(root)
    target = home / f"{official.name}.npz"
    try:
        if os.path.lexists(target) and not target.is_file():
            raise DataUnavailable(f"{target} is no file, and is not replaced by one: take it away.")
        with _scratch(official, home) as scratch:
            arrays = _from_the_first_good_mirror(official, scratch, home)
            files.write_atomically(target, partial(_pack, arrays))
    except OSError as error:  # of the disk: what servers do are no OSErrors here
        raise _no_room(official, home, error) from error
    return target


def _pack(arrays: Arrays, path: Path) -> None:
    with open(path, "wb") as file:  # a path would be given the ending .npz
        np.savez(file, **{array: getattr(arrays, array) for array in ARRAYS})


def advice(official: Official, home: Path) -> str:
    """What a user without a network can do."""
    files = f"put {official.files}, or {official.name}.npz, into {shown(home)}"
    return f"{files}, or set HEAVYTAIL_DATA to the folder that holds it"


@contextmanager
def _scratch(official: Official, home: Path) -> Iterator[Path]:
    """A temporary folder inside the data folder, on its disk. Its lock, beside it, is held as long as it is there."""
    home.mkdir(parents=True, exist_ok=True)
    _remove_what_the_killed_left(home)
    handle, name = tempfile.mkstemp(prefix=f".{official.name}-", suffix=".lock", dir=home)
    lock, folder = Path(name), Path(name).with_suffix(".part")
    with open(handle), files.locked(lock):
        try:
            folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    lock.unlink(missing_ok=True)  # where there are no locks it is still there


def _remove_what_the_killed_left(home: Path) -> None:
    """Their folders, and the locks that nobody holds any more. Where there are no locks, all stays as it is."""
    for lock in list(home.iterdir()):
        if _LOCK.fullmatch(lock.name) and not lock.is_symlink() and lock.is_file():
            with suppress(OSError), files.locked(lock, make=False):  # removes it, if nobody else holds it
                pass
            if not reading.stands(lock):
                shutil.rmtree(lock.with_suffix(".part"), ignore_errors=True)


def _no_room(official: Official, home: Path, error: OSError) -> DataUnavailable:
    if error.errno in _FULL:
        return DataUnavailable(
            f"{official.name} cannot be stored, as the disk of {home} is full ({error.strerror}): make room there,"
            " or set HEAVYTAIL_DATA to a folder on another disk."
        )
    return DataUnavailable(
        f"{official.name} cannot be stored, as {home} cannot be written to ({error.strerror or error}):"
        " set HEAVYTAIL_DATA to a folder that can."
    )


def _from_the_first_good_mirror(official: Official, scratch: Path, home: Path) -> Arrays:
    outcomes: dict[str, DataDamaged | transfer.Failed] = {}
    for number, mirror in enumerate(official.mirrors or _torchvision_mirrors(official)):
        try:
            with _emptied(scratch / str(number)) as into:
                arrays = checked(_from_mirror(official, mirror, into), official, mirror)
            if all(verified(arrays, official)):
                return arrays
            raise DataDamaged(mirror, "its digest is not the official one")
        except (DataDamaged, transfer.Failed) as error:
            outcomes[mirror] = error
        except MemoryError:
            outcomes[mirror] = transfer.Failed("sent what takes more memory than there is")
    sent = {mirror: error.why for mirror, error in outcomes.items() if isinstance(error, DataDamaged)}
    failed = [f"{mirror} ({error})" for mirror, error in outcomes.items() if mirror not in sent]
    if sent:
        what = f"the download of {official.name} from {next(iter(sent))}"
        why = "; ".join([sent.pop(next(iter(sent))), *(f"{mirror} ({why})" for mirror, why in sent.items()), *failed])
        then = f"nothing was stored or replaced, so try again later, or {advice(official, home)}"
        raise DataDamaged(what, why, then) from next(e for e in outcomes.values() if isinstance(e, DataDamaged))
    raise DataUnavailable(
        f"{official.name} could not be downloaded from {', '.join(failed)}: {advice(official, home)}."
    ) from next(iter(outcomes.values()), None)


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """A new folder, gone at the end: what one mirror sent takes no room from the next."""
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _from_mirror(official: Official, mirror: str, scratch: Path) -> Arrays:
    if official.torchvision is None:
        return _ecg5000(_get(official, mirror, "ECG5000.zip", scratch), official)
    known = getattr(torchvision_datasets(), official.torchvision)
    if official.name == "mnist":
        raw = scratch / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for file, md5 in known.resources:
            _get(official, mirror, file, raw, md5)
        return layouts.mnist(raw, official)
    archive = _get(official, mirror, known.filename, scratch, known.tgz_md5)
    batches = scratch / known.base_folder
    batches.mkdir()
    names = [f"{known.base_folder}/{file}" for file, _ in layouts.batch_files(official)]
    archives.untarred(archive, names, batches, reading.of(official))
    return layouts.cifar(batches, official)


def _torchvision_mirrors(official: Official) -> tuple[str, ...]:
    known = getattr(torchvision_datasets(), str(official.torchvision))
    return tuple(known.mirrors) if official.name == "mnist" else (known.url.removesuffix(known.filename),)


def _get(official: Official, mirror: str, file: str, into: Path, md5: str | None = None) -> Path:
    """Download one file, with a progress bar."""
    path = into / file
    with tqdm(desc=file, unit="B", unit_scale=True, leave=False) as bar:

        def begun(length: int | None) -> Callable[[int], object]:
            bar.reset(length)
            return bar.update

        transfer.get(mirror + file, path, reading.of(official), PATIENCE, begun)
    with open(path, "rb") as stream:
        if _PAGE.match(stream.read(512)):
            raise DataDamaged(path, f"it is a web page in place of {file}")
        stream.seek(0)
        digest = hashlib.file_digest(stream, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    if md5 not in (None, digest):
        raise DataDamaged(path, f"the MD5 of {file} is not the published one")
    return path


def _ecg5000(archive: Path, official: Official) -> Arrays:
    """The two splits from the archive's zip file. Its .txt files come first: they hold the values to the last digit."""
    suffixes = (".txt", ".tsv", ".ts")
    names = tuple(split + suffix for suffix in suffixes for split in layouts.UCR_SPLITS)
    held = archives.zipped(archive, names, archive.name, reading.of(official))
    for suffix in suffixes:
        files = [split + suffix for split in layouts.UCR_SPLITS]
        if all(file in held for file in files):
            train, test = (formats.series(held[file], suffix, file, official.most_rows) for file in files)
            return Arrays(*train, *test)
    raise DataDamaged(archive.name, "it does not hold ECG5000_TRAIN and ECG5000_TEST as text")
