"""Training throughput of DIEN and DCN beside FuxiCTR and deepctr-torch, and the AUC that each comes to.

Every side learns from the same rows for one epoch, on one thread: ratings of the training period (protocol C1) of as
many users as have ROWS of them, each with its user's profile and what the user did before, at most the last 50 events.
All sides know the same: item, genres and year of the candidate and of each event, and the rating that was given. Widths
are alike (embeddings of 8, in our DCN 16 for items; 32 units in DIEN's recurrences; layers of 96 and 48); batches have
2,048 rows for DIEN and 4,096 for DCN. Afterwards each predicts the same rows of the validation period.

Sides take turns, a part of the epoch each. What counts are CPU seconds per row, the median of the parts. Ours are those
of the whole training loop: batches are made, gradients clipped, weights averaged. Peers get ready-made tensors, and
only their forward and backward passes and optimizer steps are on the clock. The goals are a multiple of the faster
peer's rate, at an AUC not below the better peer's.

Where ours differs: DIEN's second recurrence runs over the last 10 events only, because more steps gained no AUC here.
Rows without a goal show it over all 50 as peers have it, and the presets that are served, which read 200 and 100 events
and are wider. Every DCN has two layers of cross matrices (DCN V2) but the served one, whose crosses are of low rank.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from recstack.data import Dataset, RowSplit, temporal_rows, temporal_split
from recstack.data.resolve import resolve_dataset
from recstack.data.synthetic import synthetic_world
from recstack.evaluation.ranking_metrics import auc
from recstack.models.dien import DIENConfig
from services.trainer.fit import TrainingRun
from services.trainer.tasks.click_validation import spread
from services.trainer.tasks.dcn import DCN_PRESETS, DCNPreset
from services.trainer.tasks.dcn import make_task as make_dcn_task
from services.trainer.tasks.dien import DIEN_PRESETS, DIENPreset
from services.trainer.tasks.dien import make_task as make_dien_task
from services.trainer.tasks.segments import liked
from tests.bench.harness import Comparison, Report, interleave, main
from tests.bench.training_peers import DEEP, WIDTH, ClickRows, Peer, deepctr, fuxictr

ROWS = 300_000
VALIDATION_ROWS = 30_000
HISTORY = 50
PARTS = 8
TARGET_DIEN = 50_000
"""Samples/s that quality.md asks of the served DIEN."""


@dataclass(frozen=True, slots=True)
class Data:
    """What all sides learn from and are judged on; the split's training rows are of whole users."""

    dataset: Dataset
    split: RowSplit
    judged: NDArray[np.int64]
    parts: int

    @classmethod
    def of(cls, dataset: Dataset, rows: int, parts: int) -> "Data":
        """Users in random order until they have `rows` training rows."""
        split, user = temporal_rows(temporal_split(dataset)), dataset.events.user
        counts = np.bincount(user[split.train], minlength=len(dataset.users.ids))
        order = np.random.default_rng(0).permutation(len(counts))
        chosen = order[: int(np.searchsorted(np.cumsum(counts[order]), rows)) + 1]
        split = replace(split, train=split.train[np.isin(user[split.train], chosen)])
        return cls(dataset, split, spread(split.validation, VALIDATION_ROWS), parts)


@dataclass(frozen=True, slots=True)
class Side:
    """One that trains. part: train the next part of the epoch; returns CPU seconds per row. judge: the AUC."""

    part: Callable[[], float]
    judge: Callable[[], float]


def ours(data: Data, make_task: Callable[..., Any], preset: DIENPreset | DCNPreset, folder: Path) -> Side:
    """Our training loop over one epoch of `preset`."""
    preset = replace(preset, fit=replace(preset.fit, epochs=1), validation_rows=VALIDATION_ROWS)
    task = make_task(data.dataset, data.split, preset, device="cpu", seed=0)
    run = TrainingRun(task, preset.fit, folder)
    batches = task.batches(0)
    stream = iter(batches)
    sizes = iter(np.diff(np.linspace(0, len(batches), data.parts + 1).astype(int)))

    def part() -> float:
        task.model.train()
        started, before = time.process_time(), run.state.samples
        for batch in itertools.islice(stream, next(sizes)):
            run.step(batch)
        return (time.process_time() - started) / (run.state.samples - before)

    return Side(part, lambda: run.validate()["auc"])


def theirs(data: Data, make_peer: Callable[[ClickRows], Peer], batch_rows: int, joint_opinions: bool) -> Side:
    """A peer over one epoch of the same rows, shuffled."""
    rows = ClickRows(data.dataset, data.split, HISTORY, joint_opinions)
    torch.manual_seed(0)
    peer = make_peer(rows)
    shuffled = np.random.default_rng(0).permutation(data.split.train)
    parts = iter(np.array_split(shuffled, data.parts))

    def batches(chosen: NDArray[np.int64]) -> Iterator[Any]:
        for start in range(0, len(chosen), batch_rows):
            yield peer.inputs(rows.batch(chosen[start : start + batch_rows]))

    def part() -> float:
        peer.model.train()
        chosen, seconds = next(parts), 0.0
        for batch in batches(chosen):
            started = time.process_time()
            peer.step(batch)
            seconds += time.process_time() - started
        return seconds / len(chosen)

    def judge() -> float:
        peer.model.eval()
        with torch.no_grad():
            probabilities = torch.cat([peer.predict(batch) for batch in batches(data.judged)])
        return auc(liked(data.dataset.events.rating[data.judged]), probabilities.numpy())

    return Side(part, judge)


