"""Scorer: the bundle's ranker, through the ranking service."""

import numpy as np
from numpy.typing import NDArray

from recstack.api.ranking.v1 import ranking_pb2
from services.gateway.clients import Backend
from services.gateway.pipeline.candidates import Candidates, Scores
from services.gateway.pipeline.query import Query
from services.gateway.pipeline.trace import Trace


class Ranking:
    """Scores are what the ranker predicts: probabilities 0..1 or ratings 1..5."""

    def __init__(self, ranking: Backend) -> None:
        self._ranking = ranking

    def enable(self, query: Query) -> bool:
        """Always."""
        return True

    async def run(self, query: Query, candidates: Candidates, rows: NDArray[np.intp], trace: Trace) -> Scores:
        """One score for each of `rows`."""
        request = ranking_pb2.RankRequest(
            user_id=query.user_id,
            profile=query.user.profile,
            history=query.user.history,
            item_ids=candidates.item_id[rows].tolist(),
            # 0 would mean "no limit", so the last millisecond counts as one.
            budget_ms=max(1, int(query.deadline.remaining() * 1000)),
        )
        reply = await self._ranking.call(self._ranking.stub.Rank, request, query.deadline)
        trace.add_timing("score/ranking.queue", reply.queue_ms)
        trace.add_timing("score/ranking.compute", reply.compute_ms)
        trace.bundle_versions["ranking"] = reply.bundle_version
        return Scores(np.array(reply.scores, np.float32), reply.score_kind)
