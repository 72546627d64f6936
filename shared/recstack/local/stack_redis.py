"""The Redis of a local stack: an embedded one, or the one that REDIS_URL names."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from recstack.config import Settings
from recstack.errors import StackError
from recstack.local.ports import require_free
from recstack.local.processes import created_at, is_alive
from recstack.local.state import ProcessState
from recstack.redis_server import RedisServer


class StackRedis:
    """Embedded unless the settings say where a Redis runs.

    folder: its data. free_port: listen on a free port instead of the one of the default URL.
    """

    def __init__(self, settings: Settings, folder: Path, free_port: bool) -> None:
        self._settings = settings
        self._server: RedisServer | None = None
        if "redis_url" not in settings.model_fields_set:
            fsync: Literal["always", "everysec"] = (
                "always" if settings.feature_store.durability == "fsync" else "everysec"
            )
            port = 0 if free_port else urlsplit(settings.redis_url).port or 0
            self._server = RedisServer(folder, port, fsync, settings.home.resolve() / "logs" / "redis.log")

    @property
    def url(self) -> str:
        """redis:// URL for the services."""
        return self._server.url if self._server else self._settings.redis_url

    @property
    def alive(self) -> bool:
        """Whether the embedded server runs; True for one that is not ours to watch."""
        return self._server is None or is_alive(self._server.pid)

    def require_free_port(self) -> None:
        """StackError when the embedded server could not listen."""
        if self._server is not None:
            require_free("redis", self._address, "REDIS_URL to a Redis that is running")

    def start(self) -> str:
        """Start the embedded server and wait until it answers; a sentence that says where Redis is.

        Raises StackError for a Redis that a local stack cannot use.
        """
        if self._server is None:
            if self.url.partition("://")[0] not in ("redis", "rediss", "unix"):
                raise StackError(
                    f"a local stack needs one Redis server; REDIS_URL is {self._settings.redis_name}; "
                    "set it to redis://host:port/db or rediss://…, or unset it for an embedded one"
                )
            return f"using the Redis at {self._settings.redis_name}"
        self._server.start()
        return f"redis is ready at {self._address}"

    def stop(self) -> None:
        """Stop the embedded server; its data stays."""
        if self._server is not None:
            self._server.stop()

    def state(self) -> ProcessState | None:
        """The embedded server's process; None when there is none."""
        if self._server is None or self._server.pid is None:
            return None
        pid = self._server.pid
        return ProcessState(
            name="redis", address=self._address, pid=pid, created_at=created_at(pid), log=self._server.log_path
        )

    @property
    def _address(self) -> str:
        return urlsplit(self.url).netloc
