"""DIEN as click models are usually written and served: rows in, logits out, in eager torch.

A row is one candidate with everything that is known of the user, so the user's part is computed for every candidate, as
in the forward of DeepCTR and FuxiCTR. The weights are those of a trained `recstack.models.dien.DIEN`, and so are the
logits; nothing else is shared with RecStack's own way of scoring, so that making that faster changes nothing here.

Shape legend: R rows, L history steps, K last steps that are attended, E item vector with the item's bias (a logit)
last, D the same without the bias, H hidden units, A attention heads of the neighbours, W their width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from recstack.models.dien import DIEN


class PlainDIEN(nn.Module):
    """The trained model's layers, called row by row."""

    def __init__(self, trained: DIEN) -> None:
        super().__init__()
        self.trained = trained
        self.extraction = _library_gru(trained)

    def forward(self, profile_R4: Tensor, history_RLE: Tensor, ratings_RL: Tensor, candidates_RE: Tensor) -> Tensor:
        """Logits [R] that the candidates are liked. Histories are full: all rows have the same L > 0 real steps."""
        model = self.trained
        history_RLD, bias_RL, candidates_RD = history_RLE[..., :-1], history_RLE[..., -1], candidates_RE[:, :-1]
        residuals_RL = model.residuals(bias_RL, ratings_RL)
        steps_RLX = torch.cat([history_RLE, model.rating_embedding(ratings_RL)], dim=2)
        states_RLH, _ = self.extraction(steps_RLX)
        last_RH, query_RH = states_RLH[:, -1], model.query(candidates_RE)

        interest_RH = self._evolve(states_RLH[:, -model.config.evolution_steps :], query_RH)
        values_RLV = torch.cat([steps_RLX, residuals_RL.unsqueeze(2)], dim=2)
        neighbours_RX = self._neighbours(history_RLD, values_RLV, candidates_RD)
        profile = [embed(profile_R4[:, column]) for column, embed in enumerate(model.profile_embeddings)]
        statistics_RS = model.statistics(bias_RL, ratings_RL, residuals_RL)[:, -1]

        user_RX = torch.cat([*profile, last_RH, statistics_RS], dim=1)
        pair_RX = torch.cat([interest_RH, interest_RH * query_RH, last_RH * query_RH, neighbours_RX], dim=1)
        first_RF = model.from_user(user_RX) + model.from_item(candidates_RE) + model.from_pair(pair_RX)
        logits_R: Tensor = model.head(first_RF, torch.ones(len(first_RF), dtype=torch.bool))
        return logits_R + self._match(history_RLD, residuals_RL, candidates_RD) + candidates_RE[:, -1]

    def _evolve(self, states_RKH: Tensor, query_RH: Tensor) -> Tensor:
        """Attention of an MLP over [q, k, q * k], then AUGRU."""
        interest = self.trained.interest
        queries_RKH = query_RH.unsqueeze(1).expand_as(states_RKH)
        inputs_RKX = torch.cat([queries_RKH, states_RKH, queries_RKH * states_RKH], dim=2)
        weight_AX = torch.cat([interest.from_query.weight, interest.from_state.weight, interest.from_product_HA.T], 1)
        hidden_RKA = functional.linear(inputs_RKX, weight_AX, interest.from_query.bias).relu()
        attention_RK1 = interest.out(hidden_RKA).softmax(1)

        recurrence = interest.evolution
        gates_RKG = recurrence.input(states_RKH)
        state_RH = torch.zeros_like(query_RH)
        for step in range(states_RKH.shape[1]):
            from_step, from_state = gates_RKG[:, step].chunk(3, 1), (state_RH @ recurrence.recurrent_HG).chunk(3, 1)
            update_RH = torch.sigmoid(from_step[0] + from_state[0]) * attention_RK1[:, step]
            reset_RH = torch.sigmoid(from_step[1] + from_state[1])
            new_RH = torch.tanh(from_step[2] + reset_RH * from_state[2])
            state_RH = (1 - update_RH) * state_RH + update_RH * new_RH
        return state_RH

    def _neighbours(self, history_RLD: Tensor, values_RLV: Tensor, candidates_RD: Tensor) -> Tensor:
        """[R, A * W] attention of the candidate over the history, with a step of zeros before it."""
        layer = self.trained.neighbours
        parts = (layer.query(candidates_RD).unsqueeze(1), layer.key(history_RLD), layer.value(values_RLV))
        query_RA1W, key_RALW, value_RALW = (part.unflatten(2, (layer.heads, -1)).transpose(1, 2) for part in parts)
        key_RALW, value_RALW = functional.pad(key_RALW, (0, 0, 1, 0)), functional.pad(value_RALW, (0, 0, 1, 0))
        return functional.scaled_dot_product_attention(query_RA1W, key_RALW, value_RALW).flatten(1)

    def _match(self, history_RLD: Tensor, residuals_RL: Tensor, candidates_RD: Tensor) -> Tensor:
        """[R] AsymmetricSVD: the candidate against the history's items, each weighted by the opinion on it."""
        layer = self.trained.memory
        memory_RM = (layer.value(history_RLD) * residuals_RL.unsqueeze(2)).sum(1) / (1 + residuals_RL.shape[1]) ** 0.5
        return (memory_RM * layer.query(candidates_RD)).sum(1)


def _library_gru(trained: DIEN) -> nn.GRU:
    """The extraction as torch's own GRU: gates in another order, and an update gate that says how much stays."""
    ours = trained.extraction
    size = len(ours.recurrent_HG)
    library = nn.GRU(ours.input.in_features, size, batch_first=True)
    order, sign_G = torch.arange(3 * size).view(3, size)[[1, 0, 2]].flatten(), torch.ones(3 * size)
    sign_G[size : 2 * size] = -1
    with torch.no_grad():
        library.weight_ih_l0.copy_(sign_G[:, None] * ours.input.weight[order])
        library.weight_hh_l0.copy_(sign_G[:, None] * ours.recurrent_HG.T[order])
        library.bias_ih_l0.copy_(sign_G * ours.input.bias[order])
        library.bias_hh_l0.zero_()
    return library
