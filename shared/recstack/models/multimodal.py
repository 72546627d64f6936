"""A two-tower rating predictor that knows no ids: the user's profile on one side, the item's content on the other.

An item needs no interaction to have a vector, so the item side also serves recall of new items. Two forms:

- notebook: every feature goes through layers of its own that end in tanh, features are summed per side, and the rating
  is 5 times the cosine of the two sums.
- full: the rating is a mean, plus what the user's tower says of the user and the item's tower of the item, plus the
  product of their vectors. Beside each tower stands a memory, of the exact profile and of the title's parts.

In both forms the prediction is `user vector · item vector + user offset`, so an inner-product index serves it.

Shape legend: B users, L history steps, N candidates, I items, E item vector.
"""

import torch
from torch import Tensor, nn

from recstack.features.batch import UserBatch
from recstack.features.catalogue import ItemTable
from recstack.features.content import ItemContent
from recstack.models.devices import device_of
from recstack.models.multimodal_config import MultimodalConfig
from recstack.models.multimodal_towers import (
    ItemTower,
    NotebookItemTower,
    NotebookUserTower,
    TitleWords,
    UserState,
    UserTower,
)
from recstack.models.ranker import Prediction, Ranker

ITEMS_PER_ENCODING = 512


class Multimodal(Ranker):
    """Multimodal two-tower rating prediction.

    Use: `encode_content` once per catalogue, `encode_users` once per request, `score` per set of candidates.
    """

    prediction = Prediction.RATING

    def __init__(self, config: MultimodalConfig) -> None:
        super().__init__()
        self.config = config
        notebook = config.form == "notebook"
        self.users = NotebookUserTower() if notebook else UserTower(config)
        self.items = NotebookItemTower(config) if notebook else ItemTower(config)
        self.memory = None if notebook or "title" not in config.modalities else TitleWords(config, rarity_power=2.0)

    def start(self, mean_rating: float, content: ItemContent) -> None:
        """Begin training at the mean rating, knowing the catalogue's titles, where the form has a place for them."""
        if isinstance(self.users, UserTower):
            nn.init.constant_(self.users.mean, mean_rating)
        for module in self.modules():
            if isinstance(module, TitleWords):
                module.count(content.ngrams_IG)

    def encode_items(self, table: ItemTable, content: ItemContent | None = None) -> Tensor:
        """Item vectors [I+1, E]. content: of the same items; without it titles and posters are unknown."""
        general_IE, remembered_IE = self.encode_parts(_table_alone(table) if content is None else content)
        return general_IE if remembered_IE is None else general_IE + remembered_IE

    def encode_parts(self, content: ItemContent) -> tuple[Tensor, Tensor | None]:
        """The two summands of the item vectors [I, E]: what holds for any item of such content, and what the memory
        of titles adds (None where the model has no such memory)."""
        general_IE: Tensor = self.items(content)
        return general_IE, None if self.memory is None else self.memory(content.ngrams_IG)

    def encode_users(self, batch: UserBatch, item_vectors_IE: Tensor) -> UserState:
        """The user's side of the rating, from the profile and, where `max_history` is above 0, the ratings given.

        Someone who rated what they know higher than predicted will rate new items higher too: the offset moves by the
        mean of the differences, shrunk as if `leniency_prior` further ratings had been met exactly.
        """
        state = self.encode_profiles(batch.profile_B4)
        if self.config.max_history == 0:
            return state
        rated_BL = (batch.items_BL > 0) & (batch.ratings_BL > 0)
        predicted_BL = self.predict(self.score(state, item_vectors_IE[batch.items_BL]))
        missed_B = ((batch.ratings_BL - predicted_BL) * rated_BL).sum(1)
        return UserState(state.vectors_BE, state.offset_B + missed_B / (rated_BL.sum(1) + self.config.leniency_prior))

    def encode_profiles(self, profile_B4: Tensor) -> UserState:
        """What profiles alone (gender, age, occupation, region ids) say of users."""
        state: UserState = self.users(profile_B4)
        return state

    def score(self, state: UserState, candidates_BNE: Tensor, visible_BN: Tensor | None = None) -> Tensor:
        """Ratings [B, N]. `visible_BN` is ignored: it is for models that are trained on histories."""
        return (candidates_BNE @ state.vectors_BE.unsqueeze(2)).squeeze(2) + state.offset_B.unsqueeze(1)

    def score_all(self, state: UserState, items_IE: Tensor) -> Tensor:
        """Ratings [B, I] of every user for every item."""
        return torch.addmm(state.offset_B.unsqueeze(1), state.vectors_BE, items_IE.T)


@torch.no_grad()
def encode_content(model: Multimodal, content: ItemContent) -> Tensor:
    """Item vectors [I+1, E] of a whole catalogue, in parts, so that memory does not grow with its posters."""
    device = device_of(model)
    parts = []
    for start in range(0, len(content), ITEMS_PER_ENCODING):
        part = content.rows(torch.arange(start, min(start + ITEMS_PER_ENCODING, len(content)))).to(device)
        parts.append(model.encode_items(part.table, part))
    return torch.cat(parts)


def _table_alone(table: ItemTable) -> ItemContent:
    """Content of which only genres and years are known."""
    items, device = len(table), table.genres.device
    nothing = torch.zeros(items, 1, dtype=torch.int64, device=device)
    black = torch.zeros(items, 3, 1, 1, dtype=torch.uint8, device=device)
    return ItemContent(table, nothing, nothing, black, torch.zeros(items, dtype=torch.bool, device=device))
