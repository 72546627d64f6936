"""Ports for servers that start soon."""

import random
import socket
from pathlib import Path

from recstack.ports import free_ports


def test_free_ports_are_in_a_row_and_can_be_listened_on() -> None:
    ports = free_ports(5)
    assert ports == list(range(ports[0], ports[0] + 5))
    for port in ports:
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_no_outgoing_connection_takes_them() -> None:
    first, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert max(free_ports(50)) < first


def test_processes_that_seed_alike_choose_differently() -> None:
    random.seed(0)
    chosen = {free_ports(1)[0] for _ in range(20)}
    random.seed(0)
    assert chosen != {free_ports(1)[0] for _ in range(20)}
