"""What training, evaluation and the retrieval service ask of a two-tower model, whatever its towers are.

Shape legend: B users, L history steps, P prefixes of a history, I items, W width of what the user tower reads of an
item, D vector width.
"""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from recstack.features.batch import UserBatch
from recstack.features.catalogue import ItemTable


class Retriever(nn.Module, ABC):
    """One vector per user state and one per item; their dot product ranks, so an inner-product index serves it.

    config: a frozen dataclass with `num_items`, `vector_dim` (D) and `max_history` (the most recent events that the
    model is given when it serves), saved with the weights.
    """

    config: Any

    @abstractmethod
    def encode_items(self, table: ItemTable) -> Tensor:
        """Item vectors [I+1, D] of the catalogue that the model was trained on; row 0 is the unknown item."""

    def similar_items(self, table: ItemTable, known_I: Tensor) -> Tensor:
        """Unit vectors [I+1, S] whose dot products say how alike items are; row 0 is the unknown item.

        known_I: bool [I+1], which items have events: a model with item features need not rely on the ids of others.
        """
        return functional.normalize(self.encode_items(table), dim=-1)

    @abstractmethod
    def history_items(self, table: ItemTable) -> Tensor:
        """[I+1, W] what the user tower reads of each item; a server computes it once per bundle, not per request."""

    @abstractmethod
    def encode_prefixes_from(self, batch: UserBatch, history_items_IW: Tensor, visible_BP: Tensor) -> Tensor:
        """User vectors [B, P, D] as they were after their first `visible_BP` steps (0 = no history).

        One pass over each history serves all its prefixes. Training uses this, and serving is this with the whole
        length, so what is served is what was trained.
        """

    def encode_users_from(self, batch: UserBatch, history_items_IW: Tensor) -> Tensor:
        """User vectors [B, D] from whole histories, given `history_items`."""
        return self.encode_prefixes_from(batch, history_items_IW, batch.lengths_B.unsqueeze(1)).squeeze(1)

    def encode_users(self, batch: UserBatch, table: ItemTable) -> Tensor:
        """User vectors [B, D] from whole histories."""
        return self.encode_users_from(batch, self.history_items(table))

    @property
    def temperature(self) -> Tensor | float:
        """What a dot product is divided by to be a softmax logit."""
        return 1.0


def is_one_history(batch: UserBatch) -> bool:
    """Whether a batch is one user with a history and no padding, as in a request; such a user can be encoded faster."""
    return len(batch.lengths_B) == 1 and int(batch.lengths_B[0]) == batch.items_BL.shape[1]
