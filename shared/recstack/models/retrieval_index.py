"""The item index of a bundle: which kind, built once by the trainer, read by the retrieval service.

Inner product over unit vectors is cosine similarity, so "nearest" and "highest dot product" are one thing.

Three kinds. `exact` compares with every item. `lists` sorts items into lists around centres and looks into the lists
whose centres are nearest to the query (an inverted file: Jégou, Douze and Schmid, Product Quantization for Nearest
Neighbor Search, 2011, section IV); it holds the vectors once. `lists8` keeps one byte per value instead of four.
`IndexRule` picks one by item count and memory.

Measured by `tests.bench.retrieval_scale`, on one core with 64 values per item: a graph (HNSW) finds as much in the
same time at k = 100, but takes twice the time at the k = 350 that is served, twice the memory and three to six times
the time to build; product quantisation that is re-ranked by exact vectors must hold these as well and is slower than
the exact vectors alone.

Shape legend: I items, D dimensions, Q queries.
"""

from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from recstack.errors import BundleError


class IndexKind(StrEnum):
    """How an index stores and searches its vectors."""

    EXACT = "exact"
    LISTS = "lists"
    LISTS8 = "lists8"


EXACT_ITEMS = 30_000
"""Up to this many items the index is exact: it costs less than a gRPC call, finds everything, and filters are free."""

MAX_BYTES = 8 << 30
"""Above this size in memory, values are kept in one byte each."""

LISTS_PER_ROOT = 4
"""Lists per square root of the item count, so that centres and list entries that are looked at cost about the same."""

POINTS_PER_LIST = 40
"""Items per list that place the centres (k-means); more places them hardly better."""

MIN_POINTS_PER_LIST = 39
"""Fewer make faiss warn that centres are placed badly."""

TARGET_RECALL = 0.98
TARGET_K = 350
"""How many lists are looked at is measured when an index is built: as few as find TARGET_RECALL of the exact TARGET_K
nearest of sample queries. 350 is what the gateway asks of the two-tower channel; fewer are found more surely."""

NEARLY = 0.995
"""Share of what all lists find that is enough where TARGET_RECALL cannot be had."""

SAMPLE_QUERIES = 200

UNIT_TOLERANCE = 1e-3
"""How far from 1 the length of a unit vector may be."""


