"""The apps of Flower without its transport: a grid in this process hands messages over, and may spoil replies."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from heavytail import federated, networks
from heavytail.federated import Plan, Selection, Shard, Strategy, apps, rounds

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
        replies = []
        for message in messages:
            client = message.metadata.dst_node_id - 100
            try:
                reply = self.app(message, context(self.plan, client))
            except ValueError as error:  # as Flower reports what a client raised
                reply = Message(Error(code=0, reason=f"Traceback\n  lines\nValueError: {error}"), reply_to=message)
            replies += self.spoil(int(message.metadata.group_id), client, reply)
        return replies


@pytest.fixture(autouse=True)
def identity(monkeypatch):
    """Flower makes messages in the name of a task."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def run(plan=PLAN, spoil=None):
    """The rounds that a server makes of what arrives."""
    done = []
    grid = Grid(plan, spoil) if spoil else Grid(plan)
    apps.server_app(task, each=lambda settings, part: done.append(part))(grid, context(plan))
    return done


def here(plan=PLAN, clients=None):
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


STRATEGIES = [
    Strategy(),
    Strategy("local", 0.02, 1.5, "shared", Selection("error", 0.2)),
    Strategy("common", 0.02, 2.0, selection=Selection("known", 0.3)),
    Strategy("server", 0.02, 1.5, "entrywise", Selection("top", 0.2)),
    Strategy("common", 0.02, 1.5, selection=Selection("random", 0.3)),
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_the_apps_do_what_the_engine_in_one_process_does(strategy):
    plan = Plan(clients=4, rounds=3, steps=2, lr=0.1, batch_size=3, seed=1, strategy=strategy)
    for one, other in zip(run(plan), here(plan), strict=True):
        assert apart(one.federation.weights(), other.federation.weights()) < 1e-6
        assert (one.answered, one.refused) == ((0, 1, 2, 3), ())
        assert (one.upload, one.download) == (other.upload, other.download)
    assert apart(one.federation.weights(), here(plan)[0].federation.weights()) > 1e-4


def nan_in(content):
    return content[:-4] + b"\x00\x00\xc0\x7f"


SPOILED = {
    "nothing arrives": (lambda m: [], "node 102 sent nothing in round 2"),
    "an error": (
        lambda m: [failure(m, m.metadata.src_node_id)],
        "node 102 sent an error in round 2: ValueError: out of cheese",
    ),
    "an error of Flower": (
        lambda m: [failure(m, 1)],
        "node 102 sent nothing in round 2: ValueError: out of cheese",
    ),
    "garbage": (
        lambda m: [reply(m, b"garbage", **sent(m)[1])],
        "what node 102 sent in round 2 is refused: these bytes are no message of heavytail.federated",
    ),
    "cut off": (
        lambda m: [reply(m, sent(m)[0][:-10], **sent(m)[1])],
        "what node 102 sent in round 2 is refused: the message is cut off in '3.weight'",
    ),
    "not finite": (
        lambda m: [reply(m, nan_in(sent(m)[0]), **sent(m)[1])],
        "what node 102 sent in round 2 is refused: the message holds numbers of '3.weight' that are not finite",
    ),
    "no message": (
        lambda m: [reply(m, None, **sent(m)[1])],
        "what node 102 sent in round 2 is refused: it holds no message of heavytail.federated",
    ),
    "no name": (
        lambda m: [reply(m, sent(m)[0], round=1)],
        "what node 102 sent in round 2 is refused: it does not say its round, client and samples",
    ),
    "of an earlier round": (
        lambda m: [reply(m, sent(m)[0], **sent(m)[1] | {"round": 0})],
        "what node 102 sent in round 2 is refused: it is of round 1",
    ),
    "from nobody": (
        lambda m: [reply(m, sent(m)[0], **sent(m)[1] | {"client": 4})],
        "what node 102 sent in round 2 is refused: there is no client 4 among 4",
    ),
    "of no weight": (
        lambda m: [reply(m, sent(m)[0], **sent(m)[1] | {"samples": 0})],
        "what node 102 sent in round 2 is refused: a client with 0 samples has no weight",
    ),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_what_is_no_answer_is_named_in_one_sentence_and_the_round_goes_on(fault):
    change, sentence = SPOILED[fault]
    done = run(spoil=lambda round, client, reply: change(reply) if (round, client) == (1, 2) else [reply])
    assert [part.answered for part in done] == [(0, 1, 2, 3), (0, 1, 3), (0, 1, 2, 3)]
    assert [part.federation.round for part in done] == [1, 2, 3]
    assert [part.refused[:1] for part in done] == [(), (sentence,), ()]
    assert all(weight.isfinite().all() for weight in done[-1].federation.weights().values())
    without = run(spoil=lambda round, client, reply: [] if (round, client) == (1, 2) else [reply])
    assert apart(done[-1].federation.weights(), without[-1].federation.weights()) == 0
    assert apart(done[-1].federation.weights(), run()[-1].federation.weights()) > 1e-4


def test_a_second_answer_of_a_client_is_refused_and_the_first_counts():
    done = run(spoil=lambda round, client, reply: [reply, reply] if client == 2 else [reply])
    sentence = "what node 102 sent in round {} is refused: client 2 has answered already"
    assert [part.refused for part in done] == [(sentence.format(n),) for n in (1, 2, 3)]
    assert apart(done[-1].federation.weights(), run()[-1].federation.weights()) == 0
    assert all(a.upload > b.upload for a, b in zip(done, run(), strict=True))  # what was turned down was sent


def test_without_any_answer_every_round_is_counted_and_only_common_kicks_move_the_model():
    done = run(spoil=lambda *_: [])
    assert [part.federation.round for part in done] == [1, 2, 3]
    assert [len(part.refused) for part in done] == [4, 4, 4]
    assert not any(moved.any() for moved in done[-1].federation.moved.values())
    assert apart(done[-1].federation.weights(), done[0].federation.weights()) > 1e-3


def test_a_client_that_cannot_answer_says_why(monkeypatch):
    monkeypatch.setitem(
        globals(), "data", lambda settings, client: Shard(torch.full((4, 6), math.nan), torch.zeros(4).long())
    )
    done = run()
    assert done[0].answered == ()
    assert done[0].refused[0].endswith("has numbers that are not finite, and is not sent")


def test_a_server_goes_on_from_a_round_that_was_saved():
    whole = run()
    agreed = federated.layout(task({"plan": PLAN}).model)
    saved = rounds.save(agreed, whole[0].federation)
    done = []
    app = apps.server_app(task, each=lambda _, part: done.append(part), after=lambda settings: saved)
    app(Grid(PLAN), context(PLAN))
    assert [part.federation.round for part in done] == [2, 3]
    assert apart(done[-1].federation.weights(), whole[-1].federation.weights()) == 0
    assert [part.upload for part in done] == [part.upload for part in whole[1:]]


def test_the_example_says_where_nothing_is_left_to_do(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "examples" / "federated")
    from heavy_federation import server_app

    common, out = task({"plan": PLAN}), str(tmp_path / "model")
    monkeypatch.setattr(server_app, "task", lambda settings: common)
    for done in here():
        Path(out).write_bytes(rounds.save(federated.layout(common.model), done.federation))
        assert server_app.kept({"out": out}) == Path(out).read_bytes()
        said = f"all 3 rounds are done: {out} holds the global model\n" if done.federation.round == 3 else ""
        assert capsys.readouterr().out == said
    assert server_app.kept({"out": ""}) is None
    for name in [name for name in sys.modules if name.partition(".")[0] == "heavy_federation"]:
        monkeypatch.delitem(sys.modules, name)


def test_the_bytes_that_are_counted_are_those_of_the_records_of_flower(monkeypatch):
    """What Flower counts in its own records is within two parts in a hundred, for a network of some size."""
    plan = Plan(clients=2, rounds=1, steps=1, lr=0.1, seed=0)
    model = networks.fcn(6, width=300, depth=1, classes=3, generator=torch.Generator().manual_seed(0))
    monkeypatch.setitem(globals(), "task", lambda settings: apps.Task(plan, model))
    replies = []
    (done,) = run(plan, lambda round, client, reply: replies.append(reply) or [reply])
    counted = [sum(record.count_bytes() for record in reply.content.values()) for reply in replies]
    assert len(counted) == 2
    assert done.upload <= sum(counted) <= 1.02 * done.upload


@pytest.mark.parametrize("change", [{"seed": 2}, {"lr": 0.2}], ids=str)
def test_a_client_of_another_plan_makes_no_step_and_says_so(change):
    grid = Grid(PLAN)
    grid.plan = replace(PLAN, **change)
    done = []
    apps.server_app(task, each=lambda settings, part: done.append(part))(grid, context(PLAN))
    sentence = "ValueError: this client has another plan or start than the server: run both from the same app"
    assert done[0].refused == tuple(f"node {100 + k} sent an error in round 1: {sentence}" for k in range(4))


def test_an_answer_of_another_start_is_refused():
    change = {"origin": "0" * 32}
    done = run(spoil=lambda round, client, m: [reply(m, sent(m)[0], **sent(m)[1] | change)] if client == 2 else [m])
    sentence = "what node 102 sent in round 1 is refused: it is of another plan or start: run server and clients from"
    assert done[0].refused == (f"{sentence} the same app",)
    assert done[0].answered == (0, 1, 3)


@pytest.mark.parametrize("reason", ["\ud800", "\x1b[2J\x1b[31m", "é" * 1000, "\u2028round 9: accuracy 1"])
def test_the_reason_of_an_error_is_a_short_printable_line(reason):
    def spoil(round, client, message):
        made = Message(Error(code=1, reason="ok"), reply_to=message)
        made.metadata.__dict__["_src_node_id"] = message.metadata.src_node_id
        made.__dict__["_error"] = SimpleNamespace(code=1, reason=reason)
        return [made]

    for sentence in run(spoil=spoil)[0].refused:
        assert sentence.isascii()
        assert sentence.isprintable()
        assert len(sentence) < 260


class Leaving(Grid):
    """Of whose nodes so many are there in each look."""

    def __init__(self, plan, looks):
        super().__init__(plan)
        self.looks = iter(looks)

    def get_node_ids(self):
        return super().get_node_ids()[: next(self.looks)]


def test_clients_that_are_not_there_are_counted():
    done = []
    app = apps.server_app(task, each=lambda settings, part: done.append(part))
    app(Leaving(PLAN, [4, 4, 3, 3, 1, 1]), context(PLAN))  # two looks a round: to gather, and whom to ask
    assert [part.answered for part in done] == [(0, 1, 2, 3), (0, 1, 2), (0,)]
    counted = [f"{n} of 4 clients were not there in round {r}" for n, r in ((1, 2), (3, 3))]
    assert [part.refused for part in done] == [(), (counted[0],), (counted[1],)]


def test_a_server_whose_clients_are_all_gone_does_not_go_on_alone():
    done = []
    app = apps.server_app(task, each=lambda settings, part: done.append(part), gathering=0)
    with pytest.raises(TimeoutError, match=r"^no client came within 0 seconds: start them first$"):
        app(Leaving(PLAN, [4, 4, 0]), context(PLAN))
    assert len(done) == 1


def test_a_client_without_a_number_is_refused():
    with pytest.raises(ValueError, match=r"^a client needs its number, 0 to 3, as partition-id in the config of its"):
        apps.client_of({}, PLAN)
    with pytest.raises(ValueError, match=r"got 4$"):
        apps.client_of({"partition-id": 4}, PLAN)


def test_a_server_to_whom_nobody_comes_says_so():
    grid = SimpleNamespace(get_node_ids=list)
    with pytest.raises(TimeoutError, match=r"^no client came within 0 seconds: start them first$"):
        apps.server_app(task, gathering=0)(grid, context(PLAN))


TELEMETRY = """
import os, socket
from heavytail.federated import apps
import flwr.app, flwr.clientapp, flwr.serverapp
from flwr.supercore import telemetry
print(os.environ["FLWR_TELEMETRY_ENABLED"], os.environ["RAY_USAGE_STATS_ENABLED"], telemetry.FLWR_TELEMETRY_ENABLED)
"""


@pytest.mark.parametrize("asked", [None, "1"])
def test_nothing_is_reported_to_anybody_unless_the_environment_asks_for_it(asked, monkeypatch):
    for name in ("FLWR_TELEMETRY_ENABLED", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.delenv(name, raising=False)
        if asked is not None:
            monkeypatch.setenv(name, asked)
    done = subprocess.run([sys.executable, "-c", TELEMETRY], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [asked or "0"] * 3


WITHOUT = """
import sys
sys.modules["flwr"] = None
from heavytail import federated
from heavytail.federated import apps
for make in (lambda: apps.client_app(None, None), lambda: apps.server_app(None)):
    try:
        make()
    except ModuleNotFoundError as error:
        print(error)
"""


def test_without_flower_the_apps_say_what_to_install_and_all_else_works():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["heavytail.federated.apps needs flwr: pip install 'heavytail[federated]'"] * 2
