"""Two-tower retrieval: user vector · item vector says how much of the user's coming likes an item is.

Covington et al., Deep Neural Networks for YouTube Recommendations, 2016 (retrieval as a softmax over the catalogue),
with a causal attention encoder over the history (Kang and McAuley, Self-Attentive Sequential Recommendation, 2018)
whose steps carry the rating the user gave. The model knows no user id: a new user is encoded from profile and history,
a user without history from the profile.

Shape legend: B users, L history steps, P prefixes of a history, I items, W tower width, D vector width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from recstack.features.batch import NUM_RATING_IDS, UserBatch
from recstack.features.catalogue import ItemTable
from recstack.models.config_checks import check_heads, check_positive, check_shares
from recstack.models.layers import AttentionBlock, ItemEmbedding, ProfileEmbedding, embedding, take_steps
from recstack.models.retriever import Retriever, is_one_history

FIRST_TEMPERATURE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoTowerConfig:
    """Sizes of a two-tower model.

    vector_dim is D, what the index holds; width is W, the towers' inner width. max_history is the number of most
    recent events that the model is given when it serves. id_dropout is the share of items whose id is hidden
    in a training step (see `ItemEmbedding`).
    """

    num_items: int
    vector_dim: int = 64
    width: int = 64
    heads: int = 2
    blocks: int = 2
    profile_dim: int = 8
    dropout: float = 0.2
    id_dropout: float = 0.1
    max_history: int = 50

    def __post_init__(self) -> None:
        check_positive(self, "num_items", "vector_dim", "width", "heads", "blocks", "profile_dim", "max_history")
        check_heads(self, "width")
        check_shares(self, "dropout", "id_dropout")


class TwoTower(Retriever):
    """Users and items as unit vectors; the dot product ranks, divided by the temperature it is a softmax logit."""

    def __init__(self, config: TwoTowerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.item_inputs = ItemEmbedding(config.num_items, width, config.id_dropout)
        self.item_tower = _tower(width, width, config.vector_dim, config.dropout)

        self.history_inputs = ItemEmbedding(config.num_items, width, config.id_dropout)
        self.rating_embedding = embedding(NUM_RATING_IDS, width)
        self.rating_scale = nn.Embedding(NUM_RATING_IDS, width)
        nn.init.zeros_(self.rating_scale.weight)
        self.step_dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(AttentionBlock(width, config.heads, config.dropout) for _ in range(config.blocks))
        self.state_norm = nn.LayerNorm(width)
        self.profile = ProfileEmbedding(config.profile_dim)
        profile_width = config.profile_dim * len(self.profile.tables)
        self.user_tower = _tower(2 * width + profile_width, 2 * width, config.vector_dim, config.dropout)
        self.log_temperature = nn.Parameter(torch.tensor(FIRST_TEMPERATURE).log())

    def encode_items(self, table: ItemTable) -> Tensor:
        """Unit vectors [I+1, D] of the catalogue that the model was trained on; row 0 is the unknown item."""
        return functional.normalize(self.item_tower(self.item_inputs(table)), dim=-1)

    def similar_items(self, table: ItemTable, known_I: Tensor) -> Tensor:
        """[I+1, D] the item vectors; those of items without events come from their features alone.

        Only here: for recall, that training has pushed such items away from every user is right more often than not.
        """
        new_ID = functional.normalize(self.item_tower(self.item_inputs.without_ids(table)), dim=-1)
        return torch.where(known_I.unsqueeze(1), self.encode_items(table), new_ID)

    def history_items(self, table: ItemTable) -> Tensor:
        """[I+1, W] the history's side of each item, from its id and its features."""
        history_items_IW: Tensor = self.history_inputs(table)
        return history_items_IW

    def encode_prefixes_from(self, batch: UserBatch, history_items_IW: Tensor, visible_BP: Tensor) -> Tensor:
        """Unit vectors [B, P, D] of users as they were after their first `visible_BP` steps (0 = no history)."""
        steps_BLW = self.step_dropout(self._rated(history_items_IW[batch.items_BL], batch.ratings_BL))
        last_BP = (visible_BP - 1).clamp(min=0)
        states_BLW = steps_BLW
        everywhere_1L = torch.arange(steps_BLW.shape[1], device=steps_BLW.device).unsqueeze(0)
        for block in self.blocks[:-1]:
            states_BLW = block(states_BLW, everywhere_1L)
        last_BPW = self.state_norm(self.blocks[-1](states_BLW, last_BP))
        # The mean keeps the long-term taste, which the last step's attention tends to lose among recent events.
        mean_BPW = take_steps(steps_BLW.cumsum(1), last_BP) / (last_BP + 1).unsqueeze(2)
        history_BPW = torch.cat([last_BPW, mean_BPW], dim=2) * (visible_BP > 0).unsqueeze(2)
        profile_BPW = self.profile(batch.profile_B4).unsqueeze(1).expand(-1, visible_BP.shape[1], -1)
        joined = torch.cat([history_BPW, profile_BPW], dim=2)
        return functional.normalize(self.user_tower(joined), dim=-1)

    def encode_users_from(self, batch: UserBatch, history_items_IW: Tensor) -> Tensor:
        """Unit vectors [B, D] of users with their whole history."""
        if self.training or not is_one_history(batch):
            return super().encode_users_from(batch, history_items_IW)
        return self.encode_one(batch, functional.embedding(batch.items_BL[0], history_items_IW))

    def encode_one(self, batch: UserBatch, items_LW: Tensor) -> Tensor:
        """[1, D] for a batch that is one history, given the history's side of each step's item.

        The same as `encode_prefixes_from` at the last step. One request is so little arithmetic that its cost is the
        number of operations: without padding, prefixes and dropout there are less than half as many.
        """
        steps_LW = states_LW = self._rated(items_LW, batch.ratings_BL[0])
        everywhere_1L = torch.arange(len(steps_LW), device=steps_LW.device).unsqueeze(0)
        for block in self.blocks[:-1]:
            states_LW = block(states_LW.unsqueeze(0), everywhere_1L).squeeze(0)
        last_block: AttentionBlock = self.blocks[-1]  # type: ignore[assignment]
        history = [self.state_norm(last_block.last(states_LW)), steps_LW.mean(0, keepdim=True)]
        joined_1X = torch.cat([*history, self.profile(batch.profile_B4)], dim=1)
        return functional.normalize(self.user_tower(joined_1X), dim=-1)

    def _rated(self, items: Tensor, ratings: Tensor) -> Tensor:
        """Steps of histories: scaled, not only shifted, as a disliked item must be able to count against its like."""
        rated: Tensor = items * (1.0 + self.rating_scale(ratings)) + self.rating_embedding(ratings)
        return rated

    @property
    def item_embeddings(self) -> Tensor:
        """[I+1, W] the item tower's id table, the convention of all models with one."""
        return self.item_inputs.id.weight

    @property
    def temperature(self) -> Tensor:
        """What a dot product is divided by to be a softmax logit; learnt, a scalar above 0."""
        return self.log_temperature.exp()


def _tower(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))