def unit_vectors(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Item vectors [I, D] as vectors of unit length that rank alike: themselves, or [I, D+1] if lengths differ.

    All are divided by the greatest length, and what each then lacks to 1 goes into a column of its own. A user vector
    has 0 there, so its dot product with an item is what it was, divided by that length (Bachrach et al., Speeding Up
    the Xbox Recommender System Using a Euclidean Transformation for Inner-Product Spaces, 2014).
    """
    lengths = np.linalg.norm(vectors, axis=1)
    if np.allclose(lengths, 1.0, atol=UNIT_TOLERANCE) or not np.isfinite(lengths).all() or not lengths.max():
        return vectors  # what cannot be scaled is for `build_index` to refuse
    scaled = vectors / lengths.max()
    lacking = np.sqrt(np.maximum(0.0, 1.0 - np.square(scaled).sum(axis=1, keepdims=True)))
    return np.concatenate([scaled, lacking], axis=1).astype(np.float32)


def bytes_per_item(kind: IndexKind, dimensions: int) -> int:
    """Memory that an index takes for each item; lists add its id and where to find it, 8 bytes each."""
    match kind:
        case IndexKind.EXACT:
            return 4 * dimensions
        case IndexKind.LISTS:
            return 4 * dimensions + 16
        case IndexKind.LISTS8:
            return dimensions + 16


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRule:
    """Which kind is built: exact up to `exact_items`; above, lists; of one byte where full ones exceed `max_bytes`."""

    exact_items: int = EXACT_ITEMS
    max_bytes: int = MAX_BYTES

    def choose(self, items: int, dimensions: int) -> IndexKind:
        """The kind for a catalogue of so many items and vectors so wide."""
        if items <= self.exact_items:
            return IndexKind.EXACT
        full = items * bytes_per_item(IndexKind.LISTS, dimensions)
        return IndexKind.LISTS if full <= self.max_bytes else IndexKind.LISTS8


DEFAULT_RULE = IndexRule()


def build_index(
    vectors: NDArray[np.float32], kind: IndexKind, queries: NDArray[np.float32] | None = None
) -> faiss.Index:
    """Index unit vectors [I, D] in row order.

    queries: vectors [Q, D] of users such as will ask (of any length, at most SAMPLE_QUERIES are used), by which the
    number of lists to look at is measured; items themselves if left out.

    Raises BundleError when the vectors are not a float32 matrix, not finite or not of unit length.
    """
    _check(vectors)
    items, dimensions = vectors.shape
    vectors = np.ascontiguousarray(vectors)
    if kind == IndexKind.EXACT:
        exact = faiss.IndexFlatIP(dimensions)
        exact.add(vectors)
        return exact
    index = _lists(kind, items, dimensions)
    random = np.random.default_rng(0)
    points = random.choice(items, min(items, POINTS_PER_LIST * index.nlist), replace=False)
    index.train(vectors[points])
    index.add(vectors)
    index.make_direct_map()
    tune_lists(index, vectors, vectors if queries is None or not len(queries) else queries)
    return index


def tune_lists(index: faiss.IndexIVF, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> None:
    """Set how many lists are looked into, by at most SAMPLE_QUERIES of `queries`; vectors: those of the index."""
    sample = np.random.default_rng(0).choice(len(queries), min(len(queries), SAMPLE_QUERIES), replace=False)
    index.nprobe = _lists_to_look_at(index, vectors, np.ascontiguousarray(queries[sample]))


def save_index(index: faiss.Index, path: Path) -> None:
    """Write an index to a file."""
    faiss.write_index(index, str(path))


def load_index(path: Path) -> faiss.Index:
    """Read what `save_index` wrote; BundleError when the file is missing or not an index of a known kind."""
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise BundleError(f"{path} is not a readable faiss index; publish the bundle again") from error
    if not isinstance(index, faiss.IndexFlat | faiss.IndexIVF):
        raise BundleError(f"{path} holds a {type(index).__name__}, which is not served; publish the bundle again")
    return index


def _check(vectors: NDArray[np.float32]) -> None:
    if vectors.ndim != 2 or vectors.dtype != np.float32 or not len(vectors):
        raise BundleError(
            f"item vectors are {vectors.dtype} with shape {vectors.shape}; they must be float32 [items, dimensions] "
            "with at least one item"
        )
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.allclose(lengths, 1.0, atol=UNIT_TOLERANCE):  # also False for NaN
        worst = int(np.argmax(np.where(np.isfinite(lengths), np.abs(lengths - 1.0), np.inf)))
        raise BundleError(f"item vector {worst} has length {lengths[worst]}; all must be normalised to 1")


def _lists(kind: IndexKind, items: int, dimensions: int) -> faiss.IndexIVF:
    lists = max(1, min(int(LISTS_PER_ROOT * items**0.5), items // MIN_POINTS_PER_LIST))
    centres, metric = faiss.IndexFlatIP(dimensions), faiss.METRIC_INNER_PRODUCT
    if kind == IndexKind.LISTS8:
        index = faiss.IndexIVFScalarQuantizer(centres, dimensions, lists, faiss.ScalarQuantizer.QT_8bit, metric)
    else:
        index = faiss.IndexIVFFlat(centres, dimensions, lists, metric)
    # On the sphere, as the vectors: centres of any length would draw the most items to the longest of them.
    index.cp.spherical = True
    return index


def _lists_to_look_at(index: faiss.IndexIVF, vectors: NDArray[np.float32], queries_QD: NDArray[np.float32]) -> int:
    """The least number of lists that finds enough.

    Enough is TARGET_RECALL, or nearly what all lists would find, where values of one byte never find as much.
    """
    k = min(TARGET_K, len(vectors))
    _, nearest_QK = faiss.knn(queries_QD, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)

    def recall(lists: int) -> float:
        _, found_QK = index.search(queries_QD, k, params=faiss.SearchParametersIVF(nprobe=lists))
        found = sum(len(np.intersect1d(*rows)) for rows in zip(nearest_QK, found_QK, strict=True))
        return found / int(nearest_QK.size)

    at_best = 1.0 if isinstance(index, faiss.IndexIVFFlat) else recall(index.nlist)
    enough, upper = min(TARGET_RECALL, NEARLY * at_best), 1
    while upper < index.nlist and recall(upper) < enough:
        upper *= 2
    candidates = range(upper // 2 + 1, min(upper, index.nlist))
    return upper // 2 + 1 + bisect_left(candidates, enough, key=recall)
