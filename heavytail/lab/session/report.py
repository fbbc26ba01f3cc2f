"""What a session hands back: a page, the outcomes of the tests, the figures, the rows, at most 8 files of 16 MB."""

from __future__ import annotations

import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

from heavytail import version
from heavytail.lab import results
from heavytail.lab.machine import files, traces
from heavytail.lab.session import figures as benches
from heavytail.lab.session import parts
from heavytail.lab.session.parts import Session
from heavytail.lab.session.tables import AGAIN, State

MOST = 15 * 2**20  # bytes of a file
PACKS = 3  # files of tables, beside the five others
TAIL = 2**17  # bytes of what a part said, the last ones
#: What the page says of outcomes that pytest does not have.
WORDS = {"begun": "cut off", "waiting": "file(s) to go on with", "broken": "file(s) that could not be run"}
LISTED = 15  # failures that are named on the page


@dataclass(frozen=True)
class Report:
    """All that is known at a moment of a session. `taken` holds seconds by part."""

    machine: dict[str, Any]
    tests: list[dict[str, Any]]
    figures: dict[str, dict[str, Any]]
    tables: list[State]
    absent: dict[str, str]
    taken: dict[str, float]

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Tests that failed, or whose file could not be run."""
        return [test for test in self.tests if test["outcome"] in ("failed", "broken")]

    @property
    def done(self) -> bool:
        """Whether nothing is left that a next call would do."""
        waiting = any(test["outcome"] == "waiting" for test in self.tests)
        measured = all(known["ended"] or known["tries"] >= benches.TRIES for known in self.figures.values())
        return measured and not waiting and all(state.finished == state.wanted for state in self.tables)

    def line(self, part: str) -> str:
        """One line on a part."""
        if part == "tests":
            counts = Counter(WORDS.get(test["outcome"], test["outcome"]) for test in self.tests)
            return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "none"
        if part == "figures":
            count = sum(len(known["figures"]) for known in self.figures.values())
            ended = sum(known["ended"] for known in self.figures.values())
            return f"{count} figures, {ended} of {len(self.figures)} cases ended"
        finished, wanted = (sum(getattr(state, name) for state in self.tables) for name in ("finished", "wanted"))
        return f"{finished} of {wanted} runs or simulations finished"


def write(session: Session, report: Report) -> None:
    """Write everything into the session's `out`, each file atomically and without the paths of this machine."""
    session.out.mkdir(parents=True, exist_ok=True)
    known = _paths(session)
    report = _shared(report, known)
    packs, left_out = _packs(session, report.tables)
    _text(session.out / "summary.md", page(session, report, left_out))
    parts.put(session.out / "tests.json", report.tests)
    figures = [figure for known in report.figures.values() for figure in known["figures"]]
    parts.put(session.out / "bench.json", {"machine": report.machine, "figures": figures})
    states = [{"table": s.name, "finished": s.finished, "wanted": s.wanted, "seeds": s.seeds} for s in report.tables]
    header = {"machine": report.machine, "seconds": report.taken, "tables": states, "absent": report.absent}
    parts.put(session.out / "session.json", {"code": session.code, "profile": session.profile, **header})
    _text(session.out / "log.txt", traces.without(_last_words(session.store / "logs"), known))
    for number, content in enumerate(packs):
        place = session.out / (f"tables-{number + 1}.zip" if number else "tables.zip")
        files.write_atomically(place, partial(Path.write_bytes, data=content))


def _paths(session: Session) -> dict[str, str]:
    """Paths that what is handed back does not hold, and what each is."""
    more: dict[str, str | Path] = {
        "the store": session.store,
        "the folder of the report": session.out,
        "the package's folder": Path(version.__file__).parents[1],
        "Python's folder": sys.prefix,
        "Python's own folder": sys.base_prefix,
    }
    return traces.spellings(more) | traces.paths(session.root)


def _shared(report: Report, known: Mapping[str, str]) -> Report:
    """A report that says nothing of where on this machine things lie."""
    cleaned = {name: _cleaned(getattr(report, name), known) for name in ("machine", "tests", "figures", "absent")}
    states = []
    for state in report.tables:
        rows = state.rows
        if rows is not None and "reason" in rows:
            rows = rows.assign(reason=[traces.without(reason, known) for reason in rows["reason"].fillna("")])
        states.append(replace(state, rows=rows, problems=_cleaned(state.problems, known)))
    return replace(report, **cleaned, tables=states)


def _cleaned(value: Any, known: Mapping[str, str]) -> Any:
    """A value, however deep, without these paths in its texts."""
    if isinstance(value, str):
        return traces.without(value, known)
    if isinstance(value, dict):
        return {name: _cleaned(inner, known) for name, inner in value.items()}
    return type(value)(_cleaned(inner, known) for inner in value) if isinstance(value, list | tuple) else value


