"""What the local stack consists of, and how its settings reach the processes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recstack.config import Settings
from recstack.ports import free_port
from recstack.redis_server import HOST


@dataclass(frozen=True, slots=True)
class Service:
    """One service process. `section` names its part of Settings; `startup_seconds` bounds the time to SERVING."""

    name: str
    module: str
    section: str
    startup_seconds: float = 60.0

    def address(self, settings: Settings) -> str:
        """host:port where it listens."""
        address: str = getattr(settings, self.section).address
        return address


SERVICES = (
    Service("feature-store", "services.feature_store", "feature_store"),
    Service("retrieval", "services.retrieval", "retrieval"),
    Service("ranking", "services.ranking", "ranking", startup_seconds=120.0),  # Ray takes its time
    Service("gateway", "services.gateway", "gateway"),
)
"""The services of RecStack, callers last; all start at once, for each waits for what it needs."""


METRICS_PORT_STEP = 10
"""Between the metrics ports of two services on one machine; a service with several processes takes some in a row."""


def environment(settings: Settings) -> dict[str, str]:
    """Environment variables that give a child process exactly these settings, whatever its own environment says."""
    values = settings.model_dump(mode="json")
    values["home"] = str(settings.home.resolve())
    redis_url = values.pop("redis_url")
    # numpy's BLAS would start a thread per core in each of the services, and no setting of theirs limits those.
    return {"OPENBLAS_NUM_THREADS": "1", "REDIS_URL": redis_url, **dict(_flatten("RECSTACK_", values))}


def own_metrics(settings: Settings, number: int) -> dict[str, str]:
    """Where the service with this number in SERVICES serves its metrics: on one machine each needs ports of its own."""
    port = settings.metrics.port
    return {"RECSTACK_METRICS__PORT": str(port + METRICS_PORT_STEP * number if port else 0)}


def with_addresses(settings: Settings, services: tuple[Service, ...], port: Callable[[], int] = free_port) -> Settings:
    """The same settings with each service on loopback and a port of its own."""
    changes = {
        service.section: getattr(settings, service.section).model_copy(update={"address": f"{HOST}:{port()}"})
        for service in services
    }
    return settings.model_copy(update=changes)


def _flatten(prefix: str, values: dict[str, Any]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            pairs += _flatten(f"{prefix}{name.upper()}__", value)
        else:
            pairs.append((f"{prefix}{name.upper()}", str(value)))
    return pairs
