"""Two-tower retrieval in its textbook form: a user's id looks at the user's history, a dot product ranks.

The user id's embedding is the single query of a multi-head attention (Vaswani et al., Attention Is All You Need, 2017)
over the embeddings of the watched items; the result and the user's embedding go through a layer. The item's embedding
goes through a layer of its own. A user who was not there in training is user 0, whose embedding is trained too, so the
vector of a new user comes from the history alone.

Shape legend: B users, L history steps, P prefixes of a history, H heads, I items, E embedding width = vector width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recstack.features.batch import UserBatch
from recstack.features.catalogue import ItemTable
from recstack.models.config_checks import check_heads, check_positive, check_shares
from recstack.models.layers import embedding
from recstack.models.retriever import Retriever

MASKED = -1e9
"""Attention logit of a step that is not seen; finite, because a user without any seen step has no other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NotebookTwoTowerConfig:
    """Sizes. vector_dim is E; user_dropout is the share of users that are unknown in a training step."""

    num_users: int
    num_items: int
    vector_dim: int = 64
    heads: int = 4
    hidden: int = 128
    user_dropout: float = 0.2
    max_history: int = 50

    def __post_init__(self) -> None:
        check_positive(self, "num_users", "num_items", "vector_dim", "heads", "hidden", "max_history")
        check_heads(self, "vector_dim")
        check_shares(self, "user_dropout")


class NotebookTwoTower(Retriever):
    """Embeddings of users and items, attention between them, and a small network on each side."""

    def __init__(self, config: NotebookTwoTowerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.vector_dim
        self.user = embedding(config.num_users + 1, width)
        self.history = embedding(config.num_items + 1, width)
        self.item = embedding(config.num_items + 1, width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.attention_out = nn.Linear(width, width)
        self.user_tower = nn.Sequential(nn.Linear(2 * width, config.hidden), nn.ReLU(), nn.Linear(config.hidden, width))
        self.item_tower = nn.Sequential(nn.Linear(width, config.hidden), nn.ReLU(), nn.Linear(config.hidden, width))

    def encode_items(self, table: ItemTable) -> Tensor:
        """Item vectors [I+1, E], from ids alone."""
        vectors_IE: Tensor = self.item_tower(self.item.weight)
        return vectors_IE

    def history_items(self, table: ItemTable) -> Tensor:
        """[I+1, 2E] key and value of each item; the history has an item table of its own."""
        key_value_IW: Tensor = self.key_value(self.history.weight)
        return key_value_IW

    def encode_prefixes_from(self, batch: UserBatch, history_items_IW: Tensor, visible_BP: Tensor) -> Tensor:
        """User vectors [B, P, E]; a user without history has an attention of zero, and keeps the id."""
        heads, users_BE = self.config.heads, self.user(self._known(batch.users_B))
        count, width = users_BE.shape
        query_BHF1 = self.query(users_BE).view(count, heads, width // heads, 1)
        key_BLE, value_BLE = history_items_IW[batch.items_BL].chunk(2, dim=2)
        key_BHLF, value_BHLF = (
            part.reshape(count, -1, heads, width // heads).transpose(1, 2) for part in (key_BLE, value_BLE)
        )
        logits_BHL = (key_BHLF @ query_BHF1).squeeze(3) * (width // heads) ** -0.5
        seen_BPL = torch.arange(logits_BHL.shape[2], device=visible_BP.device) < visible_BP.unsqueeze(2)
        weights_BHPL = logits_BHL.unsqueeze(2).masked_fill(~seen_BPL.unsqueeze(1), MASKED).softmax(3)
        weights_BHPL = weights_BHPL * seen_BPL.unsqueeze(1)
        joined_BPE = (weights_BHPL @ value_BHLF).transpose(1, 2).reshape(count, -1, width)
        attended_BPE = self.attention_out(joined_BPE)
        both = torch.cat([attended_BPE, users_BE.unsqueeze(1).expand_as(attended_BPE)], dim=2)
        vectors_BPE: Tensor = self.user_tower(both)
        return vectors_BPE

    def _known(self, users_B: Tensor) -> Tensor:
        """User indices with some hidden while training, so that user 0 learns to stand for anybody."""
        if not self.training or self.config.user_dropout == 0:
            return users_B
        return users_B.masked_fill(torch.rand(users_B.shape, device=users_B.device) < self.config.user_dropout, 0)

    @property
    def user_embeddings(self) -> Tensor:
        """[U+1, E] the user table; row 0 stands for anybody."""
        return self.user.weight

    @property
    def item_embeddings(self) -> Tensor:
        """[I+1, E] the item tower's table."""
        return self.item.weight
