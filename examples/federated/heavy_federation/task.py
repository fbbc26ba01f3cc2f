"""What server and clients have in common, from the settings of a run: plan, network and data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heavytail import federated, networks, streams
from heavytail.federated import Shard, apps
from heavytail.lab import datasets

OWN = {"width", "skew", "patience", "out"}  # settings of this app; all others are those of a plan


def task(settings: Mapping[str, Any]) -> apps.Task:
    """The plan, and the network before the first round, which every party draws from the same seed."""
    plan = federated.plan_from({name: value for name, value in settings.items() if name not in OWN})
    weights = streams.generator(plan.seed, "weights")
    return apps.Task(plan, networks.fcn(64, width=settings["width"], depth=1, classes=10, generator=weights))


def data(settings: Mapping[str, Any], client: int) -> Shard:
    """The samples of one client. In a fleet of your own: what lies on that machine."""
    digits, plan = datasets.load("digits"), task(settings).plan
    if settings["skew"]:
        split = federated.dirichlet(digits.y_train, plan.clients, concentration=settings["skew"], seed=plan.seed)
    else:
        split = federated.even(digits.y_train, plan.clients, seed=plan.seed)
    return Shard(digits.x_train[split[client]], digits.y_train[split[client]])
