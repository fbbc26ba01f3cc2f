"""What a federation does, as data: who adds which kicks, what is sent, how many clients, rounds and steps."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

import torch

from heavytail import noise, streams
from heavytail.federated.selecting import Selection
from heavytail.laws.averaging import Design
from heavytail.noise.kinds import Noise, as_float, shown

Weighting = Literal["samples", "equal"]


@dataclass(frozen=True)
class Strategy:
    """Who draws the kicks, and what a client sends. With `sigma=0`, as by default, it is federated averaging.

    design     "local": every client draws kicks of its own. "common": all clients draw the same, by one key, and no
               kick is ever sent. "server": the server adds one a round, of the scale of a round's kicks of one client
    sigma      their scale: a step of size η adds `σ η^(1/α)` times a unit draw, the server `σ (η E)^(1/α)`
    alpha      stability index in (0, 2]; at 2 kicks are Gaussian
    kind       "shared", "entrywise" or "isotropic" (Types I, II, III)
    selection  which part of its move a client sends; a `Selection`

    What each party sends and knows is in the book, page averaging, *Three designs*. [D]
    Raises ValueError for settings out of range, or known columns without common kicks, by which they are known.

    >>> Strategy()  # FedAvg
    Strategy(design='local', sigma=0.0, alpha=2.0, kind='isotropic', selection=Selection(kind='all', amount=0.0))
    """

    design: Design = "local"
    sigma: float = 0.0
    alpha: float = 2.0
    kind: Noise = "isotropic"
    selection: Selection = field(default_factory=Selection)

    def __post_init__(self) -> None:
        if self.design not in get_args(Design):
            raise ValueError(f"unknown design {shown(self.design)}: choose one of {', '.join(get_args(Design))}")
        noise.check(self.alpha, self.sigma, self.kind)
        if not isinstance(self.selection, Selection):
            raise TypeError(f"selection= is a heavytail.federated.Selection, not {shown(self.selection)}")
        if self.selection.kind == "known" and self.design != "common":
            raise ValueError("columns are known beforehand by common kicks alone: take design='common'")
        for name in ("alpha", "sigma"):
            if isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} is a number, not {getattr(self, name)}")
            object.__setattr__(self, name, float(getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that decides a federated training but the network and the data, which every party has.

    clients     K
    rounds      T: each begins at the global model, and ends in the average of those who answered
    steps       E, steps of SGD of a client in a round
    lr          step size η
    batch_size  samples of a step; 0 is all that a client has
    sampled     how many clients take part in a round, drawn anew for each; 0 is all
    seed        of all random numbers: batches, kicks, clients and places that are drawn
    weighting   "samples": a client counts as much as it has samples; "equal": all count the same
    strategy    a `Strategy`

    Raises ValueError for what is out of range, TypeError for what is of another kind.

    >>> plan = Plan(clients=10, rounds=20, steps=5, lr=0.1, seed=1, strategy=Strategy("common", 0.01, 1.5))
    >>> plan_from(flat(plan)) == plan
    True
    """

    clients: int
    rounds: int
    steps: int
    lr: float
    seed: int
    batch_size: int = 0
    sampled: int = 0
    weighting: Weighting = "samples"
    strategy: Strategy = field(default_factory=Strategy)

    def __post_init__(self) -> None:
        least = {"clients": 1, "rounds": 1, "steps": 1, "batch_size": 0, "sampled": 0, "seed": 0}
        for name, lowest in least.items():
            object.__setattr__(self, name, whole(name, getattr(self, name), lowest))
        if self.sampled > self.clients:
            raise ValueError(f"{self.sampled} of {self.clients} clients cannot take part: take fewer, or 0 for all")
        if not isinstance(self.lr, int | float) or isinstance(self.lr, bool) or not 0 < as_float(self.lr) < math.inf:
            raise ValueError(f"the step size lr must be a finite number above 0, got {shown(self.lr)}")
        object.__setattr__(self, "lr", float(self.lr))
        if self.weighting not in get_args(Weighting):
            raise ValueError(f"unknown weighting {shown(self.weighting)}: choose one of samples, equal")
        if not isinstance(self.strategy, Strategy):
            raise TypeError(f"strategy= is a heavytail.federated.Strategy, not {shown(self.strategy)}")
        if self.rounds * self.steps >= 2**32:
            raise ValueError(f"{self.rounds} rounds of {self.steps} steps are more than the 2^32 that kicks can number")
        # The scale refuses what float32 cannot hold. A server's kicks are those of all steps of a round.
        time = self.lr * self.steps if self.strategy.design == "server" else self.lr
        noise.scale(self.strategy.alpha, self.strategy.sigma, time)


