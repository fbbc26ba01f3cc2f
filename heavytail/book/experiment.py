"""What the page on one data set reads: its table, the search that chose its settings, the law of its noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pandas as pd

from heavytail.book import page, tables
from heavytail.evidence import arms, claims, experiments
from heavytail.evidence.claims import Entry
from heavytail.lab import results

#: The alpha at which a search chose the settings of every noise.
SEARCHED = 1.75

#: The accuracy of a network of which a tenth of the neurons is kept.
TENTH = "test_accuracy_share_0.9"

ATTACKED = [f"test_accuracy_pgd_{size:g}" for size in results.DISTURBED]


@dataclass(frozen=True, eq=False)
class Experiment:
    """The tables of one data set, with their profiles: of trained networks, the search, start plus noise."""

    name: str
    profile: str
    table: pd.DataFrame
    searched_in: str
    search: pd.DataFrame
    law_in: str
    law: pd.DataFrame

    @cached_property
    def step(self) -> float:
        """The step size of plain SGD that the search chose."""
        return float(self.rules["most accurate"].set_index("arm").loc[arms.PLAIN, "lr"])

    @cached_property
    def rules(self) -> dict[str, pd.DataFrame]:
        """What the search chose of every arm, by the name that pages give the rule."""
        return {
            "most accurate": arms.chosen(self.search),
            "strongest": arms.strongest(self.search),
            "boldest": arms.boldest(self.search),
        }

    @cached_property
    def paper(self) -> pd.DataFrame:
        """Plain SGD at `step` and heavy-tailed noise, the paper's own arms, each noise at its strongest."""
        return arms.of_the_paper(self.table, self.step)

    @cached_property
    def strong(self) -> pd.DataFrame:
        """Every arm at its largest strength, plain SGD at `step`."""
        return self._as_chosen(arms.of_strength(self.table, "most", self.step), "strongest")

    @cached_property
    def gentle(self) -> pd.DataFrame:
        """Every arm that was searched for at the setting that the search called the most accurate; plain SGD at `step`.

        Of an arm's settings in these tables that is the one of the least strength.
        """
        searched = self.table["noise"].isna() | (self.table["alpha"] == SEARCHED)
        return self._as_chosen(arms.of_strength(self.table[searched], "least", self.step), "most accurate")

    def _as_chosen(self, rows: pd.DataFrame, rule: str) -> pd.DataFrame:
        """Of an arm that has one strength at several step sizes only those at the step size of the rule."""
        names = arms.named(rows)
        steps = rows["lr"].groupby([*(rows[name] for name in experiments.NETWORK), names]).transform("nunique")
        return rows[(steps == 1) | (rows["lr"] == names.map(self.rules[rule].set_index("arm")["lr"]))]

    @cached_property
    def medians(self) -> pd.DataFrame:
        """Medians over seeds of the widest networks of `strong`, by arm; `attacked` is a mean over sizes of attack.

        A run that diverged guesses.
        """
        wide = self.strong[self.strong["width"] == self.strong["width"].max()]
        wide = experiments.outcomes(wide, [name for name in wide if name.startswith("test_accuracy")])
        wide = wide.assign(arm=arms.named(wide), attacked=wide[ATTACKED].mean(axis=1))
        return wide.groupby("arm").median(numeric_only=True)

    def of_type(self, noise: str) -> pd.DataFrame:
        """The rows of `medians` with one heavy-tailed noise."""
        return self.medians[self.medians.index.str.startswith(f"{noise}, ") & (self.medians["alpha"] < 2)]

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """Every claim of the page, held once against its own table; by its id without the name of the data set."""
        held = {self.name: (self.table, self.profile), f"untrained-{self.name}": (self.law, self.law_in)}
        return {
            claim.id.removesuffix(f"-{self.name}"): claims.hold(claim, *held[claim.table])
            for claim in claims.CLAIMS
            if claim.table in held
        }


def read(folder: Path, name: str) -> Experiment:
    """The tables of a data set in a folder of results, each at its largest profile.

    Raises ValueError where one of the three is not there.
    """
    tabled = [_at_largest(folder, table) for table in (name, f"choose-{name}", f"untrained-{name}")]
    (profile, table), (searched_in, search), (law_in, law) = tabled
    return Experiment(name, profile, table, searched_in, search, law_in, law)


def _at_largest(folder: Path, name: str) -> tuple[str, pd.DataFrame]:
    """The largest profile that a table has, and its rows; ValueError where it has none."""
    found = claims.largest(folder, name)
    if found is None:
        raise ValueError(f"{folder} has no table {name}: make it by `heavytail sweep data/grids/{name}.toml`")
    return found[0], claims.read(found[1])


@dataclass(frozen=True, eq=False)
class Variant:
    """A table with the settings of another one, on another split or with another stop, and its claims, held against it.

    `entries` are named as those of the `Experiment` that it stands beside.
    """

    profile: str
    table: pd.DataFrame
    entries: dict[str, Entry]


