"""One small change at a time to the sampler, the noise and the pruning: does some test see it?

    python tests/mutants.py                           a sample of all changes
    python tests/mutants.py --one-in 1                all of them: hours
    python tests/mutants.py noise/draws.py            those of one file

A change swaps an operator, a comparison or a truth value, takes a sign away, or moves a number. It survives if the
tests of its room pass with it. `tests/mutants_explained.toml` says of some survivors why no test can see them; if
another one is left the exit status is 1. `make slow` runs it. It needs a system that can fork.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import io
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "heavytail"
# The rooms that are changed, and the tests that should see it, quick ones first.
TESTS = {
    "_sampler": ("test_sampler.py", "test_sampler_laws.py"),
    "noise/draws.py": ("test_noise.py", "test_sampler_laws.py"),
    "noise/kinds.py": ("test_noise.py", "test_perturb.py"),
    "noise/targets.py": ("test_hidden_weights.py", "test_perturb.py", "test_perturb_setups.py"),
    "noise/training.py": ("test_perturb.py", "test_perturb_setups.py", "test_perturb_resume.py"),
    "compress": ("test_compress.py", "test_shrink.py"),
}
SECONDS = 600  # of computing, after which a changed program hangs, and is seen by that
OTHER: dict[type, type] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult},
    **{ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.MatMult: ast.Mult},
    **{ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr, ast.And: ast.Or, ast.Or: ast.And},
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
}


@dataclass(frozen=True)
class Mutant:
    """A changed file. `name` says what was changed where, without a number of a line, so that it lasts."""

    path: str
    line: int
    name: str
    source: str


def changed(node: ast.AST) -> ast.AST | None:
    """What stands in the place of a node in a mutant; None if it is left alone."""
    new = copy.deepcopy(node)
    if isinstance(new, ast.BinOp | ast.BoolOp | ast.AugAssign):
        new.op = OTHER[type(new.op)]()
    elif isinstance(new, ast.Compare):
        new.ops[0] = OTHER[type(new.ops[0])]()
    elif isinstance(new, ast.UnaryOp) and isinstance(new.op, ast.Not | ast.USub):
        return new.operand
    elif isinstance(new, ast.Constant) and isinstance(new.value, bool):
        new.value = not new.value
    elif isinstance(new, ast.Constant) and isinstance(new.value, int):
        new.value += 1
    elif isinstance(new, ast.Constant) and isinstance(new.value, float):
        new.value = new.value * 1.1 or 0.1
    else:
        return None
    return new


class _Change(ast.NodeTransformer):
    """Changes the node of this number. It counts none in annotations, decorators and messages of errors."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.where: list[str] = []
        self.line = 0
        self.name = ""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.where.append(node.name)
        node.args.defaults = [self.visit(value) for value in node.args.defaults]
        node.args.kw_defaults = [value and self.visit(value) for value in node.args.kw_defaults]
        node.body = [self.visit(line) for line in node.body]
        self.where.pop()
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.value = node.value and self.visit(node.value)
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        new = changed(node) if not self.name else None
        if new is not None:
            if self.left == 0:
                self.line, where = node.lineno, ".".join(self.where) or "module"  # type: ignore[attr-defined]
                self.name = f"{where}: {ast.unparse(node)} -> {ast.unparse(new)}"
                return new
            self.left -= 1
        return super().generic_visit(node)


def mutants(path: str) -> Iterator[Mutant]:
    """All changes of a file of the package."""
    text, names = (PACKAGE / path).read_text(encoding="utf-8"), Counter[str]()
    number = 0
    while True:
        change = _Change(number)
        tree = ast.fix_missing_locations(change.visit(ast.parse(text)))
        if not change.name:
            return
        number += 1
        names[change.name] += 1
        again = f" ({names[change.name]})" if names[change.name] > 1 else ""
        yield Mutant(path, change.line, f"{path} {change.name}{again}", ast.unparse(tree))


def tests_of(path: str) -> list[str]:
    """The files of tests of a file's room."""
    (names,) = (tests for room, tests in TESTS.items() if path == room or path.startswith(f"{room}/"))
    return [str(ROOT / "tests" / name) for name in names]


