"""Candidates as columns.

Shape legend: N distinct candidates, C channels, G genre slots, R rows that one component was asked about.
Rows are never deleted: filters mark them in `drop_reason`, so that Explain sees exactly what Recommend saw.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recstack.api.common.v1.common_pb2 import SCORE_KIND_UNSPECIFIED, ScoreKind
from recstack.features.channels import CHANNELS
from recstack.features.schema import MAX_GENRES, TITLE_BYTES

KEPT = 0
"""`drop_reason` of a candidate that no filter has dropped; a reason r > 0 is the filter at position r - 1."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemColumns:
    """Features of R items: FeatureStatus int32, year int16, genres uint8 [R, G], title UTF-8 bytes (zero-padded)."""

    status: NDArray[np.int32]
    year: NDArray[np.int16]
    genres: NDArray[np.uint8]
    title: NDArray[np.bytes_]

    @classmethod
    def unknown(cls, count: int) -> "ItemColumns":
        """`count` items of which nothing has been read."""
        return cls(
            np.zeros(count, np.int32),
            np.zeros(count, np.int16),
            np.zeros((count, MAX_GENRES), np.uint8),
            np.zeros(count, f"S{TITLE_BYTES}"),
        )

    def __len__(self) -> int:
        return len(self.status)

    def with_rows(self, rows: NDArray[np.intp], read: "ItemColumns") -> "ItemColumns":
        """A copy with `read` put in place of `rows`; ValueError when there is not one value per row."""
        columns = []
        for name in ("status", "year", "genres", "title"):
            old, new = getattr(self, name), getattr(read, name)
            if new.shape != (len(rows), *old.shape[1:]):
                raise ValueError(f"{name} has shape {new.shape}; {(len(rows), *old.shape[1:])} was expected")
            column = old.copy()
            column[rows] = new
            columns.append(column)
        return ItemColumns(*columns)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """One score for each of R rows, float32, and what the scores are."""

    values: NDArray[np.float32]
    kind: ScoreKind.ValueType = SCORE_KIND_UNSPECIFIED


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Everything known of the candidates of one request; each column is owned by the stage that fills it.

    Merge:    item_id [N] int64, distinct; channel_mask [N] uint32, bit c = channel c + 1; recall_score [N, C] float32,
              nan = not recalled by it; recall_rank [N, C] int32 from 1, 0 = not recalled by it; seed_item [N] int64,
              0 = none; constrained [N] bool: the source has applied the caller's genre and year limits.
    Filters:  drop_reason [N] int16, KEPT or 1 + position of the filter that dropped it first.
    Score:    score [N] float32, nan = not scored; score_kind, what the scores are.
    Hydrate:  items, feature columns of N rows; status 0 = not read.
    """

    item_id: NDArray[np.int64]
    channel_mask: NDArray[np.uint32]
    recall_score: NDArray[np.float32]
    recall_rank: NDArray[np.int32]
    seed_item: NDArray[np.int64]
    constrained: NDArray[np.bool_]
    drop_reason: NDArray[np.int16]
    score: NDArray[np.float32]
    items: ItemColumns
    score_kind: ScoreKind.ValueType = SCORE_KIND_UNSPECIFIED

    @classmethod
    def unmarked(cls, item_id: NDArray[np.int64]) -> "Candidates":
        """Rows for distinct `item_id` that no channel has recalled yet."""
        count, channels = len(item_id), len(CHANNELS)
        return cls(
            item_id=item_id,
            channel_mask=np.zeros(count, np.uint32),
            recall_score=np.full((count, channels), np.nan, np.float32),
            recall_rank=np.zeros((count, channels), np.int32),
            seed_item=np.zeros(count, np.int64),
            constrained=np.zeros(count, np.bool_),
            drop_reason=np.zeros(count, np.int16),
            score=np.full(count, np.nan, np.float32),
            items=ItemColumns.unknown(count),
        )

    def __len__(self) -> int:
        return len(self.item_id)

    @property
    def kept(self) -> NDArray[np.bool_]:
        """[N] True where no filter has dropped the candidate."""
        return np.equal(self.drop_reason, KEPT)

    @property
    def recalled(self) -> NDArray[np.bool_]:
        """[N] True where at least one channel recalled the candidate."""
        return np.not_equal(self.channel_mask, 0)

    def dropped_by(self, reason: int, keep: NDArray[np.bool_]) -> "Candidates":
        """The candidates with `reason` written beside those outside `keep` that were still kept."""
        if keep.all():
            return self
        return replace(self, drop_reason=np.where(self.kept & ~keep, np.int16(reason), self.drop_reason))

    def scored(self, rows: NDArray[np.intp], scores: Scores) -> "Candidates":
        """A copy with one score per row of `rows`."""
        column = self.score.copy()
        column[rows] = scores.values
        return replace(self, score=column, score_kind=scores.kind)

    def with_items(self, rows: NDArray[np.intp], read: ItemColumns) -> "Candidates":
        """A copy with the features of `rows` filled in."""
        return replace(self, items=self.items.with_rows(rows, read))

    def best_first(self) -> NDArray[np.intp]:
        """Rows of kept, scored candidates by descending score; ties keep recall order."""
        rows = np.flatnonzero(self.kept & ~np.isnan(self.score))
        return rows[np.argsort(-self.score[rows], kind="stable")]

    def rows_of(self, item_ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """[len(item_ids)] row of each id; -1 where it is not a candidate."""
        if not len(self):
            return np.full(len(item_ids), -1, np.intp)
        order = np.argsort(self.item_id)
        at = np.minimum(np.searchsorted(self.item_id, item_ids, sorter=order), len(self) - 1)
        rows = order[at]
        return np.where(self.item_id[rows] == item_ids, rows, -1)