def variant(folder: Path, name: str) -> Variant:
    """The table `name` of a folder of results at its largest profile. Raises ValueError where there is none."""
    profile, table = _at_largest(folder, name)
    own = [claim for claim in claims.CLAIMS if claim.table == name]
    return Variant(profile, table, {c.id.removesuffix(f"-{name}"): claims.hold(c, table, profile) for c in own})


@cache
def alike(experiment: Experiment, other: Variant) -> dict[str, Entry]:
    """The claims of a variant, held against the table of the experiment at those alphas that the variant has."""
    table = experiment.table
    rows = table[table["alpha"].isna() | table["alpha"].isin(other.table["alpha"].dropna().unique())]
    return {name: claims.hold(experiment.entries[name].claim, rows, experiment.profile) for name in other.entries}


def verdicts(experiment: Experiment, other: Variant, title: str, own: str) -> pd.DataFrame:
    """The claims of a variant: the verdict there in the column `title`, that of the experiment in the column `own`.

    The experiment is held at the alphas of the variant; all other columns are of the variant.
    """
    rows = tables.ledger_form(list(other.entries.values())).assign(claim=list(other.entries))
    rows = rows.rename(columns={"verdict": title}).drop(columns="scale")
    rows.insert(2, own, [entry.verdict for entry in alike(experiment, other).values()])
    return rows


_OF_STOPPED = {
    "test %": "test_accuracy",
    "after pruning": "test_accuracy_pruned",
    "kept 0.1": TENTH,
    "pruned %": "pruning_ratio",
    "its twin %": "twin_pruning_ratio",
}


def stopped_form(table: pd.DataFrame) -> pd.DataFrame:
    """Runs that stop at an accuracy: plain SGD at each step size, each noise at its strongest, medians over seeds.

    "steps" are the fewest, the median and the most over seeds, "stopped" how many runs had the accuracy before their
    last step. A run that diverged guesses.
    """
    held = experiments.outcomes(experiments.strongest(table), list(_OF_STOPPED.values())[:3])
    cells = []
    for (arm, lr), rows in held.groupby([arms.named(held), "lr"]):
        steps = rows["steps"]
        cells.append(
            {
                "arm": tables.titled(str(arm)),
                "η": f"{lr:g}",
                "σ": f"{rows['sigma'].iloc[0]:g}" if rows["sigma"].any() else "",
                "stopped": f"{int((rows['status'] == 'converged').sum())} of {len(rows)}",
                "steps": f"{steps.median():.0f} ({steps.min():.0f} to {steps.max():.0f})",
                **{title: f"{100 * rows[column].median():.1f}" for title, column in _OF_STOPPED.items()},
            }
        )
    return pd.DataFrame(sorted(cells, key=lambda cell: cell["arm"]))


def stopped_words(made: Experiment, other: Variant) -> dict[str, object]:
    """What a page says of runs that stop at an accuracy, ready for `page.say`, each name with `stop_` before it.

    Medians over seeds of each noise at its strongest, at the alphas of the variant: `more` is how many times as many
    steps as plain SGD of the same step size it takes, `gain` how many points of test accuracy it has more in the table
    of the experiment, whose runs take as many steps each. With `plain_` before it is plain SGD at the `step` of the
    experiment. A verdict with `fixed_` before it is that of `alike`.
    """
    held, longer = (
        experiments.outcomes(experiments.strongest(table), [TENTH, "test_accuracy"])
        for table in (other.table, made.table[made.table["width"] == other.table["width"].max()])
    )
    middle, long = (
        experiments.heavy(rows).groupby(["noise", "alpha", "lr"]).median(numeric_only=True) for rows in (held, longer)
    )
    quiet, long_quiet = (experiments.plain(rows).groupby("lr").median(numeric_only=True) for rows in (held, longer))
    more = middle["steps"] / quiet["steps"].reindex(middle.index, level="lr")
    gain = 100 * (long["test_accuracy"] - middle["test_accuracy"]).dropna()
    tenth, ratio = middle[TENTH], middle["pruning_ratio"]
    said: dict[str, object] = {
        "every": int(held["eval_every"].max()),
        "seeds": int(held["seed"].nunique()),
        "reached": f"{int((other.table['status'] == 'converged').sum())} of {len(other.table)}",
        "low": f"{ratio.min():.0%}",
        "high": f"{ratio.max():.0%}",
        "more": f"{more.min():.2f} to {more.max():.2f}",
        "gain": f"{gain.min():z.1f} to {gain.max():z.1f}",
        "tenth": f"{tenth.min():.0%} to {tenth.max():.0%}",
        "plain_tenth": f"{quiet.loc[made.step, TENTH]:.0%}",
        "plain_gain": f"{100 * (long_quiet - quiet).loc[made.step, 'test_accuracy']:z.1f}",
        **{name.replace("-", "_"): tables.said(entry) for name, entry in other.entries.items()},
        **{f"fixed_{name.replace('-', '_')}": tables.said(entry) for name, entry in alike(made, other).items()},
    }
    return {f"stop_{name}": value for name, value in said.items()}


