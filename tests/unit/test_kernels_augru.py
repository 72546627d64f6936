"""The AUGRU kernel, interpreted on the CPU against the plain recurrence in float64, and compiled for a Hopper GPU."""

import logging
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from recstack.models import kernels
from recstack.models.evolution import AUGRU, GRU
from recstack.models.recurrence import evolve

pytest.importorskip("triton")

from recstack.models.kernels import augru as kernel
from tests.helpers.ptx import compile_for_hopper
from tests.helpers.triton_interpreter import interpreted, multiply_bfloat16

TOLERANCE = {torch.float32: 2e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""A few roundings of a state below 1 in each dtype."""
COMPILED = kernel.augru_kernel


@pytest.fixture(autouse=True)
def _interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    multiply_bfloat16(monkeypatch)
    monkeypatch.setattr(kernel, "augru_kernel", interpreted(COMPILED))


def case(
    steps: int, users: int, rows: int, hidden: int, *, shared: bool = True, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, attention with some steps masked, and recurrent weights that move the state a good deal."""
    torch.manual_seed(steps + 31 * users + 101 * rows + 1009 * hidden)
    inputs_KBMG = torch.randn(steps, users, 1 if shared else rows, 3 * hidden)
    attention_KBN = torch.rand(steps, users, rows) * (torch.rand(steps, users, rows) > 0.3)
    recurrent_HG = 1.5 * torch.randn(hidden, 3 * hidden) / hidden**0.5
    return inputs_KBMG.to(dtype), attention_KBN.to(dtype), recurrent_HG.to(dtype)


def exact(inputs_KBMG: Tensor, attention_KBN: Tensor, recurrent_HG: Tensor) -> Tensor:
    with torch.inference_mode():
        return evolve(inputs_KBMG.double(), attention_KBN.double(), recurrent_HG.double())[-1]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shared", [True, False], ids=["shared inputs", "own inputs"])
@pytest.mark.parametrize(
    ("steps", "users", "rows", "hidden"), [(12, 2, 37, 32), (1, 1, 1, 16), (5, 1, 65, 64), (7, 3, 16, 20)]
)
def test_interpreted_kernel_is_the_recurrence(
    steps: int, users: int, rows: int, hidden: int, shared: bool, dtype: torch.dtype
) -> None:
    arguments = case(steps, users, rows, hidden, shared=shared, dtype=dtype)
    states_BNH = kernel.augru(*arguments)
    assert states_BNH.dtype == dtype
    assert exact(*arguments).abs().max() > 0.2, "nothing happened that could be wrong"
    torch.testing.assert_close(states_BNH.double(), exact(*arguments), atol=TOLERANCE[dtype], rtol=0.0)


@settings(max_examples=25)
@given(
    steps=st.integers(1, 6),
    users=st.integers(1, 4),
    rows=st.integers(1, 70),
    hidden=st.sampled_from([3, 16, 24, 32]),
    shared=st.booleans(),
)
def test_any_size(steps: int, users: int, rows: int, hidden: int, shared: bool) -> None:
    arguments = case(steps, users, rows, hidden, shared=shared)
    torch.testing.assert_close(kernel.augru(*arguments).double(), exact(*arguments), atol=2e-6, rtol=0.0)


@pytest.mark.parametrize("block", [16, 64])
def test_every_block_size(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "rows_per_program", lambda *sizes: block)
    arguments = case(4, 2, 50, 32)
    torch.testing.assert_close(kernel.augru(*arguments).double(), exact(*arguments), atol=2e-6, rtol=0.0)


def test_steps_without_attention_change_nothing() -> None:
    inputs_KBMG, attention_KBN, recurrent_HG = case(6, 2, 20, 16)
    attention_KBN[:, :, 3] = 0.0
    attention_KBN[2:, 1] = 0.0
    states_BNH = kernel.augru(inputs_KBMG, attention_KBN, recurrent_HG)
    assert (states_BNH[:, 3] == 0).all()
    shorter_BNH = kernel.augru(inputs_KBMG[:2], attention_KBN[:2], recurrent_HG)
    torch.testing.assert_close(states_BNH[1], shorter_BNH[1], atol=0.0, rtol=0.0)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # numpy says so, a GPU does not
def test_large_gates_neither_overflow_nor_turn_into_nan() -> None:
    inputs_KBMG, attention_KBN, recurrent_HG = case(3, 1, 16, 16)
    large = 200.0 * inputs_KBMG, attention_KBN, recurrent_HG
    torch.testing.assert_close(kernel.augru(*large).double(), exact(*large), atol=2e-6, rtol=0.0)


def test_strided_inputs_are_read_where_they_are() -> None:
    """Steps of a [B, L, G] projection, and attention with the steps last, without copies."""
    inputs_KBMG, attention_KBN, recurrent_HG = case(5, 3, 18, 16)
    projected_BLG = torch.randn(3, 9, 48)
    projected_BLG[:, 4:] = inputs_KBMG.squeeze(2).transpose(0, 1)
    last_KBMG = projected_BLG[:, 4:].transpose(0, 1).unsqueeze(2)
    turned_KBN = attention_KBN.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert not last_KBMG.is_contiguous()
    states_BNH = kernel.augru(last_KBMG, turned_KBN, recurrent_HG)
    torch.testing.assert_close(states_BNH, kernel.augru(inputs_KBMG, attention_KBN, recurrent_HG), atol=0.0, rtol=0.0)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("users", "steps", "hidden"), [(1, 9, 32), (33, 4, 16), (5, 1, 20)])
