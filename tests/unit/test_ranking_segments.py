"""Training segments: each event is a target once, sees strictly earlier events only, and scores as it is served."""

import numpy as np
import pytest
import torch

from recstack.data.dataset import Dataset
from recstack.data.sequences import UserSequences
from recstack.data.splits import RowSplit, random_split, temporal_rows, temporal_split
from recstack.data.synthetic import synthetic_world
from recstack.features.batch import user_batch
from recstack.models.dien import DIEN, DIENConfig
from services.trainer.fit import Worker
from services.trainer.items import item_table
from services.trainer.tasks.history_at import HistoryAt
from services.trainer.tasks.segments import SegmentData, SegmentEpoch, liked

MAX_HISTORY = 10


@pytest.fixture(scope="module")
def world() -> Dataset:
    world = synthetic_world(seed=1, users=40, items=120, events=1_200)
    # Coarse clocks, so that many events of a user share their timestamp.
    world.events.timestamp_ms[:] = world.events.timestamp_ms // 20_000 * 20_000
    return world


@pytest.fixture(scope="module")
def model(world: Dataset) -> DIEN:
    torch.manual_seed(0)
    model = DIEN(DIENConfig(num_items=len(world.items.ids), hidden=8, attention_hidden=4, max_history=MAX_HISTORY))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.double().eval()


def epoch(world: Dataset, seed: int = 0, batch_targets: int = 60) -> SegmentEpoch:
    return SegmentEpoch(SegmentData(world, world.events, MAX_HISTORY), batch_targets, (seed,))


def test_ties_are_common_enough_to_matter(world: Dataset) -> None:
    sequences = UserSequences.build(world.events, len(world.users.ids))
    position = np.empty(len(world.events), np.int64)
    position[sequences.events] = np.arange(len(world.events))
    position -= sequences.offsets[world.events.user]
    assert (sequences.prior < position).mean() > 0.02


def test_each_event_is_a_target_once(world: Dataset) -> None:
    batches = list(epoch(world))
    assert len(batches) == len(epoch(world))
    items = torch.cat([batch.targets_BT[batch.weights_BT > 0] for batch in batches]).numpy()
    labels = torch.cat([batch.labels_BT[batch.weights_BT > 0] for batch in batches]).numpy()
    expected = np.stack([world.events.item + 1, liked(world.events.rating)])
    assert sorted(zip(items, labels, strict=True)) == sorted(zip(*expected, strict=True))


def test_a_resumed_epoch_goes_on_with_the_same_batches(world: Dataset) -> None:
    whole, rest = list(epoch(world)), list(epoch(world).starting_at(3))
    assert len(rest) == len(whole) - 3 > 0
    for expected, got in zip(whole[3:], rest, strict=True):
        assert torch.equal(got.targets_BT, expected.targets_BT)
        assert torch.equal(got.users.items_BL, expected.users.items_BL)


def test_epochs_are_cut_and_shuffled_anew_and_repeat_with_their_seed(world: Dataset) -> None:
    first, again, other = (next(iter(epoch(world, seed))) for seed in (0, 0, 1))
    assert torch.equal(first.targets_BT, again.targets_BT)
    assert first.targets_BT.shape != other.targets_BT.shape or not torch.equal(first.targets_BT, other.targets_BT)


@torch.no_grad()
def test_a_target_scores_as_it_is_served(world: Dataset, model: DIEN) -> None:
    """The logit of a target in its segment is what the served functions give for the same, shorter history."""
    vectors_IE = model.encode_items(item_table(world))
    checked = 0
    for batch in epoch(world):
        state = model.encode_users(batch.users, vectors_IE)
        logits_BT = model.score(state, vectors_IE[batch.targets_BT], batch.visible_BT)
        for row, column in batch.weights_BT.nonzero()[::7].tolist():
            seen = int(batch.visible_BT[row, column])
            served = user_batch(
                batch.users.profile_B4[row : row + 1].numpy(),
                [batch.users.items_BL[row, :seen].numpy()],
                [batch.users.ratings_BL[row, :seen].numpy().astype(np.float32)],
                MAX_HISTORY,
            )
            candidate_11E = vectors_IE[batch.targets_BT[row, column]].view(1, 1, -1)
            expected_11 = model.score(model.encode_users(served, vectors_IE), candidate_11E)
            torch.testing.assert_close(logits_BT[row, column], expected_11[0, 0], atol=1e-9, rtol=1e-9)
            checked += 1
    assert checked > 100


def test_a_target_never_sees_its_own_instant_or_later(world: Dataset) -> None:
    """Every visible history is a run of the user's events that ends where strictly earlier events end."""
    sequences = UserSequences.build(world.events, len(world.users.ids))
    earlier: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for row in range(len(world.events)):
        user, prior = int(world.events.user[row]), int(sequences.prior[row])
        history = tuple((world.events.item[sequences.of(user)[:prior]] + 1).tolist())
        key = (*world.users.profiles()[user].tolist(), int(world.events.item[row]) + 1)
        earlier.setdefault(key, set()).add(history)
    lengths = []
    for batch in epoch(world):
        for row, column in batch.weights_BT.nonzero().tolist():
            seen = tuple(batch.users.items_BL[row, : batch.visible_BT[row, column]].tolist())
            key = (*batch.users.profile_B4[row].tolist(), int(batch.targets_BT[row, column]))
            assert any(history[len(history) - len(seen) :] == seen for history in earlier[key])
            lengths.append(len(seen))
    assert max(lengths) > MAX_HISTORY // 2
    assert min(lengths) == 0


@pytest.mark.parametrize("temporal", [True, False])
def test_predictions_see_the_last_strictly_earlier_events(world: Dataset, temporal: bool) -> None:
    """Any earlier event where the split is in time, training events only where it is random."""
    events = world.events
    split = random_split(world, (0.2, 0.2), seed=1)
    if temporal:
        split = temporal_rows(temporal_split(world))
    known = HistoryAt(world, split)
    allowed = np.isin(np.arange(len(events)), split.train) | temporal
    for row in range(0, len(events), 37):
        earlier = (events.user == events.user[row]) & (events.timestamp_ms < events.timestamp_ms[row])
        np.testing.assert_array_equal(known.rows(row, MAX_HISTORY), np.flatnonzero(earlier & allowed)[-MAX_HISTORY:])


def test_only_users_with_training_events_are_known_by_index(world: Dataset) -> None:
    trained = np.flatnonzero(world.events.user != world.events.user[-1])
    split = RowSplit(trained[:-10], trained[-10:], np.array([len(world.events) - 1]), temporal=True)
    users = HistoryAt(world, split).users(np.array([0, len(world.events) - 1]), MAX_HISTORY)
    assert users.users_B.tolist() == [world.events.user[0] + 1, 0]


def test_batches_are_full_little_padded_and_shared_without_loss(world: Dataset) -> None:
    batches = list(epoch(world))
    targets = [int(batch.weights_BT.sum()) for batch in batches]
    assert min(targets) > 60 - MAX_HISTORY
    assert max(targets) < 60 + 60 + MAX_HISTORY
    assert sum(targets) > 0.9 * sum(batch.weights_BT.numel() for batch in batches)
    for batch in batches:
        assert torch.equal(batch.visible_BT < 0, batch.weights_BT == 0)
    data = SegmentData(world, world.events, MAX_HISTORY)
    shares = [list(SegmentEpoch(data, 60, (0,), Worker(rank, 2))) for rank in range(2)]
    for whole, *parts in zip(batches, *shares, strict=True):
        assert int(whole.weights_BT.sum()) == sum(int(part.weights_BT.sum()) for part in parts)
