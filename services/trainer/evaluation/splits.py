"""The splits that protocols share, by name. A model trained on one of them serves every protocol on that split."""

from collections.abc import Callable

import numpy as np

from recstack.data.dataset import Dataset
from recstack.data.splits import RowSplit, random_split, temporal_rows, temporal_split
from recstack.evaluation.leave_one_out import leave_one_out_split
from services.trainer.tasks.multimodal import held_out_items

TEMPORAL = "temporal"
LEAVE_ONE_OUT = "leave-one-out"
"""On the leave-one-out file where there is one; see `Bench.data`."""
ITEMS_HELD_OUT = "items-held-out"
RANDOM_80, RANDOM_80_WITHOUT_3, RANDOM_90, RANDOM_75 = (
    "random-80-10-10",
    "random-80-10-10-without-3",
    "random-90-10",
    "random-75-25",
)

VALIDATION_OF_RATINGS = 0.02
"""Share of all rows that R1 and R2 take from the published training part to choose on."""
NEUTRAL_RATING = 3.0


def _without_neutral(dataset: Dataset) -> RowSplit:
    rows = np.flatnonzero(dataset.events.rating != NEUTRAL_RATING)
    return random_split(dataset, (0.1, 0.1), 2024, rows=rows)


SPLITS: dict[str, Callable[[Dataset], RowSplit]] = {
    TEMPORAL: lambda dataset: temporal_rows(temporal_split(dataset)),
    RANDOM_80: lambda dataset: random_split(dataset, (0.1, 0.1), 2024),
    RANDOM_80_WITHOUT_3: _without_neutral,
    RANDOM_90: lambda dataset: random_split(dataset, (VALIDATION_OF_RATINGS, 0.1), 2024),
    RANDOM_75: lambda dataset: random_split(dataset, (VALIDATION_OF_RATINGS, 0.25), 11, test_first=True),
    ITEMS_HELD_OUT: held_out_items,
    LEAVE_ONE_OUT: leave_one_out_split,
}
