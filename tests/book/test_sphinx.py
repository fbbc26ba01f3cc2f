"""What the book's Sphinx extension does to addresses, docstrings, icons and pages."""

from __future__ import annotations

import importlib
import inspect
import io
import subprocess

import pytest
from docutils.core import publish_doctree

from heavytail.book import sphinx, stamps


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("https://github.com/someone/project", "https://github.com/someone/project"),
        ("https://github.com/someone/project.git", "https://github.com/someone/project"),
        ("git@github.com:someone/project.git", "https://github.com/someone/project"),
        ("ssh://git@codeberg.org/someone/project/", "https://codeberg.org/someone/project"),
        ("/srv/clones/project", None),
        ("../project", None),
    ],
)
def test_the_projects_address_is_read_from_where_the_clone_came_from(tmp_path, monkeypatch, told, address):
    monkeypatch.delenv("HEAVYTAIL_REPOSITORY", raising=False)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    assert sphinx.repository(tmp_path) is None
    subprocess.run(["git", "remote", "add", "origin", told], cwd=tmp_path, check=True)
    assert sphinx.repository(tmp_path) == address
    monkeypatch.setenv("HEAVYTAIL_REPOSITORY", "https://github.com/fork/project")
    assert sphinx.repository(tmp_path) == "https://github.com/fork/project"


def test_buttons_lead_to_the_branch_of_notebooks_and_only_where_there_is_an_address():
    assert sphinx.buttons(None) == {}
    github, other = sphinx.buttons("https://github.com/someone/project"), sphinx.buttons("https://codeberg.org/a/b")
    assert github["repository_branch"] == sphinx.BRANCH
    assert set(github["launch_buttons"]) == {"binderhub_url", "colab_url", "notebook_interface"}
    assert "colab_url" not in other["launch_buttons"]  # Colab opens GitHub alone


def test_the_foot_names_day_and_duration_of_the_run_and_versions_and_machine():
    foot = sphinx.foot([stamps.Ran("2026-03-02", 50.4), stamps.Ran("2026-03-01", 25)])
    for word in ("Ran 2026-03-02 in 1 min 15 s", "heavytail 0.", "torch 2.", "numpy ", "Python 3.", " cores"):
        assert word in foot
    assert "Built 20" in sphinx.foot()
    assert "<a" not in foot
    assert 'href="claims.html#a">Is a verdict wrong?' in sphinx.foot(report="claims.html#a")
    assert not any("20" in words[:3] for words in sphinx.made_with())  # what a build is compared by has no day


def test_a_plain_docstring_becomes_lists_columns_and_bars():
    fields = "width   neurons | filters\nalpha   index, told\n        at length"
    docstring = ["Hill on |x|: `a | b`.", fields, "    n  10\n    h  95%"]
    assert sphinx.restructured("\n\n".join(docstring)).split("\n\n") == [
        "Hill on \\|x\\|: `a | b`.",
        "`width`\n  neurons \\| filters\n`alpha`\n  index, told\n  at length",
        "::",
        "    n  10\n    h  95%",
    ]


ICONS = """var a={"sun":[512,512,[9728],"f185","M1"],"tree":[448,512,[],"f1bb","M2"],\
bars:[448,512,["navicon"],"f0c9",["M3","M4"]]};"""
RULES = '.fa-sun:before{content:"\\f185"}.fa-bars:before,.fa-navicon:before{content:"\\f0c9"}.fa-lg{font-size:2em}'


def test_icons_that_no_page_shows_go_and_all_names_of_the_others_stay():
    used = sphinx.icons_of('<i class="fa-solid fa-navicon"></i> fa-tree <i class="theme fa-sun fa-lg"></i>')
    assert used == {"solid", "navicon", "sun", "lg"}
    script = sphinx.with_icons(ICONS, used)
    assert [drawing for drawing in ("M1", "M2", "M3", "M4") if drawing in script] == ["M1", "M3", "M4"]
    assert sphinx.LETTERS.sub("", RULES) == ".fa-lg{font-size:2em}"


def warned(docstring):
    """What docutils warns of; the book is built with warnings as errors."""
    said = io.StringIO()
    settings = {"warning_stream": said, "report_level": 2, "halt_level": 5}
    publish_doctree(sphinx.restructured(docstring), settings_overrides=settings)
    return said.getvalue()


LIBRARY = ("noise", "compress", "stable", "laws", "tails", "sde", "networks", "streams")
LAB = tuple(f"lab.{name}" for name in ("models", "runs", "results", "datasets", "trainer", "sweeps"))


@pytest.mark.parametrize("name", [*LIBRARY, *LAB, "evidence.experiments", "evidence.claims"])
def test_docstrings_can_be_printed_without_a_warning(name):
    module = importlib.import_module(f"heavytail.{name}")
    own = [key for key, thing in vars(module).items() if getattr(thing, "__module__", None) == module.__name__]
    things = [getattr(module, key) for key in getattr(module, "__all__", own)]
    things = [thing for thing in things if (inspect.isfunction(thing) or inspect.isclass(thing)) and thing.__doc__]
    assert things
    assert [(thing.__name__, said) for thing in things if (said := warned(inspect.getdoc(thing)))] == []


def test_a_star_that_opens_nothing_is_a_warning():
    assert "Inline emphasis" in warned("A weight of shape (filters, *size of a kernel).")
    assert warned("A weight of shape `(filters, *kernel)`.") == ""


def test_a_page_has_minus_signs_and_keeps_a_formula_with_what_follows_it():
    page = (
        '<p title="-1">-0.7, +0.1 [-2, 0-1] t-2 10<sup>-3</sup> <code>-1</code></p><pre>a -1\n<b>-2</b></pre>'
        '<p>At <span class="math notranslate nohighlight">\\(x -1\\)</span>, and '
        '(<span class="math">\\(y\\)</span>).</p><div class="math">\\[ -1 \\]</div>'
        '<td><p>Type-II</p></td><td class="short">Type-I</td><p>So Type-III, <code>Type-I</code></p>'
    )
    assert sphinx.typeset(page) == (
        '<p title="-1">−0.7, +0.1 [−2, 0-1] t-2 10<sup>−3</sup> <code>-1</code></p><pre>a -1\n<b>-2</b></pre>'
        '<p>At <span class="whole"><span class="math notranslate nohighlight">\\(x -1\\)</span>,</span> and '
        '(<span class="whole"><span class="math">\\(y\\)</span>).</span></p>'
        '<div class="math">\\[ -1 \\]</div><td><p><span class="whole">Type-II</span></p></td>'
        '<td class="short">Type-I</td><p>So <span class="whole">Type-III</span>, <code>Type-I</code></p>'
    )
