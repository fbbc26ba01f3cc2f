"""What to install where a wing, or a package that it needs, is not there."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

#: Of a wing, of what is shipped, or of the apps of a federation.
_EXTRAS = {"lab": "[lab]", "evidence": "[lab]", "book": "[book]", "ship": "[ship]", "federated": "[federated]"}


def need(module: str, what: str, wing: str) -> Any:
    """A module that an extra brings, imported; ModuleNotFoundError with one sentence where it is not there."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(missing(what, error, wing), name=error.name) from error


def require(wing: str, *modules: str) -> None:
    """ModuleNotFoundError with one sentence unless all of these are installed: for a wing that is imported by name."""
    for name in modules:
        if importlib.util.find_spec(name) is None:
            error = ModuleNotFoundError(name=name)
            raise ModuleNotFoundError(missing(f"heavytail.{wing}", error, wing), name=name)


def missing(what: str, error: ModuleNotFoundError, wing: str) -> str:
    """The sentence for a wing's `what` that needs a module which is not here."""
    absent = str(error.name)
    if absent.startswith("heavytail.book"):
        return f"{what} needs the book, which is in the repository and not in the package: clone it and work there"
    if absent.startswith("heavytail"):
        return f"{what} needs {absent}, which this installation lacks: install heavytail again"
    return f"{what} needs {absent.partition('.')[0]}: pip install 'heavytail{_EXTRAS.get(wing, '')}'"
