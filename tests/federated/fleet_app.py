"""The app of three clients that a fleet is given, in files of its own, and what its server says and writes."""

from __future__ import annotations

import json
import re
import shutil

import three_clients

from heavytail import federated
from heavytail.federated import kicks, rounds, steps
from heavytail.federated.layout import state_of

PROJECT = """
[project]
name = "three-clients"
version = "1.0.0"
license = "MIT"
dependencies = []

[tool.flwr.app]
publisher = "heavytail"

[tool.flwr.app.components]
serverapp = "three_clients.server_app:app"
clientapp = "three_clients.client_app:app"

[tool.flwr.app.config]
"""

SOUND = """
def answered(number, round, message, context):
    return sound(message, context)
"""

CLIENT = """
import pathlib
from flwr.clientapp import ClientApp
from heavytail.federated import apps
from three_clients.task import data, task

FOLDER = pathlib.Path({folder!r})
sound = apps.client_app(task, data)
app = ClientApp()
{answered}

@app.query()
def query(message, context):
    return sound(message, context)

@app.train()
def train(message, context):
    return answered(context.node_config["partition-id"], message.content["about"]["round"], message, context)
"""

SERVER = """
import json, pathlib
from heavytail import federated
from heavytail.compress import files
from heavytail.federated import apps
from three_clients.task import task

FOLDER = pathlib.Path({folder!r})

def each(settings, done):
    content = federated.pack(done.federation.weights(), federated.layout(task(settings).model))
    files.put(FOLDER / f"round {{done.federation.round}}", content)
    print("ROUND", json.dumps([done.answered, done.refused, done.upload, done.download]), flush=True)

app = apps.server_app(
    task, each=each, state=lambda settings: settings["out"], patience=lambda settings: settings["patience"] or None
)
"""


def write(folder, answered=SOUND, **changes):
    """The app of three clients, who answer as they are told to, with some settings changed."""
    package = folder / "app" / "three_clients"
    package.mkdir(parents=True)
    settings = {**three_clients.SETTINGS, **changes}
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
    (folder / "app" / "pyproject.toml").write_text(PROJECT + "".join(lines))
    shutil.copy(three_clients.__file__, package / "task.py")
    (package / "__init__.py").touch()
    (package / "client_app.py").write_text(CLIENT.format(folder=str(folder), answered=answered))
    (package / "server_app.py").write_text(SERVER.format(folder=str(folder)))
    return folder / "app"


def said(log):
    """Of each round in what a server wrote: who answered, who was refused, bytes up and down."""
    return [json.loads(line) for line in re.findall(r"^ROUND (.*)$", log, re.MULTILINE)]


def written(path, common):
    """The weights that a server wrote at the end."""
    return federated.unpack(path.read_bytes(), federated.layout(common.model))


def expected(app, settings, there):
    """The global model after rounds in which these clients answer, by the functions that both engines share."""
    common = app.task(settings)
    plan, model, agreed = common.plan, common.model, federated.layout(common.model)
    now = rounds.begin(plan, agreed, state_of(model))
    for t, clients in enumerate(there):
        own = [app.data(settings, k) for k in clients]
        each, after, answers = {}, kicks.later(plan, agreed, now.known, t), {}
        if clients:
            each, _ = steps.moves(model, plan, agreed, now.known, now.moved, clients, own, t)
        for row, k in enumerate(clients):
            content = rounds.answer(plan, agreed, after, k, t, {name: move[row] for name, move in each.items()})
            answers[k] = rounds.Answer(rounds.read(plan, agreed, after, k, t, content), len(own[row].y))
        now = rounds.close(plan, agreed, now, after, answers)
    return now.weights()


def apart(a, b):
    """The largest difference of two states."""
    return max(float((a[name] - b[name]).abs().max()) for name in a)
