"""Cross-entropy over the whole catalogue in little memory: logits exist for a few thousand states at a time.

Logits of every state of a batch would be gigabytes that are written once and read four times. Here a chunk's logits,
its softmax and the gradients of both sides are made while they are in the processor's cache, and only the gradients
stay. What costs time are three matrix products per chunk, in bfloat16 under autocast.

Shape legend: B users, L steps of a user, P = L + 1 states of a user, I items, D vector width, N states of a chunk.
"""

from typing import Any

import torch
from torch import Tensor

STATES_PER_CHUNK = 1024
SMALLEST_SHARE = 1e-8


def unseen_cross_entropy(states_BPD: Tensor, items_ID: Tensor, targets_BP: Tensor, steps_BL: Tensor) -> Tensor:
    """Sum of -log softmax(state · items)[target] over the states with a target; a scalar with a gradient.

    State k is that after the first k of the items `steps_BL`, P = L + 1. Its softmax is over all items but item 0 and
    these k: what will not be recommended needs no vector that says so. targets_BP: item index, 0 = the state has no
    target and counts nothing.
    """
    device = states_BPD.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states_BPD.dtype
    loss: Tensor = _UnseenCrossEntropy.apply(states_BPD, items_ID, targets_BP, steps_BL, dtype)
    return loss


class _UnseenCrossEntropy(torch.autograd.Function):
    """The gradients are linear in the incoming one, a scalar, so the forward pass already makes them."""

    @staticmethod
    def forward(
        ctx: Any, states_BPD: Tensor, items_ID: Tensor, targets_BP: Tensor, steps_BL: Tensor, dtype: torch.dtype
    ) -> Tensor:
        users, states, dim = states_BPD.shape
        catalogue_ID, items_grad_ID = items_ID.to(dtype), torch.zeros_like(items_ID, dtype=torch.float32)
        states_grad_BPD = torch.empty_like(states_BPD)
        total = torch.zeros((), device=states_BPD.device)
        not_yet_PL = torch.ones(states, states - 1, dtype=torch.bool, device=steps_BL.device).triu()
        step = max(1, STATES_PER_CHUNK // states)
        with torch.autocast(states_BPD.device.type, enabled=False):
            for start in range(0, users, step):
                part = slice(start, start + step)
                chunk_ND = states_BPD[part].reshape(-1, dim).to(dtype)
                logits_NI = chunk_ND @ catalogue_ID.T
                row_N1 = torch.arange(len(chunk_ND), device=steps_BL.device).unsqueeze(1) * logits_NI.shape[1]
                # A step that is still to come leaves out item 0, which is out anyway. Flat positions, here and below,
                # because scatter widens bfloat16 and back: a pass over all logits that costs as much as a product.
                seen_NL = steps_BL[part].unsqueeze(1).masked_fill(not_yet_PL, 0).view(len(chunk_ND), -1)
                logits_NI.view(-1).index_fill_(0, (row_N1 + seen_NL).view(-1), -torch.inf)
                logits_NI[:, 0] = -torch.inf
                share_NI = logits_NI.softmax(1)
                target_N1 = targets_BP[part].reshape(-1, 1)
                counts_N1 = target_N1 > 0
                at_target_N = (row_N1 + target_N1).view(-1)
                target_share_N = share_NI.view(-1)[at_target_N]
                log_share_N = target_share_N.float().clamp(min=SMALLEST_SHARE).log()
                total -= log_share_N.where(counts_N1.view(-1), 0.0).sum()
                # From here on share_NI is the gradient of the logits: share - 1 at the target, share elsewhere.
                share_NI.view(-1)[at_target_N] = target_share_N - 1
                states_grad_BPD[part] = ((share_NI @ catalogue_ID) * counts_N1).view(-1, states, dim)
                items_grad_ID += share_NI.T @ (chunk_ND * counts_N1)
        ctx.save_for_backward(states_grad_BPD, items_grad_ID.to(items_ID.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        states_grad_BPD, items_grad_ID = ctx.saved_tensors
        return states_grad_BPD * gradients[0], items_grad_ID * gradients[0], None, None, None
