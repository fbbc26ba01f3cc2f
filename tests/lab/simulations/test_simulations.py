"""Simulations as records and tables: the record decides the numbers, and a table that was cut off is gone on with."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_up_simulations import GRIDS, table

from heavytail.lab import results, simulations
from heavytail.lab.simulations import (
    Ablation,
    Averaging,
    Batches,
    Chaos,
    Discretisation,
    Exposure,
    Federated,
    Fluctuations,
    Pruning,
    Shipping,
    Surely,
    Untrained,
)
from heavytail.lab.simulations.record import CHUNK, norms

STUDIES = (
    Chaos,
    Averaging,
    Fluctuations,
    Discretisation,
    Pruning,
    Ablation,
    Surely,
    Batches,
    Untrained,
    Exposure,
    Shipping,
    Federated,
)
SMALL = {
    "chaos": [
        Chaos(alpha=alpha, width=width, repeats=3, reference=64, steps=4) for alpha in (1.3, 1.5, 2) for width in (4, 8)
    ],
    "averaging": [Averaging(alpha=alpha, width=200, repeats=3, clients=3) for alpha in (1.5, 2)],
    "discretisation": [Discretisation(alpha=alpha, width=3, repeats=2, finest=64) for alpha in (1.3, 2)],
    "pruning": [Pruning(alpha=alpha, width=20, repeats=3, steps=steps) for alpha in (1.3, 2) for steps in (0, 4)],
    "ablation": [Ablation(alpha=1.5, width=20, repeats=3, steps=4, **f) for f in ({}, {"summed": True})],
    "surely": [
        Surely(alpha=alpha, width=20, repeats=3, steps=4, **f) for alpha in (1.3, 2) for f in ({}, {"batch": 0})
    ],
    "batches": [Batches(alpha=alpha, width=3, repeats=2, finest=64) for alpha in (1.3, 2)],
    "fluctuations": [
        Fluctuations(alpha=alpha, width=4, repeats=3, reference=64, steps=4, limit=9) for alpha in (1.5, 2)
    ],
    "untrained": [Untrained(alpha=alpha, width=20, inputs=5, repeats=3) for alpha in (1.5, 2)],
    "exposure": [Exposure(alpha=alpha, width=4, samples=3) for alpha in (1.5, 2)],
    "federated": [
        Federated(dataset="digits", alpha=alpha, sigma=0.01, width=3, clients=3, rounds=2, steps=2)
        for alpha in (1.5, 2)
    ],
    "shipping": [
        Shipping(dataset="digits", alpha=alpha, sigma=0.01, width=3, steps=3, tune_steps=1) for alpha in (1.5, 2)
    ],
}


def numbers(frame):
    """All that a simulation decides: everything but the wall time."""
    return frame.drop(columns="seconds").reset_index(drop=True)


def same(one, other):
    pd.testing.assert_frame_equal(numbers(one), numbers(other), check_exact=True, check_dtype=False)


# records


@pytest.mark.parametrize(
    ("kind", "change", "sentence"),
    [
        (Chaos, {"alpha": 0}, r"the stability index alpha must lie in \(0, 2\], got 0"),
        (Pruning, {"alpha": 2.1}, r"the stability index alpha must lie in \(0, 2\], got 2.1"),
        (Chaos, {"sigma": -1}, r"the noise scale sigma must be a finite number >= 0, got -1"),
        (Chaos, {"noise": "white"}, r"unknown noise 'white': choose one of shared, entrywise, isotropic"),
        (Chaos, {"width": 0}, r"width must be a whole number >= 1, got 0"),
        (Discretisation, {"inputs": 0}, r"inputs must be a whole number >= 1, got 0"),
        (Pruning, {"repeats": -3}, r"repeats must be a whole number >= 1, got -3"),
        (Discretisation, {"finest": 1000}, r"finest must be a power of 4 from 16 on, got 1000"),
        (Discretisation, {"finest": 4}, r"finest must be a power of 4 from 16 on, got 4"),
        (Pruning, {"width": 4}, r"keep=0.1 of width=4 keeps no column, or all: choose others"),
        (Pruning, {"keep": 1.0}, r"keep=1 of width=256 keeps no column, or all: choose others"),
    ],
)
def test_a_bad_record_is_refused_in_one_sentence(kind, change, sentence):
    with pytest.raises(ValueError, match=rf"^{sentence}$"):
        kind(**{"alpha": 1.5, **change})


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (Chaos, {"width": 2.5}),
        (Chaos, {"width": None}),
        (Chaos, {"repeats": True}),
        (Chaos, {"alpha": None}),
        (Chaos, {"sigma": "big"}),
        (Chaos, {"seed": -1}),
        (Chaos, {"reference": 0}),
        (Chaos, {"steps": 0}),
        (Chaos, {"activation": "nonsense"}),
        (Pruning, {"horizon": -1.0}),
        (Pruning, {"steps": -1}),
        (Pruning, {"spread": -1.0}),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)
def test_a_field_of_a_wrong_kind_is_refused_before_anything_runs(kind, change):
    with pytest.raises(ValueError, match="|".join(change)):
        kind(**{"alpha": 1.5, **change})


@pytest.mark.parametrize("change", [{"horizon": 1}, {"spread": 1}, {"width": 256.0}], ids=str)
def test_equal_records_have_equal_keys_however_a_number_was_written(change):
    one, other = Pruning(alpha=1.5), Pruning(alpha=1.5, **change)
    assert one == other
    assert one.key == other.key


def test_an_alpha_of_two_is_the_same_simulation_as_2_0():
    assert Chaos(alpha=2, sigma=1) == Chaos(alpha=2.0, sigma=1.0)
    assert Chaos(alpha=2, sigma=1).key == Chaos(alpha=2.0, sigma=1.0).key


OTHER = {
    "lr": 0.5,
    "alpha": 1.7, "sigma": 0.5, "noise": "shared", "width": 301, "inputs": 3, "repeats": 17, "seed": 1,
    "reference": 99, "steps": 7, "horizon": 2.0, "activation": "erf", "trained": True, "summed": True,
    "finest": 64, "keep": 0.2, "spread": 2.0,
    "batch": 3, "limit": 5, "clients": 3,
    "dataset": "mnist", "network": "resnet", "weight_decay": 0.1, "group_lasso": 0.1, "batch_size": 9, "samples": 99,
    "validation": 9, "tune_steps": 3, "tune_lr": 0.1, "prune": False, "int8": True,
    "rounds": 3, "weighting": "equal", "split": "classes", "concentration": 0.1, "classes_each": 3, "design": "common",
    "select": "error",
}  # fmt: skip


@pytest.mark.parametrize("kind", STUDIES)
def test_every_field_changes_the_key(kind):
    record = kind(alpha=1.5)
    not_alone = {Fluctuations: {"trained", "summed"}, Federated: {"amount"}}.get(kind, set())
    names = {field.name for field in fields(kind)} - not_alone
    changed = [replace(record, **{name: OTHER[name]}) for name in names]
    assert len({one.key for one in [record, *changed]}) == 1 + len(names)
    assert kind(alpha=1.5).key == record.key


def test_the_study_changes_the_key():
    @dataclass(frozen=True, kw_only=True)
    class Other(Discretisation):
        study: ClassVar[str] = "other"

    assert Other(alpha=1.5).key != Discretisation(alpha=1.5).key


def test_every_study_names_itself_and_can_be_read_from_a_grid(tmp_path):
    assert set(SMALL) == {kind.study for kind in STUDIES}
    for kind in STUDIES:
        path = grid(tmp_path, f'study = "{kind.study}"\n[[quick]]\nalpha = 1.5\n')
        assert simulations.read_grid(path, "quick") == [kind(alpha=1.5)]


def test_simulations_of_other_keys_have_other_random_numbers():
    draws = [
        torch.rand(3, generator=record.generator(stream, part, "cpu")).tolist()
        for record in (Chaos(alpha=1.5), Chaos(alpha=1.5, width=8))
        for stream in ("weights", "noise")
        for part in (0, 1)
    ]
    assert len({tuple(draw) for draw in draws}) == 8


@given(st.integers(1, 5000), st.integers(1, 2**22), st.integers(0, 5000))
def test_chunks_add_up_to_the_repeats_and_fit_in_memory(repeats, width, steps):
    parts = Chaos(alpha=1.5, repeats=repeats, width=width).chunks(steps)
    assert sum(parts) == repeats
    assert min(parts) >= 1
    assert all(part == 1 or part * width * max(steps, 1) <= CHUNK for part in parts)
    assert all(part == parts[0] for part in parts[:-1])


# the made-up data


def test_simulations_of_one_seed_share_their_data():
    one, again, other = (simulations.teacher(3, seed) for seed in (5, 5, 6))
    assert torch.equal(one.x, again.x)
    assert torch.equal(one.y, again.y)
    assert not torch.equal(one.x, other.x)
    assert (tuple(one.x.shape), tuple(one.y.shape)) == ((16, 3), (16, 1))
    assert bool((one.y.abs() < 1).all())
    assert bool((one.y != 0).all())


def test_an_unknown_activation_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"^unknown activation 'step': choose one of tanh, sigmoid, erf, relu$"):
        simulations.teacher(2, 0, activation="step")


def test_a_norm_over_one_shared_entry_is_that_of_all_of_them():
    scalar = torch.tensor([[3.0], [-2.0]])
    assert torch.allclose(norms(scalar, 4), norms(scalar.expand(2, 4), 4))
    assert norms(scalar.expand(2, 4), 4).tolist() == [6, 4]


# a table


@pytest.mark.parametrize("study", SMALL)
def test_a_simulation_gives_the_same_numbers_alone_in_a_grid_and_in_another_order(study):
    together = simulations.simulate(SMALL[study])
    backwards = simulations.simulate(SMALL[study][::-1])
    for record in SMALL[study]:
        alone = simulations.simulate([record])
        same(alone, together[together["key"] == record.key])
        same(alone, backwards[backwards["key"] == record.key])
    assert np.isfinite(together["value"]).all()


@pytest.mark.parametrize("study", SMALL)
def test_a_table_has_the_fields_of_the_record_and_one_row_a_number(study):
    frame = simulations.simulate(SMALL[study])
    names = [field.name for field in fields(SMALL[study][0])]
    assert list(frame.columns) == ["study", *names, *(name for name in results.SIMULATED if name != "study")]
    assert set(frame["study"]) == {study}
    assert not frame.duplicated(["key", "quantity", "level", "repeat"]).any()
    for key, rows in frame[frame["quantity"] != "reference_gap"].groupby("key"):
        (record,) = [one for one in SMALL[study] if one.key == key]
        for _, one in rows.groupby(["quantity", "level"]):
            assert sorted(one["repeat"]) == list(range(record.repeats))
    assert (frame["seconds"] > 0).all()
    assert set(frame["code"]) == {results.code_version()}


@pytest.mark.parametrize("study", SMALL)
def test_the_simulations_of_a_table_are_read_back_in_its_order(study, tmp_path):
    records = SMALL[study][::-1]
    frame = table((record, {"made up": [0.5] * record.repeats}) for record in records)
    results.write_table(frame, tmp_path / "t.parquet")
    for one in (frame, results.read_table(tmp_path / "t.parquet")):
        again = simulations.simulations_of(one)
        assert again == records
        assert [record.key for record in again] == list(one["key"].unique())
        for record, original in zip(again, records, strict=True):
            for field in fields(record):
                assert type(getattr(record, field.name)) is type(getattr(original, field.name)), field.name


# grids


def grid(tmp_path, text):
    path = tmp_path / "some.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_grid_lists_the_simulations_of_its_study(tmp_path):
    path = grid(tmp_path, 'study = "pruning"\n[[quick]]\nalpha = [1.5, 2]\nwidth = [20, 40]\n[[quick]]\nalpha = 1.2\n')
    wide = [Pruning(alpha=alpha, width=width) for alpha in (1.5, 2) for width in (20, 40)]
    assert simulations.read_grid(path, "quick") == [*wide, Pruning(alpha=1.2)]
    changed = simulations.read_grid(path, "quick", repeats=2, width=[20, 60])
    assert [(one.width, one.repeats) for one in changed] == [(20, 2), (60, 2)] * 3


@pytest.mark.parametrize(
    ("text", "changes", "sentence"),
    [
        (
            "[[quick]]\nalpha = 1.5\n",
            {},
            r"some.toml must name its study: one of chaos, .*, shipping, not None; if it lists runs, .*",
        ),
        ('study = "magic"\n[[quick]]\nalpha = 1.5\n', {}, r"some.toml must name its study: .*, not magic"),
        (
            'study = "chaos"\n[[quick]]\nalpha = 1.5\nkeep = 0.1\n',
            {},
            r"profile 'quick' of some.toml: a Chaos has no key 'keep': its keys are .*",
        ),
        (
            'study = "chaos"\n[[quick]]\nalpha = 1.5\n',
            {"sedd": 1},
            r"profile 'quick' of some.toml: a Chaos has no key 'sedd': its keys are .*",
        ),
        ('study = "chaos"\n[[paper]]\nalpha = 1.5\n', {}, r"some.toml has no profile 'quick': it has paper"),
        ('study = "chaos"\n[[quick]]\nalpha = []\n', {}, r"profile 'quick' of some.toml lists no runs: .*"),
        (
            'study = "chaos"\n[[quick]]\nalpha = [2, 2.0]\n',
            {},
            r"profile 'quick' of some.toml: this run is listed twice: Chaos\(alpha=2.0, .*",
        ),
    ],
)
def test_a_bad_grid_is_refused_in_one_sentence(text, changes, sentence, tmp_path):
    with pytest.raises(ValueError, match=rf"^{sentence}$"):
        simulations.read_grid(grid(tmp_path, text), "quick", **changes)


def test_a_grid_of_runs_is_no_grid_of_simulations():
    with pytest.raises(ValueError, match=r"^digits.toml must name its study"):
        simulations.read_grid(GRIDS / "digits.toml", "quick")


# filling a table


@pytest.mark.parametrize("study", SMALL)
def test_filling_goes_on_where_a_table_was_cut_off(study, tmp_path):
    path = tmp_path / "new" / "t.parquet"
    wanted = SMALL[study]
    begun = simulations.fill(path, wanted[1::2])
    whole = simulations.fill(path, wanted)
    same(whole, simulations.simulate(wanted))
    kept = whole[whole["key"].isin(begun["key"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, begun, check_exact=True)  # the wall times too: not run again
    before = path.read_bytes()
    pd.testing.assert_frame_equal(simulations.fill(path, wanted), whole, check_exact=True)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["t.parquet"]


def test_what_was_done_before_a_stop_is_kept(tmp_path):
    class Stopped(Pruning):
        def chunks(self, steps):
            raise KeyboardInterrupt

    path, first, last = tmp_path / "t.parquet", *SMALL["pruning"][:2]
    with pytest.raises(KeyboardInterrupt):
        simulations.fill(path, [first, Stopped(alpha=1.9, width=20), last])
    same(results.read_table(path), simulations.simulate([first]))


def test_rows_made_by_other_code_are_made_again(tmp_path):
    path, wanted = tmp_path / "t.parquet", SMALL["pruning"]
    frame = simulations.simulate(wanted)
    old = frame["key"] == wanted[1].key
    frame.loc[old, ["code", "value"]] = ["0.0.1+old", -1.0]
    results.write_table(frame, path)
    again = simulations.fill(path, wanted)
    same(again, simulations.simulate(wanted))
    assert (again.loc[~old, "seconds"] == frame.loc[~old, "seconds"]).all()
    assert set(again["code"]) == {results.code_version()}


def test_a_table_of_other_simulations_is_refused_and_left_alone(tmp_path):
    path, wanted = tmp_path / "t.parquet", SMALL["pruning"]
    simulations.fill(path, wanted)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"t.parquet holds 2 simulations that the grid does not list: move it away"):
        simulations.fill(path, wanted[:2])
    assert path.read_bytes() == before


def test_a_damaged_table_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"t.parquet is not a readable results table"):
        simulations.fill(path, SMALL["pruning"])
    assert path.read_bytes() == b"PAR1 and no more"
