"""DIEN: the probability that a user likes each candidate, from the evolution of the user's interests.

Zhou et al., Deep Interest Evolution Network for Click-Through Rate Prediction, 2019. A GRU reads the history once
per user (interest extraction); attention of each candidate to the GRU's states scales the update gate of a second
GRU, AUGRU, that is run per candidate (interest evolution). Differences from the paper: a step carries the rating that
the user gave, so the history is signed; the attention is the MLP on [q, k, q * k] of the Deep Interest Network (Zhou et
al., 2018), because its first layer splits into parts per user and per item; the auxiliary loss learns from the
opinions that were given, not from sampled negatives (see `auxiliary_logits`); and a linear memory of the history
(AsymmetricSVD) stands beside the recurrent one.

The model knows no user id: a new user is scored from profile and history, a user without history from the profile.

Shape legend: B users, L history steps, N candidates, I items, D item features, E = D + 1 with the item's bias,
H hidden units, A attention units, P profile features, F units of the first layer of the final MLP.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recstack.errors import InvalidRequestError
from recstack.features.batch import UserBatch
from recstack.features.catalogue import NUM_YEAR_BUCKETS, ItemTable
from recstack.features.schema import GENRES, PROFILE_SIZES
from recstack.models.asymmetric_svd import AsymmetricSVD
from recstack.models.augru import AUGRU
from recstack.models.ranker import Ranker

SEQUENCES = ("movie", "genre", "year")
NUM_RATING_IDS = 6
EMBEDDING_STD = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class DIENConfig:
    """Sizes of a DIEN. `sequences` are the item features of a history step and of a candidate, from SEQUENCES.

    max_history is the number of most recent events that the model is trained for and served with.
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
    memory_dim: int = 64
    mlp: tuple[int, ...] = (64, 32)
    dropout: float = 0.1
    max_history: int = 50

    def __post_init__(self) -> None:
        unknown = [name for name in self.sequences if name not in SEQUENCES]
        if unknown or not self.sequences or len(set(self.sequences)) < len(self.sequences):
            raise InvalidRequestError(f"sequences is {self.sequences}; name one or more of {SEQUENCES}, each once")
        for name in (
            "num_items", "movie_dim", "genre_dim", "year_dim", "rating_dim", "profile_dim", "hidden",
            "attention_hidden", "memory_dim", "max_history",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise InvalidRequestError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if not self.mlp or min(self.mlp) < 1:
            raise InvalidRequestError(f"mlp is {self.mlp}; give one or more layer sizes of 1 or more")
        if not 0 <= self.dropout < 1:
            raise InvalidRequestError(f"dropout is {self.dropout}; it must be at least 0 and below 1")

    @property
    def item_dim(self) -> int:
        """D: width of an item's features."""
        dims = {"movie": self.movie_dim, "genre": self.genre_dim, "year": self.year_dim}
        return sum(dims[name] for name in self.sequences)


@dataclass(frozen=True, slots=True)
class UserState:
    """All that scoring needs of the users and that does not depend on candidates.

    profile_BP, states_BLH (GRU), memory_BLM (AsymmetricSVD), lengths_B; attention_keys_BLA and attention_products_BHX
    (X = L * A): the history's parts of the attention's first layer; evolution_inputs_LGB (G = 3H): the history's part
    of AUGRU's gates.
    """

    profile_BP: Tensor
    states_BLH: Tensor
    memory_BLM: Tensor
    lengths_B: Tensor
    attention_keys_BLA: Tensor
    attention_products_BHX: Tensor
    evolution_inputs_LGB: Tensor


class DIEN(Ranker):
    """Deep Interest Evolution Network (Zhou et al., 2019) with signed, candidate-shared history encoding.

    Use: `encode_items` once per bundle, `encode_users` once per request, `score` per set of candidates. Training uses
    the same three, with `visible_BN` telling how much of the history each candidate may see.
    """

    def __init__(self, config: DIENConfig) -> None:
        super().__init__()
        self.config = config
        self.item_embeddings = nn.ModuleDict({name: _item_embedding(name, config) for name in config.sequences})
        self.item_bias = nn.Parameter(torch.zeros(config.num_items + 1))
        self.rating_embedding = _embedding(NUM_RATING_IDS, config.rating_dim)
        self.profile_embeddings = nn.ModuleList(_embedding(size, config.profile_dim) for size in PROFILE_SIZES.values())

        hidden, profile_width = config.hidden, config.profile_dim * len(PROFILE_SIZES)
        step_width = config.item_dim + 1 + config.rating_dim
        self.extraction = nn.GRU(step_width, hidden, batch_first=True)
        self.query = nn.Linear(config.item_dim + 1, hidden)
        self.attention_query = nn.Linear(hidden, config.attention_hidden)
        self.attention_key = nn.Linear(hidden, config.attention_hidden, bias=False)
        self.attention_product = nn.Parameter(torch.randn(config.attention_hidden, hidden) / hidden**0.5)
        self.attention_out = nn.Linear(config.attention_hidden, 1, bias=False)
        self.evolution = AUGRU(hidden, hidden)
        self.auxiliary = nn.Linear(hidden, hidden + 1)
        self.memory = AsymmetricSVD(config.item_dim, config.memory_dim)

        first, *rest = config.mlp
        self.from_user = nn.Linear(profile_width + hidden, first)
        self.from_item = nn.Linear(config.item_dim + 1, first, bias=False)
        self.from_pair = nn.Linear(3 * hidden, first, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        layers: list[nn.Module] = [nn.PReLU(first), nn.Dropout(config.dropout)]
        for width, next_width in zip(config.mlp, rest, strict=False):
            layers += [nn.Linear(width, next_width), nn.PReLU(next_width)]
        self.head = nn.Sequential(*layers, nn.Linear(config.mlp[-1], 1))

    def encode_items(self, table: ItemTable) -> Tensor:
        """Item vectors [I+1, E]: the features of `sequences`, then the item's bias (a logit) as the last column."""
        columns: list[Tensor] = []
        for name, embedding in self.item_embeddings.items():
            if name == "movie":
                columns.append(embedding(torch.arange(len(table), device=table.genres.device)))
            elif name == "year":
                columns.append(embedding(table.year_bucket))
            else:
                given = (table.genres > 0).sum(1, keepdim=True)
                columns.append(embedding(table.genres).sum(1) / given.clamp(min=1))
        features_ID = self.dropout(torch.cat(columns, dim=1))
        return torch.cat([features_ID, self.item_bias.unsqueeze(1)], dim=1)

    def encode_users(self, batch: UserBatch, item_vectors_IE: Tensor) -> UserState:
        """Everything candidate-independent: profile, GRU states and their part of attention and AUGRU."""
        profile_BP = torch.cat(
            [embed(batch.profile_B4[:, column]) for column, embed in enumerate(self.profile_embeddings)], dim=1
        )
        items_BLE = item_vectors_IE[batch.items_BL]
        steps_BLS = torch.cat([items_BLE, self.rating_embedding(batch.ratings_BL)], dim=2)
        states_BLH: Tensor = self.extraction(steps_BLS)[0]
        products_BLAH = states_BLH.unsqueeze(2) * self.attention_product
        return UserState(
            profile_BP=profile_BP,
            states_BLH=states_BLH,
            memory_BLM=self.memory.remember(items_BLE, batch.ratings_BL),
            lengths_B=batch.lengths_B,
            attention_keys_BLA=self.attention_key(states_BLH),
            attention_products_BHX=products_BLAH.flatten(1, 2).transpose(1, 2),
            evolution_inputs_LGB=self.evolution.project(states_BLH),
        )

    def score(self, state: UserState, candidates_BNE: Tensor, visible_BN: Tensor | None = None) -> Tensor:
        """Logits [B, N] that each candidate is liked.

        candidates_BNE are rows of `encode_items`. visible_BN (int64, up to `lengths_B`) shows a candidate only the
        first steps of the history; by default it sees all.
        """
        visible_BN = state.lengths_B.unsqueeze(1) if visible_BN is None else visible_BN
        query_BNH = self.query(candidates_BNE)
        attention_BNL = self._attend(state, query_BNH, visible_BN)
        evolved_BNH = self.evolution(state.evolution_inputs_LGB, attention_BNL)
        last_BNH = _last_step(state.states_BLH, visible_BN)
        pair_BNX = torch.cat([evolved_BNH, evolved_BNH * query_BNH, last_BNH * query_BNH], dim=2)
        profile_BNP = state.profile_BP.unsqueeze(1).expand(-1, last_BNH.shape[1], -1)
        user_BNF = self.from_user(torch.cat([profile_BNP, last_BNH], dim=2))
        first_BNF = user_BNF + self.from_item(candidates_BNE) + self.from_pair(pair_BNX)
        logits: Tensor = self.head(first_BNF.flatten(0, 1))  # PReLU wants its channels in the second place
        linear_BN: Tensor = candidates_BNE[..., -1] + self.memory(
            _last_step(state.memory_BLM, visible_BN), candidates_BNE
        )
        return logits.view(linear_BN.shape) + linear_BN

    def auxiliary_logits(self, state: UserState, candidates_BNE: Tensor, visible_BN: Tensor) -> Tensor:
        """Logits [B, N] from the extracted interest alone, for the auxiliary loss (Zhou et al., 2019, equation 6).

        The GRU's state before an event must tell whether the event was liked. Negatives are the events that were
        not: where ratings are given there is no need to sample them.
        """
        interest_BNX: Tensor = self.auxiliary(_last_step(state.states_BLH, visible_BN))
        match_BN = (interest_BNX[..., :-1] * self.query(candidates_BNE)).sum(2)
        logits_BN: Tensor = match_BN + interest_BNX[..., -1] + candidates_BNE[..., -1]
        return logits_BN

    def _attend(self, state: UserState, query_BNH: Tensor, visible_BN: Tensor) -> Tensor:
        users, candidates, _ = query_BNH.shape
        units = self.config.attention_hidden
        keys_B1X = state.attention_keys_BLA.flatten(1).unsqueeze(1)
        layer_BNX = torch.baddbmm(keys_B1X, query_BNH, state.attention_products_BHX)
        layer_BNLA = layer_BNX.view(users, candidates, -1, units)
        layer_BNLA.add_(self.attention_query(query_BNH).unsqueeze(2)).relu_()
        logits_BNL: Tensor = self.attention_out(layer_BNLA).squeeze(3)
        steps = torch.arange(logits_BNL.shape[2], device=logits_BNL.device)
        hidden_BNL = steps >= visible_BN.unsqueeze(2)
        # A finite fill keeps rows without any visible step free of NaN; the second mask makes them zero.
        weights_BNL: Tensor = logits_BNL.masked_fill(hidden_BNL, -1e9).softmax(2)
        return weights_BNL.masked_fill(hidden_BNL, 0.0)


def _last_step(steps_BLH: Tensor, visible_BN: Tensor) -> Tensor:
    """What a recurrence holds after the last visible step, [B, N, H]; zeros where no step is visible."""
    index_BN1 = (visible_BN - 1).clamp(min=0).unsqueeze(2)
    last_BNH = torch.gather(steps_BLH, 1, index_BN1.expand(-1, -1, steps_BLH.shape[2]))
    return last_BNH * (visible_BN > 0).unsqueeze(2)


def _embedding(size: int, dim: int) -> nn.Embedding:
    """An embedding whose row 0 ("unknown") starts at zero, so that an unknown value says nothing until it is learnt."""
    embedding = nn.Embedding(size, dim)
    nn.init.normal_(embedding.weight, std=EMBEDDING_STD)
    with torch.no_grad():
        embedding.weight[0] = 0.0
    return embedding


def _item_embedding(name: str, config: DIENConfig) -> nn.Embedding:
    if name == "movie":
        return _embedding(config.num_items + 1, config.movie_dim)
    if name == "genre":
        embedding = _embedding(len(GENRES) + 1, config.genre_dim)
        embedding.padding_idx = 0  # genres are summed, so padding must stay at zero
        return embedding
    return _embedding(NUM_YEAR_BUCKETS, config.year_dim)
