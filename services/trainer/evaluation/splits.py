"""The splits that protocols share, by name. A model trained on one of them serves every protocol on that split."""

from collections.abc import Callable

import numpy as np

from recstack.data.dataset import Dataset
from recstack.data.splits import RowSplit, random_split, temporal_rows, temporal_split

VALIDATION_OF_RATINGS = 0.05
"""Share of all rows that R1 and R2 take from the published training part to choose on."""
NEUTRAL_RATING = 3.0

SPLITS: dict[str, Callable[[Dataset], RowSplit]] = {
    "temporal": lambda dataset: temporal_rows(temporal_split(dataset)),
    "random-80-10-10": lambda dataset: random_split(dataset, (0.1, 0.1), 2024),
    "random-80-10-10-without-3": lambda dataset: random_split(
        dataset, (0.1, 0.1), 2024, rows=np.flatnonzero(dataset.events.rating != NEUTRAL_RATING)
    ),
    "random-90-10": lambda dataset: random_split(dataset, (VALIDATION_OF_RATINGS, 0.1), 2024),
    "random-75-25": lambda dataset: random_split(dataset, (VALIDATION_OF_RATINGS, 0.25), 11, test_first=True),
}
