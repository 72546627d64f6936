"""One line per log record on stderr: text for people, or JSON for what collects logs.

A line that is written while a request is answered has the request's id, and in JSON the ids of its trace if it has one.
"""

import json
import logging
import sys
from datetime import UTC, datetime

from recstack import tracing
from recstack.config import Settings
from recstack.rpc.request_id import current_request_id

_TEXT = "%(asctime)s %(levelname)s %(name)s%(request)s: %(message)s"
_STANDARD = logging.makeLogRecord({}).__dict__.keys() | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """A record as one JSON object: time (UTC, ISO 8601), level, logger, message, request_id, trace_id and span_id where
    there are such, the fields that the caller added by `extra` (for example user_id), and the trace of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := current_request_id():
            line["request_id"] = request_id
        line |= tracing.exemplar() or {}
        line |= {name: value for name, value in record.__dict__.items() if name[0] != "_" and name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """A record as text, with the id of its request in brackets."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        request_id = current_request_id()
        record.request = f" [{request_id}]" if request_id else ""
        return super().format(record)


def setup_logging(settings: Settings) -> None:
    """Log to stderr as the settings say."""
    # Not sys.stderr, which Ray Serve replaces in its replicas by a logger of its own that drops what it is given.
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    logging.basicConfig(level=settings.log_level, handlers=[handler])
