"""Next-event training: windows cover every event once, states have the right targets, and training learns an order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from recstack.data.dataset import Dataset, Events, Items, Users
from recstack.data.sequences import UserSequences
from recstack.data.splits import random_split
from recstack.errors import InvalidRequestError
from recstack.evaluation.leave_one_out import leave_one_out_split
from services.trainer.fit import ALONE, FitConfig, Worker
from services.trainer.tasks.two_tower import train_two_tower
from services.trainer.tasks.two_tower_sequence import SequenceTask, SequenceTwoTowerPreset
from services.trainer.tasks.two_tower_windows import TrainingSequences, WindowEpoch

USERS, ITEMS = 80, 40
PRESET = SequenceTwoTowerPreset(
    fit=FitConfig(epochs=8, learning_rate=2e-2, patience=8, average_decay=0.9),
    vector_dim=16,
    heads=1,
    blocks=1,
    max_history=6,
    states_per_batch=60,
)


def cyclic_world() -> Dataset:
    """Users walk round the items from a random place, 4 to 19 steps: the last item tells the next one."""
    random = np.random.default_rng(3)
    lengths = random.integers(4, 20, USERS)
    user = np.repeat(np.arange(USERS), lengths)
    step = np.concatenate([np.arange(length) for length in lengths])
    item = (np.repeat(random.integers(0, ITEMS, USERS), lengths) + step) % ITEMS
    order = np.lexsort((user, step))
    nothing = np.zeros(USERS, np.uint8)
    rating = 1 + item % 5
    return Dataset(
        "cyclic",
        "made for a test",
        Users(np.arange(1, USERS + 1), nothing, nothing, nothing, nothing),
        Items(np.arange(1, ITEMS + 1), ("",) * ITEMS, np.zeros(ITEMS, np.int16), np.zeros((ITEMS, 6), np.uint8)),
        Events(
            user[order].astype(np.int32),
            item[order].astype(np.int32),
            rating[order].astype(np.float32),
            step[order].astype(np.int64),
        ),
    )


WORLD = cyclic_world()
SPLIT = leave_one_out_split(WORLD)


def epoch_of(epoch: int, worker: Worker = ALONE, max_history: int = 6) -> WindowEpoch:
    sequences = TrainingSequences(WORLD, SPLIT.train)
    return WindowEpoch(sequences, max_history=max_history, states_per_batch=60, seed=0, epoch=epoch, worker=worker)


@pytest.mark.parametrize("max_history", [1, 6, 50])
def test_every_training_event_is_a_target_once_after_what_came_before_it(max_history: int) -> None:
    sequences = UserSequences.build(WORLD.events, USERS)
    training = set(SPLIT.train.tolist())
    targets = []
    for batch in epoch_of(1, max_history=max_history):
        users = batch.users
        for row, user in enumerate((users.users_B - 1).tolist()):
            rows = [event for event in sequences.of(user).tolist() if event in training]
            items = (WORLD.events.item[rows] + 1).tolist()
            length = int(users.lengths_B[row])
            shown = users.items_BL[row].tolist()
            assert shown[length:] == [0] * (len(shown) - length)
            for state in torch.nonzero(batch.targets_BP[row]).flatten().tolist():
                position = items.index(int(batch.targets_BP[row, state]))
                targets.append((user, position))
                assert shown[:state] == items[position - state : position]
                assert (
                    users.ratings_BL[row, :state].tolist()
                    == WORLD.events.rating[rows[position - state : position]].tolist()
                )
                assert state > 0 or position == 0
    assert sorted(targets) == [(user, position) for user in range(USERS) for position in range(count_of(user))]


def count_of(user: int) -> int:
    return int((WORLD.events.user[SPLIT.train] == user).sum())


def test_batches_hold_as_many_states_as_they_may() -> None:
    sizes = [batch.targets_BP.numel() for batch in epoch_of(0)]
    assert max(sizes) <= 60
    assert sum(sizes) / len(sizes) > 40


def test_an_epoch_is_decided_by_its_number_and_can_begin_anywhere() -> None:
    first, again, other = ([batch.targets_BP.tolist() for batch in epoch_of(epoch)] for epoch in (1, 1, 2))
    assert first == again
    assert first != other
    assert [batch.targets_BP.tolist() for batch in epoch_of(1).starting_at(3)] == first[3:]


def test_two_workers_share_the_batch_that_one_would_have() -> None:
    whole, left, right = (next(iter(epoch_of(0, worker))) for worker in (ALONE, Worker(0, 2), Worker(1, 2)))
    assert torch.equal(left.users.users_B, whole.users.users_B[0::2])
    assert torch.equal(right.users.users_B, whole.users.users_B[1::2])
    assert (left.targets_BP > 0).sum() + (right.targets_BP > 0).sum() == (whole.targets_BP > 0).sum()


def test_training_learns_the_order(tmp_path: Path) -> None:
    model, result = train_two_tower(WORLD, SPLIT, PRESET, tmp_path, "cpu", seed=0, console=Console(quiet=True))
    assert result.metrics["ndcg@10"] > 0.8
    assert not model.training


def test_bfloat16_comes_to_the_same_loss() -> None:
    task = SequenceTask(WORLD, SPLIT, replace(PRESET, dropout=0.0), torch.device("cpu"), 0)
    batch = next(iter(task.batches(0)))
    exact = task.loss(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rough = task.loss(batch)
    assert rough.total.item() == pytest.approx(exact.total.item(), rel=0.01)
    assert int(exact.weight) == task.samples(batch)


def test_a_random_split_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="temporal"):
        SequenceTask(WORLD, random_split(WORLD, (0.1, 0.1), 0), PRESET, torch.device("cpu"), 0)
