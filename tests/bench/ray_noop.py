"""Ray Serve with a replica that answers Rank at once: as RecStack sets Serve up, and as Serve comes.

Each runs in a process of its own, for Ray reads its environment when it is imported.
"""

import asyncio
import os
import signal
import threading
from pathlib import Path
from typing import Any, Literal

from grpc_health.v1 import health_pb2

from recstack.api.ranking.v1 import ranking_pb2
from recstack.config import RankingSettings, Settings
from recstack.ports import free_ports
from services.ranking.ray_environment import ray_environment, split_address, temporary_path

Setup = Literal["ours", "defaults"]

SCORES = 500


class NoopReplica:
    """Answers without looking at the request."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._answer = ranking_pb2.RankResponse(scores=[0.5] * SCORES)

    async def Rank(self, request: ranking_pb2.RankRequest) -> ranking_pb2.RankResponse:
        """A ready-made answer."""
        return self._answer

    async def Check(self, request: health_pb2.HealthCheckRequest) -> health_pb2.HealthCheckResponse:
        """Always healthy."""
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


def serve(setup: Setup, address: str) -> None:
    """Serve at `address` until SIGTERM."""
    temp_dir = temporary_path()
    ranking = RankingSettings(address=address)
    if setup == "ours":
        os.environ.update(ray_environment(ranking, temp_dir))
        from services.ranking.serve_app import serve_until_signal

        asyncio.run(serve_until_signal(Settings(ranking=ranking), temp_dir, NoopReplica))
    else:
        _serve_defaults(address, temp_dir)


def _serve_defaults(address: str, temp_dir: Path) -> None:
    """The fewest words in which Serve serves gRPC. Only what two Rays on a machine need to keep apart is set."""
    # As ours: priority is not what is compared, and without the first two it may not even start on a busy machine.
    os.environ.update(
        {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60", "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    )
    import ray
    from ray import serve as ray_serve
    from ray.serve.config import HTTPOptions, gRPCOptions

    from services.ranking.serve_app import GRPC_SERVICER_FUNCTIONS, _stop

    host, port = split_address(address)
    temp_dir.mkdir(mode=0o700)
    try:
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            configure_logging=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(temp_dir),
        )
        ray_serve.start(
            http_options=HTTPOptions(host=host, port=free_ports(1)[0]),
            grpc_options=gRPCOptions(port=port, grpc_servicer_functions=GRPC_SERVICER_FUNCTIONS),
        )
        ray_serve.run(ray_serve.deployment(NoopReplica).bind({}), name="noop")
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())  # only now: Ray's native code puts its own handler there
        stop.wait()
    finally:
        _stop(temp_dir)
