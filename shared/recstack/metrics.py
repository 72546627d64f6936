"""Every metric of RecStack, in Prometheus' own client. The only place where metrics are named.

Recording is always on and costs a microsecond or two; nothing can be read until `export` opens a port. Label values
come from code (methods, stages, channels, statuses) or are bundle versions, never from callers.
"""

import os
import threading
import time
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from recstack.config import MetricsSettings
from recstack.errors import StackError
from recstack.rpc.workers import WORKER_VARIABLE

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_SHARES = tuple(step / 20 for step in range(21))
_COUNTS = (1, 2, 4, 8, 16, 32)
MOVE_SECONDS = 5.0
"""Between two looks for an earlier port."""
_DAYS = tuple(days * 86_400.0 for days in (1 / 24, 1, 7, 30, 90, 365))

# Every service
RPC_SECONDS = Histogram("recstack_rpc_seconds", "Time to answer a call.", ["method", "code"], buckets=_SECONDS)
BUNDLE_IN_USE = Gauge("recstack_bundle_in_use", "1 for the bundle that answers.", ["version"])
BUNDLE_CREATED = Gauge(
    "recstack_bundle_created_timestamp_seconds", "When the bundle that answers was published.", ["version"]
)
BUNDLE_REFUSED = Gauge("recstack_bundle_refused", "1 while the active bundle is refused and another one answers.")

# Gateway
STAGE_SECONDS = Histogram(
    "recstack_stage_seconds", "Time of a stage or component of a recommendation.", ["stage"], buckets=_SECONDS
)
DEGRADED = Counter("recstack_degraded", "Answers in which a component did less than it should.", ["component"])
COLD_STARTS = Counter("recstack_cold_starts", "Recommendations to users of whom nothing was known.")
CANDIDATES = Histogram(
    "recstack_candidates", "Distinct candidates of a recommendation.", buckets=(0, 50, 100, 200, 300, 400, 500, 1000)
)
SHOWN = Counter("recstack_shown", "Items shown; one that several channels recalled counts for each.", ["channel"])
SCORES = Histogram(
    "recstack_shown_score",
    "Scores of the items shown.",
    ["kind"],
    buckets=[step / 20 for step in range(21)] + [2, 3, 4, 5],
)
PROFILES = Counter("recstack_profiles", "Profiles read for recommendations.", ["status"])
HISTORY_AGE = Histogram(
    "recstack_history_age_seconds", "Age of a user's newest event when something is recommended.", buckets=(60, *_DAYS)
)
EVENTS = Counter("recstack_events", "Events recorded for the first time.", ["type"])
CHANNEL_EVENTS = Counter(
    "recstack_channel_events", "Those on recommended items; one counts for each of its channels.", ["type", "channel"]
)
ARM_EVENTS = Counter("recstack_arm_events", "Those on recommended items, by what made the answer.", ["type", "arm"])

# Retrieval
CHANNEL_SECONDS = Histogram("recstack_channel_seconds", "Compute time of a channel.", ["channel"], buckets=_SECONDS)
CHANNEL_ERRORS = Counter("recstack_channel_errors", "Channels that brought an error in place of items.", ["channel"])

# Ranking
QUEUE_SECONDS = Histogram("recstack_rank_queue_seconds", "Wait for a batch.", buckets=_SECONDS)
COMPUTE_SECONDS = Histogram("recstack_rank_compute_seconds", "Compute time of a request's batch.", buckets=_SECONDS)
BATCH_REQUESTS = Histogram("recstack_rank_batch_requests", "Requests in a request's batch.", buckets=_COUNTS)

# Feature store
FEATURE_ROWS = Counter("recstack_feature_rows", "Rows read.", ["entity", "status"])
REDIS_SECONDS = Histogram("recstack_redis_seconds", "Wait for Redis.", ["read"], buckets=_SECONDS)
REDIS_MEMORY_BYTES = Gauge("recstack_redis_memory_bytes", "Memory that Redis uses.")
REDIS_MEMORY_SHARE = Gauge("recstack_redis_memory_share", "Memory in use over maxmemory; 0 without a limit.")
REDIS_NOT_SAVING = Gauge("recstack_redis_not_saving", "1 while Redis cannot write to its disk.")


def label_values(enum: Any) -> dict[int, str]:
    """Values of a protobuf enum as labels: its names in small letters, without what they all begin with."""
    prefix = enum.Name(0).removesuffix("UNSPECIFIED")
    return {number: name.removeprefix(prefix).lower() for name, number in enum.items()}


def exporting() -> bool:
    """Whether anybody can read the metrics; what costs more than a few microseconds is recorded only then."""
    return _exports.exporting


class _Exports:
    exporting = False


_exports = _Exports()


def export(settings: MetricsSettings, attempts: int = 1) -> None:
    """Serve all metrics at http://HOST:PORT/metrics; does nothing when the port is 0.

    Workers of one service take the ports after each other: PORT, PORT + 1, … attempts: how many ports to try, for
    replicas whose number on this machine nobody knows; one that got a later port moves to an earlier one as soon as
    that is free. Raises StackError when they are taken.
    """
    if not settings.port:
        return
    first = settings.port + max(0, int(os.environ.get(WORKER_VARIABLE, "1")) - 1)
    try:
        port, server = _listen(settings.host, range(first, first + attempts))
    except OSError as refused:
        raise StackError(
            f"cannot serve metrics on {settings.host}:{first}: {refused.strerror}; set RECSTACK_METRICS__PORT to "
            "another port, or to 0 for none"
        ) from refused
    _exports.exporting = True
    if port > first:
        threading.Thread(target=_move, args=(settings.host, first, port, server), name="metrics", daemon=True).start()


def _listen(host: str, ports: range) -> tuple[int, WSGIServer]:
    """The first free port, and the server that has it; OSError when all are taken."""
    for port in ports:
        try:
            return port, start_http_server(port, host)[0]
        except OSError as error:
            refused = error
    raise refused


def _move(host: str, first: int, port: int, server: WSGIServer) -> None:
    """Outlive the replica that had the first port: in a pod, Prometheus knows of that one alone."""
    while port > first:
        time.sleep(MOVE_SECONDS)
        try:
            earlier, successor = _listen(host, range(first, port))
        except OSError:
            continue
        server.shutdown()
        server.server_close()
        port, server = earlier, successor
