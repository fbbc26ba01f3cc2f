"""One small change at a time to the sampler, the noise and the pruning: does some test see it?

    python tests/mutants.py                           a sample of all changes
    python tests/mutants.py --one-in 1                all of them: the better part of an hour
    python tests/mutants.py noise/draws.py            those of one file

A change swaps an operator, a comparison or a truth value, takes a sign away, or moves a number. It survives if the
tests of its room pass with it. `tests/mutants_explained.toml` says of some survivors why no test can see them; if
another one is left, or one is explained that cannot be made any more, the exit status is 1. `make slow` runs it. It
needs a system that can fork.
"""

from __future__ import annotations

import argparse
import ast
import compileall
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "heavytail"
# The rooms that are changed, and the tests that should see it, quick ones first.
TESTS = {
    **{
        f"_sampler/{name}.py": ("test_sampler.py", "test_sampler_laws.py", "test_noise.py")
        for name in ("__init__", "jit", "kernels", "law", "philox")
    },
    "_sampler/gpu.py": ("test_gpu_kernels.py",),
    "noise/draws.py": ("test_noise.py", "test_records.py", "test_gpu_kernels.py"),
    "noise/kinds.py": ("test_noise.py", "test_perturb.py"),
    "noise/targets.py": ("test_hidden_weights.py", "test_perturb.py", "test_perturb_setups.py", "test_records.py"),
    "noise/training.py": ("test_perturb.py", "test_perturb_setups.py", "test_perturb_resume.py"),
    "compress": (
        "test_compress.py",
        "test_shrink.py",
        "test_prune_any.py",
        "test_freeze_zeros.py",
        "test_shrink_any.py",
        "test_shrink_heads.py",
        "test_ship.py",
        "test_measure.py",
        "test_ship_command.py",
    ),
}
# Loops that have to be compiled anew are first run as plain Python, where a few numbers show most changes in a second.
LOOPS = ("_sampler/kernels.py", "_sampler/philox.py")
PLAIN = "to_the_last_bit or keeps_its_numbers"
SECONDS = 120  # of computing, after which a changed program hangs, and is seen by that
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


class _Places(ast.NodeVisitor):
    """Every node that can be changed, with where it hangs. None in annotations, decorators and messages of errors."""

    def __init__(self) -> None:
        self.all: list[tuple[str, ast.AST, str, int | None]] = []  # function, parent, its field, place in a list
        self.where: list[str] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.where.append(node.name)
        self.children(node.args, "defaults", "kw_defaults")
        self.children(node, "body")
        self.where.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.children(node, "value")

    def visit_Raise(self, node: ast.Raise) -> None:
        pass

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def generic_visit(self, node: ast.AST) -> None:
        self.children(node, *node._fields)

    def children(self, node: ast.AST, *fields: str) -> None:
        for field in fields:
            value = getattr(node, field, None)
            for number, child in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(child, ast.AST):
                    if not isinstance(child, ast.JoinedStr) and changed(child) is not None:
                        place = number if isinstance(value, list) else None
                        self.all.append((".".join(self.where) or "module", node, field, place))
                    self.visit(child)


def mutants(path: str, *, sources: bool = True) -> Iterator[Mutant]:
    """All changes of a file of the package; without sources, which take most of the time, only what they are."""
    tree, names, places = ast.parse((PACKAGE / path).read_text(encoding="utf-8")), Counter[str](), _Places()
    places.visit(tree)
    for where, parent, field, number in places.all:
        value = getattr(parent, field)
        node = value if number is None else value[number]
        new = changed(node)
        name = f"{path} {where}: {ast.unparse(node)} -> {ast.unparse(new)}"
        names[name] += 1
        again = f" ({names[name]})" if names[name] > 1 else ""
        setattr(parent, field, new if number is None else [*value[:number], new, *value[number + 1 :]])
        yield Mutant(path, node.lineno, name + again, ast.unparse(tree) if sources else "")
        setattr(parent, field, value)


def tests_of(path: str) -> list[str]:
    """The files of tests of a file's room."""
    (names,) = (tests for room, tests in TESTS.items() if path == room or path.startswith(f"{room}/"))
    return [str(ROOT / "tests" / name) for name in names]


