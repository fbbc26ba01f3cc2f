"""The server: after every round it says how accurate the global model is, and keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heavy_federation.task import task
from heavytail import federated
from heavytail.compress import files
from heavytail.federated import Round, apps, rounds
from heavytail.lab import datasets


def report(settings: Mapping[str, Any], done: Round) -> None:
    """One line a round, and one for everybody who is not in the average."""
    common, digits, weights = task(settings), datasets.load("digits"), done.federation.weights()
    model = federated.fill(common.model, weights).eval()
    right = float((model(digits.x_test).argmax(1) == digits.y_test).float().mean())
    print(
        f"round {done.federation.round}: accuracy {right:.3f}, clients {', '.join(map(str, done.answered)) or 'none'}, "
        f"{done.upload} bytes up, {done.download} bytes down",
        flush=True,
    )
    for sentence in done.refused:
        print(sentence, flush=True)
    if settings["out"]:
        files.put(settings["out"], rounds.save(federated.layout(common.model), done.federation))


def kept(settings: Mapping[str, Any]) -> bytes | None:
    """The global model of a run that was broken off."""
    if not settings["out"] or not Path(settings["out"]).exists():
        return None
    content, common = files.content_of(settings["out"]), task(settings)
    start = {name: weight.detach() for name, weight in common.model.named_parameters()}
    if rounds.restore(common.plan, federated.layout(common.model), start, content).round == common.plan.rounds:
        print(f"all {common.plan.rounds} rounds are done: {settings['out']} holds the global model", flush=True)
    return content


app = apps.server_app(task, each=report, after=kept, patience=lambda settings: settings["patience"])
