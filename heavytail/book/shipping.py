"""The chapter *What would you ship?*: its sentences and tables, from a table of networks of every size."""

from __future__ import annotations

import pandas as pd

from heavytail.book import tables
from heavytail.book.page import power
from heavytail.evidence import arms, shipping

_SAID = {
    "holds": "smaller than",
    "fails": "larger than",
    "no difference": "as large as",
    "undecided": "not distinguishable from",
}


def kilobytes(count: float) -> str:
    """A number of bytes, in thousands or millions from there on.

    >>> kilobytes(712.0), kilobytes(18328), kilobytes(3176160)
    ('712 B', '18.3 kB', '3.18 MB')
    """
    return f"{count:.0f} B" if count < 1e3 else f"{count / 1e3:.3g} kB" if count < 1e6 else f"{count / 1e6:.3g} MB"


def headline(races: dict[str, pd.DataFrame], steady: dict[str, pd.DataFrame]) -> tuple[str, str]:
    """Where heavy-tailed noise wins, and who wins where: a sentence each, without its full stop.

    Nobody wins where the race by the stricter rule has another winner.
    """
    winners = {
        title: race.iloc[0]["contender"]
        for title, race in races.items()
        if race.iloc[0]["contender"] == steady[title].iloc[0]["contender"]
    }
    found: dict[str, list[str]] = {}
    for title in races:
        wins = f"{_named(winners[title])} gives the smallest file" if title in winners else ""
        found.setdefault(wins or "no way to a small file is ahead by both of our rules", []).append(title)
    parts = [f"on {listed(titles)} {what}" for what, titles in found.items()]
    ahead = [title for title, winner in winners.items() if winner == shipping.NOISE]
    where = f"on {listed(ahead)}" if ahead else f"on none of {listed(list(races))}"
    return f"Heavy-tailed noise gives the smallest file {where}", listed(parts).replace("on ", "On ", 1)


def who_wins(title: str, race: pd.DataFrame, steady: pd.DataFrame) -> str:
    """The sentence that says whose file is the smallest, and where heavy-tailed noise stands: from `evidence` alone.

    `steady` is the race by the stricter rule: where it has another winner, nobody is called one.
    """
    first, noise = race.iloc[0], race[race["contender"] == shipping.NOISE].iloc[0]
    mine, other = (
        f"{_named(row['contender'])}, {_how(row)}: {kilobytes(row['bytes'])}" for row in (first, steady.iloc[0])
    )
    if steady.iloc[0]["contender"] == first["contender"]:
        start = f"On {title} the smallest file, in the median over seeds, is that of {mine}"
    else:
        start = (
            f"On {title} no way to a small file is ahead by both rules. The smallest size that is accurate enough, in "
        )
        start += (
            f"the median over seeds, is that of {mine}. If every larger size must be accurate enough too, it is that "
        )
        start += f"of {other}"
    if first["contender"] != shipping.NOISE:
        start += f". Heavy-tailed noise leaves {kilobytes(noise['bytes'])} at best, {_how(noise)}"
    others = race[race["contender"] != shipping.NOISE]
    phrases = []
    for word, phrase in _SAID.items():
        named = [_named(name) for name in others.loc[others["word"] == word, "contender"]]
        if named:
            phrases.append(f"{phrase} that of {listed(named)}")
    return f"{start}. Seed by seed the file with noise is {'; '.join(phrases)}."


def table(ways: pd.DataFrame) -> pd.DataFrame:
    """The smallest files of all arms, ready to be shown: a row an arm, strength and way."""

    def over(row: pd.Series, name: str) -> str:
        value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
        if pd.isna(value):
            return "–"
        known = pd.notna(low) and low > -1e9 and high < 1e9
        return power(value, 2) + (f" [{power(low, 2)}, {power(high, 2)}]" if known else "")

    return pd.DataFrame(
        {
            "arm": tables.titled(row["arm"]),
            "strength": f"{row['strength']:g}" if row["strength"] else "",
            "way": row["way"],
            "smallest file": kilobytes(row["bytes"]),
            "units": f"{row['units']:g}",
            "over plain, pruned": over(row, "pruned"),
            "over small": over(row, "small"),
            "found by": f"{row['enough']} of {row['seeds']}",
        }
        for _, row in ways.iterrows()
    )


