"""What is wrong with the files of a described dataset: what stops the reader, and columns that give outcomes away."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
from numpy.typing import NDArray
from scipy.stats import spearmanr

from recstack.data.dataset import Dataset, Events, Items, Users
from recstack.data.described import (
    EventTable,
    bare_items,
    bare_users,
    genre_names_of,
    read_events,
    read_items,
    read_users,
    unknown_genres,
)
from recstack.data.description import DatasetDescription, TableDescription, read_description
from recstack.data.tables import is_text, read_table
from recstack.data.validation import Finding, Severity, check_dataset
from recstack.errors import DataError
from recstack.evaluation.ranking_metrics import auc
from recstack.features.schema import LIKED_FROM

TELLS_LABEL = 0.95
"""AUC of a column for the label from which it looks like the label in disguise."""

FOLLOWS_OUTCOME = 0.9
"""Rank correlation with an item's mean rating or count from which a column looks computed from the events."""

MIN_ROWS = 30


def validate_described(path: Path) -> list[Finding]:
    """All findings of the dataset that the description at `path` describes. DataError only for the description."""
    description, base = read_description(path), path.parent
    findings: list[Finding] = []

    def read(where: str, action: Callable[[], object]) -> object:
        try:
            return action()
        except DataError as error:
            findings.append(Finding(Severity.ERROR, where, str(error), "Nothing else of this table was checked."))
            return None

    table = read("events", partial(read_events, description, base))
    users = read("users", partial(read_users, description.users, base)) if description.users else None
    items = read("items", partial(read_items, description.items, base)) if description.items else None
    if isinstance(table, EventTable):
        known_users = users if isinstance(users, Users) else bare_users(np.unique(table.user))
        known_items = items if isinstance(items, Items) else bare_items(np.unique(table.item))
        findings += _unknown_ids(table, known_users, known_items)
        dataset = _of_known(description, table, known_users, known_items)
        findings += check_dataset(dataset)
        findings += _extra_columns(description, base, table, dataset)
    if isinstance(items, Items) and description.items:
        findings += _genres(description, base)
    return sorted(findings, key=lambda finding: list(Severity).index(finding.severity))


def _extra_columns(description: DatasetDescription, base: Path, table: EventTable, dataset: Dataset) -> list[Finding]:
    """Suspects among columns that the description does not name: the label in disguise, or figures of the future."""
    findings = []
    liked = (table.rating >= LIKED_FROM).astype(np.float32)
    for name, values in _extra_numbers(description.events, base, description.events.columns.model_dump()):
        tells = auc(liked, values) if len(values) == len(liked) else float("nan")
        if max(tells, 1 - tells) >= TELLS_LABEL:
            findings.append(
                Finding(
                    Severity.WARNING,
                    f"events.{name}",
                    f"orders likes almost perfectly (AUC {max(tells, 1 - tells):.3f})",
                    "Probably known only after the event: never make a feature of it.",
                )
            )
    events = dataset.events
    if description.users:
        findings += _outcome_columns("users", description.users, base, events.user, dataset.users.ids, events)
    if description.items:
        findings += _outcome_columns("items", description.items, base, events.item, dataset.items.ids, events)
    return findings


def _outcome_columns(
    where: str, side: TableDescription, base: Path, rows: NDArray[np.int32], ids: NDArray[np.int64], events: Events
) -> Iterator[Finding]:
    columns = side.model_dump()["columns"]
    count = np.bincount(rows, minlength=len(ids))
    mean = np.bincount(rows, weights=events.rating, minlength=len(ids)) / np.maximum(count, 1)
    order = np.argsort(read_table(side, base, {"id": columns["id"]})["id"].to_numpy(), kind="stable")
    for name, values in _extra_numbers(side, base, columns):
        seen = count >= 1
        for outcome, what in ((mean, "mean rating"), (count, "number of events")):
            if seen.sum() < MIN_ROWS or np.ptp(values[order][seen]) == 0 or np.ptp(outcome[seen]) == 0:
                continue
            follows = abs(float(spearmanr(values[order][seen], outcome[seen]).statistic))
            if follows >= FOLLOWS_OUTCOME:
                yield Finding(
                    Severity.WARNING,
                    f"{where}.{name}",
                    f"follows the {what} of all events, those to be predicted too (rank correlation {follows:.2f})",
                    "Computed from the future, then: never make a feature of it.",
                )


def _extra_numbers(
    table: TableDescription, base: Path, named: dict[str, str | None]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Columns of numbers in a Parquet or text table that the description does not name."""
    path = base / table.path
    if table.header is not None:
        names = [name for name in table.header if name not in named.values()]
    elif not is_text(path):
        names = [name for name in pa.dataset.dataset(path, format="parquet").schema.names if name not in named.values()]
    else:
        with path.open(encoding=table.encoding) as file:
            names = [name.strip('"') for name in file.readline().rstrip("\n").split(table.separator)]
        names = [name for name in names if name not in named.values()]
    for name, values in zip(names, read_table(table, base, {name: name for name in names}).columns, strict=True):
        kind = values.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            yield name, np.nan_to_num(values.cast(pa.float64()).to_numpy())


def _unknown_ids(table: EventTable, users: Users, items: Items) -> Iterator[Finding]:
    for what, ids, known in (("user", table.user, users.ids), ("item", table.item, items.ids)):
        absent = np.unique(ids[~np.isin(ids, known)])
        if len(absent):
            share = float(np.isin(ids, absent).mean())
            yield Finding(
                Severity.ERROR,
                f"events.{what}",
                f"{len(absent):,} {what} ids are not in the table of {what}s ({share:.1%} of events), e.g. {absent[0]}",
                f"Add them to the table, drop those events, or describe no table of {what}s.",
            )


def _of_known(description: DatasetDescription, table: EventTable, users: Users, items: Items) -> Dataset:
    """The dataset without the events that name unknown users or items."""
    known = np.isin(table.user, users.ids) & np.isin(table.item, items.ids)
    order = np.flatnonzero(known)[np.argsort(table.timestamp_ms[known], kind="stable")]
    events = Events(
        np.searchsorted(users.ids, table.user[order]).astype(np.int32),
        np.searchsorted(items.ids, table.item[order]).astype(np.int32),
        table.rating[order],
        table.timestamp_ms[order],
    )
    return Dataset(description.name, description.name, users, items, events)


def _genres(description: DatasetDescription, base: Path) -> Iterator[Finding]:
    items = description.items
    assert items is not None
    named = items.columns.model_dump() | {f"flag {name}": name for name in items.genre_flags}
    unknown = unknown_genres(genre_names_of(read_table(items, base, named), items))
    if unknown:
        yield Finding(
            Severity.WARNING,
            "items.genres",
            f"{len(unknown)} genres are not in RecStack's vocabulary and are dropped: {', '.join(unknown[:8])}",
            "Rename them to ones that are (docs/data.md lists them), or extend GENRES in features/schema.py.",
        )
