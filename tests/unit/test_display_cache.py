"""The display cache: all or nothing, for a time, within its capacity."""

import numpy as np

from recstack.api.common.v1.common_pb2 import FEATURE_STATUS_MISSING, FEATURE_STATUS_PRESENT
from services.gateway.hydrators.display_cache import DisplayCache
from services.gateway.pipeline.candidates import ItemColumns


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def read(*item_ids: int, year: int = 1990, missing: tuple[int, ...] = ()) -> ItemColumns:
    columns = ItemColumns.unknown(len(item_ids))
    columns.year[:] = [year + item_id for item_id in item_ids]
    columns.genres[:, 0] = item_ids
    columns.title[:] = [f"title {item_id}".encode() for item_id in item_ids]
    columns.status[:] = [FEATURE_STATUS_MISSING if one in missing else FEATURE_STATUS_PRESENT for one in item_ids]
    return columns


def test_what_was_put_comes_back_in_the_order_asked() -> None:
    cache = DisplayCache(10, seconds=5, clock=Clock())
    cache.put(ids(1, 2), read(1, 2))
    cache.put(ids(3), read(3))

    columns = cache.get(ids(3, 1))

    assert columns is not None
    assert columns.title.tolist() == [b"title 3", b"title 1"]
    assert columns.year.tolist() == [1993, 1991]
    assert columns.genres[:, 0].tolist() == [3, 1]
    assert columns.status.tolist() == [FEATURE_STATUS_PRESENT] * 2


def test_one_item_that_is_not_there_means_that_all_are_read() -> None:
    cache = DisplayCache(10, seconds=5, clock=Clock())
    cache.put(ids(1, 2), read(1, 2, missing=(2,)))

    assert cache.get(ids(1)) is not None
    assert cache.get(ids(1, 2)) is None, "an unknown item may be loaded at any moment"
    assert cache.get(ids(1, 9)) is None
    assert len(cache.get(ids())) == 0


def test_rows_expire_and_are_replaced() -> None:
    clock = Clock()
    cache = DisplayCache(10, seconds=5, clock=clock)
    cache.put(ids(1), read(1))
    clock.now += 5

    assert cache.get(ids(1)) is None
    cache.put(ids(1), read(1, year=2000))
    assert cache.get(ids(1)).year.tolist() == [2001]


def test_zero_seconds_remembers_nothing() -> None:
    cache = DisplayCache(10, seconds=0, clock=Clock())
    cache.put(ids(1), read(1))

    assert cache.get(ids(1)) is None


def test_a_full_cache_starts_anew_and_never_grows() -> None:
    cache = DisplayCache(3, seconds=5, clock=Clock())
    cache.put(ids(1, 2), read(1, 2))
    cache.put(ids(3, 4), read(3, 4))

    assert cache.get(ids(1)) is None
    assert cache.get(ids(3, 4)) is not None
    cache.put(ids(5, 6, 7, 8), read(5, 6, 7, 8))
    assert cache.get(ids(5, 6, 7)) is not None
    assert cache.get(ids(8)) is None


def test_answers_are_copies() -> None:
    """The pipeline owns its columns; nobody's answer may change another's."""
    cache = DisplayCache(3, seconds=5, clock=Clock())
    cache.put(ids(1), read(1))
    cache.get(ids(1)).year[0] = 7

    assert cache.get(ids(1)).year.tolist() == [1991]
