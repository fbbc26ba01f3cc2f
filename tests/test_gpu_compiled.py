"""The kernels are compiled for a GPU that is not here: what the interpreter forgives, a compiler may refuse.

Triton makes an argument that is 1 a constant, unless it is told not to. So each kernel is compiled as it is, and with
every such argument as the constant 1.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="needs triton, which there is for Linux")
pytestmark = pytest.mark.long

ARCHITECTURE = 90  # of the H100 and the H200
TYPES = {
    "out": "*fp32",
    "scales": "*fp32",
    "laws": "*fp32",
    "keys": "*i64",
    "steps": "*i64",
    "largest": "fp32",
    **dict.fromkeys(("stride", "count", "row", "apart", "lane"), "i32"),
}


def compiled() -> None:
    """Compile all kernels; in a process without the interpreter."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from heavytail._sampler import gpu

    ways = [{"SIGNED": signed, "ADD": add} for signed in (True, False) for add in (True, False)]
    for kernel, choices in ((gpu._stable_kernel, ways), (gpu._normal_kernel, [{}])):
        names = kernel.arg_names
        free = [p.name for p in kernel.params if not p.do_not_specialize and TYPES.get(p.name) == "i32"]
        for choice in choices:
            for ones in ({}, dict.fromkeys(free, 1)):
                known = {"B": gpu.BLOCK, **choice, **ones}
                signature = {name: "constexpr" if name in known else TYPES[name] for name in names}
                source = ASTSource(kernel, signature, {(names.index(name),): value for name, value in known.items()})
                program = triton.compile(source, target=GPUTarget("cuda", ARCHITECTURE, 32)).asm["cubin"]
                assert b"ELF" in program[:8]
    print("compiled")


def test_the_kernels_are_compiled_for_a_gpu_that_is_not_here(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    env |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    command = [sys.executable, "-c", "import test_gpu_compiled as t; t.compiled()"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.stdout == "compiled\n", done.stderr[-3000:]
