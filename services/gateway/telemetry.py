"""What the gateway tells about its recommendations: recorded once per answer, from what the answer holds anyway."""

import time

import numpy as np

from recstack import metrics
from recstack.api.common.v1 import common_pb2
from recstack.features.channels import CHANNELS
from services.gateway.pipeline.executor import Outcome

EVENT_TYPES = metrics.label_values(common_pb2.EventType)
_STATUSES = metrics.label_values(common_pb2.FeatureStatus)
_KINDS = metrics.label_values(common_pb2.ScoreKind)


def record(outcome: Outcome) -> None:
    """Stages, degradations, candidates, and what was shown to whom."""
    candidates, rows, trace, user = outcome.candidates, outcome.selected, outcome.trace, outcome.query.user
    for stage, milliseconds in trace.timings:
        metrics.STAGE_SECONDS.labels(stage).observe(milliseconds / 1e3)
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
