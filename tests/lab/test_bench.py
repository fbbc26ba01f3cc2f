"""Benchmarks: what they compare does the same work. No test here asserts a time."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from heavytail import Run, cli, compress, streams
from heavytail.compress import Measured, Measurements, Timing
from heavytail.lab import bench, models, results, trainer
from heavytail.lab.bench import cases, loop, shipping, stage
from heavytail.lab.bench.timing import Figure, ratios, side_by_side

ROOT = Path(__file__).resolve().parents[2]
SMALL = stage.Shape("digits", 6, 3, 60, 40)


def test_sides_take_turns_after_one_call_each_to_warm_up():
    called = []
    taken = side_by_side({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 2, calls={"b": 2})
    assert called == ["a", "b", "a", "b", "b", "a", "b", "b"]
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 2, "b": 2}
    assert all(second > 0 for seconds in taken.values() for second in seconds)


def test_a_figure_is_the_median_and_the_spread_of_its_rounds():
    figure = Figure.of("x", "case", ratios([2.0, 6.0, 12.0], [1.0, 2.0, 3.0]), "ratio")
    assert (figure.value, figure.low, figure.high) == (3.0, 2.0, 4.0)
    assert "3" in bench.as_text(figure)
    assert "(2 to 4)" in bench.as_text(figure)


@pytest.mark.parametrize("kind", [None, "shared", "entrywise", "isotropic"])
def test_the_ordinary_loop_and_the_trainer_make_the_same_kind_of_network(kind):
    """Without noise the two differ by rounding alone; with noise they have other draws of one law."""
    dataset = SMALL.data()
    noisy = {} if kind is None else {"noise": kind, "alpha": 1.75, "sigma": 0.05}
    run = Run(dataset="digits", width=40, lr=0.1, max_steps=30, seed=1, **noisy)
    row = trainer.train(run, data={"digits": dataset}, progress=False).table.iloc[0]
    theirs = loop.train(run, dataset)
    assert theirs.keys() == {"pruning_ratio", "test_accuracy", "test_accuracy_pruned"}
    if kind is None:
        assert theirs == {name: row[name] for name in theirs}
    else:
        assert all(0 <= value <= 1 for value in theirs.values())


def test_the_ordinary_loop_stops_where_the_trainer_stops():
    dataset = SMALL.data()
    run = Run(dataset="digits", width=40, lr=0.5, max_steps=300, stop_accuracy=0.6, eval_every=5, seed=1)
    row = trainer.train(run, data={"digits": dataset}, progress=False).table.iloc[0]
    assert row.status == "converged"
    assert loop.train(run, dataset)["test_accuracy"] == row.test_accuracy


@pytest.mark.parametrize("kind", ["shared", "entrywise", "isotropic"])
@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_scipys_draws_have_scale_one(kind, alpha):
    """The median of |X| at scale 1 is within 5 sigma (false alarm below 1e-6): 0.9687 at 1.5, 0.9539 at 2."""
    draws = loop.draw(kind, alpha, torch.Size((40_000, 1)), np.random.RandomState(1)).abs().flatten()
    median = {1.5: 0.9687, 2.0: 0.9539}[alpha]
    share = float((draws < median).double().mean())
    assert abs(share - 0.5) < 5 * 0.5 / math.sqrt(40_000)


def test_the_products_alone_are_those_of_a_step():
    nets, x, _ = stage.stage(SMALL, 2, 8, 10, torch.device("cpu"))
    cases._products(nets, x)()  # shapes fit
    assert nets.hidden.shape == (2, 8, 6)


@pytest.mark.parametrize("kind", [None, "shared"])
def test_a_step_of_the_loop_on_one_batch_is_a_step_of_the_loop(kind):
    """On all samples, in whatever order: it learns as much as the loop itself does."""
    dataset = SMALL.data()
    noisy = {} if kind is None else {"noise": kind, "alpha": 1.75, "sigma": 1e-6}
    run = Run(dataset="digits", width=40, lr=0.1, max_steps=30, seed=1, **noisy)
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "initial_model", lambda *of: made.append(models.initial_model(*of)) or made[-1])
        step = loop.stepped(run, dataset)
        *_, theirs = loop.steps(run, dataset)
    for _ in range(run.max_steps):
        step()
    ours, theirs = (model.get_parameter("1.weight") for model in made)
    assert not torch.equal(ours, models.initial_model(run, dataset).get_parameter("1.weight"))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 if kind else 1e-6)


def test_a_run_is_held_against_the_loop_alone_and_in_pairs_and_measured():
    figures = list(cases.one_run(torch.device("cpu"), 2, SMALL, 40))
    told = [(figure.name, figure.case.removeprefix("digits, n = 40, batch 60, "), figure.unit) for figure in figures]
    steps = [
        row
        for kind in ("no noise", "shared", "entrywise")
        for row in (
            ("step.over_loop", f"{kind}, alone", "ratio"),
            ("step.over_loop", f"{kind}, two runs at once", "ratio"),
            ("loop.step_ms", kind, "ms"),
        )
    ]
    assert told == [
        *steps,
        ("measure.seconds", "a finished run", "s"),
        ("measure.over_loop", "a finished run, the loop on test samples alone", "ratio"),
    ]
    assert all(0 < figure.low <= figure.value <= figure.high < math.inf for figure in figures)


def test_a_run_of_two_at_once_counts_as_half_their_time(monkeypatch):
    taken = {"loop": [0.1, 0.2], "1": [0.2, 0.2], "2": [0.2, 0.6], "ours": [3.0, 3.0]}
    monkeypatch.setattr(cases, "side_by_side", lambda sides, *_, **__: {name: taken[name] for name in sides})
    found = {(f.name, f.case.partition("batch 60, ")[2]): f for f in cases.one_run(torch.device("cpu"), 2, SMALL, 40)}
    for called, low, high in (("alone", 1.0, 2.0), ("two runs at once", 1.0, 1.5)):
        figure = found["step.over_loop", f"shared, {called}"]
        assert (figure.low, figure.high) == pytest.approx((low, high))
    assert found["loop.step_ms", "shared"].value == pytest.approx(150.0)
    assert found["measure.over_loop", "a finished run, the loop on test samples alone"].low == pytest.approx(15.0)


def test_networks_that_one_would_ship_are_timed_in_turns_with_the_whole_one(monkeypatch):
    given = []

    def measured(models, sample, *, batches, **_):
        given.append((list(models), tuple(sample.shape), batches))
        times = [("torch", 1e-3), ("onnx", 2e-3)]
        return Measurements(
            tuple(
                Measured(
                    name,
                    1,
                    1,
                    1,
                    1,
                    1,
                    "",
                    {},
                    tuple(Timing(way, "cpu", 8, t, 2 * t, 9, 0.5, 0.4, 0.6) for way, t in times),
                )
                for name in models
            )
        )

    monkeypatch.setattr(compress, "measure", measured)
    digits = shipping.Family("digits", (6,), 4, lambda width, _: torch.nn.Linear(6, width))
    found = list(shipping.shipping(torch.device("cpu"), 1.0, [digits], [(4, 3)], (8,)))
    assert given == [(["4", "3", "2", "1"], (8, 6), (8,)), (["4", "3"], (8, 6), (8,))]
    known = {(figure.name, figure.case): (figure.value, figure.high) for figure in found}
    assert known["shipping.onnx.ms", "digits, 2 units, batch 8"] == (2.0, 4.0)
    assert known["shipping.torch.over_whole", "digits, 2 units, batch 8"] == (0.5, 0.6)
    assert known["shipping.onnx.over_multiple", "digits, 3 units against 4, batch 8"] == (0.5, 0.6)
    assert ("shipping.onnx.over_whole", "digits, 4 units, batch 8") not in known


@pytest.mark.parametrize("family", shipping.FAMILIES, ids=lambda family: family.name)
def test_networks_of_a_family_take_its_samples_and_have_the_shapes_of_those_that_are_shipped(family):
    """Names and widths of the committed tables, whose networks are joined to these times by the number of units."""
    model = family.network(3, streams.generator(0, "weights")).eval()
    assert model(torch.ones(2, *family.shape)).shape == (2, 2 if family.name == "ecg5000" else 10)
    table = results.read_table(ROOT / "data" / "results" / "workstation" / f"ship-{family.name}.parquet")
    assert table["width"].max() == family.width
    sizes = table[(table["quantity"] == "parameters") & (table["level"] == 3)]["value"]
    assert sizes.mode().tolist() == [sum(p.numel() for p in model.parameters())]  # a lasso leaves fewer here and there


def test_without_the_extra_that_ships_networks_they_are_not_timed(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(bench.Missing, match=r"^the case shipping needs onnxruntime: pip install 'heavytail\[ship\]'$"):
        list(shipping.shipping(torch.device("cpu")))


def test_an_unknown_case_and_a_device_that_is_not_there_are_refused():
    with pytest.raises(ValueError, match=r"^unknown case 'speed': choose from noise, step"):
        list(bench.bench(["speed"]))
    with pytest.raises(ValueError, match=r"^device 'nonsense' is not available here"):
        list(bench.bench(["noise"], device="nonsense"))


def test_the_command_prints_json_with_the_machine(monkeypatch, capsys):
    figure = Figure("noise.ns_per_draw", "entrywise", 3.0, 2.5, 4.0, "ns")
    rounded = Figure("step.bfloat16_speedup", "mnist", 0.6, 0.5, 0.7, "ratio")
    monkeypatch.setattr(bench, "CASES", {"noise": lambda _: iter([figure]), "products": lambda _: iter([rounded])})
    assert cli.main(["bench", "noise", "--json"]) == 0
    out, lines = capsys.readouterr()
    told = json.loads(out)
    assert told["figures"] == [
        {"name": "noise.ns_per_draw", "case": "entrywise", "value": 3.0, "low": 2.5, "high": 4.0, "unit": "ns"}
    ]
    assert told["machine"]["versions"]["torch"] == torch.__version__
    assert told["machine"]["cores"] > 0
    assert "noise.ns_per_draw" in lines
    assert "Products in" not in lines
    assert cli.main(["bench"]) == 0  # all cases, and which products are faster
    *_, last = capsys.readouterr().out.splitlines()
    assert last == "Products in bfloat16 are slower than in float32 here: a step 0.6 times as fast."


def test_all_cases_are_measured_without_dask_but_the_one_that_wants_it(monkeypatch, capsys):
    figure = Figure("noise.ns_per_draw", "entrywise", 3.0, 2.5, 4.0, "ns")
    monkeypatch.setattr(bench, "CASES", {"noise": lambda _: iter([figure]), "workers": cases.CASES["workers"]})
    for name in ("dask", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    assert cli.main(["bench", "--json"]) == 0
    out, lines = capsys.readouterr()
    assert [told["name"] for told in json.loads(out)["figures"]] == ["noise.ns_per_draw"]
    assert "heavytail: the case workers needs Dask: install dask and distributed; it is left out" in lines.splitlines()
    assert cli.main(["bench", "noise", "workers", "--json"]) == 2  # named it is refused, and what was measured is kept
    out, lines = capsys.readouterr()
    assert [told["name"] for told in json.loads(out)["figures"]] == ["noise.ns_per_draw"]
    assert lines.splitlines()[-1] == "heavytail: the case workers needs Dask: install dask and distributed"
