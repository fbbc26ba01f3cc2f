"""The apps of Flower, handed over in this process: what the engine does, and faults named in one sentence."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from heavytail import networks
from heavytail.federated import Plan, Selection, Shard, Strategy, apps

pytest.importorskip("flwr")  # after the apps, which keep it from reporting

import one_process
from flwr.app import Error, Message
from one_process import PLAN, Grid, apart, context, failure, here, reply, run, sent, spoiled, task


@pytest.fixture(autouse=True)
def identity(monkeypatch):
    one_process.in_the_name_of_a_task(monkeypatch)


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
    done = spoiled(change)
    assert [part.answered for part in done] == [(0, 1, 2, 3), (0, 1, 3), (0, 1, 2, 3)]
    assert [part.federation.round for part in done] == [1, 2, 3]
    assert [part.refused[:1] for part in done] == [(), (sentence,), ()]
    assert all(weight.isfinite().all() for weight in done[-1].federation.weights().values())
    without = spoiled(lambda _: [])
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
    monkeypatch.setattr(
        one_process, "data", lambda settings, client: Shard(torch.full((4, 6), math.nan), torch.zeros(4).long())
    )
    done = run()
    assert done[0].answered == ()
    assert done[0].refused[0].endswith("has numbers that are not finite, and is not sent")


def test_the_bytes_that_are_counted_are_those_of_the_records_of_flower(monkeypatch):
    """What Flower counts in its own records is within two parts in a hundred, for a network of some size."""
    plan = Plan(clients=2, rounds=1, steps=1, lr=0.1, seed=0)
    model = networks.fcn(6, width=300, depth=1, classes=3, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(one_process, "task", lambda settings: apps.Task(plan, model))
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


# Three processes of one import of torch: Flower reads the variables when it is imported, if it is there.
APART = """
import os, sys
import torch
case = "nothing asked"
for other in ("asked", "without Flower"):
    if (child := os.fork()) == 0:
        case = other
        break
    assert os.waitpid(child, 0)[1] == 0
print("case:", case)
if case == "asked":
    os.environ |= dict.fromkeys(("FLWR_TELEMETRY_ENABLED", "RAY_USAGE_STATS_ENABLED"), "1")
elif case == "without Flower":
    sys.modules["flwr"] = None
from heavytail import federated
from heavytail.federated import apps
if case != "without Flower":
    import socket
    import flwr.app, flwr.clientapp, flwr.serverapp
    from flwr.supercore import telemetry
    names = ("FLWR_TELEMETRY_ENABLED", "RAY_USAGE_STATS_ENABLED")
    print(*map(os.environ.get, names), telemetry.FLWR_TELEMETRY_ENABLED)
    sys.exit()
for make in (lambda: apps.client_app(None, None), lambda: apps.server_app(None)):
    try:
        make()
    except ModuleNotFoundError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def said_apart():
    """The lines that each case of APART prints."""
    known = {k: v for k, v in os.environ.items() if k not in ("FLWR_TELEMETRY_ENABLED", "RAY_USAGE_STATS_ENABLED")}
    done = subprocess.run([sys.executable, "-c", APART], env=known, capture_output=True, text=True, check=True)
    return {name: lines for name, *lines in map(str.splitlines, done.stdout.split("case: ")[1:])}


def test_nothing_is_reported_to_anybody_unless_the_environment_asks_for_it(said_apart):
    assert said_apart["nothing asked"] == ["0 0 0"]
    assert said_apart["asked"] == ["1 1 1"]


def test_without_flower_the_apps_say_what_to_install_and_all_else_works(said_apart):
    sentence = "heavytail.federated.apps needs flwr: pip install 'heavytail[federated]'"
    assert said_apart["without Flower"] == [sentence] * 2
