"""A gated recurrent unit with an optional attention on its update gate, with a hand-written backward pass.

    u = sigmoid(x_u + U_u h)    r = sigmoid(x_r + U_r h)    c = tanh(x_c + r * (U_c h))    h' = h + a u * (c - h)

With a = 1 it is the GRU (Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, 2014), with a the
attention to a step it is AUGRU (Zhou et al., Deep Interest Evolution Network for Click-Through Rate Prediction, 2019).
The reset gate multiplies U_c h, not h, so that one matrix product per step serves all three gates.

Backwards, all that is known after the forward pass is computed for all steps at once; what is left in the loop is
four kernels per step.

Shape legend: K steps, B users, N rows of a user (candidates, or 1), M = N, or 1 where a user's rows share their inputs,
R = B * N, H hidden units, G = 3H gates in the order update, reset, candidate.
"""

from typing import Any

import torch
from torch import Tensor

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward


def evolve(inputs_KBMG: Tensor, attention_KBN: Tensor | None, recurrent_HG: Tensor) -> Tensor:
    """Hidden states [K, B, N, H] after each step, from zero.

    inputs_KBMG: x_u, x_r and x_c of each step. attention_KBN: None is 1 everywhere, and N = M.
    """
    if torch.is_grad_enabled():
        states_KBNH: Tensor = _Recurrence.apply(  # type: ignore[no-untyped-call]
            inputs_KBMG, attention_KBN, recurrent_HG
        )
        return states_KBNH
    return _forward(inputs_KBMG, attention_KBN, recurrent_HG)[0][1:].view(*_rows(inputs_KBMG, attention_KBN), -1)


def _rows(inputs_KBMG: Tensor, attention_KBN: Tensor | None) -> torch.Size:
    """(K, B, N)."""
    return (inputs_KBMG[..., 0] if attention_KBN is None else attention_KBN).shape


def _forward(
    inputs_KBMG: Tensor, attention_KBN: Tensor | None, recurrent_HG: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States with the zero state before them, gates (u, r and the raw U_c h), candidate states, and a u, of all
    steps; all [K, R, ...]."""
    size, (steps, users, rows) = len(recurrent_HG), _rows(inputs_KBMG, attention_KBN)
    inputs_KRG = inputs_KBMG.expand(steps, users, rows, -1).reshape(steps, users * rows, -1)
    candidate_KRH = inputs_KRG[..., 2 * size :]
    gates_KRG = inputs_KRG.clone()
    gates_KRG[..., 2 * size :] = 0.0
    open_KRG = gates_KRG[..., : 2 * size]
    update_KRH, reset_KRH, raw_KRH = torch.split(gates_KRG, size, dim=2)
    states_KRH = gates_KRG.new_zeros(steps + 1, users * rows, size)
    new_KRH = gates_KRG.new_empty(steps, users * rows, size)
    moved_KRH, attention_KR1 = update_KRH, None
    if attention_KBN is not None:
        moved_KRH, attention_KR1 = torch.empty_like(new_KRH), attention_KBN.reshape(steps, -1, 1)
    minus_one = gates_KRG.new_full((), -1.0)
    for step in range(steps):
        before_RH, new_RH = states_KRH[step], new_KRH[step]
        gates_KRG[step].addmm_(before_RH, recurrent_HG)
        open_KRG[step].sigmoid_()
        torch.addcmul(candidate_KRH[step], reset_KRH[step], raw_KRH[step], out=new_RH)
        new_RH.mul_(2).sigmoid_()  # tanh by the function that has the faster kernel: 2 sigmoid(2x) - 1
        torch.add(minus_one, new_RH, alpha=2, out=new_RH)
        if attention_KR1 is not None:
            torch.mul(update_KRH[step], attention_KR1[step], out=moved_KRH[step])
        torch.lerp(before_RH, new_RH, moved_KRH[step], out=states_KRH[step + 1])
    return states_KRH, gates_KRG, new_KRH, moved_KRH


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs_KBMG: Tensor, attention_KBN: Tensor | None, recurrent_HG: Tensor) -> Tensor:
        computed = _forward(inputs_KBMG, attention_KBN, recurrent_HG)
        ctx.save_for_backward(attention_KBN, recurrent_HG, *computed)
        ctx.inputs_shape = inputs_KBMG.shape
        return computed[0][1:].view(*_rows(inputs_KBMG, attention_KBN), -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        attention_KBN, recurrent_HG, states_KRH, gates_KRG, new_KRH, moved_KRH = ctx.saved_tensors
        (steps, rows, size), before_KRH = new_KRH.shape, states_KRH[:-1]
        update_KRH, reset_KRH, raw_KRH = torch.split(gates_KRG, size, dim=2)
        # How far a change of each gate's input moves the next state.
        moves_KRG = torch.empty_like(gates_KRG)
        by_update_KRH, by_reset_KRH, by_raw_KRH = torch.split(moves_KRG, size, dim=2)
        difference_KRH = new_KRH - before_KRH
        by_new_KRH = tanh_backward(moved_KRH, new_KRH)
        weighed_KRH = difference_KRH
        if attention_KBN is not None:
            weighed_KRH = difference_KRH * attention_KBN.reshape(steps, rows, 1)
        sigmoid_backward(weighed_KRH, update_KRH, grad_input=by_update_KRH)
        sigmoid_backward(by_new_KRH * raw_KRH, reset_KRH, grad_input=by_reset_KRH)
        torch.mul(by_new_KRH, reset_KRH, out=by_raw_KRH)

        d_after_KRH = gradients[0].reshape(steps, rows, size)
        d_states_KRH = torch.empty_like(new_KRH)
        d_gates_KRG = moves_KRG  # overwritten step by step
        d_before_RH = torch.zeros_like(new_KRH[0])
        for step in reversed(range(steps)):
            d_RH = torch.add(d_after_KRH[step], d_before_RH, out=d_states_KRH[step])
            d_gates_KRG[step].view(rows, 3, size).mul_(d_RH.unsqueeze(1))
            torch.addcmul(d_RH, d_RH, moved_KRH[step], value=-1, out=d_before_RH)
            d_before_RH.addmm_(d_gates_KRG[step], recurrent_HG.t())

        d_recurrent_HG = before_KRH.reshape(-1, size).t() @ d_gates_KRG.view(-1, 3 * size)
        d_attention_KBN = None
        if attention_KBN is not None:
            d_attention_KBN = difference_KRH.mul_(update_KRH).mul_(d_states_KRH).sum(2).view_as(attention_KBN)
        torch.mul(d_states_KRH, by_new_KRH, out=by_raw_KRH)
        d_inputs_KBNG = d_gates_KRG.view(steps, ctx.inputs_shape[1], -1, 3 * size)
        return d_inputs_KBNG.sum_to_size(ctx.inputs_shape), d_attention_KBN, d_recurrent_HG
