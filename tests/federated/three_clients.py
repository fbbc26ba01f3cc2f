"""A federation that is imported as fast as torch is: what server and clients have in common. A fleet gets a copy."""

from __future__ import annotations

import torch

from heavytail import federated, networks
from heavytail.federated import Shard, apps

SETTINGS = {
    **{"clients": 3, "rounds": 3, "steps": 2, "lr": 0.1, "batch-size": 3, "seed": 1},
    **{"design": "common", "alpha": 1.5, "sigma": 0.01, "select": "known", "amount": 0.3},
    **{"inputs": 6, "width": 10, "patience": 0.0, "out": ""},
}
OWN = ("inputs", "width", "patience", "out")  # and no settings of the plan


def task(settings):
    generator = torch.Generator().manual_seed(0)
    plan = federated.plan_from({name: value for name, value in settings.items() if name not in OWN})
    sizes = {"width": settings["width"], "depth": 1, "classes": 3}
    return apps.Task(plan, networks.fcn(settings["inputs"], **sizes, generator=generator))


def data(settings, client):
    generator = torch.Generator().manual_seed(client)
    x = torch.randn(5 + client, settings["inputs"], generator=generator)
    return Shard(x, torch.randint(3, (5 + client,), generator=generator))
