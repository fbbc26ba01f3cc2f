"""The transports of Flower, Ray and a fleet of processes over TLS: the result of the engine, with faults too.

No test here knows how long anything takes: what does not come within `fleet.PATIENCE` seconds hangs.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest
import torch

from heavytail import federated
from heavytail.federated import kicks, rounds, steps
from heavytail.federated.layout import state_of

pytest.importorskip("flwr")
pytest.importorskip("ray")

import fleet as fleets

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


def written(path, common):
    """The weights that a server wrote at the end."""
    return federated.unpack(path.read_bytes(), federated.layout(common.model))


def expected(example, settings, there):
    """The global model after rounds in which these clients answer, by the functions that both engines share."""
    common = example.task(settings)
    plan, model, agreed = common.plan, common.model, federated.layout(common.model)
    now = rounds.begin(plan, agreed, state_of(model))
    for t, clients in enumerate(there):
        own = [example.data(settings, k) for k in clients]
        after, answers = kicks.later(plan, agreed, now.known, t), {}
        each = steps.moves(model, plan, agreed, now.known, now.moved, clients, own, t)
        for row, k in enumerate(clients):
            content = rounds.answer(plan, agreed, after, k, t, {name: move[row] for name, move in each.items()})
            answers[k] = rounds.Answer(rounds.read(plan, agreed, after, k, t, content), len(own[row].y))
        now = rounds.close(plan, agreed, now, after, answers)
    return now.weights()


def apart(a, b):
    return max(float((a[name] - b[name]).abs().max()) for name in a)


SIMULATION = """
import copy, json, pathlib, sys
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
    run_simulation(apps.server_app(task, each=each), apps.client_app(task, data), 4, "ray", backend)
"""


@pytest.mark.long
def test_the_simulation_of_flower_does_what_the_engine_in_one_process_does(example, tmp_path):
    (tmp_path / "simulation.py").write_text(SIMULATION)
    environment = fleets.environment(tmp_path / "home")
    environment["PYTHONPATH"] += f":{EXAMPLE}"
    command = [sys.executable, str(tmp_path / "simulation.py"), json.dumps(SETTINGS), str(tmp_path / "out")]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=fleets.PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = [json.loads(line) for line in re.findall(r"^ROUND (.*)$", done.stdout, re.MULTILINE)]
    common = example.task(SETTINGS)
    own = [example.data(SETTINGS, k) for k in range(4)]
    here = list(federated.simulate(common.plan, common.model, own))
    assert said == [[list(part.answered), [], part.upload, part.download] for part in here]
    assert apart(written(tmp_path / "out", common), here[-1].federation.weights()) < 1e-6
    assert apart(here[-1].federation.weights(), here[0].federation.weights()) > 1e-4


FAULTY = """
import pathlib, time
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from heavy_federation.task import data, task
from heavytail.federated import apps

sound = apps.client_app(task, data)
app = ClientApp()

@app.train()
def train(message, context):
    number, round = context.node_config["partition-id"], message.content["about"]["round"]
    if number == 2 and round == 1:
        pathlib.Path(FOLDER, "working").touch()
        time.sleep(3600)  # to be killed in the middle of it
    reply = sound(message, context)
    if number == 3:
        garbage = Array(dtype="uint8", shape=(7,), stype="heavytail", data=b"garbage")
        about = ConfigRecord(dict(reply.content["about"]))
        record = RecordDict({"state": ArrayRecord({"state": garbage}), "about": about})
        return Message(record, reply_to=message)
    return reply
"""


def words(settings):
    """Settings as `flwr run` takes them."""
    return " ".join(f"{name}={json.dumps(value)}" for name, value in settings.items())


@pytest.mark.slow
def test_a_fleet_over_tls_goes_on_without_a_node_that_is_killed_and_one_that_returns_garbage(example, tmp_path):
    settings = SETTINGS | {"rounds": 4, "out": str(tmp_path / "out")}
    shutil.copytree(EXAMPLE, tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    client = tmp_path / "app" / "heavy_federation" / "client_app.py"
    client.write_text(f"FOLDER = {str(tmp_path)!r}\n{FAULTY}")
    with fleets.fleet(tmp_path, 4) as fleet:
        asked = ("flwr", "run", str(tmp_path / "app"), "fleet", "--stream", "--run-config", words(settings))
        run = fleet.start("run", *asked)
        fleets.wait(lambda: (tmp_path / "working").exists() or run.poll() is not None, fleet, "round 2")
        assert run.poll() is None, fleet.log("run")
        fleet.kill("client 2")
        fleets.wait((tmp_path / "out").exists, fleet, "the end of round 4")
        fleets.wait(lambda: run.poll() is not None, fleet, "the end of the run")
        said = fleet.log("run")
    there = [(0, 1, 2), (0, 1), (0, 1), (0, 1)]
    answered = re.findall(r"^round \d: accuracy 0\.\d+, clients ([\d, ]+), \d+ bytes up", said, re.MULTILINE)
    assert answered == [", ".join(map(str, clients)) for clients in there]
    refused = r"^what node \d+ sent in round (\d) is refused: these bytes are no message of heavytail\.federated$"
    assert re.findall(refused, said, re.MULTILINE) == ["1", "2", "3", "4"]
    assert re.findall(r"^node \d+ sent nothing in round (\d)", said, re.MULTILINE) == ["2"]
    weights = written(tmp_path / "out", example.task(settings))
    assert all(torch.isfinite(weight).all() for weight in weights.values())
    assert apart(weights, expected(example, settings, there)) < 1e-6
    assert apart(weights, expected(example, settings, [(0, 1, 2)] * 4)) > 1e-4
