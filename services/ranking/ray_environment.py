"""Environment of a local Ray Serve, decided before Ray is imported: Serve reads it at import time. Imports no Ray.

A variable that the user has set wins.
"""

import secrets
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

from recstack.config import RankingSettings
from recstack.errors import StackError
from recstack.ports import free_ports

# Unix socket paths end at 107 bytes; HAProxy adds 73 to the folder while it starts, Ray 65.
MAX_TEMP_PATH = 34


def serving_environment(ranking: RankingSettings) -> Mapping[str, str]:
    """Variables for a Serve that is fast, wherever it runs. k8s/components/ranking-ray sets it for one replica."""
    streams = str(max(1024, 4 * ranking.max_queued))
    return {
        # HAProxy in front and no extra threads behind: several times the requests/s of Serve's defaults.
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # A thread carries about 8,000 requests/s (0.12 ms each), a replica at most a quarter of that.
        "RAY_SERVE_HAPROXY_NBTHREAD": str(max(1, ranking.replicas // 4)),
        # With HAProxy's 100 streams per connection a gateway would queue at its own end, where no limit answers.
        "RAY_SERVE_HAPROXY_H2_FE_MAX_CONCURRENT_STREAMS": streams,
        "RAY_SERVE_HAPROXY_H2_BE_MAX_CONCURRENT_STREAMS": streams,
        # Ray runs workers at the lowest priority but four (nice 15), meant for batch work: gateway and feature store
        # beside them would leave the replica and the proxy what time they do not want.
        "RAY_worker_niceness": "0",
        # A proxy that is not ready within 5 s is killed and started again, which on a slow machine goes on for ever.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        # Nothing is sent to anybody.
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_COLOR_PREFIX": "0",
    }


def ray_environment(ranking: RankingSettings, temp_dir: Path) -> Mapping[str, str]:
    """The same for a Serve that is private to this process and leaves nothing outside `temp_dir`."""
    # Twice the replicas: a rolling update starts the new ones beside the old.
    per_protocol = 2 * ranking.replicas + 2
    stats, metrics, fallback_http, fallback_grpc, *direct = free_ports(4 + 2 * per_protocol)
    haproxy = temp_dir / "h"
    return {
        **serving_environment(ranking),
        # Serve's ports and paths are fixed by default, and its gRPC servers share a taken port without a word
        # (it passes so_reuseport as the string "0", which gRPC ignores), so two stacks on a machine would mix.
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(fallback_grpc),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(direct[0]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(direct[per_protocol]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(direct[per_protocol]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(direct[-1] + 1),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "c"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "a"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(haproxy / "m"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "s"),
        # How long a stopping replica stays reachable for HAProxy to learn of it; 30 s by default.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        # A token for this Ray alone; without one Ray makes a file in the home folder that all its clusters share.
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }


def temporary_path() -> Path:
    """Where to make the folder for Ray's session: a new name, short enough for the Unix sockets in it."""
    name = f"recstack-ray-{secrets.token_hex(4)}"
    parent = tempfile.gettempdir()
    return Path(parent if len(parent) + 1 + len(name) <= MAX_TEMP_PATH else "/tmp", name)


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`. Raises StackError when the port is taken or the address makes no sense."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        with socket.create_server(
            (host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        ) as probe:
            return host, int(probe.getsockname()[1])
    except (OSError, ValueError) as error:
        raise StackError(
            f"cannot listen on {address}: {error}; stop the other process, or choose another address in the settings"
        ) from error
