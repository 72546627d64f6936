"""Filter: the caller's genre and year limits, for candidates whose source could not apply them."""

import numpy as np
from numpy.typing import NDArray

from recstack.api.common.v1.common_pb2 import FEATURE_STATUS_PRESENT, FEATURE_STATUS_STALE
from services.gateway.pipeline.candidates import Candidates
from services.gateway.pipeline.query import Query


class GenreYearLimits:
    """Drops what breaks the limits, and what cannot be shown to keep them: a caller's limit is never guessed."""

    def enable(self, query: Query) -> bool:
        """Only when there are limits."""
        return query.constraints.need_features

    def run(self, query: Query, candidates: Candidates) -> NDArray[np.bool_]:
        """True for candidates within the limits."""
        limits, items = query.constraints, candidates.items
        within = np.isin(items.status, (FEATURE_STATUS_PRESENT, FEATURE_STATUS_STALE))
        if limits.include_genres:
            within &= np.isin(items.genres, limits.include_genres).any(axis=1)
        if limits.exclude_genres:
            within &= ~np.isin(items.genres, limits.exclude_genres).any(axis=1)
        if limits.min_year:
            within &= items.year >= limits.min_year
        if limits.max_year:
            within &= (items.year > 0) & (items.year <= limits.max_year)
        return candidates.constrained | within
