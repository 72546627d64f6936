"""The description of a dataset: a small YAML file that says where events, users and items are, and what their columns
mean. `docs/data.md` explains every key with examples.
"""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recstack.errors import DataError

DESCRIPTION_FILE = "dataset.yaml"
"""Name of the description in a dataset's folder."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TableDescription(_Strict):
    """Where a table is. path: a Parquet file, a folder of them, or a text file, relative to the description.

    separator, encoding, header: of text files only; header names the columns of a file without a first line of names.
    """

    path: str
    separator: str = Field(",", min_length=1, max_length=1)
    encoding: str = "utf-8"
    header: tuple[str, ...] | None = None


class EventColumns(_Strict):
    """Columns of events. Without `rating` every event counts as `EventsDescription.unrated_as`; without `time` events
    are taken to be in order of time."""

    user: str = "user_id"
    item: str = "item_id"
    rating: str | None = None
    time: str | None = None


class EventsDescription(TableDescription):
    """Who did what when. time_unit: of numbers; Parquet timestamps know their own. unrated_as: 1 to 5 stars."""

    columns: EventColumns
    time_unit: Literal["s", "ms"] = "s"
    unrated_as: float = Field(5.0, ge=1, le=5)


class UserColumns(_Strict):
    """Columns of users: gender (F, M, female, male), age (years), occupation (0..20), region (a postal code)."""

    id: str = "user_id"
    gender: str | None = None
    age: str | None = None
    occupation: str | None = None
    region: str | None = None


class UsersDescription(TableDescription):
    """Who the users are. occupations: names in the order of their numbers, where the column holds names."""

    columns: UserColumns = UserColumns()
    occupations: tuple[str, ...] | None = None


class ItemColumns(_Strict):
    """Columns of items: title (a year in brackets at its end is taken when there is no year column), year, genres (a
    list, or text with `genre_separator`)."""

    id: str = "item_id"
    title: str | None = None
    year: str | None = None
    genres: str | None = None


class ItemsDescription(TableDescription):
    """What the items are. genre_flags: columns of 0 and 1 that are named after genres, in place of `genres`."""

    columns: ItemColumns = ItemColumns()
    genre_separator: str = "|"
    genre_flags: tuple[str, ...] = ()


class DatasetDescription(_Strict):
    """A dataset. Users and items that have no table are those that events name, with nothing known of them."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    events: EventsDescription
    users: UsersDescription | None = None
    items: ItemsDescription | None = None


def find_description(path: Path) -> Path | None:
    """The description at `path`: the file itself, or the one in that folder; None where there is none."""
    if path.is_dir():
        path = path / DESCRIPTION_FILE
    return path if path.is_file() and path.suffix in (".yaml", ".yml") else None


def read_description(path: Path) -> DatasetDescription:
    """Read a description; DataError says which key is wrong and what was expected."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"cannot read {path}: {error}; docs/data.md shows what a description looks like") from error
    try:
        return DatasetDescription.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        given = "" if first["type"] == "missing" else f", got {first['input']!r}"
        raise DataError(f"{path}: {place}: {first['msg']}{given}; docs/data.md lists every key") from error
