"""Arms: which answers have which, and under which label events are counted."""

from dataclasses import replace

import numpy as np

from recstack.api.common.v1.common_pb2 import SCORE_KIND_LIKE_PROBABILITY
from services.gateway.arms import OTHER, RECALL, REMEMBERED, Arms
from services.gateway.pipeline.candidates import Candidates
from services.gateway.pipeline.deadline import Deadline
from services.gateway.pipeline.executor import Outcome
from services.gateway.pipeline.query import Query
from services.gateway.pipeline.trace import Trace


def ranked_by(version: str) -> Outcome:
    query = Query(user_id=1, k=1, request_id="r", deadline=Deadline.after(1))
    candidates = replace(Candidates.unmarked(np.array([7])), score_kind=SCORE_KIND_LIKE_PROBABILITY)
    return Outcome(query, candidates, np.array([0]), Trace(bundle_versions={"ranking": version}))


def in_recalls_order() -> Outcome:
    outcome = ranked_by("v0")
    return replace(outcome, candidates=Candidates.unmarked(np.array([7])))


def test_an_answer_is_of_the_bundle_that_ranked_it_or_of_recall() -> None:
    arms = Arms("")
    assert arms.of(ranked_by("v1")) == "v1"
    assert arms.of(in_recalls_order()) == RECALL, "even where a bundle answered with scores that could not be used"


def test_callers_cannot_make_up_labels() -> None:
    arms = Arms("")
    arms.of(ranked_by("v1"))
    assert [arms.label(arm) for arm in ("v1", RECALL, "v2", "x" * 64)] == ["v1", RECALL, OTHER, OTHER]


def test_the_newest_bundles_are_remembered() -> None:
    arms = Arms("")
    for number in range(REMEMBERED):
        arms.of(ranked_by(f"v{number}"))
    arms.of(ranked_by("v0"))  # rolled back to: in use again
    arms.of(ranked_by("new"))
    known = {f"v{number}" for number in range(REMEMBERED)} | {"new"}
    assert {arm for arm in known if arms.label(arm) == OTHER} == {"v1"}


def test_a_configured_arm_is_that_of_every_answer() -> None:
    arms = Arms("treatment")
    assert arms.label("treatment") == "treatment"
    assert {arms.of(ranked_by("v1")), arms.of(in_recalls_order())} == {"treatment"}
    assert arms.label("v1") == OTHER
