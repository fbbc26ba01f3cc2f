"""A network as an ONNX file, checked in ONNX Runtime before it is put in place."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heavytail.compress import files
from heavytail.compress.agreement import NOTHING_SAID, check_equal, check_steady, leaves, said
from heavytail.compress.batches import Batch, batch_for, eager
from heavytail.compress.calling import first_line
from heavytail.compress.program import traced
from heavytail.compress.quiet import quiet
from heavytail.extras import need

_ROOM = 10  # times what rounding makes: other kernels sum in another order


@torch.inference_mode(False)
def export(model: nn.Module, path: Path | str, sample: Any = None) -> None:
    """Write a network as one ONNX file that takes any number of samples.

    model, path and sample are those of `save`. Inputs are named as the arguments of the network's forward, outputs
    `output`, or `output_0` and so on where there are several, in the order in which they are returned.

    Before the file is put in place ONNX Runtime runs it on one sample, on those given and on more; its outputs must be
    the network's up to 1e-4 of the largest in float32. Raises as `save` does, ValueError in one sentence too for what
    ONNX or ONNX Runtime lacks, and ModuleNotFoundError without onnx, onnxscript or onnxruntime.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        need(module, "heavytail.compress.export", "ship")
    files.checked(path)
    model = eager(model)
    files.put(path, onnx_of(model, batch_for(model, sample)))


def onnx_of(model: nn.Module, batch: Batch) -> bytes:
    """The ONNX file of a network, run beside it. ValueError in one sentence where there is none."""
    name = type(model).__name__
    outputs = list(leaves(said(model, batch)))
    if not outputs or not all(isinstance(output, Tensor) for output in outputs):
        raise ValueError(f"this {name} cannot be exported to ONNX: it returns something that is no tensor")
    check_steady(model, batch)
    exported = traced(model, batch)
    names = ["output"] if len(outputs) == 1 else [f"output_{k}" for k in range(len(outputs))]
    try:
        with quiet():
            converted = torch.onnx.export(
                exported,
                dynamo=True,
                verbose=False,
                external_data=False,
                input_names=list(batch.names),
                output_names=names,
            )
            proto = converted.model_proto  # type: ignore[union-attr]
            _name_the_batch(proto)
            content: bytes = proto.SerializeToString()
    except Exception as error:
        raise ValueError(f"this {name} cannot be exported to ONNX: {_cause(error)}") from error
    try:
        run = runner(content)
        for rows in dict.fromkeys((1, batch.rows, 2 * batch.rows + 1)):
            part = batch.of(rows)
            expected = [output.detach().cpu() for output in leaves(said(model, part))]
            check_equal(expected, [torch.from_numpy(a) for a in run(fed(part))], part, "the ONNX file", _ROOM)
    except Exception as error:
        if isinstance(error, ValueError) and (str(error).startswith("the ONNX file") or str(error) == NOTHING_SAID):
            raise
        raise ValueError(f"ONNX Runtime cannot run this {name}: {first_line(error)}") from error
    return content


def runner(content: bytes) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
    """What runs an ONNX file on one thread of the CPU: from inputs by name to the list of outputs."""
    runtime = need("onnxruntime", "heavytail.compress.export", "ship")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised too
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    taken = {given.name for given in session.get_inputs()}

    def run(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        return session.run(None, {name: value for name, value in inputs.items() if name in taken})

    return run


def fed(batch: Batch) -> dict[str, np.ndarray]:
    """The tensors of a batch as ONNX Runtime takes them."""
    return {name: value.cpu().numpy() for name, value in zip(batch.names, batch.tensors, strict=True)}


def _name_the_batch(proto: Any) -> None:
    """Call the number of samples `batch`, where torch numbers it."""
    graph = proto.graph
    first = [given.type.tensor_type.shape.dim[0].dim_param for given in graph.input if _axes(given)]
    symbols = {symbol for symbol in first if symbol}
    if len(symbols) != 1:
        return
    (symbol,) = symbols
    for value in [*graph.input, *graph.output, *graph.value_info]:
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = re.sub(rf"\b{re.escape(symbol)}\b", "batch", axis.dim_param)


def _axes(value: Any) -> int:
    return len(value.type.tensor_type.shape.dim)


def _cause(error: BaseException) -> str:
    """The reason at the bottom of an error of torch's exporter, which tells the steps of the way first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)
