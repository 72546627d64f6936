"""How a user's interest evolves towards a candidate: the choices of the Deep Interest Evolution Network.

Zhou et al., Deep Interest Evolution Network for Click-Through Rate Prediction, 2019, section "Interest Evolving
Layer": a second GRU runs over the states of the first, and the attention of the candidate to each step decides how
much of the step it takes in. A step with attention 0 leaves the interest as it is: masked steps need no further mask,
and an empty history ends at zero.

Shape legend: B users, L steps, N candidates, M = N, or 1 where all candidates of a user see the same steps, K
steps that are attended, D step features, H hidden units, X a step's part of the recurrence, G = 3H gates.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from recstack.models.kernels import all_states, last_state
from recstack.models.recurrence import evolve


def _recurrent(hidden_size: int) -> nn.Parameter:
    """Recurrent weights [H, 3H] of three gates, each orthogonal."""
    gates = [nn.init.orthogonal_(torch.empty(hidden_size, hidden_size)) for _ in range(3)]
    return nn.Parameter(torch.cat(gates, dim=1))


class GRU(nn.Module):
    """Gated recurrent unit over a history (Cho et al., 2014); the extraction of interests."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input = nn.Linear(input_size, 3 * hidden_size)
        self.recurrent_HG = _recurrent(hidden_size)

    def forward(self, steps_BLD: Tensor) -> Tensor:
        """States [B, L, H] after each step, from zero."""
        if not torch.is_grad_enabled():
            return all_states(self.input(steps_BLD), self.recurrent_HG)
        inputs_LB1G = self.input(steps_BLD.transpose(0, 1)).unsqueeze(2)
        states_LBH = evolve(inputs_LB1G, None, self.recurrent_HG).squeeze(2)
        return states_LBH.transpose(0, 1)


class Evolution(nn.Module, ABC):
    """Evolution of an interest. `project` once per user, then call with the steps that each candidate attends to."""

    @abstractmethod
    def project(self, steps_BLD: Tensor) -> Tensor:
        """A step's part of the recurrence, [B, L, X]: the same for all candidates of a user."""

    @abstractmethod
    def forward(self, inputs_KBMX: Tensor, attention_KBN: Tensor) -> Tensor:
        """The interest [B, N, H] after K steps from zero. The inputs are steps of `project`'s result."""


class AUGRU(Evolution):
    """GRU with attentional update gate: attention scales how far each unit of the interest moves."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input = nn.Linear(input_size, 3 * hidden_size)
        self.recurrent_HG = _recurrent(hidden_size)

    def project(self, steps_BLD: Tensor) -> Tensor:
        """The gates' inputs, [B, L, 3H]."""
        gates_BLG: Tensor = self.input(steps_BLD)
        return gates_BLG

    def forward(self, inputs_KBMX: Tensor, attention_KBN: Tensor) -> Tensor:
        """See Evolution."""
        return last_state(inputs_KBMX, attention_KBN, self.recurrent_HG)


class AGRU(AUGRU):
    """Attention-based GRU: attention replaces the update gate, one number for all units."""

    def forward(self, inputs_KBMX: Tensor, attention_KBN: Tensor) -> Tensor:
        """See Evolution."""
        interest_BNH = inputs_KBMX.new_zeros(*attention_KBN.shape[1:], len(self.recurrent_HG))
        for input_BMG, attention_BN in zip(inputs_KBMX, attention_KBN, strict=True):
            _, new_BNH = _gates(input_BMG, interest_BNH @ self.recurrent_HG)
            interest_BNH = interest_BNH.lerp(new_BNH, attention_BN.unsqueeze(2))
        return interest_BNH


class AIGRU(AUGRU):
    """GRU with attentional input: attention scales what a step says.

    A GRU moves on zeros too, which is why its authors prefer AUGRU; here a step with attention 0 is passed over.
    """

    def project(self, steps_BLD: Tensor) -> Tensor:
        """The gates' inputs less their bias, [B, L, 3H]."""
        return steps_BLD @ self.input.weight.t()

    def forward(self, inputs_KBMX: Tensor, attention_KBN: Tensor) -> Tensor:
        """See Evolution."""
        interest_BNH = inputs_KBMX.new_zeros(*attention_KBN.shape[1:], len(self.recurrent_HG))
        for input_BMG, attention_BN in zip(inputs_KBMX, attention_KBN, strict=True):
            attention_BN1 = attention_BN.unsqueeze(2)
            scaled_BNG = input_BMG * attention_BN1 + self.input.bias
            update_BNH, new_BNH = _gates(scaled_BNG, interest_BNH @ self.recurrent_HG)
            interest_BNH = torch.where(attention_BN1 > 0, interest_BNH.lerp(new_BNH, update_BNH), interest_BNH)
        return interest_BNH


class AttentionSum(Evolution):
    """No second GRU: the interest is the attention-weighted sum of the steps, as in Deep Interest Network
    (Zhou et al., 2018), beside the first GRU's last state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input = nn.Linear(input_size, hidden_size, bias=False)

    def project(self, steps_BLD: Tensor) -> Tensor:
        """The steps' values, [B, L, H]."""
        values_BLH: Tensor = self.input(steps_BLD)
        return values_BLH

    def forward(self, inputs_KBMX: Tensor, attention_KBN: Tensor) -> Tensor:
        """See Evolution."""
        return (inputs_KBMX * attention_KBN.unsqueeze(3)).sum(0)


EVOLUTIONS: dict[str, type[Evolution]] = {
    "augru": AUGRU,
    "agru": AGRU,
    "aigru": AIGRU,
    "attention_gru": AttentionSum,
}


def _gates(input_BMG: Tensor, recurrent_BNG: Tensor) -> tuple[Tensor, Tensor]:
    """Update gate and candidate state [B, N, H] of a GRU step."""
    input_u, input_r, input_c = input_BMG.chunk(3, dim=2)
    recurrent_u, recurrent_r, recurrent_c = recurrent_BNG.chunk(3, dim=2)
    new_BNH = torch.tanh(input_c + torch.sigmoid(input_r + recurrent_r) * recurrent_c)
    return torch.sigmoid(input_u + recurrent_u), new_BNH
