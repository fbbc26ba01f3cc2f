"""Whether a smaller network is worth it: bytes, parameters, work, time and memory, of networks measured in turns."""

from __future__ import annotations

import gzip
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from heavytail import streams
from heavytail.compress.batches import Batch, batch_for, eager
from heavytail.compress.exporting import fed, onnx_of, runner
from heavytail.extras import need
from heavytail.networks.keeping import copied

Clock = Callable[[], float]
Side = Callable[[], object]

_ROUNDS = 20  # in each of which every network has its turn
_FEWEST = 3
_CALLS = 1000  # of a network in its turn, at most


@dataclass(frozen=True)
class Timing:
    """Seconds that a network takes for a batch, and how many times those of the first network they are.

    way          "torch" or "onnx": torch as it is, or ONNX Runtime
    device       as torch names it; on the CPU one thread
    batch        samples in it
    median       of all calls, seconds
    p95          their 95th percentile, seconds
    calls        how many were timed
    ratio        to the first network's median in the same round: the median over rounds; None where the first has none
    low, high    the lowest and the highest of these ratios
    """

    way: str
    device: str
    batch: int
    median: float
    p95: float
    calls: int
    ratio: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Measured:
    """What one network is and takes.

    parameters     numbers that training may change
    multiply_adds  for one sample: half of what `torch.utils.flop_counter` counts, which knows products and convolutions
    bytes          of its weights and buffers as safetensors
    gzipped        of the same, gzipped
    onnx           of its ONNX file; None where there is none
    no_onnx        why there is none, in one sentence; else empty
    memory         bytes of tensors alive at once in a forward pass by size of the batch, beyond weights and inputs and
                   without what a kernel takes for itself
    timings        see `Timing`
    """

    name: str
    parameters: int
    multiply_adds: int
    bytes: int
    gzipped: int
    onnx: int | None
    no_onnx: str
    memory: Mapping[int, int]
    timings: tuple[Timing, ...]


@dataclass(frozen=True)
class Measurements:
    """Networks that were measured in one run, the first of which the others are compared with."""

    networks: tuple[Measured, ...]

    def as_dicts(self) -> list[dict[str, Any]]:
        """One flat row a network, way, device and batch, as for a table of pandas or JSON."""
        return [
            {
                **{key: value for key, value in asdict(one).items() if key not in ("timings", "memory")},
                "memory": one.memory[timing.batch],
                **asdict(timing),
            }
            for one in self.networks
            for timing in one.timings
        ]

    def __str__(self) -> str:
        return "\n".join([*_sizes(self.networks), "", *_times(self.networks)])


@torch.inference_mode(False)
def measure(
    models: Mapping[str, nn.Module],
    sample: Any = None,
    *,
    batches: Sequence[int] = (1, 64, 1024),
    seconds: float = 30.0,
    onnx: bool = True,
    device: torch.device | str | None = None,
    clock: Clock = time.perf_counter,
) -> Measurements:
    """Bytes, parameters, multiply-adds, latency and memory of networks in eval mode, the first against the others.

    models   by name; none is changed. They take the same batch
    sample   that batch, as in `save`; it is repeated or cut to the sizes of `batches`
    batches  numbers of samples of a call
    seconds  to time in, all together, about; a call that takes longer is made three times all the same
    onnx     measure in ONNX Runtime too; a network that it cannot run says why in the table
    device   where torch is timed beside the CPU: without it on a GPU, if there is one
    clock    seconds from any moment on, as tests want it

    Networks take turns: in every round each is called as often as fits its share of the time, in an order that moves on
    by one from round to round, so that a slow minute of the machine slows all of them. On the CPU torch and ONNX
    Runtime have one thread each. Print the result for a table, or take its `as_dicts()`.

    Raises TypeError or ValueError in one sentence for what are no networks, no numbers of samples or no time, and as
    `save` does for a sample; ModuleNotFoundError without safetensors, or without what ONNX needs unless `onnx=False`.

    >>> big, small = (nn.Sequential(nn.Linear(4, n), nn.ReLU(), nn.Linear(n, 2)) for n in (64, 8))
    >>> found = measure({"big": big, "small": small}, batches=(1, 8), seconds=0.1, onnx=False, device="cpu")
    >>> [(one.name, one.parameters, one.multiply_adds) for one in found.networks]
    [('big', 450, 384), ('small', 58, 48)]
    """
    need("safetensors", "heavytail.compress.measure", "ship")
    if not isinstance(models, Mapping) or not models or not all(isinstance(m, nn.Module) for m in models.values()):
        raise TypeError("models are a mapping such as {'original': model, 'small': small}, from names to networks")
    check(batches, seconds)
    if onnx:
        for module in ("onnx", "onnxscript", "onnxruntime"):
            need(module, "heavytail.compress.measure", "ship")
    elsewhere = _elsewhere(device)
    models = {name: eager(model) for name, model in models.items()}
    with torch.random.fork_rng([place for place in elsewhere if place.type == "cuda"]):  # a layer may draw
        given = {name: batch_for(model, sample) for name, model in models.items()}
        ours = {name: copied(model).eval().cpu() for name, model in models.items()}
        batch = {name: one.to("cpu") for name, one in given.items()}
        files = {name: _onnx(model, batch[name]) if onnx else (None, "") for name, model in ours.items()}
        measured = {name: _one(name, model, batch[name], batches, files[name]) for name, model in ours.items()}
        timed: dict[str, list[Timing]] = {name: [] for name in models}
        places = [torch.device("cpu"), *elsewhere]
        known = {name: content for name, (content, _) in files.items() if content is not None}
        share = seconds / (len(batches) * (len(places) + bool(known)))
        with _one_thread():
            for place in places:
                for model in ours.values():
                    model.to(place)
                for rows in batches:
                    sides = {name: _eager(ours[name], batch[name].of(rows).to(place)) for name in ours}
                    for name, found in _in_turns(sides, share, clock, place).items():
                        timed[name].append(replace(found, way="torch", device=str(place), batch=rows))
            for rows in batches if known else ():
                sides = {name: _runtime(content, batch[name].of(rows)) for name, content in known.items()}
                for name, found in _in_turns(sides, share, clock, places[0], next(iter(models))).items():
                    timed[name].append(replace(found, way="onnx", device="cpu", batch=rows))
        return Measurements(tuple(replace(measured[name], timings=tuple(timed[name])) for name in models))


