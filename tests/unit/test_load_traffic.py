"""Sessions: the mix of RPCs, clicks by position, event ids, and what the harness notices in answers."""

from collections import Counter
from typing import Any

import pytest

from tests.load.traffic import (
    CLICK,
    IMPRESSION,
    RATING,
    WATCH,
    Action,
    Event,
    Explain,
    Page,
    Recommend,
    RecordEvents,
    SimilarItems,
    Traffic,
    TrafficOptions,
)

ITEMS = tuple(range(100, 120))
PAGE = Page(ITEMS, tuple(1 << item % 5 for item in ITEMS), "v1")


def options(**changes: Any) -> TrafficOptions:
    return TrafficOptions(**{"users": (1, 50), "unknown_share": 0.0} | changes)


def answer(traffic: Traffic, action: Action, page: Page = PAGE) -> None:
    """What a gateway that always shows the same page would answer."""
    if isinstance(action, Recommend):
        traffic.shown(action.session, page)
    elif isinstance(action, RecordEvents):
        traffic.acknowledged(action)


def play(traffic: Traffic, steps: int) -> list[Action]:
    actions = []
    for _ in range(steps):
        actions.append(traffic.next())
        answer(traffic, actions[-1])
    return actions


def reported(actions: list[Action]) -> list[Event]:
    return [event for action in actions if isinstance(action, RecordEvents) for event in action.events]


def test_the_mix_is_kept() -> None:
    actions = play(Traffic(options(), "w0"), 8_000)
    counts = Counter(type(action) for action in actions)
    assert counts[Recommend] / 8_000 == pytest.approx(0.5, abs=0.02)
    assert counts[RecordEvents] / 8_000 == pytest.approx(0.4, abs=0.02)
    assert counts[SimilarItems] / 8_000 == pytest.approx(0.09, abs=0.01)
    assert counts[Explain] / 8_000 == pytest.approx(0.01, abs=0.005)


def test_only_what_was_shown_is_reported_opened_or_explained() -> None:
    traffic = Traffic(options(mix={"Recommend": 1, "RecordEvents": 50, "SimilarItems": 50, "Explain": 50}), "w0")
    first = traffic.next()
    assert isinstance(first, Recommend), "nothing is known yet that others need"
    assert isinstance(traffic.next(), Recommend), "the first page has not come yet"
    answer(traffic, first)
    for action in play(traffic, 500):
        if isinstance(action, SimilarItems):
            assert action.item_id in ITEMS
        elif isinstance(action, Explain):
            assert set(action.item_ids) <= set(ITEMS)
        elif isinstance(action, RecordEvents):
            assert {event.item_id for event in action.events} <= set(ITEMS)


def test_a_session_goes_on_once_its_events_are_acknowledged_and_ends() -> None:
    traffic = Traffic(options(session_pages=3.0, mix={"Recommend": 1, "RecordEvents": 1}), "w0")
    actions = play(traffic, 8_000)
    pages = Counter(id(action.session) for action in actions if isinstance(action, Recommend))
    sessions = {id(action.session): action.session for action in actions if isinstance(action, Recommend)}
    finished = [pages[key] for key, session in sessions.items() if not session.pages_left]
    assert sum(pages.values()) / len(pages) == pytest.approx(3.0, rel=0.12)
    assert Counter(finished)[1] / len(finished) == pytest.approx(1 / 3, abs=0.05)
    assert len(pages) == traffic.counts["sessions"]


def test_every_item_shown_is_an_impression_and_clicks_fall_with_position() -> None:
    events = reported(play(Traffic(options(click_rate=0.4, position_bias=1.0), "w0"), 8_000))
    kinds = {kind: Counter(event.item_id for event in events if event.type == kind) for kind in (IMPRESSION, CLICK)}
    pages = kinds[IMPRESSION][ITEMS[0]]
    assert all(kinds[IMPRESSION][item] == pages for item in ITEMS)
    for position in (1, 2, 4):
        assert kinds[CLICK][ITEMS[position - 1]] / pages == pytest.approx(0.4 / position, rel=0.1)
    watches = [event for event in events if event.type == WATCH]
    assert len(watches) / sum(kinds[CLICK].values()) == pytest.approx(0.5, rel=0.1)
    assert all((1 <= event.rating <= 5) == (event.type == RATING) for event in events)


def test_events_echo_what_recommended_their_item() -> None:
    reports = [action for action in play(Traffic(options(), "w0"), 2000) if isinstance(action, RecordEvents)]
    assert {report.arm for report in reports} == {"v1"}
    channels = {event.item_id: event.channel_mask for event in reported(list(reports))}
    assert channels == dict(zip(PAGE.item_ids, PAGE.channel_masks, strict=True))


def test_event_ids_are_unique_and_the_seeds() -> None:
    ids = [event.event_id for event in reported(play(Traffic(options(), "w0"), 2000))]
    assert len(set(ids)) == len(ids) > 1000
    assert max(len(event_id) for event_id in ids) <= 64
    again = [event.event_id for event in reported(play(Traffic(options(), "w0"), 2000))]
    other_worker = [event.event_id for event in reported(play(Traffic(options(), "w1"), 2000))]
    other_seed = [event.event_id for event in reported(play(Traffic(options(seed=1), "w0"), 2000))]
    assert ids == again
    assert not set(ids) & set(other_worker)
    assert not set(ids) & set(other_seed)


def test_what_was_used_and_comes_again_is_noticed_unless_the_answer_says_that_it_is_degraded() -> None:
    traffic = Traffic(options(click_rate=1.0, session_pages=100.0, mix={"Recommend": 1, "RecordEvents": 1}), "w0")
    first = traffic.next()
    assert isinstance(first, Recommend)
    traffic.shown(first.session, Page((7, 8), (1, 1)))
    report = next(action for action in iter(traffic.next, None) if isinstance(action, RecordEvents))
    traffic.shown(first.session, Page((7, 9), (1, 1)))
    assert traffic.counts["seen again"] == 0, "the use of 7 is not acknowledged yet"
    traffic.acknowledged(report)
    traffic.shown(first.session, Page((7, 9), (1, 1)), degraded=True)
    assert traffic.counts["seen again"] == 0
    traffic.shown(first.session, Page((7, 9), (1, 1)))
    assert traffic.counts["seen again"] == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"mix": {"Recomend": 1}}, "Recomend"),
        ({"mix": {"RecordEvents": 1}}, "Recommend is more"),
        ({"mix": {"Recommend": 1, "Explain": -1}}, "-1"),
        ({"mix": {}}, "mix"),
        ({"k": 0}, "k is 0"),
        ({"session_pages": 0.5}, "0.5"),
        ({"click_rate": 1.5}, "1.5"),
    ],
)
def test_options_that_make_no_sense_are_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        options(**changes)
