"""The apps of Flower without its transport: a grid in this process hands messages over, and may spoil what returns."""

from __future__ import annotations

import pytest
import torch

from heavytail import federated, networks
from heavytail.federated import Plan, Shard, Strategy, apps

pytest.importorskip("flwr")  # after the apps, which keep it from reporting

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

PLAN = Plan(clients=4, rounds=3, steps=2, lr=0.1, batch_size=3, seed=1, strategy=Strategy("common", 0.02, 1.5))


def task(settings):
    generator = torch.Generator().manual_seed(0)
    return apps.Task(settings["plan"], networks.fcn(6, width=10, depth=1, classes=3, generator=generator))


def data(settings, client):
    generator = torch.Generator().manual_seed(client)
    x = torch.randn(5 + client, 6, generator=generator)
    return Shard(x, torch.randint(3, (5 + client,), generator=generator))


def context(plan, number=None):
    config = {} if number is None else {"partition-id": number}
    return Context(run_id=1, node_id=0, node_config=config, state=RecordDict(), run_config={"plan": plan})


class Grid:
    """Nodes 100, 101, … with clients 0, 1, …; `spoil` makes of a round, a client and its reply what arrives instead."""

    def __init__(self, plan, spoil=lambda round, client, reply: [reply]):
        self.plan, self.spoil = plan, spoil
        self.app = apps.client_app(task, data)

    def get_node_ids(self):
        return [100 + client for client in range(self.plan.clients)]

    def send_and_receive(self, messages, *, timeout=None):
        return [part for message in messages for part in self.replies(message)]

    def replies(self, message):
        """What comes back of a message."""
        client, round = self.client(message), int(message.metadata.group_id)
        try:
            reply = self.app(message, context(self.plan, client))
        except ValueError as error:  # as Flower reports what a client raised
            reply = Message(Error(code=0, reason=f"Traceback\n  lines\nValueError: {error}"), reply_to=message)
        return [reply] if message.metadata.message_type == "query" else self.spoil(round, client, reply)

    @staticmethod
    def client(message):
        """The number of the client that a message is to; a node that comes again is a hundred further on."""
        return message.metadata.dst_node_id % 100


def in_the_name_of_a_task(monkeypatch):
    """Let this process make messages, which Flower makes in the name of a task."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def run(plan=PLAN, spoil=None, grid=None, **options):
    """The rounds that a server makes of what arrives."""
    done = []
    grid = grid or (Grid(plan, spoil) if spoil else Grid(plan))
    apps.server_app(task, each=lambda settings, part: done.append(part), **options)(grid, context(plan))
    return done


def spoiled(change):
    """The rounds where a change makes, of what client 2 sends in the second round, the replies that arrive instead."""
    return run(spoil=lambda round, client, reply: change(reply) if (round, client) == (1, 2) else [reply])


def here(plan=PLAN):
    """The rounds of the engine in one process."""
    own = [data({}, k) for k in range(plan.clients)]
    return list(federated.simulate(plan, task({"plan": plan}).model, own))


def apart(a, b):
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def reply(message, content, **about):
    """A reply to the same message with other content."""
    record = RecordDict({"about": ConfigRecord(about)})
    if content is not None:
        array = Array(dtype="uint8", shape=(len(content),), stype="heavytail", data=content)
        record["state"] = ArrayRecord({"state": array})
    made = Message(record, reply_to=message)
    made.metadata.dst_node_id = message.metadata.dst_node_id
    made.metadata.__dict__["_src_node_id"] = message.metadata.src_node_id
    return made


def failure(message, node):
    """The same with an error, from a node."""
    made = Message(Error(code=1, reason="a\nValueError: out of cheese\n"), reply_to=message)
    made.metadata.__dict__["_src_node_id"] = node
    return made


def sent(message):
    """The bytes in a reply, and what it says of itself."""
    return message.content["state"]["state"].data, dict(message.content["about"])
