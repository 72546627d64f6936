"""The id of the request at hand: given by the caller or made up, passed on to every backend, on every log line.

It lives in the context of the task that answers a call, so that lines of requests that are answered side by side keep
apart. Work that is handed to a thread has it only if the context is handed over too; a batch of several has none.
"""

import contextvars
import uuid
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

HEADER = "x-request-id"
"""Name in the metadata of a gRPC call."""

MAX_BYTES = 64
"""Of an id that a caller gives."""

_MAX_PRINTABLE = 3 * MAX_BYTES
"""Of one in the metadata, where each byte may be percent-encoded; a longer one is not taken over."""

_current = contextvars.ContextVar("request_id", default="")


def current_request_id() -> str:
    """The id, in printable ASCII; empty outside a request."""
    return _current.get()


def bind_request_id(request_id: str) -> contextvars.Token[str]:
    """From here on, in this task, the request at hand is this one. Reset with `unbind_request_id`.

    What is not printable ASCII is percent-encoded: neither a log line nor gRPC metadata can hold a line break.
    """
    printable = request_id.isascii() and request_id.isprintable()
    return _current.set(request_id if printable else quote(request_id, safe=" /"))


def unbind_request_id(token: contextvars.Token[str]) -> None:
    """Back to what was before `bind_request_id`."""
    _current.reset(token)


def accepted_request_id(metadata: Iterable[tuple[str, Any]]) -> str:
    """The id that came with a call, or a new one."""
    for key, value in metadata:
        if key == HEADER and value and len(value) <= _MAX_PRINTABLE:
            return str(value)
    return uuid.uuid4().hex


def request_id_metadata() -> tuple[tuple[str, str], ...]:
    """What to send with a call to a backend; nothing outside a request."""
    request_id = _current.get()
    return ((HEADER, request_id),) if request_id else ()
