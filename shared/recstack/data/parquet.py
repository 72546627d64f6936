"""A dataset as a described folder of Parquet files: what other programs write for RecStack, and what it can stream."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from recstack.data.dataset import Dataset
from recstack.data.description import DESCRIPTION_FILE
from recstack.features.schema import AGE_BANDS, genre_names

ROWS_PER_GROUP = 100_000
"""Events in a row group: what a streaming reader holds of a file at once."""


def write_parquet(dataset: Dataset, folder: Path) -> Path:
    """Write events, users, items and their description into `folder`; returns the description's path."""
    folder.mkdir(parents=True, exist_ok=True)
    users, items, events = dataset.users, dataset.items, dataset.events
    pq.write_table(
        pa.table(
            {
                "user_id": users.ids[events.user],
                "item_id": items.ids[events.item],
                "rating": events.rating,
                "time": pa.array(events.timestamp_ms, pa.timestamp("ms")),
            }
        ),
        folder / "events.parquet",
        row_group_size=ROWS_PER_GROUP,
    )
    ages = np.array([0, *AGE_BANDS])[users.age]
    pq.write_table(
        pa.table(
            {
                "user_id": users.ids,
                "gender": pa.array([(None, "F", "M")[gender] for gender in users.gender], pa.string()),
                "age": pa.array(ages, mask=users.age == 0),
                "occupation": pa.array(users.occupation.astype(np.int64) - 1, mask=users.occupation == 0),
                "region": pa.array([str(region - 1) if region else None for region in users.region], pa.string()),
            }
        ),
        folder / "users.parquet",
    )
    pq.write_table(
        pa.table(
            {
                "item_id": items.ids,
                "title": list(items.titles),
                "year": pa.array(items.years, mask=items.years == 0),
                "genres": pa.array([list(genre_names(row)) for row in items.genres], pa.list_(pa.string())),
            }
        ),
        folder / "items.parquet",
    )
    description = {
        "name": dataset.name,
        "events": {"path": "events.parquet", "columns": {"rating": "rating", "time": "time"}},
        "users": {
            "path": "users.parquet",
            "columns": {"gender": "gender", "age": "age", "occupation": "occupation", "region": "region"},
        },
        "items": {"path": "items.parquet", "columns": {"title": "title", "year": "year", "genres": "genres"}},
    }
    path = folder / DESCRIPTION_FILE
    path.write_text(yaml.safe_dump(description, sort_keys=False))
    return path
