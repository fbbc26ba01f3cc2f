"""The command `heavytail`: train, sweep or simulate a grid, ship a network, print claims, measure speed, and more."""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
import sys
import warnings
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from heavytail import stopping
from heavytail.extras import missing
from heavytail.version import described

UNREAD = 141  # the exit status that a shell gives to a process ended by SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; bad input is one sentence on standard error and exit status 2."""
    _open_streams()
    options = argparse.Namespace(verb="", wing="lab")
    try:
        try:
            _parser().parse_args(arguments, options)
            options.command(options)
        except SystemExit:  # of --help, --version and arguments that are none
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        return stopping.say(stop)
    except Exception as error:
        if stopping.asked():
            return stopping.say()
        if isinstance(error, OSError) and error.errno and not error.filename and (reason := _unwritable(sys.stdout)):
            if isinstance(reason, BrokenPipeError):
                return UNREAD
            _say(f"standard output cannot be written to: {reason.strerror}")
        elif isinstance(error, ModuleNotFoundError):
            _say(missing(f"`heavytail {options.verb}`", error, options.wing))
        elif isinstance(error, ImportError | ValueError | RuntimeError | OSError):
            _say(error)
        else:
            raise
        return 2
    return 0


def _say(message: object) -> None:
    with contextlib.suppress(OSError):  # of a full disk under standard error nothing can be said
        print(f"heavytail: {message}", file=sys.stderr, flush=True)


def _unwritable(stream: TextIO) -> OSError | None:
    """Why a stream cannot be written to, if so, as where `head` has enough. Then nothing is written to it again."""
    try:
        print(file=stream, flush=True)
    except OSError as reason:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or Python complains when it ends
        return reason
    return None


def _open_streams() -> None:
    """Open what a shell closed by `>&-`: else a file opened later gets its number, and what is printed."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(number, True)
        os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
        _write_anything(getattr(sys, name))


def _write_anything(stream: TextIO) -> None:
    """Let a stream write `\\u03b1` for an α that it lacks, as in the C locale, and `\\udcff` for no letter."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def _has_all_letters(stream: TextIO) -> bool:
    return stream.encoding.lower().replace("-", "").startswith("utf")


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=not _has_all_letters(sys.stdout)))


def _train(options: argparse.Namespace) -> None:
    from heavytail import train
    from heavytail.lab import results
    from heavytail.lab.datasets import references
    from heavytail.lab.runs import read_grid, settled

    runs = read_grid(options.grid, options.profile, **dict(options.set))
    results.check_places(results.table_path(options.out))  # before hours of training, not after
    if options.weights:
        ids, _ = references.resolve(run.dataset for run in runs)  # a run of one's own data has no key before
        results.check_places(*results.places(options.weights, settled(runs, ids)))
    with stopping.saying("stopped; nothing was written: `heavytail sweep` keeps each run as it is finished"):
        outcome = train(runs, device=options.device)
    try:
        results.write_table(outcome.table, options.out)
    finally:  # what can be written is
        if options.weights:
            outcome.save(options.weights)
    print(f"{options.out}: {results.describe(outcome.table)}")


