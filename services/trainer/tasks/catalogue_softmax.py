"""Cross-entropy over the whole catalogue in little memory: logits exist for a few thousand states at a time.

Logits of every state of a batch would be gigabytes that are written once and read four times. Here a chunk's logits,
its softmax and the gradients of both sides are made while they are in the processor's cache, and only the gradients
stay. What costs time are three matrix products per chunk, in bfloat16 under autocast.

Shape legend: B users, P states of a user, I items, D vector width, N states of a chunk.
"""

from typing import Any

import torch
from torch import Tensor

STATES_PER_CHUNK = 1024
SMALLEST_SHARE = 1e-8


def unseen_cross_entropy(
    states_BPD: Tensor, items_ID: Tensor, targets_BP: Tensor, seen_at_BI: Tensor, seen_before_BP: Tensor
) -> Tensor:
    """Sum of -log softmax(state · items)[target] over the states with a target; a scalar with a gradient.

    targets_BP: item index, 0 = the state has no target and counts nothing. The softmax of a state is over the items
    that its user had not seen: item i is left out where seen_at_BI < seen_before_BP, both int16 or both int32
    positions among the user's events. What will not be recommended needs no vector that says so.
    """
    device = states_BPD.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states_BPD.dtype
    loss: Tensor = _UnseenCrossEntropy.apply(states_BPD, items_ID, targets_BP, seen_at_BI, seen_before_BP, dtype)
    return loss


class _UnseenCrossEntropy(torch.autograd.Function):
    """The gradients are linear in the incoming one, a scalar, so the forward pass already makes them."""

    @staticmethod
    def forward(
        ctx: Any,
        states_BPD: Tensor,
        items_ID: Tensor,
        targets_BP: Tensor,
        seen_at_BI: Tensor,
        seen_before_BP: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        users, states, dim = states_BPD.shape
        catalogue_ID, items_grad_ID = items_ID.to(dtype), torch.zeros_like(items_ID, dtype=torch.float32)
        states_grad_BPD = torch.empty_like(states_BPD)
        total = torch.zeros((), device=states_BPD.device)
        step = max(1, STATES_PER_CHUNK // states)
        with torch.autocast(states_BPD.device.type, enabled=False):
            for start in range(0, users, step):
                part = slice(start, start + step)
                chunk_ND = states_BPD[part].reshape(-1, dim).to(dtype)
                seen_NI = (seen_at_BI[part].unsqueeze(1) < seen_before_BP[part].unsqueeze(2)).view(len(chunk_ND), -1)
                share_NI = (chunk_ND @ catalogue_ID.T).masked_fill_(seen_NI, -torch.inf).softmax(1)
                target_N1 = targets_BP[part].reshape(-1, 1)
                counts_N1 = target_N1 > 0
                target_share_N1 = share_NI.gather(1, target_N1)
                total -= target_share_N1.float().clamp(min=SMALLEST_SHARE).log().where(counts_N1, 0.0).sum()
                # From here on share_NI is the gradient of the logits: share - 1 at the target, share elsewhere.
                share_NI.scatter_(1, target_N1, target_share_N1 - 1)
                counted_ND = chunk_ND * counts_N1
                states_grad_BPD[part] = ((share_NI @ catalogue_ID) * counts_N1).view(-1, states, dim)
                items_grad_ID += share_NI.T @ counted_ND
        ctx.save_for_backward(states_grad_BPD, items_grad_ID.to(items_ID.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        states_grad_BPD, items_grad_ID = ctx.saved_tensors
        return states_grad_BPD * gradients[0], items_grad_ID * gradients[0], None, None, None, None
