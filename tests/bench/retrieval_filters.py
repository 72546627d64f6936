"""The served index under filters: whether the top 100 is full and right, and what it costs."""

from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from recstack.models.retrieval_index import SAMPLE_QUERIES
from services.retrieval.item_index import ItemIndex, item_index
from services.retrieval.top_k import top_k
from tests.bench.harness import interleave
from tests.bench.index_kinds import build
from tests.bench.item_vectors import clustered_items, users_of

K = 100
SHARES = (1.0, 0.5, 0.1, 0.01, 0.001)
USERS = 50


def filter_table(console: Console, items: int, dimensions: int, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """Measure at every share of allowed items, print a table, and return its rows."""
    items_ID = clustered_items(items, dimensions)
    users_UD = users_of(items_ID, USERS)
    served = item_index(build("lists", items_ID, users_of(items_ID, SAMPLE_QUERIES, seed=2), folder).index)
    table = Table(box=None, title=f"Filters, {items:,} items, k = {K}", title_justify="left", title_style="bold")
    for column in ("allowed", "share", "recall@100", "CPU ms"):
        table.add_column(column, justify="right")
    rows = []
    for share in SHARES:
        for name, allowed in _masks(items_ID, share).items():
            recall = _recall(served, items_ID, users_UD, allowed)
            turn = iter(range(10**9))
            ask = {name: lambda a=allowed, t=turn: served.search(users_UD[next(t) % USERS], K, a)}
            milliseconds = interleave(ask, max(3, rounds), clock=process_time)[name].milliseconds
            rows.append({"allowed": name, "share": share, "recall@100": round(recall, 4), "CPU ms": milliseconds})
            table.add_row(name, f"{share:.1%}", f"{recall:.4f}", f"{milliseconds:.3f}")
    console.print(table, "")
    return rows


def _masks(items_ID: NDArray[np.float32], share: float) -> dict[str, NDArray[np.bool_]]:
    """Items allowed at random, and those on one side of a plane: whole neighbourhoods, as a genre's are."""
    random = np.random.default_rng(3)
    along = items_ID @ random.standard_normal(items_ID.shape[1]).astype(np.float32)
    return {
        "at random": random.random(len(items_ID)) < share,
        "by neighbourhood": along >= np.quantile(along, 1.0 - share),
    }


def _recall(
    served: ItemIndex, items_ID: NDArray[np.float32], users_UD: NDArray[np.float32], allowed: NDArray[np.bool_]
) -> float:
    found = wanted = 0
    for user in users_UD:
        exact = top_k(items_ID @ user, K, allowed)
        rows, _ = served.search(user, K, allowed)
        assert len(rows) == len(exact), "K is not full"
        assert allowed[rows].all(), "the filter leaks"
        found += len(np.intersect1d(rows, exact))
        wanted += len(exact)
    return found / wanted
