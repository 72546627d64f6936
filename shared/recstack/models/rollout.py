"""Recurrences without gradients: nothing is kept but what is asked for, and every step reuses the same buffers.

The equations, and the form with gradients, are in `recurrence`. On a CPU a step of few rows costs what its calls cost,
and a step of many rows what its passes over memory cost; both are as few as eager torch allows.

Shape legend: K or L steps, B users, N rows of a user (candidates), M = N, or 1 where a user's rows share their inputs,
H hidden units, G = 3H gates in the order update, reset, candidate.
"""

import torch
from torch import Tensor


def all_states(inputs_BLG: Tensor, recurrent_HG: Tensor) -> Tensor:
    """States [B, L, H] of a GRU after each step, from zero. inputs_BLG: each step's part of the gates."""
    users, steps, _ = inputs_BLG.shape
    size = len(recurrent_HG)
    states_LBH = inputs_BLG.new_empty(steps + 1, users, size)
    states_LBH[0] = 0.0
    candidates_LBH, biases_LBG = _split_inputs(inputs_BLG.transpose(0, 1), size)
    gates_BG, new_BH = inputs_BLG.new_empty(users, 3 * size), inputs_BLG.new_empty(users, size)
    open_BG, update_BH, reset_BH, raw_BH = _views(gates_BG, size)
    states = states_LBH.unbind(0)
    for before_BH, after_BH, candidate_BH, bias_BG in zip(
        states[:-1], states[1:], candidates_LBH.unbind(0), biases_LBG.unbind(0), strict=True
    ):
        torch.addmm(bias_BG, before_BH, recurrent_HG, out=gates_BG)
        open_BG.sigmoid_()
        torch.addcmul(candidate_BH, reset_BH, raw_BH, out=new_BH)
        new_BH.tanh_()
        torch.lerp(before_BH, new_BH, update_BH, out=after_BH)
    return states_LBH[1:].transpose(0, 1)


def last_state(inputs_KBMG: Tensor, attention_KBN: Tensor, recurrent_HG: Tensor) -> Tensor:
    """The state [B, N, H] of a GRU with attentional update gate after all steps, from zero."""
    _, users, rows = attention_KBN.shape
    size = len(recurrent_HG)
    state_BNH = inputs_KBMG.new_zeros(users, rows, size)
    gates_BNG = inputs_KBMG.new_empty(users, rows, 3 * size)
    new_BNH, scaled_BNH = torch.empty_like(state_BNH), torch.empty_like(state_BNH)
    open_BNG, update_BNH, reset_BNH, raw_BNH = _views(gates_BNG, size)
    candidates_KBMH, biases_KBMG = _split_inputs(inputs_KBMG, size)
    recurrent_BHG = recurrent_HG.expand(users, -1, -1)
    for candidate_BMH, bias_BMG, attention_BN1 in zip(
        candidates_KBMH.unbind(0), biases_KBMG.unbind(0), attention_KBN.unsqueeze(3).unbind(0), strict=True
    ):
        torch.baddbmm(bias_BMG, state_BNH, recurrent_BHG, out=gates_BNG)
        open_BNG.sigmoid_()
        torch.addcmul(candidate_BMH, reset_BNH, raw_BNH, out=new_BNH)
        tanh_(new_BNH)
        torch.mul(update_BNH, attention_BN1, out=scaled_BNH)
        state_BNH.lerp_(new_BNH, scaled_BNH)
    return state_BNH


def _split_inputs(inputs: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The candidate's inputs, which the reset gate does not scale, and the gates' biases with zeros in their place."""
    biases = inputs.clone(memory_format=torch.contiguous_format)
    biases[..., 2 * size :] = 0.0
    return inputs[..., 2 * size :], biases


def _views(gates: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Update and reset gate together, each alone, and the raw recurrent part of the candidate."""
    return gates[..., : 2 * size], gates[..., :size], gates[..., size : 2 * size], gates[..., 2 * size :]


def tanh_(values: Tensor) -> Tensor:
    """tanh in place, as 2 sigmoid(2x) - 1: on a CPU torch's sigmoid is about nine times faster than its tanh."""
    # Tensors of one number: a Python number is made into one, and cast, at every call.
    two, minus_one = values.new_full((), 2.0), values.new_full((), -1.0)
    return torch.add(minus_one, values.mul_(two).sigmoid_(), alpha=2.0, out=values)