def _sweep(options: argparse.Namespace) -> None:
    from heavytail import sweep
    from heavytail.lab import results
    from heavytail.lab.machine import workers
    from heavytail.lab.runs import read_grid

    runs = read_grid(options.grid, options.profile, **dict(options.set))
    if options.out:
        results.check_places(results.table_path(options.out))
    with (
        stopping.saying(f"stopped; what was done is in {options.store}, run the same again to go on"),
        warnings.catch_warnings(),
        workers.processes(options.workers) as executor,
    ):
        warnings.showwarning = _warn
        table = sweep(runs, executor, store=options.store, device=options.device).table
    if options.out:
        try:
            results.write_table(table, options.out)
        except OSError as error:
            raise OSError(f"{error}; all runs are safe in {options.store}") from error
    print(f"{options.out or options.store}: {results.describe(table)}")


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning as one line, in the place of `warnings.showwarning`."""
    _say(message)


def _simulate(options: argparse.Namespace) -> None:
    from heavytail.lab import results, simulations

    todo = simulations.read_grid(options.grid, options.profile, **dict(options.set))
    with (
        stopping.saying(f"stopped; what was done is in {options.out}, run the same again to go on"),
        warnings.catch_warnings(),
    ):
        warnings.showwarning = _warn
        table = simulations.fill(options.out, todo, device=options.device)
    print(f"{options.out}: {results.describe(table)}")


def _bench(options: argparse.Namespace) -> None:
    from heavytail.lab import bench

    figures = []
    lines = sys.stderr if options.json else sys.stdout
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            for figure in bench.bench(options.cases, device=options.device):
                figures.append(figure)
                print(bench.as_text(figure), file=lines, flush=True)
        if sentence := bench.fastest_products(figures):
            print(sentence, file=lines)
    finally:  # what was measured is not lost
        if options.json and figures:
            _print_json(bench.report(figures, options.device))


def _gpu(options: argparse.Namespace) -> None:
    from heavytail.lab import session

    with stopping.saying(f"stopped; what was done is in {options.store}, call it again to go on"):
        session.run(
            options.out,
            options.store,
            minutes=options.minutes,
            profile=options.profile,
            only=tuple(filter(None, options.only.replace(",", " ").split())),
            commit=options.commit,
            before=options.earlier,
            say=lambda line: print(line, flush=True),
        )


def _ship(options: argparse.Namespace) -> None:
    from heavytail import compress
    from heavytail.compress import files, measuring, shipping

    measuring.check(options.batches, options.seconds)
    for place in filter(None, (options.out, options.onnx)):
        files.checked(place)  # before the work, not after
    if options.out and options.onnx and options.out.resolve() == options.onnx.resolve():
        raise ValueError(f"{options.out} is named for both files: give --out and --onnx names of their own")
    model, sample = shipping.found(options.source), None
    if model is None:
        options.wing = "lab"
        from heavytail.lab.trained import trained

        model, sample = trained(_path(options.source))
        options.wing = "ship"
    given = shipping.sample_in(options.sample, model)
    sample = sample if given is None else given
    with stopping.saying("stopped; a file is whole or not there"):
        shipped = shipping.smaller(model, sample, squared_error=options.squared_error, keep=options.keep)
        sizes = [sum(p.numel() for p in network.parameters()) for network in shipped]
        lines = sys.stderr if options.json else sys.stdout
        for place, write in ((options.out, compress.save), (options.onnx, compress.export)):
            if place is not None:
                write(shipped.small, place, sample)
                print(f"{place}: {sizes[1]:,} parameters of {sizes[0]:,}", file=lines, flush=True)
        names = dict(zip(("original", "small"), shipped, strict=True))
        found = compress.measure(names, sample, batches=options.batches, seconds=options.seconds)
    if options.json:
        _print_json(found.as_dicts())
    else:
        print(found)


def _claims(options: argparse.Namespace) -> None:
    from heavytail.evidence import claims

    entries = claims.ledger(options.results)
    if options.json:
        _print_json([entry.as_dict() for entry in entries])
    else:
        print(claims.as_text(entries))


def _data(options: argparse.Namespace) -> None:
    from heavytail.lab import datasets

    for name in options.names:
        dataset = datasets.load(name, options.root)
        kind = "official" if dataset.verified else "not official"
        print(f"{name}: {len(dataset.y_train)} train, {len(dataset.y_test)} test, {kind}, from {dataset.source}")
    if not options.names:
        print(f"folder: {datasets.folder(options.root)}")
        for state in datasets.status(options.root):
            print(f"{state.name}: {state.note}" + (f", {state.source}" if state.source else ""))


def _chapter(options: argparse.Namespace) -> None:
    from heavytail.book.run import run_one

    with stopping.saying("stopped; no notebook was written"):
        run_one(options.name, options.out, dict(options.parameter))


def _path(text: str) -> Path:
    """A path, with a home folder for the `~` that a shell leaves alone after `--out=`."""
    from heavytail.lab.machine.files import named

    try:
        return named(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _assignment(text: str) -> tuple[str, Any]:
    """`NAME=VALUE`; the value is a Python literal where it reads as one, else text."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):  # the last two where it is nested deep
        return name, value


