"""What every call at every server gets, on plain grpc.aio and on Ray Serve: request id, span, time, fate of errors."""

import logging
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from recstack import tracing
from recstack.errors import RecStackError
from recstack.metrics import RPC_SECONDS
from recstack.rpc.request_id import accepted_request_id, bind_request_id, current_request_id, unbind_request_id

log = logging.getLogger("recstack.rpc")

_NOT_LOGGED = {
    grpc.StatusCode.INVALID_ARGUMENT,  # the caller's to mend
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,  # refused by the thousand under overload, and counted
}


_ROUNDING = 0.02
"""Part of a deadline that may be left when the caller's has passed: gRPC rounds it up by 1 % on its way."""


class ServedCall:
    """A call that is being answered. `code` is the name of the status that its caller gets."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.code = grpc.StatusCode.OK.name
        self.started = time.perf_counter()

    def cancelled(self, seconds_left: float | None) -> None:
        """The caller waits no longer: it has left, or, which is the server's failure, its time has run out."""
        if seconds_left is not None:
            allowed = time.perf_counter() - self.started + seconds_left
            if seconds_left <= _ROUNDING * allowed:
                self.code = grpc.StatusCode.DEADLINE_EXCEEDED.name

    def failed(self, error: Exception) -> tuple[grpc.StatusCode, str]:
        """Status and message for the caller; from within `except`.

        A RecStackError speaks for itself. Anything else is a defect: INTERNAL without details, the trace in the log.
        """
        if isinstance(error, RecStackError):
            self.code = error.code.name
            if error.code not in _NOT_LOGGED:
                log.warning("%s ends with %s: %s", self.method, self.code, error)
            return error.code, str(error)
        self.code = grpc.StatusCode.INTERNAL.name
        log.exception("unexpected error in %s", self.method)
        message = f"internal error in {self.method}; see the server's log for request {current_request_id()}"
        return grpc.StatusCode.INTERNAL, message


@contextmanager
def served_call(method: str, metadata: Collection[tuple[str, Any]]) -> Iterator[ServedCall]:
    """Around the handler of a call. method: "/package.Service/Name". metadata: what came with the call."""
    call = ServedCall(method)
    token = bind_request_id(accepted_request_id(metadata))
    with tracing.server_call(method, metadata):
        try:
            yield call
        except BaseException:
            if call.code == "OK":  # nobody has said why: the caller has gone
                call.code = "CANCELLED"
            raise
        finally:
            tracing.end_server_call(call.code, current_request_id())
            seconds = time.perf_counter() - call.started
            RPC_SECONDS.labels(method.rpartition("/")[2], call.code).observe(seconds, tracing.exemplar())
            unbind_request_id(token)
