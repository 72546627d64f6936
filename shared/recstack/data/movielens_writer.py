"""Writer of MovieLens-1M's format, the counterpart of `recstack.data.movielens`."""

from pathlib import Path

from recstack.data.dataset import Dataset
from recstack.errors import DataError
from recstack.features.schema import AGE_BANDS, GENRES


def write_movielens(dataset: Dataset, folder: Path) -> None:
    """Write users.dat, movies.dat and ratings.dat into `folder`, which is created where needed.

    Ratings are written in the order of the events and times as whole seconds, so that `read_movielens` gives the
    same events back where the dataset's times are whole seconds. Raises DataError for what the format cannot say:
    an unknown gender, age or occupation, an item without genres, ratings other than 1 to 5 whole stars, a title
    outside latin-1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("users.dat", _users(dataset)),
        ("movies.dat", _movies(dataset)),
        ("ratings.dat", _ratings(dataset)),
    ):
        (folder / name).write_bytes(text)


def _users(dataset: Dataset) -> bytes:
    users = dataset.users
    lines = []
    for user_id, (gender, age, occupation, region) in zip(users.ids.tolist(), users.profiles().tolist(), strict=True):
        if not (gender and age and occupation):
            raise DataError(
                f"user {user_id} has profile ids gender {gender}, age {age}, occupation {occupation}; MovieLens's "
                "format has no word for unknown (0); fill them in"
            )
        zip_code = f"{region - 1}0000" if region else "unknown"
        lines.append(f"{user_id}::{'?FM'[gender]}::{AGE_BANDS[age - 1]}::{occupation - 1}::{zip_code}\n")
    return "".join(lines).encode("latin-1")


def _movies(dataset: Dataset) -> bytes:
    items = dataset.items
    lines = []
    for item_id, title, year, genres in zip(
        items.ids.tolist(), items.titles, items.years.tolist(), items.genres.tolist(), strict=True
    ):
        if not any(genres):
            raise DataError(f"item {item_id} has no genre; MovieLens's format needs one; fill it in")
        names = "|".join(GENRES[genre - 1] for genre in genres if genre)
        lines.append(f"{item_id}::{title}{f' ({year})' if year else ''}::{names}\n")
    try:
        return "".join(lines).encode("latin-1")
    except UnicodeEncodeError as error:
        letter = error.object[error.start : error.end]
        raise DataError(f"a title has {letter!r}, which latin-1 cannot hold; replace it") from error


def _ratings(dataset: Dataset) -> bytes:
    users, items, events = dataset.users, dataset.items, dataset.events
    odd = ~((events.rating >= 1) & (events.rating <= 5) & (events.rating % 1 == 0))
    if odd.any():
        raise DataError(f"got a rating of {events.rating[odd][0]}; MovieLens's format holds 1 to 5 whole stars")
    columns = (
        users.ids[events.user].tolist(),
        items.ids[events.item].tolist(),
        events.rating.astype(int).tolist(),
        (events.timestamp_ms // 1000).tolist(),
    )
    return "".join(
        f"{user}::{item}::{rating}::{at}\n" for user, item, rating, at in zip(*columns, strict=True)
    ).encode()
