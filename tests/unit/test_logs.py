"""What log lines look like to a person and to a collector."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import logging
from recstack.config import Settings
from recstack.logs import setup_logging
from recstack.rpc.request_id import bind_request_id, unbind_request_id
setup_logging(Settings(log_format={format!r}))
log = logging.getLogger("recstack.test")
request = bind_request_id("abc")
log.info("degraded: %s", "ranking", extra={{"user_id": 7}})
unbind_request_id(request)
log.debug("too small to tell")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("it\\nfailed")
"""


def lines(log_format: str) -> list[str]:
    """What a process of its own writes to stderr: logging is set up once per process."""
    command = [sys.executable, "-c", SCRIPT.format(format=log_format)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()


def test_json_lines_hold_message_fields_and_trace() -> None:
    """One line each, also where message and trace have several."""
    degraded, failed = (json.loads(line) for line in lines("json"))
    assert degraded.pop("time").endswith("+00:00")
    assert degraded == {
        "level": "INFO",
        "logger": "recstack.test",
        "message": "degraded: ranking",
        "request_id": "abc",
        "user_id": 7,
    }
    assert "request_id" not in failed
    assert failed["message"] == "it\nfailed"
    assert "ZeroDivisionError" in failed["exception"]


def test_text_is_for_people() -> None:
    """Level, place, request and message; the trace below."""
    first, second, *rest = lines("text")
    assert first.endswith("INFO recstack.test [abc]: degraded: ranking")
    assert second.endswith("ERROR recstack.test: it")
    assert rest[-1] == "ZeroDivisionError: division by zero"


def test_an_unknown_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, with what would do."""
    from recstack.config import Settings

    monkeypatch.setenv("RECSTACK_LOG_FORMAT", "xml")
    with pytest.raises(ValueError, match="'text' or 'json'"):
        Settings()
