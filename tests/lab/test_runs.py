"""A run is a record: every bad field is refused in one sentence, and its key is its identity."""

from __future__ import annotations

import math
import tomllib
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import numpy as np
import pytest

from heavytail import Run, cli, grid
from heavytail.lab import simulations
from heavytail.lab.runs import distinct, read_grid

GRIDS = Path(__file__).parents[2] / "data" / "grids"
TRAININGS = [path for path in sorted(GRIDS.glob("*.toml")) if "study" not in tomllib.loads(path.read_text("utf-8"))]
NOISY = {"noise": "shared", "alpha": 1.75, "sigma": 0.1}

BAD = [
    ({"patience": 0, "stop_accuracy": 0.9}, r"^patience must be a whole number >= 1, got 0$"),
    ({"patience": 3}, r"^patience counts looks at the train accuracy: set stop_accuracy too"),
    ({"products": "float16"}, r"^unknown products 'float16': choose one of float32, bfloat16, tf32$"),
    ({**NOISY, "alpha": 0}, r"stability index alpha must lie in \(0, 2\], got 0"),
    ({**NOISY, "alpha": -1.5}, r"alpha must lie in \(0, 2\], got -1.5"),
    ({**NOISY, "alpha": 2.001}, r"alpha must lie in \(0, 2\], got 2.001"),
    ({**NOISY, "alpha": math.nan}, r"alpha must lie in \(0, 2\], got nan"),
    ({**NOISY, "alpha": "1.75"}, r"alpha must be a number, got '1.75'"),
    ({**NOISY, "sigma": -0.1}, r"sigma must be a finite number >= 0, got -0.1"),
    ({**NOISY, "sigma": math.nan}, r"sigma must be a finite number >= 0, got nan"),
    ({**NOISY, "sigma": math.inf}, r"sigma must be a finite number >= 0, got inf"),
    ({**NOISY, "sigma": None}, r"sigma must be a number, got None"),
    ({**NOISY, "alpha": None}, r"noise 'shared' needs a stability index: set alpha in \(0, 2\]"),
    ({**NOISY, "noise": "gaussian"}, r"unknown noise 'gaussian': choose one of shared, entrywise, isotropic"),
    ({"noise": "gaussian"}, r"unknown noise 'gaussian': choose one of shared, entrywise, isotropic"),
    ({**NOISY, "noise": None}, r"alpha and sigma are set but noise is None: name a noise, or leave both out"),
    ({"sigma": 0.1}, r"alpha and sigma are set but noise is None"),
    ({"alpha": 1.5}, r"alpha and sigma are set but noise is None"),
    ({"dataset": "my data"}, r"a data set cannot be called 'my data': use letters, digits, '_', '-' and '.', 100 at"),
    ({"dataset": "path/to/mine"}, r"a data set cannot be called 'path/to/mine'"),
    ({"dataset": "mine@0123"}, r"a data set cannot be called 'mine@0123'"),
    ({"dataset": ""}, r"a data set cannot be called ''"),
    ({"dataset": 3}, r"^dataset must be a word, got 3$"),
    ({"network": "resnet"}, r"unknown network 'resnet': choose one of fcn, mean_field, vgg"),
    ({"unit": "row"}, r"unknown unit 'row': choose one of filter, kernel"),
    ({**NOISY, "unit": "row"}, r"unknown unit 'row': choose one of filter, kernel"),
    ({"width": 0}, r"width must be a whole number >= 1, got 0"),
    ({"width": 2.5}, r"width must be a whole number >= 1, got 2.5"),
    ({"width": math.nan}, r"width must be a whole number >= 1, got nan"),
    ({"width": math.inf}, r"width must be a whole number >= 1, got inf"),
    ({"width": "8"}, r"width must be a whole number >= 1, got '8'"),
    ({"width": None}, r"width must be a whole number >= 1, got None"),
    ({"seed": 2**63}, r"seed must be below 2\^63, as a table holds 64 bits of it, got 9223372036854775808"),
    ({"lr": 10**400}, r"lr must be a number that a float can hold, got a larger one"),
    ({"width": True}, r"width must be a whole number >= 1, got True"),
    ({"depth": 0}, r"depth must be a whole number >= 1, got 0"),
    ({"network": "vgg", "depth": 2}, r"depth=2 is for network 'fcn' only: 'vgg' wants depth=1"),
    ({"network": "mean_field", "depth": 3}, r"depth=3 is for network 'fcn' only: 'mean_field' wants depth=1"),
    ({"lr": 0}, r"step size lr must be a finite number above 0, got 0"),
    ({"lr": -0.1}, r"step size lr must be a finite number above 0, got -0.1"),
    ({"lr": math.nan}, r"step size lr must be a finite number above 0, got nan"),
    ({"lr": math.inf}, r"step size lr must be a finite number above 0, got inf"),
    ({"lr": None}, r"lr must be a number, got None"),
    ({"lr": True}, r"lr must be a number, got True"),
    ({"batch_size": 0}, r"batch_size must be a whole number >= 1, got 0"),
    ({"max_steps": 0}, r"max_steps must be a whole number >= 1, got 0"),
    ({"eval_every": 0}, r"eval_every must be a whole number >= 1, got 0"),
    ({"seed": -1}, r"seed must be a whole number >= 0, got -1"),
    ({"stop_accuracy": 0}, r"stop_accuracy must lie in \(0, 1\], got 0"),
    ({"stop_accuracy": 95}, r"stop_accuracy must lie in \(0, 1\], got 95"),
    ({"stop_accuracy": math.nan}, r"stop_accuracy must lie in \(0, 1\], got nan"),
]