def taking_part(plan: Plan, round: int) -> tuple[int, ...]:
    """The numbers of the clients that take part in a round, the first of which is 0: all, or those that the seed draws.

    >>> plan = Plan(clients=100, sampled=3, rounds=2, steps=1, lr=0.1, seed=0)
    >>> len(taking_part(plan, 0)), taking_part(plan, 0) == taking_part(plan, 1)
    (3, False)
    """
    if not plan.sampled:
        return tuple(range(plan.clients))
    key = streams.key(plan.seed, "batches", "federated", "clients")
    drawn = torch.randperm(plan.clients, generator=streams.generator(key, "batches", round))[: plan.sampled]
    return tuple(sorted(drawn.tolist()))


#: Names of a flat plan that are those of its strategy and its selection.
_INNER = ("design", "sigma", "alpha", "kind"), ("select", "amount")


def flat(plan: Plan) -> dict[str, Any]:
    """A plan as numbers and words by name, as a file of settings holds them.

    >>> sorted(flat(Plan(clients=1, rounds=1, steps=1, lr=0.1, seed=0)))[:4]
    ['alpha', 'amount', 'batch_size', 'clients']
    """
    own = {item.name: getattr(plan, item.name) for item in fields(Plan) if item.name != "strategy"}
    own |= {name: getattr(plan.strategy, name) for name in _INNER[0]}
    return own | {"select": plan.strategy.selection.kind, "amount": plan.strategy.selection.amount}


def plan_from(settings: Mapping[str, Any]) -> Plan:
    """The plan in flat settings; names may have `-` for `_`, and what is not there has its default.

    Raises ValueError for a name that no plan has, that is missing or is there in both forms, and as `Plan` does.

    >>> plan_from({"clients": 4, "rounds": 3, "steps": 2, "lr": 0.1, "seed": 0, "batch-size": 8}).batch_size
    8
    """
    names = [str(name).replace("-", "_") for name in settings]
    given = dict(zip(names, settings.values(), strict=True))
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"settings have {', '.join(twice)} twice, with - and with _: leave one out")
    outer = {item.name for item in fields(Plan)} - {"strategy"}
    if unknown := sorted(given.keys() - outer - set(_INNER[0]) - set(_INNER[1])):
        raise ValueError(f"a plan has no {', '.join(unknown)}: leave that out")
    if missing := sorted({"clients", "rounds", "steps", "lr", "seed"} - given.keys()):
        raise ValueError(f"a plan lacks {', '.join(missing)}: add that")
    chosen = {ours: given[theirs] for theirs, ours in (("select", "kind"), ("amount", "amount")) if theirs in given}
    strategy = Strategy(**{name: given[name] for name in _INNER[0] if name in given}, selection=Selection(**chosen))
    return Plan(**{name: given[name] for name in outer if name in given}, strategy=strategy)


def whole(name: str, value: Any, least: int) -> int:
    """A whole number of any kind as an int. ValueError, with its name, for others and for what is below `least`.

    >>> whole("clients", 3, least=1)
    3
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number >= {least}, got {shown(value)}")
    return number
