"""Where the load goes: a gateway, and what is known of it and of the machine that asks."""

import os
import platform
from dataclasses import dataclass

from recstack import Client, Tls
from recstack.errors import RecStackError
from tests.load.crew import LoadError

INFO_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """A gateway under load. users: range of known ids. server: what it says it is; where: how it was started."""

    address: str
    users: tuple[int, int]
    server: str
    where: str

    @classmethod
    def at(
        cls, address: str, users: tuple[int, int], where: str = "a gateway that was running", tls: Tls | None = None
    ) -> "Place":
        """Ask the gateway who it is. Raises LoadError when it does not answer."""
        try:
            with Client(address, timeout=INFO_SECONDS, tls=tls) as client:
                info = client.info()
        except RecStackError as error:
            raise LoadError(f"no load without a gateway: {error}") from error
        bundles = {backend.bundle_version for backend in info.backends} - {""}
        server = f"RecStack {info.gateway.version}, bundle {', '.join(sorted(bundles)) or 'unknown'}"
        return cls(address, users, server, where)


def machine() -> str:
    """The machine of the load generator."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
