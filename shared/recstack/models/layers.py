"""Building blocks that models share.

Shape legend: B users, L steps, H heads, D width, I items, G places for genres, C genres + 1.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from recstack.features.catalogue import NUM_YEAR_BUCKETS, ItemTable
from recstack.features.schema import GENRES, PROFILE_SIZES

EMBEDDING_STD = 0.05
NUM_DISTANCE_BUCKETS = 32
EXACT_DISTANCES = 8
FURTHEST_DISTANCE = 512


def embedding(size: int, dim: int, padding_idx: int | None = None) -> nn.Embedding:
    """An embedding whose row 0 ("unknown") starts at zero: an unknown value says nothing until that is learnt.

    padding_idx: 0 where row 0 is padding, which stays at zero.
    """
    table = nn.Embedding(size, dim, padding_idx)
    start_small(table.weight)
    return table


@torch.no_grad()
def start_small(weight: Tensor) -> None:
    """Fill a table with small random values, and row 0 with zeros."""
    nn.init.normal_(weight, std=EMBEDDING_STD)
    weight[0] = 0.0


class GenreEmbedding(nn.Embedding):
    """The mean embedding of each item's genres: ids [I, G], 0 = padding, to [I, D]; zeros for an item without any."""

    def __init__(self, dim: int) -> None:
        super().__init__(len(GENRES) + 1, dim, padding_idx=0)
        start_small(self.weight)

    def forward(self, genres_IG: Tensor) -> Tensor:
        """[I, D] means over the genres that are given."""
        counts_IC = genre_counts(genres_IG, self.weight.dtype)[:, 1:]
        means_ID: Tensor = counts_IC @ self.weight[1:] / counts_IC.sum(1, keepdim=True).clamp(min=1)
        return means_ID


def genre_counts(genres_IG: Tensor, dtype: torch.dtype) -> Tensor:
    """How often each genre is among an item's, [I, C]; column 0 counts the places without one.

    A product with it is the sum of the embeddings; looking each up costs twice that, and ten times that backwards.
    """
    counts_IC = torch.zeros(len(genres_IG), len(GENRES) + 1, dtype=dtype, device=genres_IG.device)
    return counts_IC.scatter_add_(1, genres_IG, counts_IC.new_ones(()).expand(genres_IG.shape))


class ItemEmbedding(nn.Module):
    """Id, genres (mean) and year of each item, summed to [I+1, D].

    While training, an item is "unknown" with probability `id_dropout`: its id is replaced by row 0, so that genres and
    year learn to do without it.
    """

    def __init__(self, num_items: int, dim: int, id_dropout: float) -> None:
        super().__init__()
        self.id_dropout = id_dropout
        self.id = embedding(num_items + 1, dim)
        self.genre = GenreEmbedding(dim)
        self.year = embedding(NUM_YEAR_BUCKETS, dim)

    def forward(self, table: ItemTable) -> Tensor:
        """[I+1, D] for the items of `table`, one row per row of the id embedding."""
        ids_ID = self.id.weight
        if self.training and self.id_dropout > 0:
            unknown_I = torch.rand(len(ids_ID), device=ids_ID.device) < self.id_dropout
            ids_ID = torch.where(unknown_I.unsqueeze(1), ids_ID[0], ids_ID)
        return ids_ID + self._features(table)

    def without_ids(self, table: ItemTable) -> Tensor:
        """[I+1, D] as if no item had been seen: from their features and the "unknown" id."""
        return self.id.weight[0] + self._features(table)

    def _features(self, table: ItemTable) -> Tensor:
        features_ID: Tensor = self.genre(table.genres) + self.year(table.year_bucket)
        return features_ID


class ProfileEmbedding(nn.Module):
    """Gender, age, occupation and region of users, each embedded and joined: [B, 4] -> [B, 4 * dim]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(embedding(size, dim) for size in PROFILE_SIZES.values())
        starts = torch.tensor([0, *PROFILE_SIZES.values()][:-1]).cumsum(0)
        self.register_buffer("starts", starts, persistent=False)
        self.starts: Tensor

    def forward(self, profile_B4: Tensor) -> Tensor:
        """Joined embeddings of each user's profile: one look into the tables, laid end to end."""
        laid_out = torch.cat([table.weight for table in self.tables if isinstance(table, nn.Embedding)])
        return functional.embedding(profile_B4 + self.starts, laid_out).flatten(1)