def ratios(paper: pd.DataFrame) -> tuple[float, float, float]:
    """Median pruning ratio of plain SGD, and the smallest and largest of the noises, in the paper's own arms."""
    noisy = experiments.heavy(paper).groupby(["noise", "alpha"])["pruning_ratio"].median()
    return float(experiments.plain(paper)["pruning_ratio"].median()), float(noisy.min()), float(noisy.max())


def furthest(paper: pd.DataFrame) -> pd.Series:
    """Of the paper's own arms the noise and alpha that lets the most go: medians over seeds of ratio and accuracies."""
    columns = ["pruning_ratio", "test_accuracy", "test_accuracy_pruned"]
    middle = experiments.heavy(paper).groupby(["noise", "alpha"])[columns].median()
    return middle.loc[middle["pruning_ratio"].idxmax()]


def words(experiment: Experiment) -> dict[str, object]:
    """What a page says of its tables, ready for `page.say`: numbers, and the verdicts by the ids of their claims."""
    made, middle = experiment, experiment.medians
    plain, noisy = experiments.plain(made.paper), experiments.heavy(made.paper)
    quiet, low, high = ratios(made.paper)
    lasso = made.strong[made.strong["group_lasso"] > 0]
    heavy = middle[middle["alpha"] < 2]
    small = made.table[made.table["width"] == made.table["width"].max() // 10]
    collapsed = noisy["train_accuracy"] - noisy["train_accuracy_pruned"] > 0.1
    cut = furthest(made.paper)
    kind, alpha = cut.name
    said: dict[str, object] = {
        "best": made.profile,
        "searched_in": made.searched_in,
        "law_in": made.law_in,
        "step": f"{made.step:g}",
        "runs": len(made.table),
        "failed": int(made.table["status"].isin(results.FAILED).sum()),
        "seeds": int(made.paper["seed"].nunique()),
        "neurons": int(made.table["width"].max()),
        "loss": f"{100 * arms.LOSS:.0f}",
        "repeats": int(made.law["repeats"].max()),
        "strengths": int(made.search.groupby("noise")["sigma"].nunique().min()),
        "set_aside": page.grouped(made.search["validation"].max()),
        "disturbed": page.grouped(made.table["robustness"].max()),
        "tuned_steps": int(made.table["tune_steps"].max()),
        "plain": f"{quiet:.1%}",
        "plain_accuracy": f"{plain['test_accuracy'].median():.1%}",
        "low": f"{low:.0%}",
        "high": f"{high:.0%}",
        "furthest": f"{tables.PAPER_TYPE[kind]} at α = {alpha:g}",
        "furthest_before": f"{cut['test_accuracy']:.0%}",
        "furthest_after": f"{cut['test_accuracy_pruned']:.0%}",
        "lasso": f"{lasso['pruning_ratio'].median():.1%}",
        "lasso_accuracy": f"{lasso['test_accuracy'].median():.1%}",
        "collapse": f"{int(collapsed.sum())} of {len(noisy)} noisy runs",
        "plain_tenth": f"{middle.loc[arms.PLAIN, TENTH]:.1%}",
        "small_tenth": f"{small['test_accuracy'].median():.1%}",
        "noise_tenth": f"{heavy[TENTH].min():.0%} to {heavy[TENTH].max():.0%}",
        "plain_attacked": f"{middle.loc[arms.PLAIN, 'attacked']:.1%}",
    }
    for noise in tables.PAPER_TYPE:
        if noise is not None:
            attacked = made.of_type(noise)["attacked"]
            said[f"{noise}_attacked"] = f"{attacked.min():.0%} to {attacked.max():.0%}"
    return said | {name.replace("-", "_"): tables.said(entry) for name, entry in made.entries.items()}


def choices(rules: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What a search chose, ready to be shown: a row a rule and arm, with its setting, accuracies and pruning ratio."""
    rows = pd.concat([settings.assign(rule=rule) for rule, settings in rules.items()])
    percent = {
        title: (100 * rows[column]).map(lambda value: "—" if pd.isna(value) else f"{value:.1f}")
        for title, column in (("accuracy %", "score"), ("before %", "accuracy"), ("pruned %", "ratio"))
    }
    shown = rows.assign(
        arm=rows["arm"].map(tables.titled),
        η=rows["lr"].map("{:g}".format),
        strength=arms.strength_of(rows).map(lambda size: f"{size:g}" if size else ""),
        **percent,
    )
    return shown[["rule", "arm", "η", "strength", *percent, "seeds"]]
