"""The public names, what they refuse at the door, and that pages and texts name nothing that is not there."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

import heavytail
from heavytail import Run
from heavytail.book import rooms

ROOT = Path(__file__).parents[1]
FUNCTIONS = {"perturb", "prune", "shrink", "hidden_weights", "Run", "grid", "train", "sweep", "Results"}
MODULES = {"stable", "noise", "compress", "networks", "tails", "laws", "sde", "streams", "federated"}
TEXTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "data" / "README.md",
    *sorted((ROOT / "book").glob("*.md")),
]


def test_the_front_door_has_these_names_and_no_others():
    assert set(heavytail.__all__) == FUNCTIONS | MODULES | {"__version__"}
    assert dir(heavytail) == sorted(heavytail.__all__)
    assert all(inspect.ismodule(getattr(heavytail, name)) for name in MODULES)
    assert all(callable(getattr(heavytail, name)) for name in FUNCTIONS)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_name_is_what_a_type_checker_takes_it_for(name):
    thing = getattr(heavytail, name)
    written = rooms.handed_on(ROOT / "heavytail")[f"heavytail.{name}"]
    assert written != f"heavytail.{name}"
    assert found(written) is thing
    assert thing.__doc__


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(AttributeError, match="module 'heavytail' has no attribute 'datasets'"):
        _ = heavytail.datasets
    with pytest.raises(ImportError, match="cannot import name 'kicks'"):
        from heavytail import kicks  # noqa: F401


def found(dotted):
    """What a dotted name leads to; an AttributeError or ImportError where it leads nowhere."""
    parts = dotted.split(".")
    thing = importlib.import_module(parts[0])
    for number, part in enumerate(parts[1:], 1):
        if not hasattr(thing, part):
            importlib.import_module(".".join(parts[: number + 1]))
        thing = getattr(thing, part)
    return thing


def reference():
    """Each directive of the page Reference: kind, dotted name, and the members that it picks."""
    page = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    pattern = r"^\.\. auto(\w+):: ([\w.]+)\n((?:   :.*\n)*)"
    for kind, name, options in re.findall(pattern, page, re.MULTILINE):
        picked = re.search(r":members: (.+)", options)
        yield kind, name, picked[1].split(", ") if picked else []


@pytest.mark.parametrize(
    ("kind", "name", "members"), list(reference()), ids=lambda value: value if "." in value else ""
)
def test_what_the_reference_describes_exists_and_is_described(kind, name, members):
    thing = found(name)
    assert {"function": inspect.isfunction, "class": inspect.isclass, "module": inspect.ismodule}[kind](thing)
    for described in (thing, *(getattr(thing, member) for member in members)):
        assert inspect.getdoc(described)


def test_the_reference_has_every_public_name():
    described = set()
    for kind, name, members in reference():
        thing = found(name)
        described.add(id(thing))
        if kind == "module" and not members:  # Sphinx takes what the module lists, or what is its own
            own = [key for key, value in vars(thing).items() if getattr(value, "__module__", "") == name]
            described |= {id(getattr(thing, key)) for key in getattr(thing, "__all__", own)}
    missing = {name for name in FUNCTIONS | MODULES if id(getattr(heavytail, name)) not in described}
    assert missing == {"noise"}  # two of its functions are described and the rest is for the trainer


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_a_text_names_no_file_and_no_module_that_is_not_there(text):
    words = text.read_text(encoding="utf-8")
    paths = re.findall(r"(?<![\w/.])((?:tests|heavytail|book|data)/[\w/]+\.(?:py|md|toml|parquet))\b", words)
    made_up = {name for name in paths if re.search(r"momentum|NAME|PROFILE", name)}
    assert [name for name in {*paths} - made_up if not (ROOT / name).exists()] == []
    modules = {dotted.rstrip(".") for dotted in re.findall(r"\bheavytail(?:\.[a-z_]\w*)+", words)}
    for dotted in modules - {"heavytail.book"}:
        if not re.search(r"\.(py|md|toml|html)$", dotted):
            found(dotted)


RUN = Run(dataset="digits", width=2, lr=0.1, max_steps=1)
NO_RUNS = ["a", 3, None, [RUN, "a"], {"a": 1}, [[RUN]], RUN.key]


@pytest.mark.parametrize("runs", NO_RUNS, ids=repr)
@pytest.mark.parametrize("door", ["train", "sweep"])
def test_what_is_no_run_is_refused_in_one_sentence(door, runs, tmp_path):
    options = {"store": tmp_path / "store"} if door == "sweep" else {}
    with pytest.raises(TypeError, match=r"^runs are a Run or a list of them, as from grid\(\): got .* among them$"):
        getattr(heavytail, door)(runs, progress=False, **options)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"store": 3}, r"store= is the path of a folder, not 3"),
        ({"store": None}, r"store= is the path of a folder, not None"),
        ({"executor": 3}, r"an executor has a method submit, as those of concurrent.futures: got 3"),
    ],
)
def test_what_a_sweep_cannot_use_is_refused_in_one_sentence(options, sentence, tmp_path):
    with pytest.raises(TypeError, match=f"^{sentence}$"):
        heavytail.sweep([RUN], **{"store": tmp_path / "store", "progress": False} | options)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("networks", [[print], {3: print}, "mine", 3], ids=repr)
def test_networks_without_names_are_refused_in_one_sentence(networks):
    with pytest.raises(TypeError, match=r"^networks= is a mapping such as \{'mine': function\}, from names to what"):
        heavytail.train([RUN], networks=networks, progress=False)


def test_what_cannot_be_called_at_a_look_is_refused_in_one_sentence():
    with pytest.raises(TypeError, match=r"^on_look= is a function of a run, its step, loss and accuracy, not 3$"):
        heavytail.train([RUN], on_look=3, progress=False)
