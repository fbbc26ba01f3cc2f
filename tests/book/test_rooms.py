"""Who imports whom: one way only, in the package and in made-up ones."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from heavytail.book import figures, rooms


def made_up(folder: Path, files: dict[str, str]) -> dict[str, rooms.Room]:
    """The rooms of a package with these files."""
    for name, text in files.items():
        path = folder / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return rooms.rooms(folder / "house")


def test_nothing_in_the_package_is_imported_in_a_circle():
    found = rooms.rooms()
    order = [name for floor in rooms.floors(found) for name in floor]
    assert sorted(order) == sorted(found)
    assert all(order.index(target) < order.index(name) for name, room in found.items() for target in room.imports)


def test_the_laws_and_the_noise_know_nothing_of_runs_and_tables():
    found = rooms.rooms()
    assert found["stable"].imports == set()
    assert found["laws"].imports == {"stable"}
    assert found["networks"].imports == set()
    assert found["noise"].imports <= {
        "stable",
        "streams",
        "_sampler",
        "networks",
    }  # which weights of a model are hidden
    assert "book" not in set().union(*(room.imports for name, room in found.items() if name != "cli"))


def test_the_way_of_the_data_that_was_drawn_by_hand_names_rooms_alone():
    page = (rooms.PACKAGE.parent / "book" / "architecture.md").read_text(encoding="utf-8")
    (drawing,) = re.findall(r"^```\n(trained networks\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    named = {word for line in drawing.splitlines() if line.startswith(" ") for word in re.findall(r"[a-z_]{2,}", line)}
    assert len(named) > 20
    assert named <= rooms.rooms().keys()


def test_every_room_says_what_it_is_for():
    assert [name for name, room in rooms.rooms().items() if not room.purpose] == []


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


def test_the_plan_has_every_room_above_those_that_it_imports(book_style):
    found = rooms.rooms()
    (axis,) = figures.plan(found).axes
    height = {text.get_text(): text.get_position()[1] for text in axis.texts}
    assert set(height) == set(found)
    assert all(height[target] < height[name] for name, room in found.items() for target in room.imports)
    assert len(axis.patches) == len(rooms.direct(found))
    plt.close("all")
