"""Filters, scorers and the selector, as tables of columns in and columns out."""

import numpy as np
import pytest

from recstack.api.common.v1.common_pb2 import (
    FEATURE_STATUS_MISSING,
    FEATURE_STATUS_PRESENT,
    SCORE_KIND_LIKE_PROBABILITY,
    SCORE_KIND_RATING,
    SCORE_KIND_UNSPECIFIED,
)
from services.gateway.filters.already_watched import AlreadyWatched
from services.gateway.filters.candidate_limit import CandidateLimit
from services.gateway.filters.excluded_items import ExcludedItems
from services.gateway.filters.genre_year_limits import GenreYearLimits
from services.gateway.filters.not_recalled import NotRecalled
from services.gateway.pipeline.candidates import Candidates, ItemColumns, Scores
from services.gateway.pipeline.deadline import Deadline
from services.gateway.pipeline.merge import ChannelList, merge
from services.gateway.pipeline.query import Constraints, Query, User
from services.gateway.pipeline.trace import Trace
from services.gateway.scorers.recall_order import RecallOrder
from services.gateway.selectors.genre_diversity import GenreDiversity

COMEDY, DRAMA, WAR = 5, 8, 17


def query(*, seen: tuple[int, ...] = (), explained: tuple[int, ...] = (), k: int = 2, **limits) -> Query:
    return Query(
        user_id=1,
        k=k,
        request_id="test",
        deadline=Deadline.after(60),
        constraints=Constraints(**limits),
        user=User(seen_item_ids=np.array(seen, np.int64)),
        explained_item_ids=np.array(explained, np.int64),
    )


def recalled(*ids: int, constrained: bool = True) -> Candidates:
    scores = np.ones(len(ids), np.float32)
    return merge([ChannelList(3, 10, np.array(ids, np.int64), scores, np.empty(0, np.int64), constrained)])


def described(years: list[int], genres: list[list[int]]) -> Candidates:
    """Candidates of the popular cache with known features; a year of -1 stands for an item that is missing."""
    columns = ItemColumns.unknown(len(years))
    columns.year[:] = years
    columns.status[:] = [FEATURE_STATUS_MISSING if year < 0 else FEATURE_STATUS_PRESENT for year in years]
    for row, ids in enumerate(genres):
        columns.genres[row, : len(ids)] = ids
    return recalled(*range(1, len(years) + 1), constrained=False).with_items(np.arange(len(years)), columns)


def test_already_watched_drops_exactly_what_was_seen() -> None:
    asked = query(seen=(2, 3, 9))

    assert AlreadyWatched().enable(asked)
    assert AlreadyWatched().run(asked, recalled(1, 2, 3, 4)).tolist() == [True, False, False, True]
    assert not AlreadyWatched().enable(query(seen=(2,), allow_seen=True))


def test_excluded_items_drops_what_the_caller_named() -> None:
    asked = query(exclude_item_ids=np.array([4, 1]))

    assert ExcludedItems().run(asked, recalled(1, 2, 3, 4)).tolist() == [False, True, True, False]
    assert not ExcludedItems().enable(query())


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({"include_genres": (COMEDY,)}, [True, False, True, False]),
        ({"exclude_genres": (COMEDY,)}, [False, True, False, False]),
        ({"min_year": 1990}, [False, True, True, False]),
        ({"max_year": 1990}, [True, True, False, False]),
        ({"min_year": 1990, "max_year": 1990, "include_genres": (DRAMA, WAR)}, [False, True, False, False]),
    ],
)
def test_genre_year_limits_keeps_what_is_known_to_qualify(limits: dict, kept: list[bool]) -> None:
    candidates = described([1980, 1990, 2000, -1], [[COMEDY, DRAMA], [DRAMA], [COMEDY], []])
    asked = query(**limits)

    assert GenreYearLimits().enable(asked)
    assert GenreYearLimits().run(asked, candidates).tolist() == kept


def test_genre_year_limits_trusts_a_source_that_applied_them() -> None:
    assert GenreYearLimits().run(query(min_year=1990), recalled(1, 2)).all()
    assert not GenreYearLimits().enable(query())


def test_an_unknown_year_is_within_no_bound() -> None:
    candidates = described([0], [[COMEDY]])

    assert not GenreYearLimits().run(query(max_year=1990), candidates).any()
    assert not GenreYearLimits().run(query(min_year=1990), candidates).any()


def test_not_recalled_drops_items_that_only_a_question_brought_in() -> None:
    asked = query(explained=(9,))

    assert NotRecalled().run(asked, merge([], asked.explained_item_ids)).tolist() == [False]
    assert NotRecalled().run(asked, recalled(9)).tolist() == [True]
    assert not NotRecalled().enable(query())


def test_candidate_limit_counts_only_those_that_are_left() -> None:
    candidates = recalled(1, 2, 3, 4).dropped_by(1, np.array([True, False, True, True]))

    kept = candidates.dropped_by(2, CandidateLimit(2).run(query(), candidates))

    assert kept.drop_reason.tolist() == [0, 1, 0, 2]


async def test_recall_order_prefers_agreement_then_rank() -> None:
    first = ChannelList(1, 10, np.array([1, 2]), np.ones(2, np.float32), np.empty(0, np.int64))
    second = ChannelList(4, 10, np.array([3, 2]), np.ones(2, np.float32), np.empty(0, np.int64))
    candidates = merge([first, second], np.array([50]))

    scores = (await RecallOrder().run(query(), candidates, np.arange(4), Trace())).values

    by_id = dict(zip(candidates.item_id.tolist(), scores.tolist(), strict=True))
    assert by_id[2] > by_id[1] == by_id[3] > by_id[50] == 0
    assert scores.max() <= 1


@pytest.mark.parametrize(
    ("kind", "scores"),
    [
        (SCORE_KIND_LIKE_PROBABILITY, [0.9, 0.88, 0.86, 0.5]),
        (SCORE_KIND_LIKE_PROBABILITY, [0.09, 0.088, 0.086, 0.05]),
        (SCORE_KIND_RATING, [4.6, 4.52, 4.44, 3.0]),
        (SCORE_KIND_UNSPECIFIED, [9.0, 8.8, 8.6, 5.0]),
    ],
)
@pytest.mark.parametrize(("diversity", "expected"), [(0.1, [0, 2, 1]), (0.04, [0, 1, 2])])
def test_diversity_weighs_the_same_for_every_kind_and_size_of_score(
    kind: int, scores: list[float], diversity: float, expected: list[int]
) -> None:
    candidates = described([1990] * 4, [[COMEDY], [COMEDY], [WAR], [DRAMA]])
    rows = np.arange(4)
    candidates = candidates.scored(rows, Scores(np.array(scores, np.float32), kind))

    assert GenreDiversity(diversity).run(query(k=3), candidates, rows).tolist() == expected


def test_selector_wants_only_a_few_of_many_candidates() -> None:
    assert GenreDiversity(0.1).pool_size(query(k=30)) == 90
    assert GenreDiversity(0.1).pool_size(query(k=2)) == 60
    assert GenreDiversity(0.0).pool_size(query(k=2)) == 2