class Campaign:
    """Copies of the package with one change each, all in the same place, and the tests that saw changes before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen_by: dict[str, None] = {}  # names of tests, the latest last
        shutil.copytree(PACKAGE, folder / "heavytail", ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(folder / "heavytail", quiet=1)

    def survives(self, mutant: Mutant) -> bool:
        """Whether the tests of its room pass with a mutant."""
        changed_file = self.folder / "heavytail" / mutant.path
        changed_file.write_text(mutant.source, encoding="utf-8")
        loops = mutant.path in LOOPS
        survives = not (loops and not self.passes(mutant, "", [*tests_of(mutant.path), "-k", PLAIN]))
        # What was compiled stays good as long as no loop is changed.
        survives = survives and self.passes(mutant, "compiled anew" if loops else "compiled", tests_of(mutant.path))
        shutil.copy2(PACKAGE / mutant.path, changed_file)
        shutil.rmtree(self.folder / "compiled anew", ignore_errors=True)
        return survives

    def passes(self, mutant: Mutant, compiled: str, tests: Sequence[str]) -> bool:
        """Whether these tests pass, in a process of its own. Without a folder for what is compiled, nothing is."""
        seen = self.folder / "seen"
        seen.write_text("", encoding="utf-8")
        arguments = (self.folder, compiled, tests, [*self.seen_by][::-1], seen)
        child = multiprocessing.get_context("fork").Process(target=_pass, args=arguments)
        child.start()
        child.join()
        status = child.exitcode or 0
        if status not in (0, 1, 2) and status >= 0:  # passed, failed, does not even import, or (< 0) crashed
            raise RuntimeError(f"the tests of {mutant.path} could not be run with {mutant.name} (status {status})")
        for test in seen.read_text(encoding="utf-8").splitlines():
            self.seen_by.pop(test, None)
            self.seen_by[test] = None
        return status == 0


class _Order:
    """Runs first those tests that saw a change last, and writes down which one sees this."""

    def __init__(self, first: Sequence[str], seen: Path) -> None:
        self.rank, self.seen = {test: rank for rank, test in enumerate(first)}, seen

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.rank.get(item.nodeid, len(self.rank)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.seen.write_text(report.nodeid, encoding="utf-8")


def _pass(tree: Path, compiled: str, tests: Sequence[str], first: Sequence[str], seen: Path) -> None:
    """Ends this process with what pytest says of these tests and the package in `tree`."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    sys.path[:0] = [str(tree), str(ROOT / "tests")]
    sys.dont_write_bytecode = True  # two changes may have one size and one time
    os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    import numba

    numba.config.DISABLE_JIT = not compiled
    numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"] = str(tree / compiled)
    import heavytail

    if not Path(heavytail.__file__).is_relative_to(tree):
        os._exit(9)  # tests of another package say nothing
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    with contextlib.redirect_stdout(io.StringIO()):
        quick = ["-o", "addopts=", "-p", "no:cacheprovider", "-p", "no:unraisableexception"]
        status = pytest.main(
            ["-x", "-q", *quick, "-m", "not slow and not pages", *tests], plugins=[_Order(first, seen)]
        )
    os._exit(int(status))


def main() -> int:
    """Try a sample of the mutants of some files, and print what survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="such as noise/draws.py; all rooms without a name")
    parser.add_argument("--one-in", type=int, default=10, help="try one change in so many (default: 10)")
    parser.add_argument("--from", dest="first", type=int, default=0, help="which of them first (default: 0)")
    parser.add_argument("--log", type=Path, help="add a line of JSON for each, and leave out those that are in it")
    options = parser.parse_args()
    files = options.files or all_files()
    reasons = explained()
    old = stale(reasons)
    for name in old:
        print(f"STALE      explained, but there is no such change: {name}", flush=True)
    tried = [mutant for path in files for mutant in mutants(path)]
    chosen = tried[options.first :: options.one_in]
    logged = options.log.read_text(encoding="utf-8").splitlines() if options.log and options.log.exists() else []
    known: dict[str, bool] = dict(json.loads(line) for line in logged)
    import_all()
    left = seen = 0
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder))
        for path in dict.fromkeys(mutant.path for mutant in chosen if mutant.name not in known):
            unchanged = Mutant(path, 0, f"{path} as it is", (PACKAGE / path).read_text(encoding="utf-8"))
            if not campaign.survives(unchanged):
                sys.exit(f"the tests of {path} fail without any change: mend that first")
        for mutant in chosen:
            if mutant.name not in known:
                known[mutant.name] = campaign.survives(mutant)
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
    rest = len(chosen) - seen - left
    print(f"{len(tried)} changes, {len(chosen)} tried: {seen} seen by a test, {rest} explained, {left} not seen")
    return int(left > 0 or len(old) > 0)


def explained() -> dict[str, str]:
    """Why no test can see a change, by its name."""
    return tomllib.loads((ROOT / "tests" / "mutants_explained.toml").read_text(encoding="utf-8"))


def stale(reasons: Mapping[str, str]) -> list[str]:
    """The names among these of changes that there are no more."""
    return sorted(reasons.keys() - {mutant.name for path in all_files() for mutant in mutants(path, sources=False)})


def all_files() -> list[str]:
    """The files of all rooms, as they are named on the command line."""
    return sorted(path.relative_to(PACKAGE).as_posix() for room in TESTS for path in _files(PACKAGE / room))


def _files(room: Path) -> list[Path]:
    return sorted(room.glob("*.py")) if room.is_dir() else [room]


def import_all() -> None:
    """What takes long to import, once, for all the processes to come; nothing of the package itself."""
    import hypothesis
    import numba
    import numpy
    import scipy.stats
    import torch

    assert all((hypothesis, numba, numpy, scipy.stats, torch))
    assert "heavytail" not in sys.modules


if __name__ == "__main__":
    sys.exit(main())
