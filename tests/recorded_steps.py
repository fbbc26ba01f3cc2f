"""Steps recorded as a GPU records them, on a CPU: a stand-in for `heavytail.lab.machine.recording.record`.

To record a step changes nothing. It may not read a number back nor bring one over from Python, and when it is replayed
it must be what was recorded: the same operations with the same numbers, on tensors that lie where they lay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Step = Callable[[], Tensor]
REFUSED = "CUDA error: operation not permitted when stream is capturing"
READS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::lift_fresh"}
WHOLE_READS = {Tensor.tolist, Tensor.numpy, Tensor.cpu, Tensor.__array__}
_recording: list[Operations] = []  # the one that goes on


class Operations(TorchDispatchMode):
    """What a step does, in order, and the memory that it changes, as it was before."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, ...]] = []
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self.made: set[int] = set()
        self.in_kernel = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        if self.in_kernel:
            return func(*args, **kwargs)
        if func.name() in READS or _chooses(func.name(), args):
            raise torch.AcceleratorError(f"{REFUSED}: {func.name()}")
        self.note(func.name(), *args, *kwargs.values())
        for number, known in enumerate(func._schema.arguments):
            if known.alias_info is not None and known.alias_info.is_write:
                self.writes(args[number] if number < len(args) else kwargs[known.name])
        result = func(*args, **kwargs)
        fresh = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)}
        self.made |= fresh - {self.place(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        return result

    @staticmethod
    def place(tensor: Tensor) -> int:
        return tensor.untyped_storage().data_ptr()

    def note(self, name: str, *given: object) -> None:
        self.done.append((name, *(self.known(leaf) for leaf in tree_leaves(given))))

    def known(self, leaf: object) -> object:
        """A tensor of the step itself by its shape, and any other also by its place."""
        if not isinstance(leaf, Tensor):
            return repr(leaf)
        return tuple(leaf.shape), None if self.place(leaf) in self.made else leaf.data_ptr()

    def writes(self, given: object) -> None:
        for leaf in tree_leaves(given):
            if isinstance(leaf, Tensor) and self.place(leaf) not in self.made:
                storage = leaf.untyped_storage()
                self.before.setdefault(storage.data_ptr(), (storage, storage.clone()))

    def undo(self) -> None:
        for storage, held in self.before.values():
            storage.copy_(held)


def _chooses(name: str, args: tuple[Any, ...]) -> bool:
    """Whether as many entries are taken as a mask has ones: a number that is read."""
    masks = tree_leaves(args[1]) if name.startswith("aten::index") and len(args) > 1 else []
    return any(isinstance(leaf, Tensor) and leaf.dtype in (torch.bool, torch.uint8) for leaf in masks)


class _Reads(TorchFunctionMode):
    """Refuse what no operation shows: a whole tensor handed to Python."""

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func in WHOLE_READS and not _recording[-1].in_kernel:
            raise torch.AcceleratorError(f"{REFUSED}: {func}")
        return func(*args, **(kwargs or {}))


@contextmanager
def _noted() -> Iterator[Operations]:
    with Operations() as now, _Reads():
        _recording.append(now)
        try:
            yield now
        finally:
            _recording.remove(now)


def record(step: Step, pool: object = None) -> Step:
    """The step, to be replayed."""
    recorded = None
    try:
        with _noted() as recorded:
            step()
    finally:
        if recorded is not None:
            recorded.undo()
    wanted = recorded.done

    def replay() -> Tensor:
        with _noted() as now:
            result = step()
        differing = [pair for pair in zip(wanted, now.done, strict=False) if pair[0] != pair[1]]
        assert not differing, f"recorded and replayed are not the same: {differing[0]}"
        assert len(wanted) == len(now.done)
        return result.clone()

    return replay


def kernel(launch: Callable[..., None]) -> Callable[..., None]:
    """A launch of kernels, `launch(weights, noise, kicks, layer=, along=)`, as one operation of a step."""

    def call(weights: Tensor, noise: str, kicks: Any, *, layer: int, along: Tensor | None = None) -> None:
        if not _recording:
            launch(weights, noise, kicks, layer=layer, along=along)
            return
        now = _recording[-1]
        now.note("kernel", weights, noise, kicks.laws, kicks.keys, kicks.steps, layer, along)
        now.in_kernel = True
        try:
            now.writes(weights)
            launch(weights, noise, kicks, layer=layer, along=along)
        finally:
            now.in_kernel = False

    return call
