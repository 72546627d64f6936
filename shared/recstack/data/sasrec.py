"""Reader of a leave-one-out file: one "user item" pair of positive numbers per line, each user's lines in time order.

ML-1M in this form (6,040 users, 3,416 items, 999,611 lines) is what SASRec, BERT4Rec and gSASRec report on. It has
neither ratings nor times nor anything about users and items.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recstack.data.dataset import Dataset, Events, Items, Users
from recstack.errors import DataError
from recstack.features.schema import MAX_GENRES


def read_sasrec(path: Path) -> Dataset:
    """Read a leave-one-out file; the dataset's name is the file's without its ending, followed by "-sasrec".

    In place of times, events have their position among the user's events, counted in milliseconds: orders are those of
    the file, spans of time mean nothing. Ratings are 0 (none given). Profiles, titles, years and genres are unknown.
    Raises DataError where the file is missing, a line is not two positive numbers, or a user has an item twice.
    """
    pairs = _read_pairs(path)
    user_ids, user = np.unique(pairs[:, 0], return_inverse=True)
    item_ids, item = np.unique(pairs[:, 1], return_inverse=True)
    _refuse_repeats(path, pairs)

    by_user = np.argsort(user, kind="stable")
    counts = np.bincount(user)
    position = np.empty(len(user), np.int64)
    position[by_user] = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    in_time = np.argsort(position, kind="stable")
    events = Events(
        user[in_time].astype(np.int32),
        item[in_time].astype(np.int32),
        np.zeros(len(user), np.float32),
        position[in_time],
    )
    unknown = np.zeros(len(user_ids), np.uint8)
    users = Users(user_ids, unknown, unknown, unknown, unknown)
    count = len(item_ids)
    items = Items(item_ids, ("",) * count, np.zeros(count, np.int16), np.zeros((count, MAX_GENRES), np.uint8))
    provenance = f"{path}: {len(user_ids):,} users, {count:,} items, {len(events):,} events, without ratings and times"
    return Dataset(f"{path.stem}-sasrec", provenance, users, items, events, in_time)


def _read_pairs(path: Path) -> NDArray[np.int64]:
    """The file's lines, [N, 2]."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; give a file of 'user item' lines") from error
    if not lines:
        raise DataError(f"{path} is empty; give a file of 'user item' lines")
    pairs = np.empty((len(lines), 2), np.int64)
    for number, line in enumerate(lines):
        fields = line.split()
        if len(fields) != 2 or not all(field.isdigit() and int(field) > 0 for field in fields):
            raise DataError(f"{path}, line {number + 1}: got {line[:80]!r}, expected two positive numbers, 'user item'")
        pairs[number] = int(fields[0]), int(fields[1])
    return pairs


def _refuse_repeats(path: Path, pairs: NDArray[np.int64]) -> None:
    """Every unseen item is ranked, so an item that a user already had could never be found."""
    _, first = np.unique(pairs, axis=0, return_index=True)
    if len(first) < len(pairs):
        line = int(np.setdiff1d(np.arange(len(pairs)), first)[0])
        raise DataError(
            f"{path}, line {line + 1}: user {pairs[line, 0]} has item {pairs[line, 1]} again; keep one line for each "
            "user and item"
        )
