"""The results schema: one row a run, the weights beside it, both written atomically and read without pickle."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from heavytail import _sampler, stable
from heavytail.lab.datasets import NAMES, identity
from heavytail.lab.machine.files import check_place, kind_of, named, write_atomically
from heavytail.lab.runs import LATER, Run
from heavytail.noise.kinds import shown
from heavytail.version import described as code_version

SHARES = tuple(k / 10 for k in range(11))  # pruned shares at which accuracy is measured again [C]

# What these begin is a measurement of the trained network, or of its twin.
MEASURED = ("train_", "test_", "pruning_", "norm_", "tail_", "twin_")

MIDDLE = SHARES[1:-1]

TUNED = (0.5, 0.7, 0.8, 0.9)  # pruned shares after which a network is tuned

DISTURBED = (0.01, 0.03, 0.1)  # sizes of a disturbance, in root mean squares of a number of the training inputs

FAILED = ("diverged", "out_of_memory", "failed")  # statuses of a run without measurements
STATUSES = ("converged", "max_steps", "stalled", *FAILED)
_ENDED = {
    "max_steps": "took all steps",
    "converged": "stopped at their accuracy",
    "out_of_memory": "had too little memory",
}

#: Columns of the table after the fields of the Run, and what each holds. Accuracies and ratios lie in [0, 1].
COLUMNS = {
    "train_loss": "mean cross-entropy over the training split, nats",
    "train_accuracy": "share of training samples classified rightly, before pruning",
    "test_accuracy": "the same on the test split; every column test_... of a run with validation is of that part",
    "pruning_ratio": "share of parameters pruned at squared error 0.1, the output layer left out of the count",
    "train_accuracy_pruned": "train accuracy after pruning at squared error 0.1",
    "test_accuracy_pruned": "test accuracy after pruning at squared error 0.1",
    **{f"train_accuracy_share_{s:.1f}": f"train accuracy with the share {s:.1f} of units pruned" for s in SHARES},
    **{f"test_accuracy_share_{s:.1f}": f"test accuracy with the share {s:.1f} of units pruned" for s in SHARES},
    **{f"test_accuracy_random_{s:.1f}": f"test accuracy with a random share {s:.1f} of units pruned" for s in MIDDLE},
    **{
        f"test_accuracy_tuned_{s:.1f}": f"test accuracy with the share {s:.1f} of units pruned and the rest tuned"
        for s in TUNED
    },
    **{
        f"test_accuracy_fgsm_{e:g}": f"test accuracy on inputs disturbed by one signed gradient of size {e:g}"
        for e in DISTURBED
    },
    **{
        f"test_accuracy_pgd_{e:g}": f"test accuracy on inputs disturbed by projected gradients within {e:g}"
        for e in DISTURBED
    },
    "norm_median": "median Euclidean norm of the hidden units",
    "norm_rms": "root mean square of the norms of the hidden units",
    "tail_index": "Hill's tail index of the norms, each over the median of its layer, k = floor(sqrt(units))",
    "tail_index_error": "its standard error",
    "twin_pruning_ratio": "pruning_ratio of the run's twin: its initial weights and its own kicks, without training",
    "twin_norm_median": "norm_median of the twin",
    "twin_norm_rms": "norm_rms of the twin",
    "steps": "optimizer steps done",
    "seconds": "wall time of training and measuring, shared evenly among the runs that were trained at once",
    "status": "converged (reached stop_accuracy) | max_steps | stalled (patience ran out) | diverged | out_of_memory | "
    "failed (an error, or nothing left to prune)",
    "reason": "one sentence on a run that diverged, stalled, did not fit or failed; else empty",
    "verified": "whether the data had the official digest",
    "key": "the run's key",
    "code": "version of heavytail, with the commit where known",
    "torch": "version of torch",
    "device": "device that trained",
    "sampler": "version of the stable sampler that drew, heavytail._sampler, which is one on all devices",
}

#: What columns begin with that earlier releases did not have; they are NaN in a table of those.
NEW = (
    "test_accuracy_random_",
    "test_accuracy_tuned_",
    "test_accuracy_fgsm_",
    "test_accuracy_pgd_",
    "norm_",
    "tail_",
    "twin_",
)
_LATER = tuple(name for name in COLUMNS if name.startswith(NEW))

#: The largest value of measurements that are 0 at least, a rounding beyond 1 for shares.
_MOST = {
    name: 1 + 1e-6 if "accuracy" in name or "ratio" in name else math.inf
    for name in COLUMNS
    if name.startswith(MEASURED) and name != "train_loss"
}

#: Columns of a table of simulations beside the fields of the simulation: one row a measured number.
SIMULATED = {
    "study": "which kind of simulation: one of those of heavytail.lab.simulations, such as chaos or pruning",
    "level": "coarse steps of a discretisation, else 0",
    "quantity": "what was measured, as the docstring of the study's `measure` says",
    "repeat": "number of the independent repeat",
    "value": "the number",
    "seconds": "wall time of the whole simulation",
    **{name: COLUMNS[name] for name in ("key", "code", "torch", "device")},
    "sampler": "version of the stable sampler that drew: always heavytail.stable",
}

#: Fields whose annotations say whole number, number or truth value; all other columns hold text.
_KINDS = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}

#: The type of every column of which this module knows; the file of a table has it whatever the column holds.
_TYPES = {
    **{field.name: _KINDS.get(str(field.type).removesuffix(" | None"), pa.large_string()) for field in fields(Run)},
    **dict.fromkeys((*COLUMNS, *SIMULATED), pa.large_string()),
    **dict.fromkeys((name for name in COLUMNS if name.startswith(MEASURED)), pa.float64()),
    **dict.fromkeys(("value", "seconds"), pa.float64()),
    **dict.fromkeys(("steps", "sampler", "level", "repeat"), pa.int64()),
    "verified": pa.bool_(),
}


@dataclass(frozen=True, eq=False)
class Results:
    """What `train` returns: `table`, one row a run in the order given, and the weights of each run.

    `history`, where it was asked for, has one row a look: key, step, train_loss and train_accuracy.

    >>> import tempfile
    >>> from heavytail import grid, train
    >>> (run,) = grid(dataset="digits", width=20, lr=0.1, max_steps=5)
    >>> results = train(run, progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     results.save(folder)
    ...     again = Results.load(folder)
    >>> again.table.equals(results.table), list(again.weights(run))
    (True, ['1.weight', '3.weight'])
    """

    table: pd.DataFrame
    _weights: Mapping[str, Mapping[str, Tensor]] = field(repr=False)
    history: pd.DataFrame | None = None

    def weights(self, run: Run) -> dict[str, Tensor]:
        """Final weights of a run by parameter name, on the CPU; (neurons, inputs) for a linear layer.

        A run of your own data may call them as it did when it was trained, or by the id in `table`. Raises KeyError for
        a run that is not here, or a name that several ids in `table` begin with.
        """
        if not isinstance(run, Run):
            raise TypeError(f"weights are those of a Run, not of {shown(run)}")
        keys = {settled.key for settled in self._meant(run)}
        if len(keys) > 1:
            raise KeyError(f"data of several contents are called {run.dataset!r} here: name one as the table does")
        if not keys:
            raise KeyError(f"no weights of this run here: {run}")
        return dict(self._weights[keys.pop()])

    def _meant(self, run: Run) -> list[Run]:
        """The runs with weights here that this one may stand for, the data of its own that it names being here."""
        if identity.is_settled(run.dataset) and run.key in self._weights:
            return [run]
        if identity.is_settled(run.dataset) and run.dataset not in NAMES:
            return []
        name = identity.base(run.dataset)
        here = [replace(run, dataset=held) for held in set(self.table["dataset"]) if held.startswith(f"{name}@")]
        return [other for other in here if other.key in self._weights]

    def save(self, folder: Path | str) -> None:
        """Write `table.parquet` and one `KEY.safetensors` a run into `folder`, each file atomically.

        A history is written as `history.parquet`; without one, a file of that name is removed. What can be written is;
        then OSError is raised for the first file that cannot, ValueError for weights that are no longer in a store.
        """
        folder = named(folder)
        todo: list[Callable[[], object]] = [partial(self._save_weights, folder, key) for key in self._weights]
        todo += [partial(write_table, self.table, folder / "table.parquet"), partial(self._save_history, folder)]
        failures = []
        for write in todo:
            try:
                write()
            except (OSError, ValueError) as error:  # the other files are not to be lost with this one
                failures.append(error)
        if failures:
            raise failures[0]

    def _save_weights(self, folder: Path, key: str) -> None:
        content = save({name: tensor.contiguous() for name, tensor in self._weights[key].items()})
        write_atomically(folder / f"{key}.safetensors", partial(_write, content))

    def _save_history(self, folder: Path) -> None:
        looks = folder / "history.parquet"
        if self.history is not None:
            write_atomically(looks, partial(_write, self.history.to_parquet(index=False)))
        elif looks.is_file():
            looks.unlink()

    @staticmethod
    def load(folder: Path | str) -> Results:
        """Read what `save` wrote; weights that are not there are absent.

        Raises FileNotFoundError where there is no table, ValueError for a file that is damaged, by its name.
        """
        folder = named(folder)
        table = read_table(folder / "table.parquet")
        files = {key: folder / f"{key}.safetensors" for key in table["key"]}
        looks = folder / "history.parquet"
        return Results(
            table,
            {key: _read_weights(path) for key, path in files.items() if path.exists()},
            _parquet(looks) if looks.exists() else None,
        )


def tensors_in(content: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file in the order of their names: the reader's own order differs from call to call.

    Raises SafetensorError for a damaged file.
    """
    return dict(sorted(load(content).items()))


def row(run: Run, measured: Mapping[str, object]) -> dict[str, object]:
    """One row of the table: the run's fields, what was measured, and what it was measured with."""
    known = {**measured, **_made_with(run.key, _sampler.SAMPLER_VERSION)}
    if known.keys() != COLUMNS.keys():
        raise ValueError(f"a results row must fill exactly the columns {sorted(known.keys() ^ COLUMNS.keys())}")
    known["reason"] = _encodable(str(known["reason"]))  # of an error's text, which may hold anything
    return {**vars(run), **{name: known[name] for name in COLUMNS}}


def simulated(
    study: str, key: str, record: Mapping[str, object], numbers: pd.DataFrame, *, seconds: float, device: str
) -> pd.DataFrame:
    """Rows of a table of simulations: a record's fields and what it was made with, beside each of its `numbers`.

    `numbers` has the columns level, quantity, repeat and value.
    """
    known = {"study": study, "seconds": seconds, "device": device, **_made_with(key, stable.SAMPLER_VERSION)}
    same = pd.DataFrame({**record, **known}, index=numbers.index)
    rows = pd.concat([numbers, same], axis=1)
    return rows[["study", *record, *(name for name in SIMULATED if name != "study")]]


def _made_with(key: str, sampler: int) -> dict[str, object]:
    return {"key": key, "code": code_version(), "torch": torch.__version__, "sampler": sampler}


def is_row(row: Mapping[str, Any]) -> bool:
    """Whether each value of a row is of the type of its column, and one that a run can have come to."""
    return (
        all(_fits(value, _TYPES[name]) for name, value in row.items())
        and all(row[name] is not None for name in COLUMNS)  # fields of the run may be None
        and row["status"] in STATUSES
        and 0 <= row["steps"] <= row["max_steps"]
        and 0 <= row["seconds"] < math.inf
        and all(not (row[name] < 0 or row[name] > most) for name, most in _MOST.items())  # NaN was not measured
    )


def _fits(value: object, kind: pa.DataType) -> bool:
    if value is None:
        return True
    if isinstance(value, bool):
        return kind == pa.bool_()
    if isinstance(value, int):
        return kind == pa.float64() or (kind == pa.int64() and abs(value) < 2**63)
    if isinstance(value, str):
        return kind == pa.large_string() and value == _encodable(value)
    return isinstance(value, float) and kind == pa.float64()


def _encodable(text: str) -> str:
    """A text with what no file can hold, half a surrogate pair, written as `\\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def tabled(rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """The table of these rows, with the types that it has when it is read from a file."""
    columns = [field.name for field in fields(Run)] + list(COLUMNS)
    return _typed(pd.DataFrame(list(rows), columns=columns)).to_pandas(use_threads=False)


def history_of(runs: Iterable[Run], looks: Mapping[tuple[str, int], tuple[float, float]]) -> pd.DataFrame:
    """The table of looks, loss and accuracy by key and step, in the order of the runs."""
    place = {run.key: number for number, run in enumerate(runs)}
    rows = [(key, step, *looks[key, step]) for key, step in sorted(looks, key=lambda at: (place[at[0]], at[1]))]
    return pd.DataFrame(rows, columns=["key", "step", "train_loss", "train_accuracy"]).astype(
        {"key": str, "step": "int64", "train_loss": "float64", "train_accuracy": "float64"}
    )


def runs_of(table: pd.DataFrame) -> list[Run]:
    """The Run of each row, so that any number can be traced to the record that makes it again."""
    names = [field.name for field in fields(Run)]
    rows = table[names].astype(object).to_dict("records")
    known: list[dict[str, Any]] = [{k: None if pd.isna(v) else v for k, v in row.items()} for row in rows]
    return [Run(**row) for row in known]


def write_table(table: pd.DataFrame, path: Path | str) -> None:
    """Write a table of runs or of simulations as parquet, atomically.

    A column is of one type whatever it holds, so that a folder of tables can be read as one. Raises ValueError for a
    path that does not end in .parquet, and pyarrow's errors for a value that is not of the type of its column.
    """
    from pyarrow import parquet

    content = pa.BufferOutputStream()  # pyarrow would read more into a path than a name
    parquet.write_table(_typed(table), content, write_page_checksum=True)
    write_atomically(table_path(path), partial(_write, content.getvalue()))


def places(folder: Path | str, runs: Iterable[Run]) -> list[Path]:
    """The files that `Results.save` will write of these runs, whose data sets are settled."""
    folder = named(folder)
    return [folder / "table.parquet", *(folder / f"{run.key}.safetensors" for run in runs)]


def check_places(*paths: Path | str) -> None:
    """Raise OSError if a file could not be written at one of these, for before hours of work; makes their folders."""
    for path in paths:
        try:
            check_place(named(path))
        except OSError as error:
            raise OSError(f"{error}: name another place") from error


def table_path(path: Path | str) -> Path:
    """The path of a table; ValueError unless its name is one of a table and no folder has it."""
    path = named(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name the table, such as {path / 'table.parquet'}")
    if path.suffix != ".parquet":
        raise ValueError(f"{path} does not end in .parquet: name the table {path.with_suffix('.parquet').name}")
    return path


def _typed(table: pd.DataFrame) -> pa.Table:
    """The table with the type of every known column, and without what pandas alone would note about it."""
    types, whole = [], {}
    for name in table.columns:
        kind = _TYPES[name] if name in _TYPES else pa.array(table[name], from_pandas=True).type
        types.append((name, pa.large_string() if pa.types.is_string(kind) or pa.types.is_null(kind) else kind))
        if pa.types.is_integer(kind):
            whole[name] = table[name].astype("Int64")  # missing numbers made it floats or objects
    table = table.assign(**whole)
    typed = pa.Table.from_pandas(
        table, schema=pa.schema(types), preserve_index=False, nthreads=1
    )  # forks want no threads
    return typed.replace_schema_metadata()


def read_table(path: Path | str) -> pd.DataFrame:
    """Read a table of runs or of simulations.

    ValueError names a file that cannot be read or lacks columns, FileNotFoundError one that is not there.
    """
    path = named(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no results table {path}: make it with `heavytail train GRID.toml`")
    table = _parquet(path)
    simulated = "quantity" in table
    wanted = SIMULATED if simulated else (*(field.name for field in fields(Run)), *COLUMNS)
    if not simulated:
        table = table.assign(**{name: LATER.get(name, math.nan) for name in (*LATER, *_LATER) if name not in table})
    missing = [name for name in wanted if name not in table]
    if missing:
        raise ValueError(
            f"{path} is no results table: it has no column {', '.join(missing)}; delete it and make it again"
        )
    try:
        _check_numbers(table)
        typed = _typed(table if simulated else table[list(wanted)])
    except (ValueError, TypeError, pa.ArrowException) as error:
        reason = _line(error)
        raise ValueError(
            f"{path} is no results table: a column holds other than it should ({reason}); delete it and make it again"
        ) from error
    return table if simulated else typed.to_pandas(use_threads=False)


def _check_numbers(table: pd.DataFrame) -> None:
    """Raise ValueError for a column of text where numbers belong: pyarrow would read what looks like one."""
    for name, kind in table.dtypes.items():
        if isinstance(kind, pd.StringDtype) and _TYPES.get(name, pa.large_string()) != pa.large_string():
            raise ValueError(f"{name} is text")


def _line(error: Exception) -> str:
    """The first line of what a library says of an error; pyarrow adds all names of a table."""
    said = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return said.strip().partition("\n")[0]


def _parquet(path: Path) -> pd.DataFrame:
    if kind := kind_of(path):  # a pipe would never end
        raise ValueError(f"{path} is {kind} and no results table: name another file")
    try:
        with path.open("rb") as file:  # pandas takes some names for addresses
            return pd.read_parquet(file, page_checksum_verification=True)  # of pages that have one
    except PermissionError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable results table ({_line(error)}): delete it and make it again"
        ) from error


def _write(content: bytes | pa.Buffer, part: Path) -> None:
    part.write_bytes(content)


def _read_weights(path: Path) -> dict[str, Tensor]:
    if kind := kind_of(path):
        raise ValueError(f"{path} is {kind} and holds no weights: move it away")
    try:
        return tensors_in(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(
            f"{path} does not hold readable weights ({_line(error)}): delete it and make it again"
        ) from error


def describe(table: pd.DataFrame) -> str:
    """One line of provenance for a page: rows, failures, code, torch, device, and the sampler if it is an older one."""
    made = {name: ", ".join(sorted(set(map(str, table[name])))) for name in ("code", "torch", "device")}
    if "status" in table:
        counts = table["status"].value_counts().sort_index()
        words = ", ".join(f"{count} {_ENDED.get(status, status)}" for status, count in counts.items())
        size = f"{len(table)} runs ({words})"
    else:
        bad = int((~np.isfinite(table["value"])).sum())
        size = f"{table['key'].nunique()} simulations, {len(table)} numbers, {bad} of them not finite"
    line = f"{size}, heavytail {made['code']}, torch {made['torch']}, {made['device']}"
    today = _sampler.SAMPLER_VERSION if "status" in table else stable.SAMPLER_VERSION
    older = sorted({int(version) for version in table["sampler"]} - {today})
    return f"{line}, drawn by sampler {', '.join(map(str, older))} (today's is {today})" if older else line
