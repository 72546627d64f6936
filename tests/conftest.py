"""Fixtures that several suites share: one real Redis per session, emptied for each test."""

from collections.abc import Iterator

import pytest
import redis
from hypothesis import settings

from recstack.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis process for the whole session. Tests that stop Redis start their own."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty Redis."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


# No test asserts a time: on a busy machine one example may take long.
settings.register_profile("recstack", deadline=None)
settings.load_profile("recstack")
