"""The kinds of index at one size: recall, times, memory, cost of building, and what the rule picks.

Shape legend: I items, Q queries, K results, D dimensions.
"""

import gc
from pathlib import Path
from time import process_time
from typing import Any

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from recstack.models.retrieval_index import DEFAULT_RULE, SAMPLE_QUERIES, TARGET_K
from tests.bench.harness import Sample, interleave
from tests.bench.index_kinds import KINDS, Built, Effort, build, efforts
from tests.bench.item_vectors import clustered_items, users_of

K, RECALL = 100, 0.98
QUERIES = 300
AS_SERVED = Effort("as served")
COLUMNS = ("kind", "effort", "recall@100", "recall@350", "CPU ms", "p50 ms", "p99 ms", "build CPU s", "bytes/item")


def kind_table(console: Console, items: int, dimensions: int, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """Build every kind over `items` items, measure, print a table, and return its rows."""
    items_ID = clustered_items(items, dimensions)
    tuning_QD, users_QD = users_of(items_ID, SAMPLE_QUERIES, seed=2), users_of(items_ID, QUERIES)
    _, nearest_QK = faiss.knn(users_QD, items_ID, TARGET_K, metric=faiss.METRIC_INNER_PRODUCT)
    sides: dict[str, tuple[Built, Effort]] = {}
    for kind in KINDS:
        built = build(kind, items_ID, tuning_QD, folder)
        steps = efforts(kind, built.index)
        enough = (step for step in steps if built.recall(users_QD, nearest_QK[:, :K], step) >= RECALL)
        sides[kind] = built, next(enough, steps[-1])
    sides["lists, as served"] = sides["lists"][0], AS_SERVED  # not right after "lists", which leaves a warm cache
    del items_ID
    gc.collect()
    samples = {clock: _timed(sides, users_QD, rounds, clock) for clock in ("wall", "cpu")}
    picked = str(DEFAULT_RULE.choose(items, dimensions))
    rows = [
        {
            "kind": name,
            "picked": name.partition(",")[0] == picked,
            "effort": f"nprobe {built.index.nprobe}" if effort is AS_SERVED else effort.name,
            "recall@100": round(built.recall(users_QD, nearest_QK[:, :K], effort), 4),
            "recall@350": round(built.recall(users_QD, nearest_QK, effort), 4),
            "CPU ms": round(samples["cpu"][name].milliseconds, 3),
            "p50 ms": round(samples["wall"][name].milliseconds, 3),
            "p99 ms": round(float(np.quantile(samples["wall"][name].seconds, 0.99)) * 1e3, 3),
            "build CPU s": round(built.build_seconds, 1),
            "bytes/item": round(built.bytes / items),
        }
        for name, (built, effort) in sides.items()
    ]
    _show(console, f"{items:,} items, k = {K}; the rule picks {picked}", rows)
    return rows


def _timed(sides: dict[str, tuple[Built, Effort]], users_QD: np.ndarray, rounds: int, clock: str) -> dict[str, Sample]:
    def side(built: Built, effort: Effort) -> Any:
        turn = iter(range(10**9))
        return lambda: built.search(users_QD[next(turn) % QUERIES][None], K, effort)

    calls = {name: side(*both) for name, both in sides.items()}
    return interleave(calls, rounds, clock=process_time) if clock == "cpu" else interleave(calls, rounds)


def _show(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, title=title, title_justify="left", title_style="bold")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("kind", "effort") else "right")
    for row in rows:
        table.add_row(*(str(row[column]) for column in COLUMNS))
    console.print(table, "")
