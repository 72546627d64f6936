"""What the gateway tells about its recommendations, and about what users made of them: recorded once per answer, from
what requests and answers hold anyway."""

import time
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from recstack import metrics, tracing
from recstack.api.common.v1 import common_pb2
from recstack.api.gateway.v1 import gateway_pb2
from recstack.features.channels import CHANNELS
from services.gateway.arms import Arms
from services.gateway.pipeline.executor import Outcome

_EVENT_TYPES = metrics.label_values(common_pb2.EventType)
_STATUSES = metrics.label_values(common_pb2.FeatureStatus)
_KINDS = metrics.label_values(common_pb2.ScoreKind)


def record(outcome: Outcome) -> None:
    """Stages, degradations, candidates, and what was shown to whom."""
    candidates, rows, trace, user = outcome.candidates, outcome.selected, outcome.trace, outcome.query.user
    exemplar = tracing.exemplar()
    for stage, milliseconds in trace.timings:
        metrics.STAGE_SECONDS.labels(stage).observe(milliseconds / 1e3, exemplar)
    for sentence in trace.degraded:
        metrics.DEGRADED.labels(sentence.partition(":")[0]).inc()
    metrics.CANDIDATES.observe(int(candidates.recalled.sum()))
    if user.cold:
        metrics.COLD_STARTS.inc()
    metrics.PROFILES.labels(_STATUSES[user.profile_status]).inc()
    if user.history.timestamps_ms:
        metrics.HISTORY_AGE.observe(max(0.0, time.time() - user.history.timestamps_ms[-1] / 1e3))
    masks = candidates.channel_mask[rows]
    for bit, name in enumerate(CHANNELS):
        shown = int(np.count_nonzero(masks & (1 << bit)))
        if shown:
            metrics.SHOWN.labels(name).inc(shown)
    scores = metrics.SCORES.labels(_KINDS[candidates.score_kind])
    for score in candidates.score[rows].tolist():
        scores.observe(score)


def annotate_span(outcome: Outcome) -> None:
    """What an answer is made of, in its trace if it has one."""
    if not tracing.recording():
        return
    query, candidates, trace = outcome.query, outcome.candidates, outcome.trace
    tracing.annotate(
        {
            "recstack.k": query.k,
            "recstack.shown": len(outcome.selected),
            "recstack.candidates": int(candidates.recalled.sum()),
            "recstack.cold_start": query.user.cold,
            "recstack.degraded": trace.degraded,
            **{f"recstack.bundle.{service}": version for service, version in trace.bundle_versions.items()},
        }
    )


def record_events(request: gateway_pb2.RecordEventsRequest, written: Sequence[bool], arms: Arms) -> None:
    """Events written for the first time, by type; those that say what recommended the item also by channel and arm."""
    columns = zip_longest(written, request.types, request.channel_masks, request.arms, fillvalue=0)
    for first, number, mask, arm in columns:
        if not first:
            continue
        event_type = _EVENT_TYPES[number]
        metrics.EVENTS.labels(event_type).inc()
        for bit, name in enumerate(CHANNELS):
            if mask >> bit & 1:
                metrics.CHANNEL_EVENTS.labels(event_type, name).inc()
        if arm:
            metrics.ARM_EVENTS.labels(event_type, arms.label(arm)).inc()
