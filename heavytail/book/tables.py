"""Tables as the pages show them: the paper's form of a results table, and the ledger."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle
from typing import Any

import pandas as pd

from heavytail.book.page import grouped, lasted, power
from heavytail.evidence import arms, experiments, frontier
from heavytail.evidence.claims import Entry, counted, tally, tally_cells
from heavytail.evidence.glance import Line
from heavytail.evidence.intervals import median_interval
from heavytail.evidence.scales import SCALES
from heavytail.evidence.verdicts import VERDICTS, whole
from heavytail.lab.results import DISTURBED, FAILED, SHARES

PAPER_TYPE = {None: "none", "shared": "Type-I", "entrywise": "Type-II", "isotropic": "Type-III"}
MANY = 3  # tables that a claim must be held against to have a row of its own across them
WORDY = 5  # columns of verdicts that a page has room for in words
_CELL = ["noise", "alpha", "sigma", "along", "weight_decay", "group_lasso", "lr"]

_MEASURES = {
    "train %": "train_accuracy",
    "test %": "test_accuracy",
    "pruned %": "pruning_ratio",
    "train after %": "train_accuracy_pruned",
    "test after %": "test_accuracy_pruned",
}

_OF_ARMS = {
    "pruned %": "pruning_ratio",
    "its twin %": "twin_pruning_ratio",
    "test %": "test_accuracy",
    "kept 0.5": "test_accuracy_share_0.5",
    "kept 0.2": "test_accuracy_share_0.8",
    "kept 0.1": "test_accuracy_share_0.9",
    "tuned": "test_accuracy_tuned_0.9",
    "at random": "test_accuracy_random_0.9",
    "attacked": "attacked",
}

_SHOWN = (1.0, 0.5, 0.3, 0.2, 0.1)  # shares kept

#: The sign of a verdict, which a table's style sheet has too.
SIGNS = {"holds": "✓", "fails": "✗", "no difference": "=", "undecided": "?", "not tested": "○"}
_WORD = "|".join(SIGNS)
#: What the signs say of two networks.
COMPARED = "✓ better, ✗ worse, = no difference, ? undecided"


@dataclass(frozen=True)
class Html:
    """A piece of a page."""

    text: str

    def _repr_html_(self) -> str:
        return self.text


def paper_form(table: pd.DataFrame) -> pd.DataFrame:
    """The paper's table: a row for each noise, α and σ; percentages over seeds, as `over_seeds` puts them.

    "runs" counts the seeds that went in, "failed" those without measurements: see `results.FAILED`.
    """
    cells = []
    for (noise, alpha, sigma, *others), rows in _settings(table):
        noise = None if pd.isna(noise) else noise
        note = _note(table, *others)
        index = "" if pd.isna(alpha) else f"{alpha:g}"
        cell: dict[str, object] = {"noise": PAPER_TYPE[noise] + note, "α": index, "σ": f"{sigma:g}"}
        for title, column in _MEASURES.items():
            cell[title] = over_seeds(rows[column])
        failed = int(rows["status"].isin(FAILED).sum())
        cells.append({**cell, "runs": len(rows) - failed, "failed": failed})
    order = list(PAPER_TYPE.values())
    return pd.DataFrame(sorted(cells, key=lambda cell: order.index(str(cell["noise"]).partition(",")[0])))


def over_seeds(values: Iterable[float], digits: int = 1) -> str:
    """A number of each seed in percent: the median, and its interval in brackets, or below that the range.

    The interval is that of `median_interval`, 95%. Where there are too few seeds for one, or too many of them failed,
    the smallest and the largest number stand in parentheses; a number that all seeds have stands alone.

    >>> over_seeds([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), over_seeds([0.1, 0.3, 0.2]), over_seeds([0.25])
    ('35.0 [10.0, 60.0]', '20.0 (10.0 to 30.0)', '25.0')
    >>> over_seeds([-0.0001])  # no zero has a sign
    '0.0'
    """
    found = median_interval(values)
    if not found.points:
        return "—"
    bounded = math.isfinite(found.low) and math.isfinite(found.high)
    low, high = (found.low, found.high) if bounded else (found.points[0], found.points[-1])
    middle, low_text, high_text = (f"{100 * number:z.{digits}f}" for number in (found.value, low, high))
    if low == high:
        return middle
    return f"{middle} [{low_text}, {high_text}]" if bounded else f"{middle} ({low_text} to {high_text})"


def _settings(table: pd.DataFrame) -> Iterable[tuple[tuple[Any, ...], pd.DataFrame]]:
    return table.groupby(_CELL, dropna=False, sort=True)


def _note(table: pd.DataFrame, along: str, decay: float, lasso: float, lr: float) -> str:
    """What a control, a rival or another step size adds to the name of a noise."""
    notes = [
        *([", unseen"] if along == "unseen" else []),
        *([f", weight decay {decay:g}"] if decay else []),
        *([f", group lasso {lasso:g}"] if lasso else []),
        *([f", η = {lr:g}"] if table["lr"].nunique() > 1 else []),
    ]
    return "".join(notes)


def headline(table: pd.DataFrame) -> dict[str, float | str]:
    """What the box of an experiment's page says of its table, ready for `page.say`: medians over seeds."""
    plain, noisy = experiments.plain(table), table[table["noise"].notna()]
    ratios = noisy.groupby(["noise", "alpha", "sigma"])["pruning_ratio"].median()
    return {
        "runs": len(table),
        "failed": int(table["status"].isin(FAILED).sum()),
        "seeds": int(table["seed"].nunique()),
        "neurons": int(table["width"].max()),
        "plain": f"{plain['pruning_ratio'].median():.1%}",
        "low": f"{ratios.min():.0%}",
        "high": f"{ratios.max():.0%}",
        "plain_accuracy": f"{plain['test_accuracy'].median():.1%}",
        "noisy_accuracy": f"{noisy['test_accuracy'].median():.1%}",
    }


def arms_form(table: pd.DataFrame) -> pd.DataFrame:
    """Every arm of a table at its one setting, medians over seeds in percent: what it prunes, and what is left of it.

    "twin" is the pruning ratio of start plus kicks without training. At the shares kept, the smallest units went; at a
    tenth also with tuning after it, and units gone at random. "attacked" is the accuracy under projected gradients,
    mean over their sizes. A run that diverged guesses. Networks narrower than the widest are left out.
    """
    wide = table[table["width"] == table["width"].max()]
    wide = experiments.outcomes(wide, [name for name in wide if name.startswith("test_accuracy")])
    wide = wide.assign(attacked=wide[[f"test_accuracy_pgd_{size:g}" for size in DISTURBED]].mean(axis=1, skipna=False))
    cells = []
    for arm, rows in wide.groupby(arms.named(wide)):
        strength = arms.strength_of(rows)
        cell = {
            "arm": titled(str(arm)),
            "η": f"{rows['lr'].iloc[0]:g}",
            "strength": f"{strength.iloc[0]:g}" if strength.any() else "",
        }
        for title, column in _OF_ARMS.items():
            middle = rows[column].median()
            cell[title] = "—" if pd.isna(middle) else f"{100 * middle:.1f}"
        cells.append({**cell, "seeds": len(rows)})
    return pd.DataFrame(sorted(cells, key=lambda cell: str(cell["arm"])))


def titled(arm: str) -> str:
    """An arm's name with the paper's name of its noise.

    >>> titled("shared, α = 1.5"), titled("shared unseen, α = 1.5"), titled("plain SGD")
    ('Type-I, α = 1.5', 'Type-I unseen, α = 1.5', 'plain SGD')
    """
    return re.sub(r"^\w+", lambda kind: PAPER_TYPE.get(kind[0], kind[0]), arm)


def against_form(table: pd.DataFrame, other: str = arms.PLAIN) -> pd.DataFrame:
    """Each arm's pruned networks less another arm's, in points of test accuracy, with a sign: a column a share kept.

    What the signs mean is COMPARED. Not all shares are shown, but the intervals behind them cover all together.
    """
    cells = []
    for arm in sorted(set(arms.named(table[table["width"] == table["width"].max()])) - {other}):
        rows = frontier.against(table, arm, other)
        words = {
            f"{row.kept:g} kept": f"{100 * row.difference:+z.1f} {SIGNS[row.verdict]}"
            for row in rows.itertuples()
            if row.kept in _SHOWN
        }
        cells.append({"arm": titled(arm), **words})
    return pd.DataFrame(sorted(cells, key=lambda cell: str(cell["arm"])))


def keys_form(table: pd.DataFrame) -> pd.DataFrame:
    """Which rows stand behind each cell of a table: the keys of its runs, in the order of their seeds."""
    cells = []
    ordered = table.sort_values("seed")
    for (noise, alpha, sigma, *others), rows in _settings(ordered):
        kind = PAPER_TYPE[None if pd.isna(noise) else noise] + _note(table, *others)
        index = "" if pd.isna(alpha) else f"{alpha:g}"
        cells.append({"noise": kind, "α": index, "σ": f"{sigma:g}", "keys of the runs": " ".join(rows["key"])})
    return pd.DataFrame(cells)


def accuracy_curves(table: pd.DataFrame, split: str = "test") -> pd.DataFrame:
    """Long form of the accuracies at the pruned shares: columns noise, alpha, sigma, seed, share, accuracy."""
    columns = {f"{split}_accuracy_share_{share:.1f}": share for share in SHARES}
    long = table.melt(["noise", "alpha", "sigma", "seed"], list(columns), var_name="share", value_name="accuracy")
    return long.assign(share=long["share"].map(columns).astype(float))


def ledger_form(entries: Sequence[Entry]) -> pd.DataFrame:
    """The ledger as a page shows it: claim, source, verdict, weakest cell, cells that hold, seeds, scale.

    Entries of several profiles have theirs beside the scale.
    """
    several = len({entry.profile for entry in entries if entry.scale}) > 1
    rows = []
    for entry in entries:
        claim, weakest = entry.claim, entry.weakest
        number = weakest.number() if weakest else "—"
        rows.append(
            {
                "claim": claim.id,
                "source": claim.source,
                "verdict": entry.verdict,
                "weakest cell [interval]": number,
                "cells that hold": f"{entry.agreeing} of {len(entry.cells)}" if weakest else "—",
                "seeds": _seeds(entry),
                "scale": f"{entry.scale} ({entry.profile})" if several and entry.scale else entry.scale or "—",
            }
        )
    return pd.DataFrame(rows)


def undecided_form(entries: Sequence[Entry]) -> pd.DataFrame:
    """What it would take to decide the undecided: a row a claim, by its cells, their seeds and the seeds they want.

    "for half" is the number of seeds that half of those cells want, "for all" that of the last of them, each as
    `verdicts.seeds_needed` has it; a dash is more than `verdicts.MOST`, or that nobody can say.
    """
    rows = []
    for entry in entries:
        open_cells = [cell for cell in entry.cells if cell.verdict == "undecided"]
        if open_cells:
            wanted = sorted(math.inf if cell.needed is None else cell.needed for cell in open_cells)
            half, every = (wanted[place] for place in ((len(wanted) - 1) // 2, -1))
            rows.append(
                {
                    "claim": entry.claim.id,
                    "undecided": f"{len(open_cells)} of {len(entry.cells)}",
                    "seeds": _seeds(entry),
                    "for half": f"{half:.0f}" if math.isfinite(half) else "—",
                    "for all": f"{every:.0f}" if math.isfinite(every) else "—",
                }
            )
    return pd.DataFrame(rows)


def said(entry: Entry) -> str:
    """The verdict in a sentence of a page: the word, how many cells have which word, the seeds, the scale."""
    if not entry.cells:
        return entry.verdict
    words = whole(cell.verdict for cell in entry.cells if cell.verdict)
    every = f"all {len(entry.cells)} cells" if len(entry.cells) > 1 else "1 cell"
    each = f"of {len(entry.cells)} cells" if words == entry.verdict else f"cells: {words}"
    counts = every if words in VERDICTS else each
    return f"{signed(entry.verdict)} ({counts}; {_seeds(entry)} seeds; {entry.scale})"


def signed(words: str) -> str:
    """Verdicts in a text, each with its sign before it.

    >>> signed("holds 2, no difference 1").replace("\u00a0", " ")
    '✓ holds 2, = no difference 1'
    """
    return re.sub(rf"\b({_WORD})\b", lambda word: f"{SIGNS[word[0]]}\u00a0{word[0]}", words)


def verdicts(entries: Sequence[Entry]) -> Html:
    """The ledger in words: each claim in words with a link to its chapter, its measure, and the verdict."""
    rows = []
    for entry in entries:
        claim, weakest = entry.claim, entry.weakest
        title = f'<a href="{escape(claim.chapter)}.html">{escape(_title(claim.id))}</a>'
        number = _raised(weakest.number()) if weakest else "—"
        agree = f"{entry.agreeing} of {len(entry.cells)}" if entry.cells else "—"
        small = f"{_seeds(entry)} seeds, {entry.scale}" if entry.cells else ""
        rows.append(
            f'<tr><td>{title}<span class="small">{_raised(claim.statement)} [{escape(claim.source)}]</span></td>'
            f'<td data-title="measure">{number}<span class="small">{_raised(claim.what)}</span></td>'
            f'<td data-title="cells that hold">{agree}</td>'
            f'<td>{_mark(entry)}<span class="small">{escape(small)}</span></td></tr>'
        )
    return Html(_verdict_table(["claim, statement [source]", "measure [interval]", "cells that hold", "verdict"], rows))


def verdicts_across(entries: Sequence[Entry], titles: Mapping[str, str] = {}) -> Html:
    """Claims that are held against three tables or more: a row a claim in words, a column a table with its verdict.

    A table of many columns has the signs of its verdicts alone, or it would not fit its page; a phone has the words.
    `titles` has other words for claims, and names of tables for the page of their own chapter, which link nowhere.
    """
    return Html("\n".join(_across_table(several, titles) for several in _apart(_across(entries))))


def _across_table(several: Mapping[str, Mapping[str, Entry]], titles: Mapping[str, str]) -> str:
    columns = list(dict.fromkeys(table for held in several.values() for table in held))
    rows = []
    for claim, held in several.items():
        cells = [f"<td>{escape(titles.get(claim, _title(claim)))}</td>"]
        for table in columns:
            verdict = _mark(held[table]) + _agreeing(held[table]) if table in held else "—"
            kind = "" if table in held else ' class="nothing"'
            cells.append(f'<td data-title="{escape(titles.get(table, table))}"{kind}>{verdict}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    links = {table: next(held[table].claim.chapter for held in several.values() if table in held) for table in columns}
    heads = [
        escape(titles[table]) if table in titles else f'<a href="{escape(links[table])}.html">{escape(table)}</a>'
        for table in columns
    ]
    kind = "across signs" if len(columns) > WORDY else "across"
    return _verdict_table(["claim", *heads], rows, kind)


def _apart(several: Mapping[str, dict[str, Entry]]) -> list[dict[str, dict[str, Entry]]]:
    """Claims in groups that have no table in common: a table each, for one of all would be half empty."""
    groups: list[dict[str, dict[str, Entry]]] = []
    for claim, held in several.items():
        touching = [group for group in groups if any(held.keys() & others.keys() for others in group.values())]
        joined = {name: others for group in touching for name, others in group.items()} | {claim: held}
        groups = [group for group in groups if group not in touching] + [joined]
    return groups


def counts(claimed: Mapping[str, Sequence[Entry]]) -> Html:
    """How often each word was given, as bars: a row a claim in words and a scale of its tables, a block a cell.

    A block bears the sign of its word, and beside the blocks the words stand with their numbers. Claims that no table
    can speak of are left out.
    """
    rows = []
    for title, entries in claimed.items():
        first = "first"
        for scale in SCALES:
            given = [str(cell.verdict) for entry in entries if entry.scale == scale for cell in entry.cells]
            found = {word: given.count(word) for word in VERDICTS if word in given}
            if found:
                blocks = "".join(f'<i class="{_class(word)}"></i>' * count for word, count in found.items())
                said = ", ".join(
                    f'<span class="verdict {_class(word)}">{word} {count}</span>' for word, count in found.items()
                )
                rows.append(
                    f'<div class="{first}"><dt><span>{escape(title)}, </span>{scale} scale</dt>'
                    f'<dd><span class="blocks" aria-hidden="true">{blocks}</span> <span>{said}</span></dd></div>'
                )
                first = "again"
    return Html(f'<dl class="counts">{"".join(rows)}</dl>')


def _title(identity: str) -> str:
    """A claim's id in words."""
    words = identity.replace("-", " ")
    return words[0].upper() + words[1:]


def _mark(entry: Entry) -> str:
    return _marked(entry.verdict)


def _marked(words: str) -> str:
    """Verdicts as HTML, each word with its class, by which a style sheet gives it its sign."""
    marks = []
    for part in words.split(", "):
        word = part.rstrip("0123456789 ")
        marks.append(f'<span class="verdict {_class(word)}"><span>{word}</span>{part[len(word) :]}</span>')
    return ", ".join(marks)


def _class(word: str) -> str:
    """The class that a style sheet knows a verdict by."""
    return word.replace(" ", "-")


def _seeds(entry: Entry) -> str:
    """How many seeds, or repeats, its cells have."""
    counts = sorted({cell.seeds for cell in entry.cells})
    return f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else "".join(map(str, counts)) or "—"


def tally_form(entries: Sequence[Entry]) -> pd.DataFrame:
    """How often each verdict was given, by whose the claims are: a row for the words of noise types, and of cells."""
    rows = []
    for of, counts in (("noise types", tally(entries)), ("cells", tally_cells(entries))):
        rows += [{"claims": whose, "counted": of, **words} for whose, words in counts.items()]
    return pd.DataFrame(rows)


def glance_form(lines: Sequence[Line]) -> pd.DataFrame:
    """The whole reproduction: a row for each kind of table, and one for all. Verdicts are counted by noise type."""
    rows = [
        {
            "what was run": f"{line.what} ({', '.join(line.datasets)})" if len(line.datasets) > 1 else line.what,
            "runs": grouped(line.runs),
            "scale": ", ".join(line.scales) or "—",
            "computing": lasted(line.seconds),
            "verdicts": counted(line.words) or "—",
            "tables": ", ".join(line.tables),
        }
        for line in lines
    ]
    words: dict[str, int] = {word: sum(line.words.get(word, 0) for line in lines) for word in VERDICTS}
    runs, seconds = sum(line.runs for line in lines), sum(line.seconds for line in lines)
    total = {"what was run": "in all", "runs": grouped(runs), "computing": lasted(seconds), "verdicts": counted(words)}
    return pd.DataFrame([*rows, total]).fillna("")


def _verdict_table(heads: Sequence[str], rows: Sequence[str], kind: str = "") -> str:
    head = "".join(f"<th>{title}</th>" for title in heads)
    body = "\n".join(rows)
    classes = f"dataframe verdicts stacked {kind}".strip()
    return f'<table class="{classes}"><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>'


def alone(entries: Sequence[Entry]) -> list[Entry]:
    """The entries that `verdicts_across` has no row for."""
    across = _across(entries)
    return [entry for entry in entries if _family(entry) not in across]


def _across(entries: Sequence[Entry]) -> dict[str, dict[str, Entry]]:
    """Claims held against three tables or more, each with its entry by table."""
    found: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        found.setdefault(_family(entry), {})[entry.claim.table] = entry
    return {claim: held for claim, held in found.items() if len(held) >= MANY}


def _agreeing(entry: Entry) -> str:
    """In how many cells a claim holds; nothing where there are none."""
    return f' <span class="agreeing">{entry.agreeing} of {len(entry.cells)}</span>' if entry.cells else ""


def _family(entry: Entry) -> str:
    return entry.claim.id.removesuffix(f"-{entry.claim.table}")


def show(table: pd.DataFrame, caption: str = "", *, stacked: bool = False) -> Html:
    """A table as a page sets it: no index, texts free to wrap, the same HTML each time.

    Numbers like 3e-05 are written as powers of ten, five digits have their thousands apart, and verdicts have their
    signs. Short entries are not broken, but for one with an interval or a range, which may stand below its number, and
    a list, whose parts may stand below each other. With `stacked` a phone shows each row as a list, its entries below
    the first, each after its column's title, and leaves out a dash: for tables of many words.
    """
    page = table.astype(str).to_html(index=False, border=0, justify="left", classes="dataframe")
    page = re.sub(r"(?<=[\s>\[(+-])\d(?:\.\d+)?e[+-]\d+(?=[\s<\]),])", _powers, page)
    page = re.sub(r"<td>([^< ]+) ([\[(][^<]{0,23})</td>", r'<td>\1 <span class="short">\2</span></td>', page)
    page = re.sub(
        rf"<td>((?:(?:{_WORD})(?: \d+)?(?:, |(?=<)))+)</td>", lambda cell: f"<td>{_marked(cell[1])}</td>", page
    )
    page = re.sub(r"<td>([^\W\d][^<]{0,40}, [^<]{0,20})</td>", _parts, page)
    page = re.sub(r"<td>([^<]{0,23})</td>", r'<td class="short">\1</td>', page)
    if stacked:
        titles = cycle(["", *(f' data-title="{escape(str(title))}"' for title in table.columns[1:])])
        page = page.replace('class="dataframe', 'class="dataframe stacked', 1).replace('"short">—<', '"nothing">—<')
        page = re.sub(r"<td(?=[ >])", lambda _: f"<td{next(titles)}", page)
    page = page.replace("<thead>", f"<caption>{escape(caption)}</caption>\n  <thead>", 1) if caption else page
    return Html(re.sub(r"(?<![\w.,])\d{5,9}(?![\w.])", lambda number: grouped(int(number[0])), page))


def _raised(text: str) -> str:
    """A text of the ledger, which has n^(-1/2) and 1.5e13, as a page sets it.

    >>> _raised("n^(-1/2) or n^-(1-1/α), 10^4 times 1.7e3")
    'n<sup>-1/2</sup> or n<sup>-(1-1/α)</sup>, 10<sup>4</sup> times 1700'
    """
    text = re.sub(r"(?<![\w.])\d(?:\.\d+)?e[+-]?\d+(?!\w)", _powers, escape(text))
    return re.sub(r"\^(?:\(([^()]+)\)|(-\([^()]+\)|\w+))", r"<sup>\1\2</sup>", text)


def _powers(number: re.Match[str]) -> str:
    return power(float(number[0]), sum(map(str.isdigit, number[0].partition("e")[0])))


def _parts(entry: re.Match[str]) -> str:
    """A list in words, each of its parts in one line if it is short."""
    parts = [f'<span class="short">{part}</span>' if len(part) < 24 else part for part in entry[1].split(", ")]
    return f"<td>{', '.join(parts)}</td>"
