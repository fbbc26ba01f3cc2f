"""The explorer: its records agree with the tables, and a browser shows what was chosen."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from dataclasses import fields
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from made_up_results import controlled, diverged, measured, sweep, table

from heavytail import Run
from heavytail.book import explorer, pdf, pieces, tables
from heavytail.book.figures.style import COLOURS
from heavytail.lab.results import MIDDLE, SHARES, write_table

STATIC = Path(__file__).parents[2] / "book" / "_static"


def wavy(*numbers):
    """Measurements that differ from seed to seed."""
    shift = 0.01 * math.sin(sum(numbers))
    return {"pruning_ratio": 0.4 + shift, "share_accuracy": 0.8 + shift, "test_accuracy": 0.9 + shift}


def ecg(seeds=(1, 2, 3)):
    kinds = {"shared": 10, "entrywise": 20, "isotropic": 30}
    return sweep(lambda seed: wavy(seed), lambda noise, alpha, seed: wavy(kinds[noise], 7 * alpha, seed), seeds=seeds)


def both():
    return {"quick/ecg5000": ecg(), "workstation/controls": controlled(True, (1, 2))}


def data_of(page):
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', page.text, re.DOTALL)
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def one(records, **at):
    (found,) = [record for record in records if at.items() <= record["at"].items()]
    return found


def test_every_run_of_every_table_is_in_exactly_one_cell():
    made = both()
    records = explorer.cells({name: frame.sample(frac=1, random_state=5) for name, frame in made.items()})
    for name, frame in made.items():
        keys = [key for record in records if record["at"]["table"] == name for key in record["keys"].split()]
        assert sorted(keys) == sorted(frame["key"])
    assert all(len(record["keys"].split()) == (3 if record["at"]["dataset"] == "ecg5000" else 2) for record in records)
    assert len({json.dumps(record["at"], sort_keys=True) for record in records}) == len(records) == 7 + 12


def test_keys_are_in_the_order_of_the_seeds():
    frame = ecg()
    record = one(explorer.cells({"quick/ecg5000": frame[::-1]}), noise="none")
    assert record["keys"].split() == [Run(seed=seed).key for seed in (1, 2, 3)]


def test_the_row_of_a_cell_is_its_row_in_the_papers_table():
    frame = ecg()
    records = explorer.cells({"quick/ecg5000": frame})
    form = tables.paper_form(frame).drop(columns=["noise", "α", "σ"]).to_dict("records")
    assert [record["row"] for record in records] == form
    assert list(records[0]["row"]) == list(form[0])


def test_curves_hold_the_median_the_worst_and_the_best_seed_to_four_digits():
    frame = ecg()
    rows = frame[(frame["noise"] == "isotropic") & (frame["alpha"] == 1.9)]
    curves = one(explorer.cells({"quick/ecg5000": frame}), noise="Type-III", alpha="1.9")["curves"]
    assert {kind: len(curve) for kind, curve in curves.items()} == {"train": 11, "test": 11, "random": len(MIDDLE)}
    for share, found in zip(SHARES, curves["test"], strict=True):
        accuracy = rows[f"test_accuracy_share_{share:.1f}"]
        assert found == pytest.approx([accuracy.median(), accuracy.min(), accuracy.max()], rel=5e-4)
        assert found[1] < found[0] < found[2]


def test_norms_have_a_number_a_run():
    rows = [(Run(seed=seed), measured(norm_median=0.1 * seed, tail_index=20.0 / seed)) for seed in (3, 1, 2)]
    (record,) = explorer.cells({"quick/ecg5000": table(rows)})
    assert record["norms"]["norm_median"] == [0.1, 0.2, 0.3]
    assert record["norms"]["tail_index"] == [20.0, 10.0, 6.67]
    assert record["norms"]["tail_index_error"] == [0.3, 0.3, 0.3]


def test_failed_runs_are_counted_and_leave_gaps():
    noisy = [Run(noise="shared", alpha=alpha, sigma=0.1, seed=seed) for alpha in (1.5, 1.9) for seed in (1, 2)]
    rows = zip(noisy, [diverged(), diverged(), diverged(), measured(norm_rms=2.5)], strict=True)
    none, half = explorer.cells({"quick/ecg5000": table(rows)})
    assert (none["row"]["runs"], none["row"]["failed"], none["row"]["test %"]) == (0, 2, "—")
    assert none["norms"] is None
    assert none["curves"] == {"train": None, "test": None, "random": None}
    assert (half["row"]["runs"], half["row"]["failed"]) == (1, 1)
    assert half["norms"]["norm_rms"] == [None, 2.5]
    assert half["curves"]["test"][0] == [0.9, 0.9, 0.9]


def test_a_number_that_is_missing_is_null_and_never_nan():
    rows = [(Run(seed=1), measured(train_loss=math.inf)), (Run(noise="shared", alpha=1.9, sigma=0.1), diverged())]
    records = explorer.cells({"quick/ecg5000": table(rows)})
    data = data_of(explorer.page(records, {}))
    assert [{**record, "fixed": data["fixed"][record["fixed"]]} for record in data["records"]] == records


def test_columns_that_are_unknown_or_empty_change_nothing_else():
    frame = ecg()
    empty = [name for name in frame if name.startswith(("norm_", "tail_", "test_accuracy_random_"))]
    older = frame.assign(**dict.fromkeys(empty, math.nan), colour="red")
    for new, old in zip(*(explorer.cells({"quick/ecg5000": each}) for each in (frame, older)), strict=True):
        assert (old["norms"], old["curves"]["random"]) == (None, None)
        assert {**old, "norms": 0, "curves": 0} == {**new, "norms": 0, "curves": 0}
        assert old["curves"]["test"] == new["curves"]["test"]


def test_plain_is_the_run_without_noise_of_the_same_network():
    runs = [
        Run(width=width, noise=noise, alpha=noise and 1.9, seed=1) for width in (9, 7) for noise in (None, "shared")
    ]
    runs += [Run(width=5, noise="shared", alpha=1.9, seed=1), Run(width=7, weight_decay=0.1, seed=1)]
    records = explorer.cells({"quick/ecg5000": table((run, measured()) for run in runs)})
    for width in ("7", "9"):
        noisy = one(records, width=width, noise="Type-I")
        assert records[noisy["plain"]] is one(records, width=width, noise="none", weight_decay="0")
        assert records[noisy["plain"]]["plain"] is None
    assert one(records, width="5")["plain"] is None
    decayed = one(records, weight_decay="0.1")
    assert records[decayed["plain"]] is one(records, width="7", noise="none", weight_decay="0")


def test_an_axis_is_offered_only_by_a_table_that_varies_it():
    records = explorer.cells(both())
    for record in records:
        varied = {"along", "weight_decay"} if record["at"]["table"] == "workstation/controls" else set()
        assert record["at"].keys() == {*explorer.ALWAYS, *varied}
    assert "depth 1" in records[0]["fixed"]
    assert "weight_decay 0" in one(records, dataset="ecg5000", noise="none")["fixed"]


def test_every_field_of_a_run_but_its_seed_is_an_axis():
    assert explorer.AXES.keys() - {"table"} == {field.name for field in fields(Run)} - {"seed"}


def test_choices_come_in_order_with_the_table_of_the_data_set_first():
    at = [record["at"] for record in explorer.cells({"quick/z": ecg(), "quick/b": ecg(), "paper/ecg5000": ecg()})]
    assert list(dict.fromkeys(each["table"] for each in at)) == ["paper/ecg5000", "quick/b", "quick/z"]
    assert list(dict.fromkeys(each["noise"] for each in at)) == ["none", "Type-I", "Type-II", "Type-III"]


def test_committed_takes_the_largest_profile_and_leaves_simulations_and_searches_on_a_validation_part_out(tmp_path):
    for profile, seeds in (("quick", (1,)), ("workstation", (1, 2))):
        (tmp_path / profile).mkdir()
        write_table(ecg(seeds), tmp_path / profile / "ecg5000.parquet")
    write_table(ecg(), tmp_path / "quick" / "mine.parquet")
    real = Path(__file__).parents[2] / "data" / "results" / "quick" / "rate.parquet"
    shutil.copy(real, tmp_path / "quick" / "rate.parquet")
    write_table(ecg().assign(validation=100), tmp_path / "quick" / "choose-mine.parquet")
    found = explorer.committed(tmp_path)
    assert {name: len(frame) for name, frame in found.items()} == {"quick/mine": 21, "workstation/ecg5000": 14}


def test_no_text_of_a_table_can_end_the_script_or_be_markup():
    page = explorer.page(explorer.cells({"quick/</script><b>": ecg()}), {})
    assert page.text.count("</script") == 3  # data, what pieces share, its own
    assert "<b>" not in page.text
    assert data_of(page)["records"][0]["at"]["table"] == "quick/</script><b>"
    assert "quick/&lt;/script&gt;&lt;b&gt;.parquet" in page.text


def test_the_page_opens_at_a_cell_that_has_the_axes_of_its_start_and_says_all_of_its_axes():
    records = explorer.cells(both())
    page = explorer.page(records, {"dataset": "mnist", "alpha": "2"})
    (start,) = re.findall(r'data-start="([^"]*)"', page.text)
    assert dict(parse_qsl(unescape(start))) in [record["at"] for record in records]
    assert {"dataset": "mnist", "alpha": "2"}.items() <= dict(parse_qsl(unescape(start))).items()


def test_a_start_that_no_cell_has_is_an_error():
    with pytest.raises(ValueError, match=r"no cell has \{'noise': 'Type-IV'\}: start at axes and values"):
        explorer.page(explorer.cells(both()), {"noise": "Type-IV"})


def test_colours_are_those_of_the_figures_and_nothing_is_fetched_from_elsewhere():
    page = explorer.page(explorer.cells(both()), {})
    wanted = {name: pieces.colour(name) for name in COLOURS}
    style, script, shared = (
        (STATIC / name).read_text("utf-8") for name in ("explorer.css", "explorer.js", "pieces.js")
    )
    of_plain = re.findall(r"--explorer-plain: (#\w+);", style)
    assert f"light-dark({', '.join(of_plain)})" == wanted.pop("none")
    assert data_of(page)["colours"] == wanted
    assert set(re.findall(r"https?://[^\s\"']+", page.text + style + script + shared)) == {"http://www.w3.org/2000/svg"}


# What follows works the page in a browser. `drive` is called after each step and notes what is on the page.
DRIVER = """
<script>
const report = { errors, steps: [] };
const root = document.querySelector("section.explorer");
const control = (axis) => root.querySelector(`select[name=${axis}]`);
function note() {
  const shows = (box) => box !== null && box.offsetParent !== null;
  report.steps.push({
    summary: root.querySelector("[role=status]").textContent.replace(/\\u00a0/g, " "),
    paths: [...root.querySelectorAll("path.line")].map((path) => path.getAttribute("d")),
    lines: [...root.querySelectorAll("figure")].map((box) => box.querySelectorAll("path.line").length),
    dots: [...root.querySelectorAll("figure")].map((box) => box.querySelectorAll("circle").length),
    table: Object.fromEntries([...root.querySelectorAll(".shown > table tbody tr")].map(
      (row) => [row.cells[0].textContent, [...row.cells].slice(1).map((cell) => cell.textContent)])),
    keys: [...root.querySelectorAll(".keys code")].map((code) => code.textContent),
    options: Object.fromEntries([...root.querySelectorAll("select")].filter(shows).map(
      (box) => [box.name, [...box.options].map((option) => option.value)])),
    noises: [...root.querySelectorAll("input")].filter(shows).map((box) => box.value),
    hash: window.location.hash,
    focus: document.activeElement.name || "",
    wide: root.scrollWidth > root.clientWidth,
    named: [...root.querySelectorAll("select, input")].every((box) => box.labels.length === 1),
    fallback: shows(root.querySelector(".explorer-without")),
  });
}
function choose(axis, value) {
  const box = control(axis) || root.querySelector(`input[value=${value}]`);
  box.focus();
  if (box.tagName === "SELECT") box.value = value; else box.checked = true;
  box.dispatchEvent(new Event("change", { bubbles: true }));
  note();
}
note();
for (const [axis, value] of STEPS) choose(axis, value);
window.location.hash = "#dataset=ecg5000&noise=Type-III&alpha=1.75";
setTimeout(() => {
  note();
  const out = document.createElement("pre");
  out.id = "report";
  out.textContent = JSON.stringify(report);
  document.body.append(out);
}, 500);
</script>
"""

STEPS = [("alpha", "1.9"), ("noise", "Type-I"), ("dataset", "mnist"), ("weight_decay", "0.1"), ("dataset", "ecg5000")]


@pytest.fixture
def browser(tmp_path):
    """A function that opens a page, without any network, and gives back what it has become."""
    found = pdf.browser()
    if found is None:
        pytest.skip("no Chromium is installed, so the explorer was not tried in a browser")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    apart = [f"--user-data-dir={tmp_path / 'browser'}", "--host-resolver-rules=MAP * ~NOTFOUND"]

    def opened(content, *options, address=""):
        page = tmp_path / "page.html"
        page.write_text(content, encoding="utf-8")
        command = [found, *quiet, *apart, *options, "--virtual-time-budget=5000", "--dump-dom", page.as_uri() + address]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout

    return opened


def standalone(width, script=""):
    records = explorer.cells(both())
    page = explorer.page(records, {"dataset": "ecg5000", "noise": "Type-II", "alpha": "1.75"}, static=STATIC.as_uri())
    hook = "<script>const errors = []; window.onerror = (message) => errors.push(String(message));</script>"
    return records, (
        f'<!doctype html><html lang="en" data-theme="dark"><meta charset="utf-8">{hook}'
        f'<body><div style="width: {width}px">{page.text}</div>{script}</body></html>'
    )


@pytest.mark.parametrize("width", [375, 1200])
@pytest.mark.long
def test_a_choice_changes_curves_table_keys_and_address(browser, width):
    records, page = standalone(width, DRIVER.replace("STEPS", json.dumps(STEPS)))
    (text,) = re.findall(r'<pre id="report">(.*?)</pre>', browser(page), re.DOTALL)
    report = json.loads(unescape(text))
    assert report["errors"] == []
    steps = report["steps"]
    assert len(steps) == len(STEPS) + 2
    assert not any(step["wide"] or step["fallback"] for step in steps)
    assert all(step["named"] for step in steps)
    start, alpha, noise, dataset, decay, back, linked = steps

    chosen = one(records, noise="Type-II", alpha="1.75", dataset="ecg5000")
    plain = records[chosen["plain"]]
    assert start["table"] == {title: [str(value), str(plain["row"][title])] for title, value in chosen["row"].items()}
    assert start["keys"] == [chosen["keys"], plain["keys"]]
    assert start["lines"] == [3, 2, 0, 0, 0]  # test with random pruning, train; each beside plain SGD
    assert start["dots"] == [11 + 11 + 9, 11 + 11, 6, 6, 6]
    assert start["options"]["alpha"] == ["1.75", "1.9"]
    assert start["summary"].startswith("Type-II, α = 1.75, σ = 0.1, width 2000, quick/ecg5000: pruned ")
    assert f"pruned {chosen['row']['pruned %']}% (plain SGD: {plain['row']['pruned %']}%)" in start["summary"]

    assert alpha["paths"] != start["paths"]
    assert alpha["table"] != start["table"]
    assert "alpha=1.9" in alpha["hash"]
    assert [step["focus"] for step in steps[1:4]] == ["alpha", "explorer-noise", "dataset"]

    wanted = one(records, noise="Type-I", alpha="1.9", dataset="ecg5000")  # α stays as it was chosen
    assert noise["keys"][0] == wanted["keys"]
    assert noise["noises"] == ["none", "Type-I", "Type-II", "Type-III"]

    assert dataset["options"]["along"] == ["ones", "unseen"]  # of mnist; α = 1.9 is not there, another is taken
    assert dataset["options"]["alpha"] == ["1.75", "2"]
    assert "weight_decay" not in dataset["options"]  # networks with Type-I noise have none
    assert decay == {**dataset, "focus": decay["focus"], "hash": decay["hash"]}  # so to ask for it changes nothing
    assert back["keys"] == noise["keys"]  # and α = 1.9 again

    told = one(records, noise="Type-III", alpha="1.75", dataset="ecg5000")
    assert linked["keys"][0] == told["keys"]


@pytest.mark.long
def test_an_address_opens_its_view(browser):
    records, page = standalone(600)
    at = "#dataset=mnist&noise=none&weight_decay=0.1"
    shown = browser(page, address=at)
    wanted = one(records, dataset="mnist", noise="none", weight_decay="0.1")
    assert f"<code>{wanted['keys']}</code>" in shown
    assert "Plain SGD, weight decay 0.1, width 500, workstation/controls" in shown


@pytest.mark.long
def test_without_its_script_the_page_lists_the_tables(browser):
    _, page = standalone(600)
    shown = browser(page.replace("explorer.js", "nowhere.js"))
    assert '<div class="explorer-without"><p>The explorer needs JavaScript' in shown
    assert "<code>data/results/workstation/controls.parquet</code>" in shown
    assert "<select" not in shown
