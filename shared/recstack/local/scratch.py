"""Where the services put files that must not outlive the stack."""

from pathlib import Path


def scratch_environment(scratch: Path) -> dict[str, str]:
    """Environment variables that keep Ray's sessions and its HAProxy's files inside `scratch`.

    `scratch` must be short: Ray puts Unix sockets below it, whose paths are limited to 107 bytes.
    """
    proxy = scratch / "haproxy"
    return {
        "RAY_TMPDIR": str(scratch),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(proxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(proxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(proxy / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(proxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(proxy / "server-state"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
