"""Who imports whom: one way only, in the package and in made-up ones."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FrameType

import matplotlib.pyplot as plt
import pytest

from heavytail import Run, grid, train
from heavytail.book import figures, rooms


def made_up(folder: Path, files: dict[str, str]) -> dict[str, rooms.Room]:
    """The rooms of a package with these files."""
    for name, text in files.items():
        path = folder / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return rooms.rooms(folder / "house")


@cache
def here(wing: str | None = None) -> dict[str, rooms.Room]:
    """The rooms of this package, or of one of its wings."""
    return rooms.rooms(wing=wing)


PLANS = pytest.mark.parametrize("wing", [None, "lab", "evidence", "book"])


@PLANS
def test_nothing_is_imported_in_a_circle(wing):
    found = here(wing)
    order = [name for floor in rooms.floors(found) for name in floor]
    assert sorted(order) == sorted(found)
    assert all(order.index(target) < order.index(name) for name, room in found.items() for target in room.imports)


def test_the_wings_lead_one_way_and_the_library_knows_none_of_them():
    found = here()
    assert {rooms.wing_of(name) for name in found} == {*rooms.WINGS, None}
    assert rooms.backward(found) == []
    library = {name for name in found if rooms.wing_of(name) == "library"}
    assert library >= {"stable", "noise", "compress", "networks", "tails", "laws", "sde", "streams", "_sampler"}
    assert all(found[name].imports <= library for name in library)
    assert "book" not in found["evidence"].imports
    assert found["book"].imports >= {"evidence", "lab"}


def test_the_top_level_is_taken_in_at_one_look():
    assert len(here()) < 20
    assert {"lab", "evidence", "book", "cli"} <= here().keys()


def test_the_laws_and_the_noise_know_nothing_of_networks_and_tables():
    found = here()
    assert found["stable"].imports == set()
    assert found["laws"].imports <= {"stable", "noise"}
    assert found["noise"].imports <= {"stable", "streams", "_sampler", "networks"}


def heights() -> dict[tuple[str, ...], tuple[int, ...]]:
    """How high each room lies in the picture of the top level, and those of the lab in their own."""
    top, lab = rooms.floors(here()), rooms.floors(here("lab"))
    found: dict[tuple[str, ...], tuple[int, ...]] = {(n,): (k,) for k, floor in enumerate(top) for n in floor}
    return found | {("lab", n): (*found["lab",], k) for k, floor in enumerate(lab) for n in floor}


def holds_a_run(value: object, depth: int = 2) -> bool:
    """Whether something is a run, has one, or is a collection of such things."""
    if isinstance(value, Run) or isinstance(getattr(value, "run", None), Run):
        return True
    return depth > 0 and isinstance(value, list | tuple | dict) and any(holds_a_run(one, depth - 1) for one in value)


def handed_up(work: Callable[[], object]) -> set[tuple[str, str, str]]:
    """Which calls meanwhile hand a run to a room above that of the caller: from a room, to a room, what is called."""
    height, found = heights(), set()

    def room(frame: FrameType) -> tuple[str, ...]:
        house, *inside = frame.f_globals.get("__name__", "").split(".")
        return tuple(inside[: 2 if inside[:1] == ["lab"] else 1]) if house == "heavytail" else ()

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event != "call" or frame.f_back is None:
            return
        caller, called = room(frame.f_back), room(frame)
        if caller in height and called in height and height[called] > height[caller]:
            count = frame.f_code.co_argcount + frame.f_code.co_kwonlyargcount
            if any(holds_a_run(frame.f_locals.get(name)) for name in frame.f_code.co_varnames[:count]):
                found.add((caller[-1], called[-1], frame.f_code.co_name))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(before)
    return found


def test_from_train_on_runs_are_handed_back_up_three_times_at_most():
    settings = {"width": 5, "lr": 0.1, "max_steps": 4, "eval_every": 2, "tune_steps": 1, "robustness": 5}
    runs = grid(dataset="digits", **settings, validation=100, depth=[1, 2], noise="shared", alpha=1.5, sigma=0.01)
    found = handed_up(lambda: train(runs, progress=False, history=True, on_look=lambda *_: None))
    assert ("queue", "trainer", "look") in found  # who asked for looks is told of them
    assert len(found) <= 3


@PLANS
def test_every_room_says_what_it_is_for(wing):
    assert [name for name, room in here(wing).items() if not room.purpose] == []


HOUSE = {
    "__init__.py": "from house import stable\nfrom house.lab.trainer import train\n",
    "__main__.py": "from house.cli import main\n",
    "stable.py": "import os\n",
    "cli.py": "def late():\n    from house import stable, train\n    from house.book import page\n",
    "lab/__init__.py": "",
    "lab/trainer.py": "from house.stable import x\nfrom house.lab import store\n",
    "lab/store.py": "import house.stable\n",
    "evidence/__init__.py": "from house.lab import trainer\n",
    "book/page.py": "from house import stable, evidence\n",
}
ARROWS_BACK = [
    ("stable.py", "def late():\n    from house.lab import trainer\n", ("stable", "lab")),
    ("stable.py", "from house import train\n", ("stable", "lab")),
    ("stable.py", "import house\n\ndef late():\n    return house.train\n", ("stable", "lab")),
    (
        "stable.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.book.page import x\n",
        ("stable", "book"),
    ),
    ("lab/store.py", "import house.evidence.claims\n", ("lab", "evidence")),
    ("lab/deep/__init__.py", "from house.book import page\n", ("lab", "book")),
    ("evidence/cells.py", "from house.book.page import need\n", ("evidence", "book")),
    ("book/run.py", "from house.cli import main\n", ("book", "cli")),
]


def test_a_house_without_an_arrow_back_has_none(tmp_path):
    found = made_up(tmp_path, HOUSE)
    assert rooms.backward(found) == []
    assert {name: set(room.imports) for name, room in found.items()} == {
        "stable": set(),
        "lab": {"stable"},
        "evidence": {"lab"},
        "book": {"stable", "evidence"},
        "cli": {"stable", "lab", "book"},
    }
    inside = rooms.rooms(tmp_path / "house", "lab")
    assert {name: set(room.imports) for name, room in inside.items()} == {"trainer": {"store"}, "store": set()}


@pytest.mark.parametrize(("file", "text", "arrow"), ARROWS_BACK)
def test_an_arrow_back_is_seen_however_it_is_written(file, text, arrow, tmp_path):
    assert rooms.backward(made_up(tmp_path, HOUSE | {file: text})) == [arrow]


def test_rooms_are_read_with_all_their_imports_and_subpackages_are_one_room(tmp_path):
    found = made_up(
        tmp_path,
        {
            "__init__.py": "from house import attic\n",
            "cellar.py": '"""Where it is\ncold. """\nimport os\n',
            "attic.py": '"""High up.\n\nMore.\n"""\nfrom house.hall import door\nimport house.cellar\n',
            "hall/__init__.py": '"""In between."""\nfrom house.hall.inner import x\n',
            "hall/inner.py": "def late():\n    from house import cellar\n",
        },
    )
    assert {name: set(room.imports) for name, room in found.items()} == {
        "attic": {"hall", "cellar"},
        "cellar": set(),
        "hall": {"cellar"},
    }
    assert [found[name].purpose for name in ("attic", "cellar", "hall")] == [
        "High up.",
        "Where it is cold.",
        "In between.",
    ]
    assert rooms.floors(found) == [["cellar"], ["hall"], ["attic"]]
    assert rooms.direct(found) == {
        ("attic", "hall"),
        ("hall", "cellar"),
    }  # the attic's way to the cellar leads through the hall


def test_a_circle_is_named(tmp_path):
    circle = {
        "a.py": "import house.b\n",
        "b.py": "import house.c\n",
        "c.py": "from house import a\n",
        "d.py": "import house.a",
    }
    with pytest.raises(ValueError, match="circle: a -> b -> c -> a"):
        rooms.floors(made_up(tmp_path, circle))


def test_a_circle_inside_a_wing_is_named(tmp_path):
    made_up(tmp_path, HOUSE | {"lab/store.py": "from house.lab.trainer import train\n"})
    with pytest.raises(ValueError, match="circle: store -> trainer -> store"):
        rooms.floors(rooms.rooms(tmp_path / "house", "lab"))


@PLANS
def test_a_plan_has_every_room_above_those_that_it_imports(wing, book_style):
    found = here(wing)
    (axis,) = figures.plan(found).axes
    height = {text.get_text(): text.get_position()[1] for text in axis.texts}
    assert set(height) == set(found)
    assert all(height[target] < height[name] for name, room in found.items() for target in room.imports)
    assert len(axis.patches) == len(rooms.direct(found))
    plt.close("all")


def test_a_plan_has_no_crossing_that_a_change_of_places_avoids(tmp_path, book_style):
    crossed = {"a": "import house.f\n", "b": "import house.e\n", "c": "import house.d\n", "d": "", "e": "", "f": ""}
    found = made_up(tmp_path, {f"{name}.py": text for name, text in crossed.items()})
    (axis,) = figures.plan(found).axes
    across = {text.get_text(): text.get_position()[0] for text in axis.texts}
    height = {text.get_text(): text.get_position()[1] for text in axis.texts}
    for (upper, lower), (other_upper, other_lower) in itertools.combinations(rooms.direct(found), 2):
        if height[upper] == height[other_upper] and height[lower] == height[other_lower]:
            assert (across[upper] - across[other_upper]) * (across[lower] - across[other_lower]) >= 0
    plt.close("all")