def survives(mutant: Mutant) -> bool:
    """Whether the tests of its room pass with a mutant, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        shutil.copytree(PACKAGE, tree / "heavytail", ignore=shutil.ignore_patterns("__pycache__"))
        (tree / "heavytail" / mutant.path).write_text(mutant.source, encoding="utf-8")
        child = multiprocessing.get_context("fork").Process(target=_pass, args=(tree, tests_of(mutant.path)))
        child.start()
        child.join()
    status = child.exitcode or 0
    if status in (0, 1, 2) or status < 0:  # passed, failed, does not even import, or crashed
        return status == 0
    raise RuntimeError(f"the tests of {mutant.path} could not be run with {mutant.name} (status {status})")


def _pass(tree: Path, tests: Sequence[str]) -> None:
    """Ends this process with what pytest says of these tests and the package in `tree`."""
    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    sys.path[:0] = [str(tree), str(ROOT / "tests")]
    os.environ["PYTHONPATH"] = str(tree)
    os.environ["NUMBA_CACHE_DIR"] = str(tree / "numba")
    import heavytail

    if not Path(heavytail.__file__).is_relative_to(tree):
        os._exit(9)  # tests of another package say nothing
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    with contextlib.redirect_stdout(io.StringIO()):
        status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not pages", *tests])
    os._exit(int(status))


def main() -> int:
    """Try a sample of the mutants of some files, and print what survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="such as noise/draws.py; all rooms without a name")
    parser.add_argument("--one-in", type=int, default=10, help="try one change in so many (default: 10)")
    parser.add_argument("--from", dest="first", type=int, default=0, help="which of them first (default: 0)")
    parser.add_argument("--log", type=Path, help="add a line of JSON for each, and leave out those that are in it")
    options = parser.parse_args()
    files = options.files or sorted(
        path.relative_to(PACKAGE).as_posix() for room in TESTS for path in _files(PACKAGE / room)
    )
    tried = [mutant for path in files for mutant in mutants(path)]
    chosen = tried[options.first :: options.one_in]
    reasons = tomllib.loads((ROOT / "tests" / "mutants_explained.toml").read_text(encoding="utf-8"))
    logged = options.log.read_text(encoding="utf-8").splitlines() if options.log and options.log.exists() else []
    known: dict[str, bool] = dict(json.loads(line) for line in logged)
    import_all()
    for path in dict.fromkeys(mutant.path for mutant in chosen if mutant.name not in known):
        unchanged = Mutant(path, 0, f"{path} as it is", (PACKAGE / path).read_text(encoding="utf-8"))
        if unchanged.name not in known and not survives(unchanged):
            sys.exit(f"the tests of {path} fail without any change: mend that first")
    left = seen = 0
    for mutant in chosen:
        if mutant.name not in known:
            known[mutant.name] = survives(mutant)
            if options.log:
                with options.log.open("a", encoding="utf-8") as log:
                    print(json.dumps([mutant.name, known[mutant.name]]), file=log)
        if not known[mutant.name]:
            seen += 1
        elif mutant.name in reasons:
            print(f"explained  {mutant.name}: {reasons[mutant.name]}", flush=True)
        else:
            left += 1
            print(f"SURVIVED   line {mutant.line}: {mutant.name}", flush=True)
    explained = len(chosen) - seen - left
    print(f"{len(tried)} changes, {len(chosen)} tried: {seen} seen by a test, {explained} explained, {left} not seen")
    return int(left > 0)


def _files(room: Path) -> list[Path]:
    return sorted(room.glob("*.py")) if room.is_dir() else [room]


def import_all() -> None:
    """What takes long to import, once, for all the processes to come; nothing of the package itself."""
    import hypothesis
    import numba
    import numpy
    import pytest
    import scipy.stats
    import torch

    assert all((hypothesis, numba, numpy, pytest, scipy.stats, torch))
    assert "heavytail" not in sys.modules


if __name__ == "__main__":
    sys.exit(main())
