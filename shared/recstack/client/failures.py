"""From a failed gRPC call to the error taxonomy: the status decides the class, the server's message is kept."""

import grpc
import grpc.aio

from recstack.errors import DeadlineError, RecStackError, UnavailableError, error_kind
from recstack.rpc.credentials import connection_problem

# What gRPC's own core writes when the call never reached a server, or when its own timer ran out.
_NOT_CONNECTED = ("failed to connect", "connections to all backends failing", "dns resolution failed")
_TIMER = "deadline exceeded"


def error_of(failure: grpc.RpcError, address: str, timeout: float) -> RecStackError:
    """The RecStackError that a failed call stands for; an unmapped status becomes a plain RecStackError."""
    assert isinstance(failure, grpc.Call | grpc.aio.AioRpcError)
    status, details = failure.code(), failure.details() or ""
    if status is grpc.StatusCode.UNAVAILABLE and details.lower().startswith(_NOT_CONNECTED):
        if problem := connection_problem(details):
            return UnavailableError(f"cannot connect to {address}: {problem}")
        return UnavailableError(f"no gateway answers at {address}; start one with `recstack up`, or check the address")
    if status is grpc.StatusCode.DEADLINE_EXCEEDED and details.lower().startswith(_TIMER):
        return DeadlineError(
            f"the gateway at {address} did not answer within {timeout:g} s; allow more time, or ask `recstack status`"
        )
    kind = error_kind(status)
    return kind(details) if kind is not RecStackError else RecStackError(f"{address} answered {status.name}: {details}")
