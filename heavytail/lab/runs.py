"""What a run is: a frozen record of everything that decides its result. A grid is a list of runs."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from heavytail import noise as noises
from heavytail.lab.datasets import NAMES, identity
from heavytail.lab.machine import files
from heavytail.networks import NETWORKS
from heavytail.noise.kinds import shown

Record = TypeVar("Record")

PRODUCTS = ("float32", "bfloat16", "tf32")

ALONG = ("ones", "unseen")

MOST = 10**6  # runs of one grid: more are a slip, and their list alone would fill the memory

_LONGEST = 2**24  # bytes of a grid's file

FLAT = ("fcn", "mean_field")  # networks that see an input as one vector

# Fields that the first release did not have, and their defaults.
LATER = {
    "patience": None,
    "products": "float32",
    "along": "ones",
    "weight_decay": 0.0,
    "samples": None,
    "group_lasso": 0.0,
    "validation": None,
    "tune_steps": 0,
    "robustness": None,
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run of heavy-tailed SGD. Its `key` is its identity; two equal runs are the same run.

    dataset        one of heavytail.lab.datasets.NAMES; or your own, by the name it has in `data=`, its `Dataset.id`, or
                   the path of a file that ends in .npz
    network        "fcn" | "mean_field" | "vgg"; or your own: "package.module:function" names one that can be imported,
                   ":name" one that `train` is given in `networks=`; see `heavytail.lab.models.Build`
    width          neurons of a hidden layer; for "vgg" filters of the first convolution
    depth          hidden layers; "mean_field" has one; "vgg" has a fixed plan and wants depth=1
    noise          None | "shared" | "entrywise" | "isotropic" (the paper's Types I, II, III)
    unit           "filter" | "kernel": what shares a scalar in a convolution; without meaning elsewhere
    alpha          stability index in (0, 2]; None without noise
    sigma          noise scale >= 0; a step adds sigma * lr^(1/alpha) times a unit draw
    lr             step size eta > 0
    batch_size     samples a step; None = full batch
    max_steps      optimizer steps at most
    stop_accuracy  stop once the train accuracy, in (0, 1], reaches this; None = never
    eval_every     steps between two looks at the train accuracy
    patience       give a run up as stalled after this many looks without a gain; None = never
    products       "float32" | "bfloat16" | "tf32": what the factors of a step's matrix products are rounded to; a CPU
                   has no TF32 and takes float32
    along          "ones" | "unseen": the direction of Type-I kicks; "unseen" is one that the training inputs lack, of
                   the same length, for one hidden layer only
    weight_decay   lambda >= 0; a step takes the share lr * lambda off every weight before noise is added
    group_lasso    lambda >= 0; a step shortens every hidden unit's norm by lr * lambda, down to 0 at most, before noise
                   is added: the proximal step of the penalty lambda * (sum of the norms of the hidden units)
    samples        how many training samples are used, the first ones; None = all
    validation     how many training samples are set aside, the same ones for every run; what is measured as on the test
                   split is then measured on these, and the test split is not looked at; None = none
    tune_steps     steps without noise by which a pruned network is tuned to measure its test accuracy then; 0 = not
                   measured
    robustness     how many test samples, the first ones, are disturbed to measure the test accuracy on them (FGSM and
                   PGD); None = not measured
    seed           root of the run's random streams

    Raises ValueError with one sentence when a field is out of range.

    >>> run = Run(dataset="digits", width=500, lr=0.1, noise="shared", alpha=1.75, sigma=0.01, max_steps=300)
    >>> len(run.key), run.seed
    (16, 0)
    """

    dataset: str = "ecg5000"
    network: str = "fcn"
    width: int = 2000
    depth: int = 1
    noise: noises.Noise | None = None
    unit: noises.Unit = "filter"
    alpha: float | None = None
    sigma: float = 0.0
    lr: float = 0.001
    batch_size: int | None = None
    max_steps: int = 600
    stop_accuracy: float | None = None
    eval_every: int = 10
    patience: int | None = None
    products: str = "float32"
    along: str = "ones"
    weight_decay: float = 0.0
    group_lasso: float = 0.0
    samples: int | None = None
    validation: int | None = None
    tune_steps: int = 0
    robustness: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        word(self, "dataset")
        identity.check_reference(self.dataset)
        for name in ("network", "products", "along", "unit"):
            word(self, name)
        if self.noise is not None:
            word(self, "noise")
        if self.network not in NETWORKS and not own_network(self.network):
            raise ValueError(
                f"unknown network {shown(self.network)}: choose one of {', '.join(NETWORKS)}, or name your own as "
                "'package.module:function'"
            )
        for name, least in (
            ("width", 1),
            ("depth", 1),
            ("max_steps", 1),
            ("eval_every", 1),
            ("tune_steps", 0),
            ("seed", 0),
        ):
            whole(self, name, least)
        for name in ("batch_size", "patience", "samples", "validation", "robustness"):
            if getattr(self, name) is not None:
                whole(self, name, 1)
        if self.products not in PRODUCTS:
            raise ValueError(f"unknown products {shown(self.products)}: choose one of {', '.join(PRODUCTS)}")
        if self.patience is not None and self.stop_accuracy is None:
            raise ValueError("patience counts looks at the train accuracy: set stop_accuracy too, or leave both out")
        if self.network in NETWORKS and self.network != "fcn" and self.depth != 1:
            raise ValueError(f"depth={self.depth} is for network 'fcn' only: {self.network!r} wants depth=1")
        for name in ("sigma", "lr", "weight_decay", "group_lasso"):
            number(self, name)
        for name in ("alpha", "stop_accuracy"):
            if getattr(self, name) is not None:
                number(self, name)
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"the step size lr must be a finite number above 0, got {self.lr:g}")
        if not 0 <= self.weight_decay * self.lr < 1:
            raise ValueError(f"weight_decay must be >= 0 and below 1 / lr = {1 / self.lr:g}, got {self.weight_decay:g}")
        if not 0 <= self.group_lasso < math.inf:
            raise ValueError(f"group_lasso must be a finite number >= 0, got {self.group_lasso:g}")
        if self.along not in ALONG:
            raise ValueError(f"unknown direction along={shown(self.along)}: choose one of {', '.join(ALONG)}")
        if self.along == "unseen" and (self.noise != "shared" or self.depth != 1 or self.network not in FLAT):
            raise ValueError("along='unseen' is for noise 'shared' on a network with one hidden layer")
        if self.stop_accuracy is not None and not 0 < self.stop_accuracy <= 1:
            raise ValueError(f"stop_accuracy must lie in (0, 1], got {self.stop_accuracy:g}")
        if self.noise is None:
            if self.alpha is not None or self.sigma != 0:
                raise ValueError("alpha and sigma are set but noise is None: name a noise, or leave both out")
            noises.check(2.0, 0.0, "shared", self.unit)
        else:
            noises.check(2.0 if self.alpha is None else self.alpha, self.sigma, self.noise, self.unit)
            if self.alpha is None:
                raise ValueError(f"noise {self.noise!r} needs a stability index: set alpha in (0, 2]")
            noises.scale(self.alpha, self.sigma, self.lr)

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that name this run: the SHA-256 of its fields.

        A field that came later is left out at its default, so that a run keeps its key from release to release. Raises
        ValueError for a run of a data set of your own that is not named by its `Dataset.id`: which contents are meant
        is not known before the run meets its data.
        """
        if not identity.is_settled(self.dataset):
            raise ValueError(
                f"a run of {self.dataset!r} has no key before it meets its data: choose one of {', '.join(NAMES)}, or "
                "name yours by its id, as in Run(dataset=dataset.id)"
            )
        return key_of({name: v for name, v in vars(self).items() if name not in LATER or v != LATER[name]})


def own_network(name: object) -> bool:
    """Whether a run's network is named as one of the user's own: `module:function`, or `:name`."""
    module, colon, function = str(name).partition(":")
    return bool(colon) and function.isidentifier() and all(part.isidentifier() for part in module.split(".") if module)


def number(record: object, name: str) -> None:
    """Make a field of a frozen record a float, or raise ValueError: 1 and 1.0 are one record, so are 0.0 and -0.0."""
    value = getattr(record, name)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, got {shown(value)}")
    try:
        object.__setattr__(record, name, float(value) + 0.0)
    except OverflowError:
        raise ValueError(f"{name} must be a number that a float can hold, got a larger one") from None


def whole(record: object, name: str, least: int) -> None:
    """Make a field of a frozen record an int of at least `least`, or raise ValueError."""
    value = getattr(record, name)
    is_whole = isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not is_whole or value < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {shown(value)}")
    if value >= 2**63:
        raise ValueError(f"{name} must be below 2^63, as a table holds 64 bits of it, got {shown(value)}")
    object.__setattr__(record, name, int(value))


def word(record: object, name: str) -> None:
    """Raise ValueError unless a field of a record is a word."""
    if not isinstance(value := getattr(record, name), str):
        raise ValueError(f"{name} must be a word, got {shown(value)}")


def key_of(record: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits that name a record of plain values."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def grid(**axes: Any) -> list[Run]:
    """All runs of a product: a list, tuple or range is an axis, anything else is held fixed.

    `grid(noise="shared", alpha=[1.75, 1.9], sigma=0.1, seed=range(3))` gives six runs, the last axis fastest.
    Raises ValueError for a key that a Run does not have, and for more than a million runs, before any of them is made.

    >>> runs = grid(dataset="digits", width=[100, 200], noise="entrywise", alpha=[1.5, 1.9], sigma=0.01, seed=[1, 2, 3])
    >>> len(runs), runs[0].width, runs[0].alpha, runs[0].seed
    (12, 100, 1.5, 1)
    """
    return expand(Run, axes)


def expand(kind: type[Record], axes: Mapping[str, Any]) -> list[Record]:
    """All records of a product, of any frozen dataclass; see `grid`."""
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in axes:
        if name not in known:
            raise ValueError(f"a {kind.__name__} has no key {name!r}: its keys are {', '.join(known)}")
    values = [v if isinstance(v, list | tuple | range) else [v] for v in axes.values()]
    if (count := math.prod(map(_length, values))) > MOST:
        raise ValueError(f"a grid holds at most {MOST} runs, and this one has {count}: name fewer values on its axes")
    return [kind(**dict(zip(axes, choice, strict=True))) for choice in itertools.product(*values)]


def _length(axis: Sequence[Any]) -> int:
    """How many values an axis has; that of a range may be more than `len` can say."""
    if isinstance(axis, range):
        return max(0, -((axis.start - axis.stop) // axis.step))
    return len(axis)


def read_grid(path: Path | str, profile: str, /, **changes: Any) -> list[Run]:
    """The runs that a TOML file lists under `[[profile]]`, each entry a `grid`; `changes` replace its keys.

    Raises ValueError for a missing profile, one without runs, an unknown key, or a run listed twice.
    """
    lists = read_toml(path)
    if study := lists.get("study"):
        raise ValueError(f"{Path(path).name} lists simulations (study {study!r}): run it by `heavytail simulate`")
    return records_of(Run, lists, path, profile, changes)


def settled(runs: Iterable[Run], ids: Mapping[str, str]) -> list[Run]:
    """The runs with their data sets by id, which `ids` holds by name; ValueError if two are then the same."""
    return distinct([replace(run, dataset=ids.get(run.dataset, run.dataset)) for run in runs])


def read_toml(path: Path | str) -> dict[str, Any]:
    """What a TOML file holds; ValueError names one that is none, OSError no file or one that is not there."""
    try:
        path = files.named(path)
        if kind := files.kind_of(path):  # a pipe would wait for its writer
            raise OSError(f"{path} is {kind}: name a TOML file")
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
        if len(content) > _LONGEST:
            raise ValueError(f"it is longer than {_LONGEST} bytes")
        return tomllib.loads(content.decode())
    except FileNotFoundError:
        raise FileNotFoundError(
            f"there is no grid {path}: name a TOML file, such as one of data/grids in a clone"
        ) from None
    except RecursionError:
        raise ValueError(f"{Path(path).name} is not a grid: its lists are nested too deep") from None
    except ValueError as error:  # of TOML, or of text that is no UTF-8
        raise ValueError(f"{Path(path).name} is not a TOML file: {error}") from error


def records_of(
    kind: type[Record], lists: Mapping[str, Any], path: Path | str, profile: str, changes: Mapping[str, Any], /
) -> list[Record]:
    """The records of any frozen dataclass among what a TOML file, read from `path`, `lists`; see `read_grid`."""
    profiles = {name: value for name, value in lists.items() if name != "study"}
    if profile not in profiles:
        raise ValueError(f"{Path(path).name} has no profile {profile!r}: it has {', '.join(profiles) or 'none'}")
    entries = profiles[profile]
    if not isinstance(entries, list) or not all(isinstance(axes, dict) for axes in entries):
        raise ValueError(f"{Path(path).name} must list the runs of a profile under [[{profile}]], in double brackets")
    try:
        listed: list[Record] = []
        for axes in entries:
            listed += expand(kind, {**axes, **changes})
            if len(listed) > MOST:
                raise ValueError(f"a grid holds at most {MOST} runs: split the profile in two")
        records = distinct(listed)
    except (TypeError, ValueError) as error:
        raise ValueError(f"profile {profile!r} of {Path(path).name}: {error}") from error
    if not records:
        raise ValueError(f"profile {profile!r} of {Path(path).name} lists no runs: an axis or the profile is empty")
    return records


def distinct_runs(runs: Any) -> list[Run]:
    """One run or several as a list. Raises TypeError for anything else, ValueError for a run that is there twice."""
    if isinstance(runs, Run):
        return [runs]
    several = list(runs) if isinstance(runs, Iterable) else [runs]
    if wrong := [one for one in several if not isinstance(one, Run)]:
        raise TypeError(f"runs are a Run or a list of them, as from grid(): got {shown(wrong[0])} among them")
    return distinct(several)


def distinct(records: Iterable[Record]) -> list[Record]:
    """The records as a list; ValueError if one stands in it twice."""
    seen: set[Record] = set()
    for record in (records := list(records)):
        if record in seen:
            raise ValueError(f"this run is listed twice: {record}")
        seen.add(record)
    return records
