"""The server: after every round it says how accurate the global model is, and keeps it in a file where one is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heavy_federation.task import task
from heavytail import federated
from heavytail.federated import Round, apps
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


app = apps.server_app(
    task,
    each=report,
    state=lambda settings: settings["out"],
    patience=lambda settings: settings["patience"],
)
