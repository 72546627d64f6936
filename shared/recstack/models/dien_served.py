"""DIEN laid out for serving: the same logits as `DIEN.score`, with little left to do per pair.

- What a layer makes of an item is a row of a table, made when a bundle is loaded: of the item as a step of a history
  and of the item as a candidate.
- A history ends at the same step for all candidates, so that of most memories only the last state is needed.
- The attention's first layer on [q, k, q * k] is, given the step's k, linear in the candidate's q: all steps of a user
  make one matrix, and one product with it serves all candidates. So does the final MLP's term in last state * q.

Shape legend: B users, L history steps, N candidates, K attended steps, I items, S columns of a step, C columns of a
candidate, R rating ids, H hidden units, A attention units, Y = K * A, X a step's part of the evolution, F units of the
first layer of the final MLP, M memory units, J neighbour heads, W width of all of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from recstack.features.batch import UserBatch
from recstack.models.dien import DIEN, last_step
from recstack.models.kernels import all_states
from recstack.models.layers import take_steps
from recstack.models.opinions import RESIDUAL_SCALE
from recstack.models.ranker import Served


@dataclass(frozen=True, slots=True)
class ServedUsers:
    """What all candidates of a user see.

    The attention's first layer as a matrix and bias; attended steps of the evolution, and which of them do not exist;
    the neighbours' keys and values, and which exist; the memory; the final MLP's first layer on the user and on
    a candidate's query.
    """

    attention_BHY: Tensor
    attention_bias_B1Y: Tensor
    evolution_BKX: Tensor
    missing_BK: Tensor
    keys_BJLW: Tensor
    values_BJLW: Tensor
    seen_B11L: Tensor
    memory_BM1: Tensor
    first_B1F: Tensor
    from_query_BHF: Tensor


class ServedDIEN(Served):
    """See the module."""

    def __init__(self, model: DIEN, item_vectors_IE: Tensor) -> None:
        """model: in eval mode. item_vectors_IE: of its `encode_items`."""
        # Not the model itself: its tables of items are in those that are made here.
        self._neighbours, self._interest, self._statistics = model.neighbours, model.interest, model.statistics
        self._profile_embeddings, self._from_user = model.profile_embeddings, model.from_user
        self._recurrent_HG, self._head = model.extraction.recurrent_HG, model.head
        hidden = model.config.hidden
        features_ID, memory = item_vectors_IE[:, :-1], model.memory
        item_width = item_vectors_IE.shape[1]
        neighbours, gates = model.neighbours, model.extraction.input
        # A step is [item, rating, residual]; the first two have a share in gates and values that can be looked up.
        self._steps_IS, self._step_widths = _table(
            functional.linear(item_vectors_IE, gates.weight[:, :item_width], gates.bias),
            neighbours.key(features_ID),
            functional.linear(item_vectors_IE, neighbours.value.weight[:, :item_width]),
            memory.value(features_ID),
            item_vectors_IE[:, -1:].sigmoid(),
        )
        ratings_RX = model.rating_embedding.weight
        self._ratings_RS, self._rating_widths = _table(
            functional.linear(ratings_RX, gates.weight[:, item_width:]),
            functional.linear(ratings_RX, neighbours.value.weight[:, item_width:-1]),
            model.residuals.opinion.unsqueeze(1),
        )
        self._candidates_IC, self._candidate_widths = _table(
            model.query(item_vectors_IE),
            model.from_item(item_vectors_IE),
            neighbours.query(features_ID),
            memory.query(features_ID),
            item_vectors_IE[:, -1:],
        )
        parts = torch.split(
            model.from_pair.weight.t(), [hidden, hidden, hidden, model.from_pair.in_features - 3 * hidden]
        )
        self._from_interest_HF, self._from_match_HF, self._from_last_HF, self._from_neighbours_WF = parts

    def encode(self, users: UserBatch) -> ServedUsers:
        """See Served."""
        visible_B1 = users.lengths_B.unsqueeze(1)
        steps_BLS = functional.embedding(users.items_BL, self._steps_IS)
        rated_BLS = functional.embedding(users.ratings_BL, self._ratings_RS)
        gates_BLG, keys_BLW, values_BLW, memory_BLM, expected_BL1 = torch.split(steps_BLS, self._step_widths, 2)
        rated_gates_BLG, rated_values_BLW, opinions_BL1 = torch.split(rated_BLS, self._rating_widths, 2)

        real_BL = torch.arange(steps_BLS.shape[1], device=visible_B1.device) < visible_B1
        residuals_BL = RESIDUAL_SCALE * (opinions_BL1 - expected_BL1).squeeze(2) * real_BL
        residual_weight_W = self._neighbours.value.weight[:, -1]
        values_BLW = torch.addcmul(values_BLW + rated_values_BLW, residuals_BL.unsqueeze(2), residual_weight_W)
        memory_B1M = (residuals_BL.unsqueeze(1) @ memory_BLM) / (1.0 + visible_B1).sqrt().unsqueeze(2)
        statistics_BS = self._statistics.at_end(expected_BL1.squeeze(2), users.ratings_BL, residuals_BL, real_BL)

        states_BLH = all_states(gates_BLG + rated_gates_BLG, self._recurrent_HG)
        last_BH = last_step(states_BLH, visible_B1).squeeze(1)
        profile = [embed(users.profile_B4[:, column]) for column, embed in enumerate(self._profile_embeddings)]
        first_BF = self._from_user(torch.cat([*profile, last_BH, statistics_BS], dim=1))
        return ServedUsers(
            *self._attention(states_BLH, visible_B1),
            keys_BJLW=self._neighbours.split(keys_BLW),
            values_BJLW=self._neighbours.split(values_BLW),
            seen_B11L=functional.pad(real_BL, (1, 0), value=True)[:, None, None],
            memory_BM1=memory_B1M.transpose(1, 2),
            first_B1F=first_BF.unsqueeze(1),
            from_query_BHF=last_BH.unsqueeze(2) * self._from_last_HF,
        )

    def score(self, state: ServedUsers, candidates_BN: Tensor) -> Tensor:
        """See Served."""
        candidates_BNC = functional.embedding(candidates_BN, self._candidates_IC)
        query_BNH, first_BNF, asked_BNW, memory_BNM, bias_BN1 = torch.split(candidates_BNC, self._candidate_widths, 2)
        interest_BNH = self._interests(state, query_BNH)
        found_BNW = self._neighbours.look(state.keys_BJLW, state.values_BJLW, asked_BNW, state.seen_B11L)

        first_RF = torch.baddbmm(first_BNF, query_BNH, state.from_query_BHF).add_(state.first_B1F).flatten(0, 1)
        first_RF.addmm_(interest_BNH.flatten(0, 1), self._from_interest_HF)
        first_RF.addmm_((interest_BNH * query_BNH).flatten(0, 1), self._from_match_HF)
        first_RF.addmm_(found_BNW.flatten(0, 1), self._from_neighbours_WF)
        match_BN1 = torch.baddbmm(bias_BN1, memory_BNM, state.memory_BM1)
        logits_BN: Tensor = self._head(first_RF).view(candidates_BN.shape) + match_BN1.squeeze(2)
        return logits_BN

    def _attention(self, states_BLH: Tensor, visible_B1: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The first four of ServedUsers."""
        interest = self._interest
        ago_K = torch.arange(-min(interest.steps, states_BLH.shape[1]), 0, device=visible_B1.device)
        step_BK = visible_B1 + ago_K
        attended_BKH = take_steps(states_BLH, step_BK.clamp(min=0))
        attention_BHKA = torch.addcmul(
            interest.from_query.weight.t().unsqueeze(1),
            attended_BKH.transpose(1, 2).unsqueeze(3),
            interest.from_product_HA.unsqueeze(1),
        )
        bias_BKA = interest.from_state(attended_BKH) + interest.from_query.bias
        evolution_BKX = interest.evolution.project(attended_BKH)
        return attention_BHKA.flatten(2), bias_BKA.flatten(1).unsqueeze(1), evolution_BKX, step_BK < 0

    def _interests(self, state: ServedUsers, query_BNH: Tensor) -> Tensor:
        """Interests [B, N, H] of candidates; see `InterestEvolution`."""
        interest, missing_KB1 = self._interest, state.missing_BK.t().unsqueeze(2)
        layer_BNY = torch.baddbmm(state.attention_bias_B1Y, query_BNH, state.attention_BHY).relu_()
        logits_BNK = (layer_BNY.view(-1, interest.out.in_features) @ interest.out.weight[0]).view(
            *query_BNH.shape[:2], -1
        )
        # Contiguous with the steps first: a softmax along the last axis of a few steps is many times slower.
        logits_KBN = logits_BNK.permute(2, 0, 1).contiguous().masked_fill_(missing_KB1, -1e9)
        weights_KBN = logits_KBN.softmax(0).masked_fill_(missing_KB1, 0.0)
        evolved_BNH: Tensor = interest.evolution(state.evolution_BKX.transpose(0, 1).unsqueeze(2), weights_KBN)
        return evolved_BNH


def _table(*columns: Tensor) -> tuple[Tensor, list[int]]:
    """Columns side by side, and the width of each."""
    return torch.cat(columns, dim=1), [part.shape[1] for part in columns]
