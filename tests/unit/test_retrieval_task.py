"""Retrieval training: batches mean what they say, the loss is the one described, and training beats popularity."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from recstack.data.sequences import UserSequences
from recstack.data.splits import random_split, temporal_rows, temporal_split
from recstack.data.synthetic import synthetic_world
from recstack.errors import InvalidRequestError
from recstack.features.schema import LIKED_FROM
from services.trainer.fit import ALONE, FitConfig, Worker
from services.trainer.tasks.two_tower import TWO_TOWER_PRESETS, train_two_tower
from services.trainer.tasks.two_tower_batches import NEVER, RetrievalBatch, RetrievalBatches
from services.trainer.tasks.two_tower_likes import LikesPreset, LikesTask, NotebookTwoTowerPreset, TwoTowerPreset

WORLD = synthetic_world(seed=1, users=300, items=200, events=15_000)
SPLIT = temporal_rows(temporal_split(WORLD))
SEQUENCES = UserSequences.build(WORLD.events, 300)
CUT_MS = int(WORLD.events.timestamp_ms[SPLIT.validation[0]])
FIT = FitConfig(epochs=4, learning_rate=5e-3)
PRESET = TwoTowerPreset(fit=FIT, width=16, vector_dim=16, max_history=20)
NOTEBOOK = NotebookTwoTowerPreset(fit=FIT, vector_dim=16, hidden=32, max_history=20)


def batches(max_history: int = 20) -> RetrievalBatches:
    return RetrievalBatches(
        WORLD,
        SEQUENCES,
        CUT_MS,
        max_history=max_history,
        users_per_batch=300,
        prefixes_per_user=6,
        half_life_days=30.0,
    )


def users_in_order(seed: int, epoch: int) -> list[int]:
    """The users of a batch that holds all of them."""
    with_events = np.flatnonzero(SEQUENCES.counts_before(CUT_MS) > 0)
    return [int(user) for user in np.random.default_rng([seed, epoch]).permutation(with_events)]


@pytest.mark.parametrize("max_history", [20, 500])
def test_a_prefix_shows_consecutive_events_from_before_the_cut(max_history: int) -> None:
    batch = next(batches(max_history).epoch(0, 0))
    events, lengths = WORLD.events, set()
    for row, user in enumerate(users_in_order(0, 0)):
        rows, start = SEQUENCES.of(user), int(batch.start_B[row])
        assert batch.visible_BP[row, 0] == 0  # the new user
        for visible in batch.visible_BP[row].tolist():
            shown = rows[start : start + visible]
            assert batch.users.items_BL[row, :visible].tolist() == (events.item[shown] + 1).tolist()
            assert batch.users.ratings_BL[row, :visible].tolist() == events.rating[shown].astype(int).tolist()
            # The next event lies before the cut and is not of the same instant as the last one shown.
            assert events.timestamp_ms[rows[start + visible]] < CUT_MS
            if visible:
                assert events.timestamp_ms[shown[-1]] < events.timestamp_ms[rows[start + visible]]
            lengths.add(visible)
    assert max(lengths) > (15 if max_history == 20 else 40)


def test_opinions_are_those_before_the_cut_with_their_age_as_weight() -> None:
    batch = next(batches().epoch(3, 1))
    events = WORLD.events
    for row, user in list(enumerate(users_in_order(3, 1)))[::17]:
        known = [event for event in SEQUENCES.of(user) if events.timestamp_ms[event] < CUT_MS]
        seen = {int(events.item[event]) + 1: position for position, event in reversed(list(enumerate(known)))}
        weights = {
            int(events.item[event]) + 1: 2 ** (-(CUT_MS - events.timestamp_ms[event]) / 86_400_000 / 30)
            for event in known
            if events.rating[event] >= LIKED_FROM
        }
        met = torch.nonzero(batch.seen_at_BI[row] != NEVER).flatten().tolist()
        assert {item: int(batch.seen_at_BI[row, item]) for item in met} == seen
        liked = torch.nonzero(batch.weight_BI[row]).flatten().tolist()
        assert {item: batch.weight_BI[row, item].item() for item in liked} == pytest.approx(weights, rel=1e-4)


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    first, again, other = (next(batches().epoch(0, epoch)) for epoch in (2, 2, 3))
    assert torch.equal(first.visible_BP, again.visible_BP)
    assert torch.equal(first.users.items_BL, again.users.items_BL)
    assert not torch.equal(first.users.items_BL[:, 0], other.users.items_BL[:, 0])


def test_two_workers_share_the_batch_that_one_would_have() -> None:
    whole, *parts = (next(batches().epoch(0, 2, worker)) for worker in (ALONE, Worker(0, 2), Worker(1, 2)))
    for rank, part in enumerate(parts):
        assert torch.equal(part.start_B, whole.start_B[rank::2])
        assert torch.equal(part.visible_BP, whole.visible_BP[rank::2])
        assert torch.equal(part.weight_BI, whole.weight_BI[rank::2])


@pytest.mark.parametrize("preset", [replace(PRESET, dropout=0.0, id_dropout=0.0), replace(NOTEBOOK, user_dropout=0.0)])
def test_loss_equals_its_definition_item_by_item(preset: LikesPreset) -> None:
    task = LikesTask(WORLD, SPLIT, preset, torch.device("cpu"), 0)
    batch: RetrievalBatch = next(iter(task.batches(0)))
    model, table = task.model, task.table
    vectors_BPD = model.encode_prefixes_from(batch.users, model.history_items(table), batch.visible_BP)
    logits_BPI = (vectors_BPD @ model.encode_items(table).T / model.temperature).tolist()
    total = weights = 0.0
    for user, prefixes in enumerate(logits_BPI):
        for prefix, logits in enumerate(prefixes):
            shown = set(batch.users.items_BL[user, : batch.visible_BP[user, prefix]].tolist())
            candidates = [item for item in range(1, len(table)) if item not in shown]
            wanted = [item for item in candidates if batch.weight_BI[user, item] > 0]
            if not wanted:
                continue
            normaliser = torch.tensor([logits[item] for item in candidates]).logsumexp(0).item()
            share = [batch.weight_BI[user, item].item() for item in wanted]
            entropy = sum(w * (normaliser - logits[item]) for w, item in zip(share, wanted, strict=True)) / sum(share)
            total += entropy * sum(share) / len(share)
            weights += sum(share) / len(share)
    loss = task.loss(batch)
    assert (loss.total / loss.weight).item() == pytest.approx(total / weights, rel=1e-4)


@pytest.mark.parametrize("preset", [PRESET, NOTEBOOK])
def test_training_beats_an_untrained_model(preset: LikesPreset, tmp_path: Path) -> None:
    untrained = LikesTask(WORLD, SPLIT, preset, torch.device("cpu"), 0)
    untrained.model.eval()
    _, result = train_two_tower(WORLD, SPLIT, preset, tmp_path, "cpu", seed=0, console=Console(quiet=True))
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert result.metrics["recall@100"] > untrained.validate()["recall@100"] + 0.1


def test_a_random_split_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="temporal"):
        LikesTask(WORLD, random_split(WORLD, (0.1, 0.1), 0), PRESET, torch.device("cpu"), 0)


def test_presets() -> None:
    assert {"quick", "full", "notebook", "sequence", "sequence_10_minutes"} <= set(TWO_TOWER_PRESETS)
    assert TWO_TOWER_PRESETS["quick"].fit.epochs < TWO_TOWER_PRESETS["full"].fit.epochs
