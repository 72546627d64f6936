"""Datasets: what they look like in memory, where they come from, how they are split and ordered."""

from recstack.data.dataset import Dataset, Events, Items, Users
from recstack.data.movielens import read_movielens
from recstack.data.sequences import UserSequences
from recstack.data.splits import LeaveLastOut, TemporalSplit, leave_last_out, temporal_split

__all__ = [
    "Dataset",
    "Events",
    "Items",
    "LeaveLastOut",
    "TemporalSplit",
    "UserSequences",
    "Users",
    "leave_last_out",
    "read_movielens",
    "temporal_split",
]
