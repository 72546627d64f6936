"""Building blocks that models share."""

import torch

from recstack.models.layers import GenreEmbedding, genre_counts

GENRES_IG = torch.tensor([[0, 0, 0], [3, 0, 0], [3, 5, 0], [1, 2, 18], [4, 4, 0]])


def test_genres_are_counted_and_places_without_one_too() -> None:
    counts_IC = genre_counts(GENRES_IG, torch.float64)
    assert counts_IC.shape == (5, 19)
    assert counts_IC.dtype == torch.float64
    assert counts_IC[:, 0].tolist() == [3, 2, 1, 0, 1]
    assert counts_IC[4, 4] == 2
    assert (counts_IC.sum(1) == 3).all()


def test_genres_are_the_mean_of_their_embeddings_forwards_and_backwards() -> None:
    genre = GenreEmbedding(4)
    got_ID = genre(GENRES_IG)
    expected_ID = torch.stack(
        [genre.weight[row[row > 0]].mean(0) if row.any() else torch.zeros(4) for row in GENRES_IG]
    )
    torch.testing.assert_close(got_ID, expected_ID)
    (got,), (expected,) = (
        torch.autograd.grad(mean_ID.square().sum(), genre.weight) for mean_ID in (got_ID, expected_ID)
    )
    torch.testing.assert_close(got, expected)
    assert (got[0] == 0).all()
