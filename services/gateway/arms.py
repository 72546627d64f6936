"""Arms: what made an answer, so that the clicks of one model or experiment can be told from those of another.

A gateway that was given an arm by its settings is one side of an experiment: each of its answers is of that arm, the
degraded ones too, for an arm that left out its bad moments would look better than it is. Who is sent to which gateway
is for the caller to decide. Otherwise an answer's arm is what put it in order: a ranking bundle, or recall.
"""

from recstack.api.common.v1.common_pb2 import SCORE_KIND_UNSPECIFIED
from services.gateway.pipeline.executor import Outcome

RECALL = "recall"
"""Arm of answers in recall's order."""
OTHER = "other"
"""Stands for arms that this gateway has not given to an answer of late."""
REMEMBERED = 8
"""Bundles whose events are counted by name: more than are in use at a time, few enough for a metric's label."""


class Arms:
    """Names the arm of each answer, and the label under which an event's arm is counted.

    configured: the setting `gateway.arm`. What callers send is never a label of its own: anybody could make them up.
    """

    def __init__(self, configured: str) -> None:
        self._configured = configured
        self._bundles: dict[str, None] = {}

    def of(self, outcome: Outcome) -> str:
        """The arm of an answer, remembered for the events that will name it."""
        if self._configured:
            return self._configured
        if outcome.candidates.score_kind == SCORE_KIND_UNSPECIFIED:
            return RECALL
        version = outcome.trace.bundle_versions["ranking"]
        self._bundles.pop(version, None)
        self._bundles[version] = None  # the newest is last
        if len(self._bundles) > REMEMBERED:
            del self._bundles[next(iter(self._bundles))]
        return version

    def label(self, arm: str) -> str:
        """The arm itself if this gateway knows it, otherwise OTHER."""
        return arm if arm in (RECALL, self._configured) or arm in self._bundles else OTHER
