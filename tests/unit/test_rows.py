"""Rows as training batches: every row once an epoch, for one worker as for several."""

import numpy as np
import torch

from recstack.data.synthetic import synthetic_world
from services.trainer.fit import Worker
from services.trainer.tasks.rows import InMemoryRows, RowBatch

WORLD = synthetic_world(seed=4, users=20, items=60, events=500)
ROWS = np.arange(0, len(WORLD.events), 2, dtype=np.int64)
SOURCE = InMemoryRows(WORLD, ROWS, batch_size=64)


def columns(batches: list[RowBatch]) -> np.ndarray:
    """[rows, 3] in a fixed order."""
    parts = [torch.stack([b.users_B.double(), b.items_B.double(), b.ratings_B.double()], 1) for b in batches]
    joined = torch.cat(parts).numpy()
    return joined[np.lexsort(joined.T)]


def test_an_epoch_has_every_chosen_row_once() -> None:
    epoch = SOURCE.epoch(seed=3, epoch=1)
    batches = list(epoch)
    assert len(epoch) == len(batches) == -(-SOURCE.num_rows // 64)
    events = WORLD.events
    expected = np.stack([events.user[ROWS] + 1.0, events.item[ROWS] + 1.0, events.rating[ROWS]], axis=1)
    np.testing.assert_array_equal(columns(batches), expected[np.lexsort(expected.T)])


def test_seed_and_epoch_decide_the_order() -> None:
    def first(seed: int, epoch: int) -> list[int]:
        return next(iter(SOURCE.epoch(seed, epoch))).users_B.tolist()

    assert first(3, 1) == first(3, 1)
    assert first(3, 1) != first(3, 2)
    assert first(3, 1) != first(4, 1)


def test_workers_share_the_batches_of_one() -> None:
    shares = [SOURCE.epoch(3, 1, Worker(rank, 3)) for rank in range(3)]
    for whole, *parts in zip(SOURCE.epoch(3, 1), *shares, strict=True):
        np.testing.assert_array_equal(columns(parts), columns([whole]))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
