"""The freshness benchmark runs with no data at hand, and knows an answer that shows an event from one that does not."""

import io

import pytest
from rich.console import Console

from recstack import Event, EventType, FeatureStatus, Recommendation, RecommendationList, ScoreKind
from tests.bench.freshness import SHORT, percentiles, run, shows


def answer(**scores: float) -> RecommendationList:
    items = tuple(Recommendation(int(name[1:]), "", None, (), score, ()) for name, score in scores.items())
    return RecommendationList(items, "", False, (), (), 0, {}, FeatureStatus.PRESENT, ScoreKind.LIKE_PROBABILITY)


@pytest.mark.parametrize(
    ("after", "shown"),
    [
        (answer(i1=0.9, i2=0.8), False),
        (answer(i1=0.9, i2=0.7), False),
        (answer(i2=0.8, i3=0.1), False),
        (answer(i2=0.8 + 1e-7, i3=0.1), False),
        (answer(i2=0.7, i3=0.1), True),
    ],
    ids=["nothing changed", "only scores", "only the filter", "rounding", "both"],
)
def test_an_event_shows_when_its_item_is_gone_and_scores_moved(after: RecommendationList, shown: bool) -> None:
    assert shows(after, answer(i1=0.9, i2=0.8), Event(item_id=1, type=EventType.WATCH)) is shown


def test_percentiles_are_of_the_values() -> None:
    assert percentiles([float(value) for value in range(1, 102)]) == {
        "p50": 51.0,
        "p95": 96.0,
        "p99": 100.0,
        "max": 101.0,
    }


def test_short_run_sees_every_event() -> None:
    report = run(Console(file=io.StringIO(), width=140), short=True)
    assert [line.what for line in report.comparisons] == ["plain, p99"]
    details = report.details["plain"]
    assert details["events"] == SHORT.events
    assert 0 < details["record_events_ms"]["p50"] < details["sent_to_visible_ms"]["p50"]
    assert details["visible in the first answer"] == SHORT.events, "an acknowledged event is in the next answer"
