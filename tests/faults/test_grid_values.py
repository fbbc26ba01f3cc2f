"""What a grid and `--set` may be given: a list of records, or one sentence before anything is made."""

from __future__ import annotations

import math
import tomllib
from dataclasses import fields
from datetime import date
from pathlib import Path

import pytest
import torch
from fault_counts import ONE_SENTENCE, UNDISTURBED, some
from hypothesis import given, settings
from hypothesis import strategies as st

import heavytail
from heavytail import Run, noise, stable
from heavytail.lab import runs as records
from heavytail.lab import simulations
from heavytail.lab.runs import read_grid
from heavytail.lab.simulations import Chaos

GRIDS = Path(__file__).parents[2] / "data" / "grids"
BASE = {"dataset": "digits", "width": 8, "lr": 0.1, "max_steps": 1}
NOISY = {**BASE, "noise": "shared", "alpha": 1.5, "sigma": 0.1}
ODD = {
    "true": True,
    "a number of 400 digits": 10**399,
    "a number of 5000 digits": 10**5000,
    "2^63": 2**63,
    "2^64": 2**64,
    "-2^63": -(2**63),
    "-1": -1,
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "1e400 as text": "1e400",
    "a table": {"a": 1},
    "a table of tables": {"a": {"b": [1, {"c": 2}]}},
    "a list in a list": [[1, 2]],
    "a day": date(2024, 2, 29),
    "bytes": b"x",
    "a set": {1, 2},
    "complex": 1j,
    "no number": object(),
    "an empty word": "",
    "a word with a zero": "a\0b",
    "a long word": "x" * 10**5,
}
WHOLE = (
    *("width", "depth", "max_steps", "eval_every", "seed", "batch_size", "patience", "samples"),
    *("validation", "tune_steps", "robustness"),
)
REAL = ("lr", "sigma", "alpha", "weight_decay", "group_lasso", "stop_accuracy")
WORDS = ("dataset", "network", "noise", "unit", "products", "along")
FINE = {(field, name) for field in ("lr", "sigma", "group_lasso") for name in ("2^63", "2^64")}  # numbers of float32
FINE |= {("dataset", "1e400 as text")}  # a name as good as any
CASES = [(field, name) for field in (*WHOLE, *REAL, *WORDS) for name in ODD if (field, name) not in FINE]


def refusal(make):
    """The one sentence with which something is refused."""
    with pytest.raises(ValueError, match=r"\S") as caught:
        make()
    said = str(caught.value)
    assert 10 < len(said) < 900, said[:100]
    assert "\n" not in said
    return said


def test_every_field_of_a_run_is_given_odd_values():
    assert {*WHOLE, *REAL, *WORDS} == {field.name for field in fields(Run)}


@pytest.mark.parametrize(("field", "name"), CASES)
def test_an_odd_value_is_refused_by_the_name_of_its_field(field, name, tried):
    said = refusal(lambda: heavytail.grid(**{**NOISY, "stop_accuracy": 0.9, field: ODD[name]}))
    assert field in said or "data set" in said or "unknown" in said
    tried("grid values", ONE_SENTENCE)


@pytest.mark.parametrize("name", ["profile", "path", "self", "kind", "axes", "changes", "no_such", "a b", "", "ключ"])
def test_a_key_that_a_run_lacks_is_refused_whatever_its_name(name, tried):
    assert f"a Run has no key {name!r}" in refusal(lambda: read_grid(GRIDS / "digits.toml", "quick", **{name: 1}))
    with pytest.raises(ValueError, match="a Chaos has no key"):
        simulations.read_grid(GRIDS / "chaos.toml", "quick", **{name: 1})
    tried("grid values", ONE_SENTENCE)


LARGE = {
    "10^9 seeds": {"seed": range(10**9)},
    "10^30 seeds": {"seed": range(10**30)},
    "seeds backwards": {"seed": range(10**9, 0, -1)},
    "a product": {"seed": range(1000), "width": range(1, 1001), "max_steps": [1, 2]},
    "a million and one": {"seed": range(records.MOST + 1)},
}


@pytest.mark.parametrize("axes", LARGE.values(), ids=LARGE)
def test_a_product_of_too_many_runs_is_refused_before_one_is_made(axes, tried, monkeypatch):
    monkeypatch.setattr(Run, "__post_init__", lambda self: pytest.fail("a run was made"))
    assert f"a grid holds at most {records.MOST} runs" in refusal(lambda: heavytail.grid(**{**BASE, **axes}))
    tried("grid values", ONE_SENTENCE)


def test_ranges_count_as_what_they_list():
    for axis in (range(5), range(2, 11, 3), range(10, 0, -4), range(3, 3), range(5, 2), [1, 2], ()):
        assert records._length(axis) == len(list(axis))


