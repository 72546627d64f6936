"""Compiles Triton kernels for a GPU that is not there, by what Triton brings along, and reads what they take."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

HOPPER = GPUTarget("cuda", 90, 32)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A kernel's PTX, and per thread its registers and the bytes of stack that they were spilled to; shared memory of
    a program, bytes."""

    ptx: str
    registers: int
    spilled: int
    shared: int


def compile_for_hopper(
    kernel: JITFunction, pointer: str, constants: Mapping[str, int | bool], warps: int, folder: Path
) -> Compiled:
    """Compile with all pointers to `pointer` ("fp32", "bf16", …), 16 bytes aligned, and all other arguments int32."""
    names = kernel.arg_names
    pointers = [name for name in names if name.endswith("_ptr")]
    signature = (
        dict.fromkeys(names, "i32") | dict.fromkeys(pointers, f"*{pointer}") | dict.fromkeys(constants, "constexpr")
    )
    aligned = {(names.index(name),): [["tt.divisibility", 16]] for name in pointers}
    source = ASTSource(kernel, signature, dict(constants), aligned)
    compiled = triton.compile(source, target=HOPPER, options={"num_warps": warps})
    cubin = folder / "kernel.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    used = subprocess.run([tool, "-res-usage", cubin], capture_output=True, text=True, check=True).stdout
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", used).groups()  # type: ignore[union-attr]
    return Compiled(compiled.asm["ptx"], int(registers), int(stack), compiled.metadata.shared)
