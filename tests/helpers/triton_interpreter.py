"""Runs Triton kernels on the CPU, one program after the other, with Triton's own interpreter."""

import numpy as np
import pytest
import triton.language as tl
from triton.runtime.interpreter import InterpretedFunction, InterpreterBuilder, TensorHandle
from triton.runtime.jit import JITFunction


def interpreted(kernel: JITFunction) -> InterpretedFunction:
    """The kernel, interpreted. Works for kernels that call nothing but Triton's builtins."""
    return InterpretedFunction(kernel.fn)


def multiply_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Teach the interpreter bfloat16 products: it holds such numbers as 16-bit integers, and multiplies those."""
    dot = InterpreterBuilder.create_dot

    def wider(self, a, b, *rest):  # type: ignore[no-untyped-def]
        return dot(self, _float32(a), _float32(b), *rest)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", wider)


def _float32(operand: TensorHandle) -> TensorHandle:
    if operand.dtype.scalar != tl.bfloat16:
        return operand
    return TensorHandle((operand.data.astype(np.uint32) << 16).view(np.float32), tl.float32)