class CausalSelfAttention(nn.Module):
    """Multi-head self-attention in which a step sees itself and earlier steps only.

    Vaswani et al., Attention Is All You Need, 2017, with a learnt bias per head and distance in place of positions
    (Raffel et al., Exploring the Limits of Transfer Learning, 2020, section 2.1): what counts is how long ago an event
    was, counted from the step that looks, so one pass serves every prefix of a history. Padding on the right needs no
    mask: no real step ever looks there.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.distance_bias = nn.Parameter(torch.zeros(heads, NUM_DISTANCE_BUCKETS))
        self.register_buffer("buckets", distance_buckets(torch.arange(FURTHEST_DISTANCE + 1)), persistent=False)
        self.buckets: Tensor

    def forward(self, steps_BLD: Tensor, looking_BPD: Tensor, positions_BP: Tensor) -> Tensor:
        """What the steps at `positions_BP` see, [B, P, D]; `looking_BPD` are those steps, `steps_BLD` all of them."""
        users, length, dim = steps_BLD.shape
        query_BHPE = self._heads(self.query(looking_BPD))
        key_BHLE, value_BHLE = (self._heads(part) for part in self.key_value(steps_BLD).split(dim, dim=2))
        # Written out: with a bias that learns, torch's fused form has no CPU kernel but one that widens bfloat16.
        logits_BHPL = query_BHPE @ key_BHLE.transpose(2, 3) * (dim // self.heads) ** -0.5
        weights_BHPL = (logits_BHPL + self._bias(positions_BP, length).to(logits_BHPL.dtype)).softmax(3)
        attended_BHPE = weights_BHPL @ value_BHLE
        joined_BPD: Tensor = self.out(attended_BHPE.transpose(1, 2).reshape(users, -1, dim))
        return joined_BPD

    def look_back(self, steps_LD: Tensor) -> Tensor:
        """What the last of one user's steps sees, [1, D]: `forward` as a server needs it, in few small operations.

        No step has a key or a value of its own. A key's product with the query is the step's product with the query
        brought back through the key's weights, and the weighted sum of values is the value of the weighted sum; the
        keys' bias would add the same to all logits.
        """
        length, dim = steps_LD.shape
        to_key_HED, to_value_HED = self.key_value.weight.view(2, self.heads, -1, dim)
        query_H1E = self.query(steps_LD[-1:]).view(self.heads, 1, -1)
        brought_back_HD = (query_H1E @ to_key_HED).squeeze(1)
        distance_L = torch.arange(length - 1, -1, -1, device=steps_LD.device).clamp(max=FURTHEST_DISTANCE)
        bias_HL = self.distance_bias[:, self.buckets[distance_L]]
        logits_HL = torch.addmm(bias_HL, brought_back_HD, steps_LD.T, alpha=(dim // self.heads) ** -0.5)
        value_1D = (to_value_HED @ (logits_HL.softmax(1) @ steps_LD).unsqueeze(2)).view(1, dim)
        seen_1D: Tensor = self.out(value_1D + self.key_value.bias[dim:])
        return seen_1D

    def _heads(self, vectors_BPD: Tensor) -> Tensor:
        users, steps, dim = vectors_BPD.shape
        return vectors_BPD.view(users, steps, self.heads, dim // self.heads).transpose(1, 2)

    def _bias(self, positions_BP: Tensor, length: int) -> Tensor:
        """[B, H, P, L] added to the attention logits: the distance's bias, minus infinity for later steps."""
        distance_BPL = positions_BP.unsqueeze(2) - torch.arange(length, device=positions_BP.device)
        bucket_BPL = self.buckets[distance_BPL.clamp(0, FURTHEST_DISTANCE)]
        bias_BPLH = functional.embedding(bucket_BPL, self.distance_bias.T)
        return bias_BPLH.masked_fill(distance_BPL.unsqueeze(3) < 0, -torch.inf).permute(0, 3, 1, 2)


def distance_buckets(distance: Tensor) -> Tensor:
    """Bucket 0..31 of a distance in steps: one per distance below 8, then logarithmic up to 512."""
    span = torch.log(torch.tensor(FURTHEST_DISTANCE / EXACT_DISTANCES))
    beyond = torch.log(distance.clamp(min=EXACT_DISTANCES) / EXACT_DISTANCES) / span.to(distance.device)
    coarse = EXACT_DISTANCES + (beyond * (NUM_DISTANCE_BUCKETS - EXACT_DISTANCES)).long()
    return torch.where(distance < EXACT_DISTANCES, distance, coarse.clamp(max=NUM_DISTANCE_BUCKETS - 1))


class AttentionBlock(nn.Module):
    """Pre-norm transformer block: causal self-attention, then a feed-forward layer, each added to its input."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = CausalSelfAttention(dim, heads)
        self.forward_norm = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps_BLD: Tensor, positions_BP: Tensor) -> Tensor:
        """The block's output [B, P, D] at the steps `positions_BP` (B may be 1: the same for all users).

        A last block is needed only where it is read, which saves most of its cost.
        """
        normed_BLD = self.attention_norm(steps_BLD)
        seen_BPD = self.attention(normed_BLD, take_steps(normed_BLD, positions_BP), positions_BP)
        states_BPD = take_steps(steps_BLD, positions_BP) + self.dropout(seen_BPD)
        output_BPD: Tensor = states_BPD + self.dropout(self.feed_forward(self.forward_norm(states_BPD)))
        return output_BPD

    def last(self, steps_LD: Tensor) -> Tensor:
        """The block's output [1, D] at the last of one user's steps, in evaluation mode."""
        state_1D = steps_LD[-1:] + self.attention.look_back(self.attention_norm(steps_LD))
        output_1D: Tensor = state_1D + self.feed_forward(self.forward_norm(state_1D))
        return output_1D


def take_steps(steps_BLD: Tensor, positions_BP: Tensor) -> Tensor:
    """The steps at some positions, [B, P, D]."""
    users, _, dim = steps_BLD.shape
    return torch.gather(steps_BLD, 1, positions_BP.unsqueeze(2).expand(users, -1, dim))