def test_entries_that_are_too_many_together_are_refused(tmp_path, monkeypatch, tried):
    monkeypatch.setattr(records, "MOST", 5)
    path = tmp_path / "grid.toml"
    path.write_text(
        '[[quick]]\ndataset = "digits"\nseed = [1, 2, 3]\n[[quick]]\ndataset = "digits"\nseed = [4, 5, 6]\n'
    )
    assert "a grid holds at most 5 runs" in refusal(lambda: read_grid(path, "quick"))
    tried("grid values", ONE_SENTENCE)


# files of grids

FILES = {
    "empty": b"",
    "a zero": b"\0",
    "no text": b"\xff\xfe\x00",
    "a profile that is a word": b'quick = "x"',
    "a profile that is a table": b"[quick]\nwidth = 3\n",
    "a profile that is a list of numbers": b"quick = [1, 2]",
    "a key twice": b"[[quick]]\nwidth = 3\nwidth = 4\n",
    "a list nested deep": b"quick = " + b"[" * 5000 + b"]" * 5000,
    "a table nested deep": b"quick = " + b"{a = " * 3000 + b"1" + b"}" * 3000,
    "a list nested deep and open": b"[[quick]]\nwidth = " + b"[" * 100_000,
    "a number of 400 digits": b"[[quick]]\nwidth = " + b"9" * 400,
    "a number of 5000 digits": b"[[quick]]\nwidth = " + b"9" * 5000,
    "nan": b"[[quick]]\nwidth = nan",
    "a day": b"[[quick]]\nnoise = 2024-02-29",
    "a time": b"[[quick]]\nalpha = 07:32:00",
    "a table for a word": b"[[quick]]\nnetwork = {a = 1}",
    "a table for a number": b"[[quick.width]]\na = 1",
    "a list in a list": b"[[quick]]\nwidth = [[1], [2]]",
    "a truth for a number": b"[[quick]]\nlr = true",
    "an axis without values": b"[[quick]]\nwidth = []",
    "an entry without keys, twice": b"[[quick]]\n[[quick]]\n",
    "a control character": b'[[quick]]\nnetwork = "\x07"',
    "half a string": b'[[quick]]\nnetwork = "',
    "Windows' byte order mark": b"\xef\xbb\xbf[[quick]]\nwidth = 0\n",
    "too long": b"#" * (2**24 + 1),
}


@pytest.mark.parametrize("content", some(list(FILES.values()), 2), ids=lambda content: str(content[:25]))
def test_a_file_that_is_no_grid_is_refused_by_name(content, tmp_path, tried):
    (tmp_path / "odd.toml").write_bytes(content)
    assert "odd.toml" in refusal(lambda: read_grid(tmp_path / "odd.toml", "quick"))
    (tmp_path / "odd.toml").write_bytes(b'study = "chaos"\n' + content)
    assert "odd.toml" in refusal(lambda: simulations.read_grid(tmp_path / "odd.toml", "quick"))
    tried("grid values", ONE_SENTENCE)


# the size of a kick

SIZES = [  # alpha, lr, sigma
    (0.02, 0.1, 1.0),
    (0.001, 0.001, 1e30),
    (5e-324, 0.5, 1.0),
    (5e-324, 2.0, 1.0),
    (0.01, 1e6, 1.0),
    (1.75, 1e18, 1e30),
    (2.0, 0.1, 1e-38),
    (2.0, 1.0, 1.17e-38),
    (2.0, 1.0, 3.41e38),
    (1.0, 1e-300, 1e-300),
    (1.0, 1e300, 1e300),
    (2.0, 5e-324, 1.0),
]


@pytest.mark.parametrize("setting", SIZES, ids=str)
def test_kicks_that_float32_cannot_hold_are_refused_at_both_ends(setting, tried):
    alpha, lr, sigma = setting
    for make in (
        lambda: noise.scale(alpha, sigma, lr),
        lambda: Run(**{**NOISY, "alpha": alpha, "lr": lr, "sigma": sigma}),
    ):
        said = refusal(make)
        assert all(f"{name}={value:g}" in said for name, value in zip(("alpha", "lr", "sigma"), setting, strict=True))
        assert "take a" in said
    tried("size of a kick", ONE_SENTENCE)


