"""What goes wrong with a fleet, in this process: clients that vanish, a server that is started again, mad replies."""

from __future__ import annotations

import os
import random
import socket
from dataclasses import replace
from functools import cache

import pytest
import torch

from heavytail import federated
from heavytail.federated import Selection, Strategy, apps, keeping, taking_part
from heavytail.federated.layout import state_of

pytest.importorskip("flwr")

import one_process
from one_process import PLAN, Grid, apart, context, failure, here, reply, run, sent, spoiled, task

DRAWN = replace(PLAN, clients=6, sampled=2, rounds=5)


@pytest.fixture(autouse=True)
def identity(monkeypatch):
    one_process.in_the_name_of_a_task(monkeypatch)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@cache
def without(client, lost):
    """The last round of a training in some of whose rounds nothing of a client arrives."""
    return run(spoil=lambda round, k, reply: [] if k == client and round in lost else [reply])[-1]


def finite(done):
    return all(bool(weight.isfinite().all()) for weight in done.federation.weights().values())


# A client that vanishes

MOMENTS = ("before a round", "before it is asked", "asked", "at work", "half of its answer sent", "answered")


class Vanishing(Grid):
    """Of whose clients one is gone from a moment of a round on; where it comes back, as another node a round later."""

    def __init__(self, client, at, moment, back):
        super().__init__(PLAN)
        self.own, self.at, self.moment, self.back = client, at, MOMENTS.index(moment), back
        self.looks = 0

    def there(self, round, moment):
        return (round, moment) < (self.at, self.moment) or (self.back and round > self.at)

    def get_node_ids(self):
        round, look = divmod(self.looks, 2)  # to gather, and whom to ask
        self.looks += 1
        node = 200 if self.back and round > self.at else 100
        return [
            (node if client == self.own else 100) + client
            for client in range(self.plan.clients)
            if client != self.own or self.there(round, look)
        ]

    def replies(self, message):
        client, round = self.client(message), int(message.metadata.group_id)
        if client != self.own or self.there(round, MOMENTS.index("half of its answer sent")):
            return super().replies(message)
        if self.there(round, MOMENTS.index("at work")):
            return [failure(message, 1)]  # of Flower, which has half a reply
        return [] if self.there(round, MOMENTS.index("asked")) else [failure(message, 1)]


