"""The Redis client of this service, and what its errors mean to a caller."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from recstack.errors import UnavailableError
from services.feature_store.sentinel import SENTINEL_SCHEME, MasterClient, SentinelUrl

RedisClient = Redis | RedisCluster

CLUSTER_SCHEME = "redis+cluster"

POOL_SIZE = 32
"""Round trips in flight. One asyncio process saturates its core long before; more would only queue in Redis."""

_CLUSTER_CONNECTIONS_PER_NODE = 256
"""The cluster client refuses where the pool would wait, so it gets room for every call in flight."""


def connect(url: str, timeout_ms: int) -> RedisClient:
    """A client for `redis[s]://host:port/db`, for a Redis Cluster with `redis+cluster://host:port` (any node), or for
    the master that Sentinels name with `redis+sentinel://host:port,host:port/service/db`.

    Connects on first use. `timeout_ms` bounds each round trip. A call that finds all connections busy waits for one:
    its own deadline is the bound. Nothing is retried here: connections that Redis closed are replaced before they
    are used, and callers retry UNAVAILABLE with a budget.
    """
    seconds = timeout_ms / 1000
    scheme, separator, rest = url.partition("://")
    if scheme == SENTINEL_SCHEME:
        return MasterClient(SentinelUrl.parse(url), timeout_ms)
    if scheme == CLUSTER_SCHEME:
        return RedisCluster.from_url(
            f"redis{separator}{rest}",
            max_connections=_CLUSTER_CONNECTIONS_PER_NODE,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
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
    """host:port of a Redis URL, without credentials; of Sentinels, the name of the master as well."""
    parts = urlsplit(url)
    if parts.scheme == SENTINEL_SCHEME:
        return str(SentinelUrl.parse(url))
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
    except (exceptions.ClusterError, exceptions.SlotNotCoveredError) as error:
        raise UnavailableError(f"the Redis Cluster at {address} is not whole: {error}") from error
    except (exceptions.ConnectionError, exceptions.RedisClusterException, OSError) as error:
        raise UnavailableError(f"cannot reach Redis at {address}; is it running?") from error
    except (exceptions.OutOfMemoryError, exceptions.ReadOnlyError) as error:
        raise UnavailableError(f"Redis at {address} takes no writes now: {error}") from error
    except exceptions.ResponseError as error:
        if "NOREPLICAS" not in str(error):  # fewer replicas than its min-replicas-to-write
            raise
        raise UnavailableError(f"Redis at {address} takes no writes now: {error}") from error
