"""What an item is made of, as tensors: genres, year, title and poster. None of it needs an interaction.

Shape legend: I items, W words of a title, G words and word pairs of a title; H, X height and width of a poster.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from recstack.features.catalogue import Catalogue, ItemTable

if TYPE_CHECKING:  # servers read content without the libraries that datasets need: 60 MiB of Arrow, pandas, SciPy
    from recstack.data.dataset import Dataset

PADDING, UNKNOWN_WORD, FIRST_WORD = 0, 1, 2
MAX_WORDS = 12
"""Words kept of a title; 99 % of MovieLens-1M's have 9 or fewer."""
MAX_NGRAMS = 2 * MAX_WORDS + 1

# Brackets and colons are words too: they mark foreign titles, "(Das Boot)", and sequels, "Episode IV: A New Hope".
_WORD = re.compile(r"\w+(?:'\w+)*|[(:]")


@dataclass(frozen=True, slots=True)
class ItemContent:
    """Content of a catalogue's items, the unknown item at row 0.

    table: genres and years. words_IW and ngrams_IG int64: `words` and `bag` of a `TitleVocabulary`, 0 = padding.
    posters_I3HX uint8, black where has_poster_I is False.
    """

    table: ItemTable
    words_IW: Tensor
    ngrams_IG: Tensor
    posters_I3HX: Tensor
    has_poster_I: Tensor

    def __len__(self) -> int:
        return len(self.table)

    def rows(self, items: Tensor) -> "ItemContent":
        """The content of some items, by item index."""
        return ItemContent(
            ItemTable(self.table.year_bucket[items], self.table.genres[items]),
            self.words_IW[items],
            self.ngrams_IG[items],
            self.posters_I3HX[items],
            self.has_poster_I[items],
        )

    def to(self, device: torch.device | str) -> "ItemContent":
        """The same content on another device."""
        return ItemContent(
            self.table.to(device),
            self.words_IW.to(device),
            self.ngrams_IG.to(device),
            self.posters_I3HX.to(device),
            self.has_poster_I.to(device),
        )


class TitleVocabulary:
    """Words and pairs of neighbouring words in titles, and their ids: 0 is padding, 1 what is not in the vocabulary.

    A title's two ends count as words in its pairs.
    """

    def __init__(self, ngrams: Sequence[str]) -> None:
        """ngrams: words, and pairs as two words with a space between, in the order of their ids, which begin at 2."""
        self.ngrams = tuple(ngrams)
        self._ids = {ngram: number for number, ngram in enumerate(self.ngrams, start=FIRST_WORD)}

    @classmethod
    def build(cls, titles: Iterable[str]) -> "TitleVocabulary":
        """All words and pairs of some titles, in alphabetical order."""
        words = [title_words(title) for title in titles]
        return cls(sorted({ngram for row in words for ngram in (*row, *_pairs(row))}))

    def __len__(self) -> int:
        """Size of an embedding table for the ids."""
        return FIRST_WORD + len(self.ngrams)

    def words(self, title: str) -> list[int]:
        """Ids of a title's words."""
        return [self._ids.get(word, UNKNOWN_WORD) for word in title_words(title)]

    def bag(self, title: str) -> list[int]:
        """Ids of a title's words and pairs, each once; unknown ones are left out."""
        words = title_words(title)
        return [self._ids[ngram] for ngram in dict.fromkeys([*words, *_pairs(words)]) if ngram in self._ids]


def title_words(title: str) -> list[str]:
    """A title as words in lower case, brackets and colons among them, the first MAX_WORDS of them."""
    return _WORD.findall(title.lower())[:MAX_WORDS]


def _pairs(words: Sequence[str]) -> list[str]:
    return [f"{first} {second}" for first, second in pairwise(["", *words, ""])] if words else []


def item_content(dataset: "Dataset", vocabulary: TitleVocabulary) -> ItemContent:
    """The content of a dataset's items. Reads the posters, which takes seconds for thousands of them."""
    items = dataset.items
    # Popularity is not content; the catalogue's column for it stays empty.
    table = Catalogue(items.ids, items.years, items.genres, np.zeros(len(items.ids), np.float32)).item_table()
    from recstack.data.posters import load_posters

    pictures, present = load_posters(dataset)
    if present.any():
        posters_I3HX = torch.from_numpy(np.concatenate([np.zeros_like(pictures[:1]), pictures]))
    else:  # one black picture stands for all: a million of them would take 5 GB
        posters_I3HX = torch.zeros(1, *pictures.shape[1:], dtype=torch.uint8).expand(len(pictures) + 1, -1, -1, -1)
    return ItemContent(
        table,
        _padded([vocabulary.words(title) for title in items.titles], MAX_WORDS),
        _padded([vocabulary.bag(title) for title in items.titles], MAX_NGRAMS),
        posters_I3HX,
        torch.from_numpy(np.concatenate([[False], present])),
    )


def _padded(rows: Sequence[Sequence[int]], width: int) -> Tensor:
    """[I+1, width] int64 with an empty row first."""
    ids = np.zeros((len(rows) + 1, width), np.int64)
    for number, row in enumerate(rows, start=1):
        ids[number, : len(row)] = row
    return torch.from_numpy(ids)
