"""The notebook's DIEN: attention and a GRU side by side over each sequence of the history.

For every sequence (item feature): an attention MLP on [target, step] with a softmax over the steps gives the interest;
a GRU over the same steps, as wide as they are, gives with its last state the evolved interest. An MLP on profile,
activity, interests and evolved interests gives the click's probability. It is the Deep Interest Network (Zhou et al.,
2018) with a GRU beside it; `dien.DIEN` is what Zhou et al. made of it in 2019. Padding and empty histories are masked.
The history is that of what was watched: ratings are not read, and the target is seen by the attention alone.

Shape legend: B users, L history steps, N candidates, M = N, or 1 where all candidates of a user see the same steps,
I items, S sequences, D width of a sequence, E = sum of all D, A attention units, P profile features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recstack.features.batch import UserBatch
from recstack.features.catalogue import ItemTable
from recstack.features.schema import PROFILE_SIZES
from recstack.models.config_checks import check_names, check_sizes
from recstack.models.dien import last_step
from recstack.models.evolution import GRU
from recstack.models.item_features import SEQUENCES, ItemFeatures
from recstack.models.layers import embedding
from recstack.models.ranker import Ranker


@dataclass(frozen=True, kw_only=True, slots=True)
class NotebookDIENConfig:
    """Sizes of the notebook's DIEN. sequences: any of SEQUENCES; profile: the profile's columns that are read.

    max_history is the number of most recent events that are read, and what the number of events is divided by to give
    the activity (the notebook's: active days over a year, which rating data does not have).
    """

    num_items: int
    sequences: tuple[str, ...] = ("movie", "genre")
    movie_dim: int = 16
    genre_dim: int = 32
    year_dim: int = 8
    age_dim: int = 8
    gender_dim: int = 4
    occupation_dim: int = 8
    region_dim: int = 16
    profile: tuple[str, ...] = ("age", "gender", "region")
    attention_hidden: int = 64
    mlp: tuple[int, ...] = (128, 64)
    max_history: int = 100

    def __post_init__(self) -> None:
        check_names(self, "sequences", SEQUENCES)
        check_names(self, "profile", tuple(PROFILE_SIZES))
        check_sizes(self, "mlp")

    @property
    def item_dims(self) -> dict[str, int]:
        """Widths of the sequences, by name."""
        return {name: int(getattr(self, f"{name}_dim")) for name in self.sequences}


@dataclass(frozen=True, slots=True)
class NotebookState:
    """Of each user: profile_BP, lengths_B; of each sequence: steps and states [B, L, D], attention keys [B, L, A]."""

    profile_BP: Tensor
    lengths_B: Tensor
    sequences: tuple[tuple[Tensor, Tensor, Tensor], ...]


class InterestAttention(nn.Module):
    """MLP on [target, step], 2D → A → ReLU → 1, softmax over the visible steps, weighted sum."""

    def __init__(self, dim: int, units: int) -> None:
        super().__init__()
        # One layer on [target, step] is the sum of a layer on each.
        self.from_target = nn.Linear(dim, units)
        self.from_step = nn.Linear(dim, units, bias=False)
        self.out = nn.Linear(units, 1)

    def forward(self, targets_BND: Tensor, steps_BLD: Tensor, keys_BLA: Tensor, visible_BM: Tensor) -> Tensor:
        """Interests [B, N, D]; zeros where no step is visible."""
        hidden_BNLA = torch.relu(self.from_target(targets_BND).unsqueeze(2) + keys_BLA.unsqueeze(1))
        unseen_BML = torch.arange(steps_BLD.shape[1], device=visible_BM.device) >= visible_BM.unsqueeze(2)
        # A finite fill keeps rows without any visible step free of NaN; the second mask makes them zero.
        logits_BNL: Tensor = self.out(hidden_BNLA).squeeze(3).masked_fill(unseen_BML, -1e9)
        return logits_BNL.softmax(2).masked_fill(unseen_BML, 0.0) @ steps_BLD


class NotebookDIEN(Ranker):
    """Attention and GRU over each sequence, then an MLP (see the module)."""

    def __init__(self, config: NotebookDIENConfig) -> None:
        super().__init__()
        self.config = config
        dims = config.item_dims
        self.item_features = ItemFeatures(config.num_items, dims)
        self.profile_columns = [list(PROFILE_SIZES).index(name) for name in config.profile]
        profile_dims = [int(getattr(config, f"{name}_dim")) for name in config.profile]
        self.profile_embeddings = nn.ModuleList(
            embedding(PROFILE_SIZES[name], dim) for name, dim in zip(config.profile, profile_dims, strict=True)
        )
        self.attentions = nn.ModuleList(InterestAttention(dim, config.attention_hidden) for dim in dims.values())
        self.recurrences = nn.ModuleList(GRU(dim, dim) for dim in dims.values())
        widths = (sum(profile_dims) + 1 + 2 * sum(dims.values()), *config.mlp)
        layers: list[nn.Module] = []
        for width, next_width in zip(widths, config.mlp, strict=False):
            layers += [nn.Linear(width, next_width), nn.ReLU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def encode_items(self, table: ItemTable) -> Tensor:
        """Item vectors [I+1, E]: one sequence's embedding after the other."""
        return torch.cat(self.item_features(table), dim=1)

    def encode_users(self, batch: UserBatch, item_vectors_IE: Tensor) -> NotebookState:
        """Profile, and of each sequence the steps, the GRU's states and the attention's first layer."""
        profile = [
            embed(batch.profile_B4[:, column])
            for column, embed in zip(self.profile_columns, self.profile_embeddings, strict=True)
        ]
        steps = self._split(nn.functional.embedding(batch.items_BL, item_vectors_IE))
        sequences = [
            (steps_BLD, recurrence(steps_BLD), attention.from_step(steps_BLD))
            for steps_BLD, recurrence, attention in zip(steps, self.recurrences, self._attentions(), strict=True)
        ]
        return NotebookState(torch.cat(profile, dim=1), batch.lengths_B, tuple(sequences))

    def score(self, state: NotebookState, candidates_BNE: Tensor, visible_BN: Tensor | None = None) -> Tensor:
        """Logits [B, N] of a click; see Ranker."""
        visible_BM = state.lengths_B.unsqueeze(1) if visible_BN is None else visible_BN
        users, candidates, _ = candidates_BNE.shape
        activity_BM1 = visible_BM.clamp(min=0).unsqueeze(2).to(candidates_BNE.dtype) / self.config.max_history
        columns = [state.profile_BP.unsqueeze(1), activity_BM1]
        targets = self._split(candidates_BNE)
        for targets_BND, attention, kept in zip(targets, self._attentions(), state.sequences, strict=True):
            steps_BLD, states_BLD, keys_BLA = kept
            columns.append(attention(targets_BND, steps_BLD, keys_BLA, visible_BM))
            columns.append(last_step(states_BLD, visible_BM))
        features_BNX = torch.cat([column.expand(users, candidates, -1) for column in columns], dim=2)
        logits_BN: Tensor = self.mlp(features_BNX).squeeze(2)
        return logits_BN

    def _split(self, vectors: Tensor) -> tuple[Tensor, ...]:
        return torch.split(vectors, list(self.config.item_dims.values()), dim=2)

    def _attentions(self) -> list[InterestAttention]:
        return [attention for attention in self.attentions if isinstance(attention, InterestAttention)]