@pytest.mark.parametrize(("fields", "sentence"), BAD, ids=[str(fields) for fields, _ in BAD])
def test_a_bad_field_is_refused_in_one_sentence(fields, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        Run(**fields)
    assert "\n" not in str(refused.value)


def test_the_ends_of_every_range_are_allowed():
    Run(noise="shared", alpha=2, sigma=0)
    Run(noise="isotropic", alpha=1e-3, sigma=1e30, lr=1, unit="kernel")
    Run(width=1, depth=1, batch_size=1, max_steps=1, eval_every=1, seed=0, lr=1e-30, stop_accuracy=1)


def test_a_run_may_name_its_data_in_every_way_that_says_which():
    for name in ("digits", "mine", "mine-2.1_b", "mine@0123456789ab", "digits@0123456789ab", "mine.npz", "a/b c@d.npz"):
        assert Run(dataset=name).dataset == name


def test_an_unknown_field_is_refused():
    with pytest.raises(TypeError, match="learning_rate"):
        Run(learning_rate=0.1)


def test_a_run_is_frozen():
    with pytest.raises(FrozenInstanceError):
        Run().width = 3


# identity


def test_the_key_of_a_run_does_not_change_from_release_to_release():
    """If this fails, stored tables and weights no longer belong to the runs that made them."""
    every_field_set = Run(
        dataset="digits",
        network="fcn",
        width=500,
        depth=2,
        noise="isotropic",
        unit="kernel",
        alpha=1.75,
        sigma=0.01,
        lr=1.0,
        batch_size=32,
        max_steps=300,
        stop_accuracy=0.95,
        eval_every=5,
        seed=7,
    )
    assert Run().key == "49106138c462e9ea"
    assert every_field_set.key == "66489c5e7d9adfeb"
    assert replace(every_field_set, patience=3, products="bfloat16").key == "792f1e2a197a5b8f"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"lr": 1}, {"lr": 1.0}),
        ({"width": 8}, {"width": 8.0}),
        ({"seed": 3}, {"seed": np.int64(3)}),
        ({"lr": 0.1}, {"lr": np.float64(0.1)}),
        ({"stop_accuracy": 1}, {"stop_accuracy": 1.0}),
        ({"sigma": 0.0}, {"sigma": -0.0}),
        ({**NOISY, "alpha": 2}, {**NOISY, "alpha": 2.0}),
    ],
)
def test_equal_numbers_of_another_type_make_the_same_run(one, other):
    one, other = Run(**one), Run(**other)
    assert one == other
    assert one.key == other.key
    assert hash(one) == hash(other)


