"""Benchmarks of a GPU, rehearsed on a CPU: what they compare does the same work. No test here asserts a time."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import matplotlib as mpl

mpl.use("Agg")

import pandas as pd
import pytest
import torch
from goodness_of_fit import follows_symmetric
from matplotlib import pyplot as plt
from torch.utils._python_dispatch import TorchDispatchMode

from heavytail import Run, noise
from heavytail.book import figures as drawn
from heavytail.book import timings
from heavytail.lab import bench, trainer
from heavytail.lab.bench import loop, on_gpu, stage, timing
from heavytail.lab.bench.timing import Figure
from heavytail.lab.engines import two_layer
from heavytail.lab.machine import devices

CPU = torch.device("cpu")
SMALL = stage.Shape("digits", 6, 3, 60, 40)
UNITS = {
    "noise.over_copy": "ratio",
    "noise.speedup_vs_torch": "ratio",
    "copy.gb_per_second": "GB/s",
    "step.over_matmul": "ratio",
    "step.matmul_ms": "ms",
    "step.bfloat16_speedup": "ratio",
    "step.bfloat16_error": "",
    "step.tf32_speedup": "ratio",
    "step.tf32_error": "",
    "growth.n": "ms",
    "growth.runs": "ms",
    "growth.exponent": "",
    "grid.speedup_over_loop": "ratio",
    "grid.speedup_of_products_alone": "ratio",
    "grid.seconds_per_run": "s",
    "loop.seconds_per_run": "s",
}


@pytest.fixture(scope="module")
def figures() -> pd.DataFrame:
    return pd.DataFrame([vars(figure) for figure in bench.bench(plan=on_gpu.REHEARSAL)])


class Clock:
    """Time that goes on only when something takes some."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def take(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    for room in (timing, on_gpu):
        monkeypatch.setattr(room, "time", made)
    return made


@pytest.mark.long
def test_every_case_has_named_figures_with_units_and_finite_numbers(figures):
    assert dict(zip(figures["name"], figures["unit"], strict=True)) == UNITS
    assert not figures.duplicated(["name", "case"]).any()
    assert ((figures["low"] <= figures["value"]) & (figures["value"] <= figures["high"])).all()
    # Noise of a busy machine may turn an exponent below 0, and a CPU takes float32 for TF32.
    free = figures["name"].isin(["growth.exponent", "step.tf32_error"])
    assert figures["high"].map(math.isfinite).all()
    assert (figures.loc[~free, "low"] > 0).all()


@pytest.mark.long
def test_there_is_a_figure_for_every_noise_shape_grid_and_rival(figures):
    plan, count = on_gpu.REHEARSAL, Counter(figures["name"])
    kinds = len(noise.NOISES)
    assert count["noise.over_copy"] == kinds * len(plan.weights)
    assert count["step.over_matmul"] == (kinds + 1) * len(plan.grids)
    assert count["grid.speedup_over_loop"] == 2 * kinds * len(plan.grids)
    rivals = figures.loc[figures["name"] == "grid.speedup_over_loop", "case"]
    assert rivals.str.endswith("by scipy").sum() == rivals.str.endswith("by torch").sum() == kinds * len(plan.grids)
    assert (count["growth.n"], count["growth.runs"]) == (len(plan.widths), len(plan.runs))


def test_the_full_plan_holds_the_grids_of_the_goals_and_grows_to_a_million_neurons_and_a_thousand_runs():
    full = on_gpu.FULL
    ecg, mnist = full.grids
    assert (ecg.shape.name, ecg.runs, ecg.width, mnist.shape.name, mnist.runs, mnist.width) == (
        ("ecg5000", 60, 2000, "mnist", 20, 10_000)
    )
    assert (max(full.widths), max(full.runs)) == (10**6, 1000)
    assert {(grid.runs, grid.width, grid.shape.inputs) for grid in full.grids} < set(full.weights)


@pytest.mark.parametrize("kind", noise.NOISES)
def test_a_kick_and_the_copy_it_is_held_against_read_and_write_the_same_weights(kind):
    shape = (3, 40, 10)
    sides = on_gpu.kick_and_copy(shape, kind, CPU)
    weights, copied = sides["ours"].args[0], sides["copy"].func.__self__
    assert weights.shape == copied.shape == shape
    assert weights.dtype == copied.dtype == torch.float32
    assert weights.data_ptr() != copied.data_ptr()
    assert on_gpu.moved(shape) == weights.nbytes + copied.nbytes
    sides["ours"]()
    assert (weights != 0).all()  # every entry of every run was read and written
    sides["copy"]()
    assert torch.equal(copied, weights)
    assert sides["torch"]().shape == shape[1:]


