"""A candidate's interest in the last steps of a history: attention to each, then evolution over them.

The attention is the MLP on [q, k, q * k] of the Deep Interest Network (Zhou et al., 2018); its first layer splits into
parts per step and per candidate.

Shape legend: B users, L history steps, N candidates, M = N, or 1 where all candidates of a user see the same steps, K
steps that are attended, H hidden units, A attention units, X a step's part of the evolution.
"""

import torch
from torch import Tensor, nn

from recstack.errors import InvalidRequestError
from recstack.models.evolution import EVOLUTIONS


class InterestEvolution(nn.Module):
    """Attention and evolution over the last `steps` states (Zhou et al., 2019)."""

    def __init__(self, hidden: int, attention_hidden: int, kind: str, steps: int) -> None:
        """kind: one of EVOLUTIONS, else InvalidRequestError."""
        super().__init__()
        if kind not in EVOLUTIONS:
            raise InvalidRequestError(f"evolution is {kind!r}; it must be one of {tuple(EVOLUTIONS)}")
        self.steps = steps
        self.from_query = nn.Linear(hidden, attention_hidden)
        self.from_state = nn.Linear(hidden, attention_hidden, bias=False)
        self.from_product_HA = nn.Parameter(torch.randn(hidden, attention_hidden) / hidden**0.5)
        self.out = nn.Linear(attention_hidden, 1, bias=False)
        self.evolution = EVOLUTIONS[kind](hidden, hidden)

    def remember(self, states_BLH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The history's part, for `forward`: states, and their parts of the attention and of the evolution."""
        return states_BLH, self.from_state(states_BLH), self.evolution.project(states_BLH)

    def forward(self, memory: tuple[Tensor, Tensor, Tensor], query_BNH: Tensor, visible_BM: Tensor) -> Tensor:
        """The interest [B, N, H]; a candidate's last step is number `visible_BM` from 1, and 0 or less is no step."""
        users, length, _ = memory[0].shape
        ago_K11 = torch.arange(-min(self.steps, length), 0, device=visible_BM.device)[:, None, None]
        step_KBM = visible_BM + ago_K11
        index_KBM = step_KBM.clamp(min=0) + length * torch.arange(users, device=visible_BM.device).unsqueeze(1)
        # Lookups rather than indexing: their gradients are summed row by row.
        states_KBMH, keys_KBMA, inputs_KBMX = (
            nn.functional.embedding(index_KBM, part.flatten(0, 1)) for part in memory
        )
        products_KBNA = (query_BNH * states_KBMH) @ self.from_product_HA
        layer_KBNA = products_KBNA + keys_KBMA + self.from_query(query_BNH)
        logits_KBN: Tensor = self.out(layer_KBNA.relu()).squeeze(3)
        hidden_KBM = step_KBM < 0
        # A finite fill keeps rows without any visible step free of NaN; the second mask makes them zero.
        weights_KBN = logits_KBN.masked_fill(hidden_KBM, -1e9).softmax(0).masked_fill(hidden_KBM, 0.0)
        evolved_BNH: Tensor = self.evolution(inputs_KBMX, weights_KBN)
        return evolved_BNH
