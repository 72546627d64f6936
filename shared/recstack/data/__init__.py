"""Datasets: what they look like in memory, where they come from, how they are split and ordered."""

from recstack.data.dataset import Dataset, Events, Items, Users
from recstack.data.movielens import read_movielens
from recstack.data.movielens_writer import write_movielens
from recstack.data.poster import render_poster
from recstack.data.resolve import resolve_dataset
from recstack.data.sequences import UserSequences
from recstack.data.splits import (
    LeaveLastOut,
    RowSplit,
    TemporalSplit,
    leave_last_out,
    random_split,
    temporal_rows,
    temporal_split,
)
from recstack.data.synthetic import synthetic_world, synthetic_world_with_truth
from recstack.data.synthetic_truth import SyntheticTruth

__all__ = [
    "Dataset",
    "Events",
    "Items",
    "LeaveLastOut",
    "RowSplit",
    "SyntheticTruth",
    "TemporalSplit",
    "UserSequences",
    "Users",
    "leave_last_out",
    "random_split",
    "read_movielens",
    "render_poster",
    "resolve_dataset",
    "synthetic_world",
    "synthetic_world_with_truth",
    "temporal_rows",
    "temporal_split",
    "write_movielens",
]
