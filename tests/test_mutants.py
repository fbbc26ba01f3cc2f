"""The changes that `make slow` makes: each is one change, has a name of its own, and leaves words alone."""

from __future__ import annotations

import ast

import mutants
import pytest


@pytest.mark.parametrize("path", ["noise/kinds.py", "noise/targets.py", "compress/pruning.py"])
def test_a_mutant_differs_in_one_place_and_has_a_name_of_its_own(path):
    original = ast.unparse(ast.parse((mutants.PACKAGE / path).read_text(encoding="utf-8")))
    made = list(mutants.mutants(path))
    assert len({mutant.name for mutant in made}) == len(made)
    for mutant in made:
        pairs = zip(original.splitlines(), mutant.source.splitlines(), strict=True)
        assert sum(before != after for before, after in pairs) == 1, mutant.name
        assert (mutants.PACKAGE / path).read_text(encoding="utf-8").splitlines()[mutant.line - 1].strip()


def test_operators_comparisons_truth_values_signs_and_numbers_are_changed_and_words_are_not(monkeypatch, tmp_path):
    (tmp_path / "made_up.py").write_text(
        'def f(x: int = 2) -> "1 + 1":\n    "1 + 1"\n    if x < 3 and not x:\n        raise ValueError(1 + 1)\n'
        '    return -x + 1.0, f"{x + 1}"\n'
    )
    monkeypatch.setattr(mutants, "PACKAGE", tmp_path)
    assert [mutant.name.removeprefix("made_up.py f: ") for mutant in mutants.mutants("made_up.py")] == [
        "2 -> 3",
        "x < 3 and (not x) -> x < 3 or not x",
        "x < 3 -> x <= 3",
        "3 -> 4",
        "not x -> x",
        "-x + 1.0 -> -x - 1.0",
        "-x -> x",
        "1.0 -> 1.1",
    ]


def test_every_change_that_is_explained_can_still_be_made():
    reasons = mutants.explained()
    assert mutants.stale(reasons | {"noise/kinds.py shown: 1 -> 2": "an old one"}) == ["noise/kinds.py shown: 1 -> 2"]
    # That one alone: all others can be made.
    assert all(reason.endswith(".") for reason in reasons.values())


def test_every_file_of_the_rooms_has_tests_that_are_there():
    for path in mutants.all_files():
        assert all(mutants.Path(name).is_file() for name in mutants.tests_of(path))
