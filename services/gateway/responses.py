"""From outcomes to protobuf responses."""

import numpy as np
from numpy.typing import NDArray

from recstack.api.common.v1 import common_pb2
from recstack.api.gateway.v1 import gateway_pb2
from recstack.features.schema import genre_names
from services.gateway.pipeline.candidates import ItemColumns
from services.gateway.pipeline.executor import Outcome


def recommend_response(outcome: Outcome, arm: str) -> gateway_pb2.RecommendResponse:
    """The selected rows as parallel columns, with everything that the trace holds. arm: what made the answer."""
    candidates, rows, trace = outcome.candidates, outcome.selected, outcome.trace
    user = outcome.query.user
    titles, years, genres = display_columns(candidates.items, rows)
    return gateway_pb2.RecommendResponse(
        item_ids=candidates.item_id[rows].tolist(),
        scores=candidates.score[rows].tolist(),
        channel_masks=candidates.channel_mask[rows].tolist(),
        titles=titles,
        years=years,
        genres=genres,
        request_id=outcome.query.request_id,
        cold_start=user.cold,
        degraded=trace.degraded,
        timings=[common_pb2.StageTiming(stage=name, duration_ms=ms) for name, ms in trace.timings],
        candidates=int(candidates.recalled.sum()),
        bundle_versions=trace.bundle_versions,
        profile_status=common_pb2.FeatureStatus.ValueType(user.profile_status),
        score_kind=candidates.score_kind,
        arm=arm,
    )


def display_columns(items: ItemColumns, rows: NDArray[np.intp]) -> tuple[list[str], list[int], list[str]]:
    """Titles, years and genres (joined by "|") of `rows`; empty or 0 where unknown."""
    titles = [title.decode(errors="replace") for title in items.title[rows].tolist()]
    years = np.maximum(items.year[rows], 0).tolist()
    genres = ["|".join(genre_names(ids)) for ids in items.genres[rows].tolist()]
    return titles, years, genres
