"""What an item is made of, as tensors: genres, year, title and poster. None of it needs an interaction.

Shape legend: I items, W words of a title, G character n-grams of a title; H, X height and width of a poster.
"""

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recstack.data.dataset import Dataset
from recstack.data.posters import load_posters
from recstack.features.catalogue import Catalogue, ItemTable

PADDING, UNKNOWN_WORD, FIRST_WORD = 0, 1, 2
MAX_WORDS = 12
"""Words kept of a title; 99 % of MovieLens-1M's have 9 or fewer."""
MAX_NGRAMS = 64
NGRAM_SIZES = (3, 4, 5)

# Brackets and colons are words too: they mark foreign titles, "(Das Boot)", and sequels, "Episode IV: A New Hope".
_WORD = re.compile(r"\w+(?:'\w+)*|[(:]")


@dataclass(frozen=True, slots=True)
class ItemContent:
    """Content of a catalogue's items, the unknown item at row 0.

    table: genres and years. words_IW int64, ids of a `TitleVocabulary`; ngrams_IG int64, 0 = padding; posters_I3HX
    uint8, black where has_poster_I is False.
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
    """Words of titles and their ids: 0 is padding, 1 any word that is not in the vocabulary."""

    def __init__(self, words: Sequence[str]) -> None:
        """words: in the order of their ids, which begin at 2."""
        self.words = tuple(words)
        self._ids = {word: number for number, word in enumerate(self.words, start=FIRST_WORD)}

    @classmethod
    def build(cls, titles: Iterable[str], at_least: int = 1) -> "TitleVocabulary":
        """The words that occur in `at_least` of the titles, in alphabetical order."""
        counts = Counter(word for title in titles for word in set(title_words(title)))
        return cls(sorted(word for word, count in counts.items() if count >= at_least))

    def __len__(self) -> int:
        """Size of an embedding table for the ids."""
        return FIRST_WORD + len(self.words)

    def encode(self, title: str) -> list[int]:
        """Ids of a title's words, the first MAX_WORDS of them."""
        return [self._ids.get(word, UNKNOWN_WORD) for word in title_words(title)[:MAX_WORDS]]


def title_words(title: str) -> list[str]:
    """A title as words in lower case, brackets and colons among them."""
    return _WORD.findall(title.lower())


def title_ngrams(title: str, buckets: int) -> list[int]:
    """Hashes, 1 to `buckets` - 1, of a title's words and of their runs of 3 to 5 characters, each once.

    Bojanowski et al., Enriching Word Vectors with Subword Information, 2017: a word that no title had before still
    shares its parts with others.
    """
    grams: dict[str, None] = {}
    for word in title_words(title):
        marked = f"<{word}>"
        grams[marked] = None
        for size in NGRAM_SIZES:
            grams |= dict.fromkeys(marked[start : start + size] for start in range(len(marked) - size + 1))
    return [1 + zlib.crc32(gram.encode()) % (buckets - 1) for gram in list(grams)[:MAX_NGRAMS]]


def item_content(dataset: Dataset, vocabulary: TitleVocabulary, ngram_buckets: int) -> ItemContent:
    """The content of a dataset's items. Reads the posters, which takes seconds for thousands of them."""
    items = dataset.items
    # Popularity is not content; the catalogue's column for it stays empty.
    table = Catalogue(items.ids, items.years, items.genres, np.zeros(len(items.ids), np.float32)).item_table()
    pictures, present = load_posters(dataset)
    return ItemContent(
        table,
        _padded([vocabulary.encode(title) for title in items.titles], MAX_WORDS),
        _padded([title_ngrams(title, ngram_buckets) for title in items.titles], MAX_NGRAMS),
        torch.from_numpy(np.concatenate([np.zeros_like(pictures[:1]), pictures])),
        torch.from_numpy(np.concatenate([[False], present])),
    )


def _padded(rows: Sequence[Sequence[int]], width: int) -> Tensor:
    """[I+1, width] int64 with an empty row first."""
    ids = np.zeros((len(rows) + 1, width), np.int64)
    for number, row in enumerate(rows, start=1):
        ids[number, : len(row)] = row
    return torch.from_numpy(ids)
