"""The peer's DIEN on rows gives the logits of RecStack's, so that a comparison of their speed means something."""

import numpy as np
import torch
from torch.nn import functional

from recstack.features.batch import UserBatch
from recstack.features.catalogue import ItemTable
from recstack.features.schema import PROFILE_SIZES
from recstack.models.dien import DIEN, DIENConfig
from tests.bench.peers.plain_dien import PlainDIEN

ITEMS, CANDIDATES = 40, 25


def scores_of_both(steps: int, config: DIENConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [N] of one user with `steps` events, by RecStack's split of the work and row by row."""
    random = torch.Generator().manual_seed(steps)
    torch.manual_seed(0)
    model = DIEN(config).eval()
    table = ItemTable(
        torch.randint(0, 60, (ITEMS + 1,), generator=random), torch.randint(0, 19, (ITEMS + 1, 6), generator=random)
    )
    profile_14 = torch.tensor([[size - 1 for size in PROFILE_SIZES.values()]])
    items_1L = torch.randint(1, ITEMS + 1, (1, steps), generator=random)
    ratings_1L = torch.randint(0, 6, (1, steps), generator=random)
    candidates_N = torch.randperm(ITEMS, generator=random)[:CANDIDATES] + 1
    with torch.inference_mode():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=random)
        vectors_IE = model.encode_items(table)
        batch = UserBatch(profile_14, items_1L, ratings_1L, torch.tensor([steps]), torch.zeros(1, dtype=torch.int64))
        ours_1N = model.score(model.encode_users(batch, vectors_IE), vectors_IE[candidates_N].unsqueeze(0))
        rows_N = PlainDIEN(model)(
            profile_14.expand(CANDIDATES, -1),
            functional.embedding(items_1L.expand(CANDIDATES, -1), vectors_IE),
            ratings_1L.expand(CANDIDATES, -1),
            vectors_IE[candidates_N],
        )
    return ours_1N[0], rows_N


def test_rows_and_the_split_by_user_and_item_give_the_same_logits():
    for steps in (1, 7, 50):
        ours_N, rows_N = scores_of_both(steps, DIENConfig(num_items=ITEMS))
        assert ours_N.std() > 0.1
        np.testing.assert_allclose(rows_N, ours_N, atol=1e-4)


def test_other_sizes_are_read_from_the_trained_model():
    config = DIENConfig(num_items=ITEMS, hidden=16, evolution_steps=3, neighbour_heads=4, neighbour_dim=8, mlp=(32, 16))
    ours_N, rows_N = scores_of_both(12, config)
    np.testing.assert_allclose(rows_N, ours_N, atol=1e-4)
