"""The Redis client of this service, and what its errors mean to a caller."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from recstack.errors import UnavailableError

POOL_SIZE = 32
"""Round trips in flight. One asyncio process saturates its core long before; more would only queue in Redis."""


def connect(url: str, timeout_ms: int) -> Redis:
    """A client with a bounded pool; connects on first use. `timeout_ms` bounds each round trip.

    A call that finds all connections busy waits for one: its own deadline is the bound. Nothing is retried here: the
    pool replaces connections that Redis closed before it hands them out, and callers retry UNAVAILABLE with a budget.
    """
    seconds = timeout_ms / 1000
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=POOL_SIZE,
        timeout=None,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # same data, and no server-push features that Redis 7.0 lacks
    )
    return Redis.from_pool(pool)


def display_address(url: str) -> str:
    """host:port of a Redis URL, without credentials."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"


@contextmanager
def redis_errors(address: str) -> Iterator[None]:
    """Turns errors of Redis that pass by themselves into UnavailableError; others are bugs and go through."""
    try:
        yield
    except exceptions.BusyLoadingError as error:
        raise UnavailableError(f"Redis at {address} is loading its data; try again shortly") from error
    except exceptions.TimeoutError as error:
        raise UnavailableError(
            f"Redis at {address} did not answer in time; is it overloaded, or is redis_timeout_ms too low?"
        ) from error
    except exceptions.AuthenticationError as error:
        raise UnavailableError(f"Redis at {address} refused the password in REDIS_URL") from error
    except (exceptions.ConnectionError, OSError) as error:
        raise UnavailableError(f"cannot reach Redis at {address}; is it running?") from error
    except (exceptions.OutOfMemoryError, exceptions.ReadOnlyError) as error:
        raise UnavailableError(f"Redis at {address} takes no writes now: {error}") from error
