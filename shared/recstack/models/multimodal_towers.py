"""The towers of the multimodal model, in the notebook's form and in the full one.

Shape legend: B users, I items, E vector of a user or item, H hidden units, F features of a modality, G n-grams.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from recstack.features.catalogue import NUM_YEAR_BUCKETS
from recstack.features.content import FIRST_WORD, ItemContent
from recstack.features.schema import AGE_BANDS, NUM_OCCUPATIONS, PROFILE_SIZES
from recstack.models.layers import GenreEmbedding, embedding
from recstack.models.multimodal_config import MultimodalConfig
from recstack.models.poster_cnn import PosterCNN
from recstack.models.ranker import MAX_RATING
from recstack.models.text_cnn import TextCNN

NOTEBOOK_EMBEDDING, NOTEBOOK_WIDTH = 16, 200
NOTEBOOK_PROFILE_SIZES = (2, AGE_BANDS[-1] + 1, NUM_OCCUPATIONS)
"""Rows for gender, for ages as MovieLens codes them (0 to 56, used as given), and for occupation."""


@dataclass(frozen=True, slots=True)
class UserState:
    """The user's side of a rating: vectors_BE, to be multiplied with an item's vector, and offset_B, to be added."""

    vectors_BE: Tensor
    offset_B: Tensor


class NotebookUserTower(nn.Module):
    """Gender, age and occupation: embedding, linear, ReLU, linear, tanh each; their sum, scaled to length 5."""

    age_codes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fields = nn.ModuleList(
            nn.Sequential(
                nn.Embedding(size, NOTEBOOK_EMBEDDING),
                nn.Linear(NOTEBOOK_EMBEDDING, NOTEBOOK_EMBEDDING),
                nn.ReLU(),
                nn.Linear(NOTEBOOK_EMBEDDING, NOTEBOOK_WIDTH),
                nn.Tanh(),
            )
            for size in NOTEBOOK_PROFILE_SIZES
        )
        self.register_buffer("age_codes", torch.tensor((0, *AGE_BANDS)), persistent=False)

    def forward(self, profile_B4: Tensor) -> UserState:
        """The notebook has no word for unknown: an unknown gender, age or occupation adds nothing."""
        gender_B, age_B, occupation_B, _ = profile_B4.unbind(1)
        codes = ((gender_B - 1).clamp(min=0), self.age_codes[age_B], (occupation_B - 1).clamp(min=0))
        fields = [
            field(code_B) * (id_B > 0).unsqueeze(1)
            for field, id_B, code_B in zip(self.fields, (gender_B, age_B, occupation_B), codes, strict=True)
        ]
        vectors_BE = MAX_RATING * functional.normalize(torch.stack(fields).sum(0), dim=1)
        return UserState(vectors_BE, vectors_BE.new_zeros(len(vectors_BE)))


class UserTower(nn.Module):
    """An MLP on the joined profile embeddings, plus a memory of the exact profile: the user's vector and offset.

    The memory starts at zero, so a combination that nobody had in training is judged by its parts.
    """

    def __init__(self, config: MultimodalConfig) -> None:
        super().__init__()
        sizes = [PROFILE_SIZES[name] for name in config.profile]
        self.columns = [list(PROFILE_SIZES).index(name) for name in config.profile]
        self.strides = [math.prod(sizes[position + 1 :]) for position in range(len(sizes))]
        self.fields = nn.ModuleList(embedding(size, config.profile_dim) for size in sizes)
        self.hidden = nn.Linear(config.profile_dim * len(sizes), config.hidden)
        self.out = nn.Linear(config.hidden, config.vector_dim + 1)
        self.memory = nn.Embedding(math.prod(sizes), config.vector_dim + 1)
        nn.init.zeros_(self.memory.weight)
        self.mean = nn.Parameter(torch.zeros(()))

    def forward(self, profile_B4: Tensor) -> UserState:
        """The last column of an item's vector is its offset, which every user takes as it is: it meets a one."""
        ids = [profile_B4[:, column] for column in self.columns]
        joined_BX = torch.cat([field(id_B) for field, id_B in zip(self.fields, ids, strict=True)], dim=1)
        exact_B = torch.stack([id_B * stride for id_B, stride in zip(ids, self.strides, strict=True)]).sum(0)
        user_BE: Tensor = self.out(torch.relu(self.hidden(joined_BX))) + self.memory(exact_B)
        return UserState(functional.pad(user_BE[:, :-1], (0, 1), value=1.0), user_BE[:, -1] + self.mean)


class NotebookItemTower(nn.Module):
    """Each modality through linear and tanh; their sum, scaled to length 1."""

    def __init__(self, config: MultimodalConfig) -> None:
        super().__init__()
        self.modalities = Modalities(config, config.modalities, NOTEBOOK_WIDTH)

    def forward(self, content: ItemContent) -> Tensor:
        """Item vectors [I, E]."""
        return functional.normalize(self.modalities(content, torch.tanh), dim=1)


