"""The transports of Flower, Ray and a fleet of processes over TLS: the result of the engine, with faults too.

No test here knows how long anything takes: what has not ended after `fleet.PATIENCE` seconds hangs.
"""

from __future__ import annotations

import json
import re
import sys

import pytest
import torch

from heavytail import federated

pytest.importorskip("flwr")

import contacts
import fleet as fleets
import fleet_app
import three_clients

from heavytail.federated import apps

EXAMPLE = fleets.ROOT / "examples" / "federated"
SETTINGS = {
    **{"clients": 4, "rounds": 2, "steps": 2, "lr": 0.3, "batch-size": 16, "seed": 1, "weighting": "samples"},
    **{"design": "common", "alpha": 1.5, "sigma": 0.01, "kind": "isotropic", "select": "known", "amount": 0.2},
    **{"width": 20, "skew": 0.5, "patience": fleets.PATIENCE, "out": ""},
}


@pytest.fixture
def example(monkeypatch):
    """What server and clients of the example have in common."""
    monkeypatch.syspath_prepend(EXAMPLE)
    from heavy_federation import task

    yield task
    for name in [name for name in sys.modules if name.partition(".")[0] == "heavy_federation"]:
        del sys.modules[name]


#: What the documentation of `apps` names, so that Ray asks where nobody answers which cloud it is in.
NOWHERE = dict(re.findall(r"(https?_proxy|no_proxy)=([^\s`]+)", apps.__doc__ or ""))

SIMULATION = """
import copy, json, os, pathlib, sys, traceback
from heavy_federation import task as example
from heavytail import federated
from heavytail.federated import apps

SETTINGS = json.loads(sys.argv[1])

def task(_):
    return example.task(SETTINGS)

def data(_, client):
    return example.data(SETTINGS, client)

def each(_, done):
    weights = done.federation.weights()
    pathlib.Path(sys.argv[2]).write_bytes(federated.pack(weights, federated.layout(task(None).model)))
    print("ROUND", json.dumps([done.answered, done.refused, done.upload, done.download]), flush=True)

if __name__ == "__main__":
    from flwr.simulation import run_simulation
    backend = copy.deepcopy(apps.BACKEND) | {"client_resources": {"num_cpus": 1, "num_gpus": 0}}
    backend["init_args"]["num_cpus"] = 1
    try:
        run_simulation(apps.server_app(task, each=each), apps.client_app(task, data), 4, "ray", backend)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # the server would wait for ever for clients that Ray could not start
"""


@pytest.mark.slow
def test_the_simulation_of_flower_does_what_the_engine_in_one_process_does(example, tmp_path):
    (tmp_path / "simulation.py").write_text(SIMULATION)
    environment = fleets.environment(tmp_path / "home")
    environment["PYTHONPATH"] += f":{EXAMPLE}"
    environment |= NOWHERE
    command = [sys.executable, str(tmp_path / "simulation.py"), json.dumps(SETTINGS), str(tmp_path / "out")]
    with contacts.listed(tmp_path) as found:
        returned, out, err = fleets.called(command, contacts.watched(environment, tmp_path), tmp_path)
    assert returned == 0, err[-3000:]
    processes, abroad = contacts.told(tmp_path)
    assert len(processes) > 4  # the workers of Ray among them
    assert set(NOWHERE) == {"http_proxy", "no_proxy"}
    assert abroad == found == []
    said = fleet_app.said(out)
    common = example.task(SETTINGS)
    own = [example.data(SETTINGS, k) for k in range(4)]
    here = list(federated.simulate(common.plan, common.model, own))
    assert said == [[list(part.answered), [], part.upload, part.download] for part in here]
    assert fleet_app.apart(fleet_app.written(tmp_path / "out", common), here[-1].federation.weights()) < 1e-6
    assert fleet_app.apart(here[-1].federation.weights(), here[0].federation.weights()) > 1e-4


CLIENT = """
import time
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

def answered(number, round, message, context):
    if number == 1 and round == 1:
        (FOLDER / "working").touch()
        time.sleep(3600)  # to be killed in the middle of it
    reply = sound(message, context)
    if number == 2:
        garbage = Array(dtype="uint8", shape=(7,), stype="heavytail", data=b"garbage")
        about = ConfigRecord(dict(reply.content["about"]))
        record = RecordDict({"state": ArrayRecord({"state": garbage}), "about": about})
        return Message(record, reply_to=message)
    return reply
"""


@pytest.mark.slow
def test_a_fleet_over_tls_goes_on_without_a_node_that_is_killed_and_one_that_returns_garbage(tmp_path):
    app = fleet_app.write(tmp_path, CLIENT)
    with contacts.listed(tmp_path) as found, fleets.fleet(tmp_path, 3) as fleet:
        run = fleet.start("run", "flwr", "run", str(app), "fleet", "--stream")
        fleets.wait(lambda: (tmp_path / "working").exists() or run.poll() is not None, fleet, "round 2")
        assert run.poll() is None, fleet.log("run")
        fleet.kill("client 1")
        fleets.wait((tmp_path / "round 3").exists, fleet, "the end of round 3")
        fleets.wait(lambda: run.poll() is not None, fleet, "the end of the run")
        said = fleet_app.said(fleet.log("run"))
    processes, abroad = contacts.told(tmp_path)
    assert len(processes) > 10  # SuperLink, SuperNodes, what each of them starts, and the run
    assert (abroad, found) == ([], [])
    there = [(0, 1), (0,), (0,)]
    assert [tuple(answered) for answered, *_ in said] == there
    garbage = r"what node \d+ sent in round \d is refused: these bytes are no message of heavytail\.federated"
    silent = r"node \d+ sent nothing in round 2.*"
    sentences = [(garbage,), (garbage, silent), (garbage, "1 of 3 clients were not there in round 3")]
    for (_, refused, *_), patterns in zip(said, sentences, strict=True):
        assert len(refused) == len(patterns)
        assert all(re.fullmatch(pattern, sentence) for pattern, sentence in zip(patterns, refused, strict=True))
    weights = fleet_app.written(tmp_path / "round 3", three_clients.task(three_clients.SETTINGS))
    assert all(torch.isfinite(weight).all() for weight in weights.values())
    assert fleet_app.apart(weights, fleet_app.expected(three_clients, three_clients.SETTINGS, there)) < 1e-6
    assert fleet_app.apart(weights, fleet_app.expected(three_clients, three_clients.SETTINGS, [(0, 1)] * 3)) > 1e-4
