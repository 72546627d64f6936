"""DIEN: the probability that a user likes each candidate, from the evolution of the user's interests.

Zhou et al., Deep Interest Evolution Network for Click-Through Rate Prediction, 2019. A GRU reads the history once
per user (interest extraction); attention of each candidate to the GRU's states scales the update gate of a second
GRU, AUGRU, that is run per candidate (interest evolution). Differences from the paper: a step carries the rating that
the user gave, so the history is signed; the evolution runs over the last steps only, where it costs most and older
ones add least; the auxiliary loss learns from the opinions that were given, not from sampled negatives (see
`auxiliary_logits`); and memories of the whole history stand beside the recurrent one: a linear one (AsymmetricSVD),
the opinions of the items most like the candidate (Neighbours), and running statistics.

The model knows no user id: a new user is scored from profile and history, a user without history from the profile.

Shape legend: B users, L history steps, N candidates, M = N, or 1 where all candidates of a user see the same steps,
I items, D item features, E = D + 1 with the item's bias, H hidden units, P profile features, M memory units, S
statistics, F units of the first layer of the final MLP.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recstack.features.batch import NUM_RATING_IDS, UserBatch
from recstack.features.catalogue import ItemTable
from recstack.features.schema import PROFILE_SIZES
from recstack.models.asymmetric_svd import AsymmetricSVD
from recstack.models.config_checks import check_names, check_positive, check_shares, check_sizes
from recstack.models.evolution import GRU
from recstack.models.head import Head
from recstack.models.interest import InterestEvolution
from recstack.models.item_features import SEQUENCES, ItemFeatures
from recstack.models.layers import embedding
from recstack.models.neighbours import Neighbours
from recstack.models.opinions import NUM_STATISTICS, HistoryStatistics, Residuals
from recstack.models.ranker import Ranker, Served


@dataclass(frozen=True, kw_only=True, slots=True)
class DIENConfig:
    """Sizes of a DIEN. `sequences` are the item features of a history step and of a candidate, from SEQUENCES.

    max_history is the number of most recent events that the model is trained for and served with; the evolution (one
    of EVOLUTIONS) runs over the last evolution_steps of them. activation: one of ACTIVATIONS, in the final MLP.
    """

    num_items: int
    sequences: tuple[str, ...] = ("movie", "genre", "year")
    movie_dim: int = 64
    genre_dim: int = 16
    year_dim: int = 8
    rating_dim: int = 8
    profile_dim: int = 8
    hidden: int = 32
    attention_hidden: int = 16
    evolution: str = "augru"
    evolution_steps: int = 10
    memory_dim: int = 64
    neighbour_heads: int = 2
    neighbour_dim: int = 16
    mlp: tuple[int, ...] = (64, 32)
    activation: str = "prelu"
    dropout: float = 0.1
    max_history: int = 200

    def __post_init__(self) -> None:
        check_names(self, "sequences", SEQUENCES)
        check_positive(
            self,
            "num_items", "movie_dim", "genre_dim", "year_dim", "rating_dim", "profile_dim", "hidden",
            "attention_hidden", "evolution_steps", "memory_dim", "neighbour_heads", "neighbour_dim", "max_history",
        )  # fmt: skip
        check_sizes(self, "mlp")
        check_shares(self, "dropout")

    @property
    def item_dims(self) -> dict[str, int]:
        """Widths of the item features, by name."""
        dims = {"movie": self.movie_dim, "genre": self.genre_dim, "year": self.year_dim}
        return {name: dims[name] for name in self.sequences}

    @property
    def item_dim(self) -> int:
        """D: width of an item's features."""
        return sum(self.item_dims.values())


@dataclass(frozen=True, slots=True)
class UserState:
    """All that scoring needs of the users and that does not depend on candidates.

    profile_BP, lengths_B; after each step: states_BLH (GRU), memory_BLM (AsymmetricSVD) and statistics_BLS; for their
    modules: the interest's and the neighbours' parts of all steps.
    """

    profile_BP: Tensor
    lengths_B: Tensor
    states_BLH: Tensor
    memory_BLM: Tensor
    statistics_BLS: Tensor
    interest: tuple[Tensor, Tensor, Tensor]
    neighbours: tuple[Tensor, Tensor]


