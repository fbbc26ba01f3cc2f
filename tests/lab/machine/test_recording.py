"""Steps that cannot be recorded are made as they are, and a recording that failed leaves nothing behind."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
import torch

from heavytail.lab.machine import recording

REFUSED = "CUDA error: operation not permitted when stream is capturing"
SPOILED = "CUDA error: operation failed due to a previous error during capture"


class Capture:
    """Torch's recording of a step on a GPU: what cannot be recorded spoils it, and then it cannot be ended either."""

    def __init__(self, said: Exception | None) -> None:
        self.said, self.stream, self.ended = said, SimpleNamespace(device_index=0), []

    def patch(self, monkeypatch) -> Capture:
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
        monkeypatch.setattr(torch.cuda, "graph", lambda graph, pool: self)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: self.stream)
        monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: setattr(self, "stream", stream))
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", lambda device, pool: self.ended.append(pool))
        return self

    def __enter__(self) -> None:
        self.before, self.stream = self.stream, SimpleNamespace(device_index=0)
        if self.said is not None:
            raise self.said

    def __exit__(self, kind, error, trace) -> None:
        if error is not None:
            raise torch.AcceleratorError(SPOILED)
        self.stream = self.before


def taped() -> recording.Tape:
    tape = recording.tape([0], torch.device("cpu"))
    return recording.Tape(tape.clock, pool="a pool")


def adds(tape, said=None):
    """A step that says something while it is recorded."""
    calls = []

    def step():
        calls.append(1)
        if said is not None and len(calls) == 2:
            raise said
        return tape.clock.add_(1)

    return lambda: step


def test_a_step_that_cannot_be_recorded_is_made_as_it_is_with_one_warning(monkeypatch):
    capture, tape = Capture(None).patch(monkeypatch), taped()
    own = capture.stream
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for kind in ("one", "other"):
            make = adds(tape, torch.AcceleratorError(REFUSED) if kind == "one" else None)
            for _ in range(4):
                recording.repeat(tape, kind, make)
    assert tape.clock.tolist() == [8]
    assert [str(one.message).count(REFUSED) for one in said] == [1]
    assert capture.stream is own
    assert capture.ended == ["a pool"]


@pytest.mark.parametrize("said", [None, RuntimeError("cannot begin")])
def test_a_recording_that_cannot_begin_is_left_alone_and_one_that_can_is_replayed(said, monkeypatch, recwarn):
    capture, tape = Capture(said).patch(monkeypatch), taped()
    own, make = capture.stream, adds(tape)
    for _ in range(3):
        recording.repeat(tape, "one", make)
    # Once as it is, and once while this stand-in records; a replay does nothing.
    assert tape.clock.tolist() == [2 if said is None else 3]
    assert len(recwarn) == (said is not None)
    assert capture.stream is own


@pytest.mark.parametrize(
    "said",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        torch.AcceleratorError("CUDA error: out of memory"),
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
    ],
)
def test_want_of_memory_and_a_broken_device_are_told_as_they_are(said, monkeypatch):
    """Though the end of the recording has an error of its own, which hides them."""
    capture, tape = Capture(None).patch(monkeypatch), taped()
    own, make = capture.stream, adds(tape, said)
    recording.repeat(tape, "one", make)
    with pytest.raises(type(said)) as raised:
        recording.repeat(tape, "one", make)
    assert raised.value is said
    assert capture.stream is own