def dien_presets(batch_rows: int) -> dict[str, DIENPreset]:
    """Our DIENs by name; the first is the one that is compared."""
    full = DIEN_PRESETS["full"]
    served = replace(full, batch_targets=min(full.batch_targets, 2 * batch_rows))
    small = DIENConfig(
        num_items=1, movie_dim=WIDTH, genre_dim=WIDTH, year_dim=WIDTH, rating_dim=WIDTH, profile_dim=WIDTH,
        hidden=4 * WIDTH, memory_dim=4 * WIDTH, mlp=DEEP, max_history=HISTORY,
    )  # fmt: skip
    same = replace(served, config=small, batch_targets=batch_rows)
    return {
        "DIEN": same,
        "DIEN, evolution over all 50": replace(same, config=replace(small, evolution_steps=HISTORY)),
        "DIEN as served, 200 events": served,
    }


def dcn_presets(batch_rows: int) -> dict[str, DCNPreset]:
    """Our DCNs by name; the first is the one that is compared."""
    served = DCN_PRESETS["full"]
    small = {
        "id_dim": 2 * WIDTH, "embedding_dim": WIDTH, "half_lives": (0.0,), "history_dim": 2 * WIDTH,
        "max_history": HISTORY, "cross": "matrix", "deep": DEEP, "factor_inputs": WIDTH,
    }  # fmt: skip
    fit = replace(served.fit, learning_rate=5e-3, average_decay=0.97)
    return {"DCN": DCNPreset(fit=fit, model=small, batch_rows=batch_rows), "DCN as served, 100 events": served}


def run(console: Console, short: bool) -> Report:
    """Both models, one after the other; see the module's text."""
    torch.set_num_threads(1)
    dataset = (
        synthetic_world(users=200, items=150, events=10_000)
        if short
        else resolve_dataset("auto", archive=None, log=lambda line: console.print(line, highlight=False))
    )
    data = Data.of(dataset, ROWS, 2 if short else PARTS)
    report = Report("Training, samples per CPU second at the AUC of one epoch")
    report.details = {"dataset": dataset.name, "rows": len(data.split.train), "sides": {}}
    with tempfile.TemporaryDirectory(prefix="recstack-bench-") as name:
        folder = Path(name)
        for model, goal, batch_rows in (("DIEN", 10.0, 256 if short else 2048), ("DCN", 3.0, 512 if short else 4096)):
            presets: Mapping[str, Any] = dien_presets(batch_rows) if model == "DIEN" else dcn_presets(batch_rows)
            make_task = make_dien_task if model == "DIEN" else make_dcn_task
            sides = {
                side: ours(data, make_task, preset, folder / str(number))
                for number, (side, preset) in enumerate(presets.items())
            }
            peers = _peers(data, model, batch_rows)
            turns = {side: measured.part for side, measured in (sides | peers).items()}
            seconds = interleave(turns, data.parts - 1, warm_up=1, clock=time.process_time)
            figures = {side: (1 / seconds[side].median, measured.judge()) for side, measured in (sides | peers).items()}
            compare(report, model, figures, goal)
    return report


def _peers(data: Data, model: str, batch_rows: int) -> dict[str, Side]:
    makers = {
        "FuxiCTR": lambda rows: fuxictr(model, rows),
        "deepctr": lambda rows: deepctr(model, rows, HISTORY),
    }
    return {name: theirs(data, maker, batch_rows, joint_opinions=model == "DCN") for name, maker in makers.items()}


def compare(report: Report, model: str, figures: Mapping[str, tuple[float, float]], goal: float) -> None:
    """Add a model's lines: each of ours against the faster peer, and its AUC against the better peer's."""
    peers = {name: figures[name] for name in ("FuxiCTR", "deepctr")}
    faster = max(peers, key=lambda name: peers[name][0])
    better = max(peers, key=lambda name: peers[name][1])
    for side, (rate, reached) in figures.items():
        if side not in peers:
            goals = (goal, 1.0) if side == model else (None, None)
            report.comparisons += [
                Comparison.more(side, "rows/s", rate, faster, peers[faster][0], goals[0]),
                Comparison.more(f"{side}: after one epoch", "AUC", reached, better, peers[better][1], goals[1]),
            ]
    if model == "DIEN":
        served = figures["DIEN as served, 200 events"][0]
        report.comparisons.append(
            Comparison.more("DIEN as served, 200 events", "rows/s", served, "target", TARGET_DIEN, 1.0)
        )
    report.details["sides"][model] = {
        name: {"rows_per_second": rate, "auc": score} for name, (rate, score) in figures.items()
    }


if __name__ == "__main__":
    main(run, "tests.bench.training", __doc__)
