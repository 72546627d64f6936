"""Filter: items that the user has already interacted with."""

import numpy as np
from numpy.typing import NDArray

from services.gateway.pipeline.candidates import Candidates
from services.gateway.pipeline.query import Query


class AlreadyWatched:
    """Drops everything in the user's stored history, whichever source brought it."""

    def enable(self, query: Query) -> bool:
        """Unless the caller wants seen items too."""
        return not query.constraints.allow_seen

    def run(self, query: Query, candidates: Candidates) -> NDArray[np.bool_]:
        """True for unseen candidates."""
        seen = query.user.seen_item_ids
        if not len(seen):
            return np.ones(len(candidates), np.bool_)
        at = np.minimum(np.searchsorted(seen, candidates.item_id), len(seen) - 1)
        return np.not_equal(seen[at], candidates.item_id)
