"""Reports of measurements as the page *Performance* shows them, with and without a GPU."""

from __future__ import annotations

import builtins
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import pandas as pd
import pytest
from made_up_timings import gpu_figures, gpu_machine, gpu_report, loop_figures
from matplotlib import pyplot as plt

from heavytail.book import page, timings
from heavytail.lab import bench

ROOT = Path(__file__).resolve().parents[2]
NONE = "no number is claimed"


def figures_of(*rows: tuple[str, str, float, float, float, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["name", "case", "value", "low", "high", "unit"])


def test_a_table_of_figures_has_units_and_spreads():
    figures = figures_of(
        ("a", "x", 2.0, 1.5, 3.0, "ratio"), ("b", "y", 0.12345, 0.12345, 0.12345, "ms"), ("c", "z", 1.0, 1.0, 1.0, "")
    )
    assert timings.form(figures, "a", "b").to_dict("records") == [
        {"name": "a", "case": "x", "median": "2 ×", "spread": "1.5 to 3"},
        {"name": "b", "case": "y", "median": "0.123 ms", "spread": "–"},
    ]


def test_a_span_is_over_the_cases_that_hold_a_word():
    figures = figures_of(*((("a"), f"case {v}", float(v), float(v), float(v), "ratio") for v in (3, 12, 2)))
    assert timings.span(figures, "a") == "2 to 12"
    assert timings.span(figures, "a", "case 3") == "3"
    with pytest.raises(ValueError, match=r"^no figure a of a case with 'grid': measure again"):
        timings.span(figures, "a", "grid")


def test_each_machine_says_which_products_are_faster_there():
    fast, slow, torn = ((1.5, 1.3, 1.9), (0.6, 0.5, 0.7), (1.0, 0.9, 1.1))
    reports = {
        f"cpu-{name}": (
            {"device": name, "cores": 2, "instructions": "AVX512"},
            figures_of(("step.bfloat16_speedup", "mnist", *numbers, "ratio"), ("step.matmul_ms", "x", 1, 1, 1, "ms")),
        )
        for name, numbers in (("fast", fast), ("slow", slow), ("torn", torn))
    }
    form = timings.products_form(reports)
    assert list(form["faster"]) == ["bfloat16", "float32", "neither"]
    assert list(form["machine"]) == [f"{name}, 2 cores, AVX512" for name in ("fast", "slow", "torn")]
    assert form["float32 step over it"][0] == "1.50 × (1.30 to 1.90)"


def test_the_committed_reports_of_processors_name_the_faster_products():
    reports = bench.read_all(ROOT / "data" / "performance", "cpu")
    form = timings.products_form(reports)
    assert set(form["faster"]) <= {"bfloat16", "float32", "neither"}
    assert {row.partition(", ")[0] for row in form["machine"]} == {machine["device"] for machine, _ in reports.values()}


def test_without_a_gpu_it_is_said_that_there_is_none():
    assert NONE in timings.gpus_in_short({})
    assert NONE in timings.gpus({})
    assert timings.gpu_tables({}) == {}


def test_a_gpu_is_told_by_its_ratios_and_its_machine():
    reports = {"gpu-a": gpu_report()}
    assert timings.gpus_in_short(reports) == (
        "on Made-up GPU noise 1.1 to 1.31 times as long as a copy of the same bytes, a step 1 to 1.06 times as long as "
        "its matrix products, a grid 40 times as fast as the loop with noise by torch, 900 times as fast as with noise "
        "by SciPy"
    )
    told = timings.gpus(reports)
    for word in ("Made-up GPU (80 GB, TF32 off", "Made-up processor, 16 cores", "triton 3.7.1", "2030-01-02"):
        assert word in told
    assert timings.gpus({**reports, "gpu-b": gpu_report("Other GPU")}).count("; and on ") == 1
    machine, figures = gpu_report()
    assert "none of the ratios" in timings.gpus_in_short({"gpu-a": (machine, figures[figures["name"] == "growth.n"])})


def test_a_subject_that_was_not_measured_has_no_table():
    machine, figures = gpu_report()
    assert len(timings.gpu_tables({"gpu-a": (machine, figures)})) == 5
    few = {"gpu-a": (machine, figures[figures["name"].isin(["noise.over_copy", "growth.n"])])}
    assert list(timings.gpu_tables(few)) == ["Noise, on Made-up GPU"]
    assert timings.having(few, "step.over_matmul") == {}
    assert timings.having(few, "step.over_matmul", "growth.n") == few


def test_one_run_is_told_beside_the_loop_or_that_a_report_does_not_have_it():
    figures = pd.DataFrame([vars(figure) for figure in loop_figures()])
    assert timings.beside_the_loop(figures) == (
        "A Type-I step of one run alone takes 1.25 times as long as the loop's; two runs at once take 0.75 times as "
        "long as in the loop. Measuring a finished run takes 2.5 s, 5 times as long as in the loop, which prunes at "
        "one error only and looks at no train sample."
    )
    for name in ("step.over_loop", "measure.seconds"):
        told = timings.beside_the_loop(figures[figures["name"] != name])
        assert NONE in told
        assert "heavytail bench loop" in told


def run_page(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Mapping[str, Any], list[Any], int]:
    """The chapter's cells in this process: what it says, what it displays by `display`, how many figures it draws."""
    said: dict[str, Any] = {}
    shown: list[Any] = []
    monkeypatch.setattr(page, "project_root", lambda: root)
    monkeypatch.setattr(page, "say", said.update)
    monkeypatch.setattr(builtins, "display", shown.append, raising=False)
    chapter = page.read(ROOT / "book" / "performance.md")
    names: dict[str, Any] = {}
    for cell in chapter.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, "performance.md", "exec"), names)
    return said, shown, len(plt.get_fignums())


@pytest.mark.long
@pytest.mark.usefixtures("book_style")
def test_the_page_draws_a_report_of_a_gpu_and_tells_one_run_beside_the_loop_if_there_are(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    shutil.copytree(ROOT / "data" / "performance", tmp_path / "data" / "performance")
    (tmp_path / "data" / "results").symlink_to(ROOT / "data" / "results")
    for committed in (tmp_path / "data" / "performance").glob("gpu-*.json"):
        committed.unlink()
    ours = tmp_path / "data" / "performance" / "cpu-2-cores.json"
    told = json.loads(ours.read_text())
    beside = {figure.name for figure in loop_figures()}
    without = [figure for figure in told["figures"] if figure["name"] not in beside]
    ours.write_text(json.dumps({**told, "figures": without}))
    said, shown, drawn = run_page(tmp_path, monkeypatch)
    assert NONE in said["beside"]
    assert NONE in said["gpu"]
    assert NONE in said["gpus"]
    assert shown == []
    plt.close("all")

    report = {"machine": gpu_machine(), "figures": [vars(figure) for figure in gpu_figures()]}
    (tmp_path / "data" / "performance" / "gpu-made-up.json").write_text(json.dumps(report))
    ours.write_text(json.dumps({**told, "figures": [*without, *(vars(figure) for figure in loop_figures())]}))
    said, shown, more = run_page(tmp_path, monkeypatch)
    assert said["gpu"].startswith("on Made-up GPU noise 1.1 to 1.31 times")
    assert NONE not in said["gpu"] + said["gpus"] + said["beside"]
    assert len(shown) == 5
    assert "1230 GB/s" in "".join(table._repr_html_() for table in shown)  # three digits
    assert more == drawn + 2