def page(session: Session, report: Report, left_out: Mapping[str, str] = MappingProxyType({})) -> str:
    """The summary: what was done on which machine, what failed, the figures, and how far the tables are.

    `left_out` says of tables why their rows are not handed back.
    """
    machine = report.machine
    memory = f", {machine['memory'] / 2**30:.0f} GiB" if machine.get("memory") else ""
    rehearsal = "" if session.device == "cuda" else "\n**A rehearsal on a CPU: nothing here is a figure of a GPU.**\n"
    lines = [
        f"# {machine['device']}{memory}",
        rehearsal,
        f"heavytail {session.code}, torch {machine['versions']['torch']}, CUDA {machine.get('cuda') or 'none'}, "
        f"{machine['system']}, {machine['cores']} cores, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, "
        f"profile {session.profile}. "
        + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in report.taken.items())
        + (". All is done." if report.done else ". The same call again goes on from here."),
        "",
        f"## Tests: {report.line('tests')}",
        "",
        *(f"* `{test['test']}`: {_first(test['why'])}" for test in report.failures[:LISTED]),
        *([f"* and {len(report.failures) - LISTED} more, in tests.json"] if len(report.failures) > LISTED else []),
        "",
        f"## Figures: {report.line('figures')}",
        "",
        "```",
        *(line for known in report.figures.values() for line in benches.lines(known)),
        *(f"{case}: {_case(known)}" for case, known in report.figures.items() if not known["ended"] or known["error"]),
        "```",
        "",
        f"## Tables: {report.line('tables')}",
        "",
        "| table | finished | of | seeds that are whole | rows |",
        "|---|---|---|---|---|",
        *(_row(state) for state in report.tables),
        "",
        *(f"* {name} is not here: {why}" for name, why in report.absent.items()),
        *(f"* **{name} is not handed back**, its rows are in the store alone: {why}" for name, why in left_out.items()),
        *(f"* {state.name}: {_first(why)}" for state in report.tables for why in (*state.problems, *_failed(state))),
        "",
    ]
    return "\n".join(lines)


def _case(known: dict[str, Any]) -> str:
    if known["error"]:
        return known["error"]
    return f"cut off, {known['tries']} times" if known["tries"] else "not begun"


def _row(state: State) -> str:
    rows = "" if state.rows is None else results.describe(state.rows)
    return f"| {state.name} | {state.finished} | {state.wanted} | {', '.join(map(str, state.seeds))} | {rows} |"


def _failed(state: State) -> list[str]:
    """What is said of runs that failed or did not fit, a few of the sentences."""
    if state.rows is None or "status" not in state.rows:
        return []
    rows = state.rows[state.rows["status"].isin(AGAIN)]
    return [f"{reason} ({count} runs)" for reason, count in rows["reason"].value_counts().head(3).items()]


def _first(why: str) -> str:
    return why.partition("\n")[0][:200]


def _packs(session: Session, states: Iterable[State]) -> tuple[list[bytes], dict[str, str]]:
    """Archives of the tables, each as it would lie in a folder of results, and of no more than MOST bytes.

    What does not go into PACKS of them stays in the store: why, by table.
    """
    room = MOST - 2**16
    packs: list[dict[str, bytes]] = [{}]
    left_out: dict[str, str] = {}
    for state in states:
        if state.rows is None:
            continue
        place = session.store / "tables" / session.profile / f"{state.name}.parquet"
        results.write_table(state.rows, place)
        content = place.read_bytes()
        if len(content) > room:
            left_out[state.name] = f"it has {len(content)} bytes, and an archive holds {room}"
            continue
        if sum(map(len, packs[-1].values())) + len(content) > room:
            packs.append({})
        packs[-1][f"{session.profile}/{state.name}.parquet"] = content
        if len(packs) > PACKS:
            left_out[state.name] = f"{PACKS} archives are full"
    return [_zip(pack) for pack in packs[:PACKS]], left_out


def _zip(pack: dict[str, bytes]) -> bytes:
    memory = BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, content in pack.items():
            archive.writestr(name, content)
    return memory.getvalue()


def _last_words(folder: Path) -> str:
    """The last words of every part."""
    texts = []
    for path in sorted(folder.glob("*.txt")):
        with open(path, "rb") as file:
            if (skipped := path.stat().st_size - TAIL) > 0:
                file.seek(skipped)
                file.readline()  # what is left of a line, which may begin in the middle of a path
            texts.append(f"==== {path.stem}\n{file.read().decode('utf-8', 'replace')}")
    return "\n".join(texts)[-MOST:]


def _text(path: Path, text: str) -> None:
    content = text.encode("utf-8", "backslashreplace")  # an error's text may hold anything
    files.write_atomically(path, partial(Path.write_bytes, data=content))
