"""AUGRU on a GPU: all steps of a block of candidates in one program, weights and state never leave the chip.

The same recurrence as `recstack.models.recurrence`, which says what the symbols mean:

    u = sigmoid(x_u + U_u h)    r = sigmoid(x_r + U_r h)    c = tanh(x_c + r * (U_c h))    h' = h + a u * (c - h)

Step by step in torch, each step reads the state and writes gates and state to memory again: some fourteen times the
state's bytes. Here a program loads the recurrent weights once, keeps the state in registers, and per step streams
only the step's inputs, which all candidates of a user share, and one attention per candidate.

The state and all sums are float32 whatever the inputs are. float32 products are made of three TF32 ones on tensor
cores ("tf32x3"), whose error is that of float32; bfloat16 and float16 inputs are multiplied as they are.

Imports Triton: import it only where there is one. Shape legend: K steps, B users, N candidates, M = N, or 1 where a
user's candidates share their inputs, H hidden units, G = 3H gates in the order update, reset, candidate.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

MIN_BLOCK = 16
"""The smallest side of a matrix that tensor cores multiply."""
MAX_HIDDEN = 64
"""Wider recurrent weights do not fit a multiprocessor's shared memory as float32."""
WAVE = 528
"""Programs that keep a large GPU busy: four for each of 132 multiprocessors (H100, H200)."""


@triton.jit
def augru_kernel(
    inputs_ptr,
    attention_ptr,
    recurrent_ptr,
    states_ptr,
    num_steps,
    num_rows,
    input_step,
    input_user,
    input_row,
    attention_step,
    attention_user,
    attention_row,
    HIDDEN: tl.constexpr,
    HIDDEN_BLOCK: tl.constexpr,
    ROWS_BLOCK: tl.constexpr,
    SHARED_INPUTS: tl.constexpr,
):
    """One block of candidates of one user. A stride is named after what one more of it is; units have stride 1.

    Hidden units beyond HIDDEN have zero weights and inputs: their candidate state is 0, and so stays their state.
    """
    user = tl.program_id(1).to(tl.int64)
    rows_N = tl.program_id(0) * ROWS_BLOCK + tl.arange(0, ROWS_BLOCK)
    units_H = tl.arange(0, HIDDEN_BLOCK)
    is_row_N = rows_N < num_rows
    is_unit_H = units_H < HIDDEN

    weights_HH = recurrent_ptr + units_H[:, None] * (3 * HIDDEN) + units_H[None, :]
    is_weight_HH = is_unit_H[:, None] & is_unit_H[None, :]
    update_HH = tl.load(weights_HH, is_weight_HH, 0.0)
    reset_HH = tl.load(weights_HH + HIDDEN, is_weight_HH, 0.0)
    candidate_HH = tl.load(weights_HH + 2 * HIDDEN, is_weight_HH, 0.0)

    if SHARED_INPUTS:
        step_inputs = inputs_ptr + user * input_user + units_H[None, :]
        is_input = is_unit_H[None, :]
    else:
        step_inputs = inputs_ptr + user * input_user + rows_N[:, None] * input_row + units_H[None, :]
        is_input = is_row_N[:, None] & is_unit_H[None, :]
    step_attention_N = attention_ptr + user * attention_user + rows_N * attention_row

    state_NH = tl.full((ROWS_BLOCK, HIDDEN_BLOCK), 0.0, tl.float32)
    for _ in range(num_steps):
        operand_NH = state_NH.to(update_HH.dtype)
        input_u = tl.load(step_inputs, is_input, 0.0).to(tl.float32)
        input_r = tl.load(step_inputs + HIDDEN, is_input, 0.0).to(tl.float32)
        input_c = tl.load(step_inputs + 2 * HIDDEN, is_input, 0.0).to(tl.float32)
        attention_N = tl.load(step_attention_N, is_row_N, 0.0).to(tl.float32)

        raw_u = input_u + tl.dot(operand_NH, update_HH, input_precision="tf32x3")
        raw_r = input_r + tl.dot(operand_NH, reset_HH, input_precision="tf32x3")
        raw_NH = tl.dot(operand_NH, candidate_HH, input_precision="tf32x3")
        # Sigmoid and tanh spelt out: Triton's own are compiled functions, which its interpreter cannot step into.
        update_NH = 1 / (1 + tl.exp(-raw_u))
        reset_NH = 1 / (1 + tl.exp(-raw_r))
        new_NH = 1 - 2 / (1 + tl.exp(2 * (input_c + reset_NH * raw_NH)))
        state_NH += attention_N[:, None] * update_NH * (new_NH - state_NH)

        step_inputs += input_step
        step_attention_N += attention_step

    states = states_ptr + (user * num_rows + rows_N[:, None]) * HIDDEN + units_H[None, :]
    tl.store(states, state_NH.to(states_ptr.dtype.element_ty), is_row_N[:, None] & is_unit_H[None, :])


def augru(inputs_KBMG: Tensor, attention_KBN: Tensor, recurrent_HG: Tensor) -> Tensor:
    """The state [B, N, H] after all K steps from zero, in the inputs' dtype. No gradients.

    inputs_KBMG: x_u, x_r and x_c of each step, float32, bfloat16 or float16, units side by side in memory; any other
    strides, also M = 1 without a copy for each candidate. attention_KBN: any strides. recurrent_HG: of the inputs'
    dtype, contiguous, H up to MAX_HIDDEN.
    """
    steps, users, rows = attention_KBN.shape
    hidden = len(recurrent_HG)
    states_BNH = inputs_KBMG.new_empty(users, rows, hidden)
    block = rows_per_program(users, rows)
    shared = inputs_KBMG.shape[2] == 1
    augru_kernel[(triton.cdiv(rows, block), users)](
        inputs_KBMG,
        attention_KBN,
        recurrent_HG,
        states_BNH,
        steps,
        rows,
        *inputs_KBMG.stride()[:3],
        *attention_KBN.stride(),
        HIDDEN=hidden,
        HIDDEN_BLOCK=max(MIN_BLOCK, triton.next_power_of_2(hidden)),
        ROWS_BLOCK=block,
        SHARED_INPUTS=shared,
        num_warps=warps_per_program(block),
    )
    return states_BNH


def rows_per_program(users: int, rows: int) -> int:
    """Candidates of one program, 16 to 64: as many as still make enough programs to keep the GPU busy."""
    block = 64
    while block > MIN_BLOCK and users * triton.cdiv(rows, block) < WAVE:
        block //= 2
    return block


def warps_per_program(rows: int) -> int:
    """One warp for every 16 candidates: the height of a tensor core's product."""
    return max(1, rows // MIN_BLOCK)


def serves(inputs_KBMG: Tensor, recurrent_HG: Tensor) -> bool:
    """Whether the kernel can run these: on CUDA, in a dtype and width that it has, laid out as it reads them."""
    return (
        inputs_KBMG.is_cuda
        and inputs_KBMG.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and inputs_KBMG.dtype == recurrent_HG.dtype
        and inputs_KBMG.stride(3) == 1
        and recurrent_HG.is_contiguous()
        and len(recurrent_HG) <= MAX_HIDDEN
    )
