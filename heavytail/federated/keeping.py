"""The global model in a file after every round, and again from it: a training that was broken off goes on."""

from __future__ import annotations

from pathlib import Path

from heavytail.compress import files
from heavytail.federated import rounds
from heavytail.federated.layout import Layout, State
from heavytail.federated.plans import Plan
from heavytail.federated.rounds import Federation


def keep(path: Path | str, layout: Layout, federation: Federation) -> None:
    """Write the global model, whole or not at all; what was there is replaced.

    Raises OSError in one sentence where no file can be put.
    """
    files.put(path, rounds.save(layout, federation))


def kept(path: Path | str, plan: Plan, layout: Layout, start: State) -> Federation | None:
    """The global model that `keep` wrote, to the bit; None where there is no file.

    plan, start   those that it was trained with; the plan may have more rounds

    Raises ValueError in one sentence for a file that no training of this plan and start can go on from: of another one,
    of a later round than its last, or damaged; OSError for what cannot be read.
    """
    try:
        content = files.content_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return rounds.restore(plan, layout, start, content)
    except ValueError as error:
        raise ValueError(f"a training cannot go on from {path} (move it away to begin anew): {error}") from error
