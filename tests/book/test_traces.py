"""Texts that say on which machine something was made: found where they are, and in nothing that is committed."""

from __future__ import annotations

import getpass
import re
import socket
from pathlib import Path

import pytest

from heavytail.book import traces

ROOT = Path(__file__).parents[2]
# A path of anybody's machine: tables and timings were made on several.
ANYBODYS = re.compile(r"(?<![\w.])(?:/(?:home|Users|root|tmp|var|mnt|work|srv|private)/\w|[A-Z]:\\\w)")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("open /home/ada/data.csv", True),
        ("file:///home/ada", True),
        ('{"cwd": "/home/ada"}', True),
        ("'/home/ada'", True),
        ("/home/ada.", True),
        ("/home/adam", False),
        ("/home/ada-2", False),
        ("x/home/ada", False),
        ("/mnt/home/ada/x", False),
    ],
)
def test_a_path_is_found_as_a_whole(text: str, found: bool) -> None:
    assert traces.first(text, {"/home/ada": "the home folder"}) == ("the home folder" if found else None)


def test_a_path_of_windows_is_found_as_json_and_links_write_it() -> None:
    known = {"C:\\Users\\ada": "the home folder"}
    for text in ("C:\\Users\\ada\\x", '"C:\\\\Users\\\\ada"', "file:///C:/Users/ada/x"):
        assert traces.first(text, known) == "the home folder"


def test_the_paths_of_this_machine_are_those_that_others_have_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEAVYTAIL_DATA", "/somewhere/data")
    monkeypatch.setenv("HOME", "/home/ada")
    known = traces.paths(Path("/clones/project"))
    assert known["/clones/project"] == "the project's folder"
    assert known["/somewhere/data"] == "the data folder"
    assert known["/home/ada"] == "the home folder"
    monkeypatch.setenv("HOME", "/")
    assert "/" not in traces.paths(Path("/clones/project"))  # every path begins with it


def test_names_are_looked_for_unless_they_are_words_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "one.md").write_text("The root of all noise.")
    monkeypatch.setattr(socket, "gethostname", lambda: "lovelace.example.org")
    for user, named in {"root": False, "ada": False, "adalovelace": True}.items():
        monkeypatch.setattr(getpass, "getuser", lambda user=user: user)
        assert (user in traces.names(tmp_path)) == named
        assert traces.names(tmp_path)["lovelace"] == "the machine's name"


def test_every_kind_of_output_is_looked_at() -> None:
    nbformat = pytest.importorskip("nbformat.v4")
    outputs = [
        nbformat.new_output("stream", name="stderr", text="at /home/ada"),
        nbformat.new_output("display_data", data={"text/html": "<b>/home/ada</b>"}),
        nbformat.new_output("display_data", data={"application/json": {"deep": [{"er": "/home/ada/x"}]}}),
        nbformat.new_output("error", ename="E", evalue="no", traceback=["in /home/ada/x.py"]),
    ]
    for output in outputs:
        cells = [nbformat.new_markdown_cell("/home/ada"), nbformat.new_code_cell("'/home/ada'", outputs=[output])]
        notebook = nbformat.new_notebook(cells=cells)
        assert traces.in_outputs(notebook, {"/home/ada": "the home folder"}) == (1, "the home folder")
        assert traces.in_outputs(notebook, {"/home/eve": "the home folder"}) is None


def test_no_committed_table_or_timing_holds_a_path_of_a_machine() -> None:
    import pandas as pd
    import pyarrow.parquet

    assert ANYBODYS.search("/home/ada/x")
    looked, found = 0, []
    for path in sorted((ROOT / "data").rglob("*")):
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
            texts = [str(pyarrow.parquet.read_schema(path).metadata)]
            for name in table.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]]:
                texts += map(str, table[name].dropna().unique())
        elif path.suffix in (".json", ".toml", ".md", ".csv"):
            texts = [path.read_text("utf-8")]
        else:
            continue
        looked += 1
        found += [(path.name, match[0]) for text in texts if (match := ANYBODYS.search(text))]
    assert looked > 40
    assert found == []