@pytest.mark.parametrize("back", [False, True], ids=["for good", "and comes back"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("at", range(3))
def test_a_round_goes_on_without_a_client_that_vanishes(at, moment, back):
    client = random.Random(at).randrange(4)
    done = run(grid=Vanishing(client, at, moment, back), gathering=0)
    lost = {at} - ({at} if moment == "answered" else set()) | (set() if back else set(range(at + 1, 3)))
    assert [part.federation.round for part in done] == [1, 2, 3]
    everybody = set(range(4))
    assert [set(part.answered) for part in done] == [everybody - ({client} if t in lost else set()) for t in range(3)]
    assert [len(part.refused) for part in done] == [int(t in lost) for t in range(3)]
    assert all(f"in round {t + 1}" in sentence for t, part in enumerate(done) for sentence in part.refused)
    assert finite(done[-1])
    assert equal(done[-1].federation.weights(), without(client, frozenset(lost)).federation.weights())


# A server that is started again


def states(place):
    """What `server_app` is told of a file."""
    return {"state": lambda settings: str(place)}


class Ended(Exception):
    """As the process ends."""


def broken_off(place, at, plan=PLAN):
    """Rounds of a server that ends in the middle of one."""

    def spoil(round, client, reply):
        if round == at and client == 2:
            raise Ended
        return [reply]

    with pytest.raises(Ended):
        run(plan, spoil, **states(place))


unbroken = cache(run)


@pytest.mark.parametrize("strategy", [PLAN.strategy, Strategy("server", 0.02, 1.5)], ids=["common", "server"])
@pytest.mark.parametrize("at", range(3))
def test_a_server_that_ended_in_a_round_goes_on_with_it_as_if_it_had_not(strategy, at, tmp_path, capsys):
    plan, place = replace(PLAN, strategy=strategy), tmp_path / "folder" / "model"
    whole = unbroken(plan)
    broken_off(place, at, plan)
    assert capsys.readouterr().out == ""
    done = run(plan, **states(place))
    assert capsys.readouterr().out == f"this goes on after round {at} of 3, with {place}\n"
    assert [part.federation.round for part in done] == list(range(at + 1, 4))
    assert equal(done[-1].federation.weights(), whole[-1].federation.weights())
    assert [(part.upload, part.download) for part in done] == [(part.upload, part.download) for part in whole[at:]]
    assert run(plan, **states(place)) == []
    assert capsys.readouterr().out == f"all 3 rounds are done: {place} holds the global model\n"
    model = task({"plan": plan}).model
    kept = keeping.kept(place, plan, federated.layout(model), state_of(model))
    assert equal(kept.weights(), whole[-1].federation.weights())


def test_a_training_that_is_over_goes_on_for_more_rounds(tmp_path):
    place, longer = tmp_path / "model", replace(PLAN, rounds=4)
    run(**states(place))
    (more,) = run(longer, **states(place))
    assert equal(more.federation.weights(), run(longer)[-1].federation.weights())


def test_a_server_that_ended_in_many_rounds_has_seen_each_of_them(tmp_path):
    plan, place = replace(PLAN, rounds=6), tmp_path / "model"
    for at in (0, 2, 2, 3, 5):
        broken_off(place, at, plan)
    (last,) = run(plan, **states(place))
    assert equal(last.federation.weights(), run(plan)[-1].federation.weights())


@pytest.mark.parametrize("when", ["fsync", "replace"])
def test_a_state_that_was_being_written_is_the_old_one_or_the_new_one(when, tmp_path, monkeypatch):
    place, real, calls = tmp_path / "model", getattr(os, when), []

    def ends(*arguments):
        calls.append(arguments)
        if len(calls) == 3:  # the start, round 1, round 2
            raise Ended
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, when, ends)
        with pytest.raises(Ended):
            run(**states(place))
    done = run(**states(place))
    assert [part.federation.round for part in done] == [2, 3]
    assert equal(done[-1].federation.weights(), unbroken(PLAN)[-1].federation.weights())
    assert list(tmp_path.iterdir()) == [place]


def test_who_measures_sees_every_round_and_the_one_that_was_not_kept_again(tmp_path, monkeypatch):
    place, seen = tmp_path / "model", []

    def each(settings, part):
        seen.append(part.federation.round)
        if seen == [1, 2]:
            raise Ended

    app = apps.server_app(task, each=each, **states(place))
    with pytest.raises(Ended):
        app(Grid(PLAN), context(PLAN))
    app(Grid(PLAN), context(PLAN))
    assert seen == [1, 2, 2, 3]


def wrong(place, change):
    """The sentence of a server whose state is changed so; nobody is asked for anything before it."""
    with pytest.raises((ValueError, OSError)) as raised:
        run(change, grid=object(), **states(place))
    return str(raised.value)


def test_where_a_server_cannot_go_on_one_sentence_says_so(tmp_path):
    place = tmp_path / "model"
    broken_off(place, 2)
    content = place.read_bytes()
    begin = f"a training cannot go on from {place} (move it away to begin anew): "
    for other in (replace(PLAN, seed=2), replace(PLAN, sampled=3), replace(PLAN, clients=5)):
        assert wrong(place, other) == begin + (
            "these bytes are of another plan or start: use those that they were trained with"
        )
    assert wrong(place, replace(PLAN, rounds=1)) == begin + (
        "this is the global model after 2 rounds, and the plan has 1"
    )
    assert place.read_bytes() == content
    for damaged, reason in (
        (b"", "these bytes are no message"),
        (content[:-1], "the message is cut off in '3.weight'"),
    ):
        place.write_bytes(damaged)
        assert wrong(place, PLAN).startswith(begin + reason)
    place.unlink()
    place.mkdir()
    assert wrong(place, PLAN) == f"{place} is no regular file, and is not replaced: name another place"
    under = tmp_path / "file" / "model"
    under.parent.touch()
    assert wrong(under, PLAN).startswith(f"{under} cannot be written (")


@pytest.mark.parametrize("nowhere", [None, ""])
def test_without_a_file_nothing_is_kept(nowhere, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(state=lambda settings: nowhere)
    assert list(tmp_path.iterdir()) == []


# Replies that are none

NO_NAME = "it does not say its round, client and samples"
MAD = {
    "the client of another": (
        lambda m: [reply(m, sent(m)[0], **sent(m)[1] | {"client": 1})],
        "client 1 has answered already",
    ),
    "a client that is a word": (lambda m: [reply(m, sent(m)[0], **sent(m)[1] | {"client": "2"})], NO_NAME),
    "a client that is true": (lambda m: [reply(m, sent(m)[0], **sent(m)[1] | {"client": True})], NO_NAME),
    "samples that are a fraction": (lambda m: [reply(m, sent(m)[0], **sent(m)[1] | {"samples": 7.5})], NO_NAME),
    "samples in a list": (lambda m: [reply(m, sent(m)[0], **sent(m)[1] | {"samples": [7]})], NO_NAME),
    "samples without end": (
        lambda m: [reply(m, sent(m)[0], **sent(m)[1] | {"samples": 2**62})],
        f"a client with {2**62} samples has no weight",
    ),
    "a round to come": (lambda m: [reply(m, sent(m)[0], **sent(m)[1] | {"round": 2})], "it is of round 3"),
    "no record of its own": (lambda m: [reply(m, sent(m)[0])], NO_NAME),
    "no bytes": (
        lambda m: [reply(m, b"", **sent(m)[1])],
        "these bytes are no message of heavytail.federated",
    ),
    "too many bytes": (
        lambda m: [reply(m, sent(m)[0] + b"more", **sent(m)[1])],
        "the message is longer than what it holds, by 4 bytes",
    ),
    "a header without end": (
        lambda m: [reply(m, sent(m)[0][:4] + b"\xff\xff\xff\xff" + sent(m)[0][8:], **sent(m)[1])],
        "the message is cut off in its header",
    ),
    "another network": (
        lambda m: [reply(m, sent(m)[0].replace(b"3.weight", b"4.weight"), **sent(m)[1])],
        "the message holds the weights 1.weight, 4.weight, and those of the network in their order are others",
    ),
}


@pytest.mark.parametrize("fault", MAD)
def test_a_mad_reply_is_named_in_one_sentence_and_counts_for_nothing(fault):
    change, reason = MAD[fault]
    done = spoiled(change)
    assert [part.answered for part in done] == [(0, 1, 2, 3), (0, 1, 3), (0, 1, 2, 3)]
    assert [part.refused for part in done] == [(), (f"what node 102 sent in round 2 is refused: {reason}",), ()]
    assert equal(done[-1].federation.weights(), without(2, frozenset({1})).federation.weights())


def test_a_sound_reply_counts_once_however_many_mad_ones_there_are():
    mad = [change for change, _ in MAD.values()]
    done = run(spoil=lambda round, client, m: [part for change in mad[1:] for part in change(m)] + [m, m])
    assert all(part.answered == (0, 1, 2, 3) for part in done)
    assert [len(part.refused) for part in done] == [4 * len(mad)] * 3
    assert equal(done[-1].federation.weights(), unbroken(PLAN)[-1].federation.weights())


def test_two_nodes_of_one_client_count_once():
    class Twins(Grid):
        def get_node_ids(self):
            return [*super().get_node_ids(), 202]

    done = run(grid=Twins(PLAN))
    assert all(part.answered == (0, 1, 2, 3) for part in done)
    sentence = "what node 202 sent in round {} is refused: client 2 has answered already"
    assert [part.refused for part in done] == [(sentence.format(t),) for t in (1, 2, 3)]
    assert equal(done[-1].federation.weights(), unbroken(PLAN)[-1].federation.weights())


# Some of many


@pytest.mark.parametrize("strategy", [PLAN.strategy, Strategy("local", 0.02, 1.5, selection=Selection("random", 0.3))])
def test_the_clients_of_a_round_are_the_same_in_both_engines_and_nobody_else_is_sent_anything(strategy):
    plan = replace(DRAWN, strategy=strategy)
    asked = []

    class Listening(Grid):
        def replies(self, message):
            asked.append((message.metadata.message_type, int(message.metadata.group_id), self.client(message)))
            return super().replies(message)

    done = run(plan, grid=Listening(plan))
    drawn = [taking_part(plan, t) for t in range(5)]
    assert [kind for kind, _, _ in asked if kind == "query"] == ["query"] * 6
    assert [(t, k) for kind, t, k in asked if kind == "train"] == [(t, k) for t in range(5) for k in drawn[t]]
    for one, other, clients in zip(done, here(plan), drawn, strict=True):
        assert one.answered == other.answered == clients
        assert (one.refused, one.upload, one.download) == ((), other.upload, other.download)
        assert apart(one.federation.weights(), other.federation.weights()) < 1e-6


def test_a_client_that_is_drawn_and_not_there_is_counted():
    drawn = [taking_part(DRAWN, t) for t in range(5)]
    missing = drawn[1][0]

    class Without(Grid):
        def get_node_ids(self):
            return [node for node in super().get_node_ids() if node != 100 + missing]

    done = run(DRAWN, grid=Without(DRAWN), gathering=0)
    for t, part in enumerate(done):
        assert part.answered == tuple(k for k in drawn[t] if k != missing)
        expected = (f"1 of 2 clients were not there in round {t + 1}",) if missing in drawn[t] else ()
        assert part.refused == expected


@pytest.mark.parametrize("said", [None, 6, -1, True, "1"], ids=str)
def test_a_node_that_does_not_say_which_client_it_is_is_named_and_asked_again(said):
    drawn = [taking_part(DRAWN, t) for t in range(5)]
    mute = drawn[0][0]

    class Mute(Grid):
        def replies(self, message):
            if message.metadata.message_type != "query" or self.client(message) != mute:
                return super().replies(message)
            if int(message.metadata.group_id) == 1:
                return super().replies(message)
            return [] if said is None else [reply(message, None, client=said)]

    done = run(DRAWN, grid=Mute(DRAWN))
    sentence = f"node {100 + mute} did not say in round 1 which client it is"
    assert done[0].refused == (sentence, "1 of 2 clients were not there in round 1")
    assert [part.answered for part in done] == [drawn[0][1:], *drawn[1:]]
    assert not any(part.refused for part in done[1:])


def test_an_answer_in_the_name_of_a_client_that_was_not_drawn_is_refused():
    first = taking_part(DRAWN, 0)
    other = next(k for k in range(6) if k not in first)

    def spoil(round, client, m):
        named = reply(m, sent(m)[0], **sent(m)[1] | {"client": other})
        return [named] if round == 0 and client == first[1] else [m]

    done = run(DRAWN, spoil)
    node = 100 + first[1]
    sentence = f"what node {node} sent in round 1 is refused: client {other} was not drawn for this round"
    assert done[0].refused == (sentence,)
    assert done[0].answered == first[:1]


# Nobody is contacted


def test_neither_engine_opens_a_connection(monkeypatch):
    """In this process; those of a simulation and of a fleet are watched in slow tests."""
    heard = []

    def refuse(*arguments, **options):
        heard.append(arguments)
        raise OSError("nobody is contacted here")

    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    assert len(run(DRAWN)) == 5
    assert len(here()) == 3
    assert heard == []
    with pytest.raises(OSError, match="nobody is contacted"):
        socket.create_connection(("127.0.0.1", 9))
    assert len(heard) == 1
