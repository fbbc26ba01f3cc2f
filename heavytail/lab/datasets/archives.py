"""Archives of several members: NumPy's, and the zip and tar files that data sets are published in.

Only the members that are asked for are read, by name and in pieces; no path of an archive reaches the disk.
"""

from __future__ import annotations

import errno
import io
import math
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from heavytail.lab.datasets import reading
from heavytail.lab.datasets.arrays import DataDamaged
from heavytail.lab.datasets.reading import Most, amount, brief

NO_ARCHIVE = "it is not a NumPy archive of plain arrays"

# What Python's reader of zip files raises for those that are none.
_BROKEN = (ValueError, EOFError, RuntimeError, OverflowError, IndexError, struct.error, zipfile.BadZipFile, zlib.error)
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unpack a piece whole, whatever its size

# The header of a .npy is a Python dictionary. These three entries are all that a plain array has, so it is searched for
# them and never evaluated.
_HEADER = 10_000  # bytes at most, as in NumPy
_DTYPE = re.compile(r"""['"]descr['"]\s*:\s*['"]([<>|=]?[a-zA-Z?]\d{0,9}(?:\[\w{1,9}\])?)['"]""")
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)\b""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(((?:\s*\d{1,19}L?\s*,)*\s*(?:\d{1,19}L?)?)\s*\)""")
_AXES = 32  # in older versions of NumPy no array has more


def arrays_in(path: Path, most: Most) -> list[str]:
    """The names of the arrays in a NumPy archive. Raises ValueError with the part of a sentence."""
    with _numpy(path, most) as members:
        return list(_by_name(members))


def arrays(path: Path, names: Collection[str], most: Most) -> dict[str, np.ndarray]:
    """Those of the named arrays that a NumPy archive holds. Raises ValueError with the part of a sentence.

    Together they take no more than `most`.
    """
    left = most.size
    with _numpy(path, most) as members:
        found = {}
        for name, member in _by_name(members).items():
            if name in names:
                found[name] = _array(members, member, name, left, most)
                left -= found[name].nbytes
        return found


@contextmanager
def _numpy(path: Path, most: Most) -> Iterator[zipfile.ZipFile]:
    with reading.opened(path, most) as file, _telling(NO_ARCHIVE), zipfile.ZipFile(file) as members:
        yield members


class _Told(ValueError):
    """A sentence of our own about an archive."""


@contextmanager
def _telling(otherwise: str) -> Iterator[None]:
    """Whatever breaks on the bytes of an archive is a ValueError with a sentence."""
    try:
        yield
    except (_Told, DataDamaged):
        raise
    except MemoryError as error:
        raise _Told("it takes more memory than there is") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # of the disk; the others are of places that are none
            raise
        raise _Told(otherwise) from error
    except _BROKEN as error:
        raise _Told(otherwise) from error


def _by_name(members: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    named: dict[str, zipfile.ZipInfo] = {}
    for member in members.infolist():
        name = member.filename.removesuffix(".npy")
        if name in named:
            raise _Told(f"it holds {name[:80]!r} twice")
        named[name] = member
    return named


def _array(members: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, left: int, most: Most) -> np.ndarray:
    _plain(member)
    with members.open(member) as stream:
        dtype, by_columns, shape, start = _header(stream)
        size, held = math.prod(shape) * dtype.itemsize, member.file_size - start
        if size != held:
            claimed = f"{' x '.join(map(str, shape))} values of {dtype}, {amount(size)}"
            raise _Told(f"{name} claims {claimed}, but {amount(max(held, 0))} follow: it is cut off or no plain array")
        if size > left:
            raise _Told(f"with {name}, of {amount(size)}, its arrays take more than {most}")
        values = np.empty(size, np.uint8)  # takes memory only as it is filled
        room, at = values.data, 0
        while at < size:
            piece = stream.read(min(reading.PIECE, size - at))
            if not piece:
                raise _Told(f"{name} ends after {amount(at)} of {amount(size)}: it is cut off")
            room[at : at + len(piece)] = piece
            at += len(piece)
    return values.view(dtype).reshape(shape[::-1]).T if by_columns else values.view(dtype).reshape(shape)


def _plain(member: zipfile.ZipInfo) -> None:
    if member.compress_type not in _PACKINGS:
        raise _Told("it is packed in a way that NumPy does not write")


def _header(stream: reading.Stream) -> tuple[np.dtype, bool, tuple[int, ...], int]:
    """Type, whether columns come first, shape, and where the values start."""
    magic = stream.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise _Told(NO_ARCHIVE)
    form = "<H" if magic[6] == 1 else "<I"
    (length,) = struct.unpack(form, stream.read(struct.calcsize(form)))
    if length > _HEADER:
        raise _Told(NO_ARCHIVE)
    text = stream.read(length).decode("utf-8" if magic[6] == 3 else "latin1")
    entries = [pattern.search(text) for pattern in (_DTYPE, _ORDER, _SHAPE)]
    if not all(entries):
        raise _Told(NO_ARCHIVE)
    kind, order, axes = (entry[1] for entry in entries if entry)
    try:
        dtype = np.dtype(kind)
    except TypeError as error:
        raise _Told(NO_ARCHIVE) from error
    shape = tuple(int(axis.strip(" L")) for axis in axes.split(",") if axis.strip())
    if dtype.hasobject or not dtype.itemsize or len(shape) > _AXES:
        raise _Told(NO_ARCHIVE)
    return dtype, order == "True", shape, 8 + struct.calcsize(form) + length


def zipped(archive: Path, names: Sequence[str], source: str, most: Most) -> dict[str, bytes]:
    """Those of the named members that a zip file holds at its top, read into memory."""
    try:
        with (
            reading.opened(archive, most) as file,
            _telling("it is not a readable zip file"),
            zipfile.ZipFile(file) as members,
        ):
            held = [name for name in names if name in members.namelist()]
            for name in held:
                _plain(members.getinfo(name))
            return {name: reading.up_to(members.open(name), most, source) for name in held}
    except _Told as error:
        raise DataDamaged(source, str(error)) from error


def untarred(archive: Path, names: Collection[str], into: Path, most: Most) -> None:
    """Write those of the named members of a .tar.gz that are regular files into a folder, each under its last name."""
    unpacked = io.BytesIO(reading.contents(archive, most))
    try:
        with tarfile.open(fileobj=unpacked, mode="r:") as members:
            for member in members:
                if member.isreg() and not member.issparse() and member.name in names:
                    stream = members.extractfile(member)
                    if stream is not None:
                        (into / Path(member.name).name).write_bytes(reading.up_to(stream, most, archive))
    except (tarfile.TarError, EOFError, ValueError, IndexError, OverflowError, RecursionError, MemoryError) as error:
        raise DataDamaged(archive, f"it is not a readable tar file: {brief(error)}") from error
