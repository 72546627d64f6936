"""Item features that a history step and a candidate share, by name, so that a model's sequences are a matter of config.

Shape legend: I items, D width of one feature.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from recstack.features.catalogue import NUM_YEAR_BUCKETS, ItemTable
from recstack.models.layers import GenreEmbedding, embedding

SEQUENCES = ("movie", "genre", "year")


class ItemFeatures(nn.Module):
    """Embeddings of the item itself (movie), its genres (their mean) and its year."""

    def __init__(self, num_items: int, dims: Mapping[str, int]) -> None:
        """dims: widths by name, in the order in which `forward` gives them."""
        super().__init__()
        sizes = {"movie": num_items + 1, "year": NUM_YEAR_BUCKETS}
        self.embeddings = nn.ModuleDict(
            {
                name: GenreEmbedding(dim) if name == "genre" else embedding(sizes[name], dim)
                for name, dim in dims.items()
            }
        )

    def forward(self, table: ItemTable) -> list[Tensor]:
        """One [I+1, D] per feature."""
        ids = {
            "movie": torch.arange(len(table), device=table.genres.device),
            "genre": table.genres,
            "year": table.year_bucket,
        }
        return [embed(ids[name]) for name, embed in self.embeddings.items()]
