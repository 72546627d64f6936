"""Scorer: the bundle's ranker, through the ranking service."""

import numpy as np
from numpy.typing import NDArray

from recstack.api.ranking.v1 import ranking_pb2
from services.gateway.clients import Backend
from services.gateway.messages import history_message, profile_message
from services.gateway.pipeline.candidates import Candidates
from services.gateway.pipeline.query import Query
from services.gateway.pipeline.trace import Trace


class Ranking:
    """Scores are the ranker's probabilities, 0..1."""

    def __init__(self, ranking: Backend) -> None:
        self._ranking = ranking

    def enable(self, query: Query) -> bool:
        """Always."""
        return True

    async def run(
        self, query: Query, candidates: Candidates, rows: NDArray[np.intp], trace: Trace
    ) -> NDArray[np.float32]:
        """One probability for each of `rows`."""
        request = ranking_pb2.RankRequest(
            profile=profile_message(query.user.profile),
            history=history_message(query.user),
            item_ids=candidates.item_id[rows].tolist(),
            # 0 would mean "no limit", so the last millisecond counts as one.
            budget_ms=max(1, int(query.deadline.remaining() * 1000)),
        )
        reply = await self._ranking.call(self._ranking.stub.Rank, request, query.deadline)
        trace.add_timing("score/ranking.queue", reply.queue_ms)
        trace.add_timing("score/ranking.compute", reply.compute_ms)
        trace.bundle_versions["ranking"] = reply.bundle_version
        return np.array(reply.scores, np.float32)