class ItemTower(nn.Module):
    """An MLP on genres and year, plus what title and poster add: the item's vector, its offset the last column.

    Titles and posters say little of an item that has not been seen, and deep layers over them predicted unseen items
    worse. They are therefore added linearly, under penalties that make a ridge regression of it (see `penalties`): a
    word moves predictions as far as there is evidence for it.
    """

    def __init__(self, config: MultimodalConfig) -> None:
        super().__init__()
        width = config.vector_dim + 1
        facts = tuple(name for name in config.modalities if name in ("genres", "year"))
        self.facts = Modalities(config, facts, config.hidden)
        self.head = nn.Sequential(
            nn.LayerNorm(config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, width),
        )
        self.words = TitleWords(config, rarity_power=0.5) if "title" in config.modalities else None
        self.poster = PosterCNN(config.channels) if "poster" in config.modalities else None
        if self.poster is not None:
            self.poster_head = nn.Linear(self.poster.out_features, width)
            nn.init.zeros_(self.poster_head.weight)

    def forward(self, content: ItemContent) -> Tensor:
        """Item vectors [I, E]."""
        vectors_IE: Tensor = self.head(self.facts(content, nn.Identity()))
        if self.words is not None:
            vectors_IE = vectors_IE + self.words(content.ngrams_IG)
        if self.poster is not None:
            seen_IE = self.poster_head(self.poster(content.posters_I3HX))
            vectors_IE = vectors_IE + seen_IE * content.has_poster_I.unsqueeze(1)
        return vectors_IE

    def penalties(self) -> tuple[Tensor, Tensor]:
        """Sums of the squared vectors of words, and of the squared weights of posters' features; scalars."""
        nothing = next(self.parameters()).new_zeros(())
        return (
            nothing if self.words is None else self.words.ngrams.weight.square().sum(),
            nothing if self.poster is None else self.poster_head.weight.square().sum(),
        )


class TitleWords(nn.Module):
    """A title as the weighted sum of the vectors of its words and word pairs, which start at zero.

    An n-gram weighs the less the more titles of the catalogue have it: 1 / titles ** rarity_power, divided by the
    square root of the number of n-grams.
    """

    rarity: Tensor

    def __init__(self, config: MultimodalConfig, rarity_power: float) -> None:
        super().__init__()
        size = FIRST_WORD + len(config.vocabulary)
        self.rarity_power = rarity_power
        self.ngrams = nn.Embedding(size, config.vector_dim + 1, padding_idx=0)
        nn.init.zeros_(self.ngrams.weight)
        self.register_buffer("rarity", torch.ones(size))

    def count(self, ngrams_IG: Tensor) -> None:
        """Learn from a catalogue's titles how rare each n-gram is."""
        titles = torch.bincount(ngrams_IG.flatten(), minlength=len(self.rarity))
        self.rarity.copy_(titles.clamp(min=1) ** -self.rarity_power)

    def forward(self, ngrams_IG: Tensor) -> Tensor:
        """[I, E], to be added to the items' vectors."""
        given_IG = ngrams_IG > 0
        weight_IG = self.rarity[ngrams_IG] * given_IG / given_IG.sum(1, keepdim=True).clamp(min=1).sqrt()
        vectors_IE: Tensor = (weight_IG.unsqueeze(1) @ self.ngrams(ngrams_IG)).squeeze(1)
        return vectors_IE


class Modalities(nn.Module):
    """Features of some modalities, projected to one width and summed; one that an item lacks adds nothing."""

    def __init__(self, config: MultimodalConfig, names: tuple[str, ...], width: int) -> None:
        super().__init__()
        self.width = width
        self.encoders = nn.ModuleDict()
        self.projections = nn.ModuleDict()
        for name in names:
            encoder, features = _encoder(name, config)
            self.encoders[name] = encoder
            self.projections[name] = nn.Linear(features, width)

    def forward(self, content: ItemContent, activation: Callable[[Tensor], Tensor]) -> Tensor:
        """[I, H], the activations of all modalities summed."""
        summed_IH = content.table.genres.new_zeros(len(content), self.width, dtype=torch.get_default_dtype())
        for name, encoder in self.encoders.items():
            features_IF, present_I = _features(name, encoder, content)
            summed_IH = summed_IH + activation(self.projections[name](features_IF)) * present_I.unsqueeze(1)
        return summed_IH


def _encoder(name: str, config: MultimodalConfig) -> tuple[nn.Module, int]:
    """The encoder of a modality and how many features it gives."""
    match name:
        case "genres":
            return GenreEmbedding(config.genre_dim), config.genre_dim
        case "year":
            return embedding(NUM_YEAR_BUCKETS, config.year_dim), config.year_dim
        case "title":
            words = FIRST_WORD + len(config.vocabulary)
            title = TextCNN(words, config.word_dim, config.widths, config.filters)
            return title, title.out_features
        case _:
            poster = PosterCNN(config.channels)
            return poster, poster.out_features


def _features(name: str, encoder: nn.Module, content: ItemContent) -> tuple[Tensor, Tensor]:
    """Features [I, F] of a modality, and which items have it [I]."""
    match name:
        case "genres":
            return encoder(content.table.genres), (content.table.genres > 0).any(1)
        case "year":
            return encoder(content.table.year_bucket), content.table.year_bucket > 0
        case "title":
            return encoder(content.words_IW), (content.words_IW > 0).any(1)
        case _:
            return encoder(content.posters_I3HX), content.has_poster_I
