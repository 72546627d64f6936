"""EASE against the paper's closed form, and as a ranker."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from recstack.errors import InvalidRequestError
from recstack.features.batch import UserBatch, user_batch
from recstack.features.catalogue import ItemTable
from recstack.models.ease import EASE, MAX_ITEMS, EASEConfig

ITEMS = 12


def likes() -> csr_matrix:
    return csr_matrix((np.random.default_rng(3).random((40, ITEMS)) < 0.3).astype(np.float32))


def learnt(rank: int = ITEMS) -> EASE:
    model = EASE(EASEConfig(num_items=ITEMS, rank=rank))
    model.learn(likes(), regularisation=5.0)
    return model.eval()


def table() -> ItemTable:
    return ItemTable(torch.zeros(ITEMS + 1, dtype=torch.int64), torch.zeros(ITEMS + 1, 6, dtype=torch.int64))


def one_user(items: list[int], ratings: list[float]) -> UserBatch:
    return user_batch(np.zeros((1, 4), np.int64), [np.array(items)], [np.array(ratings, np.float32)], 50)


def test_scores_are_the_weights_of_the_paper() -> None:
    x_UI = likes().toarray().astype(np.float64)
    p_II = np.linalg.inv(x_UI.T @ x_UI + 5.0 * np.eye(ITEMS))
    expected_II = -p_II / np.diag(p_II)
    np.fill_diagonal(expected_II, 0.0)
    model = learnt()
    vectors = model.encode_items(table())
    for liked in range(ITEMS):
        state = model.encode_users(one_user([liked + 1], [5.0]), vectors)
        scores_1N = model.score(state, vectors[1:].unsqueeze(0))
        np.testing.assert_allclose(scores_1N[0].numpy(), expected_II[liked], atol=1e-5)


def test_likes_and_unrated_events_count_and_dislikes_do_not() -> None:
    model = learnt()
    vectors = model.encode_items(table())

    def scores(items: list[int], ratings: list[float]) -> torch.Tensor:
        return model.score(model.encode_users(one_user(items, ratings), vectors), vectors.unsqueeze(0))

    torch.testing.assert_close(scores([1, 2, 3], [5, 1, 0]), scores([1, 3], [4, 4]))
    assert not scores([2], [3.0]).any()


def test_a_candidate_that_sees_part_of_a_history_scores_as_with_that_history() -> None:
    model = learnt(rank=4)
    vectors = model.encode_items(table())
    items, ratings = [3, 1, 7, 5], [5.0, 2.0, 4.0, 0.0]
    state = model.encode_users(one_user(items, ratings), vectors)
    candidates_1NE = vectors[torch.arange(1, 6)].unsqueeze(0)
    partly = model.score(state, candidates_1NE, torch.tensor([[0, 1, 2, 3, 4]]))
    for visible in range(5):
        whole = model.encode_users(one_user(items[:visible], ratings[:visible]), vectors)
        torch.testing.assert_close(partly[:, visible], model.score(whole, candidates_1NE)[:, visible])


def test_a_lower_rank_is_an_approximation_of_the_full_one() -> None:
    def weights(rank: int) -> torch.Tensor:
        liked, asked = learnt(rank).encode_items(table()).chunk(2, dim=1)
        return liked @ asked.T

    errors = [float((weights(rank) - weights(ITEMS)).norm()) for rank in (2, 5, 9)]
    assert errors[0] > errors[1] > errors[2] > 0


def test_a_catalogue_too_large_for_the_closed_form_is_refused() -> None:
    model = EASE(EASEConfig(num_items=MAX_ITEMS + 1, rank=1))
    with pytest.raises(InvalidRequestError, match="20,001 items, at most 20,000"):
        model.learn(csr_matrix((1, MAX_ITEMS + 1), dtype=np.float32), 1.0)
