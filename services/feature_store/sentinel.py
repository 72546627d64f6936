"""A Redis whose master may change: Sentinels say who it is, and this client follows.

`redis+sentinel://[user:password@]host:port,host:port/service/db`: any number of Sentinels, the name under which they
watch the master, and a database (0 if left out). User and password are the master's; Sentinels that want a password
get it as `?sentinel_password=…`.
"""

from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from recstack.errors import StackError

SENTINEL_SCHEME = "redis+sentinel"

_PORT = 26379
_CONNECTIONS = 256
"""Sentinel's pool refuses where the pool for one Redis would wait, so it gets room for every call in flight."""

_FORM = "redis+sentinel://[user:password@]host:port,host:port/service/db"


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """What a URL says. sentinels: host and port of each. service: the master's name; db, username, password: its."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    db: int
    username: str | None
    password: str | None
    sentinel_password: str | None

    @classmethod
    def parse(cls, url: str) -> Self:
        """From text; StackError (without the password) for a URL of another form."""
        parts = urlsplit(url)
        credentials, _, nodes = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        service, _, db = parts.path.strip("/").partition("/")
        try:
            sentinels = tuple(_node(node) for node in nodes.split(","))
            number = int(db or 0)
        except ValueError as error:
            raise StackError(f"REDIS_URL names {nodes}{parts.path}; expected {_FORM}") from error
        if not service or not all(host for host, _ in sentinels):
            raise StackError(f"REDIS_URL names {nodes}{parts.path}; expected {_FORM}")
        sentinel_password = parse_qs(parts.query).get("sentinel_password", [None])[0]
        return cls(sentinels, service, number, unquote(username) or None, unquote(password) or None, sentinel_password)

    @property
    def master(self) -> str:
        """URL of the master for what takes one; the host in it is the service's name, which `locate` resolves."""
        user = quote(self.username or "", safe="")
        credentials = f"{user}:{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{credentials}{self.service}/{self.db}"

    def __str__(self) -> str:
        """For people, without passwords."""
        return f"{self.service} (Sentinel {','.join(f'{host}:{port}' for host, port in self.sentinels)})"


class MasterClient(Redis):
    """redis-py's client of a Sentinel service. Connections that a failover ends are made again, to the new master."""

    def __init__(self, url: SentinelUrl, timeout_ms: int) -> None:
        seconds = timeout_ms / 1000
        # All Sentinels must fit into one round trip's time: the first may be gone without a word.
        share = seconds / (len(url.sentinels) + 1)
        common: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "protocol": 2}
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
            list(url.sentinels),
            sentinel_kwargs={
                "socket_timeout": share,
                "socket_connect_timeout": share,
                "password": url.sentinel_password,
                **common,
            },
        )
        self.url = url
        self._followed: tuple[str, int] | None = None
        self._pool: Any = SentinelConnectionPool(  # type: ignore[no-untyped-call]
            url.service,
            self._sentinel,
            max_connections=_CONNECTIONS,
            db=url.db,
            username=url.username,
            password=url.password,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            **common,
        )
        super().__init__(connection_pool=self._pool)
        self.auto_close_connection_pool = True

    async def locate(self) -> tuple[str, int]:
        """Host and port of the master now. Raises a ConnectionError of redis-py while there is none."""
        host, port = await self._sentinel.discover_master(self.url.service)
        return str(host), int(port)

    async def follow(self) -> bool:
        """Leave a master that Sentinels have replaced while it lives; whether there is another than before.

        Sentinel tells it so as late as ten seconds after a planned failover, and what is written to it until then is
        lost. Sentinels that do not answer change nothing.
        """
        try:
            master = await self._pool.get_master_address()  # closes idle connections to another one
        except (exceptions.ConnectionError, exceptions.TimeoutError):
            return False
        before, self._followed = self._followed, master
        return before not in (None, master)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the connections to the master and to the Sentinels."""
        await super().aclose(close_connection_pool)
        await self._sentinel.aclose()


def _node(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "")
    return host, int(port or _PORT)
