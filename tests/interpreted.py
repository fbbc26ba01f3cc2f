"""Triton's interpreter without work that it does for nothing, which is most of what a small launch takes."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def patched_once_a_launch(interpreter: ModuleType) -> None:
    """Let a launch put each module's functions in place once, not at every call of a function within a kernel.

    Without `debug`, which is off, it also makes every sum and product of whole numbers a second time, in int64, to
    compare it with what its type holds, and then asserts nothing. That is left out.
    """
    launches, calls = interpreter.GridExecutor.__call__, interpreter.InterpretedFunction.__call__
    if hasattr(calls, "in_place"):
        return
    in_place: set[int] = set()  # modules whose functions are those of the interpreter, until a launch ends

    def launch(self: Any, *args: Any, **kwargs: Any) -> None:
        in_place.clear()
        launches(self, *args, **kwargs)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        names = id(self.fn.__globals__)
        if names not in in_place:
            in_place.add(names)
            return calls(self, *args, **kwargs)
        try:
            return self.rewrite()(*args, **kwargs)
        except Exception as error:
            raise interpreter.InterpreterError(repr(error)) from error

    call.in_place = in_place  # type: ignore[attr-defined]
    interpreter.GridExecutor.__call__, interpreter.InterpretedFunction.__call__ = launch, call
    builder = interpreter.interpreter_builder
    assert not builder.options.debug
    builder.options = interpreter.InterpreterOptions(sanitize_overflow=False)
