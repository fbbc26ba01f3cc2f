"""What tests import of hypothesis, where it is not installed: its tests are collected, and skip."""

from __future__ import annotations

from typing import Any

import pytest


class Nothing:
    """Stands for anything that hypothesis has: it can be called, asked for a name, and joined."""

    def __call__(self, *_: Any, **__: Any) -> Nothing:
        return self

    def __getattr__(self, name: str) -> Nothing:
        return self

    def __or__(self, _: Any) -> Nothing:
        return self


class settings:
    """A decorator without effect."""

    register_profile = load_profile = staticmethod(lambda *_, **__: None)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __call__(self, test: Any) -> Any:
        return test


def given(*_: Any, **__: Any) -> Any:
    """A decorator: the test skips, before anybody asks where its values come from."""
    return pytest.mark.skip(reason="needs hypothesis")


def example(*_: Any, **__: Any) -> Any:
    """A decorator without effect."""
    return lambda test: test


HealthCheck = strategies = assume = note = target = Nothing()
