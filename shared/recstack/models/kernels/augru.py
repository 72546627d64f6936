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
WARPS = 4
"""Of a program: one for each of a multiprocessor's four tensor cores, also where it is alone there."""


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
    state_step,
    state_user,
    state_row,
    HIDDEN: tl.constexpr,
    HIDDEN_BLOCK: tl.constexpr,
    ROWS_BLOCK: tl.constexpr,
    SHARED_INPUTS: tl.constexpr,
    ATTENTION: tl.constexpr,
    ALL_STATES: tl.constexpr,
):
    """One block of candidates of one user. A stride is named after what one more of it is; units have stride 1.

    Hidden units beyond HIDDEN have zero weights and inputs: their candidate state is 0, and so stays their state.
    """
    user = tl.program_id(1).to(tl.int64)
    rows_N = tl.program_id(0) * ROWS_BLOCK + tl.arange(0, ROWS_BLOCK)
    units_H = tl.arange(0, HIDDEN_BLOCK)
    is_row_N = rows_N < num_rows
    is_unit_H = units_H < HIDDEN
    is_state_NH = is_row_N[:, None] & is_unit_H[None, :]

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
        is_input = is_state_NH
    step_attention_N = attention_ptr + user * attention_user + rows_N * attention_row
    step_states_NH = states_ptr + user * state_user + rows_N[:, None] * state_row + units_H[None, :]

    state_NH = tl.full((ROWS_BLOCK, HIDDEN_BLOCK), 0.0, tl.float32)
    for _ in range(num_steps):
        operand_NH = state_NH.to(update_HH.dtype)
        input_u = tl.load(step_inputs, is_input, 0.0).to(tl.float32)
        input_r = tl.load(step_inputs + HIDDEN, is_input, 0.0).to(tl.float32)
        input_c = tl.load(step_inputs + 2 * HIDDEN, is_input, 0.0).to(tl.float32)
        raw_u = input_u + tl.dot(operand_NH, update_HH, input_precision="tf32x3")
        raw_r = input_r + tl.dot(operand_NH, reset_HH, input_precision="tf32x3")
        raw_c = tl.dot(operand_NH, candidate_HH, input_precision="tf32x3")
        # Sigmoid and tanh spelt out: Triton's own are compiled functions, which its interpreter cannot step into.
        update_NH = 1 / (1 + tl.exp(-raw_u))
        reset_NH = 1 / (1 + tl.exp(-raw_r))
        new_NH = 1 - 2 / (1 + tl.exp(2 * (input_c + reset_NH * raw_c)))
        if ATTENTION:
            update_NH *= tl.load(step_attention_N, is_row_N, 0.0).to(tl.float32)[:, None]
            step_attention_N += attention_step
        state_NH += update_NH * (new_NH - state_NH)
        step_inputs += input_step
        if ALL_STATES:
            tl.store(step_states_NH, state_NH.to(states_ptr.dtype.element_ty), is_state_NH)
            step_states_NH += state_step
    if not ALL_STATES:
        tl.store(step_states_NH, state_NH.to(states_ptr.dtype.element_ty), is_state_NH)


def augru(inputs_KBMG: Tensor, attention_KBN: Tensor, recurrent_HG: Tensor) -> Tensor:
    """The state [B, N, H] after all K steps from zero, in the inputs' dtype. No gradients.

    inputs_KBMG: x_u, x_r and x_c of each step, float32, bfloat16 or float16, units side by side in memory; any other
    strides, also M = 1 without a copy for each candidate. attention_KBN: any strides. recurrent_HG: of the inputs'
    dtype, contiguous, H up to MAX_HIDDEN.
    """
    steps, users, rows = attention_KBN.shape
    hidden = len(recurrent_HG)
    states_BNH = inputs_KBMG.new_empty(users, rows, hidden)
    block = rows_per_program(users, rows, hidden * inputs_KBMG.element_size())
    augru_kernel[(triton.cdiv(rows, block), users)](
        inputs_KBMG,
        attention_KBN,
        recurrent_HG,
        states_BNH,
        steps,
        rows,
        *inputs_KBMG.stride()[:3],
        *attention_KBN.stride(),
        0,
        *states_BNH.stride()[:2],
        HIDDEN=hidden,
        HIDDEN_BLOCK=_hidden_block(hidden),
        ROWS_BLOCK=block,
        SHARED_INPUTS=inputs_KBMG.shape[2] == 1,
        ATTENTION=True,
        ALL_STATES=False,
        num_warps=WARPS,
    )
    return states_BNH


def gru(inputs_BLG: Tensor, recurrent_HG: Tensor) -> Tensor:
    """All states [B, L, H] of the same recurrence without attention: a GRU. Arguments as in `augru`, for one row each.

    Users take the place of candidates, so that a batch of them shares the recurrent weights.
    """
    users, steps, _ = inputs_BLG.shape
    hidden = len(recurrent_HG)
    states_BLH = inputs_BLG.new_empty(users, steps, hidden)
    augru_kernel[(triton.cdiv(users, MIN_BLOCK), 1)](
        inputs_BLG,
        inputs_BLG,
        recurrent_HG,
        states_BLH,
        steps,
        users,
        inputs_BLG.stride(1),
        0,
        inputs_BLG.stride(0),
        0,
        0,
        0,
        states_BLH.stride(1),
        0,
        states_BLH.stride(0),
        HIDDEN=hidden,
        HIDDEN_BLOCK=_hidden_block(hidden),
        ROWS_BLOCK=MIN_BLOCK,
        SHARED_INPUTS=False,
        ATTENTION=False,
        ALL_STATES=True,
        num_warps=WARPS,
    )
    return states_BLH


def _hidden_block(hidden: int) -> int:
    """Hidden units, padded to a power of two."""
    return max(MIN_BLOCK, 1 << (hidden - 1).bit_length())


def rows_per_program(users: int, rows: int, weight_row_bytes: int) -> int:
    """Candidates of one program: 64, the height of a Hopper tensor core's product, or 16, an older one's.

    16 where 64 would leave the GPU idle, or where a row of a gate's weights is so wide that registers would not hold
    64 states beside it (with 128 bytes they do, with 256 they spill).
    """
    busy = users * triton.cdiv(rows, 64) >= WAVE
    return 64 if busy and weight_row_bytes <= 128 else MIN_BLOCK


def serves(inputs: Tensor, recurrent_HG: Tensor) -> bool:
    """Whether the kernel can run these: on CUDA, in a dtype and width that it has, laid out as it reads them."""
    return (
        inputs.is_cuda
        and inputs.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and inputs.dtype == recurrent_HG.dtype
        and inputs.stride(-1) == 1
        and recurrent_HG.is_contiguous()
        and len(recurrent_HG) <= MAX_HIDDEN
    )
