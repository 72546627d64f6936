"""Item features that a history step and a candidate share, by name, so that a model's sequences are a matter of config.

Shape legend: I items, D width of one feature.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from recstack.errors import InvalidRequestError
from recstack.features.catalogue import NUM_YEAR_BUCKETS, ItemTable
from recstack.features.schema import GENRES
from recstack.models.layers import embedding

SEQUENCES = ("movie", "genre", "year")


def check_sequences(names: tuple[str, ...]) -> None:
    """Raises InvalidRequestError where `names` are not some of SEQUENCES, each once."""
    unknown = [name for name in names if name not in SEQUENCES]
    if unknown or not names or len(set(names)) < len(names):
        raise InvalidRequestError(f"sequences is {names}; name one or more of {SEQUENCES}, each once")


class ItemFeatures(nn.Module):
    """Embeddings of the item itself (movie), its genres (their mean) and its year."""

    def __init__(self, num_items: int, dims: Mapping[str, int]) -> None:
        """dims: widths by name, in the order in which `forward` gives them."""
        super().__init__()
        sizes = {"movie": num_items + 1, "genre": len(GENRES) + 1, "year": NUM_YEAR_BUCKETS}
        self.embeddings = nn.ModuleDict({name: embedding(sizes[name], dim) for name, dim in dims.items()})
        for name, table in self.embeddings.items():
            if name == "genre" and isinstance(table, nn.Embedding):
                table.padding_idx = 0  # genres are summed, so padding must stay at zero

    def forward(self, table: ItemTable) -> list[Tensor]:
        """One [I+1, D] per feature."""
        given_I1 = (table.genres > 0).sum(1, keepdim=True).clamp(min=1)
        values = {
            "movie": lambda embed: embed(torch.arange(len(table), device=table.genres.device)),
            "genre": lambda embed: embed(table.genres).sum(1) / given_I1,
            "year": lambda embed: embed(table.year_bucket),
        }
        return [values[name](embed) for name, embed in self.embeddings.items()]
