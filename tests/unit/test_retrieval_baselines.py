"""The baselines against their formulas on data small enough to compute by hand or with dense algebra."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recstack.data.dataset import MS_PER_DAY, Dataset, Events, Items, Users
from recstack.data.sequences import UserSequences
from recstack.evaluation.item_knn import ItemKNN
from recstack.evaluation.matrix_factorization import ImplicitALS
from recstack.evaluation.popularity import Popularity, decayed_popularity
from recstack.evaluation.retrieval_cases import RetrievalCases

# user, item, rating, day. User 0 and 1 are known before day 10; user 2 is new.
ROWS = [(0, 0, 5, 0), (0, 1, 4, 1), (1, 0, 5, 2), (1, 2, 2, 3), (0, 3, 5, 10), (1, 1, 4, 10), (2, 0, 4, 10)]
LIKES_UI = csr_matrix(np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 1], [0, 0, 1, 1]], np.float32))
POPULARITY = Popularity(np.array([4, 3, 2, 1], np.float32))


def tiny_cases() -> RetrievalCases:
    user, item, rating, day = (np.array(column) for column in zip(*ROWS, strict=True))
    events = Events(user.astype(np.int32), item.astype(np.int32), rating.astype(np.float32), day * MS_PER_DAY)
    ones = np.ones(3, np.uint8)
    users = Users(np.arange(3), ones, ones, ones, ones)
    items = Items(np.arange(4), ("a", "b", "c", "d"), np.zeros(4, np.int16), np.zeros((4, 6), np.uint8))
    dataset = Dataset("tiny", "made here", users, items, events)
    return RetrievalCases.build(dataset, UserSequences.build(events, 3), slice(4, 7))


def test_decayed_popularity_halves_with_age() -> None:
    day = np.array([0, 30, 60], np.int64)
    events = Events(np.zeros(3, np.int32), np.array([0, 0, 2], np.int32), np.ones(3, np.float32), day * MS_PER_DAY)
    np.testing.assert_allclose(decayed_popularity(events, 4, 30.0), [0.25 + 0.5, 0, 1, 0])
    np.testing.assert_allclose(decayed_popularity(events, 4, None), [2, 0, 1, 0])


def test_knn_scores_are_summed_cosines_with_popularity_for_new_users() -> None:
    scores_QI = ItemKNN(LIKES_UI, POPULARITY, neighbours=4, shrink=0.0).scores(tiny_cases())
    dense_UI = LIKES_UI.toarray()
    norm_I = np.linalg.norm(dense_UI, axis=0)
    cosine_II = dense_UI.T @ dense_UI / np.outer(norm_I, norm_I)
    np.fill_diagonal(cosine_II, 0)
    np.testing.assert_allclose(scores_QI[0], cosine_II[0] + cosine_II[1], rtol=1e-5)
    np.testing.assert_allclose(scores_QI[1], cosine_II[0], rtol=1e-5)  # a two-star rating is not a like
    np.testing.assert_allclose(scores_QI[2], POPULARITY.popularity_I)


def test_knn_keeps_only_the_nearest() -> None:
    scores_QI = ItemKNN(LIKES_UI, POPULARITY, neighbours=1, shrink=0.0).scores(tiny_cases())
    assert np.count_nonzero(scores_QI[1]) == 1


def weighted_error(likes_UI: NDArray[np.float32], users: NDArray[np.float32], items: NDArray[np.float32]) -> float:
    confidence = 1 + 2.0 * likes_UI
    penalty = 0.1 * ((users**2).sum() + (items**2).sum())
    return float((confidence * (likes_UI - users @ items.T) ** 2).sum() + penalty)


def test_als_solves_equation_4_for_users_and_falls_back_for_new_ones() -> None:
    model = ImplicitALS(LIKES_UI, POPULARITY, factors=3, confidence=2.0, regularization=0.1, iterations=5)
    cases = tiny_cases()
    scores_QI = model.scores(cases)
    for case in (0, 1):
        liked_I = cases.liked()[case].toarray()[0]
        weights_II = np.diag(1 + 2.0 * liked_I)
        items_IF = model.items_IF
        user_F = np.linalg.solve(
            items_IF.T @ weights_II @ items_IF + 0.1 * np.eye(3), items_IF.T @ weights_II @ liked_I
        )
        np.testing.assert_allclose(scores_QI[case], items_IF @ user_F, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(scores_QI[2], POPULARITY.popularity_I)


def test_als_lowers_its_objective() -> None:
    errors = []
    for iterations in (1, 4, 16):
        model = ImplicitALS(LIKES_UI, POPULARITY, factors=2, regularization=0.1, iterations=iterations)
        users_UF = model._solve(LIKES_UI, model.items_IF)
        errors.append(weighted_error(LIKES_UI.toarray(), users_UF, model.items_IF))
    assert errors[0] > errors[1] >= errors[2] - 1e-4
    assert errors[2] == pytest.approx(min(errors), rel=1e-3)
