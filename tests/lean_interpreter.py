"""Triton's interpreter without what it does again at every call: more than half of its time, and none of its numbers.

It takes the place of Triton's functions at every call of one of a kernel's own functions, by a look through all that
the language has, and works out anew what NumPy calls a type and what shape a tensor has. Here all of that is done once.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from typing import Any


class Nothing:
    """What is taken back where nothing was put in place."""

    def restore(self) -> None:
        pass


def make() -> None:
    """Make the interpreter lean, if it is used. Of another version than is known here nothing is touched."""
    interpreter = sys.modules.get("triton.runtime.interpreter")
    known = {"_patch_lang", "_patch_builtin", "_patch_attr", "_get_np_dtype", "_LangPatchScope"}
    if os.environ.get("TRITON_INTERPRET") != "1" or interpreter is None or not known <= set(vars(interpreter)):
        return
    _patch_once(interpreter)
    _types_once(interpreter)
    _shapes_once()


def _patch_once(interpreter: Any) -> None:
    """Functions of the language are looked up once, and put in place once a launch."""
    language, patch = interpreter.tl, interpreter._patch_lang
    there: set[int] = set()

    @functools.cache
    def members(package: object) -> list[tuple[str, Any]]:
        return [(name, each) for name, each in inspect.getmembers(package) if language.core.is_builtin(each)]

    def patch_builtin(package: object, builder: object, scope: Any) -> None:
        for name, member in members(package):
            interpreter._patch_attr(package, name, member, builder, scope)

    @functools.cache
    def languages(function: Any) -> frozenset[int]:
        modules = (each for each in function.__globals__.values() if inspect.ismodule(each))
        return frozenset(id(each) for each in modules if each in (language, language.core))

    class Scope(interpreter._LangPatchScope):  # type: ignore[name-defined]
        def restore(self) -> None:
            there.clear()
            super().restore()

    def patch_lang(function: Any) -> Any:
        if languages(function) <= there:
            return Nothing()
        scope = patch(function)
        there.update(languages(function))
        return scope

    interpreter._patch_builtin = patch_builtin
    interpreter._LangPatchScope = Scope
    interpreter._patch_lang = patch_lang


def _types_once(interpreter: Any) -> None:
    """A type of the language has a name, and one type of NumPy."""
    find, found = interpreter._get_np_dtype, {}

    def np_dtype(kind: Any) -> Any:
        name = kind.scalar.name
        if name not in found:
            found[name] = find(kind)
        return found[name]

    interpreter._get_np_dtype = np_dtype


def _shapes_once() -> None:
    """Tensors of one shape share what is known of it."""
    from triton.language import core

    block, tensor = core.block_type.__init__, core.tensor.__init__
    blocks: dict[Any, dict[str, Any]] = {}
    shapes: dict[tuple[int, ...], dict[str, Any]] = {}

    def block_init(self: Any, element_ty: Any, shape: Any) -> None:
        key = element_ty.name, *(getattr(size, "value", size) for size in shape)
        if key not in blocks:
            block(self, element_ty, shape)
            blocks[key] = dict(vars(self))
        self.__dict__.update(blocks[key])

    def tensor_init(self: Any, handle: Any, type: Any) -> None:
        key = tuple(type.shape) if type.is_block() else ()
        if key not in shapes:
            tensor(self, handle, type)
            shapes[key] = {"shape": self.shape, "numel": self.numel}
        self.handle, self.type, self.dtype = handle, type, type.scalar
        self.__dict__.update(shapes[key])

    core.block_type.__init__, core.tensor.__init__ = block_init, tensor_init
