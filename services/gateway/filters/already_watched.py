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
        return np.isin(candidates.item_id, query.user.seen_item_ids, invert=True)