@pytest.mark.long
def test_what_is_measured_can_be_shown(figures):
    told = timings.gpus_in_short({"gpu-a": (bench.machine(), figures)})
    assert all(words in told for words in ("a copy of the same bytes", "its matrix products", "by torch", "by SciPy"))
    assert len(timings.gpu_tables({"gpu-a": (bench.machine(), figures)})) == 5
    noises, steps = drawn.over_limits({"gpu-a": (bench.machine(), figures)}).axes
    assert len(noises.containers) + len(steps.containers) == 2 * 3 + 2 * 4
    assert len(drawn.growth(figures).axes) == 2
    plt.close("all")


class Products(TorchDispatchMode):
    """Counts multiplications of each batched product by (rows, inner, columns), runs together."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[tuple[int, int, int]] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in ("bmm", "baddbmm", "baddbmm_"):
            a, b = args[-2:]
            self.count[a.shape[1], a.shape[2], b.shape[2]] += a.shape[0]
        return func(*args, **(kwargs or {}))


@pytest.mark.usefixtures("one_thread")
def test_the_products_alone_are_those_of_a_step(monkeypatch):
    """On the way of a GPU a step has no compiled part: all its products are torch's."""
    monkeypatch.setattr(two_layer, "by_core", lambda device: False)
    nets, x, y, rates = replace(on_gpu.REHEARSAL.grids[1], runs=3).stage(CPU)
    assert y.max() > 0
    with Products() as alone:
        on_gpu.products_alone(nets, x)()
    with Products() as whole:
        stage.descend(nets, x, y, rates, {})
    assert alone.count == whole.count
    assert sum(alone.count.values()) == 5 * 3


@pytest.mark.long
def test_coarser_products_are_told_with_their_error(figures):
    errors = figures.loc[figures["name"] == "step.bfloat16_error", "value"]
    assert ((errors > 2**-12) & (errors < 2**-5)).all()  # bfloat16 has eight bits
    assert on_gpu._error(on_gpu.REHEARSAL.grids[0], CPU, "float32") == 0


def test_calls_of_sides_are_chosen_so_that_all_take_their_share_of_the_time(clock):
    sides = {"slow": lambda: clock.take(4.0), "fast": lambda: clock.take(0.01)}
    taken = timing.in_time(sides, 1.4, CPU, rounds=7)
    assert {name: len(rounds) for name, rounds in taken.items()} == {"slow": 2, "fast": 2}  # two rounds at least
    assert taken["slow"] == pytest.approx([4.0] * 2)
    assert taken["fast"] == pytest.approx([0.01] * 2)
    start = clock.now
    taken = timing.in_time({"fast": sides["fast"]}, 7.0, CPU, rounds=7)
    assert len(taken["fast"]) == 7
    assert 6.0 < clock.now - start < 8.0


def test_a_run_of_the_loop_counts_as_all_its_steps_and_its_measuring(clock, monkeypatch):
    made = []

    def steps(run, dataset, *, device, by):
        clock.take(100.0)  # to begin
        for _ in range(run.max_steps):
            made.append(by)
            yield clock.take(2.0)

    monkeypatch.setattr(loop, "steps", steps)
    monkeypatch.setattr(loop, "measured", lambda *_: clock.take(5.0))
    base = Run(max_steps=600)
    assert on_gpu._looped(base, SMALL.data(), CPU, "torch", 20.0) == 600 * 2.0 + 5.0
    assert len(made) < 10  # it stops when its time is over


def test_the_speedup_of_a_grid_is_a_run_of_the_loop_over_a_run_of_ours(clock, monkeypatch):
    grid = on_gpu.Grid(SMALL, runs=3, width=8, batch=None, steps=50)
    monkeypatch.setattr(on_gpu, "in_time", lambda sides, *_: {"products": [0.006], "shared": [0.01]})
    monkeypatch.setattr(on_gpu, "_trained", lambda *_: 6.0)
    monkeypatch.setattr(on_gpu, "_looped", lambda base, data, device, by, seconds: {"torch": 10.0, "scipy": 40.0}[by])
    data = SMALL.data()
    figures = list(on_gpu._against_loop(grid, "shared", data, data, 1.0, CPU))
    values = {(figure.name, figure.case.rpartition(" by ")[2]): figure.value for figure in figures}
    assert values["grid.speedup_over_loop", "torch"] == 10 / (6 / 3)
    assert values["grid.speedup_over_loop", "scipy"] == 40 / (6 / 3)
    assert values["grid.speedup_of_products_alone", "torch"] == pytest.approx(10 / (50 * 0.006 / 3))
    assert all("50 steps" in figure.case for figure in figures)


def test_a_grid_whose_runs_end_early_is_no_measurement():
    base = Run(dataset="digits", width=8, lr=0.1, max_steps=9, eval_every=3, stop_accuracy=0.01)
    with pytest.raises(RuntimeError, match=r"^a run of the measured grid ended as converged"):
        on_gpu._trained(base, 2, SMALL.data(), CPU)