@pytest.mark.parametrize(
    ("setting", "size"),
    [
        ((2.0, 1.0, 1.18e-38), 1.18e-38),
        ((2.0, 1.0, 3.4e38), 3.4e38),
        ((0.02, 0.1, 1e20), 1e-30),
        ((1 / 320, 0.1, 1e300), 1e-20),  # lr^(1/alpha) alone is no normal float64
        ((1 / 400, 10.0, 1e-300), None),
        ((0.01, 0.1, 0.0), 0.0),
        ((5e-324, 1.0, 0.3), 0.3),
        ((0.01, 0.0, 1e30), 0.0),
    ],
    ids=str,
)
def test_sizes_that_float32_holds_are_exact_and_no_noise_stays_legal(setting, size, tried):
    alpha, lr, sigma = setting
    if size is None:
        refusal(lambda: noise.scale(alpha, sigma, lr))
    else:
        assert noise.scale(alpha, sigma, lr) == pytest.approx(size, rel=1e-12, abs=0)
        if lr > 0:
            Run(**{**NOISY, "alpha": alpha, "lr": lr, "sigma": sigma})
    tried("size of a kick", UNDISTURBED if size is not None else ONE_SENTENCE)


def test_most_kicks_of_a_tiny_alpha_would_be_lost_though_some_exceed_one():
    """What the refusal is for: at alpha = 0.02 the factor of lr = 0.1 is below float32, the tail far above 1."""
    generator = torch.Generator().manual_seed(1)
    draws = stable.symmetric(0.02, 20_000, generator=generator, dtype=torch.float64).abs()
    assert 0.05 < float((draws.log10() > 50).double().mean()) < 0.15
    refusal(lambda: noise.scale(0.02, 1.0, 0.1))


def test_a_step_whose_kicks_float32_cannot_hold_is_refused_and_moves_no_weight_of_another_group(tried):
    first, second = torch.nn.Linear(4, 5, bias=False), torch.nn.Linear(5, 6, bias=False)
    groups = [{"params": first.parameters(), "lr": 0.5}, {"params": second.parameters(), "lr": 0.5}]
    optimizer = torch.optim.SGD(groups)
    generator = torch.Generator().manual_seed(1)
    chosen = [first.weight, second.weight]
    handle = noise.perturb(optimizer, params=chosen, alpha=0.1, sigma=0.1, noise="shared", generator=generator)
    optimizer.step()
    before = first.weight.clone()
    optimizer.param_groups[1]["lr"] = 1e-6
    assert "alpha=0.1, lr=1e-06, sigma=0.1" in refusal(optimizer.step)
    assert torch.equal(first.weight, before)
    assert handle.state_dict()["step"] == 1
    optimizer.param_groups[1]["lr"] = 0.0  # no step, no kick
    optimizer.step()
    assert not torch.equal(first.weight, before)
    tried("size of a kick", ONE_SENTENCE)


@pytest.mark.parametrize("path", sorted(GRIDS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_committed_grid_is_still_accepted(path, tried):
    content = tomllib.loads(path.read_text("utf-8"))
    read = simulations.read_grid if "study" in content else read_grid
    assert all(read(path, profile) for profile in content if profile != "study")
    tried("grid values", UNDISTURBED)


# whatever is given

NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True),
    st.booleans(),
    st.sampled_from([10**400, 0, 1, 2, 0.5, 1e-320]),
)
LEAVES = st.one_of(
    NUMBERS, st.none(), st.text(max_size=12), st.sampled_from(["shared", "fcn", "vgg", "unseen"]), st.dates()
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=6,
)
FIELDS = (*WHOLE, *REAL, *WORDS)


def made(make, *arguments, **named):
    """What is made, or None where it is refused in one sentence. Any other exception fails the test."""
    try:
        return make(*arguments, **named)
    except ValueError as error:
        return None if str(error) and "\n" not in str(error) else pytest.fail(f"no sentence: {error!r}")


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5))
def test_whatever_a_grid_is_given_is_runs_or_one_sentence(axes):
    for run in made(heavytail.grid, **{**BASE, **axes}) or ():
        assert 0 < run.lr < math.inf
        assert run.width.bit_length() < 64
        assert run.sigma == 0 or 1.17e-38 <= noise.scale(run.alpha or 2.0, run.sigma, run.lr) <= 3.41e38
        assert all(isinstance(getattr(run, name), str | None) for name in WORDS)


SIMULATED = ("alpha", "sigma", "noise", "width", "repeats", "horizon", "activation", "trained")


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(SIMULATED), VALUES))
def test_whatever_a_grid_of_simulations_is_given_is_simulations_or_one_sentence(axes):
    found = made(records.expand, Chaos, {"alpha": 1.5, **axes}) or ()
    assert all(isinstance(one, Chaos) and len(one.key) == 16 for one in found)


@settings(max_examples=100)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_the_size_of_a_kick_is_a_number_of_float32_or_one_sentence(alpha, sigma, lr):
    size = made(noise.scale, alpha, sigma, lr)
    if size is not None:
        assert size == 0 if sigma == 0 or lr == 0 else 1.17e-38 <= size <= 3.41e38
