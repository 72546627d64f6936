"""Ports that are taken: by whom, and what to do about it."""

import socket

import psutil

from recstack.errors import StackError


def require_free(service: str, address: str, setting: str) -> None:
    """StackError when `address` (host:port) cannot be listened on; it names the service, the port and who has it."""
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            raise StackError(
                f"{service} cannot listen on {address}: {_owner(int(port)) or error.strerror}; "
                f"stop that process, or use --free-ports, or set {setting}"
            ) from error


def _owner(port: int) -> str:
    """Who listens on a port, as far as the operating system tells this user; empty when it does not."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return ""
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:] == (port,):
            return f"port {port} is taken by {_describe(connection.pid)}"
    return ""


def _describe(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    try:
        command = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return f"process {pid}"
    return f"process {pid} ({command[:80]})"
