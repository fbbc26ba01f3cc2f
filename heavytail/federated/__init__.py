"""Federated training: many clients, one model, and heavy-tailed kicks that are sent with it, or that need not be sent.

A `Plan` says who adds which kicks and what is sent. `simulate` runs it in one process, with the clients as rows of a
batch; `apps.client_app` and `apps.server_app` run it on Flower, which needs the extra `federated`. Messages and rounds
are the same, and their bytes are counted.
"""

from heavytail.federated.engine import simulate
from heavytail.federated.layout import Layout, fill, layout
from heavytail.federated.messages import pack, unpack
from heavytail.federated.plans import Plan, Strategy, flat, plan_from, taking_part
from heavytail.federated.rounds import Federation, Round
from heavytail.federated.selecting import Selection
from heavytail.federated.splits import dirichlet, even, few_classes
from heavytail.federated.steps import Shard

__all__ = [
    "Federation",
    "Layout",
    "Plan",
    "Round",
    "Selection",
    "Shard",
    "Strategy",
    "dirichlet",
    "even",
    "few_classes",
    "fill",
    "flat",
    "layout",
    "pack",
    "plan_from",
    "simulate",
    "taking_part",
    "unpack",
]