def weights_file(model: nn.Module) -> bytes:
    """The weights and buffers of a network as safetensors, tied ones once: the bytes that `measure` counts.

    >>> len(weights_file(nn.Linear(3, 2)))
    160
    """
    written = need("safetensors.torch", "heavytail.compress.measure", "ship").save
    states = {value.data_ptr() or key: (key, value) for key, value in model.state_dict().items()}
    content: bytes = written({key: value.detach().contiguous().clone() for key, value in states.values()})
    return content


def check(batches: Sequence[int], seconds: float) -> None:
    """Raise ValueError, in one sentence, for sizes of batches or a time that `measure` cannot use."""
    sizes = list(batches)
    if not sizes or not all(type(rows) is int and rows > 0 for rows in sizes) or len(set(sizes)) < len(sizes):
        raise ValueError(f"batches= are whole numbers of samples, each once, such as (1, 64, 1024), not {batches!r}")
    if not (isinstance(seconds, int | float) and 0 < seconds < math.inf):
        raise ValueError(f"seconds= is the time to measure in, above 0, not {seconds!r}")


def _elsewhere(device: torch.device | str | None) -> list[torch.device]:
    """Where torch is timed beside the CPU."""
    if device is None:
        return [torch.device("cuda")] if torch.cuda.is_available() else []
    place = streams.present(device)
    return [] if place.type == "cpu" else [place]


def _onnx(model: nn.Module, batch: Batch) -> tuple[bytes | None, str]:
    try:
        return onnx_of(model, batch), ""
    except ValueError as error:
        return None, str(error)


def _one(name: str, model: nn.Module, batch: Batch, batches: Sequence[int], file: tuple[bytes | None, str]) -> Measured:
    content = weights_file(model)
    return Measured(
        name=name,
        parameters=sum(p.numel() for p in model.parameters()),
        multiply_adds=_multiply_adds(model, batch.of(1)),
        bytes=len(content),
        gzipped=len(gzip.compress(content, compresslevel=6, mtime=0)),
        onnx=None if file[0] is None else len(file[0]),
        no_onnx=file[1],
        memory={rows: _memory(model, batch.of(rows)) for rows in batches},
        timings=(),
    )


def _multiply_adds(model: nn.Module, batch: Batch) -> int:
    from torch.nn.attention import SDPBackend, sdpa_kernel  # here, for they take as long to import as all the rest
    from torch.utils.flop_counter import FlopCounterMode

    with (
        _layer_by_layer(),
        sdpa_kernel(SDPBackend.MATH),  # as products: torch does not count those of its kernel for the CPU
        FlopCounterMode(display=False) as counter,
        torch.no_grad(),
    ):
        batch.call(model)
    return int(counter.get_total_flops()) // 2


