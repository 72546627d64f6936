"""AUGRU: a GRU whose update gate is scaled by attention, run for many candidates at once.

Zhou et al., Deep Interest Evolution Network for Click-Through Rate Prediction, 2019, equations 12-16:

    u = sigmoid(W_u x + U_u h)        r = sigmoid(W_r x + U_r h)        c = tanh(W_c x + r * (U_c h))
    h' = h + a u * (c - h)            a = attention of the candidate to the step

The reset gate multiplies U_c h, not h, so that one matrix product per step serves all three gates. A step with
attention 0 leaves h as it is: masked steps need no further mask, and an empty history ends at zero.

Shape legend: B users, N candidates, L steps, H hidden units, G = 3H gates in the order update, reset, candidate.
Inside the loop the hidden axis comes first, so that each gate of all users and candidates is one contiguous block.
"""

from typing import Any

import torch
from torch import Tensor, nn


class AUGRU(nn.Module):
    """GRU with attentional update gate (Zhou et al., 2019). `project` once per user, then call once per candidates."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.input = nn.Linear(input_size, 3 * hidden_size)
        self.recurrent_GH = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        for gate_HH in self.recurrent_GH.chunk(3):
            nn.init.orthogonal_(gate_HH)

    def project(self, steps_BLD: Tensor) -> Tensor:
        """Input part of the gates, [L, 3H, B]: the same for all candidates of a user."""
        projected: Tensor = self.input(steps_BLD)
        return projected.permute(1, 2, 0).contiguous()

    def forward(self, inputs_LGB: Tensor, attention_BNL: Tensor) -> Tensor:
        """Last hidden state [B, N, H] after L steps from zero. `inputs_LGB` comes from `project`."""
        attention_LBN = attention_BNL.permute(2, 0, 1).contiguous()
        if torch.is_grad_enabled():
            hidden_HBN: Tensor = _Evolution.apply(  # type: ignore[no-untyped-call]
                inputs_LGB, attention_LBN, self.recurrent_GH
            )
        else:
            hidden_HBN = _evolve(inputs_LGB, attention_LBN, self.recurrent_GH)
        return hidden_HBN.permute(1, 2, 0)


def _step(input_GB1: Tensor, recurrent_GH: Tensor, hidden_HBN: Tensor, gates_GBN: Tensor, new_HBN: Tensor) -> None:
    """One step's gates (update, reset, and the raw U_c h) and candidate state, written into the last two arguments."""
    size = hidden_HBN.shape[0]
    torch.mm(recurrent_GH, hidden_HBN.view(size, -1), out=gates_GBN.view(3 * size, -1))
    gates_GBN[: 2 * size].add_(input_GB1[: 2 * size]).sigmoid_()
    torch.addcmul(input_GB1[2 * size :], gates_GBN[size : 2 * size], gates_GBN[2 * size :], out=new_HBN).tanh_()


def _evolve(inputs_LGB: Tensor, attention_LBN: Tensor, recurrent_GH: Tensor) -> Tensor:
    """The recurrence without gradients; its buffers are allocated once for all steps."""
    _, users, candidates = attention_LBN.shape
    size = recurrent_GH.shape[1]
    hidden_HBN = inputs_LGB.new_zeros(size, users, candidates)
    gates_GBN = inputs_LGB.new_empty(3 * size, users, candidates)
    new_HBN = torch.empty_like(hidden_HBN)
    for input_GB, attention_BN in zip(inputs_LGB, attention_LBN, strict=True):
        _step(input_GB.unsqueeze(-1), recurrent_GH, hidden_HBN, gates_GBN, new_HBN)
        hidden_HBN.lerp_(new_HBN, gates_GBN[:size].mul_(attention_BN))
    return hidden_HBN


class _Evolution(torch.autograd.Function):
    """The recurrence with a hand-written backward pass: a third of the kernels and memory that autograd records."""

    @staticmethod
    def forward(ctx: Any, inputs_LGB: Tensor, attention_LBN: Tensor, recurrent_GH: Tensor) -> Tensor:
        steps, users, candidates = attention_LBN.shape
        size = recurrent_GH.shape[1]
        hidden_LHBN = inputs_LGB.new_empty(steps + 1, size, users, candidates)
        hidden_LHBN[0] = 0.0
        gates_LGBN = inputs_LGB.new_empty(steps, 3 * size, users, candidates)
        new_LHBN = torch.empty_like(hidden_LHBN[1:])
        update_HBN = inputs_LGB.new_empty(size, users, candidates)
        for step in range(steps):
            gates_GBN, new_HBN, hidden_HBN = gates_LGBN[step], new_LHBN[step], hidden_LHBN[step]
            _step(inputs_LGB[step].unsqueeze(-1), recurrent_GH, hidden_HBN, gates_GBN, new_HBN)
            torch.mul(gates_GBN[:size], attention_LBN[step], out=update_HBN)
            torch.lerp(hidden_HBN, new_HBN, update_HBN, out=hidden_LHBN[step + 1])
        ctx.save_for_backward(attention_LBN, recurrent_GH, hidden_LHBN, gates_LGBN, new_LHBN)
        return hidden_LHBN[steps].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        attention_LBN, recurrent_GH, hidden_LHBN, gates_LGBN, new_LHBN = ctx.saved_tensors
        steps, users, candidates = attention_LBN.shape
        size = recurrent_GH.shape[1]
        d_inputs_LGB = attention_LBN.new_empty(steps, 3 * size, users)
        d_attention_LBN = torch.empty_like(attention_LBN)
        d_recurrent_GH = torch.zeros_like(recurrent_GH)
        d_gates_GBN = torch.empty_like(gates_LGBN[0])
        d_hidden_HBN = gradients[0].contiguous()
        for step in reversed(range(steps)):
            attention_BN, hidden_HBN, new_HBN = attention_LBN[step], hidden_LHBN[step], new_LHBN[step]
            update_HBN, reset_HBN, recurrent_HBN = gates_LGBN[step].view(3, size, users, candidates)
            d_scaled_HBN = d_hidden_HBN * (new_HBN - hidden_HBN)
            scaled_HBN = update_HBN * attention_BN
            d_new_HBN = d_hidden_HBN * scaled_HBN
            d_hidden_HBN = d_hidden_HBN - d_new_HBN
            d_attention_LBN[step] = (d_scaled_HBN * update_HBN).sum(0)
            d_new_HBN = torch.ops.aten.tanh_backward(d_new_HBN, new_HBN)
            d_gates_GBN[:size] = torch.ops.aten.sigmoid_backward(d_scaled_HBN.mul_(attention_BN), update_HBN)
            d_gates_GBN[size : 2 * size] = torch.ops.aten.sigmoid_backward(d_new_HBN * recurrent_HBN, reset_HBN)
            torch.mul(d_new_HBN, reset_HBN, out=d_gates_GBN[2 * size :])
            d_gates_GR = d_gates_GBN.view(3 * size, -1)
            d_hidden_HBN.view(size, -1).addmm_(recurrent_GH.t(), d_gates_GR)
            d_recurrent_GH.addmm_(d_gates_GR, hidden_HBN.view(size, -1).t())
            torch.sum(d_gates_GBN[: 2 * size], -1, out=d_inputs_LGB[step, : 2 * size])
            torch.sum(d_new_HBN, -1, out=d_inputs_LGB[step, 2 * size :])
        return d_inputs_LGB, d_attention_LBN, d_recurrent_GH