class DIEN(Ranker):
    """Deep Interest Evolution Network (Zhou et al., 2019) with signed, candidate-shared history encoding.

    Use: `encode_items` once per bundle, `encode_users` once per request, `score` per set of candidates. Training uses
    the same three, with `visible_BN` telling how much of the history each candidate may see.
    """

    def __init__(self, config: DIENConfig) -> None:
        super().__init__()
        self.config = config
        self.item_features = ItemFeatures(config.num_items, config.item_dims)
        self.item_bias = nn.Parameter(torch.zeros(config.num_items + 1))
        self.rating_embedding = embedding(NUM_RATING_IDS, config.rating_dim)
        self.profile_embeddings = nn.ModuleList(embedding(size, config.profile_dim) for size in PROFILE_SIZES.values())

        hidden, profile_width = config.hidden, config.profile_dim * len(PROFILE_SIZES)
        step_width = config.item_dim + 1 + config.rating_dim
        self.extraction = GRU(step_width, hidden)
        self.auxiliary = nn.Linear(hidden, hidden + 1)
        self.query = nn.Linear(config.item_dim + 1, hidden)
        self.interest = InterestEvolution(hidden, config.attention_hidden, config.evolution, config.evolution_steps)
        self.residuals = Residuals()
        self.statistics = HistoryStatistics()
        self.memory = AsymmetricSVD(config.item_dim, config.memory_dim)
        self.neighbours = Neighbours(config.item_dim, step_width + 1, config.neighbour_heads, config.neighbour_dim)

        first = config.mlp[0]
        self.from_user = nn.Linear(profile_width + hidden + NUM_STATISTICS, first)
        self.from_item = nn.Linear(config.item_dim + 1, first, bias=False)
        self.from_pair = nn.Linear(3 * hidden + config.neighbour_heads * config.neighbour_dim, first, bias=False)
        self.head = Head(config.mlp, config.activation, config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def encode_items(self, table: ItemTable) -> Tensor:
        """Item vectors [I+1, E]: the features of `sequences`, then the item's bias (a logit) as the last column."""
        features_ID = self.dropout(torch.cat(self.item_features(table), dim=1))
        return torch.cat([features_ID, self.item_bias.unsqueeze(1)], dim=1)

    def encode_users(self, batch: UserBatch, item_vectors_IE: Tensor) -> UserState:
        """Everything candidate-independent: profile, and what the history comes to after each of its steps."""
        profile = [embed(batch.profile_B4[:, column]) for column, embed in enumerate(self.profile_embeddings)]
        items_BLE = nn.functional.embedding(batch.items_BL, item_vectors_IE)
        items_BLD, bias_BL = items_BLE[..., :-1], items_BLE[..., -1]
        residuals_BL = self.residuals(bias_BL, batch.ratings_BL)
        steps_BLX = torch.cat([items_BLE, self.rating_embedding(batch.ratings_BL)], dim=2)
        states_BLH: Tensor = self.extraction(steps_BLX)
        return UserState(
            profile_BP=torch.cat(profile, dim=1),
            lengths_B=batch.lengths_B,
            states_BLH=states_BLH,
            memory_BLM=self.memory.remember(items_BLD, residuals_BL),
            statistics_BLS=self.statistics(bias_BL, batch.ratings_BL, residuals_BL),
            interest=self.interest.remember(states_BLH),
            neighbours=self.neighbours.remember(items_BLD, torch.cat([steps_BLX, residuals_BL.unsqueeze(2)], dim=2)),
        )

    def score(self, state: UserState, candidates_BNE: Tensor, visible_BN: Tensor | None = None) -> Tensor:
        """Logits [B, N] that each candidate is liked.

        candidates_BNE are rows of `encode_items`. visible_BN (int64, up to `lengths_B`) shows a candidate only the
        first steps of the history, by default all; below 0 it marks padding, whose logits mean nothing.
        """
        visible_BM = state.lengths_B.unsqueeze(1) if visible_BN is None else visible_BN
        candidates_BND = candidates_BNE[..., :-1]
        query_BNH = self.query(candidates_BNE)
        interest_BNH = self.interest(state.interest, query_BNH, visible_BM)
        neighbours_BNX = self.neighbours(state.neighbours, candidates_BND, visible_BM)
        last_BMH = last_step(state.states_BLH, visible_BM)
        pair_BNX = torch.cat([interest_BNH, interest_BNH * query_BNH, last_BMH * query_BNH, neighbours_BNX], dim=2)
        profile_BMP = state.profile_BP.unsqueeze(1).expand(-1, last_BMH.shape[1], -1)
        user_BMX = torch.cat([profile_BMP, last_BMH, last_step(state.statistics_BLS, visible_BM)], dim=2)
        first_BNF = self.from_user(user_BMX) + self.from_item(candidates_BNE) + self.from_pair(pair_BNX)
        real_BN = (visible_BM >= 0).expand(first_BNF.shape[:2])
        logits: Tensor = self.head(first_BNF.flatten(0, 1), real_BN.flatten())
        match_BN: Tensor = self.memory(last_step(state.memory_BLM, visible_BM), candidates_BND)
        return logits.view(match_BN.shape) + match_BN + candidates_BNE[..., -1]

    def served(self, item_vectors_IE: Tensor) -> Served:
        """See Ranker."""
        from recstack.models.dien_served import ServedDIEN  # it builds on this module

        return ServedDIEN(self, item_vectors_IE)

    def auxiliary_logits(self, state: UserState, candidates_BNE: Tensor, visible_BN: Tensor) -> Tensor:
        """Logits [B, N] from the extracted interest alone, for the auxiliary loss (Zhou et al., 2019).

        The GRU's state before an event must tell whether the event was liked. Negatives are the events that were
        not: where ratings are given there is no need to sample them.
        """
        interest_BNX: Tensor = self.auxiliary(last_step(state.states_BLH, visible_BN))
        match_BN = (interest_BNX[..., :-1] * self.query(candidates_BNE)).sum(2)
        logits_BN: Tensor = match_BN + interest_BNX[..., -1] + candidates_BNE[..., -1]
        return logits_BN


def last_step(steps_BLX: Tensor, visible_BN: Tensor) -> Tensor:
    """What a recurrence holds after the last visible step, [B, N, X]; zeros where no step is visible."""
    index_BN1 = (visible_BN - 1).clamp(min=0).unsqueeze(2)
    last_BNX = torch.gather(steps_BLX, 1, index_BN1.expand(-1, -1, steps_BLX.shape[2]))
    return last_BNX * (visible_BN > 0).unsqueeze(2)
