"""Free TCP ports for servers that start soon."""

import secrets
import socket

from recstack.errors import StackError

# Below the kernel's ephemeral range, so that no outgoing connection takes a port between the choice and its use.
PORT_RANGE = range(20_000, 32_000)


def free_port() -> int:
    """A port that was free a moment ago, on every address of this machine."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """`count` such ports in a row. Raises StackError when there are none."""
    for _ in range(200):
        # Not `random`: processes that seed it alike (training does) would choose alike at the same time.
        start = PORT_RANGE.start + secrets.randbelow(len(PORT_RANGE) - count)
        ports = list(range(start, start + count))
        if all(_is_free(port) for port in ports):
            return ports
    raise StackError(f"no {count} free ports in a row between {PORT_RANGE.start} and {PORT_RANGE.stop}; free some")


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("", port)):
            return True
    except OSError:
        return False
