"""The kernels, and those of the tests, are compiled for a GPU that is not here: a compiler refuses what an interpreter
forgives.

Triton makes an argument that is 1 a constant, unless it is told not to. So each kernel is compiled as it is, and with
every such argument as the constant 1.

The first way of each kernel of the package is compiled for as many warps as it is launched with, which a compiler has
to get through. The others, and the kernels of the tests, are compiled for many: with less to do in a thread their code
is a quarter as long, and what Triton refuses it refuses before it shares the work out.

Every way of a kernel is compiled, the first of them both as it is and with the constants, the others in turn as one or
the other; `make slow` compiles each as both.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="needs triton, which there is for Linux")
pytestmark = pytest.mark.long

ARCHITECTURE = 90  # of the H100 and the H200
MANY = 32  # warps, the most there can be
TYPES = {
    "out": "*fp32",
    "scales": "*fp32",
    "laws": "*fp32",
    "keys": "*i64",
    "steps": "*i64",
    "largest": "fp32",
    "along": "*fp32",
    **dict.fromkeys(("stride", "count", "units", "row", "apart", "lane", "last"), "i32"),
    **dict.fromkeys(("start", "key", "step", "chunks"), "*i64"),
    **dict.fromkeys(("ones", "sine", "small", "large"), "*fp32"),
}
Choices = Sequence[Mapping[str, Any]]  # constants by name, of each way in which a kernel is launched


def compiled(whole: bool) -> None:
    """Compile all kernels of the package and of the tests; in a process without the interpreter."""
    for kernel, choices, types in _of_the_package():
        _compile(kernel, choices, TYPES | types, {}, whole)
    for kernel, choices, types in _of_the_tests():
        _compile(kernel, choices, TYPES | types, {"num_warps": MANY}, whole)
    print("compiled")


def _of_the_package() -> list[tuple[Any, Choices, dict[str, str]]]:
    from heavytail._sampler import gpu

    ways = [{"SIGNED": signed, "ADD": add, "B": gpu.BLOCK} for signed in (True, False) for add in (True, False)]
    tiles = [{"B": min(gpu.BLOCK, gpu.TILE // wide), "C": wide} for wide in (gpu.WIDE, 1)]
    shared = [{"ALONG": along, **tile} for along in (True, False) for tile in tiles]
    return [
        (gpu._stable_kernel, ways, {}),
        (gpu._shared_kernel, shared, {}),
        (gpu._normal_kernel, [{"B": gpu.BLOCK}], {}),
    ]


def _of_the_tests() -> list[tuple[Any, Choices, dict[str, str]]]:
    import test_gpu_kernels as tests
    from triton import JITFunction

    half = tests.CHUNK // 2
    found = [
        (tests._words_kernel, [{"B": size} for size in (16, half, tests.PROGRAM)], {"out": "*i32"}),
        (tests._chunk_kernel, [{"SIGNED": signed, "B": half, "N": tests.CHUNKS} for signed in (True, False)], {}),
        (tests._normals_kernel, [{"B": half}], {}),
        (tests._series_kernel, [{"B": tests.CHUNK}], {}),
    ]
    assert {id(kernel) for kernel, _, _ in found} == {id(k) for k in vars(tests).values() if isinstance(k, JITFunction)}
    return found


def _compile(kernel: Any, choices: Choices, types: Mapping[str, str], warps: Mapping[str, int], whole: bool) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = kernel.arg_names
    free = [p.name for p in kernel.params if not p.do_not_specialize and types.get(p.name) == "i32"]
    both: list[dict[str, int]] = [{}, dict.fromkeys(free, 1)] if free else [{}]
    for number, choice in enumerate(choices):
        for ones in both if whole or number == 0 else both[number % len(both) :][:1]:
            known = {**choice, **ones}
            signature = {name: "constexpr" if name in known else types[name] for name in names}
            source = ASTSource(kernel, signature, {(names.index(name),): value for name, value in known.items()})
            program = triton.compile(source, target=GPUTarget("cuda", ARCHITECTURE, 32), options=warps).asm["cubin"]
            assert b"ELF" in program[:8]
            warps = {"num_warps": MANY}


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_kernels_are_compiled_for_a_gpu_that_is_not_here(whole: bool, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    env |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    command = [sys.executable, "-c", f"import test_gpu_compiled as t; t.compiled({whole})"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.stdout == "compiled\n", done.stderr[-3000:]