def test_every_field_is_part_of_the_identity():
    base = Run(**NOISY)
    changes = {
        "dataset": "digits",
        "network": "mean_field",
        "width": 7,
        "depth": 2,
        "noise": "entrywise",
        "unit": "kernel",
        "alpha": 1.5,
        "sigma": 0.2,
        "lr": 0.2,
        "batch_size": 5,
        "max_steps": 7,
        "stop_accuracy": 0.5,
        "eval_every": 3,
        "patience": 2,
        "products": "bfloat16",
        "along": "unseen",
        "weight_decay": 0.1,
        "group_lasso": 0.1,
        "samples": 100,
        "validation": 10,
        "tune_steps": 4,
        "robustness": 20,
        "seed": 9,
    }
    base = replace(base, stop_accuracy=0.9)  # without it there is no patience
    assert changes.keys() == base.__dict__.keys()
    keys = {replace(base, **{name: value}).key for name, value in changes.items()} | {base.key}
    assert len(keys) == len(changes) + 1


# grids


def test_a_grid_is_the_product_of_its_axes_with_the_last_axis_fastest():
    runs = grid(noise="shared", alpha=[1.75, 1.9], sigma=0.1, seed=range(3))
    assert [(run.alpha, run.seed) for run in runs] == [(a, s) for a in (1.75, 1.9) for s in range(3)]
    assert {run.noise for run in runs} == {"shared"}
    assert [run.seed for run in grid(seed=(4, 2))] == [4, 2]
    assert grid() == [Run()]


def test_a_grid_refuses_a_key_that_no_run_has():
    with pytest.raises(ValueError, match=r"a Run has no key 'sedd': its keys are dataset, network, width"):
        grid(sedd=[1, 2])


def test_a_run_listed_twice_is_refused():
    assert distinct(iter([Run(seed=1), Run(seed=2)])) == [Run(seed=1), Run(seed=2)]
    with pytest.raises(ValueError, match=r"this run is listed twice: Run\(.*seed=1"):
        distinct([Run(seed=1), Run(seed=2), Run(seed=1)])


def write_grid(folder: Path, text: str) -> Path:
    path = folder / "some.toml"
    path.write_text(text)
    return path


def test_a_grid_file_lists_runs_by_profile(tmp_path):
    path = write_grid(
        tmp_path,
        """
        [[quick]]
        width = 8
        seed = [1, 2]
        [[quick]]
        width = 8
        noise = ["shared", "entrywise"]
        alpha = 1.75
        sigma = 0.1
        seed = [1, 2]
        [[paper]]
        width = 5000
        """,
    )
    runs = read_grid(path, "quick")
    assert runs == grid(width=8, seed=[1, 2]) + grid(
        width=8, noise=["shared", "entrywise"], alpha=1.75, sigma=0.1, seed=[1, 2]
    )
    assert read_grid(path, "paper") == [Run(width=5000)]
    assert read_grid(str(path), "quick", width=4, seed=[9]) == [replace(run, width=4, seed=9) for run in runs[::2]]


