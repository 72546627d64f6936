"""grpc.health.v1 for Ray Serve, whose own health is not that protocol. Loaded by Serve's proxies: keep it light.

Only `Check` is registered, which is what Kubernetes' gRPC probes call; the streaming `Watch` answers UNIMPLEMENTED,
as the protocol allows.
"""

from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2


def add_health_check_to_server(servicer: Any, server: grpc.Server) -> None:
    """Register the `Check` of `servicer`, in the form of a generated `add_…Servicer_to_server`."""
    check = grpc.unary_unary_rpc_method_handler(
        servicer.Check,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(health.SERVICE_NAME, {"Check": check}),))
