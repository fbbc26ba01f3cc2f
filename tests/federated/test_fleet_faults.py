"""A fleet in processes of its own: the bytes on its wire, programs that are killed and started again, mad clients.

No test here knows how long anything takes: what has not ended after `fleet.PATIENCE` seconds hangs. Flower gives up a
client that needs more than 30 seconds to start, as on a machine that is busy. So models are held against those of the
clients that did answer.
"""

from __future__ import annotations

import random
import re
import time

import pytest

pytest.importorskip("flwr")

import contacts
import counting_proxy
import fleet as fleets
import fleet_app
import three_clients

pytestmark = pytest.mark.slow


def started(fleet, app, name="run"):
    """A run of an app; `name` begins with "run", as it is meant to end."""
    return fleet.start(name, "flwr", "run", str(app), "fleet", "--stream")


def ended(fleet, name="run"):
    """What a run has said when it is over."""
    program = fleet.programs[name]
    fleets.wait(lambda: program.poll() is not None, fleet, f"the end of the {name}")
    return fleet.log(name)


def expected(settings, there):
    return fleet_app.expected(three_clients, settings, there)


def final(folder, settings):
    """The global model that the server wrote at the end, which is finite, or it could not have been sent."""
    return fleet_app.written(folder / f"round {settings['rounds']}", three_clients.task(settings))


# Bytes

SIZES = {"large": {"inputs": 250, "width": 3000, "rounds": 6}, "small": {"inputs": 6, "width": 10, "rounds": 3}}
ALL = {"select": "all", "amount": 0.0, "design": "local", "sigma": 0.0, "clients": 2, "steps": 1}
OBJECTS = ("/v1/fleet/push-object", "/v1/fleet/pull-object")  # what holds the messages
ENVELOPE = 20_000  # bytes that Flower may add to a message, each way


@pytest.mark.parametrize("size", SIZES)
def test_the_bytes_that_are_counted_are_those_on_the_wire_of_the_superlink(size, tmp_path):
    """Of all that is on it to two parts in a hundred, where messages have more than a megabyte.

    Not counted are what Flower writes around a message, and its asking for one every three seconds.
    """
    settings = {**three_clients.SETTINGS, **ALL, **SIZES[size], "patience": 100.0}
    app = fleet_app.write(tmp_path, **settings)
    with fleets.fleet(tmp_path, 2, safe=False, joined=False) as fleet, counting_proxy.counting(fleet.port) as counted:
        for number in range(settings["clients"]):
            fleet.client(number, through=counted.port)
        started(fleet, app)
        said = fleet_app.said(ended(fleet))
    assert len(said) == settings["rounds"]
    messages, up, down = 2 * settings["rounds"], *(sum(part[place] for part in said) for place in (2, 3))
    print(
        f"{size}: {up} up and {down} down are counted, {counted.total()} are on the wire",
        *counted.paths.items(),
        sep="\n",
    )
    for counts, wire, held in zip((up, down), counted.total(), counted.total(*OBJECTS), strict=True):
        assert counts <= held <= counts + ENVELOPE * messages
        if size == "large":
            assert counts / messages > 1.2e6
            assert wire <= 1.02 * counts


# A SuperLink that is started again

WAITING = """
import time

def answered(number, round, message, context):
    if number == 1 and round == 1 and not (FOLDER / "again").exists():
        (FOLDER / "working").touch()
        time.sleep(3600)  # until all is killed
    return sound(message, context)
"""


def test_a_training_goes_on_after_its_superlink_was_killed_and_started_again(tmp_path):
    settings = {**three_clients.SETTINGS, "clients": 2, "patience": 100.0, "out": str(tmp_path / "state" / "model")}
    app = fleet_app.write(tmp_path, WAITING, **settings)
    with contacts.listed(tmp_path) as found, fleets.fleet(tmp_path, 2) as fleet:
        started(fleet, app)
        fleets.wait(lambda: (tmp_path / "working").exists() or _is_over(fleet), fleet, "round 2")
        fleet.kill("superlink")
        for number in range(2):
            fleet.kill(f"client {number}")  # which end by themselves else: the new SuperLink does not know them
        (tmp_path / "again").touch()
        fleet.superlink()
        fleets.wait(lambda: fleets.listens(fleet.port), fleet, "the SuperLink")
        for number in range(2):
            fleet.client(number)
        before = fleet_app.said(ended(fleet))
        started(fleet, app, "run again")
        after = ended(fleet, "run again")
    processes, abroad = contacts.told(tmp_path)
    assert len(processes) > 10
    assert (abroad, found) == ([], [])
    assert len(before) == 1
    assert f"this goes on after round 1 of 3, with {settings['out']}" in after
    there = [tuple(answered) for answered, *_ in [*before, *fleet_app.said(after)]]
    assert len(there) == 3
    assert fleet_app.apart(final(tmp_path, settings), expected(settings, there)) < 1e-6
    assert fleet_app.apart(final(tmp_path, settings), expected(settings, there[1:])) > 1e-4


