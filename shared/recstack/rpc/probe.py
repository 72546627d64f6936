"""`python -m recstack.rpc.probe HOST:PORT [SERVICE]`: exit status 0 when a gRPC server says SERVING.

For container health checks; Kubernetes asks by itself. SERVICE as in grpc.health.v1: the server as a whole if left out,
`live` for whether it answers at all. Asks without TLS: where services speak it, name their `tls.health_port`.
"""

import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recstack.rpc.credentials import Tls, channel_credentials, load_pem

TIMEOUT_SECONDS = 3.0


def probe(address: str, service: str = "", timeout: float = TIMEOUT_SECONDS, tls: Tls | None = None) -> str:
    """The status of a server by name, for example SERVING; UNREACHABLE when it does not answer."""
    credentials = channel_credentials(load_pem(tls)) if tls else None
    with grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its published type stub lacks the methods
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout)
        except grpc.RpcError as error:
            known: Any = error
            return "UNREACHABLE" if known.code() is grpc.StatusCode.UNAVAILABLE else str(known.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def is_serving(address: str, timeout: float = 1.0, tls: Tls | None = None) -> bool:
    """Whether the gRPC server at host:port says SERVING."""
    return probe(address, timeout=timeout, tls=tls) == "SERVING"


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m recstack.rpc.probe HOST:PORT [SERVICE]")
    status = probe(sys.argv[1], service=sys.argv[2] if len(sys.argv) == 3 else "")
    print(status)
    sys.exit(status != "SERVING")
