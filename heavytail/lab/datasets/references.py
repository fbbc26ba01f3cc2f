"""The data sets that runs meet: those given to the trainer, those in files, and which of them are one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from heavytail.lab.datasets import identity
from heavytail.lab.datasets.dataset import Dataset
from heavytail.lab.datasets.official import NAMES
from heavytail.lab.datasets.own import from_npz


def resolve(
    names: Iterable[str],
    data: Mapping[str, Dataset] | None = None,
    kept: Callable[[str], Dataset | None] = lambda identity: None,
) -> tuple[dict[str, str], dict[str, Dataset]]:
    """What runs call their data: the `Dataset.id` behind each name, and the checked data set behind each id.

    `data` holds data sets by name, and may replace a published one; published ones that it does not hold are left out,
    for they are loaded where a run is trained. A name that ends in .npz is the path of a file. `kept` is asked for a
    data set by its id when nothing else has it.

    Raises TypeError if `data` is no mapping of data sets, FileNotFoundError for a file that is not there, and
    ValueError for a data set that is not sound, one that no run uses, or a name that nothing stands behind.
    """
    wanted = list(dict.fromkeys(names))
    data = {} if data is None else data
    _look(data, wanted)
    held = {name: dataset.identified() for name, dataset in data.items()}
    ids = {name: called for name, (called, _) in held.items()}
    sets = dict(held.values())
    for name in wanted:
        if name in ids or name in NAMES:
            continue
        dataset = _behind(name, sets, kept)
        ids[name] = dataset.id
        sets[ids[name]] = dataset
    return ids, sets


def _look(data: object, wanted: list[str]) -> None:
    """Everything that can be said without reading a data set."""
    if not isinstance(data, Mapping):
        raise TypeError(f"data must be a mapping such as {{'mine': dataset}}, not a {type(data).__name__}")
    for name, dataset in data.items():
        if not isinstance(dataset, Dataset):
            raise TypeError(
                f"data[{name!r}] is a {type(dataset).__name__}: make a data set of it by datasets.from_arrays"
            )
        if identity.check(name) != dataset.name:
            raise ValueError(f"data[{name!r}] is the data set {dataset.name!r}: give it under its own name")
    for name in wanted:
        if not (name in data or identity.is_file(name) or identity.is_settled(name)):
            raise ValueError(
                f"unknown data set {name!r}: choose one of {', '.join(NAMES)}, or give yours in data={{{name!r}: ...}}"
            )
    used = {name if identity.is_file(name) else identity.base(name) for name in wanted}
    if unused := [name for name in data if name not in used]:
        raise ValueError(
            f"no run uses data[{unused[0]!r}]: the runs use {', '.join(wanted)}, so leave out {', '.join(unused)}"
        )


def _behind(name: str, sets: Mapping[str, Dataset], kept: Callable[[str], Dataset | None]) -> Dataset:
    if identity.is_file(name):
        return from_npz(name)
    if (dataset := sets.get(name) or kept(name)) is not None:
        return dataset
    others = [other for other in sets if identity.base(other) == identity.base(name)]
    if others:
        raise ValueError(
            f"a run is of {name}, but data[{identity.base(name)!r}] is {others[0]}: its contents are others"
        )
    raise ValueError(f"a run is of {name}, which is not here: give it in data={{{identity.base(name)!r}: ...}}")
