"""What is wrong with a dataset in memory, found before an hour of training and not after it.

An error stops training or makes its figures wrong, a warning probably does, a note is worth knowing.
`recstack.data.validation_files` looks at the files of described datasets.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from recstack.data.dataset import MS_PER_DAY, Dataset
from recstack.data.splits import temporal_split
from recstack.errors import DataError

EPOCH_YEAR = 1970
DAYS_PER_YEAR = 365.2425
PLAUSIBLE_FROM_MS = 20 * 365 * MS_PER_DAY
"""1990: recorded clicks and ratings are younger; earlier instants mean seconds taken for milliseconds, or no times."""

FEW_EVENTS = 5


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or worth knowing. where: table or column. advice: what to do about it."""

    severity: Severity
    where: str
    message: str
    advice: str


def check_dataset(dataset: Dataset) -> list[Finding]:
    """Findings of a dataset in memory."""
    if not len(dataset.events):
        return [Finding(Severity.ERROR, "events", "no event is left to train on", "Correct the ids or give more data.")]
    return [*_duplicates(dataset), *_times(dataset), *_constants(dataset), *_sparseness(dataset), *_split(dataset)]


def _duplicates(dataset: Dataset) -> Iterator[Finding]:
    events = dataset.events
    pair = events.user.astype(np.int64) * len(dataset.items.ids) + events.item
    same = len(pair) - np.unique(np.stack([pair, events.timestamp_ms]), axis=1).shape[1]
    again = len(pair) - len(np.unique(pair)) - same
    if same:
        yield Finding(
            Severity.WARNING,
            "events",
            f"{same:,} events repeat another one (same user, item and time)",
            "Drop the copies: they count twice in training and in every figure.",
        )
    if again:
        yield Finding(
            Severity.NOTE,
            "events",
            f"{again:,} events are of an item that the user had before, at another time",
            "Fine for watches and clicks; for ratings keep the last one.",
        )


def _times(dataset: Dataset) -> Iterator[Finding]:
    stamps = dataset.events.timestamp_ms
    future = int((stamps > time.time() * 1000).sum())
    if future:
        yield Finding(
            Severity.ERROR,
            "events.time",
            f"{future:,} events lie in the future",
            "Check `time_unit` and the clock that wrote them.",
        )
    if stamps[-1] < PLAUSIBLE_FROM_MS:
        yield Finding(
            Severity.WARNING,
            "events.time",
            "all events lie before 1990",
            "Check `time_unit`. A file without times is fine: its order is used.",
        )
        return
    years = dataset.items.years[dataset.events.item]
    released_ms = (years.astype(np.float64) - EPOCH_YEAR) * DAYS_PER_YEAR * MS_PER_DAY
    early = int(((years > 0) & (stamps < released_ms)).sum())
    if early:
        yield Finding(
            Severity.WARNING,
            "events.time",
            f"{early:,} events precede the year of their item ({early / len(stamps):.2%})",
            "Time travel: check years and times; a split in time would teach the future.",
        )


def _constants(dataset: Dataset) -> Iterator[Finding]:
    columns = {
        "events.rating": dataset.events.rating,
        "users.gender": dataset.users.gender,
        "users.age": dataset.users.age,
        "users.occupation": dataset.users.occupation,
        "users.region": dataset.users.region,
        "items.year": dataset.items.years,
        "items.genres": dataset.items.genres.max(axis=1, initial=0),
    }
    for where, values in columns.items():
        if len(values) and (values == values[0]).all():
            absent = where != "events.rating" and values[0] == 0
            yield Finding(
                Severity.NOTE if absent else Severity.WARNING,
                where,
                "is not given" if absent else f"has the same value in every row ({values[0]:g})",
                "Models do without it." if absent else "It can teach nothing; for ratings, likes cannot be told apart.",
            )


def _sparseness(dataset: Dataset) -> Iterator[Finding]:
    per_user = np.bincount(dataset.events.user, minlength=len(dataset.users.ids))
    per_item = np.bincount(dataset.events.item, minlength=len(dataset.items.ids))
    for where, counts in (("users", per_user), ("items", per_item)):
        none, rare = int((counts == 0).sum()), int(((counts > 0) & (counts < FEW_EVENTS)).sum())
        if none + rare:
            yield Finding(
                Severity.NOTE,
                where,
                f"{none:,} of {len(counts):,} have no event, {rare:,} more have fewer than {FEW_EVENTS}",
                "They are recommended for, or recommended, from what else is known of them.",
            )


def _split(dataset: Dataset) -> Iterator[Finding]:
    try:
        split = temporal_split(dataset)
    except DataError as error:
        yield Finding(Severity.ERROR, "events.time", str(error), "Without a split nothing can be judged.")
        return
    events = dataset.events
    new = 1 - float(np.isin(events.user[split.test], events.user[split.train]).mean())
    yield Finding(
        Severity.NOTE,
        "events",
        f"{new:.0%} of the test period's events are of users without a training event",
        "The more, the more profile and first events have to carry.",
    )