def _sizes(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected numbers of samples such as 1,64,1024, got {text!r}") from error


def _folder(text: str) -> Path:
    """A folder by its name: of no name, a path would be this folder."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the folder is empty: say '.' for this one")
    return _path(text)


class _Version(argparse.Action):
    """Asks git, in a checkout, only when the version is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        print(f"heavytail {described()}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="heavytail", description=__doc__)
    parser.add_argument("--version", action=_Version, nargs=0, help="print version and commit, and exit")
    parser.set_defaults(wing="lab")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="verb")

    grid = argparse.ArgumentParser(add_help=False)  # what train, sweep and simulate share
    grid.add_argument("grid", type=_path, metavar="GRID.toml", help="what to run, such as data/grids/digits.toml")
    grid.add_argument(
        "--profile", default="quick", help="which list of the grid: quick, workstation or paper (default: quick)"
    )
    grid.add_argument("--device", default="cpu", help="as torch names it, such as cuda (default: cpu)")
    grid.add_argument(
        "--set",
        type=_assignment,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace a key of every run, such as width=100 or, an axis, width=[100,200]; again for another. A run "
        "without noise takes no alpha and no sigma",
    )

    table = argparse.ArgumentParser(add_help=False)  # what train and simulate share
    table.add_argument("--out", type=_path, required=True, metavar="TABLE.parquet", help="where the table goes")

    train = commands.add_parser("train", parents=[grid, table], help="train every run of a grid and write its table")
    train.add_argument("--weights", type=_path, metavar="FOLDER", help="also keep every run's weights here")
    train.set_defaults(command=_train)

    sweep = commands.add_parser(
        "sweep", parents=[grid], help="train every run of a grid into a store; goes on if cut off, on many processes"
    )
    sweep.add_argument("--store", type=_folder, required=True, metavar="FOLDER", help="keeps every finished run")
    sweep.add_argument("--out", type=_path, metavar="TABLE.parquet", help="also write the table here at the end")
    sweep.add_argument("--workers", type=int, default=1, metavar="N", help="processes on this machine (default: 1)")
    sweep.set_defaults(command=_sweep)

    simulate = commands.add_parser(
        "simulate", parents=[grid, table], help="run every simulation of a grid into its table; goes on if cut off"
    )
    simulate.set_defaults(command=_simulate)

    bench = commands.add_parser(
        "bench", help="speed and memory as ratios measured side by side (a quarter of an hour on a CPU)"
    )
    bench.add_argument("cases", nargs="*", metavar="CASE", help="noise, step, grid, ...; all without a name")
    bench.add_argument("--device", default="cpu", help="as torch names it, such as cuda (default: cpu)")
    bench.add_argument("--json", action="store_true", help="figures and machine as JSON; lines go to standard error")
    bench.set_defaults(command=_bench)

    gpu = commands.add_parser("gpu", help="in so many minutes, in a clone: tests, bench and full-size tables on a GPU")
    gpu.add_argument("--minutes", type=float, default=9.0, help="of this call; the next one goes on (default: 9)")
    gpu.add_argument("--profile", default="paper", help="of which tables are made (default: paper)")
    gpu.add_argument("--only", default="", metavar="TABLES", help="such as 'mnist vgg', in the order they are wanted")
    gpu.add_argument("--commit", help="of a tree without git and without a file COMMIT that says it")
    gpu.add_argument(
        "--earlier", type=_path, metavar="FOLDER", help="out of a call whose store is gone: its rows count"
    )
    gpu.add_argument(
        "--store", type=_folder, default=Path("_build/gpu-store"), metavar="FOLDER", help="what is finished"
    )
    gpu.add_argument("--out", type=_path, default=Path("_build/gpu"), metavar="FOLDER", help="reports, rows, a summary")
    gpu.set_defaults(command=_gpu)

    ship = commands.add_parser("ship", help="prune and shrink a trained network, write it, and say what it is worth")
    ship.add_argument(
        "source",
        metavar="SOURCE",
        help="a file by compress.save; KEY.safetensors of a stored run, its weights; or module:function, which returns "
        "a network",
    )
    how = ship.add_mutually_exclusive_group(required=True)
    how.add_argument("--squared-error", type=float, metavar="E", help="of each layer, at most: 0.1 is the paper's")
    how.add_argument("--keep", type=float, metavar="SHARE", help="of the units of each layer")
    ship.add_argument("--out", type=Path, metavar="SMALL.ht", help="write the smaller network here, for compress.load")
    ship.add_argument("--onnx", type=Path, metavar="SMALL.onnx", help="and here as ONNX, for batches of any size")
    ship.add_argument(
        "--sample",
        type=Path,
        nargs="+",
        default=[],
        metavar="SAMPLE.npy",
        help="one batch that the network is called with, a file an argument, or by name in one .npz; a stored run and "
        "a network that begins with a Linear layer or a convolution need none",
    )
    ship.add_argument(
        "--batches", type=_sizes, default=(1, 64, 1024), metavar="N,N", help="sizes to time (default: 1,64,1024)"
    )
    ship.add_argument("--seconds", type=float, default=30.0, help="to time in, about (default: 30)")
    ship.add_argument("--json", action="store_true", help="what was measured as JSON; lines go to standard error")
    ship.set_defaults(command=_ship, wing="ship")

    claims = commands.add_parser(
        "claims", help="the ledger: every claim, of the paper and of ours, and what was measured"
    )
    claims.add_argument(
        "--results", type=_path, default=Path("data/results"), metavar="FOLDER", help="tables (default: data/results)"
    )
    claims.add_argument("--json", action="store_true", help="with every cell, as JSON")
    claims.set_defaults(command=_claims)

    data = commands.add_parser("data", help="fetch and verify data sets; without a name, say where each is")
    data.add_argument("names", nargs="*", metavar="NAME", help="such as ecg5000 or mnist")
    data.add_argument("--root", type=_path, metavar="FOLDER", help="instead of HEAVYTAIL_DATA or the platform's cache")
    data.set_defaults(command=_data)

    chapter = commands.add_parser("chapter", help="run one chapter by papermill with other parameters")
    chapter.add_argument("name", help="such as ecg5000 or book/ecg5000.md")
    chapter.add_argument(
        "-p",
        "--parameter",
        type=_assignment,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of its first cell; again for another",
    )
    chapter.add_argument(
        "-o", "--out", type=_path, metavar="NOTEBOOK.ipynb", help="default: _build/chapters/custom/NAME.ipynb"
    )
    chapter.set_defaults(command=_chapter, wing="book")
    return parser