def test_without_attention_it_is_a_gru_with_all_states(users: int, steps: int, hidden: int, dtype: torch.dtype) -> None:
    inputs_KBMG, _, recurrent_HG = case(steps, users, 1, hidden, dtype=dtype)
    inputs_BLG = inputs_KBMG.squeeze(2).transpose(0, 1)
    with torch.inference_mode():
        expected_LBH = evolve(
            inputs_KBMG.double(), torch.ones(steps, users, 1).double(), recurrent_HG.double()
        ).squeeze(2)
    for layout_BLG in (inputs_BLG, inputs_BLG.contiguous()):
        states_BLH = kernel.gru(layout_BLG, recurrent_HG).double()
        torch.testing.assert_close(states_BLH, expected_LBH.transpose(0, 1), atol=TOLERANCE[dtype], rtol=0.0)


@pytest.mark.parametrize(
    ("users", "rows", "row_bytes", "block"),
    [(1, 500, 128, 16), (1, 2000, 128, 16), (16, 2000, 128, 16), (32, 2000, 128, 64), (32, 2000, 256, 16)],
)
def test_blocks_are_small_until_the_gpu_is_busy_and_where_weights_are_wide(
    users: int, rows: int, row_bytes: int, block: int
) -> None:
    assert kernel.rows_per_program(users, rows, row_bytes) == block


class OnCuda:
    """Triton's side of the dispatch, without a GPU."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def serves(self, inputs: Tensor, recurrent_HG: Tensor) -> bool:
        return True

    def augru(self, *arguments: Tensor) -> Tensor:
        self.calls.append("augru")
        return kernel.augru(*arguments)

    def gru(self, *arguments: Tensor) -> Tensor:
        self.calls.append("gru")
        return kernel.gru(*arguments)


def test_models_take_the_kernels_that_the_dispatch_gives_but_not_where_gradients_are_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extraction, evolution = GRU(7, 16), AUGRU(16, 16)
    steps_BLD, attention_KBN = torch.randn(2, 3, 7), torch.rand(3, 2, 5)

    def interest() -> Tensor:
        inputs_BLX = evolution.project(extraction(steps_BLD))
        return evolution(inputs_BLX.transpose(0, 1).unsqueeze(2), attention_KBN)

    plain_BNH = interest()
    plain_BNH.sum().backward()
    assert extraction.recurrent_HG.grad is not None
    on_cuda = OnCuda()
    monkeypatch.setattr(kernels, "triton_kernel", lambda name, device_type: on_cuda)
    with torch.inference_mode():
        torch.testing.assert_close(interest(), plain_BNH.detach(), atol=2e-6, rtol=0.0)
    assert on_cuda.calls == ["gru", "augru"]
    interest()
    assert len(on_cuda.calls) == 2


def test_dispatch_says_once_where_it_runs(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels.triton_kernel.cache_clear()
    monkeypatch.setenv("CC", "cc")
    with caplog.at_level(logging.INFO, kernels.__name__):
        assert kernels.triton_kernel("augru", "cpu") is None
        assert kernels.triton_kernel("augru", "cpu") is None
        assert kernels.triton_kernel("augru", "cuda") is kernel
        monkeypatch.delenv("CC")
        monkeypatch.setenv("PATH", "")
        kernels.triton_kernel.cache_clear()
        assert kernels.triton_kernel("augru", "cuda") is None
        monkeypatch.setitem(sys.modules, f"{kernels.__name__}.augru", None)
        kernels.triton_kernel.cache_clear()
        assert kernels.triton_kernel("augru", "cuda") is None
    kernels.triton_kernel.cache_clear()
    said = [record.message for record in caplog.records]
    assert said[:2] == ["augru on cpu: plain torch", "augru on cuda: Triton kernel"]
    assert len(said) == 4
    assert "install gcc" in said[2]
    assert "install recstack[gpu]" in said[3]


def test_what_the_kernel_cannot_run_is_left_to_torch() -> None:
    with FakeTensorMode():  # tensors without storage, which may be on a device that is not there
        inputs_KBMG, recurrent_HG = torch.empty(2, 1, 1, 48, device="cuda"), torch.empty(16, 48, device="cuda")
        assert kernel.serves(inputs_KBMG, recurrent_HG)
        assert not kernel.serves(inputs_KBMG.expand(2, 1, 48, 48).transpose(2, 3), recurrent_HG)
        assert not kernel.serves(inputs_KBMG.half(), recurrent_HG)
        assert not kernel.serves(inputs_KBMG.double(), recurrent_HG.double())
        assert not kernel.serves(torch.empty(2, 1, 1, 384, device="cuda"), torch.empty(128, 384, device="cuda"))
        assert not kernel.serves(inputs_KBMG.cpu(), recurrent_HG.cpu())


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.parametrize("pointer", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(("rows", "candidates"), [(16, False), (16, True), (64, True)])
def test_compiles_for_hopper_without_spills_onto_tensor_cores(
    pointer: str, rows: int, candidates: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the served width. Registers spilled to memory would undo what the kernel is for."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    sizes = {"HIDDEN": 32, "HIDDEN_BLOCK": 32, "ROWS_BLOCK": rows}
    kind = {"SHARED_INPUTS": candidates, "ATTENTION": candidates, "ALL_STATES": not candidates}
    compiled = compile_for_hopper(COMPILED, pointer, sizes | kind, kernel.WARPS, tmp_path)
    assert ("wgmma.mma_async" if rows == 64 else "mma.sync") in compiled.ptx
    assert compiled.spilled == 0
    assert compiled.registers <= 168, "three programs of 64 candidates fit a multiprocessor"
    assert compiled.shared <= 32 * 1024
