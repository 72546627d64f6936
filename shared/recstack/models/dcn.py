"""Deep & Cross: explicit crosses of features beside a deep network, for ratings and for likes.

Wang et al., Deep & Cross Network for Ad Click Predictions, 2017, and Wang et al., DCN V2, 2021. What goes in is
configured: profile and item features; ids; memories of the training rows (`training_memory`); the history of the
request (`history_memory`). User-side and item-side factors of equal width also meet in a dot product, whose terms are
inputs of the crosses too.

Shape legend: B users, N candidates, L history steps, I items, E item vector, D inputs of the crosses, F features,
Z factors, M units of a memory of the training rows, H units of one memory of the history, W = H + 1 for the bias.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from recstack.errors import InvalidRequestError
from recstack.features.batch import UserBatch
from recstack.features.catalogue import NUM_YEAR_BUCKETS, ItemTable
from recstack.features.schema import GENRES, MAX_GENRES, PROFILE_SIZES
from recstack.models.config_checks import check_names, check_positive, check_shares, check_sizes
from recstack.models.cross_layers import MatrixCross, MixtureCross, VectorCross
from recstack.models.history_memory import HistoryMemory, Remembered
from recstack.models.layers import embedding, genre_counts
from recstack.models.ranker import Prediction, Ranker, Served
from recstack.models.training_memory import STATS, TrainingMemory


@dataclass(frozen=True, kw_only=True, slots=True)
class DCNConfig:
    """Inputs and sizes of a DCN.

    profile: columns of the profile that are read. year: whether the item's year is. genre_sets: buckets of an embedding
    of the item's genres as one set, their full cross; 0 leaves it out. pooling: "average" makes the mean
    of all embedded values the only input (the notebook's form), "concat" puts them side by side. num_users: 0 leaves
    out user ids. id_dim: width of the id embeddings, 0 leaves out item ids too. memory_dim: units of the memories of
    the training rows, 0 leaves them out. half_lives: memories of the history, in steps (0 never forgets), with
    history_dim units each (0: mean residuals only) over the last max_history events. cross: "vector" (2017), "matrix"
    or "mixture" (2021; cross_experts of cross_rank). factor_inputs: width of each side's factors in the crosses.
    dropout: of the users' factors and of the deep layers' outputs. id_dropout: share of items that are unknown in a
    training step.
    """

    num_items: int
    num_users: int = 0
    prediction: Literal["like", "rating"] = "like"
    profile: tuple[str, ...] = tuple(PROFILE_SIZES)
    year: bool = True
    genre_sets: int = 0
    pooling: Literal["concat", "average"] = "concat"
    embedding_dim: int = 16
    id_dim: int = 0
    id_dropout: float = 0.0
    memory_dim: int = 0
    half_lives: tuple[float, ...] = ()
    history_dim: int = 0
    max_history: int = 0
    cross: Literal["vector", "matrix", "mixture"] = "matrix"
    cross_layers: int = 2
    cross_rank: int = 32
    cross_experts: int = 2
    deep: tuple[int, ...] = (128, 64)
    batch_norm: bool = False
    factor_inputs: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_names(self, "profile", tuple(PROFILE_SIZES))
        check_positive(self, "num_items", "embedding_dim", "cross_layers", "cross_rank", "cross_experts")
        check_sizes(self, "deep")
        check_shares(self, "dropout", "id_dropout")
        if self.pooling == "average" and (self.id_dim or self.half_lives):
            raise InvalidRequestError(
                "pooling 'average' knows profile and item features only; use 'concat' with others"
            )
        if self.num_users and not self.id_dim:
            raise InvalidRequestError(f"num_users is {self.num_users}, but id_dim is 0; give user ids a width")
        if self.memory_dim and not self.num_users:
            raise InvalidRequestError(
                f"memory_dim is {self.memory_dim}, but num_users is 0; such memories need user ids"
            )
        if bool(self.half_lives) != bool(self.max_history) or (self.half_lives and not self.id_dim):
            raise InvalidRequestError(
                f"half_lives is {self.half_lives}, max_history {self.max_history}, id_dim {self.id_dim}; a history "
                "needs all three, and without one neither half_lives nor max_history is given"
            )


@dataclass(frozen=True, slots=True)
class UserState:
    """The users' inputs: profile_BF; ids_BZ, the id's factors; memory_BM, of the training rows; the history."""

    profile_BF: Tensor
    ids_BZ: Tensor
    memory_BM: Tensor
    history: Remembered | None


class DCN(Ranker):
    """Deep & Cross Network (Wang et al., 2017 and 2021) as a ranker.

    An item vector holds features, factors, the values it adds to a history, its memory of the training rows, and
    its bias. Memories of the training rows must be told the rows (`learn_memories`) and, once the weights are what will
    be served, computed (`refresh_memories`).
    """

    def __init__(self, config: DCNConfig) -> None:
        super().__init__()
        self.config = config
        self.prediction = Prediction(config.prediction)
        dim, id_dim, memory, histories = config.embedding_dim, config.id_dim, config.memory_dim, len(config.half_lives)
        self.profile_embeddings = nn.ModuleList(embedding(PROFILE_SIZES[name], dim) for name in config.profile)
        self.genre_embedding = embedding(len(GENRES) + 1, dim)
        self.year_embedding = embedding(NUM_YEAR_BUCKETS, dim) if config.year else None
        self.genre_set_embedding = embedding(config.genre_sets, dim) if config.genre_sets else None
        self.user_embeddings = embedding(config.num_users + 1, id_dim + memory) if config.num_users else None
        self.item_embeddings = embedding(config.num_items + 1, id_dim + memory) if id_dim else None
        self.item_bias = nn.Parameter(torch.zeros(config.num_items + 1)) if id_dim else None
        self.user_memory = TrainingMemory(config.num_users, config.num_items, memory) if memory else None
        self.item_memory = TrainingMemory(config.num_items, config.num_users, memory) if memory else None
        item_features = dim * (1 + config.year + (config.genre_sets > 0))
        if config.half_lives:
            self.history = HistoryMemory(config.half_lives, ratings=self.prediction is Prediction.RATING)
        if config.history_dim:
            described = item_features + id_dim + memory
            self.value = nn.Linear(described, config.history_dim, bias=False)
            self.query = nn.Linear(described, histories * config.history_dim, bias=False)

        factors = (id_dim + 2 * memory if config.num_users else 0) + histories * config.history_dim
        stats = STATS if memory else 0
        lone_ids = 0 if config.num_users else id_dim
        self._item_split = [item_features + lone_ids, factors - memory, config.history_dim, memory, stats, 1]
        user_features = dim * len(config.profile) + stats + (histories + 1 if histories else 0)
        seen = min(factors, config.factor_inputs)
        self.user_factors_in = nn.Linear(factors, seen, bias=False) if factors else None
        self.item_factors_in = nn.Linear(factors, seen, bias=False) if factors else None
        inputs = user_features + item_features + lone_ids + stats + 2 * seen + factors
        self._build_network(dim if config.pooling == "average" else inputs)

    def _build_network(self, inputs: int) -> None:
        config = self.config
        self.cross: VectorCross | MatrixCross | MixtureCross
        if config.cross == "vector":
            self.cross = VectorCross(inputs, config.cross_layers)
        elif config.cross == "matrix":
            self.cross = MatrixCross(inputs, config.cross_layers)
        else:
            self.cross = MixtureCross(inputs, config.cross_layers, config.cross_rank, config.cross_experts)
        self.cross_out = nn.Linear(inputs, 1)
        self.dropout = nn.Dropout(config.dropout)
        layers: list[nn.Module] = []
        for width in config.deep:
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            layers += [nn.BatchNorm1d(width)] if config.batch_norm else []
            layers += [nn.Dropout(config.dropout)] if config.dropout else []
            inputs = width
        self.deep = nn.Sequential(*layers)
        self.deep_out = nn.Linear(inputs, 1)

    def encode_items(self, table: ItemTable) -> Tensor:
        """Item vectors [I+1, E]. Without ids, a vector depends on its row of `table` alone, which may be any rows."""
        parts = [self._static_items(table)]
        if self.item_memory is not None:
            parts.append(self.item_memory.recall(torch.arange(len(table), device=parts[0].device)))
        bias_I = parts[0].new_zeros(len(table)) if self.item_bias is None else self.item_bias
        return torch.cat([*parts, bias_I.unsqueeze(1)], dim=1)

    def encode_users(self, batch: UserBatch, item_vectors_IE: Tensor) -> UserState:
        """Everything that does not depend on candidates."""
        return self.encode_users_from(batch, self.history_items(item_vectors_IE))

    def history_items(self, item_vectors_IE: Tensor) -> Tensor:
        """What a history reads of item vectors, [I+1, W]: the items' values, then their bias."""
        first = sum(self._item_split[:2])
        values_IH = item_vectors_IE[:, first : first + self.config.history_dim]
        return torch.cat([values_IH, item_vectors_IE[:, -1:]], dim=1)

    def encode_users_from(self, batch: UserBatch, history_items_IW: Tensor) -> UserState:
        """`encode_users`, given `history_items`."""
        names = list(PROFILE_SIZES)
        tokens = [
            embed(batch.profile_B4[:, names.index(name)])
            for name, embed in zip(self.config.profile, self.profile_embeddings, strict=True)
        ]
        profile_BF = torch.stack(tokens).sum(0) if self.config.pooling == "average" else torch.cat(tokens, dim=1)
        nothing_B0 = profile_BF[:, :0]
        return UserState(
            profile_BF=profile_BF,
            ids_BZ=nothing_B0 if self.user_embeddings is None else self.user_embeddings(batch.users_B),
            memory_BM=nothing_B0 if self.user_memory is None else self.user_memory.recall(batch.users_B),
            history=self._remember(batch, history_items_IW),
        )

    def score(self, state: UserState, candidates_BNE: Tensor, visible_BN: Tensor | None = None) -> Tensor:
        """Raw scores [B, N] of candidates, rows of `encode_items`; see `Ranker.score` for `visible_BN`."""
        candidates = candidates_BNE.shape[1]
        item_features_BNF, item_factors_BNZ, bias_BN = self.item_inputs(candidates_BNE)
        user_features_BMF, user_factors_BMZ = self.user_inputs(state, visible_BN)
        if self.config.pooling == "average":
            return self._network((user_features_BMF + item_features_BNF) / self.tokens)
        user_features_BNF = user_features_BMF.expand(-1, candidates, -1)
        user_factors_BNZ = self.dropout(user_factors_BMZ.expand(-1, candidates, -1))
        products_BNZ = user_factors_BNZ * item_factors_BNZ
        inputs = [user_features_BNF, item_features_BNF, products_BNZ]
        if self.user_factors_in is not None and self.item_factors_in is not None:
            inputs += [self.user_factors_in(user_factors_BNZ), self.item_factors_in(item_factors_BNZ)]
        inputs_BND = torch.cat(inputs, dim=2)
        linear_BN: Tensor = products_BNZ.sum(2) + bias_BN
        return self._network(inputs_BND) + linear_BN

    @property
    def tokens(self) -> int:
        """Values that are averaged by the pooling "average": six genres, and one of each other field."""
        return MAX_GENRES + len(self.config.profile) + int(self.config.year) + int(self.config.genre_sets > 0)

    def item_inputs(self, vectors_E: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features [..., F], factors [..., Z] and bias [...] of items, from rows of `encode_items`."""
        features_F, static_Z, _, units_M, stats_2, bias_1 = torch.split(vectors_E, self._item_split, dim=-1)
        return torch.cat([features_F, stats_2], dim=-1), torch.cat([static_Z, units_M], dim=-1), bias_1.squeeze(-1)

    def user_inputs(self, state: UserState, visible_BN: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features [B, M, F] and factors [B, M, Z]; M is 1, or N where a history is read as far as `visible_BN`."""
        id_dim, memory = self.config.id_dim if self.config.num_users else 0, self.config.memory_dim
        ids_BZ, queries_BM = torch.split(state.ids_BZ, [id_dim, memory], dim=1)
        units_BM, stats_B2 = torch.split(state.memory_BM, [memory, STATS if memory else 0], dim=1)
        features, factors = [state.profile_BF.unsqueeze(1), stats_B2.unsqueeze(1)], [ids_BZ.unsqueeze(1)]
        factors.append(units_BM.unsqueeze(1))
        rows = 1
        if state.history is not None:
            history_units_BMH, history_stats_BMK = self.history.read(state.history, visible_BN)
            features.append(history_stats_BMK)
            factors.append(history_units_BMH)
            rows = history_units_BMH.shape[1]
        factors.append(queries_BM.unsqueeze(1))
        features_BMF = torch.cat([part.expand(-1, rows, -1) for part in features], dim=2)
        return features_BMF, torch.cat([part.expand(-1, rows, -1) for part in factors], dim=2)

    def served(self, item_vectors_IE: Tensor) -> Served:
        """See Ranker."""
        from recstack.models.dcn_served import ServedDCN  # it builds on this module

        return ServedDCN(self, item_vectors_IE)

    def learn_memories(self, users: Tensor, items: Tensor, rating_ids: Tensor) -> None:
        """Let the memories of the training rows, if there are any, remember these rows (int64, one each)."""
        if self.user_memory is not None and self.item_memory is not None:
            self.user_memory.learn_from(users, items, rating_ids)
            self.item_memory.learn_from(items, users, rating_ids)

    def refresh_memories(self) -> None:
        """Compute what the memories of the training rows hold with the weights of the moment."""
        if self.user_memory is not None and self.item_memory is not None:
            self.user_memory.refresh()
            self.item_memory.refresh()

    def _network(self, inputs_BND: Tensor) -> Tensor:
        cross_BN = self.cross_out(self.cross(inputs_BND)).squeeze(2)
        deep_BN: Tensor = self.deep_out(self.deep(inputs_BND.flatten(0, 1))).view(cross_BN.shape)
        total_BN: Tensor = cross_BN + deep_BN
        return total_BN / 2 if self.prediction is Prediction.RATING else total_BN

    def _static_items(self, table: ItemTable) -> Tensor:
        """The part of the item vectors before the memory, [I+1, S]: features, factors, values for a history."""
        counts_IC = genre_counts(table.genres, self.genre_embedding.weight.dtype)
        if self.config.pooling == "average":
            genres_IF = counts_IC @ self.genre_embedding.weight
        else:
            given_IC = counts_IC[:, 1:]
            genres_IF = given_IC @ self.genre_embedding.weight[1:] / given_IC.sum(1, keepdim=True).clamp(min=1).sqrt()
        parts = [genres_IF]
        if self.year_embedding is not None:
            parts.append(self.year_embedding(table.year_bucket))
        if self.genre_set_embedding is not None:
            parts.append(self.genre_set_embedding(_set_buckets(table.genres, self.config.genre_sets)))
        if self.config.pooling == "average":
            return torch.stack(parts).sum(0)
        if self.item_embeddings is None:
            return torch.cat(parts, dim=1)
        ids_IZ = self.item_embeddings.weight
        if self.training and self.config.id_dropout:
            unknown_I1 = torch.rand(len(ids_IZ), 1, device=ids_IZ.device) < self.config.id_dropout
            ids_IZ = torch.where(unknown_I1, ids_IZ[0], ids_IZ)
        described_IF = torch.cat([*parts, ids_IZ], dim=1)
        columns = [*parts, ids_IZ]
        if self.config.history_dim:
            columns += [self.query(described_IF), self.value(described_IF)]
        return torch.cat(columns, dim=1)

    def _remember(self, batch: UserBatch, history_items_IW: Tensor) -> Remembered | None:
        if not self.config.half_lives:
            return None
        items_BLW = history_items_IW[batch.items_BL]
        return self.history.remember(items_BLW[..., :-1], items_BLW[..., -1], batch.ratings_BL, batch.lengths_B)


def _set_buckets(genres_IG: Tensor, buckets: int) -> Tensor:
    """A bucket [I] for each set of genres, whatever their order: the sum of codes that are spread far apart."""
    codes_G = torch.arange(len(GENRES) + 1, device=genres_IG.device) ** 5 * 2_654_435_761 % 1_000_003
    return codes_G[genres_IG].sum(1) % buckets