@pytest.mark.parametrize(
    ("text", "changes", "sentence"),
    [
        ("[[other]]\nwidth = 8", {}, r"some.toml has no profile 'quick': it has other"),
        ("[[quick]]\nwdith = 8", {}, r"a Run has no key 'wdith'"),
        ("[[quick]]\nwidth = 8", {"wdith": 3}, r"a Run has no key 'wdith'"),
        ("[[quick]]\nseed = [1, 2]\n[[quick]]\nseed = 2", {}, r"this run is listed twice"),
        ("[[quick]]\nseed = [1, 2]", {"seed": [3, 3]}, r"this run is listed twice"),
        ("[quick]\nwidth = 8", {}, r"some.toml must list the runs of a profile under \[\[quick\]\]"),
        ("quick = 3", {}, r"some.toml must list the runs of a profile under \[\[quick\]\]"),
        ("quick = []", {}, r"profile 'quick' of some.toml lists no runs"),
        ("[[quick]]\nseed = []", {}, r"profile 'quick' of some.toml lists no runs"),
        ("[[quick]\nwidth = 8", {}, r"^some.toml is not a TOML file: Expected"),
        ("[[quick]]\nwidth = 8\nwidth = 9", {}, r"^some.toml is not a TOML file: Cannot overwrite"),
        ("[[quick]]\nwidth = '8'", {}, r"^profile 'quick' of some.toml: width must be a whole number >= 1, got '8'$"),
    ],
)
def test_a_bad_grid_file_is_refused(text, changes, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        read_grid(write_grid(tmp_path, text), "quick", **changes)


WRONG = ["{}", "{a = 1}", "[[1]]", '[["fcn"]]', "2020-01-01", "'some text'", "nan", "-inf", "1e999", "1" + "0" * 400]
KINDS = {"runs": Run} | {study: kind for study, (kind, _) in simulations._MEASURES.items()}
FIELDS = [(study, field.name) for study, kind in KINDS.items() for field in fields(kind)]


@pytest.mark.parametrize(("study", "field"), FIELDS, ids=lambda value: value)
def test_a_value_of_the_wrong_type_is_refused_by_the_name_of_its_file(study, field, tmp_path):
    read, first = (read_grid, "") if study == "runs" else (simulations.read_grid, f"study = '{study}'\n")
    rest = {} if study == "runs" else {"alpha": 1.5}
    for value in WRONG:
        settings = {**rest, field: value}
        text = "".join(f"{name} = {setting}\n" for name, setting in settings.items())
        with pytest.raises(ValueError, match=r"^profile 'quick' of some.toml: ") as refused:
            read(write_grid(tmp_path, f"{first}[[quick]]\n{text}"), "quick")
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"[[quick]\n", b"\xff\xfe", b"quick = \n", b"a = 1\na = 2\n"])
def test_a_file_that_is_no_toml_is_named_by_both_readers_and_by_the_command(content, tmp_path, capsys):
    path = tmp_path / "some.toml"
    path.write_bytes(content)
    for read in (read_grid, simulations.read_grid):
        with pytest.raises(ValueError, match=r"^some.toml is not a TOML file: ") as refused:
            read(path, "quick")
        assert "\n" not in str(refused.value)
    for command in (["train"], ["simulate"], ["sweep", "--store", str(tmp_path / "store")]):
        assert cli.main([*command, str(path), "--out", str(tmp_path / "table.parquet")]) == 2
        assert capsys.readouterr().err.startswith("heavytail: some.toml is not a TOML file: ")


@pytest.mark.parametrize("path", TRAININGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", ["quick", "workstation"])
def test_committed_grids_pair_every_noisy_run_with_a_plain_run_of_the_same_seed(path, profile):
    runs = read_grid(path, profile)
    plain = {run for run in runs if run.noise is None}
    noisy = [run for run in runs if run.noise is not None]
    assert noisy
    partners = {replace(run, noise=None, alpha=None, sigma=0, along="ones") for run in noisy}
    assert partners <= plain
    others = {run for run in plain if run.weight_decay == run.group_lasso == 0} - partners  # penalties are controls
    # Beside a noise that is most accurate at a step size of its own stand a penalty of that size, and small networks.
    penalised = {run.lr for run in plain if run.weight_decay > 0 or run.group_lasso > 0}
    widest = max(run.width for run in noisy)
    # The authors' example; a large step alone; the step size of the search that no arm took.
    besides = {"ecg5000": {0.001}, "ecg5000-random": {0.001}, "mnist": {1.0}, "cifar10": {0.05}, "cifar100": set()}.get(
        path.stem, set()
    )
    assert all(run.width < widest or run.lr in penalised | besides for run in others), "plain runs without a partner"
