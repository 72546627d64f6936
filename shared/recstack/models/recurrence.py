"""A gated recurrent unit with an optional attention on its update gate, with a hand-written backward pass.

    u = sigmoid(x_u + U_u h)    r = sigmoid(x_r + U_r h)    c = tanh(x_c + r * (U_c h))    h' = h + a u * (c - h)

With a = 1 it is the GRU (Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, 2014), with a the
attention to a step it is AUGRU (Zhou et al., Deep Interest Evolution Network for Click-Through Rate Prediction, 2019).
The reset gate multiplies U_c h, not h, so that one matrix product per step serves all three gates.

Backwards, all that is known after the forward pass is computed for all steps at once; what is left in the loop is
four kernels per step.

Shape legend: K steps, B users, N rows of a user (candidates, or 1), M = N, or 1 where a user's rows share their inputs,
H hidden units, G = 3H gates in the order update, reset, candidate.
"""

from typing import Any

import torch
from torch import Tensor

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward


def evolve(inputs_KBMG: Tensor, attention_KBN: Tensor, recurrent_HG: Tensor) -> Tensor:
    """Hidden states [K, B, N, H] after each step, from zero. inputs_KBMG: x_u, x_r and x_c of each step."""
    if torch.is_grad_enabled():
        states_KBNH: Tensor = _Recurrence.apply(  # type: ignore[no-untyped-call]
            inputs_KBMG, attention_KBN, recurrent_HG
        )
        return states_KBNH
    return _forward(inputs_KBMG, attention_KBN, recurrent_HG)[0][1:]


def _forward(inputs_KBMG: Tensor, attention_KBN: Tensor, recurrent_HG: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """States with the zero state before them, gates (u, r and the raw U_c h), and candidate states, of all steps."""
    steps, users, rows = attention_KBN.shape
    size = len(recurrent_HG)
    states_KBNH = inputs_KBMG.new_empty(steps + 1, users, rows, size)
    states_KBNH[0] = 0.0
    gates_KBNG = inputs_KBMG.new_empty(steps, users, rows, 3 * size)
    new_KBNH = inputs_KBMG.new_empty(steps, users, rows, size)
    for step in range(steps):
        input_BMG, gates_BNG, new_BNH = inputs_KBMG[step], gates_KBNG[step], new_KBNH[step]
        torch.mm(states_KBNH[step].view(-1, size), recurrent_HG, out=gates_BNG.view(-1, 3 * size))
        open_BNG = gates_BNG[..., : 2 * size]
        open_BNG.add_(input_BMG[..., : 2 * size]).sigmoid_()
        torch.addcmul(input_BMG[..., 2 * size :], open_BNG[..., size:], gates_BNG[..., 2 * size :], out=new_BNH)
        new_BNH.mul_(2).sigmoid_().mul_(2).sub_(1)  # tanh, by the function that has the faster kernel
        update_BNH = open_BNG[..., :size] * attention_KBN[step].unsqueeze(-1)
        torch.lerp(states_KBNH[step], new_BNH, update_BNH, out=states_KBNH[step + 1])
    return states_KBNH, gates_KBNG, new_KBNH


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs_KBMG: Tensor, attention_KBN: Tensor, recurrent_HG: Tensor) -> Tensor:
        states_KBNH, gates_KBNG, new_KBNH = _forward(inputs_KBMG, attention_KBN, recurrent_HG)
        ctx.save_for_backward(attention_KBN, recurrent_HG, states_KBNH, gates_KBNG, new_KBNH)
        ctx.inputs_shape = inputs_KBMG.shape
        return states_KBNH[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        attention_KBN, recurrent_HG, states_KBNH, gates_KBNG, new_KBNH = ctx.saved_tensors
        size, before_KBNH = len(recurrent_HG), states_KBNH[:-1]
        update_KBNH, reset_KBNH, raw_KBNH = gates_KBNG.split(size, dim=3)
        # How far a change of each gate's input moves the next state.
        moves_KBNG = torch.empty_like(gates_KBNG)
        scaled_KBNH = update_KBNH * attention_KBN.unsqueeze(-1)
        difference_KBNH = new_KBNH - before_KBNH
        by_new_KBNH = tanh_backward(scaled_KBNH, new_KBNH)
        by_update_KBNH, by_reset_KBNH, by_raw_KBNH = torch.split(moves_KBNG, size, dim=3)
        sigmoid_backward(difference_KBNH * attention_KBN.unsqueeze(-1), update_KBNH, grad_input=by_update_KBNH)
        sigmoid_backward(by_new_KBNH * raw_KBNH, reset_KBNH, grad_input=by_reset_KBNH)
        torch.mul(by_new_KBNH, reset_KBNH, out=by_raw_KBNH)

        d_states_KBNH = torch.empty_like(before_KBNH)
        d_gates_KBNG = moves_KBNG  # overwritten step by step
        d_before_BNH = torch.zeros_like(before_KBNH[0])
        for step in reversed(range(len(before_KBNH))):
            d_BNH = torch.add(gradients[0][step], d_before_BNH, out=d_states_KBNH[step])
            d_gates_KBNG[step].view(*d_BNH.shape[:2], 3, size).mul_(d_BNH.unsqueeze(2))
            torch.addcmul(d_BNH, d_BNH, scaled_KBNH[step], value=-1, out=d_before_BNH)
            d_before_BNH.view(-1, size).addmm_(d_gates_KBNG[step].view(-1, 3 * size), recurrent_HG.t())

        d_recurrent_HG = before_KBNH.reshape(-1, size).t() @ d_gates_KBNG.view(-1, 3 * size)
        d_attention_KBN = (d_states_KBNH * difference_KBNH * update_KBNH).sum(-1)
        torch.mul(d_states_KBNH, by_new_KBNH, out=d_gates_KBNG[..., 2 * size :])
        return d_gates_KBNG.sum_to_size(ctx.inputs_shape), d_attention_KBN, d_recurrent_HG