def neighbours(figures: pd.DataFrame) -> pd.DataFrame:
    """Odd widths against multiples of 8, ready to be shown: times the multiple's, in torch and ONNX Runtime."""
    rows = figures[figures["name"].str.endswith(".over_multiple")].copy()
    rows["way"] = (
        rows["name"].str.extract(r"shipping\.(\w+)\.")[0].map({"torch": "eager torch", "onnx": "ONNX Runtime"})
    )
    parts = rows["case"].str.extract(r"(?P<units>\d+) units against (?P<other>\d+), batch (?P<batch>\d+)").astype(int)
    shown = [f"{row.value:.2f} ({row.low:.2f} to {row.high:.2f})" for row in rows.itertuples()]
    wide = parts.assign(way=rows["way"], shown=shown)
    table = wide.pivot(index=["way", "units", "other"], columns="batch", values="shown").reset_index()
    names = [name if isinstance(name, str) else f"batch {name}" for name in table.columns]
    return table.set_axis(names, axis=1).rename(columns={"way": "in", "other": "against"})


def _how(row: pd.Series) -> str:
    way = {"pruned": "pruned", "tuned": "pruned and tuned", "small": f"{row['units']:g} units"}[row["way"]]
    arm = (
        ""
        if row["arm"] in (arms.PLAIN, row["contender"])
        else f"{tables.titled(row['arm'])}, σ = {power(row['strength'], _digits(row['strength']))}, "
    )
    return arm + way


def _digits(number: float) -> int:
    """How many digits a number of at most three has."""
    return len(f"{number:.2e}".partition("e")[0].replace(".", "").rstrip("0"))


def _named(contender: str) -> str:
    return "a small network from scratch" if contender == shipping.SMALL else contender


def listed(names: list[str]) -> str:
    """Names as a sentence has them.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def racers(races: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Each contender at its best and heavy-tailed noise over it, ready to be shown."""
    rows = []
    for title, race in races.items():
        for _, row in race.iterrows():
            own = row["contender"] == shipping.NOISE
            ratio = f"{row['ratio']:.3g}"
            if abs(row["ratio_low"]) < 1e9 and row["ratio_high"] < 1e9:
                ratio += f" [{row['ratio_low']:.3g}, {row['ratio_high']:.3g}]"
            rows.append(
                {
                    "data": title,
                    "contender": row["contender"],
                    "at its best": _how(row),
                    "smallest file": kilobytes(row["bytes"]),
                    "noise over it": "" if own else ratio,
                    "noise is smaller": "" if own else row["word"],
                }
            )
    return pd.DataFrame(rows)


def advice(races: dict[str, pd.DataFrame]) -> str:
    """What follows for who ships a network, from the words of the races."""
    smaller, larger = (
        {
            _named(row["contender"])
            for race in races.values()
            for _, row in race.iterrows()
            if row["contender"] != shipping.NOISE and row["word"] == word
        }
        for word in ("holds", "fails")
    )
    firsts = {str(race.iloc[0]["contender"]) for race in races.values()}
    if firsts == {shipping.NOISE} and not larger:
        return "Here heavy-tailed noise gives the file to ship."
    beaten, ahead = (listed(sorted(names)) if names else "none" for names in (smaller, larger))
    if not smaller:
        return (
            "Nobody who wants a small file needs heavy-tailed noise here. Its best file is not shown to be smaller "
            f"than that of any rival, and on one data set at least it is larger than that of {ahead}."
        )
    return (
        f"On one data set at least heavy-tailed noise at its best is smaller than {beaten}, on one larger than {ahead}."
    )
