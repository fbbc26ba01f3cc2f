"""Data sets of one's own: from arrays, from torch's data sets, from CSV files, or from a NumPy archive."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import DataLoader, TensorDataset

from heavytail.lab.datasets import archives, identity, reading, samples
from heavytail.lab.datasets.arrays import ARRAYS, DataDamaged, shown
from heavytail.lab.datasets.dataset import Dataset, sound
from heavytail.lab.datasets.official import NAMES
from heavytail.lab.machine.files import named

if TYPE_CHECKING:
    import pandas as pd

_PACKED = (".zip", ".bz2", ".xz", ".zst", ".tar")  # pandas would unpack these without a bound


def from_arrays(
    name: str, x_train: Any, y_train: Any, x_test: Any, y_test: Any, *, classes: int | None = None
) -> Dataset:
    """A data set of your own, for `train(runs, data={name: dataset})` with `Run(dataset=name)`.

    Inputs are (N, ...) with rows of one shape in both splits: (N, d) for "fcn" and "mean_field", (N, channels, height,
    width) for "vgg". Tensors, NumPy arrays and lists of any real type will do; they are copied to float32. **Nothing is
    normalised**: bytes of a picture stay 0 to 255 until you divide them, and you subtract your own mean. Labels are
    (N,), whole numbers of any type from 0 to `classes` - 1; `classes` is the largest label of both splits plus 1, and
    at least 2, where it is left out.

    The runs are called `name@digest` in every table, with 12 hexadecimal digits of the SHA-256 of the contents, so that
    runs of other contents have other keys; `dataset.id` says it. Raises ValueError with one sentence for a name that is
    taken or cannot be one, for shapes or lengths that do not fit, for no rows, for types that are no real numbers, for
    values that are not finite, and for labels out of range.

    >>> dataset = from_arrays("corners", [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0], [[0.1, 0.9]], [1])
    >>> dataset.x_train.dtype, dataset.classes, dataset.id
    (torch.float32, 2, 'corners@e0b0f843dc4a')
    """
    given = dict(zip(ARRAYS, (x_train, y_train, x_test, y_test), strict=True))
    return sound(_free(name), given, classes, source="arrays", copy=True)


def from_torch(name: str, train: Iterable[Any], test: Iterable[Any], *, classes: int | None = None) -> Dataset:
    """A data set of your own from two of `torch.utils.data`, each a row a pair (input, label).

    Every row is read once, here: transforms are applied once, and one that draws at random is not drawn again in
    training. What is asked of inputs and labels, and what is raised, is as in `from_arrays`.

    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> train, test = (TensorDataset(torch.rand(n, 3), torch.arange(n) % 4) for n in (20, 8))
    >>> dataset = from_torch("mine", train, test)
    >>> dataset.x_train.shape, dataset.y_test.tolist(), dataset.classes
    (torch.Size([20, 3]), [0, 1, 2, 3, 0, 1, 2, 3], 4)
    """
    _free(name)
    splits = [_read(f"{split} of {name}", rows) for split, rows in (("train", train), ("test", test))]
    return from_arrays(name, *splits[0], *splits[1], classes=classes)


def from_csv(name: str, train: Path | str, test: Path | str, *, label: str, classes: int | None = None) -> Dataset:
    """A data set of your own from two CSV files with a header; `label` names the column of the labels.

    All other columns are inputs, (N, columns), in the order of the training file; the test file has the same ones, in
    any order. Values are numbers, and labels are as in `from_arrays`. Raises FileNotFoundError, or ValueError that
    names the file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     train, test = Path(folder, "train.csv"), Path(folder, "test.csv")
    ...     _ = train.write_text("height,width,kind\\n1.5,2,0\\n2.5,1,1\\n")
    ...     _ = test.write_text("kind,width,height\\n1,1,3\\n")
    ...     dataset = from_csv("leaves", train, test, label="kind")
    >>> dataset.x_train.tolist(), dataset.x_test.tolist(), dataset.y_test.tolist()
    ([[1.5, 2.0], [2.5, 1.0]], [[3.0, 1.0]], [1])
    """
    _free(name)
    if not isinstance(label, str):
        raise TypeError(f"label= is the name of the column of labels, not a {type(label).__name__}")
    frames = [_csv(_path(path), label) for path in (train, test)]
    columns = [column for column in frames[0].columns if column != label]
    if set(frames[1].columns) != {*columns, label}:
        odd = shown(", ".join(sorted({str(column) for column in set(frames[0].columns) ^ set(frames[1].columns)})))
        raise ValueError(f"{train} and {test} do not have the same columns: only one of them has {odd}")
    if not columns:
        raise ValueError(f"{train} has no column but the labels: give at least one of inputs")
    splits = [(frame[columns].to_numpy(float), frame[label].to_numpy()) for frame in frames]
    return from_arrays(name, *splits[0], *splits[1], classes=classes)


def from_npz(path: Path | str) -> Dataset:
    """A data set of your own from a NumPy archive with x_train, y_train, x_test, y_test and, if you like, classes.

    This is what `Run(dataset="path/to/mine.npz")` trains on, on the command line and in a grid too. It is called after
    the file, here `mine`. The archive is read without pickle. Raises FileNotFoundError, or ValueError that names the
    file; what is asked of the arrays is as in `from_arrays`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(Path(folder, "mine.npz"), x_train=[[0], [1]], y_train=[0, 1], x_test=[[2]], y_test=[1], classes=3)
    ...     dataset = from_npz(Path(folder, "mine.npz"))
    >>> dataset.name, dataset.classes
    ('mine', 3)
    """
    path = _path(path)
    if not reading.stands(path):
        raise FileNotFoundError(f"there is no file {path}: a data set is the path of a NumPy archive, or a name")
    try:
        name, arrays = identity.check(path.stem), _archive(path)
        classes = arrays.pop("classes", None)
        if classes is not None and np.size(classes) != 1:
            raise ValueError(f"classes must be one whole number, got {np.size(classes)}")
        return sound(name, arrays, classes if classes is None else np.asarray(classes).item(), source=str(path))
    except DataDamaged:  # names the file
        raise
    except (ValueError, MemoryError) as error:
        raise ValueError(f"{path}: {str(error) or 'there is not enough memory for it'}") from error


def _path(given: object) -> Path:
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"a data set is read from the path of a file, not from a {type(given).__name__}")
    return named(Path(given))


def _free(name: object) -> str:
    if name in NAMES:
        raise ValueError(f"{name} is a published data set: call yours something else, such as 'my-{name}'")
    return identity.check(name)


def _read(what: str, rows: Any) -> tuple[Any, Any]:
    if isinstance(rows, DataLoader):
        raise ValueError(f"{what} is a DataLoader, which gives batches: give its .dataset")
    if type(rows) is TensorDataset and len(rows.tensors) == 2:
        return rows.tensors[0], rows.tensors[1]
    if hasattr(rows, "__getitem__") and hasattr(rows, "__len__"):
        return samples.stacked(what, (rows[row] for row in range(len(rows))))
    if not isinstance(rows, Iterable):
        raise TypeError(f"{what} is a {type(rows).__name__}: give a torch.utils.data.Dataset of pairs")
    return samples.stacked(what, rows)


def _csv(path: Path, label: str) -> pd.DataFrame:
    if not reading.stands(path):
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix in _PACKED:
        raise ValueError(f"{path} is packed: unpack it first, or pack it as .gz")
    import pandas as pd

    text = reading.contents(path, reading.of_memory())
    if b"\0" in text:  # pandas would end a value there
        raise ValueError(f"{path} is not a readable CSV file: it holds a NUL byte, as no text does")
    try:
        frame = pd.read_csv(io.BytesIO(text), low_memory=False)
        header = pd.read_csv(io.BytesIO(text), header=None, nrows=1, dtype=str).iloc[0]
    except (ValueError, OverflowError, MemoryError) as error:  # of pandas, or of a text that is no UTF-8
        raise ValueError(f"{path} is not a readable CSV file: {reading.brief(error)}") from error
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes what is left of the named columns for an index
        raise ValueError(f"{path} has rows of more values than its header has names: give each column one name")
    if twice := sorted(header[header.notna() & header.duplicated()]):  # pandas would number them: labels as inputs
        raise ValueError(f"{path} has two columns {shown(repr(twice[0]))}: give each column a name of its own")
    if label not in frame.columns:
        raise ValueError(
            f"{path} has no column {label!r} of labels: it has {shown(', '.join(map(str, frame.columns)))}"
        )
    if not len(frame):
        raise ValueError(f"{path} has no rows: give at least one")
    if any(str(column).startswith("Unnamed:") for column in frame.columns):
        raise ValueError(f"{path} has a column without a name, as an index has: name it or leave it out")
    for column in [column for column, kind in zip(frame.columns, frame.dtypes, strict=True) if kind.kind not in "biuf"]:
        values = frame[column].map(lambda value: value if len(str(value)) < 300 else None)  # more is no float
        numbers = pd.to_numeric(values, errors="coerce")
        row = int(np.flatnonzero(numbers.isna())[0]) if numbers.isna().any() else 0
        value = shown(repr(frame[column].iloc[row]))
        raise ValueError(f"row {row} of {path} is {value} in column {shown(column)}: give numbers alone")
    for row, at in np.argwhere(frame.isna().to_numpy())[:1]:
        raise ValueError(
            f"row {row} of {path} is empty in column {shown(frame.columns[at])}: fill it or leave the row out"
        )
    return frame


def _archive(path: Path) -> dict[str, np.ndarray]:
    most = reading.of_memory()
    held = archives.arrays_in(path, most)
    if missing := [name for name in ARRAYS if name not in held]:
        raise ValueError(f"it does not hold {', '.join(missing)}")
    if strangers := [name for name in held if name not in (*ARRAYS, "classes")]:
        what = shown(", ".join(strangers[:9]))
        raise ValueError(f"it holds {what} too: keep {', '.join(ARRAYS)} and classes alone")
    return archives.arrays(path, held, most)
