"""Two-tower retrieval that predicts a user's next event at every step of the history.

A causal attention encoder over item ids (Kang and McAuley, Self-Attentive Sequential Recommendation, 2018), trained
with the softmax over the whole catalogue (Klenitskiy and Vasilev, Turning Dross Into Gold Loss: is BERT4Rec really
better than SASRec?, 2023). The encoder's state is the user's vector, and an item has one vector, which is also what the
encoder reads. The model knows no user id and no features of users or items.

Shape legend: B users, L history steps, P prefixes of a history, I items, D vector width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from recstack.features.batch import UserBatch
from recstack.features.catalogue import ItemTable
from recstack.models.config_checks import check_heads, check_positive, check_shares
from recstack.models.layers import AttentionBlock, embedding
from recstack.models.retriever import Retriever, is_one_history

INPUT_SCALE = 0.25
"""Times sqrt(D): what the encoder reads is larger than the item's vector, or it would drown in what blocks add."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceTwoTowerConfig:
    """Sizes. vector_dim is D, max_history the number of most recent events that the model is given."""

    num_items: int
    vector_dim: int = 128
    heads: int = 2
    blocks: int = 2
    dropout: float = 0.2
    max_history: int = 200

    def __post_init__(self) -> None:
        check_positive(self, "num_items", "vector_dim", "heads", "blocks", "max_history")
        check_heads(self, "vector_dim")
        check_shares(self, "dropout")


class SequenceTwoTower(Retriever):
    """Item vectors, and an encoder that turns them in the order they were met into a user vector."""

    def __init__(self, config: SequenceTwoTowerConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.vector_dim
        self.item = embedding(config.num_items + 1, dim)
        self.start_1D = nn.Parameter(torch.zeros(1, dim))
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(AttentionBlock(dim, config.heads, config.dropout) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(dim)

    def encode_items(self, table: ItemTable) -> Tensor:
        """Item vectors [I+1, D], from ids alone."""
        return self.item.weight

    def history_items(self, table: ItemTable) -> Tensor:
        """[I+1, D] item vectors at the size in which the encoder reads them."""
        scaled_ID: Tensor = self.item.weight * (INPUT_SCALE * self.config.vector_dim**0.5)
        return scaled_ID

    def encode_prefixes_from(self, batch: UserBatch, history_items_IW: Tensor, visible_BP: Tensor) -> Tensor:
        """User vectors [B, P, D]; B may be 1 in `visible_BP`: the same prefixes of all users.

        A history begins with a step of its own, whose state is the vector of a user without history.
        """
        items_BLD = history_items_IW[batch.items_BL]
        start_B1D = self.start_1D.expand(len(items_BLD), 1, -1)
        states_BLD: Tensor = self.dropout(torch.cat([start_B1D, items_BLD], dim=1))
        everywhere_1L = torch.arange(states_BLD.shape[1], device=states_BLD.device).unsqueeze(0)
        for block in self.blocks[:-1]:
            states_BLD = block(states_BLD, everywhere_1L)
        vectors_BPD: Tensor = self.norm(self.blocks[-1](states_BLD, visible_BP))
        return vectors_BPD

    def encode_users_from(self, batch: UserBatch, history_items_IW: Tensor) -> Tensor:
        """User vectors [B, D] from whole histories."""
        if self.training or not is_one_history(batch):
            return super().encode_users_from(batch, history_items_IW)
        items_LD = functional.embedding(batch.items_BL[0], history_items_IW)
        states_LD = torch.cat([self.start_1D, items_LD])
        everywhere_1L = torch.arange(len(states_LD), device=states_LD.device).unsqueeze(0)
        for block in self.blocks[:-1]:
            states_LD = block(states_LD.unsqueeze(0), everywhere_1L).squeeze(0)
        last_block: AttentionBlock = self.blocks[-1]  # type: ignore[assignment]
        vectors_1D: Tensor = self.norm(last_block.last(states_LD))
        return vectors_1D

    @property
    def item_embeddings(self) -> Tensor:
        """[I+1, D] the item table."""
        return self.item.weight
