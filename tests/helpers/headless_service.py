"""A headless Service of Kubernetes on this machine: a name whose addresses change as pods come and go.

Pods are processes that listen on one port, each at a loopback address of its own (Linux has all of 127.0.0.0/8). A
real DNS server answers with those that are in, so that a client finds them by `target` as pods by `dns:///name:port`.
"""

import random
import time
from types import TracebackType
from typing import Self

from dnslib import QTYPE, RR, A, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer

from recstack.ports import free_port


class HeadlessService(BaseResolver):
    """Use as a context manager; `add` and `remove` what Kubernetes would when readiness changes or a pod ends."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._network = f"127.{random.randrange(1, 255)}.{random.randrange(255)}"
        self._pods: list[str] = []
        self._given = 0
        self._asked = time.monotonic()
        self.port = free_port()
        self._server = DNSServer(self, address="127.0.0.1", port=0, logger=DNSLogger("-request,-reply"))

    def __enter__(self) -> Self:
        self._server.start_thread()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        self._server.server.server_close()

    @property
    def target(self) -> str:
        """What a gRPC client connects to."""
        _, dns_port = self._server.server.server_address
        return f"dns://127.0.0.1:{dns_port}/{self._name}.recstack.svc.cluster.local:{self.port}"

    def new_pod(self) -> str:
        """host:port for a pod that is not in yet; never one that was there before."""
        self._given += 1
        return f"{self._address(self._given)}:{self.port}"

    def add(self, pod: str) -> None:
        """The pod is ready: the name leads to it."""
        self._pods.append(pod)

    def remove(self, pod: str) -> None:
        """The pod is going: who asks from now on does not hear of it."""
        self._pods.remove(pod)

    @property
    def seconds_since_asked(self) -> float:
        """How long ago a client looked the name up last."""
        return time.monotonic() - self._asked

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        """Answer a question, as `BaseResolver` has it. Addresses of version 4 only."""
        self._asked = time.monotonic()
        reply = request.reply()
        if request.q.qtype == QTYPE.A:
            for pod in tuple(self._pods):
                reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(pod.partition(":")[0]), ttl=0))
        return reply

    def _address(self, number: int) -> str:
        return f"{self._network}.{number}"