def test_sizes_that_do_not_fit_are_left_out_and_said(monkeypatch):
    monkeypatch.setattr(devices, "available", lambda device: 1_000_000)
    with pytest.warns(UserWarning, match=r"^n = 500 and more are left out: cpu has too little memory$"):
        figures = list(bench.bench(["growth"], plan=replace(on_gpu.REHEARSAL, runs=())))
    assert [figure.case for figure in figures if figure.name == "growth.n"] == ["n = 20", "n = 100"]


def test_a_gpu_has_cases_of_its_own():
    there = bench.cases_on("cuda")
    assert {case.args for case in there.values()} == {(on_gpu.FULL,)}
    assert bench.cases_on(CPU) is bench.CASES
    with pytest.raises(ValueError, match=r"^unknown case 'workers': choose from noise, step, grid, products, growth$"):
        list(bench.bench(["workers"], plan=on_gpu.REHEARSAL))


@pytest.mark.parametrize("alpha", [0.8, 1.0, 1.75, 2.0])
@pytest.mark.parametrize("kind", noise.NOISES)
def test_the_draws_of_eager_torch_have_the_law(kind, alpha):
    """False alarm 1e-6 each, seeded; a tenth too large is seen."""
    draws = loop.eager(kind, alpha, torch.Size((40_000, 1)), torch.Generator().manual_seed(3))
    assert draws.shape == (40_000, 1)
    assert torch.isfinite(draws).all()
    assert follows_symmetric(draws, alpha)
    assert not follows_symmetric(1.1 * draws, alpha)


def test_the_ends_of_the_uniforms_give_finite_draws(monkeypatch):
    for end in (0.0, 1 - 2**-24):
        monkeypatch.setattr(torch, "rand", lambda size, end=end, **_: torch.full(size, end))
        for kind in ("entrywise", "isotropic"):
            draws = loop.eager(kind, 1.75, torch.Size((5, 4)), torch.Generator().manual_seed(1))
            assert torch.isfinite(draws).all()


def test_the_loop_with_torchs_noise_is_the_same_loop():
    dataset = SMALL.data()
    run = Run(dataset="digits", width=40, lr=0.1, max_steps=30, seed=1)
    row = trainer.train(run, data={"digits": dataset}, progress=False).table.iloc[0]
    theirs = loop.train(run, dataset, by="torch")
    assert theirs == {name: row[name] for name in theirs}
    noisy = replace(run, noise="entrywise", alpha=1.75, sigma=0.5)
    assert loop.train(noisy, dataset, by="torch") != loop.train(noisy, dataset, by="scipy") != theirs
    assert loop.train(noisy, dataset, by="torch") == loop.train(noisy, dataset, by="torch")
    assert len(list(loop.steps(run, dataset))) == run.max_steps


def test_a_report_of_a_gpu_says_which_machine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: "Made-up GPU")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda place: SimpleNamespace(total_memory=80 * 10**9))
    machine = bench.machine("cuda")
    assert (machine["device"], machine["memory_gb"], machine["tf32"]) == ("Made-up GPU", 80.0, False)
    assert machine["processor"] == bench.machine()["device"]
    assert {"cuda", "triton"} <= machine["versions"].keys()
    monkeypatch.setattr(torch.backends.cuda, "matmul", SimpleNamespace(fp32_precision="tf32"))
    assert bench.machine("cuda")["tf32"] is True


def test_reports_of_a_kind_are_read_in_order_of_their_names(tmp_path):
    assert bench.read_all(tmp_path, "gpu") == {}
    figure = Figure("noise.over_copy", "entrywise", 1.2, 1.1, 1.3, "ratio")
    for name in ("gpu-b", "gpu-a", "cpu-a"):
        (tmp_path / f"{name}.json").write_text(json.dumps(bench.report([figure])))
    found = bench.read_all(tmp_path, "gpu")
    assert list(found) == ["gpu-a", "gpu-b"]
    machine, figures = found["gpu-a"]
    assert machine["cores"] > 0
    assert figures.to_dict("records") == [vars(figure)]
    (tmp_path / "gpu-c.json").write_text("{}")
    with pytest.raises(ValueError, match=re.escape("gpu-c.json is no report of `heavytail bench --json`")):
        bench.read_all(tmp_path, "gpu")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([], ""),
        ([1.3, 1.9], "Products in bfloat16 are faster than in float32 here: a step 1.3 to 1.9 times as fast."),
        ([0.4, 0.6], "Products in bfloat16 are slower than in float32 here: a step 0.4 to 0.6 times as fast."),
        (
            [0.9, 1.2],
            "Products in bfloat16 are in some cases faster and in some slower than in float32 here: a step 0.9 to 1.2 "
            "times as fast.",
        ),
    ],
)
def test_which_products_are_the_fastest_is_a_sentence(values, sentence):
    figures = [Figure("step.bfloat16_speedup", f"case {v}", v, v, v, "ratio") for v in values]
    assert bench.fastest_products([Figure("step.matmul_ms", "case", 1.0, 1.0, 1.0, "ms"), *figures]) == sentence
