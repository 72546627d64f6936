"""The feature schema: what a row of each feature set holds, and the hash that trainer and servers compare.

A row is one numpy record, so that a read needs no parsing. Values are vocabulary ids; 0 is always "unknown".
"""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

GENRES = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""Genre vocabulary; genre id = position + 1, 0 is padding."""

MAX_GENRES = 6
"""Genres kept per item, padded with 0."""

TITLE_BYTES = 128
"""UTF-8 bytes kept of a title; a longer one is cut at a character."""

AGE_BANDS = (1, 18, 25, 35, 45, 50, 56)
"""MovieLens age codes; age id = position + 1."""

NUM_OCCUPATIONS = 21
NUM_REGIONS = 10

PROFILE_SIZES = {"gender": 3, "age": 8, "occupation": NUM_OCCUPATIONS + 1, "region": NUM_REGIONS + 1}
"""Vocabulary size of each profile feature, unknown included; the order is the order of profile columns."""

LIKED_FROM = 4.0
"""A rating from here on is a like: what retrieval looks for and what ranking gives the probability of."""

HISTORY_RECORD = np.dtype([("item_id", "<i8"), ("timestamp_ms", "<i8"), ("rating", "<f4"), ("type", "u1")])
"""One event of a stored history, 21 bytes; `type` is a `recstack.api.common.v1.EventType`."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of a feature set: name, numpy dtype string, and values per row."""

    name: str
    dtype: str
    width: int = 1


@dataclass(frozen=True)
class FeatureSet:
    """Features that are stored and written together as one packed row per entity."""

    name: str
    features: tuple[Feature, ...]

    @cached_property
    def record(self) -> np.dtype[np.void]:
        """numpy record dtype of a row: packed, little-endian."""
        return np.dtype([(f.name, f.dtype) if f.width == 1 else (f.name, f.dtype, (f.width,)) for f in self.features])


@dataclass(frozen=True)
class Schema:
    """All feature sets. `hash` changes whenever a row's bytes or a vocabulary would be read differently."""

    feature_sets: tuple[FeatureSet, ...]
    vocabularies: tuple[str, ...] = ()

    @cached_property
    def hash(self) -> str:
        """16 hex digits over every feature's name, dtype and width, the history record and the vocabularies."""
        text = repr([(s.name, [(f.name, f.dtype, f.width) for f in s.features]) for s in self.feature_sets])
        text += repr(HISTORY_RECORD.descr) + repr(self.vocabularies)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def feature_set(self, name: str) -> FeatureSet:
        """The feature set called `name`; KeyError names the known ones."""
        for feature_set in self.feature_sets:
            if feature_set.name == name:
                return feature_set
        known = [s.name for s in self.feature_sets]
        raise KeyError(f"no feature set {name!r}; the schema has {known}")


USER = FeatureSet(
    "user",
    (Feature("gender", "|u1"), Feature("age", "|u1"), Feature("occupation", "|u1"), Feature("region", "|u1")),
)
ITEM = FeatureSet(
    "item",
    (Feature("year", "<i2"), Feature("genres", "|u1", MAX_GENRES), Feature("title", f"|S{TITLE_BYTES}")),
)
SCHEMA = Schema(
    (USER, ITEM),
    (repr(GENRES), repr(AGE_BANDS), repr(PROFILE_SIZES)),
)
"""The schema of this version of RecStack (MovieLens-like data)."""


def encode_title(title: str) -> bytes:
    """UTF-8 bytes of a title, cut to TITLE_BYTES without splitting a character."""
    return title.encode()[:TITLE_BYTES].decode(errors="ignore").encode()


def genre_names(genre_ids: Iterable[int]) -> tuple[str, ...]:
    """Names of genre ids, in their order; padding (0) is left out."""
    return tuple(GENRES[genre_id - 1] for genre_id in genre_ids if genre_id)


def genre_ids(names: Collection[str]) -> tuple[int, ...]:
    """Ids of genre names, in their order; ValueError lists the known names."""
    known = {name: position + 1 for position, name in enumerate(GENRES)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown genre {unknown[0]!r}; known genres are {', '.join(GENRES)}")
    return tuple(known[name] for name in names)
