"""The one error taxonomy. Raised where a problem is understood, mapped to gRPC once, in `recstack.rpc.server`.

    RecStackError                 status sent to the caller
    ├── InvalidRequestError       INVALID_ARGUMENT      the request can never succeed as it is
    ├── NotFoundError             NOT_FOUND             it names something that does not exist
    ├── OverloadedError           RESOURCE_EXHAUSTED    a queue is full; try again later
    ├── DeadlineError             DEADLINE_EXCEEDED     no time left to do it
    ├── UnavailableError          UNAVAILABLE           something behind the server is down; retry is safe
    ├── BundleError               FAILED_PRECONDITION   a bundle is missing, corrupt or of another schema
    ├── DataError                 INVALID_ARGUMENT      a data file is missing or malformed
    └── StackError                FAILED_PRECONDITION   the local stack cannot start (port taken, service died)

Every message says what was got, what was expected and what to do next.
"""

import grpc


class RecStackError(Exception):
    """Base of every error that RecStack raises on purpose. `code` is its gRPC status."""

    code: grpc.StatusCode = grpc.StatusCode.INTERNAL


class InvalidRequestError(RecStackError):
    """The request can never succeed as it is."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(RecStackError):
    """The request names something that does not exist."""

    code = grpc.StatusCode.NOT_FOUND


class OverloadedError(RecStackError):
    """A bounded queue is full."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class DeadlineError(RecStackError):
    """No time is left to do the work."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class UnavailableError(RecStackError):
    """A dependency is down; the caller may retry."""

    code = grpc.StatusCode.UNAVAILABLE


class BundleError(RecStackError):
    """A model bundle is missing, corrupt or made for another feature schema."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class DataError(RecStackError):
    """A data file is missing or malformed."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class StackError(RecStackError):
    """The local stack cannot start or stop."""

    code = grpc.StatusCode.FAILED_PRECONDITION


_BY_STATUS = {
    kind.code: kind
    for kind in (InvalidRequestError, NotFoundError, OverloadedError, DeadlineError, UnavailableError, BundleError)
}


def error_kind(code: grpc.StatusCode) -> type[RecStackError]:
    """The class that a status received from a server stands for; RecStackError itself for one that none of ours is."""
    return _BY_STATUS.get(code, RecStackError)
