"""Retrieval training: batches mean what they say, the loss is the one described, and training beats popularity."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from recstack.data.sequences import UserSequences
from recstack.data.splits import temporal_split
from recstack.data.synthetic import synthetic_world
from recstack.evaluation.retrieval_cases import LIKED_FROM
from services.trainer.evaluate_retrieval import evaluate_retrieval
from services.trainer.fit import FitConfig
from services.trainer.retrieval_batches import NEVER, RetrievalBatch, RetrievalBatches
from services.trainer.retrieval_task import RETRIEVAL_PRESETS, RetrievalPreset, RetrievalTask, train_retrieval

WORLD = synthetic_world(seed=1, users=300, items=200, events=15_000)
SPLIT = temporal_split(WORLD)
SEQUENCES = UserSequences.build(WORLD.events, 300)
CUT_MS = int(WORLD.events.timestamp_ms[SPLIT.validation.start])
PRESET = RetrievalPreset(
    fit=FitConfig(epochs=4, learning_rate=5e-3, max_minutes=1.0), width=16, vector_dim=16, max_history=20
)


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


@pytest.mark.parametrize("max_history", [20, 500])
def test_a_prefix_shows_the_events_strictly_before_its_moment(max_history: int) -> None:
    batch = next(batches(max_history).epoch(0, 0))
    order = np.random.default_rng([0, 0]).permutation(np.flatnonzero(SEQUENCES.counts_before(CUT_MS) > 0))
    events, empty_histories = WORLD.events, 0
    for row, user in enumerate(order):
        rows = SEQUENCES.of(int(user))
        for visible, moment, usable in zip(
            batch.visible_BP[row], batch.moment_BP[row], batch.usable_BP[row], strict=True
        ):
            if not usable:
                assert visible == 0
                assert moment > 0
                continue
            shown = batch.users.items_BL[row, :visible].tolist()
            assert shown == (events.item[rows[moment - visible : moment]] + 1).tolist()
            # The next event is not of the same instant as the last one shown, and lies before the cut.
            assert events.timestamp_ms[rows[moment]] < CUT_MS
            if moment > 0:
                assert events.timestamp_ms[rows[moment - 1]] < events.timestamp_ms[rows[moment]]
            empty_histories += int(moment == 0)
    assert empty_histories > 0


def test_moments_and_weights_are_those_of_first_events_before_the_cut() -> None:
    batch = next(batches().epoch(3, 1))
    order = np.random.default_rng([3, 1]).permutation(np.flatnonzero(SEQUENCES.counts_before(CUT_MS) > 0))
    events = WORLD.events
    for row in range(0, len(order), 17):
        rows = [event for event in SEQUENCES.of(int(order[row])) if events.timestamp_ms[event] < CUT_MS]
        seen: dict[int, int] = {}
        liked: dict[int, int] = {}
        for position, event in enumerate(rows):
            seen.setdefault(int(events.item[event]) + 1, position)
            if events.rating[event] >= LIKED_FROM:
                liked.setdefault(int(events.item[event]) + 1, position)
        for at_BI, expected in ((batch.seen_at_BI, seen), (batch.liked_at_BI, liked)):
            known = torch.nonzero(at_BI[row] != NEVER).flatten().tolist()
            assert {item: int(at_BI[row, item]) for item in known} == expected
        for item, position in liked.items():
            age_days = (CUT_MS - events.timestamp_ms[rows[position]]) / 86_400_000
            assert batch.weight_BI[row, item].item() == pytest.approx(2 ** (-age_days / 30), rel=1e-4)


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    first, again, other = (next(batches().epoch(0, epoch)) for epoch in (2, 2, 3))
    assert torch.equal(first.moment_BP, again.moment_BP)
    assert not torch.equal(first.users.items_BL[:, 0], other.users.items_BL[:, 0])


def test_loss_equals_its_definition_item_by_item() -> None:
    task = RetrievalTask(WORLD, SPLIT, replace(PRESET, dropout=0.0, id_dropout=0.0, horizon=9), torch.device("cpu"), 0)
    batch: RetrievalBatch = next(iter(task.batches(0)))
    model, table = task.model, task.table
    vectors_BPD = model.encode_prefixes(batch.users, table, batch.visible_BP)
    logits_BPI = (vectors_BPD @ model.encode_items(table).T / model.temperature).tolist()
    total = weights = 0.0
    for user, prefixes in enumerate(logits_BPI):
        for prefix, logits in enumerate(prefixes):
            moment = int(batch.moment_BP[user, prefix])
            candidates = [item for item in range(1, len(table)) if batch.seen_at_BI[user, item] >= moment]
            wanted = [item for item in candidates if moment <= batch.liked_at_BI[user, item] < moment + 9]
            if not wanted or not batch.usable_BP[user, prefix]:
                continue
            normaliser = torch.tensor([logits[item] for item in candidates]).logsumexp(0).item()
            share = [batch.weight_BI[user, item].item() for item in wanted]
            entropy = sum(w * (normaliser - logits[item]) for w, item in zip(share, wanted, strict=True)) / sum(share)
            total += entropy * sum(share) / len(share)
            weights += sum(share) / len(share)
    assert task.loss(batch).item() == pytest.approx(total / weights, rel=1e-4)


def test_training_beats_the_popularity_baseline_and_reports_every_group(tmp_path: Path) -> None:
    preset = replace(PRESET, fit=replace(PRESET.fit, epochs=12))
    model, result = train_retrieval(WORLD, SPLIT, preset, tmp_path, "cpu", seed=0, console=Console(quiet=True))
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    rows = {row.model: row for row in evaluate_retrieval(model, WORLD, SPLIT)}
    assert next(iter(rows)) == "two-tower"
    assert {"popularity", "item-kNN", "matrix factorization"} < set(rows)
    assert rows["two-tower"].recall_at_20 > rows["popularity"].recall_at_20
    grouped = [row.users for name, row in rows.items() if name.startswith("two-tower, ")]
    assert sum(grouped) == rows["two-tower"].users


def test_presets_are_quick_and_full() -> None:
    assert set(RETRIEVAL_PRESETS) == {"quick", "full"}
    assert RETRIEVAL_PRESETS["quick"].fit.max_minutes < RETRIEVAL_PRESETS["full"].fit.max_minutes