def _is_over(fleet):
    return fleet.programs["run"].poll() is not None


# SuperNodes that are killed, and mad ones

SILENT = r"node \d+ sent nothing in round \d+.*"
ABSENT = r"(\d) of 3 clients were not there in round \d+"


@pytest.mark.parametrize("seed", [21, 22])
def test_rounds_go_on_while_clients_are_killed_at_random_moments_and_come_back(seed, tmp_path):
    """Five kills each: in each round two, one some seconds after it has begun and one some seconds after that."""
    draws = random.Random(seed)
    settings = {**three_clients.SETTINGS, "rounds": 4, "patience": 60.0}
    app = fleet_app.write(tmp_path, **settings)
    with fleets.fleet(tmp_path, 3) as fleet:
        started(fleet, app)
        for number, kills in enumerate((2, 2, 1)):
            begun = (tmp_path / f"round {number}").exists if number else lambda: "ROUND 0" in fleet.log("client 0")
            fleets.wait(lambda begun=begun: begun() or _is_over(fleet), fleet, f"round {number + 1}")
            victims = draws.sample(range(3), kills)
            for client in victims:
                time.sleep(draws.uniform(0, 8))
                fleet.kill(f"client {client}")
            for client in victims:
                fleet.client(client)
        said = fleet_app.said(ended(fleet))
    print(*said, sep="\n")
    assert len(said) == settings["rounds"]
    for number, (answered, refused, *_) in enumerate(said, 1):
        assert all(f"in round {number}" in sentence for sentence in refused)
        silent = {sentence for sentence in refused if re.fullmatch(SILENT, sentence)}
        absent = [int(match[1]) for sentence in refused if (match := re.fullmatch(ABSENT, sentence))]
        assert len(silent) + len(absent) == len(refused)
        assert len(answered) + len(silent) + sum(absent) >= 3  # more where one that is gone is asked too
    there = [tuple(answered) for answered, *_ in said]
    assert any(len(answered) < 3 for answered in there)
    assert fleet_app.apart(final(tmp_path, settings), expected(settings, there)) < 1e-6


SPOILT = """
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

def answered(number, round, message, context):
    reply = sound(message, context)
    content, about = reply.content["state"]["state"].data, dict(reply.content["about"])
    if number == 1:
        content = [content[:-10], content + b"more", content][round]
        about = {"client": 1} if round == 2 else about
    array = Array(dtype="uint8", shape=(len(content),), stype="heavytail", data=content)
    record = RecordDict({"state": ArrayRecord({"state": array}), "about": ConfigRecord(about)})
    return Message(record, reply_to=message)
"""
REASONS = (
    "the message is cut off in '3.weight'",
    "the message is longer than what it holds, by 4 bytes",
    "it does not say its round, client and samples",
)


def test_a_fleet_refuses_second_answers_and_mad_ones_and_a_node_without_a_number(tmp_path):
    settings = {**three_clients.SETTINGS, "clients": 4, "patience": 100.0}
    app = fleet_app.write(tmp_path, SPOILT, **settings)
    with fleets.fleet(tmp_path, 4, joined=False) as fleet:
        for number, called in enumerate((0, 1, 0, 7)):
            fleet.client(number, called=called)
        started(fleet, app)
        said = fleet_app.said(ended(fleet))
    print(*said, sep="\n")
    assert len(said) == 3
    told = set()
    for number, ((answered, refused, *_), reason) in enumerate(zip(said, REASONS, strict=True), 1):
        begin = f"what node N sent in round {number} is refused: "
        sentence = "a client needs its number, 0 to 3, as partition-id in the config of its node, got 7"
        error = f"<class 'ValueError'>:<'{sentence}'>"  # as Flower tells it
        kinds = {
            begin + reason: "mad",
            begin + "client 0 has answered already": "second",
            f"node N sent an error in round {number}: {error}": "no number",
        }
        named = [re.sub(r"node \d+", "node N", sentence) for sentence in refused if not re.fullmatch(SILENT, sentence)]
        assert set(named) <= kinds.keys()
        told |= {kinds[sentence] for sentence in named}
        assert answered in ([0], [])
        assert len(answered) + len(refused) == 4
    assert told == {"mad", "second", "no number"}
    there = [tuple(answered) for answered, *_ in said]
    assert fleet_app.apart(final(tmp_path, settings), expected(settings, there)) < 1e-6
