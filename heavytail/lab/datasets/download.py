"""Fetching a data set: downloaded, verified, and only then stored."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from heavytail.lab.datasets import formats, layouts
from heavytail.lab.datasets.arrays import ARRAYS, Arrays, DataDamaged, checked, verified
from heavytail.lab.datasets.layouts import DataUnavailable
from heavytail.lab.datasets.official import Official, lookup
from heavytail.lab.datasets.vision import torchvision_datasets

# Seconds to connect, and to wait for the next bytes. Without them a network that swallows packets stops us for minutes.
_TIMEOUT = (4, 30)


def fetch(name: str, root: Path | str | None = None) -> Path:
    """Download a data set, verify it and store it as `NAME.npz` in the data folder; returns that file.

    A file of that name is replaced only by the verified official data. Everything else that a download needs lies in a
    temporary folder beside it, gone afterwards. Raises DataUnavailable (no network, no folder to write to) or
    DataDamaged (what came is not the official data).
    """
    official = lookup(name)
    if name == "digits":
        raise ValueError("digits ships with scikit-learn: there is nothing to fetch, load it.")
    home = layouts.folder(root)
    with _scratch(official, home) as scratch:
        arrays = _from_the_first_good_mirror(official, scratch, home)
        packed, target = scratch / "verified.npz", home / f"{name}.npz"
        try:
            np.savez(packed, **{array: getattr(arrays, array) for array in ARRAYS})
            os.replace(packed, target)
        except OSError as error:
            raise _no_room(official, home, error) from error
    return target


def advice(official: Official, home: Path) -> str:
    """What a user without a network can do."""
    return (
        f"put {official.files}, or {official.name}.npz, into {home}, or set HEAVYTAIL_DATA to the folder that holds it"
    )


@contextmanager
def _scratch(official: Official, home: Path) -> Iterator[Path]:
    """A temporary folder inside the data folder, so that the last step is a rename on one file system."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f".{official.name}-", dir=home)
    except OSError as error:
        raise _no_room(official, home, error) from error
    with scratch as path:
        yield Path(path)


def _no_room(official: Official, home: Path, error: OSError) -> DataUnavailable:
    return DataUnavailable(
        f"{official.name} cannot be stored, as {home} cannot be written to ({error.strerror or error}):"
        " set HEAVYTAIL_DATA to a folder that can."
    )


def _from_the_first_good_mirror(official: Official, scratch: Path, home: Path) -> Arrays:
    damaged: dict[str, DataDamaged] = {}
    failed: dict[str, OSError] = {}
    for mirror in official.mirrors or _torchvision_mirrors(official):
        try:
            arrays = checked(_from_mirror(official, mirror, scratch), official, mirror)
            if all(verified(arrays, official)):
                return arrays
            raise DataDamaged(mirror, "its digest is not the official one")
        except DataDamaged as error:
            damaged[mirror] = error
        except OSError as error:  # the errors of requests are OSErrors
            failed[mirror] = error
    for mirror, damage in damaged.items():
        what = f"the download of {official.name} from {mirror}"
        then = f"nothing was stored or replaced, so try again later, or {advice(official, home)}"
        raise DataDamaged(what, damage.why, then) from damage
    reasons = ", ".join(f"{mirror} ({type(error).__name__})" for mirror, error in failed.items())
    raise DataUnavailable(
        f"{official.name} could not be downloaded from {reasons}: {advice(official, home)}."
    ) from next(iter(failed.values()))


def _from_mirror(official: Official, mirror: str, scratch: Path) -> Arrays:
    if official.torchvision is None:
        return _ecg5000(_get(mirror, "ECG5000.zip", scratch))
    known = getattr(torchvision_datasets(), official.torchvision)
    if official.name == "mnist":
        raw = scratch / "MNIST" / "raw"
        for file, md5 in known.resources:
            _get(mirror, file, raw, md5)
        return layouts.mnist(raw, official)
    _get(mirror, known.filename, scratch, known.tgz_md5)
    known(str(scratch), download=True)  # finds the archive, checks its MD5 and unpacks it
    return layouts.cifar(scratch / known.base_folder, official)


def _torchvision_mirrors(official: Official) -> tuple[str, ...]:
    known = getattr(torchvision_datasets(), str(official.torchvision))
    return tuple(known.mirrors) if official.name == "mnist" else (known.url.removesuffix(known.filename),)


def _get(mirror: str, file: str, into: Path, md5: str | None = None) -> Path:
    """Download one file, with a progress bar. torchvision's own downloader has no time limit, so pooch's is used."""
    import pooch

    into.mkdir(parents=True, exist_ok=True)
    path = into / file
    # pooch sets the total when the server has told it, but asks for the truth of the bar before, which needs some total
    with tqdm(desc=file, total=1, unit="B", unit_scale=True, leave=False) as bar:
        pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=_TIMEOUT)(mirror + file, str(path), None)
    if md5 is not None and pooch.file_hash(str(path), alg="md5") != md5:
        raise DataDamaged(path, f"the MD5 of {file} is not the published one")
    return path


def _ecg5000(archive: Path) -> Arrays:
    """The two splits from the archive's zip file. Its .txt files come first: they hold the values to the last digit."""
    suffixes = (".txt", ".tsv", ".ts")
    names = tuple(split + suffix for suffix in suffixes for split in layouts.UCR_SPLITS)
    held = formats.zipped(archive, names, archive.name)
    for suffix in suffixes:
        files = [split + suffix for split in layouts.UCR_SPLITS]
        if all(file in held for file in files):
            train, test = (formats.series(held[file], suffix, file) for file in files)
            return Arrays(*train, *test)
    raise DataDamaged(archive.name, "it does not hold ECG5000_TRAIN and ECG5000_TEST as text")
