"""Choosing a few without choosing the same over and over: degenerate sizes, conservation, and what `diversity` does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recstack.diversity import genre_similarity, select_diverse

COMEDY, DRAMA, WAR = 5, 8, 17


def test_genre_similarity_is_jaccard_and_padding_matches_nothing() -> None:
    similarity = genre_similarity(np.array([[1, 2, 0], [2, 3, 0], [1, 2, 0], [0, 0, 0]], np.uint8))

    assert similarity[0].tolist() == pytest.approx([1, 1 / 3, 1, 0])
    assert similarity[3].tolist() == [0, 0, 0, 0]


def test_diversity_moves_another_genre_ahead_of_more_of_the_same() -> None:
    scores = np.array([0.9, 0.89, 0.85, 0.4], np.float32)
    similarity = genre_similarity(np.array([[COMEDY], [COMEDY], [WAR], [DRAMA]], np.uint8))

    assert select_diverse(scores, similarity, 0.1, 3).tolist() == [0, 2, 1]
    assert select_diverse(scores, similarity, 0.0, 3).tolist() == [0, 1, 2]


@given(st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 1000))
def test_the_scale_of_scores_does_not_matter(scale: float, shift: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.permutation(12) / 11
    similarity = genre_similarity(random.integers(0, 19, (12, 6)).astype(np.uint8))

    chosen = select_diverse(scores, similarity, 0.3, 6)
    assert select_diverse(scores * scale + shift, similarity, 0.3, 6).tolist() == chosen.tolist()


@pytest.mark.parametrize(("count", "k", "expected"), [(0, 5, 0), (1, 5, 1), (5, 1, 1), (5, 5, 5)])
def test_selection_of_degenerate_sizes(count: int, k: int, expected: int) -> None:
    scores = np.full(count, 0.5, np.float32)
    chosen = select_diverse(scores, np.ones((count, count), np.float32), 0.5, k)

    assert chosen.tolist() == list(range(expected)), "equal candidates keep their order"


@given(
    st.lists(st.floats(0, 1, width=32), max_size=30),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
    st.integers(1, 40),
)
def test_selection_never_repeats_or_invents(given_scores: list[float], seed: int, diversity: float, k: int) -> None:
    scores = np.array(given_scores, np.float32)
    genres = np.random.default_rng(seed).integers(0, 19, (len(scores), 6)).astype(np.uint8)

    chosen = select_diverse(scores, genre_similarity(genres), diversity, k).tolist()

    assert len(set(chosen)) == len(chosen) == min(k, len(scores))
    assert set(chosen) <= set(range(len(scores)))
    if chosen:
        assert scores[chosen[0]] == scores.max(), "nothing is chosen yet, so scores alone decide"
