"""What plots show of one outcome: figures by history length, item popularity and age; calibration; recall over K."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from recstack.data.dataset import Dataset
from recstack.data.sequences import UserSequences
from recstack.data.splits import RowSplit
from recstack.features.schema import AGE_BANDS

EVENT_EDGES = (0, 1, 10, 30, 100, 300, 1000)
"""Where bins of event counts begin; the last one is open."""
FEWEST = 50
"""Rows below which a bin shows nothing: its figure would be noise."""
RELIABILITY_BINS = 15

HISTORY, POPULARITY, AGE = "events of the user before", "training events of the item", "age"

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Series:
    """Figures over bins or over numbers. x: labels of bins, or numbers. y: nan where there is too little to say."""

    x: tuple[str | float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Details:
    """slices: a figure called `slice_metric` by what it is cut by. reliability: share of likes by mean predicted
    probability. recall: recall@K by K. The last two are None where they do not apply."""

    slice_metric: str
    slices: Mapping[str, Series] = field(default_factory=dict)
    reliability: Series | None = None
    recall: Series | None = None


def event_bins(dataset: Dataset, split: RowSplit) -> dict[str, tuple[Ints, tuple[str, ...]]]:
    """For each test row its bin, with the bins' labels, by history length, item popularity and age."""
    events, users = dataset.events, len(dataset.users.ids)
    if split.temporal:
        known = UserSequences.build(events, users).prior[split.test]
    else:
        known = np.bincount(events.user[split.train], minlength=users)[events.user[split.test]]
    counts = np.bincount(events.item[split.train], minlength=len(dataset.items.ids))
    bins = {HISTORY: count_bins(known), POPULARITY: count_bins(counts[events.item[split.test]])}
    return bins | age_bins(dataset, events.user[split.test])


def count_bins(counts: Ints) -> tuple[Ints, tuple[str, ...]]:
    """Bins of event counts."""
    labels = [f"{low}" if high == low + 1 else f"{low}–{high - 1}" for low, high in pairwise(EVENT_EDGES)]
    return np.searchsorted(EVENT_EDGES, counts, side="right") - 1, (*labels, f"{EVENT_EDGES[-1]}+")


def age_bins(dataset: Dataset, user: Ints) -> dict[str, tuple[Ints, tuple[str, ...]]]:
    """Bins of age bands; none where the ages are unknown."""
    age = dataset.users.age[user].astype(np.int64)
    labels = [f"{first}+" if first == AGE_BANDS[-1] else f"from {first}" for first in AGE_BANDS]
    return {AGE: (age - 1, ("under 18", *labels[1:]))} if age.all() else {}


def cut(
    bins: Mapping[str, tuple[Ints, tuple[str, ...]]], figure: Callable[[NDArray[np.bool_]], float]
) -> dict[str, Series]:
    """`figure` of the rows of each bin that has enough of them; cuts with fewer than two such bins are left out."""
    slices = {}
    for name, (bin_of_row, labels) in bins.items():
        chosen = [bin_of_row == number for number in range(len(labels))]
        kept = [(label, figure(rows)) for label, rows in zip(labels, chosen, strict=True) if rows.sum() >= FEWEST]
        if len(kept) > 1:
            slices[name] = Series(tuple(label for label, _ in kept), tuple(value for _, value in kept))
    return slices


def reliability(labels: NDArray[np.number], probabilities: Floats) -> Series:
    """Share of likes over the mean probability, in bins of equally many rows."""
    order = np.argsort(probabilities, kind="stable")
    parts = [rows for rows in np.array_split(order, RELIABILITY_BINS) if len(rows)]
    return Series(
        tuple(float(probabilities[rows].mean()) for rows in parts), tuple(float(labels[rows].mean()) for rows in parts)
    )
