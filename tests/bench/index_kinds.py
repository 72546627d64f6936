"""Kinds of faiss index side by side: how each is built, and the efforts that it can be searched with.

Shape legend: I items, Q queries, K results, D dimensions.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from recstack.models.retrieval_index import IndexKind, build_index

HNSW_LINKS, HNSW_BREADTH = 32, 100
LARGE = 100_000
"""From so many items on, indexes are built on two threads and kept in a folder, as a graph takes minutes."""

Build = Callable[[NDArray[np.float32], NDArray[np.float32]], faiss.Index]
"""From items [I, D] and users [Q, D], by which an index may be tuned."""


@dataclass(frozen=True, slots=True)
class Effort:
    """One setting of a search, such as "nprobe 64". parameters: None for the index's own."""

    name: str
    parameters: faiss.SearchParameters | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """An index, CPU seconds of building it, and its bytes, the vectors that it needs included."""

    index: faiss.Index
    build_seconds: float
    bytes: int

    def search(self, queries_QD: NDArray[np.float32], k: int, effort: Effort) -> NDArray[np.int64]:
        """[Q, K] rows."""
        rows_QK: NDArray[np.int64] = self.index.search(queries_QD, k, params=effort.parameters)[1]
        return rows_QK

    def recall(self, queries_QD: NDArray[np.float32], nearest_QK: NDArray[np.int64], effort: Effort) -> float:
        """Share of the exact K nearest that is found."""
        found_QK = self.search(queries_QD, nearest_QK.shape[1], effort)
        found = sum(len(np.intersect1d(*rows)) for rows in zip(nearest_QK, found_QK, strict=True))
        return found / nearest_QK.size


def hnsw(items_ID: NDArray[np.float32], users_QD: NDArray[np.float32]) -> faiss.Index:
    """A graph (Malkov and Yashunin, Efficient and Robust Approximate Nearest Neighbor Search, 2016)."""
    index = faiss.IndexHNSWFlat(items_ID.shape[1], HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = HNSW_BREADTH
    index.add(items_ID)
    return index


def ivf_pq(items_ID: NDArray[np.float32], users_QD: NDArray[np.float32]) -> faiss.Index:
    """Lists of product-quantised vectors, four values a byte, whose best are ranked again by exact vectors."""
    items, dimensions = items_ID.shape
    lists = max(1, min(int(4 * items**0.5), items // 39))
    index = faiss.index_factory(dimensions, f"IVF{lists},PQ{dimensions // 4}np,RFlat", faiss.METRIC_INNER_PRODUCT)
    points = np.random.default_rng(0).choice(items, min(items, max(40 * lists, 10_000)), replace=False)
    index.train(items_ID[points])
    index.add(items_ID)
    return index


KINDS: Mapping[str, Build] = {
    "exact": lambda items, users: build_index(items, IndexKind.EXACT),
    "lists": lambda items, users: build_index(items, IndexKind.LISTS, users),
    "lists8": lambda items, users: build_index(items, IndexKind.LISTS8, users),
    "HNSW": hnsw,
    "IVF-PQ, refined": ivf_pq,
}


def build(kind: str, items_ID: NDArray[np.float32], users_QD: NDArray[np.float32], folder: Path | None = None) -> Built:
    """Build, or read what was built before from `folder`."""
    name = f"{kind.lower().replace(', ', '-')}-{len(items_ID)}-items"
    path = folder / f"{name}.faiss" if folder and len(items_ID) >= LARGE else None
    if path and path.with_suffix(".json").exists():
        seconds = json.loads(path.with_suffix(".json").read_text())["build_cpu_seconds"]
        return Built(faiss.read_index(str(path)), seconds, path.stat().st_size)
    faiss.omp_set_num_threads(2 if path else 1)  # a small one is soon built, and threads that wait cost CPU too
    started = time.process_time()
    index = KINDS[kind](items_ID, users_QD)
    seconds = time.process_time() - started
    faiss.omp_set_num_threads(1)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        faiss.write_index(index, str(path))
        path.with_suffix(".json").write_text(json.dumps({"build_cpu_seconds": seconds}))
    return Built(index, seconds, len(faiss.serialize_index(index)) if path is None else path.stat().st_size)


def efforts(kind: str, index: faiss.Index) -> Sequence[Effort]:
    """What the search can be told to do, the cheapest first; one for an index that has no choice."""
    match kind:
        case "exact":
            return [Effort("all items")]
        case "HNSW":
            breadths = (100, 120, 150, 200, 250, 300, 400, 600, 800)
            return [Effort(f"efSearch {ef}", faiss.SearchParametersHNSW(efSearch=ef)) for ef in breadths]
        case "IVF-PQ, refined":
            return [
                Effort(
                    f"nprobe {lists}, {wide}k refined",
                    faiss.IndexRefineSearchParameters(
                        k_factor=wide, base_index_params=faiss.SearchParametersIVF(nprobe=lists)
                    ),
                )
                for lists in _steps(faiss.downcast_index(index.base_index).nlist)
                for wide in (2, 4)
            ]
        case _:
            return [Effort(f"nprobe {n}", faiss.SearchParametersIVF(nprobe=n)) for n in _steps(index.nlist)]


def _steps(lists: int) -> list[int]:
    steps = [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]
    return [step for step in steps if step < lists] or [lists]