@contextmanager
def _layer_by_layer() -> Iterator[None]:
    """Without the one kernel for a whole encoder layer, which tells nothing of its products."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _Watch(TorchDispatchMode):
    """Counts the bytes of tensors made meanwhile that are alive at once."""

    def __init__(self, known: Sequence[Tensor]) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in known}
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.alive = {key: held for key, held in self.alive.items() if not held[0].expired()}
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.known:
                    self.alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.most = max(self.most, sum(size for _, size in self.alive.values()))
        return result


def _memory(model: nn.Module, batch: Batch) -> int:
    watch = _Watch([*model.parameters(), *model.buffers(), *batch.tensors])
    with _layer_by_layer(), torch.no_grad(), watch:
        batch.call(model)
    return watch.most


def _eager(model: nn.Module, batch: Batch) -> Side:
    def side() -> object:
        with torch.inference_mode():
            return batch.call(model)

    return side


def _runtime(content: bytes, batch: Batch) -> Side:
    run, inputs = runner(content), fed(batch)
    return lambda: run(inputs)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_turns(
    sides: Mapping[str, Side], seconds: float, clock: Clock, place: torch.device, first: str | None = None
) -> dict[str, Timing]:
    """Times of each side's calls, made in turns in about so many seconds, and their ratios to the first side's.

    `first` names the side that they are held against, if not the first: without it there are no ratios.
    """
    first = next(iter(sides)) if first is None else first
    for side in sides.values():
        side()
    alone = {name: _seconds(side, clock, place) for name, side in sides.items()}
    calls = {name: _how_often(seconds / (_ROUNDS * len(sides)), one) for name, one in alone.items()}
    turn = sum(calls[name] * one for name, one in alone.items())
    rounds = max(_FEWEST, min(_ROUNDS, int(seconds / turn) if turn > 0 else _ROUNDS))
    taken: dict[str, list[list[float]]] = {name: [] for name in sides}
    order = list(sides)
    for number in range(rounds):
        k = number % len(order)
        for name in order[k:] + order[:k]:
            taken[name].append([_seconds(sides[name], clock, place) for _ in range(calls[name])])
    middle = {name: [statistics.median(turn) for turn in turns] for name, turns in taken.items()}
    return {name: _timing(taken[name], middle[name], middle.get(first)) for name in sides}


def _timing(turns: list[list[float]], middle: list[float], first: list[float] | None) -> Timing:
    """The times of one side's turns, and of their medians the ratios to those of the first side."""
    every = sorted(second for turn in turns for second in turn)
    ratios = [a / b for a, b in zip(middle, first, strict=True) if b > 0] if first else []
    return Timing(
        way="",
        device="",
        batch=0,
        median=statistics.median(every),
        p95=every[math.ceil(0.95 * len(every)) - 1],
        calls=len(every),
        ratio=statistics.median(ratios) if ratios else None,
        low=min(ratios, default=None),
        high=max(ratios, default=None),
    )


def _how_often(share: float, alone: float) -> int:
    return max(1, min(_CALLS, int(share / alone))) if alone > 0 else _CALLS


def _seconds(side: Side, clock: Clock, place: torch.device) -> float:
    """Of one call, until the device is done with it."""
    start = clock()
    side()
    if place.type == "cuda":
        torch.cuda.synchronize(place)
    return clock() - start


def _sizes(networks: Sequence[Measured]) -> Iterator[str]:
    wide = max(len(one.name) for one in networks)
    rows = list(networks[0].memory)
    columns = ["parameters", "multiply-adds", "bytes", "gzipped", "onnx", *(f"memory at {size}" for size in rows)]
    yield f"{'':{wide}}  " + "  ".join(f"{name:>13}" for name in columns)
    for one in networks:
        numbers = [one.parameters, one.multiply_adds, one.bytes, one.gzipped, one.onnx, *one.memory.values()]
        yield f"{one.name:{wide}}  " + "  ".join(f"{'-' if n is None else format(n, ','):>13}" for n in numbers)
    for one in networks:
        if one.no_onnx:
            yield f"{one.name}: {one.no_onnx}"


def _times(networks: Sequence[Measured]) -> Iterator[str]:
    wide = max(len(one.name) for one in networks)
    yield f"{'':{wide}}  {'':<12}{'batch':>6}  {'median':>10}  {'95%':>10}  times the first, lowest to highest"
    for one in networks:
        for t in one.timings:
            where = t.way if t.device == "cpu" else f"{t.way} {t.device}"
            against = "" if t.ratio is None else f"{t.ratio:.3g} ({t.low:.3g} to {t.high:.3g})"
            times = f"{1000 * t.median:>7.3g} ms  {1000 * t.p95:>7.3g} ms"
            yield f"{one.name:{wide}}  {where:<12}{t.batch:>6}  {times}  {against}".rstrip()
